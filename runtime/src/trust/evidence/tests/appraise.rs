//! Appraisal: each attack on the binding, and each rule of the owner's.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use fl_engine::{
    Digest,
    limits::PLATFORMS,
    plan::{
        Attestation, OfAggregator, OfCollaborators,
        roster::{Accepted, Program, Roster},
    },
    wire::{AttachedQuote, Evidence, Held, LinkTerms, Side},
};
use fl_quotes::{self as intel, Chip, DAY, Intel, NOW, Wish};
use rustls::pki_types::CertificateDer;

use super::{
    super::{Appraised, Appraiser, CollateralRefused, Collaterals, Expected, NotAppraised, NotBound},
    Collateral, Measured, NotVerified, Root, TcbStatus, UnixSeconds,
};
use crate::{
    system::{Quoter, QuoterError, System},
    trust::{
        Fingerprint, FlooredClock, RunKey,
        fixture::{Leaf, TestCa, files},
    },
};

/// Makes quotes of an enclave on the machine of a forged Intel.
struct Forger<'a>(&'a Intel, intel::Enclave);

impl Quoter for Forger<'_> {
    fn quote(&self, data: &[u8; 64]) -> Result<AttachedQuote, QuoterError> {
        let enclave = intel::Enclave { data: *data, ..self.1.clone() };
        Ok(AttachedQuote::Sgx(self.0.quote(&enclave)))
    }
}

struct Peer {
    certificate: CertificateDer<'static>,
    run_key: RunKey,
}

impl Peer {
    fn key(&self) -> Digest {
        Fingerprint::of(&self.certificate).unwrap().0
    }
}

/// An aggregator that judges collaborators.
struct Rig {
    ca: TestCa,
    intel: Intel,
    now: Arc<Mutex<UnixSeconds>>,
    roster: Arc<Mutex<Option<Arc<Roster>>>>,
    appraiser: Appraiser,
    aggregator: Peer,
}

impl Rig {
    fn new(collaborators: OfCollaborators) -> Self {
        let (ca, intel) = (TestCa::new("w"), Intel::new(Chip::default()));
        let now = Arc::new(Mutex::new(NOW));
        let reads = Arc::clone(&now);
        let clock = FlooredClock::new(move || *reads.lock().unwrap());
        let collaterals = Collaterals::new(&files(), Root(Digest::of(&intel.root())), Vec::new(), &clock);
        let roster = Arc::new(Mutex::new(None));
        let held = Arc::clone(&roster);
        let asked = Attestation { aggregator: OfAggregator::None, collaborators };
        let expected = Expected { ca: ca.authority().digest(), plan: plan() };
        let of = move || held.lock().unwrap().clone();
        let appraiser =
            Appraiser::new(Side::Collaborator, asked, expected, of, Arc::new(collaterals), &clock);
        let aggregator = peer(&ca, Leaf::aggregator("aggregator"), None);
        let rig = Self { ca, intel, now, roster, appraiser, aggregator };
        rig.accept(1, |_| {});
        rig.publish(&Wish::default());
        rig
    }

    fn accept(&self, serial: u64, edit: impl FnOnce(&mut Accepted)) {
        let program = |byte| Program {
            mrenclave: Some(Digest([byte; 32])),
            mrsigner: None,
            product: None,
            least_svn: 0,
        };
        let mut accepted = Accepted {
            aggregator: vec![program(0xa9)],
            collaborators: vec![program(0xc0), program(0xe1)],
            statuses: BTreeSet::from([TcbStatus::UpToDate]),
            advisories: None,
            least_evaluation: 0,
            grace_days: 14,
            platforms: BTreeSet::new(),
        };
        edit(&mut accepted);
        let text = self.ca.roster_accepting(serial, accepted);
        *self.roster.lock().unwrap() = Some(Arc::new(self.ca.authority().open_roster(&text).unwrap()));
    }

    fn publish(&self, wish: &Wish) {
        let text = self.intel.collateral(wish).json();
        assert!(self.appraiser.collaterals().take(text.into()).unwrap().is_some());
    }

    fn one(&self, enclave: intel::Enclave) -> Peer {
        peer(&self.ca, Leaf::collaborator("one"), Some(&Forger(&self.intel, enclave)))
    }

    fn link(&self, peer: &Peer) -> LinkTerms {
        let (aggregator_key, collaborator_key) = (self.aggregator.key(), peer.key());
        LinkTerms { side: Side::Collaborator, exporter: [9; 32], aggregator_key, collaborator_key }
    }

