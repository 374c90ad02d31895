//! The collaborator's actor: does what the aggregator asks for.
//!
//! The [`dialler`](super::dialler) connects, sends the Hello, reads, and connects again. Models and uploads
//! move in tasks of their own. The [`task_runner`](super::task_runner) computes. The actor holds what
//! outlives a link: the model, the open work, and an update that was made and is not counted yet, so that a
//! broken link costs no training.
//!
//! ```text
//! dialler ─ LinkUp, Heard, LinkDown ─▶ ┌─────────────┐ ── Run, Cancel ─▶ task runner ── TaskEnded ─▶
//! streams ─ Model ───────────────────▶ │ Coordinator │ ── envelopes ──▶ writer ─▶ control stream
//!                                     └─────────────┘ ── payload ────▶ upload ─▶ uni stream
//! ```

mod statistics;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use fl_engine::{
    ByteCount, Digest, Name, RoundNo,
    plan::{Plan, Standardise, roster::Resumption},
    round::{Offer, Refusal, Report, Stamp},
    tensor::Layout,
    wire::{
        self, Columns, Failed, Leaving, Message, PayloadHeader, RefusedUpdate, Resumed, RoundDone, Verdict,
        cut_text,
    },
};
use fl_learn::task::TaskError;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use super::{
    messages::{AboutData, CollaboratorMessage, TaskEnded, TaskJob, TaskResult},
    part::Part,
    refused_value,
};
use crate::{
    actors::{
        close_code,
        mailbox::{Actor, Context},
        transfer,
    },
    exit::{Exit, Failure},
    net::LinkHandle,
    observe,
    payload::Payload,
    system::Clock,
    trust::evidence::Appraised,
};

pub(super) use self::statistics::SiteStatistics;

/// How a collaborator's run ended.
#[derive(Clone, Debug)]
pub(crate) struct CollaboratorOutcome {
    /// The aggregator's verdict. `None` when the collaborator was stopped.
    pub(crate) verdict: Option<Verdict>,
    /// The newest model that the collaborator holds, and its round.
    pub(crate) model: Option<(RoundNo, Payload)>,
    /// The statistics of all sites, where the plan asks for them.
    pub(crate) statistics: Option<Arc<Standardise>>,
    /// What the collaborator took part in.
    pub(crate) part: Part,
}

/// The actor.
pub(super) struct Coordinator {
    plan: Arc<Plan>,
    layout: Arc<Layout>,
    about: AboutData,
    clock: Clock,
    tasks: mpsc::Sender<TaskJob>,
    link: Option<LinkUp>,
    held: watch::Sender<Option<Digest>>,
    site: SiteStatistics,
    model: Option<(Stamp, Payload)>,
    open: Option<Open>,
    made: Option<Made>,
    upload: Option<JoinHandle<()>>,
    /// Set when the run is over and the final model has not arrived yet.
    verdict: Option<Verdict>,
    part: Part,
    /// The newest round with this site's update that the aggregator has saved.
    saved: Option<RoundNo>,
    /// The round at which a run goes on that went back, until the reason is known.
    went_back: Option<RoundNo>,
    /// What the collaborator waits for, since when, and when that was said last.
    watch: Option<(String, Instant, Instant)>,
    outcome: Option<oneshot::Sender<Result<CollaboratorOutcome, Failure>>>,
}

struct LinkUp {
    outbox: mpsc::Sender<Vec<u8>>,
    handle: LinkHandle,
    appraised: Appraised,
}

/// Work that the aggregator assigned.
struct Open {
    stamp: Stamp,
    /// Tasks that have not begun.
    tasks: VecDeque<Name>,
    /// The task that was given to the task runner.
    running: Option<Name>,
    /// A task of this work that failed: tasks that need its model cannot run.
    failed: Option<Name>,
}

/// What a [`Coordinator`] is made from.
pub(super) struct CoordinatorParts {
    pub(super) plan: Arc<Plan>,
    pub(super) layout: Arc<Layout>,
    pub(super) about: AboutData,
    pub(super) clock: Clock,
    pub(super) tasks: mpsc::Sender<TaskJob>,
    /// Says which model the collaborator holds.
    pub(super) held: watch::Sender<Option<Digest>>,
    pub(super) site: SiteStatistics,
    /// Is told once how the run ended.
    pub(super) outcome: oneshot::Sender<Result<CollaboratorOutcome, Failure>>,
}

