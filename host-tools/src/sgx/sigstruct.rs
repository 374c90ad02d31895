//! SIGSTRUCT: the signature that the processor requires before it starts an enclave.
//!
//! It has 1808 bytes (Intel SDM volume 3D). The signature covers the date, the attributes, the measurement,
//! product and version. `q1` and `q2` are quotients with which the processor checks the signature without a
//! division.
//!
//! Hand-written: Fortanix's `sgxs` knows the structure, but signs through openssl or Mbed TLS, which are C
//! libraries.

use fl_engine::Digest;
use num_bigint::BigUint;

use super::{
    Attributes,
    key::{BYTES, EXPONENT, SigningKey, little, padded},
};
use crate::exit::{Exit, Failure};

/// A SIGSTRUCT whose fixed fields, signature and quotients have been checked.
#[derive(Clone, PartialEq, Eq)]
pub struct Sigstruct {
    bytes: Box<[u8; LENGTH]>,
}

/// A day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// 0 to 9999.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

/// Why a processor would refuse these bytes. Offsets are into the structure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SigstructError {
    /// Another length.
    #[error("the file has {0} bytes; a signature of an enclave (SIGSTRUCT) has {LENGTH}")]
    Length(usize),
    /// A fixed field has another value.
    #[error("byte {at:#x} of the signature: the {field} differs from that of every Gramine enclave")]
    Fixed {
        /// Offset of the field.
        at: usize,
        /// Its name.
        field: &'static str,
    },
    /// The date is not in the calendar.
    #[error("byte 0x14 of the signature: the date is not in the calendar")]
    Date,
    /// The modulus is not one of 3072 bits.
    #[error("byte 0x80 of the signature: the signer's key has {0} bits, not 3072")]
    Modulus(u64),
    /// The signature was not made with the modulus's private key.
    #[error("byte 0x204 of the signature: the signed bytes were changed, or another key signed them")]
    Signature,
    /// A quotient is wrong.
    #[error("byte {at:#x} of the signature: the number {name} is wrong")]
    Quotient {
        /// Offset of the quotient.
        at: usize,
        /// Its name.
        name: &'static str,
    },
}

impl Sigstruct {
    /// Signs a measurement.
    ///
    /// # Errors
    /// [`Exit::Failed`] when the result does not pass its own check.
    pub fn sign(
        key: &SigningKey,
        attributes: &Attributes,
        measurement: &Digest,
        date: Date,
    ) -> Result<Self, Failure> {
        let mut bytes = Box::new([0; LENGTH]);
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        for (at, value, _) in FIXED {
            put(at, value);
        }
        put(DATE, &date.to_bcd());
        put(MISC_SELECT, &u32::from(attributes.exinfo).to_le_bytes());
        put(MISC_MASK, &u32::MAX.to_le_bytes());
        put(FLAGS, &(MODE_64 | if attributes.debug { DEBUG } else { 0 }).to_le_bytes());
        put(FEATURES, &attributes.features.to_le_bytes());
        put(FLAGS_MASK, &u64::MAX.to_le_bytes());
        put(FEATURES_MASK, &attributes.features_mask.to_le_bytes());
        put(MEASUREMENT, &measurement.0);
        put(PRODUCT, &attributes.product.to_le_bytes());
        put(SVN, &attributes.svn.to_le_bytes());
        put(MODULUS, &key.modulus());
        let signature = key.sign(&signed(&bytes));
        let (q1, q2) =
            quotients(&BigUint::from_bytes_le(&signature), &BigUint::from_bytes_le(&key.modulus()));
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(SIGNATURE, &signature);
        put(Q1, &little(&q1));
        put(Q2, &little(&q2));
        // A wrong result could reveal the key, so it is never written.
        Self::parse(bytes.as_slice()).map_err(|e| {
            Failure::new(Exit::Failed, format!("the new signature fails its own check: {e}"))
                .hint("no signature was written. Sign again. If the check fails a second time, sign on another machine: this one may be faulty")
        })
    }

