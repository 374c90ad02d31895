//! Aggregation: how a round's updates become the next model: rules, the server's step, the threshold.
//!
//! A task that sends an update says it in the plan, with three keys. All such tasks of a plan say the same.
//!
//! ```yaml
//! tasks:
//!   train:
//!     kind: train
//!     # …
//!     rule: {trimmed_mean: {trim: 0.2}}                 # default: weighted_mean
//!     server: {fedadam: {learning_rate: 0.1}}           # default: the rule's answer is the next model
//!     threshold: {task: aggregated_model_validation, metric: accuracy, min: 0.7}   # default: all count
//! ```
//!
//! # Rules
//!
//! `n` is the number of a round's updates, `f` is `byzantine`: how many of them may be hostile. A collaborator's weight is
//! the number of rows that it trained on, and its own claim.
//!
//! | `rule` | next model | weights | a round needs | memory |
//! |---|---|---|---|---|
//! | `weighted_mean` | Σ wᵢxᵢ / Σ wᵢ ([McMahan et al.](https://arxiv.org/abs/1602.05629)) | count | 1 | a sum |
//! | `mean` | the same, every weight 1 | do not count | 1 | a sum |
//! | `{clipped_mean: {norm: 1.0}}` | weighted mean of updates whose distance from the base is cut to `norm` ([Sun et al.](https://arxiv.org/abs/1911.07963)) | count, below 2^21 | 1 | a sum |
//! | `median` | of each element ([Yin et al.](https://arxiv.org/abs/1803.01498)); of an even number the mean of the middle two | do not count | 1 | all updates |
//! | `weighted_median` | half of the weight lies on each side | count | 1 | all updates |
//! | `{trimmed_mean: {trim: 0.2}}` | mean of each element without the `⌊trim·n⌋` smallest and largest ([Yin et al.](https://arxiv.org/abs/1803.01498)) | do not count | `trim·n ≥ 1` | all updates |
//! | `{krum: {byzantine: 1}}` | the update nearest to its `n - f - 2` neighbours ([Blanchard et al.](https://papers.nips.cc/paper/6617-machine-learning-with-adversaries-byzantine-tolerant-gradient-descent)) | do not count | `2f + 3` | all updates, products |
//! | `{multi_krum: {byzantine: 1, keep: 3}}` | mean of the `keep` nearest; `n - f` unless said | do not count | `2f + 3`, `f + keep` | all updates, products |
//! | `{bulyan: {byzantine: 1}}` | Krum chooses `n - 2f`; of these, a mean around each element's median ([El Mhamdi et al.](https://arxiv.org/abs/1802.07927)) | do not count | `4f + 3` | all updates, products |
//! | `{geometric_median: {iterations: 4, smoothing: 1e-5, scope: model}}` | least sum of weighted distances, by smoothed Weiszfeld steps ([Pillutla et al.](https://arxiv.org/abs/1912.13445)); `scope: tensor` for each tensor by itself | count | 1 | all updates, products |
//! | `{custom: {name: mine}}` | what a user's crate registered under the name | its own | 1 | all updates, products |
//!
//! `plan check` refuses a `quorum.count.min` below what a round needs. Where weights count, a collaborator can buy
//! influence with a large claim: against hostile collaborators take a rule in which they do not.
//!
//! Rules combine parameters. Counters and tensors that `hold_out` names are treated as under every rule; Krum, Bulyan and
//! the geometric median take counters of the chosen updates alone. Whatever the rule, the order in which updates arrive
//! changes no bit of the model, nor does the number of threads.
//!
//! `clipped_mean` needs bits for each update's factor: `exact.weight_bits` is 19 by default with it, at most 21, so a
//! site has fewer than half a million rows, or two million.
//!
//! # Memory
//!
//! "A sum": four models' worth of memory, whatever the number of collaborators; updates take turns in the slots. "All
//! updates": each of a round's updates has a place until the round ends, in memory as far as `limits.memory` reaches,
//! encrypted in `save/spill` beyond; there is no sum. While they are combined, each thread of the pool holds 64 KiB of
//! every update that is on disk. "Products": at most 44 n² bytes, and with `scope: tensor` 8 n² a tensor.
//! `fl-host plan check` adds it up for as many collaborators as the quorum or the sample takes, the aggregator for its
//! roster; both refuse a plan whose updates have no place, and say what to raise. 64 collaborators and ten million
//! parameters under `median` need 140 MB of memory and 2.6 GB of disk, or any split of the latter.
//! ([`Footprint`](fl_engine::aggregate::Footprint).)
//!
//! # The server's step
//!
//! With `server`, the rule's answer is a direction: `Δ = answer - base`, element by element. No bias correction.
//!
//! | `server` | step | state |
//! |---|---|---|
//! | `{fedavgm: {learning_rate: 1.0, momentum: 0.9}}` | `v ← momentum·v + Δ`, `x ← x + η·v` ([Hsu et al.](https://arxiv.org/abs/1909.06335)) | v |
//! | `{fedadagrad: {learning_rate: 0.1, beta1: 0, tau: 0.001}}` | `m ← β₁m + (1 - β₁)Δ`, `v ← v + Δ²`, `x ← x + η·m / (√v + τ)` ([Reddi et al.](https://arxiv.org/abs/2003.00295)) | m, v |
//! | `{fedadam: {learning_rate: 0.1, beta1: 0.9, beta2: 0.99, tau: 0.001}}` | the same with `v ← β₂v + (1 - β₂)Δ²` | m, v |
//! | `{fedyogi: {learning_rate: 0.1, beta1: 0.9, beta2: 0.99, tau: 0.001}}` | the same with `v ← v - (1 - β₂)Δ²·sign(v - Δ²)` | m, v |
//! | `{smoothing: {keep: 0.1}}` | `x ← x + (1 - keep)·Δ`: exponential smoothing over rounds | none |
//!
//! State is stored with the model, so a run that is taken up again goes on as if it had not stopped. Running statistics
//! and optimiser state that travels with the model take the answer itself.
//!
//! # The threshold
//!
//! An update counts when its collaborator's reported metric of `task` is good enough: at least `min` for accuracy and
//! auc, at most `max` for loss and rmse. When nobody's is, all count. An update waits in its slot until the report is
//! there; what waits still when the round ends does not pass, and neither does a collaborator whose task failed. So
//! whose update comes first decides nothing, except where `quorum.count.max` ends the round. Those left out are named in
//! the history; the metric's value is in no log. Every update of a round needs a place, in memory or on disk, whatever
//! the rule. The quorum counts what is in the sum alone: a plan whose threshold
//! leaves out more than `quorum.count.min` can spare misses its quorum. Metrics are claims, as weights are: a threshold
//! keeps poor models out, not hostile ones.
