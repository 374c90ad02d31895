//! A container image from a workspace, without a container engine: `fl-host workspace dockerize`, `fl-host image inspect`.
//!
//! ```text
//! plan, CA, initial model ─┐
//! site file ───────────────┤   contents ── layers ── archive ──> W.tar.gz, an OCI layout
//! programs ────────────────┤      │
//! Gramine's files ─────────┘      └ gramine: manifests, measured and signed ──> labels, W.measurement.json
//! ```
//!
//! Two layers: programs, the same for every federation, and what is this federation's. The same inputs give the same
//! bytes; the date of a signature is an input. No key goes in.

pub mod contents;
mod enclaves;
pub mod gramine_files;
pub mod inspect;
mod licence;
pub mod oci;
pub mod programs;
pub mod record;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use fl_engine::{Digest, Name, model as engine_model, tensor::root_of};
use fl_launcher::image::{LAUNCHER, RUNTIME, Target};
use fl_runtime::{image as carried, trust::Authority};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    exit::{Exit, Failure},
    files, model,
    plan::{self, Loaded},
    sgx::{self, Date, gramine_version::Gramine},
    workspace::Workspace,
};
use contents::{Contents, PLAIN, PROGRAM, SHARED, in_workspace};
use oci::OciImage;
use programs::Programs;
use record::ImageRecord;

/// What is asked of [`dockerize`].
#[derive(Clone, Debug)]
pub struct Request {
    /// What the roles run in.
    pub target: Target,
    /// The runtime's binary; found beside this program where there is none.
    pub binary: Option<PathBuf>,
    /// The CA's certificate; the workspace's where there is none.
    pub ca: Option<PathBuf>,
    /// The archive; `W.tar.gz` in the workspace where there is none.
    pub output: Option<PathBuf>,
    /// An OCI layout, too.
    pub oci: Option<PathBuf>,
    /// The folder of a Gramine installation; found where distributions put it where there is none.
    pub gramine: Option<PathBuf>,
    /// The key that signs enclaves.
    pub signer_key: Option<PathBuf>,
    /// The enclaves' security version: raised when an older image must no longer be believed.
    pub svn: u16,
    /// Memory on demand, of newer processors.
    pub edmm: bool,
    /// The date in the signatures; a part of their bytes.
    pub date: Date,
}

