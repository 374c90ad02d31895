//! The key of one run of a process: made in memory at the start, never written, gone with the process.
//!
//! The certificate's key signs the run key's claims, in every target; in an enclave a quote vouches for the
//! same claims. On each link the run key signs the link's exporter, so evidence of one link is worth nothing
//! on another. [`super::evidence`] checks what the other side shows.

use fl_engine::{
    Digest,
    wire::{AttachedQuote, Claims, Evidence, Held, LinkTerms, Side},
};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use zeroize::Zeroizing;

use super::{Credentials, Role};
use crate::system::{NoRandom, Quoter, QuoterError, Random};

/// The key, and what vouches for it.
pub struct RunKey {
    key: Ed25519KeyPair,
    claims: Claims,
    vouched: [u8; 64],
    quote: AttachedQuote,
}

/// Why there is no run key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunKeyError {
    /// No random bytes.
    #[error(transparent)]
    NoRandom(#[from] NoRandom),
    /// The certificate's key cannot sign.
    #[error("the key of this role's certificate cannot sign")]
    CertificateKey,
    /// The enclave got no quote.
    #[error(transparent)]
    Quoter(#[from] QuoterError),
}

impl RunKey {
    /// Makes the run key of a role for the plan with this hash. `quoter` is asked for a quote, if there is
    /// one to ask.
    ///
    /// # Errors
    /// [`RunKeyError`].
    pub fn make(
        random: &Random,
        credentials: &Credentials,
        plan: Digest,
        quoter: Option<&dyn Quoter>,
    ) -> Result<Self, RunKeyError> {
        let seed = Zeroizing::new(random.bytes::<32>()?);
        let key = Ed25519KeyPair::from_seed_unchecked(&*seed).map_err(|_| RunKeyError::CertificateKey)?;
        let run_key = key.public_key().as_ref().try_into().map_err(|_| RunKeyError::CertificateKey)?;
        let claims = Claims {
            side: side(credentials.identity().role),
            run: u64::from_le_bytes(random.bytes()?),
            ca: credentials.authority().digest(),
            plan,
            certificate_key: credentials.fingerprint().0,
            run_key,
        };
        let vouched = credentials.sign(&claims.vouched_bytes()).ok_or(RunKeyError::CertificateKey)?;
        let quote = quoter.map_or(Ok(AttachedQuote::None), |quoter| quoter.quote(&claims.report_data()))?;
        Ok(Self { key, claims, vouched, quote })
    }

    /// What the process says of itself.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Whether a quote vouches for the claims.
    #[must_use]
    pub fn has_quote(&self) -> bool {
        self.quote != AttachedQuote::None
    }

    /// Evidence for one link. `held` says what this side judges the other side by.
    #[must_use]
    pub fn evidence(&self, link: &LinkTerms, held: Held) -> Evidence {
        let mut signed = [0; 64];
        // A signature of Ed25519 has 64 bytes.
        signed.copy_from_slice(self.key.sign(&link.bytes()).as_ref());
        Evidence { claims: self.claims, vouched: self.vouched, link: signed, held, quote: self.quote.clone() }
    }
}

/// The side of a link that a role has.
#[must_use]
pub fn side(role: Role) -> Side {
    match role {
        Role::Aggregator => Side::Aggregator,
        Role::Collaborator => Side::Collaborator,
    }
}

/// Shows nothing secret.
impl std::fmt::Debug for RunKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunKey").field("run", &self.claims.run).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        system::System,
        trust::fixture::{Leaf, TestCa},
    };

    #[test]
    fn every_run_has_a_key_of_its_own() {
        let (ca, plan) = (TestCa::new("w"), Digest::of(b"plan"));
        let credentials = ca.credentials(Leaf::collaborator("one"), &ca);
        let make = || RunKey::make(&System::real().random, &credentials, plan, None).unwrap().claims;
        let (first, second) = (make(), make());
        assert_ne!((first.run, first.run_key), (second.run, second.run_key));
        assert_eq!((first.certificate_key, first.side), (second.certificate_key, Side::Collaborator));
    }
}
