//! The statistics of all sites in the history, and in the texts of model files.

use std::{path::Path, sync::Arc};

use fl_engine::{
    model::safetensors::Texts,
    plan::{Plan, Standardise},
    round::StatisticsFacts,
};

use super::{
    Store, StoreError,
    history::{self, Lines, statistics_json},
    model_file::{self, About, text},
};

impl Store {
    /// Appends the statistics of all sites to the history: when this returns, they are durable.
    ///
    /// # Errors
    /// [`StoreError`]; the history stays as it was.
    pub fn put_statistics(&mut self, facts: &StatisticsFacts) -> Result<(), StoreError> {
        self.check_lock()?;
        self.history.append(&statistics_json(facts))?;
        self.statistics = Some(facts.statistics.to_text());
        Ok(())
    }

    /// The texts of a model of this run.
    pub(super) fn texts(&self, about: About) -> Texts {
        let mut texts = model_file::texts(about, &self.canonical);
        texts.extend(self.statistics.clone().map(|found| (text::STANDARDISE.to_owned(), found)));
        texts
    }
}

/// What the history says of the sites' statistics; `has_rounds` says whether a model was made with them.
pub(super) fn of_history(
    plan: &Plan,
    found: &Lines,
    has_rounds: bool,
    save: &Path,
    federation: &str,
) -> Result<Option<Arc<Standardise>>, StoreError> {
    if plan.data.federated.is_none() {
        return Ok(None);
    }
    let statistics = found.statistics.as_deref().and_then(Standardise::from_text);
    if statistics.is_none() && has_rounds {
        return Err(StoreError::NoStatistics { path: history::file(save, federation) });
    }
    Ok(statistics.map(Arc::new))
}
