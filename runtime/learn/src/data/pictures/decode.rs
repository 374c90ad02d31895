//! The bytes of one file become pixels. Sizes are checked before memory is allocated.
//!
//! The beginning of a file says what the file is, whatever the file's name.

mod exif;
mod jpeg;
mod png;

use super::{
    super::{error::DataError, signature},
    plane::{Plane, Value},
};

/// Pixels as a file has them.
#[derive(Clone, Debug)]
pub(super) struct Decoded {
    pub(super) pixels: Pixels,
    /// The largest value that a pixel of the file can have: 1 for a file of one bit a pixel.
    most: u32,
    /// The colours that the values are indices of.
    palette: Option<Vec<[u8; 3]>>,
}

/// Pixels of 8 or 16 bits a value.
#[derive(Clone, Debug)]
pub(super) enum Pixels {
    Bytes(Plane<u8>),
    Words(Plane<u16>),
}

/// Why a file cannot be read, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    what: String,
    hint: String,
}

impl Refused {
    pub(super) fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into() }
    }

    /// The refusal of `file`.
    pub(super) fn of(self, file: &str) -> DataError {
        DataError::file(file, self.what, self.hint)
    }
}

/// Decodes a file.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, Refused> {
    if bytes.starts_with(JPEG) {
        return jpeg::decode(bytes);
    }
    if bytes.starts_with(PNG) {
        return png::decode(bytes);
    }
    if bytes.is_empty() {
        return Err(Refused::new("the file is empty", AGAIN));
    }
    let other = OTHERS.iter().find(|(start, at, _)| bytes.get(*at..).is_some_and(|b| b.starts_with(start)));
    let (what, hint) = match (other, signature::of(bytes)) {
        (Some((.., name)), _) => (format!("the file is {name}"), AS_PNG),
        (None, Some(found)) => (format!("the file is {}", found.what), NO_PICTURE),
        (None, None) => ("the file is neither JPEG nor PNG".to_owned(), NO_PICTURE),
    };
    Err(Refused::new(what, hint))
}

impl Pixels {
    /// Height and width.
    pub(super) fn size(&self) -> (usize, usize) {
        match self {
            Self::Bytes(plane) => (plane.height, plane.width),
            Self::Words(plane) => (plane.height, plane.width),
        }
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Bytes(plane) => plane.values.len() as u64,
            Self::Words(plane) => 2 * plane.values.len() as u64,
        }
    }

    /// Calls `each` with every value as a share of the largest, channel after channel.
    pub(super) fn shares(&self, each: impl FnMut(usize, f64)) {
        match self {
            Self::Bytes(_) => self.shares_of(u8::MOST, each),
            Self::Words(_) => self.shares_of(u16::MOST, each),
        }
    }

    /// Calls `each` with every value divided by `most`, channel after channel.
    pub(super) fn shares_of(&self, most: u32, each: impl FnMut(usize, f64)) {
        match self {
            Self::Bytes(plane) => plane.shares(most, each),
            Self::Words(plane) => plane.shares(most, each),
        }
    }
}

impl Decoded {
    /// The file as a picture of 8 or of 16 bits a value; a palette gives its colours.
    pub(super) fn picture(self, bits: u32) -> Result<Pixels, Refused> {
        let found = if matches!(self.pixels, Pixels::Words(_)) { 16 } else { 8 };
        if found != bits {
            let what = format!("the picture has {found} bits a value; the plan's data.bits is {bits}");
            let hint =
                format!("write `bits: {found}` into the plan's data, or convert the file to {bits} bits");
            return Err(Refused::new(what, hint));
        }
        match (self.pixels, self.palette) {
            (Pixels::Bytes(plane), Some(palette)) => {
                let colour = |index: &u8| palette.get(usize::from(*index)).copied();
                let values: Option<Vec<[u8; 3]>> = plane.values.iter().map(colour).collect();
                let values = values
                    .ok_or_else(|| Refused::new("a pixel has a colour that the palette lacks", AGAIN))?;
                Ok(Pixels::Bytes(Plane { channels: 3, values: values.concat(), ..plane }))
            }
            (Pixels::Bytes(mut plane), None) if self.most < u8::MOST => {
                plane.values.iter_mut().for_each(|value| *value *= (u8::MOST / self.most) as u8);
                Ok(Pixels::Bytes(plane))
            }
            (pixels, _) => Ok(pixels),
        }
    }

