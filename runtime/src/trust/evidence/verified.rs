//! What a quote proves once it was verified. Policy judges: nothing here says whether it is enough.

use std::collections::BTreeSet;

use fl_engine::{
    Digest,
    plan::roster::{TcbStatus, UnixSeconds},
};

use super::quote::Report;

/// What Intel vouches for. Only [`super::TrustedCollateral::verify`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub(super) measured: Measured,
    pub(super) report_data: [u8; 64],
    pub(super) status: TcbStatus,
    pub(super) advisories: BTreeSet<String>,
    pub(super) evaluation: u32,
    pub(super) issued: UnixSeconds,
    pub(super) good_until: UnixSeconds,
    pub(super) platform: Digest,
}

/// What was measured, for each kind of evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Measured {
    /// An SGX enclave.
    Sgx(Enclave),
}

/// An SGX enclave, as its report states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enclave {
    /// MRENCLAVE: program, plan and configuration.
    pub mrenclave: Digest,
    /// MRSIGNER: who signed it.
    pub mrsigner: Digest,
    /// ISVPRODID: which of the signer's programs it is.
    pub product: u16,
    /// ISVSVN: its security version.
    pub svn: u16,
    /// Whether its host may read its memory.
    pub debug: bool,
}

impl Verified {
    /// What was measured.
    #[must_use]
    pub fn measured(&self) -> &Measured {
        &self.measured
    }

    /// What the enclave put into its report.
    #[must_use]
    pub fn report_data(&self) -> &[u8; 64] {
        &self.report_data
    }

    /// How current the platform is: processor and quoting enclave together.
    #[must_use]
    pub fn status(&self) -> TcbStatus {
        self.status
    }

    /// Intel's advisories about the platform's weaknesses, such as `INTEL-SA-00615`.
    #[must_use]
    pub fn advisories(&self) -> &BTreeSet<String> {
        &self.advisories
    }

    /// The number of Intel's evaluation that the status comes from; the lower one of processor and quoting
    /// enclave. It grows with each recovery from a weakness.
    #[must_use]
    pub fn evaluation(&self) -> u32 {
        self.evaluation
    }

    /// When Intel issued the newest statement that was used: it is not earlier now.
    #[must_use]
    pub fn issued(&self) -> UnixSeconds {
        self.issued
    }

    /// The last second in which this can be verified again with the same collateral.
    #[must_use]
    pub fn good_until(&self) -> UnixSeconds {
        self.good_until
    }

    /// SHA-256 of the processor's number (PPID): it tells machines apart.
    #[must_use]
    pub fn platform(&self) -> Digest {
        self.platform
    }
}

impl Enclave {
    /// What a report states.
    #[must_use]
    pub fn of(report: Report<'_>) -> Self {
        Self {
            mrenclave: Digest(report.mrenclave()),
            mrsigner: Digest(report.mrsigner()),
            product: report.product(),
            svn: report.svn(),
            debug: report.is_debug(),
        }
    }
}
