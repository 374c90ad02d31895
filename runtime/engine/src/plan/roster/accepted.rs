//! `attestation`: which enclaves, on which platforms, a quote has to show.
//!
//! The owner writes the section as a file of its own, and `fl-host pki sign --attestation FILE` puts it on
//! the roster. A roster with the older section `measurements` alone means one accepted enclave for each role.

use std::{collections::BTreeSet, fmt};

use serde::Deserialize;

use super::{Measurement, Measurements, RosterError, TcbStatus};
use crate::{
    Digest,
    limits::{ACCEPTED_PROGRAMS, ADVISORIES, PLATFORMS},
};

/// What the owner accepts. Each role's list has at least one entry.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// Enclaves of the aggregator: any one of them.
    pub aggregator: Vec<Program>,
    /// Enclaves of collaborators: any one of them.
    pub collaborators: Vec<Program>,
    /// Intel's words for platforms that may take part; never empty.
    #[serde(default = "statuses")]
    pub statuses: BTreeSet<TcbStatus>,
    /// Intel's advisories that may be open on a platform; `None`: any.
    pub advisories: Option<BTreeSet<String>>,
    /// Least number of Intel's evaluation (`tcbEvaluationDataNumber`) that a verdict may come from.
    #[serde(default)]
    pub least_evaluation: u32,
    /// Days after its end in which collateral is still used.
    #[serde(default = "grace_days")]
    pub grace_days: u32,
    /// SHA-256 of the numbers (PPID) of the machines that may take part; empty: any machine.
    #[serde(default)]
    pub platforms: BTreeSet<Digest>,
}

/// An accepted program: what is given has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// MRENCLAVE.
    pub mrenclave: Option<Digest>,
    /// MRSIGNER; with a product.
    pub mrsigner: Option<Digest>,
    /// ISVPRODID; with a signer.
    pub product: Option<u16>,
    /// Least ISVSVN.
    #[serde(default)]
    pub least_svn: u16,
}

impl Accepted {
    /// Reads the owner's file: the section as a roster has it.
    ///
    /// # Errors
    /// [`RosterError::Malformed`], [`RosterError::Attestation`].
    pub fn parse(text: &str) -> Result<Self, RosterError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            attestation: Accepted,
        }
        let file: File = serde_saphyr::from_str(text)
            .map_err(|e| RosterError::Malformed(super::first_line(&e.to_string())))?;
        file.attestation.check().map(|()| file.attestation)
    }

    /// What the older section means.
    #[must_use]
    pub fn of(Measurements { aggregator, collaborator }: &Measurements) -> Self {
        let only = |of: &Measurement| {
            let Measurement { enclave, signer, product, svn } = *of;
            vec![Program {
                mrenclave: Some(enclave),
                mrsigner: Some(signer),
                product: Some(product),
                least_svn: svn,
            }]
        };
        Self {
            aggregator: only(aggregator),
            collaborators: only(collaborator),
            statuses: statuses(),
            advisories: None,
            least_evaluation: 0,
            grace_days: GRACE_DAYS,
            platforms: BTreeSet::new(),
        }
    }

    /// What it says, one line for each thing: enclaves of each role, then platforms.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let of = |role: &str, programs: &[Program]| -> Vec<String> {
            programs.iter().map(|program| format!("{role}: {program}")).collect()
        };
        let mut lines = of("aggregator", &self.aggregator);
        lines.extend(of("collaborators", &self.collaborators));
        let statuses: Vec<&str> = self.statuses.iter().map(|status| status.as_str()).collect();
        let mut platforms = format!("TCB status {}", statuses.join(" or "));
        if let Some(names) = &self.advisories {
            platforms += &format!("; advisories {:?}", names.iter().collect::<Vec<_>>());
        }
        platforms += &format!(
            "; evaluation {} or later; collateral until {} days after its end",
            self.least_evaluation, self.grace_days
        );
        if !self.platforms.is_empty() {
            platforms += &format!("; {} machines", self.platforms.len());
        }
        lines.push(platforms);
        lines
    }

    /// The section's lines.
    pub(super) fn render(&self) -> String {
        let Self { aggregator, collaborators, statuses, advisories, least_evaluation, grace_days, platforms } =
            self;
        let list = |entries: Vec<String>| entries.join(", ");
        let quoted = |text: &dyn fmt::Display| format!("\"{text}\"");
        let mut text = "attestation:\n".to_owned();
        for (role, programs) in [("aggregator", aggregator), ("collaborators", collaborators)] {
            text += &format!("  {role}:\n");
            text.extend(programs.iter().map(Program::render));
        }
        let words = list(statuses.iter().map(|status| quoted(status)).collect());
        text += &format!("  statuses: [{words}]\n");
        if let Some(advisories) = advisories {
            let names = list(advisories.iter().map(|name| quoted(name)).collect());
            text += &format!("  advisories: [{names}]\n");
        }
        text += &format!("  least_evaluation: {least_evaluation}\n  grace_days: {grace_days}\n");
        if !platforms.is_empty() {
            text += "  platforms:\n";
            text.extend(platforms.iter().map(|platform| format!("    - \"{platform}\"\n")));
        }
        text
    }

    /// Whether an owner can mean this.
    pub(super) fn check(&self) -> Result<(), RosterError> {
        let refused = |why: String| Err(RosterError::Attestation(why));
        let Self { aggregator, collaborators, statuses, advisories, grace_days, platforms, .. } = self;
        for (role, programs) in [("aggregator", aggregator), ("collaborators", collaborators)] {
            if programs.is_empty() || programs.len() > ACCEPTED_PROGRAMS {
                return refused(format!(
                    "{role} lists {} enclaves, not 1 to {ACCEPTED_PROGRAMS}",
                    programs.len()
                ));
            }
            if let Some(why) = programs.iter().find_map(Program::fault) {
                return refused(format!("{role}: {why}"));
            }
        }
        if aggregator.iter().any(|one| collaborators.iter().any(|other| one.overlaps(other))) {
            return refused("one enclave could be that of both roles".to_owned());
        }
        if statuses.is_empty() || statuses.contains(&TcbStatus::Revoked) {
            return refused("statuses is empty or has Revoked, which is never accepted".to_owned());
        }
        let names = advisories.iter().flatten();
        let is_name =
            |name: &String| name.len() <= 32 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if names.clone().count() > ADVISORIES || !names.clone().all(is_name) {
            return refused(format!(
                "advisories has more than {ADVISORIES} names, or an invalid one: Intel's are like INTEL-SA-00615"
            ));
        }
        if *grace_days > MOST_GRACE_DAYS {
            return refused(format!("grace_days is {grace_days}; at most {MOST_GRACE_DAYS} are allowed"));
        }
        if platforms.len() > PLATFORMS {
            return refused(format!(
                "platforms lists {} machines; at most {PLATFORMS} are allowed",
                platforms.len()
            ));
        }
        Ok(())
    }
}