    /// The verdict about what a peer shows on its link.
    fn judge(&self, peer: &Peer, evidence: &Evidence) -> Result<Appraised, NotAppraised> {
        self.appraiser.appraise(&evidence.encode(), Some(&peer.certificate), Some(&self.link(peer)))
    }

    fn appraise(&self, peer: &Peer) -> Result<Appraised, NotAppraised> {
        self.judge(peer, &peer.run_key.evidence(&self.link(peer), Held::default()))
    }

    /// The verdict about an enclave.
    fn verdict(&self, enclave: intel::Enclave) -> Result<Appraised, NotAppraised> {
        self.appraise(&self.one(enclave))
    }
}

fn plan() -> Digest {
    Digest::of(b"plan")
}

fn peer(ca: &TestCa, leaf: Leaf<'_>, quoter: Option<&dyn Quoter>) -> Peer {
    let credentials = ca.credentials(leaf, ca);
    let certificate = credentials.certificate().clone();
    let run_key = RunKey::make(&System::real().random, &credentials, plan(), quoter).unwrap();
    Peer { certificate, run_key }
}

fn good() -> intel::Enclave {
    intel::Enclave::default()
}

#[test]
fn good_quote_is_attested_and_a_peer_that_connects_again_costs_one_signature() {
    let rig = Rig::new(OfCollaborators::Required);
    let one = rig.one(good());
    let appraised = rig.appraise(&one).unwrap();
    let verified = appraised.attested().unwrap().verified();
    let Measured::Sgx(enclave) = verified.measured();
    assert_eq!((enclave.mrenclave, verified.status()), (Digest([0xe1; 32]), TcbStatus::UpToDate));
    assert_eq!(verified.report_data(), &one.run_key.claims().report_data());
    // The verdict is the remembered one, also on another link.
    let again = LinkTerms { exporter: [8; 32], ..rig.link(&one) };
    let evidence = one.run_key.evidence(&again, Held::default()).encode();
    let again = rig.appraiser.appraise(&evidence, Some(&one.certificate), Some(&again)).unwrap();
    assert!(std::ptr::eq(again.attested().unwrap().verified(), verified));
    println!("evidence with a forged quote: {} bytes", evidence.len());
    assert!(evidence.len() <= 5_100 && again == appraised);
    // Another run of the same member is judged anew, and so is everybody under another roster.
    let next = rig.one(good());
    assert!(!std::ptr::eq(rig.appraise(&next).unwrap().attested().unwrap().verified(), verified));
    rig.accept(2, |_| {});
    assert!(!std::ptr::eq(rig.appraise(&one).unwrap().attested().unwrap().verified(), verified));
}

#[test]
fn evidence_belongs_to_one_link_role_certificate_plan_and_federation() {
    let rig = Rig::new(OfCollaborators::Required);
    let (one, two) = (rig.one(good()), peer(&rig.ca, Leaf::collaborator("two"), None));
    let link = rig.link(&one);
    let good = one.run_key.evidence(&link, Held::default());
    rig.judge(&one, &good).unwrap();
    let on = |link: &LinkTerms, certificate: &CertificateDer<'static>, evidence: &Evidence| match rig
        .appraiser
        .appraise(&evidence.encode(), Some(certificate), Some(link))
    {
        Err(NotAppraised::NotBound(why)) => why,
        other => panic!("{other:?}"),
    };
    // Replayed on another link; relayed by another client; to another server.
    let other = LinkTerms { exporter: [8; 32], ..link };
    assert_eq!(on(&other, &one.certificate, &good), NotBound::OtherLink);
    let other = LinkTerms { collaborator_key: two.key(), ..link };
    assert_eq!(on(&other, &one.certificate, &good), NotBound::OtherLink);
    assert_eq!(on(&other, &two.certificate, &good), NotBound::OtherCertificate);
    let other = LinkTerms { aggregator_key: two.key(), ..link };
    assert_eq!(on(&other, &one.certificate, &good), NotBound::OtherLink);

    // Reflected: the aggregator's evidence comes back as a collaborator's, also with the role edited.
    let ours = LinkTerms { side: Side::Aggregator, ..link };
    let mut reflected = rig.aggregator.run_key.evidence(&ours, Held::default());
    assert_eq!(on(&link, &rig.aggregator.certificate, &reflected), NotBound::OtherRole);
    reflected.claims.side = Side::Collaborator;
    assert_eq!(on(&link, &rig.aggregator.certificate, &reflected), NotBound::OtherLink);
    // The same with a run key that signs the link as a collaborator: the certificate's key has not signed.
    reflected.link = rig.aggregator.run_key.evidence(&link, Held::default()).link;
    assert_eq!(on(&link, &rig.aggregator.certificate, &reflected), NotBound::NotVouched);

    // Somebody with the certificate's key alone, and somebody with a run key alone.
    let minted = Evidence { link: two.run_key.evidence(&link, Held::default()).link, ..good.clone() };
    assert_eq!(on(&link, &one.certificate, &minted), NotBound::OtherLink);
    let mut swapped = minted.clone();
    swapped.claims.run_key = two.run_key.claims().run_key;
    assert_eq!(on(&link, &one.certificate, &swapped), NotBound::NotVouched);

    let mut elsewhere = good.clone();
    elsewhere.claims.plan = Digest::of(b"other");
    assert_eq!(on(&link, &one.certificate, &elsewhere), NotBound::OtherPlan);
    let mut elsewhere = good.clone();
    elsewhere.claims.ca = Digest::of(b"other");
    assert_eq!(on(&link, &one.certificate, &elsewhere), NotBound::OtherPlan);
    let shown = rig.appraiser.appraise(&[9; 300], Some(&one.certificate), Some(&link));
    assert_eq!(shown.unwrap_err().to_string(), "the evidence has version 9; this program reads version 1");
}

