//! The header in front of a payload on a uni stream.

use serde::{Deserialize, Serialize};

use super::{
    WireError,
    envelope::{Kind, whole},
};
use crate::round::{Offer, Stamp};

/// What the payload behind it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PayloadHeader {
    /// The base model of a round, from the aggregator; its root is the stamp's base, its length the layout's.
    Model(Stamp),
    /// A granted update, from a collaborator; the same offer as on the control stream.
    Update(Offer),
}

impl PayloadHeader {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Nothing in it that postcard cannot encode.
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// Reads a header.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        whole(HEADER, bytes)
    }
}

/// Stands for a header in errors; no envelope has it.
const HEADER: Kind = Kind(u16::MAX);
