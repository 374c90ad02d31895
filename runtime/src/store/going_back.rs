//! A run that goes back to the model after an earlier round, because the owner has signed a roster that says
//! so (`resume`). [`StoredRun::go_back`] is called before [`Store::open`](super::Store::open).
//!
//! The order of the steps makes each kill harmless: a start after the kill does all of them again.
//!
//! ```text
//! 1  read        the model after round N: a generation, a kept round, or a released model
//! 2  write       generations/W-N.fl, unless it is there
//! 3  rename      what came after round N, to NAME.1.ENDING: generations, kept and released rounds, copies
//! 4  copy        the best model of that time to W_best
//! 5  append      the line `resumed` to the history
//! 6  write       save/W_resumed: the order's serial, which says that the order is done
//! ```

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use fl_engine::{
    Digest, RoundNo,
    plan::{Plan, roster::Resumption},
    tensor::Layout,
};

use super::{
    StoreError,
    aside::put_aside,
    generation::{Best, Generation, Generations, Head, layout_of_state},
    history::{self, History, Told, resumed_json},
    kept, model_file,
    model_file::rounds_through,
    released, with_cause,
};
use crate::{files::Files, payload::leaves::root_of};

/// The stored rounds of a run that is not open.
#[derive(Clone, Debug)]
pub struct StoredRun {
    /// The process's.
    pub files: Files,
    /// The folder `save`.
    pub save: PathBuf,
    /// The plan.
    pub plan: Arc<Plan>,
    /// Its hash.
    pub plan_hash: Digest,
    /// Its model's tensors.
    pub layout: Arc<Layout>,
}

/// What an order to go back has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GoneBack {
    /// The order was carried out before.
    Before,
    /// No round was run here, so there is nothing to take back.
    NothingRun,
    /// The run continues from the model after the order's round.
    Back {
        /// The file that held the model.
        from: PathBuf,
        /// The newest finished round before.
        newest: RoundNo,
        /// The new names of what came after the order's round.
        aside: Vec<PathBuf>,
    },
}

/// The model after a round.
struct Source {
    generation: Generation,
    from: PathBuf,
}

impl StoredRun {
    /// Takes the run back, once for each serial of an order. `roster` is the SHA-256 of the roster's file.
    /// The caller holds the lock of `save`.
    ///
    /// # Errors
    /// [`StoreError::NotKept`], [`StoreError::NotReached`]: nothing was changed. Any other [`StoreError`]:
    /// the next call does all steps again.
    pub fn go_back(&self, order: &Resumption, roster: Digest) -> Result<GoneBack, StoreError> {
        let (files, save, federation) = (&self.files, &*self.save, self.federation());
        let path = history::file(save, federation);
        if self.done()? >= order.serial {
            return Ok(GoneBack::Before);
        }
        let told = history::told(files, &path, self.plan_hash, order.round)?;
        if told.resumed >= order.serial {
            return self.note_done(order).map(|()| GoneBack::Before);
        }
        let Some(newest) = self.newest()? else {
            // With a history, opening the store says that the models are missing.
            return if told.any {
                Ok(GoneBack::Before)
            } else {
                self.note_done(order).map(|()| GoneBack::NothingRun)
            };
        };
        let Source { generation, from } = self.source(order, newest, &told)?;
        let Generation { mut head, facts, payload, state } = generation;
        let best = self.best_at(&mut head);
        let (mut history, found) = History::open(files, path, self.plan_hash, Some(&head))?;
        // A call that was cut short has renamed the newest generations.
        let newest = found.last.map_or(newest, |last| last.max(newest));
        let generations = self.generations();
        if from != generations.path(order.round) {
            self.write(&generations, &Generation { head, facts, payload, state })?;
        }
        let mut aside = Vec::new();
        for later in self.later(&head, best.as_deref())? {
            aside.extend(put_aside(files, &later)?);
        }
        let current = model_file::path(save, federation, "best");
        if let Some(best) = best.filter(|best| *best != current) {
            model_file::copy(files, &best, &current)?;
        }
        history.append(&resumed_json(&head, order, roster, newest))?;
        self.note_done(order)?;
        Ok(GoneBack::Back { from, newest, aside })
    }

    /// Checks that [`Self::go_back`] could take the run back, while the run goes on. A model that the run
    /// would soon delete is kept.
    ///
    /// # Errors
    /// As [`Self::go_back`]. `Ok(false)` when the order was carried out before.
    pub fn can_go_back(&self, order: &Resumption) -> Result<bool, StoreError> {
        if self.done()? >= order.serial {
            return Ok(false);
        }
        let told = history::told(
            &self.files,
            &history::file(&self.save, self.federation()),
            self.plan_hash,
            order.round,
        )?;
        let Some(newest) = self.newest()? else { return Ok(true) };
        let Source { generation, from } = self.source(order, newest, &told)?;
        if from == self.generations().path(order.round) {
            let kept = kept::generations(&self.files, &self.save, self.federation());
            kept.prepare()?;
            self.write(&kept, &generation)?;
        }
        Ok(true)
    }

    fn federation(&self) -> &str {
        self.plan.federation.as_str()
    }

    fn generations(&self) -> Generations {
        Generations::new(&self.files, self.save.join("generations"), self.federation())
    }

    /// Writes a generation to a folder, its state with the state's layout.
    fn write(&self, to: &Generations, generation: &Generation) -> Result<(), StoreError> {
        let Generation { head, facts, payload, state } = generation;
        let of_state = layout_of_state(&self.plan, &self.layout)?.map(|layout| layout.hash());
        to.write(head, facts, payload, of_state.zip(state.as_deref()))
    }

