//! Payloads over uni streams: a short header, then exactly as many bytes as both sides agreed on.
//!
//! Tasks of the data plane call these functions. They pass bytes on as they arrive and keep none.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fl_engine::limits;
use tokio::time::{Instant, timeout_at};

use super::{LinkError, RecvStream, SendStream, link};

/// Why a payload was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError<E> {
    /// The link or the stream broke.
    #[error("the stream broke after {got} of {expected} bytes")]
    Link {
        /// Bytes received.
        got: u64,
        /// Bytes agreed on.
        expected: u64,
        /// What broke it.
        #[source]
        why: LinkError,
    },
    /// The stream ended before the agreed length.
    #[error("the payload ended after {got} of {expected} bytes")]
    Short {
        /// Bytes received.
        got: u64,
        /// Bytes agreed on.
        expected: u64,
    },
    /// The stream carries more than the agreed length.
    #[error("the payload is longer than {expected} bytes")]
    Long {
        /// Bytes agreed on.
        expected: u64,
    },
    /// Too few bytes moved for too long.
    #[error("the payload stalled after {got} of {expected} bytes")]
    Stalled {
        /// Bytes received.
        got: u64,
        /// Bytes agreed on.
        expected: u64,
    },
    /// The function that takes the bytes refused them.
    #[error("this side refused the values that arrived")]
    Sink(E),
}

/// Least speed of a sender: at least `bytes` in every `window`. A slower stream is stalled.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Length of the window.
    pub window: Duration,
    /// Bytes that must arrive in it.
    pub bytes: u64,
}

impl Progress {
    /// For every sender of a model or an update.
    pub const OWED: Self =
        Self { window: Duration::from_millis(limits::PROGRESS_WINDOW.0), bytes: limits::PROGRESS_BYTES.0 };
}

/// Sends `header`, then `body` without copying it, and finishes the stream. `body` is left empty.
///
/// # Errors
/// [`LinkError::TooLarge`] for a header over [`HEADER_BYTES`], else what broke the stream.
///
/// # Cancel safety
/// Not cancel-safe; the receiver sees an abandoned stream once it is dropped.
pub async fn send_payload(
    stream: &mut SendStream,
    header: &[u8],
    body: &mut [Bytes],
) -> Result<(), LinkError> {
    stream.write_chunks(&mut [link::frame(header, HEADER_BYTES)?]).await?;
    stream.write_chunks(body).await?;
    stream.finish()
}

/// Reads the header in front of a payload; its length is checked before memory is reserved for it.
///
/// # Errors
/// [`LinkError::TooLarge`] over [`HEADER_BYTES`], [`LinkError::Ended`] for a cut header,
/// [`LinkError::TimedOut`] when the header has not arrived within `within`, else what broke the stream.
///
/// # Cancel safety
/// Not cancel-safe: drop the stream afterwards.
pub async fn recv_header(stream: &mut RecvStream, within: Duration) -> Result<Bytes, LinkError> {
    let deadline = Instant::now() + within;
    let mut prefix = [0; 4];
    prefix.copy_from_slice(&recv_exactly(stream, 4, deadline).await?);
    recv_exactly(stream, link::announced(prefix, HEADER_BYTES)?, deadline).await
}

/// Reads exactly `expected` bytes and the end of the stream. Gives each piece (at most 256 KiB) to `sink`.
///
/// # Errors
/// [`PayloadError`]. The sink may hold a part of the payload then: drop it.
///
/// # Cancel safety
/// Not cancel-safe: the sink holds a part of the payload.
pub async fn recv_payload<E>(
    stream: &mut RecvStream,
    expected: u64,
    progress: Progress,
    mut sink: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), PayloadError<E>> {
    let mut got = 0;
    let mut window_end = Instant::now() + progress.window;
    let mut owed = progress.bytes;
    let mut pieces = [const { Bytes::new() }; PIECES];
    loop {
        let Ok(read) = timeout_at(window_end, stream.read_pieces(&mut pieces)).await else {
            if owed > 0 {
                return Err(PayloadError::Stalled { got, expected });
            }
            window_end = Instant::now() + progress.window;
            owed = progress.bytes.max(1);
            continue;
        };
        let Some(filled) = read.map_err(|why| PayloadError::Link { got, expected, why })? else {
            return if got == expected { Ok(()) } else { Err(PayloadError::Short { got, expected }) };
        };
        for piece in &mut pieces[..filled] {
            // The buffer of the piece's datagram is free as soon as the piece is dropped.
            let piece = std::mem::take(piece);
            let len = piece.len() as u64;
            if len > expected - got {
                return Err(PayloadError::Long { expected });
            }
            sink(&piece).map_err(PayloadError::Sink)?;
            got += len;
            owed = owed.saturating_sub(len);
        }
        let now = Instant::now();
        if now >= window_end && owed == 0 {
            window_end = now + progress.window;
            owed = progress.bytes.max(1);
        } else if now >= window_end {
            return Err(PayloadError::Stalled { got, expected });
        }
    }
}

