//! Reference measurements: what each role's enclave has to prove. A plan cannot hold them, because a
//! measurement covers the plan.

use std::fmt;

use serde::Deserialize;

use super::RosterError;
use crate::Digest;

/// The measurements of both roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measurements {
    /// The aggregator's.
    pub aggregator: Measurement,
    /// Every collaborator's.
    pub collaborator: Measurement,
}

/// One role's enclave, as a quote of it states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measurement {
    /// MRENCLAVE: program, plan and configuration.
    pub enclave: Digest,
    /// MRSIGNER: who signed it.
    pub signer: Digest,
    /// ISVPRODID: which of the signer's programs it is.
    pub product: u16,
    /// ISVSVN: its security version.
    pub svn: u16,
}

impl Measurements {
    /// The section's lines.
    pub(super) fn render(&self) -> String {
        let role = |name: &str, of: &Measurement| {
            format!(
                "  {name}:\n    mrenclave: \"{}\"\n    mrsigner: \"{}\"\n    product: {}\n    svn: {}\n",
                of.enclave, of.signer, of.product, of.svn
            )
        };
        let Self { aggregator, collaborator } = self;
        format!("measurements:\n{}{}", role("aggregator", aggregator), role("collaborator", collaborator))
    }

    /// Whether these can be measurements, and tell the roles apart.
    ///
    /// # Errors
    /// [`RosterError::Measurements`].
    pub fn check(&self) -> Result<(), RosterError> {
        let Self { aggregator, collaborator } = self;
        let digests = [aggregator.enclave, aggregator.signer, collaborator.enclave, collaborator.signer];
        if digests.contains(&Digest([0; 32])) {
            return Err(RosterError::Measurements("a measurement is all zeros, which no enclave has"));
        }
        if aggregator.enclave == collaborator.enclave || aggregator.product == collaborator.product {
            return Err(RosterError::Measurements(
                "the enclaves of the two roles have the same MRENCLAVE or the same product number",
            ));
        }
        Ok(())
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { enclave, signer, product, svn } = self;
        write!(f, "MRENCLAVE {enclave}, MRSIGNER {signer}, product {product}, security version {svn}")
    }
}

/// As the roster's file has them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    aggregator: Lines,
    collaborator: Lines,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lines {
    mrenclave: Digest,
    mrsigner: Digest,
    product: u16,
    svn: u16,
}

impl From<Section> for Measurements {
    fn from(Section { aggregator, collaborator }: Section) -> Self {
        let of = |Lines { mrenclave, mrsigner, product, svn }| Measurement {
            enclave: mrenclave,
            signer: mrsigner,
            product,
            svn,
        };
        Self { aggregator: of(aggregator), collaborator: of(collaborator) }
    }
}