#[test]
fn stolen_certificate_key_makes_no_quote_for_a_run_key_of_its_own() {
    let rig = Rig::new(OfCollaborators::Required);
    let credentials = rig.ca.credentials(Leaf::collaborator("one"), &rig.ca);
    let certificate = credentials.certificate().clone();
    let make = |quoter: Option<&dyn Quoter>| {
        RunKey::make(&System::real().random, &credentials, plan(), quoter).unwrap()
    };
    let enclave = Peer { certificate: certificate.clone(), run_key: make(Some(&Forger(&rig.intel, good()))) };
    rig.appraise(&enclave).unwrap();
    // The thief signs claims with a run key of its own, and has only the quote of the real enclave.
    let thief = Peer { certificate, run_key: make(None) };
    assert_eq!(rig.appraise(&thief), Err(NotAppraised::NoQuote));
    let mut evidence = thief.run_key.evidence(&rig.link(&thief), Held::default());
    evidence.quote = enclave.run_key.evidence(&rig.link(&enclave), Held::default()).quote;
    assert_eq!(rig.judge(&thief, &evidence), Err(NotAppraised::OtherClaims));
}

#[test]
fn plan_decides_who_has_to_show_a_quote() {
    for (asked, without) in [
        (OfCollaborators::None, Ok(false)),
        (OfCollaborators::Optional, Ok(false)),
        (OfCollaborators::Required, Err(NotAppraised::NoQuote)),
    ] {
        let rig = Rig::new(asked);
        let attested = |verdict: Result<Appraised, NotAppraised>| verdict.map(|a| a.attested().is_some());
        let plain = peer(&rig.ca, Leaf::collaborator("two"), None);
        assert_eq!(attested(rig.appraise(&plain)), without);
        // A program from before evidence.
        let silent = rig.appraiser.appraise(&[], Some(&plain.certificate), Some(&rig.link(&plain)));
        assert_eq!(attested(silent), without);
        assert_eq!(attested(rig.verdict(good())), Ok(asked != OfCollaborators::None));
        // A quote that is shown is judged, also where none is required.
        let other = rig.verdict(intel::Enclave { mrenclave: [0xe2; 32], ..good() });
        assert_eq!(other.is_ok(), asked == OfCollaborators::None);
    }
}

