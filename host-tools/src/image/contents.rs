//! The contents of an image: a tree of files with modes, held in memory, and its form as a tar, the layer.
//!
//! A layer has paths, modes and bytes, but no owner and no time, and is in the order of the paths. The same
//! contents give the same bytes.

use std::collections::BTreeMap;

use fl_engine::Digest;
use fl_launcher::image::WORKSPACE;
use tar::{Builder, EntryType, Header};

use crate::exit::{Exit, Failure};

/// Files and folders by their path, without the first slash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents(BTreeMap<String, Entry>);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A folder with its mode.
    Folder(u32),
    /// A file with its mode.
    File(u32, Vec<u8>),
}

impl Contents {
    /// Adds a file, and the folders above it.
    pub fn file(&mut self, path: &str, mode: u32, bytes: Vec<u8>) {
        self.parents(path);
        self.0.insert(path.to_owned(), Entry::File(mode, bytes));
    }

    /// Adds a folder, and those above it.
    pub fn folder(&mut self, path: &str, mode: u32) {
        self.parents(path);
        self.0.insert(path.to_owned(), Entry::Folder(mode));
    }

    fn parents(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            self.0.entry(path[..at].to_owned()).or_insert(Entry::Folder(PROGRAM));
        }
    }

    /// A file's bytes.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&[u8]> {
        match self.0.get(path) {
            Some(Entry::File(_, bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// Every file's path and bytes, in order.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().filter_map(|(path, entry)| match entry {
            Entry::File(_, bytes) => Some((path.as_str(), bytes.as_slice())),
            Entry::Folder(_) => None,
        })
    }

    /// Puts `other`'s entries over these, as a container engine stacks layers.
    pub fn stack(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// SHA-256 of every file, by its path with the first slash.
    #[must_use]
    pub fn hashes(&self) -> BTreeMap<String, Digest> {
        self.files().map(|(path, bytes)| (format!("/{path}"), Digest::of(bytes))).collect()
    }

    /// The layer.
    ///
    /// # Errors
    /// [`Exit::Failed`] for a path that no tar can hold.
    pub fn tar(&self) -> Result<Vec<u8>, Failure> {
        let mut builder = Builder::new(Vec::new());
        for (path, entry) in &self.0 {
            let (kind, mode, bytes, name) = match entry {
                Entry::Folder(mode) => (EntryType::Directory, *mode, &[][..], format!("{path}/")),
                Entry::File(mode, bytes) => (EntryType::Regular, *mode, bytes.as_slice(), path.clone()),
            };
            append(&mut builder, &name, kind, mode, bytes)?;
        }
        builder.into_inner().map_err(|e| unwritable("a layer", &e))
    }
}

/// The path in an image of a file of the workspace.
pub(crate) fn in_workspace(inside: &str) -> String {
    format!("{WORKSPACE}/{inside}")
}

/// Appends one entry, without owner and time, so that it is the same on every machine.
pub(crate) fn append(
    builder: &mut Builder<Vec<u8>>,
    name: &str,
    kind: EntryType,
    mode: u32,
    bytes: &[u8],
) -> Result<(), Failure> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(bytes.len() as u64);
    builder.append_data(&mut header, name, bytes).map_err(|e| unwritable(name, &e))
}

fn unwritable(what: &str, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot put {what} into a tar archive: {error}"))
}

/// Everybody may read.
pub const PLAIN: u32 = 0o644;
/// Everybody may read and execute.
pub const PROGRAM: u32 = 0o755;
/// Every user may write, and remove only their own files: a container may run as any user.
pub const SHARED: u32 = 0o1777;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layer_is_the_same_whatever_the_order_of_making() {
        let mut one = Contents::default();
        one.file("fl/plan.bin", PLAIN, b"plan".to_vec());
        one.folder("workspace/save", SHARED);
        one.file("fl/fl-runtime", PROGRAM, b"program".to_vec());
        let mut other = Contents::default();
        other.file("fl/fl-runtime", PROGRAM, b"program".to_vec());
        other.file("fl/plan.bin", PLAIN, b"plan".to_vec());
        other.folder("workspace/save", SHARED);
        assert_eq!(one.tar().unwrap(), other.tar().unwrap());
        assert_eq!(
            one.hashes().keys().map(String::as_str).collect::<Vec<_>>(),
            ["/fl/fl-runtime", "/fl/plan.bin"]
        );

        let bytes = one.tar().unwrap();
        let mut archive = tar::Archive::new(&*bytes);
        let entries: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                assert_eq!(
                    (header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap()),
                    (0, 0, 0)
                );
                (entry.path().unwrap().display().to_string(), header.mode().unwrap())
            })
            .collect();
        let entries: Vec<(&str, u32)> = entries.iter().map(|(path, mode)| (path.as_str(), *mode)).collect();
        assert_eq!(
            entries,
            [
                ("fl/", 0o755),
                ("fl/fl-runtime", 0o755),
                ("fl/plan.bin", 0o644),
                ("workspace/", 0o755),
                ("workspace/save/", 0o1777),
            ]
        );
    }
}
