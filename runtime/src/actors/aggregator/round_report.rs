//! Closed rounds until their lines are printed. The times that the shell measures arrive one by one.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use fl_engine::{
    Digest, Name, RoundNo,
    plan::Plan,
    round::{Effect, RoundSummary, Stamp},
};

use crate::{
    observe::{self, RoundLine, Timeline},
    system::Clock,
};

/// What is measured of the open round, and the closed rounds that are not printed yet.
pub(super) struct RoundReports {
    plan: Arc<Plan>,
    json: bool,
    /// Of the open round.
    arrivals: Arrivals,
    /// Whether the round that closes had the best base so far.
    best: bool,
    /// Collaborators that were handed the newest model.
    receivers: usize,
    /// Closed rounds, the oldest first. Each waits for the disk, or until everybody holds its model.
    closed: Vec<RoundReport>,
    /// Collaborators that had over half of a round's weight.
    heavy: BTreeSet<Name>,
}

impl RoundReports {
    /// For a run that begins. With `json`, rounds are printed to standard output too.
    pub(super) fn new(plan: Arc<Plan>, json: bool) -> Self {
        let (arrivals, closed, heavy) = (Arrivals::default(), Vec::new(), BTreeSet::new());
        Self { plan, json, arrivals, best: false, receivers: 0, closed, heavy }
    }

    /// An update of the open round began at `began` and was staged at `staged`.
    pub(super) fn staged(&mut self, began: Instant, staged: Instant) {
        self.arrivals.add(began, staged);
    }

    /// The open round's base is the best model so far.
    pub(super) fn best(&mut self) {
        self.best = true;
    }

    /// A collaborator was handed the newest model.
    pub(super) fn assigned(&mut self) {
        self.receivers += 1;
    }

    /// There is a newest model that nobody was handed yet.
    pub(super) fn aggregated(&mut self) {
        self.receivers = 0;
    }

    /// The open round goes on past its deadline.
    pub(super) fn went_on(&self, effect: &Effect) {
        match effect {
            Effect::Reopened { round, times, have, need, missing, lost } => {
                let mut why: Vec<String> = lost.iter().map(|lost| format!("no update of {lost}")).collect();
                if !missing.is_empty() {
                    why.insert(0, format!("no answer of {}", observe::names(missing)));
                }
                let why = if why.is_empty() { "nobody was connected".to_owned() } else { why.join("; ") };
                tracing::warn!(
                    "round {round} has {have} of the {need} updates that it needs at its deadline, and is opened again \
                     (number {times}): {why}"
                );
                if self.json {
                    observe::say_event(&serde_json::json!({
                        "event": "reopened", "round": round, "times": times, "updates": have, "needed": need,
                        "missing": missing, "lost": lost.iter().map(ToString::to_string).collect::<Vec<_>>(),
                    }));
                }
            }
            Effect::StoodStill { by } => tracing::warn!(
                "this program stood still for {:.0} s: the deadline of the open round moves by this time",
                by.0 as f64 / 1000.0
            ),
            Effect::EndsEarly { round, why } => {
                tracing::info!("round {round}: {}. The run ends early", observe::why_early(&self.plan, *why));
            }
            _ => {}
        }
    }

    /// The open round has closed. `made`: root of its model, and the time to absorb and to finalise.
    pub(super) fn closed(
        &mut self,
        clock: &Clock,
        summary: RoundSummary,
        made: Option<(Digest, (Duration, Duration))>,
    ) {
        self.closed.iter_mut().for_each(RoundReport::give_up_delivery);
        self.warn_of_heavy(&summary);
        let mut report = RoundReport::new(summary, &self.plan, std::mem::take(&mut self.best));
        let arrivals = std::mem::replace(&mut self.arrivals, Arrivals::opened(clock.now()));
        if let Some((root, took)) = made {
            report.made(clock, root, std::mem::take(&mut self.receivers), took, &arrivals);
        }
        self.closed.push(report);
        self.print_complete();
    }

