//! The opening side: a head, then chunk by chunk.

use std::io::{self, Read};

use fl_engine::{Digest, limits, plan::PublicKey};
use ring::aead::Aad;

use super::{CHUNK, Cipher, FIXED, KEY, Label, MAGIC, TAG, VERSION};

/// Why a file does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The operating system refused to read, or what was opened could not be put anywhere.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It does not begin as a sealed file does.
    #[error("not a sealed model")]
    Form,
    /// Of a later version.
    #[error("a sealed model of version {0}; this program opens version {VERSION}")]
    Version(u8),
    /// Cut short, or longer than it should be.
    #[error("{found} bytes; a sealed model with this head has {expected}")]
    Length {
        /// The file's.
        found: u64,
        /// What its head asks for.
        expected: u64,
    },
    /// Another key's.
    #[error("sealed to the key {sealed}; this one is {given}")]
    OtherKey {
        /// The recipient.
        sealed: PublicKey,
        /// The key at hand.
        given: PublicKey,
    },
    /// A chunk is not what was sealed in its place.
    #[error("chunk {chunk} of {chunks} is not what was sealed there")]
    Chunk {
        /// From 1.
        chunk: u64,
        /// All of them.
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
    /// Reads the head of a file of `length` bytes. Nothing is proved yet of what it says.
    ///
    /// # Errors
    /// [`OpenError`], but for what only a key can tell.
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
        // Before anything is allocated on the file's word.
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

    /// What the file says of itself; proved once [`Self::open`] has ended well.
    #[must_use]
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// Hands the plaintext to `put`, chunk by chunk. `key` is the public key at hand, and `agree` gives the X25519 value of
    /// its private key with a public one. What was put is worthless until this has ended well.
    ///
    /// # Errors
    /// [`OpenError`]; `put`'s.
    pub fn open(
        mut self,
        key: &PublicKey,
        agree: impl FnOnce(&[u8; 32]) -> [u8; 32],
        put: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<Label, OpenError> {
        if *key != self.label.recipient {
            return Err(OpenError::OtherKey { sealed: self.label.recipient, given: *key });
        }
        let dh = agree(&self.encapsulated);
        // RFC 9180, section 7.1.4.
        if dh == [0; 32] {
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

/// The next `N` bytes of the fixed part, which has as many as are asked for.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let mut out = [0; N];
    let (now, later) = rest.split_at(N);
    out.copy_from_slice(now);
    *rest = later;
    out
}
