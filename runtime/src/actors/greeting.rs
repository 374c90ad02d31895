//! The first messages on a link: who the peer is, and whether both sides run the same plan.
//!
//! The acceptor's tasks call [`welcome`], the collaborator's dialler calls [`introduce`]. Only this file
//! makes an [`AdmittedPeer`]: its certificate, its line of the roster, its plan hash and its evidence were
//! checked, in this order. The collaborator checks the aggregator's evidence before it does anything else.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use bytes::Bytes;
use fl_engine::{
    Digest, Name, RoundNo,
    wire::{
        self, Evidence, FEATURE_EVIDENCE, FEATURES, Hello, Message, Newer, NewerFile, Rejection, VERSIONS,
        Welcome, cut_text,
    },
};
use tokio::{sync::watch, time::timeout};

use super::{attestation::Attestation, close_code};
use crate::{
    net::{ControlSender, Link, LinkError, LinkHandle, places::Places},
    trust::{
        Admission, Fingerprint, PeerAdmitted,
        evidence::{Appraised, NotAppraised},
    },
};

/// Where the run stands, for peers that connect and for the end of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunStatus {
    /// The round that is open or opens next.
    pub(crate) round: RoundNo,
    /// Whether training is over.
    pub(crate) over: bool,
    /// Collaborators that are connected.
    pub(crate) links: usize,
}

/// Checks peers that connect.
pub(crate) struct Greeter {
    pub(crate) federation: Name,
    pub(crate) plan: Digest,
    /// Features that a collaborator has to have for this plan.
    pub(crate) needs: u64,
    pub(crate) incarnation: u64,
    pub(crate) admission: Arc<dyn Admission>,
    pub(crate) attestation: Arc<Attestation>,
    pub(crate) status: watch::Receiver<RunStatus>,
    /// Links of peers that have shaken hands and have not been welcomed or rejected yet, by their key.
    pub(crate) unwelcomed: Places<Option<Fingerprint>>,
    /// Connections that ended in the handshake or were rejected after it.
    pub(crate) refused: AtomicU64,
}

/// A collaborator that was admitted and welcomed, and its link.
pub(crate) struct AdmittedPeer {
    proof: PeerAdmitted,
    appraised: Appraised,
    holds: Option<Digest>,
    link: Link,
}

impl AdmittedPeer {
    /// The proof that the collaborator was admitted, with its name.
    pub(crate) fn proof(&self) -> &PeerAdmitted {
        &self.proof
    }

    /// The shared part of its link.
    pub(crate) fn handle(&self) -> &LinkHandle {
        self.link.handle()
    }

    /// The proof that its evidence was judged.
    pub(crate) fn appraised(&self) -> &Appraised {
        &self.appraised
    }

    /// The root of the model that the collaborator holds, and its link.
    pub(crate) fn into_parts(self) -> (PeerAdmitted, Appraised, Option<Digest>, Link) {
        (self.proof, self.appraised, self.holds, self.link)
    }
}

