//! The roster, `plan/cols.yaml`: who takes part, signed by the federation CA.
//!
//! The roster is YAML. People read it; only `fl-host pki` writes it. The last line is the signature over
//! every byte before it, comments and sections of later versions included. Nothing is parsed before the
//! signature is verified. A file that is being rewritten while it is read is refused like a forged one.
//!
//! ```text
//! # The roster of federation "w": who takes part. Serial 3, good until 2027-11-24T20:31:14Z.
//! # Made by `fl-host pki`; do not edit: it is signed.
//! schema: 1
//! federation: "w"
//! serial: 3
//! not_after: 1827088274
//! ca: "3f0c…"
//! collaborators:
//!   - name: "one"
//!     key: "a1b2…"
//!   - name: "two"
//!     key: "c3d4…"
//!     revoked: "laptop stolen"
//! aggregators:
//!   - name: "aggregator"
//!     key: "0d1e…"
//! measurements:
//!   aggregator:
//!     mrenclave: "9f0e…"
//!     mrsigner: "77aa…"
//!     product: 1
//!     svn: 0
//!   collaborator:
//!     mrenclave: "12bc…"
//!     mrsigner: "77aa…"
//!     product: 2
//!     svn: 0
//! attestation:
//!   aggregator: [{mrenclave: "9f0e…"}, {mrsigner: "77aa…", product: 1, least_svn: 2}]
//!   collaborators: [{mrenclave: "12bc…"}]
//!   statuses: [UpToDate, SWHardeningNeeded]
//! resume:
//!   round: 4
//!   without: ["two"]
//!   serial: 3
//!   proof: "8a9b…"
//! signature: "5e6f…"
//! ```
//!
//! `aggregators` is there if the owner has approved an aggregator since rosters list them: a site that holds
//! the roster then connects to these keys alone. `measurements` is there if the owner has given the
//! measurements of an image; `attestation` takes their place and can say more ([`Accepted`]). `resume` is
//! there if the owner has taken the run back ([`Resumption`]).
//!
//! Readers skip top-level sections that this version does not know, and [`RosterDraft`] keeps them, so that
//! later versions can add sections. Callers make and verify the signature: this module has no cryptography
//! and no clock.

mod accepted;
mod measurements;
mod resumption;
mod tcb_status;
mod unix_seconds;

use std::{collections::BTreeSet, sync::Arc};

use serde::Deserialize;

use crate::{
    Digest, Name, hex, limits,
    printable::{unprintable, unprintable_in_lines},
};

pub use accepted::{Accepted, Program};
pub use measurements::{Measurement, Measurements};
pub use resumption::Resumption;
pub use tcb_status::{StatusError, TcbStatus};
pub use unix_seconds::{TimeError, UnixSeconds};

/// The key of a collaborator or an aggregator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The collaborator or aggregator.
    pub name: Name,
    /// SHA-256 of the public key (the certificate's SubjectPublicKeyInfo, DER).
    pub key: Digest,
    /// Why the key may no longer take part; `None` while it may.
    pub revoked: Option<String>,
}

/// The contents of a roster before they are signed: the owner's side. At most one key of each name is not
/// revoked, and no key is listed twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterDraft {
    /// The federation.
    pub federation: Name,
    /// Grows with every change; a reader refuses a lower one than it has seen.
    pub serial: u64,
    /// The roster is not valid from this instant on.
    pub not_after: UnixSeconds,
    /// SHA-256 of the CA certificate's DER.
    pub ca: Digest,
    /// Collaborators, revoked ones included.
    pub members: Vec<Member>,
    /// Aggregators, revoked ones included. An empty list says nothing about aggregators.
    pub aggregators: Vec<Member>,
    /// Measurements that enclaves have to prove; `None` while the owner has given none.
    pub measurements: Option<Measurements>,
    /// Enclaves and platforms that are accepted, in place of `measurements`; `None` while the owner has given
    /// none.
    pub attestation: Option<Accepted>,
    /// The owner's last order to take the run back; `None` while there was none.
    pub resume: Option<Resumption>,
    /// Sections of later versions, unchanged.
    other: String,
}

/// A roster whose signature was verified. Only [`Roster::open`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roster {
    draft: RosterDraft,
    /// SHA-256 of the file.
    digest: Digest,
    /// Made once: a thousand links share it.
    accepted: Option<Arc<Accepted>>,
}

