//! Numbers with their unit in the type.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ByteCount(pub u64);

/// A span of time, or an instant counted from an origin that the caller chose, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Millis(pub u64);

/// A round's number: the first is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RoundNo(pub u32);

/// How much one update counts: an integer in `1 .. 2^29` (samples seen, over the plan's denominator).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Weight(u32);

/// A weight of zero or one beyond the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the weight {0} is not between 1 and 2^{bits} - 1", bits = Weight::BITS)]
pub struct WeightError(pub u64);

impl Weight {
    /// A weight has at most this many bits, so that weight × f32 is exact in f64 (29 + 24 = 53 bits).
    pub const BITS: u32 = 29;
    /// The smallest.
    pub const ONE: Self = Self(1);

    /// Accepts `1 .. 2^29`.
    ///
    /// # Errors
    /// [`WeightError`] with the refused number.
    pub fn new(weight: u64) -> Result<Self, WeightError> {
        match u32::try_from(weight) {
            Ok(w) if w > 0 && w < 1 << Self::BITS => Ok(Self(w)),
            _ => Err(WeightError(weight)),
        }
    }

    /// The integer.
    #[must_use]
    pub fn value(self) -> u32 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = u32::deserialize(deserializer)?;
        Self::new(raw.into()).map_err(serde::de::Error::custom)
    }
}

impl RoundNo {
    /// The round after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for RoundNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// As a plan spells it, in the largest unit that leaves a whole number: `10m`.
impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            time if time > 0 && time.is_multiple_of(3_600_000) => write!(f, "{}h", time / 3_600_000),
            time if time > 0 && time.is_multiple_of(60_000) => write!(f, "{}m", time / 60_000),
            time if time.is_multiple_of(1_000) => write!(f, "{}s", time / 1_000),
            time => write!(f, "{time}ms"),
        }
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            b if b >= 10 << 20 => format!("{} MiB", b >> 20),
            b if b >= 10 << 10 => format!("{} KiB", b >> 10),
            b => format!("{b} B"),
        };
        f.pad(&text)
    }
}
