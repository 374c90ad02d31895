//! `plan.yaml` to [`Plan`]: keys, types and defaults. Whether what was read makes sense is `check`'s.

mod aggregation;
mod model;
mod task;

use super::check;
use super::fault::ranges;
use super::field::{Field, Section};
use super::yaml::{self, Value};
use super::{
    BestModel, Column, DataSpec, Direction, ExactRange, Loader, Metric, MetricsTo, OptimiserState, Plan,
    PlanError, Quorum, Rule, Split, Standardise, TaskGroup, TaskSpec, Threads, release, seal,
};
use crate::{ByteCount, Digest, Millis, Name, limits, name::NameError};

/// The label of refusals.
const FILE: &str = "plan/plan.yaml";

impl Plan {
    /// Reads, resolves and checks a `plan.yaml`.
    ///
    /// # Errors
    /// [`PlanError`] for the first thing that is wrong, with its line and column, what is allowed, and the nearest
    /// known name.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let tree = yaml::parse(FILE, text)?;
        let plan = read(&Field::root(FILE, &tree))?;
        check::check(&plan).map_err(|fault| {
            PlanError::new(FILE, tree.locate(&fault.path), fault.message).with_hint(fault.hint)
        })?;
        Ok(plan)
    }
}

fn read(file: &Field<'_>) -> Result<Plan, PlanError> {
    let plan = file.section(&[
        "schema",
        "federation",
        "ca",
        "rounds",
        "seed",
        "model",
        "data",
        "tasks",
        "groups",
        "quorum",
        "sample",
        "optimiser_state",
        "hold_out",
        "exact",
        "best",
        "limits",
        "threads",
        "metrics",
        "release",
        "enclave",
    ])?;
    schema(&plan)?;
    let tasks = task::tasks(&plan.required("tasks")?)?;
    let (memory_budget, spill_budget) = plan.or("limits", LIMITS, budgets)?;
    Ok(Plan {
        federation: plan.required("federation")?.name()?,
        ca: plan.optional("ca").filter(|ca| !ca.is_null()).map(|ca| digest(&ca)).transpose()?,
        rounds: plan.required("rounds")?.whole(&ranges::ROUNDS)?,
        seed: plan.or("seed", 0, |f| f.whole(&(0..=u64::MAX)))?,
        model: model::model(&plan.required("model")?)?,
        data: data(&plan.required("data")?)?,
        groups: match plan.optional("groups") {
            Some(groups) => self::groups(&groups, &tasks)?,
            None => vec![everyone(&tasks, file)?],
        },
        quorum: plan.or("quorum", QUORUM, quorum)?,
        sample: plan.optional("sample").map(|f| f.whole(&ranges::COUNT)).transpose()?,
        optimiser_state: plan.or("optimiser_state", OptimiserState::Reset, |f| {
            f.choice(&[
                ("reset", OptimiserState::Reset),
                ("continue_local", OptimiserState::ContinueLocal),
                ("continue_global", OptimiserState::ContinueGlobal),
            ])
        })?,
        hold_out: plan.or("hold_out", Vec::new(), |f| {
            let names = f.list("a list of tensor names; a final * takes a prefix")?;
            names.iter().map(|name| Ok(name.text()?.to_owned())).collect()
        })?,
        exact: exact(plan.optional("exact").as_ref(), &tasks)?,
        best: match plan.optional("best") {
            Some(best) => self::best(&best)?,
            None => best_of(&tasks, file)?,
        },
        memory_budget,
        spill_budget,
        threads: plan.or("threads", THREADS, threads)?,
        metrics: plan.or("metrics", MetricsTo::Members, |f| {
            f.choice(&[("host", MetricsTo::Host), ("members", MetricsTo::Members), ("none", MetricsTo::None)])
        })?,
        release: plan.optional("release").map(|f| release::read(&f)).transpose()?,
        seal: plan.or("enclave", seal::DEFAULT, seal::read)?,
        tasks,
    })
}

const QUORUM: Quorum =
    Quorum { count_min: 1, count_max: None, time_min: Millis(0), time_max: Millis(600_000) };
