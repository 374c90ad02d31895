//! The encoding of single values and lists, and the macros that make records and choices of them.

use crate::{ByteCount, Digest, Millis, Name, model::Span, plan::PublicKey, printable::unprintable};

/// Bytes that are not the encoding of the type asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::plan) struct Cut;

/// A type with one encoding.
pub(in crate::plan) trait Canonical: Sized {
    /// Appends the value.
    fn write(&self, out: &mut Vec<u8>);

    /// Reads a value that takes all of `bytes`.
    fn read(bytes: &[u8]) -> Result<Self, Cut>;

    /// What a record means that leaves the field out; `None` where it must not.
    fn absent() -> Option<Self> {
        None
    }

    /// Whether a record leaves the field out.
    fn is_absent(&self) -> bool {
        false
    }
}

/// Appends a length and the value.
pub(super) fn framed(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; 4]);
    write(out);
    // A plan that was parsed is far below 4 GiB: its file has at most a MiB.
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Takes one framed value off the front.
pub(super) fn unframed<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Cut> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or(Cut)?;
    let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or(Cut)?;
    *bytes = rest;
    Ok(value)
}

/// The fields of a record, asked for in rising order of their tags.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The field `tag`, or what its absence means.
    pub(super) fn field<T: Canonical>(&mut self, tag: u8) -> Result<T, Cut> {
        match self.take(tag)? {
            Some(value) => T::read(value),
            None => T::absent().ok_or(Cut),
        }
    }

    /// The field `tag`, or `default`.
    pub(super) fn later<T: Canonical>(&mut self, tag: u8, default: T) -> Result<T, Cut> {
        self.take(tag)?.map_or(Ok(default), T::read)
    }

    /// The record that all remaining fields are.
    pub(super) fn all<T: Canonical>(&mut self) -> Result<T, Cut> {
        T::read(std::mem::take(&mut self.rest))
    }

    /// Refuses fields that nobody asked for.
    pub(super) fn end(self) -> Result<(), Cut> {
        if self.rest.is_empty() { Ok(()) } else { Err(Cut) }
    }

    fn take(&mut self, tag: u8) -> Result<Option<&'a [u8]>, Cut> {
        match self.rest.split_first() {
            Some((found, rest)) if *found == tag => {
                self.rest = rest;
                unframed(&mut self.rest).map(Some)
            }
            _ => Ok(None),
        }
    }
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Canonical for $number {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend(self.to_le_bytes());
            }

            fn read(bytes: &[u8]) -> Result<Self, Cut> {
                bytes.try_into().map(Self::from_le_bytes).map_err(|_| Cut)
            }
        }
    )*};
}

numbers!(u32, i32, u64);

macro_rules! floats {
    ($($number:ty),*) => {$(
        impl Canonical for $number {
            fn write(&self, out: &mut Vec<u8>) {
                // Plans that are equal have one encoding: -0 is written as 0.
                out.extend((self + 0.0).to_bits().to_le_bytes());
            }

            fn read(bytes: &[u8]) -> Result<Self, Cut> {
                bytes.try_into().map(Self::from_le_bytes).map_err(|_| Cut)
            }
        }
    )*};
}

floats!(f32, f64);

impl Canonical for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn read(bytes: &[u8]) -> Result<Self, Cut> {
        match bytes {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Cut),
        }
    }
}

impl Canonical for String {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.as_bytes());
    }

    fn read(bytes: &[u8]) -> Result<Self, Cut> {
        let text = std::str::from_utf8(bytes).map_err(|_| Cut)?;
        // A plan.yaml with a control character is refused, too.
        if unprintable(text).is_none() { Ok(text.to_owned()) } else { Err(Cut) }
    }
}

impl Canonical for Name {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.as_str().as_bytes());
    }

    fn read(bytes: &[u8]) -> Result<Self, Cut> {
        String::read(bytes)?.parse().map_err(|_| Cut)
    }
}

impl Canonical for Digest {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.0);
    }

    fn read(bytes: &[u8]) -> Result<Self, Cut> {
        bytes.try_into().map(Self).map_err(|_| Cut)
    }
}

impl Canonical for PublicKey {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.0);
    }

    fn read(bytes: &[u8]) -> Result<Self, Cut> {
        bytes.try_into().map(Self).map_err(|_| Cut)
    }
}

