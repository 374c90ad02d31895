//! One collaborator's link at the aggregator.
//!
//! The coordinator opens a session for each [`AdmittedPeer`] and tells it what to send. The session owns the
//! tasks of the link: one reads the control stream, one writes it, one accepts streams and spawns an
//! [`upload`] for each, and one sends the newest model. A session decides nothing about rounds. What it hears
//! goes to the coordinator with the session's number, so that messages of a link that was replaced can be
//! told apart.
//!
//! ```text
//! reader ──────────┐ (waits for room)                    ┌──▶ writer ──▶ control stream
//! streams ─▶ upload┼──────▶ Coordinator ─▶ Session ──────┤
//!                  └ link closed                         └──▶ model sender ──▶ uni stream
//! ```

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use fl_engine::{
    Digest, Name,
    round::Stamp,
    wire::{self, Assigned, Granted, Message, PayloadHeader},
};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinHandle, JoinSet},
    time::timeout,
};

use super::{
    messages::{AggregatorMessage, SessionMessage, SessionNo},
    upload::{self, Grants, Intake, UploadOutcome},
};
use crate::{
    actors::{
        close_code,
        greeting::{self, AdmittedPeer},
        mailbox::{self, Actor, Context, Mailbox},
        transfer,
    },
    net::{ControlReceiver, ControlSender, LinkHandle, RecvStream},
    payload::Payload,
    system::Clock,
    trust::evidence::Appraised,
};

/// One link's state.
pub(crate) struct Session {
    clock: Clock,
    handle: LinkHandle,
    appraised: Appraised,
    outbox: mpsc::Sender<Outgoing>,
    notifier: Notifier,
    grants: Grants,
    uploads: mpsc::Sender<CutOff>,
    /// Why the link ended, as said by the first task that ended it.
    why: Arc<OnceLock<String>>,
    /// Root of the model that the collaborator holds, or will hold when `sending` ends.
    holds: Option<Digest>,
    /// The sending of the model that was assigned last.
    sending: Option<JoinHandle<()>>,
    /// Ends with the session.
    tasks: Vec<AbortHandle>,
}

/// What the writer sends next.
enum Outgoing {
    Envelope(Vec<u8>),
    /// The last message, once the model was sent.
    Last(Vec<u8>, Option<JoinHandle<()>>),
}

/// Tells the streams' task to drop every upload that has begun.
struct CutOff;

/// Opens a session for an admitted collaborator. The session ends when its mailbox is dropped; close the link
/// first.
pub(crate) fn open(
    clock: &Clock,
    admitted: AdmittedPeer,
    session: SessionNo,
    aggregator: &Mailbox<AggregatorMessage>,
    intake: &Arc<Intake>,
) -> Mailbox<SessionMessage> {
    let (proof, appraised, holds, link) = admitted.into_parts();
    let peer = proof.name().clone();
    let (sender, receiver, handle) = link.split();
    let (outbox, outgoing) = mpsc::channel(OUTBOX);
    let (uploads, cut_offs) = mpsc::channel(1);
    let grants = Grants::default();
    let notifier = Notifier { peer, session, aggregator: aggregator.clone() };
    let writer = tokio::spawn(write(sender, outgoing, handle.clone()));
    let why = Arc::new(OnceLock::new());
    let reader = tokio::spawn(read(receiver, handle.clone(), Arc::clone(&why), notifier.clone()));
    let streams = Streams {
        clock: clock.clone(),
        handle: handle.clone(),
        grants: grants.clone(),
        intake: Arc::clone(intake),
        notifier: notifier.clone(),
        why: Arc::clone(&why),
    };
    let streams = tokio::spawn(streams.run(cut_offs));
    let tasks = [writer.abort_handle(), reader.abort_handle(), streams.abort_handle()].to_vec();
    let clock = clock.clone();
    let session = Session {
        clock,
        handle,
        appraised,
        outbox,
        notifier,
        grants,
        uploads,
        why,
        holds,
        sending: None,
        tasks,
    };
    mailbox::open(session, MAILBOX)
}

impl Actor for Session {
    type Message = SessionMessage;

