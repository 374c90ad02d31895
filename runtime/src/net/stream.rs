//! One direction of bytes over a link: over QUIC, over TCP or inside one process. Payload code and the
//! control halves call it.
//!
//! A stream that is dropped before [`SendStream::finish`] is reset, so a receiver can never take a cut upload
//! for a whole one.

use bytes::Bytes;

use super::{LinkError, READ_BYTES, local, tcp::end as tcp};

/// The sending half. Dropping it unfinished, or while its delivery is waited for, resets the stream.
#[derive(Debug)]
pub struct SendStream {
    inner: Sender,
}

#[derive(Debug)]
enum Sender {
    /// `kept`: bytes that were written are still sent when the stream is dropped.
    Quic {
        stream: quinn::SendStream,
        kept: bool,
    },
    Tcp(tcp::Sender),
    Local(local::Sender),
}

impl SendStream {
    pub(crate) fn quic(stream: quinn::SendStream) -> Self {
        Self { inner: Sender::Quic { stream, kept: false } }
    }

    pub(crate) fn tcp(sender: tcp::Sender) -> Self {
        Self { inner: Sender::Tcp(sender) }
    }

    pub(crate) fn local(sender: local::Sender) -> Self {
        Self { inner: Sender::Local(sender) }
    }

    /// Sends all of `chunks` without copying them; they are left empty.
    ///
    /// # Errors
    /// When the link is gone or the receiver refused the stream.
    ///
    /// # Cancel safety
    /// Not cancel-safe: a prefix may have been sent. Drop the stream afterwards.
    pub async fn write_chunks(&mut self, chunks: &mut [Bytes]) -> Result<(), LinkError> {
        match &mut self.inner {
            Sender::Quic { stream, .. } => Ok(stream.write_all_chunks(chunks).await?),
            Sender::Tcp(sender) => {
                for chunk in chunks {
                    sender.write(std::mem::take(chunk)).await?;
                }
                Ok(())
            }
            Sender::Local(sender) => {
                for chunk in chunks {
                    sender.write(std::mem::take(chunk)).await?;
                }
                Ok(())
            }
        }
    }

    /// Ends the stream. Bytes that were written are still sent.
    ///
    /// # Errors
    /// When the receiver refused the stream already, or the stream is finished.
    pub fn finish(&mut self) -> Result<(), LinkError> {
        match &mut self.inner {
            Sender::Quic { stream, kept } => {
                stream.finish().map_err(|_| LinkError::Refused)?;
                *kept = true;
                Ok(())
            }
            Sender::Tcp(sender) => sender.finish(),
            Sender::Local(sender) => sender.finish(),
        }
    }

    /// Waits until the peer holds everything. Call it after [`Self::finish`] and before dropping the link.
    ///
    /// Dropping the stream during this wait discards the bytes that the peer does not hold yet. Without that,
    /// the transport would keep them until the peer reads, and they may be a whole model.
    ///
    /// # Errors
    /// When the receiver refused the stream or the link is gone.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn delivered(&mut self) -> Result<(), LinkError> {
        match &mut self.inner {
            Sender::Quic { stream, kept } => {
                *kept = false;
                match stream.stopped().await {
                    Ok(None) => Ok(()),
                    Ok(Some(_)) => Err(LinkError::Refused),
                    Err(quinn::StoppedError::ConnectionLost(lost)) => Err(lost.into()),
                    Err(other) => Err(LinkError::Transport(other.to_string())),
                }
            }
            Sender::Tcp(sender) => sender.delivered().await,
            Sender::Local(sender) => sender.delivered().await,
        }
    }

    /// Sends this stream before others of the link that have data waiting (higher goes first, 0 by default).
    pub fn set_priority(&self, priority: i32) {
        match &self.inner {
            Sender::Quic { stream, .. } => {
                // Fails only on a closed stream, and the next write reports that.
                let _ = stream.set_priority(priority);
            }
            Sender::Tcp(sender) => sender.set_priority(priority),
            Sender::Local(_) => {}
        }
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        if let Sender::Quic { stream, kept: false } = &mut self.inner {
            // quinn would finish the stream, which would make a cut payload look complete. The reset fails on
            // a stream that the peer holds in full.
            let _ = stream.reset(quinn::VarInt::from_u32(0));
        }
    }
}

/// The receiving half. Dropping it tells the sender to stop.
#[derive(Debug)]
pub struct RecvStream {
    inner: Receiver,
}

#[derive(Debug)]
enum Receiver {
    Quic(quinn::RecvStream),
    Tcp(tcp::Receiver),
    Local(local::Receiver),
}

impl RecvStream {
    pub(crate) fn quic(stream: quinn::RecvStream) -> Self {
        Self { inner: Receiver::Quic(stream) }
    }

    pub(crate) fn tcp(receiver: tcp::Receiver) -> Self {
        Self { inner: Receiver::Tcp(receiver) }
    }

    pub(crate) fn local(receiver: local::Receiver) -> Self {
        Self { inner: Receiver::Local(receiver) }
    }

    /// The next bytes, at most `most` and at most [`READ_BYTES`]; `None` once the sender has finished.
    ///
    /// # Errors
    /// [`LinkError::Abandoned`] when the sender dropped the stream, else what broke the link.
    ///
    /// # Cancel safety
    /// Cancel-safe: bytes are either returned or still there.
    pub async fn read(&mut self, most: usize) -> Result<Option<Bytes>, LinkError> {
        let most = most.min(READ_BYTES);
        match &mut self.inner {
            Receiver::Quic(stream) => Ok(stream.read_chunk(most, true).await?.map(|chunk| chunk.bytes)),
            Receiver::Tcp(receiver) => receiver.read(most).await,
            Receiver::Local(receiver) => receiver.read(most).await,
        }
    }

    /// Fills `into` with the next pieces that have arrived, and returns how many there are. Each piece has at
    /// most [`READ_BYTES`]. `None` once the sender has finished. One call to the link serves all pieces,
    /// where [`Self::read`] needs a call for the bytes of each datagram.
    ///
    /// # Errors
    /// As [`Self::read`].
    ///
    /// # Cancel safety
    /// As there.
    pub(crate) async fn read_pieces(&mut self, into: &mut [Bytes]) -> Result<Option<usize>, LinkError> {
        match &mut self.inner {
            Receiver::Quic(stream) => Ok(stream.read_chunks(into).await?),
            Receiver::Tcp(receiver) => receiver.read_pieces(into).await,
            Receiver::Local(receiver) => {
                let Some(first) = into.first_mut() else { return Ok(Some(0)) };
                let piece = receiver.read(READ_BYTES).await?;
                Ok(piece.map(|piece| {
                    *first = piece;
                    1
                }))
            }
        }
    }
}