impl Canonical for ByteCount {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    fn read(bytes: &[u8]) -> Result<Self, Cut> {
        u64::read(bytes).map(Self)
    }
}

impl Canonical for Millis {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    fn read(bytes: &[u8]) -> Result<Self, Cut> {
        u64::read(bytes).map(Self)
    }
}

/// One number as itself; several one after another.
impl<const N: usize> Canonical for Span<N> {
    fn write(&self, out: &mut Vec<u8>) {
        self.shortest().iter().for_each(|number| number.write(out));
    }

    fn read(bytes: &[u8]) -> Result<Self, Cut> {
        let numbers = bytes.chunks(4).map(u32::read).collect::<Result<Vec<_>, _>>()?;
        Self::of(&numbers).ok_or(Cut)
    }
}

impl<T: Canonical> Canonical for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        self.iter().for_each(|value| framed(out, |out| value.write(out)));
    }

    fn read(mut bytes: &[u8]) -> Result<Self, Cut> {
        let mut list = Vec::new();
        while !bytes.is_empty() {
            list.push(T::read(unframed(&mut bytes)?)?);
        }
        Ok(list)
    }
}

impl<T: Canonical> Canonical for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        if let Some(value) = self {
            value.write(out);
        }
    }

    fn read(bytes: &[u8]) -> Result<Self, Cut> {
        T::read(bytes).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

/// `record!(Type { 1 field, 2 field, 9 field = DEFAULT });` All fields, in rising order of tag.
macro_rules! record {
    ($type:ident { $($tag:literal $field:ident $(= $default:expr)?),* $(,)? }) => {
        impl Canonical for $type {
            fn write(&self, out: &mut Vec<u8>) {
                // A field that is missing here does not compile.
                let Self { $($field),* } = self;
                $(record!(@write out, $tag, $field $(, $default)?);)*
            }

            fn read(bytes: &[u8]) -> Result<Self, Cut> {
                let mut fields = Fields::new(bytes);
                $(let $field = record!(@read fields, $tag $(, $default)?)?;)*
                fields.end()?;
                Ok(Self { $($field),* })
            }
        }
    };
    (@write $out:ident, $tag:literal, $field:ident) => {
        if !$field.is_absent() {
            $out.push($tag);
            framed($out, |out| $field.write(out));
        }
    };
    (@write $out:ident, $tag:literal, $field:ident, $default:expr) => {
        if *$field != $default {
            $out.push($tag);
            framed($out, |out| $field.write(out));
        }
    };
    (@read $fields:ident, $tag:literal) => { $fields.field($tag) };
    (@read $fields:ident, $tag:literal, $default:expr) => { $fields.later($tag, $default) };
}

/// `choice!(Type { 0 Unit, 1 Tuple(value), 2 Struct { 1 field, 2 field = DEFAULT }, 3 Tuple[record] });`
///
/// A tuple's value is its field 1. A value in brackets is a record, and its fields are the variant's own.
macro_rules! choice {
    ($type:ident { $($number:literal $variant:ident $(($value:ident))? $([$record:ident])? $({ $($tag:literal $field:ident $(= $default:expr)?),* $(,)? })?),* $(,)? }) => {
        impl Canonical for $type {
            fn write(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant $(($value))? $(($record))? $({ $($field),* })? => {
                        out.push($number);
                        $(record!(@write out, 1, $value);)?
                        $($record.write(out);)?
                        $($(record!(@write out, $tag, $field $(, $default)?);)*)?
                    })*
                }
            }

            fn read(bytes: &[u8]) -> Result<Self, Cut> {
                let (number, fields) = bytes.split_first().ok_or(Cut)?;
                #[allow(unused_mut, reason = "a variant without fields")]
                let mut fields = Fields::new(fields);
                let value = match *number {
                    $($number => {
                        $(let $value = fields.field(1)?;)?
                        $(let $record = fields.all()?;)?
                        $($(let $field = record!(@read fields, $tag $(, $default)?)?;)*)?
                        Self::$variant $(($value))? $(($record))? $({ $($field),* })?
                    })*
                    _ => return Err(Cut),
                };
                fields.end()?;
                Ok(value)
            }
        }
    };
}

pub(super) use {choice, record};
