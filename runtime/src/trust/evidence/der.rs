//! DER as far as the verifier has to read it: elements, and the dates of a revocation list.
//!
//! `webpki` reads certificates and revocation lists. It shows neither a certificate's extensions nor the
//! dates of a list, so those two are read here. Nothing here checks a signature.

use fl_engine::plan::roster::UnixSeconds;

/// One element of DER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element<'a> {
    /// Its tag, of one byte.
    pub(super) tag: u8,
    /// Its contents.
    pub(super) body: &'a [u8],
}

/// The first element of `bytes`, and the bytes after it; `None` where the length is not DER, is cut short, or
/// is above 65,535.
pub(super) fn first(bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match (length, rest) {
        (0..=0x7f, _) => (usize::from(length), rest),
        (0x81, [n @ 0x80..=0xff, rest @ ..]) => (usize::from(*n), rest),
        (0x82, [high @ 1..=0xff, low, rest @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        _ => return None,
    };
    let (body, rest) = rest.split_at_checked(length)?;
    Some((Element { tag, body }, rest))
}

/// The one element that `bytes` consist of.
pub(super) fn whole(bytes: &[u8]) -> Option<Element<'_>> {
    first(bytes).filter(|(_, rest)| rest.is_empty()).map(|(element, _)| element)
}

/// All elements of `bytes`.
pub(super) fn all(mut bytes: &[u8]) -> Option<Vec<Element<'_>>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (element, rest) = first(bytes)?;
        found.push(element);
        bytes = rest;
    }
    Some(found)
}

/// The issuer of a revocation list (the body of its name), and the first and the last second in which the
/// list is valid (RFC 5280, section 5.1): the next one is due in the second after the last.
pub(super) fn facts_of_list(list: &[u8]) -> Option<(&[u8], UnixSeconds, UnixSeconds)> {
    let (list, _) = first(whole(list)?.body)?;
    let fields = all(list.body)?;
    // Version 2 states its version; then come the algorithm, the issuer and the two dates.
    let fields = fields.strip_prefix(&[Element { tag: INTEGER, body: &[1] }])?;
    let [_, issuer, issued, until, ..] = fields else { return None };
    Some((issuer.body, date(*issued)?, UnixSeconds(date(*until)?.0.checked_sub(1)?)))
}

/// `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ` (RFC 5280, section 4.1.2.5).
fn date(element: Element<'_>) -> Option<UnixSeconds> {
    let text = std::str::from_utf8(element.body).ok()?;
    let (year, rest) = match (element.tag, text.len()) {
        (UTC_TIME, 13) => {
            let year: u32 = text.get(..2)?.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
        }
        (GENERALIZED_TIME, 15) => (text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => return None,
    };
    let pair = |at: usize| rest.get(2 * at..2 * at + 2);
    let [month, day, hour, minute, second] = [pair(0)?, pair(1)?, pair(2)?, pair(3)?, pair(4)?];
    let zone = rest.get(10..)?;
    format!("{year:04}-{month}-{day}T{hour}:{minute}:{second}{zone}").parse().ok()
}

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTETS: u8 = 0x04;
pub(super) const OBJECT: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
/// The extensions of a certificate: `[3]`.
pub(super) const EXTENSIONS: u8 = 0xa3;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_has_one_spelling() {
        let of = |bytes: &[u8]| first(bytes).map(|(element, rest)| (element.body.len(), rest.len()));
        assert_eq!(of(&[4, 0]), Some((0, 0)));
        assert_eq!(of(&[4, 1, 9, 8]), Some((1, 1)));
        assert_eq!(of(&[4, 0x81, 1, 9]), None);
        assert_eq!(of(&[4, 0x80, 0, 0]), None);
        let long = |head: &[u8], n: usize| [head, &vec![7; n]].concat();
        assert_eq!(of(&long(&[4, 0x81, 0x80], 128)), Some((128, 0)));
        assert_eq!(of(&long(&[4, 0x82, 0, 0x80], 128)), None);
        assert_eq!(of(&long(&[4, 0x82, 1, 0], 256)), Some((256, 0)));
        assert_eq!(of(&long(&[4, 0x82, 1, 0], 255)), None);
        assert_eq!(of(&long(&[4, 0x83, 1, 0, 0], 65_536)), None);
        assert_eq!((whole(&[4, 1, 9, 8]), all(&[4, 1])), (None, None));
    }

    #[test]
    fn both_forms_of_a_date_are_read() {
        let of = |tag, text: &str| date(Element { tag, body: text.as_bytes() }).map(|at| at.to_string());
        assert_eq!(of(UTC_TIME, "250619100118Z").as_deref(), Some("2025-06-19T10:01:18Z"));
        assert_eq!(of(UTC_TIME, "700101000000Z").as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(of(GENERALIZED_TIME, "20500101000000Z").as_deref(), Some("2050-01-01T00:00:00Z"));
        assert_eq!(of(UTC_TIME, "250619100118+"), None);
        assert_eq!(of(GENERALIZED_TIME, "250619100118Z"), None);
        assert_eq!(of(UTC_TIME, "2506191001é"), None);
    }
}
