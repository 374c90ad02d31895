//! What each key of an OpenFL plan (1.5 to 1.9) becomes.

use fl_engine::Name;
use serde_json::Value;

use super::{
    Note, Verdict,
    aggregation::{self, Aggregation},
};

/// What was found, in the terms of the new plan. `None` stands for the key's default.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) rounds: Option<u64>,
    pub(super) optimiser_state: Option<&'static str>,
    pub(super) hold_out: Vec<String>,
    pub(super) batch: Option<u64>,
    pub(super) count_min: Option<u64>,
    /// Seconds.
    pub(super) time_max: Option<u64>,
    pub(super) tasks: Vec<Task>,
    /// Name, collaborators, names of tasks; empty for one group of everyone.
    pub(super) groups: Vec<(String, Option<Vec<String>>, Vec<String>)>,
}

#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) metrics: Vec<&'static str>,
    pub(super) aggregation: Aggregation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Train { epochs: Option<u64>, steps: Option<u64>, batch: Option<u64> },
    Validate { tuned: bool },
}

type Fate = Option<(Verdict, String)>;

fn fate(verdict: Verdict, text: impl Into<String>) -> Fate {
    Some((verdict, text.into()))
}

/// One key outside `tasks`.
pub(super) fn apply(found: &mut Found, key: &str, value: &Value) -> Fate {
    use Verdict::{Converted, Dropped, Warning};
    let (section, rest) = key.split_once('.').unwrap_or((key, ""));
    let setting = rest.strip_prefix("settings.").unwrap_or(rest);
    if rest == "defaults" {
        return fate(Dropped, "defaults are this program's own; `fl-host plan show` lists them");
    }
    match (section, setting) {
        ("aggregator", "rounds_to_train") => match whole(value).filter(|n| (1..=1_000_000).contains(n)) {
            Some(rounds) => {
                found.rounds = Some(rounds);
                fate(Converted, format!("rounds: {rounds}"))
            }
            None => fate(Warning, format!("{value} is not a number of rounds; rounds is 10")),
        },
        ("aggregator" | "collaborator", "epochs_per_round") => {
            fate(Warning, "OpenFL 1.6 ignores this key and 1.9 refuses it; set epochs in the task train")
        }
        ("collaborator", "polling_interval") => {
            fate(Warning, "OpenFL 1.6 ignores this key and 1.9 refuses it; there is no polling here")
        }
        ("aggregator", "init_state_path" | "best_state_path" | "last_state_path") => {
            fate(Dropped, "models always have the names save/W_init, W_best and W_last, with .safetensors")
        }
        ("aggregator" | "collaborator", "db_store_rounds" | "persist_checkpoint" | "persistent_db_path") => {
            fate(Dropped, "there is no tensor database here")
        }
        (
            "aggregator" | "collaborator",
            "write_logs" | "log_metric_callback.template" | "log_memory_usage" | "callbacks",
        ) => fate(Dropped, "metrics and times of each round are always logged"),
        ("aggregator", "secure_aggregation") | ("collaborator", "secure_aggregation") => {
            fate(Warning, "secure aggregation does not exist here: updates are not masked")
        }
        ("aggregator", "single_col_cert_common_name") => {
            fate(Dropped, "every collaborator has its own certificate")
        }
        ("aggregator" | "collaborator", "template") => {
            fate(Dropped, "there is one kind of aggregator and one kind of collaborator")
        }
        ("collaborator", "opt_treatment") => {
            let state = match value.as_str() {
                Some("RESET") => "reset",
                Some("CONTINUE_LOCAL") => "continue_local",
                Some("CONTINUE_GLOBAL") => "continue_global",
                _ => return fate(Warning, format!("{value} is not a known value; optimiser_state is reset")),
            };
            found.optimiser_state = Some(state);
            fate(Converted, format!("optimiser_state: {state}"))
        }
        ("aggregator" | "collaborator", "delta_updates" | "use_delta_updates") => {
            fate(Dropped, "updates are always whole models, and are aggregated exactly")
        }
        ("collaborator", "device_assignment_policy") => fate(Dropped, "training always runs on the CPU"),
        ("data_loader", "template") => fate(Warning, "this is a Python class: write the key `data` yourself"),
        ("data_loader", "batch_size") => match whole(value).filter(|n| (1..=1_000_000).contains(n)) {
            Some(batch) => {
                found.batch = Some(batch);
                fate(Converted, format!("batch: {batch}, for training tasks without their own batch"))
            }
            None => fate(Warning, format!("{value} is not a batch size")),
        },
        ("data_loader", _) => fate(Dropped, "this is an argument of the Python class"),
        ("task_runner", "template") => {
            fate(Warning, "this is a Python class: write the keys `model`, `optimiser` and `loss` yourself")
        }
        ("task_runner", "tensor_dict_split_fn_kwargs.holdout_tensor_names") => {
            let names: Vec<String> = texts(value);
            found.hold_out.extend(names.iter().cloned());
            fate(Converted, format!("hold_out: [{}]", names.join(", ")))
        }
        ("task_runner", _) => fate(Dropped, "this is an argument of the Python class"),
        ("network", "agg_addr" | "agg_port") => {
            fate(Dropped, "the address is in plan/site.yaml: `fl-host plan initialize -a ADDRESS` sets it")
        }
        ("network", "tls" | "use_tls" | "disable_client_auth" | "require_client_auth") => {
            fate(Dropped, "both sides always use TLS with certificates")
        }
        ("network", _) => fate(Dropped, "the transport has no such setting"),
        ("assigner", "template") => {
            fate(Dropped, "the key `groups` lists collaborators and tasks of each group")
        }
        ("assigner", "task_groups") => groups(found, value),
        ("assigner", "selected_task_group") => fate(Dropped, "all groups of the plan run"),
        ("compression_pipeline", "template") if ends(value, "NoCompressionPipeline") => {
            fate(Dropped, "updates are never compressed")
        }
        ("compression_pipeline", _) => {
            fate(Warning, "compression does not exist here: updates are sent whole and exact")
        }
        ("straggler_handling_policy", "straggler_cutoff_time") => match value.as_f64() {
            Some(seconds) if (1.0..=2_592_000.0).contains(&seconds) => {
                found.time_max = Some(seconds.ceil() as u64);
                fate(Converted, format!("quorum.time.max: {}s", seconds.ceil()))
            }
            _ => fate(Dropped, "every round has a deadline here: quorum.time.max is 10m"),
        },
        ("straggler_handling_policy", "minimum_reporting") => {
            match whole(value).filter(|n| (1..=65_536).contains(n)) {
                Some(least) => {
                    found.count_min = Some(least);
                    fate(Converted, format!("quorum.count.min: {least}"))
                }
                None => fate(Warning, format!("{value} is not a number of collaborators")),
            }
        }
        ("straggler_handling_policy", "percent_collaborators_needed") => {
            fate(Warning, "a quorum is a number of collaborators here, not a percentage: set quorum.count")
        }
        ("straggler_handling_policy", _) => fate(Dropped, "the key `quorum` replaces it"),
        ("connector" | "api_layer", _) => fate(Dropped, "there is no such setting here"),
        _ => fate(Dropped, "OpenFL does not know this key either"),
    }
}

