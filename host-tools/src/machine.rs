//! The machine that `fl-host` runs on, as the runtime's functions take it: one value for the whole process.

use std::sync::LazyLock;

use fl_runtime::internal::system::System;

/// This machine.
#[must_use]
pub fn machine() -> &'static System {
    static MACHINE: LazyLock<System> = LazyLock::new(System::real);
    &MACHINE
}
