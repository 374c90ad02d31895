//! `fl-host plan`: the command line of [`crate::plan`].

use std::path::PathBuf;

use argh::FromArgs;
use fl_engine::{
    plan::{Absent, KeyReference},
    printable::one_line,
};
use fl_runtime::internal::trust::Role;
use serde_json::json;

use super::{Answer, data::checked_json};
use crate::{
    data::{self, Checked},
    exit::Failure,
    image::gramine_files,
    plan::{self, import, reference},
    sgx::{
        gramine_version::Gramine,
        size::{EnclaveSize, enclave_size},
    },
    workspace::Workspace,
};

/// Initialise, show, check, accept and import plans.
#[derive(FromArgs)]
#[argh(subcommand, name = "plan")]
pub(super) struct PlanArea {
    #[argh(subcommand)]
    command: PlanCommand,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum PlanCommand {
    Initialize(PlanInitialize),
    Show(PlanShow),
    Check(PlanCheck),
    Accept(PlanAccept),
    Import(PlanImport),
    Reference(PlanReference),
}

/// Owner: write the CA and the aggregator's address into plan/, and make the initial model. Needs no data.
#[derive(FromArgs)]
#[argh(subcommand, name = "initialize")]
struct PlanInitialize {
    /// host name or IP address of the aggregator; after the first call, the known address by default
    #[argh(option, short = 'a')]
    address: Option<String>,
    /// take the model's initial values from this .safetensors file, not from a seed
    #[argh(option)]
    init_model: Option<PathBuf>,
    /// seed of the model's random initial values; the plan's seed by default
    #[argh(option)]
    seed: Option<u64>,
    /// a folder with a sample of the data, whose columns are written into the plan; by default the first
    /// folder of plan/data.yaml
    #[argh(option)]
    data: Option<PathBuf>,
    /// the workspace; the current folder by default
    #[argh(option, default = "PathBuf::from(\".\")")]
    workspace: PathBuf,
}

/// Show the plan with all defaults filled in, its hash, and the tensors of its model.
#[derive(FromArgs)]
#[argh(subcommand, name = "show")]
struct PlanShow {
    /// the workspace; the current folder by default
    #[argh(option, default = "PathBuf::from(\".\")")]
    workspace: PathBuf,
}

/// Check plan/plan.yaml, plan/site.yaml and plan/data.yaml, and show the memory that the roles need.
#[derive(FromArgs)]
#[argh(subcommand, name = "check")]
struct PlanCheck {
    /// the folder of the Gramine installation to compute enclave sizes for; by default the installed one
    #[argh(option)]
    gramine: Option<PathBuf>,
    /// the workspace; the current folder by default
    #[argh(option, default = "PathBuf::from(\".\")")]
    workspace: PathBuf,
}

/// Site: accept the plan; fl-runtime then refuses any other plan at this site.
#[derive(FromArgs)]
#[argh(subcommand, name = "accept")]
struct PlanAccept {
    /// only show which plan is accepted
    #[argh(switch)]
    show: bool,
    /// the workspace; the current folder by default
    #[argh(option, default = "PathBuf::from(\".\")")]
    workspace: PathBuf,
}

/// Convert an OpenFL plan, and report for each of its keys whether it is kept, converted or dropped.
#[derive(FromArgs)]
#[argh(subcommand, name = "import")]
struct PlanImport {
    /// an OpenFL plan.yaml
    #[argh(positional)]
    file: PathBuf,
    /// the file to write; plan/plan.yaml by default
    #[argh(option, default = "PathBuf::from(\"plan/plan.yaml\")")]
    output: PathBuf,
}

/// Explain the keys of plan.yaml, with defaults and examples.
#[derive(FromArgs)]
#[argh(subcommand, name = "reference")]
struct PlanReference {
    /// a key, for example rule or limits.memory; every key by default
    #[argh(positional)]
    key: Option<String>,
    /// print every key as Markdown, as in the manual
    #[argh(switch)]
    markdown: bool,
}

pub(super) fn run(area: &PlanArea) -> Result<Answer, Failure> {
    match &area.command {
        PlanCommand::Initialize(command) => initialise(command),
        PlanCommand::Show(command) => {
            let loaded = plan::load(&Workspace::open(&command.workspace)?)?;
            let json = json!({"hash": loaded.hash.to_string(), "plan": loaded.plan});
            Ok(Answer { text: plan::summary(&loaded), json })
        }
        PlanCommand::Check(command) => {
            let workspace = Workspace::open(&command.workspace)?;
            let loaded = plan::check(&workspace)?;
            let checked = data::check_map(&workspace, &loaded.plan, None)?;
            let memory = plan::memory(&loaded);
            let told = plan::aggregation(&loaded);
            let lines: String = told.iter().map(|(key, text)| format!("{key} {text}\n")).collect();
            let share = plan::largest_share(&loaded);
            let release = loaded.plan.release.map(|release| release.to_string());
            let (kept, warning) = (plan::kept(&loaded), plan::warning(&loaded));
            let installed = gramine_files::installed(command.gramine.as_deref())?;
            let known = installed.as_deref().and_then(Gramine::said);
            let numbers = known.unwrap_or(Gramine::NEWEST);
            let version = match (&installed, known) {
                (Some(said), Some(_)) => said.clone(),
                (Some(said), None) => format!("{said}; enclave sizes are for {}", numbers.version),
                (None, _) => format!("not installed; enclave sizes are for {}", numbers.version),
            };
            let enclaves = [Role::Aggregator, Role::Collaborator]
                .map(|role| (role, enclave_size(role, &loaded.plan, &memory, &numbers)));
            let told_of = |(role, size): &(Role, Result<EnclaveSize, Failure>)| match size {
                Ok(size) => format!("enclave of the {role}: {}\n", size.line()),
                // No fault of a plan that runs outside of one.
                Err(failure) => format!("enclave of the {role}: not possible: {}\n", failure.error),
            };
            let sizes: String = enclaves.iter().map(told_of).collect();
            let last = [
                share.as_ref().map(|(_, text)| format!("largest share of one site {text}\n")),
                Some(format!("gramine {version}\n")),
                Some(sizes),
                release.as_ref().map(|r| format!("release {r}\n")),
                Some(format!("seal {}\n", loaded.plan.seal)),
                kept.as_ref().map(|(_, _, text)| format!("keep {text}\n")),
                Some(checked.iter().map(Checked::lines).collect()),
                warning.map(|w| format!("warning: {w}\n")),
            ];
            let last: String = last.into_iter().flatten().collect();
            let text = format!("plan {}\n{lines}{memory}\n{last}ok\n", loaded.hash);
            let told = |key: &str| told.iter().find(|(k, _)| *k == key).map(|(_, text)| text);
            let json = json!({
                "hash": loaded.hash.to_string(),
                "model_bytes": loaded.layout.byte_len(),
                "memory_bytes": memory.total().0,
                "rule": told("rule"),
                "server": told("server"),
                "threshold": told("threshold"),
                "largest_share": share.map(|(share, _)| share),
                "gramine": installed,
                "sized_for": numbers.version,
                "enclaves": enclaves.iter().map(|(role, size)| json!({
                    "role": role.as_str(),
                    "bytes": size.as_ref().ok().map(|size| size.bytes.0),
                    "sum_bytes": size.as_ref().ok().map(|size| size.sum().0),
                    "threads": size.as_ref().ok().map(EnclaveSize::max_threads),
                })).collect::<Vec<_>>(),
                "release": release,
                "seal": loaded.plan.seal.word(),
                "keep": kept.as_ref().map(|(rounds, bytes, _)| json!({"rounds": rounds, "bytes": bytes.0})),
                "warning": warning,
                "data": checked_json(&checked),
            });
            Ok(Answer { text, json })
        }
        PlanCommand::Accept(command) => accept(command),
        PlanCommand::Import(command) => {
            let done = import::file(&command.file, &command.output)?;
            let mut text: String =
                done.notes.iter().map(|note| format!("{}\n", one_line(&note.to_string()))).collect();
            text += &format!(
                "next      replace each `fill_in` in {} ({}), then run `fl-host plan check`\n",
                command.output.display(),
                done.fill_in.join(", ")
            );
            let notes: Vec<_> = done
                .notes
                .iter()
                .map(|n| json!({"key": n.key, "verdict": n.verdict.word(), "text": n.text}))
                .collect();
            let json = json!({"file": command.output, "notes": notes, "fill_in": done.fill_in});
            Ok(Answer { text, json })
        }
        PlanCommand::Reference(command) => explain(command),
    }
}

fn initialise(command: &PlanInitialize) -> Result<Answer, Failure> {
    let workspace = Workspace::open(&command.workspace)?;
    let (address, from, data) =
        (command.address.as_deref(), command.init_model.as_deref(), command.data.as_deref());
    let done = plan::initialise(&workspace, address, from, command.seed, data)?;
    let (ca, next) = match done.ca {
        Some(ca) => (
            ca.to_string(),
            "tell each site the plan's hash over a second channel; the site compares it and runs `fl-host plan accept`",
        ),
        None => (
            "none: there is no cert/ca.crt yet".to_owned(),
            "make the CA with `fl-host pki init`, then run this command again: the plan contains the CA's hash",
        ),
    };
    let model = &done.model;
    let features = match (&done.features, &done.unnamed) {
        (Some(named), _) => {
            format!("features {} columns of {}, by name\n", named.features.len(), named.folder.display())
        }
        (None, Some(why)) => {
            format!("features none written into the plan: the data in plan/data.yaml do not fit it: {why}\n")
        }
        (None, None) => String::new(),
    };
    let text = format!(
        "plan     {}\nca       {ca}\naddress  {}\n{features}model    {}: {} tensors, {} elements\nroot     {}\nnext     {next}\n",
        done.loaded.hash,
        done.address,
        model.path.display(),
        model.tensors,
        model.elements,
        model.root,
    );
    let json = json!({
        "hash": done.loaded.hash.to_string(),
        "ca": done.ca.map(|ca| ca.to_string()),
        "address": done.address,
        "model": model.path,
        "tensors": model.tensors,
        "elements": model.elements,
        "root": model.root.to_string(),
        "features": done.features.as_ref().map(|named| &named.features),
        "unnamed": done.unnamed,
    });
    Ok(Answer { text, json })
}

fn accept(command: &PlanAccept) -> Result<Answer, Failure> {
    let workspace = Workspace::open(&command.workspace)?;
    if command.show {
        let found = plan::accepted(&workspace)?;
        let text = match found.accepted {
            Some(accepted) if accepted == found.plan => {
                format!("accepted  {accepted}: the plan of this workspace\n")
            }
            Some(accepted) => format!("accepted  {accepted}\nplan      {}: not accepted\n", found.plan),
            None => format!("accepted  none\nplan      {}: not accepted\n", found.plan),
        };
        let json = json!({
            "accepted": found.accepted.map(|hash| hash.to_string()), "plan": found.plan.to_string(),
        });
        return Ok(Answer { text, json });
    }
    let hash = plan::accept(&workspace)?;
    Ok(Answer { text: format!("accepted  {hash}\n"), json: json!({"accepted": hash.to_string()}) })
}

fn explain(command: &PlanReference) -> Result<Answer, Failure> {
    let keys = reference::find(command.key.as_deref())?;
    let of = |key: &KeyReference| {
        let words: Vec<_> = key.words.iter().map(|w| json!({"word": w.word, "meaning": w.meaning})).collect();
        let default = match key.absent {
            Absent::Default(value) => json!({"default": value}),
            Absent::Means(meaning) => json!({"absent": meaning}),
            Absent::Refused => json!({"required": true}),
        };
        let mut object = json!({
            "key": key.path, "takes": key.kind, "range": key.range, "unit": key.unit, "only_with": key.only_with,
            "meaning": key.meaning, "example": key.example, "words": words,
        });
        if let (Some(object), Some(default)) = (object.as_object_mut(), default.as_object()) {
            object.extend(default.clone());
        }
        object
    };
    let json = keys.iter().map(of).collect();
    let text = if command.markdown { reference::markdown() } else { reference::text(&keys) };
    Ok(Answer { text, json })
}

#[cfg(test)]
mod tests;
