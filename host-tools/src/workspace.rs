//! A workspace: the folder `plan/ src/ data/ cert/ save/ logs/` that the owner edits and an image is made
//! from.

mod create;
mod edit;

use std::path::{Path, PathBuf};

use fl_engine::Name;
use fl_runtime::internal::store;

pub use create::{Created, Trial, create, sharding, template, trial_names};
pub use edit::{insert_in, replace_section, set_key};

use crate::{
    exit::{Exit, Failure},
    files,
};

/// A folder that holds a `plan/plan.yaml`.
#[derive(Clone, Debug)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Opens the workspace at `root`.
    ///
    /// # Errors
    /// [`Exit::Workspace`] when there is no `plan/plan.yaml`.
    pub fn open(root: &Path) -> Result<Self, Failure> {
        let workspace = Self { root: files::shown(root).to_owned() };
        if workspace.plan_file().is_file() {
            return Ok(workspace);
        }
        let error = format!("{} is not a workspace: it has no plan/plan.yaml", root.display());
        Err(Failure::new(Exit::Workspace, error)
            .hint("change to the workspace's folder, or give that folder with --workspace; `fl-host workspace create` makes a workspace"))
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `plan/plan.yaml`.
    #[must_use]
    pub fn plan_file(&self) -> PathBuf {
        self.root.join("plan/plan.yaml")
    }

    /// `plan/site.yaml`.
    #[must_use]
    pub fn site_file(&self) -> PathBuf {
        self.root.join("plan/site.yaml")
    }

    /// `plan/data.yaml`: the data map.
    #[must_use]
    pub fn data_map_file(&self) -> PathBuf {
        self.root.join("plan/data.yaml")
    }

    /// `cert/ca.crt`: the federation CA's certificate.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.root.join("cert/ca.crt")
    }

    /// `save/W_init.safetensors`: the model that the first round starts from. `W` is the federation's name,
    /// so that the file has the same name on every machine, whatever the folder's name is.
    #[must_use]
    pub fn init_model_file(&self, federation: &Name) -> PathBuf {
        store::initial_model_file(&self.root.join("save"), federation.as_str())
    }

    /// `save/accepted-plan`: the hash that this site has agreed to.
    #[must_use]
    pub fn accepted_file(&self) -> PathBuf {
        self.root.join("save/accepted-plan")
    }
}

/// The folders of a workspace.
pub const FOLDERS: [&str; 7] = ["plan", "src", "data", "cert", "save", "save/released", "logs"];
