//! The element types of NumPy's arrays.

/// An element type, as `descr` spells it: `<f4`, `>i2`, `|b1`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element {
    kind: Kind,
    bytes: usize,
    big_endian: bool,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Float,
    Signed,
    /// `bool`, too: 0 and 1.
    Unsigned,
}

impl Element {
    /// The type that a header names; `None` where the header has something else than a name. The error is
    /// what is wrong, and the cure.
    pub(super) fn of(descr: Option<&str>) -> Result<Self, (String, &'static str)> {
        let refused =
            |what: &str, cure| Err((format!("the array holds {what}; this loader reads numbers"), cure));
        let Some(descr) = descr else {
            return refused(
                "records",
                "save one array of numbers: numpy.stack([x[n] for n in x.dtype.names], -1)",
            );
        };
        let mut letters = descr.chars();
        let (order, letter) = (letters.next().unwrap_or(' '), letters.next().unwrap_or(' '));
        let bytes = letters.as_str().parse().unwrap_or(0);
        let kind = match (letter, bytes) {
            ('f', 2 | 4 | 8) => Kind::Float,
            ('i', 1 | 2 | 4 | 8) => Kind::Signed,
            ('u', 1 | 2 | 4 | 8) | ('b', 1) => Kind::Unsigned,
            ('O', _) => return refused("Python objects", "save numbers: numpy.save(F, x.astype('f4'))"),
            ('U' | 'S' | 'a', _) => {
                return refused("texts", "give each text a number: numpy.unique(x, return_inverse=True)[1]");
            }
            ('c', _) => return refused("complex numbers", "save real and imaginary parts as two features"),
            ('M' | 'm', _) => return refused("dates or times", "save numbers: x.astype('i8')"),
            ('f', _) => return refused("numbers of extended precision", "save numbers: x.astype('f8')"),
            _ => return refused(&format!("values of the type {descr:?}"), "save numbers: x.astype('f4')"),
        };
        match order {
            '<' | '|' | '=' => Ok(Self { kind, bytes, big_endian: false }),
            '>' => Ok(Self { kind, bytes, big_endian: true }),
            _ => refused(&format!("values of the type {descr:?}"), "save numbers: x.astype('f4')"),
        }
    }

    /// Bytes of an element: 1, 2, 4 or 8.
    pub(super) fn bytes(self) -> usize {
        self.bytes
    }

    /// The element's value. `raw` has [`Self::bytes`] bytes. Integers beyond 2^53 are rounded.
    pub(super) fn value(self, raw: &[u8]) -> f64 {
        let mut bytes = [0; 8];
        let low = &mut bytes[..raw.len()];
        low.copy_from_slice(raw);
        if self.big_endian {
            low.reverse();
        }
        let bits = u64::from_le_bytes(bytes);
        let unused = 64 - 8 * self.bytes as u32;
        match (self.kind, self.bytes) {
            (Kind::Unsigned, _) => bits as f64,
            // Shifted up and down again, the sign fills the upper bytes.
            (Kind::Signed, _) => ((bits << unused) as i64 >> unused) as f64,
            (Kind::Float, 2) => half(bits as u16),
            (Kind::Float, 4) => f64::from(f32::from_bits(bits as u32)),
            (Kind::Float, _) => f64::from_bits(bits),
        }
    }
}

/// The value of an IEEE 754 binary16.
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff) / 1024.0);
    sign * match exponent {
        0 => fraction * (-14f64).exp2(),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction) * f64::from(exponent - 15).exp2(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(descr: &str, raw: &[u8]) -> f64 {
        let element = Element::of(Some(descr)).unwrap();
        assert_eq!(element.bytes(), raw.len(), "{descr}");
        element.value(raw)
    }

    #[test]
    fn every_number_is_read_in_either_byte_order() {
        assert_eq!(value("|b1", &[1]), 1.0);
        assert_eq!(value("|i1", &[0xfe]), -2.0);
        assert_eq!(value("|u1", &[0xfe]), 254.0);
        assert_eq!(value("<i2", &(-2i16).to_le_bytes()), -2.0);
        assert_eq!(value(">i2", &(-2i16).to_be_bytes()), -2.0);
        assert_eq!(value(">u2", &65_000u16.to_be_bytes()), 65_000.0);
        assert_eq!(value("<i4", &(-70_000i32).to_le_bytes()), -70_000.0);
        assert_eq!(value(">u4", &4_000_000_000u32.to_be_bytes()), 4e9);
        assert_eq!(value(">i8", &(-5_000_000_000i64).to_be_bytes()), -5e9);
        assert_eq!(value("<u8", &u64::MAX.to_le_bytes()), u64::MAX as f64);
        assert_eq!(value(">f4", &(-1.5f32).to_be_bytes()), -1.5);
        assert_eq!(value("<f8", &1.6e9f64.to_le_bytes()), 1.6e9);
        assert_eq!(value(">f8", &0.1f64.to_be_bytes()), 0.1);
    }

    #[test]
    fn half_precision_is_read() {
        // numpy.float16 of 1, -2, 65504, 2^-24, infinity.
        let cases = [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, (-24f64).exp2()),
            (0x7c00, f64::INFINITY),
        ];
        for (bits, expected) in cases {
            assert_eq!(value("<f2", &u16::to_le_bytes(bits)), expected, "{bits:#06x}");
            assert_eq!(value(">f2", &u16::to_be_bytes(bits)), expected, "{bits:#06x}");
        }
        assert!(value("<f2", &0x7e00u16.to_le_bytes()).is_nan());
    }

    #[test]
    fn what_is_no_number_is_named() {
        for (descr, what) in [
            ("|O", "Python objects"),
            ("<U5", "texts"),
            ("|S3", "texts"),
            ("<c8", "complex numbers"),
            ("<M8[ns]", "dates or times"),
            ("<f16", "numbers of extended precision"),
            ("|V4", "values of the type \"|V4\""),
            ("f4", "values of the type \"f4\""),
            ("", "values of the type \"\""),
        ] {
            let (refusal, _) = Element::of(Some(descr)).unwrap_err();
            assert_eq!(refusal, format!("the array holds {what}; this loader reads numbers"));
        }
    }
}