#[test]
fn owner_decides_which_enclaves_and_platforms_are_accepted() {
    let rig = Rig::new(OfCollaborators::Required);
    let refused = |enclave| rig.verdict(enclave).unwrap_err();
    let other = intel::Enclave { mrenclave: [0xe2; 32], ..good() };
    assert_eq!(refused(other.clone()), NotAppraised::OtherEnclave(Digest([0xe2; 32])));
    // The aggregator's enclave as a collaborator.
    let aggregators = intel::Enclave { mrenclave: [0xa9; 32], ..good() };
    assert_eq!(refused(aggregators), NotAppraised::OtherEnclave(Digest([0xa9; 32])));
    let debug = refused(intel::Enclave { debug: true, ..good() });
    assert!(matches!(debug, NotAppraised::NotVerified(NotVerified::Debug(_))));
    assert_eq!(debug.reason(), "debug");

    let of_signer = |least_svn| Program {
        mrenclave: None,
        mrsigner: Some(Digest([0x51; 32])),
        product: Some(1),
        least_svn,
    };
    rig.accept(2, |accepted| accepted.collaborators = vec![of_signer(3)]);
    assert!(matches!(refused(good()), NotAppraised::OtherEnclave(_)));
    rig.verdict(intel::Enclave { svn: 3, ..other.clone() }).unwrap();

    rig.accept(3, |accepted| accepted.least_evaluation = 20);
    assert_eq!(refused(good()), NotAppraised::Evaluation { found: 19, least: 20 });
    rig.accept(4, |accepted| accepted.platforms = BTreeSet::from([Digest([1; 32])]));
    assert_eq!(refused(good()), NotAppraised::Platform);
    rig.accept(5, |accepted| accepted.platforms = BTreeSet::from([Digest::of(&[0x11; 16])]));
    rig.verdict(good()).unwrap();

    *rig.roster.lock().unwrap() = None;
    assert_eq!(refused(good()), NotAppraised::NoPolicy);
}

#[test]
fn status_and_advisories_are_judged_by_the_roster() {
    let rig = Rig::new(OfCollaborators::Required);
    let levels = vec![([5; 16], 13, "SWHardeningNeeded")];
    rig.publish(&Wish { levels, issued: UnixSeconds(NOW.0 - 60), ..Wish::default() });
    let verdict = || rig.verdict(good());
    assert_eq!(verdict(), Err(NotAppraised::Status(TcbStatus::SwHardeningNeeded)));
    let more = BTreeSet::from([TcbStatus::UpToDate, TcbStatus::SwHardeningNeeded]);
    rig.accept(2, |accepted| accepted.statuses = more.clone());
    let appraised = verdict().unwrap();
    let advisory = appraised.attested().unwrap().verified().advisories().first().unwrap().clone();
    rig.accept(3, |accepted| {
        (accepted.statuses, accepted.advisories) = (more.clone(), Some(BTreeSet::new()));
    });
    assert_eq!(verdict(), Err(NotAppraised::Advisory(advisory.clone())));
    // An open link is judged by the new roster too, without its quote.
    let still = |serial, edit: &dyn Fn(&mut Accepted)| {
        rig.accept(serial, edit);
        rig.appraiser.still(&appraised)
    };
    assert_eq!(rig.appraiser.still(&appraised), Err(NotAppraised::Advisory(advisory.clone())));
    let named = Some(BTreeSet::from([advisory]));
    assert_eq!(
        still(4, &|accepted| (accepted.statuses, accepted.advisories) = (more.clone(), named.clone())),
        Ok(())
    );
    let gone = still(5, &|accepted| accepted.collaborators.truncate(1));
    assert_eq!(gone, Err(NotAppraised::OtherEnclave(Digest([0xe1; 32]))));
}

#[test]
fn collateral_serves_until_the_days_of_grace_are_over_and_a_newer_one_takes_its_place() {
    let rig = Rig::new(OfCollaborators::Required);
    let end = NOW.0 + 29 * DAY - 1;
    for (at, good_still) in
        [(NOW.0, true), (end, true), (end + 1, true), (end + 14 * DAY, true), (end + 14 * DAY + 1, false)]
    {
        *rig.now.lock().unwrap() = UnixSeconds(at);
        let verdict = rig.verdict(good());
        match good_still {
            true => drop(verdict.unwrap()),
            false => assert_eq!(verdict, Err(NotAppraised::CollateralEnded(UnixSeconds(end)))),
        }
    }
    rig.accept(2, |accepted| accepted.grace_days = 0);
    *rig.now.lock().unwrap() = UnixSeconds(end + 1);
    assert!(rig.verdict(good()).unwrap_err().is_ours());
    rig.publish(&Wish { issued: UnixSeconds(end - DAY), ..Wish::default() });
    rig.verdict(good()).unwrap();
    // An older one does not come back, and the clock does not go back behind the newer one.
    let older = rig.intel.collateral(&Wish::default()).json();
    assert!(rig.appraiser.collaterals().take(older.into()).unwrap().is_none());
    *rig.now.lock().unwrap() = UnixSeconds(0);
    rig.verdict(good()).unwrap();
}