    /// Warns of a collaborator that holds over half of the round's weight, once for each collaborator.
    fn warn_of_heavy(&mut self, summary: &RoundSummary) {
        let line = RoundLine { summary, times: Timeline::default(), best: false, plan: &self.plan };
        if let Some(name) = line.heaviest()
            && self.heavy.insert(name.clone())
        {
            tracing::warn!(collaborator = %name, "{}", line.heavy(name));
        }
    }

    /// A collaborator holds the model of `stamp`, after this long.
    pub(super) fn delivered(&mut self, stamp: Stamp, took: Duration) {
        self.closed.iter_mut().for_each(|report| report.delivered(stamp, took));
        self.print_complete();
    }

    /// A round is on disk.
    pub(super) fn stored(&mut self, round: RoundNo, took: Duration) {
        self.closed.iter_mut().for_each(|report| report.stored(round, took));
        self.print_complete();
    }

    /// Prints every closed round: nothing more will be measured.
    pub(super) fn print_all(&mut self) {
        for report in self.closed.drain(..) {
            report.print(self.json);
        }
    }

    /// Prints the closed rounds that are complete, in order.
    fn print_complete(&mut self) {
        while let Some(report) = self.closed.first().filter(|report| report.is_complete()) {
            report.print(self.json);
            self.closed.remove(0);
        }
    }
}

/// When a round began and its updates came.
#[derive(Clone, Copy, Debug, Default)]
struct Arrivals {
    /// When the round's first task was sent. `None` in a run's first round, which waits for members.
    opened: Option<Instant>,
    first_byte: Option<Instant>,
    last_staged: Option<Instant>,
}

impl Arrivals {
    /// For a round that opens now.
    fn opened(now: Instant) -> Self {
        Self { opened: Some(now), ..Self::default() }
    }

    /// An update began at `began` and was staged at `staged`.
    fn add(&mut self, began: Instant, staged: Instant) {
        self.first_byte = Some(self.first_byte.map_or(began, |first| first.min(began)));
        self.last_staged = Some(self.last_staged.map_or(staged, |last| last.max(staged)));
    }

    fn receive(&self) -> Option<Duration> {
        Some(self.last_staged?.duration_since(self.first_byte?))
    }
}

/// A round that is closed and not printed yet.
struct RoundReport {
    summary: RoundSummary,
    plan: Arc<Plan>,
    times: Timeline,
    best: bool,
    /// Root of the model that the round made, and the number of collaborators that do not hold it yet.
    delivery: Option<(Digest, usize)>,
    stored: bool,
}

impl RoundReport {
    /// A round that made no model: no more times will arrive.
    fn new(summary: RoundSummary, plan: &Arc<Plan>, best: bool) -> Self {
        let times = Timeline::of(&summary);
        Self { summary, plan: Arc::clone(plan), times, best, delivery: None, stored: true }
    }

    /// The round made the model `root`, which is being sent to `receivers` collaborators.
    fn made(
        &mut self,
        clock: &Clock,
        root: Digest,
        receivers: usize,
        (absorb, finalise): (Duration, Duration),
        arrivals: &Arrivals,
    ) {
        self.times.absorb = Some(absorb);
        self.times.finalise = Some(finalise);
        self.times.receive = arrivals.receive();
        self.times.whole = arrivals.opened.map(|at| clock.since(at));
        self.times.turnaround = arrivals.last_staged.map(|at| clock.since(at));
        self.delivery = Some((root, receivers)).filter(|_| receivers > 0);
        self.stored = false;
    }

    /// A collaborator holds the model of `stamp`, after this long.
    fn delivered(&mut self, stamp: Stamp, took: Duration) {
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
    fn stored(&mut self, round: RoundNo, took: Duration) {
        if round == self.summary.stamp.round {
            self.times.store = Some(took);
            self.stored = true;
        }
    }

    /// A later round has closed: collaborators that do not hold this round's model will not get it any more.
    fn give_up_delivery(&mut self) {
        self.delivery = None;
    }

    /// Whether every time that can arrive has arrived.
    fn is_complete(&self) -> bool {
        self.stored && self.delivery.is_none()
    }

    /// Writes the round to the log, and with `json` to standard output too.
    fn print(&self, json: bool) {
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
