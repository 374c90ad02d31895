//! The certificate exchange as the people do it, and what each of them must not be able to do.

mod resume;

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _};

use fl_engine::plan::roster::{Accepted, UnixSeconds};
use fl_runtime::internal::trust::{
    Admission as _, Credentials, Fingerprint, FlooredClock, PeerError, Rosters, Serials,
};

use super::{vault::Passphrase, *};
use crate::files::tests::scratch;

fn clock() -> FlooredClock {
    FlooredClock::new(|| UnixSeconds(NOW))
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// An owner's folder with a CA, and folders of sites beside it.
struct Rig {
    dir: PathBuf,
}

impl Rig {
    fn new(test: &str) -> Self {
        let rig = Self { dir: scratch(test) };
        init(&rig.owner_root(), &name("w"), &Init::default(), &clock()).unwrap();
        rig
    }

    fn owner_root(&self) -> PathBuf {
        self.dir.join("owner")
    }

    fn owner(&self) -> Owner {
        Owner::open(&self.owner_root(), || panic!("asked for a passphrase"), &clock()).unwrap()
    }

    fn site(&self, of: &str) -> PathBuf {
        self.dir.join(of)
    }

    /// A site's request, by the role starting without a key.
    fn waiting(&self, role: Role, of: &str) -> fl_runtime::internal::trust::CertificateRequest {
        match self.start(role, of) {
            Err(CredentialsError::Waiting(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    fn start(&self, role: Role, of: &str) -> Result<Credentials, CredentialsError> {
        let asked = (role == Role::Collaborator).then(|| name(of));
        Credentials::load_or_request(
            files::of_process(),
            &self.site(of).join("cert"),
            role,
            asked.as_ref(),
            &clock(),
        )
    }

    fn approve(&self, role: Role, of: &str) -> Issued {
        let request = self.waiting(role, of);
        approve(&mut self.owner(), &request.path, &approval(role, of)).unwrap()
    }

    fn import(&self, of: &str, issued: &Issued) -> Result<Imported, Failure> {
        let (ca, roster) = (self.owner_root().join("cert/ca.crt"), self.owner_root().join("plan/cols.yaml"));
        import(&self.site(of), &issued.file, Some(&ca), Some(&roster), &clock())
    }
}

fn approval(role: Role, of: &str) -> Approval {
    Approval {
        role: Some(role),
        name: Some(name(of)),
        rename: false,
        fingerprint: None,
        replace: false,
        days: 365,
        measurements: None,
    }
}

/// Every file under `folder` and its bytes.
fn bytes_under(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => drop(found.insert(path.clone(), fs::read(&path).unwrap())),
            }
        }
    }
    found
}

#[test]
fn whole_certificate_exchange_as_the_people_do_it() {
    let rig = Rig::new("exchange");
    for (role, of) in [(Role::Aggregator, "agg"), (Role::Collaborator, "one"), (Role::Collaborator, "two")] {
        let request = rig.waiting(role, of);
        let told = Approval { fingerprint: Some(request.fingerprint.grouped()), ..approval(role, of) };
        let issued = approve(&mut rig.owner(), &request.path, &told).unwrap();
        assert_eq!(issued.fingerprint, request.fingerprint);
        let imported = rig.import(of, &issued).unwrap();
        let loaded = rig.start(role, of).unwrap();
        assert_eq!(loaded.identity().to_string(), format!("fl://w/{role}/{of}"));
        assert_eq!(loaded.identity(), &imported.fitting.identity);
        let plan_ca = crate::plan::ca_digest(&fs::read_to_string(ca_file(&rig.site(of))).unwrap()).unwrap();
        loaded.check_plan(&name("w"), Some(plan_ca)).unwrap();
    }
    let agg = rig.site("agg");
    let authority = rig.start(Role::Aggregator, "agg").unwrap().authority().clone();
    let serials = Serials::open(files::of_process(), &agg.join("save/roster-serial"), authority.digest());
    fs::copy(roster_file(&rig.owner_root()), roster_file(&agg)).unwrap();
    let rosters =
        Rosters::open(files::of_process(), authority, name("w"), &[roster_file(&agg)], serials, &clock())
            .unwrap();
    assert_eq!(rosters.members(), [name("one"), name("two")], "the aggregator is no collaborator");
    let certificate = |of: &str| {
        let pem = fs::read(rig.site(of).join(format!("cert/col_{of}.crt"))).unwrap();
        fl_runtime::internal::trust::one_certificate(&pem).unwrap()
    };
    assert_eq!(rosters.admit(&[certificate("one")]).unwrap().name(), &name("one"));

    for reason in ["", "painted \u{202e}", &"x".repeat(201)] {
        let refused = revoke(&mut rig.owner(), None, &name("one"), reason).unwrap_err();
        assert_eq!(refused.exit, Exit::Usage);
        assert!(refused.hint.unwrap().starts_with("give --reason a text"));
    }
    assert_eq!(revoke(&mut rig.owner(), None, &name("one"), "left").unwrap(), (Role::Collaborator, 5));
    publish(&roster_file(&agg), &read_roster(&roster_file(&rig.owner_root())).unwrap()).unwrap();
    assert!(rosters.reload_if_changed().unwrap());
    assert!(rosters.admit(&[certificate("one")]).is_err());
    rosters.admit(&[certificate("two")]).unwrap();
}

#[test]
fn passphrase_opens_the_ca_and_nothing_else_does() {
    let root = scratch("passphrase");
    let right = Passphrase::new(b"correct horse").unwrap();
    let settings = Init { passphrase: Some(right.clone()), ..Init::default() };
    init(&root, &name("w"), &settings, &clock()).unwrap();
    let open = |passphrase: Option<&[u8]>| {
        Owner::open(&root, || passphrase.map(Passphrase::new).transpose(), &clock()).map(drop)
    };
    open(Some(b"correct horse\n")).unwrap();
    let wrong = open(Some(b"correct house")).unwrap_err();
    assert_eq!((wrong.exit, &wrong.error[..]), (Exit::Trust, "the passphrase does not decrypt the CA's key"));
    let none = open(None).unwrap_err();
    assert_eq!(none.error, "the CA's key is encrypted, and no passphrase was given");
    assert!(none.hint.unwrap().contains("--passphrase-file"));
    let key = fs::read_to_string(ca_key_file(&root)).unwrap();
    assert!(vault::is_locked(&key));
    assert_eq!(fs::metadata(ca_key_file(&root)).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(init(&root, &name("w"), &settings, &clock()).unwrap_err().exit, Exit::Trust);
    assert_eq!(fs::read_to_string(ca_key_file(&root)).unwrap(), key, "a second init changes nothing");
}

#[test]
fn renewal_touches_nobody_else() {
    let rig = Rig::new("renew");
    for of in ["one", "two"] {
        let issued = rig.approve(Role::Collaborator, of);
        rig.import(of, &issued).unwrap();
    }
    let before = bytes_under(&rig.dir);
    let renewed = renew(&rig.owner(), Role::Collaborator, &name("one"), 700).unwrap();
    let after = bytes_under(&rig.dir);
    let changed: Vec<_> = before.keys().filter(|path| before[*path] != after[*path]).cloned().collect();
    assert_eq!(changed, std::slice::from_ref(&renewed.file));
    assert_eq!(before.len(), after.len());
    import(&rig.site("one"), &renewed.file, None, None, &clock()).unwrap();
    assert_eq!(
        rig.start(Role::Collaborator, "one").unwrap().validity().not_after,
        UnixSeconds(NOW + 700 * DAY)
    );
    assert!(renew(&rig.owner(), Role::Collaborator, &name("three"), 1).is_err());
    revoke(&mut rig.owner(), None, &name("two"), "left").unwrap();
    assert!(renew(&rig.owner(), Role::Collaborator, &name("two"), 1).is_err(), "revoked is not renewed");
}

#[test]
fn role_and_name_are_the_requests_unless_the_owner_renames() {
    let rig = Rig::new("decides");
    let request = rig.waiting(Role::Collaborator, "one");
    let look = look(&request.path).unwrap();
    assert_eq!(
        (look.role, look.name, look.fingerprint),
        (Some(Role::Collaborator), Some(name("one")), request.fingerprint)
    );
    // Another role or name is a mistake, or the wrong request.
    for (other, said) in [
        (
            approval(Role::Collaborator, "north"),
            "the request is for collaborator one, not for collaborator north",
        ),
        (approval(Role::Aggregator, "one"), "the request is for collaborator one, not for aggregator one"),
        (
            approval(Role::Aggregator, "aggregator"),
            "the request is for collaborator one, not for aggregator aggregator",
        ),
    ] {
        let refused = approve(&mut rig.owner(), &request.path, &other).unwrap_err();
        assert_eq!((refused.error.as_str(), refused.exit), (said, Exit::Trust));
        assert!(refused.hint.unwrap().contains("--rename"));
    }
    assert_eq!(rig.owner().roster().serial(), 1);
    // Without a word of the owner the request's are taken.
    let asked = Approval { role: None, name: None, ..approval(Role::Collaborator, "one") };
    let issued = approve(&mut rig.owner(), &request.path, &asked).unwrap();
    assert_eq!(issued.identity.to_string(), "fl://w/collaborator/one");
    assert_eq!(issued.asked_as.as_deref(), Some("collaborator one"));
    // Approved again, it gets another certificate, and the roster stays.
    let again = approve(&mut rig.owner(), &request.path, &asked).unwrap();
    assert_eq!((again.serial, again.fingerprint), (issued.serial, issued.fingerprint));
    // A key of a collaborator is no aggregator's, whatever the owner says.
    let aggregator = Approval { rename: true, ..approval(Role::Aggregator, "agg") };
    let refused = approve(&mut rig.owner(), &request.path, &aggregator).unwrap_err();
    assert_eq!(refused.error, "this key is on the roster as collaborator one");

    let told = Approval { fingerprint: Some("0".repeat(64)), ..asked.clone() };
    assert!(approve(&mut rig.owner(), &request.path, &told).unwrap_err().error.contains(", not 000"));
    let mut changed = pem::parse(fs::read(&request.path).unwrap()).unwrap();
    let mut der = changed.contents().to_vec();
    *der.last_mut().unwrap() ^= 1;
    changed = pem::Pem::new(changed.tag(), der);
    fs::write(&request.path, pem::encode(&changed)).unwrap();
    let forged = approve(&mut rig.owner(), &request.path, &asked).unwrap_err();
    assert!(forged.error.contains("is not a certificate request"), "{}", forged.error);
}

#[test]
fn name_that_the_owner_mistyped_is_changed_and_the_key_stays() {
    let rig = Rig::new("rename");
    let request = rig.waiting(Role::Collaborator, "two");
    let renamed = |to: &str| Approval { rename: true, ..approval(Role::Collaborator, to) };
    let wrong = approve(&mut rig.owner(), &request.path, &renamed("tow")).unwrap();
    assert_eq!(wrong.identity.to_string(), "fl://w/collaborator/tow");
    let plain = approve(&mut rig.owner(), &request.path, &approval(Role::Collaborator, "two")).unwrap_err();
    assert_eq!(plain.error, "this key is on the roster as collaborator tow");
    assert!(plain.hint.unwrap().contains("add --rename"));
    let right = approve(&mut rig.owner(), &request.path, &renamed("two")).unwrap();
    assert_eq!(right.fingerprint, wrong.fingerprint);
    assert!(!wrong.file.exists(), "the certificate of the wrong name is gone");
    let names: Vec<String> = rig.owner().roster().names().map(Name::to_string).collect();
    assert_eq!(names, ["two"]);
    rig.import("two", &right).unwrap();
    rig.start(Role::Collaborator, "two").unwrap();
}

#[test]
fn aggregators_key_is_on_the_roster_and_is_replaced_and_revoked_as_others_are() {
    let rig = Rig::new("aggregator");
    let first = rig.approve(Role::Aggregator, "aggregator");
    let lines = |rig: &Rig| -> Vec<(String, Option<String>)> {
        let lines = rig.owner().roster().aggregators().to_vec();
        lines.into_iter().map(|line| (line.name.to_string(), line.revoked)).collect()
    };
    assert_eq!(lines(&rig), [("aggregator".to_owned(), None)]);
    // A second one, under any name, needs --replace.
    for of in ["aggregator", "other"] {
        let request = request(&rig.site(&format!("second-{of}")), Role::Aggregator, None, false).unwrap();
        let refused = approve(&mut rig.owner(), &request.path, &approval(Role::Aggregator, of)).unwrap_err();
        assert!(refused.error.contains("with another key") && refused.hint.unwrap().contains("--replace"));
    }
    let request = request(&rig.site("second-other"), Role::Aggregator, None, false).unwrap();
    let replace = Approval { replace: true, ..approval(Role::Aggregator, "other") };
    let second = approve(&mut rig.owner(), &request.path, &replace).unwrap();
    let replaced = ("aggregator".to_owned(), Some("replaced by another key".to_owned()));
    assert_eq!(lines(&rig), [replaced.clone(), ("other".to_owned(), None)]);
    assert!(renew(&rig.owner(), Role::Aggregator, &name("aggregator"), 1).is_err(), "revoked is not renewed");
    renew(&rig.owner(), Role::Aggregator, &name("other"), 30).unwrap();
    let found = list(&rig.owner_root(), &clock()).unwrap();
    let rows: Vec<_> = found.rows.iter().map(|row| (row.fingerprint, row.revoked.is_some())).collect();
    assert_eq!(rows, [(first.fingerprint, true), (second.fingerprint, false)]);
    let (role, _) = revoke(&mut rig.owner(), None, &name("other"), "stolen").unwrap();
    assert_eq!(
        (role, lines(&rig)),
        (Role::Aggregator, vec![replaced, ("other".to_owned(), Some("stolen".to_owned()))])
    );
    let none = revoke(&mut rig.owner(), None, &name("other"), "again").unwrap_err();
    assert!(none.error.contains("has no collaborator named other"), "{}", none.error);
    // A collaborator may have an aggregator's name: then the role has to be said.
    rig.approve(Role::Collaborator, "same");
    let third = pki_request(&rig, "third");
    approve(&mut rig.owner(), &third, &approval(Role::Aggregator, "same")).unwrap();
    assert_eq!(revoke(&mut rig.owner(), None, &name("same"), "x").unwrap_err().exit, Exit::Usage);
    revoke(&mut rig.owner(), Some(Role::Aggregator), &name("same"), "x").unwrap();
    assert_eq!(rig.owner().roster().names().count(), 1);
}

fn pki_request(rig: &Rig, site: &str) -> PathBuf {
    request(&rig.site(site), Role::Aggregator, None, false).unwrap().path
}

#[test]
fn roster_of_before_gets_its_aggregator_at_the_next_signature() {
    let rig = Rig::new("aggregator-before");
    let issued = rig.approve(Role::Aggregator, "agg");
    // As before rosters listed aggregators.
    let mut owner = rig.owner();
    let mut draft = owner.roster().draft();
    draft.aggregators.clear();
    owner.change_roster(draft).unwrap();
    let found = list(&rig.owner_root(), &clock()).unwrap();
    assert_eq!(found.rows[0].fingerprint, issued.fingerprint);
    assert!(
        found.warnings[0].starts_with("the roster does not list the aggregator's key"),
        "{:?}",
        found.warnings
    );
    renew(&rig.owner(), Role::Aggregator, &name("agg"), 30).unwrap();
    sign(&mut rig.owner(), None, None).unwrap();
    assert_eq!(rig.owner().roster().aggregators()[0].key, issued.fingerprint.0);
    assert_eq!(list(&rig.owner_root(), &clock()).unwrap().warnings.len(), 0);
}

#[test]
fn taken_name_needs_replace_which_revokes_the_old_key() {
    let rig = Rig::new("replace");
    let first = rig.approve(Role::Collaborator, "one");
    let stranger = request(&rig.site("stranger"), Role::Collaborator, Some(&name("one")), false).unwrap();
    let refused =
        approve(&mut rig.owner(), &stranger.path, &approval(Role::Collaborator, "one")).unwrap_err();
    assert!(
        refused.error.starts_with("collaborator one is on the roster with another key"),
        "{}",
        refused.error
    );
    let replace = Approval { replace: true, ..approval(Role::Collaborator, "one") };
    let second = approve(&mut rig.owner(), &stranger.path, &replace).unwrap();
    let owner = rig.owner();
    let line = |key: Fingerprint| owner.roster().by_key(&key.0).unwrap().clone();
    assert_eq!(line(first.fingerprint).revoked.as_deref(), Some("replaced by another key"));
    assert_eq!(line(second.fingerprint).revoked, None);
    // A revoked key does not come back.
    let old = rig.waiting(Role::Collaborator, "one");
    let refused = approve(&mut rig.owner(), &old.path, &replace).unwrap_err();
    assert!(refused.error.contains("is revoked"), "{}", refused.error);
}

#[test]
fn certificate_of_a_sealed_key_is_held_against_its_request() {
    let rig = Rig::new("import-sealed");
    let one = rig.approve(Role::Collaborator, "one");
    let cert = rig.site("one").join("cert");
    // As an enclave leaves it on its host.
    fs::create_dir(cert.join("private")).unwrap();
    fs::remove_file(cert.join("col_one.key")).unwrap();
    fs::write(cert.join("private/col_one.key"), b"GRAFS_PF\x02\x00sealed").unwrap();
    let imported = rig.import("one", &one).unwrap();
    assert_eq!(imported.fitting.fingerprint, one.fingerprint);
    assert_eq!(imported.file, cert.join("col_one.crt"));
    // Another request's is not taken, and without a request nothing says whose it is.
    fs::copy(rig.waiting(Role::Collaborator, "two").path, cert.join("col_one.csr")).unwrap();
    let other = rig.import("one", &one).unwrap_err();
    assert!(other.error.contains("was issued for the key"), "{}", other.error);
    fs::remove_file(cert.join("col_one.csr")).unwrap();
    assert_eq!(rig.import("one", &one).unwrap_err().exit, Exit::File);
}

#[test]
fn import_puts_nothing_in_place_that_does_not_fit() {
    let rig = Rig::new("import");
    let one = rig.approve(Role::Collaborator, "one");
    let two = rig.approve(Role::Collaborator, "two");
    let site = rig.site("one");
    let before = bytes_under(&site);
    let (ca, roster) = (ca_file(&rig.owner_root()), roster_file(&rig.owner_root()));
    let refused = |certificate: &Path, ca: Option<&Path>, roster: Option<&Path>| {
        let failure = import(&site, certificate, ca, roster, &clock()).unwrap_err();
        assert_eq!(bytes_under(&site), before, "{}", failure.error);
        failure
    };
    assert_eq!(refused(&one.file, None, None).exit, Exit::File);
    assert!(
        refused(&two.file, Some(&ca), None).error.contains("is missing here"),
        "another site's certificate"
    );
    let torn = rig.dir.join("torn.yaml");
    let text = fs::read_to_string(&roster).unwrap();
    fs::write(&torn, &text[..text.len() - 9]).unwrap();
    assert_eq!(refused(&one.file, Some(&ca), Some(&torn)).exit, Exit::Plan);
    let other = Rig::new("import-other");
    assert_eq!(refused(&one.file, Some(&ca_file(&other.owner_root())), None).exit, Exit::Trust);

    rig.import("one", &one).unwrap();
    let before = bytes_under(&site);
    let refused = import(&site, &one.file, Some(&ca_file(&other.owner_root())), None, &clock()).unwrap_err();
    assert!(refused.error.contains("is not the CA of"), "{}", refused.error);
    let old = rig.dir.join("old.yaml");
    fs::write(&old, &text).unwrap();
    revoke(&mut rig.owner(), None, &name("two"), "left").unwrap();
    rig.import("one", &one).unwrap();
    let refused = import(&site, &one.file, None, Some(&old), &clock()).unwrap_err();
    assert!(refused.error.contains("plan/cols.yaml has the newer serial 4"), "{}", refused.error);
    assert_eq!(before.len(), bytes_under(&site).len());
}

#[test]
fn list_warns_of_ends_that_are_near_and_of_a_ca_key_beside_an_aggregators() {
    let rig = Rig::new("list");
    rig.approve(Role::Collaborator, "one");
    let short = Approval { days: 20, ..approval(Role::Aggregator, "agg") };
    approve(&mut rig.owner(), &rig.waiting(Role::Aggregator, "agg").path, &short).unwrap();
    let found = list(&rig.owner_root(), &clock()).unwrap();
    let rows: Vec<_> = found.rows.iter().map(|row| (row.name.as_str(), row.role, row.days)).collect();
    assert_eq!(rows, [("agg", Role::Aggregator, Some(20)), ("one", Role::Collaborator, Some(365))]);
    assert_eq!(
        found.warnings,
        [
            "the certificate of aggregator agg expires in 20 days: `fl-host pki renew --role aggregator -n agg`"
        ]
    );
    let late = list(&rig.owner_root(), &FlooredClock::new(|| UnixSeconds(NOW + 366 * DAY))).unwrap();
    assert_eq!(late.warnings.len(), 3, "{:?}", late.warnings);
    assert!(late.warnings[0].starts_with("the roster expired 1 days ago"), "{:?}", late.warnings);

    fs::write(roster_file(&rig.owner_root()), "an old one").unwrap();
    let found = list(&rig.owner_root(), &clock()).unwrap();
    assert!(found.warnings[0].starts_with("plan/cols.yaml differs from the roster that was signed last"));
    assert_eq!(found.rows.len(), 2);
    sign(&mut rig.owner(), None, None).unwrap();

    let beside = |warnings: &[String]| {
        warnings
            .iter()
            .any(|text| text.starts_with("the CA's key is on the same machine as an aggregator's key"))
    };
    request(&rig.owner_root(), Role::Aggregator, None, false).unwrap();
    assert!(beside(&list(&rig.owner_root(), &clock()).unwrap().warnings));
    // An aggregator in a container keeps its key in a folder of its own.
    let cert = rig.owner_root().join("cert");
    fs::create_dir(cert.join("private")).unwrap();
    fs::rename(cert.join("aggregator.key"), cert.join("private/aggregator.key")).unwrap();
    assert!(beside(&list(&rig.owner_root(), &clock()).unwrap().warnings));
}

#[test]
fn certificates_do_not_outlive_their_ca() {
    let root = scratch("outlive");
    init(&root, &name("w"), &Init { years: 1, passphrase: None }, &clock()).unwrap();
    let mut owner = Owner::open(&root, || Ok(None), &clock()).unwrap();
    let asked = request(&root.join("site"), Role::Collaborator, Some(&name("one")), false).unwrap();
    let long = Approval { days: 3650, ..approval(Role::Collaborator, "one") };
    let issued = approve(&mut owner, &asked.path, &long).unwrap();
    assert_eq!(issued.not_after, owner.authority.validity().not_after);
    let late = FlooredClock::new(|| UnixSeconds(NOW + 366 * DAY));
    let mut owner = Owner::open(&root, || Ok(None), &late).unwrap();
    assert!(approve(&mut owner, &asked.path, &long).unwrap_err().error.contains("expired on"));
    let pem = fs::read(&issued.file).unwrap();
    let certificate = fl_runtime::internal::trust::one_certificate(&pem).unwrap();
    let checked = owner.authority.check(&certificate, Role::Collaborator, UnixSeconds(NOW + 366 * DAY));
    assert!(matches!(checked, Err(PeerError::Expired(_))));
}

#[test]
fn owner_needs_its_key_and_keeps_it_to_itself() {
    let rig = Rig::new("keeps");
    let key = ca_key_file(&rig.owner_root());
    let open = || Owner::open(&rig.owner_root(), || Ok(None), &clock()).map(drop).unwrap_err();
    for mode in [0o644, 0o640, 0o620] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        assert!(open().hint.unwrap().starts_with("run `chmod 600 "));
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let other = Rig::new("keeps-other");
    fs::copy(ca_file(&other.owner_root()), ca_file(&rig.owner_root())).unwrap();
    assert_eq!(open().error, "cert/ca.crt does not belong to the key cert/ca/ca.key");
    fs::remove_file(&key).unwrap();
    assert!(open().error.ends_with("this is not the federation owner's workspace"));
}

#[test]
fn federation_is_read_from_the_plan() {
    let root = scratch("federation");
    assert_eq!(federation_of(&root).unwrap(), None);
    fs::create_dir_all(root.join("plan")).unwrap();
    for (plan, federation) in [
        ("schema: 1\nfederation: \"w-1\" # ours\n", Some("w-1")),
        ("federation: w\n", Some("w")),
        ("  federation: w\n", None),
    ] {
        fs::write(root.join("plan/plan.yaml"), plan).unwrap();
        assert_eq!(federation_of(&root).unwrap(), federation.map(name));
    }
    fs::write(root.join("plan/plan.yaml"), "federation: A B\n").unwrap();
    assert_eq!(federation_of(&root).unwrap_err().exit, Exit::Plan);
}

/// An image's record, as dockerize writes it.
fn record(ca: &str, enclave: char) -> serde_json::Value {
    let digest = |letter: char| letter.to_string().repeat(64);
    let role = |letter: char, product: u16| serde_json::json!({"mrenclave": digest(letter), "isv_prod_id": product, "isv_svn": 4});
    serde_json::json!({
        "schema": 1, "federation": "w", "ca": ca, "target": "sgx", "mrsigner": digest('5'),
        "roles": {"aggregator": role(enclave, 1), "collaborator": role('c', 2)},
    })
}

#[test]
fn accepted_enclaves_are_signed_into_the_roster_and_stand_above_measurements() {
    let rig = Rig::new("pki-accepted");
    let digest = |digit: char| digit.to_string().repeat(64);
    let text = format!(
        "attestation: {{aggregator: [{{mrenclave: \"{}\"}}], collaborators: [{{mrenclave: \"{}\"}}]}}\n",
        digest('a'),
        digest('c')
    );
    let accepted = Accepted::parse(&text).unwrap();
    sign(&mut rig.owner(), None, Some(accepted.clone())).unwrap();
    sign(&mut rig.owner(), None, None).unwrap();
    assert_eq!(rig.owner().roster().attestation(), Some(&accepted), "signed anew, it keeps them");
    assert_eq!(list(&rig.owner_root(), &clock()).unwrap().attestation, Some(accepted));
    let (federation, ca) = (name("w"), rig.owner().authority().digest());
    let file = rig.dir.join("w.measurement.json");
    fs::write(&file, record(&ca.to_string(), 'a').to_string()).unwrap();
    let measured = measurements(&file, &federation, ca).unwrap();
    let refused = sign(&mut rig.owner(), Some(measured), None).unwrap_err();
    assert_eq!(refused.exit, Exit::Usage);
    let request = rig.waiting(Role::Aggregator, "agg");
    let asked = Approval { measurements: Some(measured), ..approval(Role::Aggregator, "agg") };
    assert_eq!(approve(&mut rig.owner(), &request.path, &asked).unwrap_err().exit, Exit::Usage);
    assert_eq!(rig.owner().roster().measurements(), None);
}

#[test]
fn measurements_of_an_image_are_signed_into_the_roster_and_held_against_it() {
    let rig = Rig::new("pki-measurements");
    let (federation, ca) = (name("w"), rig.owner().authority().digest());
    let file = rig.dir.join("w.measurement.json");
    let read = |value: &serde_json::Value| {
        fs::write(&file, value.to_string()).unwrap();
        measurements(&file, &federation, ca)
    };
    let good = record(&ca.to_string(), 'a');
    let first = read(&good).unwrap();
    assert_eq!((first.aggregator.product, first.collaborator.svn), (1, 4));

    let request = rig.waiting(Role::Aggregator, "agg");
    let ask = |measurements| {
        let asked = Approval { measurements, ..approval(Role::Aggregator, "agg") };
        approve(&mut rig.owner(), &request.path, &asked)
    };
    // An aggregator is no line of the roster; its image's measurements are.
    assert_eq!(ask(None).unwrap().serial, 2);
    assert_eq!(ask(Some(first)).unwrap().serial, 3);
    assert_eq!(rig.owner().roster().measurements(), Some(&first));
    assert_eq!(ask(Some(first)).unwrap().serial, 3, "the same again changes nothing");
    assert_eq!(list(&rig.owner_root(), &clock()).unwrap().measurements, Some(first));

    let other = read(&record(&ca.to_string(), 'b')).unwrap();
    let refused = ask(Some(other)).unwrap_err();
    assert_eq!(refused.exit, Exit::Trust);
    for value in [first.aggregator, other.aggregator] {
        assert!(refused.error.contains(&value.enclave.to_string()), "{}", refused.error);
    }
    assert!(!refused.error.contains(&first.collaborator.enclave.to_string()), "{}", refused.error);
    assert!(refused.hint.unwrap().contains("pki sign --measurement"));
    assert_eq!(rig.owner().roster().measurements(), Some(&first));
    sign(&mut rig.owner(), Some(other), None).unwrap();
    sign(&mut rig.owner(), None, None).unwrap();
    assert_eq!(rig.owner().roster().measurements(), Some(&other), "signed anew, it keeps them");

    type Change = fn(&mut serde_json::Value);
    let changes: [(Change, &str); 8] = [
        (|v| v["federation"] = "other".into(), "belongs to the federation other; this workspace has w"),
        (|v| v["ca"] = "0".repeat(64).into(), "belongs to the ca 0000"),
        (|v| v["target"] = "native".into(), "describes an image for the target native, which has no enclave"),
        (|v| v["mrsigner"] = serde_json::Value::Null, "has no mrsigner of 64 hexadecimal digits"),
        (|v| v["roles"]["collaborator"]["mrenclave"] = "ab".into(), "has no mrenclave for the collaborator"),
        (
            |v| v["roles"]["aggregator"]["isv_svn"] = 65_536.into(),
            "has no isv_svn from 0 to 65535 for the aggregator",
        ),
        (|v| v["roles"]["aggregator"]["mrenclave"] = "c".repeat(64).into(), "have the same MRENCLAVE"),
        (|v| *v = "text".into(), "belongs to the federation none"),
    ];
    for (change, words) in changes {
        let mut value = good.clone();
        change(&mut value);
        let refused = read(&value).unwrap_err();
        assert!(refused.exit == Exit::Trust && refused.error.contains(words), "{words}: {}", refused.error);
    }
}

/// 2027-01-15T08:00:00Z.
const NOW: u64 = 1_800_000_000;
const DAY: u64 = 86_400;
