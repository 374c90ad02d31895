//! The files of `plan/` in and out of a workspace.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use fl_engine::{
    ByteCount, Digest,
    aggregate::{Footprint, footprint},
    limits::PLAN_FILE_BYTES,
    plan::{DataMap, Plan, PlanError, Site},
    tensor::Layout,
};
use fl_runtime::internal::trust::Authority;

use super::{ca_digest, sample, with_address, with_ca};
use crate::{
    exit::{Exit, Failure},
    files,
    model::{self, Made},
    workspace::Workspace,
};

/// A plan that was read and checked.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The plan.
    pub plan: Plan,
    /// Its hash.
    pub hash: Digest,
    /// Its model's tensors.
    pub layout: Arc<Layout>,
}

/// Reads a workspace's plan.
///
/// # Errors
/// [`Exit::File`]; [`Exit::Plan`] with line and column.
pub fn load(workspace: &Workspace) -> Result<Loaded, Failure> {
    parsed(&files::read_text(&workspace.plan_file(), PLAN_FILE_BYTES)?)
}

pub(crate) fn parsed(text: &str) -> Result<Loaded, Failure> {
    let plan = Plan::parse(text).map_err(|e| refused(&e))?;
    let layout = plan.layout().map_err(|e| model::refused_model(&e))?;
    Ok(Loaded { hash: plan.hash(), plan, layout })
}

/// Reads a workspace's plan, and if they exist, the site file, the data map and the initial model. Computes
/// the aggregator's memory.
///
/// # Errors
/// As [`load`], for each of the files; [`Exit::Plan`] when the memory exceeds the plan's limit;
/// [`Exit::Model`] for an initial model that the aggregator would refuse.
pub fn check(workspace: &Workspace) -> Result<Loaded, Failure> {
    let loaded = load(workspace)?;
    let memory = memory(&loaded);
    if !memory.fits(loaded.plan.memory_budget) {
        // Rounded up to the next MiB, so that the shown value is enough.
        let least = ByteCount(memory.least().0.next_multiple_of(1 << 20));
        let error = format!(
            "plan/plan.yaml: limits.memory is {}; the aggregator needs {least}",
            loaded.plan.memory_budget
        );
        return Err(Failure::new(Exit::Plan, error)
            .hint(format!("raise limits.memory; the aggregator's memory is\n{memory}")));
    }
    let read = |path: &Path| match path.exists() {
        true => files::read_text(path, PLAN_FILE_BYTES).map(Some),
        false => Ok(None),
    };
    if let Some(text) = read(&workspace.site_file())? {
        let site = Site::parse(&text).map_err(|e| refused(&e))?;
        refuse_exposed_site(&site, &workspace.site_file())?;
    }
    if let Some(text) = read(&workspace.data_map_file())? {
        DataMap::parse(&text).map_err(|e| refused(&e))?;
    }
    check_federation(workspace, &loaded.plan)?;
    model::initial(workspace, &loaded.plan, loaded.hash, &loaded.layout)?;
    Ok(loaded)
}

/// Refuses a site file with a login that other users of this machine may read or change.
fn refuse_exposed_site(site: &Site, path: &Path) -> Result<(), Failure> {
    match files::exposed(path).filter(|_| site.holds_secret()) {
        Some(mode) => Err(Failure::exposed_login(path, mode)),
        None => Ok(()),
    }
}

/// Refuses the text of a site file that holds a login for a proxy, before the text becomes part of
/// `destination`, which others receive.
///
/// # Errors
/// [`Exit::Plan`].
pub(crate) fn refuse_site_with_login(text: &[u8], destination: &str) -> Result<(), Failure> {
    // A file that is no site file is refused where it is used.
    let site = std::str::from_utf8(text).ok().and_then(|text| Site::parse(text).ok());
    if !site.is_some_and(|site| site.holds_secret()) {
        return Ok(());
    }
    let error = format!(
        "plan/site.yaml holds a user or a password for a proxy: everybody who gets {destination} could read them"
    );
    Err(Failure::new(Exit::Plan, error).hint(
        "remove `proxy` from plan/site.yaml here. Each site writes its proxy into its own plan/site.yaml; a container mounts that file at /workspace/plan/site.yaml",
    ))
}

