//! A copy of the log in the workspace, `logs/ROLE.log`, for an operator whose terminal is gone.
//!
//! It holds the same lines as standard error. A file of [`FILE_BYTES`] becomes `ROLE.log.1`, which replaces
//! the one before, and a new file begins. The first failure to write is reported, and ends the copy, not the
//! run.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use fl_engine::printable::printable;

use crate::files::{File, Files};

/// The file, until it fails.
#[derive(Debug)]
pub struct LogFile {
    files: Files,
    path: PathBuf,
    most: u64,
    open: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    file: File,
    length: u64,
}

impl LogFile {
    /// Opens `logs/NAME.log` of a workspace, and makes the folder `logs`. `None` for a folder that is not a
    /// workspace: the role will be refused.
    ///
    /// # Errors
    /// When the folder cannot be made, or the file cannot be opened for writing.
    pub fn open(files: &Files, workspace: &Path, name: &str) -> io::Result<Option<Self>> {
        let folder = workspace.join("logs");
        if !files.is_folder(&workspace.join("plan")) {
            return Ok(None);
        }
        files.create_folder(&folder)?;
        Self::of(files, folder.join(format!("{name}.log")), FILE_BYTES).map(Some)
    }

    fn of(files: &Files, path: PathBuf, most: u64) -> io::Result<Self> {
        let open = Mutex::new(Some(Open::at(files, &path)?));
        Ok(Self { files: files.clone(), path, most, open })
    }

    /// Appends whole lines. Control characters are escaped, as on standard error.
    ///
    /// # Errors
    /// The first time that lines cannot be written. Later lines are dropped without an error.
    pub fn append(&self, lines: &str) -> io::Result<()> {
        let mut held = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = held.as_mut() else { return Ok(()) };
        let lines = printable(lines);
        let length = lines.len() as u64;
        let mut put = || -> io::Result<()> {
            if open.length > 0 && open.length + length > self.most {
                self.files.rename(&self.path, &before(&self.path))?;
                *open = Open::at(&self.files, &self.path)?;
            }
            open.file.write_all(lines.as_bytes())?;
            open.length += length;
            Ok(())
        };
        put().inspect_err(|_| *held = None)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Open {
    fn at(files: &Files, path: &Path) -> io::Result<Self> {
        let file = files.append(path)?;
        let length = file.length()?;
        Ok(Self { file, length })
    }
}

/// Where the previous file goes.
fn before(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// Longest file, bytes: about a hundred thousand lines.
const FILE_BYTES: u64 = 10 << 20;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::system::System;

    fn scratch(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("fl-log-copy-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("plan")).unwrap();
        fs::create_dir_all(root.join("logs")).unwrap();
        root
    }

    #[test]
    fn lines_are_appended_and_two_files_are_the_most() {
        let root = scratch("bound");
        let path = root.join("logs/aggregator.log");
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        LogFile::open(&System::real().files, &root, "aggregator")
            .unwrap()
            .unwrap()
            .append("first\n")
            .unwrap();
        let copy = LogFile::of(&System::real().files, path.clone(), 12).unwrap();
        copy.append("again\n").unwrap();
        assert_eq!(read(&path), "first\nagain\n");
        copy.append("third\n").unwrap();
        assert_eq!((read(&before(&path)), read(&path)), ("first\nagain\n".into(), "third\n".into()));
        copy.append("longer than a whole file may be\n").unwrap();
        assert_eq!(read(&before(&path)), "third\n");
        copy.append("x\n").unwrap();
        assert_eq!((read(&path), fs::read_dir(root.join("logs")).unwrap().count()), ("x\n".into(), 2));
        // The folder that README describes has no logs/: it is made. Another folder stays as it is.
        fs::remove_dir_all(root.join("logs")).unwrap();
        assert!(LogFile::open(&System::real().files, &root, "aggregator").unwrap().is_some());
        assert!(path.is_file());
        fs::remove_dir_all(root.join("logs")).unwrap();
        fs::remove_dir(root.join("plan")).unwrap();
        assert!(LogFile::open(&System::real().files, &root, "aggregator").unwrap().is_none());
        assert!(!root.join("logs").exists());
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn failure_is_told_once() {
        let root = scratch("failure");
        fs::create_dir(root.join("logs/one.log")).unwrap();
        LogFile::open(&System::real().files, &root, "one").unwrap_err();
        let copy = LogFile::of(&System::real().files, root.join("logs/two.log"), 4).unwrap();
        copy.append("two\n").unwrap();
        fs::remove_dir_all(&root).unwrap();
        copy.append("two\n").unwrap_err();
        copy.append("two\n").unwrap();
    }
}
