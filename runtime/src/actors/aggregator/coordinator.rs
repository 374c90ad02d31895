//! The aggregator's actor: carries out what the round engine decides.
//!
//! Messages come from sessions, the aggregation task, the store's thread and the clock. Each message becomes
//! an event for the engine, and each effect of the engine becomes a message or a job for one of them. The
//! actor holds handles and the current model, reads no payload, and decides nothing that the engine could
//! decide.
//!
//! ```text
//! acceptor ─ Admitted ─▶ ┌─────────────┐ ◀─ Heard, Staged, LinkEnded ─ Session (one for each link)
//! roster, signals ─────▶ │ Coordinator │ ── SessionMessage ──────────▶
//!           clock ─────▶ │  (engine)   │ ── Absorb, Finalise ─▶ aggregation task ─ Aggregated ─▶
//!                        └─────────────┘ ── Round, Best ──────▶ store thread ─ Stored ─▶
//! ```

mod statistics;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use fl_engine::{
    Millis, Name, RoundNo,
    plan::{MetricsTo, Plan},
    printable::one_line,
    round::{Effect, Event, Lost, Offer, Reason, RoundEngine, RoundSummary, SlotId, Stamp},
    wire::{
        Cancelled, Columns, Counted, Failed, LeftOut, Message, Received, RefusedUpdate, RoundDone, SiteSums,
        Verdict, cut_text,
    },
};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    messages::{AggregatedRound, AggregationJob, AggregatorMessage, SessionMessage, SessionNo, StoreJob},
    outcome::AggregatorOutcome,
    peers::{Peer, Peers, close_if_refused},
    round_report::RoundReports,
    session,
    upload::Intake,
    wait_log::WaitLog,
};
use crate::{
    actors::{
        attestation::Attestation,
        close_code,
        greeting::{AdmittedPeer, RunStatus},
        mailbox::{Actor, Alarm, Context},
    },
    aggregation::StagedUpdate,
    exit::{Exit, Failure},
    memory::StagedSlot,
    observe::{self, Traffic},
    payload::Payload,
    system::Clock,
    trust::Admission,
};

/// The actor.
pub(super) struct Coordinator {
    plan: Arc<Plan>,
    engine: RoundEngine,
    /// What the engine's milliseconds count from.
    origin: Instant,
    clock: Clock,
    base: Payload,
    /// State of the server's step after the round that made `base`, until the store takes it.
    state: Option<Bytes>,
    intake: Arc<Intake>,
    /// `None` once the run has ended.
    workers: Option<Workers>,
    admission: Arc<dyn Admission>,
    attestation: Arc<Attestation>,
    peers: Peers,
    sessions: u64,
    slots: HashMap<SlotId, StagedSlot>,
    next_slot: u64,
    alarm: Option<Alarm>,
    status: watch::Sender<RunStatus>,
    traffic: Traffic,
    reports: RoundReports,
    /// Whether evidence that was accepted is printed.
    json: bool,
    wait_log: WaitLog,
    serving: Serving,
    /// Collaborators from which the last closed round got no update.
    lost: Vec<Lost>,
    outcome: Option<oneshot::Sender<Result<AggregatorOutcome, Failure>>>,
}

/// Where the coordinator sends jobs.
pub(super) struct Workers {
    pub(super) aggregation: mpsc::UnboundedSender<AggregationJob>,
    pub(super) store: mpsc::UnboundedSender<StoreJob>,
}

/// Members that are given the final model after the run.
#[derive(Default)]
struct Serving {
    /// The best model and its round, once it was read: members end with it where the plan says so.
    best: Option<Option<(RoundNo, Payload)>>,
    /// Whether it is being read.
    reading: bool,
    /// Members that wait for it.
    waiting: Vec<Name>,
}

/// What caused an event: effects need more of it than the engine keeps.
#[derive(Default)]
struct Cause {
    /// The offer, for `Event::Offered`.
    offer: Option<Offer>,
    /// The work of the upload that has ended, for `Event::Staged` and `Event::Refused`.
    upload: Option<Stamp>,
    /// Time to absorb and time to finalise, for `Event::Finalised`.
    aggregation: Option<(Duration, Duration)>,
}

