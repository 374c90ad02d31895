//! What the other crates of this repository use. Users' crates must not: these items change with any version.

pub use crate::environment::{GRAMINE_VARIABLE, NAME_VARIABLE};

/// See the file of this name.
pub mod aggregation {
    pub use crate::aggregation::*;
}

/// See the file of this name.
pub mod cli {
    pub use crate::cli::*;
}

/// See the file of this name.
pub mod exit {
    pub use crate::exit::*;
}

/// See the file of this name.
pub mod files {
    pub use crate::files::*;
}

/// See the file of this name.
pub mod image_layout {
    pub use crate::image_layout::*;
}

/// See the file of this name.
pub mod memory {
    pub use crate::memory::*;
}

/// See the file of this name.
pub mod net {
    pub use crate::net::*;
}

/// See the file of this name.
pub mod observe {
    pub use crate::observe::*;
}

/// See the file of this name.
pub mod payload {
    pub use crate::payload::*;
}

/// See the file of this name.
pub mod pool {
    pub use crate::pool::*;
}

/// See the file of this name.
pub mod sealed {
    pub use crate::sealed::*;
}

/// See the file of this name.
pub mod store {
    pub use crate::store::*;
}

/// See the file of this name.
pub mod system {
    pub use crate::system::*;
}

/// See the file of this name.
pub mod trust {
    pub use crate::trust::*;
}

/// See the file of this name.
pub mod version {
    pub use crate::version::*;
}