/// An update that is not counted yet.
struct Made {
    offer: Offer,
    payload: Payload,
    /// Kept, because the link that carried it may have broken.
    report: Report,
    /// How often the update was offered over this link.
    offers: u32,
}

impl Coordinator {
    pub(super) fn new(parts: CoordinatorParts) -> Self {
        let CoordinatorParts { plan, layout, about, clock, tasks, held, site, outcome } = parts;
        Self {
            plan,
            layout,
            about,
            clock,
            tasks,
            link: None,
            held,
            site,
            model: None,
            open: None,
            made: None,
            upload: None,
            verdict: None,
            part: Part::default(),
            saved: None,
            went_back: None,
            watch: None,
            outcome: Some(outcome),
        }
    }
}

impl Actor for Coordinator {
    type Message = CollaboratorMessage;

    fn on(&mut self, message: CollaboratorMessage, context: &mut Context<'_, Self>) {
        use CollaboratorMessage as M;
        match message {
            M::LinkUp { outbox, handle, appraised, welcome } => {
                let (name, round) = (welcome.name, welcome.round);
                if round.0 >= self.plan.training_rounds() {
                    tracing::info!("connected as {name}; all rounds were run");
                } else {
                    tracing::info!("connected as {name}; round {round} is open or opens next");
                }
                if let Some(attested) = appraised.attested() {
                    tracing::info!("the quote of the aggregator is accepted: {attested}");
                }
                self.link = Some(LinkUp { outbox, handle, appraised });
                if let Some(digest) = self.about.columns {
                    self.say(&Message::Columns(Columns { digest }));
                }
                if let Some(left_out) = self.about.left_out.clone() {
                    self.say(&Message::LeftOut(left_out));
                }
                self.compare(round);
            }
            M::LinkDown { why } => {
                let was_up = self.link.take().is_some();
                self.drop_upload();
                match self.verdict.take() {
                    Some(verdict) => self.end_with(Some(verdict)),
                    None if was_up => {
                        tracing::warn!("the link to the aggregator broke ({why}); connecting again");
                    }
                    None => {}
                }
            }
            M::Heard(message) => self.heard(message, context),
            M::Model { stamp, model } => {
                self.held.send_replace(Some(model.root()));
                self.model = Some((stamp, model));
                self.next_task();
                self.end_when_complete();
            }
            M::TaskEnded(ended) => self.task_ended(ended),
            M::Prepared(done) => self.prepared(done),
            M::OfferAgain(stamp) => self.offer(stamp),
            M::Look => {
                self.look();
                context.after(LOOK, M::Look);
            }
            M::GiveUp(failure) => self.end(Err(failure)),
            M::Stop => {
                self.cancel_work();
                self.say(&Message::Leaving(Leaving {}));
                self.end_with(None);
            }
        }
        if self.outcome.is_none() {
            context.close();
        }
    }

    fn panicked(&mut self, words: &str) {
        self.end(Err(Failure::new(Exit::Failed, format!("internal error: {words}"))
            .hint("this is a defect; start the collaborator again")));
    }
}

impl Coordinator {
    fn heard(&mut self, message: Message, context: &mut Context<'_, Self>) {
        match message {
            Message::Assign(assigned) => {
                self.say_why_back();
                self.assigned(assigned.stamp, assigned.tasks);
            }
            Message::Grant(granted) => self.granted(granted.stamp, &granted.task),
            Message::Refused(refused) => self.refused(&refused, context),
            Message::Received(received) => {
                if self.made.as_ref().is_some_and(|made| made.offer.stamp == received.stamp) {
                    tracing::debug!("round {}: the update was received", received.stamp.round);
                    self.made = None;
                }
            }
            Message::Counted(counted) => {
                self.part.counted();
                self.saved = self.saved.max(Some(counted.round));
                tracing::info!(
                    "round {}: the aggregator has counted this site's update and saved the round",
                    counted.round
                );
            }
            Message::Cancel(cancelled) => {
                if self.open.as_ref().is_some_and(|open| open.stamp == cancelled.stamp) {
                    self.cancelled(cancelled.stamp.round);
                }
            }
            Message::RoundDone(done) => self.round_done(&done),
            Message::Resumed(order) => self.resumed(order),
            Message::AskSums(ask) => self.send_sums(ask.incarnation),
            Message::Statistics(part) => self.statistics(part),
            Message::Finished(verdict) => self.finished(verdict),
            _ => tracing::warn!("ignored a message from the aggregator that only a collaborator sends"),
        }
    }

