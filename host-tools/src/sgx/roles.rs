//! The manifests of the two roles, from their templates in `manifests/gramine/` and a plan.
//!
//! A role's enclave trusts files of the image, each by its hash: the program, the plan, the CA's certificate
//! and, for the aggregator, the initial model. All other files come from the host; they are checked inside
//! the enclave, or are sealed.

use fl_engine::{
    aggregate::Footprint,
    plan::{Plan, ReleaseTo, Seal},
};
use fl_launcher::image::Target;
use fl_runtime::internal::trust::Role;

use super::{
    Manifest, Trusted,
    gramine_version::Gramine,
    make_manifest,
    size::{EnclaveSize, enclave_size},
    template::Variables,
    trusted_files::Files,
};
use crate::exit::{Exit, Failure};

/// Where the image has its files: absolute paths in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The static binary.
    pub program: String,
    /// The plan's canonical bytes.
    pub plan: String,
    /// The federation CA's certificate.
    pub ca: String,
    /// The initial model, at the aggregator.
    pub model: Option<String>,
    /// The folder with Gramine's libsysdb.so.
    pub gramine: String,
}

/// A manifest to be made.
#[derive(Clone, Debug)]
pub struct RoleManifest<'a> {
    /// The role that it starts.
    pub role: Role,
    /// What runs it: Gramine, without an enclave or with one.
    pub target: Target,
    /// The plan.
    pub plan: &'a Plan,
    /// The aggregator's memory, as `plan check` shows it.
    pub footprint: &'a Footprint,
    /// The image's files.
    pub paths: &'a Paths,
    /// Security version. Raise it when members must no longer trust an older image.
    pub svn: u16,
    /// Memory on demand: SGX2 and Linux 6.0 or later.
    pub edmm: bool,
}

/// A manifest that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// Its tables.
    pub manifest: Manifest,
    /// Its text, which is measured.
    pub text: String,
    /// Threads and memory, with their sums.
    pub size: EnclaveSize,
    /// The trusted files beside Gramine's own.
    pub trusted: Vec<Trusted>,
}

/// Renders a role's template for a plan. `files` knows the image's files by their paths in the image.
///
/// # Errors
/// [`Exit::File`] for a missing file; [`Exit::Plan`] for a plan that does not fit its memory limit;
/// [`Exit::Failed`] when the template trusts more than [`MOST_TRUSTED`] files or is longer than
/// [`MOST_BYTES`].
pub fn render(made: &RoleManifest<'_>, files: &dyn Files, gramine: &Gramine) -> Result<Rendered, Failure> {
    let size = enclave_size(made.role, made.plan, made.footprint, gramine)?;
    let (template, name) = match made.role {
        Role::Aggregator => (AGGREGATOR, "aggregator.manifest.template"),
        Role::Collaborator => (COLLABORATOR, "collaborator.manifest.template"),
    };
    let seal = match made.plan.seal {
        Seal::Signer => "_sgx_mrsigner",
        _ => "_sgx_mrenclave",
    };
    let paths = made.paths;
    let model = paths.model.as_deref().filter(|_| made.role == Role::Aggregator);
    let variables = Variables::new()
        .with_gramine(&paths.gramine)
        .with("sgx", made.target == Target::Sgx)
        .with("federation", made.plan.federation.as_str())
        .with("program", paths.program.as_str())
        .with("plan", paths.plan.as_str())
        .with("ca", paths.ca.as_str())
        .with("model", model.unwrap_or_default())
        .with("seal", seal)
        .with("released", releases(made.role, made.plan))
        .with("edmm", made.edmm)
        .with("enclave_size", size.word())
        .with("max_threads", size.max_threads())
        .with("svn", made.svn);
    let manifest = make_manifest(template, name, &variables, files, gramine)?;
    let text = manifest.text()?;
    let trusted = manifest.trusted()?;
    if trusted.len() > MOST_TRUSTED {
        let error =
            format!("the manifest {name} trusts {} files; at most {MOST_TRUSTED} are allowed", trusted.len());
        return Err(Failure::new(Exit::Failed, error));
    }
    if let Some((file, folder)) = manifest.unchecked()?.first() {
        let error = format!(
            "Gramine would not check the trusted file {file}: it is inside {folder}, whose files are all allowed"
        );
        return Err(Failure::new(Exit::Failed, error)
            .hint("move the trusted file to a folder outside of the workspace"));
    }
    if text.len() > MOST_BYTES {
        let error = format!(
            "the Gramine manifest that was made from {name} has {} bytes; at most {MOST_BYTES} are allowed",
            text.len()
        );
        return Err(Failure::new(Exit::Failed, error).hint("shorten the paths of the files in the image"));
    }
    Ok(Rendered { manifest, text, size, trusted })
}

/// Whether this role writes released models to `save/released`, where its host can read them. Collaborators
/// do so for a release to members, the aggregator for any other release.
#[must_use]
pub fn releases(role: Role, plan: &Plan) -> bool {
    plan.release.is_some_and(|release| (release.to == ReleaseTo::Members) == (role == Role::Collaborator))
}

/// The aggregator's template, as it stands in the repository.
pub const AGGREGATOR: &str = include_str!("../../../manifests/gramine/aggregator.manifest.template");
/// The collaborator's.
pub const COLLABORATOR: &str = include_str!("../../../manifests/gramine/collaborator.manifest.template");
/// Most trusted files beside Gramine's own.
pub const MOST_TRUSTED: usize = 5;
/// Longest manifest, bytes.
pub const MOST_BYTES: usize = 8 << 10;

#[cfg(test)]
mod tests;
