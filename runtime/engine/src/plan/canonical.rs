//! The canonical bytes of a resolved plan, and their hash.
//!
//! The plan hash covers these bytes, and an image carries them. They are the same on every machine, and in
//! every later release for a plan that uses no new key.
//!
//! ```text
//! record  = field*                       fields in rising order of tag; absent ones are left out
//! field   = tag:u8 length:u32 value      length of the value in bytes; integers little-endian
//! value   = integer, fixed width | flag:u8 | IEEE 754 bits of a float, fixed width | UTF-8 | 32 bytes
//!         | list | choice | record
//! list    = (length:u32 value)*
//! choice  = number:u8 record             the number of the variant, then its fields
//! ```
//!
//! How to change the schema: tags and numbers are never used twice, and types never change. A new field
//! states the value that older plans mean (`30 name = DEFAULT`). It is written only if it has another value,
//! so a plan without the field keeps its bytes and its hash. An `Option` needs no such value: `None` is not
//! written.
//!
//! Each type's schema is stated once, in [`schema`], and gives the writer and the reader. The reader accepts
//! the bytes that the writer makes and no others.

mod schema;
mod value;

pub(super) use value::{Canonical, Cut};

use super::{Plan, PlanDraft};
use crate::{Digest, hex, limits};

/// Why bytes are not a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CanonicalError {
    /// Longer than [`limits::CANONICAL_PLAN_BYTES`].
    #[error("the plan has {0} bytes; a plan in its canonical form has at most {max}", max = limits::CANONICAL_PLAN_BYTES)]
    TooLong(usize),
    /// Not the encoding: cut short, out of order, a tag or number that this program does not know.
    #[error("the bytes are not a plan in the canonical form that this program knows")]
    Form,
    /// Well formed, and refused as a `plan.yaml` would be.
    #[error("the plan is refused: {0}")]
    Refused(String),
}

impl PlanDraft {
    /// What the draft says in its one canonical form; see this module's source for the grammar.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        bytes
    }

    /// The canonical form as text: two hex digits a byte.
    #[must_use]
    pub fn canonical_text(&self) -> String {
        hex::digits(&self.canonical())
    }

    /// The plan hash: SHA-256 over a domain tag and the canonical bytes.
    #[must_use]
    pub fn hash(&self) -> Digest {
        Digest::of(&[DOMAIN, &self.canonical()].concat())
    }
}

impl Plan {
    /// Reads what [`PlanDraft::canonical`] wrote, with all the checks of [`Self::parse`].
    ///
    /// # Errors
    /// [`CanonicalError`].
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, CanonicalError> {
        if bytes.len() > limits::CANONICAL_PLAN_BYTES {
            return Err(CanonicalError::TooLong(bytes.len()));
        }
        let draft = PlanDraft::read(bytes).map_err(|Cut| CanonicalError::Form)?;
        let plan = draft.check().map_err(|fault| CanonicalError::Refused(fault.message))?;
        // Two encodings of one plan would have two hashes.
        if plan.canonical() == bytes { Ok(plan) } else { Err(CanonicalError::Form) }
    }

    /// Reads what [`PlanDraft::canonical_text`] wrote.
    ///
    /// # Errors
    /// [`CanonicalError`].
    pub fn from_canonical_text(text: &str) -> Result<Self, CanonicalError> {
        if text.len() / 2 > limits::CANONICAL_PLAN_BYTES {
            return Err(CanonicalError::TooLong(text.len() / 2));
        }
        let bytes = hex::bytes(text).filter(|_| !text.contains(char::is_uppercase));
        Self::from_canonical(&bytes.ok_or(CanonicalError::Form)?)
    }
}

/// Keeps the hash of a plan apart from every other SHA-256 in the project.
const DOMAIN: &[u8] = b"fl-plan-1\0";

#[cfg(test)]
mod tests;
