//! Opening a sealed file: first its head, then its chunks.

use std::io::{self, Read};

use fl_engine::{Digest, limits, plan::PublicKey};
use ring::aead::Aad;
use zeroize::Zeroizing;

use super::{CHUNK, Cipher, FIXED, KEY, Label, MAGIC, TAG, VERSION};

/// Why a file does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The operating system refused to read, or the caller could not take the plaintext.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file does not begin as a sealed file does.
    #[error("the file is not a sealed model")]
    Form,
    /// The file has another version.
    #[error("the file is a sealed model of version {0}, but this program opens version {VERSION}")]
    Version(u8),
    /// The file was cut short or made longer.
    #[error("the file is {found} bytes long, but a sealed model with this head has {expected}")]
    Length {
        /// The file's.
        found: u64,
        /// What its head asks for.
        expected: u64,
    },
    /// The file was sealed to another key.
    #[error("the model was sealed to the key {sealed}, but the given key is {given}")]
    OtherKey {
        /// The key that the file was sealed to.
        sealed: PublicKey,
        /// The key at hand.
        given: PublicKey,
    },
    /// A chunk was changed, or moved to another place.
    #[error("part {chunk} of {chunks} of the model was changed after the model was sealed")]
    Chunk {
        /// Its number, from 1.
        chunk: u64,
        /// The number of chunks.
        chunks: u64,
    },
}

/// A sealed file whose head was read.
pub struct Opener<R> {
    input: R,
    label: Label,
    encapsulated: [u8; KEY],
}

impl<R: Read> Opener<R> {
    /// Reads the head of a file of `length` bytes. What the head states is not proved yet.
    ///
    /// # Errors
    /// [`OpenError`], except those that need a key.
    pub fn new(mut input: R, length: u64) -> Result<Self, OpenError> {
        let mut fixed = [0; FIXED];
        fill(&mut input, &mut fixed)?;
        let mut rest = &fixed[..];
        if take::<9>(&mut rest) != *MAGIC {
            return Err(OpenError::Form);
        }
        let [version] = take(&mut rest);
        if version != VERSION {
            return Err(OpenError::Version(version));
        }
        let plan = Digest(take(&mut rest));
        let rounds = u32::from_le_bytes(take(&mut rest));
        let root = Digest(take(&mut rest));
        let said = u64::from_le_bytes(take(&mut rest));
        let recipient = PublicKey(take(&mut rest));
        let note = u32::from_le_bytes(take(&mut rest)) as usize;
        if note > limits::MODEL_HEADER_BYTES {
            return Err(OpenError::Form);
        }
        // Checked before the length in the file decides about an allocation.
        if ((FIXED + note + KEY) as u64) > length {
            return Err(OpenError::Length { found: length, expected: (FIXED + note + KEY) as u64 });
        }
        let mut text = vec![0; note];
        fill(&mut input, &mut text)?;
        let note = String::from_utf8(text).map_err(|_| OpenError::Form)?;
        let mut encapsulated = [0; KEY];
        fill(&mut input, &mut encapsulated)?;
        let label = Label { plan, rounds, root, length: said, recipient, note };
        let expected = label.file_length();
        if expected != length {
            return Err(OpenError::Length { found: length, expected });
        }
        Ok(Self { input, label, encapsulated })
    }

    /// What the head states. It is proved when [`Self::open`] has returned without an error.
    #[must_use]
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// Hands the plaintext to `put`, chunk by chunk. `key` is the reader's public key, and `agree` returns
    /// the X25519 value of its private key with a given public key. The plaintext is worthless unless this
    /// returns without an error.
    ///
    /// # Errors
    /// [`OpenError`], and the errors of `put`.
    pub fn open(
        mut self,
        key: &PublicKey,
        agree: impl FnOnce(&[u8; 32]) -> [u8; 32],
        put: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<Label, OpenError> {
        if *key != self.label.recipient {
            return Err(OpenError::OtherKey { sealed: self.label.recipient, given: *key });
        }
        let dh = Zeroizing::new(agree(&self.encapsulated));
        // RFC 9180, section 7.1.4.
        if *dh == [0; 32] {
            return Err(OpenError::Form);
        }
        let cipher = Cipher::new(&dh, &self.encapsulated, key, &self.label.head());
        let chunks = self.label.length.div_ceil(CHUNK as u64);
        let mut left = self.label.length;
        let mut chunk = Vec::with_capacity(CHUNK + TAG);
        for sequence in 0..chunks {
            let plain = left.min(CHUNK as u64);
            left -= plain;
            chunk.resize(plain as usize + TAG, 0);
            fill(&mut self.input, &mut chunk)?;
            let opened = cipher.key.open_in_place(cipher.nonce(sequence), Aad::empty(), &mut chunk);
            put(opened.map_err(|_| OpenError::Chunk { chunk: sequence + 1, chunks })?)?;
        }
        Ok(self.label)
    }
}

fn fill(input: &mut impl Read, bytes: &mut [u8]) -> Result<(), OpenError> {
    input.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => OpenError::Form,
        _ => OpenError::Io(error),
    })
}

/// The next `N` bytes of the fixed part. The caller never asks for more bytes than the part has.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let mut out = [0; N];
    let (now, later) = rest.split_at(N);
    out.copy_from_slice(now);
    *rest = later;
    out
}