    /// Finds out whether the aggregator has gone back behind a round that it had saved. What this site
    /// remembers of such rounds is forgotten.
    fn compare(&mut self, next: RoundNo) {
        if self.saved.is_some_and(|saved| next <= saved) {
            self.cancel_work();
            self.give(TaskJob::Forget);
            self.went_back = Some(next);
            self.saved = None;
        }
    }

    /// The owner has taken the run back; the dialler has checked the owner's signature.
    fn resumed(&mut self, order: Resumed) {
        let Ok(order) = Resumption::try_from(order) else { return };
        if let Some(next) = self.went_back.take_if(|next| order.round < *next) {
            tracing::warn!(
                "the federation's owner has taken the run back to the model after round {}, without {} (roster {}): round {next} \
                 is next",
                order.round,
                order.names(),
                order.serial
            );
        }
    }

    /// Work comes after the owner's order, if there is one.
    fn say_why_back(&mut self) {
        if let Some(next) = self.went_back.take() {
            tracing::warn!(
                "the aggregator goes back to round {next}, although it had saved later rounds, and shows no order of the \
                 federation's owner: its stored rounds were lost, restored from a backup, or deleted with --fresh. Ask the \
                 aggregator's operator"
            );
        }
    }

    fn assigned(&mut self, stamp: Stamp, tasks: Vec<Name>) {
        if tasks.iter().any(|task| self.sends_update(task)) {
            self.part.asked(stamp.round);
        }
        let same = self.open.as_ref().is_some_and(|open| open.stamp == stamp);
        if !same {
            self.cancel_work();
        }
        let made = self.made.as_mut().filter(|made| made.offer.stamp == stamp);
        let running = if same { self.open.as_mut().and_then(|open| open.running.take()) } else { None };
        let left = tasks.iter().filter(|task| {
            let is_made = made.as_ref().is_some_and(|made| made.offer.task == **task);
            !is_made && running.as_ref() != Some(*task)
        });
        let tasks = left.cloned().collect();
        self.open = Some(Open { stamp, tasks, running, failed: None });
        // The update was made before this link: nothing is trained again.
        if let Some(made) = made {
            made.offers = 0;
            let report = Message::Report(made.report.clone());
            self.say(&report);
            self.offer(stamp);
        }
        self.next_task();
    }

    /// Starts the next task if its base is here and no task runs.
    fn next_task(&mut self) {
        let (Some(open), Some((_, model))) = (&mut self.open, &self.model) else { return };
        if open.running.is_some() || model.root() != open.stamp.base || !self.site.is_ready() {
            return;
        }
        let Some(task) = open.tasks.pop_front() else { return };
        open.running = Some(task.clone());
        let job = TaskJob::Run { stamp: open.stamp, task, base: model.clone() };
        self.give(job);
    }

    fn task_ended(&mut self, ended: TaskEnded) {
        let TaskEnded { stamp, task, result } = ended;
        let Some(open) = self.open.as_mut().filter(|open| open.stamp == stamp) else { return };
        if open.running.as_ref() == Some(&task) {
            open.running = None;
        }
        match result {
            Ok(result) => self.report(stamp, task, result),
            Err(TaskError::Cancelled) => {}
            Err(error) => {
                let why = match (&error, &open.failed) {
                    // Not a fault of its own.
                    (TaskError::NotTrained { .. }, Some(first)) => {
                        tracing::warn!("round {}: task {task} was not run: {first} failed", stamp.round);
                        format!("not run: {first} failed")
                    }
                    _ => {
                        tracing::error!("round {}: task {task} failed: {error}", stamp.round);
                        if let Some(hint) = error.hint() {
                            tracing::error!("hint: {hint}");
                        }
                        open.failed.get_or_insert_with(|| task.clone());
                        error.to_string()
                    }
                };
                if self.sends_update(&task) {
                    self.part.failed(stamp.round, &task, &why);
                }
                self.say(&Message::Failed(Failed { stamp, task, why: cut_text(&why) }));
            }
        }
        self.next_task();
    }

