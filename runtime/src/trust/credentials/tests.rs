//! A role's folder: empty, waiting, complete, and with each thing that can be wrong in it.

use std::{fs, os::unix::fs::PermissionsExt as _};

use fl_engine::plan::roster::UnixSeconds;

use super::*;
use crate::trust::fixture::{DAY, Leaf, NOW, TestCa, clock, files, scratch};

struct Rig {
    ca: TestCa,
    cert: PathBuf,
    name: Name,
    at: KeyFiles,
}

impl Rig {
    /// A collaborator's folder with a key, and no certificate.
    fn new(folder: &str) -> Self {
        let cert = scratch(folder);
        let name: Name = "one".parse().unwrap();
        let at = KeyFiles::of(&files(), &cert, Role::Collaborator, Some(&name)).unwrap();
        let rig = Self { ca: TestCa::new("w"), cert, name, at };
        fs::write(rig.cert.join("ca.crt"), rig.ca.pem()).unwrap();
        assert!(matches!(rig.load(), Err(CredentialsError::Waiting(_))));
        rig
    }

    fn load(&self) -> Result<Credentials, CredentialsError> {
        Credentials::load_or_request(&files(), &self.cert, Role::Collaborator, Some(&self.name), &clock(NOW))
    }

    /// What loading says with this certificate in place.
    fn with(&self, leaf: Leaf<'_>, ca: &TestCa) -> Result<Credentials, CredentialsError> {
        let key = read_key(&files(), &self.at.key).unwrap();
        fs::write(&self.at.certificate, ca.issue_pem(leaf.key(&key))).unwrap();
        self.load()
    }

