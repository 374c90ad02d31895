//! The files of the process: the one module that reads, writes and replaces files.
//!
//! [`Files::replace`] gives a file new content such that a crash leaves the old content or the new, each
//! whole. Its steps: make a new file `NAME.new` with the right mode, write it, sync it, rename it to `NAME`,
//! sync its folder. Under Gramine the file is synced again after the rename, because Gramine's rename of a
//! sealed file writes the new path into the file and does not sync that.
//!
//! [`Files::read_at_most`] reads a file and refuses one that is longer than its reader expects. The length
//! that the system states is no bound: a file may grow while it is read, and a device has no length.
//!
//! A [`System`](crate::system::System) holds the only [`Files`] of a process and hands out clones.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use fl_sys::syscall::{self, Entry};
use zeroize::Zeroizing;

/// The files that a process reads and writes. Clones share what they know.
#[derive(Clone, Debug)]
pub struct Files {
    /// Folders that the system refuses to sync, each of which was logged once.
    unsynced: Arc<Mutex<BTreeSet<PathBuf>>>,
}

/// Whether the new content of a file must survive a power cut from the moment that it is in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It must.
    Synced,
    /// It need not: another file has the same values.
    Unsynced,
}

impl Files {
    pub(crate) fn real() -> Self {
        Self { unsynced: Arc::default() }
    }

    /// Replaces the file `path` with one that `write` fills, and returns what `write` returned. `mode` holds
    /// the permissions of the new file, less those that the umask takes away. When this returns, the new
    /// content is durable.
    ///
    /// One process at a time may replace a file in this way: two would write to the same `NAME.new`.
    ///
    /// # Errors
    /// The system's, and those of `write`. The old content stays, unless the sync after a rename under
    /// Gramine failed: then the new content is in place and may not be durable.
    pub fn replace<T>(
        &self,
        path: &Path,
        mode: u32,
        write: impl FnOnce(&mut File) -> io::Result<T>,
    ) -> io::Result<T> {
        self.put(path, &scrap_of(path), mode, Durability::Synced, write)
    }

    /// As [`Self::replace`] with the [`Durability`] that the caller needs, and with the mode [`BY_UMASK`].
    ///
    /// # Errors
    /// As [`Self::replace`].
    pub fn replace_with<T>(
        &self,
        path: &Path,
        durability: Durability,
        write: impl FnOnce(&mut File) -> io::Result<T>,
    ) -> io::Result<T> {
        self.put(path, &scrap_of(path), BY_UMASK, durability, write)
    }

