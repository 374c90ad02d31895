//! Receives the models that the aggregator sends, the newest one only, and keeps copies where the plan says
//! so.

use std::sync::Arc;

use fl_engine::{RoundNo, plan::Standardise, round::Stamp, tensor::Layout, wire::PayloadHeader};
use tokio::{sync::watch, task::JoinSet};

use super::messages::CollaboratorMessage;
use crate::{
    actors::{close_code, greeting::FIRST_BYTES_WAIT, mailbox::Mailbox, transfer},
    net::{
        LinkError, LinkHandle, RecvStream,
        payload::{self, PayloadError},
    },
    payload::{Buffers, Payload},
    store::MemberCopies,
};

/// What receives models from one link.
#[derive(Clone)]
pub(super) struct ModelReceiver {
    pub(super) handle: LinkHandle,
    pub(super) layout: Arc<Layout>,
    pub(super) buffers: Buffers,
    /// Where every model is kept, if the plan says so.
    pub(super) copies: Option<Arc<MemberCopies>>,
    /// The statistics of all sites; `None` for a plan without them.
    pub(super) statistics: Option<watch::Receiver<Option<Arc<Standardise>>>>,
    pub(super) collaborator: Mailbox<CollaboratorMessage>,
}

impl ModelReceiver {
    /// Receives models until the link ends. A newer one replaces the one that is being received.
    pub(super) async fn run(self) {
        let mut receiving = JoinSet::new();
        while let Ok(stream) = self.handle.accept_uni().await {
            // Dropping the set ends the older task.
            receiving = JoinSet::new();
            receiving.spawn(self.clone().receive_one(stream));
        }
        while receiving.join_next().await.is_some() {}
    }

    async fn receive_one(self, stream: RecvStream) {
        match receive(stream, &self.layout, &self.buffers).await {
            Ok((stamp, model)) => {
                if let Some(copies) = self.copies.filter(|copies| copies.keeps_each()) {
                    keep(copies, self.statistics, stamp.round, model.clone()).await;
                }
                // The collaborator is gone only when the process ends.
                let _ = self.collaborator.deliver(CollaboratorMessage::Model { stamp, model }).await;
            }
            Err(NotReceived::Broken(why)) => tracing::debug!("a model was not received in full: {why}"),
            Err(NotReceived::Wrong(why)) => {
                tracing::error!("refused a model from the aggregator: {why}; the link is closed");
                self.handle.close(close_code::PROTOCOL, &why);
            }
        }
    }
}

/// Writes a copy of a round's model, and waits until it is written: at most one is written at a time.
async fn keep(
    copies: Arc<MemberCopies>,
    statistics: Option<watch::Receiver<Option<Arc<Standardise>>>>,
    round: RoundNo,
    model: Payload,
) {
    if round == RoundNo(0) {
        // The initial model: no round has made it.
        return;
    }
    let statistics = match statistics {
        // The aggregator sends them before any model, but on another stream.
        Some(mut told) => told.wait_for(Option::is_some).await.ok().and_then(|found| found.clone()),
        None => None,
    };
    let kept = tokio::task::spawn_blocking(move || {
        copies.put(round, model.root(), statistics.as_deref(), model.as_slice())
    });
    if let Ok(Err(error)) = kept.await {
        // The folder may be read-only.
        tracing::warn!(
            "cannot keep a copy of the model of round {round}: {error}; the run goes on without the copy"
        );
    }
}

/// Why a model was not received.
enum NotReceived {
    /// The stream ended early: a newer model replaces this one, or the link is gone.
    Broken(String),
    /// The model is not what its header says.
    Wrong(String),
}

async fn receive(
    mut stream: RecvStream,
    layout: &Layout,
    buffers: &Buffers,
) -> Result<(Stamp, Payload), NotReceived> {
    let broken = |error: LinkError| NotReceived::Broken(error.to_string());
    let header = payload::recv_header(&mut stream, FIRST_BYTES_WAIT).await.map_err(broken)?;
    let stamp = match PayloadHeader::decode(&header) {
        Ok(PayloadHeader::Model(stamp)) => stamp,
        Ok(_) => return Err(NotReceived::Wrong("the stream's header does not name a model".to_owned())),
        Err(error) => return Err(NotReceived::Wrong(error.to_string())),
    };
    let mut draft = buffers.take();
    let bytes = draft.as_mut_slice();
    let mut held = 0;
    let received = transfer::receive(&mut stream, layout, |piece| {
        // `receive` gives no more bytes than the layout has.
        bytes[held..held + piece.len()].copy_from_slice(piece);
        held += piece.len();
        Ok::<_, std::convert::Infallible>(())
    });
    let root = received.await.map_err(|error| match error {
        PayloadError::Long { .. } | PayloadError::Short { .. } => NotReceived::Wrong(error.to_string()),
        error => NotReceived::Broken(error.to_string()),
    })?;
    if root != stamp.base {
        return Err(NotReceived::Wrong(format!(
            "the model has root {root}, but {} was announced",
            stamp.base
        )));
    }
    Ok((stamp, draft.finish_with(root)))
}
