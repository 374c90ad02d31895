//! The first messages on a link: who the peer is, and whether both sides run the same plan.
//!
//! The acceptor's tasks call [`welcome`], the collaborator's dialler calls [`introduce`]. Only this file
//! makes an [`AdmittedPeer`]: its certificate, its line of the roster, its plan hash and its evidence were
//! checked, in this order. The collaborator checks the aggregator's evidence before it does anything else.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use bytes::Bytes;
use fl_engine::{
    Digest, Name, RoundNo,
    wire::{
        self, Evidence, FEATURE_EVIDENCE, FEATURES, Hello, Message, Newer, NewerFile, Rejection, Side,
        VERSIONS, Welcome, cut_text,
    },
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::{attestation::Attestation, close_code};
use crate::{
    net::{
        ControlSender, Link, LinkError, LinkHandle,
        places::{Place, Places},
    },
    trust::{
        Admission, Fingerprint, PeerAdmitted,
        evidence::{Appraised, InForce, NotAppraised},
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
    pub(crate) handed_on: HandedOn,
}

/// To which keys files were handed on lately. There are as many as members.
#[derive(Debug, Default)]
pub(crate) struct HandedOn(Mutex<HashMap<Fingerprint, (Instant, usize)>>);

/// The files that a collaborator judges this side by, where it holds older ones.
#[derive(Debug, Default)]
struct NewerFiles {
    roster: Option<Arc<[u8]>>,
    collateral: Option<Arc<InForce>>,
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
    /// The collaborator's evidence is refused. It was told so in its own words.
    #[error("{name} was rejected: {why}. To mend this, {hint}", hint = why.hint())]
    Evidence { name: Name, why: NotAppraised },
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
                    reject(link, said_to(&hello, &error)).await;
                    return Err(WelcomeError::Evidence { name: proof.name().clone(), why: error });
                }
            };
            let newer = greeter.newer(key, &hello);
            let welcome = Message::Welcome(Welcome {
                version: VERSIONS.1.min(hello.versions.1),
                features: FEATURES & hello.features,
                incarnation: greeter.incarnation,
                name: proof.name().clone(),
                roster_serial: greeter.admission.serial(),
                round: greeter.status.borrow().round,
                evidence: greeter.attestation.show_to(hello.features, &handle),
            });
            answer(&mut link, &mut place, &newer, &welcome).await?;
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

/// Sends the newer files and the Welcome to a peer that reads them in time and keeps its place.
async fn answer(
    link: &mut Link,
    place: &mut Place<Option<Fingerprint>>,
    newer: &NewerFiles,
    welcome: &Message,
) -> Result<(), LinkError> {
    let handle = link.handle().clone();
    let answering = async {
        for part in newer.parts() {
            link.send_envelope(&wire::encode(&Message::Newer(part))).await?;
        }
        link.send_envelope(&wire::encode(welcome)).await
    };
    let (error, why) = tokio::select! {
        sent = timeout(GREETING_WAIT, answering) => match sent {
            Ok(sent) => return sent,
            Err(_) => (LinkError::TimedOut, UNREAD),
        },
        () = place.lost() => (LinkError::GaveWay, TOO_MANY),
    };
    handle.close(close_code::SLOW, why);
    Err(error)
}

/// What a collaborator reads whose evidence is refused. What is wrong at the aggregator may be mended soon.
fn said_to(hello: &Hello, error: &NotAppraised) -> Rejection {
    let words = cut_text(&error.told_by(Side::Aggregator));
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

    /// The files that the collaborator judges this side by, where it holds older ones.
    fn newer(&self, key: Option<Fingerprint>, hello: &Hello) -> NewerFiles {
        let appraiser = self.attestation.appraiser();
        let reads = appraiser.is_judged() && hello.features & FEATURE_EVIDENCE != 0;
        let Some(Evidence { held, .. }) = Evidence::decode(&hello.evidence).ok().filter(|_| reads) else {
            return NewerFiles::default();
        };
        let roster = self.admission.roster_text().filter(|_| self.admission.serial() > held.roster);
        let collateral = appraiser.collaterals().in_force().filter(|own| own.issued().0 > held.collateral);
        let newer = NewerFiles { roster, collateral };
        if (newer.roster.is_none() && newer.collateral.is_none())
            || key.is_some_and(|key| self.handed_on.may(key))
        {
            return newer;
        }
        NewerFiles::default()
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

impl HandedOn {
    /// Whether files may be handed on to this key now; counts them then.
    fn may(&self, key: Fingerprint) -> bool {
        let now = Instant::now();
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) = counts.entry(key).or_insert((now, 0));
        if now.duration_since(*since) >= HANDED_ON.1 {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        *count <= HANDED_ON.0
    }
}

impl NewerFiles {
    /// Messages with the files; each is made when it is asked for.
    fn parts(&self) -> impl Iterator<Item = Newer> {
        let roster = self.roster.iter().flat_map(|text| Newer::parts(NewerFile::Roster, text));
        let collateral = self.collateral.iter();
        roster.chain(collateral.flat_map(|own| Newer::parts(NewerFile::Collateral, own.text())))
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
    let answer =
        timeout(GREETING_WAIT, hear(link, receive)).await.unwrap_or(Err(LinkError::TimedOut.into()))?;
    match answer {
        Message::Welcome(welcome) if welcome.roster_serial < serial => {
            Err(IntroductionError::Rejected(Rejection::Roster(welcome.roster_serial)))
        }
        Message::Welcome(welcome) => match attestation.appraise(link.handle(), &welcome.evidence) {
            Ok(appraised) => Ok((welcome, appraised)),
            Err(error) => {
                link.handle().close(close_code::REJECTED, &cut_text(&error.told_by(Side::Collaborator)));
                Err(error.into())
            }
        },
        Message::Rejected(why) => Err(IntroductionError::Rejected(why)),
        _ => Err(protocol("the first answer was neither Welcome nor Rejected")),
    }
}

/// The aggregator's answer to the Hello. `receive` gets the files that come before it.
async fn hear(
    link: &mut Link,
    receive: &(dyn Fn(NewerFile, Vec<u8>) + Send + Sync),
) -> Result<Message, IntroductionError> {
    // Each file may come once.
    let mut coming = [NewerFile::Roster, NewerFile::Collateral].map(|file| (file, Some(Vec::new())));
    for _ in 0..GREETING_ENVELOPES {
        let envelope =
            timeout(FIRST_BYTES_WAIT, link.recv_envelope()).await.unwrap_or(Err(LinkError::TimedOut))?;
        let part = match wire::decode(&envelope) {
            Ok(Some(Message::Newer(part))) => part,
            Ok(Some(answer)) => return Ok(answer),
            // A kind of a later version, which may be left out.
            Ok(None) => continue,
            Err(error) => return Err(protocol(error.to_string())),
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
    }
    Err(protocol(format!("no answer stands among the aggregator's first {GREETING_ENVELOPES} messages")))
}

fn protocol(what: impl Into<String>) -> IntroductionError {
    IntroductionError::Rejected(Rejection::Protocol(what.into()))
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
/// Longest greeting after the Hello: newer files of two times 1 MiB take this time at 300 kbit/s.
const GREETING_WAIT: Duration = Duration::from_secs(60);
/// Most messages of a greeting: both files have 64 parts, and later versions may add messages.
const GREETING_ENVELOPES: usize = 256;
/// How often files are handed on to one key, and in which time: a site may start again a few times.
const HANDED_ON: (usize, Duration) = (3, Duration::from_secs(60));
/// Links that are not welcomed yet: in all, and of one key.
pub(super) const UNWELCOMED: (usize, usize) = (1024, 4);
/// What a peer reads whose link gave way.
const TOO_MANY: &str = "too many links are open that have not said which plan they are for";
/// What a peer reads that does not take its Welcome.
const UNREAD: &str = "the peer has not read the answer to its Hello in time";

/// What the aggregator's operator reads of a program that cannot do what the plan asks of it.
const TOO_OLD: &str = "its program cannot send the sums of its data, which the plan asks for (standardise: federated): it needs the \
                       aggregator's version of the program";

/// Longest wait until a peer has read a last envelope.
const LAST_ENVELOPE_WAIT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests;
