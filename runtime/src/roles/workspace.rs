//! The workspace folder as a role sees it: which file is where, and reading the small ones with bounds.
//!
//! An image carries the plan as its canonical bytes, `plan/plan.bin`, and beside it what goes with them: `plan/ca.crt`
//! and, where it was imported, `plan/init.safetensors`. The volumes of a container cover none of these.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use fl_engine::{
    Digest, Name, limits,
    model::safetensors,
    plan::{DataMap, Plan, PlanError, Site},
};

use crate::{
    exit::{Exit, Failure},
    image_layout, store,
};

/// A folder with `plan/plan.yaml`: `plan/ data/ cert/ save/ logs/`.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    pub(crate) fn open(root: &Path) -> Result<Self, Failure> {
        // Paths inside the current folder are shown without `./`.
        let workspace = Self { root: root.strip_prefix(".").unwrap_or(root).to_owned() };
        if workspace.path("plan/plan.yaml").is_file() || workspace.path(image_layout::PLAN).is_file() {
            return Ok(workspace);
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
        let image = self.path(image_layout::PLAN);
        let plan = match (image.is_file(), self.path("plan/plan.yaml").is_file()) {
            (false, _) => Plan::parse(&self.text("plan/plan.yaml")?).map_err(|e| refused(&e))?,
            (true, false) => {
                Plan::from_canonical(&self.bytes(image_layout::PLAN, limits::CANONICAL_PLAN_BYTES)?)
                    .map_err(|e| Failure::new(Exit::Plan, format!("{}: {e}", image.display())))?
            }
            (true, true) => {
                let error = format!("there are both plan/plan.yaml and {}", image_layout::PLAN);
                return Err(Failure::new(Exit::Plan, error).hint(
                    "an image carries its plan: mount no other; elsewhere remove the one that is not meant",
                ));
            }
        };
        let hash = plan.hash();
        Ok((Arc::new(plan), hash))
    }

    /// The federation CA's certificate: the image's, where there is one.
    pub(crate) fn ca_file(&self) -> PathBuf {
        let carried = self.path(image_layout::CA);
        if self.is_image() && carried.is_file() { carried } else { self.path("cert/ca.crt") }
    }

    /// Puts an image's initial model into `save/`, whatever is there: the one that it carries, or that of the plan's
    /// seed. Elsewhere `save/` has to hold it already.
    pub(crate) fn place_initial_model(&self, plan: &Plan, hash: Digest) -> Result<(), Failure> {
        if !self.is_image() {
            return Ok(());
        }
        let carried = self.path(image_layout::INITIAL_MODEL);
        let bytes = match fs::read(&carried) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let state =
                    plan.initial_state().map_err(|e| Failure::of(Exit::Plan, &e).maybe_hint(e.hint()))?;
                safetensors::write(&state, &store::initial_texts(hash, &state))
            }
            Err(error) => {
                return Err(Failure::new(Exit::File, format!("cannot read {}: {error}", carried.display())));
            }
        };
        let path = self.path("save").join(format!("{}_init.safetensors", plan.federation));
        if holds(&path, &bytes) {
            return Ok(());
        }
        let fresh = path.with_extension("new");
        let write = || -> io::Result<()> {
            fs::create_dir_all(self.path("save"))?;
            // What is overwritten in place may be sealed with another key: it is made anew.
            let _ = fs::remove_file(&fresh);
            fs::write(&fresh, &bytes)?;
            fs::rename(&fresh, &path)
        };
        write().map_err(|e| {
            Failure::new(Exit::File, format!("cannot write {}: {e}", path.display()))
                .hint("this user has to be allowed to write to the folder save/")
        })
    }

    /// Whether this is an image's workspace.
    fn is_image(&self) -> bool {
        self.path(image_layout::PLAN).is_file()
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
        let failed = |e: io::Error| {
            let failure = Failure::new(Exit::File, format!("cannot use {}: {e}", path.display()));
            let sealed = self.is_image() && e.kind() == io::ErrorKind::PermissionDenied;
            let hint = "if another image sealed it, only that one reads it: move save/ and cert/private away to begin anew";
            failure.maybe_hint(sealed.then(|| hint.to_owned()))
        };
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

/// Whether a file is these bytes.
fn holds(path: &Path, bytes: &[u8]) -> bool {
    let length = fs::metadata(path).map(|about| about.len());
    length.is_ok_and(|length| length == bytes.len() as u64) && fs::read(path).is_ok_and(|held| held == bytes)
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
    fn plan_of_an_image_is_the_same_plan_and_the_only_one() {
        let root = std::env::temp_dir().join(format!("fl-workspace-image-{}", std::process::id()));
        fs::create_dir_all(root.join("plan")).unwrap();
        let yaml = include_str!("../../../host-tools/src/templates/breast_cancer/plan.yaml");
        fs::write(root.join("plan/plan.yaml"), yaml).unwrap();
        let workspace = Workspace::open(&root).unwrap();
        let (plan, hash) = workspace.plan().unwrap();
        fs::write(root.join(image_layout::PLAN), plan.canonical()).unwrap();
        let both = workspace.plan().unwrap_err();
        assert_eq!(both.error, "there are both plan/plan.yaml and plan/plan.bin");
        fs::remove_file(root.join("plan/plan.yaml")).unwrap();
        assert_eq!(Workspace::open(&root).unwrap().plan().unwrap(), (plan.clone(), hash));
        fs::write(root.join(image_layout::PLAN), &plan.canonical()[1..]).unwrap();
        let cut = workspace.plan().unwrap_err();
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(cut.exit, Exit::Plan);
        assert!(cut.error.contains("plan.bin: not the canonical form"), "{}", cut.error);
    }

    #[test]
    fn image_begins_with_the_model_that_it_carries_or_that_its_seed_makes_whatever_lies_in_save() {
        let root = std::env::temp_dir().join(format!("fl-workspace-model-{}", std::process::id()));
        fs::create_dir_all(root.join("plan")).unwrap();
        let plan =
            Plan::parse(include_str!("../../../host-tools/src/templates/breast_cancer/plan.yaml")).unwrap();
        let path = root.join("save/breast-cancer_init.safetensors");
        let place = || Workspace::open(&root).unwrap().place_initial_model(&plan, plan.hash());
        fs::write(root.join("plan/plan.yaml"), "").unwrap();
        place().unwrap();
        assert!(!path.exists(), "a folder without an image brings its own model");
        fs::remove_file(root.join("plan/plan.yaml")).unwrap();
        fs::write(root.join(image_layout::PLAN), plan.canonical()).unwrap();
        place().unwrap();
        let layout = plan.layout().unwrap();
        let (state, texts) = safetensors::read(&fs::read(&path).unwrap(), &layout).unwrap();
        assert_eq!(state.f32, plan.initial_state().unwrap().f32);
        assert_eq!(texts[store::text::PLAN], plan.hash().to_string());
        // Another start leaves it alone; one changed byte of the same length does not stay.
        let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
        let (whole, first) = (fs::read(&path).unwrap(), inode(&path));
        place().unwrap();
        assert_eq!(inode(&path), first);
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() ^= 1;
        fs::write(&path, changed).unwrap();
        place().unwrap();
        assert_eq!(fs::read(&path).unwrap(), whole);
        fs::write(root.join(image_layout::INITIAL_MODEL), b"imported").unwrap();
        fs::write(&path, b"the host's").unwrap();
        place().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"imported");
        // The same for the CA.
        let workspace = Workspace::open(&root).unwrap();
        assert_eq!(workspace.ca_file(), root.join("cert/ca.crt"));
        fs::write(root.join(image_layout::CA), b"").unwrap();
        assert_eq!(workspace.ca_file(), root.join(image_layout::CA));
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn endless_file_is_refused_before_it_fills_the_memory() {
        let root = std::env::temp_dir().join(format!("fl-workspace-{}", std::process::id()));
        fs::create_dir_all(root.join("plan")).unwrap();
        fs::write(root.join("plan/plan.yaml"), "# a plan\n".repeat(limits::PLAN_FILE_BYTES / 9 + 1)).unwrap();
        let refused = Workspace::open(&root).unwrap().plan().unwrap_err();
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(refused.exit, Exit::Plan);
        assert!(
            refused.error.ends_with("has more than the 1048576 bytes that are read"),
            "{}",
            refused.error
        );
    }
}
