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
        if folder.path("plan/plan.yaml").is_file() || folder.path(CANONICAL_PLAN).is_file() {
            return Ok(folder);
        }
        let error = format!("{} is not a workspace: it has no plan/plan.yaml", root.display());
        Err(Failure::new(Exit::Workspace, error)
            .hint("change to the workspace's folder, or name it with --workspace"))
    }

    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside)
    }

    /// The plan, with its hash: `plan/plan.yaml`, or in an image the canonical bytes, which it carries in its place.
    pub(crate) fn plan(&self) -> Result<(Arc<Plan>, Digest), Failure> {
        let image = self.path(CANONICAL_PLAN);
        let plan = match (image.is_file(), self.path("plan/plan.yaml").is_file()) {
            (false, _) => Plan::parse(&self.text("plan/plan.yaml")?).map_err(|e| refused(&e))?,
            (true, false) => Plan::from_canonical(&self.bytes(CANONICAL_PLAN, 4 * limits::PLAN_FILE_BYTES)?)
                .map_err(|e| Failure::new(Exit::Plan, format!("{}: {e}", image.display())))?,
            (true, true) => {
                let error = format!("there are both plan/plan.yaml and {CANONICAL_PLAN}");
                return Err(Failure::new(Exit::Plan, error).hint(
                    "an image carries its plan: mount no other; elsewhere remove the one that is not meant",
                ));
            }
        };
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
        let bytes = self.bytes(inside, limits::PLAN_FILE_BYTES)?;
        String::from_utf8(bytes).map_err(|_| {
            Failure::new(
                Exit::File,
                format!("cannot read {}: it is not UTF-8 text", self.path(inside).display()),
            )
        })
    }

    fn bytes(&self, inside: &str, most: usize) -> Result<Vec<u8>, Failure> {
        let path = self.path(inside);
        let failed = |e: io::Error| {
            let failure = Failure::new(Exit::File, format!("cannot read {}: {e}", path.display()));
            match e.kind() {
                io::ErrorKind::NotFound => failure.maybe_hint(origin(inside).map(str::to_owned)),
                _ => failure,
            }
        };
        let mut bytes = Vec::new();
        // What a file's length is said to be is no bound.
        fs::File::open(&path)
            .and_then(|file| file.take(most as u64 + 1).read_to_end(&mut bytes))
            .map_err(failed)?;
        if bytes.len() > most {
            let error = format!("{} has more than the {most} bytes that are read", path.display());
            return Err(Failure::new(Exit::Plan, error));
        }
        Ok(bytes)
    }
}

/// The plan's canonical bytes, in an image.
const CANONICAL_PLAN: &str = "plan/plan.bin";

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
    fn image_s_plan_is_the_same_plan_and_the_only_one() {
        let root = std::env::temp_dir().join(format!("fl-folder-image-{}", std::process::id()));
        fs::create_dir_all(root.join("plan")).unwrap();
        let yaml = include_str!("../../host-tools/src/templates/breast_cancer/plan.yaml");
        fs::write(root.join("plan/plan.yaml"), yaml).unwrap();
        let folder = Folder::open(&root).unwrap();
        let (plan, hash) = folder.plan().unwrap();
        fs::write(root.join(CANONICAL_PLAN), plan.canonical()).unwrap();
        let both = folder.plan().unwrap_err();
        assert_eq!(both.error, "there are both plan/plan.yaml and plan/plan.bin");
        fs::remove_file(root.join("plan/plan.yaml")).unwrap();
        assert_eq!(Folder::open(&root).unwrap().plan().unwrap(), (plan.clone(), hash));
        fs::write(root.join(CANONICAL_PLAN), &plan.canonical()[1..]).unwrap();
        let cut = folder.plan().unwrap_err();
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(cut.exit, Exit::Plan);
        assert!(cut.error.contains("plan.bin: not the canonical form"), "{}", cut.error);
    }

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
