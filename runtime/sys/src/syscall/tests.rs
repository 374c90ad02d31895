//! Both ways side by side: the jump into a stand-in, and the C library.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::fd::AsRawFd as _,
    thread,
};

use super::*;

/// A call by the jump, on a thread that has the stand-in.
fn jumped(number: c_long, args: [usize; 6]) -> io::Result<usize> {
    // SAFETY: every test below arms its thread first and passes what the call's terms ask for.
    checked(unsafe { through_gramine(number, args) })
}

/// The same call by the C library.
fn plain(number: c_long, args: [usize; 6]) -> io::Result<usize> {
    assert_eq!(entry(), Entry::Library);
    // SAFETY: as above.
    unsafe { call(number, args) }
}

/// An answer that can be compared.
fn known(answer: io::Result<usize>) -> Result<usize, Option<i32>> {
    answer.map_err(|error| error.raw_os_error())
}

#[test]
fn both_ways_give_the_same_answers_and_the_same_errors() {
    stand_in::arm().unwrap();
    let file = fs::File::open("/proc/self/exe").unwrap();
    let fd = file.as_raw_fd() as usize;
    let asked = [
        ("no argument", libc::SYS_getpid, [0; 6]),
        ("a number that is no call", 9999, [0; 6]),
        ("a file that is not open", libc::SYS_fsync, [usize::MAX, 0, 0, 0, 0, 0]),
        ("three arguments", libc::SYS_lseek, [fd, 77, libc::SEEK_SET as usize, 0, 0, 0]),
        ("a position before the start", libc::SYS_lseek, [fd, usize::MAX, libc::SEEK_SET as usize, 0, 0, 0]),
        ("an address that is not there", libc::SYS_uname, [1, 0, 0, 0, 0, 0]),
    ];
    for (what, number, args) in asked {
        assert_eq!(known(jumped(number, args)), known(plain(number, args)), "{what}");
    }
    assert_eq!(known(jumped(9999, [0; 6])), Err(Some(libc::ENOSYS)));
    assert_eq!(known(jumped(libc::SYS_uname, [1, 0, 0, 0, 0, 0])), Err(Some(libc::EFAULT)));
    assert_eq!(known(jumped(libc::SYS_getpid, [0; 6])), Ok(std::process::id() as usize));
}

#[test]
fn all_six_arguments_arrive_in_their_places() {
    stand_in::arm().unwrap();
    let (from, mut to) = (tempfile("abcdefgh"), tempfile(""));
    let (mut from_at, mut to_at) = (2u64, 1u64);
    let args = [
        from.as_raw_fd() as usize,
        (&raw mut from_at).expose_provenance(),
        to.as_raw_fd() as usize,
        (&raw mut to_at).expose_provenance(),
        5,
        0,
    ];
    assert_eq!(known(jumped(libc::SYS_copy_file_range, args)), Ok(5));
    let mut held = String::new();
    to.read_to_string(&mut held).unwrap();
    assert_eq!((held.as_str(), from_at, to_at), ("\0cdefg", 7, 6));
    // The sixth: flags that do not exist.
    assert_eq!(
        known(jumped(libc::SYS_copy_file_range, [args[0], 0, args[2], 0, 1, 1 << 20])),
        Err(Some(libc::EINVAL))
    );
}

/// A file that nobody else sees.
fn tempfile(contents: &str) -> fs::File {
    let path = std::env::temp_dir().join(format!(
        "fl-sys-{}-{:?}-{}",
        std::process::id(),
        thread::current().id(),
        contents.len()
    ));
    let mut file = fs::File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    file.write_all(contents.as_bytes()).unwrap();
    file
}

#[test]
fn floating_point_survives_an_entry_that_spoils_every_vector() {
    stand_in::arm().unwrap();
    let [mut a, mut b, mut c, mut d] = [1.0, 2.0, 3.0, 4.0];
    let [mut e, mut f, mut g, mut h] = [1.0, 2.0, 3.0, 4.0];
    for n in 0..100 {
        [a, b, c, d] = [b + 0.5, c * 0.75, d - a, a + f64::from(n)];
    }
    for n in 0..100 {
        [e, f, g, h] = [f + 0.5, g * 0.75, h - e, e + f64::from(n)];
        // Inlined, so that the values would be in registers across the jump if it did not say what it spoils.
        // SAFETY: a call without arguments, on a thread that has the stand-in.
        assert!(unsafe { through_gramine(libc::SYS_getpid, [0; 6]) } > 0);
    }
    assert_eq!([e, f, g, h].map(f64::to_bits), [a, b, c, d].map(f64::to_bits));
}

#[test]
fn every_jump_is_counted_also_of_threads_that_are_started_later() {
    let before = stand_in::calls();
    stand_in::arm().unwrap();
    let jump = || (0..100).for_each(|_| drop(jumped(libc::SYS_getpid, [0; 6])));
    jump();
    thread::spawn(jump).join().unwrap();
    // Other tests of this process may jump too.
    assert!(stand_in::calls() - before >= 200);
}

#[test]
fn answers_below_zero_are_errors_only_in_the_last_page() {
    assert_eq!(known(checked(0)), Ok(0));
    assert_eq!(known(checked(isize::MAX)), Ok(isize::MAX.cast_unsigned()));
    assert_eq!(known(checked(-1)), Err(Some(libc::EPERM)));
    assert_eq!(known(checked(-4095)), Err(Some(4095)));
    // An address in the upper half is an answer.
    assert_eq!(known(checked(-4096)), Ok((-4096isize).cast_unsigned()));
}

#[test]
fn word_that_the_kernel_contradicts_changes_nothing() {
    assert_eq!(choose(true), Entry::Library);
    assert_eq!(choose(false), Entry::Library);
    assert_eq!(entry(), Entry::Library);
}

#[test]
fn register_that_is_reserved_is_taken_for_gramine_only_when_told() {
    // The filter is this thread's own and cannot be taken off.
    thread::spawn(|| {
        assert!(!gs_is_reserved());
        refuse_to_tell_gs();
        assert!(gs_is_reserved());
        assert_eq!(choose(false), Entry::Library);
    })
    .join()
    .unwrap();
}

/// From now on the kernel answers this thread as Gramine does.
fn refuse_to_tell_gs() {
    let number = libc::SYS_arch_prctl as u32;
    let (load, equal, answer) = (
        (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16,
        (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        (libc::BPF_RET | libc::BPF_K) as u16,
    );
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut steps = [
        step(load, 0, 0, 0),
        step(equal, 0, 3, number),
        step(load, 0, 0, 16),
        step(equal, 0, 1, ARCH_GET_GS as u32),
        step(answer, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        step(answer, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: numbers alone.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: the kernel copies the steps, which live until it has.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(set, 0, "{}", io::Error::last_os_error());
}
