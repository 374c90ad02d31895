//! The workspace folder as a role sees it: which file is where, and reading the small ones with bounds.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use fl_engine::{
    Digest, Name, limits,
    plan::{DataMap, Plan, PlanError, Site},
};

use crate::exit::{Exit, Failure};

/// A folder with `plan/plan.yaml`: `plan/ data/ cert/ save/ logs/`.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub(crate) fn open(root: &Path) -> Result<Self, Failure> {
        // Paths inside the current folder are shown without `./`.
        let folder = Self { root: root.strip_prefix(".").unwrap_or(root).to_owned() };
        if folder.path("plan/plan.yaml").is_file() {
            return Ok(folder);
        }
        let error = format!("{} is not a workspace: it has no plan/plan.yaml", root.display());
        Err(Failure::new(Exit::Workspace, error)
            .hint("change to the workspace's folder, or name it with --workspace"))
    }

    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside)
    }

    /// `plan/plan.yaml`, parsed, with its hash.
    pub(crate) fn plan(&self) -> Result<(Arc<Plan>, Digest), Failure> {
        let plan = Plan::parse(&self.text("plan/plan.yaml")?).map_err(|e| refused(&e))?;
        let hash = plan.hash();
        Ok((Arc::new(plan), hash))
    }

    /// `plan/site.yaml`.
    pub(crate) fn site(&self) -> Result<Site, Failure> {
        Site::parse(&self.text("plan/site.yaml")?).map_err(|e| refused(&e))
    }

    /// The data folder of `name`, from `plan/data.yaml`; relative paths begin at the workspace.
    pub(crate) fn data_of(&self, name: &Name) -> Result<PathBuf, Failure> {
        let map = DataMap::parse(&self.text("plan/data.yaml")?).map_err(|e| refused(&e))?;
        let folder = map.folder(name).ok_or_else(|| {
            Failure::new(Exit::Data, format!("plan/data.yaml names no data folder for {name}")).hint(format!(
                "add a line `{name}: FOLDER`; the path begins at the workspace, or is absolute"
            ))
        })?;
        Ok(self.root.join(folder))
    }

    /// Checks that this site has agreed to the plan; with `accept`, agrees if it has agreed to none.
    pub(crate) fn check_accepted(&self, plan: Digest, accept: bool) -> Result<(), Failure> {
        let path = self.path("save/accepted-plan");
        let failed = |e: io::Error| Failure::new(Exit::File, format!("cannot use {}: {e}", path.display()));
        let pinned = match fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        match pinned {
            Some(text) if text.trim().parse() == Ok(plan) => Ok(()),
            Some(text) => Err(Failure::new(
                Exit::NotAccepted,
                format!("this site has accepted plan {}, and plan/plan.yaml is plan {plan}", text.trim()),
            )
            .hint("read plan/plan.yaml, then run `fl-host plan accept`")),
            None if accept => {
                fs::create_dir_all(self.path("save")).map_err(failed)?;
                fs::write(&path, format!("{plan}\n")).map_err(failed)
            }
            None => Err(Failure::new(Exit::NotAccepted, format!("this site has not accepted plan {plan}"))
                .hint("read plan/plan.yaml, then run `fl-host plan accept` (or start with --accept-first for a trial)")),
        }
    }

    fn text(&self, inside: &str) -> Result<String, Failure> {
        let path = self.path(inside);
        let failed = |e: io::Error| {
            let failure = Failure::new(Exit::File, format!("cannot read {}: {e}", path.display()));
            match e.kind() {
                io::ErrorKind::NotFound => failure.maybe_hint(origin(inside).map(str::to_owned)),
                _ => failure,
            }
        };
        let mut text = String::new();
        // What a file's length is said to be is no bound.
        let most = limits::PLAN_FILE_BYTES as u64;
        fs::File::open(&path)
            .and_then(|file| file.take(most + 1).read_to_string(&mut text))
            .map_err(failed)?;
        if text.len() as u64 > most {
            let error = format!("{} has more than the {most} bytes that are read", path.display());
            return Err(Failure::new(Exit::Plan, error));
        }
        Ok(text)
    }
}

/// Where a file of the workspace comes from.
fn origin(inside: &str) -> Option<&'static str> {
    match inside {
        "plan/site.yaml" => Some("copy it from the federation's owner: `fl-host plan initialize` writes it"),
        "plan/data.yaml" => Some("write it: one line `NAME: FOLDER`, where this site's rows are"),
        _ => None,
    }
}

fn refused(error: &PlanError) -> Failure {
    Failure::of(Exit::Plan, error).maybe_hint(error.hint().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endless_file_is_refused_before_it_fills_the_memory() {
        let root = std::env::temp_dir().join(format!("fl-folder-{}", std::process::id()));
        fs::create_dir_all(root.join("plan")).unwrap();
        fs::write(root.join("plan/plan.yaml"), "# a plan\n".repeat(limits::PLAN_FILE_BYTES / 9 + 1)).unwrap();
        let refused = Folder::open(&root).unwrap().plan().unwrap_err();
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(refused.exit, Exit::Plan);
        assert!(
            refused.error.ends_with("has more than the 1048576 bytes that are read"),
            "{}",
            refused.error
        );
    }
}