/// Why a text is not a valid roster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RosterError {
    /// Longer than [`limits::PLAN_FILE_BYTES`].
    #[error("the roster has {0} bytes; at most {max} are read", max = limits::PLAN_FILE_BYTES)]
    TooLong(usize),
    /// The last line is not a signature.
    #[error("the roster does not end with a signature: the file is incomplete, or nobody signed it")]
    Unsigned,
    /// A program has changed the line ends.
    #[error(
        "the roster has the line ends of Windows (CR LF): a program changed them, and the signature covers them"
    )]
    LineEnds,
    /// The signature is not this CA's over these bytes.
    #[error(
        "the roster's signature does not hold: the file was changed, is incomplete, or another CA signed it"
    )]
    Signature,
    /// The signature holds, but the text cannot be read.
    #[error("the roster cannot be read: {0}")]
    Malformed(String),
    /// A schema of another version.
    #[error("the roster has schema {0}; this version reads schema {SCHEMA}")]
    Schema(u32),
    /// More members than [`limits::COLLABORATORS`].
    #[error("the roster has {0} lines; at most {max} are allowed", max = limits::COLLABORATORS)]
    TooMany(usize),
    /// Two lines have the same key.
    #[error("the roster lists the key {0} twice")]
    SameKey(Digest),
    /// Two lines have the same name, and neither is revoked.
    #[error("the roster lists two keys of {0}, and neither is revoked")]
    SameName(Name),
    /// Measurements that two enclaves cannot have.
    #[error("the roster's measurements are not valid: {0}")]
    Measurements(&'static str),
    /// A section `attestation` that no owner means.
    #[error("the section `attestation` is not valid: {0}")]
    Attestation(String),
    /// A section `resume` that no owner means.
    #[error("the roster's section `resume` is not valid: {0}")]
    Resume(String),
    /// An empty, long or unprintable reason.
    #[error("the reason for revoking {0} is empty, not printable, or longer than {REASON_BYTES} bytes")]
    Reason(Name),
}

impl RosterError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unsigned | Self::Signature => {
                "try again, because the file may be incomplete for a moment; if that does not help, copy \
                 plan/cols.yaml and cert/ca.crt from the federation's owner"
            }
            Self::LineEnds => {
                "copy plan/cols.yaml again as a binary file, or convert it with `dos2unix plan/cols.yaml`"
            }
            Self::Schema(_) => "use the version of this program that the federation's owner uses",
            _ => {
                "ask the federation's owner for a new roster, which `fl-host pki` makes; nobody edits it by hand"
            }
        }
    }
}

impl Roster {
    /// Reads a roster. `verify` gets the signed bytes and the signature (Ed25519, RFC 8032) and returns
    /// whether the federation CA made the signature.
    ///
    /// # Errors
    /// [`RosterError`]. Nothing of the text is parsed unless `verify` returned true.
    pub fn open(text: &str, verify: impl FnOnce(&[u8], &[u8; 64]) -> bool) -> Result<Self, RosterError> {
        if text.len() > limits::PLAN_FILE_BYTES {
            return Err(RosterError::TooLong(text.len()));
        }
        if text.ends_with("\"\r\n") {
            return Err(RosterError::LineEnds);
        }
        let (body, signature) = split(text).ok_or(RosterError::Unsigned)?;
        if !verify(&signed_bytes(body), &signature) {
            return Err(RosterError::Signature);
        }
        if let Some(c) = unprintable_in_lines(body) {
            return Err(RosterError::Malformed(format!(
                "it contains the control character {}",
                c.escape_unicode()
            )));
        }
        let draft = parse(body)?;
        draft.check()?;
        let RosterDraft { measurements, attestation, .. } = &draft;
        let accepted = attestation.clone().or_else(|| measurements.as_ref().map(Accepted::of));
        Ok(Self { accepted: accepted.map(Arc::new), draft, digest: Digest::of(text.as_bytes()) })
    }

    /// The federation.
    #[must_use]
    pub fn federation(&self) -> &Name {
        &self.draft.federation
    }

    /// Grows with every change.
    #[must_use]
    pub fn serial(&self) -> u64 {
        self.draft.serial
    }

    /// The roster is not valid from this instant on.
    #[must_use]
    pub fn not_after(&self) -> UnixSeconds {
        self.draft.not_after
    }

    /// SHA-256 of the CA certificate's DER.
    #[must_use]
    pub fn ca(&self) -> Digest {
        self.draft.ca
    }

