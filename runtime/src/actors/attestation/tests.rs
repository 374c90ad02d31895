//! Evidence over real links, of both kinds: the greeting as a whole, and who stands between the two sides.

use std::net::{Ipv4Addr, SocketAddr};

use fl_engine::{
    Digest, Name, RoundNo,
    plan::{
        Attestation as Asked, OfAggregator, OfCollaborators,
        roster::{Accepted, Member as Line, Program, TcbStatus, UnixSeconds},
    },
    wire::{AttachedQuote, FEATURES, Hello, NewerFile, Rejection, VERSIONS},
};
use fl_quotes::{self as intel, Chip, Intel, Wish};
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;

use super::*;
use crate::{
    actors::greeting::{self, Greeter, IntroductionError, RunStatus, UNWELCOMED, WelcomeError},
    net::{Carrier, Endpoint, Link, NetLimits, SocketKind, places::Places},
    system::{Quoter, QuoterError, System},
    trust::{
        Admission, Credentials, PeerAdmitted, Refused, SERVER_NAME, Serials, SiteRoster,
        evidence::{Collaterals, Expected, NotBound, Root},
        fixture::{Leaf, NOW, TestCa, clock, files, scratch},
    },
};

struct Forger<'a>(&'a Intel, u8);

impl Quoter for Forger<'_> {
    fn quote(&self, data: &[u8; 64]) -> Result<AttachedQuote, QuoterError> {
        let enclave = intel::Enclave { data: *data, mrenclave: [self.1; 32], ..intel::Enclave::default() };
        Ok(AttachedQuote::Sgx(self.0.quote(&enclave)))
    }
}

/// Admits everybody, with the roster of this text.
struct Everybody(String);

impl Admission for Everybody {
    fn admit(&self, _: &[CertificateDer<'_>]) -> Result<PeerAdmitted, Refused> {
        Ok(PeerAdmitted::unchecked("one".parse().unwrap()))
    }

    fn still_admits(&self, _: &PeerAdmitted) -> Result<(), Refused> {
        Ok(())
    }

    fn serial(&self) -> u64 {
        1
    }

    fn roster_text(&self) -> Option<Arc<[u8]>> {
        Some(self.0.as_bytes().into())
    }
}

/// One member of the federation.
struct Member {
    credentials: Credentials,
    attestation: Arc<Attestation>,
    receive: Box<dyn Fn(NewerFile, Vec<u8>) + Send + Sync>,
}

struct Rig {
    ca: TestCa,
    intel: Intel,
}

impl Rig {
    fn new() -> Self {
        Self { ca: TestCa::new("w"), intel: Intel::new(Chip::default()) }
    }

    /// A role whose enclave has this MRENCLAVE; `None`: no enclave.
    fn member(&self, leaf: Leaf<'_>, mrenclave: Option<u8>) -> Member {
        let credentials = self.ca.credentials(leaf, &self.ca);
        let attestation = self.attestation(&credentials, mrenclave);
        Member { credentials, attestation, receive: Box::new(|_, _| ()) }
    }

    /// A collaborator that has neither a roster nor collateral of its own.
    fn bare(&self) -> Member {
        let credentials = self.ca.credentials(Leaf::collaborator("one"), &self.ca);
        let forger = Forger(&self.intel, COLLABORATOR);
        let run_key = RunKey::make(&System::real().random, &credentials, plan(), Some(&forger)).unwrap();
        let root = Root(Digest::of(&self.intel.root()));
        let collaterals = Arc::new(Collaterals::new(&files(), root, Vec::new(), &clock(NOW)));
        let seen = scratch("bare-site").join("roster-serial");
        let authority = self.ca.authority();
        let serials = Arc::new(Serials::open(&files(), &seen, authority.digest()));
        let federation = "w".parse().unwrap();
        let site = SiteRoster::new(&files(), authority, federation, Vec::new(), serials, &clock(NOW));
        let site = Arc::new(site);
        let of = Arc::clone(&site);
        let appraiser = Appraiser::new(
            Side::Aggregator,
            ASKED,
            Expected { ca: self.ca.authority().digest(), plan: plan() },
            move || of.roster(),
            Arc::clone(&collaterals),
            &clock(NOW),
        );
        let receive = Box::new(move |file, text: Vec<u8>| match file {
            NewerFile::Roster => assert!(site.take(&text).unwrap()),
            _ => assert!(collaterals.take(text).unwrap().is_some()),
        });
        Member { credentials, attestation: Attestation::new(run_key, appraiser), receive }
    }

    /// The roster's text.
    fn roster(&self) -> String {
        self.ca.roster_accepting(1, Self::accepted())
    }