const EXACT: ExactRange = ExactRange { value_bits: 16, weight_bits: 29 };
/// Of a clipped mean: the bits up to 29 hold how much of each update is kept.
const CLIPPED_WEIGHT_BITS: u32 = 19;
const LIMITS: (ByteCount, ByteCount) = (ByteCount(512 << 20), ByteCount(4 << 30));
const THREADS: Threads = Threads { link: 2, cpu: 2 };
const SPLIT: Split = Split { train: 0.8, validation: 0.2, test: 0.0 };

/// Refuses a file of another schema, before anything else of it is read.
pub(super) fn schema(file: &Section<'_>) -> Result<(), PlanError> {
    let schema = file.required("schema")?;
    match schema.value() {
        Value::Whole(1) => Ok(()),
        _ => Err(schema.wrong("1").with_hint(Some("this program reads schema 1 only".to_owned()))),
    }
}

fn digest(field: &Field<'_>) -> Result<Digest, PlanError> {
    let quote = || Some("put the digits in quotes; `fl-host plan initialize` writes them".to_owned());
    match field.value() {
        Value::Text(text) => text.parse().ok(),
        _ => None,
    }
    .ok_or_else(|| field.wrong("64 hex digits, or nothing").with_hint(quote()))
}

fn data(field: &Field<'_>) -> Result<DataSpec, PlanError> {
    let common = ["classes", "standardise", "split"];
    let (kind, data) = field.tagged(
        "loader",
        &common,
        &[
            ("csv", &["file", "header", "label"]),
            ("npy", &["features", "labels"]),
            ("npz", &["file", "features", "labels"]),
            ("idx", &["features", "labels"]),
            ("custom", &["name"]),
        ],
    )?;
    let text = |key: &str| data.required(key).and_then(|f| Ok(f.text()?.to_owned()));
    let loader = match kind {
        "csv" => Loader::Csv {
            file: text("file")?,
            header: data.or("header", true, Field::flag)?,
            label: column(&data.required("label")?)?,
        },
        "npy" => Loader::Npy { features: text("features")?, labels: text("labels")? },
        "npz" => {
            let file = text("file")?;
            let array = |key| Ok(format!("{file}:{}", text(key)?));
            Loader::Npy { features: array("features")?, labels: array("labels")? }
        }
        "idx" => Loader::Idx { features: text("features")?, labels: text("labels")? },
        _ => Loader::Custom { name: text("name")? },
    };
    Ok(DataSpec {
        loader,
        standardise: data.optional("standardise").map(|f| standardise(&f)).transpose()?,
        split: data.or("split", SPLIT, split)?,
        classes: data.optional("classes").map(|f| f.whole(&ranges::CLASSES)).transpose()?,
    })
}

fn column(field: &Field<'_>) -> Result<Column, PlanError> {
    match field.value() {
        Value::Text(name) => Ok(Column::Name(name.clone())),
        Value::Whole(index) => i32::try_from(*index).map(Column::Index).map_err(|_| ()),
        _ => Err(()),
    }
    .map_err(|()| field.wrong("a column's name, or its index from 0 (negative: from the end)"))
}

fn standardise(field: &Field<'_>) -> Result<Standardise, PlanError> {
    let statistics = field.section(&["mean", "std"])?;
    let list = |key: &str| {
        let field = statistics.required(key)?;
        match field.value() {
            Value::Whole(_) | Value::Number(_) => Ok(vec![field.single()?]),
            _ => field.list("a number, or a list with one a feature")?.iter().map(Field::single).collect(),
        }
    };
    Ok(Standardise { mean: list("mean")?, std: list("std")? })
}

fn split(field: &Field<'_>) -> Result<Split, PlanError> {
    let shares = field.section(&["train", "validation", "test"])?;
    let share = |key| shares.or(key, 0.0, Field::number);
    Ok(Split { train: share("train")?, validation: share("validation")?, test: share("test")? })
}

/// The group of a plan that has no groups: every task, for everyone.
fn everyone(tasks: &[TaskSpec], file: &Field<'_>) -> Result<TaskGroup, PlanError> {
    let name = "all".parse().map_err(|e: NameError| file.error(e.to_string()))?;
    Ok(TaskGroup { name, collaborators: None, tasks: names_of(tasks) })
}

fn names_of(tasks: &[TaskSpec]) -> Vec<Name> {
    tasks.iter().map(|task| task.name.clone()).collect()
}

