//! A workspace's folder as a role uses it: where each file is, and the small files read with a bound.
//!
//! In an image the plan, the CA's certificate and perhaps the initial model lie in other files
//! ([`image_layout`]), which are used in place of the workspace's own.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use fl_engine::{
    Digest, Name, limits,
    model::safetensors,
    plan::{DataMap, Plan, PlanError, Site},
    tensor::Layout,
};

use crate::{
    exit::{Exit, Failure},
    files::{BY_UMASK, File, Files},
    image_layout, store,
};

/// A folder that holds a plan.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    files: Files,
    root: PathBuf,
}

impl Workspace {
    pub(crate) fn open(files: &Files, root: &Path) -> Result<Self, Failure> {
        // Paths inside the current folder are shown without `./`.
        let shown = root.strip_prefix(".").unwrap_or(root);
        let workspace = Self { files: files.clone(), root: shown.to_owned() };
        if workspace.has("plan/plan.yaml") || workspace.is_image() {
            return Ok(workspace);
        }
        let error = format!("{} is not a workspace: it has no plan/plan.yaml", root.display());
        Err(Failure::new(Exit::Workspace, error)
            .hint("change to the workspace's folder, or name the folder with --workspace"))
    }

    /// The files of the process.
    pub(crate) fn files(&self) -> &Files {
        &self.files
    }

    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside)
    }

    /// The plan and its hash: from `plan/plan.yaml`, or in an image from the plan's canonical bytes.
    pub(crate) fn plan(&self) -> Result<(Arc<Plan>, Digest), Failure> {
        let image = self.path(image_layout::PLAN);
        let plan = match (self.is_image(), self.has("plan/plan.yaml")) {
            (false, _) => Plan::parse(&self.text("plan/plan.yaml")?).map_err(|e| refused(&e))?,
            (true, false) => {
                Plan::from_canonical(&self.bytes(image_layout::PLAN, limits::CANONICAL_PLAN_BYTES)?)
                    .map_err(|e| Failure::new(Exit::Plan, format!("{}: {e}", image.display())))?
            }
            (true, true) => {
                let error =
                    format!("this workspace has two plans: plan/plan.yaml and {}", image_layout::PLAN);
                return Err(Failure::new(Exit::Plan, error).hint(
                    "in a container, mount no plan/plan.yaml, because the image has plan/plan.bin. Outside of a container, remove plan/plan.bin",
                ));
            }
        };
        let hash = plan.hash();
        Ok((Arc::new(plan), hash))
    }

    /// The path of the federation CA's certificate: the image's, where the image has one.
    pub(crate) fn ca_file(&self) -> PathBuf {
        let carried = self.is_image() && self.has(image_layout::CA);
        self.path(if carried { image_layout::CA } else { "cert/ca.crt" })
    }

    /// In an image, puts the initial model into `save/` and overwrites any file there. The model is the
    /// image's own, or else the one that the plan's seed gives. Outside of an image `save/` has to hold the
    /// model already.
    pub(crate) fn place_initial_model(
        &self,
        plan: &Plan,
        hash: Digest,
        layout: &Layout,
    ) -> Result<(), Failure> {
        if !self.is_image() {
            return Ok(());
        }
        let carried = self.path(image_layout::INITIAL_MODEL);
        let bytes = match self.files.read_at_most(&carried, store::longest_model_file(layout)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let state =
                    plan.initial_state().map_err(|e| Failure::of(Exit::Plan, &e).maybe_hint(e.hint()))?;
                safetensors::write(&state, &store::initial_texts(plan, hash, &state))
            }
            Err(error) => {
                return Err(Failure::new(Exit::File, format!("cannot read {}: {error}", carried.display())));
            }
        };
        let save = self.path("save");
        let path = store::initial_model_file(&save, plan.federation.as_str());
        if self.files.holds(&path, &bytes) {
            return Ok(());
        }
        let made = self.files.create_folder(&save);
        let write = |file: &mut File| file.write_all(&bytes);
        made.and_then(|()| self.files.replace(&path, BY_UMASK, write)).map_err(|e| {
            Failure::new(Exit::File, format!("cannot write {}: {e}", path.display()))
                .hint("allow this user to write to the folder save/")
        })
    }

    /// Whether this workspace is part of an image.
    pub(crate) fn is_image(&self) -> bool {
        self.has(image_layout::PLAN)
    }

    fn has(&self, inside: &str) -> bool {
        self.files.is_file(&self.path(inside))
    }

    /// `plan/site.yaml`. Others must not be able to read a file with a password.
    pub(crate) fn site(&self) -> Result<Site, Failure> {
        let site = Site::parse(&self.text(SITE)?).map_err(|e| refused(&e))?;
        if !site.holds_secret() {
            return Ok(site);
        }
        let path = self.path(SITE);
        let exposed = self.files.exposed(&path).map_err(|error| self.unreadable(SITE, &error))?;
        let Some(mode) = exposed else { return Ok(site) };
        Err(Failure::exposed_login(&path, mode))
    }

    /// The data folder of the collaborator `name`, from `plan/data.yaml`. Relative paths begin at the
    /// workspace.
    pub(crate) fn data_of(&self, name: &Name) -> Result<PathBuf, Failure> {
        let map = DataMap::parse(&self.text("plan/data.yaml")?).map_err(|e| refused(&e))?;
        let folder = map.folder(name).ok_or_else(|| {
            Failure::new(Exit::Data, format!("plan/data.yaml names no data folder for {name}")).hint(format!(
                "add a line `{name}: FOLDER` to plan/data.yaml. FOLDER is an absolute path, or a path inside the workspace"
            ))
        })?;
        Ok(self.root.join(folder))
    }

    /// Checks that this site has accepted the plan. With `accept`, a site that has accepted no plan yet
    /// accepts this one.
    pub(crate) fn check_accepted(&self, plan: Digest, accept: bool) -> Result<(), Failure> {
        let path = self.path("save/accepted-plan");
        let failed = |e: io::Error| {
            let failure = Failure::new(Exit::File, format!("cannot read or write {}: {e}", path.display()));
            let sealed = self.is_image() && e.kind() == io::ErrorKind::PermissionDenied;
            let hint = "if another image sealed save/, start that image. To begin with a new key and without the stored rounds, move save/ and cert/private away";
            failure.maybe_hint(sealed.then(|| hint.to_owned()))
        };
        let pinned = match self.files.read_text_at_most(&path, ACCEPTED_BYTES) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        match pinned {
            Some(text) if text.trim().parse() == Ok(plan) => Ok(()),
            Some(text) => Err(Failure::new(
                Exit::NotAccepted,
                format!("this site has accepted plan {}, but {} is plan {plan}", text.trim(), self.plan_shown()),
            )
            .hint(match self.is_image() {
                // The image has one plan, and `fl-host plan accept` would read another one. The file may be
                // sealed.
                true => "to accept the image's plan, compare its hash with the one that the federation's owner tells you. Then delete the file accepted-plan in the folder that is mounted at /workspace/save, and start the container again",
                false => "read plan/plan.yaml, and compare the plan hash with the one that the federation's owner tells you. Then run `fl-host plan accept`",
            })),
            None if accept => {
                self.files.create_folder(&self.path("save")).map_err(failed)?;
                // Collaborators of one folder share the file.
                self.files.replace_shared(&path, format!("{plan}\n").as_bytes()).map_err(failed)
            }
            None => Err(Failure::new(Exit::NotAccepted, format!("this site has not accepted plan {plan}"))
                .hint("read plan/plan.yaml, and compare the plan hash with the one that the federation's owner tells you. Then run `fl-host plan accept`, or for a trial start with --accept-first")),
        }
    }

    fn plan_shown(&self) -> &'static str {
        if self.is_image() { "the image's plan" } else { "plan/plan.yaml" }
    }

    fn text(&self, inside: &str) -> Result<String, Failure> {
        let text = self.files.read_text_at_most(&self.path(inside), limits::PLAN_FILE_BYTES);
        text.map_err(|error| self.unreadable(inside, &error))
    }

    fn bytes(&self, inside: &str, most: usize) -> Result<Vec<u8>, Failure> {
        let bytes = self.files.read_at_most(&self.path(inside), most);
        bytes.map_err(|error| self.unreadable(inside, &error))
    }

    fn unreadable(&self, inside: &str, error: &io::Error) -> Failure {
        let exit = match error.kind() {
            io::ErrorKind::FileTooLarge => Exit::Plan,
            _ => Exit::File,
        };
        let failure = Failure::new(exit, format!("cannot read {}: {error}", self.path(inside).display()));
        let missing = error.kind() == io::ErrorKind::NotFound;
        failure.maybe_hint(origin(inside).filter(|_| missing).map(str::to_owned))
    }
}

