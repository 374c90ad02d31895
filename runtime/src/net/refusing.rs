//! Runs every test of links of this crate a second time in a child process where the system refuses what
//! Gramine refuses: `tests/shim/refuse.c`, preloaded. Works under `cargo test` and under runners that start a
//! process a test, because the child is this same test program.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{self, Command},
};

/// Whether this process runs under the shim.
pub(crate) fn is_here() -> bool {
    env::var_os(MARK).is_some()
}

#[test]
fn every_quic_test_passes_where_socket_options_are_refused() {
    let program = env::current_exe().unwrap();
    let shim = built(program.parent().unwrap());
    let log = shim.with_extension("log");
    let select = |run: &mut Command| {
        run.args(LINK_TESTS).args(["--skip", THIS]);
        for module in WITHOUT_SOCKETS {
            run.args(["--skip", module]);
        }
    };

    let mut list = Command::new(&program);
    select(&mut list);
    let list = list.arg("--list").output().unwrap();
    let all = String::from_utf8_lossy(&list.stdout).lines().filter(|line| line.ends_with(": test")).count();
    assert!(all > 60, "only {all} tests were found: {list:?}");

    let mut child = Command::new(&program);
    select(&mut child);
    let child = child.env("LD_PRELOAD", &shim).env(MARK, "1").env(LOG, &log).output().unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{said}\n{}", String::from_utf8_lossy(&child.stderr));
    assert!(said.contains(&format!("test result: ok. {all} passed; 0 failed; 0 ignored")), "{said}");

    let log = fs::read_to_string(&log).unwrap_or_default();
    let counted = |what: &str| -> u64 {
        log.split_whitespace()
            .filter_map(|word| word.strip_prefix(what)?.strip_prefix('=')?.parse::<u64>().ok())
            .sum()
    };
    for what in ["options", "sendmmsg", "recvmmsg"] {
        assert!(counted(what) > 0, "the shim met no {what}: {log:?}");
    }
    fs::remove_dir_all(shim.parent().unwrap()).unwrap();
}

/// The shim, compiled into a new folder under `folder`. A Rust toolchain links by `cc`, so there is one.
fn built(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/shim/refuse.c");
    let folder = folder.join(format!("socket-shim-{}", process::id()));
    fs::create_dir_all(&folder).unwrap();
    let library = folder.join("librefuse.so");
    let mut cc = Command::new("cc");
    let cc = cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).output().unwrap();
    assert!(cc.status.success(), "{}", String::from_utf8_lossy(&cc.stderr));
    library
}

/// Modules whose tests open endpoints of links. A module elsewhere that does adds its path.
const LINK_TESTS: [&str; 3] = ["net::", "trust::tls::", "actors::aggregator::tests::"];
/// Modules among these whose tests open no socket.
const WITHOUT_SOCKETS: [&str; 2] = ["net::tcp::mux::", "net::tcp::frame::"];
const THIS: &str = "net::refusing::every_quic_test_passes_where_socket_options_are_refused";
/// Set in the child.
const MARK: &str = "FL_SOCKET_SHIM";
/// Where the shim writes what it saw.
const LOG: &str = "FL_SOCKET_SHIM_LOG";
