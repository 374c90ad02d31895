//! Whether the peer of a link is what the plan and the roster ask for.
//!
//! ```text
//! evidence ─▶ role, certificate, plan ─▶ run key signed this link ─▶ certificate's key signed the claims
//!          ─▶ quote under Intel's root ─▶ report holds the claims ─▶ owner's policy ─▶ Appraised
//! ```
//!
//! Only [`Appraiser::appraise`] makes an [`Appraised`]: no model and no update is sent without one. Verdicts
//! are remembered, so a peer that connects again costs one signature.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use fl_engine::{
    Digest,
    plan::{
        Attestation, OfAggregator, OfCollaborators,
        roster::{Accepted, Member, Roster, TcbStatus, UnixSeconds},
    },
    wire::{AttachedQuote, Evidence, Held, LinkTerms, Side},
};
use rustls::pki_types::CertificateDer;

use super::{
    bound::{self, Expected, NotBound},
    chain::ChainError,
    in_force::Collaterals,
    refusal::NotVerified,
    verified::{Enclave, Measured, Verified},
};
use crate::trust::{Fingerprint, FlooredClock};

/// Judges the peers of one side.
pub struct Appraiser {
    peers: Side,
    demand: Demand,
    /// Whether the peers judge this side's quote.
    is_judged: bool,
    expected: Expected,
    roster: Box<dyn Fn() -> Option<Arc<Roster>> + Send + Sync>,
    collaterals: Arc<Collaterals>,
    clock: FlooredClock,
    /// The last verdict about each certificate's key: there are as many as members.
    known: Mutex<HashMap<Digest, Known>>,
}

/// The proof that a peer's evidence was judged: only [`Appraiser::appraise`] makes one, and nothing moves
/// without one. The type can be named from outside:
///
/// ```
/// use fl_runtime::internal::trust::evidence::Appraised;
/// let none: Option<Appraised> = None;
/// ```
///
/// but it cannot be made there:
///
/// ```compile_fail,E0451
/// use fl_runtime::internal::trust::evidence::Appraised;
/// let made = Appraised { attested: None };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appraised {
    attested: Option<Attested>,
}

/// The proof that a quote was verified and that the owner accepts what it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attested(Arc<Verified>);

/// What the plan asks of a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// No quote.
    None,
    /// A quote, if there is one.
    Optional,
    /// A quote.
    Required,
}

/// Roster and collateral that a verdict rests on, by their digests.
pub type JudgedBy = [Option<Digest>; 2];

#[derive(Clone, Debug)]
struct Known {
    /// Of claims, quote, collateral and roster.
    of: Digest,
    attested: Option<Attested>,
    /// The verdict's last second.
    until: UnixSeconds,
}

/// Why a peer's evidence is refused. No text holds a number that identifies a machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAppraised {
    /// Evidence of the same key was refused just before.
    #[error("a try with this certificate was refused less than ten seconds ago; the next try is judged")]
    TooSoon,
    /// The owner has published a roster without the aggregator's key since TLS accepted the key.
    #[error("the roster lists other aggregators")]
    Unlisted,
    /// The owner has revoked the aggregator's key since TLS accepted the key.
    #[error("the roster revokes the aggregator's key: {0}")]
    Revoked(String),
    /// It does not belong to the link.
    #[error(transparent)]
    NotBound(#[from] NotBound),
    /// There is no quote, and the plan asks for one.
    #[error("the plan requires a quote of the peer's enclave, and the peer shows none")]
    NoQuote,
    /// The roster does not say what is accepted.
    #[error("this side's roster lists no enclaves, so no quote can be judged")]
    NoPolicy,
    /// There is no collateral.
    #[error("this side has no collateral of Intel, so no quote can be judged")]
    NoCollateral,
    /// The collateral has ended, and the days of grace are over.
    #[error("this side's collateral of Intel expired at {0}, and the roster's days of grace are over")]
    CollateralEnded(UnixSeconds),
    /// The quote is not good.
    #[error(transparent)]
    NotVerified(NotVerified),
    /// The quote is about other claims.
    #[error("the quote was made for another run key")]
    OtherClaims,
    /// The owner accepts other programs.
    #[error("the roster lists other enclaves for this role than MRENCLAVE {0}")]
    OtherEnclave(Digest),
    /// The owner does not accept the platform's status.
    #[error("the platform's TCB status is {0}, which the roster does not accept")]
    Status(TcbStatus),
    /// The owner does not accept an advisory.
    #[error("the advisory {0} is open on the platform, and the roster does not accept it")]
    Advisory(String),
    /// The verdict comes from an old evaluation.
    #[error("the collateral has Intel's evaluation {found}; the roster asks for {least} or later")]
    Evaluation {
        /// The collateral's.
        found: u32,
        /// The roster's.
        least: u32,
    },
    /// The owner lists other machines.
    #[error("the roster does not list the peer's machine")]
    Platform,
}

