//! The highest serial of a federation's roster that this folder has seen, `save/roster-serial`.
//!
//! The aggregator keeps its own and a collaborator the one that its aggregator named or that it was given, so that
//! neither takes an old roster for the newest, across restarts too. The file is one line, `SERIAL CA`: a federation made
//! anew in the same folder begins anew. A host that removes the file is noticed by nobody here, only by peers who remember more.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use fl_engine::Digest;

/// Remembers the highest serial.
#[derive(Debug)]
pub struct Serials {
    file: PathBuf,
    ca: Digest,
    highest: AtomicU64,
}

impl Serials {
    /// Reads `file`; a missing or unreadable one, or another CA's, counts as 0.
    #[must_use]
    pub fn open(file: &Path, ca: Digest) -> Self {
        let read = || {
            let text = fs::read_to_string(file).ok()?;
            let (serial, of) = text.strip_suffix('\n')?.split_once(' ')?;
            (of.parse() == Ok(ca)).then(|| serial.parse().ok()).flatten()
        };
        let highest = read();
        if highest.is_none() && !matches!(file.try_exists(), Ok(false)) {
            tracing::warn!(file = %file.display(), "no serial of this federation's rosters is remembered");
        }
        Self { file: file.to_owned(), ca, highest: AtomicU64::new(highest.unwrap_or(0)) }
    }

    /// The highest serial seen; 0 for none.
    #[must_use]
    pub fn highest(&self) -> u64 {
        self.highest.load(Ordering::Relaxed)
    }

    /// Remembers a serial that a verified roster, or an authenticated aggregator, named.
    ///
    /// # Errors
    /// When the file cannot be written; it is remembered until the process ends all the same.
    pub fn saw(&self, serial: u64) -> io::Result<()> {
        if self.highest.fetch_max(serial, Ordering::Relaxed) >= serial {
            return Ok(());
        }
        if let Some(folder) = self.file.parent() {
            fs::create_dir_all(folder)?;
        }
        let fresh = self.file.with_extension(format!("{}.new", std::process::id()));
        fs::write(&fresh, format!("{serial} {}\n", self.ca))?;
        fs::rename(&fresh, &self.file)
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::fixture::scratch;

    #[test]
    fn highest_serial_outlives_the_process_and_belongs_to_one_ca() {
        let file = scratch("serials").join("save/roster-serial");
        let (ca, other) = (Digest::of(b"ca"), Digest::of(b"other"));
        let serials = Serials::open(&file, ca);
        assert_eq!(serials.highest(), 0);
        serials.saw(7).unwrap();
        serials.saw(3).unwrap();
        assert_eq!(serials.highest(), 7);
        assert_eq!(Serials::open(&file, ca).highest(), 7);
        assert_eq!(Serials::open(&file, other).highest(), 0);
        for torn in ["", "7", &format!("7 {ca}"), &format!("x {ca}\n")] {
            fs::write(&file, torn).unwrap();
            assert_eq!(Serials::open(&file, ca).highest(), 0, "{torn:?}");
        }
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }
}