/// What a [`Coordinator`] is made from.
pub(super) struct CoordinatorParts {
    pub(super) clock: Clock,
    pub(super) plan: Arc<Plan>,
    pub(super) engine: RoundEngine,
    pub(super) base: Payload,
    pub(super) intake: Arc<Intake>,
    pub(super) workers: Workers,
    pub(super) admission: Arc<dyn Admission>,
    pub(super) attestation: Arc<Attestation>,
    pub(super) status: watch::Sender<RunStatus>,
    pub(super) json: bool,
    pub(super) outcome: oneshot::Sender<Result<AggregatorOutcome, Failure>>,
}

impl Coordinator {
    pub(super) fn new(parts: CoordinatorParts) -> Self {
        let CoordinatorParts { clock, plan, engine, base, intake, workers, status, json, outcome, .. } =
            parts;
        let (admission, attestation) = (parts.admission, parts.attestation);
        let reports = RoundReports::new(Arc::clone(&plan), json);
        Self {
            plan,
            engine,
            origin: clock.now(),
            clock,
            base,
            state: None,
            intake,
            workers: Some(workers),
            admission,
            attestation,
            peers: Peers::default(),
            sessions: 0,
            slots: HashMap::new(),
            next_slot: 0,
            alarm: None,
            status,
            traffic: Traffic::default(),
            reports,
            json,
            wait_log: WaitLog::default(),
            serving: Serving::default(),
            lost: Vec::new(),
            outcome: Some(outcome),
        }
    }
}

impl Actor for Coordinator {
    type Message = AggregatorMessage;

    fn on(&mut self, message: AggregatorMessage, context: &mut Context<'_, Self>) {
        use AggregatorMessage as M;
        match message {
            M::Admitted(admitted) => self.admitted(admitted, context),
            M::LinkEnded { peer, session, why } => {
                if self.peers.is_current(&peer, session) {
                    if self.peers.may_log(&peer, self.clock.now()) {
                        tracing::info!(collaborator = %peer, "{peer} disconnected: {why}");
                    }
                    self.peers.remove(&peer);
                    self.note_status();
                    self.event(Event::Left { peer }, context);
                }
            }
            M::Heard { peer, session, message } => {
                if self.peers.is_current(&peer, session) {
                    self.heard(peer, message, context);
                }
            }
            M::Staged { peer, offer, slot, began, staged } => {
                self.traffic.updates_received += 1;
                self.traffic.bytes_received += offer.bytes.0;
                self.reports.staged(began, staged);
                let id = SlotId(self.next_slot);
                self.next_slot += 1;
                self.slots.insert(id, slot);
                let cause = Cause { upload: Some(offer.stamp), ..Cause::default() };
                self.take_in(Event::Staged { peer, offer, slot: id }, &cause, context);
            }
            M::UpdateRefused { peer, offer, refusal } => {
                let cause = Cause { upload: Some(offer.stamp), ..Cause::default() };
                self.take_in(Event::Refused { peer, offer, refusal }, &cause, context);
            }
            M::ModelDelivered { stamp, took } => {
                self.traffic.bytes_sent += self.base.len() as u64;
                self.reports.delivered(stamp, took);
            }
            M::Aggregated(round) => self.aggregated(round, context),
            M::Stored { round, took } => {
                self.reports.stored(round, took);
                self.event(Event::Durable { round }, context);
            }
            M::StatisticsStored => self.event(Event::StatisticsDurable, context),
            M::BestRead(best) => self.best_read(best),
            M::StoreFailed(failure) => self.fail(failure),
            M::PartFailed(what) => self.fail(Failure::new(Exit::Failed, what)),
            M::ClockLook => {
                let gone = self.peers.cut_off_refused(&*self.admission, &self.attestation);
                self.left(gone, context);
            }
            M::RosterChanged(members) => self.roster_changed(members, context),
            M::Start => {
                context.after(LOOK, M::Look);
                self.event(Event::Tick, context);
            }
            M::Tick => self.event(Event::Tick, context),
            M::Look => {
                self.look();
                context.after(LOOK, M::Look);
            }
            M::Stop => {
                tracing::info!("stopping; the process ends when every finished round is saved");
                self.event(Event::Stop, context);
            }
            M::GoBack => {
                tracing::info!(
                    "the federation's owner takes the run back to an earlier model: this run stops, and the next one begins at once"
                );
                self.event(Event::Stop, context);
            }
        }
    }

