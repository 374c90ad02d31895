//! What Intel's certificate of a processor (PCK certificate) states in its SGX extension. Nothing here checks
//! a signature.
//!
//! ```text
//! 1.2.840.113741.1.13.1
//!   .1 PPID, 16 bytes       .2 security versions: .1–.16 components, .17 PCESVN, .18 CPUSVN
//!   .3 PCE id, 2 bytes      .4 FMSPC, 6 bytes      .5 and more: kind of platform
//! ```
//!
//! Source: Intel SGX PCK Certificate and Certificate Revocation List Profile Specification, section 1.3.5.

use fl_engine::Digest;

use super::der::{self, Element, OBJECT, OCTETS, SEQUENCE};

/// A processor, as its certificate describes it.
#[derive(Clone, PartialEq, Eq)]
pub struct Processor {
    /// Kind of the processor. Intel publishes security versions for each kind.
    pub fmspc: [u8; 6],
    /// Which provisioning enclave (PCE) certified the quoting enclave.
    pub(super) pce_id: [u8; 2],
    /// Security versions of the processor's components.
    pub(super) components: [u8; 16],
    /// Security version of the provisioning enclave.
    pub(super) pce_svn: u16,
    /// SHA-256 of the processor's number (PPID).
    pub(super) platform: Digest,
}

/// Why a certificate does not describe a processor. Each text follows `the processor's certificate `.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessorError {
    /// Not the form that Intel describes.
    #[error("has no readable SGX extension")]
    Unreadable,
    /// A value is missing, is there twice, or has another form.
    #[error("does not state one {0}")]
    Value(&'static str),
    /// Component by component, and as a whole, it states different security versions.
    #[error("states two different security versions (CPUSVN)")]
    TwoVersions,
}

impl Processor {
    /// Reads the SGX extension of a certificate in DER.
    ///
    /// # Errors
    /// [`ProcessorError`].
    pub fn of(certificate: &[u8]) -> Result<Self, ProcessorError> {
        let extension = extension(certificate).ok_or(ProcessorError::Unreadable)?;
        let values = sequence(extension).ok_or(ProcessorError::Unreadable)?;
        let versions =
            sequence(one(&values, &[2], "set of security versions")?).ok_or(ProcessorError::Unreadable)?;
        let mut components = [0; 16];
        for (number, component) in (1..).zip(&mut components) {
            let value = integer(one(&versions, &[2, number], COMPONENT)?);
            *component =
                value.and_then(|value| u8::try_from(value).ok()).ok_or(ProcessorError::Value(COMPONENT))?;
        }
        if octets(&versions, &[2, 18], "CPUSVN")? != components {
            return Err(ProcessorError::TwoVersions);
        }
        let pce_svn = integer(one(&versions, &[2, 17], "PCESVN")?).ok_or(ProcessorError::Value("PCESVN"))?;
        let ppid: [u8; 16] = octets(&values, &[1], "PPID")?;
        Ok(Self {
            fmspc: octets(&values, &[4], "FMSPC")?,
            pce_id: octets(&values, &[3], "PCE id")?,
            components,
            pce_svn,
            platform: Digest::of(&ppid),
        })
    }
}

/// `Debug` shows nothing that identifies a machine.
impl std::fmt::Debug for Processor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Processor")
    }
}

/// The contents of the certificate's one SGX extension.
fn extension(certificate: &[u8]) -> Option<Element<'_>> {
    let (contents, _) = der::first(der::whole(certificate)?.body)?;
    let fields = der::all(contents.body)?;
    let extensions = fields.iter().find(|field| field.tag == der::EXTENSIONS)?;
    let mut found = None;
    for extension in der::all(der::whole(extensions.body)?.body)? {
        let parts = der::all(extension.body)?;
        let value = match parts[..] {
            [name, value] if name == SGX => value,
            [name, Element { tag: der::BOOLEAN, .. }, value] if name == SGX => value,
            _ => continue,
        };
        if value.tag != OCTETS || found.replace(value).is_some() {
            return None;
        }
    }
    der::whole(found?.body)
}

/// The pairs of name and value in a sequence.
fn sequence(list: Element<'_>) -> Option<Vec<(&[u8], Element<'_>)>> {
    if list.tag != SEQUENCE {
        return None;
    }
    der::all(list.body)?.into_iter().map(pair).collect()
}

fn pair(pair: Element<'_>) -> Option<(&[u8], Element<'_>)> {
    match der::all(pair.body)?[..] {
        [Element { tag: OBJECT, body }, value] if pair.tag == SEQUENCE => Some((body, value)),
        _ => None,
    }
}

/// The one value under the SGX name followed by `tail`.
fn one<'a>(
    values: &[(&[u8], Element<'a>)],
    tail: &[u8],
    what: &'static str,
) -> Result<Element<'a>, ProcessorError> {
    let mut found = values.iter().filter(|(name, _)| name.strip_prefix(SGX.body) == Some(tail));
    match (found.next(), found.next()) {
        (Some((_, value)), None) => Ok(*value),
        _ => Err(ProcessorError::Value(what)),
    }
}

fn octets<const N: usize>(
    values: &[(&[u8], Element<'_>)],
    tail: &[u8],
    what: &'static str,
) -> Result<[u8; N], ProcessorError> {
    let value = one(values, tail, what)?;
    let bytes = (value.tag == OCTETS).then_some(value.body);
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(ProcessorError::Value(what))
}

/// A number from 0 to 65,535 in its shortest form.
fn integer(element: Element<'_>) -> Option<u16> {
    match (element.tag, element.body) {
        (der::INTEGER, [value @ ..0x80]) => Some(u16::from(*value)),
        (der::INTEGER, [0, low @ 0x80..=0xff]) => Some(u16::from(*low)),
        (der::INTEGER, [high @ 1..0x80, low]) => Some(u16::from_be_bytes([*high, *low])),
        (der::INTEGER, [0, high @ 0x80..=0xff, low]) => Some(u16::from_be_bytes([*high, *low])),
        _ => None,
    }
}

/// The name of Intel's extension; the names inside of it begin with the same bytes.
const SGX: Element<'_> =
    Element { tag: OBJECT, body: &[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01] };
const COMPONENT: &str = "security version of a component";
