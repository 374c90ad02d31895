//! A workspace: the folder `plan/ src/ data/ cert/ save/ logs/` that the owner edits and an image is made from.

mod create;
mod edit;
mod transfer;

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

pub use create::{Created, Trial, create, sharding, template, trial_names};
pub use edit::set_key;
pub use transfer::{Exported, Imported, export, import};

use fl_engine::Name;

use crate::exit::{Exit, Failure};

/// The folders of a workspace.
pub const FOLDERS: [&str; 7] = ["plan", "src", "data", "cert", "save", "save/released", "logs"];

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
        let workspace = Self { root: shown(root).to_owned() };
        if workspace.plan_file().is_file() {
            return Ok(workspace);
        }
        let error = format!("{} is not a workspace: it has no plan/plan.yaml", root.display());
        Err(Failure::new(Exit::Workspace, error)
            .hint("change to the workspace's folder, name it with --workspace, or make one with `fl-host workspace create`"))
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

    /// `cert/ca.crt`: the federation CA's certificate.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.root.join("cert/ca.crt")
    }

    /// `save/W_init.safetensors`: the model that the first round starts from. `W` is the federation: its files have the
    /// same names on every machine, whatever the folder is called there.
    #[must_use]
    pub fn init_model_file(&self, federation: &Name) -> PathBuf {
        self.root.join("save").join(format!("{federation}_init.safetensors"))
    }

    /// `save/accepted-plan`: the hash that this site has agreed to.
    #[must_use]
    pub fn accepted_file(&self) -> PathBuf {
        self.root.join("save/accepted-plan")
    }
}

/// Paths inside the current folder are shown without `./`.
#[must_use]
pub fn shown(root: &Path) -> &Path {
    root.strip_prefix(".").unwrap_or(root)
}

/// Reads a text file of at most `limit` bytes.
///
/// # Errors
/// [`Exit::File`].
pub fn read_text(path: &Path, limit: usize) -> Result<String, Failure> {
    let bytes = read(path, limit)?;
    String::from_utf8(bytes)
        .map_err(|_| Failure::new(Exit::File, format!("{} is not UTF-8 text", path.display())))
}

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// [`Exit::File`].
pub fn read(path: &Path, limit: usize) -> Result<Vec<u8>, Failure> {
    let refused = |e: io::Error| {
        Failure::new(Exit::File, format!("cannot read {}: {e}", path.display())).hint(
            "check the path: relative ones begin at the current folder, or at --workspace for its own files",
        )
    };
    let length = fs::metadata(path).map_err(refused)?.len();
    if length > limit as u64 {
        let error = format!("{} has {length} bytes; at most {limit} are read", path.display());
        return Err(Failure::new(Exit::File, error));
    }
    fs::read(path).map_err(refused)
}

/// Replaces a file whole: a crash leaves the old one or the new one, never a part.
///
/// # Errors
/// [`Exit::File`].
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let fresh = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file = fs::File::create(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    };
    write().map_err(|e| {
        Failure::new(Exit::File, format!("cannot write {}: {e}", path.display()))
            .hint("its folder has to be there, and this user allowed to write to it")
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A fresh folder of this test run.
    pub(crate) fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("fl-host-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn replaced_file_is_whole_and_leaves_no_scrap() {
        let dir = scratch("replace");
        let path = dir.join("plan.yaml");
        replace(&path, b"old").unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(read_text(&path, 3).unwrap(), "new");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        assert!(read(&path, 2).unwrap_err().error.contains("has 3 bytes; at most 2 are read"));
    }
}