    /// Whether the file is a whole model with this root.
    fn holds(&self, path: &Path, root: Digest) -> bool {
        model_file::examine(&self.files, path, &self.layout).is_some_and(|(found, _)| found == root)
    }

    /// The round of the newest generation.
    fn newest(&self) -> Result<Option<RoundNo>, StoreError> {
        let generations = self.generations();
        generations.prepare()?;
        let state = layout_of_state(&self.plan, &self.layout)?;
        let newest = generations.newest(self.plan_hash, &self.layout, state.as_deref(), self.plan.rounds)?;
        Ok(newest.map(|generation| generation.head.round))
    }

    /// The model after the order's round.
    fn source(&self, order: &Resumption, newest: RoundNo, told: &Told) -> Result<Source, StoreError> {
        let round = order.round;
        if round > newest {
            return Err(StoreError::NotReached { round, newest });
        }
        let state = layout_of_state(&self.plan, &self.layout)?;
        let (generations, kept) =
            (self.generations(), kept::generations(&self.files, &self.save, self.federation()));
        for held in [&generations, &kept] {
            match held.of_round(round, self.plan_hash, &self.layout, state.as_deref()) {
                Ok(Some(generation)) if told.root.is_none_or(|root| root == generation.head.root) => {
                    return Ok(Source { generation, from: held.path(round) });
                }
                Ok(None) => {}
                Ok(Some(_)) => tracing::warn!(
                    "ignoring {}: the history names another model of round {round}",
                    held.path(round).display()
                ),
                // The error names the file.
                Err(error) => tracing::warn!("ignored: {}", with_cause(&error)),
            }
        }
        if let (None, Some(source)) = (&state, self.plain_model(round, told)) {
            return Ok(source);
        }
        let mut earlier = generations.rounds()?;
        earlier.extend(kept.rounds()?);
        let released = |round: &RoundNo| self.files.is_file(&self.released(*round));
        earlier.extend((0..round.0).map(RoundNo).filter(|round| state.is_none() && released(round)));
        earlier.retain(|held| *held < round);
        earlier.sort_unstable();
        earlier.dedup();
        Err(StoreError::NotKept { order: Box::new(order.clone()), earlier })
    }

    /// A model file of the round whose root the history names. Such a file holds no state of the server's
    /// step.
    fn plain_model(&self, round: RoundNo, told: &Told) -> Option<Source> {
        let (root, facts) = (told.root?, told.facts.clone()?);
        let best = model_file::path(&self.save, self.federation(), "best");
        let hash = self.layout.hash();
        let (from, payload) = [self.released(round), best].into_iter().find_map(|from| {
            let payload = model_file::payload(&self.files, &from, &self.layout).ok()?;
            (root_of(hash, &payload) == root).then_some((from, payload))
        })?;
        let head = Head {
            plan: self.plan_hash,
            layout: hash,
            root,
            incarnation: told.incarnation,
            round,
            best: None,
        };
        Some(Source { generation: Generation { head, facts, payload, state: None }, from })
    }

    /// The model that the plan has released to the host after this round.
    fn released(&self, round: RoundNo) -> PathBuf {
        released::round_file(&self.save, self.federation(), rounds_through(round))
    }

    /// The file of the best model that the head names: `W_best`, or its copy beside the kept round. The head
    /// names none where there is no file any more.
    fn best_at(&self, head: &mut Head) -> Option<PathBuf> {
        let Best { root, round: measured, .. } = head.best?;
        let current = model_file::path(&self.save, self.federation(), "best");
        let copy = kept::best_file(&self.save, self.federation(), measured);
        let found = [current, copy].into_iter().find(|path| self.holds(path, root));
        if found.is_none() {
            tracing::warn!(
                "the best model up to round {}, measured in round {measured}, is not kept: the best model is chosen anew",
                head.round
            );
            head.best = None;
        }
        found
    }

    /// What came after the round of `head`, and is there.
    fn later(&self, head: &Head, best: Option<&Path>) -> Result<Vec<PathBuf>, StoreError> {
        let (files, save, federation) = (&self.files, &*self.save, self.federation());
        let mut later = Vec::new();
        for held in [self.generations(), kept::generations(files, save, federation)] {
            let rounds = held.rounds()?;
            later
                .extend(rounds.into_iter().filter(|round| *round > head.round).map(|round| held.path(round)));
        }
        let bests = kept::best_files(files, save, federation)?;
        later.extend(bests.into_iter().filter(|(round, _)| *round > head.round).map(|(_, path)| path));
        later.extend(released::later_files(files, save, federation, rounds_through(head.round))?);
        let (last, current) =
            (model_file::path(save, federation, "last"), model_file::path(save, federation, "best"));
        later.extend((!self.holds(&last, head.root)).then_some(last));
        later.extend((best != Some(&current)).then_some(current));
        Ok(later)
    }

    /// The highest serial of an order that was carried out here, or that had nothing to take back.
    fn done(&self) -> Result<u64, StoreError> {
        let path = self.done_file();
        match self.files.read_text_at_most(&path, DONE_BYTES) {
            Ok(text) => Ok(text.trim().parse().unwrap_or(0)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(StoreError::read(path)(error)),
        }
    }

    fn note_done(&self, order: &Resumption) -> Result<(), StoreError> {
        let path = self.done_file();
        let written = self.files.replace_shared(&path, format!("{}\n", order.serial).as_bytes());
        written.map_err(StoreError::write(path))
    }

    fn done_file(&self) -> PathBuf {
        self.save.join(format!("{}_resumed", self.federation()))
    }
}

/// Longest file with a serial, bytes.
const DONE_BYTES: usize = 64;
