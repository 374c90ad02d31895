//! The aggregator's model store: what outlives a crash, and the files that people take home.
//!
//! The caller runs it on a thread of its own: every call blocks on the disk. It has no clock, no lock and no thread.
//!
//! ```text
//! save/W_init.safetensors         read: what the first round starts from (`fl-host plan initialize`)
//! save/generations/W-0000012.fl   state: the last two finished rounds, each with its own length and digest
//! save/W_history.jsonl            one line a round, chained
//! save/W_last.safetensors         a copy of the newest generation for people
//! save/W_best.safetensors         the best model so far by the plan's metric
//! save/released/                  what the plan lets out of the enclave
//! ```
//!
//! A round is durable when its generation is synced. The generation holds the round's facts too, so a crash between
//! it and the history's line loses neither: opening writes the line. It also makes `W_last` again where it is not the
//! newest generation's. Where the plan's server step remembers (momentum, second moments), the generation holds that
//! state beside the model it belongs to, so a restart goes on as if there had been none; the copies are models alone.
//! The disk needs room for seven models: three generations while one is written, and twice two copies while one is
//! replaced; and for three times the server's state.
//!
//! The history lies in `save/` and not in `logs/`, because under Gramine `save/` is an encrypted mount and `logs/` is
//! the host's.

mod error;
mod generation;
mod history;
mod model_file;
mod released;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use fl_engine::{
    ByteCount, Digest, RoundNo,
    aggregate::state_layout,
    limits,
    model::safetensors,
    plan::{MetricsTo, Plan, Released},
    round::{AggregatedMetric, RoundFacts},
    tensor::Layout,
};
use generation::{Best, Generation, Generations, Head};
use history::{History, facts_json};
use model_file::{Durability, fits, replace, rounds_through, texts};
use released::Releases;

use crate::{observe::MetricJson, payload::leaves::root_of};

pub use error::StoreError;
pub(crate) use model_file::initial_texts;
pub use model_file::{About, keep_final, text};
pub use released::MemberCopies;

/// What a run goes on from.
#[derive(Clone, Debug, PartialEq)]
pub struct Resume {
    /// The next round to run; the plan's number of rounds when all are done.
    pub round: RoundNo,
    /// Its base model: f32 segment, then i64 segment, little-endian.
    pub payload: Vec<u8>,
    /// The base model's root.
    pub root: Digest,
    /// State of the server's step after the round that made the base; `None` before the first, and where the plan has
    /// no step that remembers.
    pub state: Option<Vec<u8>>,
    /// The best-model metric of the model in `W_best`; `None` when there is none, so that the next good one is kept.
    pub best: Option<f64>,
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

/// The open store of one run.
#[derive(Debug)]
pub struct Store {
    save: PathBuf,
    federation: String,
    plan: Digest,
    shows_metrics: bool,
    layout: Arc<Layout>,
    /// Of the server's state, where the plan's step has one.
    state: Option<Arc<Layout>>,
    generations: Generations,
    history: History,
    releases: Option<Releases>,
    /// JSON, of the closing round.
    final_metrics: Option<String>,
    best: Option<Best>,
    next: RoundNo,
}

impl Store {
    /// Opens `save`, which is made where it is missing, for the federation of this name, and finds what to go on from.
    ///
    /// What is not whole is passed over with a warning: a generation for the one before it, the history's last line, a
    /// `W_best` that cannot be read.
    ///
    /// # Errors
    /// [`StoreError`]: no initial model and no generation, one of another plan, none that is whole, a history that was
    /// changed, a folder that cannot be written to.
    pub fn open(
        save: &Path,
        federation: &str,
        plan: &Plan,
        plan_hash: Digest,
        layout: &Arc<Layout>,
    ) -> Result<(Self, Resume), StoreError> {
        let generations = Generations::new(save, federation);
        generations.prepare()?;
        let of_state = match plan.aggregation().and_then(|aggregation| aggregation.server) {
            Some(server) => state_layout(server, layout).map_err(StoreError::StateLayout)?,
            None => None,
        };
        let newest = generations.newest(plan_hash, layout, of_state.as_deref(), plan.rounds)?;
        let (payload, root, from, kept, state) = match newest {
            Some(Generation { head, facts, payload, state }) => {
                (payload, head.root, ResumedFrom::Generation, Some((head, facts)), state)
            }
            None => {
                let (payload, root) =
                    initial(&model_file::path(save, federation, "init"), plan_hash, layout)?;
                (payload, root, ResumedFrom::Init, None, None)
            }
        };
        let head = kept.as_ref().map(|(head, _)| *head);
        let (history, found) =
            History::open(save.join(format!("{federation}_history.jsonl")), head.as_ref())?;
        let mut store = Self {
            save: save.to_owned(),
            federation: federation.to_owned(),
            plan: plan_hash,
            shows_metrics: plan.metrics != MetricsTo::None,
            layout: Arc::clone(layout),
            state: of_state,
            generations,
            history,
            releases: Releases::open(save, federation, plan.release, layout)?,
            final_metrics: None,
            best: None,
            next: head.map_or(RoundNo(0), |h| h.round.next()),
        };
        store.sweep();
        // Without a generation, a file of this name is from a run that was given up.
        store.best = head.and_then(|head| store.best_on_disk(head.best));
        if let Some((head, facts)) = &kept {
            if !found {
                store.complete_history(head, facts)?;
            }
            store.mend_last(head, &payload);
            // A crash may have come between a round and its release.
            if store.releases.as_ref().is_some_and(|r| !r.has_round(rounds_through(head.round))) {
                store.release_round(head.round, head.root, None, &payload)?;
            }
        }
        let best = store.best.map(|b| b.value);
        let resume = Resume { round: store.next, payload, root, state, best, from };
        Ok((store, resume))
    }