    fn panicked(&mut self, words: &str) {
        if let Some(outcome) = self.outcome.take() {
            // The run's task may have stopped waiting.
            let _ = outcome.send(Err(Failure::new(Exit::Failed, format!("internal error: {words}"))
                .hint("this is a defect; the last finished round is saved: start the aggregator again")));
        }
    }
}

impl Coordinator {
    fn admitted(&mut self, admitted: AdmittedPeer, context: &mut Context<'_, Self>) {
        let (peer, handle) = (admitted.proof().name().clone(), admitted.handle().clone());
        if self.outcome.is_none() {
            // The greeter admitted this peer before the run had ended.
            handle.close(close_code::LEAVING, "the run has ended");
            return;
        }
        // The roster, or the time, may have changed since the greeter asked.
        let link = (admitted.proof(), admitted.appraised(), &handle);
        if close_if_refused(link, &*self.admission, &self.attestation) {
            return;
        }
        if let Some(old) = self.peers.remove(&peer) {
            // The old link may be broken without a sign of it. The collaborator itself opened the new one.
            old.handle.close(close_code::REPLACED, "a newer link of this collaborator replaced this one");
        }
        self.sessions += 1;
        let session = SessionNo(self.sessions);
        let (proof, appraised) = (admitted.proof().clone(), admitted.appraised().clone());
        let mailbox = session::open(&self.clock, admitted, session, &context.mailbox(), &self.intake);
        self.peers.insert(Peer {
            proof,
            appraised: appraised.clone(),
            session,
            mailbox,
            handle,
            assigned: None,
        });
        if let Some(order) = self.admission.resumption() {
            self.peers.tell(&peer, SessionMessage::Say(Message::Resumed(order.into())));
        }
        if self.peers.may_log(&peer, self.clock.now()) {
            tracing::info!(collaborator = %peer, "{peer} connected; {} collaborators are connected now", self.peers.len());
            if let Some(attested) = appraised.attested() {
                tracing::info!(collaborator = %peer, "the quote of {peer} is accepted: {attested}");
            }
        }
        if let Some(attested) = appraised.attested().filter(|_| self.json) {
            let verified = attested.verified();
            observe::say_event(&serde_json::json!({
                "event": "attested",
                "role": "collaborator",
                "name": peer.as_str(),
                "enclave": attested.to_string(),
                "status": verified.status().as_str(),
                "advisories": verified.advisories(),
                "good_until": verified.good_until().to_string(),
            }));
        }
        self.event(Event::Joined { peer }, context);
    }

    fn heard(&mut self, peer: Name, message: Message, context: &mut Context<'_, Self>) {
        match message {
            Message::Offer(offer) => {
                let cause = Cause { offer: Some(offer.clone()), ..Cause::default() };
                self.take_in(Event::Offered { peer, offer }, &cause, context);
            }
            Message::Columns(Columns { digest }) => self.event(Event::Columns { peer, digest }, context),
            Message::LeftOut(LeftOut { samples, names }) => {
                // A person will read the names in the history.
                let names: Vec<String> = names.iter().map(|name| one_line(name).into_owned()).collect();
                if self.peers.may_log(&peer, self.clock.now()) {
                    let shown = names.join(", ");
                    tracing::info!(collaborator = %peer, "{peer} left out {samples} samples that cannot be read: {shown}");
                }
                self.event(Event::LeftOut { peer, samples, names }, context);
            }
            Message::Report(report) => self.event(Event::Reported { peer, report }, context),
            Message::Sums(SiteSums { incarnation, first, columns }) => {
                self.event(Event::Sums { peer, incarnation, first, columns }, context);
            }
            Message::Failed(failed) => {
                if self.peers.may_log(&peer, self.clock.now()) {
                    tracing::warn!(collaborator = %peer, "{peer} could not finish task {}: {}", failed.task, failed.why);
                }
                let Failed { stamp, task, why } = failed;
                self.event(Event::Failed { peer, stamp, task, why }, context);
            }
            // The session passes on no other message.
            _ => {}
        }
    }