#[test]
fn refusal_is_told_in_words_for_the_side_that_reads_it() {
    let told = |why: NotAppraised| why.told_by(Side::Aggregator);
    assert_eq!(told(NotAppraised::NoQuote), "the plan requires a quote, and this collaborator shows none");
    assert_eq!(
        told(NotAppraised::NoCollateral),
        "the aggregator has no collateral of Intel, so it can judge no quote"
    );
    for why in [
        NotAppraised::NoPolicy,
        NotAppraised::CollateralEnded(NOW),
        NotAppraised::Evaluation { found: 1, least: 2 },
        NotAppraised::Platform,
        NotAppraised::TooSoon,
        NotAppraised::OtherEnclave(Digest([7; 32])),
    ] {
        for side in [Side::Aggregator, Side::Collaborator] {
            let words = why.told_by(side);
            assert!(!words.contains("this side") && !words.contains("the peer"), "{words}");
        }
    }
}

#[test]
fn collateral_is_taken_only_where_no_part_is_older_or_missing() {
    let intel = Intel::new(Chip::default());
    let root = Root(Digest::of(&intel.root()));
    let clock = FlooredClock::new(|| NOW);
    let collaterals = Collaterals::new(&files(), root, Vec::new(), &clock);
    let issued = |before: u64| Wish { issued: UnixSeconds(NOW.0 - before), ..Wish::default() };
    let (held, newer, older) = (issued(DAY), issued(60), issued(2 * DAY));
    let [held, newer, older] = [held, newer, older].map(|wish| intel.collateral(&wish));
    let take = |collateral: &intel::Collateral| {
        collaterals.take(collateral.json().into()).map(|taken| taken.is_some())
    };
    assert_eq!(take(&held), Ok(true));
    assert_eq!((take(&held), take(&older)), (Ok(false), Ok(false)));

    // Newer texts with last month's lists: what Intel has revoked since is not forgotten.
    for old_lists in [
        intel::Collateral { pck_crl: older.pck_crl.clone(), ..newer.clone() },
        intel::Collateral { root_crl: older.root_crl.clone(), ..newer.clone() },
    ] {
        assert!(matches!(take(&old_lists), Err(CollateralRefused::Older(_))));
    }
    let old_identity = intel::Collateral {
        qe_identity: older.qe_identity.clone(),
        qe_identity_signature: older.qe_identity_signature.clone(),
        ..newer.clone()
    };
    assert_eq!(take(&old_identity), Err(CollateralRefused::Older("the QE identity".into())));

    // Newer texts for another kind of processor alone, and then the held ones with one more kind.
    let other = intel.collateral(&Wish { fmspc: [9; 6], ..issued(60) });
    let Err(CollateralRefused::Lacks(kind)) = take(&other) else { panic!("a kind was dropped") };
    assert!(kind.starts_with("the TCB info of the FMSPC "), "{kind}");
    let [mut both, other] = [&held, &intel.collateral(&Wish { fmspc: [9; 6], ..issued(2 * DAY) })]
        .map(|of| Collateral::parse(of.json().as_bytes()).unwrap());
    both.tcb_infos.extend(other.tcb_infos);
    assert!(collaterals.take(both.render().into()).unwrap().is_some());
    // Now a newer file for the first kind alone is not enough.
    assert!(matches!(take(&newer), Err(CollateralRefused::Lacks(_))));
}

/// The bound is for a debug build on a busy machine.
#[test]
fn a_thousand_open_links_are_judged_again_within_fifty_milliseconds() {
    let rig = Rig::new(OfCollaborators::Required);
    let appraised = rig.verdict(good()).unwrap();
    // As many machines as a roster may list: each link asks the one list, and copies nothing.
    let others = (1..PLATFORMS).map(|at| Digest::of(&at.to_le_bytes()));
    rig.accept(2, |accepted| {
        accepted.platforms = others.chain([Digest::of(&[0x11; 16])]).collect();
    });
    let began = std::time::Instant::now();
    for _ in 0..1_000 {
        rig.appraiser.still(&appraised).unwrap();
    }
    let took = began.elapsed();
    println!("1,000 open links judged again in {took:?}");
    assert!(took.as_millis() < 50, "{took:?}");
}