    fn report(&mut self, stamp: Stamp, task: Name, result: TaskResult) {
        let TaskResult { samples, metrics, update } = result;
        tracing::info!(
            "{}",
            observe::task_line(stamp.round, self.plan.training_rounds(), &task, samples, &metrics)
        );
        let report = Report { stamp, task: task.clone(), samples, metrics };
        self.say(&Message::Report(report.clone()));
        if let Some((payload, weight)) = update {
            let bytes = ByteCount(payload.len() as u64);
            let offer = Offer { stamp, task, weight, bytes, root: payload.root() };
            self.made = Some(Made { offer, payload, report, offers: 0 });
            self.offer(stamp);
        }
    }

    /// Offers the update of this work, if it is still held.
    fn offer(&mut self, stamp: Stamp) {
        let Some(made) = self.made.as_mut().filter(|made| made.offer.stamp == stamp) else { return };
        made.offers += 1;
        let offer = Message::Offer(made.offer.clone());
        self.say(&offer);
    }

    fn granted(&mut self, stamp: Stamp, task: &Name) {
        let made = self.made.as_ref().filter(|made| made.offer.stamp == stamp && made.offer.task == *task);
        let (Some(made), Some(link)) = (made, &self.link) else { return };
        let (handle, offer, payload) = (link.handle.clone(), made.offer.clone(), made.payload.clone());
        let to = link.appraised.clone();
        self.drop_upload();
        self.upload = Some(tokio::spawn(async move {
            let round = offer.stamp.round;
            if let Err(error) = transfer::send(&to, &handle, &PayloadHeader::Update(offer), &payload).await {
                tracing::debug!(%error, "round {round}: the upload broke off");
            }
        }));
    }

    fn refused(&mut self, refused: &RefusedUpdate, context: &mut Context<'_, Self>) {
        let RefusedUpdate { task, refusal } = refused;
        let made = self.made.as_ref().filter(|made| made.offer.task == *task);
        let value = made.and_then(|made| {
            refused_value::explain(refusal, made.payload.as_slice(), &self.layout, self.plan.exact)
        });
        let why = value.unwrap_or_else(|| refusal.to_string());
        tracing::warn!("the aggregator refused the update of task {task}: {why}");
        if let Some(cure) = refusal.cure() {
            tracing::warn!("hint: {cure}");
        }
        if let Refusal::Late | Refusal::Stale { .. } = refusal {
            // The refused update is of a round that is over. The update held now may be of the next round
            // already.
            return;
        }
        let Some(made) = self.made.take_if(|made| made.offer.task == *task) else { return };
        let stamp = made.offer.stamp;
        if !refusal.may_retry() {
            self.part.failed(stamp.round, task, &why);
            return;
        }
        if made.offers < OFFERS {
            context.after(RETRY * made.offers, CollaboratorMessage::OfferAgain(stamp));
            self.made = Some(made);
        } else {
            let why = cut_text(&format!("the update was refused {OFFERS} times: {refusal}"));
            self.part.failed(stamp.round, task, &why);
            self.say(&Message::Failed(Failed { stamp, task: task.clone(), why }));
        }
    }

    fn round_done(&self, done: &RoundDone) {
        let asked = self.part.was_asked(done.round);
        tracing::info!("{}", observe::done_line(done, self.plan.training_rounds(), asked));
    }

    fn finished(&mut self, verdict: Verdict) {
        self.cancel_work();
        match &verdict {
            Verdict::Stopped => {
                tracing::warn!("the aggregator was stopped by its operator; waiting until it runs again");
                // The aggregator waits for this close before its process ends.
                if let Some(link) = self.link.take() {
                    link.handle.close(close_code::DONE, "the collaborator heard that the aggregator stops");
                }
            }
            _ => {
                self.verdict = Some(verdict);
                self.end_when_complete();
            }
        }
    }

    /// Ends the run if it is over and the final model is here, or none is expected.
    fn end_when_complete(&mut self) {
        let held = self.model.as_ref().map(|(_, model)| model.root());
        let complete = match &self.verdict {
            None => return,
            Some(Verdict::Completed { root, .. }) => held == Some(*root),
            Some(_) => true,
        };
        if complete {
            self.say(&Message::Leaving(Leaving {}));
            let verdict = self.verdict.take();
            self.end_with(verdict);
        }
    }