/// Checks that the plan names the federation of the roster, where this workspace has one of the workspace's
/// CA. Every role would refuse another name.
fn check_federation(workspace: &Workspace, plan: &Plan) -> Result<(), Failure> {
    let root = workspace.root();
    let read = |path: &Path| files::read_text(path, PLAN_FILE_BYTES).ok();
    let ca =
        files::read_pem(&workspace.ca_file()).ok().and_then(|pem| Authority::from_pem(pem.as_bytes()).ok());
    let text = read(&root.join("cert/issued/cols.yaml")).or_else(|| read(&root.join("plan/cols.yaml")));
    // A roster that cannot be read is refused where it is used.
    let roster = ca.zip(text).and_then(|(ca, text)| ca.open_roster(&text).ok());
    let Some(roster) = roster.filter(|roster| *roster.federation() != plan.federation) else { return Ok(()) };
    let (ours, theirs) = (&plan.federation, roster.federation());
    Err(Failure::new(Exit::Plan, format!("plan/plan.yaml names the federation {ours}, but the CA and the roster belong to {theirs}"))
        .hint(format!("set `federation: {theirs}` in plan/plan.yaml: the name is part of every certificate. A new federation needs a new CA")))
}

/// The aggregator's memory for max(`quorum.count.max` or `.min`, `sample`) collaborators. Only the aggregator
/// knows how many are on the roster.
#[must_use]
pub fn memory(loaded: &Loaded) -> Footprint {
    let (quorum, sample) = (loaded.plan.quorum, loaded.plan.sample.unwrap_or(0));
    let peers = quorum.count_max.unwrap_or(quorum.count_min).max(sample);
    footprint(&loaded.plan, &loaded.layout, peers)
}

/// A warning about a valid plan that is probably not meant like this.
#[must_use]
pub fn warning(loaded: &Loaded) -> Option<&'static str> {
    loaded.plan.release.is_none().then_some(
        "the plan has no key `release`: an enclave encrypts save/, so nobody could read the model. Add for example \
         `release: {what: last, to: members}`",
    )
}

/// What [`initialise`] did.
#[derive(Clone, Debug)]
pub struct Initialised {
    /// The plan as it now is.
    pub loaded: Loaded,
    /// The federation CA's hash; `None` when `cert/ca.crt` is not there yet.
    pub ca: Option<Digest>,
    /// The aggregator's address, as `plan/site.yaml` now has it.
    pub address: String,
    /// The initial model.
    pub model: Made,
    /// The columns that were written into the plan.
    pub features: Option<sample::Named>,
    /// Why the columns of the data map's folder were not written into the plan.
    pub unnamed: Option<String>,
}

