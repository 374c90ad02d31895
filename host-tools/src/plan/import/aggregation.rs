//! What OpenFL's aggregation functions become: classes of its package, and those that its tutorials have people copy.

use serde_json::Value;

use super::Verdict;

/// The keys of a training task that say how its updates become a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Aggregation {
    pub(super) rule: String,
    pub(super) server: Option<String>,
    /// A line that a person may have to complete.
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
            (Converted, "rule: median; weights do not count, as there".to_owned())
        }
        "GeometricMedian" => {
            to.rule = "{geometric_median: {iterations: 4, smoothing: 0.00001, scope: tensor}}".to_owned();
            let text = format!(
                "rule: {}; scope tensor is OpenFL's form, scope model the paper's; each iteration divides the updates' own \
                 weights, as in the paper, where OpenFL's compound",
                to.rule
            );
            (Converted, text)
        }
        "AdagradAdaptiveAggregation" | "AdamAdaptiveAggregation" | "YogiAdaptiveAggregation" => {
            let server = adaptive(class, &mut settings);
            let text = format!(
                "rule: weighted_mean, server: {server}; epsilon is tau, here also the root of the second moment's first \
                 value, and nothing corrects the first rounds' bias: the paper takes 0.001"
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
                "{}; the base stands for all earlier rounds, where the tutorial sums as many as it has kept",
                told(&to)
            );
            (Converted, text)
        }
        "ConditionalThresholdAveraging" => {
            to.comment =
                Some("threshold: {task: locally_tuned_model_validation, metric: accuracy, min: 0.7}");
            let text = "its threshold is Python code; write the plan's key `threshold`: the plan has it as a comment";
            (Warning, text.to_owned())
        }
        "FedAvgM_Selection" => {
            let momentum = settings.number("momentum", 0.9, "momentum", &|n| (0.0..1.0).contains(&n));
            let rate = settings.number("aggregator_lr", 1.0, "learning_rate", &|n| n > 0.0);
            to.server = Some(format!("{{fedavgm: {{learning_rate: {rate}, momentum: {momentum}}}}}"));
            (Converted, format!("{}; every parameter takes the step, whatever its name", told(&to)))
        }
        "FedCurvWeightedAverage" => {
            (Warning, "rule: weighted_mean; the penalty of FedCurv is not here, fedprox_mu is".to_owned())
        }
        "SecureWeightedAverage" => (Warning, "rule: weighted_mean; updates are not masked".to_owned()),
        "" => (Warning, "no template; the plan has weighted_mean".to_owned()),
        other => {
            let words = "a class of Python's own; the plan has weighted_mean. A crate that registers a rule is named as";
            (Warning, format!("{other} is {words} {{custom: {{name: …}}}}"))
        }
    };
    settings.rest();
    note(at.to_owned(), verdict, text);
    to
}

/// What a share of the way is called.
const STEP: &str = "share of the step";

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
    format!("{}: a part of the way from the base; what bounds an update's norm is clipped_mean", told(to))
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
    /// A number that passes `fits`, or `default`; a note says what became of it.
    fn number(&mut self, key: &'static str, default: f64, ours: &str, fits: &dyn Fn(f64) -> bool) -> f64 {
        let Some(value) = self.of.and_then(|of| of.get(key)) else { return default };
        self.used.push(key);
        let found = value.as_f64().filter(|n| n.is_finite() && fits(*n));
        let (verdict, text) = match found {
            Some(number) => (Verdict::Converted, format!("{ours}: {number}")),
            None => (Verdict::Warning, format!("{value} does not fit; {ours} is {default}")),
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
            None => (Verdict::Warning, format!("{value} does not fit; beta1 and beta2 are 0.9 and 0.999")),
        };
        (self.note)(format!("{}.betas", self.at), verdict, text);
        found.unwrap_or(default)
    }

    /// A note for each argument that became nothing.
    fn rest(self) {
        for key in self.of.and_then(Value::as_object).into_iter().flatten().map(|(key, _)| key) {
            if !self.used.contains(&key.as_str()) {
                let text = "an argument of the Python class".to_owned();
                (self.note)(format!("{}.{key}", self.at), Verdict::Dropped, text);
            }
        }
    }
}