    /// Whether a run could begin at the initial model.
    ///
    /// # Errors
    /// As [`Store::open`] without a kept round.
    pub fn check_initial(
        save: &Path,
        federation: &str,
        plan_hash: Digest,
        layout: &Arc<Layout>,
    ) -> Result<(), StoreError> {
        initial(&model_file::path(save, federation, "init"), plan_hash, layout).map(drop)
    }

    /// Gives up every round that is kept, for `--fresh`: the next [`Store::open`] begins at the initial model. The
    /// history and the copies stay, until a round replaces them. Returns the number of generations deleted.
    ///
    /// # Errors
    /// [`StoreError::Read`], [`StoreError::Write`].
    pub fn forget(save: &Path, federation: &str) -> Result<usize, StoreError> {
        Generations::new(save, federation).delete()
    }

    /// Keeps a finished round: when this returns, it is durable. `payload` is the model that it made, whose root the
    /// facts state; `state` that of the server's step, where the plan has one that remembers. `W_last` is replaced too;
    /// that it could not be is a warning.
    ///
    /// # Errors
    /// [`StoreError`]; the rounds before are untouched, and the same round may be put again.
    pub fn put_round(
        &mut self,
        facts: &RoundFacts,
        payload: &[u8],
        state: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        fits(&self.layout, payload)?;
        let lengths = [state.map_or(0, <[u8]>::len), self.state.as_ref().map_or(0, |l| l.byte_len())];
        let [given, expected] = lengths.map(|length| ByteCount(length as u64));
        if given != expected {
            return Err(StoreError::StateLength { given, expected });
        }
        if facts.round != self.next {
            return Err(StoreError::Order { given: facts.round, expected: self.next });
        }
        let head = Head {
            plan: self.plan,
            layout: self.layout.hash(),
            root: facts.root,
            incarnation: facts.incarnation,
            round: facts.round,
            best: self.best,
        };
        let json = facts_json(facts, self.shows_metrics);
        let state = self.state.as_ref().map(|layout| layout.hash()).zip(state);
        self.generations.write(&head, &json, payload, state)?;
        self.history.append(&json)?;
        self.next = facts.round.next();
        self.generations.prune(facts.round);
        let measured = self.shows_metrics.then(|| MetricJson::json(&facts.metrics));
        if let Err(error) = self.write_last(facts.round, facts.root, measured, payload) {
            warn_of_copy(&error);
        }
        Ok(())
    }