impl Demand {
    /// What the plan's `attestation` asks of `side`.
    #[must_use]
    pub fn of(attestation: Attestation, side: Side) -> Self {
        match (side, attestation.aggregator, attestation.collaborators) {
            (Side::Aggregator, OfAggregator::None, _) | (Side::Collaborator, _, OfCollaborators::None) => {
                Self::None
            }
            (Side::Collaborator, _, OfCollaborators::Optional) => Self::Optional,
            _ => Self::Required,
        }
    }
}

impl Appraiser {
    /// Judges peers that have this side, by the plan's `attestation`. `roster` returns the roster in force.
    #[must_use]
    pub fn new(
        peers: Side,
        attestation: Attestation,
        expected: Expected,
        roster: impl Fn() -> Option<Arc<Roster>> + Send + Sync + 'static,
        collaterals: Arc<Collaterals>,
        clock: &FlooredClock,
    ) -> Self {
        let demand = Demand::of(attestation, peers);
        let is_judged = Demand::of(attestation, peers.other()) != Demand::None;
        let (roster, clock, known) = (Box::new(roster), clock.clone(), Mutex::default());
        Self { peers, demand, is_judged, expected, roster, collaterals, clock, known }
    }

    /// The collateral of this side.
    #[must_use]
    pub fn collaterals(&self) -> &Arc<Collaterals> {
        &self.collaterals
    }

    /// Whether a quote of a peer is looked at.
    #[must_use]
    pub fn looks_at_quotes(&self) -> bool {
        self.demand != Demand::None
    }

    /// Whether the peers judge this side's quote.
    #[must_use]
    pub fn is_judged(&self) -> bool {
        self.is_judged
    }

    /// What this side judges by.
    #[must_use]
    pub fn held(&self) -> Held {
        let roster = (self.roster)().map_or(0, |roster| roster.serial());
        Held { roster, collateral: self.collaterals.in_force().map_or(0, |held| held.issued().0) }
    }

    /// The roster and the collateral that this side judges by now.
    #[must_use]
    pub fn judges_by(&self) -> JudgedBy {
        let collateral = self.collaterals.in_force().map(|held| held.digest());
        [(self.roster)().map(|roster| roster.digest()), collateral]
    }

    /// Judges what a peer with `certificate` shows on a link. `shown` is empty where the peer's program is
    /// older than evidence, and `link` is `None` on a link without keys.
    ///
    /// # Errors
    /// [`NotAppraised`].
    pub fn appraise(
        &self,
        shown: &[u8],
        certificate: Option<&CertificateDer<'_>>,
        link: Option<&LinkTerms>,
    ) -> Result<Appraised, NotAppraised> {
        if let Some(certificate) = certificate.filter(|_| self.peers == Side::Aggregator) {
            self.is_listed(certificate)?;
        }
        if shown.is_empty() {
            return match self.demand {
                Demand::Required => Err(NotAppraised::NoQuote),
                Demand::None | Demand::Optional => Ok(Appraised { attested: None }),
            };
        }
        let evidence = Evidence::decode(shown).map_err(NotBound::Form)?;
        let certificate = certificate.ok_or(NotBound::OtherCertificate)?;
        bound::check(&evidence, certificate, link.ok_or(NotBound::OtherLink)?, self.expected)?;

        let (roster, collateral) = ((self.roster)(), self.collaterals.in_force());
        let quote = match &evidence.quote {
            AttachedQuote::Sgx(quote) => &quote[..],
            _ => &[],
        };
        let of = [
            &evidence.claims.vouched_bytes()[..],
            &evidence.vouched,
            &collateral.as_ref().map_or(Digest([0; 32]), |held| held.digest()).0,
            &roster.as_ref().map_or(0, |roster| roster.serial()).to_le_bytes(),
            quote,
        ];
        let (of, now) = (Digest::of(&of.concat()), self.clock.now());
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = evidence.claims.certificate_key;
        let before = known().get(&key).filter(|before| before.of == of && now <= before.until).cloned();
        if let Some(Known { attested, .. }) = before {
            return Ok(Appraised { attested });
        }
        bound::is_vouched(&evidence, certificate)?;
        let (attested, until) = match (self.demand, quote) {
            (Demand::None, _) | (Demand::Optional, []) => (None, UnixSeconds(u64::MAX)),
            (Demand::Required, []) => return Err(NotAppraised::NoQuote),
            (_, quote) => {
                let accepted = roster.and_then(|roster| roster.accepted()).ok_or(NotAppraised::NoPolicy)?;
                let collateral = collateral.ok_or(NotAppraised::NoCollateral)?;
                let (grace, end) = (u64::from(accepted.grace_days) * DAY, collateral.good_until());
                let until = UnixSeconds(end.0.saturating_add(grace));
                if now > until {
                    return Err(NotAppraised::CollateralEnded(end));
                }
                let verified = collateral.verify(quote, now, grace).map_err(NotAppraised::NotVerified)?;
                if *verified.report_data() != evidence.claims.report_data() {
                    return Err(NotAppraised::OtherClaims);
                }
                judge(&verified, &accepted, evidence.claims.side)?;
                (Some(Attested(Arc::new(verified))), until)
            }
        };
        known().insert(key, Known { of, attested: attested.clone(), until });
        Ok(Appraised { attested })
    }

