//! `rule`, `server` and `threshold` of a task that sends an update.

use crate::plan::fault::ranges;
use crate::plan::field::{Field, Section};
use crate::plan::{Direction, Metric, PlanError, Rule, Scope, Server, Threshold};

/// `median`, or `{trimmed_mean: {trim: 0.2}}`.
pub(super) fn rule(field: &Field<'_>) -> Result<Rule, PlanError> {
    let variant = Variant::of(field, &Rule::WORDS)?;
    let byzantine = |s: &Section<'_>| s.required("byzantine")?.whole(&ranges::BYZANTINE);
    match variant.word {
        "weighted_mean" => variant.plain(Rule::WeightedMean),
        "mean" => variant.plain(Rule::Mean),
        "clipped_mean" => {
            let s = variant.settings(&["norm"], "{norm: 1.0}")?;
            Ok(Rule::ClippedMean { norm: s.required("norm")?.number()? })
        }
        "median" => variant.plain(Rule::Median),
        "weighted_median" => variant.plain(Rule::WeightedMedian),
        "trimmed_mean" => {
            let s = variant.settings(&["trim"], "{trim: 0.2}")?;
            Ok(Rule::TrimmedMean { trim: s.required("trim")?.number()? })
        }
        "krum" => {
            Ok(Rule::Krum { byzantine: byzantine(&variant.settings(&["byzantine"], "{byzantine: 1}")?)? })
        }
        "multi_krum" => {
            let s = variant.settings(&["byzantine", "keep"], "{byzantine: 1}")?;
            let keep = s.optional("keep").map(|f| f.whole(&ranges::COUNT)).transpose()?;
            Ok(Rule::MultiKrum { byzantine: byzantine(&s)?, keep })
        }
        "bulyan" => {
            let s = variant.settings(&["byzantine"], "{byzantine: 1}")?;
            Ok(Rule::Bulyan { byzantine: byzantine(&s)? })
        }
        "geometric_median" => {
            let (iterations, smoothing, scope) = GEOMETRIC_MEDIAN;
            let Some(s) = variant.settings_if_any(&["iterations", "smoothing", "scope"])? else {
                return Ok(Rule::GeometricMedian { iterations, smoothing, scope });
            };
            Ok(Rule::GeometricMedian {
                iterations: s.or("iterations", iterations, |f| f.whole(&ranges::ITERATIONS))?,
                smoothing: s.or("smoothing", smoothing, Field::number)?,
                scope: s.or("scope", scope, |f| {
                    f.choice(&[("model", Scope::Model), ("tensor", Scope::Tensor)])
                })?,
            })
        }
        _ => {
            let s = variant.settings(&["name"], "{name: …}")?;
            Ok(Rule::Custom { name: s.required("name")?.text()?.to_owned() })
        }
    }
}

/// Those of the authors' program (Pillutla et al., arXiv:1912.13445).
const GEOMETRIC_MEDIAN: (u32, f64, Scope) = (4, 1e-5, Scope::Model);

/// `{fedadam: {learning_rate: 0.1}}`.
pub(super) fn server(field: &Field<'_>) -> Result<Server, PlanError> {
    let variant = Variant::of(field, &Server::WORDS)?;
    let rate = "{learning_rate: 0.1}";
    let learning_rate = |s: &Section<'_>| s.required("learning_rate")?.number();
    // Reddi et al.'s choices, but for the learning rate, which they search for each problem.
    let beta1 = |s: &Section<'_>| s.or("beta1", 0.9, Field::number);
    let beta2 = |s: &Section<'_>| s.or("beta2", 0.99, Field::number);
    let tau = |s: &Section<'_>| s.or("tau", 1e-3, Field::number);
    match variant.word {
        "fedavgm" => {
            let s = variant.settings(&["learning_rate", "momentum"], "{learning_rate: 1.0}")?;
            let momentum = s.or("momentum", 0.9, Field::number)?;
            Ok(Server::FedAvgM { learning_rate: learning_rate(&s)?, momentum })
        }
        "fedadagrad" => {
            let s = variant.settings(&["learning_rate", "beta1", "tau"], rate)?;
            // They run it without momentum.
            let beta1 = s.or("beta1", 0.0, Field::number)?;
            Ok(Server::FedAdagrad { learning_rate: learning_rate(&s)?, beta1, tau: tau(&s)? })
        }
        "smoothing" => {
            let s = variant.settings(&["keep"], "{keep: 0.1}")?;
            Ok(Server::Smoothing { keep: s.required("keep")?.number()? })
        }
        word => {
            let s = variant.settings(&["learning_rate", "beta1", "beta2", "tau"], rate)?;
            let (learning_rate, beta1, beta2, tau) = (learning_rate(&s)?, beta1(&s)?, beta2(&s)?, tau(&s)?);
            Ok(match word {
                "fedadam" => Server::FedAdam { learning_rate, beta1, beta2, tau },
                _ => Server::FedYogi { learning_rate, beta1, beta2, tau },
            })
        }
    }
}

/// `{task: aggregated_model_validation, metric: accuracy, min: 0.7}`.
pub(super) fn threshold(field: &Field<'_>) -> Result<Threshold, PlanError> {
    let s = field.section(&["task", "metric", "min", "max"])?;
    let (bound, direction) = match (s.optional("min"), s.optional("max")) {
        (Some(min), None) => (min.number()?, Direction::Max),
        (None, Some(max)) => (max.number()?, Direction::Min),
        (None, None) => {
            let message = format!("{} needs either min or max", field.path);
            let hint = "min for accuracy and auc, max for loss and rmse".to_owned();
            return Err(field.error(message).with_hint(Some(hint)));
        }
        (Some(_), Some(max)) => {
            return Err(max.error(format!("{} has both min and max; it takes one of them", field.path)));
        }
    };
    Ok(Threshold {
        task: s.required("task")?.name()?,
        metric: Metric::read(&s.required("metric")?)?,
        bound,
        direction,
    })
}

/// A word with its settings, if it has any.
struct Variant<'f, 'a> {
    field: &'f Field<'a>,
    word: &'a str,
    settings: Option<Field<'a>>,
}

impl<'f, 'a> Variant<'f, 'a> {
    fn of(field: &'f Field<'a>, known: &[&str]) -> Result<Self, PlanError> {
        let (word, settings) = field.variant(known)?;
        Ok(Self { field, word, settings: settings.filter(|settings| !settings.is_null()) })
    }

    /// For a word without settings.
    fn plain<T>(&self, value: T) -> Result<T, PlanError> {
        match &self.settings {
            None => Ok(value),
            Some(settings) => {
                let hint = Some(format!("write the word alone: {}", self.word));
                let none = settings.section(&[]).map(|_| value);
                none.map_err(|_| settings.error(format!("{} has no settings", self.word)).with_hint(hint))
            }
        }
    }

    /// For a word that needs settings; `example` shows some.
    fn settings(&self, keys: &[&str], example: &str) -> Result<Section<'a>, PlanError> {
        self.settings_if_any(keys)?.ok_or_else(|| {
            let keys = keys.join(", ");
            let message = format!("{} is {}, which has the keys {keys}", self.field.path, self.word);
            self.field.error(message).with_hint(Some(format!("write {{{}: {example}}}", self.word)))
        })
    }

    fn settings_if_any(&self, keys: &[&str]) -> Result<Option<Section<'a>>, PlanError> {
        self.settings.as_ref().map(|settings| settings.section(keys)).transpose()
    }
}
