//! What opening a store mends after a crash: copies, kept rounds, the best model.

use fl_engine::RoundNo;

use super::{
    Store, StoreError,
    generation::{Best, Head},
    history::{self, Lines},
    model_file::{self, text},
    warn_of_copy,
};

impl Store {
    /// Removes the new files that a crash left beside the copies.
    pub(super) fn sweep(&self) {
        for path in [self.last_model_file(), self.best_model_file()] {
            self.files.remove_scrap_of(&path);
        }
    }

    /// Holds the history against the newest generation, and warns where they differ.
    pub(super) fn compare(&self, head: &Head, found: &Lines) {
        let path = history::file(&self.save, &self.federation);
        // A crash leaves out the newest round's line at most.
        let next = found.last.map_or(0, |last| last.0 + 1);
        let cut = (next < head.round.0).then(|| (next, head.round.0 - 1));
        for (first, last) in found.missing.iter().copied().chain(cut) {
            let rounds =
                if first == last { format!("round {first}") } else { format!("rounds {first} to {last}") };
            tracing::warn!(
                "{} has no line for {rounds}: somebody has removed lines from the file. The models in save/generations are whole",
                path.display()
            );
        }
        if let Some(last) = found.last.filter(|last| *last > head.round) {
            tracing::warn!(
                "the history knows round {last}, but the newest whole model in save/generations is of round {}: the rounds \
                 after it are run again",
                head.round
            );
        }
    }

    /// Writes `W_last` again where that file is not the newest generation's model; otherwise remembers its
    /// metrics. Returns whether the file says that the final model was measured.
    pub(super) fn mend_last(&mut self, head: &Head, payload: &[u8]) -> bool {
        let last = model_file::examine(&self.files, &self.last_model_file(), &self.layout);
        let Some((_, texts)) = last.filter(|(root, _)| *root == head.root) else {
            if let Err(error) = self.write_last(head.round, head.root, None, payload) {
                warn_of_copy(&error);
            }
            return false;
        };
        self.final_metrics = texts.get(text::METRICS).cloned();
        self.round_metrics = texts.get(text::ROUND_METRICS).cloned();
        // The first releases wrote no `final`.
        self.is_final =
            texts.contains_key(text::FINAL) || self.final_metrics.as_ref().is_some_and(|json| json != "[]");
        self.is_final
    }

    /// Keeps the newest generation, where the plan keeps it and a crash came before.
    pub(super) fn mend_kept(
        &mut self,
        head: &Head,
        facts: &str,
        payload: &[u8],
        state: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        // A crash may have come after a newer best model.
        let head = Head { best: head.best.filter(|best| self.best == Some(*best)), ..*head };
        let (state, layout) = (self.with_layout(state), self.state.as_deref());
        match self.kept.as_mut().filter(|kept| kept.keeps(head.round)) {
            Some(kept) if !kept.has(&head, &self.layout, layout) => kept.put(&head, facts, payload, state),
            _ => Ok(()),
        }
    }

    /// The best model that `W_best` holds; `known` is the best model that the newest generation names. After
    /// a crash between the two, the file is newer, and the value in the file counts.
    pub(super) fn best_on_disk(&self, known: Option<Best>) -> Option<Best> {
        let path = self.best_model_file();
        let found = model_file::examine(&self.files, &path, &self.layout)
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
            tracing::warn!(
                "{} does not hold the best model any more: the best model, of round {}, is lost",
                path.display(),
                lost.round
            );
        }
        best
    }
}
