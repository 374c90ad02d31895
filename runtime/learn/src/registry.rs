//! What a user's crate adds to this one, by the names under which a plan asks for it: tasks, data loaders, and rules by
//! which updates become a model.
//!
//! A user's crate fills a [`Registry`]. The collaborator takes its loader and its custom tasks from the registry, the
//! aggregator takes its rule. The registry of the plain binary is empty. The names in a plan are part of the plan's hash,
//! the code behind them is not: the enclaves' measurements differ where members run different crates.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use fl_engine::{
    Name,
    aggregate::{ColumnRule, Method, RuleError, ScoreRule, Stream, method},
    name::nearest,
    plan::{Loader, Plan, Rule, TaskKind},
};

use crate::{
    data::{self, DataError, Dataset, SplitData},
    task::{CustomTask, CustomTasks, Seed, TaskError, tasks_of},
};

/// Tasks, data loaders and rules by name.
///
/// ```
/// use fl_learn::{data::Dataset, registry::Registry};
///
/// let registry = Registry::new().with_loader("zeros", |_folder| {
///     Ok(Dataset { features: ndarray::ArrayD::zeros(vec![100, 4]), labels: vec![0.0; 100] })
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
#[derive(Default)]
pub struct Registry {
    tasks: BTreeMap<String, Box<MakeTask>>,
    loaders: BTreeMap<String, Box<Load>>,
    rules: BTreeMap<String, Method>,
}

/// Why a plan's rule is not one that this build has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnknownRule {
    /// Nobody registered it.
    #[error("the plan's rule is custom: {name:?}, which this build does not know")]
    Custom {
        /// As the plan has it.
        name: String,
        /// Every registered name.
        registered: Vec<String>,
    },
    /// A rule that the plan knows and this build does not.
    #[error(transparent)]
    Foreign(#[from] RuleError),
}

impl UnknownRule {
    /// What to do about it, where there is something to do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Custom { registered, .. } if registered.is_empty() => {
                Some("run the binary of the crate in src/ that registers it".to_owned())
            }
            Self::Custom { registered, .. } => Some(format!("registered: {}", registered.join(", "))),
            Self::Foreign(_) => None,
        }
    }
}

type MakeTask = dyn Fn() -> Box<dyn CustomTask> + Send + Sync;
type Load = dyn Fn(&Path) -> Result<Dataset, DataError> + Send + Sync;

impl Registry {
    /// Without a name.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a task, or replaces one of this name. `make` is called once for each task of the plan that names it.
    #[must_use]
    pub fn with_task(
        mut self,
        name: impl Into<String>,
        make: impl Fn() -> Box<dyn CustomTask> + Send + Sync + 'static,
    ) -> Self {
        self.tasks.insert(name.into(), Box::new(make));
        self
    }

    /// Adds a data loader, or replaces one of this name. `load` is given the data folder; what it returns may be in any
    /// memory order. Values that are not finite are refused afterwards, and labels, shapes and standardisation are
    /// checked and done as for any loader ([`crate::data::prepare`]).
    #[must_use]
    pub fn with_loader(
        mut self,
        name: impl Into<String>,
        load: impl Fn(&Path) -> Result<Dataset, DataError> + Send + Sync + 'static,
    ) -> Self {
        self.loaders.insert(name.into(), Box::new(load));
        self
    }

    /// Adds a rule that combines updates element by element, or replaces a rule of this name. The aggregator alone uses
    /// it, but every member's binary may register it.
    #[must_use]
    pub fn with_rule(mut self, name: impl Into<String>, rule: Arc<dyn ColumnRule>) -> Self {
        self.rules.insert(name.into(), Method::Columns(rule));
        self
    }

    /// Adds a rule that chooses updates by their distances, or replaces a rule of this name.
    #[must_use]
    pub fn with_score_rule(mut self, name: impl Into<String>, rule: Arc<dyn ScoreRule>) -> Self {
        self.rules.insert(name.into(), Method::Scored(rule));
        self
    }

    /// How the plan's updates become a model; the weighted mean where no task sends any.
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

    /// Makes the custom tasks of `member`'s group.
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

    /// Reads `member`'s data folder with the plan's loader and splits the rows by the plan's seed and the member's name.
    ///
    /// # Errors
    /// As [`data::load`] and [`data::split`]; [`DataError::UnknownLoader`] for a loader that is not registered.
    pub fn load_data(&self, plan: &Plan, folder: &Path, member: &Name) -> Result<SplitData, DataError> {
        let (spec, input) = (&plan.data, &plan.model.input);
        let rows = match &spec.loader {
            Loader::Custom { name } => data::prepare(self.load(name, folder)?, spec, input)?,
            _ => data::load(spec, input, folder)?,
        };
        data::split(&rows, &spec.split, Seed::new(plan.seed).with(member).word("split"))
    }

    /// What the loader `name` reads from `folder`.
    fn load(&self, name: &str, folder: &Path) -> Result<Dataset, DataError> {
        let load = self.loaders.get(name).ok_or_else(|| DataError::UnknownLoader {
            name: name.to_owned(),
            nearest: nearest(name, self.loaders.keys().map(String::as_str)),
        })?;
        let Dataset { features, labels } = load(folder)?;
        if !features.iter().chain(&labels).all(|value| value.is_finite()) {
            let what = format!("loader {name:?} gives a value that is not finite");
            return Err(DataError::Mismatch { what });
        }
        // Rows one after another, whatever view of a larger array the loader made.
        Ok(Dataset { features: features.as_standard_layout().into_owned(), labels })
    }
}

#[cfg(test)]
mod tests;
