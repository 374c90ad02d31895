//! What you need to write your own task, data loader or aggregation rule.
//!
//! Your crate is a program. Its `main` fills a [`Registry`] and calls [`run`]. The program has the command
//! line of `fl-runtime`: start the program in place of `fl-runtime`, or put the program into an image with
//! `fl-host workspace dockerize --binary PROGRAM`. A plan names what you added:
//!
//! | you write | with | the plan names it |
//! |---|---|---|
//! | a data loader | [`Registry::with_loader`] | `data: {loader: custom, name: NAME}` |
//! | a task | [`CustomTask`], [`Registry::with_task`] | `kind: custom, name: NAME` |
//! | a rule over elements | [`ColumnRule`], [`Registry::with_rule`] | `rule: {custom: {name: NAME}}` |
//! | a rule over updates | [`ScoreRule`], [`Registry::with_score_rule`] | `rule: {custom: {name: NAME}}` |
//!
//! Test a loader with [`Registry::load_data`], a task with [`Runner`], and a rule with [`combine`]. The
//! folder `tests/extend` of the repository is a whole program with all four.
//!
//! You cannot bring your own model yet: a plan describes its model by layers ([`plan`]). A later version adds
//! models that you write with burn.
//!
//! # Versions
//!
//! Versions follow the rules of Cargo. What this module exports changes incompatibly only with a new major
//! version, and before 1.0 only with a new minor version (0.1 to 0.2). All else of fl-runtime may change with
//! any version.
//!
//! Examples below that name the crates `fl_engine` and `fl_learn` are those crates' own: write
//! `fl_runtime::extend`.

use std::process::ExitCode;

use crate::{cli, system::System};

/// Runs the program on the process's own arguments, with what `registry` adds: the body of your `main`.
///
/// ```no_run
/// use std::process::ExitCode;
///
/// use fl_runtime::extend::{Registry, run};
///
/// fn main() -> ExitCode {
///     run(&Registry::new())
/// }
/// ```
#[must_use]
pub fn run(registry: &Registry) -> ExitCode {
    let args: Vec<String> =
        std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    cli::run(&args.iter().map(String::as_str).collect::<Vec<_>>(), registry, &System::real())
}

/// ```
/// use fl_runtime::extend::{Dataset, Registry, ndarray::ArrayD};
///
/// let zeros = Dataset::new(ArrayD::zeros(vec![100, 4]), ArrayD::zeros(vec![100]));
/// let registry = Registry::new().with_loader("zeros", move |_folder| Ok(zeros.clone()));
/// # let _ = registry;
/// ```
#[doc(inline)]
pub use fl_learn::registry::Registry;

/// ```
/// use fl_runtime::extend::{Dataset, ndarray::array};
///
/// let labels = array![0.0, 1.0].into_dyn();
/// let rows = Dataset::new(array![[1.0, 2.0], [3.0, 4.0]].into_dyn(), labels);
/// assert_eq!(rows.rows(), 2);
/// assert_eq!(rows.select(&[1]).labels, array![1.0].into_dyn());
/// ```
#[doc(inline)]
pub use fl_learn::data::Dataset;

/// What [`Registry::read_data`] read, with facts and warnings for the log.
///
/// ```
/// use fl_runtime::extend::{Dataset, Loaded, ndarray::array};
///
/// let rows = Dataset::new(array![[1.0], [2.0]].into_dyn(), array![0.0, 1.0].into_dyn());
/// assert!(Loaded::new(rows).warnings.is_empty());
/// ```
#[doc(inline)]
pub use fl_learn::data::Loaded;

/// ```
/// use fl_runtime::extend::SplitData;
///
/// /// A task may refuse a site before the first round.
/// fn enough(data: &SplitData) -> Result<(), String> {
///     if data.train.rows() >= 10 { Ok(()) } else { Err("ten rows or more are needed".to_owned()) }
/// }
/// # let _ = enough;
/// ```
#[doc(inline)]
pub use fl_learn::data::SplitData;

