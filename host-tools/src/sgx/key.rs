//! The key that signs enclaves: RSA with 3072 bits and exponent 3, as SGX requires.
//!
//! Keys are PEM, readable by openssl: PKCS#1 (`RSA PRIVATE KEY`) is written, PKCS#8 (`PRIVATE KEY`) is read
//! too. The arithmetic does not take constant time: sign on a machine that nobody else uses meanwhile.
//!
//! Hand-written over num-bigint, which is in the build anyway: ring makes no RSA keys and signs with no
//! exponent of 3.

use std::path::Path;

use fl_engine::Digest;
use num_bigint::BigUint;

use super::{
    der::{self, DerError, Reader},
    prime,
};
use crate::{
    exit::{Exit, Failure},
    files,
};

/// A private key whose numbers have been checked against each other.
#[derive(Clone)]
pub struct SigningKey {
    modulus: BigUint,
    private: BigUint,
    first: BigUint,
    second: BigUint,
}

/// Why a text is not a key that SGX accepts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not PEM.
    #[error("the key file is not PEM: {0}")]
    Pem(String),
    /// Not exactly one block.
    #[error("the key file contains {0} PEM blocks; exactly one is needed")]
    Blocks(usize),
    /// Another kind of PEM block.
    #[error("the key file contains a {0}, not a private key")]
    Other(String),
    /// Encrypted with a passphrase.
    #[error("the key is encrypted with a passphrase")]
    Encrypted,
    /// Not the numbers of an RSA key.
    #[error("the key is not an RSA private key: {0}")]
    Der(#[from] DerError),
    /// A key of another algorithm, in PKCS#8.
    #[error("the key is not an RSA key")]
    Algorithm,
    /// More than two primes.
    #[error("the RSA key has more than two primes")]
    Version,
    /// Another length.
    #[error("the RSA key has {0} bits; SGX needs {BITS}")]
    Length(u64),
    /// Another exponent.
    #[error("the RSA key has the public exponent {0}; SGX needs {EXPONENT}")]
    Exponent(String),
    /// Numbers that contradict each other.
    #[error("the numbers of the RSA key contradict each other: {0}")]
    Numbers(&'static str),
}

impl SigningKey {
    /// Makes a key: two random primes of 1536 bits.
    ///
    /// # Errors
    /// [`Exit::Failed`] when the system gives no random numbers.
    pub fn generate() -> Result<Self, Failure> {
        let half = (BITS / 2) as u32;
        loop {
            let (first, second) = (prime::random(half)?, prime::random(half)?);
            let (first, second) = if first < second { (second, first) } else { (first, second) };
            // FIPS 186-5, A.1.3: a modulus of two close primes can be factored.
            if (&first - &second).bits() > u64::from(half) - 100 {
                return Self::of(first, second).map_err(|e| Failure::of(Exit::Failed, &e));
            }
        }
    }

    fn of(first: BigUint, second: BigUint) -> Result<Self, KeyError> {
        let (p, q) = (&first - 1_u8, &second - 1_u8);
        let order = &p * &q / gcd(p, q);
        let private = BigUint::from(EXPONENT).modinv(&order);
        let private = private.ok_or(KeyError::Numbers("3 divides one of its primes less 1"))?;
        Ok(Self { modulus: &first * &second, private, first, second })
    }

    /// Reads a key file's bytes: PEM, or DER in either form.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.first() == Some(&der::SEQUENCE) {
            return match Self::from_pkcs8(bytes) {
                Err(KeyError::Der(_)) => Self::from_pkcs1(bytes),
                done => done,
            };
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|_| KeyError::Pem("the file contains bytes that are not text".to_owned()))?;
        Self::from_pem(text)
    }

    /// Reads a PEM text.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let blocks = pem::parse_many(text).map_err(|e| KeyError::Pem(e.to_string()))?;
        let [block] = blocks.as_slice() else { return Err(KeyError::Blocks(blocks.len())) };
        match block.tag() {
            "RSA PRIVATE KEY" if block.headers().get("Proc-Type").is_some() => Err(KeyError::Encrypted),
            "RSA PRIVATE KEY" => Self::from_pkcs1(block.contents()),
            "PRIVATE KEY" => Self::from_pkcs8(block.contents()),
            "ENCRYPTED PRIVATE KEY" => Err(KeyError::Encrypted),
            other => Err(KeyError::Other(other.to_owned())),
        }
    }

    /// Reads DER, RFC 5958: the algorithm, then the key as in PKCS#1.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_pkcs8(bytes: &[u8]) -> Result<Self, KeyError> {
        let mut outer = Reader::new(bytes);
        let mut key = outer.enter(der::SEQUENCE)?;
        outer.end()?;
        key.unsigned()?;
        let mut algorithm = key.enter(der::SEQUENCE)?;
        if algorithm.take(der::OBJECT)? != RSA || algorithm.take(der::NULL).is_ok_and(|null| !null.is_empty())
        {
            return Err(KeyError::Algorithm);
        }
        // Attributes may follow. An RSA key does not need them.
        Self::of_pkcs1(key.enter(der::OCTETS)?)
    }

    /// Reads DER, RFC 8017, A.1.2.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_pkcs1(bytes: &[u8]) -> Result<Self, KeyError> {
        Self::of_pkcs1(Reader::new(bytes))
    }

    fn of_pkcs1(mut outer: Reader<'_>) -> Result<Self, KeyError> {
        let mut key = outer.enter(der::SEQUENCE)?;
        outer.end()?;
        if !key.unsigned()?.is_empty() {
            return Err(KeyError::Version);
        }
        let mut numbers = [(); 8].map(|()| BigUint::ZERO);
        for number in &mut numbers {
            *number = BigUint::from_bytes_be(key.unsigned()?);
        }
        key.end()?;
        let [modulus, exponent, private, first, second, first_exponent, second_exponent, coefficient] =
            numbers;
        if modulus.bits() != BITS {
            return Err(KeyError::Length(modulus.bits()));
        }
        if exponent != BigUint::from(EXPONENT) {
            return Err(KeyError::Exponent(shortened(&exponent)));
        }
        let one = BigUint::from(1_u8);
        if first <= one || second <= one || &first * &second != modulus {
            return Err(KeyError::Numbers("the modulus is not the product of the primes"));
        }
        let (p, q) = (&first - 1_u8, &second - 1_u8);
        let inverse = |private: &BigUint, order: &BigUint| (private * EXPONENT) % order == one;
        if !inverse(&private, &p) || !inverse(&private, &q) || private >= modulus {
            return Err(KeyError::Numbers("the private exponent is not 3's inverse"));
        }
        if first_exponent != &private % &p || second_exponent != &private % &q {
            return Err(KeyError::Numbers("the exponents of the primes are not the private exponent's"));
        }
        if coefficient >= first || (&coefficient * &second) % &first != one {
            return Err(KeyError::Numbers("the coefficient is not the second prime's inverse"));
        }
        let prime = |number| prime::is_prime(number, LOADED_ROUNDS).unwrap_or(false);
        if !prime(&first) || !prime(&second) {
            return Err(KeyError::Numbers("one of its primes is not a prime number"));
        }
        Ok(Self { modulus, private, first, second })
    }

    /// PKCS#1, as openssl writes it.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let (p, q) = (&self.first - 1_u8, &self.second - 1_u8);
        let coefficient = self.second.modinv(&self.first).unwrap_or_default();
        let exponent = BigUint::from(EXPONENT);
        let (first_exponent, second_exponent) = (&self.private % p, &self.private % q);
        let numbers = [
            &BigUint::ZERO,
            &self.modulus,
            &exponent,
            &self.private,
            &self.first,
            &self.second,
            &first_exponent,
            &second_exponent,
            &coefficient,
        ];
        let mut inner = Vec::new();
        for number in numbers {
            let bytes = number.to_bytes_be();
            der::put_unsigned(&mut inner, if *number == BigUint::ZERO { &[] } else { &bytes });
        }
        let mut outer = Vec::new();
        der::put(&mut outer, der::SEQUENCE, &inner);
        let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        pem::encode_config(&pem::Pem::new("RSA PRIVATE KEY", outer), config)
    }

    /// The modulus, little-endian, as SIGSTRUCT has it.
    #[must_use]
    pub fn modulus(&self) -> [u8; BYTES] {
        little(&self.modulus)
    }

    /// MRSIGNER of what this key signs.
    #[must_use]
    pub fn signer(&self) -> Digest {
        Digest::of(&self.modulus())
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, 8.2.1): little-endian, as SIGSTRUCT has it.
    pub(super) fn sign(&self, data: &[u8]) -> [u8; BYTES] {
        little(&padded(data).modpow(&self.private, &self.modulus))
    }
}

