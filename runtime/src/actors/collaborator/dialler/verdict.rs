//! Whether a failed attempt to connect ends the collaborator.
//!
//! Before the server's certificate has verified, anybody on the network can have caused a failure: every such
//! failure is tried again. Afterwards the aggregator itself speaks. What the aggregator says ends the
//! collaborator only where another attempt would fail in the same way. What the aggregator concludes from its
//! clock is tried again, because a clock can be set right: this side decides by its own clock.

use fl_engine::{Digest, wire::Rejection};

use crate::{
    exit::{Exit, Failure},
    net::LinkError,
    trust::{OwnValidity, evidence::NotAppraised, handshake},
};

/// How an attempt without a link ended.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Another attempt may succeed.
    Again(NoLink),
    /// Another attempt would fail in the same way.
    Final(Failure),
}

/// Why an attempt made no link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoLink {
    pub(super) cause: Cause,
    pub(super) why: String,
}

/// Who or what was in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Nothing answered.
    Silent,
    /// Something answered, and has not shown a certificate of this federation's aggregator.
    Unproven,
    /// What answered has no place for this collaborator now.
    Busy,
    /// The aggregator refuses this collaborator for a while.
    Refusing,
    /// This side cannot judge the aggregator's evidence yet. What to do, in one sentence.
    Evidence(&'static str),
    /// The proxy made no connection. What to do, in one sentence.
    Proxy(&'static str),
    /// Anything else, for example a name that does not resolve.
    Other,
}

impl NoLink {
    pub(super) fn other(why: impl Into<String>) -> Self {
        Self { cause: Cause::Other, why: why.into() }
    }

    /// The server's certificate has not verified: nothing that was heard can be trusted.
    pub(super) fn unproven(error: &LinkError) -> Self {
        let cause = match error {
            LinkError::TimedOut => Cause::Silent,
            LinkError::Busy => Cause::Busy,
            LinkError::Dial(..) => Cause::Other,
            LinkError::Proxy { fault, .. } => Cause::Proxy(fault.advice()),
            _ => Cause::Unproven,
        };
        Self { cause, why: error.to_string() }
    }
}

/// Judges an error of a link whose server has proved to be this federation's aggregator.
pub(super) fn of_link(error: &LinkError, own: &OwnValidity) -> Verdict {
    let trust = |hint: &str| Verdict::Final(Failure::new(Exit::Trust, error.to_string()).hint(hint));
    match error {
        LinkError::Alert(handshake::EXPIRED) => {
            match own.ended_or_early() {
                Some(why) => Verdict::Final(Failure::new(Exit::Trust, why).hint(
                    "set this machine's clock, or ask the federation's owner to run `fl-host pki renew`",
                )),
                None => Verdict::Again(NoLink {
                    cause: Cause::Refusing,
                    why: format!("{error}. {own}: the aggregator's operator should check the clock there"),
                }),
            }
        }
        LinkError::Alert(alert) if handshake::is_lasting(*alert) => {
            trust("compare fingerprints with the federation's owner: `fl-host pki list`")
        }
        LinkError::Alert(_) | LinkError::Closed { .. } => {
            Verdict::Again(NoLink { cause: Cause::Refusing, why: error.to_string() })
        }
        error => Verdict::Again(NoLink::other(error.to_string())),
    }
}

/// Judges the aggregator's answer to the Hello; `own` is this site's plan.
pub(super) fn of_rejection(why: &Rejection, own: Digest) -> Verdict {
    let failure = Failure::new(Exit::Refused, format!("the aggregator rejected this collaborator: {why}"));
    Verdict::Final(match why {
        Rejection::Plan(_) => failure.hint(format!(
            "this site has plan {own}: copy the federation's plan/plan.yaml here, read it, and run `fl-host plan accept`"
        )),
        Rejection::Federation(_) => failure.hint("check that plan/plan.yaml is of this federation and that plan/site.yaml has the address of its aggregator"),
        Rejection::Identity(_) => failure.hint("ask the federation's owner to approve this site with `fl-host pki approve`"),
        Rejection::Evidence(_) => Failure { exit: Exit::Evidence, ..failure }.reason("evidence_refused").hint(
            "the chapter attestation lists the causes; ask the aggregator's operator what the roster accepts",
        ),
        Rejection::Version(..) => failure.hint("install the version of fl-runtime that the federation uses"),
        Rejection::Roster(_) => failure.hint(
            "ask the aggregator's operator to install the newest plan/cols.yaml: an older one may admit collaborators that were revoked",
        ),
        Rejection::Over => Failure { exit: Exit::Done, ..failure },
        // The cause may pass, or is a defect: the next attempt may succeed.
        Rejection::Duplicate | Rejection::Protocol(_) | Rejection::Ended(_) => {
            return Verdict::Again(NoLink { cause: Cause::Refusing, why: why.to_string() });
        }
        _ => failure,
    })
}

/// Judges this side's refusal of the aggregator's evidence. Final is only what a genuine quote proves:
/// everything else may come from a thief of the aggregator's certificate key, or be mended soon.
pub(super) fn of_evidence(why: &NotAppraised) -> Verdict {
    let words = format!("this collaborator refuses the aggregator's evidence: {why}");
    if why.is_proved() {
        return Verdict::Final(Failure::new(Exit::Evidence, words).hint(why.hint()).reason(why.reason()));
    }
    Verdict::Again(NoLink { cause: Cause::Evidence(why.hint()), why: words })
}

#[cfg(test)]
mod tests {
    use fl_engine::plan::roster::UnixSeconds;

    use super::*;
    use crate::trust::{
        Validity,
        evidence::{NotBound, NotVerified, TcbStatus},
        fixture::{DAY, NOW, clock},
    };

    fn own(until: u64) -> OwnValidity {
        let not_before = UnixSeconds(NOW.0 - DAY);
        OwnValidity::new(&clock(NOW), Validity { not_before, not_after: UnixSeconds(until) })
    }

    #[test]
    fn nothing_that_an_unproven_server_does_is_final() {
        let closed = LinkError::Closed { code: 5, reason: "revoked".into() };
        let all = (0..=255).map(LinkError::Alert).chain([closed, LinkError::WrongProtocol, LinkError::Ended]);
        for error in all {
            assert_eq!(NoLink::unproven(&error).cause, Cause::Unproven, "{error:?}");
        }
        assert_eq!(NoLink::unproven(&LinkError::TimedOut).cause, Cause::Silent);
        assert_eq!(NoLink::unproven(&LinkError::Busy).cause, Cause::Busy);
    }

    #[test]
    fn alerts_of_the_proven_aggregator_are_final_where_they_will_last() {
        let finals: Vec<u8> = (0..=255)
            .filter(|alert| {
                matches!(of_link(&LinkError::Alert(*alert), &own(NOW.0 + DAY)), Verdict::Final(_))
            })
            .collect();
        assert_eq!(finals, [43, 44, 46, 48, 51, 116]);
    }

    #[test]
    fn expiry_is_final_where_this_side_sees_it_too() {
        let expired = LinkError::Alert(handshake::EXPIRED);
        let Verdict::Final(failure) = of_link(&expired, &own(NOW.0 - 1)) else { panic!("not final") };
        assert_eq!(failure.exit, Exit::Trust);
        assert_eq!(
            failure.error,
            "this side's certificate expired at 2027-01-15T07:59:59Z; this machine's time is 2027-01-15T08:00:00Z"
        );
        let Verdict::Again(no_link) = of_link(&expired, &own(NOW.0 + DAY)) else { panic!("final") };
        assert!(no_link.why.contains("this machine's time is 2027-01-15T08:00:00Z"), "{}", no_link.why);
    }

    #[test]
    fn what_the_aggregator_concludes_from_its_clock_is_tried_again() {
        let plan = Digest::of(b"plan");
        let ended = Rejection::Ended("the roster expired".into());
        assert!(matches!(of_rejection(&ended, plan), Verdict::Again(_)));
        assert!(matches!(of_rejection(&Rejection::Identity("unlisted".into()), plan), Verdict::Final(_)));
    }

    #[test]
    fn refused_evidence_is_final_only_where_a_genuine_quote_proves_it() {
        for proved in [
            NotAppraised::OtherEnclave(Digest([7; 32])),
            NotAppraised::Status(TcbStatus::OutOfDate),
            NotAppraised::Advisory("INTEL-SA-00615".into()),
            NotAppraised::Platform,
        ] {
            let Verdict::Final(failure) = of_evidence(&proved) else { panic!("{proved}") };
            assert_eq!((failure.exit, failure.reason), (Exit::Evidence, Some(proved.reason())));
        }
        // What anybody with the aggregator's key file can show, and what this side lacks.
        for again in [
            NotAppraised::NoQuote,
            NotAppraised::NotBound(NotBound::OtherLink),
            NotAppraised::OtherClaims,
            NotAppraised::NotVerified(NotVerified::OtherKey),
            NotAppraised::NoCollateral,
            NotAppraised::TooSoon,
        ] {
            let Verdict::Again(no_link) = of_evidence(&again) else { panic!("{again}") };
            assert_eq!(no_link.cause, Cause::Evidence(again.hint()));
        }
    }
}