    /// The round is closed. Where this site's update is in it, only measurements were left.
    fn cancelled(&mut self, round: RoundNo) {
        let open = self.open.as_ref();
        let mut left = open.into_iter().flat_map(|open| open.tasks.iter().chain(&open.running));
        if self.made.is_some() || left.any(|task| self.sends_update(task)) {
            tracing::info!(
                "round {round} was closed without this site's update: enough other updates had arrived, or the deadline had passed"
            );
        } else {
            tracing::debug!(
                "round {round} was closed; the metrics that this site has not sent yet are not needed"
            );
        }
        self.cancel_work();
    }

    fn sends_update(&self, task: &Name) -> bool {
        self.plan.tasks.iter().any(|of| of.name == *task && of.kind.sends_update())
    }

    /// Says what this site waits for, twice a minute. The dialler says so while there is no link.
    fn look(&mut self) {
        let now = self.clock.now();
        let Some(what) = self.waits_for() else {
            self.watch = None;
            return;
        };
        match &mut self.watch {
            Some((of, since, said)) if *of == what => {
                if now.duration_since(*said) >= BETWEEN_LINES {
                    *said = now;
                    tracing::info!("{what}, for {} s", now.duration_since(*since).as_secs());
                }
            }
            other => *other = Some((what, now, now)),
        }
    }

    fn waits_for(&self) -> Option<String> {
        self.link.as_ref()?;
        if !self.site.is_ready() {
            return Some("waiting for the statistics of the data of all sites".to_owned());
        }
        let Some(open) = &self.open else {
            return Some("waiting for the aggregator's next round".to_owned());
        };
        let round = open.stamp.round;
        Some(match &open.running {
            Some(task) => format!("round {round}: task {task} is running"),
            None if !open.tasks.is_empty() => format!("round {round}: waiting for the model"),
            None if self.upload.as_ref().is_some_and(|upload| !upload.is_finished()) => {
                format!("round {round}: sending this site's update")
            }
            None if self.made.is_some() => {
                format!("round {round}: waiting until the aggregator takes this site's update")
            }
            None => format!("round {round}: this site has answered; waiting for the others"),
        })
    }

    fn cancel_work(&mut self) {
        self.drop_upload();
        self.made = None;
        if let Some(open) = self.open.take()
            && open.running.is_some()
        {
            self.give(TaskJob::Cancel(open.stamp));
        }
    }

    fn give(&mut self, job: TaskJob) {
        if self.tasks.try_send(job).is_err() {
            let failure = Failure::new(
                Exit::Failed,
                "internal error: the task runner has ended, or has too many jobs waiting",
            );
            if let Some(waiting) = self.outcome.take() {
                // The run's task may have stopped waiting.
                let _ = waiting.send(Err(failure));
            }
        }
    }

    fn drop_upload(&mut self) {
        if let Some(upload) = self.upload.take() {
            upload.abort();
        }
    }

    fn say(&self, message: &Message) {
        let Some(link) = &self.link else { return };
        if link.outbox.try_send(wire::encode(message)).is_err() {
            link.handle.close(close_code::SLOW, close_code::OVERLOADED);
        }
    }

    fn end_with(&mut self, verdict: Option<Verdict>) {
        let model = self.model.take().map(|(stamp, model)| (stamp.round, model));
        let (part, statistics) = (std::mem::take(&mut self.part), self.site.known());
        self.end(Ok(CollaboratorOutcome { verdict, model, statistics, part }));
    }

    fn end(&mut self, outcome: Result<CollaboratorOutcome, Failure>) {
        self.cancel_work();
        if let Some(waiting) = self.outcome.take() {
            // The run's task may have stopped waiting.
            let _ = waiting.send(outcome);
        }
    }
}

/// Most offers of one update over one link.
const OFFERS: u32 = 4;
/// Time between two looks at what this site waits for.
pub(super) const LOOK: Duration = Duration::from_secs(5);
/// Time between two lines about it.
const BETWEEN_LINES: Duration = Duration::from_secs(29);
/// Wait before an update is offered again, multiplied by the number of offers so far.
const RETRY: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests;
