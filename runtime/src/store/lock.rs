//! The lock of `save/`: one aggregator at a time writes there.
//!
//! `save/lock` names its holder: the process, its start and a random token. A process on the same kernel is
//! kept out by a lock of the operating system on this file, which a crash gives back at once. Where the
//! system has no such lock between processes, as under Gramine or on some network file systems, the holder
//! rewrites the file every [`BEAT`] instead, and a newcomer watches it for [`WATCH`]: a file that stands
//! still is a dead holder's.
//!
//! No lock is sure: a machine may sleep, and a file system may lose locks. So the holder reads the file
//! before each write to `save/`. A holder that finds another token there writes nothing more.

use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use fl_engine::plan::roster::UnixSeconds;

use crate::{
    files::{File, Files},
    system::System,
};

/// The lock, held. Dropping it frees `save/`.
#[derive(Debug)]
pub struct SaveLock {
    files: Files,
    path: PathBuf,
    /// The line without the count of its beats.
    holder: String,
    /// The file with the operating system's lock, where there is one.
    kernel: Option<File>,
    beats: AtomicU64,
}

/// Why `save/` is not this process's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another aggregator runs on the folder.
    #[error("another aggregator uses {}{}", folder.display(), of(holder))]
    Held {
        /// `save/`.
        folder: PathBuf,
        /// What the file says of the holder.
        holder: String,
    },
    /// Another aggregator has taken the folder over.
    #[error("another aggregator has taken over {}{}: nothing more was written", folder.display(), of(holder))]
    Lost {
        /// `save/`.
        folder: PathBuf,
        /// What the file says of the holder.
        holder: String,
    },
    /// The file cannot be read or written.
    #[error("cannot read or write {}", path.display())]
    File {
        /// `save/lock`.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// How the system keeps two processes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apart {
    /// By a lock of the kernel, if the file system has one.
    Kernel,
    /// Not at all: each process has a kernel of its own, as under Gramine.
    Beats,
}

impl SaveLock {
    /// Takes the lock of the folder `save`, which is made where it is missing. May block for [`WATCH`] where
    /// a holder without a lock of the kernel has crashed.
    ///
    /// # Errors
    /// [`LockError::Held`], [`LockError::File`].
    pub fn take(system: &System, save: &Path, apart: Apart) -> Result<Self, LockError> {
        let path = save.join(FILE);
        let failed = |source| LockError::File { path: path.clone(), source };
        let files = &system.files;
        files.create_folder(save).map_err(failed)?;
        let mut kernel = None;
        if apart == Apart::Kernel {
            let file = files.open_or_create(&path).map_err(failed)?;
            match file.try_lock() {
                Ok(true) => kernel = Some(file),
                Ok(false) => return Err(held(save, &line(files, &path).unwrap_or_default())),
                // The file system has no locks.
                Err(_) => {}
            }
        }
        let before = line(files, &path).map_err(failed)?;
        let beats = kernel.is_none() || before.starts_with(BEATING);
        if beats && !before.is_empty() {
            system.clock.pause(WATCH);
            let after = line(files, &path).map_err(failed)?;
            if after != before && !after.is_empty() {
                return Err(held(save, &after));
            }
        }
        let token: [u8; 8] = system.random.bytes().map_err(|e| failed(io::Error::other(e)))?;
        let how = if kernel.is_some() { LOCKED } else { BEATING };
        let (process, since) = (std::process::id(), system.clock.wall());
        let holder = holder_line(how, process, since, u64::from_le_bytes(token));
        let lock =
            Self { files: files.clone(), path: path.clone(), holder, kernel, beats: AtomicU64::new(0) };
        lock.write().map_err(failed)?;
        if lock.kernel.is_none() {
            // Another process may have come at the same moment: the later line stays.
            system.clock.pause(SETTLE);
            lock.check().map_err(|error| match error {
                LockError::Lost { folder, holder } => LockError::Held { folder, holder },
                other => other,
            })?;
        }
        Ok(lock)
    }

    /// Checks that this process still holds the lock. Called before each write to `save/`.
    ///
    /// # Errors
    /// [`LockError::Lost`], [`LockError::File`].
    pub fn check(&self) -> Result<(), LockError> {
        let found = line(&self.files, &self.path);
        let found = found.map_err(|source| LockError::File { path: self.path.clone(), source })?;
        if found.starts_with(&self.holder) {
            return Ok(());
        }
        if found.is_empty() {
            // Somebody has removed the file, or cut it short.
            return self.write().map_err(|source| LockError::File { path: self.path.clone(), source });
        }
        let folder = self.path.parent().unwrap_or(&self.path).to_owned();
        Err(LockError::Lost { folder, holder: found })
    }

    /// As [`Self::check`], and shows other processes that this one lives, where no lock of the kernel does.
    /// Call it every [`BEAT`].
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn beat(&self) -> Result<(), LockError> {
        self.check()?;
        if self.kernel.is_some() {
            return Ok(());
        }
        self.write().map_err(|source| LockError::File { path: self.path.clone(), source })
    }

