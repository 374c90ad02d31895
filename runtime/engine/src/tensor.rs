//! Tensors of a model: what they are called, how they lie in memory, and the digest of their bytes.

mod layout;
mod root;
mod state;

pub use layout::{Combine, Dtype, Layout, LayoutError, Segment, TensorSpec};
pub use root::{RootHasher, leaves_of, root_of, root_over};
pub use state::{ModelState, StateError};
