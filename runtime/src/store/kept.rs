//! `save/kept/`: the rounds that the plan's `keep` names, with all that a run needs to continue from one.
//!
//! ```text
//! save/kept/W-0000010.fl                  a generation, as in save/generations
//! save/kept/W_best_0000007.safetensors    the model that was the best at that time, measured in round 7
//! ```
//!
//! A round is durable before it is kept, so nobody waits for this folder. Opening the store writes what a
//! crash has left out.

use std::path::{Path, PathBuf};

use fl_engine::{Digest, RoundNo, plan::Keep, tensor::Layout};

use super::{
    StoreError, entries,
    generation::{Generation, Generations, Head},
    model_file,
};
use crate::files::Files;

/// The folder of one federation's kept rounds.
#[derive(Debug)]
pub(super) struct Kept {
    files: Files,
    keep: Keep,
    save: PathBuf,
    federation: String,
    rounds: Generations,
    /// Root of the best model that was copied last.
    copied: Option<Digest>,
}

impl Kept {
    /// Makes the folder. `None` when the plan keeps no round.
    pub(super) fn open(
        files: &Files,
        save: &Path,
        federation: &str,
        keep: Option<Keep>,
    ) -> Result<Option<Self>, StoreError> {
        let Some(keep) = keep else { return Ok(None) };
        let rounds = generations(files, save, federation);
        rounds.prepare()?;
        let (files, save, federation) = (files.clone(), save.to_owned(), federation.to_owned());
        Ok(Some(Self { files, keep, save, federation, rounds, copied: None }))
    }

    /// Whether the plan keeps this round.
    pub(super) fn keeps(&self, round: RoundNo) -> bool {
        self.keep.keeps(round)
    }

    /// Whether the file of this round is whole, and of the same run. The best model that it names may be
    /// another one: after a crash, `head` may name none any more.
    pub(super) fn has(&self, head: &Head, layout: &Layout, state: Option<&Layout>) -> bool {
        let found = self.rounds.of_round(head.round, head.plan, layout, state);
        found.ok().flatten().is_some_and(|Generation { head: held, .. }| {
            (held.root, held.incarnation) == (head.root, head.incarnation)
        })
    }

    /// Writes a round, and the best model so far if no kept round has it yet. Deletes the oldest where the
    /// plan has a bound. When this returns, the round is durable here too.
    pub(super) fn put(
        &mut self,
        head: &Head,
        facts: &str,
        payload: &[u8],
        state: Option<(Digest, &[u8])>,
    ) -> Result<(), StoreError> {
        if let Some(best) = head.best.filter(|best| self.copied != Some(best.root)) {
            let from = model_file::path(&self.save, &self.federation, "best");
            model_file::copy(&self.files, &from, &best_file(&self.save, &self.federation, best.round))?;
            self.copied = Some(best.root);
        }
        self.rounds.write(head, facts, payload, state)?;
        if let Some(most) = self.keep.most {
            self.rounds.keep_newest(most as usize)?;
            self.drop_bests()?;
        }
        Ok(())
    }

    /// Deletes the best models that no kept round names: each kept round names the newest one that is not
    /// after it.
    fn drop_bests(&self) -> Result<(), StoreError> {
        let Some(oldest) = self.rounds.rounds()?.last().copied() else { return Ok(()) };
        let bests = best_files(&self.files, &self.save, &self.federation)?;
        let used = bests.iter().map(|(round, _)| *round).filter(|round| *round <= oldest).max();
        let mut unused = bests.iter().filter(|(round, _)| used.is_some_and(|used| *round < used));
        unused.try_for_each(|(_, path)| self.files.remove(path).map_err(StoreError::write(path)))
    }
}

/// Deletes every kept round and best model (for `--fresh`).
pub(super) fn delete(files: &Files, save: &Path, federation: &str) -> Result<(), StoreError> {
    generations(files, save, federation).delete()?;
    let bests = best_files(files, save, federation)?;
    bests.iter().try_for_each(|(_, path)| files.remove(path).map_err(StoreError::write(path)))
}

/// The rounds in `save/kept`.
pub(super) fn generations(files: &Files, save: &Path, federation: &str) -> Generations {
    Generations::new(files, save.join(FOLDER), federation)
}

/// The copy of a model that was the best when a round was kept.
pub(super) fn best_file(save: &Path, federation: &str, measured: RoundNo) -> PathBuf {
    save.join(FOLDER).join(format!("{federation}_best_{:07}{BEST_ENDING}", measured.0))
}

/// Every such copy, with the round that measured it; none where there is no folder.
pub(super) fn best_files(
    files: &Files,
    save: &Path,
    federation: &str,
) -> Result<Vec<(RoundNo, PathBuf)>, StoreError> {
    let (folder, prefix) = (save.join(FOLDER), format!("{federation}_best_"));
    let listed = entries(files, &folder)?;
    let measured = |path: &PathBuf| {
        let name = path.file_name()?.to_str()?;
        let digits = name.strip_prefix(&prefix)?.strip_suffix(BEST_ENDING)?;
        digits.parse().ok().map(RoundNo)
    };
    Ok(listed.into_iter().filter_map(|path| Some((measured(&path)?, path))).collect())
}

const FOLDER: &str = "kept";
const BEST_ENDING: &str = ".safetensors";
