//! `plan.yaml` to [`PlanDraft`]: keys, types and defaults. `check` says whether what was read makes sense.

use super::{
    BestModel, Plan, PlanDraft, PlanError, TaskGroup, TaskSpec, exact,
    keys::{self, KEYS},
    network,
    resources::Limits,
    seal::Enclave,
};
use crate::{
    Digest, Name, limits,
    settings::{self, Field, Node, Setting, Takes, Value},
};

impl Plan {
    /// Reads, resolves and checks a `plan.yaml`.
    ///
    /// # Errors
    /// [`PlanError`] for the first thing that is wrong, with its line and column, what is allowed, and the
    /// nearest known name.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let tree = settings::parse(FILE, text)?;
        refuse_openfl(&tree)?;
        let file = Field::root(FILE, &tree, Takes::Section(KEYS));
        read(&file)?.check().map_err(|fault| {
            let fault = network::locate(&file, fault);
            PlanError::new(FILE, tree.locate(&fault.path), fault.message).with_hint(fault.hint)
        })
    }
}

impl PlanDraft {
    /// As [`Plan::parse`], without the checks.
    pub(super) fn parse(text: &str) -> Result<Self, PlanError> {
        read(&Field::root(FILE, &settings::parse(FILE, text)?, Takes::Section(KEYS)))
    }
}

/// Refuses a plan of OpenFL by its sections, before the first of them is called an unknown key.
fn refuse_openfl(tree: &Node) -> Result<(), PlanError> {
    let Value::Map(entries) = &tree.value else { return Ok(()) };
    let entry = |name: &str| entries.iter().find(|(key, _)| key.text == name);
    match entry("aggregator") {
        Some((key, _)) if entry("schema").is_none() && entry("tasks").or(entry("collaborator")).is_some() => {
            let hint =
                "convert it: `fl-host plan import FILE` writes plan/plan.yaml and reports about each key";
            Err(PlanError::new(FILE, key.at, "this is a plan of OpenFL").with_hint(Some(hint.to_owned())))
        }
        _ => Ok(()),
    }
}

fn read(file: &Field<'_>) -> Result<PlanDraft, PlanError> {
    let plan = file.section()?;
    keys::check_schema(&plan)?;
    let Tasks(tasks) = plan.get("tasks")?;
    let Limits { memory, spill, rows } = plan.get("limits")?;
    let Enclave { seal } = plan.get("enclave")?;
    let rule = tasks.iter().find_map(|task| task.kind.rule());
    Ok(PlanDraft {
        federation: plan.get("federation")?,
        ca: plan.get::<Authority>("ca")?.0,
        rounds: plan.get("rounds")?,
        seed: plan.get("seed")?,
        model: plan.get("model")?,
        data: plan.get("data")?,
        groups: match plan.optional("groups") {
            Some(groups) => TaskGroup::read_all(&groups, &tasks)?,
            None => vec![TaskGroup::everyone(&tasks, file)?],
        },
        quorum: plan.get("quorum")?,
        sample: plan.get("sample")?,
        optimiser_state: plan.get("optimiser_state")?,
        hold_out: plan.get("hold_out")?,
        exact: plan.get::<exact::Spelt>("exact")?.with(rule),
        best: match plan.get("best")? {
            Some(best) => best,
            None => BestModel::of(&tasks)
                .ok_or_else(|| file.error("tasks is empty; a plan has at least one task"))?,
        },
        memory_budget: memory,
        spill_budget: spill,
        row_limit: rows,
        threads: plan.get("threads")?,
        metrics: plan.get("metrics")?,
        release: plan.get("release")?,
        keep: plan.get("keep")?,
        stop: plan.get("stop")?,
        backend: plan.get("backend")?,
        attestation: plan.get("attestation")?,
        seal,
        tasks,
    })
}

/// Tasks in the file's order.
struct Tasks(Vec<TaskSpec>);

impl Setting for Tasks {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        let task = |(name, field): (Name, Field<'_>)| TaskSpec::read(name, &field);
        field.named(limits::TASKS)?.into_iter().map(task).collect::<Result<_, _>>().map(Self)
    }
}

/// `ca`, which may be there and empty.
struct Authority(Option<Digest>);

impl Setting for Authority {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        let digest = match field.value() {
            Value::Null => return Ok(Self(None)),
            Value::Text(text) => text.parse().ok(),
            _ => None,
        };
        let hint = || Some("put the digits in quotes; `fl-host plan initialize` writes them".to_owned());
        digest.map(|digest| Self(Some(digest))).ok_or_else(|| field.refused().with_hint(hint()))
    }

    fn absent() -> Option<Self> {
        Some(Self(None))
    }
}

/// The label of refusals.
const FILE: &str = "plan/plan.yaml";

#[cfg(test)]
mod tests;