/// Shows the signer, and nothing secret.
impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("signer", &self.signer()).finish_non_exhaustive()
    }
}

impl KeyError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Encrypted => {
                "write the key without its passphrase to a new file with `openssl rsa -in KEY -out PLAIN`, and use that file"
            }
            Self::Numbers(_) => "the file is damaged: restore it from a backup",
            _ => {
                "make a signing key with `fl-host sgx key --output KEY`, or with `openssl genrsa -3 -out KEY 3072`"
            }
        }
    }
}

/// Reads a key file: PEM, or the same in DER.
///
/// # Errors
/// [`Exit::File`]; [`Exit::Trust`] with the reason, also when other users may read or change the file.
pub fn load(path: &Path) -> Result<SigningKey, Failure> {
    let bytes = files::read(path, PEM_BYTES)?;
    let key = SigningKey::from_bytes(&bytes).map_err(|e| {
        Failure::new(Exit::Trust, format!("cannot sign with {}: {e}", path.display())).hint(e.hint())
    })?;
    files::refuse_exposed(path)?;
    Ok(key)
}

/// Writes a new key file, for its owner alone.
///
/// # Errors
/// [`Exit::Trust`] when the file exists, [`Exit::File`].
pub fn save(key: &SigningKey, path: &Path) -> Result<(), Failure> {
    refuse_to_overwrite(path)?;
    files::write_secret(path, key.to_pem().as_bytes()).map_err(|e| files::unwritten(path, &e))
}

