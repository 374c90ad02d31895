//! Files on the machine of the person who runs `fl-host`: read up to a limit, replaced whole, each error with
//! the path.
//!
//! Every area of the program comes here. Nothing here knows a workspace.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

use fl_runtime::internal::files::{BY_UMASK, Files, OWNER_ONLY};
use zeroize::Zeroizing;

use crate::{
    exit::{Exit, Failure},
    machine::machine,
};

/// The files of this process, as the runtime's functions take them.
#[must_use]
pub fn of_process() -> &'static Files {
    &machine().files
}

/// Reads a text file of at most `limit` bytes.
///
/// # Errors
/// [`Exit::File`].
pub fn read_text(path: &Path, limit: usize) -> Result<String, Failure> {
    let bytes = read(path, limit)?;
    String::from_utf8(bytes)
        .map_err(|_| {
            Failure::new(Exit::File, format!("{} is not UTF-8 text", path.display()))
                .hint("save the file as UTF-8 text, for example: iconv -f LATIN1 -t UTF-8 FILE > NEW; -f UTF-16 for a file of Windows")
        })
}

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// [`Exit::File`].
pub fn read(path: &Path, limit: usize) -> Result<Vec<u8>, Failure> {
    of_process().read_at_most(path, limit).map_err(|error| match (error.kind(), of_process().length(path)) {
        (io::ErrorKind::FileTooLarge, Ok(length)) => Failure::new(
            Exit::File,
            format!("{} has {length} bytes; this file may have at most {limit}", path.display()),
        ),
        _ => Failure::new(Exit::File, format!("cannot read {}: {error}", path.display())).hint(
            "check the path: a relative path starts at the current folder, or in the folder that --workspace names",
        ),
    })
}

/// Reads a key, request or certificate: PEM, which is text.
///
/// # Errors
/// [`Exit::File`]; [`Exit::Trust`] for a file in binary form.
pub fn read_pem(path: &Path) -> Result<String, Failure> {
    let bytes = read(path, PEM_BYTES)?;
    // The beginning of the DER of everything that is longer than 127 bytes.
    if bytes.starts_with(&[0x30, 0x81]) || bytes.starts_with(&[0x30, 0x82]) {
        let error = format!("{} is in binary form (DER); PEM is needed, which is text", path.display());
        return Err(Failure::new(Exit::Trust, error).hint(format!(
            "convert the file: `openssl x509 -inform der -in {0} -out {0}.pem`",
            path.display()
        )));
    }
    String::from_utf8(bytes)
        .map_err(|_| Failure::new(Exit::Trust, format!("{} is not PEM, which is text", path.display())))
}

/// Reads a secret of at most `limit` bytes. No copy of the secret stays in memory that is given back. The
/// caller refuses a file that others may read ([`refuse_exposed`]).
///
/// # Errors
/// [`Exit::File`].
pub fn read_secret_text(path: &Path, limit: usize) -> Result<Zeroizing<String>, Failure> {
    let bytes = of_process().read_secret(path, limit);
    let mut bytes = bytes
        .map_err(|error| Failure::new(Exit::File, format!("cannot read {}: {error}", path.display())))?;
    String::from_utf8(std::mem::take(&mut *bytes)).map(Zeroizing::new).map_err(|error| {
        let _ = Zeroizing::new(error.into_bytes());
        Failure::new(Exit::File, format!("{} is not UTF-8 text", path.display()))
    })
}

/// Refuses a secret that other users than its owner may read or change.
///
/// # Errors
/// [`Exit::Trust`].
pub fn refuse_exposed(path: &Path) -> Result<(), Failure> {
    let Some(mode) = exposed(path) else { return Ok(()) };
    let shown = path.display();
    let error = format!("other users of this machine can read or change {shown} (its mode is {mode:04o})");
    Err(Failure::new(Exit::Trust, error).hint(format!("run `chmod 600 {shown}`")))
}

/// The mode of a file that other users than its owner may read or change.
#[must_use]
pub fn exposed(path: &Path) -> Option<u32> {
    // A file that cannot be looked at cannot be read either.
    of_process().exposed(path).ok().flatten()
}

