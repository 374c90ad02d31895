//! Tensors of a model: what they are called, how they lie in memory, and the digest of their bytes.

mod layout;
mod root;
mod state;

pub use layout::{Combine, Dtype, Layout, LayoutError, Segment, TensorSpec};
pub use root::{RootHasher, root_of};
pub use state::{ModelState, StateError};
