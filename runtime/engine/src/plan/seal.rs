//! `enclave.seal`: which enclaves can read what one of them saved.

use std::fmt;

use serde::Serialize;

use crate::settings::{Absent, Field, Key, PlanError, Setting, Takes, words};

words! {
    /// What an enclave's saved state and private key are sealed to: the identity that the processor derives
    /// their key from. Outside enclaves it means nothing.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    #[non_exhaustive]
    pub enum Seal {
        /// The same image alone can read its save/ and keys. A new image cannot, and needs new certificates.
        Enclave = "mrenclave",
        /// Later images signed by the same key can read save/ and keys. So can anything else that the key
        /// signs.
        Signer = "mrsigner",
    }
}

/// The section `enclave`.
pub(super) struct Enclave {
    pub(super) seal: Seal,
}

impl Setting for Enclave {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        Ok(Self { seal: field.section()?.get("seal")? })
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

pub(super) const KEYS: &[Key] = &[Key {
    name: "seal",
    takes: Takes::Word(Seal::TABLE),
    absent: Absent::Default("mrenclave"),
    meaning: "Which enclaves can read the private keys and the folder save/ that an enclave has sealed. Outside of enclaves \
              the key has no effect.",
    example: "mrsigner",
}];
