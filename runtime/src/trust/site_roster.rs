//! The roster that a collaborator holds, where it holds one: from `plan/cols.yaml` or `cert/cols.yaml`, or
//! from the aggregator, which hands its roster on to a collaborator with an older one.
//!
//! The one with the highest serial is in force. The owner's signature is checked, wherever the text comes
//! from.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use fl_engine::{
    Name,
    plan::roster::{Roster, UnixSeconds},
};

use super::{
    Authority, FlooredClock, RosterRefused, Serials,
    rosters::{is_empty, read, remember, verify},
};
use crate::files::Files;

/// The roster of a collaborator.
#[derive(Debug)]
pub struct SiteRoster {
    files: Files,
    authority: Authority,
    federation: Name,
    serials: Arc<Serials>,
    clock: FlooredClock,
    /// Each file, with the text that was read last, accepted or refused.
    last: Mutex<Vec<(PathBuf, Vec<u8>)>>,
    roster: RwLock<Option<Arc<Roster>>>,
}

impl SiteRoster {
    /// Nothing is in force before the first [`Self::look`].
    #[must_use]
    pub fn new(
        files: &Files,
        authority: Authority,
        federation: Name,
        sources: Vec<PathBuf>,
        serials: Arc<Serials>,
        clock: &FlooredClock,
    ) -> Self {
        let clock = clock.at_least(authority.validity().not_before);
        let last = Mutex::new(sources.into_iter().map(|file| (file, Vec::new())).collect());
        Self { files: files.clone(), authority, federation, serials, clock, last, roster: RwLock::default() }
    }

    /// The roster in force; `None` once it has ended.
    #[must_use]
    pub fn roster(&self) -> Option<Arc<Roster>> {
        self.held().filter(|roster| self.clock.now() <= roster.not_after())
    }

    /// When the newest roster ends, or has ended.
    #[must_use]
    pub fn ends(&self) -> Option<UnixSeconds> {
        self.held().map(|roster| roster.not_after())
    }

    /// The newest roster, which may have ended.
    fn held(&self) -> Option<Arc<Roster>> {
        // A writer that panicked has replaced the roster as a whole or not at all.
        self.roster.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files that have changed. Returns what is refused, once for each text; the roster before
    /// stays in force, except after [`RosterRefused::Seen`]. A missing or empty file holds no roster.
    pub fn look(&self) -> Vec<RosterRefused> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mut refused = Vec::new();
        for (file, last) in last.iter_mut() {
            if is_empty(&self.files, file) {
                continue;
            }
            let taken = read(&self.files, file).and_then(|text| {
                if text == *last {
                    return Ok(false);
                }
                last.clone_from(&text);
                self.put(file, &text)
            });
            match taken {
                // A newer one lies in the other file.
                Err(RosterRefused::Older { .. }) if self.held().is_some() => {}
                taken => refused.extend(taken.err()),
            }
        }
        refused
    }

    /// Puts a roster that the aggregator hands on in force, if it is newer. Returns whether it is.
    ///
    /// # Errors
    /// [`RosterRefused`]. After [`RosterRefused::Seen`] the new roster is in force, but its serial is not
    /// remembered after a restart.
    pub fn take(&self, text: &[u8]) -> Result<bool, RosterRefused> {
        self.put(Path::new("the roster of the aggregator"), text)
    }