    /// A roster with this line of an aggregator.
    fn roster_listing(&self, aggregator: &Member, revoked: Option<&str>) -> String {
        let line = Line {
            name: "aggregator".parse().unwrap(),
            key: aggregator.credentials.fingerprint().0,
            revoked: revoked.map(str::to_owned),
        };
        self.ca.roster_listing(1, Self::accepted(), vec![line])
    }

    fn accepted() -> Accepted {
        let program = |byte| Program {
            mrenclave: Some(Digest([byte; 32])),
            mrsigner: None,
            product: None,
            least_svn: 0,
        };
        Accepted {
            aggregator: vec![program(AGGREGATOR)],
            collaborators: vec![program(COLLABORATOR)],
            statuses: [TcbStatus::UpToDate].into(),
            advisories: None,
            least_evaluation: 0,
            grace_days: 14,
            platforms: [].into(),
        }
    }

    /// What another process with the same certificate shows.
    fn attestation(&self, credentials: &Credentials, mrenclave: Option<u8>) -> Arc<Attestation> {
        let forger = mrenclave.map(|byte| Forger(&self.intel, byte));
        let quoter = forger.as_ref().map(|forger| forger as &dyn Quoter);
        let run_key = RunKey::make(&System::real().random, credentials, plan(), quoter).unwrap();
        let peers = run_key.claims().side.other();
        let root = Root(Digest::of(&self.intel.root()));
        let collaterals = Arc::new(Collaterals::new(&files(), root, Vec::new(), &clock(NOW)));
        collaterals.take(self.intel.collateral(&Wish::default()).json().into()).unwrap();
        let roster = self.ca.authority().open_roster(&self.roster()).unwrap();
        let roster = Arc::new(roster);
        let expected = Expected { ca: self.ca.authority().digest(), plan: plan() };
        let of = move || Some(Arc::clone(&roster));
        Attestation::new(run_key, Appraiser::new(peers, ASKED, expected, of, collaterals, &clock(NOW)))
    }
}

fn plan() -> Digest {
    Digest::of(b"plan")
}

fn carriers() -> [Carrier; 2] {
    [Carrier::Tcp, Carrier::Quic(SocketKind::Portable)]
}

/// The two ends of a link: of `client`, and of `server`.
async fn link(carrier: Carrier, server: &Credentials, client: &Credentials) -> (Link, Link, [Endpoint; 2]) {
    let any = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
    let tls = crate::trust::server_config(server, &clock(NOW)).unwrap();
    let serving = Endpoint::server(tls, any, carrier, NetLimits::server()).unwrap();
    let tls = crate::trust::client_config(client, &clock(NOW), &[]).unwrap();
    let dialling = Endpoint::client(tls, any, carrier, NetLimits::client()).unwrap();
    let address = serving.local_addr().unwrap();
    let admitting = async { serving.accept().await.unwrap().admit().await };
    let (there, here) = tokio::join!(dialling.connect(address, SERVER_NAME), admitting);
    (there.unwrap(), here.unwrap(), [serving, dialling])
}

fn greeter(roster: String, attestation: &Arc<Attestation>) -> Greeter {
    Greeter {
        federation: "w".parse().unwrap(),
        plan: plan(),
        needs: 0,
        incarnation: 1,
        admission: Arc::new(Everybody(roster)),
        attestation: Arc::clone(attestation),
        status: watch::channel(RunStatus { round: RoundNo(0), over: false, links: 0 }).1,
        unwelcomed: Places::new(UNWELCOMED.0, UNWELCOMED.1),
        refused: Default::default(),
        handed_on: Default::default(),
    }
}

fn hello() -> Hello {
    Hello {
        versions: VERSIONS,
        features: FEATURES,
        federation: "w".parse::<Name>().unwrap(),
        plan: plan(),
        roster_serial: 1,
        holds: None,
        evidence: Vec::new(),
    }
}

/// Greets; the verdicts of both sides.
async fn greet(
    rig: &Rig,
    carrier: Carrier,
    aggregator: &Member,
    one: &Member,
) -> (Result<Appraised, WelcomeError>, Result<Appraised, IntroductionError>) {
    greet_with(rig.roster(), carrier, aggregator, one).await
}

/// The same, where the aggregator hands on this roster.
async fn greet_with(
    roster: String,
    carrier: Carrier,
    aggregator: &Member,
    one: &Member,
) -> (Result<Appraised, WelcomeError>, Result<Appraised, IntroductionError>) {
    let (mut there, here, _ends) = link(carrier, &aggregator.credentials, &one.credentials).await;
    let greeter = greeter(roster, &aggregator.attestation);
    let introducing = async {
        let introduced = greeting::introduce(&mut there, hello(), &one.attestation, &one.receive).await;
        // The aggregator waits for this close after a rejection.
        drop(there);
        introduced
    };
    let (welcomed, introduced) = tokio::join!(greeting::welcome(here, &greeter), introducing);
    (welcomed.map(|admitted| admitted.appraised().clone()), introduced.map(|(_, appraised)| appraised))
}

#[tokio::test]
async fn both_sides_prove_their_enclaves_over_both_kinds_of_links() {
    let rig = Rig::new();
    let aggregator = rig.member(Leaf::aggregator("aggregator"), Some(AGGREGATOR));
    let one = rig.member(Leaf::collaborator("one"), Some(COLLABORATOR));
    for carrier in carriers() {
        let (welcomed, introduced) = greet(&rig, carrier, &aggregator, &one).await;
        let shown = |appraised: Appraised| appraised.attested().unwrap().to_string();
        let of = |byte| format!("MRENCLAVE {}, TCB status UpToDate", Digest([byte; 32]));
        assert_eq!(shown(welcomed.unwrap()), of(COLLABORATOR));
        assert_eq!(shown(introduced.unwrap()), of(AGGREGATOR));
    }
}

#[tokio::test]
async fn site_without_roster_and_collateral_is_handed_them_before_it_judges_the_aggregator() {
    let rig = Rig::new();
    let aggregator = rig.member(Leaf::aggregator("aggregator"), Some(AGGREGATOR));
    for carrier in carriers() {
        let bare = rig.bare();
        let held = || bare.attestation.appraiser().held();
        assert_eq!((held().roster, held().collateral), (0, 0));
        for _ in 0..2 {
            // The second time nothing is handed on: `receive` would find it not newer.
            let (welcomed, introduced) = greet(&rig, carrier, &aggregator, &bare).await;
            assert!(welcomed.unwrap().attested().is_some() && introduced.unwrap().attested().is_some());
        }
        assert_eq!((held().roster, held().collateral), (1, NOW.0 - intel::DAY));
    }
    // What an aggregator of another program hands on helps it nothing.
    let other = rig.member(Leaf::aggregator("aggregator"), Some(7));
    let (_, introduced) = greet(&rig, Carrier::Tcp, &other, &rig.bare()).await;
    assert!(matches!(introduced, Err(IntroductionError::Evidence(NotAppraised::OtherEnclave(_)))));
}

#[tokio::test]
async fn collaborator_without_a_quote_or_of_another_program_hears_why_it_is_not_admitted() {
    let rig = Rig::new();
    let aggregator = rig.member(Leaf::aggregator("aggregator"), Some(AGGREGATOR));
    for (enclave, words) in [(None, "this collaborator shows none"), (Some(7), "lists other enclaves")] {
        for carrier in carriers() {
            let one = rig.member(Leaf::collaborator("one"), enclave);
            let (welcomed, introduced) = greet(&rig, carrier, &aggregator, &one).await;
            let Err(why @ WelcomeError::Evidence { .. }) = welcomed else { panic!("not rejected") };
            assert!(why.to_string().contains("To mend this, "), "{why}");
            let Err(IntroductionError::Rejected(Rejection::Evidence(why))) = introduced else {
                panic!("not rejected")
            };
            assert!(why.contains(words), "{why}");
        }
    }
}

#[tokio::test]
async fn aggregator_without_a_quote_or_of_another_program_is_refused() {
    let rig = Rig::new();
    let one = rig.member(Leaf::collaborator("one"), Some(COLLABORATOR));
    for (enclave, expected) in
        [(None, NotAppraised::NoQuote), (Some(7), NotAppraised::OtherEnclave(Digest([7; 32])))]
    {
        for carrier in carriers() {
            let aggregator = rig.member(Leaf::aggregator("aggregator"), enclave);
            let (_, introduced) = greet(&rig, carrier, &aggregator, &one).await;
            let Err(IntroductionError::Evidence(why)) = introduced else { panic!("not refused") };
            assert_eq!(why, expected);
        }
    }
}

/// TLS has accepted the key by the roster of the start: none.
#[tokio::test]
async fn aggregator_that_a_roster_received_later_revokes_or_does_not_list_is_refused() {
    let rig = Rig::new();
    let aggregator = rig.member(Leaf::aggregator("aggregator"), Some(AGGREGATOR));
    let other = rig.member(Leaf::aggregator("aggregator"), Some(AGGREGATOR));
    for (roster, expected) in [
        (rig.roster_listing(&aggregator, None), None),
        (rig.roster_listing(&aggregator, Some("stolen")), Some(NotAppraised::Revoked("stolen".into()))),
        (rig.roster_listing(&other, None), Some(NotAppraised::Unlisted)),
    ] {
        let (_, introduced) = greet_with(roster, Carrier::Tcp, &aggregator, &rig.bare()).await;
        match (introduced, expected) {
            (Ok(appraised), None) => assert!(appraised.attested().is_some()),
            (Err(IntroductionError::Evidence(why)), Some(expected)) => assert_eq!(why, expected),
            (introduced, expected) => panic!("{introduced:?} instead of {expected:?}"),
        }
    }
}

/// A host with the aggregator's key file, between a collaborator and the genuine aggregator: it passes on
/// what the genuine enclave says.
#[tokio::test]
async fn relay_with_a_stolen_certificate_key_is_refused_by_both_sides() {
    let rig = Rig::new();
    for carrier in carriers() {
        let aggregator = rig.member(Leaf::aggregator("aggregator"), Some(AGGREGATOR));
        let one = rig.member(Leaf::collaborator("one"), Some(COLLABORATOR));
        // The thief has the keys of both sides, and a link to each of them.
        let (near_one, thiefs_end, _a) = link(carrier, &aggregator.credentials, &one.credentials).await;
        let (thiefs_other, near_aggregator, _b) =
            link(carrier, &aggregator.credentials, &one.credentials).await;
        let of_one = one.attestation.show_to(FEATURES, near_one.handle());
        let of_aggregator = aggregator.attestation.show_to(FEATURES, near_aggregator.handle());
        // Each is good at the other end of its own link.
        rig.attestation(&aggregator.credentials, None).appraise(thiefs_end.handle(), &of_one).unwrap();
        rig.attestation(&one.credentials, None).appraise(thiefs_other.handle(), &of_aggregator).unwrap();
        let passed_on = aggregator.attestation.appraise(near_aggregator.handle(), &of_one);
        assert_eq!(passed_on, Err(NotBound::OtherLink.into()));
        let passed_on = one.attestation.appraise(near_one.handle(), &of_aggregator);
        assert_eq!(passed_on, Err(NotBound::OtherLink.into()));
    }
}

#[tokio::test(start_paused = true)]
async fn refused_key_has_one_try_in_ten_seconds_and_other_keys_are_not_touched() {
    let rig = Rig::new();
    let aggregator = rig.member(Leaf::aggregator("aggregator"), Some(AGGREGATOR));
    let (bad, other) = (rig.ca.issue(Leaf::collaborator("one")).0, rig.ca.issue(Leaf::collaborator("two")).0);
    let knock = |certificate: &CertificateDer<'static>, shown: &[u8]| {
        let (_there, here) = Link::pair(vec![certificate.clone()], Vec::new());
        aggregator.attestation.appraise(here.handle(), shown).unwrap_err()
    };
    assert_eq!(knock(&bad, &[]), NotAppraised::NoQuote);
    // The second try would fail for another reason, and is not looked at.
    assert_eq!(knock(&bad, &[9; 300]), NotAppraised::TooSoon);
    assert_eq!(knock(&other, &[9; 300]).reason(), "evidence_form");
    // A try that is not looked at makes nobody wait longer.
    tokio::time::advance(AGAIN).await;
    assert_eq!(knock(&bad, &[9; 300]).reason(), "evidence_form");
    // What is refused under one collateral may be good under the next.
    assert_eq!(knock(&bad, &[]), NotAppraised::TooSoon);
    let newer = Wish { issued: UnixSeconds(NOW.0 - 60), ..Wish::default() };
    let newer = rig.intel.collateral(&newer).json();
    assert!(aggregator.attestation.appraiser().collaterals().take(newer.into()).unwrap().is_some());
    assert_eq!(knock(&bad, &[]), NotAppraised::NoQuote);
}

/// A thief of a collaborator's key knocks without an enclave.
#[tokio::test]
async fn member_whose_key_was_just_refused_for_somebody_else_may_try_again() {
    let rig = Rig::new();
    let aggregator = rig.member(Leaf::aggregator("aggregator"), Some(AGGREGATOR));
    let one = rig.member(Leaf::collaborator("one"), Some(COLLABORATOR));
    let thief = vec![one.credentials.certificate().clone()];
    let (_there, here) = Link::pair(thief, Vec::new());
    assert_eq!(aggregator.attestation.appraise(here.handle(), &[]), Err(NotAppraised::NoQuote));
    let (_, introduced) = greet(&rig, Carrier::Tcp, &aggregator, &one).await;
    let Err(IntroductionError::Rejected(Rejection::Ended(why))) = introduced else { panic!("not put off") };
    assert!(why.contains("the next try is judged"), "{why}");
}

/// What the plan asks for.
const ASKED: Asked = Asked { aggregator: OfAggregator::Required, collaborators: OfCollaborators::Required };
/// MRENCLAVE of each role: all bytes.
const AGGREGATOR: u8 = 0xa9;
const COLLABORATOR: u8 = 0xc0;
