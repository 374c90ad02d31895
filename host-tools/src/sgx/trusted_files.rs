//! Finds and hashes the files that a manifest trusts: on the disk, below a folder that becomes an image's
//! root, or in a list of known hashes.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use fl_engine::Digest;
use ring::digest::{Context, SHA256};

use crate::exit::{Exit, Failure};

/// What is at a path of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A link to a folder: not followed inside a folder.
    LinkToFolder,
    /// Nothing, or a device or socket, which cannot be trusted.
    Other,
}

/// A place to look for files.
pub trait Files {
    /// What is at a path.
    fn kind(&self, path: &str) -> Kind;

    /// Names in a folder, sorted by bytes.
    ///
    /// # Errors
    /// [`Exit::File`].
    fn names(&self, folder: &str) -> Result<Vec<String>, Failure>;

    /// SHA-256 of a file.
    ///
    /// # Errors
    /// [`Exit::File`].
    fn sha256(&self, path: &str) -> Result<Digest, Failure>;
}

/// Files on the disk. Relative paths begin at `relative_to`, absolute ones at `root`.
#[derive(Clone, Debug)]
pub struct OnDisk {
    /// Where a relative path begins.
    pub relative_to: PathBuf,
    /// Where an absolute path begins: `/`, or the folder that becomes an image's root.
    pub root: PathBuf,
}

/// The hashes of files, by path.
#[derive(Clone, Debug, Default)]
pub struct Known(pub BTreeMap<String, Digest>);

impl OnDisk {
    fn path(&self, path: &str) -> PathBuf {
        match path.strip_prefix('/') {
            Some(inside) => self.root.join(inside.trim_start_matches('/')),
            None => self.relative_to.join(path),
        }
    }
}

impl Files for OnDisk {
    fn kind(&self, path: &str) -> Kind {
        let path = self.path(path);
        let link = fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink());
        match fs::metadata(&path) {
            Ok(found) if found.is_file() => Kind::File,
            Ok(found) if found.is_dir() && link => Kind::LinkToFolder,
            Ok(found) if found.is_dir() => Kind::Folder,
            _ => Kind::Other,
        }
    }

    fn names(&self, folder: &str) -> Result<Vec<String>, Failure> {
        let path = self.path(folder);
        let read = || -> std::io::Result<Vec<_>> {
            fs::read_dir(&path)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
        };
        let names = read().map_err(|e| unreadable(&path, &e))?;
        let mut texts = Vec::with_capacity(names.len());
        for name in names {
            texts.push(name.into_string().map_err(|name| {
                let error =
                    format!("{} contains a file whose name is not UTF-8: {}", path.display(), name.display());
                Failure::new(Exit::File, error).hint("rename the file: a manifest cannot name it")
            })?);
        }
        texts.sort();
        Ok(texts)
    }

    fn sha256(&self, path: &str) -> Result<Digest, Failure> {
        let path = self.path(path);
        hash(&path).map_err(|e| unreadable(&path, &e))
    }
}

impl Files for Known {
    fn kind(&self, path: &str) -> Kind {
        if self.0.contains_key(path) { Kind::File } else { Kind::Other }
    }

    fn names(&self, _folder: &str) -> Result<Vec<String>, Failure> {
        Ok(Vec::new())
    }

    fn sha256(&self, path: &str) -> Result<Digest, Failure> {
        self.0.get(path).copied().ok_or_else(|| {
            Failure::new(Exit::File, format!("the manifest trusts {path}, which the image does not contain"))
        })
    }
}