impl Program {
    /// Whether an enclave with these values is this program.
    #[must_use]
    pub fn is(&self, mrenclave: Digest, mrsigner: Digest, product: u16, svn: u16) -> bool {
        self.mrenclave.is_none_or(|own| own == mrenclave)
            && self.mrsigner.is_none_or(|own| own == mrsigner)
            && self.product.is_none_or(|own| own == product)
            && svn >= self.least_svn
    }

    fn fault(&self) -> Option<&'static str> {
        let zeros = Some(Digest([0; 32]));
        if self.mrenclave == zeros || self.mrsigner == zeros {
            return Some("a measurement is all zeros, which no enclave has");
        }
        if self.mrsigner.is_some() != self.product.is_some() {
            return Some("mrsigner and product stand together");
        }
        let names_none = self.mrenclave.is_none() && self.mrsigner.is_none();
        names_none.then_some("an entry names neither mrenclave, nor mrsigner and product")
    }

    /// Whether one enclave can be both.
    fn overlaps(&self, other: &Self) -> bool {
        if self.mrenclave.is_some() && other.mrenclave.is_some() {
            return self.mrenclave == other.mrenclave;
        }
        // Where one names the program and the other its signer, only a quote could tell.
        self.mrsigner.is_some() && (self.mrsigner, self.product) == (other.mrsigner, other.product)
    }

    fn render(&self) -> String {
        let Self { mrenclave, mrsigner, product, least_svn } = self;
        let mut parts = Vec::new();
        parts.extend(mrenclave.map(|digest| format!("mrenclave: \"{digest}\"")));
        parts.extend(mrsigner.map(|digest| format!("mrsigner: \"{digest}\"")));
        parts.extend(product.map(|product| format!("product: {product}")));
        parts.push(format!("least_svn: {least_svn}"));
        format!("    - {}\n", parts.join("\n      "))
    }
}

/// `MRENCLAVE 9f0e…` or `MRSIGNER 77aa…, product 1, security version 2 or later`.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mrenclave, mrsigner, product, least_svn } = self;
        let mut parts = Vec::new();
        parts.extend(mrenclave.map(|digest| format!("MRENCLAVE {digest}")));
        parts.extend(mrsigner.map(|digest| format!("MRSIGNER {digest}")));
        parts.extend(product.map(|product| format!("product {product}")));
        if *least_svn > 0 {
            parts.push(format!("security version {least_svn} or later"));
        }
        f.write_str(&parts.join(", "))
    }
}