fn groups(found: &mut Found, value: &Value) -> Fate {
    use Verdict::{Converted, Warning};
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut drawn = false;
    let mut groups = Vec::new();
    for group in list {
        let share = group.get("percentage").and_then(Value::as_f64);
        if share == Some(0.0) {
            continue;
        }
        drawn |= share.is_some_and(|share| share < 1.0);
        let members: Option<Vec<String>> =
            group.get("collaborators").map(|names| texts(names).iter().map(|n| named(n)).collect());
        let tasks: Option<Vec<String>> =
            group.get("tasks").map(|tasks| texts(tasks).iter().map(|n| named(n)).collect());
        let name = named(group.get("name").and_then(Value::as_str).unwrap_or("group"));
        groups.push((name, members, tasks.unwrap_or_default()));
    }
    let tasks = groups.first().map(|(_, _, tasks)| tasks.join(", ")).unwrap_or_default();
    match groups.as_slice() {
        [] => fate(Warning, "no group has tasks: every collaborator runs every task"),
        [(_, None, _)] => {
            found.groups = groups;
            fate(Converted, format!("every collaborator runs {tasks}"))
        }
        _ if drawn || groups.iter().any(|(_, members, _)| members.is_none()) => {
            found.groups = groups.into_iter().take(1).map(|(name, _, tasks)| (name, None, tasks)).collect();
            fate(
                Warning,
                format!(
                    "groups are not drawn at random here: every collaborator runs the tasks of the first group, {tasks}"
                ),
            )
        }
        many => {
            let names: Vec<&str> = many.iter().map(|(name, _, _)| name.as_str()).collect();
            let text = format!("groups: {}", names.join(", "));
            found.groups = groups;
            fate(Converted, text)
        }
    }
}

