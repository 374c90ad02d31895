//! Who may talk to a running aggregator: strangers, revocation, newcomers, old rosters, expired certificates.
//! One federation runs through all of these steps.
#![allow(clippy::unwrap_used, reason = "a test's failure is its panic")]

use std::{
    fs,
    io::Write as _,
    net::{SocketAddr, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use fl_host_tools::{
    demo::Federation,
    workspace::{FOLDERS, set_key},
};
use fl_tests::{
    federation::{Process, federation_over, host, synthetic},
    over_each_link, stranger,
};
use quinn::ConnectionError;
use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);

over_each_link! {
    running_aggregator_follows_its_roster_and_turns_strangers_away
}

/// A federation whose rounds last a second each, as long as `three` is connected and answers late.
fn paced(link: &str, name: &str) -> Federation {
    federation_over(link, name, 3, &|plan| {
        let plan = synthetic(plan, 1000, 60);
        set_key(&plan, "quorum", "{count: {min: 1}, time: {min: 0s, max: 1s}}", "tasks")
    })
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

struct People<'a> {
    federation: Federation,
    aggregator: Process,
    /// What carries the links.
    link: &'a str,
}

impl People<'_> {
    fn site(&self, name: &str) -> PathBuf {
        self.federation.dir.join(name)
    }

    fn roster(&self) -> String {
        fs::read_to_string(self.federation.owner.join("plan/cols.yaml")).unwrap()
    }

    /// Puts a roster in the aggregator's folder, in place, and waits until the log says `words` again.
    fn publish(&self, roster: &str, words: &str) {
        let before = self.aggregator.log().matches(words).count();
        fs::write(self.federation.aggregator.join("plan/cols.yaml"), roster).unwrap();
        self.aggregator.says(words, before + 1, SOON);
    }

    fn publish_newest(&self) {
        self.publish(&self.roster(), "a new roster is in force");
    }

    /// Makes a key in `folder`, and requests, approves and imports its certificate.
    fn certify(&self, name: &str, folder: &Path, replace: bool) {
        for extension in ["key", "csr", "crt"] {
            // A new site has no key yet.
            let _ = fs::remove_file(folder.join(format!("cert/col_{name}.{extension}")));
        }
        let (site, owner) = (text(folder), text(&self.federation.owner));
        let asked = host(&["pki", "request", "--workspace", site, "--role", "collaborator", "-n", name]);
        let (request, print) = (asked["request"].as_str().unwrap(), asked["fingerprint"].as_str().unwrap());
        let mut approve = vec!["pki", "approve", request, "--workspace", owner, "--role", "collaborator"];
        approve.extend(["-n", name, "--fingerprint", print]);
        approve.extend(replace.then_some("--replace"));
        let approved = host(&approve);
        host(&["pki", "import", approved["certificate"].as_str().unwrap(), "--workspace", site]);
    }

    /// The folder of a new machine, with the files that the owner publishes.
    fn machine(&self, name: &str) -> PathBuf {
        let folder = self.site(name);
        FOLDERS.iter().for_each(|inside| fs::create_dir_all(folder.join(inside)).unwrap());
        for file in ["plan/plan.yaml", "plan/site.yaml", "cert/ca.crt"] {
            fs::copy(self.federation.owner.join(file), folder.join(file)).unwrap();
        }
        host(&["plan", "accept", "--workspace", text(&folder)]);
        folder
    }

    fn revoke(&self, name: &str, reason: &str) {
        host(&["pki", "revoke", "-n", name, "--reason", reason, "--workspace", text(&self.federation.owner)]);
        self.publish_newest();
    }

    /// Starts the collaborator and waits for a round with its update: the round that was open when the
    /// collaborator connected, or the next one.
    fn joins(&self, name: &str) -> Process {
        let log = self.site(name).join(format!("logs/{name}.stderr"));
        let came = format!("connected as {name}; round ");
        let earlier = fs::read_to_string(log).unwrap_or_default().matches(&came).count();
        let process = Process::collaborator(&self.federation, name);
        let started = Instant::now();
        process.says(&came, earlier + 1, SOON);
        let log = process.log();
        let (round, _) = log.split(&came).nth(earlier + 1).unwrap().split_once(' ').unwrap();
        let first: u64 = round.parse().unwrap();
        loop {
            let round = self.aggregator.event("round", SOON);
            let contributors = round["contributors"].as_array().unwrap();
            let contributes = contributors.iter().any(|c| c["collaborator"] == name);
            if contributes && round["round"].as_u64().unwrap() >= first {
                return process;
            }
            assert!(started.elapsed() < SOON, "{}", process.log());
        }
    }

    /// Starts the collaborator, which has to end with `code`, and to print `words` and a hint.
    fn is_refused(&self, name: &str, code: i32, words: &str) {
        let mut process = Process::collaborator(&self.federation, name);
        ends_with(&mut process, code, words);
    }

    /// The TLS alert with which the aggregator refuses a client's certificate.
    fn alert(&self, own: Option<(&Path, &Path)>) -> Option<u64> {
        let own = own.map(|(certificate, key)| {
            let certificate = CertificateDer::from_pem_file(certificate).unwrap();
            (certificate, PrivateKeyDer::from_pem_file(key).unwrap())
        });
        let to = SocketAddr::from(([127, 0, 0, 1], self.federation.port));
        if self.link == "tcp" {
            let end = stranger::read_over_tcp(to, stranger::config(own).unwrap(), SOON).unwrap_err();
            return match end.get_ref().and_then(|error| error.downcast_ref()) {
                Some(rustls::Error::AlertReceived(alert)) => Some(u8::from(*alert).into()),
                _ => panic!("{end}"),
            };
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let end = runtime.block_on(async {
            match stranger::dial(to, stranger::client(own).unwrap(), 1 << 20).await {
                // The client's handshake ends before the server checks the client's certificate.
                Ok((_endpoint, connection)) => connection.closed().await,
                Err(stranger::NoLink::Refused(error)) => error,
                Err(error) => panic!("{error}"),
            }
        });
        match end {
            ConnectionError::ConnectionClosed(close) => u64::from(close.error_code).checked_sub(0x100),
            other => panic!("{other}"),
        }
    }
}

fn ends_with(process: &mut Process, code: i32, words: &str) {
    let status = process.ended(SOON);
    let log = process.log();
    assert_eq!(status.code(), Some(code), "{log}");
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert!(last["error"].as_str().unwrap().contains(words), "{last}");
    assert!(last["hint"].is_string(), "{last}");
}

/// Datagrams that belong to no connection. Some look like QUIC packets.
fn garbage(port: u16, datagrams: u32) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut word = 1u32;
    let mut datagram = [0; 1200];
    for number in 0..datagrams {
        for byte in &mut datagram {
            word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (word >> 24) as u8;
        }
        if number % 2 == 0 {
            // An Initial of version 1 with identifiers of eight bytes and no token.
            datagram[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]);
            datagram[14] = 8;
            datagram[23..26].copy_from_slice(&[0, 0x44, 0x96]);
        }
        // The receiver's buffer may be full.
        let _ = socket.send_to(&datagram, ("127.0.0.1", port));
    }
}

