//! `fl-host workspace`: the command line of [`crate::workspace`] and of [`crate::image::dockerize`].

use std::path::PathBuf;

use argh::FromArgs;
use fl_engine::Digest;
use fl_launcher::image::Target;
use fl_learn::data::shard::Sharding;
use serde_json::json;

use super::Answer;
use crate::{
    exit::{Exit, Failure},
    image::{self, Archive},
    sgx::Date,
    templates::TEMPLATES,
    transfer,
    workspace::{self, Trial, Workspace},
};

/// Make workspaces, container images of them, and archives for other machines.
#[derive(FromArgs)]
#[argh(subcommand, name = "workspace")]
pub(super) struct WorkspaceArea {
    #[argh(subcommand)]
    command: WorkspaceCommand,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum WorkspaceCommand {
    Create(WorkspaceCreate),
    Templates(WorkspaceTemplates),
    Dockerize(WorkspaceDockerize),
    Export(WorkspaceExport),
    Import(WorkspaceImport),
}

/// Make a workspace from a template: plan, trial data, folders.
#[derive(FromArgs)]
#[argh(subcommand, name = "create")]
struct WorkspaceCreate {
    /// the new folder
    #[argh(option)]
    prefix: PathBuf,
    /// a template that `fl-host workspace templates` lists
    #[argh(option)]
    template: String,
    /// the federation's name; the folder's name by default
    #[argh(option)]
    federation: Option<String>,
    /// number of collaborators that get trial data; 3 by default
    #[argh(option, default = "Trial::default().collaborators")]
    collaborators: usize,
    /// how the rows are divided among the collaborators: iid (at random), label:ALPHA (uneven classes, a
    /// smaller ALPHA is more uneven) or size:N,N,…; by default by label with the template's ALPHA, and
    /// pictures in turn
    #[argh(option, from_str_fn(workspace::sharding))]
    shards: Option<Sharding>,
}

/// List the templates.
#[derive(FromArgs)]
#[argh(subcommand, name = "templates")]
struct WorkspaceTemplates {}

/// Make a container image of the workspace, for `docker load` or `podman load`. The image contains no key.
#[derive(FromArgs)]
#[argh(subcommand, name = "dockerize")]
struct WorkspaceDockerize {
    /// the key that signs enclaves, from `fl-host sgx key` or openssl; needed for --sgx-target
    #[argh(option, short = 's')]
    signer_key: Option<PathBuf>,
    /// the image runs in enclaves, under gramine-sgx
    #[argh(switch)]
    sgx_target: bool,
    /// the image runs under gramine-direct, which is Gramine without an enclave
    #[argh(switch)]
    no_sgx_target: bool,
    /// the image runs the binary itself, without Gramine
    #[argh(switch)]
    native_target: bool,
    /// the static fl-runtime; by default the one that ci/build-static made
    #[argh(option)]
    binary: Option<PathBuf>,
    /// the folder of the Gramine installation, with libsysdb.so; by default the installed one
    #[argh(option)]
    gramine: Option<PathBuf>,
    /// the enclaves' security version; 0 by default
    #[argh(option, default = "0")]
    svn: u16,
    /// allocate enclave memory on demand; needs SGX2 and Linux 6.0 or later
    #[argh(switch)]
    edmm: bool,
    /// the date in the signatures, YYYY-MM-DD; always 2026-01-01 by default, so that the archive does not
    /// change by the day
    #[argh(option, default = "image::default_date()")]
    date: Date,
    /// the federation CA's certificate; cert/ca.crt by default
    #[argh(option)]
    ca: Option<PathBuf>,
    /// the archive to write; FEDERATION.tar.gz in the workspace by default
    #[argh(option)]
    output: Option<PathBuf>,
    /// also write an OCI layout, into this new folder
    #[argh(option)]
    oci: Option<PathBuf>,
    /// the workspace; the current folder by default
    #[argh(option, default = "PathBuf::from(\".\")")]
    workspace: PathBuf,
}

/// Owner: write plan, sources and initial model into one archive for the sites. Keys, certificates and data
/// are left out.
#[derive(FromArgs)]
#[argh(subcommand, name = "export")]
struct WorkspaceExport {
    /// the archive to write; FEDERATION.workspace.tar.gz in the workspace by default
    #[argh(option)]
    output: Option<PathBuf>,
    /// the workspace; the current folder by default
    #[argh(option, default = "PathBuf::from(\".\")")]
    workspace: PathBuf,
}

/// Site: make a workspace from an archive that `fl-host workspace export` wrote.
#[derive(FromArgs)]
#[argh(subcommand, name = "import")]
struct WorkspaceImport {
    /// the archive
    #[argh(option)]
    archive: PathBuf,
    /// the new folder
    #[argh(option)]
    prefix: PathBuf,
    /// the SHA-256 that the owner read to you; an archive with another one is refused
    #[argh(option)]
    digest: Option<Digest>,
}

pub(super) fn run(area: &WorkspaceArea) -> Result<Answer, Failure> {
    match &area.command {
        WorkspaceCommand::Create(command) => create(command),
        WorkspaceCommand::Templates(WorkspaceTemplates {}) => Ok(templates()),
        WorkspaceCommand::Dockerize(command) => dockerize(command),
        WorkspaceCommand::Export(command) => export(command),
        WorkspaceCommand::Import(command) => import(command),
    }
}

fn templates() -> Answer {
    let text = TEMPLATES.iter().map(|t| format!("{:<16}{}\n", t.name, t.about)).collect();
    let json = TEMPLATES.iter().map(|t| json!({"name": t.name, "about": t.about})).collect();
    Answer { text, json }
}

fn create(command: &WorkspaceCreate) -> Result<Answer, Failure> {
    let template = workspace::template(&command.template)?;
    let trial = Trial { collaborators: command.collaborators, sharding: command.shards.clone() };
    let made = workspace::create(&command.prefix, template, command.federation.as_deref(), &trial)?;
    let shards: Vec<String> = made.shards.iter().map(|(name, rows)| format!("{name} {rows}")).collect();
    let text = format!(
        "workspace   {}\nfederation  {}\ntrial data  rows: {}; held out for testing: {}\n",
        made.root.display(),
        made.federation,
        shards.join(", "),
        made.test_rows,
    );
    let json = json!({
        "workspace": made.root,
        "federation": made.federation.as_str(),
        "shards": made.shards.iter().map(|(name, rows)| json!({"name": name, "rows": rows})).collect::<Vec<_>>(),
        "test_rows": made.test_rows,
    });
    Ok(Answer { text, json })
}

fn dockerize(command: &WorkspaceDockerize) -> Result<Answer, Failure> {
    let target = match (command.sgx_target, command.no_sgx_target, command.native_target) {
        (true, false, false) => Target::Sgx,
        (false, true, false) => Target::Direct,
        (false, false, true) => Target::Native,
        _ => {
            let error = "give exactly one of --sgx-target, --no-sgx-target and --native-target";
            return Err(Failure::new(Exit::Usage, error)
                .hint("--sgx-target runs enclaves, --no-sgx-target runs gramine-direct, --native-target runs the binary itself"));
        }
    };
    let request = image::Request {
        target,
        binary: command.binary.clone(),
        ca: command.ca.clone(),
        output: command.output.clone(),
        oci: command.oci.clone(),
        gramine: command.gramine.clone(),
        signer_key: command.signer_key.clone(),
        svn: command.svn,
        edmm: command.edmm,
        date: command.date,
    };
    let done = image::dockerize(&Workspace::open(&command.workspace)?, &request)?;
    Ok(Answer { text: summary(&done), json: summary_json(&done) })
}

fn summary(done: &Archive) -> String {
    let record = &done.record;
    let mut text = format!(
        "image        {}:latest for the target {}: {:.1} MB, as an archive {:.1} MB\narchive      {}\nsha256       {}\nplan         {}\nbinary       {}",
        done.name,
        record.target.word(),
        done.layer_bytes as f64 / 1e6,
        done.bytes as f64 / 1e6,
        done.file.display(),
        done.digest,
        record.plan,
        record.binary,
    );
    if let Some(route) = &record.build.route {
        text += &format!(", route {route}");
    }
    text.push('\n');
    if let Some(gramine) = &record.gramine {
        text += &format!("gramine      {gramine}\n");
    }
    if let Some(signer) = &record.signer {
        text += &format!("MRSIGNER     {signer}\n");
    }
    for role in &record.roles {
        let word = role.role.word();
        if let Some(enclave) = &role.enclave {
            text += &format!(
                "{word}\n  MRENCLAVE  {}\n  product    {}, security version {}\n",
                enclave.measurement, enclave.product, enclave.svn
            );
        } else {
            text += &format!("{word}\n");
        }
        for (path, hash) in &role.trusted {
            text += &format!("  trusts     {path} {}\n", hash.short());
        }
    }
    text += &format!("measurement  {}\n", done.record_file.display());
    for note in &done.notes {
        text += &format!("note         {note}\n");
    }
    text += &format!(
        "next         copy the archive to each machine, and run `docker load < {}` there (or podman)\n",
        file_name(done)
    );
    text
}

fn file_name(done: &Archive) -> String {
    done.file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn summary_json(done: &Archive) -> serde_json::Value {
    json!({
        "name": done.name,
        "image": done.id.to_string(),
        "archive": done.file,
        "archive_bytes": done.bytes,
        "sha256": done.digest.to_string(),
        "layer_bytes": done.layer_bytes,
        "labels": done.record.labels(),
        "measurement": done.record_file,
        "notes": done.notes,
    })
}

fn export(command: &WorkspaceExport) -> Result<Answer, Failure> {
    let done = transfer::export(&Workspace::open(&command.workspace)?, command.output.as_deref())?;
    let mut text =
        format!("archive  {}\nsha256   {}\nplan     {}\n", done.file.display(), done.digest, done.plan);
    text.extend(done.files.iter().map(|file| format!("inside   {file}\n")));
    text.extend(done.left_out.iter().map(|file| format!("left out {file}\n")));
    text += "next     send the archive to each site, and read the sha256 to the site: `fl-host workspace import` shows it there\n";
    let json = json!({
        "archive": done.file, "sha256": done.digest.to_string(), "plan": done.plan.to_string(),
        "files": done.files, "left_out": done.left_out,
    });
    Ok(Answer { text, json })
}

fn import(command: &WorkspaceImport) -> Result<Answer, Failure> {
    let done = transfer::import(&command.archive, &command.prefix, command.digest)?;
    let mut text =
        format!("workspace  {}\nsha256     {}\nplan       {}\n", done.root.display(), done.digest, done.plan);
    text.extend(done.files.iter().map(|file| format!("inside     {file}\n")));
    text += match command.digest {
        Some(_) => "checked    the sha256 is the one that you gave\n",
        None => {
            "next       compare the sha256 with the one that the owner reads to you, for example by phone\n"
        }
    };
    let json = json!({
        "workspace": done.root, "sha256": done.digest.to_string(), "plan": done.plan.to_string(), "files": done.files,
    });
    Ok(Answer { text, json })
}