/// ```
/// use fl_runtime::extend::DataError;
///
/// let error = DataError::Loader("readings.txt: line 3 is not a number".to_owned());
/// assert_eq!(error.to_string(), "readings.txt: line 3 is not a number");
/// ```
#[doc(inline)]
pub use fl_learn::data::DataError;

/// ```
/// use fl_runtime::extend::{CustomJob, CustomTask, Registry, TaskError, TaskOutput, Weight};
///
/// /// Halves every value of the model.
/// struct Halve;
///
/// impl CustomTask for Halve {
///     fn run(&mut self, job: &CustomJob<'_>) -> Result<TaskOutput, TaskError> {
///         let mut model = job.base.clone();
///         for value in &mut model.f32 {
///             if (job.cancelled)() {
///                 return Err(TaskError::Cancelled);
///             }
///             *value /= 2.0;
///         }
///         Ok(TaskOutput { update: Some((model, Weight::new(1)?)), samples: 1, metrics: vec![] })
///     }
/// }
///
/// let registry = Registry::new().with_task("halve", || Box::new(Halve));
/// # let _ = registry;
/// ```
#[doc(inline)]
pub use fl_learn::task::CustomTask;

/// ```
/// use fl_runtime::extend::{CustomJob, TaskError};
///
/// /// Rows that the site trains on.
/// fn rows(job: &CustomJob<'_>) -> Result<usize, TaskError> {
///     let data = job.data.ok_or_else(|| TaskError::NoData(job.task.name.clone()))?;
///     Ok(data.train.rows())
/// }
/// # let _ = rows;
/// ```
#[doc(inline)]
pub use fl_learn::task::CustomJob;

/// ```
/// use fl_runtime::extend::{TaskOutput, plan::Metric};
///
/// // A task that measures sends no update.
/// let output = TaskOutput { update: None, samples: 50, metrics: vec![(Metric::Loss, 0.25)] };
/// # let _ = output;
/// ```
#[doc(inline)]
pub use fl_learn::task::TaskOutput;

/// ```
/// use fl_runtime::extend::{Name, TaskError};
///
/// let task: Name = "fit".parse().unwrap();
/// let error = TaskError::Failed { task, what: "no row has a label".to_owned() };
/// assert_eq!(error.to_string(), "task fit: no row has a label");
/// ```
#[doc(inline)]
pub use fl_learn::task::TaskError;

/// ```
/// use fl_runtime::extend::{CustomTasks, Registry};
///
/// # fn of(registry: &Registry, plan: &fl_runtime::extend::plan::Plan) -> CustomTasks {
/// let tasks: CustomTasks = registry.tasks(plan, &"one".parse().unwrap()).unwrap();
/// # tasks
/// # }
/// ```
#[doc(inline)]
pub use fl_learn::task::CustomTasks;

/// Tests call a task as a collaborator does:
///
/// ```
/// use std::sync::Arc;
///
/// use fl_runtime::extend::{Name, Registry, RoundNo, Runner, plan::Plan};
/// # use fl_runtime::extend::{CustomJob, CustomTask, TaskError, TaskOutput, Weight};
/// # struct Halve;
/// # impl CustomTask for Halve {
/// #     fn run(&mut self, job: &CustomJob<'_>) -> Result<TaskOutput, TaskError> {
/// #         let mut model = job.base.clone();
/// #         model.f32.iter_mut().for_each(|value| *value /= 2.0);
/// #         Ok(TaskOutput { update: Some((model, Weight::new(1)?)), samples: 1, metrics: vec![] })
/// #     }
/// # }
///
/// let plan = Plan::parse(
///     "schema: 1
/// federation: trial
/// rounds: 1
/// model: {input: [2], layers: [{linear: {name: line, out: 1}}]}
/// data: {loader: custom, name: none}
/// tasks: {halve: {kind: custom, name: halve, rule: weighted_mean, metrics: [loss]}}
/// ",
/// )
/// .unwrap();
/// let (plan, one): (_, Name) = (Arc::new(plan), "one".parse().unwrap());
/// let registry = Registry::new().with_task("halve", || Box::new(Halve));
/// let base = plan.initial_state().unwrap();
/// let tasks = registry.tasks(&plan, &one).unwrap();
/// let mut runner = Runner::new(Arc::clone(&plan), Arc::clone(base.layout()), &one, None, tasks).unwrap();
/// let output = runner.run(&"halve".parse().unwrap(), RoundNo(0), &base, &|| false).unwrap();
/// assert_eq!(output.update.unwrap().0.f32[0], base.f32[0] / 2.0);
/// ```
#[doc(inline)]
pub use fl_learn::task::Runner;