/// What [`dockerize`] wrote.
#[derive(Clone, Debug)]
pub struct Dockerized {
    /// The archive.
    pub archive: PathBuf,
    /// Its length in bytes.
    pub archive_bytes: u64,
    /// Its SHA-256.
    pub archive_digest: Digest,
    /// The name that `docker load` gives it.
    pub name: String,
    /// The image's identity.
    pub id: Digest,
    /// Bytes of its layers.
    pub layer_bytes: u64,
    /// What is in it, and what it measures.
    pub record: ImageRecord,
    /// The file with the same.
    pub record_file: PathBuf,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// Makes the image of the workspace.
///
/// # Errors
/// [`Exit::Plan`], [`Exit::Trust`] for a CA that is none or not the plan's, [`Exit::Model`] for an initial model of
/// another plan, [`Exit::File`] for what cannot be found, read or written.
pub fn dockerize(workspace: &Workspace, request: &Request) -> Result<Dockerized, Failure> {
    let key = match (request.target, &request.signer_key) {
        (Target::Sgx, Some(path)) => Some(sgx::key::load(path)?),
        (Target::Sgx, None) => {
            return Err(Failure::new(Exit::Usage, "an enclave needs a signing key: -s KEY")
                .hint("make one with `fl-host sgx key`, or with `openssl genrsa -3 -out KEY 3072`"));
        }
        _ => None,
    };
    let loaded = plan::check(workspace)?;
    let programs = programs::find(request.binary.as_deref())?;
    let mut notes = Vec::new();
    if programs.sbom.is_none() {
        notes.push("the binary has no list of its parts beside it: the image carries none".to_owned());
    }
    let mut lower = Contents::default();
    put_programs(&mut lower, &programs);
    let mut upper = Contents::default();
    let ca = put_federation(&mut upper, workspace, &loaded, request.ca.as_deref())?;
    let (mut libpal, mut version) = (None, None);
    if request.target != Target::Native {
        let folder = gramine_files::find(request.gramine.as_deref())?;
        let put = gramine_files::put(&mut lower, &folder, request.target)?;
        libpal = Some(put.libpal);
        notes.extend(put.unlicensed.iter().map(|library| {
            format!("/{library}: no text of its licence was found here; hand it on with the image")
        }));
        version = Some(put.version.unwrap_or_else(|| gramine_files::UNKNOWN.to_owned()));
        // Gramine mounts only what is there, and a collaborator needs no roster. A volume covers it.
        upper.file(&in_workspace("plan/cols.yaml"), PLAIN, Vec::new());
    }
    if let Some(version) = &version {
        notes.extend(about_version(version, request.target));
    }
    let mut all = lower.clone();
    all.stack(upper.clone());
    let mut record = ImageRecord::of(&loaded, ca, request.target, &programs, &all);
    record.gramine = version;
    let mut enclaves = Vec::new();
    if request.target == Target::Sgx {
        notes.push(format!("what an enclave saves is sealed to {}", loaded.plan.seal));
        notes.extend(plan::warning(&loaded).map(str::to_owned));
    }
    if let Some(libpal) = &libpal {
        let making = enclaves::Making {
            target: request.target,
            plan: &loaded.plan,
            footprint: &plan::memory(&loaded),
            libpal,
            key: key.as_ref(),
            svn: request.svn,
            edmm: request.edmm,
            date: request.date,
        };
        enclaves = enclaves::put(&making, &all, &mut upper, &mut record)?;
    }
    let name = image_name(&loaded.plan.federation);
    let packed = OciImage::new(vec![lower.tar()?, upper.tar()?], &record.labels());

    let file_name = format!("{}.tar.gz", loaded.plan.federation);
    let archive = request.output.clone().unwrap_or_else(|| workspace.root().join(&file_name));
    let passes = if request.oci.is_some() { 2 } else { 1 };
    let bar = progress(packed.layer_bytes() * passes);
    let bytes = packed.docker_archive(&name, &mut |more| bar.inc(more))?;
    if let Some(folder) = &request.oci {
        packed.oci_layout(folder, &name, &mut |more| bar.inc(more))?;
    }
    bar.finish_and_clear();
    files::replace(&archive, &bytes)?;
    let archive_digest = Digest::of(&bytes);
    let record_file = archive.with_file_name(format!("{}.measurement.json", loaded.plan.federation));
    let text = format!("{:#}\n", record.json(&packed, archive_digest, &enclaves));
    files::replace(&record_file, text.as_bytes())?;
    Ok(Dockerized {
        archive,
        archive_bytes: bytes.len() as u64,
        archive_digest,
        name,
        id: packed.id(),
        layer_bytes: packed.layer_bytes(),
        record,
        record_file,
        notes,
    })
}

/// What the user should know of this version of Gramine.
fn about_version(version: &str, target: Target) -> Option<String> {
    let numbers = Gramine::NEWEST.version;
    if target == Target::Sgx && Gramine::said(version) != Some(Gramine::NEWEST) {
        return Some(format!(
            "this Gramine is {version}, but measured with the numbers of {numbers}: compare MRENCLAVE with what its own gramine-sgx-sign prints"
        ));
    }
    (version == gramine_files::UNKNOWN)
        .then(|| "the Gramine installation does not say its version".to_owned())
}

fn put_programs(contents: &mut Contents, programs: &Programs) {
    contents.file(RUNTIME, PROGRAM, programs.runtime.clone());
    contents.file(LAUNCHER, PROGRAM, programs.launcher.clone());
    if let Some(sbom) = &programs.sbom {
        contents.file(SBOM, PLAIN, sbom.clone());
    }
    if let Some(licences) = &programs.licences {
        contents.file(LICENCES, PLAIN, licences.clone());
    }
    contents.file(LICENCE, PLAIN, include_bytes!("../../LICENSE").to_vec());
}

/// Everything that is this federation's; answers with the CA's digest.
fn put_federation(
    contents: &mut Contents,
    workspace: &Workspace,
    loaded: &Loaded,
    ca: Option<&Path>,
) -> Result<Digest, Failure> {
    let ca_file = ca.map_or_else(|| workspace.ca_file(), Path::to_owned);
    let pem = files::read(&ca_file, CA_BYTES).map_err(|failure| {
        failure.hint("make the federation's CA with `fl-host pki init`, or name its certificate with --ca")
    })?;
    let authority = Authority::from_pem(&pem).map_err(|e| Failure::of(Exit::Trust, &e).hint(e.hint()))?;
    authority.check_plan(loaded.plan.ca).map_err(|e| {
        Failure::of(Exit::Trust, &e).hint("`fl-host plan initialize` puts the CA's hash into the plan")
    })?;
    contents.file(&in_workspace(carried::PLAN), PLAIN, loaded.plan.canonical());
    contents.file(&in_workspace(carried::CA), PLAIN, pem);
    if let Some(model) = imported_model(workspace, loaded)? {
        contents.file(&in_workspace(carried::INITIAL_MODEL), PLAIN, model);
    }
    let site = files::read(&workspace.site_file(), fl_engine::limits::PLAN_FILE_BYTES)?;
    contents.file(&in_workspace("plan/site.yaml"), PLAIN, site);
    for folder in ["cert", "logs", "save", "save/released"] {
        contents.folder(&in_workspace(folder), SHARED);
    }
    contents.folder(&in_workspace("data"), PROGRAM);
    contents.folder("tmp", SHARED);
    Ok(authority.digest())
}

/// The workspace's initial model, where it is not the one that every machine makes of the plan's seed.
fn imported_model(workspace: &Workspace, loaded: &Loaded) -> Result<Option<Vec<u8>>, Failure> {
    let path = workspace.init_model_file(&loaded.plan.federation);
    if !path.exists() {
        return Ok(None);
    }
    let shown = model::show(&path, Some(&loaded.layout))?;
    if shown.texts.get(model::text::PLAN).is_some_and(|theirs| *theirs != loaded.hash.to_string()) {
        let error = format!("{} was made for another plan", path.display());
        return Err(Failure::new(Exit::Model, error).hint("run `fl-host plan initialize` again"));
    }
    let seeds = engine_model::plan_init(&loaded.plan).map_err(|e| model::refused_model(&e))?;
    let mut bytes = Vec::new();
    seeds.write_bytes(&mut bytes);
    if shown.root == Some(root_of(loaded.layout.hash(), &bytes)) {
        return Ok(None);
    }
    files::read(&path, model::FILE_BYTES).map(Some)
}

/// The date of a signature that names none: 2026-01-01. Today's would make tomorrow's archive another.
#[must_use]
pub fn default_date() -> Date {
    Date::of_unix(1_767_225_600)
}

/// The federation's name as container engines take it: letters and digits, single separators between them.
fn image_name(federation: &Name) -> String {
    let mut name = String::new();
    for letter in federation.as_str().chars() {
        match letter {
            '-' | '_' | '.' if name.ends_with(['-', '_', '.']) => {}
            letter => name.push(letter),
        }
    }
    name.trim_end_matches(['-', '_', '.']).to_owned()
}

fn progress(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes);
    if let Ok(style) = ProgressStyle::with_template("packing {wide_bar} {bytes} of {total_bytes}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// The list of what the runtime was linked from.
pub const SBOM: &str = "fl/fl-runtime.cdx.json";
/// The licences of those.
pub const LICENCES: &str = "fl/licences.txt";
/// fl-runtime's own.
const LICENCE: &str = "fl/LICENSE";
const CA_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests;