/// Called before the slow making of a key.
///
/// # Errors
/// [`Exit::Trust`] when the file exists.
pub fn refuse_to_overwrite(path: &Path) -> Result<(), Failure> {
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(Failure::new(Exit::Trust, format!("{} already exists", path.display())).hint(
        "give another path with --output: the key in the existing file may have signed enclaves already",
    ))
}

/// EMSA-PKCS1-v1_5 (RFC 8017, 9.2) of SHA-256, as a number.
pub(super) fn padded(data: &[u8]) -> BigUint {
    let mut block = [0xff; BYTES];
    block[..2].copy_from_slice(&[0, 1]);
    let tail = [&DIGEST_INFO[..], &Digest::of(data).0].concat();
    let start = BYTES - tail.len();
    block[start - 1] = 0;
    block[start..].copy_from_slice(&tail);
    BigUint::from_bytes_be(&block)
}

/// Little-endian with zeros to the full length; the number is shorter than a modulus.
pub(super) fn little(number: &BigUint) -> [u8; BYTES] {
    let mut out = [0; BYTES];
    let bytes = number.to_bytes_le();
    let held = bytes.len().min(BYTES);
    out[..held].copy_from_slice(&bytes[..held]);
    out
}

fn gcd(mut a: BigUint, mut b: BigUint) -> BigUint {
    while b != BigUint::ZERO {
        (a, b) = (b.clone(), a % b);
    }
    a
}

fn shortened(number: &BigUint) -> String {
    if number.bits() <= 64 { number.to_string() } else { format!("a number of {} bits", number.bits()) }
}

/// Bits of the modulus.
pub const BITS: u64 = 3072;
/// Bytes of the modulus and of a signature.
pub const BYTES: usize = 384;
/// The public exponent.
pub const EXPONENT: u32 = 3;
/// Rounds of the prime test of a loaded key. The test finds damage; each signature is checked, too.
const LOADED_ROUNDS: usize = 4;
/// Longest key file that is read, bytes.
const PEM_BYTES: usize = 64 << 10;
/// rsaEncryption, 1.2.840.113549.1.1.1.
const RSA: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// DER of a DigestInfo for SHA-256, up to the digest (RFC 8017, 9.2, note 1).
const DIGEST_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
    0x04, 0x20,
];

#[cfg(test)]
mod tests;