    /// Reads a SIGSTRUCT and checks what a processor would check: fixed fields, signature, `q1`, `q2`.
    ///
    /// # Errors
    /// [`SigstructError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, SigstructError> {
        let bytes: Box<[u8; LENGTH]> =
            bytes.to_vec().try_into().map_err(|_| SigstructError::Length(bytes.len()))?;
        for (at, value, field) in FIXED {
            if bytes[at..at + value.len()] != *value {
                return Err(SigstructError::Fixed { at, field });
            }
        }
        for (from, to) in RESERVED {
            if bytes[from..to].iter().any(|byte| *byte != 0) {
                return Err(SigstructError::Fixed { at: from, field: "reserved part" });
            }
        }
        let this = Self { bytes };
        Date::of_bcd(this.field(DATE)).ok_or(SigstructError::Date)?;
        let number = |at| BigUint::from_bytes_le(&this.bytes[at..at + BYTES]);
        let (modulus, signature) = (number(MODULUS), number(SIGNATURE));
        if modulus.bits() != super::key::BITS {
            return Err(SigstructError::Modulus(modulus.bits()));
        }
        let exponent = BigUint::from(EXPONENT);
        if signature >= modulus || signature.modpow(&exponent, &modulus) != padded(&signed(&this.bytes)) {
            return Err(SigstructError::Signature);
        }
        let (q1, q2) = quotients(&signature, &modulus);
        if number(Q1) != q1 {
            return Err(SigstructError::Quotient { at: Q1, name: "q1" });
        }
        if number(Q2) != q2 {
            return Err(SigstructError::Quotient { at: Q2, name: "q2" });
        }
        Ok(this)
    }

    /// The file's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; LENGTH] {
        &self.bytes
    }

    /// MRENCLAVE.
    #[must_use]
    pub fn measurement(&self) -> Digest {
        Digest(self.field(MEASUREMENT))
    }

    /// MRSIGNER.
    #[must_use]
    pub fn signer(&self) -> Digest {
        Digest::of(&self.bytes[MODULUS..MODULUS + BYTES])
    }

    /// The date that the signer states.
    #[must_use]
    pub fn date(&self) -> Date {
        // The date was checked when the structure was read.
        Date::of_bcd(self.field(DATE)).unwrap_or(Date { year: 0, month: 1, day: 1 })
    }

    /// Product.
    #[must_use]
    pub fn product(&self) -> u16 {
        u16::from_le_bytes(self.field(PRODUCT))
    }

    /// Security version.
    #[must_use]
    pub fn svn(&self) -> u16 {
        u16::from_le_bytes(self.field(SVN))
    }

    /// Whether the host may read the enclave's memory.
    #[must_use]
    pub fn debug(&self) -> bool {
        u64::from_le_bytes(self.field(FLAGS)) & DEBUG != 0
    }

    /// Whether the processor reports memory faults to the enclave.
    #[must_use]
    pub fn exinfo(&self) -> bool {
        u32::from_le_bytes(self.field(MISC_SELECT)) & 1 != 0
    }

    /// Attribute flags and their mask.
    #[must_use]
    pub fn flags(&self) -> (u64, u64) {
        (u64::from_le_bytes(self.field(FLAGS)), u64::from_le_bytes(self.field(FLAGS_MASK)))
    }

    /// Processor features that are on, and those whose state is fixed.
    #[must_use]
    pub fn features(&self) -> (u64, u64) {
        (u64::from_le_bytes(self.field(FEATURES)), u64::from_le_bytes(self.field(FEATURES_MASK)))
    }

    /// Whether it was signed for an enclave with these attributes.
    #[must_use]
    pub fn fits(&self, attributes: &Attributes) -> bool {
        self.debug() == attributes.debug
            && self.exinfo() == attributes.exinfo
            && (self.product(), self.svn()) == (attributes.product, attributes.svn)
            && self.features() == (attributes.features, attributes.features_mask)
    }

    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut value = [0; N];
        value.copy_from_slice(&self.bytes[at..at + N]);
        value
    }
}

