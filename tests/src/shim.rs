//! Libraries in C that stand between a process and the system, compiled from `tests/shim`.

use std::{path::Path, process::Command};

/// Compiles `shim/NAME.c` into a library in `folder`. Returns the variable that loads the library into a
/// process, for `env`.
///
/// # Panics
/// When the compiler fails. A Rust toolchain links by `cc`, so there is one.
#[must_use]
pub fn preload(folder: &Path, name: &str) -> String {
    let library = folder.join(format!("lib{name}.so"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("shim").join(name).with_extension("c");
    let cc = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).output();
    assert!(cc.as_ref().is_ok_and(|cc| cc.status.success()), "{cc:?}");
    format!("LD_PRELOAD={}", library.display())
}
