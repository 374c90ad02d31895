//! `attestation`: whose enclave has to prove itself before anything moves.

use std::fmt;

use serde::Serialize;

use crate::settings::{Absent, Field, Key, PlanError, Setting, Takes, words};

words! {
    /// Whether the aggregator shows a quote of its enclave.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    #[non_exhaustive]
    pub enum OfAggregator {
        /// No quote is asked for.
        None = "none",
        /// A collaborator sends an update only to an aggregator whose quote it has verified.
        Required = "required",
    }
}

words! {
    /// Whether collaborators show quotes of their enclaves.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    #[non_exhaustive]
    pub enum OfCollaborators {
        /// No quote is asked for.
        None = "none",
        /// A collaborator with a quote is admitted when the quote is good; one without a quote is admitted
        /// too.
        Optional = "optional",
        /// A collaborator is admitted only with a quote that the aggregator has verified.
        Required = "required",
    }
}

/// What each role has to show of its enclave. By default nothing, in every target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Attestation {
    /// The aggregator, to its collaborators.
    pub aggregator: OfAggregator,
    /// Collaborators, to the aggregator.
    pub collaborators: OfCollaborators,
}

impl Attestation {
    /// Nobody shows a quote: what a plan without the key says.
    pub const NONE: Self = Self { aggregator: OfAggregator::None, collaborators: OfCollaborators::None };
}

impl Setting for Attestation {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        let section = field.section()?;
        Ok(Self { aggregator: section.get("aggregator")?, collaborators: section.get("collaborators")? })
    }
}

/// `aggregator required, collaborators none`.
impl fmt::Display for Attestation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "aggregator {}, collaborators {}", self.aggregator.word(), self.collaborators.word())
    }
}

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "aggregator",
        takes: Takes::Word(OfAggregator::TABLE),
        absent: Absent::Default("none"),
        meaning: "Whether the aggregator's enclave proves itself to every collaborator.",
        example: "required",
    },
    Key {
        name: "collaborators",
        takes: Takes::Word(OfCollaborators::TABLE),
        absent: Absent::Default("none"),
        meaning: "Whether the enclaves of collaborators prove themselves to the aggregator.",
        example: "required",
    },
];
