//! When what a role relies on ends: its certificate, the CA's certificate, the roster.

use std::fmt;

use fl_engine::plan::roster::UnixSeconds;

use super::{FlooredClock, Validity};

/// When this side's certificate is valid, and the clock of this machine.
#[derive(Clone, Debug)]
pub struct OwnValidity {
    clock: FlooredClock,
    validity: Validity,
}

/// Something that ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// What ends, as a line begins with it.
    pub what: String,
    /// Its last second.
    pub until: UnixSeconds,
    /// What to do.
    pub cure: String,
    /// Days before the end from which on it is warned of.
    pub warn_days: u64,
}

impl OwnValidity {
    /// A certificate that is valid in this time.
    #[must_use]
    pub fn new(clock: &FlooredClock, validity: Validity) -> Self {
        Self { clock: clock.clone(), validity }
    }

    /// The clock of this machine.
    #[must_use]
    pub fn clock(&self) -> &FlooredClock {
        &self.clock
    }

    /// Why the certificate is not valid now, by this machine's clock.
    #[must_use]
    pub fn ended_or_early(&self) -> Option<String> {
        let Validity { not_before, not_after } = self.validity;
        let now = self.clock.now();
        let why = match now {
            now if now > not_after => format!("expired at {not_after}"),
            now if now < not_before => format!("is not valid before {not_before}"),
            _ => return None,
        };
        Some(format!("this side's certificate {why}; this machine's time is {now}"))
    }
}

impl fmt::Display for OwnValidity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Validity { not_before, not_after } = self.validity;
        let now = self.clock.now();
        write!(
            f,
            "the certificate is valid from {not_before} to {not_after}, and this machine's time is {now}"
        )
    }
}

impl Term {
    /// A warning, if the term has ended or ends within [`Term::warn_days`].
    #[must_use]
    pub fn warning(&self, now: UnixSeconds) -> Option<String> {
        let Self { what, until, cure, warn_days } = self;
        let left = until.0.saturating_sub(now.0) / DAY;
        let ends = match left {
            _ if now > *until => format!("ended at {until}"),
            0 => format!("ends at {until}, in less than a day"),
            1 => format!("ends at {until}, in one day"),
            days if days < *warn_days => format!("ends at {until}, in {days} days"),
            _ => return None,
        };
        Some(format!("{what} {ends}; this machine's time is {now}. {cure}"))
    }
}

/// For what somebody else has to renew: certificates and the roster. [`Term::warn_days`]
pub const WARN_DAYS: u64 = 30;
/// For collateral, which is good for about thirty days. [`Term::warn_days`]
pub const WARN_DAYS_OF_COLLATERAL: u64 = 7;
/// Seconds.
const DAY: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::fixture::{NOW, clock};

    #[test]
    fn end_is_warned_of_from_thirty_days_on_with_this_machine_time() {
        let term =
            Term { what: "the roster".into(), until: NOW, cure: "Do this.".into(), warn_days: WARN_DAYS };
        let at = |before: i64| term.warning(UnixSeconds(NOW.0.checked_add_signed(-before).unwrap()));
        assert_eq!(at(30 * 86_400), None);
        assert_eq!(
            at(30 * 86_400 - 1).unwrap(),
            "the roster ends at 2027-01-15T08:00:00Z, in 29 days; this machine's time is 2026-12-16T08:00:01Z. Do this."
        );
        assert!(at(86_400).unwrap().contains("in one day"));
        assert!(at(0).unwrap().contains("in less than a day"));
        assert!(
            at(-1).unwrap().starts_with("the roster ended at 2027-01-15T08:00:00Z; this machine's time is")
        );
    }

    #[test]
    fn end_of_collateral_is_warned_of_in_its_last_seven_days() {
        let cure = "Do this.".to_owned();
        let term =
            Term { what: "the collateral".into(), until: NOW, cure, warn_days: WARN_DAYS_OF_COLLATERAL };
        let at = |days: u64| term.warning(UnixSeconds(NOW.0 - days * DAY));
        assert_eq!((at(8), at(7)), (None, None));
        assert!(at(6).unwrap().contains("in 6 days"));
    }

    #[test]
    fn own_certificate_is_judged_by_the_clock_of_this_machine() {
        let own = |from: u64, until: u64| {
            let validity = Validity { not_before: UnixSeconds(from), not_after: UnixSeconds(until) };
            OwnValidity::new(&clock(NOW), validity)
        };
        assert_eq!(own(0, NOW.0).ended_or_early(), None);
        assert!(own(0, NOW.0 - 1).ended_or_early().unwrap().contains("expired at 2027-01-15T07:59:59Z"));
        let early = own(NOW.0 + 1, NOW.0 + 9).ended_or_early().unwrap();
        assert!(early.contains("is not valid before 2027-01-15T08:00:01Z"), "{early}");
    }
}
