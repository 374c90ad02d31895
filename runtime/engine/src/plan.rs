//! The plan: the experiment that every party agrees on, and the three files around it.
//!
//! A [`PlanDraft`] says what a plan says, with defaults filled in. A [`Plan`] is a draft that passed every
//! check: names exist, ranges hold, parts fit together. Its canonical bytes are what the plan hash covers:
//! comments and the order of keys in `plan.yaml` change nothing, except for the order of tasks, in which
//! collaborators run them.
//!
//! [`reference()`] lists every key of `plan.yaml`. An example with most of them:
//!
//! ```yaml
//! model:
//!   input: [1, 28, 28]
//!   layers: # a word alone has no settings; stride 1, padding 0 and bias true are the defaults
//!     - conv2d: {name: conv1, out: 8, kernel: 3, stride: 1, padding: 1, bias: false}
//!     - batch_norm: {name: norm1}
//!     - relu # gelu, sigmoid, tanh
//!     - max_pool: {kernel: 2} # avg_pool
//!     - conv_transpose2d: {name: up1, out: 8, kernel: 2, stride: 2}
//!     - dropout: {p: 0.1}
//!     - flatten
//!     - linear: {name: fc1, out: 10}
//! data: {loader: npz, file: d.npz, features: x, labels: y, classes: 10} # npy, idx; custom: name
//! tasks:
//!   train: {kind: train, steps: 100, batch: 32, loss: cross_entropy, fedprox_mu: 0.01,
//!           optimiser: {adamw: {learning_rate: 0.001, weight_decay: 0.01}}, metrics: [loss, accuracy]}
//!   probe: {kind: synthetic, weight: 1}
//!   own: {kind: custom, name: registered, rule: weighted_mean, metrics: []}
//! groups: # a plan without groups gives every task to every collaborator
//!   some: {collaborators: [one, two], tasks: [train]}
//!   rest: {tasks: [probe]}
//! sample: 2
//! hold_out: ["norm1.*", fc1.bias]
//! release: {what: best, to: host} # last, each; to members, key:PUBLIC_KEY (64 hex digits)
//! keep: {every: 10, most: 5}
//! enclave: {seal: mrenclave} # or mrsigner: later images of the same signer can read what was saved
//! attestation: {aggregator: required, collaborators: optional} # or required; none by default
//! ```
//!
//! How updates become the next model. All tasks that send updates have the same rule, server and threshold.
//!
//! ```yaml
//! rule: weighted_mean # mean, median, weighted_median
//! rule: {clipped_mean: {norm: 1.0}} # exact.weight_bits is 19 by default then
//! rule: {trimmed_mean: {trim: 0.2}}
//! rule: {krum: {byzantine: 1}} # bulyan
//! rule: {multi_krum: {byzantine: 1, keep: 3}}
//! rule: {geometric_median: {iterations: 4, smoothing: 1e-5, scope: model}} # or tensor
//! rule: {custom: {name: registered}}
//! server: {fedavgm: {learning_rate: 1.0, momentum: 0.9}}
//! # fedyogi has the same settings, fedadagrad has no beta2
//! server: {fedadam: {learning_rate: 0.1, beta1: 0.9, beta2: 0.99, tau: 0.001}}
//! server: {smoothing: {keep: 0.1}}
//! threshold: {task: aggregated_model_validation, metric: accuracy, min: 0.7} # max for a loss
//! ```

mod aggregation;
mod attestation;
mod backend;
mod best;
mod canonical;
mod check;
mod data;
mod data_map;
mod exact;
mod graph;
mod groups;
mod host;
mod keep;
mod keys;
mod layout;
mod loss;
mod measuring;
mod metric;
mod network;
mod optimiser;
mod pattern;
mod proxy;
mod quorum;
mod read;
mod release;
mod resources;
pub mod roster;
mod rule;
mod schedule;
mod seal;
mod server;
mod site;
mod stop;
mod task;
mod threshold;
mod train;
mod trial;

use serde::Serialize;

pub use aggregation::Aggregation;
pub use attestation::{Attestation, OfAggregator, OfCollaborators};
pub use backend::Backend;
pub use best::BestModel;
pub use canonical::CanonicalError;
pub use check::Plan;
pub use data::{
    Augment, Category, Coding, Colour, Column, CsvSpec, DataSpec, Decimal, Federated, Fill, Fit,
    Interpolation, LabelCode, Loader, Missing, NamedNumber, PictureLabel, PictureOrder, PictureSpec,
    Separator, Split, Standardise, columns_of, picture_size,
};
pub use data_map::DataMap;
pub use exact::ExactRange;
pub use groups::TaskGroup;
pub use host::host_fault;
pub use keep::Keep;
pub use keys::reference;
pub use loss::{Loss, Truth};
pub use measuring::{Rows, When};
pub use metric::{Direction, Metric, MetricsTo};
pub use optimiser::{Optimiser, OptimiserState};
pub use proxy::{Proxy, host_and_port};
pub use quorum::{Quorum, Short};
pub use release::{PublicKey, PublicKeyError, Release, ReleaseTo, Released};
pub use resources::Threads;
pub use rule::{Rule, Scope};
pub use schedule::{By, Schedule};
pub use seal::Seal;
pub use server::Server;
pub use site::{LinkKind, ProxyChoice, Site, SocketKind};
pub use stop::{EndsEarly, Stop};
pub use task::{ModelUnderTest, TaskKind, TaskSpec};
pub use threshold::Threshold;
pub use train::{TrainLength, TrainSpec};

