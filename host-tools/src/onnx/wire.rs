//! The wire format of Protocol Buffers: the fields of one message, one after the other.
//!
//! A reader of the messages that it is given: it copies nothing and calls itself never, so that neither a
//! stated length nor nesting takes memory. Groups, which ONNX does not use, are refused.

/// What is left of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(&'a [u8]);

/// The value of one field.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Number(u64),
    /// Eight bytes, which no part has that is read.
    Eight,
    Four([u8; 4]),
    /// A text, a message, or a packed list of numbers.
    Bytes(&'a [u8]),
}

/// Why bytes are no message.
pub(super) type Fault = &'static str;

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// The next field's number and value; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, Fault> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.number()?;
        let field = u32::try_from(key >> 3).ok().filter(|field| *field > 0).ok_or("a field has no number")?;
        let value = match key & 7 {
            0 => Value::Number(self.number()?),
            1 => {
                self.0 = self.0.get(8..).ok_or(CUT)?;
                Value::Eight
            }
            2 => {
                let length = self.number()?;
                let length = usize::try_from(length).ok().filter(|length| *length <= self.0.len());
                let (bytes, rest) = self.0.split_at(length.ok_or("a part is longer than the file")?);
                self.0 = rest;
                Value::Bytes(bytes)
            }
            5 => {
                let (bytes, rest) = self.0.split_first_chunk().ok_or(CUT)?;
                self.0 = rest;
                Value::Four(*bytes)
            }
            _ => return Err("a field has an unknown form"),
        };
        Ok(Some((field, value)))
    }

    /// A number of 1 to 10 bytes, the lowest seven bits first.
    fn number(&mut self) -> Result<u64, Fault> {
        let mut number = 0u64;
        for (index, byte) in self.0.iter().enumerate().take(10) {
            number |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                if index == 9 && *byte > 1 {
                    return Err("a number has more than 64 bits");
                }
                self.0 = &self.0[index + 1..];
                return Ok(number);
            }
        }
        Err(if self.0.len() < 10 { CUT } else { "a number has more than 64 bits" })
    }
}

impl<'a> Value<'a> {
    pub(super) fn bytes(self) -> Result<&'a [u8], Fault> {
        if let Self::Bytes(bytes) = self {
            Ok(bytes)
        } else {
            Err("a field is not of the form that ONNX says")
        }
    }

    pub(super) fn text(self) -> Result<&'a str, Fault> {
        std::str::from_utf8(self.bytes()?).map_err(|_| "a name is not UTF-8 text")
    }

    pub(super) fn whole(self) -> Result<i64, Fault> {
        if let Self::Number(number) = self { Ok(number as i64) } else { Err("a field is not a whole number") }
    }

    pub(super) fn float(self) -> Result<f32, Fault> {
        if let Self::Four(bytes) = self {
            Ok(f32::from_le_bytes(bytes))
        } else {
            Err("a field is not a number")
        }
    }

    /// The whole numbers of a field that is repeated, packed or not, at most `most` of them in `all`.
    pub(super) fn wholes(self, all: &mut Vec<i64>, most: usize) -> Result<(), Fault> {
        let mut add = |number: u64| {
            if all.len() == most {
                return Err("a list has too many numbers");
            }
            all.push(number as i64);
            Ok(())
        };
        match self {
            Self::Number(number) => add(number),
            Self::Bytes(packed) => {
                let mut rest = Fields(packed);
                while !rest.0.is_empty() {
                    add(rest.number()?)?;
                }
                Ok(())
            }
            _ => Err("a list is not of whole numbers"),
        }
    }

    /// As [`Self::wholes`], for numbers of 32 bits with a point.
    pub(super) fn floats(self, all: &mut Vec<f32>, most: usize) -> Result<(), Fault> {
        let numbers = match &self {
            Self::Four(bytes) => bytes.as_slice(),
            Self::Bytes(packed) => packed,
            _ => return Err("a list is not of numbers"),
        };
        if numbers.len() % 4 != 0 || numbers.len() / 4 > most - all.len() {
            return Err("a list of numbers has another length than it may have");
        }
        all.extend(numbers.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        Ok(())
    }
}

const CUT: Fault = "the file ends within a part";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_order() {
        let bytes = [0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x1d, 0, 0, 0x80, 0x3f];
        let mut fields = Fields::new(&bytes);
        assert_eq!(
            fields.next().unwrap().map(|(field, value)| (field, value.whole().unwrap())),
            Some((1, 150))
        );
        assert_eq!(
            fields.next().unwrap().map(|(field, value)| (field, value.text().unwrap())),
            Some((2, "hi"))
        );
        assert_eq!(
            fields.next().unwrap().map(|(field, value)| (field, value.float().unwrap())),
            Some((3, 1.0))
        );
        assert!(fields.next().unwrap().is_none());
    }

    #[test]
    fn what_is_no_field_is_refused() {
        for bytes in [
            &[0x08][..],
            &[0x00, 0x01],
            &[0x0b],
            &[0x0a, 0x05, 1],
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            &[0x0d, 1, 2],
            &[0x09, 1, 2, 3, 4, 5, 6, 7],
        ] {
            assert!(Fields::new(bytes).next().is_err(), "{bytes:?}");
        }
    }
}
