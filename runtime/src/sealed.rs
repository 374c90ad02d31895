//! Sealed files: models that a plan releases `to: key:PUBLIC_KEY`. Only the holder of the private key can
//! open them.
//!
//! The aggregator writes them ([`Sealer`]) and `fl-host model open` reads them ([`Opener`]), each with one
//! chunk of the plaintext in memory. The ephemeral private key is gone once the header is written, so an
//! attacker who reads the enclave's memory later cannot open older files.
//!
//! ```text
//! file   = head chunk*
//! head   = "fl-sealed" version:u8 (1) plan:32 rounds:u32 root:32 length:u64 recipient:32 note_length:u32
//!          note encapsulated:32                    integers little-endian; length is the plaintext's
//! chunk  = AES-256-GCM of the next 256 KiB of plaintext (less in the last chunk), with its tag (16)
//! ```
//!
//! The encryption is HPKE (RFC 9180) in base mode with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and
//! AES-256-GCM. Chunk `n` is message `n` of a context whose `info` is the head before `encapsulated`. That
//! binds each byte of the head, the length and the place of each chunk: a file that was cut, extended,
//! reordered or relabelled does not open.

mod hpke;
mod open;

pub use open::{OpenError, Opener};

use std::io::{self, Write};

use fl_engine::{Digest, limits, plan::PublicKey};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, MAX_TAG_LEN, Nonce, UnboundKey},
    agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral},
};
use zeroize::Zeroizing;

use crate::system::Random;
use hpke::Schedule;

/// The plain text in a sealed file's head, which the encryption binds to the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The plan.
    pub plan: Digest,
    /// Rounds that the model has been through.
    pub rounds: u32,
    /// The model's root.
    pub root: Digest,
    /// Bytes of plaintext.
    pub length: u64,
    /// The public key whose private key opens the file.
    pub recipient: PublicKey,
    /// The model's tensors as JSON, for checking the root; at most
    /// [`MODEL_HEADER_BYTES`](limits::MODEL_HEADER_BYTES) long.
    pub note: String,
}

/// Why a file cannot be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The public key allows no key agreement.
    #[error("{0} is not a usable public key")]
    Key(PublicKey),
    /// The system has no random bytes.
    #[error("the system gives no random bytes")]
    Random,
    /// More or less plaintext than the label says.
    #[error("{given} bytes were sealed, but the label promises {said}")]
    Length {
        /// Bytes sealed.
        given: u64,
        /// Bytes that the label states.
        said: u64,
    },
    /// The note is too long.
    #[error("the description of the model's tensors is too long to be sealed: {0} bytes")]
    Note(usize),
}

impl Label {
    /// The head before the encapsulated key: the `info` of the encryption.
    fn head(&self) -> Vec<u8> {
        let mut head = MAGIC.to_vec();
        head.push(VERSION);
        head.extend(self.plan.0);
        head.extend(self.rounds.to_le_bytes());
        head.extend(self.root.0);
        head.extend(self.length.to_le_bytes());
        head.extend(self.recipient.0);
        // `Sealer::new` and the reader bound the note.
        head.extend((self.note.len() as u32).to_le_bytes());
        head.extend(self.note.as_bytes());
        head
    }

    /// Bytes of the whole file.
    #[must_use]
    pub fn file_length(&self) -> u64 {
        let chunks = self.length.div_ceil(CHUNK as u64);
        let sealed = self.length.saturating_add(chunks.saturating_mul(TAG as u64));
        sealed.saturating_add((FIXED + self.note.len() + KEY) as u64)
    }
}

/// A writer that encrypts.
pub struct Sealer<W> {
    out: W,
    cipher: Cipher,
    /// The chunk that is being filled.
    chunk: Vec<u8>,
    sequence: u64,
    given: u64,
    said: u64,
}

impl<W: Write> Sealer<W> {
    /// Writes the head.
    ///
    /// # Errors
    /// `out`'s, and [`SealError`] inside an [`io::Error`].
    pub fn new(mut out: W, label: &Label, random: &Random) -> io::Result<Self> {
        if label.note.len() > limits::MODEL_HEADER_BYTES {
            return Err(io::Error::other(SealError::Note(label.note.len())));
        }
        let (encapsulated, dh) = encapsulate(&label.recipient, random).map_err(io::Error::other)?;
        let head = label.head();
        let cipher = Cipher::new(&dh, &encapsulated, &label.recipient, &head);
        out.write_all(&head)?;
        out.write_all(&encapsulated)?;
        let chunk = Vec::with_capacity(CHUNK + TAG);
        Ok(Self { out, cipher, chunk, sequence: 0, given: 0, said: label.length })
    }

