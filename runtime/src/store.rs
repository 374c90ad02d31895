//! The aggregator's model store: the state that survives a crash, and model files for people.
//!
//! Every call blocks on the disk, so the caller gives the store a thread of its own. The store has no clock,
//! no lock and no thread.
//!
//! ```text
//! save/W_init.safetensors         read: the model that the first round starts from
//! save/generations/W-0000012.fl   state: the last two finished rounds, each with its length and digest
//! save/kept/                      the rounds that the plan's `keep` names
//! save/W_history.jsonl            one line per round; each names the digest of the line before
//! save/W_history.1.jsonl          the history of the rounds that `--fresh` has deleted, then 2 and so on
//! save/W_last.safetensors         a copy of the newest generation for people
//! save/W_best.safetensors         the best model so far by the plan's metric
//! save/released/                  models that the plan releases from the enclave
//! save/W_resumed                  the serial of the last order to go back that was carried out
//! ```
//!
//! `W` is the federation's name. A round is durable when its generation is synced. The generation holds the
//! round's facts too: after a crash between the generation and the history's line, opening the store writes
//! the line. Opening also writes `W_last` again where that file is not the newest generation's model. Where
//! the plan's server step keeps a state (momentum, second moments), the generation holds the state beside its
//! model, so a restart changes no result. The copies for people hold models without that state.
//!
//! The disk needs room for seven models and for three server states: three generations while one of them is
//! written, `W_last` and `W_best`, and a second file of each of these two while it is replaced. Each kept
//! round takes a model and a server state more, and at most one best model.
//!
//! The history lies in `save/` because under Gramine `save/` is an encrypted mount, while `logs/` belongs to
//! the host.

mod aside;
mod error;
mod generation;
mod going_back;
mod history;
mod initial;
mod kept;
pub(crate) mod lock;
mod mending;
mod model_file;
mod released;
mod statistics;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use aside::put_aside;
use fl_engine::{
    ByteCount, Digest, RoundNo,
    plan::{ExactRange, MetricsTo, ModelUnderTest, Plan, Released, Standardise, TaskKind},
    round::{AggregatedMetric, RoundFacts},
    tensor::Layout,
};
use generation::{Best, Generation, Generations, Head};
use history::{History, facts_json};
use initial::initial;
use kept::Kept;
use model_file::{fits, replace, rounds_through};
use released::Releases;

use crate::{
    files::{Durability, Files},
    observe::MetricJson,
    payload::leaves::root_of,
    system::System,
};

pub use error::StoreError;
pub use going_back::{GoneBack, StoredRun};
pub use lock::{Apart, LockError, SaveLock};
pub use model_file::{About, begins, initial_model_file, keep_final, text};
pub(crate) use model_file::{initial_texts, longest_model_file};
pub use released::MemberCopies;

/// Where a run continues.
#[derive(Clone, Debug, PartialEq)]
pub struct Resume {
    /// The next round to run; the plan's number of rounds when all are done.
    pub round: RoundNo,
    /// Its base model: f32 segment, then i64 segment, little-endian.
    pub payload: Vec<u8>,
    /// The base model's root.
    pub root: Digest,
    /// State of the server's step after the round that made the base model. `None` before the first round,
    /// and where the plan's step keeps no state.
    pub state: Option<Vec<u8>>,
    /// The metric of the model in `W_best`; `None` when there is no such model.
    pub best: Option<f64>,
    /// The round that measured it.
    pub best_round: RoundNo,
    /// Whether the final model was measured: a run that is over has nothing left to do.
    pub measured: bool,
    /// What the sites' data are scaled by, where the plan asks the sites and they have answered.
    pub statistics: Option<Arc<Standardise>>,
    /// Where the base model was found.
    pub from: ResumedFrom,
}

/// Where a base model was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumedFrom {
    /// `W_init.safetensors`.
    Init,
    /// The newest generation that is whole.
    Generation,
}

/// What `--fresh` has deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// Rounds that were run.
    pub rounds: u32,
    /// The new name of their history, if there was one.
    pub history: Option<PathBuf>,
}