    /// Whether the roster that is in force now admits the aggregator. TLS asks the roster of the start only.
    fn is_listed(&self, certificate: &CertificateDer<'_>) -> Result<(), NotAppraised> {
        let Some(roster) = (self.roster)().filter(|roster| !roster.aggregators().is_empty()) else {
            return Ok(());
        };
        let key = Fingerprint::of(certificate).map_err(|_| NotBound::OtherCertificate)?.0;
        match roster.aggregators().iter().find(|line| line.key == key) {
            Some(Member { revoked: None, .. }) => Ok(()),
            Some(Member { revoked: Some(why), .. }) => Err(NotAppraised::Revoked(why.clone())),
            None => Err(NotAppraised::Unlisted),
        }
    }

    /// Judges a peer of an open link again, by the roster that is in force now. No signature is checked: the
    /// quote stays what it was.
    ///
    /// # Errors
    /// [`NotAppraised`].
    pub fn still(&self, appraised: &Appraised) -> Result<(), NotAppraised> {
        let Some(Attested(verified)) = &appraised.attested else { return Ok(()) };
        let accepted = (self.roster)().and_then(|roster| roster.accepted()).ok_or(NotAppraised::NoPolicy)?;
        judge(verified, &accepted, self.peers)
    }
}

/// Whether the owner accepts what a quote has proved.
fn judge(verified: &Verified, accepted: &Accepted, side: Side) -> Result<(), NotAppraised> {
    let Measured::Sgx(Enclave { mrenclave, mrsigner, product, svn, .. }) = *verified.measured();
    let programs = match side {
        Side::Aggregator => &accepted.aggregator,
        Side::Collaborator => &accepted.collaborators,
    };
    if !programs.iter().any(|program| program.is(mrenclave, mrsigner, product, svn)) {
        return Err(NotAppraised::OtherEnclave(mrenclave));
    }
    if !accepted.statuses.contains(&verified.status()) {
        return Err(NotAppraised::Status(verified.status()));
    }
    let open =
        |names: &std::collections::BTreeSet<String>| verified.advisories().difference(names).next().cloned();
    if let Some(advisory) = accepted.advisories.as_ref().and_then(open) {
        return Err(NotAppraised::Advisory(advisory));
    }
    if verified.evaluation() < accepted.least_evaluation {
        let (found, least) = (verified.evaluation(), accepted.least_evaluation);
        return Err(NotAppraised::Evaluation { found, least });
    }
    if !accepted.platforms.is_empty() && !accepted.platforms.contains(&verified.platform()) {
        return Err(NotAppraised::Platform);
    }
    Ok(())
}

impl Appraised {
    /// What a quote has proved; `None` where no quote was asked for, or where the plan allows that none is
    /// shown.
    #[must_use]
    pub fn attested(&self) -> Option<&Attested> {
        self.attested.as_ref()
    }

    /// Makes one without a check, for tests of the code that holds one.
    #[cfg(test)]
    pub(crate) fn unchecked() -> Self {
        Self { attested: None }
    }
}

impl Attested {
    /// What the quote has proved.
    #[must_use]
    pub fn verified(&self) -> &Verified {
        &self.0
    }
}

/// `MRENCLAVE 9f0e…, TCB status UpToDate`.
impl fmt::Display for Attested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Measured::Sgx(Enclave { mrenclave, .. }) = self.0.measured();
        write!(f, "MRENCLAVE {mrenclave}, TCB status {}", self.0.status())
    }
}