/// ```
/// use std::sync::Arc;
///
/// use fl_runtime::extend::{Block, ColumnRule, Method, Order, combine};
///
/// /// Half way between the smallest and the largest value of each element.
/// #[derive(Debug)]
/// struct Midrange;
///
/// impl ColumnRule for Midrange {
///     fn order(&self, updates: usize) -> Order {
///         Order::Ranks(0..updates)
///     }
///
///     fn combine(&self, block: &mut Block<'_>, out: &mut [f32]) {
///         let (smallest, largest) = (block.row(0), block.row(block.updates() - 1));
///         for ((out, a), b) in out.iter_mut().zip(smallest).zip(largest) {
///             *out = (a + b) / 2.0;
///         }
///     }
/// }
///
/// let updates: [&[f32]; 3] = [&[1.0, 5.0], &[2.0, 9.0], &[9.0, 7.0]];
/// let next = combine(&Method::Columns(Arc::new(Midrange)), &updates, &[1; 3], &[0.0; 2]);
/// assert_eq!(next.unwrap(), [5.0, 7.0]);
/// ```
#[doc(inline)]
pub use fl_engine::aggregate::ColumnRule;

/// ```
/// use fl_runtime::extend::Block;
///
/// /// The number of updates whose value of the first element is above the base's.
/// fn above(block: &Block<'_>) -> usize {
///     (0..block.updates()).filter(|&update| block.row(update)[0] > block.base()[0]).count()
/// }
/// # let _ = above;
/// ```
#[doc(inline)]
pub use fl_engine::aggregate::Block;

/// ```
/// use fl_runtime::extend::Order;
///
/// // The two values in the middle of ten updates.
/// let order = Order::Ranks(4..6);
/// # let _ = order;
/// ```
#[doc(inline)]
pub use fl_engine::aggregate::Order;

/// ```
/// use fl_runtime::extend::Pair;
///
/// /// Value times weight.
/// fn term(pair: Pair) -> f64 {
///     f64::from(pair.value()) * pair.weight()
/// }
/// # let _ = term;
/// ```
#[doc(inline)]
pub use fl_engine::aggregate::Pair;

/// ```
/// use std::sync::Arc;
///
/// use fl_runtime::extend::{Chosen, Method, Products, RuleError, ScoreRule, Then, Weight, combine};
///
/// /// The mean of all updates but the one that is farthest from the round's model.
/// #[derive(Debug)]
/// struct WithoutTheFarthest;
///
/// impl ScoreRule for WithoutTheFarthest {
///     fn choose(&self, products: &Products, weights: &[Weight]) -> Result<Chosen, RuleError> {
///         let distance = |i: &usize| products.norm_squared(*i);
///         let farthest = (0..products.updates()).max_by(|a, b| distance(a).total_cmp(&distance(b)));
///         let weight = |i: usize| if Some(i) == farthest { 0 } else { weights[i].value() };
///         Ok(Chosen { weights: (0..weights.len()).map(weight).collect(), then: Then::Mean })
///     }
/// }
///
/// let updates: [&[f32]; 3] = [&[1.0, 2.0], &[4.0, 5.0], &[100.0, -100.0]];
/// let next = combine(&Method::Scored(Arc::new(WithoutTheFarthest)), &updates, &[2, 1, 9], &[0.0; 2]);
/// assert_eq!(next.unwrap(), [2.0, 3.0]);
/// ```
#[doc(inline)]
pub use fl_engine::aggregate::ScoreRule;