/// Why a peer was not welcomed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WelcomeError {
    /// The aggregator rejected the peer, and told it why.
    #[error("{} was rejected: {why}", name.as_ref().map_or("a peer that is not a member", Name::as_str))]
    Rejected { name: Option<Name>, why: Rejection },
    /// The peer's program lacks what the plan asks for. It was told that its version does not fit, because it
    /// may be too old for a reason of its own.
    #[error("{name} was rejected: {TOO_OLD}")]
    TooOld { name: Name },
    /// The link broke first.
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// The aggregator's side: checks a peer and welcomes it, or tells it why it is rejected and closes the link.
///
/// A peer that will be rejected has [`REJECTED_WAIT`] for its Hello, and a key has few links that are not
/// welcomed yet: a newer one closes the oldest.
pub(crate) async fn welcome(mut link: Link, greeter: &Greeter) -> Result<AdmittedPeer, WelcomeError> {
    let admitted = greeter.admission.admit(link.handle().peer_certificates());
    // The handshake has read the certificate.
    let key = link.handle().peer_certificates().first().and_then(|own| Fingerprint::of(own).ok());
    let handle = link.handle().clone();
    let Some(mut place) = greeter.unwelcomed.take(key) else {
        handle.close(close_code::SLOW, TOO_MANY);
        return Err(LinkError::GaveWay.into());
    };
    // The Hello is read although the peer may be rejected already: the peer expects the answer after its
    // Hello.
    let wait = if admitted.is_ok() { FIRST_BYTES_WAIT } else { REJECTED_WAIT };
    let envelope = tokio::select! {
        envelope = timeout(wait, link.recv_envelope()) => envelope.unwrap_or(Err(LinkError::TimedOut))?,
        () = place.lost() => {
            handle.close(close_code::SLOW, TOO_MANY);
            return Err(LinkError::GaveWay.into());
        }
    };
    let (proof, checked) = match admitted {
        Ok(proof) => (Some(proof), greeter.check(&envelope)),
        Err(why) => {
            let words = cut_text(&why.to_string());
            let lasts = !why.is_of_the_clock();
            (None, Err(if lasts { Rejection::Identity(words) } else { Rejection::Ended(words) }))
        }
    };
    match (proof, checked) {
        (Some(proof), Ok(hello)) if greeter.lacks(&hello) => {
            reject(link, Rejection::Version(VERSIONS.0, VERSIONS.1)).await;
            Err(WelcomeError::TooOld { name: proof.name().clone() })
        }
        (Some(proof), Ok(hello)) => {
            let appraised = match greeter.attestation.appraise(&handle, &hello.evidence) {
                Ok(appraised) => appraised,
                Err(error) => {
                    let why = said_to(&hello, &error);
                    reject(link, why.clone()).await;
                    return Err(WelcomeError::Rejected { name: Some(proof.name().clone()), why });
                }
            };
            for part in greeter.newer(&hello) {
                link.send_envelope(&wire::encode(&Message::Newer(part))).await?;
            }
            let answer = Message::Welcome(Welcome {
                version: VERSIONS.1.min(hello.versions.1),
                features: FEATURES & hello.features,
                incarnation: greeter.incarnation,
                name: proof.name().clone(),
                roster_serial: greeter.admission.serial(),
                round: greeter.status.borrow().round,
                evidence: greeter.attestation.show_to(hello.features, &handle),
            });
            link.send_envelope(&wire::encode(&answer)).await?;
            Ok(AdmittedPeer { proof, appraised, holds: hello.holds, link })
        }
        (proof, checked) => {
            let name = proof.map(|proof| proof.name().clone());
            let why = checked.err().unwrap_or(Rejection::Over);
            reject(link, why.clone()).await;
            Err(WelcomeError::Rejected { name, why })
        }
    }
}

/// What a collaborator reads whose evidence is refused. What is wrong at the aggregator may be mended soon.
fn said_to(hello: &Hello, error: &NotAppraised) -> Rejection {
    let words = cut_text(&error.to_string());
    match (error.is_ours(), hello.features & FEATURE_EVIDENCE) {
        (true, _) => Rejection::Ended(words),
        (false, 0) => Rejection::Identity(words),
        (false, _) => Rejection::Evidence(words),
    }
}

async fn reject(link: Link, why: Rejection) {
    let (sender, _receiver, handle) = link.split();
    send_last(sender, &handle, &wire::encode(&Message::Rejected(why)), close_code::REJECTED).await;
}

impl Greeter {
    /// Whether the peer's program cannot do what the plan asks of it.
    fn lacks(&self, hello: &Hello) -> bool {
        hello.features & self.needs != self.needs
    }

    /// The roster and the collateral that the collaborator judges this side by, where it holds older ones.
    fn newer(&self, hello: &Hello) -> Vec<Newer> {
        let appraiser = self.attestation.appraiser();
        let Some(Evidence { held, .. }) =
            Evidence::decode(&hello.evidence).ok().filter(|_| appraiser.is_judged())
        else {
            return Vec::new();
        };
        let roster = self.admission.roster_text().filter(|_| self.admission.serial() > held.roster);
        let collateral = appraiser.collaterals().in_force().filter(|own| own.issued().0 > held.collateral);
        let mut parts = Vec::new();
        parts.extend(roster.iter().flat_map(|text| Newer::parts(NewerFile::Roster, text)));
        parts.extend(collateral.iter().flat_map(|own| Newer::parts(NewerFile::Collateral, own.text())));
        parts
    }

    fn check(&self, envelope: &Bytes) -> Result<Hello, Rejection> {
        let protocol = |what: String| Rejection::Protocol(cut_text(&what));
        let hello = match wire::decode(envelope) {
            Ok(Some(Message::Hello(hello))) => hello,
            Ok(_) => return Err(protocol("the first message was not a Hello".to_owned())),
            Err(error) => return Err(protocol(error.to_string())),
        };
        if hello.versions.0 > VERSIONS.1 || hello.versions.1 < VERSIONS.0 {
            return Err(Rejection::Version(VERSIONS.0, VERSIONS.1));
        }
        if hello.federation != self.federation {
            return Err(Rejection::Federation(self.federation.clone()));
        }
        if hello.plan != self.plan {
            return Err(Rejection::Plan(self.plan));
        }
        let serial = self.admission.serial();
        if hello.roster_serial > serial {
            return Err(Rejection::Roster(serial));
        }
        if self.status.borrow().over {
            return Err(Rejection::Over);
        }
        Ok(hello)
    }
}

