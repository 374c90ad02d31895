//! The little DER that RSA keys are made of: sequences, integers, octet strings, object identifiers.
//!
//! ITU-T X.690; what is not in its one shortest form is refused.

/// Reads values one after another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

/// Where and why bytes are not what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DerError(&'static str);

pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTETS: u8 = 0x04;
pub(super) const NULL: u8 = 0x05;
pub(super) const OBJECT: u8 = 0x06;

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The contents of the next value, which has this tag.
    pub(super) fn take(&mut self, tag: u8) -> Result<&'a [u8], DerError> {
        let cut = DerError("it is cut short");
        let (&found, rest) = self.rest.split_first().ok_or(cut)?;
        if found != tag {
            return Err(DerError("its parts are not those of an RSA key"));
        }
        let (&first, mut rest) = rest.split_first().ok_or(cut)?;
        let length = match first {
            0..=0x7f => usize::from(first),
            // No key has 16 MiB.
            0x81..=0x83 => {
                let (bytes, after) = rest.split_at_checked(usize::from(first - 0x80)).ok_or(cut)?;
                rest = after;
                let length = bytes.iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
                if bytes[0] == 0 || length < 0x80 {
                    return Err(DerError("a length is not in its shortest form"));
                }
                length
            }
            _ => return Err(DerError("a length is absurd")),
        };
        let (value, rest) = rest.split_at_checked(length).ok_or(cut)?;
        self.rest = rest;
        Ok(value)
    }

    /// The next value, an integer that is not negative: big-endian, without a leading zero.
    pub(super) fn unsigned(&mut self) -> Result<&'a [u8], DerError> {
        match self.take(INTEGER)? {
            [] => Err(DerError("an integer is empty")),
            [0] => Ok(&[]),
            [0, rest @ ..] if rest[0] >= 0x80 => Ok(rest),
            [0, ..] => Err(DerError("an integer is not in its shortest form")),
            [first, ..] if *first >= 0x80 => Err(DerError("an integer is negative")),
            value => Ok(value),
        }
    }

    /// Whether nothing is left.
    pub(super) fn end(self) -> Result<(), DerError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DerError("more follows than belongs to it")) }
    }
}

/// Appends a value.
pub(super) fn put(out: &mut Vec<u8>, tag: u8, contents: &[u8]) {
    out.push(tag);
    let length = (contents.len() as u32).to_be_bytes();
    let skip = (contents.len() as u32).leading_zeros() as usize / 8;
    if contents.len() >= 0x80 {
        out.push(0x80 + (4 - skip) as u8);
        out.extend(&length[skip..]);
    } else {
        out.push(length[3]);
    }
    out.extend(contents);
}

/// Appends an integer that is not negative, from big-endian bytes without a leading zero.
pub(super) fn put_unsigned(out: &mut Vec<u8>, big_endian: &[u8]) {
    let sign: &[u8] = if big_endian.first().is_none_or(|first| *first >= 0x80) { &[0] } else { &[] };
    put(out, INTEGER, &[sign, big_endian].concat());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_come_back_and_only_in_their_shortest_form() {
        for value in [&[][..], &[1], &[0x7f], &[0x80], &[0xff; 127], &[0x7f; 128], &[0x80; 300], &[1; 70_000]]
        {
            let mut out = Vec::new();
            put_unsigned(&mut out, value);
            let mut reader = Reader::new(&out);
            assert_eq!(reader.unsigned().unwrap(), value);
            reader.end().unwrap();
        }
        let refused: [&[u8]; 9] = [
            &[],
            &[2],
            &[2, 0],
            &[2, 2, 0, 1],
            &[2, 1, 0x80],
            &[2, 0x81, 1, 1],
            &[2, 0x82, 0, 200, 1],
            &[2, 0x84, 0, 0, 0, 1, 1],
            &[3, 1, 1],
        ];
        for bytes in refused {
            assert!(Reader::new(bytes).unsigned().is_err(), "{bytes:?}");
        }
    }
}
