//! What a user's crate adds: tasks, data loaders and aggregation rules, by the names that a plan uses.
//!
//! A user's crate fills a [`Registry`] and hands the registry to `fl_runtime::extend::run`. A collaborator
//! takes its loader and its custom tasks from the registry, the aggregator takes its rule. The registry of
//! the plain `fl-runtime` is empty. A plan's hash covers the names, not the code behind them. If two members
//! run different code, the measurements of their enclaves differ.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use fl_engine::{
    Name,
    aggregate::{ColumnRule, Method, RuleError, ScoreRule, Stream, method},
    model::Layer,
    name::nearest,
    plan::{Federated, Loader, Plan, Rule, TaskKind, TaskSpec, Truth},
};

use crate::{
    data::{self, DataError, Dataset, Loaded, SplitData},
    task::{CustomTask, CustomTasks, Seed, TaskError, tasks_of},
};

/// Tasks, data loaders and rules by name.
///
/// ```
/// use fl_learn::{data::Dataset, registry::Registry};
///
/// let registry = Registry::new().with_loader("zeros", |_folder| {
///     let (features, labels) = (vec![100, 4], vec![100]);
///     Ok(Dataset::new(ndarray::ArrayD::zeros(features), ndarray::ArrayD::zeros(labels)))
/// });
/// # let _ = registry;
/// ```
///
/// A rule, which a task of the plan asks for with `rule: {custom: {name: midrange}}`:
///
/// ```
/// use std::sync::Arc;
/// use fl_engine::aggregate::{Block, ColumnRule, Order};
/// use fl_learn::registry::Registry;
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
/// let registry = Registry::new().with_rule("midrange", Arc::new(Midrange));
/// # let _ = registry;
/// ```
#[derive(Clone, Default)]
pub struct Registry {
    tasks: BTreeMap<String, Arc<MakeTask>>,
    loaders: BTreeMap<String, Arc<Load>>,
    rules: BTreeMap<String, Method>,
}

/// Why this program cannot run the plan's aggregation rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnknownRule {
    /// The plan names a custom rule that this program does not have.
    #[error("the plan needs the aggregation rule {name:?}, which this program does not have")]
    Custom {
        /// The name in the plan.
        name: String,
        /// Every registered name.
        registered: Vec<String>,
    },
    /// A rule that the plan's format has and this program does not have.
    #[error(transparent)]
    Foreign(#[from] RuleError),
}

impl UnknownRule {
    /// What the user can do about the error.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Custom { registered, .. } if registered.is_empty() => Some(
                "start your own program, which adds the rule with `with_rule` or `with_score_rule`"
                    .to_owned(),
            ),
            Self::Custom { registered, .. } => {
                Some(format!("this program has the rules {}", registered.join(", ")))
            }
            Self::Foreign(_) => None,
        }
    }
}

type MakeTask = dyn Fn() -> Box<dyn CustomTask> + Send + Sync;
type Load = dyn Fn(&Path) -> Result<Dataset, DataError> + Send + Sync;

impl Registry {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a custom task, or replaces the task of this name. A collaborator calls `make` once for each task
    /// of the plan that has `kind: custom` and this name.
    #[must_use]
    pub fn with_task(
        mut self,
        name: impl Into<String>,
        make: impl Fn() -> Box<dyn CustomTask> + Send + Sync + 'static,
    ) -> Self {
        self.tasks.insert(name.into(), Arc::new(make));
        self
    }

    /// Adds a data loader, or replaces the loader of this name. A collaborator calls `load` once, with its
    /// data folder.
    ///
    /// The features may have any memory order. Afterwards the collaborator refuses values that are not
    /// finite, checks labels and shapes, and standardises, as after a built-in loader
    /// ([`crate::data::prepare`]).
    #[must_use]
    pub fn with_loader(
        mut self,
        name: impl Into<String>,
        load: impl Fn(&Path) -> Result<Dataset, DataError> + Send + Sync + 'static,
    ) -> Self {
        self.loaders.insert(name.into(), Arc::new(load));
        self
    }

    /// Adds a rule that combines updates element by element, or replaces the rule of this name. Only the
    /// aggregator uses rules; a collaborator's program may register them too.
    #[must_use]
    pub fn with_rule(mut self, name: impl Into<String>, rule: Arc<dyn ColumnRule>) -> Self {
        self.rules.insert(name.into(), Method::Columns(rule));
        self
    }

    /// Adds a rule that chooses among updates by their distances, or replaces the rule of this name.
    #[must_use]
    pub fn with_score_rule(mut self, name: impl Into<String>, rule: Arc<dyn ScoreRule>) -> Self {
        self.rules.insert(name.into(), Method::Scored(rule));
        self
    }

