//! The promises about the static binaries. `ci/build-static` makes them; `FL_STATIC_DIR` names their folder.
//! Without this variable the tests print that they were skipped. With `CI=true` a skipped test is a failure.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use fl_tests::elf::Elf;

/// Name and the largest size promised for it, in bytes. The verifier of quotes is half a megabyte of each.
const BINARIES: [(&str, u64); 3] =
    [("fl-runtime", 12_000_000), ("fl-runtime-lean", 7_500_000), ("fl-launcher", 1_000_000)];

/// Paths of both binaries with their limits. Empty, with a printed line, if there are no binaries.
fn binaries() -> Option<Vec<(PathBuf, u64)>> {
    let Some(folder) = std::env::var_os("FL_STATIC_DIR").map(PathBuf::from) else {
        let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
        assert!(!in_ci, "CI=true, but FL_STATIC_DIR is not set: run ci/build-static and name its folder");
        eprintln!("skipped: FL_STATIC_DIR is not set (ci/build-static makes the binaries)");
        return None;
    };
    let found = BINARIES.map(|(name, limit)| (folder.join(name), limit));
    for (path, _) in &found {
        assert!(path.is_file(), "{} is missing: run ci/build-static", path.display());
    }
    Some(found.to_vec())
}

fn read_elf(path: &Path) -> Elf {
    let file = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Elf::parse(&file).unwrap_or_else(|| panic!("{} is no ELF file for x86-64", path.display()))
}

#[test]
fn binary_asks_for_no_dynamic_linker_and_no_library() {
    for (path, _) in binaries().unwrap_or_default() {
        let elf = read_elf(&path);
        assert!(!elf.has_interpreter, "{}: {elf:?}", path.display());
        assert_eq!(elf.needed, 0, "{}: {elf:?}", path.display());
    }
}

#[test]
fn binary_is_position_independent_and_an_executable() {
    for (path, _) in binaries().unwrap_or_default() {
        let elf = read_elf(&path);
        assert!(elf.position_independent && elf.declares_pie, "{}: {elf:?}", path.display());
    }
}

#[test]
fn binary_has_no_writable_code_and_no_executable_stack() {
    for (path, _) in binaries().unwrap_or_default() {
        let elf = read_elf(&path);
        assert!(!elf.writable_code && !elf.executable_stack && elf.relro, "{}: {elf:?}", path.display());
    }
}

#[test]
fn binary_carries_no_symbols_and_no_path_of_the_building_machine() {
    for (path, _) in binaries().unwrap_or_default() {
        assert!(!read_elf(&path).symbols, "{}", path.display());
        let file = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().and_then(Path::to_str);
        for folder in [repository, option_env!("HOME"), option_env!("CARGO_HOME")].into_iter().flatten() {
            let needle = format!("{folder}/");
            // Folders as short as "/" are in every file.
            if needle.len() > 5 {
                let found = file.windows(needle.len()).any(|window| window == needle.as_bytes());
                assert!(!found, "{} contains {needle}", path.display());
            }
        }
    }
}

#[test]
fn runtime_knows_the_jump_to_the_entry_of_gramine() {
    // jmp qword ptr gs:[24]
    let jump = [0x65, 0xff, 0x24, 0x25, 0x18, 0, 0, 0];
    for (path, _) in binaries().unwrap_or_default() {
        let file = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let jumps = file.windows(jump.len()).any(|window| window == jump);
        assert_eq!(jumps, !path.ends_with("fl-launcher"), "{}", path.display());
    }
}

#[test]
fn binary_stays_within_its_size() {
    for (path, limit) in binaries().unwrap_or_default() {
        let size = std::fs::metadata(&path).map_or(u64::MAX, |metadata| metadata.len());
        assert!(size < limit, "{}: {size} bytes, {limit} promised", path.display());
    }
}

#[test]
fn binary_runs_in_an_empty_root_file_system() {
    for (path, _) in binaries().unwrap_or_default() {
        let root = std::env::temp_dir().join(format!("fl-empty-root-{}", std::process::id()));
        let ran = run_in_empty_root(&path, &root);
        let removed = std::fs::remove_dir_all(&root);
        let Some(output) = ran else {
            eprintln!("skipped: changing the root file system needs root");
            return;
        };
        assert!(removed.is_ok(), "{removed:?}");
        // The launcher has nothing to launch here, and prints so.
        let expected = if path.ends_with("fl-launcher") { 3 } else { 0 };
        assert_eq!(output.status.code(), Some(expected), "{}: {output:?}", path.display());
    }
}

/// `--help` where the binary is the only file; none where this user may not change the root.
fn run_in_empty_root(binary: &Path, root: &Path) -> Option<Output> {
    let inside = root.join("fl-runtime");
    std::fs::create_dir_all(root)
        .and_then(|()| std::fs::copy(binary, &inside).map(drop))
        .and_then(|()| std::fs::set_permissions(&inside, PermissionsExt::from_mode(0o755)))
        .unwrap_or_else(|error| panic!("{}: {error}", root.display()));
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0");
    if !is_root {
        return None;
    }
    Some(
        Command::new("chroot")
            .arg(root)
            .args(["/fl-runtime", "--help"])
            .output()
            .unwrap_or_else(|error| panic!("chroot: {error}")),
    )
}
