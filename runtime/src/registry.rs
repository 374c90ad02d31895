//! What a user's crate adds to this one, by the names under which a plan asks for it: tasks and data loaders.
//!
//! The crate in a workspace's `src/` fills a [`Registry`]; [`crate::task::Runner`] and [`crate::task::load_data`] look
//! into it and nowhere else. The one of the plain binary is empty. A plan's name is part of the plan's hash, the code
//! behind it is not: members that run different crates are told apart by their measurement.

use std::{collections::BTreeMap, path::Path};

use fl_engine::name::nearest;

use crate::{
    data::{DataError, Dataset},
    task::{CustomTask, TaskError},
};

/// Tasks and data loaders by name.
///
/// ```
/// use fl_runtime::{data::Dataset, registry::Registry};
///
/// let registry = Registry::new().with_loader("zeros", |_folder| {
///     Ok(Dataset { features: ndarray::ArrayD::zeros(vec![100, 4]), labels: vec![0.0; 100] })
/// });
/// # let _ = registry;
/// ```
#[derive(Default)]
pub struct Registry {
    tasks: BTreeMap<String, Box<MakeTask>>,
    loaders: BTreeMap<String, Box<Load>>,
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

    /// The task `name`, for the plan's task `task`.
    pub(crate) fn task(&self, task: &fl_engine::Name, name: &str) -> Result<Box<dyn CustomTask>, TaskError> {
        let make = self.tasks.get(name).ok_or_else(|| TaskError::Custom {
            task: task.clone(),
            name: name.to_owned(),
            nearest: nearest(name, self.tasks.keys().map(String::as_str)),
        })?;
        Ok(make())
    }

    /// What the loader `name` reads from `folder`.
    pub(crate) fn load(&self, name: &str, folder: &Path) -> Result<Dataset, DataError> {
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
