//! One link to the aggregator, over plain quinn.

use std::time::Duration;

use fl_engine::{
    round::{Offer, Stamp},
    wire::{self, Leaving, Message, PayloadHeader},
};
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream, VarInt, WriteError};
use serde_json::json;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use super::{Failure, misdeed::Misdeed, say};

/// One link to the aggregator.
pub(super) struct Link {
    misdeed: Misdeed,
    pub(super) connection: Connection,
    pub(super) send: SendStream,
    heard: mpsc::UnboundedReceiver<Message>,
    pub(super) reader: JoinHandle<()>,
    /// Drives the connection.
    _endpoint: Endpoint,
}

impl Link {
    /// Opens the control stream, and reads what comes.
    pub(super) async fn open(
        misdeed: Misdeed,
        endpoint: Endpoint,
        connection: Connection,
    ) -> Result<Self, Failure> {
        let (mut send, recv) = connection.open_bi().await?;
        send.write_all(b"fl/1").await?;
        let (put, heard) = mpsc::unbounded_channel();
        let reader = tokio::spawn(read(misdeed, connection.clone(), recv, put));
        tokio::spawn(take_models(connection.clone()));
        Ok(Self { misdeed, connection, send, heard, reader, _endpoint: endpoint })
    }

    pub(super) async fn say(&mut self, message: &Message) -> Result<(), Failure> {
        self.raw(&wire::encode(message)).await
    }

    pub(super) async fn raw(&mut self, envelope: &[u8]) -> Result<(), Failure> {
        Ok(self.send.write_all(&framed(envelope)).await?)
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
        let mut stream = self.connection.open_uni().await?;
        stream.write_all(bytes).await?;
        Ok(stream)
    }

    /// A stream that nobody granted: the header of an update, or a byte that is taken back.
    pub(super) async fn stream(&self, offer: &Offer, named: bool) -> Result<(), Failure> {
        let mut stream = self.connection.open_uni().await?;
        if named {
            write_update(&mut stream, offer, &[]).await?;
            stream.finish()?;
        } else {
            stream.write_all(&[200]).await?;
            stream.reset(VarInt::from_u32(0))?;
        }
        Ok(())
    }

    pub(super) async fn leave(mut self) -> Result<(), Failure> {
        self.say(&Message::Leaving(Leaving {})).await?;
        self.closed().await
    }

    pub(super) async fn closed(self) -> Result<(), Failure> {
        let end = self.connection.closed().await;
        // What was heard before the end is printed before it.
        let _ = timeout(Duration::from_secs(1), self.reader).await;
        tell_end(self.misdeed, &end);
        Ok(())
    }
}

/// Prints what the aggregator says.
async fn read(
    misdeed: Misdeed,
    connection: Connection,
    mut recv: RecvStream,
    put: mpsc::UnboundedSender<Message>,
) {
    let mut prefix = [0; 4];
    while recv.read_exact(&mut prefix).await.is_ok() {
        let mut envelope = vec![0; u32::from_le_bytes(prefix) as usize];
        if recv.read_exact(&mut envelope).await.is_err() {
            return;
        }
        let Ok(Some(message)) = wire::decode(&envelope) else { continue };
        match &message {
            Message::Welcome(m) => say(misdeed, json!({"event": "welcome", "name": m.name})),
            Message::Assign(m) => say(misdeed, json!({"event": "assigned", "round": m.stamp.round})),
            Message::Received(_) => say(misdeed, json!({"event": "received"})),
            Message::Refused(m) => say(misdeed, json!({"event": "refused", "why": m.refusal.to_string()})),
            Message::Rejected(why) => {
                say(misdeed, json!({"event": "rejected", "why": why.to_string()}));
                connection.close(VarInt::from_u32(0), b"");
            }
            _ => {}
        }
        // Nobody may be listening any more.
        let _ = put.send(message);
    }
}

/// Reads every model and forgets it.
async fn take_models(connection: Connection) {
    while let Ok(mut stream) = connection.accept_uni().await {
        tokio::spawn(async move { while let Ok(Some(_)) = stream.read_chunk(1 << 20, true).await {} });
    }
}

pub(super) fn tell_end(misdeed: Misdeed, error: &ConnectionError) {
    let line = match error {
        ConnectionError::ApplicationClosed(close) => json!({
            "event": "closed",
            "code": close.error_code.into_inner(),
            "reason": String::from_utf8_lossy(&close.reason),
        }),
        other => json!({"event": "lost", "why": other.to_string()}),
    };
    say(misdeed, line);
}

pub(super) fn framed(body: &[u8]) -> Vec<u8> {
    [(body.len() as u32).to_le_bytes().as_slice(), body].concat()
}

pub(super) async fn write_update(
    stream: &mut SendStream,
    offer: &Offer,
    body: &[u8],
) -> Result<(), WriteError> {
    stream.write_all(&framed(&PayloadHeader::Update(offer.clone()).encode())).await?;
    stream.write_all(body).await
}
