//! The file of the CA's key: PKCS #8 PEM, or the same encrypted with a passphrase.
//!
//! With a passphrase the file is one PEM block `FL ENCRYPTED CA KEY` that contains
//!
//! ```text
//! version 1 (1 byte) ‖ iterations (4, big-endian) ‖ salt (16) ‖ nonce (12)
//!     ‖ AES-256-GCM(PKCS #8 DER) with its tag (16)
//! ```
//!
//! with the first 33 bytes as associated data. The key of the cipher is PBKDF2-HMAC-SHA256 (RFC 8018) of the
//! passphrase; salt and nonce are drawn anew each time.
//!
//! Hand-written: openssl opens PKCS #8 under a passphrase (PBES2) with AES-CBC alone, which ring does not
//! have and which does not notice a changed byte. So `fl-host` alone opens this file.

use std::{num::NonZeroU32, path::Path};

use rcgen::{KeyPair, PKCS_ED25519};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    pbkdf2,
    rand::{SecureRandom as _, SystemRandom},
};
use zeroize::Zeroizing;

use crate::{
    exit::{Exit, Failure},
    files,
};

/// What unlocks the CA's key.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// From a text, without its final line break.
    ///
    /// # Errors
    /// [`Exit::Trust`] for an empty one.
    pub fn new(text: &[u8]) -> Result<Self, Failure> {
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.is_empty() {
            return Err(Failure::new(Exit::Trust, "the passphrase is empty")
                .hint("give a passphrase of at least one character"));
        }
        Ok(Self(Zeroizing::new(text.to_vec())))
    }

    /// From a file.
    ///
    /// # Errors
    /// [`Exit::File`], [`Exit::Trust`].
    pub fn read(path: &Path) -> Result<Self, Failure> {
        Self::new(&Zeroizing::new(files::read(path, PASSPHRASE_BYTES)?))
    }

    fn cipher(&self, header: &[u8], iterations: NonZeroU32) -> Result<LessSafeKey, Failure> {
        let mut key = Zeroizing::new([0; 32]);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &header[5..21], &self.0, &mut *key);
        let key = UnboundKey::new(&AES_256_GCM, &*key)
            .map_err(|_| broken("the cipher's key has a wrong length"))?;
        Ok(LessSafeKey::new(key))
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

/// The key file's text.
///
/// # Errors
/// [`Exit::Trust`] when the system has no random bytes.
pub fn lock(key: &KeyPair, passphrase: Option<&Passphrase>) -> Result<Zeroizing<String>, Failure> {
    lock_with(key, passphrase, ITERATIONS)
}

fn lock_with(
    key: &KeyPair,
    passphrase: Option<&Passphrase>,
    iterations: u32,
) -> Result<Zeroizing<String>, Failure> {
    let Some(passphrase) = passphrase else { return Ok(Zeroizing::new(key.serialize_pem())) };
    let mut file = vec![0; HEADER];
    file[0] = VERSION;
    file[1..5].copy_from_slice(&iterations.to_be_bytes());
    SystemRandom::new().fill(&mut file[5..]).map_err(|_| broken("the system gives no random bytes"))?;
    let iterations = NonZeroU32::new(iterations).ok_or_else(|| broken("the number of iterations is 0"))?;
    let cipher = passphrase.cipher(&file, iterations)?;
    // Encrypted in place. Room for the tag, so that no copy of the key stays behind.
    let der = Zeroizing::new(key.serialize_der());
    let mut body = Vec::with_capacity(der.len() + AES_256_GCM.tag_len());
    body.extend_from_slice(&der);
    cipher
        .seal_in_place_append_tag(nonce(&file)?, Aad::from(&file[..]), &mut body)
        .map_err(|_| broken("the key cannot be encrypted"))?;
    file.extend(body);
    let lines = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    Ok(Zeroizing::new(pem::encode_config(&pem::Pem::new(TAG, file), lines)))
}

/// Whether the key file needs a passphrase.
#[must_use]
pub fn is_locked(text: &str) -> bool {
    text.contains(TAG)
}

