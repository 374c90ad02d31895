//! The statistics of the data of all sites: this site's sums go out, and what all sites gave comes back.

use std::sync::Arc;

use fl_engine::{
    plan::{Standardise, columns_of},
    statistics::ColumnSums,
    wire::{Message, SiteSums, Statistics},
};
use tokio::sync::watch;

use super::{Coordinator, TaskJob};
use crate::exit::{Exit, Failure};

/// What this site has told and heard.
pub(in crate::actors::collaborator) struct SiteStatistics {
    /// What this site sends; `None` if its tasks need no statistics.
    sums: Option<Vec<ColumnSums>>,
    /// The parts of an answer that is not complete yet.
    parts: Vec<(f64, f64)>,
    known: watch::Sender<Option<Arc<Standardise>>>,
    /// How often the data are being read again.
    preparing: u32,
}

impl SiteStatistics {
    /// Nothing is known yet. `known` is told what all sites gave.
    pub(in crate::actors::collaborator) fn new(
        sums: Option<Vec<ColumnSums>>,
        known: watch::Sender<Option<Arc<Standardise>>>,
    ) -> Self {
        Self { sums, parts: Vec::new(), known, preparing: 0 }
    }

    /// Whether tasks can run.
    pub(super) fn is_ready(&self) -> bool {
        self.sums.is_none() || (self.preparing == 0 && self.known.borrow().is_some())
    }

    pub(super) fn known(&self) -> Option<Arc<Standardise>> {
        self.known.borrow().clone()
    }
}

impl Coordinator {
    /// Sends this site's sums to the run that asks.
    pub(super) fn send_sums(&self, incarnation: u64) {
        let Some(sums) = &self.site.sums else { return };
        let sent = sums.iter().filter(|column| column.count() > 0).count();
        tracing::info!(
            "the aggregator asks for statistics: sending count, sum and sum of squares of {sent} of {} columns",
            sums.len()
        );
        for part in SiteSums::parts(incarnation, sums) {
            self.say(&Message::Sums(part));
        }
    }

    /// Takes a part of the statistics of all sites. They are the same for the whole run, unless the
    /// aggregator began anew.
    pub(super) fn statistics(&mut self, part: Statistics) {
        let (width, site) = (columns_of(&self.plan.model.input).0, &mut self.site);
        if part.first == 0 {
            site.parts.clear();
        }
        if part.first as usize == site.parts.len() {
            site.parts.extend(part.columns);
        }
        if site.parts.len() < width {
            return;
        }
        let (means, deviations): (Vec<f64>, Vec<f64>) = std::mem::take(&mut site.parts).into_iter().unzip();
        let found = Standardise::from_values(&means, &deviations).filter(|_| means.len() == width);
        let Some(found) = found.map(Arc::new) else {
            let error = "the aggregator sent statistics by which no data can be scaled";
            return self
                .end(Err(Failure::new(Exit::Failed, error)
                    .hint("use the same version of the program on both sides")));
        };
        if site.known.borrow().as_ref() == Some(&found) {
            return;
        }
        site.known.send_replace(Some(Arc::clone(&found)));
        if site.sums.is_some() {
            site.preparing += 1;
            self.give(TaskJob::Prepare(found));
        }
    }

    /// The data were read again, or cannot be used.
    pub(super) fn prepared(&mut self, done: Result<(), Failure>) {
        match done {
            Ok(()) => {
                self.site.preparing = self.site.preparing.saturating_sub(1);
                tracing::info!("the features are scaled by the statistics of the data of all sites");
                self.next_task();
            }
            Err(failure) => self.end(Err(failure)),
        }
    }
}