/// The open store of one run.
#[derive(Debug)]
pub struct Store {
    files: Files,
    save: PathBuf,
    federation: String,
    plan: Digest,
    /// The plan's canonical text, as model files state it.
    canonical: String,
    shows_metrics: bool,
    layout: Arc<Layout>,
    /// Layout of the server's state, where the plan's step keeps one.
    state: Option<Arc<Layout>>,
    generations: Generations,
    history: History,
    /// The rounds that the plan keeps.
    kept: Option<Kept>,
    releases: Option<Releases>,
    /// Held against the folder before each write. Without one nothing is checked.
    lock: Option<Arc<SaveLock>>,
    /// Metrics of the closing round, as JSON.
    final_metrics: Option<String>,
    /// Whether `W_last` is the model with which the run ended, measured.
    is_final: bool,
    /// Metrics of the newest round, as JSON.
    round_metrics: Option<String>,
    /// Whether the closing round measures anything.
    measures: bool,
    best: Option<Best>,
    next: RoundNo,
    /// The statistics of all sites, as model files state them.
    statistics: Option<String>,
}

impl Store {
    /// Opens the folder `save` for the federation of this name, and finds where the run continues. A missing
    /// folder is made.
    ///
    /// Four kinds of damage cost a warning: a generation that is not whole (the one before it is used), a
    /// last line of the history that is not whole (it is removed), rounds that the history lacks, and a
    /// `W_best` that cannot be read.
    ///
    /// # Errors
    /// [`StoreError`] when there is neither an initial model nor a generation, when one of them belongs to
    /// another plan, when no generation is whole, when there is none although the history has rounds, when
    /// the history was changed, or when the folder cannot be written to.
    pub fn open(
        system: &System,
        save: &Path,
        federation: &str,
        plan: &Plan,
        plan_hash: Digest,
        layout: &Arc<Layout>,
    ) -> Result<(Self, Resume), StoreError> {
        let files = &system.files;
        let generations = Generations::new(files, save.join("generations"), federation);
        generations.prepare()?;
        let of_state = generation::layout_of_state(plan, layout)?;
        let newest = generations.newest(plan_hash, layout, of_state.as_deref(), plan.rounds)?;
        let (payload, root, from, kept, state) = match newest {
            Some(Generation { head, facts, payload, state }) => {
                (payload, head.root, ResumedFrom::Generation, Some((head, facts)), state)
            }
            None => {
                let (payload, root) = initial(
                    files,
                    &initial_model_file(save, federation),
                    plan_hash,
                    plan.seed,
                    layout,
                    plan.exact,
                )?;
                (payload, root, ResumedFrom::Init, None, None)
            }
        };
        let head = kept.as_ref().map(|(head, _)| *head);
        let (history, found) =
            History::open(files, history::file(save, federation), plan_hash, head.as_ref())?;
        if let (None, Some(last)) = (&head, found.last)
            && generations.rounds()?.is_empty()
        {
            return Err(StoreError::NoGeneration {
                dir: save.join("generations"),
                rounds: rounds_through(last),
            });
        }
        let statistics = statistics::of_history(plan, &found, head.is_some(), save, federation)?;
        let mut store = Self {
            files: files.clone(),
            save: save.to_owned(),
            federation: federation.to_owned(),
            plan: plan_hash,
            canonical: plan.canonical_text(),
            shows_metrics: plan.metrics != MetricsTo::None,
            layout: Arc::clone(layout),
            state: of_state,
            generations,
            history,
            kept: Kept::open(files, save, federation, plan.keep)?,
            releases: Releases::open(system, save, federation, plan.release, layout)?,
            lock: None,
            final_metrics: None,
            is_final: false,
            round_metrics: None,
            measures: plan.tasks.iter().any(|t| t.kind == TaskKind::Validate(ModelUnderTest::Aggregated)),
            best: None,
            next: head.map_or(RoundNo(0), |h| h.round.next()),
            statistics: statistics.as_deref().map(Standardise::to_text),
        };
        store.sweep();
        // Without a generation, `W_best` is from a run whose rounds were deleted.
        store.best = head.and_then(|head| store.best_on_disk(head.best));
        let mut measured = false;
        if let Some((head, facts)) = &kept {
            store.compare(head, &found);
            if !found.has_sought {
                store.history.append(facts)?;
            }
            // A run with `stop` may end before the plan's last round.
            let over = store.next.0 >= plan.rounds || plan.stop.is_some();
            measured = store.mend_last(head, &payload) && over;
            store.mend_kept(head, facts, &payload, state.as_deref())?;
            // A crash may have come between a round and its release.
            if store.releases.as_ref().is_some_and(|r| !r.has_round(rounds_through(head.round))) {
                store.release_round(head.round, head.root, None, &payload)?;
            }
        }
        let best = store.best.map(|b| b.value);
        let best_round = store.best.map_or(RoundNo(0), |b| b.round);
        let round = store.next;
        let resume = Resume { round, payload, root, state, best, best_round, measured, statistics, from };
        Ok((store, resume))
    }

