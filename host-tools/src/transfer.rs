//! `fl-host workspace export` and `import`: a workspace as one file, sent from the owner to the sites.
//!
//! An archive contains the plan, the site file, `src/`, the initial model and the README, and nothing else:
//! no key, no certificate, no roster, no data. An archive with any other entry is refused. An archive is read
//! twice as a stream: the first time everything is checked, the second time the files are written.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use fl_engine::{Digest, limits};

use crate::{
    exit::{Exit, Failure},
    files,
    image::{
        contents::{Contents, PLAIN},
        oci::compressed,
        tarball::{self, Bounds, Kind, whole},
    },
    model, plan,
    sgx::trusted_files,
    workspace::{FOLDERS, Workspace},
};

/// An archive that was written.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The archive.
    pub file: PathBuf,
    /// Its SHA-256.
    pub digest: Digest,
    /// The plan's hash.
    pub plan: Digest,
    /// What is inside.
    pub files: Vec<String>,
    /// What in `src/` stayed out, and why.
    pub left_out: Vec<String>,
}

/// A workspace that was made from an archive.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The new folder.
    pub root: PathBuf,
    /// The archive's SHA-256.
    pub digest: Digest,
    /// The plan's hash.
    pub plan: Digest,
    /// What was inside.
    pub files: Vec<String>,
}

/// Writes the archive of a workspace: `W.workspace.tar.gz` in it, or `output`. The same workspace gives the
/// same bytes.
///
/// # Errors
/// [`Exit::Plan`] for a plan that is refused or a site file with a login, [`Exit::Model`] for an initial
/// model of another plan, [`Exit::File`].
pub fn export(workspace: &Workspace, output: Option<&Path>) -> Result<Exported, Failure> {
    let loaded = plan::check(workspace)?;
    let federation = &loaded.plan.federation;
    let mut contents = Contents::default();
    let mut left_out = Vec::new();
    let init = workspace.init_model_file(federation);
    let model = format!("save/{federation}_init.safetensors");
    for (inside, path) in [
        ("plan/plan.yaml", workspace.plan_file()),
        (SITE, workspace.site_file()),
        ("README.md", workspace.root().join("README.md")),
        (model.as_str(), init),
    ] {
        if path.is_file() {
            let most = if inside == model { MODEL_BYTES } else { TEXT_BYTES };
            let bytes = files::read(&path, most)?;
            if inside == SITE {
                plan::refuse_site_with_login(&bytes, "the archive")?;
            }
            contents.file(inside, PLAIN, bytes);
        }
    }
    let src = workspace.root().join("src");
    if src.is_dir() {
        sources(&src, "src", &mut contents, &mut left_out)?;
    }
    let bytes = compressed(&contents.tar()?, &mut |_| {})?;
    let name = format!("{federation}.workspace.tar.gz");
    let file = output.map_or_else(|| workspace.root().join(name), Path::to_owned);
    files::replace(&file, &bytes)?;
    let inside = contents.files().map(|(path, _)| path.to_owned()).collect();
    Ok(Exported { file, digest: Digest::of(&bytes), plan: loaded.hash, files: inside, left_out })
}

/// Puts the files of `folder` and the folders below into `contents`, except links and files that look like a
/// key or a certificate.
fn sources(
    folder: &Path,
    inside: &str,
    contents: &mut Contents,
    left_out: &mut Vec<String>,
) -> Result<(), Failure> {
    let unread =
        |e: std::io::Error| Failure::new(Exit::File, format!("cannot read {}: {e}", folder.display()));
    for entry in fs::read_dir(folder).map_err(unread)? {
        let entry = entry.map_err(unread)?;
        let Ok(name) = entry.file_name().into_string() else {
            left_out.push(format!("{inside}/{}: the name is not UTF-8", entry.file_name().display()));
            continue;
        };
        let path = format!("{inside}/{name}");
        let kind = entry.file_type().map_err(unread)?;
        if kind.is_dir() && !matches!(name.as_str(), "target" | ".git") {
            sources(&entry.path(), &path, contents, left_out)?;
        } else if kind.is_file() {
            let bytes = files::read(&entry.path(), SOURCE_BYTES)?;
            match secret(&name, &bytes) {
                true => left_out.push(format!("{path}: a key or a certificate")),
                false => contents.file(&path, PLAIN, bytes),
            }
        } else if kind.is_symlink() {
            left_out.push(format!("{path}: a link"));
        }
    }
    Ok(())
}

