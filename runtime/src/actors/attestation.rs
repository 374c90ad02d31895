//! Evidence on a link: what this side shows, and the verdict about what the peer shows.
//!
//! A role holds one [`Attestation`] for as long as it runs. A link inside one process has no keys to sign:
//! there the fields stay empty.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fl_engine::{
    Digest,
    wire::{EXPORTER_LABEL, FEATURE_EVIDENCE, LinkTerms, Side},
};
use tokio::time::Instant;

use crate::{
    net::LinkHandle,
    trust::{
        Fingerprint, RunKey,
        evidence::{Appraised, Appraiser, JudgedBy, NotAppraised},
    },
};

/// This side's run key, and the judge of the other side.
#[derive(Debug)]
pub(crate) struct Attestation {
    run_key: RunKey,
    appraiser: Appraiser,
    /// Keys whose evidence was refused: when they may try again, and what it was judged by.
    refused: Mutex<HashMap<Digest, (Instant, JudgedBy)>>,
}

impl Attestation {
    pub(crate) fn new(run_key: RunKey, appraiser: Appraiser) -> Arc<Self> {
        Arc::new(Self { run_key, appraiser, refused: Mutex::default() })
    }

    /// The judge of the other side.
    pub(crate) fn appraiser(&self) -> &Appraiser {
        &self.appraiser
    }

    /// For the field `evidence` of this side's Hello or Welcome, where `features` has evidence. Empty on a
    /// link without keys.
    pub(crate) fn show_to(&self, features: u64, link: &LinkHandle) -> Vec<u8> {
        if features & FEATURE_EVIDENCE == 0 {
            return Vec::new();
        }
        let terms = self.terms(link, self.run_key.claims().side);
        let evidence = terms.map(|terms| self.run_key.evidence(&terms, self.appraiser.held()));
        evidence.map(|evidence| evidence.encode()).unwrap_or_default()
    }

    /// Judges the field `evidence` of the peer's message. A key whose evidence was refused has one try in
    /// [`AGAIN`], or under a new roster or new collateral. An earlier try is not looked at: who made the
    /// refused one may be a thief of the key.
    ///
    /// # Errors
    /// [`NotAppraised`].
    pub(crate) fn appraise(&self, link: &LinkHandle, shown: &[u8]) -> Result<Appraised, NotAppraised> {
        let certificate = link.peer_certificates().first();
        let key = certificate.and_then(|own| Fingerprint::of(own).ok()).map(|key| key.0);
        let refused = || self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let by = self.appraiser.judges_by();
        if key.is_some_and(|key| refused().get(&key).is_some_and(|(until, of)| now < *until && *of == by)) {
            return Err(NotAppraised::TooSoon);
        }
        let verdict = self.appraiser.appraise(shown, certificate, self.terms(link, self.peers()).as_ref());
        match (&verdict, key) {
            (Err(why), Some(key)) if !why.is_ours() => drop(refused().insert(key, (now + AGAIN, by))),
            (Ok(_), Some(key)) => drop(refused().remove(&key)),
            _ => {}
        }
        verdict
    }

    /// Judges a peer of an open link again, by the roster that is in force now.
    ///
    /// # Errors
    /// [`NotAppraised`].
    pub(crate) fn still(&self, appraised: &Appraised) -> Result<(), NotAppraised> {
        self.appraiser.still(appraised)
    }

    fn peers(&self) -> Side {
        self.run_key.claims().side.other()
    }

    /// The link, as `signer` signs it.
    fn terms(&self, link: &LinkHandle, signer: Side) -> Option<LinkTerms> {
        let mut exporter = [0; 32];
        link.export_keying_material(&mut exporter, EXPORTER_LABEL, &[]).ok()?;
        let own = self.run_key.claims().certificate_key;
        let peer = Fingerprint::of(link.peer_certificates().first()?).ok()?.0;
        let (aggregator_key, collaborator_key) = match self.run_key.claims().side {
            Side::Aggregator => (own, peer),
            Side::Collaborator => (peer, own),
        };
        Some(LinkTerms { side: signer, exporter, aggregator_key, collaborator_key })
    }
}

/// Time between two tries of a key whose evidence was refused.
const AGAIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
