//! The roster, `plan/cols.yaml`: who takes part, signed by the federation CA.
//!
//! It is YAML that people read and `fl-host pki` alone writes. The last line is the signature, over every
//! byte before it: comments and sections of later versions included. So whatever is read was signed as it
//! stands, nothing is parsed before its signature holds, and a file that was caught in the middle of being
//! rewritten fails like a forged one.
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
//! signature: "5e6f…"
//! ```
//!
//! `measurements` is there once the owner has given an image's.
//!
//! Top-level sections that this version does not know are skipped by readers and kept by [`RosterDraft`], so
//! that more can be added later. The signature itself is made and checked by the callers: this module holds
//! no cryptography and no clock.

mod measurements;

use std::{collections::BTreeSet, fmt};

use serde::Deserialize;

use crate::{Digest, Name, limits};

pub use measurements::{Measurement, Measurements};

/// An instant, seconds after 1970-01-01T00:00:00Z; shown as RFC 3339 has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(transparent)]
pub struct UnixSeconds(pub u64);

/// One collaborator's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The collaborator.
    pub name: Name,
    /// SHA-256 of the public key (the certificate's SubjectPublicKeyInfo, DER).
    pub key: Digest,
    /// Why it may no longer take part; `None` while it may.
    pub revoked: Option<String>,
}

/// What a roster says, before it is signed: the owner's side. At most one key a name is not revoked, and no
/// key stands twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterDraft {
    /// The federation.
    pub federation: Name,
    /// Grows with every change; a reader refuses a lower one than it has seen.
    pub serial: u64,
    /// From when on it is void.
    pub not_after: UnixSeconds,
    /// SHA-256 of the CA certificate's DER.
    pub ca: Digest,
    /// Collaborators, revoked ones included.
    pub members: Vec<Member>,
    /// What enclaves have to say of themselves; `None` while the owner has given nothing.
    pub measurements: Option<Measurements>,
    /// Sections of later versions, as they stood.
    other: String,
}

/// A roster whose signature was found good: [`Roster::open`] is the only way to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roster(RosterDraft);

/// Why a text is no roster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RosterError {
    /// Longer than [`limits::PLAN_FILE_BYTES`].
    #[error("roster has {0} bytes; at most {max} are read", max = limits::PLAN_FILE_BYTES)]
    TooLong(usize),
    /// The last line is not a signature.
    #[error("roster does not end in a signature: it is torn, cut short, or was never signed")]
    Unsigned,
    /// The signature is not this CA's over these bytes.
    #[error("roster's signature does not hold: a byte was changed, it is torn, or another CA signed it")]
    Signature,
    /// Signed, but not understood.
    #[error("roster cannot be read: {0}")]
    Malformed(String),
    /// A schema of another version.
    #[error("roster has schema {0}; this version reads {SCHEMA}")]
    Schema(u32),
    /// More members than [`limits::COLLABORATORS`].
    #[error("roster has {0} lines; at most {max} are allowed", max = limits::COLLABORATORS)]
    TooMany(usize),
    /// Two lines with one key.
    #[error("key {0} stands on the roster twice")]
    SameKey(Digest),
    /// Two lines of one name, none revoked.
    #[error("{0} has two keys on the roster, and neither is revoked")]
    SameName(Name),
    /// Measurements that no two enclaves have.
    #[error("the measurements cannot be: {0}")]
    Measurements(&'static str),
    /// An empty, long or unprintable reason.
    #[error("the reason for revoking {0} has to be 1 to {REASON_BYTES} printable bytes")]
    Reason(Name),
}

impl RosterError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unsigned | Self::Signature => {
                "read it again: it may be in the middle of being rewritten; if that does not help, copy plan/cols.yaml \
                 and cert/ca.crt anew from the federation's owner"
            }
            Self::Schema(_) => "use a version of this program that is as new as the owner's",
            _ => "the owner makes it anew with `fl-host pki`; it is not edited by hand",
        }
    }
}