    fn aggregated(&mut self, round: AggregatedRound, context: &mut Context<'_, Self>) {
        let AggregatedRound { round, model, state, left_out, absorb, finalise } = round;
        let root = model.root();
        if !left_out.is_empty() {
            let names: Vec<&str> = left_out.iter().map(Name::as_str).collect();
            tracing::info!("round {round}  the rule left out {}", names.join(", "));
        }
        // Nothing holds the old model from here on: the next round's model takes its buffer.
        self.base = model;
        self.state = state;
        self.reports.aggregated();
        self.peers.tell_all(|| SessionMessage::StopSending);
        let cause = Cause { aggregation: Some((absorb, finalise)), ..Cause::default() };
        self.take_in(Event::Finalised { round, root }, &cause, context);
    }

    fn roster_changed(&mut self, members: Vec<Name>, context: &mut Context<'_, Self>) {
        tracing::info!("a new roster is in force: {} collaborators", members.len());
        let gone = self.peers.cut_off_refused(&*self.admission, &self.attestation);
        // The acceptor reads the new roster before the engine does.
        let early: Vec<Name> = self.peers.names().filter(|name| !self.engine.lists(name)).cloned().collect();
        self.event(Event::RosterChanged { members }, context);
        for peer in early {
            self.event(Event::Joined { peer }, context);
        }
        self.left(gone, context);
    }

    fn left(&mut self, gone: Vec<Name>, context: &mut Context<'_, Self>) {
        for peer in gone {
            self.event(Event::Left { peer }, context);
        }
    }

    fn event(&mut self, event: Event, context: &mut Context<'_, Self>) {
        self.take_in(event, &Cause::default(), context);
    }

    /// Gives an event to the engine and carries out the effects that the engine answers with.
    fn take_in(&mut self, event: Event, cause: &Cause, context: &mut Context<'_, Self>) {
        if self.outcome.is_none() {
            return;
        }
        let now = self.now();
        for effect in self.engine.on(event, now) {
            self.carry_out(effect, cause);
        }
        self.note_status();
        if let Some(alarm) = self.alarm.take() {
            context.silence(alarm);
        }
        if let Some(due) = self.engine.wake() {
            let wait = Duration::from_millis(due.0.saturating_sub(self.now().0));
            self.alarm = Some(context.after(wait, AggregatorMessage::Tick));
        }
    }

    fn note_status(&self) {
        let now = RunStatus {
            round: self.engine.round(),
            over: self.engine.is_finished(),
            links: self.peers.len(),
        };
        self.status.send_if_modified(|status| std::mem::replace(status, now) != now);
    }