    fn on(&mut self, message: SessionMessage, _: &mut Context<'_, Self>) {
        use SessionMessage as M;
        match message {
            M::Assign { stamp, tasks, model } => {
                if self.holds != Some(stamp.base) {
                    self.send_model(stamp, model);
                }
                self.say(&Message::Assign(Assigned { stamp, tasks }));
            }
            M::Grant(offer) => {
                let granted = Granted { stamp: offer.stamp, task: offer.task.clone() };
                self.grants.add(offer);
                self.say(&Message::Grant(granted));
            }
            M::Cancel(message) => {
                self.grants.clear();
                // Full: the streams' task has not taken the previous one yet, and one is enough.
                let _ = self.uploads.try_send(CutOff);
                self.say(&message);
            }
            M::StopSending => {
                if let Some(sending) = self.sending.take().filter(|s| !s.is_finished()) {
                    sending.abort();
                    self.holds = None;
                }
            }
            M::Say(message) => self.say(&message),
            M::Finish { last, model } => {
                if let Some((stamp, model)) = model.filter(|(stamp, _)| self.holds != Some(stamp.base)) {
                    self.send_model(stamp, model);
                }
                let last = Outgoing::Last(wire::encode(&last), self.sending.take());
                self.put(last);
            }
        }
    }

    fn panicked(&mut self, words: &str) {
        tracing::error!(collaborator = %self.notifier.peer, "internal error in the session of {}: {words}; its link is closed", self.notifier.peer);
        self.handle.close(close_code::LEAVING, "internal error");
        // The task that would report the end of the link ends with the session.
        let notifier = self.notifier.clone();
        tokio::spawn(
            async move { notifier.link_ended("its session had an internal error".to_owned()).await },
        );
    }
}

impl Session {
    fn say(&self, message: &Message) {
        self.put(Outgoing::Envelope(wire::encode(message)));
    }

    fn put(&self, outgoing: Outgoing) {
        if self.outbox.try_send(outgoing).is_err() {
            // The task that ends the link first knows the reason.
            let _ = self.why.set(close_code::OVERLOADED.to_owned());
            self.handle.close(close_code::SLOW, close_code::OVERLOADED);
        }
    }

    fn send_model(&mut self, stamp: Stamp, model: Payload) {
        if let Some(older) = self.sending.take() {
            older.abort();
        }
        self.holds = Some(stamp.base);
        let (handle, notifier, clock) = (self.handle.clone(), self.notifier.clone(), self.clock.clone());
        let (started, to) = (clock.now(), self.appraised.clone());
        // Boxed, so that the handle of a task that has ended holds little memory.
        self.sending = Some(tokio::spawn(Box::pin(async move {
            let sent = transfer::send(&to, &handle, &PayloadHeader::Model(stamp), &model).await;
            drop(model);
            match sent {
                Ok(()) => {
                    let took = clock.since(started);
                    notifier.tell(AggregatorMessage::ModelDelivered { stamp, took }).await;
                }
                // The collaborator has tasks but no model for them. A new link begins with both. Closing a
                // link that is gone does nothing.
                Err(error) => {
                    handle.close(close_code::SLOW, &format!("the model could not be sent: {error}"))
                }
            }
        })));
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        if let Some(sending) = &self.sending {
            sending.abort();
        }
    }
}

/// Tells the aggregator what happens on this link.
#[derive(Clone)]
struct Notifier {
    peer: Name,
    session: SessionNo,
    aggregator: Mailbox<AggregatorMessage>,
}

impl Notifier {
    async fn tell(&self, message: AggregatorMessage) {
        // The aggregator is gone only when the process ends.
        let _ = self.aggregator.deliver(message).await;
    }

    async fn heard(&self, message: Message) {
        let (peer, session) = (self.peer.clone(), self.session);
        self.tell(AggregatorMessage::Heard { peer, session, message }).await;
    }

    async fn link_ended(&self, why: String) {
        let (peer, session) = (self.peer.clone(), self.session);
        self.tell(AggregatorMessage::LinkEnded { peer, session, why }).await;
    }
}

