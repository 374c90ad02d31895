//! The types of DER that RSA keys use: sequences, integers, octet strings, object identifiers, null.
//!
//! ITU-T X.690; a value that is not in its one shortest form is refused.
//!
//! Hand-written: an RSA key needs five types, and the crate `der` would bring traits and derive macros for
//! whole schemas.

/// Reads values one after another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    file: &'a [u8],
    at: usize,
    end: usize,
}

/// Where and why bytes are not the expected value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {what}")]
pub struct DerError {
    at: usize,
    what: &'static str,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a [u8]) -> Self {
        Self { file, at: 0, end: file.len() }
    }

    fn refused(self, what: &'static str) -> DerError {
        DerError { at: self.at, what }
    }

    /// The values inside the next one, which has this tag.
    pub(super) fn enter(&mut self, tag: u8) -> Result<Self, DerError> {
        let cut = self.refused("the key is cut short");
        let mut rest = &self.file[self.at..self.end];
        let mut next = || {
            let (&byte, after) = rest.split_first().ok_or(cut)?;
            rest = after;
            Ok::<u8, DerError>(byte)
        };
        if next()? != tag {
            return Err(self.refused("an RSA key has another type of value here"));
        }
        let length = match next()? {
            short @ 0..=0x7f => usize::from(short),
            // No key has 16 MiB.
            long @ 0x81..=0x83 => {
                let mut length = 0;
                for number in 0..long - 0x80 {
                    let byte = next()?;
                    if number == 0 && byte == 0 {
                        return Err(self.refused("the length of a value is not in its shortest form"));
                    }
                    length = (length << 8) | usize::from(byte);
                }
                if length < 0x80 {
                    return Err(self.refused("the length of a value is not in its shortest form"));
                }
                length
            }
            _ => return Err(self.refused("the length of a value is too large")),
        };
        if length > rest.len() {
            return Err(cut);
        }
        let at = self.end - rest.len();
        self.at = at + length;
        Ok(Self { file: self.file, at, end: at + length })
    }

    /// The contents of the next value, which has this tag.
    pub(super) fn take(&mut self, tag: u8) -> Result<&'a [u8], DerError> {
        let inside = self.enter(tag)?;
        Ok(&inside.file[inside.at..inside.end])
    }

    /// The next value, an integer that is not negative: big-endian, without a leading zero.
    pub(super) fn unsigned(&mut self) -> Result<&'a [u8], DerError> {
        let before = *self;
        match self.take(INTEGER)? {
            [] => Err(before.refused("an integer is empty")),
            [0] => Ok(&[]),
            [0, rest @ ..] if rest[0] >= 0x80 => Ok(rest),
            [0, ..] => Err(before.refused("an integer is not in its shortest form")),
            [first, ..] if *first >= 0x80 => Err(before.refused("an integer is negative")),
            value => Ok(value),
        }
    }

    /// Whether nothing is left.
    pub(super) fn end(self) -> Result<(), DerError> {
        if self.at == self.end {
            Ok(())
        } else {
            Err(self.refused("there are more bytes than the value needs"))
        }
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

pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTETS: u8 = 0x04;
pub(super) const NULL: u8 = 0x05;
pub(super) const OBJECT: u8 = 0x06;

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
