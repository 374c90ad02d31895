//! One link to the aggregator, over its bare streams.

use std::time::Duration;

use bytes::Bytes;
use fl_engine::{
    round::{Offer, Stamp},
    wire::{self, Leaving, Message, PayloadHeader},
};
use fl_runtime::internal::net::{self, Endpoint, LinkError, LinkHandle, RecvStream, SendStream};
use serde_json::json;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use super::{Failure, misdeed::Misdeed, say};

/// One link to the aggregator.
pub(super) struct Link {
    misdeed: Misdeed,
    pub(super) handle: LinkHandle,
    pub(super) send: SendStream,
    heard: mpsc::UnboundedReceiver<Message>,
    pub(super) reader: JoinHandle<()>,
    /// Drives the connection.
    _endpoint: Endpoint,
}

impl Link {
    /// Takes the control stream, and reads what comes.
    pub(super) fn open(misdeed: Misdeed, endpoint: Endpoint, link: net::Link) -> Self {
        let (send, recv, handle) = link.into_streams();
        let (put, heard) = mpsc::unbounded_channel();
        let reader = tokio::spawn(read(misdeed, handle.clone(), recv, put));
        tokio::spawn(take_models(handle.clone()));
        Self { misdeed, handle, send, heard, reader, _endpoint: endpoint }
    }

    pub(super) async fn say(&mut self, message: &Message) -> Result<(), Failure> {
        self.raw(&wire::encode(message)).await
    }

    pub(super) async fn raw(&mut self, envelope: &[u8]) -> Result<(), Failure> {
        Ok(write(&mut self.send, &framed(envelope)).await?)
    }

    /// The next message of a kind; others are ignored.
    pub(super) async fn hear(&mut self, wanted: impl Fn(&Message) -> bool) -> Result<Message, Failure> {
        while let Some(message) = self.heard.recv().await {
            if wanted(&message) {
                return Ok(message);
            }
        }
        Err("the link ended first".into())
    }

    /// Waits for a task.
    pub(super) async fn work(&mut self) -> Result<Stamp, Failure> {
        loop {
            if let Message::Assign(assigned) = self.hear(|_| true).await?
                && !assigned.tasks.is_empty()
            {
                return Ok(assigned.stamp);
            }
        }
    }

    pub(super) async fn granted(&mut self, offer: &Offer) -> Result<(), Failure> {
        self.say(&Message::Offer(offer.clone())).await?;
        self.hear(|message| matches!(message, Message::Grant(_))).await.map(drop)
    }

    pub(super) async fn refused(&mut self) -> Result<(), Failure> {
        self.hear(|message| matches!(message, Message::Refused(_))).await.map(drop)
    }

    pub(super) async fn open_with(&self, bytes: &[u8]) -> Result<SendStream, Failure> {
        let mut stream = self.handle.open_uni().await?;
        write(&mut stream, bytes).await?;
        Ok(stream)
    }

    /// A stream that nobody granted: the header of an update, or a byte that is taken back.
    pub(super) async fn stream(&self, offer: &Offer, named: bool) -> Result<(), Failure> {
        let mut stream = self.handle.open_uni().await?;
        if named {
            // The aggregator may have refused the stream before its end.
            let _ = write_update(&mut stream, offer, &[]).await;
            let _ = stream.finish();
        } else {
            write(&mut stream, &[200]).await?;
            // A stream that is dropped unfinished is taken back.
            drop(stream);
        }
        Ok(())
    }

    pub(super) async fn leave(mut self) -> Result<(), Failure> {
        self.say(&Message::Leaving(Leaving {})).await?;
        self.closed().await
    }

    pub(super) async fn closed(self) -> Result<(), Failure> {
        let end = self.handle.closed().await;
        // What was heard before the end is printed before it.
        let _ = timeout(Duration::from_secs(1), self.reader).await;
        tell_end(self.misdeed, &end);
        Ok(())
    }
}

/// Prints what the aggregator says.
async fn read(
    misdeed: Misdeed,
    handle: LinkHandle,
    mut recv: RecvStream,
    put: mpsc::UnboundedSender<Message>,
) {
    while let Some(prefix) = read_exactly(&mut recv, 4).await {
        let len = prefix.first_chunk().map_or(0, |prefix| u32::from_le_bytes(*prefix));
        let Some(envelope) = read_exactly(&mut recv, len as usize).await else { return };
        let Ok(Some(message)) = wire::decode(&envelope) else { continue };
        match &message {
            Message::Welcome(m) => say(misdeed, json!({"event": "welcome", "name": m.name})),
            Message::Assign(m) => say(misdeed, json!({"event": "assigned", "round": m.stamp.round})),
            Message::Received(_) => say(misdeed, json!({"event": "received"})),
            Message::Refused(m) => say(misdeed, json!({"event": "refused", "why": m.refusal.to_string()})),
            Message::Rejected(why) => {
                say(misdeed, json!({"event": "rejected", "why": why.to_string()}));
                handle.close(0, "");
            }
            _ => {}
        }
        // Nobody may be listening any more.
        let _ = put.send(message);
    }
}

async fn read_exactly(recv: &mut RecvStream, len: usize) -> Option<Vec<u8>> {
    let mut held = Vec::new();
    while held.len() < len {
        held.extend_from_slice(&recv.read(len - held.len()).await.ok()??);
    }
    Some(held)
}

/// Reads every model and forgets it.
async fn take_models(handle: LinkHandle) {
    while let Ok(mut stream) = handle.accept_uni().await {
        tokio::spawn(async move { while let Ok(Some(_)) = stream.read(1 << 20).await {} });
    }
}

pub(super) fn tell_end(misdeed: Misdeed, error: &LinkError) {
    let line = match error {
        LinkError::Closed { code, reason } => json!({"event": "closed", "code": code, "reason": reason}),
        other => json!({"event": "lost", "why": other.to_string()}),
    };
    say(misdeed, line);
}

pub(super) fn framed(body: &[u8]) -> Vec<u8> {
    [(body.len() as u32).to_le_bytes().as_slice(), body].concat()
}

pub(super) async fn write(stream: &mut SendStream, bytes: &[u8]) -> Result<(), LinkError> {
    stream.write_chunks(&mut [Bytes::copy_from_slice(bytes)]).await
}

pub(super) async fn write_update(
    stream: &mut SendStream,
    offer: &Offer,
    body: &[u8],
) -> Result<(), LinkError> {
    write(stream, &framed(&PayloadHeader::Update(offer.clone()).encode())).await?;
    write(stream, body).await
}