    fn put(&self, file: &Path, text: &[u8]) -> Result<bool, RosterRefused> {
        // What an aggregator only named is no reason to refuse a roster here: see `Serials::heard`.
        let held = self.held().map_or(0, |roster| roster.serial());
        let seen = self.serials.signed().max(held);
        let roster = verify(file, text, &self.authority, &self.federation, self.clock.now(), seen)?;
        if held == roster.serial() {
            return Ok(false);
        }
        let roster = Arc::new(roster);
        *self.roster.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&roster));
        remember(&self.serials, &roster)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        sync::atomic::{AtomicU64, Ordering::Relaxed},
    };

    use super::*;
    use crate::trust::fixture::{NOW, TestCa, clock, files, scratch};

    #[test]
    fn newest_roster_of_files_and_aggregator_is_in_force_and_its_serial_remembered() {
        let folder = scratch("site-roster");
        let ca = TestCa::new("w");
        let sources = ["plan.yaml", "cert.yaml"].map(|name| folder.join(name));
        let seen = folder.join("save/roster-serial");
        let open = || {
            let serials = Arc::new(Serials::open(&files(), &seen, ca.authority().digest()));
            let federation = "w".parse().unwrap();
            SiteRoster::new(&files(), ca.authority(), federation, sources.to_vec(), serials, &clock(NOW))
        };
        let serial = |site: &SiteRoster| site.roster().map(|roster| roster.serial());
        let site = open();
        assert!(site.look().is_empty() && site.roster().is_none());
        fs::write(&sources[0], "").unwrap();
        fs::write(&sources[1], ca.roster(7, &[])).unwrap();
        assert!(site.look().is_empty());
        assert_eq!(serial(&site), Some(7));
        fs::write(&sources[0], ca.roster(6, &[])).unwrap();
        assert!(site.look().is_empty(), "an older one beside it is no fault");
        assert_eq!(serial(&site), Some(7));
        fs::write(&sources[0], &ca.roster(8, &[])[1..]).unwrap();
        assert!(matches!(site.look()[..], [RosterRefused::Roster(..)]));
        assert!(site.look().is_empty(), "one bad text is reported once");

        assert!(site.take(ca.roster(9, &[]).as_bytes()).unwrap());
        assert!(!site.take(ca.roster(9, &[]).as_bytes()).unwrap());
        let foreign = TestCa::new("w").roster(10, &[]);
        assert!(matches!(site.take(foreign.as_bytes()), Err(RosterRefused::Roster(..))));
        let expired = ca.roster_of("w", 10, UnixSeconds(NOW.0 - 1), None);
        assert!(matches!(site.take(expired.as_bytes()), Err(RosterRefused::Expired(_))));
        assert_eq!(serial(&site), Some(9));

        // The next process has only the file, and knows that it is an old one.
        let next = open();
        fs::remove_file(&sources[0]).unwrap();
        assert!(matches!(next.look()[..], [RosterRefused::Older { found: 7, seen: 9 }]));
        assert_eq!(serial(&next), None);
    }

    #[test]
    fn roster_is_in_force_also_where_its_serial_cannot_be_saved() {
        let folder = scratch("site-roster-unsaved");
        let ca = TestCa::new("w");
        // A file where the folder should be.
        fs::write(folder.join("save"), "").unwrap();
        let seen = folder.join("save/roster-serial");
        let serials = Arc::new(Serials::open(&files(), &seen, ca.authority().digest()));
        let federation = "w".parse().unwrap();
        let site = SiteRoster::new(&files(), ca.authority(), federation, Vec::new(), serials, &clock(NOW));
        assert!(matches!(site.take(ca.roster(3, &[]).as_bytes()), Err(RosterRefused::Seen(..))));
        assert_eq!(site.roster().map(|roster| roster.serial()), Some(3));
    }

    #[test]
    fn roster_that_ends_while_the_site_runs_is_used_no_more() {
        let ca = TestCa::new("w");
        let seen = scratch("site-roster-ends").join("roster-serial");
        let serials = Arc::new(Serials::open(&files(), &seen, ca.authority().digest()));
        let now = Arc::new(AtomicU64::new(NOW.0));
        let reads = Arc::clone(&now);
        let clock = FlooredClock::new(move || UnixSeconds(reads.load(Relaxed)));
        let federation = "w".parse().unwrap();
        let site = SiteRoster::new(&files(), ca.authority(), federation, Vec::new(), serials, &clock);
        let ends = UnixSeconds(NOW.0 + 60);
        assert!(site.take(ca.roster_of("w", 3, ends, None).as_bytes()).unwrap());
        for (at, in_force) in [(ends.0, true), (ends.0 + 1, false)] {
            now.store(at, Relaxed);
            assert_eq!((site.roster().is_some(), site.ends()), (in_force, Some(ends)));
        }
        assert!(matches!(site.take(ca.roster(2, &[]).as_bytes()), Err(RosterRefused::Older { .. })));
        assert!(site.take(ca.roster(4, &[]).as_bytes()).unwrap() && site.roster().is_some());
    }
}