/// Why an aggregator did not welcome this collaborator.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IntroductionError {
    /// The aggregator rejected this collaborator, or its answer does not fit.
    #[error("{0}")]
    Rejected(Rejection),
    /// This collaborator refuses the aggregator's evidence.
    #[error("the aggregator's evidence is refused: {0}")]
    Evidence(#[from] NotAppraised),
    /// The link broke first.
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// The collaborator's side: sends the Hello with this side's evidence, and judges the evidence of the answer.
/// `receive` gets a newer roster or newer collateral that comes before the answer.
pub(crate) async fn introduce(
    link: &mut Link,
    hello: Hello,
    attestation: &Attestation,
    receive: &(dyn Fn(NewerFile, Vec<u8>) + Send + Sync),
) -> Result<(Welcome, Appraised), IntroductionError> {
    let serial = hello.roster_serial;
    let evidence = attestation.show_to(hello.features, link.handle());
    let hello = Hello { evidence, ..hello };
    link.send_envelope(&wire::encode(&Message::Hello(hello))).await?;
    let protocol = |what: String| IntroductionError::Rejected(Rejection::Protocol(what));
    // Each file may come once.
    let mut coming = [NewerFile::Roster, NewerFile::Collateral].map(|file| (file, Some(Vec::new())));
    let answer = loop {
        let envelope =
            timeout(FIRST_BYTES_WAIT, link.recv_envelope()).await.unwrap_or(Err(LinkError::TimedOut))?;
        let part = match wire::decode(&envelope) {
            Ok(Some(Message::Newer(part))) => part,
            answer => break answer,
        };
        let Some((file, text)) = coming.iter_mut().find(|(file, _)| *file == part.file) else { continue };
        let most = file.most_bytes();
        let Some(held) = text.as_mut().filter(|held| held.len() + part.part.len() <= most) else {
            return Err(protocol(format!("the aggregator hands on a file twice, or one over {most} bytes")));
        };
        held.extend_from_slice(&part.part);
        if part.ends {
            receive(*file, text.take().unwrap_or_default());
        }
    };
    match answer {
        Ok(Some(Message::Welcome(welcome))) if welcome.roster_serial < serial => {
            Err(IntroductionError::Rejected(Rejection::Roster(welcome.roster_serial)))
        }
        Ok(Some(Message::Welcome(welcome))) => match attestation.appraise(link.handle(), &welcome.evidence) {
            Ok(appraised) => Ok((welcome, appraised)),
            Err(error) => {
                link.handle().close(close_code::REJECTED, &cut_text(&error.to_string()));
                Err(error.into())
            }
        },
        Ok(Some(Message::Rejected(why))) => Err(IntroductionError::Rejected(why)),
        Ok(_) => Err(protocol("the first answer was neither Welcome nor Rejected".to_owned())),
        Err(error) => Err(protocol(error.to_string())),
    }
}

/// Sends one last envelope and closes the link once the peer has closed it, after [`LAST_ENVELOPE_WAIT`] at
/// the latest.
pub(super) async fn send_last(mut sender: ControlSender, handle: &LinkHandle, envelope: &[u8], code: u32) {
    let saying = async {
        sender.send_envelope(envelope).await?;
        sender.finish().await?;
        // The peer holds the envelope, but may not have read it yet: closing now would drop it.
        Ok::<_, LinkError>(handle.closed().await)
    };
    // The peer may be gone: the link is closed in any case.
    let _ = timeout(LAST_ENVELOPE_WAIT, saying).await;
    handle.close(code, "");
}

/// Longest wait for the first bytes of a peer: its first envelope, or the header of a stream.
pub(super) const FIRST_BYTES_WAIT: Duration = Duration::from_secs(10);

/// Longest wait for the Hello of a peer that will be rejected.
const REJECTED_WAIT: Duration = Duration::from_secs(1);
/// Links that are not welcomed yet: in all, and of one key.
pub(super) const UNWELCOMED: (usize, usize) = (1024, 4);
/// What a peer reads whose link gave way.
const TOO_MANY: &str = "too many links are open that have not said which plan they are for";

/// What the aggregator's operator reads of a program that cannot do what the plan asks of it.
const TOO_OLD: &str = "its program cannot send the sums of its data, which the plan asks for (standardise: federated): it needs the \
                       aggregator's version of the program";

/// Longest wait until a peer has read a last envelope.
const LAST_ENVELOPE_WAIT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use fl_engine::wire::Side;
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
        let hello = Hello {
            versions: VERSIONS,
            features: 0,
            federation: "w".parse().unwrap(),
            plan: Digest([0; 32]),
            roster_serial: 1,
            holds: None,
            evidence: Vec::new(),
        };
        let own = fixture::attestation(Side::Collaborator);
        let (mut there, here) = Link::pair(vec![certificate()], Vec::new());
        let (ended, told) =
            tokio::join!(welcome(here, &greeter), introduce(&mut there, hello, &own, &|_, _| ()));
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
}
