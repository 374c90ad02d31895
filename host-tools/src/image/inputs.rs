//! The first stage: everything that an image is made of, read and checked. Nothing is made yet.

use std::path::{Path, PathBuf};

use fl_engine::{Digest, limits::PLAN_FILE_BYTES, tensor::root_of};
use fl_launcher::image::Target;
use fl_runtime::internal::trust::Authority;

use super::{
    capability::Capability,
    gramine_files,
    programs::{self, Programs},
};
use crate::{
    exit::{Exit, Failure},
    files, model,
    plan::{self, Loaded},
    sgx::{self, Date, SigningKey},
    workspace::Workspace,
};

/// What is asked of [`super::dockerize`].
#[derive(Clone, Debug)]
pub struct Request {
    /// What the roles run in.
    pub target: Target,
    /// The runtime's binary; `None` for the one beside this program.
    pub binary: Option<PathBuf>,
    /// The CA's certificate; `None` for the workspace's.
    pub ca: Option<PathBuf>,
    /// The archive to write; `None` for `W.tar.gz` in the workspace.
    pub output: Option<PathBuf>,
    /// The folder of an OCI layout to write beside the archive.
    pub oci: Option<PathBuf>,
    /// The folder of a Gramine installation; `None` for the one that the distribution installed.
    pub gramine: Option<PathBuf>,
    /// The key that signs enclaves.
    pub signer_key: Option<PathBuf>,
    /// The enclaves' security version. Raise it when members must no longer trust an older image.
    pub svn: u16,
    /// Memory on demand, which newer processors have.
    pub edmm: bool,
    /// The date in the signatures, a part of their bytes.
    pub date: Date,
}

/// What the image is made of.
pub(super) struct Inputs<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) request: &'a Request,
    pub(super) loaded: Loaded,
    pub(super) programs: Programs,
    /// The CA's certificate, PEM.
    pub(super) ca: Vec<u8>,
    pub(super) ca_digest: Digest,
    /// The initial model, unless every machine makes the same one from the plan's seed.
    pub(super) model: Option<Vec<u8>>,
    /// The text of `plan/site.yaml`.
    pub(super) site: Vec<u8>,
    /// The folder of the Gramine installation, unless the target is native.
    pub(super) gramine: Option<PathBuf>,
    /// The key that signs, if the target is an enclave.
    pub(super) key: Option<SigningKey>,
    /// What the user should know of the inputs.
    pub(super) notes: Vec<String>,
}

impl<'a> Inputs<'a> {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// [`Exit::Usage`] for an enclave without a key, [`Exit::Plan`] also for a site file with a login,
    /// [`Exit::Trust`] for a CA certificate that is invalid or not the plan's, [`Exit::Model`] for an initial
    /// model of another plan, [`Exit::File`].
    pub(super) fn read(workspace: &'a Workspace, request: &'a Request) -> Result<Self, Failure> {
        let key = signing_key(request)?;
        let loaded = plan::check(workspace)?;
        let programs = programs::find(request.binary.as_deref())?;
        let mut notes: Vec<String> =
            Capability::of(&programs.file).check(&loaded.plan)?.into_iter().collect();
        if request.binary.is_none() && has_sources(workspace) {
            notes.push(format!(
                "src/ is not part of the image: the image runs {}. To use the code in src/, build it as a static program, and give the program with --binary",
                programs.file.display()
            ));
        }
        let ca_file = request.ca.clone().unwrap_or_else(|| workspace.ca_file());
        let (ca, ca_digest) = certificate(&ca_file, &loaded)?;
        let model = imported_model(workspace, &loaded)?;
        let site = files::read(&workspace.site_file(), PLAN_FILE_BYTES)?;
        plan::refuse_site_with_login(&site, "the image")?;
        let gramine = match request.target {
            Target::Native => None,
            _ => Some(gramine_files::find(request.gramine.as_deref())?),
        };
        Ok(Self { workspace, request, loaded, programs, ca, ca_digest, model, site, gramine, key, notes })
    }
}

/// Whether `src/` contains anything.
fn has_sources(workspace: &Workspace) -> bool {
    std::fs::read_dir(workspace.root().join("src")).is_ok_and(|mut entries| entries.next().is_some())
}

fn signing_key(request: &Request) -> Result<Option<SigningKey>, Failure> {
    match (request.target, &request.signer_key) {
        (Target::Sgx, Some(path)) => sgx::key::load(path).map(Some),
        (Target::Sgx, None) => Err(Failure::new(Exit::Usage, "an enclave needs a signing key")
            .hint("give the key's file with -s KEY; `fl-host sgx key --output KEY` makes a key")),
        _ => Ok(None),
    }
}

/// The CA's certificate and its digest.
fn certificate(file: &Path, loaded: &Loaded) -> Result<(Vec<u8>, Digest), Failure> {
    let pem = files::read(file, CA_BYTES).map_err(|failure| {
        failure
            .hint("make the federation's CA with `fl-host pki init`, or give the file of the CA's certificate with --ca")
    })?;
    let authority = Authority::from_pem(&pem).map_err(|e| Failure::of(Exit::Trust, &e).hint(e.hint()))?;
    authority.check_plan(loaded.plan.ca).map_err(|e| {
        Failure::of(Exit::Trust, &e)
            .hint("run `fl-host plan initialize -a ADDRESS`, which writes the CA's hash into the plan")
    })?;
    Ok((pem, authority.digest()))
}

/// The workspace's initial model, unless it is the one that every machine makes from the plan's seed.
fn imported_model(workspace: &Workspace, loaded: &Loaded) -> Result<Option<Vec<u8>>, Failure> {
    let path = workspace.init_model_file(&loaded.plan.federation);
    let Some(shown) = model::initial(workspace, &loaded.plan, loaded.hash, &loaded.layout)? else {
        return Ok(None);
    };
    let seeded = loaded.plan.initial_state().map_err(|e| model::refused_model(&e))?;
    let mut bytes = Vec::new();
    seeded.write_bytes(&mut bytes);
    if shown.root == Some(root_of(loaded.layout.hash(), &bytes)) {
        return Ok(None);
    }
    files::read(&path, model::FILE_BYTES).map(Some)
}

const CA_BYTES: usize = 64 << 10;