/// Connections on which no client speaks TLS. Some begin as the first record of a client does.
fn garbage_over_tcp(port: u16, connections: u32) {
    for number in 0..connections {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut bytes = [(number >> 1) as u8; 1200];
        if number % 2 == 0 {
            // A handshake record of 600 bytes with the beginning of a ClientHello.
            bytes[..6].copy_from_slice(&[22, 3, 1, 2, 0x58, 1]);
        }
        // The aggregator may have closed the connection.
        let _ = socket.write_all(&bytes);
    }
}

/// A certificate of the federation's CA for the key of `name`, expired since 2021.
fn expired_certificate(owner: &Path, name: &str, key: &Path) -> String {
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    let ca_key = KeyPair::from_pem(&read(&owner.join("cert/ca/ca.key"))).unwrap();
    let ca = Issuer::from_ca_cert_pem(&read(&owner.join("cert/ca.crt")), ca_key).unwrap();
    let mut params = CertificateParams::default();
    let uri = format!("fl://demo/collaborator/{name}");
    params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().unwrap())];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    params.signed_by(&KeyPair::from_pem(&read(key)).unwrap(), &ca).unwrap().pem()
}

fn running_aggregator_follows_its_roster_and_turns_strangers_away(link: &str) {
    let federation = paced(link, "admission");
    let aggregator = Process::aggregator(&federation);
    aggregator.event("listening", SOON);
    let mut one = Process::collaborator(&federation, "one");
    let mut two = Process::collaborator(&federation, "two");
    let mut late = Process::hostile(&federation, "three", &["sluggish"]);
    let mut people = People { federation, aggregator, link };
    people.aggregator.event("round", SOON);
    let (first, owner) = (people.roster(), people.federation.owner.clone());

    // `two` is revoked while connected. An older roster does not admit it again.
    people.revoke("two", "laptop stolen");
    ends_with(&mut two, 12, "no longer on the roster");
    people.is_refused("two", 12, "two was revoked: laptop stolen");
    people.publish(&first, "the roster is an old one");
    people.publish(&first[..first.len() / 2], "the old one stays");
    people.is_refused("two", 12, "two was revoked: laptop stolen");

    // The newcomer is approved before the aggregator has the new roster. Then the aggregator reads the
    // roster, without a restart.
    let four = people.machine("four");
    people.certify("four", &four, false);
    people.is_refused("four", 12, "four is not on the roster");
    people.publish_newest();
    let mut four_runs = people.joins("four");

    // When a name passes to another key, the link of the old key is closed.
    people.certify("two", &people.site("two"), false);
    people.publish_newest();
    let mut two = people.joins("two");
    people.certify("two", &people.site("two"), true);
    people.publish_newest();
    ends_with(&mut two, 12, "no longer on the roster");
    let mut two = people.joins("two");

    // An expired certificate is refused here, and by the aggregator if a client shows it nevertheless.
    four_runs.signal("TERM");
    assert_eq!(four_runs.ended(SOON).code(), Some(14), "{}", four_runs.log());
    let (certificate, key) = (four.join("cert/col_four.crt"), four.join("cert/col_four.key"));
    fs::write(&certificate, expired_certificate(&owner, "four", &key)).unwrap();
    people.is_refused("four", 5, "expired");
    assert_eq!(people.alert(Some((&certificate, &key))), Some(45));
    let renewed = host(&["pki", "renew", "-n", "four", "--workspace", text(&owner)]);
    let renewed = renewed["certificate"].as_str().unwrap();
    host(&["pki", "import", renewed, "--workspace", text(&four)]);
    let mut four_runs = people.joins("four");

    // Two processes with one name: the newest link is kept. The other process gets the reason and ends.
    let mut twin = Process::hostile(&people.federation, "four", &["idle"]);
    ends_with(&mut four_runs, 12, "another process has connected under this collaborator's name");
    let mut four_runs = people.joins("four");
    assert_eq!(twin.event("closed", SOON)["code"], 2);
    assert!(twin.ended(SOON).success());

    // A collaborator that uses another collaborator's certificate.
    for extension in ["crt", "key"] {
        let file = |name: &str, of: &str| people.site(name).join(format!("cert/col_{of}.{extension}"));
        fs::copy(file("four", "four"), file("four", "one")).unwrap();
    }
    let args = ["--json", "collaborator", "-n", "one", "start"];
    ends_with(&mut Process::start("one", &four, &args, &[]), 5, "but this process was started as one");

    // Strangers.
    let other = federation_over(link, "elsewhere", 1, &|plan| synthetic(plan, 1000, 1));
    let theirs = other.dir.join("one/cert");
    let ours = people.federation.aggregator.join("cert");
    assert_eq!(people.alert(None), Some(116));
    assert_eq!(people.alert(Some((&theirs.join("col_one.crt"), &theirs.join("col_one.key")))), Some(48));
    assert_eq!(people.alert(Some((&ours.join("aggregator.crt"), &ours.join("aggregator.key")))), Some(43));
    let lines =
        |log: &str| log.lines().filter(|line| !line.contains("round ") && !line.contains("three")).count();
    let before = lines(&people.aggregator.log());
    let datagrams = std::env::var("FL_DATAGRAMS").ok().and_then(|count| count.parse().ok());
    let datagrams = datagrams.unwrap_or(20_000);
    match link {
        "tcp" => garbage_over_tcp(people.federation.port, datagrams / 20),
        _ => garbage(people.federation.port, datagrams),
    }
    people.aggregator.event("round", Duration::from_millis(1600));
    people.aggregator.event("round", Duration::from_millis(1600));
    assert!(lines(&people.aggregator.log()) < before + 10, "{}", people.aggregator.log());
    let memory = people.aggregator.peak_memory();
    assert!(memory < 32 << 20, "{} MiB", memory >> 20);

    // The remaining rounds run without `three`.
    people.revoke("three", "does nothing");
    let closed = late.event("closed", SOON);
    assert_eq!(closed["code"], 5);
    assert_eq!(closed["reason"], "three was revoked: does nothing");
    assert!(late.ended(SOON).success());
    let rounds = people.aggregator.events_to_the_end("round");
    assert_eq!(rounds.last().unwrap()["updates"], 3);
    let log = people.aggregator.log();
    assert!(people.aggregator.ended(SOON).success(), "{log}");
    assert!(!log.contains("\"level\":\"error\"") && !log.contains("panicked"), "{log}");
    for process in [&mut one, &mut two, &mut four_runs] {
        assert!(process.ended(SOON).success(), "{}", process.log());
    }
}

