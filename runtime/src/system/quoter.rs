//! Who makes quotes of this process: Gramine's device, or nobody.
//!
//! Gramine's files are global to the process and hold one question at a time. A process asks once, at its
//! start, from one thread.

use std::{io, path::Path};

use fl_engine::{limits::QUOTE_BYTES, wire::AttachedQuote};

use crate::files::Files;

/// Makes a quote of this process.
pub trait Quoter: Send + Sync {
    /// A quote whose report holds `data`; no quote outside of an enclave.
    ///
    /// # Errors
    /// [`QuoterError`] in an enclave that gets no quote.
    fn quote(&self, data: &[u8; 64]) -> Result<AttachedQuote, QuoterError>;
}

/// Gramine's device.
#[derive(Clone, Debug)]
pub struct Gramine {
    files: Files,
}

/// Why an enclave got no quote.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuoterError {
    /// The device did not answer.
    #[error("{FOLDER}/{0} does not answer: this enclave gets no quote")]
    Device(&'static str, #[source] io::Error),
}

impl Gramine {
    /// Asks the device of this process.
    #[must_use]
    pub fn new(files: &Files) -> Self {
        Self { files: files.clone() }
    }
}

impl Quoter for Gramine {
    fn quote(&self, data: &[u8; 64]) -> Result<AttachedQuote, QuoterError> {
        let at = |name: &str| Path::new(FOLDER).join(name);
        // Outside of an enclave, and under gramine-direct, there is no such file.
        match self.files.read_text_at_most(&at("attestation_type"), TYPE_BYTES) {
            Ok(kind) if kind.trim_end_matches('\0').trim() == "dcap" => {}
            _ => return Ok(AttachedQuote::None),
        }
        let failed = |name: &'static str| move |error| QuoterError::Device(name, error);
        self.files.write_into(&at("user_report_data"), data).map_err(failed("user_report_data"))?;
        let quote = self.files.read_at_most(&at("quote"), QUOTE_BYTES);
        quote.map(AttachedQuote::Sgx).map_err(failed("quote"))
    }
}

/// Where Gramine shows its device.
const FOLDER: &str = "/dev/attestation";
/// `none`, `dcap` or another word.
const TYPE_BYTES: usize = 64;