    /// Keeps the best model so far: the base of `round`, in which it was measured. Comes before that round's
    /// [`Store::put_round`].
    ///
    /// # Errors
    /// [`StoreError`]; the best model before it is kept.
    pub fn put_best(
        &mut self,
        round: RoundNo,
        root: Digest,
        value: f64,
        metrics: &[AggregatedMetric],
        payload: &[u8],
    ) -> Result<(), StoreError> {
        let mut texts = texts(About { plan: self.plan, rounds: round.0, root });
        if self.shows_metrics {
            texts.insert(text::VALUE.to_owned(), value.to_string());
            texts.insert(text::METRICS.to_owned(), MetricJson::json(metrics));
        }
        replace(&self.path("best"), &self.layout, payload, &texts, Durability::Synced)?;
        self.best = Some(Best { round, root, value });
        Ok(())
    }

    /// Writes `W_last` once more at the run's end, synced, with what the closing round measured on it.
    ///
    /// # Errors
    /// [`StoreError`]; the copy that was there is kept, and so is the generation.
    pub fn put_final(
        &mut self,
        root: Digest,
        metrics: &[AggregatedMetric],
        payload: &[u8],
    ) -> Result<PathBuf, StoreError> {
        self.final_metrics = self.shows_metrics.then(|| MetricJson::json(metrics));
        let mut texts = texts(About { plan: self.plan, rounds: self.next.0, root });
        texts.extend(self.final_metrics.clone().map(|json| (text::METRICS.to_owned(), json)));
        let path = self.path("last");
        replace(&path, &self.layout, payload, &texts, Durability::Synced)?;
        Ok(path)
    }

    /// Lets a durable round's model out, where the plan releases each: its root, and the metrics of that round.
    ///
    /// # Errors
    /// [`StoreError`]; the round itself is safe.
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
        let about = About { plan: self.plan, rounds: rounds_through(round), root };
        let mut texts = texts(about);
        let metrics = metrics.filter(|_| self.shows_metrics).map(MetricJson::json);
        texts.extend(metrics.map(|json| (text::ROUND_METRICS.to_owned(), json)));
        releases.put(Released::Each, about, &texts, payload).map(drop)
    }

    /// Lets the last or the best model out, where the plan says so; comes once all rounds are run. Where no round has
    /// measured one, the last stands for the best, under its own name. Answers with the file that a run ends with.
    ///
    /// # Errors
    /// [`StoreError`]; every round is safe, and an aggregator that is started again tries once more.
    pub fn release_at_the_end(&self, root: Digest, payload: &[u8]) -> Result<Option<PathBuf>, StoreError> {
        let Some(releases) = &self.releases else { return Ok(None) };
        match (releases.what, self.best) {
            (Released::Best, Some(Best { round, root, .. })) => {
                releases.put_best(About { plan: self.plan, rounds: round.0, root }).map(Some)
            }
            (Released::Last | Released::Best, _) => {
                if releases.what == Released::Best {
                    warn_of_no_best();
                }
                let about = About { plan: self.plan, rounds: self.next.0, root };
                let mut texts = texts(about);
                texts.extend(self.final_metrics.clone().map(|json| (text::METRICS.to_owned(), json)));
                releases.put(Released::Last, about, &texts, payload).map(Some)
            }
            (what, _) => Ok(Some(releases.path(what, self.next.0))),
        }
    }

    /// The best model in its payload form, with the round that it was measured in and its root: for members, once all
    /// rounds are run. `None` when no round has measured one.
    ///
    /// # Errors
    /// [`StoreError::Read`], [`StoreError::BestChanged`].
    pub fn best_model(&self) -> Result<Option<(RoundNo, Digest, Vec<u8>)>, StoreError> {
        let Some(Best { round, root, .. }) = self.best else {
            warn_of_no_best();
            return Ok(None);
        };
        let path = self.path("best");
        let payload = model_file::payload(&path, &self.layout).map_err(StoreError::read(&path))?;
        if root_of(self.layout.hash(), &payload) != root {
            return Err(StoreError::BestChanged { path });
        }
        Ok(Some((round, root, payload)))
    }

    /// `save/W_last.safetensors`: there once a round is kept.
    #[must_use]
    pub fn last_model_file(&self) -> PathBuf {
        self.path("last")
    }

    /// `save/W_best.safetensors`: there once a round has measured the plan's metric.
    #[must_use]
    pub fn best_model_file(&self) -> PathBuf {
        self.path("best")
    }

    fn path(&self, kind: &str) -> PathBuf {
        model_file::path(&self.save, &self.federation, kind)
    }