    fn carry_out(&mut self, effect: Effect, cause: &Cause) {
        match effect {
            Effect::Assign { peer, stamp, tasks } => {
                self.reports.assigned();
                self.peers.assign(&peer, stamp);
                self.peers.tell(&peer, SessionMessage::Assign { stamp, tasks, model: self.base.clone() });
            }
            Effect::Grant { peer, .. } => {
                // Only an offer is ever granted.
                if let Some(offer) = &cause.offer {
                    self.peers.tell(&peer, SessionMessage::Grant(offer.clone()));
                }
            }
            Effect::Refuse { peer, task, refusal } => {
                if self.peers.may_log(&peer, self.clock.now()) {
                    tracing::warn!(collaborator = %peer, "refused an update from {peer}: {refusal}");
                }
                self.traffic.updates_refused += 1;
                // A refusal names no round. A collaborator that was given other work since would relate it to
                // that work.
                let assigned = self.peers.assigned(&peer);
                if cause.upload.is_none() || cause.upload == assigned {
                    self.peers
                        .tell(&peer, SessionMessage::Say(Message::Refused(RefusedUpdate { task, refusal })));
                }
            }
            Effect::Received { peer, task, stamp } => {
                self.peers.tell(&peer, SessionMessage::Say(Message::Received(Received { stamp, task })));
            }
            Effect::Absorb { peer, slot, weight } => {
                if let Some(slot) = self.slots.remove(&slot) {
                    let update = StagedUpdate { name: peer, slot, weight };
                    let last_but_one = self.engine.updates_awaited() == 1;
                    let job = AggregationJob::Absorb { update, base: self.base.clone(), last_but_one };
                    self.aggregate(job);
                }
            }
            Effect::Discard { slot } => drop(self.slots.remove(&slot)),
            Effect::Cancel { peer, stamp } => {
                self.peers.tell(&peer, SessionMessage::Cancel(Message::Cancel(Cancelled { stamp })));
            }
            Effect::Finalise { round } => {
                let base = self.base.clone();
                self.aggregate(AggregationJob::Finalise { round, base });
            }
            Effect::Best { round, root, value, metrics } => {
                self.reports.best();
                let model = self.base.clone();
                let job = StoreJob::Best { round, root, value, metrics, model };
                self.store(job);
            }
            Effect::Reopened { .. } | Effect::StoodStill { .. } | Effect::EndsEarly { .. } => {
                self.reports.went_on(&effect);
            }
            Effect::Unawaited { peer, missed } => tracing::warn!(
                collaborator = %peer,
                "{peer} has missed {missed} deadlines in a row: the next rounds ask {peer} and do not wait for its answer"
            ),
            Effect::AwaitedAgain { peer } => {
                tracing::info!(collaborator = %peer, "{peer} has answered: rounds wait for {peer} again");
            }
            Effect::Serve { peer } => self.serve(peer),
            Effect::RoundClosed(summary) => self.round_closed(*summary, cause.aggregation),
            Effect::Store { facts } => {
                let (model, state) = (self.base.clone(), self.state.take());
                self.store(StoreJob::Round { facts, model, state });
            }
            Effect::Counted { peer, round } => {
                self.peers.tell(&peer, SessionMessage::Say(Message::Counted(Counted { round })));
            }
            Effect::Finished(reason) => self.finished(reason),
            other => self.carry_out_statistics(other),
        }
    }

    fn round_closed(&mut self, summary: RoundSummary, took: Option<(Duration, Duration)>) {
        let metrics = match self.plan.metrics {
            MetricsTo::Members => summary.metrics.clone(),
            _ => Vec::new(),
        };
        self.lost.clone_from(&summary.lost);
        let contributors = u32::try_from(summary.contributors.len()).unwrap_or(u32::MAX);
        let done = Message::RoundDone(RoundDone { round: summary.stamp.round, contributors, metrics });
        self.peers.tell_all(|| SessionMessage::Say(done.clone()));
        if summary.closing {
            let (model, metrics) = (self.base.clone(), summary.metrics.clone());
            self.store(StoreJob::Final { metrics, model });
        }
        // The engine has given out the next round's tasks before this effect.
        self.reports.closed(&self.clock, summary, took.map(|took| (self.base.root(), took)));
    }

    /// Gives a member the model that members end with, and tells it that the run is over.
    fn serve(&mut self, peer: Name) {
        let best = match (self.ends_with_best(), &self.serving.best) {
            (false, _) => None,
            (true, Some(best)) => best.clone(),
            (true, None) => {
                self.serving.waiting.push(peer);
                self.read_best();
                return;
            }
        };
        let (round, model) = best.unwrap_or_else(|| (self.engine.round(), self.base.clone()));
        let stamp = Stamp { incarnation: self.engine.incarnation(), round, base: model.root() };
        let last = Message::Finished(Verdict::Completed { rounds: self.engine.rounds(), root: model.root() });
        tracing::info!(collaborator = %peer, "{peer} is given the final model");
        self.peers.tell(&peer, SessionMessage::Finish { last, model: Some((stamp, model)) });
    }

    fn ends_with_best(&self) -> bool {
        self.plan.release.is_some_and(|release| release.is_best_to_members())
    }

    fn read_best(&mut self) {
        if !std::mem::replace(&mut self.serving.reading, true) {
            self.store(StoreJob::ReadBest);
        }
    }

    fn best_read(&mut self, best: Option<(RoundNo, Payload)>) {
        if self.engine.is_finished() {
            return self.conclude(Reason::Completed, best);
        }
        self.serving.best = Some(best);
        for peer in std::mem::take(&mut self.serving.waiting) {
            self.serve(peer);
        }
    }