impl std::fmt::Debug for Sigstruct {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sigstruct")
            .field("measurement", &self.measurement())
            .field("signer", &self.signer())
            .finish_non_exhaustive()
    }
}

impl Date {
    /// The day of a moment, in seconds since 1970, in UTC.
    #[must_use]
    pub fn of_unix(seconds: u64) -> Self {
        // Days are counted from 0000-03-01, so that a leap day is a year's last.
        let days = seconds / 86_400 + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        Self { year: year.min(9999) as u16, month: month as u8, day: day as u8 }
    }

    fn to_bcd(self) -> [u8; 4] {
        let bcd = |n: u16| (((n / 10 % 10) << 4) | (n % 10)) as u8;
        [bcd(self.day.into()), bcd(self.month.into()), bcd(self.year % 100), bcd(self.year / 100)]
    }

    fn of_bcd(bytes: [u8; 4]) -> Option<Self> {
        let number = |byte: u8| (byte >> 4 < 10 && byte & 15 < 10).then_some((byte >> 4) * 10 + (byte & 15));
        let [day, month, low, high] = bytes.map(number);
        Self::new(u16::from(high?) * 100 + u16::from(low?), month?, day?)
    }

    /// The date, if the calendar has it.
    #[must_use]
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = match month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        (year <= 9999 && (1..=days).contains(&day)).then_some(Self { year, month, day })
    }
}

impl std::str::FromStr for Date {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let parts: Vec<&str> = text.split('-').collect();
            let [year, month, day] = parts.as_slice() else { return None };
            let whole = |part: &str, length: usize| {
                part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit())
            };
            if !whole(year, 4) || !whole(month, 2) || !whole(day, 2) {
                return None;
            }
            Self::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?)
        };
        read().ok_or_else(|| format!("{text:?} is not a date of the form YYYY-MM-DD"))
    }
}

impl std::fmt::Display for Date {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// ⌊s² / n⌋ and ⌊(s² mod n) · s / n⌋.
fn quotients(signature: &BigUint, modulus: &BigUint) -> (BigUint, BigUint) {
    let square = signature * signature;
    let q1 = &square / modulus;
    let q2 = (square % modulus) * signature / modulus;
    (q1, q2)
}

/// The bytes that the signature covers.
fn signed(bytes: &[u8; LENGTH]) -> Vec<u8> {
    [&bytes[..MODULUS], &bytes[MISC_SELECT..SIGNED_END]].concat()
}

/// Length of a SIGSTRUCT.
pub const LENGTH: usize = 1808;
const DATE: usize = 0x014;
const MODULUS: usize = 0x080;
const SIGNATURE: usize = 0x204;
const MISC_SELECT: usize = 0x384;
const MISC_MASK: usize = 0x388;
const FLAGS: usize = 0x3a0;
const FEATURES: usize = 0x3a8;
const FLAGS_MASK: usize = 0x3b0;
const FEATURES_MASK: usize = 0x3b8;
const MEASUREMENT: usize = 0x3c0;
const PRODUCT: usize = 0x400;
const SVN: usize = 0x402;
const SIGNED_END: usize = 0x404;
const Q1: usize = 0x410;
const Q2: usize = 0x590;
/// The enclave runs in 64-bit mode.
const MODE_64: u64 = 4;
/// The host may read its memory.
const DEBUG: u64 = 2;
/// Fields with one value: offset, value, name.
const FIXED: [(usize, &[u8], &str); 5] = [
    (0x000, &[6, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0], "header"),
    (0x010, &[0, 0, 0, 0], "vendor"),
    (0x018, &[1, 1, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 1, 0, 0, 0], "second header"),
    (0x028, &[0, 0, 0, 0], "software-defined field"),
    (0x200, &[3, 0, 0, 0], "exponent"),
];
/// Ranges of bytes that must be zero.
const RESERVED: [(usize, usize); 4] = [(0x02c, 0x080), (0x38c, 0x3a0), (0x3e0, 0x400), (0x404, 0x410)];

#[cfg(test)]
mod tests;