    fn write_last(
        &self,
        round: RoundNo,
        root: Digest,
        metrics: Option<String>,
        payload: &[u8],
    ) -> Result<(), StoreError> {
        let mut texts = texts(About { plan: self.plan, rounds: rounds_through(round), root });
        texts.extend(metrics.map(|json| (text::ROUND_METRICS.to_owned(), json)));
        replace(&self.path("last"), &self.layout, payload, &texts, Durability::Unsynced)
    }

    /// Removes what crashes in the middle of a replacement left.
    fn sweep(&self) {
        for kind in ["last", "best"] {
            let _ = fs::remove_file(model_file::scrap_of(&self.path(kind)));
        }
    }

    /// Writes the line that a crash left unwritten behind its generation.
    fn complete_history(&mut self, head: &Head, facts: &str) -> Result<(), StoreError> {
        if self.history.is_empty() && head.round > RoundNo(0) {
            tracing::warn!("the history of the rounds before {} is missing", head.round);
        }
        self.history.append(facts)
    }

    /// Makes `W_last` again where it is not the newest generation's model.
    fn mend_last(&self, head: &Head, payload: &[u8]) {
        let last = model_file::examine(&self.path("last"), &self.layout);
        if last.is_none_or(|(root, _)| root != head.root)
            && let Err(error) = self.write_last(head.round, head.root, None, payload)
        {
            warn_of_copy(&error);
        }
    }

    /// The best model as its file has it; `known` is the newest generation's word. A crash between the two leaves a
    /// file that is newer, and its own value counts.
    fn best_on_disk(&self, known: Option<Best>) -> Option<Best> {
        let path = self.path("best");
        let found = model_file::examine(&path, &self.layout)
            .filter(|(_, texts)| texts.get(text::PLAN) == Some(&self.plan.to_string()));
        let best = found.and_then(|(root, texts)| match known {
            Some(best) if best.root == root => Some(best),
            _ => {
                let value = texts.get(text::VALUE)?.parse().ok()?;
                let round = RoundNo(texts.get(text::ROUND)?.parse().ok()?);
                Some(Best { round, root, value })
            }
        });
        if let (None, Some(lost)) = (best, known) {
            tracing::warn!("{}: the best model, of round {}, is lost", path.display(), lost.round);
        }
        best
    }
}

/// Payload and root of the model that the first round starts from.
fn initial(path: &Path, plan: Digest, layout: &Arc<Layout>) -> Result<(Vec<u8>, Digest), StoreError> {
    let length = match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(StoreError::NoInit { path: path.to_owned() });
        }
        found => found.map_err(StoreError::read(path))?.len(),
    };
    let room = 8 + limits::MODEL_HEADER_BYTES as u64 + layout.byte_len() as u64;
    if length > room {
        return Err(StoreError::InitSize {
            path: path.to_owned(),
            length: ByteCount(length),
            room: ByteCount(room),
        });
    }
    let file = fs::read(path).map_err(StoreError::read(path))?;
    let (state, texts) = safetensors::read(&file, layout)
        .map_err(|source| StoreError::Init { path: path.to_owned(), source })?;
    drop(file);
    if let Some(theirs) = texts.get(text::PLAN).filter(|theirs| **theirs != plan.to_string()) {
        let (path, theirs) = (path.to_owned(), theirs.clone());
        return Err(StoreError::InitOfOtherPlan { path, theirs, ours: plan });
    }
    let mut payload = Vec::new();
    state.write_bytes(&mut payload);
    let found = root_of(layout.hash(), &payload);
    if let Some(stated) = texts.get(text::ROOT).filter(|stated| **stated != found.to_string()) {
        return Err(StoreError::InitRoot { path: path.to_owned(), stated: stated.clone(), found });
    }
    Ok((payload, found))
}

fn warn_of_no_best() {
    tracing::warn!(
        "no round has measured the plan's best metric: the last model is released in place of the best; look at what the \
         collaborators report"
    );
}

fn warn_of_copy(error: &StoreError) {
    let cause = std::error::Error::source(error).map(|e| format!(": {e}")).unwrap_or_default();
    tracing::warn!("{error}{cause}; the model itself is safe in save/generations");
}

#[cfg(test)]
mod tests;
