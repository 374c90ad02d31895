//! Every bound on what a peer, a file or a plan may contain, in one table.

use crate::{ByteCount, Millis};

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
/// Bytes of one sealed chunk of a spilled update. A rule that needs all updates of a round reads one chunk
/// of each update at a time, in every thread: with 64 updates and two threads, 8 MiB.
pub const SPILL_CHUNK_BYTES: usize = 64 * 1024;
/// Largest plan, site, roster or data-map file, bytes.
pub const PLAN_FILE_BYTES: usize = 1 << 20;
/// Largest canonical form of a plan, bytes: a number takes more there than its shortest spelling in YAML.
pub const CANONICAL_PLAN_BYTES: usize = 4 * PLAN_FILE_BYTES;
/// Samples that a collaborator names among those that it left out.
pub const LEFT_OUT: usize = 20;
/// Bytes of one of these names.
pub const LEFT_OUT_BYTES: usize = 256;
/// Largest quote of an enclave, bytes: what Gramine accepts from the quoting enclave. Usual are 4,600.
pub const QUOTE_BYTES: usize = 8192;
/// Largest file with Intel's collateral, bytes: one kind of processor takes 12 to 20 KB.
pub const COLLATERAL_BYTES: usize = 1 << 20;
/// Most enclaves that a roster accepts for one role.
pub const ACCEPTED_PROGRAMS: usize = 32;
/// Most advisories that a roster names.
pub const ADVISORIES: usize = 256;
/// Most machines that a roster names.
pub const PLATFORMS: usize = 4096;
/// Most kinds of processors in one file with Intel's collateral.
pub const PROCESSOR_KINDS: usize = 64;
/// Largest control envelope, bytes, length prefix excluded.
pub const ENVELOPE_BYTES: usize = 64 * 1024;
/// Bytes of a file in one message, where an aggregator hands a file on.
pub const NEWER_PART: usize = 32 << 10;
/// Most collaborators on a roster.
pub const COLLABORATORS: usize = 65_536;
/// Most members that one section `resume` of a roster leaves out.
pub const WITHDRAWN: usize = 64;
/// Most tasks in a plan.
pub const TASKS: usize = 64;
/// Most task groups in a plan. Each group may list all tasks.
pub const GROUPS: usize = 256;
/// Most entries of a plan's `hold_out`. Each entry is compared with every tensor; a prefix matches many
/// tensors at once.
pub const HOLD_OUT: usize = 1024;
/// Most metrics that one report carries.
pub const METRICS: usize = 64;
/// Most columns whose statistics a plan can ask the sites for. A site's sums take about 250 bytes a column at
/// the aggregator until they are added up.
pub const STATISTICS_COLUMNS: usize = 4096;
/// Most columns in one message about statistics: at most 180 bytes each.
pub const STATISTICS_PART: usize = 256;
/// Most layers of a model. Four times a ResNet-1001, whose layers are counted without activations.
pub const LAYERS: usize = 4096;
/// Most inputs of one layer that adds or multiplies them.
pub const INPUTS: usize = 8;
/// Most inputs of one layer that joins them. A block of DenseNet-121 joins 25.
pub const JOINED: usize = 64;
/// Most values of one layer in a plan, and of one argument of a block: numbers, words, lists and maps, with
/// arguments in the places of their names. A layer has about ten.
pub const LAYER_VALUES: usize = 256;
/// Most blocks inside each other.
pub const BLOCK_DEPTH: usize = 8;
/// Largest header of a model file, bytes: about 500 for each of [`TENSORS`].
pub const MODEL_HEADER_BYTES: usize = 32 << 20;
/// How long the first round of a run waits for the rest of the roster once `count.min` members are there.
/// Processes that are started together connect within a second; a quorum's `time.min` may ask for more.
pub const OPENING_GRACE: Millis = Millis(5_000);
/// Longest closing round, where the plan's `time.max` is not shorter: the model is final and stored, only its
/// measurement is missing.
pub const CLOSING_TIME: Millis = Millis(120_000);
/// How long a finished run that is started again waits for collaborators that need the final model, from its
/// start or from the last one on. Collaborators try to connect at least every ten seconds.
pub const SERVING: Millis = Millis(15_000);
/// Deadlines in a row that a collaborator may miss. Later rounds ask it too, and do not wait for it.
pub const DEADLINES_MISSED: u32 = 2;
/// Rounds that do not wait for such a collaborator, before one waits again: a site may be slower than others
/// and sound. The number doubles each time, up to [`LONGEST_UNAWAITED`].
pub const UNAWAITED: u32 = 16;
/// See [`UNAWAITED`].
pub const LONGEST_UNAWAITED: u32 = 1024;
/// While a round is open, the engine is called at least this often.
pub const HEARTBEAT: Millis = Millis(1_000);
/// A call that comes this much later than [`HEARTBEAT`] says that the machine stood still: it was suspended,
/// or the process was. The time does not count for the deadline.
pub const STOOD_STILL: Millis = Millis(2_000);
/// Rounds whose facts may be on their way to the disk. The next sum is not finished before the facts of the
/// oldest round are on the disk.
pub const STORES_UNDER_WAY: usize = 2;
/// Refusals of one collaborator that the facts of one round name. Later refusals are sent to the
/// collaborator and not kept.
pub const REFUSALS_NOTED: u32 = 8;
/// Granted updates of one collaborator that may be under way from links that broke.
pub const GRANTS_REMEMBERED: usize = 4;
/// A peer that sends a payload and moves fewer than [`PROGRESS_BYTES`] in this time is cut off.
pub const PROGRESS_WINDOW: Millis = Millis(15_000);
/// See [`PROGRESS_WINDOW`]: 4 KiB a second, far below any line that could carry a model within a deadline.
pub const PROGRESS_BYTES: ByteCount = ByteCount(60 << 10);
