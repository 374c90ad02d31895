//! The highest serial of a federation's roster that this folder has seen, `save/roster-serial`.
//!
//! An aggregator remembers the serials of its own rosters, and a collaborator that of the roster in its own
//! workspace: the owner's signature of both was verified. So neither accepts an old roster as the newest,
//! also after a restart. What an aggregator names without a signature is remembered until the process ends,
//! and is not written: a false serial would keep a site away from its federation for good. The file holds
//! one line, `SERIAL CA`: with another CA the serials begin again. A host may remove the file, and this side
//! does not notice; peers that remember a higher serial do.

use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use fl_engine::Digest;

use crate::files::Files;

/// The highest serial that was seen, in memory and in the file.
#[derive(Debug)]
pub struct Serials {
    files: Files,
    file: PathBuf,
    ca: Digest,
    /// Of all serials, also those that an aggregator only named.
    highest: AtomicU64,
    /// Of rosters whose signature was verified, as in the file.
    signed: AtomicU64,
}

impl Serials {
    /// Reads `file`. A file that is missing, unreadable or of another CA counts as serial 0.
    #[must_use]
    pub fn open(files: &Files, file: &Path, ca: Digest) -> Self {
        let read = || {
            let text = files.read_text_at_most(file, FILE_BYTES).ok()?;
            let (serial, of) = text.strip_suffix('\n')?.split_once(' ')?;
            (of.parse() == Ok(ca)).then(|| serial.parse().ok()).flatten()
        };
        let highest = read();
        if highest.is_none() && !matches!(files.exists(file), Ok(false)) {
            tracing::warn!(
                "{} holds no serial of this federation's rosters: an older roster would be accepted now",
                file.display()
            );
        }
        let signed = highest.unwrap_or(0);
        let [highest, signed] = [signed; 2].map(AtomicU64::new);
        Self { files: files.clone(), file: file.to_owned(), ca, highest, signed }
    }

    /// The highest serial seen; 0 when none was seen.
    #[must_use]
    pub fn highest(&self) -> u64 {
        self.highest.load(Ordering::Relaxed)
    }

    /// The highest serial of a roster whose signature was verified; 0 when none was.
    #[must_use]
    pub fn signed(&self) -> u64 {
        self.signed.load(Ordering::Relaxed)
    }

    /// Remembers a serial that an aggregator named and did not prove, until the process ends.
    pub fn heard(&self, serial: u64) {
        self.highest.fetch_max(serial, Ordering::Relaxed);
    }

    /// Remembers the serial of a roster whose signature was verified. When this returns, the serial is
    /// durable.
    ///
    /// # Errors
    /// When the file cannot be written. The serial is then remembered until the process ends.
    pub fn saw(&self, serial: u64) -> io::Result<()> {
        self.highest.fetch_max(serial, Ordering::Relaxed);
        if self.signed.fetch_max(serial, Ordering::Relaxed) >= serial {
            return Ok(());
        }
        if let Some(folder) = self.file.parent() {
            self.files.create_folder(folder)?;
        }
        // Collaborators of one folder share the file.
        self.files.replace_shared(&self.file, format!("{serial} {}\n", self.ca).as_bytes())
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }
}

/// Longest file, bytes: twenty digits and a digest are shorter.
const FILE_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::trust::fixture::{files, scratch};

    #[test]
    fn highest_serial_outlives_the_process_and_belongs_to_one_ca() {
        let file = scratch("serials").join("save/roster-serial");
        let (ca, other) = (Digest::of(b"ca"), Digest::of(b"other"));
        let open = |ca| Serials::open(&files(), &file, ca);
        let serials = open(ca);
        assert_eq!(serials.highest(), 0);
        serials.saw(7).unwrap();
        serials.saw(3).unwrap();
        assert_eq!(serials.highest(), 7);
        assert_eq!(open(ca).highest(), 7);
        assert_eq!(open(other).highest(), 0);
        for torn in ["", "7", &format!("7 {ca}"), &format!("x {ca}\n")] {
            fs::write(&file, torn).unwrap();
            assert_eq!(open(ca).highest(), 0, "{torn:?}");
        }
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn serial_that_was_only_named_ends_with_the_process() {
        let file = scratch("named-serials").join("save/roster-serial");
        let open = || Serials::open(&files(), &file, Digest::of(b"ca"));
        let serials = open();
        serials.heard(u64::MAX);
        assert_eq!(serials.highest(), u64::MAX);
        assert!(!file.exists());
        // The roster that follows is signed: its serial is kept, though a higher one was named.
        serials.saw(7).unwrap();
        assert_eq!((serials.highest(), open().highest()), (u64::MAX, 7));
    }
}
