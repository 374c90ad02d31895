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

use std::{collections::VecDeque, time::Duration};

use fl_engine::{
    ByteCount, Digest, Name, RoundNo,
    round::{Offer, Refusal, Report, Stamp},
    wire::{self, Failed, Leaving, Message, PayloadHeader, RefusedUpdate, RoundDone, Verdict, cut_text},
};
use fl_learn::task::TaskError;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use super::messages::{CollaboratorMessage, TaskEnded, TaskJob, TaskResult};
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
};

/// How a collaborator's run ended.
#[derive(Clone, Debug)]
pub(crate) struct CollaboratorOutcome {
    /// The aggregator's verdict. `None` when the collaborator was stopped.
    pub(crate) verdict: Option<Verdict>,
    /// The newest model that the collaborator holds, and its round.
    pub(crate) model: Option<(RoundNo, Payload)>,
}

/// The actor.
pub(super) struct Coordinator {
    tasks: mpsc::Sender<TaskJob>,
    link: Option<LinkUp>,
    held: watch::Sender<Option<Digest>>,
    model: Option<(Stamp, Payload)>,
    open: Option<Open>,
    made: Option<Made>,
    upload: Option<JoinHandle<()>>,
    /// Set when the run is over and the final model has not arrived yet.
    verdict: Option<Verdict>,
    outcome: Option<oneshot::Sender<Result<CollaboratorOutcome, Failure>>>,
}

struct LinkUp {
    outbox: mpsc::Sender<Vec<u8>>,
    handle: LinkHandle,
}

/// Work that the aggregator assigned.
struct Open {
    stamp: Stamp,
    /// Tasks that have not begun.
    tasks: VecDeque<Name>,
    /// The task that was given to the task runner.
    running: Option<Name>,
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
    /// `held` says which model the collaborator holds; `outcome` is told once how the run ended.
    pub(super) fn new(
        tasks: mpsc::Sender<TaskJob>,
        held: watch::Sender<Option<Digest>>,
        outcome: oneshot::Sender<Result<CollaboratorOutcome, Failure>>,
    ) -> Self {
        Self {
            tasks,
            link: None,
            held,
            model: None,
            open: None,
            made: None,
            upload: None,
            verdict: None,
            outcome: Some(outcome),
        }
    }
}

impl Actor for Coordinator {
    type Message = CollaboratorMessage;

    fn on(&mut self, message: CollaboratorMessage, context: &mut Context<'_, Self>) {
        use CollaboratorMessage as M;
        match message {
            M::LinkUp { outbox, handle, welcome } => {
                let round = welcome.round;
                tracing::info!("connected as {}; round {round} is open or opens next", welcome.name);
                self.link = Some(LinkUp { outbox, handle });
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
            M::OfferAgain(stamp) => self.offer(stamp),
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
            Message::Assign(assigned) => self.assigned(assigned.stamp, assigned.tasks),
            Message::Grant(granted) => self.granted(granted.stamp, &granted.task),
            Message::Refused(refused) => self.refused(&refused, context),
            Message::Received(received) => {
                if self.made.as_ref().is_some_and(|made| made.offer.stamp == received.stamp) {
                    tracing::debug!("round {}: the update was received", received.stamp.round);
                    self.made = None;
                }
            }
            Message::Counted(counted) => {
                tracing::info!(
                    "round {}: the aggregator has counted this site's update and saved the round",
                    counted.round
                );
            }
            Message::Cancel(cancelled) => {
                if self.open.as_ref().is_some_and(|open| open.stamp == cancelled.stamp) {
                    tracing::info!(
                        "round {}: remaining work cancelled by the aggregator",
                        cancelled.stamp.round
                    );
                    self.cancel_work();
                }
            }
            Message::RoundDone(done) => self.round_done(&done),
            Message::Finished(verdict) => self.finished(verdict),
            _ => tracing::warn!("ignored a message from the aggregator that only a collaborator sends"),
        }
    }

    fn assigned(&mut self, stamp: Stamp, tasks: Vec<Name>) {
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
        self.open = Some(Open { stamp, tasks, running });
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
        if open.running.is_some() || model.root() != open.stamp.base {
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
                tracing::error!("round {}: task {task} failed: {error}", stamp.round);
                if let Some(hint) = error.hint() {
                    tracing::error!("hint: {hint}");
                }
                let why = cut_text(&error.to_string());
                self.say(&Message::Failed(Failed { stamp, task, why }));
            }
        }
        self.next_task();
    }

    fn report(&mut self, stamp: Stamp, task: Name, result: TaskResult) {
        let TaskResult { samples, metrics, update } = result;
        tracing::info!("{}", observe::task_line(stamp.round, &task, samples, &metrics));
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
        self.drop_upload();
        self.upload = Some(tokio::spawn(async move {
            let round = offer.stamp.round;
            if let Err(error) = transfer::send(&handle, &PayloadHeader::Update(offer), &payload).await {
                tracing::debug!(%error, "round {round}: the upload ended early");
            }
        }));
    }

    fn refused(&mut self, refused: &RefusedUpdate, context: &mut Context<'_, Self>) {
        let RefusedUpdate { task, refusal } = refused;
        tracing::warn!("the aggregator refused the update of task {task}: {refusal}");
        if let Refusal::Late | Refusal::Stale { .. } = refusal {
            // The refused update is of a round that is over. The update held now may be of the next round
            // already.
            return;
        }
        let Some(made) = self.made.take_if(|made| made.offer.task == *task) else { return };
        if !refusal.may_retry() {
            return;
        }
        let stamp = made.offer.stamp;
        if made.offers < OFFERS {
            context.after(RETRY * made.offers, CollaboratorMessage::OfferAgain(stamp));
            self.made = Some(made);
        } else {
            let why = cut_text(&format!("the update was refused {OFFERS} times: {refusal}"));
            self.say(&Message::Failed(Failed { stamp, task: task.clone(), why }));
        }
    }

    fn round_done(&self, done: &RoundDone) {
        tracing::info!("{}", observe::done_line(done));
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
        self.end(Ok(CollaboratorOutcome { verdict, model }));
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
/// Wait before an update is offered again, multiplied by the number of offers so far.
const RETRY: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests;