    /// The same store, which writes only while `lock` is held.
    #[must_use]
    pub fn under(self, lock: Arc<SaveLock>) -> Self {
        Self { lock: Some(lock), ..self }
    }

    fn check_lock(&self) -> Result<(), StoreError> {
        Ok(self.lock.as_ref().map_or(Ok(()), |lock| lock.check())?)
    }

    /// Checks that a run could begin with the initial model.
    ///
    /// # Errors
    /// As [`Store::open`] without a generation.
    pub fn check_initial(
        files: &Files,
        save: &Path,
        federation: &str,
        plan_hash: Digest,
        seed: u64,
        layout: &Arc<Layout>,
        range: ExactRange,
    ) -> Result<(), StoreError> {
        initial(files, &initial_model_file(save, federation), plan_hash, seed, layout, range).map(drop)
    }

    /// Deletes the models of all stored rounds (for `--fresh`): the next [`Store::open`] begins with the
    /// initial model. The history is renamed, and the copies stay until a round replaces them.
    ///
    /// # Errors
    /// [`StoreError::Read`], [`StoreError::Write`].
    pub fn forget(files: &Files, save: &Path, federation: &str) -> Result<Forgotten, StoreError> {
        let rounds = Generations::new(files, save.join("generations"), federation).delete()?;
        kept::delete(files, save, federation)?;
        let history = put_aside(files, &history::file(save, federation))?;
        Ok(Forgotten { rounds, history })
    }

    /// Stores a finished round: when this returns, the round is durable. `payload` is the model that the
    /// round made, whose root the facts state. `state` is the state of the server's step, where the plan's
    /// step keeps one. `W_last` is replaced too; a failure to do so is a warning.
    ///
    /// # Errors
    /// [`StoreError`]; earlier rounds are unchanged, and the same round may be stored again.
    pub fn put_round(
        &mut self,
        facts: &RoundFacts,
        payload: &[u8],
        state: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        self.check_lock()?;
        fits(&self.layout, payload)?;
        let lengths = [state.map_or(0, <[u8]>::len), self.state.as_ref().map_or(0, |l| l.byte_len())];
        let [given, expected] = lengths.map(|length| ByteCount(length as u64));
        if given != expected {
            return Err(StoreError::StateLength { given, expected });
        }
        if facts.round != self.next {
            return Err(StoreError::Order { given: facts.round, expected: self.next });
        }
        let json = facts_json(facts, self.shows_metrics);
        self.generations.write(&self.head_of(facts), &json, payload, self.with_layout(state))?;
        self.history.append(&json)?;
        self.next = facts.round.next();
        self.generations.prune(facts.round);
        let measured = self.shows_metrics.then(|| MetricJson::json(&facts.metrics));
        self.round_metrics.clone_from(&measured);
        if let Err(error) = self.write_last(facts.round, facts.root, measured, payload) {
            warn_of_copy(&error);
        }
        Ok(())
    }

