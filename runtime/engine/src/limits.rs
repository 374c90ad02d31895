//! Every bound that a peer, a file or a plan can run into, in one table.

/// Longest [`crate::Name`], bytes. Leaves room for a URI SAN with three names in it.
pub const NAME_BYTES: usize = 64;
/// Most tensors in one layout. A ResNet-152 has under 1,000.
pub const TENSORS: usize = 65_536;
/// Most dimensions of one tensor.
pub const TENSOR_RANK: usize = 8;
/// Longest tensor name, bytes.
pub const TENSOR_NAME_BYTES: usize = 256;
/// Most elements of a whole layout: 16 GiB of f32.
pub const ELEMENTS: u64 = 1 << 32;
/// Bytes under one leaf of a chunk tree.
pub const LEAF_BYTES: usize = 256 * 1024;
/// Largest plan, site, roster or data-map file, bytes.
pub const PLAN_FILE_BYTES: usize = 1 << 20;
/// Largest control envelope, bytes, length prefix excluded.
pub const ENVELOPE_BYTES: usize = 64 * 1024;
/// Most collaborators on a roster.
pub const COLLABORATORS: usize = 65_536;
/// Most tasks in a plan.
pub const TASKS: usize = 64;
/// Most metrics that one report carries.
pub const METRICS: usize = 64;
/// Weights stay below `2^WEIGHT_BITS`, so that weight × f32 is exact in f64 (29 + 24 = 53 bits).
pub const WEIGHT_BITS: u32 = 29;
/// Most layers of a model. Four times a ResNet-1001, whose layers are counted without activations.
pub const LAYERS: usize = 4096;
/// Largest header of a model file, bytes: about 500 for each of [`TENSORS`].
pub const MODEL_HEADER_BYTES: usize = 32 << 20;