impl Roster {
    /// Reads a roster. `verify` is given the signed bytes and the signature (Ed25519, RFC 8032) and says
    /// whether the federation CA made it.
    ///
    /// # Errors
    /// [`RosterError`]. Nothing of the text is parsed unless `verify` said yes.
    pub fn open(text: &str, verify: impl FnOnce(&[u8], &[u8; 64]) -> bool) -> Result<Self, RosterError> {
        if text.len() > limits::PLAN_FILE_BYTES {
            return Err(RosterError::TooLong(text.len()));
        }
        let (body, signature) = split(text).ok_or(RosterError::Unsigned)?;
        if !verify(&signed_bytes(body), &signature) {
            return Err(RosterError::Signature);
        }
        let draft = parse(body)?;
        draft.check()?;
        Ok(Self(draft))
    }

    /// The federation.
    #[must_use]
    pub fn federation(&self) -> &Name {
        &self.0.federation
    }

    /// Grows with every change.
    #[must_use]
    pub fn serial(&self) -> u64 {
        self.0.serial
    }

    /// From when on it is void.
    #[must_use]
    pub fn not_after(&self) -> UnixSeconds {
        self.0.not_after
    }

    /// SHA-256 of the CA certificate's DER.
    #[must_use]
    pub fn ca(&self) -> Digest {
        self.0.ca
    }

    /// Every line, revoked ones included.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.0.members
    }

    /// What enclaves have to say of themselves; `None` while the owner has given nothing.
    #[must_use]
    pub fn measurements(&self) -> Option<&Measurements> {
        self.0.measurements.as_ref()
    }

    /// Names that may take part, in the roster's order.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.0.members.iter().filter(|m| m.revoked.is_none()).map(|m| &m.name)
    }

    /// The line of this key.
    #[must_use]
    pub fn by_key(&self, key: &Digest) -> Option<&Member> {
        self.0.members.iter().find(|m| m.key == *key)
    }

    /// The line of this name that is not revoked.
    #[must_use]
    pub fn by_name(&self, name: &Name) -> Option<&Member> {
        self.0.active(name)
    }

    /// The same, to be changed and signed anew.
    #[must_use]
    pub fn draft(&self) -> RosterDraft {
        self.0.clone()
    }
}

impl RosterDraft {
    /// An empty roster with serial 1.
    #[must_use]
    pub fn new(federation: Name, ca: Digest, not_after: UnixSeconds) -> Self {
        let (members, measurements, other) = (Vec::new(), None, String::new());
        Self { federation, serial: 1, not_after, ca, members, measurements, other }
    }

    /// The line of this name that is not revoked.
    #[must_use]
    pub fn active(&self, name: &Name) -> Option<&Member> {
        self.members.iter().find(|m| m.revoked.is_none() && m.name == *name)
    }