pub use crate::settings::{Absent, Fault, KeyReference, PlanError, WordReference};
use crate::{ByteCount, Digest, Name, model::ModelSpec};

/// What a plan says, unchecked: defaults are filled in, and any field may have any value.
/// [`PlanDraft::check`] makes a [`Plan`] of a draft.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PlanDraft {
    /// The federation; part of every identity.
    pub federation: Name,
    /// SHA-256 of the federation CA certificate's DER; `None` until `plan initialize` has set it.
    pub ca: Option<Digest>,
    /// Rounds to run.
    pub rounds: u32,
    /// Seed of initial values, splits of rows, and what tasks draw at random.
    pub seed: u64,
    /// The model.
    pub model: ModelSpec,
    /// The data loader and its settings; the folder comes from the data map.
    pub data: DataSpec,
    /// Tasks in the order in which a collaborator runs them.
    pub tasks: Vec<TaskSpec>,
    /// Which collaborators run which tasks; the first group that names a collaborator takes it.
    pub groups: Vec<TaskGroup>,
    /// When a round may close.
    pub quorum: Quorum,
    /// Collaborators drawn per round; `None` takes all.
    pub sample: Option<u32>,
    /// What becomes of a collaborator's optimiser state between rounds.
    pub optimiser_state: OptimiserState,
    /// Tensors (by exact name, or by prefix with a final `*`) that aggregation leaves alone.
    pub hold_out: Vec<String>,
    /// Ranges of the exact accumulator.
    pub exact: ExactRange,
    /// What makes a model the best so far.
    pub best: BestModel,
    /// Memory that updates and models may take at the aggregator.
    pub memory_budget: ByteCount,
    /// Disk that spilled updates may take at the aggregator.
    pub spill_budget: ByteCount,
    /// Most rows that one collaborator may claim; `None` leaves that to `exact.weight_bits`.
    pub row_limit: Option<u32>,
    /// Fixed thread counts.
    pub threads: Threads,
    /// Who may read other collaborators' metrics.
    pub metrics: MetricsTo,
    /// Which models leave the enclave, and to whom. `None` releases nothing: models stay in each role's
    /// `save/`, which is encrypted in an enclave and plain outside.
    pub release: Option<Release>,
    /// Which enclaves can read what one of them saved.
    pub seal: Seal,
    /// Which finished rounds the aggregator keeps; `None`: the last two.
    pub keep: Option<Keep>,
    /// When the run ends before its last round; `None`: never.
    pub stop: Option<Stop>,
    /// What computes the model at collaborators.
    pub backend: Backend,
    /// Whose enclave has to prove itself.
    pub attestation: Attestation,
}

impl PlanDraft {
    /// How updates become the next model. Every task that sends one says the same; `None` when none does.
    #[must_use]
    pub fn aggregation(&self) -> Option<Aggregation<'_>> {
        self.tasks.iter().find_map(|task| {
            let rule = task.kind.rule()?;
            Some(Aggregation { rule, server: task.server, threshold: task.threshold.as_ref() })
        })
    }

    /// How many rounds make a model: none in a plan whose tasks are all validations.
    #[must_use]
    pub fn training_rounds(&self) -> u32 {
        if self.tasks.iter().all(|task| matches!(task.kind, TaskKind::Validate(_))) { 0 } else { self.rounds }
    }

    /// Most rows that one collaborator may claim in a round: as the weight of its update, and as the samples
    /// of a report.
    #[must_use]
    pub fn most_rows(&self) -> u32 {
        self.row_limit.unwrap_or_else(|| self.exact.most_weight())
    }

    /// The group that takes this collaborator: the first that names it, else the first that takes everyone.
    #[must_use]
    pub fn group_of(&self, collaborator: &Name) -> Option<&TaskGroup> {
        let names = |g: &&TaskGroup| g.collaborators.as_ref().is_some_and(|c| c.contains(collaborator));
        let takes_all = |g: &&TaskGroup| g.collaborators.is_none();
        self.groups.iter().find(names).or_else(|| self.groups.iter().find(takes_all))
    }
}
