//! An update on its way in: one task for each stream that a collaborator opens.
//!
//! The task reads the header, checks that the upload was granted, waits for a slot, and only then reads the
//! payload. The payload is hashed, checked and written to the slot as it arrives. Dropping the task at any
//! point frees the slot.

use std::sync::{Arc, Mutex, PoisonError};

use fl_engine::{
    ByteCount,
    aggregate::PayloadChecker,
    limits,
    plan::ExactRange,
    round::{Offer, Refusal},
    tensor::Layout,
    wire::PayloadHeader,
};

use super::window::{Window, Windows};
use crate::{
    actors::{greeting::FIRST_BYTES_WAIT, transfer},
    memory::{MemoryError, SlotStore, StagedSlot},
    net::{
        LinkError, LinkHandle, RecvStream,
        payload::{self, PayloadError},
    },
};

/// What every upload is checked against, and where it goes.
pub(crate) struct Intake {
    pub(crate) slots: SlotStore,
    pub(crate) layout: Arc<Layout>,
    pub(crate) range: ExactRange,
    pub(crate) windows: Windows,
}

impl Intake {
    pub(crate) fn new(slots: SlotStore, layout: Arc<Layout>, range: ExactRange) -> Self {
        Self { slots, layout, range, windows: Windows::default() }
    }
}

/// The uploads that one collaborator may send.
#[derive(Clone, Default)]
pub(crate) struct Grants(Arc<Mutex<Vec<Offer>>>);

impl Grants {
    /// Adds a grant. The oldest one is forgotten when there are more than the round engine remembers.
    pub(crate) fn add(&self, offer: Offer) {
        let mut offers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if offers.len() >= limits::GRANTS_REMEMBERED {
            offers.remove(0);
        }
        offers.push(offer);
    }

    /// Forgets every grant.
    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn take(&self, offer: &Offer) -> bool {
        let mut offers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = offers.iter().position(|granted| granted == offer);
        at.map(|at| offers.remove(at)).is_some()
    }
}

/// How an upload ended.
pub(crate) enum UploadOutcome {
    /// The update arrived in full and passed every check.
    Staged { offer: Offer, slot: StagedSlot },
    /// The update is refused.
    Refused { offer: Offer, refusal: Refusal },
    /// The sender gave the stream up before it had named the update.
    Abandoned,
    /// The stream has no header that names an update: the peer broke the protocol, or the link broke.
    Unnamed(String),
}

/// Receives one update.
///
/// # Cancel safety
/// Dropping the future drops the stream, which tells the sender to stop, and frees the slot.
pub(crate) async fn receive(
    mut stream: RecvStream,
    link: &LinkHandle,
    grants: &Grants,
    intake: &Intake,
) -> UploadOutcome {
    let header = match payload::recv_header(&mut stream, FIRST_BYTES_WAIT).await {
        Ok(header) => header,
        // An honest sender whose round is over resets its stream at any point.
        Err(LinkError::Abandoned) => return UploadOutcome::Abandoned,
        Err(error) => return UploadOutcome::Unnamed(error.to_string()),
    };
    let offer = match PayloadHeader::decode(&header) {
        Ok(PayloadHeader::Update(offer)) => offer,
        Ok(_) => {
            return UploadOutcome::Unnamed(
                "the stream's header does not name an update; collaborators send nothing else".to_owned(),
            );
        }
        Err(error) => return UploadOutcome::Unnamed(error.to_string()),
    };
    if !grants.take(&offer) {
        let refusal = Refusal::NotAssigned(offer.task.clone());
        return UploadOutcome::Refused { offer, refusal };
    }
    match stage(&mut stream, link, &offer, intake).await {
        Ok(slot) => UploadOutcome::Staged { offer, slot },
        Err(refusal) => UploadOutcome::Refused { offer, refusal },
    }
}

async fn stage(
    stream: &mut RecvStream,
    link: &LinkHandle,
    offer: &Offer,
    intake: &Intake,
) -> Result<StagedSlot, Refusal> {
    let expected = intake.layout.byte_len() as u64;
    // The round engine grants no other length.
    if offer.bytes.0 != expected {
        return Err(Refusal::Length { given: offer.bytes, expected: ByteCount(expected) });
    }
    let mut slot = tokio::select! {
        slot = intake.slots.reserve() => slot.map_err(|e| internal(&e))?,
        _ = link.closed() => return Err(Refusal::Dropped { got: ByteCount(0), expected: offer.bytes }),
    };
    let _in_flight = InFlight::open(link, intake.windows.open(offer.bytes.0));
    let mut checker = PayloadChecker::new(Arc::clone(&intake.layout), intake.range);
    let received = transfer::receive(stream, &intake.layout, |piece| {
        checker.update(piece)?;
        slot.write(piece).map_err(|e| internal(&e))
    });
    let root = received.await.map_err(refusal)?;
    checker.finish()?;
    if root != offer.root {
        return Err(Refusal::Root);
    }
    slot.finish().map_err(|e| internal(&e))
}

/// A link's window for an upload, until it is dropped. It is opened once there is a slot: bytes that arrive
/// before that take memory that no slot counts.
struct InFlight<'a> {
    link: &'a LinkHandle,
    #[expect(dead_code, reason = "held for its drop")]
    room: Window,
}

impl<'a> InFlight<'a> {
    fn open(link: &'a LinkHandle, room: Window) -> Self {
        link.grant(room.bytes());
        Self { link, room }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.link.grant(0);
    }
}

fn refusal(error: PayloadError<Refusal>) -> Refusal {
    match error {
        PayloadError::Sink(refusal) => refusal,
        PayloadError::Short { got, expected } => {
            Refusal::Length { given: ByteCount(got), expected: ByteCount(expected) }
        }
        PayloadError::Long { expected } => {
            Refusal::Length { given: ByteCount(expected + 1), expected: ByteCount(expected) }
        }
        PayloadError::Stalled { got, expected } => {
            Refusal::TooSlow { got: ByteCount(got), expected: ByteCount(expected) }
        }
        PayloadError::Link { got, expected, .. } => {
            Refusal::Dropped { got: ByteCount(got), expected: ByteCount(expected) }
        }
    }
}

fn internal(error: &MemoryError) -> Refusal {
    tracing::error!("an update is refused: it could not be written to its slot: {error}");
    Refusal::Internal(error.to_string())
}

#[cfg(test)]
mod tests;