/// ```
/// use fl_runtime::extend::Products;
///
/// // Two updates: 3 and 4 away from the base, at a right angle.
/// let products = Products::from_fn(2, |i, j| if i == j { [9.0, 16.0][i] } else { 0.0 });
/// assert_eq!(products.norm_squared(1), 16.0);
/// assert_eq!(products.distance_squared(0, 1), 25.0);
/// ```
#[doc(inline)]
pub use fl_engine::aggregate::Products;

/// ```
/// use fl_runtime::extend::{Chosen, Then};
///
/// // The first of three updates counts twice, the second not at all.
/// let chosen = Chosen { weights: vec![2, 0, 1], then: Then::Mean };
/// # let _ = chosen;
/// ```
#[doc(inline)]
pub use fl_engine::aggregate::Chosen;

/// ```
/// use std::sync::Arc;
///
/// use fl_runtime::extend::{ColumnRule, Then};
///
/// /// The chosen updates are combined by a rule over elements.
/// fn by(rule: Arc<dyn ColumnRule>) -> Then {
///     Then::Columns(rule)
/// }
/// # let _ = by;
/// ```
#[doc(inline)]
pub use fl_engine::aggregate::Then;

/// ```
/// use fl_runtime::extend::RuleError;
///
/// let error = RuleError::Failed("all updates are equally far".to_owned());
/// assert_eq!(error.to_string(), "all updates are equally far");
/// ```
#[doc(inline)]
pub use fl_engine::aggregate::RuleError;

/// ```
/// use std::sync::Arc;
///
/// use fl_runtime::extend::{ColumnRule, Method};
///
/// /// What [`combine`](fl_runtime::extend::combine) takes in a test.
/// fn method(rule: Arc<dyn ColumnRule>) -> Method {
///     Method::Columns(rule)
/// }
/// # let _ = method;
/// ```
#[doc(inline)]
pub use fl_engine::aggregate::Method;

/// ```
/// # use std::sync::Arc;
/// # use fl_runtime::extend::{ColumnRule, Method};
/// use fl_runtime::extend::combine;
///
/// # fn test(rule: Arc<dyn ColumnRule>) {
/// // Two updates of one element each, both of weight 1, over a base of 0.
/// let updates: [&[f32]; 2] = [&[1.0], &[2.0]];
/// let next = combine(&Method::Columns(rule), &updates, &[1, 1], &[0.0]);
/// # let _ = next;
/// # }
/// ```
#[doc(inline)]
pub use fl_engine::aggregate::combine;

/// ```
/// use fl_runtime::extend::Name;
///
/// let name: Name = "hospital-1".parse().unwrap();
/// assert_eq!(name.as_str(), "hospital-1");
/// ```
#[doc(inline)]
pub use fl_engine::Name;

/// ```
/// use fl_runtime::extend::RoundNo;
///
/// assert!(RoundNo(1) < RoundNo(2));
/// ```
#[doc(inline)]
pub use fl_engine::RoundNo;

/// ```
/// use fl_runtime::extend::Weight;
///
/// assert_eq!(Weight::new(120).unwrap().value(), 120);
/// assert!(Weight::new(0).is_err());
/// ```
#[doc(inline)]
pub use fl_engine::Weight;

/// ```
/// use fl_runtime::extend::Weight;
///
/// // `?` turns this error into a [`TaskError`](fl_runtime::extend::TaskError).
/// assert!(Weight::new(u64::MAX).is_err());
/// ```
#[doc(inline)]
pub use fl_engine::units::WeightError;

/// ```
/// use fl_runtime::extend::{ModelError, TaskError};
///
/// /// `?` does the same.
/// fn refused(error: ModelError) -> TaskError {
///     error.into()
/// }
/// # let _ = refused;
/// ```
#[doc(inline)]
pub use fl_engine::model::ModelError;

