//! `exact`: the range of the exact accumulator.

use serde::Serialize;

use super::Rule;
use crate::{
    Weight,
    settings::{Absent, Checked, Fault, Field, Key, PlanError, Setting, Takes, check},
};

/// Range of the exact accumulator: `|x| < 2^value_bits`, `weight < 2^weight_bits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ExactRange {
    /// 1 to 40; 16 by default.
    pub value_bits: u32,
    /// 1 to 29; with `value_bits` at most 51. 29 by default, 19 for [`Rule::ClippedMean`].
    pub weight_bits: u32,
}

impl ExactRange {
    /// The largest weight in the range.
    #[must_use]
    pub fn most_weight(self) -> u32 {
        u32::try_from((1_u64 << self.weight_bits.min(Weight::BITS)) - 1).unwrap_or(u32::MAX)
    }
}

/// The key as a plan has it: the default of `weight_bits` depends on the rule.
pub(super) struct Spelt {
    value_bits: u32,
    weight_bits: Option<u32>,
}

impl Spelt {
    /// With the defaults that go with `rule`.
    pub(super) fn with(self, rule: Option<&Rule>) -> ExactRange {
        let default =
            if let Some(Rule::ClippedMean { .. }) = rule { CLIPPED_WEIGHT_BITS } else { Weight::BITS };
        ExactRange { value_bits: self.value_bits, weight_bits: self.weight_bits.unwrap_or(default) }
    }
}

impl Setting for Spelt {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        let section = field.section()?;
        Ok(Self { value_bits: section.get("value_bits")?, weight_bits: section.get("weight_bits")? })
    }
}

/// Checks both numbers and their sum.
pub(super) fn check_range(range: ExactRange) -> Checked {
    let ExactRange { value_bits, weight_bits } = range;
    check(KEYS, "exact/value_bits", &value_bits)?;
    check(KEYS, "exact/weight_bits", &weight_bits)?;
    // The accumulator's upper bin has 51 - value_bits - weight_bits fraction bits.
    if value_bits + weight_bits > 51 {
        let message = format!(
            "exact.value_bits {value_bits} and exact.weight_bits {weight_bits} sum to {}; they sum to at most 51",
            value_bits + weight_bits
        );
        let hint = "16 value bits allow values up to 65536; 29 weight bits allow half a billion rows";
        return Err(Fault::new("exact", message).hint(Some(hint.to_owned())));
    }
    Ok(())
}

/// Checks that clipping has bits left for its factors.
pub(super) fn check_clipping(range: ExactRange) -> Checked {
    let most = Weight::BITS.min(51 - range.value_bits).saturating_sub(CLIPPING_BITS);
    if range.weight_bits <= most {
        return Ok(());
    }
    let message = format!(
        "exact.weight_bits is {}; clipped_mean takes at most {most} beside {} value bits",
        range.weight_bits, range.value_bits
    );
    let hint = "leave exact.weight_bits out to get 19, enough for half a million rows; the other bits say how much of each update is kept";
    Err(Fault::new("exact/weight_bits", message).hint(Some(hint.to_owned())))
}

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "value_bits",
        takes: Takes::Whole { least: 1, most: 40, unit: "bits" },
        absent: Absent::Default("16"),
        meaning: "Every value of an update is below 2^value_bits in magnitude. An update with a larger value is refused.",
        example: "20",
    },
    Key {
        name: "weight_bits",
        takes: Takes::Whole { least: 1, most: Weight::BITS as u64, unit: "bits" },
        absent: Absent::Means("29; 19 with the rule clipped_mean"),
        meaning: "Every weight of an update is below 2^weight_bits. value_bits and weight_bits sum to at most 51.",
        example: "27",
    },
];

/// Of a clipped mean: the bits up to 29 hold how much of each update is kept.
const CLIPPED_WEIGHT_BITS: u32 = 19;
/// Least bits of a factor by which an update is cut.
const CLIPPING_BITS: u32 = 8;
