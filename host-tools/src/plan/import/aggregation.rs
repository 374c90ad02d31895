//! Converts OpenFL's aggregation functions: those of its package, and those that its tutorials contain.

use serde_json::Value;

use super::Verdict;

/// The keys of a training task that say how its updates become a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Aggregation {
    pub(super) rule: String,
    pub(super) server: Option<String>,
    /// A comment line that a person may have to complete.
    pub(super) comment: Option<&'static str>,
}

impl Default for Aggregation {
    fn default() -> Self {
        Self { rule: "weighted_mean".to_owned(), server: None, comment: None }
    }
}

/// Converts `aggregation_type`, whose key is `at`, with a note for itself and one for each of its settings.
pub(super) fn convert(
    at: &str,
    function: &Value,
    note: &mut dyn FnMut(String, Verdict, String),
) -> Aggregation {
    use Verdict::{Converted, Warning};
    let class =
        function.get("template").and_then(Value::as_str).and_then(|t| t.rsplit('.').next()).unwrap_or("");
    let mut settings = Settings {
        at: format!("{at}.settings"),
        of: function.get("settings"),
        used: Vec::new(),
        note: &mut *note,
    };
    let mut to = Aggregation::default();
    let (verdict, text) = match class {
        "WeightedAverage" => (Converted, "rule: weighted_mean".to_owned()),
        "Median" => {
            to.rule = "median".to_owned();
            (Converted, "rule: median; as in OpenFL, weights have no effect".to_owned())
        }
        "GeometricMedian" => {
            to.rule = "{geometric_median: {iterations: 4, smoothing: 0.00001, scope: tensor}}".to_owned();
            let text = format!(
                "rule: {}; scope tensor is OpenFL's form, scope model the paper's. As in the paper, each iteration starts \
                 from the updates' own weights; OpenFL's weights accumulate",
                to.rule
            );
            (Converted, text)
        }
        "AdagradAdaptiveAggregation" | "AdamAdaptiveAggregation" | "YogiAdaptiveAggregation" => {
            let server = adaptive(class, &mut settings);
            let text = format!(
                "rule: weighted_mean, server: {server}; tau is OpenFL's epsilon. The paper takes 0.001: the second moment \
                 starts at tau squared, and the bias of the first rounds is not corrected"
            );
            to.server = Some(server);
            (Converted, text)
        }
        // θ + ratio·(mean - θ), with θ the round's base.
        "ClippedAveraging" => match settings.number("ratio", 1.0, STEP, &|n| n > 0.0) {
            ratio if ratio < 1.0 => {
                to.server = Some(format!("{{smoothing: {{keep: {}}}}}", rest(ratio)));
                (Converted, step_not_norm(&to))
            }
            ratio if ratio > 1.0 => {
                to.server = Some(format!("{{fedavgm: {{learning_rate: {ratio}, momentum: 0}}}}"));
                (Converted, step_not_norm(&to))
            }
            _ => (Converted, step_not_norm(&to)),
        },
        "ExponentialSmoothingAveraging" => {
            let alpha = settings.number("alpha", 0.9, STEP, &|n| n > 0.0 && n <= 1.0);
            if alpha < 1.0 {
                to.server = Some(format!("{{smoothing: {{keep: {}}}}}", rest(alpha)));
            }
            let text = format!(
                "{}; the base model stands for all earlier rounds, while the tutorial sums the rounds that it keeps",
                told(&to)
            );
            (Converted, text)
        }
        "ConditionalThresholdAveraging" => {
            to.comment =
                Some("threshold: {task: locally_tuned_model_validation, metric: accuracy, min: 0.7}");
            let text = "its threshold is Python code: complete the key `threshold`, which the new plan has as a comment";
            (Warning, text.to_owned())
        }
        "FedAvgM_Selection" => {
            let momentum = settings.number("momentum", 0.9, "momentum", &|n| (0.0..1.0).contains(&n));
            let rate = settings.number("aggregator_lr", 1.0, "learning_rate", &|n| n > 0.0);
            to.server = Some(format!("{{fedavgm: {{learning_rate: {rate}, momentum: {momentum}}}}}"));
            (Converted, format!("{}; the step applies to all parameters, whatever their names", told(&to)))
        }
        "FedCurvWeightedAverage" => (
            Warning,
            "rule: weighted_mean; FedCurv's penalty does not exist here; the key fedprox_mu is FedProx's"
                .to_owned(),
        ),
        "SecureWeightedAverage" => (
            Warning,
            "rule: weighted_mean; secure aggregation does not exist here: updates are not masked".to_owned(),
        ),
        "" => (Warning, "there is no template; the new plan has weighted_mean".to_owned()),
        other => {
            let words = "Python code; the new plan has weighted_mean. A rule of your own crate is written as";
            (Warning, format!("{other} is {words} {{custom: {{name: …}}}}"))
        }
    };
    settings.rest();
    note(at.to_owned(), verdict, text);
    to
}