    /// Keeps a durable round in `save/kept`, where the plan says so. `payload` and `state` are those of
    /// [`Self::put_round`].
    ///
    /// # Errors
    /// [`StoreError`]; the round itself is durable.
    pub fn keep_round(
        &mut self,
        facts: &RoundFacts,
        payload: &[u8],
        state: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        if self.kept.as_ref().is_none_or(|kept| !kept.keeps(facts.round)) {
            return Ok(());
        }
        self.check_lock()?;
        let (head, state) = (self.head_of(facts), self.with_layout(state));
        let json = facts_json(facts, self.shows_metrics);
        self.kept.as_mut().map_or(Ok(()), |kept| kept.put(&head, &json, payload, state))
    }

    fn head_of(&self, facts: &RoundFacts) -> Head {
        Head {
            plan: self.plan,
            layout: self.layout.hash(),
            root: facts.root,
            incarnation: facts.incarnation,
            round: facts.round,
            best: self.best,
        }
    }

    /// A state of the server's step, with the hash of its layout.
    fn with_layout<'s>(&self, state: Option<&'s [u8]>) -> Option<(Digest, &'s [u8])> {
        self.state.as_ref().map(|layout| layout.hash()).zip(state)
    }

    /// Stores the best model so far: the base model of `round`, the round that measured it. The caller calls
    /// this before that round's [`Store::put_round`].
    ///
    /// # Errors
    /// [`StoreError`]; the previous best model stays.
    pub fn put_best(
        &mut self,
        round: RoundNo,
        root: Digest,
        value: f64,
        metrics: &[AggregatedMetric],
        payload: &[u8],
    ) -> Result<(), StoreError> {
        self.check_lock()?;
        let mut texts = self.texts(About { plan: self.plan, rounds: round.0, root });
        if self.shows_metrics {
            texts.insert(text::VALUE.to_owned(), value.to_string());
            texts.insert(text::METRICS.to_owned(), MetricJson::json(metrics));
        }
        replace(&self.files, &self.best_model_file(), &self.layout, payload, &texts, Durability::Synced)?;
        self.best = Some(Best { round, root, value });
        Ok(())
    }

    /// Writes `W_last` again at the run's end, synced, with the metrics that the closing round measured on
    /// it. Where it should have measured some and nobody did, the file keeps what it has, and an aggregator
    /// that starts again measures.
    ///
    /// # Errors
    /// [`StoreError`]; the previous copy and the generation stay.
    pub fn put_final(
        &mut self,
        root: Digest,
        metrics: &[AggregatedMetric],
        payload: &[u8],
    ) -> Result<PathBuf, StoreError> {
        self.check_lock()?;
        let mut texts = self.texts(About { plan: self.plan, rounds: self.next.0, root });
        if self.measures && metrics.is_empty() {
            texts.extend(self.round_metrics.clone().map(|json| (text::ROUND_METRICS.to_owned(), json)));
        } else {
            self.final_metrics = self.shows_metrics.then(|| MetricJson::json(metrics));
            texts.extend(self.final_metrics.clone().map(|json| (text::METRICS.to_owned(), json)));
            self.is_final = true;
            texts.extend(self.final_text());
        }
        let path = self.last_model_file();
        replace(&self.files, &path, &self.layout, payload, &texts, Durability::Synced)?;
        Ok(path)
    }

    /// Releases the model of a durable round, where the plan releases each round's model. `metrics` are the
    /// round's.
    ///
    /// # Errors
    /// [`StoreError`]; the round itself is durable.
    pub fn release_round(
        &self,
        round: RoundNo,
        root: Digest,
        metrics: Option<&[AggregatedMetric]>,
        payload: &[u8],
    ) -> Result<(), StoreError> {
        let Some(releases) = self.releases.as_ref().filter(|r| r.what == Released::Each) else {
            return Ok(());
        };
        self.check_lock()?;
        let about = About { plan: self.plan, rounds: rounds_through(round), root };
        let mut texts = self.texts(about);
        let metrics = metrics.filter(|_| self.shows_metrics).map(MetricJson::json);
        texts.extend(metrics.map(|json| (text::ROUND_METRICS.to_owned(), json)));
        releases.put(Released::Each, about, &texts, payload).map(drop)
    }

    /// Releases the last or the best model after the last round, where the plan says so. Where no round has
    /// measured the plan's metric, the last model is released in place of the best, under the last model's
    /// name. Returns the file that the run ends with.
    ///
    /// # Errors
    /// [`StoreError`]; every round is durable, and an aggregator that starts again tries the release again.
    pub fn release_at_the_end(&self, root: Digest, payload: &[u8]) -> Result<Option<PathBuf>, StoreError> {
        let Some(releases) = &self.releases else { return Ok(None) };
        self.check_lock()?;
        match (releases.what, self.best) {
            (Released::Best, Some(Best { round, root, .. })) => {
                releases.put_best(About { plan: self.plan, rounds: round.0, root }).map(Some)
            }
            (Released::Last | Released::Best, _) => {
                if releases.what == Released::Best {
                    warn_of_no_best();
                }
                let about = About { plan: self.plan, rounds: self.next.0, root };
                let mut texts = self.texts(about);
                texts.extend(self.final_text());
                texts.extend(self.final_metrics.clone().map(|json| (text::METRICS.to_owned(), json)));
                releases.put(Released::Last, about, &texts, payload).map(Some)
            }
            (what, _) => Ok(Some(releases.path(what, self.next.0))),
        }
    }

    /// The best model as a payload, with its root and the round that measured it: for members, after the last
    /// round. `None` when no round has measured the plan's metric.
    ///
    /// # Errors
    /// [`StoreError::Read`], [`StoreError::BestChanged`].
    pub fn best_model(&self) -> Result<Option<(RoundNo, Digest, Vec<u8>)>, StoreError> {
        let Some(Best { round, root, .. }) = self.best else {
            warn_of_no_best();
            return Ok(None);
        };
        let path = self.best_model_file();
        let payload =
            model_file::payload(&self.files, &path, &self.layout).map_err(StoreError::read(&path))?;
        if root_of(self.layout.hash(), &payload) != root {
            return Err(StoreError::BestChanged { path });
        }
        Ok(Some((round, root, payload)))
    }

    /// `save/W_last.safetensors`: exists after the first stored round.
    #[must_use]
    pub fn last_model_file(&self) -> PathBuf {
        model_file::path(&self.save, &self.federation, "last")
    }

    /// `save/W_best.safetensors`: exists after the first round that measured the plan's metric.
    #[must_use]
    pub fn best_model_file(&self) -> PathBuf {
        model_file::path(&self.save, &self.federation, "best")
    }

    fn write_last(
        &self,
        round: RoundNo,
        root: Digest,
        metrics: Option<String>,
        payload: &[u8],
    ) -> Result<(), StoreError> {
        let mut texts = self.texts(About { plan: self.plan, rounds: rounds_through(round), root });
        texts.extend(metrics.map(|json| (text::ROUND_METRICS.to_owned(), json)));
        replace(&self.files, &self.last_model_file(), &self.layout, payload, &texts, Durability::Unsynced)
    }

    fn final_text(&self) -> Option<(String, String)> {
        self.is_final.then(|| (text::FINAL.to_owned(), "yes".to_owned()))
    }
}

/// The paths of a folder's entries, in no order; none where there is no folder.
fn entries(files: &Files, folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    match files.list(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(StoreError::read(folder)),
    }
}

fn warn_of_no_best() {
    tracing::warn!(
        "no round has measured the metric that selects the best model, so the last model is released in place of the \
         best. Check which metrics the collaborators report"
    );
}

fn warn_of_copy(error: &StoreError) {
    tracing::warn!("{}. The model is safe in save/generations", with_cause(error));
}

/// The error, and what the system said.
fn with_cause(error: &StoreError) -> String {
    let cause = std::error::Error::source(error).map(|e| format!(": {e}")).unwrap_or_default();
    format!("{error}{cause}")
}

#[cfg(test)]
mod tests;