/// Current platforms alone.
fn statuses() -> BTreeSet<TcbStatus> {
    BTreeSet::from([TcbStatus::UpToDate])
}

fn grace_days() -> u32 {
    GRACE_DAYS
}

/// A federation whose collateral ended yesterday has two weeks to fetch the next.
const GRACE_DAYS: u32 = 14;
/// Longest grace.
const MOST_GRACE_DAYS: u32 = 90;

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = "attestation:\n  aggregator:\n    - mrenclave: \"e1\"\n      least_svn: 0\n    \
                        - mrsigner: \"51\"\n      product: 1\n      least_svn: 2\n  collaborators:\n    \
                        - mrenclave: \"e2\"\n      least_svn: 0\n  statuses: [\"UpToDate\", \"OutOfDate\"]\n  \
                        advisories: [\"INTEL-SA-00615\"]\n  least_evaluation: 17\n  grace_days: 3\n  \
                        platforms:\n    - \"aa\"\n";

    /// The text with each short digest in its full length.
    fn full() -> String {
        ["e1", "e2", "51", "aa"].iter().fold(FULL.to_owned(), |text, short| {
            text.replace(&format!("\"{short}\""), &format!("\"{}\"", short.repeat(32)))
        })
    }

    #[test]
    fn section_is_read_as_it_is_written() {
        let accepted = Accepted::parse(&full()).unwrap();
        assert_eq!(accepted.render(), full());
        let digest = |byte| Digest([byte; 32]);
        assert!(accepted.aggregator[0].is(digest(0xe1), digest(9), 7, 0));
        assert!(!accepted.aggregator[0].is(digest(0xe3), digest(9), 7, 0));
        let signed = accepted.aggregator[1];
        assert!(signed.is(digest(0xe3), digest(0x51), 1, 2) && signed.is(digest(0xe4), digest(0x51), 1, 3));
        assert!(!signed.is(digest(0xe3), digest(0x51), 1, 1), "an older version");
        assert!(!signed.is(digest(0xe3), digest(0x51), 2, 2), "another product");
        assert!(!signed.is(digest(0xe3), digest(0x52), 1, 2), "another signer");
        assert_eq!(
            signed.to_string(),
            format!("MRSIGNER {}, product 1, security version 2 or later", digest(0x51))
        );
    }

    #[test]
    fn short_section_accepts_current_platforms_and_two_weeks_of_grace() {
        let digest = |byte| Digest([byte; 32]);
        let text = format!(
            "attestation: {{aggregator: [{{mrenclave: \"{}\"}}], collaborators: [{{mrenclave: \"{}\"}}]}}\n",
            digest(1),
            digest(2)
        );
        let accepted = Accepted::parse(&text).unwrap();
        assert_eq!((accepted.statuses.len(), accepted.grace_days), (1, 14));
        assert!(accepted.statuses.contains(&TcbStatus::UpToDate));
        assert_eq!((accepted.advisories, accepted.platforms.len()), (None, 0));
        let old = |byte, product| Measurement { enclave: digest(byte), signer: digest(9), product, svn: 3 };
        let old = Accepted::of(&Measurements { aggregator: old(1, 1), collaborator: old(2, 2) });
        assert!(old.aggregator[0].is(digest(1), digest(9), 1, 3));
        assert!(!old.aggregator[0].is(digest(1), digest(8), 1, 3));
        assert_eq!(old.statuses, accepted.statuses);
    }

    #[test]
    fn sections_that_no_owner_means_are_refused() {
        let with = |from: &str, to: &str| {
            let text = full().replace(from, to);
            assert_ne!(text, full(), "{from}");
            Accepted::parse(&text).unwrap_err().to_string()
        };
        let e2 = "e2".repeat(32);
        for (from, to, words) in [
            (e2.as_str(), "e1".repeat(32).as_str(), "one enclave could be that of both roles"),
            (e2.as_str(), "00".repeat(32).as_str(), "all zeros"),
            ("      product: 1\n", "", "mrsigner and product stand together"),
            ("mrenclave: \"e2", "mrenclav: \"e2", "unknown field"),
            ("\"OutOfDate\"", "\"Revoked\"", "never accepted"),
            ("\"OutOfDate\"", "\"Old\"", "cannot be read"),
            ("INTEL-SA-00615", "a b", "or an invalid one"),
            ("grace_days: 3", "grace_days: 91", "at most 90"),
        ] {
            let why = with(from, to);
            assert!(why.contains(words), "{why}");
        }
    }
}