    fn refused(&self, leaf: Leaf<'_>) -> PeerError {
        match self.with(leaf, &self.ca).unwrap_err() {
            CredentialsError::Refused(_, error) => error,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn key_is_in_the_folder_that_is_made_for_it() {
    let cert = scratch("sealed").join("cert");
    fs::create_dir_all(cert.join("private")).unwrap();
    let asked = request(&files(), &cert, Role::Aggregator, None).unwrap();
    assert_eq!(asked.path, cert.join("aggregator.csr"));
    assert!(cert.join("private/aggregator.key").is_file());
    assert!(!cert.join("aggregator.key").exists());
    assert!(!request(&files(), &cert, Role::Aggregator, None).unwrap().made_key);
}

#[test]
fn key_that_cannot_be_looked_at_is_not_made_anew() {
    let cert = scratch("unseen").join("cert");
    fs::create_dir_all(cert.join("private")).unwrap();
    // Gramine says EACCES of what another image sealed; a circle of links is as little there to be looked at.
    let key = cert.join("private/aggregator.key");
    std::os::unix::fs::symlink(&key, &key).unwrap();
    for certificate in [false, true] {
        if certificate {
            fs::write(cert.join("aggregator.crt"), "").unwrap();
        }
        let refused =
            Credentials::load_or_request(&files(), &cert, Role::Aggregator, None, &clock(NOW)).unwrap_err();
        assert!(matches!(&refused, CredentialsError::Read(path, _) if *path == key), "{refused}");
    }
    assert!(fs::symlink_metadata(&key).unwrap().is_symlink(), "the key is gone");
    assert!(!cert.join("aggregator.csr").exists());
}

#[test]
fn role_without_a_key_makes_one_and_leaves_only_its_request() {
    let cert = scratch("fresh").join("cert");
    let first = Credentials::load_or_request(&files(), &cert, Role::Aggregator, None, &clock(NOW));
    let Err(CredentialsError::Waiting(first)) = first else { panic!("{first:?}") };
    assert!(first.made_key);
    assert_eq!(first.path, cert.join("aggregator.csr"));
    let mode = fs::metadata(cert.join("aggregator.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut names: Vec<_> = fs::read_dir(&cert).unwrap().map(|f| f.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["aggregator.csr", "aggregator.key"]);
    let asked = fs::read(&first.path).unwrap();
    let again = request(&files(), &cert, Role::Aggregator, None).unwrap();
    assert_eq!((again.fingerprint, again.made_key), (first.fingerprint, false));
    assert_eq!(fs::read(&first.path).unwrap(), asked);
    let nameless = Credentials::load_or_request(&files(), &cert, Role::Collaborator, None, &clock(NOW));
    assert!(matches!(nameless, Err(CredentialsError::Nameless)));
}

#[test]
fn key_certificate_ca_role_and_name_that_fit_are_loaded() {
    let rig = Rig::new("fits");
    let loaded = rig.with(Leaf::collaborator("one"), &rig.ca).unwrap();
    assert_eq!(loaded.identity().to_string(), "fl://w/collaborator/one");
    assert_eq!(
        loaded.fingerprint(),
        request(&files(), &rig.cert, Role::Collaborator, Some(&rig.name)).unwrap().fingerprint
    );
    let (w, v): (Name, Name) = ("w".parse().unwrap(), "v".parse().unwrap());
    let ca = rig.ca.authority().digest();
    loaded.check_plan(&w, Some(ca)).unwrap();
    assert!(matches!(loaded.check_plan(&v, Some(ca)), Err(CredentialsError::OtherFederation { .. })));
    assert!(matches!(loaded.check_plan(&w, None), Err(CredentialsError::Plan(_))));
    assert!(!format!("{loaded:?}").contains("key:"), "a key must not reach a log");
}

#[test]
fn aggregator_takes_its_name_from_its_certificate() {
    let rig = Rig::new("agg");
    request(&files(), &rig.cert, Role::Aggregator, None).unwrap();
    let key = read_key(&files(), &rig.cert.join("aggregator.key")).unwrap();
    let pem = rig.ca.issue_pem(Leaf::aggregator("main").key(&key));
    fs::write(rig.cert.join("aggregator.crt"), pem).unwrap();
    let load = |name: Option<&Name>| {
        Credentials::load_or_request(&files(), &rig.cert, Role::Aggregator, name, &clock(NOW))
    };
    assert_eq!(load(None).unwrap().identity().name.as_str(), "main");
    assert!(matches!(load(Some(&rig.name)), Err(CredentialsError::OtherName { .. })));
}

#[test]
fn each_mistake_in_the_folder_has_its_own_error() {
    let rig = Rig::new("mistakes");
    assert_eq!(rig.refused(Leaf::aggregator("one")), PeerError::WrongUsage(Role::Collaborator));
    let past = UnixSeconds(NOW.0 - DAY);
    let expired = Leaf::collaborator("one").valid(UnixSeconds(NOW.0 - 2 * DAY), past);
    assert_eq!(rig.refused(expired), PeerError::Expired(past));
    let wrong = rig.with(Leaf::collaborator("two"), &rig.ca).unwrap_err();
    assert!(matches!(wrong, CredentialsError::OtherName { .. }), "{wrong}");
    let foreign = rig.with(Leaf::collaborator("one"), &TestCa::new("w")).unwrap_err();
    assert!(matches!(foreign, CredentialsError::Refused(_, PeerError::OtherCa)), "{foreign}");
    fs::write(&rig.at.certificate, rig.ca.issue_pem(Leaf::collaborator("one"))).unwrap();
    assert!(matches!(rig.load(), Err(CredentialsError::OtherKey { .. })));
    fs::write(&rig.at.certificate, "no certificate").unwrap();
    assert!(matches!(rig.load(), Err(CredentialsError::Certificate(..))));

    rig.with(Leaf::collaborator("one"), &rig.ca).unwrap();
    for mode in [0o644, 0o640, 0o620, 0o604, 0o660] {
        fs::set_permissions(&rig.at.key, fs::Permissions::from_mode(mode)).unwrap();
        let open = rig.load().unwrap_err();
        assert!(matches!(open, CredentialsError::Exposed(_, found) if found == mode), "{open}");
        assert!(open.hint().starts_with("run `chmod 600 "));
    }
    fs::set_permissions(&rig.at.key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(rig.cert.join("ca.crt")).unwrap();
    assert!(rig.load().unwrap_err().hint().starts_with("copy ca.crt"));
    fs::write(rig.cert.join("ca.crt"), "x").unwrap();
    assert!(matches!(rig.load(), Err(CredentialsError::Ca(..))));
    fs::write(&rig.at.key, "x").unwrap();
    assert!(matches!(rig.load(), Err(CredentialsError::Key(..))));
    fs::remove_file(&rig.at.key).unwrap();
    assert!(matches!(rig.load(), Err(CredentialsError::KeyMissing { .. })));
    assert!(!rig.at.key.exists(), "no key is made beside a certificate");
}

#[test]
fn names_with_dots_have_files_of_their_own() {
    let files = |name: &str| {
        KeyFiles::of(&files(), Path::new(""), Role::Collaborator, Some(&name.parse().unwrap())).unwrap()
    };
    assert_eq!(files("a.b").key, Path::new("col_a.b.key"));
    assert_ne!(files("a.b").key, files("a.c").key);
}

#[test]
fn misspelt_name_is_told_which_certificates_there_are_and_makes_no_key() {
    let rig = Rig::new("misspelt");
    let cert = &rig.cert;
    let try_name = |name: &str| {
        let name: Name = name.parse().unwrap();
        refuse_misspelt(&files(), cert, Role::Collaborator, Some(&name))
    };
    try_name("onee").unwrap();
    rig.with(Leaf::collaborator("one"), &rig.ca).unwrap();
    try_name("one").unwrap();
    let refused = try_name("onee").unwrap_err();
    let words = "holds no key for this role and name, but a certificate for `collaborator -n one`";
    assert!(refused.to_string().ends_with(words), "{refused}");
    assert_eq!(
        refused.hint(),
        "did you mean `collaborator -n one`? To make a key for a new member, add --new"
    );
    assert!(refuse_misspelt(&files(), cert, Role::Aggregator, None).is_err());
    // A member that waits for its certificate has a key.
    request(&files(), cert, Role::Collaborator, Some(&"two".parse().unwrap())).unwrap();
    try_name("two").unwrap();
}