/// ```
/// use fl_runtime::extend::{Layout, ModelState, TensorSpec};
///
/// let (weight, bias) = (TensorSpec::f32("line.weight", [1, 2]), TensorSpec::f32("line.bias", [1]));
/// let layout = Layout::new(vec![weight, bias]).unwrap();
/// let mut state = ModelState::zeros(layout);
/// state.f32[2] = 0.5;
/// assert_eq!(state.layout().place(1), 2..3);
/// ```
#[doc(inline)]
pub use fl_engine::tensor::ModelState;

/// ```
/// use fl_runtime::extend::Layout;
///
/// /// Where the tensor `name` lies in a state's f32 values.
/// fn place(layout: &Layout, name: &str) -> Option<std::ops::Range<usize>> {
///     layout.tensors().iter().position(|tensor| tensor.name == name).map(|index| layout.place(index))
/// }
/// # let _ = place;
/// ```
#[doc(inline)]
pub use fl_engine::tensor::Layout;

/// ```
/// use fl_runtime::extend::TensorSpec;
///
/// assert_eq!(TensorSpec::f32("line.weight", [3, 2]).elements(), Some(6));
/// ```
#[doc(inline)]
pub use fl_engine::tensor::TensorSpec;

/// ```
/// use fl_runtime::extend::{Dtype, TensorSpec};
///
/// assert_eq!(TensorSpec::f32("line.weight", [3, 2]).dtype, Dtype::F32);
/// ```
#[doc(inline)]
pub use fl_engine::tensor::Dtype;

/// ```
/// use fl_runtime::extend::{Combine, TensorSpec};
///
/// // `hold_out` in the plan keeps a tensor's values at each site.
/// assert_ne!(TensorSpec::f32("line.weight", [3, 2]).combine, Combine::Keep);
/// ```
#[doc(inline)]
pub use fl_engine::tensor::Combine;

/// ```
/// use fl_runtime::extend::{ModelSpec, plan::Plan};
///
/// /// A task may ask for a model that it knows.
/// fn check(plan: &Plan) -> Result<(), String> {
///     let model: &ModelSpec = &plan.model;
///     if model.input == [1] { Ok(()) } else { Err("the model must have one input".to_owned()) }
/// }
/// # let _ = check;
/// ```
#[doc(inline)]
pub use fl_engine::model::ModelSpec;

/// ```
/// use fl_runtime::extend::{Layer, ModelSpec};
///
/// fn is_linear(model: &ModelSpec) -> bool {
///     matches!(model.layers.as_slice(), [Layer::Linear { .. }])
/// }
/// # let _ = is_linear;
/// ```
#[doc(inline)]
pub use fl_engine::model::Layer;

/// The plan's types, and [`plan::Plan::parse`].
///
/// ```
/// use fl_runtime::extend::plan::Plan;
///
/// // Every plan has passed its checks; a misspelt key is refused.
/// assert!(Plan::parse("schema: 1\nfederatoin: trial\n").is_err());
/// ```
pub use fl_engine::plan;

/// The version of ndarray whose arrays a [`Dataset`] holds.
///
/// ```
/// use fl_runtime::extend::ndarray::Array2;
///
/// let features = Array2::from_shape_vec((2, 3), vec![0.0f32; 6]).unwrap().into_dyn();
/// assert_eq!(features.shape(), [2, 3]);
/// ```
pub use fl_learn::ndarray;

#[cfg(test)]
mod tests {
    /// What users rely on is shown by a program that compiles.
    #[test]
    fn every_item_has_an_example() {
        let source = include_str!("extend.rs");
        let (items, _) = source.split_once("\n#[cfg(test)]").unwrap();
        let blocks: Vec<&str> = items.split("\npub use ").collect();
        assert!(blocks.len() > 30);
        for pair in blocks.windows(2) {
            let item = pair[1].split(';').next().unwrap_or_default();
            let docs = pair[0].rsplit("\n\n").next().unwrap_or_default();
            assert!(docs.contains("/// ```"), "{item} has no example");
        }
    }
}