/// OpenFL's defaults where the plan says nothing.
fn adaptive(class: &str, settings: &mut Settings<'_>) -> String {
    let positive = |n: f64| n > 0.0;
    let rate = settings.number("learning_rate", 0.01, "learning_rate", &positive);
    if class == "AdagradAdaptiveAggregation" {
        let tau = settings.number("epsilon", 1e-10, "tau", &positive);
        return format!("{{fedadagrad: {{learning_rate: {rate}, tau: {tau}}}}}");
    }
    let (beta1, beta2) = settings.betas();
    let tau = settings.number("epsilon", 1e-8, "tau", &positive);
    let word = if class == "AdamAdaptiveAggregation" { "fedadam" } else { "fedyogi" };
    format!("{{{word}: {{learning_rate: {rate}, beta1: {beta1}, beta2: {beta2}, tau: {tau}}}}}")
}

fn step_not_norm(to: &Aggregation) -> String {
    format!(
        "{}: it moves part of the way from the base model. To bound the norm of updates, use clipped_mean",
        told(to)
    )
}

fn told(to: &Aggregation) -> String {
    match &to.server {
        None => format!("rule: {}", to.rule),
        Some(server) => format!("rule: {}, server: {server}", to.rule),
    }
}

/// `1 - share`, as a person would write it.
fn rest(share: f64) -> f64 {
    ((1.0 - share) * 1e12).round() / 1e12
}

/// The arguments of the class.
struct Settings<'a> {
    at: String,
    of: Option<&'a Value>,
    /// Keys that became something.
    used: Vec<&'static str>,
    note: &'a mut dyn FnMut(String, Verdict, String),
}

impl Settings<'_> {
    /// A number that passes `fits`, or `default`. A note says which.
    fn number(&mut self, key: &'static str, default: f64, ours: &str, fits: &dyn Fn(f64) -> bool) -> f64 {
        let Some(value) = self.of.and_then(|of| of.get(key)) else { return default };
        self.used.push(key);
        let found = value.as_f64().filter(|n| n.is_finite() && fits(*n));
        let (verdict, text) = match found {
            Some(number) => (Verdict::Converted, format!("{ours}: {number}")),
            None => (Verdict::Warning, format!("{value} is out of range; {ours} is {default}")),
        };
        (self.note)(format!("{}.{key}", self.at), verdict, text);
        found.unwrap_or(default)
    }

    fn betas(&mut self) -> (f64, f64) {
        let default = (0.9, 0.999);
        let Some(value) = self.of.and_then(|of| of.get("betas")) else { return default };
        self.used.push("betas");
        let share = |at: usize| value.get(at).and_then(Value::as_f64).filter(|n| (0.0..1.0).contains(n));
        let found = share(0).zip(share(1));
        let (verdict, text) = match found {
            Some((beta1, beta2)) => (Verdict::Converted, format!("beta1: {beta1}, beta2: {beta2}")),
            None => (Verdict::Warning, format!("{value} is out of range; beta1 and beta2 are 0.9 and 0.999")),
        };
        (self.note)(format!("{}.betas", self.at), verdict, text);
        found.unwrap_or(default)
    }

    /// A note for each argument that was dropped.
    fn rest(self) {
        for key in self.of.and_then(Value::as_object).into_iter().flatten().map(|(key, _)| key) {
            if !self.used.contains(&key.as_str()) {
                let text = "this is an argument of the Python class".to_owned();
                (self.note)(format!("{}.{key}", self.at), Verdict::Dropped, text);
            }
        }
    }
}

/// The name in notes of a setting that takes only part of the way to the mean.
const STEP: &str = "share of the step";
