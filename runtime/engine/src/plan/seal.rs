//! `enclave.seal`: which enclaves can read what one of them saved.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::error::PlanError;
use super::field::Field;

/// What an enclave's saved state and private key are sealed to: the identity that the processor derives their key from.
/// It means nothing outside enclaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Seal {
    /// MRENCLAVE: the same binary and configuration alone can read it, no new image.
    Enclave,
    /// MRSIGNER: later versions of the same role can, signed by the same key. So can whatever else that key signs.
    Signer,
}

impl Seal {
    /// As a plan spells it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Enclave => "mrenclave",
            Self::Signer => "mrsigner",
        }
    }
}

/// `mrenclave: the same image alone …`.
impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meaning = match self {
            Self::Enclave => {
                "the same image alone can read its save/ and keys; a new one cannot, and needs new certificates"
            }
            Self::Signer => {
                "later images signed by the same key can read save/ and keys, and anything else it signs"
            }
        };
        write!(f, "{}: {meaning}", self.word())
    }
}

/// Reads `{seal: mrenclave}`.
pub(super) fn read(field: &Field<'_>) -> Result<Seal, PlanError> {
    let enclave = field.section(&["seal"])?;
    let choices = [Seal::Enclave, Seal::Signer].map(|seal| (seal.word(), seal));
    enclave.or("seal", DEFAULT, |f| f.choice(&choices))
}

/// What a plan without the key means.
pub(super) const DEFAULT: Seal = Seal::Enclave;
