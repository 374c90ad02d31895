use rustls::pki_types::CertificateDer;
use tokio::time::{Instant, advance};

use super::*;
use crate::{
    actors::fixture,
    trust::{
        Refused,
        fixture::{Leaf, TestCa},
    },
};

/// Admits everybody, or refuses everybody.
struct Everybody(bool);

impl Admission for Everybody {
    fn admit(&self, _: &[CertificateDer<'_>]) -> Result<PeerAdmitted, Refused> {
        let name: Name = "one".parse().unwrap();
        if self.0 { Ok(PeerAdmitted::unchecked(name)) } else { Err(Refused::Unlisted(name)) }
    }

    fn still_admits(&self, _: &PeerAdmitted) -> Result<(), Refused> {
        Ok(())
    }

    fn serial(&self) -> u64 {
        1
    }
}

fn greeter(admits: bool) -> Arc<Greeter> {
    let status = RunStatus { round: RoundNo(0), over: false, links: 0 };
    Arc::new(Greeter {
        federation: "w".parse().unwrap(),
        plan: Digest([0; 32]),
        needs: 0,
        incarnation: 1,
        admission: Arc::new(Everybody(admits)),
        attestation: fixture::attestation(Side::Aggregator),
        status: watch::channel(status).1,
        unwelcomed: Places::new(UNWELCOMED.0, UNWELCOMED.1),
        refused: AtomicU64::new(0),
        handed_on: HandedOn::default(),
    })
}

fn hello() -> Hello {
    Hello {
        versions: VERSIONS,
        features: FEATURES,
        federation: "w".parse().unwrap(),
        plan: Digest([0; 32]),
        roster_serial: 1,
        holds: None,
        evidence: Vec::new(),
    }
}

fn answer_of_the_aggregator() -> Message {
    Message::Welcome(Welcome {
        version: VERSIONS.1,
        features: FEATURES,
        incarnation: 1,
        name: "one".parse().unwrap(),
        roster_serial: 1,
        round: RoundNo(0),
        evidence: Vec::new(),
    })
}

fn certificate() -> CertificateDer<'static> {
    TestCa::new("w").issue(Leaf::collaborator("one")).0
}

#[tokio::test(start_paused = true)]
async fn silent_peer_that_will_be_rejected_has_one_second() {
    for (admits, seconds) in [(false, 1), (true, 10)] {
        let (_silent, here) = Link::pair(vec![certificate()], Vec::new());
        let began = Instant::now();
        let ended = welcome(here, &greeter(admits)).await.map(drop).unwrap_err();
        assert!(matches!(ended, WelcomeError::Link(LinkError::TimedOut)), "{ended}");
        assert_eq!(began.elapsed().as_secs(), seconds);
    }
}

#[tokio::test(start_paused = true)]
async fn program_without_a_needed_feature_reads_that_its_version_does_not_fit() {
    let mut greeter = greeter(true);
    Arc::get_mut(&mut greeter).unwrap().needs = FEATURES;
    let hello = Hello { features: 0, ..hello() };
    let own = fixture::attestation(Side::Collaborator);
    let (mut there, here) = Link::pair(vec![certificate()], Vec::new());
    let (ended, told) = tokio::join!(welcome(here, &greeter), introduce(&mut there, hello, &own, &|_, _| ()));
    assert!(matches!(ended.map(drop), Err(WelcomeError::TooOld { .. })));
    let Err(IntroductionError::Rejected(why)) = told else { panic!("not rejected") };
    assert_eq!(why, Rejection::Version(VERSIONS.0, VERSIONS.1));
}