    /// As [`Self::replace`], for a file that several processes may replace at the same time: the new file has
    /// the number of this process in its name. A crash may leave that file for good, so this is for short
    /// files only.
    ///
    /// # Errors
    /// As [`Self::replace`].
    pub fn replace_shared(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}.new", std::process::id()));
        self.put(path, Path::new(&name), BY_UMASK, Durability::Synced, |file| file.write_all(bytes))
    }

    fn put<T>(
        &self,
        path: &Path,
        scrap: &Path,
        mode: u32,
        durability: Durability,
        write: impl FnOnce(&mut File) -> io::Result<T>,
    ) -> io::Result<T> {
        let (file, written) = self.fill(scrap, mode, durability, write)?;
        fs::rename(scrap, path).inspect_err(|_| self.drop_scrap(scrap))?;
        if durability == Durability::Synced {
            if syscall::entry() == Entry::Gramine {
                file.sync()?;
            }
            self.sync_folder(folder_of(path));
        }
        Ok(written)
    }

    /// Makes a file under its own name and fills it; one that is there is removed first. When this returns,
    /// the file is durable. For files whose reader tells a whole one from a part.
    ///
    /// # Errors
    /// The system's, and those of `write`: then there is no file of this name.
    pub fn write_new<T>(
        &self,
        path: &Path,
        mode: u32,
        write: impl FnOnce(&mut File) -> io::Result<T>,
    ) -> io::Result<T> {
        let (_, written) = self.fill(path, mode, Durability::Synced, write)?;
        self.sync_folder(folder_of(path));
        Ok(written)
    }

    fn fill<T>(
        &self,
        path: &Path,
        mode: u32,
        durability: Durability,
        write: impl FnOnce(&mut File) -> io::Result<T>,
    ) -> io::Result<(File, T)> {
        // An encrypted mount does not open a file that is broken, or sealed with another key, to write it
        // anew.
        self.remove_if_there(path)?;
        let mut file = self.create_new(path, mode)?;
        let filled = write(&mut file).and_then(|written| match durability {
            Durability::Synced => file.sync().map(|()| written),
            Durability::Unsynced => Ok(written),
        });
        // A part is of no use, and on a full disk its room is.
        let written = filled.inspect_err(|_| self.drop_scrap(path))?;
        Ok((file, written))
    }

    fn drop_scrap(&self, path: &Path) {
        // The error before this one is the one to report.
        let _ = fs::remove_file(path);
    }

    /// Reads a file of at most `limit` bytes.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::FileTooLarge`] for a longer file.
    pub fn read_at_most(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        let bytes = self.read_start(path, limit.saturating_add(1))?;
        if bytes.len() > limit {
            return Err(too_long(limit));
        }
        Ok(bytes)
    }

    /// As [`Self::read_at_most`], for text.
    ///
    /// # Errors
    /// As [`Self::read_at_most`]; [`io::ErrorKind::InvalidData`] for what is not UTF-8.
    pub fn read_text_at_most(&self, path: &Path, limit: usize) -> io::Result<String> {
        let not_text = |_| io::Error::new(io::ErrorKind::InvalidData, "the file is not UTF-8 text");
        String::from_utf8(self.read_at_most(path, limit)?).map_err(not_text)
    }

    /// Reads the first `most` bytes of a file, or all of a shorter one: for a reader that judges a file that
    /// is too long by itself.
    ///
    /// # Errors
    /// The system's.
    pub fn read_start(&self, path: &Path, most: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        fs::File::open(path)?.take(most as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads a secret of at most `limit` bytes. No copy of the secret stays in memory that is given back.
    ///
    /// # Errors
    /// As [`Self::read_at_most`].
    pub fn read_secret(&self, path: &Path, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
        // With room for all bytes, the vector is never moved.
        let mut bytes = Zeroizing::new(Vec::with_capacity(limit.saturating_add(64)));
        fs::File::open(path)?.take(limit as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > limit {
            return Err(too_long(limit));
        }
        Ok(bytes)
    }

    /// Whether a file can be read and has exactly these bytes.
    #[must_use]
    pub fn holds(&self, path: &Path, bytes: &[u8]) -> bool {
        self.length(path).is_ok_and(|length| length == bytes.len() as u64)
            && self.read_at_most(path, bytes.len()).is_ok_and(|held| held == bytes)
    }

    /// Opens a file to read it.
    ///
    /// # Errors
    /// The system's.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        fs::File::open(path).map(File)
    }

    /// Writes into a file that is there, from its beginning: for a device of the system.
    ///
    /// # Errors
    /// The system's.
    pub fn write_into(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.write_all(bytes)
    }

    /// Makes a new file and opens it to read and write it.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::AlreadyExists`] where there is one.
    pub fn create_new(&self, path: &Path, mode: u32) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path).map(File)
    }

    /// Opens a file to read and write it from its beginning, and makes it where it is missing.
    ///
    /// # Errors
    /// The system's.
    pub fn open_or_create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map(File)
    }

    /// Opens a file to append to it, and makes it where it is missing.
    ///
    /// # Errors
    /// The system's.
    pub fn append(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).open(path).map(File)
    }

    /// Makes a folder, and those that it lies in, where they are missing. A new folder is durable.
    ///
    /// # Errors
    /// The system's.
    pub fn create_folder(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        let parent = folder_of(path);
        self.create_folder(parent)?;
        match fs::create_dir(path) {
            // Another process was faster.
            Err(_) if path.is_dir() => {}
            made => made?,
        }
        self.sync_folder(parent);
        Ok(())
    }

    /// Finds out whether this process can make files in a folder, which is made where it is missing.
    ///
    /// # Errors
    /// The system's.
    pub fn try_folder(&self, path: &Path) -> io::Result<()> {
        self.create_folder(path)?;
        let probe = path.join(format!("probe.{}.new", std::process::id()));
        self.write_new(&probe, BY_UMASK, |file| file.write_all(b"probe"))?;
        self.remove(&probe)
    }

    /// Renames a file without any sync.
    ///
    /// # Errors
    /// The system's.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    /// Renames a file. When this returns, the new name is durable.
    ///
    /// # Errors
    /// The system's.
    pub fn rename_synced(&self, from: &Path, to: &Path) -> io::Result<()> {
        let file = fs::File::open(from)?;
        fs::rename(from, to)?;
        if syscall::entry() == Entry::Gramine {
            file.sync_all()?;
        }
        self.sync_folder(folder_of(to));
        Ok(())
    }

    /// Removes a file.
    ///
    /// # Errors
    /// The system's.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    /// Removes a file, unless there is none.
    ///
    /// # Errors
    /// The system's.
    pub fn remove_if_there(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes what a crash in the middle of [`Self::replace`] left beside `path`.
    pub fn remove_scrap_of(&self, path: &Path) {
        // Mostly there is none; and the next replacement removes it too.
        let _ = fs::remove_file(scrap_of(path));
    }

    /// The paths of a folder's entries, in no order.
    ///
    /// # Errors
    /// The system's.
    pub fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect()
    }

    /// Whether there is something of this path.
    ///
    /// # Errors
    /// The system's, where it does not even tell.
    pub fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    /// Whether this is a file.
    #[must_use]
    pub fn is_file(&self, path: &Path) -> bool {
        path.is_file()
    }

    /// Whether this is a folder.
    #[must_use]
    pub fn is_folder(&self, path: &Path) -> bool {
        path.is_dir()
    }

    /// A file's length in bytes, as the system states it.
    ///
    /// # Errors
    /// The system's.
    pub fn length(&self, path: &Path) -> io::Result<u64> {
        fs::metadata(path).map(|about| about.len())
    }

    /// A file's permission bits.
    ///
    /// # Errors
    /// The system's.
    pub fn mode(&self, path: &Path) -> io::Result<u32> {
        fs::metadata(path).map(|about| about.permissions().mode() & 0o7777)
    }

    /// The permission bits of a file that other users than its owner may read or change; `None` for a file
    /// that is its owner's alone.
    ///
    /// # Errors
    /// The system's.
    pub fn exposed(&self, path: &Path) -> io::Result<Option<u32>> {
        Ok(Some(self.mode(path)?).filter(|mode| mode & OTHERS != 0))
    }

    /// Makes the names in a folder durable. Where the system refuses, the program goes on without.
    fn sync_folder(&self, folder: &Path) {
        let Err(error) = fs::File::open(folder).and_then(|opened| opened.sync_all()) else { return };
        let mut unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        if unsynced.insert(folder.to_owned()) {
            tracing::warn!(
                "cannot sync the folder {}: {error}. A power cut may undo the last change of a file in this folder",
                folder.display()
            );
        }
    }
}