    fn finished(&mut self, reason: Reason) {
        match self.serving.best.take() {
            Some(best) if reason == Reason::Completed => self.conclude(reason, best),
            // Members hold the final model. They are told that the run ends once the best model is in memory.
            None if reason == Reason::Completed && self.ends_with_best() => self.read_best(),
            _ => self.conclude(reason, None),
        }
    }

    /// Ends the run and tells every collaborator how it ended. `model` is the model that members end with,
    /// and the round that measured it, unless that is the newest model.
    fn conclude(&mut self, reason: Reason, model: Option<(RoundNo, Payload)>) {
        let root = model.as_ref().map_or_else(|| self.base.root(), |(_, model)| model.root());
        let verdict = match reason {
            Reason::Completed => Verdict::Completed { rounds: self.engine.rounds(), root },
            // A collaborator knows why its own update did not count.
            Reason::QuorumMissed { round, .. } | Reason::NoUpdate { round } => {
                Verdict::QuorumMissed { round }
            }
            Reason::TooFewSites { .. } => Verdict::QuorumMissed { round: self.engine.round() },
            Reason::NoStatistics(none) => Verdict::NoStatistics(cut_text(&none.words(&self.plan))),
            _ => Verdict::Stopped,
        };
        let (rounds, early) = (self.engine.rounds(), self.engine.early());
        if self.engine.round().0 >= rounds && self.plan.release.is_some() {
            let model = self.base.clone();
            self.store(StoreJob::Release { model });
        }
        let last = Message::Finished(verdict);
        let incarnation = self.engine.incarnation();
        let model = model.map(|(round, model)| (Stamp { incarnation, round, base: root }, model));
        self.peers.tell_all(|| SessionMessage::Finish { last: last.clone(), model: model.clone() });
        let (round, root) = (self.engine.round(), self.base.root());
        let lost = std::mem::take(&mut self.lost);
        let traffic = self.traffic;
        self.end(Ok(AggregatorOutcome { reason, round, rounds, early, root, lost, traffic }));
    }

    /// Ends the run with a failure. Collaborators connect again when the aggregator runs again.
    fn fail(&mut self, failure: Failure) {
        if self.outcome.is_none() {
            // The run has ended already. A failure of the store is still returned by `StoreThread::join`.
            return;
        }
        self.peers.close_all(close_code::LEAVING, "the aggregator failed");
        self.note_status();
        self.end(Err(failure));
    }

    /// Sends the outcome. Sessions go on until their last message is delivered.
    fn end(&mut self, outcome: Result<AggregatorOutcome, Failure>) {
        self.reports.print_all();
        self.slots.clear();
        self.workers = None;
        if let Some(waiting) = self.outcome.take() {
            // The run's task may have stopped waiting.
            let _ = waiting.send(outcome);
        }
    }

    fn aggregate(&mut self, job: AggregationJob) {
        let sent = self.workers.as_ref().is_some_and(|workers| workers.aggregation.send(job).is_ok());
        self.expect_sent(sent, "the aggregation task has ended");
    }

    fn store(&mut self, job: StoreJob) {
        let sent = self.workers.as_ref().is_some_and(|workers| workers.store.send(job).is_ok());
        self.expect_sent(sent, "the store's thread has ended");
    }

    fn expect_sent(&mut self, sent: bool, otherwise: &str) {
        if !sent && self.outcome.is_some() {
            self.fail(Failure::new(Exit::Failed, otherwise));
        }
    }

    /// Says what the run waits for, twice a minute.
    fn look(&mut self) {
        let (now, clock) = (self.now(), self.clock.now());
        let Some(waiting) = self.engine.waiting().filter(|_| self.outcome.is_some()) else {
            self.wait_log = WaitLog::default();
            return;
        };
        if let Some(waited) = self.wait_log.is_due(&waiting, clock) {
            tracing::info!("{}", observe::waiting_line(&waiting, waited, now));
        }
    }

    fn now(&self) -> Millis {
        Millis(u64::try_from(self.clock.since(self.origin).as_millis()).unwrap_or(u64::MAX))
    }
}

/// Time between two looks at what the run waits for.
const LOOK: Duration = Duration::from_secs(5);