/// The key in the file's text.
///
/// # Errors
/// [`Exit::Trust`] for a missing or wrong passphrase, or a file that is not a CA's key.
pub fn unlock(text: &str, passphrase: Option<&Passphrase>) -> Result<Zeroizing<KeyPair>, Failure> {
    let block = pem::parse(text).map_err(|e| broken(&e.to_string()))?;
    let der = match block.tag() {
        PLAIN_TAG => Zeroizing::new(block.into_contents()),
        TAG => {
            let passphrase = passphrase.ok_or_else(|| {
                Failure::new(Exit::Trust, "the CA's key is encrypted, and no passphrase was given").hint(
                    "give a file that contains the passphrase with --passphrase-file, or run this command on a terminal",
                )
            })?;
            open(block.into_contents(), passphrase)?
        }
        other => return Err(broken(&format!("the file contains a {other}"))),
    };
    let der = der.as_slice().into();
    KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519)
        .map(Zeroizing::new)
        .map_err(|e| broken(&e.to_string()))
}

fn open(mut file: Vec<u8>, passphrase: &Passphrase) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if file.len() < HEADER || file[0] != VERSION {
        return Err(broken("this version of fl-host does not know the file's format"));
    }
    let mut body = Zeroizing::new(file.split_off(HEADER));
    let iterations = u32::from_be_bytes([file[1], file[2], file[3], file[4]]);
    let iterations = NonZeroU32::new(iterations)
        .filter(|n| n.get() <= MOST_ITERATIONS)
        .ok_or_else(|| broken("the file demands too many iterations"))?;
    let cipher = passphrase.cipher(&file, iterations)?;
    let opened = cipher.open_in_place(nonce(&file)?, Aad::from(&file[..]), &mut body).map_err(|_| {
        Failure::new(Exit::Trust, "the passphrase does not decrypt the CA's key").hint(
            "check the passphrase. If it is right, cert/ca/ca.key was changed: restore it from a backup",
        )
    })?;
    let length = opened.len();
    body.truncate(length);
    Ok(body)
}

fn nonce(header: &[u8]) -> Result<Nonce, Failure> {
    Nonce::try_assume_unique_for_key(&header[21..HEADER]).map_err(|_| broken("the nonce has a wrong length"))
}

fn broken(what: &str) -> Failure {
    Failure::new(Exit::Trust, format!("the CA's key file cannot be used: {what}"))
        .hint("restore cert/ca/ca.key from a backup")
}

/// PBKDF2 rounds for a new key: about a third of a second for each guess. OWASP recommends 600,000.
const ITERATIONS: u32 = 1_000_000;
/// Most rounds that a file may demand: a few seconds.
const MOST_ITERATIONS: u32 = 20_000_000;
const VERSION: u8 = 1;
const HEADER: usize = 1 + 4 + 16 + 12;
const TAG: &str = "FL ENCRYPTED CA KEY";
const PLAIN_TAG: &str = "PRIVATE KEY";
/// Longest passphrase file, bytes.
const PASSPHRASE_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_comes_back_with_its_passphrase_alone() {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let right = Passphrase::new(b"correct horse\n").unwrap();
        let wrong = Passphrase::new(b"correct house").unwrap();
        let text = lock_with(&key, Some(&right), 1000).unwrap();
        assert!(is_locked(&text) && text.starts_with("-----BEGIN FL ENCRYPTED CA KEY-----\n"));
        assert_eq!(unlock(&text, Some(&right)).unwrap().serialize_der(), key.serialize_der());
        assert_eq!(
            unlock(&text, Some(&wrong)).unwrap_err().error,
            "the passphrase does not decrypt the CA's key"
        );
        assert_eq!(
            unlock(&text, None).unwrap_err().error,
            "the CA's key is encrypted, and no passphrase was given"
        );
        assert_ne!(lock_with(&key, Some(&right), 1000).unwrap(), text, "salt and nonce are new each time");
        let plain = lock(&key, None).unwrap();
        assert!(!is_locked(&plain));
        assert_eq!(unlock(&plain, None).unwrap().serialize_der(), key.serialize_der());
    }

    #[test]
    fn every_changed_byte_of_the_file_is_noticed() {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let passphrase = Passphrase::new(b"x").unwrap();
        let file = pem::parse(lock_with(&key, Some(&passphrase), 3).unwrap()).unwrap().into_contents();
        // The iterations' upper bytes are left out: they cost time, as they should.
        for at in (0..file.len()).filter(|at| !(1..4).contains(at)) {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert!(open(changed, &passphrase).is_err(), "byte {at}");
        }
        let mut absurd = file;
        absurd[1] = 0xff;
        assert!(open(absurd, &passphrase).unwrap_err().error.contains("too many"));
        assert!(Passphrase::new(b"\r\n").is_err());
        assert_eq!(format!("{passphrase:?}"), "Passphrase(..)");
    }
}