#[test]
fn roles_tell_what_the_roster_says_of_enclaves() {
    let federation = paced("auto", "measured");
    let aggregator = Process::aggregator(&federation);
    aggregator.event("listening", SOON);
    let people = People { federation, aggregator, link: "auto" };
    let owner = people.federation.owner.clone();
    assert!(!people.aggregator.log().contains("MRENCLAVE"));
    let ca = people.roster().split_once("\nca: \"").unwrap().1[..64].to_owned();
    let digest = |letter: &str| letter.repeat(64);
    let role = |letter: &str, product: u32| json!({"mrenclave": digest(letter), "isv_prod_id": product, "isv_svn": 0});
    let record = json!({
        "schema": 1, "federation": "demo", "ca": ca, "target": "sgx", "mrsigner": digest("5"),
        "roles": {"aggregator": role("a", 1), "collaborator": role("c", 2)},
    });
    let file = owner.join("demo.measurement.json");
    fs::write(&file, record.to_string()).unwrap();
    host(&["pki", "sign", "--measurement", text(&file), "--workspace", text(&owner)]);
    let listed = host(&["pki", "list", "--workspace", text(&owner)]);
    assert_eq!(listed["measurements"]["collaborator"]["mrenclave"], digest("c"));
    let words = [("the aggregator", "a", 1), ("collaborators", "c", 2)].map(|(who, letter, product)| {
        let (enclave, signer) = (digest(letter), digest("5"));
        format!("measurement that the roster expects of {who}: MRENCLAVE {enclave}, MRSIGNER {signer}, product {product}, security version 0")
    });
    // A running aggregator reads the measurements with the roster. A new process logs them at its start.
    people.publish(&people.roster(), &words[1]);
    people.aggregator.signal("TERM");
    let mut people = people;
    people.aggregator.ended(SOON);
    let aggregator = Process::aggregator(&people.federation);
    aggregator.event("listening", SOON);
    words.iter().for_each(|words| aggregator.says(words, 1, SOON));
    // A collaborator does not need a roster. If it has one, it checks the roster and logs the result.
    let published = people.site("one").join("plan/cols.yaml");
    fs::write(&published, people.roster()).unwrap();
    let one = Process::collaborator(&people.federation, "one");
    words.iter().for_each(|words| one.says(words, 1, SOON));
    drop(one);
    fs::write(&published, people.roster().replacen("svn: 0", "svn: 1", 1)).unwrap();
    let one = Process::collaborator(&people.federation, "one");
    one.says(
        "ignoring the local roster: plan/cols.yaml is refused: the roster's signature does not hold",
        1,
        SOON,
    );
    one.says("connected as one", 1, SOON);
}