    fn write(&self) -> io::Result<()> {
        let beat = self.beats.fetch_add(1, Ordering::Relaxed);
        let text = format!("{} beat {beat}\n", self.holder);
        // In place: the kernel's lock belongs to this file. A shorter line never follows a longer one of the
        // same holder.
        let file = self.files.open_or_create(&self.path)?;
        file.write_all_at(text.as_bytes(), 0)?;
        file.set_length(text.len() as u64)
    }
}

impl Drop for SaveLock {
    fn drop(&mut self) {
        if self.check().is_ok() {
            // An empty file is free. Removing the file would take the kernel's lock from a newcomer.
            let _ = self.files.open_or_create(&self.path).and_then(|file| file.set_length(0));
        }
    }
}

impl LockError {
    /// What to do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Held { .. } => {
                "stop the other aggregator first, or give this aggregator a workspace of its own: two aggregators cannot share save/"
            }
            Self::Lost { .. } => {
                "run one aggregator for each save/: stop both, and start one again. Finished rounds are saved"
            }
            Self::File { .. } => "allow this user to write to the folder save/",
        }
    }
}

fn held(save: &Path, holder: &str) -> LockError {
    LockError::Held { folder: save.to_owned(), holder: holder.to_owned() }
}

/// The file's line; empty where there is none.
fn line(files: &Files, path: &Path) -> io::Result<String> {
    match files.read_at_most(path, LINE_BYTES) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    }
}

fn holder_line(how: &str, process: u32, since: UnixSeconds, token: u64) -> String {
    format!("{how} process {process} since {since} token {token:016x}")
}

/// The holder for a message: the words of the line up to its token.
fn of(holder: &str) -> String {
    let words = holder.split_once("process ").map_or("", |(_, rest)| rest);
    let words = words.split(" token").next().unwrap_or_default();
    let words: String = words.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
    if words.is_empty() { String::new() } else { format!(" (process {words})") }
}

/// The file in `save/`.
const FILE: &str = "lock";
/// The first word of a line whose holder has a lock of the kernel.
const LOCKED: &str = "locked";
/// The first word of a line whose holder rewrites it.
const BEATING: &str = "beating";
/// Time between two beats.
pub(crate) const BEAT: Duration = Duration::from_millis(500);
/// How long a newcomer watches a line that is not its own.
const WATCH: Duration = Duration::from_millis(1300);
/// How long a newcomer waits for another one that came at the same moment.
const SETTLE: Duration = Duration::from_millis(200);
/// Longest line, bytes.
const LINE_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("fl-lock-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    fn take(save: &Path, apart: Apart) -> Result<SaveLock, LockError> {
        SaveLock::take(&System::real(), save, apart)
    }

    #[test]
    fn second_process_is_kept_out_until_the_first_one_ends() {
        let save = folder("kernel").join("save");
        let first = take(&save, Apart::Kernel).unwrap();
        first.check().unwrap();
        let refused = take(&save, Apart::Kernel).unwrap_err();
        let words =
            format!("another aggregator uses {} (process {} since ", save.display(), std::process::id());
        assert!(refused.to_string().starts_with(&words), "{refused}");
        drop(first);
        take(&save, Apart::Kernel).unwrap().check().unwrap();
    }

    #[test]
    fn lock_that_a_crash_left_is_taken_at_once_where_the_kernel_locks() {
        let save = folder("crash");
        fs::create_dir_all(&save).unwrap();
        fs::write(save.join(FILE), holder_line(LOCKED, 1, UnixSeconds(0), 7) + " beat 0\n").unwrap();
        let began = std::time::Instant::now();
        take(&save, Apart::Kernel).unwrap().check().unwrap();
        assert!(began.elapsed() < WATCH / 2);
    }

    #[test]
    fn beats_keep_a_newcomer_out_where_the_kernel_has_no_locks_and_a_still_file_does_not() {
        let save = folder("beats");
        let first = take(&save, Apart::Beats).unwrap();
        std::thread::scope(|scope| {
            let newcomers = [Apart::Beats, Apart::Kernel].map(|apart| {
                scope.spawn({
                    let save = &save;
                    move || take(save, apart).map(drop)
                })
            });
            while !newcomers.iter().all(|newcomer| newcomer.is_finished()) {
                first.beat().unwrap();
                std::thread::sleep(Duration::from_millis(50));
            }
            for newcomer in newcomers {
                assert!(matches!(newcomer.join().unwrap(), Err(LockError::Held { .. })));
            }
        });
        // The first process stands still, as after a crash.
        let second = take(&save, Apart::Beats).unwrap();
        second.check().unwrap();
        // It goes on again, and finds that the folder is no longer its own.
        for refused in [first.check(), first.beat()] {
            assert!(matches!(refused, Err(LockError::Lost { .. })), "{refused:?}");
        }
        drop(first);
        second.check().unwrap();
    }

    #[test]
    fn removed_file_is_written_again_by_its_holder() {
        let save = folder("removed");
        let lock = take(&save, Apart::Beats).unwrap();
        fs::remove_file(save.join(FILE)).unwrap();
        lock.check().unwrap();
        assert!(fs::read_to_string(save.join(FILE)).unwrap().starts_with(BEATING));
    }
}