#[tokio::test(start_paused = true)]
async fn key_with_many_silent_links_keeps_few_and_leaves_other_keys_alone() {
    let (greeter, own, other) = (greeter(true), certificate(), certificate());
    let connect = |certificate: &CertificateDer<'static>| {
        let (there, here) = Link::pair(vec![certificate.clone()], Vec::new());
        let greeter = Arc::clone(&greeter);
        (there, tokio::spawn(async move { welcome(here, &greeter).await.map(drop) }))
    };
    let (_alone, alone) = connect(&other);
    let mut flood = Vec::new();
    for _ in 0..20 {
        flood.push(connect(&own));
        advance(Duration::from_millis(300)).await;
        tokio::task::yield_now().await;
    }
    let open = flood.iter().filter(|(_, link)| !link.is_finished()).count();
    assert!(open <= UNWELCOMED.1, "{open} silent links of one key are open");
    assert!(!alone.is_finished());
}

#[tokio::test(start_paused = true)]
async fn peer_that_does_not_read_its_answer_loses_the_link() {
    let key = Fingerprint::of(&certificate()).unwrap();
    let newer = NewerFiles { roster: Some(vec![b'#'; 8 << 20].into()), collateral: None };
    let places = Places::new(UNWELCOMED.0, UNWELCOMED.1);

    let (_unread, mut here) = Link::pair(vec![certificate()], Vec::new());
    let mut place = places.take(Some(key)).unwrap();
    let began = Instant::now();
    let ended = answer(&mut here, &mut place, &newer, &answer_of_the_aggregator()).await;
    assert_eq!((ended, began.elapsed()), (Err(LinkError::TimedOut), GREETING_WAIT));
    drop(place);

    // Newer links of the same key push it out before that.
    let (_unread, mut here) = Link::pair(vec![certificate()], Vec::new());
    let mut place = places.take(Some(key)).unwrap();
    let began = Instant::now();
    let crowding = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        (0..UNWELCOMED.1).map(|_| places.take(Some(key)).unwrap()).collect::<Vec<_>>()
    };
    let welcome = answer_of_the_aggregator();
    let (ended, _crowd) = tokio::join!(answer(&mut here, &mut place, &newer, &welcome), crowding);
    assert_eq!((ended, began.elapsed().as_secs()), (Err(LinkError::GaveWay), 1));
}

#[tokio::test(start_paused = true)]
async fn files_are_handed_on_to_a_key_three_times_a_minute() {
    let handed_on = HandedOn::default();
    let [one, two] = [(); 2].map(|()| Fingerprint::of(&certificate()).unwrap());
    let three_and_one_more = [true, true, true, false];
    assert_eq!([(); 4].map(|()| handed_on.may(one)), three_and_one_more);
    assert!(handed_on.may(two));
    advance(HANDED_ON.1).await;
    assert_eq!([(); 4].map(|()| handed_on.may(one)), three_and_one_more);
}

#[tokio::test(start_paused = true)]
async fn messages_of_a_later_version_before_the_answer_are_skipped_up_to_a_bound() {
    let own = fixture::attestation(Side::Collaborator);
    let unknown = 0x7fff_u16.to_le_bytes();
    for (skipped, welcomed) in [(3, true), (GREETING_ENVELOPES, false)] {
        let (mut there, mut here) = Link::pair(vec![certificate()], Vec::new());
        let answering = async {
            for _ in 0..skipped {
                here.send_envelope(&unknown).await.unwrap();
            }
            // The collaborator may be gone by now.
            let _ = here.send_envelope(&wire::encode(&answer_of_the_aggregator())).await;
        };
        let (introduced, ()) = tokio::join!(introduce(&mut there, hello(), &own, &|_, _| ()), answering);
        match introduced {
            Ok(_) => assert!(welcomed),
            Err(why) => assert!(!welcomed && why.to_string().contains("no answer stands"), "{why}"),
        }
    }
    // An aggregator that always says something, but never answers.
    let (mut there, mut here) = Link::pair(vec![certificate()], Vec::new());
    let dripping = async {
        while here.send_envelope(&unknown).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(9)).await;
        }
    };
    let began = Instant::now();
    tokio::select! {
        introduced = introduce(&mut there, hello(), &own, &|_, _| ()) => {
            assert!(matches!(introduced, Err(IntroductionError::Link(LinkError::TimedOut))));
        }
        () = dripping => panic!("the collaborator has left"),
    }
    assert_eq!(began.elapsed(), GREETING_WAIT);
}
