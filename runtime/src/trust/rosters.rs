//! The roster in force: read from `plan/cols.yaml` or `cert/cols.yaml`, and read again when the owner
//! publishes a new one. The one with the highest serial wins.
//!
//! A roster with a lower serial than was ever seen is refused, also after a restart. A file that is refused
//! leaves the previous roster in force. The caller decides when to call [`Rosters::reload_if_changed`].

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use fl_engine::{
    Digest, Name, limits,
    plan::roster::{Measurements, Resumption, Roster, RosterError, UnixSeconds},
};
use rustls::pki_types::CertificateDer;

use super::{
    Authority, FlooredClock, Serials,
    admission::{self, Admission, PeerAdmitted, Refused},
};
use crate::files::Files;

/// The roster in force. All sessions share it.
#[derive(Debug)]
pub struct Rosters {
    files: Files,
    authority: Authority,
    federation: Name,
    serials: Serials,
    clock: FlooredClock,
    /// Each file, with the text that was read last, accepted or refused.
    last: Mutex<Vec<(PathBuf, Vec<u8>)>>,
    held: RwLock<Held>,
}

/// A roster and its text.
#[derive(Debug)]
struct Held {
    roster: Arc<Roster>,
    text: Arc<[u8]>,
    file: PathBuf,
}