/// Whether a file is, or contains, a key or a certificate.
fn secret(name: &str, bytes: &[u8]) -> bool {
    let endings = [".key", ".pem", ".crt", ".cer", ".csr", ".p12", ".pfx", ".der", ".p8"];
    let holds = |words: &[u8]| bytes.windows(words.len()).any(|window| window == words);
    endings.iter().any(|ending| name.to_ascii_lowercase().ends_with(ending))
        || holds(b"PRIVATE KEY-----")
        || holds(b"-----BEGIN CERTIFICATE")
}

/// Makes the workspace `root` from an archive. With `expected`, the archive must have this SHA-256.
///
/// # Errors
/// [`Exit::Workspace`] when `root` exists and is not an empty folder; [`Exit::File`] for an archive that
/// cannot be read, is not `expected`, or holds anything that [`export`] would not write; [`Exit::Plan`] for
/// its plan.
pub fn import(archive: &Path, root: &Path, expected: Option<Digest>) -> Result<Imported, Failure> {
    files::refuse_occupied(root, "--prefix")?;
    let unread = |e: io::Error| Failure::new(Exit::File, format!("cannot read {}: {e}", archive.display()));
    if archive.metadata().map_err(unread)?.len() > ARCHIVE_BYTES {
        let error = format!("{} has more than {ARCHIVE_BYTES} bytes", archive.display());
        return Err(Failure::new(Exit::File, error).hint(ANOTHER));
    }
    let refused = |why: String| {
        Failure::new(Exit::File, format!("{} is not an exported workspace: {why}", archive.display()))
            .hint(ANOTHER)
    };
    let pass = |take: &mut Take<'_>| {
        tarball::each(tarball::open(archive).map_err(unread)?, BOUNDS, take).map_err(refused)
    };
    tarball::open(archive).map_err(unread)?;
    let digest = trusted_files::hash(archive).map_err(unread)?;
    if let Some(expected) = expected.filter(|expected| *expected != digest) {
        let error = format!("{} has SHA-256 {digest}, not {expected}", archive.display());
        return Err(Failure::new(Exit::File, error)
            .hint("the archive was changed or cut short on the way: ask the owner to send it again"));
    }
    let mut found = Unpacked::default();
    pass(&mut |member, contents| found.check(member, contents))?;
    found.check_paths().map_err(refused)?;
    let text = found.plan.as_ref().ok_or_else(|| refused(format!("the archive has no {PLAN}")))?;
    let text = std::str::from_utf8(text).map_err(|_| refused(format!("{PLAN} is not UTF-8 text")))?;
    let plan = plan::parsed(text)?;
    let model = format!("save/{}_init.safetensors", plan.plan.federation);
    if let Some(other) = found.files.keys().find(|path| path.starts_with("save/") && **path != model) {
        let error = format!("{}: {other} is not the initial model of its plan", archive.display());
        return Err(Failure::new(Exit::File, error).hint("ask the owner to export the workspace again"));
    }
    if let Some(header) = &found.model {
        model::check_initial_header(
            header,
            found.files[&model],
            &model,
            &plan.plan,
            plan.hash,
            &plan.layout,
        )?;
    }

    files::fill_new_folder(root, || {
        FOLDERS.iter().try_for_each(|folder| files::make_folder(&root.join(folder)))?;
        pass(&mut |member, contents| match member.kind {
            Kind::File if found.files.get(&member.path) == Some(&member.size) => {
                let path = root.join(&member.path);
                files::make_folder_of(&path).map_err(|failure| failure.error)?;
                let write = fs::File::create_new(&path).and_then(|mut file| io::copy(contents, &mut file));
                write.map(drop).map_err(|e| files::unwritten(&path, &e).error)
            }
            Kind::Folder => Ok(()),
            _ => Err(CHANGED.to_owned()),
        })?;
        match trusted_files::hash(archive).map_err(unread)? == digest {
            true => Ok(()),
            false => Err(refused(CHANGED.to_owned())),
        }
    })?;
    Ok(Imported { root: root.to_owned(), digest, plan: plan.hash, files: found.files.into_keys().collect() })
}