/// Sets the plan's CA and the site's address (`None` keeps the address of an earlier call), and writes the
/// initial model: the plan's, or `from` a file. Writes the columns of the features into the plan where the
/// owner has a sample: the folder `data`, or the first folder of the data map that is there and fits the
/// plan. Nothing is written before everything was checked.
///
/// # Errors
/// [`Exit::Plan`], [`Exit::Trust`] for a `cert/ca.crt` that is not a certificate, [`Exit::Usage`] for an
/// invalid address, [`Exit::Model`] for a model file that does not fit, [`Exit::Data`] for a folder
/// `data` that does not fit the plan, [`Exit::File`].
pub fn initialise(
    workspace: &Workspace,
    address: Option<&str>,
    from: Option<&Path>,
    seed: Option<u64>,
    data: Option<&Path>,
) -> Result<Initialised, Failure> {
    if from.is_some() && seed.is_some() {
        let error =
            "--seed and --init-model cannot be given together: --init-model takes the values from a file";
        return Err(Failure::new(Exit::Usage, error).hint("give only one of the two options"));
    }
    let mut plan = files::read_text(&workspace.plan_file(), PLAN_FILE_BYTES)?;
    let initialised =
        plan.lines().any(|line| line.strip_prefix("ca:").is_some_and(|value| value.contains('"')));
    let ca = match workspace.ca_file().exists() {
        true => Some(ca_digest(&files::read_pem(&workspace.ca_file())?)?),
        false => None,
    };
    if let Some(ca) = &ca {
        plan = with_ca(&plan, ca);
    }
    let mut loaded = parsed(&plan)?;
    check_federation(workspace, &loaded.plan)?;
    let (mut features, mut unnamed) = (None, None);
    if let Some(spec) = sample::unnamed(&loaded.plan) {
        let folder =
            data.map_or_else(|| sample_folder(workspace, &spec.file), |folder| Ok(Some(folder.to_owned())));
        if let Some(folder) = folder? {
            match sample::name_features(&plan, spec, &folder) {
                Ok((edited, named)) => {
                    (loaded, features) = (parsed(&edited)?, Some(named));
                    plan = edited;
                }
                // Nobody asked for this folder: a template's trial data, say, under a plan for other data.
                Err(other) if data.is_none() => unnamed = Some(other.error),
                Err(failure) => return Err(failure),
            }
        }
    } else if data.is_some() {
        let error = "--data is for a plan that reads a CSV file with a header and has no `features` yet";
        return Err(Failure::new(Exit::Usage, error).hint("leave --data out"));
    }
    let site_text = files::read_text(&workspace.site_file(), PLAN_FILE_BYTES)?;
    let address = match address {
        Some(address) => address.to_owned(),
        // The address of an earlier call stays. The template's is nobody's.
        None if initialised => Site::parse(&site_text).map_err(|e| refused(&e))?.address,
        None => {
            return Err(Failure::new(Exit::Usage, "the aggregator's address is not known yet").hint(
                "give the aggregator's host name or IP address with -a ADDRESS; later calls keep the address",
            ));
        }
    };
    let site = with_address(&site_text, &address)?;
    let checked = Site::parse(&site).map_err(|e| refused(&e))?;
    refuse_exposed_site(&checked, &workspace.site_file())?;
    let hash = Some(loaded.hash);
    let model = match from {
        Some(file) => model::init_from(workspace, &loaded.plan, file)?,
        None => model::init(workspace, &loaded.plan, hash, seed)?,
    };
    files::replace(&workspace.plan_file(), plan.as_bytes())?;
    match checked.holds_secret() {
        true => files::replace_secret(&workspace.site_file(), site.as_bytes())?,
        false => files::replace(&workspace.site_file(), site.as_bytes())?,
    }
    Ok(Initialised { loaded, ca, address, model, features, unnamed })
}

/// The first folder of the data map that has the file.
fn sample_folder(workspace: &Workspace, file: &str) -> Result<Option<PathBuf>, Failure> {
    let path = workspace.data_map_file();
    if !path.exists() {
        return Ok(None);
    }
    let map = DataMap::parse(&files::read_text(&path, PLAN_FILE_BYTES)?).map_err(|e| refused(&e))?;
    let mut folders = map.iter().map(|(_, folder)| workspace.root().join(folder));
    Ok(folders.find(|folder| folder.join(file).is_file()))
}

/// The plan that this site has accepted, and its present plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The accepted plan's hash; `None` before the first.
    pub accepted: Option<Digest>,
    /// The workspace's plan.
    pub plan: Digest,
}

/// The accepted hash beside the plan's.
///
/// # Errors
/// As [`load`]; [`Exit::File`] for a `save/accepted-plan` that contains no hash.
pub fn accepted(workspace: &Workspace) -> Result<Accepted, Failure> {
    let plan = load(workspace)?.hash;
    let path = workspace.accepted_file();
    if !path.exists() {
        return Ok(Accepted { accepted: None, plan });
    }
    let text = files::read_text(&path, 256)?;
    let accepted = text.trim().parse().map_err(|e| {
        Failure::new(Exit::File, format!("{}: {e}", path.display()))
            .hint("run `fl-host plan accept`, which writes the file again")
    })?;
    Ok(Accepted { accepted: Some(accepted), plan })
}

/// Accepts the workspace's plan: the runtime refuses any other plan. Returns its hash.
///
/// # Errors
/// As [`load`]; [`Exit::File`].
pub fn accept(workspace: &Workspace) -> Result<Digest, Failure> {
    let hash = load(workspace)?.hash;
    // A site starts with the files that the owner sent, and may have no save/ yet.
    files::make_folder_of(&workspace.accepted_file())?;
    files::replace(&workspace.accepted_file(), format!("{hash}\n").as_bytes())?;
    Ok(hash)
}

/// A refused file of `plan/`, as a failure.
pub(crate) fn refused(error: &PlanError) -> Failure {
    Failure::of(Exit::Plan, error).maybe_hint(error.hint().map(str::to_owned))
}