    /// Every line, revoked ones included.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.draft.members
    }

    /// The aggregators' lines, revoked ones included. An empty list says nothing about aggregators.
    #[must_use]
    pub fn aggregators(&self) -> &[Member] {
        &self.draft.aggregators
    }

    /// Measurements that enclaves have to prove; `None` while the owner has given none.
    #[must_use]
    pub fn measurements(&self) -> Option<&Measurements> {
        self.draft.measurements.as_ref()
    }

    /// The section `attestation`; `None` while the owner has given none.
    #[must_use]
    pub fn attestation(&self) -> Option<&Accepted> {
        self.draft.attestation.as_ref()
    }

    /// The enclaves and platforms that are accepted: those of the section `attestation`, or without the
    /// section those of `measurements`. `None` while the owner has given neither.
    #[must_use]
    pub fn accepted(&self) -> Option<Arc<Accepted>> {
        self.accepted.clone()
    }

    /// The owner's last order to take the run back; `None` while there was none.
    #[must_use]
    pub fn resume(&self) -> Option<&Resumption> {
        self.draft.resume.as_ref()
    }

    /// Names that may take part, in the roster's order.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.draft.members.iter().filter(|m| m.revoked.is_none()).map(|m| &m.name)
    }

    /// The line of this key.
    #[must_use]
    pub fn by_key(&self, key: &Digest) -> Option<&Member> {
        self.draft.members.iter().find(|m| m.key == *key)
    }

    /// The line of this name that is not revoked.
    #[must_use]
    pub fn by_name(&self, name: &Name) -> Option<&Member> {
        self.draft.active(name)
    }

    /// SHA-256 of the roster's file, signature included.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// A copy that can be changed and signed again.
    #[must_use]
    pub fn draft(&self) -> RosterDraft {
        self.draft.clone()
    }
}

impl RosterDraft {
    /// An empty roster with serial 1.
    #[must_use]
    pub fn new(federation: Name, ca: Digest, not_after: UnixSeconds) -> Self {
        let (members, aggregators, other) = (Vec::new(), Vec::new(), String::new());
        Self {
            federation,
            serial: 1,
            not_after,
            ca,
            members,
            aggregators,
            measurements: None,
            attestation: None,
            resume: None,
            other,
        }
    }

    /// The line of this name that is not revoked.
    #[must_use]
    pub fn active(&self, name: &Name) -> Option<&Member> {
        self.members.iter().find(|m| m.revoked.is_none() && m.name == *name)
    }

