//! `fl-host data check`: the rows of data folders, read to the end as the plan says.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use fl_engine::{
    Digest, Name,
    limits::PLAN_FILE_BYTES,
    plan::{DataMap, Loader, Plan},
};
use fl_learn::{data::Loaded, registry::Registry};

use super::refused;
use crate::{
    exit::{Exit, Failure},
    files,
    plan::refused as refused_file,
    workspace::Workspace,
};

/// What a collaborator would read from its data folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The collaborator.
    pub name: Name,
    /// Rows to train on, to validate on, and to test on with `rows: test`.
    pub rows: [usize; 3],
    /// Rows of each class; empty for a regression.
    pub classes: BTreeMap<u32, usize>,
    /// Names of the features, where the data has names.
    pub features: Vec<String>,
    /// The digest of the columns, where the aggregator compares the sites.
    pub columns: Option<Digest>,
    /// What the plan has done with the rows.
    pub facts: Vec<String>,
    /// What is probably not meant.
    pub warnings: Vec<String>,
}

impl Checked {
    /// `one: 91 rows to train on, 23 to validate on; class 0: 43, class 1: 71`, then facts and warnings.
    #[must_use]
    pub fn lines(&self) -> String {
        let [train, validation, test] = self.rows;
        let mut out = format!("data of {}: {train} rows to train on, {validation} to validate on", self.name);
        if test > 0 {
            let _ = write!(out, ", {test} to test on");
        }
        let classes: Vec<String> =
            self.classes.iter().map(|(class, rows)| format!("class {class}: {rows}")).collect();
        if !classes.is_empty() {
            let _ = write!(out, "; {}", classes.join(", "));
        }
        out.push('\n');
        self.facts.iter().for_each(|fact| out += &format!("data of {}: {fact}\n", self.name));
        self.warnings
            .iter()
            .for_each(|warning| out += &format!("warning: data of {}: {warning}\n", self.name));
        out
    }
}

/// Reads one collaborator's data folder to its end.
///
/// # Errors
/// [`Exit::Data`] for data that the collaborator would refuse.
pub fn check(plan: &Plan, name: &Name, folder: &Path) -> Result<Checked, Failure> {
    let of = |failure: Failure| Failure { error: format!("data of {name}: {}", failure.error), ..failure };
    let loaded = Registry::new().read_data(plan, folder).map_err(|e| of(refused(&e)))?;
    let split = Registry::split_data(plan, &loaded, name).map_err(|e| of(refused(&e)))?;
    let mut classes = BTreeMap::new();
    if plan.data.classes.is_some() && loaded.data.labels.ndim() == 1 {
        for label in &loaded.data.labels {
            *classes.entry(*label as u32).or_insert(0) += 1;
        }
    }
    let rows = [split.train.rows(), split.validation.rows(), split.test.rows()];
    let Loaded { features, columns, facts, warnings, .. } = loaded;
    Ok(Checked { name: name.clone(), rows, classes, features, columns, facts, warnings })
}

/// Checks every line of the data map, or the line of `only`. Empty without a data map, and for a plan whose
/// loader is a user's own.
///
/// # Errors
/// As [`check`]; [`Exit::Plan`] for a data map that is refused or lacks `only`, [`Exit::File`].
pub fn check_map(workspace: &Workspace, plan: &Plan, only: Option<&Name>) -> Result<Vec<Checked>, Failure> {
    let path = workspace.data_map_file();
    if matches!(plan.data.loader, Loader::Custom { .. }) || !path.exists() {
        return Ok(Vec::new());
    }
    let map = DataMap::parse(&files::read_text(&path, PLAN_FILE_BYTES)?).map_err(|e| refused_file(&e))?;
    if let Some(name) = only.filter(|name| map.folder(name).is_none()) {
        return Err(Failure::new(Exit::Plan, format!("plan/data.yaml has no line for {name}"))
            .hint(format!("add the line `{name}: FOLDER`")));
    }
    let lines = map.iter().filter(|(name, _)| only.is_none_or(|only| only == *name));
    let all: Vec<Checked> = lines
        .map(|(name, folder)| check(plan, name, &workspace.root().join(folder)))
        .collect::<Result<_, _>>()?;
    let by_name = matches!(&plan.data.loader, Loader::Csv(spec) if spec.features.is_some());
    match all.first() {
        Some(first) if !by_name => same_columns(first, &all).map(|()| all),
        _ => Ok(all),
    }
}

/// Refuses columns that differ between collaborators where the plan does not name columns.
fn same_columns(first: &Checked, all: &[Checked]) -> Result<(), Failure> {
    let Some(other) = all.iter().find(|other| other.features != first.features) else {
        // What else the aggregator compares.
        let Some(other) = all.iter().find(|other| other.columns != first.columns) else { return Ok(()) };
        let error = format!("the label's column has another name at {} than at {}", other.name, first.name);
        return Err(Failure::new(Exit::Data, error)
            .hint("give the column one name at all sites, or name the columns in the plan: `features: [A, B]` under data"));
    };
    let at = (0..first.features.len()).find(|&at| first.features.get(at) != other.features.get(at));
    let column = |checked: &Checked| {
        at.and_then(|at| checked.features.get(at)).cloned().unwrap_or_else(|| "missing".to_owned())
    };
    let error = format!(
        "the columns of {} and {} differ: feature {} is {:?} and {:?}",
        first.name,
        other.name,
        at.unwrap_or(0) + 1,
        column(first),
        column(other)
    );
    Err(Failure::new(Exit::Data, error).hint("name the columns in the plan: `features: [A, B]` under data"))
}