/// SHA-256 of a file, read piece by piece.
///
/// # Errors
/// The system's error.
pub fn hash(path: &Path) -> std::io::Result<Digest> {
    let mut file = fs::File::open(path)?;
    let mut context = Context::new(&SHA256);
    let mut piece = vec![0; 256 << 10];
    loop {
        match file.read(&mut piece)? {
            0 => break,
            read => context.update(&piece[..read]),
        }
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Ok(Digest(digest))
}

/// The path of a `file:` URI.
///
/// # Errors
/// [`Exit::Failed`] for any other.
pub fn path_of(uri: &str) -> Result<&str, Failure> {
    uri.strip_prefix("file:").filter(|path| !path.is_empty()).ok_or_else(|| {
        Failure::new(Exit::Failed, format!("{uri:?} does not start with file:"))
            .hint("write a trusted file as \"file:PATH\", and a folder as \"file:PATH/\"")
    })
}

/// The files of a trusted entry: itself, or the files in its folder and the folders below, in sorted order.
pub(super) fn expand(
    files: &dyn Files,
    uri: &str,
    hash: Option<Digest>,
) -> Result<Vec<(String, Option<Digest>)>, Failure> {
    let path = path_of(uri)?;
    let refused = |what: &str| Failure::new(Exit::Failed, format!("the trusted entry {uri} {what}"));
    if !path.ends_with('/') {
        return match files.kind(path) {
            Kind::Folder | Kind::LinkToFolder => Err(refused("is a folder")
                .hint("add a / to the end of this entry: an entry for a folder ends with /")),
            _ => Ok(vec![(uri.to_owned(), hash)]),
        };
    }
    if hash.is_some() {
        return Err(refused("is a folder and has a sha256")
            .hint("remove this sha256 from the manifest: `fl-host sgx manifest` adds the sha256 of each file in the folder"));
    }
    if !matches!(files.kind(path), Kind::Folder | Kind::LinkToFolder) {
        return Err(refused("is not a folder")
            .hint("remove the / from the end of this entry: only an entry for a folder ends with /"));
    }
    let mut found = Vec::new();
    // Each path with its depth. The last is taken first, so that the order is that of a walk.
    let mut waiting = vec![(tidy(path), 0)];
    while let Some((at, depth)) = waiting.pop() {
        match files.kind(if at.is_empty() { "." } else { &at }) {
            Kind::File => found.push((format!("file:{at}"), None)),
            Kind::LinkToFolder if depth > 0 => {}
            Kind::Folder | Kind::LinkToFolder => {
                let names = files.names(if at.is_empty() { "." } else { &at })?;
                let join = |name: String| match at.as_str() {
                    "" => name,
                    "/" => format!("/{name}"),
                    folder => format!("{folder}/{name}"),
                };
                waiting.extend(names.into_iter().rev().map(|name| (join(name), depth + 1)));
            }
            Kind::Other => {}
        }
        if found.len() > MOST_FILES {
            return Err(refused("contains more than 100000 files")
                .hint("list in sgx.trusted_files only the files that the program reads"));
        }
    }
    Ok(found)
}

/// Without `.` parts, double slashes and the final slash; the empty text is the current folder.
fn tidy(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::File, format!("cannot read {}: {error}", path.display())).hint(
        "the manifest trusts this file: a relative path starts at --folder, by default the template's folder",
    )
}

/// Most files of one folder.
const MOST_FILES: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_tidied_as_a_walk_would_name_them() {
        for (given, tidied) in [
            ("dir/", "dir"),
            ("./a//b/./", "a/b"),
            ("./", ""),
            ("/", "/"),
            ("/usr/lib/", "/usr/lib"),
            ("../x/", "../x"),
        ] {
            assert_eq!(tidy(given), tidied);
        }
    }

    #[test]
    fn folder_becomes_its_files_in_the_order_of_a_walk() {
        let root = crate::files::tests::scratch("sgx-files");
        for name in ["dir/b/z", "dir/a.bin", "dir/b/.hidden", "dir/c", "dir/b.x", "other/f"] {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        std::os::unix::fs::symlink(root.join("other"), root.join("dir/link")).unwrap();
        std::os::unix::fs::symlink(root.join("dir/c"), root.join("dir/d")).unwrap();
        let files = OnDisk { relative_to: root.clone(), root: root.clone() };
        let uris = |uri| -> Vec<String> {
            expand(&files, uri, None).unwrap().into_iter().map(|(uri, _)| uri).collect()
        };
        let all = ["a.bin", "b/.hidden", "b/z", "b.x", "c", "d"];
        assert_eq!(uris("file:dir/"), all.map(|name| format!("file:dir/{name}")));
        assert_eq!(uris("file:/dir/"), all.map(|name| format!("file:/dir/{name}")));
        assert_eq!(uris("file:other/./"), ["file:other/f"]);
        assert_eq!(uris("file:dir/link/"), ["file:dir/link/f"], "a link that is named is followed");
        let said = |uri| expand(&files, uri, None).unwrap_err().error;
        assert_eq!(said("file:dir"), "the trusted entry file:dir is a folder");
        assert_eq!(said("file:dir/c/"), "the trusted entry file:dir/c/ is not a folder");
        assert_eq!(said("http://a"), "\"http://a\" does not start with file:");
        assert!(expand(&files, "file:dir/", Some(Digest([0; 32]))).is_err());
        assert_eq!(files.sha256("/dir/c").unwrap(), Digest::of(b"dir/c"));
        assert!(files.sha256("gone").unwrap_err().error.starts_with("cannot read "));
    }
}
