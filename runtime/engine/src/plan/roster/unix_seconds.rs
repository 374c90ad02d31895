//! Instants of rosters, certificates and collateral, as numbers and as text.

use std::{fmt, ops::Range, str::FromStr};

use serde::Deserialize;

/// An instant, seconds after 1970-01-01T00:00:00Z; shown as RFC 3339 has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(transparent)]
pub struct UnixSeconds(pub u64);

/// A text that is not an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an instant has the form 2027-11-24T20:31:14Z, and is not before 1970")]
pub struct TimeError;

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

impl FromStr for UnixSeconds {
    type Err = TimeError;

    /// The form that [`Display`](fmt::Display) writes, and no other. Dates to days by Howard Hinnant's
    /// `days_from_civil`.
    fn from_str(text: &str) -> Result<Self, TimeError> {
        let number = |at: Range<usize>| {
            let digits = text.get(at).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()));
            digits.and_then(|digits| digits.parse::<u64>().ok()).ok_or(TimeError)
        };
        let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
        let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
        // The year begins in March here, so that a leap day ends it.
        let (of_year, shifted) =
            if month > 2 { (year, month - 3) } else { (year.saturating_sub(1), month + 9) };
        let days = 365 * of_year + of_year / 4 - of_year / 100 + of_year / 400;
        let days = (days + (153 * shifted + 2) / 5 + day).checked_sub(719_469).ok_or(TimeError)?;
        let instant = Self(days * 86_400 + hour * 3_600 + minute * 60 + second);
        // Also refuses days and seconds that do not exist, and other signs between the numbers.
        if instant.to_string() == text { Ok(instant) } else { Err(TimeError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_four_centuries_comes_back_from_its_text() {
        for day in 0..146_097 + 366 {
            let instant = UnixSeconds(day * 86_400 + day % 86_400);
            assert_eq!(instant.to_string().parse(), Ok(instant));
        }
    }

    #[test]
    fn text_that_is_not_exactly_an_instant_is_refused() {
        for text in [
            "",
            "2027-11-24",
            "2027-02-29T00:00:00Z",
            "2027-13-01T00:00:00Z",
            "2027-00-01T00:00:00Z",
            "2027-01-00T00:00:00Z",
            "2027-01-01T24:00:00Z",
            "2027-01-01T00:00:60Z",
            "2027-01-01 00:00:00Z",
            "2027-01-01T00:00:00+01:00",
            "+027-01-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "0000-01-01T00:00:00Z",
            "２027-01-01T00:00:00Z",
        ] {
            assert_eq!(text.parse::<UnixSeconds>(), Err(TimeError), "{text}");
        }
    }
}
