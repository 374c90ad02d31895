//! The collateral in force: the newest of the files of a role, and of what an aggregator has handed on.
//!
//! A file that is replaced while the role runs comes into force at the next look, if a part of it is newer
//! and none is older or missing: a newer text must not bring back an old revocation list. Collateral that has
//! ended is kept: the roster says for how many days it is used still.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use fl_engine::{Digest, limits::COLLATERAL_BYTES, plan::roster::UnixSeconds};

use super::{
    chain::{ChainError, Root},
    collateral::{Collateral, CollateralError},
    refusal::NotVerified,
    verified::Verified,
    verify::{Part, TrustedCollateral},
};
use crate::{files::Files, trust::FlooredClock};

/// The collateral of a role. Clones of a pointer share it.
#[derive(Debug)]
pub struct Collaterals {
    files: Files,
    root: Root,
    clock: FlooredClock,
    /// Each file, with the digest of the text that was read last, accepted or refused.
    paths: Mutex<Vec<(PathBuf, Option<Digest>)>>,
    in_force: RwLock<Option<Arc<InForce>>>,
}

/// Collateral whose signatures were checked.
#[derive(Debug)]
pub struct InForce {
    trusted: TrustedCollateral,
    text: Vec<u8>,
    digest: Digest,
}

/// Why a text does not come into force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CollateralRefused {
    /// Not collateral.
    #[error("the file {0}")]
    Form(#[from] CollateralError),
    /// A signature or a term is wrong.
    #[error(transparent)]
    Content(#[from] NotVerified),
    /// A part would go back.
    #[error("{0} is older than the one in force, though other parts are newer; fetch all of it again")]
    Older(String),
    /// A part would be lost.
    #[error("{0} is missing, which is in force, though other parts are newer; fetch all of it again")]
    Lacks(String),
}

impl Collaterals {
    /// Nothing is in force before the first [`Self::look`]. `root` is Intel's outside of tests. The clock's
    /// floor rises to the issue date of what comes into force.
    #[must_use]
    pub fn new(files: &Files, root: Root, paths: Vec<PathBuf>, clock: &FlooredClock) -> Self {
        let paths = Mutex::new(paths.into_iter().map(|path| (path, None)).collect());
        Self { files: files.clone(), root, clock: clock.clone(), paths, in_force: RwLock::new(None) }
    }

    /// What is in force.
    #[must_use]
    pub fn in_force(&self) -> Option<Arc<InForce>> {
        // A writer that panicked has replaced the collateral as a whole or not at all.
        self.in_force.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files that have changed. Logs what comes into force, and once what is refused.
    pub fn look(&self) {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        for (path, last) in paths.iter_mut() {
            let text = match self.files.read_start(path, COLLATERAL_BYTES + 1) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    if last.replace(UNREADABLE) != Some(UNREADABLE) {
                        tracing::warn!("cannot read {}: {error}", path.display());
                    }
                    continue;
                }
            };
            if text.is_empty() || last.replace(Digest::of(&text)) == Some(Digest::of(&text)) {
                continue;
            }
            match self.take(text) {
                Ok(Some(now)) => tracing::info!(
                    "Intel's collateral in {} is in force, good until {}",
                    path.display(),
                    now.good_until()
                ),
                Ok(None) => {}
                Err(error) => tracing::warn!("the collateral in {} is refused: {error}", path.display()),
            }
        }
    }

    /// Puts `text` in force if it is good, and a part of it newer than what is in force. Returns it then;
    /// `None` where no part is newer.
    ///
    /// # Errors
    /// [`CollateralRefused`], also where one part is newer and another one older or missing.
    pub fn take(&self, text: Vec<u8>) -> Result<Option<Arc<InForce>>, CollateralRefused> {
        let digest = Digest::of(&text);
        if self.in_force().is_some_and(|held| held.digest == digest) {
            return Ok(None);
        }
        let trusted = trust(&Collateral::parse(&text)?, self.root, self.clock.now())?;
        let mut in_force = self.in_force.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = in_force.as_ref()
            && !is_newer(&held.trusted.parts(), &trusted.parts())?
        {
            return Ok(None);
        }
        self.clock.raise(trusted.issued());
        let new = Arc::new(InForce { digest, trusted, text });
        *in_force = Some(Arc::clone(&new));
        Ok(Some(new))
    }
}

impl InForce {
    /// The file's text.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// SHA-256 of the text.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// When Intel issued the newest part.
    #[must_use]
    pub fn issued(&self) -> UnixSeconds {
        self.trusted.issued()
    }

    /// The last second in which all of it is valid.
    #[must_use]
    pub fn good_until(&self) -> UnixSeconds {
        self.trusted.good_until()
    }

    /// Verifies a quote now, or as of the end of this collateral where that is not more than `grace` seconds
    /// ago.
    ///
    /// # Errors
    /// [`NotVerified`].
    pub fn verify(&self, quote: &[u8], now: UnixSeconds, grace: u64) -> Result<Verified, NotVerified> {
        let end = self.good_until();
        let ended = now > end && now.0 <= end.0.saturating_add(grace);
        self.trusted.verify(quote, if ended { end } else { now })
    }
}

/// Whether a part is newer or new. An error where one is, and another one is older or missing.
fn is_newer(
    held: &BTreeMap<Part, UnixSeconds>,
    new: &BTreeMap<Part, UnixSeconds>,
) -> Result<bool, CollateralRefused> {
    if !new.iter().any(|(part, issued)| held.get(part).is_none_or(|held| issued > held)) {
        return Ok(false);
    }
    for (part, issued) in held {
        match new.get(part) {
            None => return Err(CollateralRefused::Lacks(part.to_string())),
            Some(new) if new < issued => return Err(CollateralRefused::Older(part.to_string())),
            Some(_) => {}
        }
    }
    Ok(true)
}

/// Checks collateral now; where its revocation lists have ended, as of their last second.
fn trust(collateral: &Collateral, root: Root, now: UnixSeconds) -> Result<TrustedCollateral, NotVerified> {
    match TrustedCollateral::check(collateral, root, now) {
        Err(NotVerified::Chain(_, ChainError::ListExpired(due))) => {
            TrustedCollateral::check(collateral, root, UnixSeconds(due.0.saturating_sub(1)))
        }
        checked => checked,
    }
}

/// Stands for a file that cannot be read.
const UNREADABLE: Digest = Digest([0; 32]);