/// Why a roster is refused, or its serial cannot be saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RosterRefused {
    /// The file cannot be read.
    #[error("cannot read {0}")]
    File(PathBuf, #[source] io::Error),
    /// The highest serial cannot be saved.
    #[error("cannot write {0}")]
    Seen(PathBuf, #[source] io::Error),
    /// The text was cut short or changed, another CA signed it, or it does not parse.
    #[error("{0} is refused")]
    Roster(PathBuf, #[source] RosterError),
    /// The CA's key signed the roster, but the roster names another certificate of the CA.
    #[error("roster is for the CA certificate {found}, but cert/ca.crt is {needed}")]
    OtherCa {
        /// This side's.
        needed: Digest,
        /// The roster's.
        found: Digest,
    },
    /// The roster belongs to another federation.
    #[error("roster belongs to the federation {found}, but {needed} is needed")]
    OtherFederation {
        /// This side's.
        needed: Name,
        /// The roster's.
        found: Name,
    },
    /// The roster's last second is over.
    #[error("the roster expired at {0}")]
    Expired(UnixSeconds),
    /// The roster is older than one that was seen.
    #[error("roster has serial {found}, but serial {seen} was seen before: the roster is an old one")]
    Older {
        /// The file's.
        found: u64,
        /// The highest.
        seen: u64,
    },
    /// The owner has signed two rosters with one serial.
    #[error("another roster with serial {0} is in force")]
    SameSerial(u64),
}

impl Rosters {
    /// Reads the rosters in `sources`: the one with the highest serial is in force. `serials` remembers the
    /// highest serial. A source that is missing or empty is left out.
    ///
    /// # Errors
    /// [`RosterRefused`] of the first source, where none is good.
    pub fn open(
        files: &Files,
        authority: Authority,
        federation: Name,
        sources: &[PathBuf],
        serials: Serials,
        clock: &FlooredClock,
    ) -> Result<Self, RosterRefused> {
        let clock = clock.at_least(authority.validity().not_before);
        let (mut refused, mut best, mut read_last) = (None, None::<Held>, Vec::new());
        for (at, file) in sources.iter().enumerate() {
            if at > 0 && is_empty(files, file) {
                read_last.push((file.clone(), Vec::new()));
                continue;
            }
            let text = read(files, file);
            // Also where nothing was read: the file may come later.
            read_last.push((file.clone(), text.as_ref().cloned().unwrap_or_default()));
            let taken = text.and_then(|text| {
                let roster = verify(file, &text, &authority, &federation, clock.now(), serials.highest())?;
                Ok(Held { roster: Arc::new(roster), text: text.into(), file: file.clone() })
            });
            match taken {
                Ok(held) if best.as_ref().is_none_or(|best| held.serial() > best.serial()) => {
                    best = Some(held);
                }
                Ok(_) => {}
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        let held = match (best, refused) {
            (Some(held), _) => held,
            (None, Some(refused)) => return Err(refused),
            (None, None) => return Err(RosterRefused::File(PathBuf::new(), io::ErrorKind::NotFound.into())),
        };
        remember(&serials, &held.roster)?;
        let (last, held) = (Mutex::new(read_last), RwLock::new(held));
        Ok(Self { files: files.clone(), authority, federation, serials, clock, last, held })
    }

    /// The roster in force.
    #[must_use]
    pub fn roster(&self) -> Arc<Roster> {
        // A writer that panicked has replaced the roster as a whole or not at all.
        Arc::clone(&self.held.read().unwrap_or_else(PoisonError::into_inner).roster)
    }

    /// The enclave measurements that the roster in force expects.
    #[must_use]
    pub fn measurements(&self) -> Option<Measurements> {
        self.roster().measurements().copied()
    }

    /// The names that the roster admits.
    #[must_use]
    pub fn members(&self) -> Vec<Name> {
        self.roster().names().cloned().collect()
    }

    /// Reads the files. A new text comes into force if it passes the checks, and if its serial is higher than
    /// that of the roster in force. Returns whether a new roster came into force.
    ///
    /// # Errors
    /// [`RosterRefused`], once for each refused text, and once where the file of the roster in force is gone;
    /// the previous roster stays in force. After [`RosterRefused::Seen`] the new roster is in force, but its
    /// serial is not remembered after a restart. A file that is being rewritten may be refused once, and is
    /// accepted by the next call.
    pub fn reload_if_changed(&self) -> Result<bool, RosterRefused> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = Ok(false);
        for (file, last) in last.iter_mut() {
            match self.reload(file, last) {
                Ok(new) => changed = changed.map(|changed| changed || new),
                Err(error) => changed = Err(error),
            }
        }
        changed
    }

    /// Reads one file. An old text is left alone where the roster in force lies in another file.
    fn reload(&self, file: &Path, last: &mut Vec<u8>) -> Result<bool, RosterRefused> {
        let (source, in_force) = self.held();
        if source != file && is_empty(&self.files, file) {
            last.clear();
            return Ok(false);
        }
        let text = match read(&self.files, file) {
            Ok(text) => text,
            Err(_) if last.is_empty() => return Ok(false),
            Err(error) => {
                last.clear();
                return Err(error);
            }
        };
        if text == *last {
            return Ok(false);
        }
        last.clone_from(&text);
        let seen = self.serials.highest().max(in_force.serial());
        let lies_elsewhere = source != file && !is_empty(&self.files, &source);
        let roster = match verify(file, &text, &self.authority, &self.federation, self.clock.now(), seen) {
            Err(RosterRefused::Older { .. }) if lies_elsewhere => return Ok(false),
            verified => verified?,
        };
        if roster.serial() == in_force.serial() {
            return match roster.digest() == in_force.digest() {
                true => Ok(false),
                false => Err(RosterRefused::SameSerial(roster.serial())),
            };
        }
        let new = Held { roster: Arc::new(roster), text: text.into(), file: file.to_owned() };
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = new;
        remember(&self.serials, &self.roster())?;
        Ok(true)
    }

    /// The roster in force, and where it came from.
    fn held(&self) -> (PathBuf, Arc<Roster>) {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        (held.file.clone(), Arc::clone(&held.roster))
    }
}

impl Held {
    fn serial(&self) -> u64 {
        self.roster.serial()
    }
}

impl Admission for Rosters {
    fn admit(&self, certificates: &[CertificateDer<'_>]) -> Result<PeerAdmitted, Refused> {
        admission::admit(certificates, &self.roster(), self.clock.now())
    }

    fn still_admits(&self, peer: &PeerAdmitted) -> Result<(), Refused> {
        peer.still(&self.roster(), self.clock.now())
    }

    fn serial(&self) -> u64 {
        self.roster().serial()
    }

    fn roster_text(&self) -> Option<Arc<[u8]>> {
        Some(Arc::clone(&self.held.read().unwrap_or_else(PoisonError::into_inner).text))
    }

    fn resumption(&self) -> Option<Resumption> {
        self.roster().resume().cloned()
    }
}

impl RosterRefused {
    /// What to do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::File(..) => {
                "copy plan/cols.yaml from the federation's owner, who makes it with `fl-host pki approve`"
            }
            Self::Seen(..) => "allow this user to write to the folder save/",
            Self::Roster(_, error) => error.hint(),
            Self::OtherCa { .. } | Self::OtherFederation { .. } => {
                "copy plan/cols.yaml and cert/ca.crt from the owner of this federation"
            }
            Self::Expired(_) => "ask the federation's owner to sign the roster again with `fl-host pki sign`",
            Self::Older { .. } | Self::SameSerial(_) => {
                "copy the newest plan/cols.yaml from the federation's owner"
            }
        }
    }
}

/// Checks a roster that nobody has checked yet.
pub(super) fn verify(
    file: &Path,
    text: &[u8],
    authority: &Authority,
    federation: &Name,
    now: UnixSeconds,
    seen: u64,
) -> Result<Roster, RosterRefused> {
    let refused = |error| RosterRefused::Roster(file.to_owned(), error);
    // A text that ends inside a character was cut short.
    let text = str::from_utf8(text).map_err(|_| refused(RosterError::Unsigned))?;
    let roster = authority.open_roster(text).map_err(refused)?;
    if roster.ca() != authority.digest() {
        return Err(RosterRefused::OtherCa { needed: authority.digest(), found: roster.ca() });
    }
    if roster.federation() != federation {
        let found = roster.federation().clone();
        return Err(RosterRefused::OtherFederation { needed: federation.clone(), found });
    }
    if now > roster.not_after() {
        return Err(RosterRefused::Expired(roster.not_after()));
    }
    if roster.serial() < seen {
        return Err(RosterRefused::Older { found: roster.serial(), seen });
    }
    Ok(roster)
}

/// Whether there is no roster in a file: an image has an empty one where no volume covers it.
pub(super) fn is_empty(files: &Files, file: &Path) -> bool {
    files.length(file).map_or(true, |length| length == 0)
}

/// Reads one byte more than a roster may have, so that the parser refuses a longer roster by its length.
pub(super) fn read(files: &Files, file: &Path) -> Result<Vec<u8>, RosterRefused> {
    files
        .read_start(file, limits::PLAN_FILE_BYTES + 1)
        .map_err(|error| RosterRefused::File(file.to_owned(), error))
}

pub(super) fn remember(serials: &Serials, roster: &Roster) -> Result<(), RosterRefused> {
    serials.saw(roster.serial()).map_err(|error| RosterRefused::Seen(serials.file().to_owned(), error))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::trust::fixture::{DAY, Leaf, NOW, TestCa, clock, files, scratch};

    struct Rig {
        ca: TestCa,
        one: CertificateDer<'static>,
        file: PathBuf,
        seen: PathBuf,
    }

    impl Rig {
        fn new(name: &str) -> Self {
            let folder = scratch(name);
            let ca = TestCa::new("w");
            let one = ca.issue(Leaf::collaborator("one")).0;
            Self { ca, one, file: folder.join("cols.yaml"), seen: folder.join("save/roster-serial") }
        }

        fn text(&self, serial: u64) -> String {
            self.ca.roster(serial, &[("one", &self.one, None)])
        }

        fn open(&self, text: &str) -> Result<Rosters, RosterRefused> {
            fs::write(&self.file, text).unwrap();
            self.open_files()
        }

        /// With the two files that every role has.
        fn open_files(&self) -> Result<Rosters, RosterRefused> {
            let serials = Serials::open(&files(), &self.seen, self.ca.authority().digest());
            let (authority, sources) = (self.ca.authority(), [self.file.clone(), self.second()]);
            Rosters::open(&files(), authority, "w".parse().unwrap(), &sources, serials, &clock(NOW))
        }

        fn second(&self) -> PathBuf {
            self.file.with_file_name("second.yaml")
        }
    }

    #[test]
    fn lower_serial_is_refused_in_a_run_and_after_it() {
        let rig = Rig::new("serial");
        let held = rig.open(&rig.text(7)).unwrap();
        fs::write(&rig.file, rig.text(6)).unwrap();
        assert!(matches!(held.reload_if_changed(), Err(RosterRefused::Older { found: 6, seen: 7 })));
        assert_eq!(held.roster().serial(), 7);
        assert!(!held.reload_if_changed().unwrap(), "one bad text is reported once");
        fs::write(&rig.file, rig.text(8)).unwrap();
        assert!(held.reload_if_changed().unwrap());
        assert_eq!(held.roster().serial(), 8);
        assert!(matches!(rig.open(&rig.text(7)), Err(RosterRefused::Older { found: 7, seen: 8 })));
        rig.open(&rig.text(8)).unwrap();
        fs::remove_file(&rig.seen).unwrap();
        rig.open(&rig.text(7)).unwrap();
    }

    #[test]
    fn newest_of_two_files_is_in_force_also_after_a_restart() {
        let rig = Rig::new("two-files");
        let (second, open) = (rig.second(), || rig.open_files());
        fs::write(&rig.file, rig.text(3)).unwrap();
        let held = open().unwrap();
        assert_eq!(held.roster().serial(), 3);
        fs::write(&second, rig.text(5)).unwrap();
        assert!(held.reload_if_changed().unwrap());
        assert_eq!((held.roster().serial(), held.roster_text().unwrap().to_vec()), (5, rig.text(5).into()));
        // The older file is left alone, also when it is read anew; what is forged is reported.
        fs::write(&rig.file, rig.text(4)).unwrap();
        assert!(!held.reload_if_changed().unwrap());
        fs::write(&rig.file, &rig.text(6)[1..]).unwrap();
        assert!(matches!(held.reload_if_changed(), Err(RosterRefused::Roster(..))));
        assert_eq!(open().unwrap().roster().serial(), 5);
        fs::remove_file(&rig.file).unwrap();
        assert_eq!(open().unwrap().roster().serial(), 5);
        fs::remove_file(&second).unwrap();
        assert!(matches!(open(), Err(RosterRefused::File(..))));
    }

    #[test]
    fn file_that_was_missing_at_the_start_is_read_when_it_comes() {
        let rig = Rig::new("late-file");
        fs::write(rig.second(), rig.text(3)).unwrap();
        let held = rig.open_files().unwrap();
        assert_eq!(held.roster().serial(), 3);
        fs::write(&rig.file, rig.text(4)).unwrap();
        assert!(held.reload_if_changed().unwrap());
        assert_eq!(held.roster().serial(), 4);
    }

    #[test]
    fn second_roster_with_a_serial_and_a_deleted_file_are_reported_once() {
        let rig = Rig::new("same-serial");
        let held = rig.open(&rig.text(3)).unwrap();
        let twin = rig.ca.roster(3, &[("one", &rig.one, Some("left"))]);
        for file in [rig.second(), rig.file.clone()] {
            fs::write(file, &twin).unwrap();
            assert!(matches!(held.reload_if_changed(), Err(RosterRefused::SameSerial(3))));
            assert!(!held.reload_if_changed().unwrap());
        }
        assert!(held.admit(std::slice::from_ref(&rig.one)).is_ok());
        // The same roster in both files is no fault, and neither is it that the other file goes.
        for file in [rig.second(), rig.file.clone()] {
            fs::write(file, rig.text(3)).unwrap();
            assert!(!held.reload_if_changed().unwrap());
        }
        fs::remove_file(rig.second()).unwrap();
        assert!(!held.reload_if_changed().unwrap());
        fs::remove_file(&rig.file).unwrap();
        assert!(matches!(held.reload_if_changed(), Err(RosterRefused::File(..))));
        assert!(!held.reload_if_changed().unwrap());
        // Nothing holds the roster in force any more: an older one is an answer to that.
        fs::write(rig.second(), rig.text(2)).unwrap();
        assert!(matches!(held.reload_if_changed(), Err(RosterRefused::Older { found: 2, seen: 3 })));
        assert_eq!(held.roster().serial(), 3);
    }

    #[test]
    fn changed_torn_and_foreign_rosters_leave_the_held_one_in_force() {
        let rig = Rig::new("torn");
        let good = rig.text(1);
        let held = rig.open(&good).unwrap();
        let next = rig.ca.roster(2, &[("one", &rig.one, Some("left"))]);
        let foreign = TestCa::new("w").roster(2, &[]);
        for bad in [&next[..next.len() / 2], &format!("{}{}", &next[..300], &good[300..]), &foreign, ""] {
            fs::write(&rig.file, bad).unwrap();
            let refused = held.reload_if_changed().unwrap_err();
            assert!(matches!(refused, RosterRefused::Roster(..)), "{refused:?}");
            assert!(refused.hint().contains("the file may be incomplete for a moment"));
            assert!(held.admit(std::slice::from_ref(&rig.one)).is_ok());
        }
        let admitted = held.admit(std::slice::from_ref(&rig.one)).unwrap();
        fs::write(&rig.file, &next).unwrap();
        assert!(held.reload_if_changed().unwrap(), "the whole file comes into force after the torn one");
        assert!(matches!(held.still_admits(&admitted), Err(Refused::Revoked { .. })));
        fs::remove_file(&rig.file).unwrap();
        assert!(matches!(held.reload_if_changed(), Err(RosterRefused::File(..))));
    }

    #[test]
    fn rosters_of_another_ca_federation_or_time_do_not_open() {
        let rig = Rig::new("other");
        let foreign = TestCa::new("w").roster(1, &[]);
        assert!(matches!(rig.open(&foreign), Err(RosterRefused::Roster(_, RosterError::Signature))));
        let elsewhere = rig.ca.roster_of("v", 1, UnixSeconds(NOW.0 + DAY), None);
        assert!(matches!(rig.open(&elsewhere), Err(RosterRefused::OtherFederation { .. })));
        let expired = rig.ca.roster_of("w", 1, UnixSeconds(NOW.0 - 1), None);
        assert!(matches!(rig.open(&expired), Err(RosterRefused::Expired(_))));
        let renewed = rig.ca.roster_of("w", 1, UnixSeconds(NOW.0 + DAY), Some(Digest::of(b"renewed")));
        assert!(matches!(rig.open(&renewed), Err(RosterRefused::OtherCa { .. })));
        assert!(matches!(
            rig.open(&"#".repeat(2 << 20)),
            Err(RosterRefused::Roster(_, RosterError::TooLong(_)))
        ));
        assert!(!rig.seen.exists(), "a refused roster's serial is not remembered");
    }
}
