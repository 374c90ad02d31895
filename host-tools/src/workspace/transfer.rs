//! `fl-host workspace export` and `import`: a workspace as one file, sent from the owner to the sites.
//!
//! An archive contains the plan, the site file, `src/`, the initial model and the README, and nothing else:
//! no key, no certificate, no roster, no data. An archive with any other entry is refused. Nothing is written
//! before every entry was checked.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use fl_engine::{Digest, limits};
use flate2::read::GzDecoder;
use tar::EntryType;

use super::{FOLDERS, Workspace};
use crate::{
    exit::{Exit, Failure},
    files,
    image::{contents::Contents, contents::PLAIN, oci::compressed},
    plan,
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
/// [`Exit::Plan`] for a plan that is refused, [`Exit::File`].
pub fn export(workspace: &Workspace, output: Option<&Path>) -> Result<Exported, Failure> {
    let loaded = plan::load(workspace)?;
    let federation = &loaded.plan.federation;
    let mut contents = Contents::default();
    let mut left_out = Vec::new();
    let init = workspace.init_model_file(federation);
    let model = format!("save/{federation}_init.safetensors");
    for (inside, path) in [
        ("plan/plan.yaml", workspace.plan_file()),
        ("plan/site.yaml", workspace.site_file()),
        ("README.md", workspace.root().join("README.md")),
        (model.as_str(), init),
    ] {
        if path.is_file() {
            contents.file(inside, PLAIN, files::read(&path, FILE_BYTES)?);
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
            let bytes = files::read(&entry.path(), FILE_BYTES)?;
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
    let bytes = files::read(archive, ARCHIVE_BYTES)?;
    let digest = Digest::of(&bytes);
    if let Some(expected) = expected.filter(|expected| *expected != digest) {
        let error = format!("{} has SHA-256 {digest}, not {expected}", archive.display());
        return Err(Failure::new(Exit::File, error)
            .hint("the archive was changed or cut short on the way: ask the owner to send it again"));
    }
    let unpacked = unpack(&bytes).map_err(|why| {
        Failure::new(Exit::File, format!("{} is not an exported workspace: {why}", archive.display()))
            .hint("nothing was written; ask the owner for an archive that `fl-host workspace export` made")
    })?;
    let text = unpacked.get(PLAN).and_then(|plan| std::str::from_utf8(plan).ok()).ok_or_else(|| {
        Failure::new(
            Exit::File,
            format!("{} is not an exported workspace: the archive has no {PLAN}", archive.display()),
        )
        .hint("nothing was written; ask the owner for an archive that `fl-host workspace export` made")
    })?;
    let plan = plan::parsed(text)?;
    let model = format!("save/{}_init.safetensors", plan.plan.federation);
    if let Some(other) = unpacked.keys().find(|path| path.starts_with("save/") && **path != model) {
        let error = format!("{}: {other} is not the initial model of its plan", archive.display());
        return Err(Failure::new(Exit::File, error).hint("ask the owner to export the workspace again"));
    }

    FOLDERS.iter().try_for_each(|folder| files::make_folder(&root.join(folder)))?;
    for (inside, bytes) in &unpacked {
        let path = root.join(inside);
        files::make_folder_of(&path)?;
        fs::write(&path, bytes).map_err(|e| files::unwritten(&path, &e))?;
    }
    Ok(Imported { root: root.to_owned(), digest, plan: plan.hash, files: unpacked.into_keys().collect() })
}

/// The files of an archive, each of them checked.
fn unpack(bytes: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let mut files = BTreeMap::new();
    let mut folders = 0;
    let mut archive = tar::Archive::new(GzDecoder::new(bytes).take(UNPACKED_BYTES + 1));
    let mut total = 0;
    for entry in archive.entries().map_err(|e| e.to_string())? {
        let mut entry = entry.map_err(|e| e.to_string())?;
        let path = entry.path().map_err(|e| e.to_string())?.to_str().map(str::to_owned);
        let path = path.ok_or("the archive contains a name that is not UTF-8")?;
        total += entry.size();
        if files.len() + folders >= MOST_FILES || total > UNPACKED_BYTES {
            return Err(format!(
                "the archive contains more than {MOST_FILES} files or {UNPACKED_BYTES} bytes"
            ));
        }
        match entry.header().entry_type() {
            EntryType::Directory => {
                harmless(path.trim_end_matches('/'))?;
                folders += 1;
            }
            EntryType::Regular => {
                harmless(&path)?;
                allowed(&path)?;
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).map_err(|e| e.to_string())?;
                if bytes.len() as u64 != entry.size() {
                    return Err(format!("{path:?} is cut short"));
                }
                if secret(&path, &bytes) {
                    return Err(format!("{path:?} is a key or a certificate"));
                }
                if files.insert(path.clone(), bytes).is_some() {
                    return Err(format!("the archive contains {path:?} twice"));
                }
            }
            _ => return Err(format!("{path:?} is neither a file nor a folder")),
        }
    }
    // One file cannot be a folder of another.
    let paths: Vec<&String> = files.keys().collect();
    for (path, next) in paths.iter().zip(paths.iter().skip(1)) {
        if next.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('/')) {
            return Err(format!("{path:?} is both a file and a folder"));
        }
    }
    Ok(files)
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
        PLAN | "plan/site.yaml" | "README.md" => Ok(()),
        _ if model || path.starts_with("src/") => Ok(()),
        _ => Err(format!("{path:?} does not belong in an exported workspace")),
    }
}

const PLAN: &str = "plan/plan.yaml";
/// The largest file is a model.
const FILE_BYTES: usize = 8 + limits::MODEL_HEADER_BYTES + (2 << 30);
const ARCHIVE_BYTES: usize = FILE_BYTES + (256 << 20);
const UNPACKED_BYTES: u64 = ARCHIVE_BYTES as u64;
const MOST_FILES: usize = 10_000;
const PATH_BYTES: usize = 512;

#[cfg(test)]
mod tests;