fn groups(field: &Field<'_>, tasks: &[TaskSpec]) -> Result<Vec<TaskGroup>, PlanError> {
    let names = |field: &Field<'_>, takes| field.list(takes)?.iter().map(Field::name).collect();
    let groups = field.named("a map from a group's name to its collaborators and tasks")?;
    // Before a copy of all tasks is made for each.
    field.at_most(groups.len(), limits::GROUPS)?;
    groups
        .into_iter()
        .map(|(name, group)| {
            let group = group.section(&["collaborators", "tasks"])?;
            Ok(TaskGroup {
                name,
                collaborators: group
                    .optional("collaborators")
                    .map(|f| names(&f, "a list of collaborators' names; without it the group takes everyone"))
                    .transpose()?,
                tasks: group.or("tasks", names_of(tasks), |f| names(f, "a list of names of tasks"))?,
            })
        })
        .collect()
}

fn quorum(field: &Field<'_>) -> Result<Quorum, PlanError> {
    let quorum = field.section(&["count", "time"])?;
    let mut resolved = QUORUM;
    if let Some(count) = quorum.optional("count") {
        let count = count.section(&["min", "max"])?;
        resolved.count_min = count.or("min", resolved.count_min, |f| f.whole(&ranges::COUNT))?;
        resolved.count_max = count.optional("max").map(|f| f.whole(&ranges::COUNT)).transpose()?;
    }
    if let Some(time) = quorum.optional("time") {
        let time = time.section(&["min", "max"])?;
        resolved.time_min = time.or("min", resolved.time_min, Field::duration)?;
        resolved.time_max = time.or("max", resolved.time_max, Field::duration)?;
    }
    Ok(resolved)
}

/// The default depends on the rule.
fn exact(field: Option<&Field<'_>>, tasks: &[TaskSpec]) -> Result<ExactRange, PlanError> {
    let mut resolved = EXACT;
    if tasks.iter().any(|task| matches!(task.kind.rule(), Some(Rule::ClippedMean { .. }))) {
        resolved.weight_bits = CLIPPED_WEIGHT_BITS;
    }
    let Some(field) = field else { return Ok(resolved) };
    let exact = field.section(&["value_bits", "weight_bits"])?;
    Ok(ExactRange {
        value_bits: exact.or("value_bits", resolved.value_bits, |f| f.whole(&ranges::VALUE_BITS))?,
        weight_bits: exact.or("weight_bits", resolved.weight_bits, |f| f.whole(&ranges::WEIGHT_BITS))?,
    })
}

fn best(field: &Field<'_>) -> Result<BestModel, PlanError> {
    let best = field.section(&["task", "metric", "direction"])?;
    let metric = Metric::read(&best.required("metric")?)?;
    Ok(BestModel {
        task: best.required("task")?.name()?,
        metric,
        direction: best.or("direction", metric.better(), |f| {
            f.choice(&[("max", Direction::Max), ("min", Direction::Min)])
        })?,
    })
}

/// The first metric of the first task that reports one. A plan that measures nothing has no best model; its own last
/// task's loss, which nobody reports, stands for that.
fn best_of(tasks: &[TaskSpec], file: &Field<'_>) -> Result<BestModel, PlanError> {
    let first = tasks.iter().find_map(|task| Some((task, *task.metrics.first()?)));
    let (task, metric) = match first.or_else(|| Some((tasks.last()?, Metric::Loss))) {
        Some(found) => found,
        None => return Err(file.error("tasks is empty; a plan has at least one task")),
    };
    Ok(BestModel { task: task.name.clone(), metric, direction: metric.better() })
}

fn budgets(field: &Field<'_>) -> Result<(ByteCount, ByteCount), PlanError> {
    let limits = field.section(&["memory", "spill"])?;
    Ok((limits.or("memory", LIMITS.0, Field::size)?, limits.or("spill", LIMITS.1, Field::size)?))
}

fn threads(field: &Field<'_>) -> Result<Threads, PlanError> {
    let threads = field.section(&["link", "cpu"])?;
    Ok(Threads {
        link: threads.or("link", THREADS.link, |f| f.whole(&ranges::THREADS))?,
        cpu: threads.or("cpu", THREADS.cpu, |f| f.whole(&ranges::THREADS))?,
    })
}

#[cfg(test)]
mod tests;
