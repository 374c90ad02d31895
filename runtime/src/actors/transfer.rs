//! A model or an update over a stream of its own, in either direction.

use fl_engine::{
    Digest,
    tensor::{Layout, RootHasher},
    wire::PayloadHeader,
};

use crate::{
    net::{
        LinkError, LinkHandle, RecvStream,
        payload::{self, PayloadError, Progress},
    },
    payload::Payload,
    trust::evidence::Appraised,
};

/// Sends `payload` behind `header` to a peer whose evidence was judged, and waits until the peer holds all of
/// it.
///
/// # Errors
/// What broke the stream or the link.
///
/// # Cancel safety
/// Not cancel-safe: a stream that is dropped half-way is abandoned, and the peer takes nothing.
pub(super) async fn send(
    _to: &Appraised,
    handle: &LinkHandle,
    header: &PayloadHeader,
    payload: &Payload,
) -> Result<(), LinkError> {
    let mut stream = handle.open_uni().await?;
    payload::send_payload(&mut stream, &header.encode(), &mut [payload.bytes()]).await?;
    stream.delivered().await
}

/// Receives what follows the header: a payload of `layout`, which `sink` is given piece by piece. Answers its
/// root.
///
/// # Errors
/// [`PayloadError`]; `sink` may hold a part of the payload then.
///
/// # Cancel safety
/// Not cancel-safe: `sink` holds a part of the payload.
pub(super) async fn receive<E>(
    stream: &mut RecvStream,
    layout: &Layout,
    mut sink: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<Digest, PayloadError<E>> {
    let mut hasher = RootHasher::new(layout.hash());
    payload::recv_payload(stream, layout.byte_len() as u64, Progress::OWED, |piece| {
        sink(piece)?;
        hasher.update(piece);
        Ok(())
    })
    .await?;
    Ok(hasher.finish())
}