async fn recv_exactly(stream: &mut RecvStream, len: usize, deadline: Instant) -> Result<Bytes, LinkError> {
    let mut held = BytesMut::with_capacity(len);
    while held.len() < len {
        let read = timeout_at(deadline, stream.read(len - held.len())).await;
        let piece = read.map_err(|_| LinkError::TimedOut)??.ok_or(LinkError::Ended)?;
        held.extend_from_slice(&piece);
    }
    Ok(held.freeze())
}

/// Longest header in front of a payload, bytes.
pub const HEADER_BYTES: usize = 1024;
/// Pieces that are read at once. With full datagrams, 45 KiB.
const PIECES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Link;

    const PATIENT: Progress = Progress { window: Duration::from_secs(5), bytes: 1 };

    async fn sent(header: &[u8], body: &[u8]) -> (Link, Link, RecvStream) {
        let (a, b) = Link::pair(Vec::new(), Vec::new());
        let mut out = a.handle().open_uni().await.unwrap();
        send_payload(&mut out, header, &mut [Bytes::copy_from_slice(body)]).await.unwrap();
        let mut stream = b.handle().accept_uni().await.unwrap();
        assert_eq!(recv_header(&mut stream, Duration::from_secs(5)).await.unwrap(), header);
        (a, b, stream)
    }

    async fn take(stream: &mut RecvStream, expected: u64) -> Result<Vec<u8>, PayloadError<()>> {
        let mut held = Vec::new();
        recv_payload(stream, expected, PATIENT, |piece| {
            held.extend_from_slice(piece);
            Ok(())
        })
        .await
        .map(|()| held)
    }

    #[tokio::test]
    async fn payload_arrives_behind_its_header() {
        let body: Vec<u8> = (0..700_000_u32).map(|n| n as u8).collect();
        let (_a, _b, mut stream) = sent(b"round 3", &body).await;
        assert_eq!(take(&mut stream, body.len() as u64).await.unwrap(), body);
    }

    #[tokio::test]
    async fn shorter_and_longer_payloads_are_refused() {
        let (_a, _b, mut stream) = sent(b"", &[1; 9]).await;
        assert_eq!(take(&mut stream, 10).await, Err(PayloadError::Short { got: 9, expected: 10 }));
        let (_a, _b, mut stream) = sent(b"", &[1; 11]).await;
        assert_eq!(take(&mut stream, 10).await, Err(PayloadError::Long { expected: 10 }));
        let (_a, _b, mut stream) = sent(b"", &[1]).await;
        assert_eq!(take(&mut stream, 0).await, Err(PayloadError::Long { expected: 0 }));
    }

    #[tokio::test]
    async fn oversized_header_is_refused() {
        let (a, b) = Link::pair(Vec::new(), Vec::new());
        let mut out = a.handle().open_uni().await.unwrap();
        assert!(matches!(
            send_payload(&mut out, &[0; HEADER_BYTES + 1], &mut []).await,
            Err(LinkError::TooLarge { .. })
        ));
        out.write_chunks(&mut [Bytes::copy_from_slice(&2000_u32.to_le_bytes())]).await.unwrap();
        let mut stream = b.handle().accept_uni().await.unwrap();
        let refused = LinkError::TooLarge { bytes: 2000, limit: HEADER_BYTES as u64 };
        assert_eq!(recv_header(&mut stream, Duration::from_secs(5)).await, Err(refused));
    }

    #[tokio::test(start_paused = true)]
    async fn dripping_sender_is_stalled_and_a_slow_one_is_not() {
        for (step, enough) in [(10, false), (200, true)] {
            let (a, b) = Link::pair(Vec::new(), Vec::new());
            let mut out = a.handle().open_uni().await.unwrap();
            let sender = tokio::spawn(async move {
                for _ in 0..20 {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    if out.write_chunks(&mut [Bytes::from(vec![0; step])]).await.is_err() {
                        return;
                    }
                }
                let _ = out.finish();
            });
            let mut stream = b.handle().accept_uni().await.unwrap();
            let progress = Progress { window: Duration::from_secs(5), bytes: 500 };
            let expected = 20 * step as u64;
            let took = recv_payload(&mut stream, expected, progress, |_| Ok::<_, ()>(())).await;
            assert_eq!(took.is_ok(), enough, "{took:?}");
            if !enough {
                assert!(matches!(took, Err(PayloadError::Stalled { .. })));
            }
            drop(stream);
            sender.await.unwrap();
        }
    }

    #[tokio::test]
    async fn refusing_sink_ends_the_transfer() {
        let (_a, _b, mut stream) = sent(b"", &[1; 11]).await;
        let took = recv_payload(&mut stream, 11, PATIENT, |_| Err("disk full")).await;
        assert_eq!(took, Err(PayloadError::Sink("disk full")));
    }
}