/// The `tasks` section, in the order in which the first group names them.
pub(super) fn tasks(found: &mut Found, tree: &Value, notes: &mut Vec<Note>) {
    let mut note = |key: String, verdict, text: String| notes.push(Note { key, verdict, text });
    let empty = serde_json::Map::new();
    let section = tree.get("tasks").and_then(Value::as_object).unwrap_or(&empty);
    let mut tasks = Vec::new();
    for (original, settings) in section {
        let key = format!("tasks.{original}");
        if original == "defaults" {
            note(
                key,
                Verdict::Dropped,
                "defaults are this program's own; `fl-host plan show` lists them".to_owned(),
            );
            continue;
        }
        if original == "settings" {
            note(key, Verdict::Dropped, "OpenFL does not know this key either".to_owned());
            continue;
        }
        let name = named(original);
        let arguments = settings.get("kwargs");
        let argument = |key: &str| arguments.and_then(|a| a.get(key));
        let (kind, what) = if original.contains("train") {
            let number = |key: &str| argument(key).and_then(whole).filter(|n| (1..=1_000_000).contains(n));
            let (epochs, steps) = (number("epochs"), number("num_batches"));
            let steps = steps.filter(|_| epochs.is_none());
            (Kind::Train { epochs, steps, batch: number("batch_size") }, "train")
        } else if original.contains("valid") {
            let tuned = argument("apply").and_then(Value::as_str) == Some("local");
            (Kind::Validate { tuned }, if tuned { "validate, locally_tuned" } else { "validate, aggregated" })
        } else {
            note(
                key,
                Verdict::Warning,
                "the name contains neither train nor valid: the task is Python code, and is left out"
                    .to_owned(),
            );
            continue;
        };
        note(
            key.clone(),
            if name == *original { Verdict::Kept } else { Verdict::Converted },
            format!("{name}: {what}"),
        );
        let mut metrics = Vec::new();
        for metric in argument("metrics").map(texts).unwrap_or_default() {
            let ours = match metric.to_lowercase().as_str() {
                "acc" | "accuracy" => "accuracy",
                "loss" | "train_loss" | "cross_entropy" | "soft_dice_loss" => "loss",
                "auc" | "auroc" => "auc",
                "rmse" => "rmse",
                "dice" | "dice_coef" | "dice_score" => "dice",
                "iou" | "jaccard" => "iou",
                "f1" | "f1_score" => "f1",
                "recall" | "sensitivity" => "sensitivity",
                "specificity" => "specificity",
                "precision" => "precision",
                "mae" => "mae",
                "r2" | "r2_score" => "r2",
                _ => {
                    let text = format!(
                        "{metric} is not a metric here; `fl-host plan reference tasks.train.metrics` lists the metrics"
                    );
                    note(format!("{key}.kwargs.metrics"), Verdict::Warning, text);
                    continue;
                }
            };
            if !metrics.contains(&ours) {
                metrics.push(ours);
            }
        }
        for (at, value) in arguments.and_then(Value::as_object).into_iter().flatten() {
            let (verdict, text) = match at.as_str() {
                "metrics" if metrics.is_empty() => {
                    (Verdict::Warning, "none of these metrics exists here".to_owned())
                }
                "metrics" => (Verdict::Converted, format!("metrics: [{}]", metrics.join(", "))),
                "epochs" | "batch_size" | "num_batches" if kind_validates(kind) => {
                    (Verdict::Dropped, "a validation is always one pass over all rows".to_owned())
                }
                "epochs" | "batch_size" => {
                    (Verdict::Converted, format!("{}: {value}", at.trim_end_matches("_size")))
                }
                "num_batches" => (Verdict::Converted, format!("steps: {value}")),
                "apply" => (Verdict::Converted, format!("model: {}", what.trim_start_matches("validate, "))),
                _ => (Verdict::Dropped, "this is an argument of the Python class".to_owned()),
            };
            note(format!("{key}.kwargs.{at}"), verdict, text);
        }
        if settings.get("function").is_some() {
            note(
                format!("{key}.function"),
                Verdict::Dropped,
                "the key `kind` says what a task does".to_owned(),
            );
        }
        let mut aggregation = Aggregation::default();
        if let Some(function) = settings.get("aggregation_type") {
            let at = format!("{key}.aggregation_type");
            match kind_validates(kind) {
                true => note(at, Verdict::Dropped, "metrics are always means weighted by rows".to_owned()),
                false => aggregation = aggregation::convert(&at, function, &mut note),
            }
        }
        if !tasks.iter().any(|task: &Task| task.name == name) {
            tasks.push(Task { name, kind, metrics, aggregation });
        }
    }
    if tasks.is_empty() {
        note(
            "tasks".to_owned(),
            Verdict::Converted,
            "the plan names no task: it gets the usual three".to_owned(),
        );
        let train = Kind::Train { epochs: None, steps: None, batch: None };
        for (name, kind, metric) in [
            ("aggregated_model_validation", Kind::Validate { tuned: false }, "accuracy"),
            ("train", train, "loss"),
            ("locally_tuned_model_validation", Kind::Validate { tuned: true }, "accuracy"),
        ] {
            let aggregation = Aggregation::default();
            tasks.push(Task { name: name.to_owned(), kind, metrics: vec![metric], aggregation });
        }
    }
    order(found, &mut tasks);
    found.tasks = tasks;
}