/// What to do about a file that is missing.
fn origin(inside: &str) -> Option<&'static str> {
    match inside {
        SITE => {
            Some("copy plan/site.yaml from the federation's owner, whose `fl-host plan initialize` writes it")
        }
        "plan/data.yaml" => {
            Some("write plan/data.yaml: one line `NAME: FOLDER`, where FOLDER holds this site's data")
        }
        _ => None,
    }
}

fn refused(error: &PlanError) -> Failure {
    Failure::of(Exit::Plan, error).maybe_hint(error.hint().map(str::to_owned))
}

const SITE: &str = "plan/site.yaml";
/// Longest `save/accepted-plan`, bytes: a digest in hex digits is shorter.
const ACCEPTED_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::system::System;

    fn open(root: &Path) -> Workspace {
        Workspace::open(&System::real().files, root).unwrap()
    }

    #[test]
    fn plan_of_an_image_is_the_same_plan_and_the_only_one() {
        let root = std::env::temp_dir().join(format!("fl-workspace-image-{}", std::process::id()));
        fs::create_dir_all(root.join("plan")).unwrap();
        let yaml = include_str!("../../../host-tools/src/templates/breast_cancer/plan.yaml");
        fs::write(root.join("plan/plan.yaml"), yaml).unwrap();
        let workspace = open(&root);
        let (plan, hash) = workspace.plan().unwrap();
        fs::write(root.join(image_layout::PLAN), plan.canonical()).unwrap();
        let both = workspace.plan().unwrap_err();
        assert_eq!(both.error, "this workspace has two plans: plan/plan.yaml and plan/plan.bin");
        fs::remove_file(root.join("plan/plan.yaml")).unwrap();
        assert_eq!(open(&root).plan().unwrap(), (plan.clone(), hash));
        fs::write(root.join(image_layout::PLAN), &plan.canonical()[1..]).unwrap();
        let cut = workspace.plan().unwrap_err();
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(cut.exit, Exit::Plan);
        assert!(cut.error.contains("plan.bin: the bytes are not a plan"), "{}", cut.error);
    }

    #[test]
    fn image_begins_with_the_model_that_it_carries_or_that_its_seed_makes_whatever_lies_in_save() {
        let root = std::env::temp_dir().join(format!("fl-workspace-model-{}", std::process::id()));
        fs::create_dir_all(root.join("plan")).unwrap();
        let plan =
            Plan::parse(include_str!("../../../host-tools/src/templates/breast_cancer/plan.yaml")).unwrap();
        let layout = plan.layout().unwrap();
        let path = root.join("save/breast-cancer_init.safetensors");
        let place = || open(&root).place_initial_model(&plan, plan.hash(), &layout);
        fs::write(root.join("plan/plan.yaml"), "").unwrap();
        place().unwrap();
        assert!(!path.exists(), "a folder without an image brings its own model");
        fs::remove_file(root.join("plan/plan.yaml")).unwrap();
        fs::write(root.join(image_layout::PLAN), plan.canonical()).unwrap();
        place().unwrap();
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
        let workspace = open(&root);
        assert_eq!(workspace.ca_file(), root.join("cert/ca.crt"));
        fs::write(root.join(image_layout::CA), b"").unwrap();
        assert_eq!(workspace.ca_file(), root.join(image_layout::CA));
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn plan_of_another_image_is_accepted_without_a_command() {
        let root = std::env::temp_dir().join(format!("fl-workspace-accepted-{}", std::process::id()));
        fs::create_dir_all(root.join("plan")).unwrap();
        let plan =
            Plan::parse(include_str!("../../../host-tools/src/templates/breast_cancer/plan.yaml")).unwrap();
        fs::write(root.join(image_layout::PLAN), plan.canonical()).unwrap();
        let workspace = open(&root);
        workspace.check_accepted(plan.hash(), true).unwrap();
        let refused = workspace.check_accepted(Digest([7; 32]), true).unwrap_err();
        assert_eq!(refused.exit, Exit::NotAccepted);
        assert!(refused.error.contains("but the image's plan is plan 0707"), "{}", refused.error);
        let hint = refused.hint.unwrap();
        assert!(hint.contains("delete the file accepted-plan") && !hint.contains("fl-host"), "{hint}");
        fs::remove_file(root.join("save/accepted-plan")).unwrap();
        workspace.check_accepted(Digest([7; 32]), true).unwrap();
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn site_file_with_a_password_is_for_its_owner_alone() {
        let root = std::env::temp_dir().join(format!("fl-workspace-secret-{}", std::process::id()));
        fs::create_dir_all(root.join("plan")).unwrap();
        fs::write(root.join("plan/plan.yaml"), "").unwrap();
        let path = root.join(SITE);
        let mode = |mode| fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        fs::write(&path, "schema: 1\naddress: a\nproxy: http://me:s3cret@p:1\n").unwrap();
        for open in [0o644, 0o640, 0o620, 0o601] {
            mode(open);
            let refused = open_site(&root).unwrap_err();
            assert_eq!(refused.exit, Exit::Plan);
            assert!(refused.error.contains(&format!("its mode is {open:04o}")), "{}", refused.error);
            assert!(refused.hint.as_ref().unwrap().contains("chmod 600"));
            assert!(!format!("{refused:?}").contains("s3cret"));
        }
        mode(0o600);
        assert!(open_site(&root).unwrap().holds_secret());
        fs::write(&path, "schema: 1\naddress: a\nproxy: http://p:1\n").unwrap();
        mode(0o644);
        open_site(&root).unwrap();
        fs::remove_dir_all(&root).unwrap();
    }

    fn open_site(root: &Path) -> Result<Site, Failure> {
        open(root).site()
    }

    #[test]
    fn endless_file_is_refused_before_it_fills_the_memory() {
        let root = std::env::temp_dir().join(format!("fl-workspace-{}", std::process::id()));
        fs::create_dir_all(root.join("plan")).unwrap();
        fs::write(root.join("plan/plan.yaml"), "# a plan\n".repeat(limits::PLAN_FILE_BYTES / 9 + 1)).unwrap();
        let refused = open(&root).plan().unwrap_err();
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(refused.exit, Exit::Plan);
        assert!(
            refused.error.ends_with("has more than the 1048576 bytes that are read"),
            "{}",
            refused.error
        );
    }
}