    /// The file's text. `sign` is given the bytes and answers with the CA's Ed25519 signature.
    ///
    /// # Errors
    /// [`RosterError`] when a reader would refuse it.
    pub fn seal(&self, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> Result<String, RosterError> {
        self.check()?;
        let body = self.render();
        // What cannot be read back is not signed: a section of a later version may hold what this one cannot
        // keep.
        if parse(&body)? != *self {
            return Err(RosterError::Malformed("it would not read back as it was written".into()));
        }
        let mut text = body;
        let signature = sign(&signed_bytes(&text));
        text.push_str(SIGNATURE.0);
        text.extend(signature.iter().map(|b| format!("{b:02x}")));
        text.push_str(SIGNATURE.1);
        match text.len() {
            n if n > limits::PLAN_FILE_BYTES => Err(RosterError::TooLong(n)),
            _ => Ok(text),
        }
    }

    fn check(&self) -> Result<(), RosterError> {
        if self.members.len() > limits::COLLABORATORS {
            return Err(RosterError::TooMany(self.members.len()));
        }
        let (mut keys, mut names) = (BTreeSet::new(), BTreeSet::new());
        for member in &self.members {
            if !keys.insert(member.key) {
                return Err(RosterError::SameKey(member.key));
            }
            match &member.revoked {
                None if !names.insert(&member.name) => {
                    return Err(RosterError::SameName(member.name.clone()));
                }
                Some(why)
                    if why.is_empty() || why.len() > REASON_BYTES || why.chars().any(char::is_control) =>
                {
                    return Err(RosterError::Reason(member.name.clone()));
                }
                _ => {}
            }
        }
        self.measurements.as_ref().map_or(Ok(()), Measurements::check)
    }

    fn render(&self) -> String {
        let Self { federation, serial, not_after, ca, members, measurements, other } = self;
        let mut text = format!(
            "# The roster of federation \"{federation}\": who takes part. Serial {serial}, good until {not_after}.\n\
             # Made by `fl-host pki`; do not edit: it is signed.\n\
             schema: {SCHEMA}\nfederation: \"{federation}\"\nserial: {serial}\nnot_after: {}\nca: \"{ca}\"\n",
            not_after.0
        );
        text += if members.is_empty() { "collaborators: []\n" } else { "collaborators:\n" };
        for Member { name, key, revoked } in members {
            text += &format!("  - name: \"{name}\"\n    key: \"{key}\"\n");
            if let Some(why) = revoked {
                let why = why.replace('\\', "\\\\").replace('"', "\\\"");
                text += &format!("    revoked: \"{why}\"\n");
            }
        }
        if let Some(measurements) = measurements {
            text += &measurements.render();
        }
        text + other
    }
}

/// What the CA signs: the domain, then every byte before the signature's line.
fn signed_bytes(body: &str) -> Vec<u8> {
    [DOMAIN, body.as_bytes()].concat()
}

/// The text before the signature's line, and the signature.
fn split(text: &str) -> Option<(&str, [u8; 64])> {
    let hex = text.strip_suffix(SIGNATURE.1)?;
    let at = hex.len().checked_sub(128)?;
    let (body, hex) = (hex.get(..at)?.strip_suffix(SIGNATURE.0)?, hex.get(at..)?);
    let half = |from: usize| hex.get(from..from + 64)?.parse::<Digest>().ok();
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&half(0)?.0);
    signature[32..].copy_from_slice(&half(64)?.0);
    (body.is_empty() || body.ends_with('\n')).then_some((body, signature))
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
        ca: Hex,
        collaborators: Vec<Line>,
        #[serde(default)]
        measurements: Option<measurements::Section>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Line {
        name: Name,
        key: Hex,
        #[serde(default)]
        revoked: Option<String>,
    }
    let file: File =
        serde_saphyr::from_str(body).map_err(|e| RosterError::Malformed(first_line(&e.to_string())))?;
    if file.schema != SCHEMA {
        return Err(RosterError::Schema(file.schema));
    }
    let member = |Line { name, key, revoked }| Member { name, key: key.0, revoked };
    Ok(RosterDraft {
        federation: file.federation,
        serial: file.serial,
        not_after: file.not_after,
        ca: file.ca.0,
        members: file.collaborators.into_iter().map(member).collect(),
        measurements: file.measurements.map(Measurements::from),
        other: other_sections(body),
    })
}

/// A digest as text.
struct Hex(Digest);

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(serde::de::Error::custom)
    }
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

impl fmt::Display for UnixSeconds {
    /// `2027-11-24T20:31:14Z`. Days to dates by Howard Hinnant's `civil_from_days`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.0 / 86_400, self.0 % 86_400);
        let days = days + 719_468; // From 0000-03-01, where leap days end the year.
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let of_year = day - (365 * year + year / 4 - year / 100);
        let shifted = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = era * 400 + year + u64::from(month <= 2);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// Put before the signed text, so that no signature by the CA means two things.
const DOMAIN: &[u8] = b"fl roster 1\n";
/// The schema that this version writes and reads.
const SCHEMA: u32 = 1;
/// Top-level keys of this version, the signature's left out.
const KEYS: [&str; 7] =
    ["schema", "federation", "serial", "not_after", "ca", "collaborators", "measurements"];
/// Beginning and end of the last line; 128 hex digits are between them.
const SIGNATURE: (&str, &str) = ("signature: \"", "\"\n");
/// Longest reason of a revocation, bytes.
const REASON_BYTES: usize = 200;

#[cfg(test)]
mod tests;
