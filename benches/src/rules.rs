//! The rules that are measured, with settings that suit the number of updates.

use fl_engine::plan::{ExactRange, Rule, Scope};

/// The rule called `word`, for `updates` updates of `params` parameters. As many updates may be hostile as
/// the rule tolerates, but at most a quarter.
///
/// # Errors
/// In words: `word` is unknown, or the rule needs more updates.
pub fn rule(word: &str, updates: usize, params: usize) -> Result<Rule, String> {
    let hostile = |of: usize, least: usize| {
        let most = updates.checked_sub(least).map(|rest| rest / of);
        let most = most.ok_or_else(|| format!("{word} takes {least} updates or more"))?;
        u32::try_from(most.min(updates / 4)).map_err(|_| format!("{updates} updates are too many"))
    };
    Ok(match word {
        "weighted_mean" => Rule::WeightedMean,
        "mean" => Rule::Mean,
        // About half of the distance between two updates of values in -0.5 .. 0.5.
        "clipped_mean" => Rule::ClippedMean { norm: (params as f64 / 24.0).sqrt() },
        "median" => Rule::Median,
        "weighted_median" => Rule::WeightedMedian,
        "trimmed_mean" => Rule::TrimmedMean { trim: 0.2 },
        "krum" => Rule::Krum { byzantine: hostile(2, 3)? },
        "multi_krum" => Rule::MultiKrum { byzantine: hostile(2, 3)?, keep: None },
        "bulyan" => Rule::Bulyan { byzantine: hostile(4, 3)? },
        "geometric_median" => Rule::GeometricMedian { iterations: 8, smoothing: 1e-6, scope: Scope::Model },
        _ => return Err(format!("rule {word:?}: {}", WORDS.join(", "))),
    })
}

/// The range of the exact sum that a plan gives `rule` when it states none.
#[must_use]
pub fn range(rule: &Rule) -> ExactRange {
    let weight_bits = if matches!(rule, Rule::ClippedMean { .. }) { 19 } else { 29 };
    ExactRange { value_bits: 16, weight_bits }
}

/// A plan's words for the rules that are measured: all except `custom`.
pub const WORDS: &[&str] = Rule::WORDS.split_at(Rule::WORDS.len() - 1).0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_a_rule_and_too_few_updates_are_told() {
        for word in WORDS {
            for updates in [8, 32, 128] {
                rule(word, updates, 1000).unwrap();
            }
        }
        assert_eq!(rule("krum", 8, 1), Ok(Rule::Krum { byzantine: 2 }));
        assert_eq!(rule("bulyan", 32, 1), Ok(Rule::Bulyan { byzantine: 7 }));
        assert!(rule("krum", 2, 1).unwrap_err().contains("3 updates or more"));
        assert!(rule("mode", 8, 1).unwrap_err().contains("weighted_mean, mean"));
    }
}