impl NotAppraised {
    /// Whether the cause is on the side that judges: its files may be newer at the next attempt.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        matches!(
            self,
            Self::TooSoon
                | Self::Unlisted
                | Self::Revoked(_)
                | Self::NoPolicy
                | Self::NoCollateral
                | Self::CollateralEnded(_)
                | Self::Evaluation { .. }
                | Self::NotVerified(
                    NotVerified::OtherProcessor
                        | NotVerified::Early(..)
                        | NotVerified::Late(..)
                        | NotVerified::OtherPce
                        | NotVerified::Chain(_, ChainError::NoList | ChainError::ListExpired(_))
                )
        )
    }

    /// Whether a genuine quote of the peer's enclave proves it.
    #[must_use]
    pub fn is_proved(&self) -> bool {
        matches!(self, Self::OtherEnclave(_) | Self::Status(_) | Self::Advisory(_) | Self::Platform)
    }

    /// The words that the peer reads when this side is `judge`. What this side itself reads says "this side"
    /// and "the peer".
    #[must_use]
    pub fn told_by(&self, judge: Side) -> String {
        let (judge, peer) = match judge {
            Side::Aggregator => ("the aggregator", "this collaborator"),
            Side::Collaborator => ("the collaborator", "this aggregator"),
        };
        match self {
            Self::NoQuote => format!("the plan requires a quote, and {peer} shows none"),
            Self::NoPolicy => {
                format!("the roster of {judge} lists no enclaves, so {judge} can judge no quote")
            }
            Self::NoCollateral => format!("{judge} has no collateral of Intel, so it can judge no quote"),
            Self::CollateralEnded(end) => {
                format!("the collateral of {judge} expired at {end}, and the roster's days of grace are over")
            }
            Self::Evaluation { found, least } => format!(
                "the collateral of {judge} has Intel's evaluation {found}; the roster asks for {least} or later"
            ),
            Self::Platform => format!("the roster does not list the machine of {peer}"),
            other => other.to_string(),
        }
    }

    /// One word for programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooSoon => "too_soon",
            Self::Unlisted => "unlisted",
            Self::Revoked(_) => "revoked",
            Self::NotBound(NotBound::Form(_)) => "evidence_form",
            Self::NotBound(NotBound::OtherRole) => "other_role",
            Self::NotBound(NotBound::OtherCertificate) => "other_certificate",
            Self::NotBound(NotBound::OtherPlan) => "other_plan",
            Self::NotBound(NotBound::NotVouched) => "not_vouched",
            Self::NotBound(NotBound::OtherLink) => "other_link",
            Self::NoQuote => "no_quote",
            Self::NoPolicy => "no_policy",
            Self::NoCollateral => "no_collateral",
            Self::CollateralEnded(_) => "collateral_expired",
            Self::NotVerified(why) => why.reason(),
            Self::OtherClaims => "other_claims",
            Self::OtherEnclave(_) => "other_enclave",
            Self::Status(_) => "tcb_status",
            Self::Advisory(_) => "advisory",
            Self::Evaluation { .. } => "evaluation",
            Self::Platform => "platform",
        }
    }

    /// What to do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::TooSoon => "wait for ten seconds; if that does not help, somebody else may have this key",
            Self::Unlisted | Self::Revoked(_) => {
                "check the address in plan/site.yaml, and ask the federation's owner which aggregator is right"
            }
            Self::NotBound(NotBound::Form(_)) => "use the version of fl-runtime that the federation uses",
            Self::NotBound(_) => {
                "somebody between the two sides may pass on evidence of another link: check the address, and ask the peer's operator"
            }
            Self::NoQuote => {
                "run the peer from an image for SGX, on a machine with SGX; the federation's owner decides with `attestation` in the plan"
            }
            Self::NoPolicy => {
                "copy the newest roster from the federation's owner, who lists enclaves with `fl-host pki sign --attestation`"
            }
            Self::NoCollateral | Self::CollateralEnded(_) | Self::Evaluation { .. } => {
                "make a new collateral.json with `fl-host attest collateral`, and put the file into plan/ or cert/"
            }
            Self::NotVerified(_) => {
                "the chapter attestation lists the causes; `fl-host attest verify` checks a quote by hand"
            }
            Self::OtherClaims => "start the peer again: it makes a new quote",
            Self::OtherEnclave(_) | Self::Status(_) | Self::Advisory(_) | Self::Platform => {
                "ask the federation's owner: `fl-host pki list` shows what the roster accepts"
            }
        }
    }
}

impl fmt::Debug for Appraiser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Appraiser").field("demand", &self.demand).finish_non_exhaustive()
    }
}

const DAY: u64 = 86_400;