    /// The file's text. `sign` gets the bytes and returns the CA's Ed25519 signature.
    ///
    /// # Errors
    /// [`RosterError`] when a reader would refuse it.
    pub fn seal(&self, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> Result<String, RosterError> {
        self.check()?;
        let body = self.render();
        // The text is signed only if reading gives the same draft: this version may be unable to keep a
        // section of a later version.
        if parse(&body)? != *self {
            return Err(RosterError::Malformed("the text would be read as another roster".into()));
        }
        let mut text = body;
        let signature = sign(&signed_bytes(&text));
        text.push_str(SIGNATURE.0);
        text += &hex::digits(&signature);
        text.push_str(SIGNATURE.1);
        match text.len() {
            n if n > limits::PLAN_FILE_BYTES => Err(RosterError::TooLong(n)),
            _ => Ok(text),
        }
    }

    fn check(&self) -> Result<(), RosterError> {
        if self.members.len() + self.aggregators.len() > limits::COLLABORATORS {
            return Err(RosterError::TooMany(self.members.len() + self.aggregators.len()));
        }
        let mut keys = BTreeSet::new();
        for list in [&self.members, &self.aggregators] {
            let mut names = BTreeSet::new();
            for member in list {
                if !keys.insert(member.key) {
                    return Err(RosterError::SameKey(member.key));
                }
                match &member.revoked {
                    None if !names.insert(&member.name) => {
                        return Err(RosterError::SameName(member.name.clone()));
                    }
                    Some(why) if why.is_empty() || why.len() > REASON_BYTES || unprintable(why).is_some() => {
                        return Err(RosterError::Reason(member.name.clone()));
                    }
                    _ => {}
                }
            }
        }
        self.measurements.as_ref().map_or(Ok(()), Measurements::check)?;
        self.attestation.as_ref().map_or(Ok(()), Accepted::check)?;
        self.resume.as_ref().map_or(Ok(()), |resume| resume.check(self.serial, &self.members))
    }

    fn render(&self) -> String {
        let Self { federation, serial, not_after, ca, members, aggregators, other, .. } = self;
        let mut text = format!(
            "# The roster of federation \"{federation}\": who takes part. Serial {serial}, good until {not_after}.\n\
             # Made by `fl-host pki`; do not edit: it is signed.\n\
             schema: {SCHEMA}\nfederation: \"{federation}\"\nserial: {serial}\nnot_after: {}\nca: \"{ca}\"\n",
            not_after.0
        );
        text += if members.is_empty() { "collaborators: []\n" } else { "collaborators:\n" };
        text.extend(members.iter().map(Member::render));
        if !aggregators.is_empty() {
            text += "aggregators:\n";
            text.extend(aggregators.iter().map(Member::render));
        }
        text.extend(self.measurements.as_ref().map(Measurements::render));
        text.extend(self.attestation.as_ref().map(Accepted::render));
        text.extend(self.resume.as_ref().map(Resumption::render));
        text + other
    }
}

impl Member {
    fn render(&self) -> String {
        let Self { name, key, revoked } = self;
        let mut text = format!("  - name: \"{name}\"\n    key: \"{key}\"\n");
        if let Some(why) = revoked {
            let why = why.replace('\\', "\\\\").replace('"', "\\\"");
            text += &format!("    revoked: \"{why}\"\n");
        }
        text
    }
}

/// What the CA signs: the domain, then every byte before the signature's line.
fn signed_bytes(body: &str) -> Vec<u8> {
    [DOMAIN, body.as_bytes()].concat()
}

/// The text before the signature's line, and the signature.
fn split(text: &str) -> Option<(&str, [u8; 64])> {
    let sealed = text.strip_suffix(SIGNATURE.1)?;
    let at = sealed.len().checked_sub(128)?;
    let (body, signature) = (sealed.get(..at)?.strip_suffix(SIGNATURE.0)?, sealed.get(at..)?);
    (body.is_empty() || body.ends_with('\n')).then_some((body, hex::array(signature)?))
}

fn parse(body: &str) -> Result<RosterDraft, RosterError> {
    // Unknown sections are a later version's; unknown keys of a member are refused, because this version
    // would lose them when it writes the roster anew.
    #[derive(Deserialize)]
    struct File {
        schema: u32,
        federation: Name,
        serial: u64,
        not_after: UnixSeconds,
        ca: Digest,
        collaborators: Vec<Line>,
        #[serde(default)]
        aggregators: Vec<Line>,
        #[serde(default)]
        measurements: Option<measurements::Section>,
        #[serde(default)]
        attestation: Option<Accepted>,
        #[serde(default)]
        resume: Option<resumption::Section>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Line {
        name: Name,
        key: Digest,
        #[serde(default)]
        revoked: Option<String>,
    }
    let file: File =
        serde_saphyr::from_str(body).map_err(|e| RosterError::Malformed(first_line(&e.to_string())))?;
    if file.schema != SCHEMA {
        return Err(RosterError::Schema(file.schema));
    }
    let member = |Line { name, key, revoked }| Member { name, key, revoked };
    Ok(RosterDraft {
        federation: file.federation,
        serial: file.serial,
        not_after: file.not_after,
        ca: file.ca,
        members: file.collaborators.into_iter().map(member).collect(),
        aggregators: file.aggregators.into_iter().map(member).collect(),
        measurements: file.measurements.map(Measurements::from),
        attestation: file.attestation,
        resume: file.resume.map(resumption::Section::read).transpose()?,
        other: other_sections(body),
    })
}

/// The top-level sections whose keys are not [`KEYS`], verbatim.
fn other_sections(body: &str) -> String {
    let mut ours = true;
    let mut other = String::new();
    for line in body.split_inclusive('\n') {
        if line.starts_with(|c: char| c.is_ascii_alphabetic()) {
            ours = line.split_once(':').is_some_and(|(key, _)| KEYS.contains(&key));
        }
        if !ours {
            other.push_str(line);
        }
    }
    other
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// Put before the signed text, so that no signature by the CA means two things.
const DOMAIN: &[u8] = b"fl roster 1\n";
/// The schema that this version writes and reads.
const SCHEMA: u32 = 1;
/// Top-level keys of this version, the signature's left out.
const KEYS: [&str; 10] = [
    "schema",
    "federation",
    "serial",
    "not_after",
    "ca",
    "collaborators",
    "aggregators",
    "measurements",
    "attestation",
    "resume",
];
/// Beginning and end of the last line; 128 hex digits are between them.
const SIGNATURE: (&str, &str) = ("signature: \"", "\"\n");
/// Longest reason of a revocation, bytes.
const REASON_BYTES: usize = 200;

#[cfg(test)]
mod tests;
