//! How the peers of a process that has crashed learn that their links are gone.
//!
//! A new process on the same port does not know the links of the old one. To a datagram of such a link it
//! answers with a stateless reset (RFC 9000, section 10.3): a token that only the holder of the key can make.
//! The key comes from the role's own key, so the new process makes the tokens that the old one promised.
//! Without it, peers would wait for their idle timeout.

use std::{fmt, sync::Arc, time::Duration};

use quinn::EndpointConfig;
use quinn_proto::HashedConnectionIdGenerator;
use ring::hmac;

/// The key of the tokens, and the key of the identifiers of connections: an endpoint answers only to
/// identifiers that it may have given out.
#[derive(Clone)]
pub struct ResetKey {
    tokens: hmac::Key,
    identifiers: u64,
}

impl ResetKey {
    /// Derives both keys from a secret that every process of the role can make, and nobody else.
    #[must_use]
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        let tokens = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let identifiers = hmac::sign(&tokens, b"identifiers of connections");
        let identifiers = identifiers.as_ref().first_chunk().copied().unwrap_or_default();
        Self { tokens, identifiers: u64::from_le_bytes(identifiers) }
    }

    /// quinn's configuration of an endpoint with this key.
    pub(super) fn endpoint_config(&self) -> EndpointConfig {
        let mut config = EndpointConfig::new(Arc::new(self.tokens.clone()));
        let key = self.identifiers;
        config
            .cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(key)))
            .min_reset_interval(BETWEEN_RESETS);
        config
    }
}

impl fmt::Debug for ResetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResetKey").finish_non_exhaustive()
    }
}

/// Least time between two resets. A thousand peers of a crashed aggregator send within a second. A reset is
/// shorter than the datagram that it answers, so nobody can amplify traffic with resets.
const BETWEEN_RESETS: Duration = Duration::from_millis(1);
