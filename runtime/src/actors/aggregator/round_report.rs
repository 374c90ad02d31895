//! A closed round until its line is printed: the times that the shell measures come in one by one.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use fl_engine::{
    Digest, RoundNo,
    plan::Plan,
    round::{RoundSummary, Stamp},
};

use crate::observe::{self, RoundLine, Timeline};

/// When a round began and its updates came.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arrivals {
    /// When its first task was sent; `None` in a run's first round, which waits for members.
    opened: Option<Instant>,
    first_byte: Option<Instant>,
    last_staged: Option<Instant>,
}

impl Arrivals {
    /// Of a round that opens now.
    pub(super) fn opened() -> Self {
        Self { opened: Some(Instant::now()), ..Self::default() }
    }

    /// An update began at `began` and was staged at `staged`.
    pub(super) fn add(&mut self, began: Instant, staged: Instant) {
        self.first_byte = Some(self.first_byte.map_or(began, |first| first.min(began)));
        self.last_staged = Some(self.last_staged.map_or(staged, |last| last.max(staged)));
    }

    fn receive(&self) -> Option<Duration> {
        Some(self.last_staged?.duration_since(self.first_byte?))
    }
}

/// A round that is closed and not printed yet.
pub(super) struct RoundReport {
    summary: RoundSummary,
    plan: Arc<Plan>,
    times: Timeline,
    best: bool,
    /// The model that the round made, while it is on its way to this many collaborators.
    delivery: Option<(Digest, usize)>,
    stored: bool,
}

impl RoundReport {
    /// A round that made no model: nothing more is to come.
    pub(super) fn new(summary: RoundSummary, plan: &Arc<Plan>, best: bool) -> Self {
        let times = Timeline::of(&summary);
        Self { summary, plan: Arc::clone(plan), times, best, delivery: None, stored: true }
    }

    /// The round made the model `root`, which was handed to `receivers` just now.
    pub(super) fn made(
        &mut self,
        root: Digest,
        receivers: usize,
        (absorb, finalise): (Duration, Duration),
        arrivals: &Arrivals,
    ) {
        self.times.absorb = Some(absorb);
        self.times.finalise = Some(finalise);
        self.times.receive = arrivals.receive();
        self.times.whole = arrivals.opened.map(|at| at.elapsed());
        self.times.turnaround = arrivals.last_staged.map(|at| at.elapsed());
        self.delivery = Some((root, receivers)).filter(|_| receivers > 0);
        self.stored = false;
    }

    /// A collaborator holds the model of `stamp`, after this long.
    pub(super) fn delivered(&mut self, stamp: Stamp, took: Duration) {
        if let Some((_, left)) = self.delivery.as_mut().filter(|(root, _)| *root == stamp.base) {
            *left -= 1;
            let longest = self.times.broadcast.unwrap_or_default().max(took);
            self.times.broadcast = Some(longest);
            if *left == 0 {
                self.delivery = None;
            }
        }
    }

    /// The round is on disk.
    pub(super) fn stored(&mut self, round: RoundNo, took: Duration) {
        if round == self.summary.stamp.round {
            self.times.store = Some(took);
            self.stored = true;
        }
    }

    /// A later round has closed: who has not got this round's model by now will not get it.
    pub(super) fn give_up_delivery(&mut self) {
        self.delivery = None;
    }

    /// Whether every time that will come is there.
    pub(super) fn is_complete(&self) -> bool {
        self.stored && self.delivery.is_none()
    }

    /// To the log, and with `json` to standard output.
    pub(super) fn print(&self, json: bool) {
        let line = RoundLine { summary: &self.summary, times: self.times, best: self.best, plan: &self.plan };
        tracing::info!("{}", line.text());
        for note in line.notes() {
            tracing::warn!("{note}");
        }
        if json {
            observe::say_event(&line.json());
        }
    }
}