    /// The file as a mask: one channel, with its largest possible value. `channel` says which one of a mask
    /// in colour; `classes` whether the values are the indices of classes, as those of a palette are.
    pub(super) fn mask(self, channel: Option<u32>, classes: bool) -> Result<(Pixels, u32), Refused> {
        if self.palette.is_some() && !classes {
            return Err(Refused::new(
                "the mask has a palette: its values are the numbers of colours",
                "save the mask as grey: in Python, PIL.Image.open(F).convert('L').save(G)",
            ));
        }
        let channels = match &self.pixels {
            Pixels::Bytes(plane) => plane.channels,
            Pixels::Words(plane) => plane.channels,
        };
        let channel = match channel {
            _ if channels == 1 => 0,
            Some(channel) => channel as usize,
            None => {
                return Err(Refused::new(
                    "the mask is in colour, and a mask has one channel",
                    "write `channel: 0` beside the masks' folder in the plan, or save the mask as grey",
                ));
            }
        };
        let pixels = match self.pixels {
            Pixels::Bytes(plane) => Pixels::Bytes(plane.channel(channel)),
            Pixels::Words(plane) => Pixels::Words(plane.channel(channel)),
        };
        Ok((pixels, self.most))
    }
}

/// Refuses a picture with more pixels than are read.
fn check_size(width: u64, height: u64) -> Result<(), Refused> {
    if width == 0 || height == 0 {
        return Err(Refused::new(format!("the picture has {width} × {height} pixels"), AGAIN));
    }
    if width.saturating_mul(height) <= PIXELS {
        return Ok(());
    }
    Err(Refused::new(
        format!("the picture has {width} × {height} pixels; at most {PIXELS} are read"),
        SMALLER,
    ))
}

/// Refuses a picture that a viewer shows turned or mirrored.
fn check_upright(exif: Option<&[u8]>) -> Result<(), Refused> {
    match exif.and_then(exif::orientation) {
        None | Some(1) => Ok(()),
        Some(way) => Err(Refused::new(
            format!("the EXIF data says that a viewer turns or mirrors the picture (orientation {way})"),
            "turn the pixels themselves: in Python, PIL.ImageOps.exif_transpose(PIL.Image.open(F)).save(G)",
        )),
    }
}

fn broken(error: &impl std::fmt::Display) -> Refused {
    Refused::new(format!("the picture cannot be decoded: {error}"), AGAIN)
}

const JPEG: &[u8] = b"\xff\xd8\xff";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Most pixels of a picture: 8192 × 8192.
pub(super) const PIXELS: u64 = 1 << 26;
pub(super) const SMALLER: &str =
    "make the picture smaller: in Python, PIL.Image.open(F).resize((W, H)).save(G)";
const AGAIN: &str = "copy the file again from where it came from";
const AS_PNG: &str = "convert the file: in Python, PIL.Image.open(F).convert('RGB').save('G.png')";
pub(super) const NO_PICTURE: &str =
    "move the file out of the folder, or allow bad files: `bad_samples: {skip: 1}` in the plan's data";
/// How other pictures begin, and where.
const OTHERS: &[(&[u8], usize, &str)] = &[
    (b"GIF8", 0, "a GIF picture"),
    (b"BM", 0, "a BMP picture"),
    (b"II*\0", 0, "a TIFF picture"),
    (b"MM\0*", 0, "a TIFF picture"),
    (b"WEBP", 8, "a WebP picture"),
    (b"ftyp", 4, "a HEIF or AVIF picture, or a film"),
    (b"DICM", 128, "a DICOM file"),
    (b"\0\0\0\x0cjP  ", 0, "a JPEG 2000 picture"),
];