async fn write(mut sender: ControlSender, mut queue: mpsc::Receiver<Outgoing>, handle: LinkHandle) {
    while let Some(outgoing) = queue.recv().await {
        match outgoing {
            Outgoing::Envelope(envelope) => {
                if sender.send_envelope(&envelope).await.is_err() {
                    return;
                }
            }
            Outgoing::Last(envelope, sending) => {
                if let Some(sending) = sending {
                    // Whether the model arrives or not, the collaborator has to hear that the run is over.
                    // Otherwise it would connect again for ever.
                    let _ = timeout(MODEL_TIME, sending).await;
                }
                return greeting::send_last(sender, &handle, &envelope, close_code::DONE).await;
            }
        }
    }
}

/// Passes messages of the collaborator on until the link ends, and closes the link then.
async fn read(
    mut receiver: ControlReceiver,
    handle: LinkHandle,
    why: Arc<OnceLock<String>>,
    notifier: Notifier,
) {
    let (code, reason) = loop {
        let message = match receiver.recv_envelope().await {
            Ok(envelope) => wire::decode(&envelope),
            Err(error) => break (close_code::LEAVING, error.to_string()),
        };
        let message = match message {
            Ok(Some(Message::Leaving(_))) => break (close_code::DONE, "it left the run".to_owned()),
            Ok(Some(
                message @ (Message::Offer(_)
                | Message::Report(_)
                | Message::Failed(_)
                | Message::Columns(_)
                | Message::LeftOut(_)
                | Message::Sums(_)),
            )) => message,
            Ok(Some(_)) => {
                break (
                    close_code::PROTOCOL,
                    "a collaborator may not send this message after its Hello".to_owned(),
                );
            }
            Ok(None) => continue,
            Err(error) => break (close_code::PROTOCOL, error.to_string()),
        };
        notifier.heard(message).await;
    };
    // The task that ends the link first knows the reason.
    let _ = why.set(reason.clone());
    handle.close(code, &reason);
}

/// Accepts a collaborator's streams.
#[derive(Clone)]
struct Streams {
    clock: Clock,
    handle: LinkHandle,
    grants: Grants,
    intake: Arc<Intake>,
    notifier: Notifier,
    /// Why the link ended.
    why: Arc<OnceLock<String>>,
}

impl Streams {
    /// Runs until the link ends. The message that says so comes after those of the last upload.
    async fn run(self, mut cut_offs: mpsc::Receiver<CutOff>) {
        // Dropping the set drops the uploads.
        let mut uploads = JoinSet::new();
        let broken = loop {
            tokio::select! {
                biased;
                cut = cut_offs.recv() => match cut {
                    Some(CutOff) => uploads = JoinSet::new(),
                    None => return,
                },
                Some(_) = uploads.join_next(), if !uploads.is_empty() => {}
                stream = self.handle.accept_uni() => match stream {
                    Ok(stream) => drop(uploads.spawn(self.clone().upload(stream))),
                    Err(error) => break error,
                },
            }
        };
        while uploads.join_next().await.is_some() {}
        let why = self.why.get().cloned().unwrap_or_else(|| broken.to_string());
        self.notifier.link_ended(why).await;
    }

    async fn upload(self, stream: RecvStream) {
        let peer = self.notifier.peer.clone();
        let began = self.clock.now();
        let received = upload::receive(stream, &self.handle, &self.grants, &self.intake).await;
        let message = match received {
            UploadOutcome::Staged { offer, slot } => {
                AggregatorMessage::Staged { peer, offer, slot, began, staged: self.clock.now() }
            }
            UploadOutcome::Refused { offer, refusal } => {
                AggregatorMessage::UpdateRefused { peer, offer, refusal }
            }
            UploadOutcome::Abandoned => return,
            UploadOutcome::Unnamed(why) => {
                let _ = self.why.set(why.clone());
                self.handle.close(close_code::PROTOCOL, &why);
                return;
            }
        };
        self.notifier.tell(message).await;
    }
}

/// Messages that wait for the writer. A round needs about ten.
const OUTBOX: usize = 256;
/// Messages that wait for a session.
const MAILBOX: usize = 256;
/// Longest wait until a slow collaborator holds the final model.
const MODEL_TIME: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
