//! The machine's random bytes.

use ring::rand::{SecureRandom as _, SystemRandom};

/// A source of random bytes that are good enough for keys.
#[derive(Clone, Debug)]
pub struct Random(SystemRandom);

/// The machine gave no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoRandom;

impl Random {
    pub(super) fn real() -> Self {
        Self(SystemRandom::new())
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`NoRandom`].
    pub fn bytes<const N: usize>(&self) -> Result<[u8; N], NoRandom> {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes).map_err(|_| NoRandom)?;
        Ok(bytes)
    }

    /// The source in the form that ring makes its own keys from.
    #[must_use]
    pub fn for_ring(&self) -> &SystemRandom {
        &self.0
    }
}
