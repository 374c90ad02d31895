//! `fl-host data`: the command line of [`crate::data`].

use std::path::{Path, PathBuf};

use argh::FromArgs;
use fl_engine::{
    Name,
    plan::{Loader, Plan},
};
use serde_json::{Value, json};

use super::Answer;
use crate::{
    data::{self, Checked, ColumnSummary, Moments, TableSummary},
    exit::{Exit, Failure},
    plan,
    synthesise::{self, Synthesis},
    workspace::Workspace,
};

/// Describe the data of a folder, check a site's data against the plan, and make pictures for a trial.
#[derive(FromArgs)]
#[argh(subcommand, name = "data")]
pub(super) struct DataArea {
    #[argh(subcommand)]
    command: DataCommand,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum DataCommand {
    Describe(DataDescribe),
    Check(DataCheck),
    Synthesise(DataSynthesise),
}

/// Print rows, classes, mean, deviation and missing values of each column. In a workspace, describe the
/// data file that the plan names; elsewhere, every table of the folder.
#[derive(FromArgs)]
#[argh(subcommand, name = "describe")]
struct DataDescribe {
    /// the folder with the data
    #[argh(positional)]
    folder: PathBuf,
    /// the workspace, whose plan says how the file is read; by default the current folder, if it is one
    #[argh(option)]
    workspace: Option<PathBuf>,
}

/// Site: read the data folder to its end as the plan says, and tell how many rows each task gets.
#[derive(FromArgs)]
#[argh(subcommand, name = "check")]
struct DataCheck {
    /// the collaborator's name; by default every line of plan/data.yaml
    #[argh(option, short = 'n')]
    name: Option<Name>,
    /// the folder with the data; by default the one in plan/data.yaml
    #[argh(option)]
    data: Option<PathBuf>,
    /// the workspace; the current folder by default
    #[argh(option, default = "PathBuf::from(\".\")")]
    workspace: PathBuf,
}

/// Make pictures for a trial, in the layout of a public data set. Nothing of that data set is in them.
#[derive(FromArgs)]
#[argh(subcommand, name = "synthesise")]
struct DataSynthesise {
    /// the data set whose layout the pictures get: kvasir
    #[argh(positional)]
    set: String,
    /// the folder to write into, missing or empty
    #[argh(option)]
    output: PathBuf,
    /// number of pictures; 20 by default
    #[argh(option, default = "20")]
    pictures: u32,
    /// width of each picture in pixels; 620 by default
    #[argh(option, default = "620")]
    width: u16,
    /// height of each picture in pixels; 530 by default
    #[argh(option, default = "530")]
    height: u16,
    /// another seed gives other pictures; 7 by default
    #[argh(option, default = "7")]
    seed: u64,
}

pub(super) fn run(area: &DataArea) -> Result<Answer, Failure> {
    match &area.command {
        DataCommand::Describe(command) => describe(command),
        DataCommand::Check(command) => check(command),
        DataCommand::Synthesise(command) => synthesise(command),
    }
}

fn describe(command: &DataDescribe) -> Result<Answer, Failure> {
    let loaded = match &command.workspace {
        Some(root) => Some(plan::load(&Workspace::open(root)?)?),
        None => match Workspace::open(Path::new(".")) {
            Ok(workspace) => Some(plan::load(&workspace)?),
            Err(_) => None,
        },
    };
    let Some(plan) = loaded.map(|loaded| loaded.plan) else {
        let tables = data::tables(&command.folder)?;
        let lines = |table: &Result<TableSummary, Failure>| match table {
            Ok(table) => table.lines(),
            Err(failure) => failure.render(false),
        };
        let text = tables.iter().map(lines).collect::<Vec<_>>().join("\n");
        let found: Vec<Value> = tables.iter().flatten().map(table_json).collect();
        let refused: Vec<&String> =
            tables.iter().filter_map(|t| t.as_ref().err()).map(|f| &f.error).collect();
        return match tables.iter().find_map(|table| table.as_ref().err()) {
            Some(failure) if found.is_empty() => Err(failure.clone()),
            _ => Ok(Answer { text, json: json!({"tables": found, "refused": refused}) }),
        };
    };
    let Loader::Csv(spec) = &plan.data.loader else { return of_arrays(&plan, &command.folder) };
    let table = data::describe(&command.folder, spec)?;
    let mut text = table.lines();
    let label = match &spec.label_file {
        None => table.label(&spec.label).cloned(),
        Some(file) => {
            let spec = fl_engine::plan::CsvSpec { file: file.clone(), ..spec.clone() };
            data::describe(&command.folder, &spec)?.label(&spec.label).cloned()
        }
    };
    let classes = label.filter(|_| plan.data.classes.is_some()).map(|label| label.texts).unwrap_or_default();
    if !classes.is_empty() {
        let counts: Vec<String> = classes.iter().map(|(text, rows)| format!("{text}: {rows} rows")).collect();
        text += &format!("classes      {}\n", counts.join(", "));
    }
    let features =
        fl_learn::data::csv::feature_names(&command.folder, spec).map_err(|e| data::refused(&e))?;
    let standardise = table.standardise(&features);
    if let Some(line) = &standardise {
        text += &format!("standardise: {line}\n");
    }
    let mut json = table_json(&table);
    json["classes"] = json!(classes);
    json["features"] = json!(features);
    json["standardise"] = json!(standardise);
    Ok(Answer { text, json: json!({"tables": [json]}) })
}

/// Arrays have no columns: one line for all values of all samples.
fn of_arrays(plan: &Plan, folder: &Path) -> Result<Answer, Failure> {
    if let Loader::Custom { name } = &plan.data.loader {
        let error = format!("the plan's loader {name:?} is a user's own, which fl-host does not have");
        return Err(Failure::new(Exit::Data, error).hint("start your own program to read the data"));
    }
    let spec = fl_engine::plan::DataSpec { standardise: None, federated: None, ..plan.data.clone() };
    let label = plan.label_shape().unwrap_or_default();
    let read =
        fl_learn::data::read(&spec, &plan.model.input, &label, folder).map_err(|e| data::refused(&e))?;
    let rows = read.data;
    // A picture in colour has statistics of each channel.
    let (count, area) = match plan.model.input[..] {
        [channels, height, width] => (channels as usize, height as usize * width as usize),
        _ => (1, usize::MAX),
    };
    let (mut all, mut channels) = (Moments::default(), vec![Moments::default(); count]);
    for row in 0..rows.rows() {
        let (features, _) = rows.gather(&[row]).map_err(|e| data::refused(&e))?;
        for (at, value) in features.iter().enumerate() {
            all.add(f64::from(*value));
            channels[at / area].add(f64::from(*value));
        }
    }
    let (mean, deviation) = (all.mean, all.deviation());
    let mut classes = std::collections::BTreeMap::new();
    if plan.data.classes.is_some() && rows.labels.ndim() == 1 {
        rows.labels.iter().for_each(|label| *classes.entry(label.to_string()).or_insert(0u64) += 1);
    }
    let mut text = format!(
        "{} samples of the shape {:?}; all values: mean {mean:.6}, deviation {deviation:.6}\n",
        rows.rows(),
        plan.model.input
    );
    read.facts.iter().for_each(|fact| text += &format!("{fact}\n"));
    read.warnings.iter().for_each(|warning| text += &format!("warning: {warning}\n"));
    if !classes.is_empty() {
        let counts: Vec<String> = classes.iter().map(|(text, rows)| format!("{text}: {rows} rows")).collect();
        text += &format!("classes      {}\n", counts.join(", "));
    }
    let list = |of: &dyn Fn(&Moments) -> f64| {
        let all: Vec<String> = channels.iter().map(|channel| format!("{:.6}", of(channel))).collect();
        format!("[{}]", all.join(", "))
    };
    text += &match channels.len() {
        1 => format!("standardise: {{mean: {mean:.6}, std: {deviation:.6}}}\n"),
        _ => format!("standardise: {{mean: {}, std: {}}}\n", list(&|c| c.mean), list(&Moments::deviation)),
    };
    let json = json!({
        "samples": rows.rows(), "shape": plan.model.input, "mean": mean, "deviation": deviation, "classes": classes,
        "channels": channels.iter().map(|c| json!({"mean": c.mean, "deviation": c.deviation()})).collect::<Vec<_>>(),
        "facts": read.facts, "warnings": read.warnings,
    });
    Ok(Answer { text, json })
}

fn table_json(table: &TableSummary) -> Value {
    let column = |c: &ColumnSummary| {
        let any = (c.numbers.count > 0).then_some(&c.numbers);
        json!({
            "name": c.name, "numbers": c.numbers.count, "missing": c.missing, "words": c.words,
            "mean": any.map(|numbers| numbers.mean), "deviation": any.map(Moments::deviation),
            "least": c.range.map(|range| range.0), "most": c.range.map(|range| range.1),
            "texts": (c.words > 0 && !c.more_texts).then_some(&c.texts),
        })
    };
    json!({
        "file": table.file, "rows": table.rows, "header": table.header, "separator": table.separator.word(),
        "columns": table.columns.iter().map(column).collect::<Vec<_>>(),
    })
}

fn check(command: &DataCheck) -> Result<Answer, Failure> {
    let workspace = Workspace::open(&command.workspace)?;
    let plan = plan::load(&workspace)?.plan;
    let checked = match (&command.data, &command.name) {
        (Some(folder), Some(name)) => vec![data::check(&plan, name, folder)?],
        (Some(_), None) => {
            let error = "--data needs -n: the rows of each part depend on the collaborator's name";
            return Err(Failure::new(Exit::Usage, error).hint("give the collaborator's name with -n"));
        }
        (None, name) => data::check_map(&workspace, &plan, name.as_ref())?,
    };
    if checked.is_empty() {
        let error = match &plan.data.loader {
            Loader::Custom { name } => {
                format!("the plan's loader {name:?} is a user's own, which fl-host does not have")
            }
            _ => "plan/data.yaml names no data folder".to_owned(),
        };
        return Err(Failure::new(Exit::Data, error).hint(
            "give a folder with --data FOLDER -n NAME, or add the line `NAME: FOLDER` to plan/data.yaml",
        ));
    }
    let text: String = checked.iter().map(Checked::lines).collect();
    Ok(Answer { text: format!("{text}ok\n"), json: json!({"collaborators": checked_json(&checked)}) })
}

fn synthesise(command: &DataSynthesise) -> Result<Answer, Failure> {
    let DataSynthesise { set, output, pictures, width, height, seed } = command;
    if set != "kvasir" {
        let error = format!("no data set is named {set:?}");
        return Err(Failure::new(Exit::Usage, error).hint("the data sets are: kvasir"));
    }
    let synthesis = Synthesis { pictures: *pictures, width: *width, height: *height, seed: *seed };
    let names = synthesise::kvasir(output, &synthesis)?;
    let (count, shown) = (names.len(), output.display());
    let text = format!(
        "{count} pictures  {shown}/segmented-images/images\n{count} masks     {shown}/segmented-images/masks\n"
    );
    Ok(Answer { text, json: json!({"folder": output, "pictures": count}) })
}

/// What was read for each collaborator.
pub(super) fn checked_json(checked: &[Checked]) -> Value {
    let one = |c: &Checked| {
        json!({
            "name": c.name.as_str(), "train": c.rows[0], "validation": c.rows[1], "test": c.rows[2],
            "classes": c.classes.iter().map(|(class, rows)| (class.to_string(), json!(rows))).collect::<serde_json::Map<_, _>>(),
            "facts": c.facts, "warnings": c.warnings,
        })
    };
    checked.iter().map(one).collect()
}

#[cfg(test)]
mod tests;