/// Replaces a file whole: a crash leaves the old one or the new one, never a part.
///
/// # Errors
/// [`Exit::File`].
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    of_process().replace(path, BY_UMASK, |file| file.write_all(bytes)).map_err(|e| unwritten(path, &e))
}

/// As [`replace`], with a file that only this user can read and write.
///
/// # Errors
/// [`Exit::File`].
pub fn replace_secret(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    of_process().replace(path, OWNER_ONLY, |file| file.write_all(bytes)).map_err(|e| unwritten(path, &e))
}

/// Writes a file that was not there before, which only this user can read and write.
///
/// # Errors
/// What the system says; [`io::ErrorKind::AlreadyExists`] when the file is there.
pub fn write_secret(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = of_process().create_new(path, OWNER_ONLY)?;
    file.write_all(bytes)?;
    file.sync()
}

/// A file that could not be written.
#[must_use]
pub fn unwritten(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::File, format!("cannot write {}: {error}", path.display()))
        .hint("make the file's folder if there is none, and let this user write to the folder")
}

/// Makes a folder and those above it.
///
/// # Errors
/// [`Exit::File`].
pub fn make_folder(path: &Path) -> Result<(), Failure> {
    fs::create_dir_all(path)
        .map_err(|e| Failure::new(Exit::File, format!("cannot make the folder {}: {e}", path.display())))
}

/// Makes the folder that a file is in.
///
/// # Errors
/// [`Exit::File`].
pub fn make_folder_of(file: &Path) -> Result<(), Failure> {
    file.parent().map_or(Ok(()), make_folder)
}

/// Whether a folder of this name can be made: nothing is there, or an empty folder.
#[must_use]
pub fn is_free(path: &Path) -> bool {
    !path.exists() || fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

/// Refuses to fill a folder that holds something. `option` is the option that named it.
///
/// # Errors
/// [`Exit::Workspace`] when `path` is there and is not an empty folder.
pub fn refuse_occupied(path: &Path, option: &str) -> Result<(), Failure> {
    if is_free(path) {
        return Ok(());
    }
    let error = format!("{} already exists and is not an empty folder", path.display());
    Err(Failure::new(Exit::Workspace, error).hint(format!("give another folder with {option}")))
}

/// Fills the new folder `root`. Where `fill` fails, everything that it made is removed again.
///
/// # Errors
/// The failure of `fill`.
pub fn fill_new_folder<T>(root: &Path, fill: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    // The topmost folder that does not exist yet.
    let first = root.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).last();
    let done = fill();
    if done.is_err() {
        // What cannot be removed stays, and the failure is reported.
        let _ = match first {
            Some(made) => fs::remove_dir_all(made),
            None => fs::read_dir(root).and_then(|entries| {
                entries.flatten().map(|entry| entry.path()).try_for_each(|path| match path.is_dir() {
                    true => fs::remove_dir_all(path),
                    false => fs::remove_file(path),
                })
            }),
        };
    }
    done
}

/// Paths inside the current folder are shown without `./`.
#[must_use]
pub fn shown(root: &Path) -> &Path {
    root.strip_prefix(".").unwrap_or(root)
}

/// Longest key, request or certificate that is read, bytes.
pub(crate) const PEM_BYTES: usize = 64 << 10;

#[cfg(test)]
pub(crate) mod tests {
    use std::path::PathBuf;

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
        assert!(read(&path, 2).unwrap_err().error.contains("has 3 bytes; this file may have at most 2"));
    }

    #[test]
    fn folder_that_could_not_be_filled_is_gone() {
        let dir = scratch("fill");
        let fill = |root: &Path, exit: Option<Exit>| {
            fill_new_folder(root, || {
                make_folder(&root.join("plan"))?;
                replace(&root.join("README.md"), b"x")?;
                exit.map_or(Ok(()), |exit| Err(Failure::new(exit, "no")))
            })
        };
        fill(&dir.join("a/b/w"), Some(Exit::Data)).unwrap_err();
        assert!(!dir.join("a").exists());
        fs::create_dir(dir.join("empty")).unwrap();
        fill(&dir.join("empty"), Some(Exit::Data)).unwrap_err();
        assert_eq!(fs::read_dir(dir.join("empty")).unwrap().count(), 0);
        fill(&dir.join("a/b/w"), None).unwrap();
        assert!(dir.join("a/b/w/plan").is_dir());
    }
}