    /// The names of all loaders, tasks and rules, each kind with its word in the plural.
    #[must_use]
    pub fn names(&self) -> [(&'static str, Vec<&str>); 3] {
        [
            ("loaders", self.loaders.keys().map(String::as_str).collect()),
            ("tasks", self.tasks.keys().map(String::as_str).collect()),
            ("rules", self.rules.keys().map(String::as_str).collect()),
        ]
    }

    /// The method by which the plan's updates become a model; the weighted mean if no task sends updates.
    ///
    /// # Errors
    /// [`UnknownRule`] names the rule that is not registered.
    pub fn method(&self, plan: &Plan) -> Result<Method, UnknownRule> {
        let Some(aggregation) = plan.aggregation() else { return Ok(Method::Stream(Stream::WeightedMean)) };
        match aggregation.rule {
            Rule::Custom { name } if !self.rules.contains_key(name) => {
                let (name, registered) = (name.clone(), self.rules.keys().cloned().collect());
                Err(UnknownRule::Custom { name, registered })
            }
            _ => Ok(method(&aggregation, plan.exact, |name| self.rules.get(name).cloned())?),
        }
    }

    /// Makes the custom tasks that the plan gives `member`.
    ///
    /// # Errors
    /// [`TaskError::Custom`] names the first task that is not registered.
    pub fn tasks(&self, plan: &Plan, member: &Name) -> Result<CustomTasks, TaskError> {
        let mut made = CustomTasks::new();
        for task in tasks_of(plan, member) {
            let TaskKind::Custom { name, .. } = &task.kind else { continue };
            let make = self.tasks.get(name).ok_or_else(|| TaskError::Custom {
                task: task.name.clone(),
                name: name.clone(),
                nearest: nearest(name, self.tasks.keys().map(String::as_str)),
            })?;
            made.insert(task.name.clone(), make());
        }
        Ok(made)
    }

    /// Reads `member`'s data folder with the plan's loader and splits the rows by the plan's seed and the
    /// member's name.
    ///
    /// # Errors
    /// As [`data::read`] and [`data::split`]; [`DataError::UnknownLoader`] for a loader that is not
    /// registered.
    pub fn load_data(&self, plan: &Plan, folder: &Path, member: &Name) -> Result<SplitData, DataError> {
        data::has_statistics(&plan.data)?;
        Self::split_data(plan, &self.read_data(plan, folder)?, member)
    }

    /// Splits rows by the plan's seed and the member's name, or in their order where the plan says so.
    ///
    /// # Errors
    /// As [`data::split`].
    pub fn split_data(plan: &Plan, loaded: &Loaded, member: &Name) -> Result<SplitData, DataError> {
        let seed = Seed::new(plan.seed).with(member).word("split");
        let seed = (!plan.data.keeps_order()).then_some(seed);
        let split = data::split(&loaded.data, &plan.data.split, seed)?;
        // A user's task reads the arrays.
        let is_custom = |task: &TaskSpec| matches!(task.kind, TaskKind::Custom { .. });
        if tasks_of(plan, member).any(is_custom) { split.in_memory() } else { Ok(split) }
    }

    /// Reads a data folder with the plan's loader. [`data::Loaded`] says what a person should hear of it.
    ///
    /// # Errors
    /// As [`data::read`]; [`DataError::UnknownLoader`] for a loader that is not registered.
    pub fn read_data(&self, plan: &Plan, folder: &Path) -> Result<Loaded, DataError> {
        let (spec, input, label) = (&plan.data, &plan.model.input, plan.label_shape());
        let mut loaded = match &spec.loader {
            Loader::Custom { name } => {
                data::prepared(self.load(name, folder)?, spec, input, label.as_deref())?
            }
            _ => data::read(spec, input, label.as_deref().unwrap_or_default(), folder)?,
        };
        if label.is_some() && plan.loss().truth() == Truth::Share {
            data::check_shares(&loaded.data, plan.loss().word())?;
        }
        if let (Some(Federated { least }), Some(sums)) = (spec.federated, &loaded.sums) {
            loaded.facts.push(STATISTICS_LATER.to_owned());
            let name = |at: usize| spec.feature_name(input, &loaded.features, at);
            let few: Vec<String> = sums.few(least).into_iter().map(name).collect();
            if !few.is_empty() {
                let warning = format!(
                    "this site has fewer than {least} rows with a value of {}, and does not send its sums: data.standardise.federated.least",
                    few.join(", ")
                );
                loaded.warnings.push(warning);
            }
        }
        // A batch normalisation in front finds the scales by itself.
        let first = plan.model.layers.iter().find(|layer| !matches!(layer, Layer::Flatten));
        if !matches!(first, Some(Layer::BatchNorm { .. })) {
            let warning = data::spread_warning(&loaded, spec);
            loaded.warnings.extend(warning);
        }
        Ok(loaded)
    }

    /// What the loader `name` reads from `folder`.
    fn load(&self, name: &str, folder: &Path) -> Result<Dataset, DataError> {
        let load = self.loaders.get(name).ok_or_else(|| DataError::UnknownLoader {
            name: name.to_owned(),
            nearest: nearest(name, self.loaders.keys().map(String::as_str)),
        })?;
        let Dataset { features, labels, .. } = load(folder)?;
        if !features.iter().chain(&labels).all(|value| value.is_finite()) {
            let what = format!("loader {name:?} gives a value that is not finite");
            return Err(DataError::Mismatch { what });
        }
        // The loader may have returned a view of a larger array: here rows come to lie one after another.
        let [features, labels] = [features, labels].map(|array| array.as_standard_layout().into_owned());
        Ok(Dataset::new(features, labels))
    }
}

/// What a person hears of a plan whose statistics are not in it.
const STATISTICS_LATER: &str = "the plan has no statistics: the aggregator asks all sites for the sums of their data \
                                before the first round (standardise: federated)";

#[cfg(test)]
mod tests;