/// An open file.
#[derive(Debug)]
pub struct File(fs::File);

impl File {
    /// Its length in bytes, as the system states it.
    ///
    /// # Errors
    /// The system's.
    pub fn length(&self) -> io::Result<u64> {
        self.0.metadata().map(|about| about.len())
    }

    /// Cuts the file, or fills it up with zeros, to this length in bytes.
    ///
    /// # Errors
    /// The system's.
    pub fn set_length(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    /// Takes the lock that the kernel has for this file, which ends with this value or the process. False
    /// when another process holds the lock.
    ///
    /// # Errors
    /// The system's, also where the file system has no locks.
    pub fn try_lock(&self) -> io::Result<bool> {
        match self.0.try_lock() {
            Ok(()) => Ok(true),
            Err(fs::TryLockError::WouldBlock) => Ok(false),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// The system's.
    pub fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    /// As [`Self::sync`], without the file's times.
    ///
    /// # Errors
    /// The system's.
    pub fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    /// Fills `bytes` from `offset` on; the position of sequential reads stays.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::UnexpectedEof`] for a file that ends before.
    pub fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(bytes, offset)
    }

    /// Writes `bytes` at `offset`; the position of sequential writes stays.
    ///
    /// # Errors
    /// The system's.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }
}

impl Read for File {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for File {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.0.write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

fn too_long(limit: usize) -> io::Error {
    let error = format!("the file has more than the {limit} bytes that are read");
    io::Error::new(io::ErrorKind::FileTooLarge, error)
}

/// What a crash in the middle of [`Files::replace`] leaves: `NAME.new`. The next replacement removes it.
fn scrap_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// The folder of a file; a bare name lies in the current folder.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Mode of a file that its owner alone may read and write.
pub const OWNER_ONLY: u32 = 0o600;
/// Mode bits that give anybody but the owner access.
const OTHERS: u32 = 0o077;
/// Mode of a file whose readers and writers the umask decides.
pub const BY_UMASK: u32 = 0o666;

#[cfg(test)]
mod tests;