fn kind_validates(kind: Kind) -> bool {
    matches!(kind, Kind::Validate { .. })
}

/// Puts tasks in the order of the first group's list (else validation of the aggregate, training, the rest),
/// and drops names that no task has from the groups.
fn order(found: &mut Found, tasks: &mut [Task]) {
    let listed = found.groups.first().map(|(_, _, tasks)| tasks.clone()).unwrap_or_default();
    tasks.sort_by_key(|task| {
        let at = listed.iter().position(|name| *name == task.name).unwrap_or(listed.len());
        let usual = match task.kind {
            Kind::Validate { tuned: false } => 0,
            Kind::Train { .. } => 1,
            Kind::Validate { tuned: true } => 2,
        };
        (at, usual)
    });
    for (_, _, of_group) in &mut found.groups {
        of_group.retain(|name| tasks.iter().any(|task| task.name == *name));
    }
    found.groups.retain(|(_, _, tasks)| !tasks.is_empty());
}

/// A text as a [`Name`]: lower case, `_` for what a name cannot hold.
fn named(text: &str) -> String {
    let mut name: String = text
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' })
        .take(fl_engine::limits::NAME_BYTES - 1)
        .collect();
    if name.parse::<Name>().is_err() {
        name.insert(0, 'x');
    }
    name
}

fn whole(value: &Value) -> Option<u64> {
    let float = || value.as_f64().filter(|n| n.fract() == 0.0 && (0.0..1e15).contains(n)).map(|n| n as u64);
    value.as_u64().or_else(float)
}

fn texts(value: &Value) -> Vec<String> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn ends(value: &Value, class: &str) -> bool {
    value.as_str().is_some_and(|text| text.rsplit('.').next() == Some(class))
}