    /// Takes the next bytes of the plaintext.
    ///
    /// # Errors
    /// The writer's.
    pub fn write(&mut self, mut piece: &[u8]) -> io::Result<()> {
        self.given += piece.len() as u64;
        while !piece.is_empty() {
            let (now, later) = piece.split_at(piece.len().min(CHUNK - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            if self.chunk.len() == CHUNK {
                self.put_chunk()?;
            }
            piece = later;
        }
        Ok(())
    }

    /// Writes the last chunk, and gives the writer back.
    ///
    /// # Errors
    /// The writer's; [`SealError::Length`] inside an [`io::Error`].
    pub fn finish(mut self) -> io::Result<W> {
        if !self.chunk.is_empty() {
            self.put_chunk()?;
        }
        if self.given != self.said {
            let error = SealError::Length { given: self.given, said: self.said };
            return Err(io::Error::other(error));
        }
        Ok(self.out)
    }

    fn put_chunk(&mut self) -> io::Result<()> {
        let nonce = self.cipher.nonce(self.sequence);
        let sealed = self.cipher.key.seal_in_place_append_tag(nonce, Aad::empty(), &mut self.chunk);
        sealed.map_err(|_| io::Error::other("cannot encrypt a part of the model"))?;
        self.out.write_all(&self.chunk)?;
        self.chunk.clear();
        self.sequence += 1;
        Ok(())
    }
}

/// Checks that files can be sealed to `key`: a run should fail before its first round, not after its last.
///
/// # Errors
/// [`SealError::Key`], [`SealError::Random`].
pub fn check_key(key: &PublicKey, random: &Random) -> Result<(), SealError> {
    encapsulate(key, random).map(drop)
}

/// An ephemeral public key, and its Diffie-Hellman value with `key`. RFC 9180, section 7.1.4, asks for a
/// refusal of values that are zero: ring refuses them.
fn encapsulate(key: &PublicKey, random: &Random) -> Result<([u8; KEY], Zeroizing<[u8; KEY]>), SealError> {
    let ours = EphemeralPrivateKey::generate(&X25519, random.for_ring()).map_err(|_| SealError::Random)?;
    let mut encapsulated = [0; KEY];
    encapsulated.copy_from_slice(ours.compute_public_key().map_err(|_| SealError::Random)?.as_ref());
    let mut dh = Zeroizing::new([0; KEY]);
    agree_ephemeral(ours, &UnparsedPublicKey::new(&X25519, &key.0), |secret| dh.copy_from_slice(secret))
        .map_err(|_| SealError::Key(*key))?;
    Ok((encapsulated, dh))
}

struct Cipher {
    key: LessSafeKey,
    schedule: Schedule,
}

impl Cipher {
    fn new(dh: &[u8; KEY], encapsulated: &[u8; KEY], recipient: &PublicKey, head: &[u8]) -> Self {
        let schedule = Schedule::new(hpke::AES_256_GCM, dh, encapsulated, &recipient.0, head);
        #[expect(clippy::expect_used, reason = "the schedule's key is as long as the cipher's")]
        let key = UnboundKey::new(&AES_256_GCM, &schedule.key).expect("32 bytes");
        Self { key: LessSafeKey::new(key), schedule }
    }

    fn nonce(&self, sequence: u64) -> Nonce {
        Nonce::assume_unique_for_key(self.schedule.nonce(sequence))
    }
}

const MAGIC: &[u8; 9] = b"fl-sealed";
const VERSION: u8 = 1;
/// Plaintext of one chunk, bytes.
const CHUNK: usize = 256 << 10;
const TAG: usize = MAX_TAG_LEN;
const KEY: usize = 32;
/// The head up to the note.
const FIXED: usize = MAGIC.len() + 1 + 32 + 4 + 32 + 8 + KEY + 4;

#[cfg(test)]
mod tests;