/// What is done with each member of an archive.
type Take<'a> = dyn FnMut(&tarball::Member, &mut dyn Read) -> Result<(), String> + 'a;

/// What the first reading keeps.
#[derive(Default)]
struct Unpacked {
    /// Lengths by path.
    files: BTreeMap<String, u64>,
    /// The text of the plan.
    plan: Option<Vec<u8>>,
    /// The beginning of the initial model, up to the end of its header.
    model: Option<Vec<u8>>,
}

impl Unpacked {
    fn check(&mut self, member: &tarball::Member, contents: &mut dyn Read) -> Result<(), String> {
        let path = &member.path;
        match member.kind {
            Kind::Folder => return harmless(path.trim_end_matches('/')),
            Kind::Other => return Err(format!("{path:?} is neither a file nor a folder")),
            Kind::File => {}
        }
        harmless(path)?;
        allowed(path)?;
        if self.files.insert(path.clone(), member.size).is_some() {
            return Err(format!("the archive contains {path:?} twice"));
        }
        if path.starts_with("save/") {
            self.model = Some(model::header(contents).map_err(|e| format!("{path:?}: {e}"))?);
            return Ok(());
        }
        let bytes =
            whole(member, contents, if path.starts_with("src/") { SOURCE_BYTES } else { TEXT_BYTES })?;
        if secret(path, &bytes) {
            return Err(format!("{path:?} is a key or a certificate"));
        }
        if path == SITE {
            plan::refuse_site_with_login(&bytes, "the archive").map_err(|failure| failure.error)?;
        }
        if path == PLAN {
            self.plan = Some(bytes);
        }
        Ok(())
    }

    /// One file cannot be a folder of another.
    fn check_paths(&self) -> Result<(), String> {
        for path in self.files.keys() {
            let inside = format!("{path}/");
            if self.files.range(inside.clone()..).next().is_some_and(|(next, _)| next.starts_with(&inside)) {
                return Err(format!("{path:?} is both a file and a folder"));
            }
        }
        Ok(())
    }
}

/// Whether a path stays inside the folder that it is unpacked to, on any system.
fn harmless(path: &str) -> Result<(), String> {
    let bad = |part: &str| matches!(part, "" | "." | "..") || part.contains(['\\', ':', '\0']);
    match path.is_empty() || path.len() > PATH_BYTES || path.split('/').any(bad) {
        true => Err(format!("{path:?} leads out of the workspace")),
        false => Ok(()),
    }
}

/// Whether [`export`] would have written a file of this path.
fn allowed(path: &str) -> Result<(), String> {
    let model = path
        .strip_prefix("save/")
        .and_then(|name| name.strip_suffix("_init.safetensors"))
        .is_some_and(|name| !name.contains('/'));
    match path {
        PLAN | SITE | "README.md" => Ok(()),
        _ if model || path.starts_with("src/") => Ok(()),
        _ => Err(format!("{path:?} does not belong in an exported workspace")),
    }
}

const PLAN: &str = "plan/plan.yaml";
const SITE: &str = "plan/site.yaml";
/// Longest plan, site file or README, bytes.
const TEXT_BYTES: usize = limits::PLAN_FILE_BYTES;
/// Longest file of `src/`, bytes.
const SOURCE_BYTES: usize = 16 << 20;
/// Longest initial model, bytes: room for two GiB of values.
const MODEL_BYTES: usize = 8 + limits::MODEL_HEADER_BYTES + (2 << 30);
/// Longest archive, bytes, and the most that it may unpack to.
const ARCHIVE_BYTES: u64 = MODEL_BYTES as u64 + (256 << 20);
const BOUNDS: Bounds = Bounds { members: 10_000, bytes: ARCHIVE_BYTES };
const PATH_BYTES: usize = 512;
const ANOTHER: &str =
    "nothing was written; ask the owner for an archive that `fl-host workspace export` made";
const CHANGED: &str = "the archive was changed while it was read";

#[cfg(test)]
mod tests;
