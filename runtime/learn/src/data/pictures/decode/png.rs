//! PNG files (ISO/IEC 15948), over the inflater of flate2. Values stay as the file has them: no palette is
//! looked up, and no depth is changed.

use std::io::Read;

use flate2::{Crc, read::ZlibDecoder};

use super::{AGAIN, Decoded, Pixels, Plane, Refused, Value, broken, check_size, check_upright};

pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, Refused> {
    let mut rest = bytes.get(super::PNG.len()..).unwrap_or_default();
    let first = Chunk::take(&mut rest)?;
    let header = Header::read(&first)?;
    let (mut palette, mut packed) = (None, Vec::new());
    loop {
        let chunk = Chunk::take(&mut rest)?;
        match &chunk.kind {
            b"IDAT" => packed.push(chunk.data),
            b"IEND" => break,
            b"PLTE" => palette = Some(chunk.data.chunks_exact(3).map(|c| [c[0], c[1], c[2]]).collect()),
            b"tRNS" => return Err(transparent()),
            b"acTL" => {
                return Err(Refused::new(
                    "the picture is an animation",
                    "save one of its pictures as a PNG file",
                ));
            }
            b"eXIf" => check_upright(Some(chunk.data))?,
            // A capital letter: no reader may leave the chunk out.
            [first, ..] if first.is_ascii_uppercase() => {
                return Err(broken(&format!("a chunk is called {}", chunk.kind.escape_ascii())));
            }
            _ => {}
        }
    }
    let palette = palette.filter(|_| header.indexed);
    if header.indexed && palette.is_none() {
        return Err(broken(&"there is no palette"));
    }
    let raw = header.inflate(&packed)?;
    let pixels = match header.depth {
        16 => Pixels::Words(header.plane(raw)?),
        _ => Pixels::Bytes(header.plane(raw)?),
    };
    Ok(Decoded { pixels, most: (1 << header.depth) - 1, palette })
}

/// A part of the file.
struct Chunk<'a> {
    kind: [u8; 4],
    data: &'a [u8],
}

impl<'a> Chunk<'a> {
    /// Takes the next chunk and checks its sum.
    fn take(rest: &mut &'a [u8]) -> Result<Self, Refused> {
        let short = || Refused::new("the file is cut short", AGAIN);
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (covered, after) = after.split_at_checked(length.saturating_add(4)).ok_or_else(short)?;
        let (sum, after) = after.split_first_chunk::<4>().ok_or_else(short)?;
        let (kind, data) = covered.split_first_chunk::<4>().ok_or_else(short)?;
        let mut crc = Crc::new();
        crc.update(covered);
        if crc.sum() != u32::from_be_bytes(*sum) {
            return Err(broken(&format!("the chunk {} has a wrong checksum", kind.escape_ascii())));
        }
        *rest = after;
        Ok(Self { kind: *kind, data })
    }
}

/// What the file says of its pixels.
struct Header {
    height: usize,
    width: usize,
    depth: u32,
    channels: usize,
    indexed: bool,
    interlaced: bool,
}

/// A part of an interlaced picture: every pixel at `(x + n · right, y + m · down)`.
struct Pass {
    x: usize,
    y: usize,
    right: usize,
    down: usize,
    columns: usize,
    rows: usize,
}

impl Header {
    fn read(chunk: &Chunk<'_>) -> Result<Self, Refused> {
        let wrong = |what: &str| broken(&format!("the header {what}"));
        let (b"IHDR", Ok(header)) = (&chunk.kind, <&[u8; 13]>::try_from(chunk.data)) else {
            return Err(wrong("is missing"));
        };
        let [w0, w1, w2, w3, h0, h1, h2, h3, depth, colour, packing, filter, interlace] = *header;
        let (width, height) = (u32::from_be_bytes([w0, w1, w2, w3]), u32::from_be_bytes([h0, h1, h2, h3]));
        check_size(width.into(), height.into())?;
        let (channels, depths): (usize, &[u8]) = match colour {
            0 => (1, &[1, 2, 4, 8, 16]),
            2 => (3, &[8, 16]),
            3 => (1, &[1, 2, 4, 8]),
            4 | 6 => return Err(transparent()),
            _ => return Err(wrong("has an unknown kind of colour")),
        };
        if !depths.contains(&depth) || packing != 0 || filter != 0 || interlace > 1 {
            return Err(wrong("has an unknown depth, packing or filter"));
        }
        let (height, width) = (height as usize, width as usize);
        let (depth, indexed, interlaced) = (u32::from(depth), colour == 3, interlace == 1);
        Ok(Self { height, width, depth, channels, indexed, interlaced })
    }

    /// The parts of the picture, in the file's order. Parts without a pixel are left out.
    fn passes(&self) -> impl Iterator<Item = Pass> {
        let places: &[[usize; 4]] = if self.interlaced { &ADAM7 } else { &[[0, 0, 1, 1]] };
        let pass = |&[x, y, right, down]: &[usize; 4]| {
            let columns = self.width.saturating_sub(x).div_ceil(right);
            let rows = self.height.saturating_sub(y).div_ceil(down);
            Pass { x, y, right, down, columns, rows }
        };
        places.iter().map(pass).filter(|pass| pass.columns > 0 && pass.rows > 0)
    }

    /// Bytes of a row of so many pixels, without the byte that names its filter.
    fn row_bytes(&self, columns: usize) -> usize {
        (columns * self.channels * self.depth as usize).div_ceil(8)
    }

    /// The filtered rows of all parts.
    fn inflate(&self, packed: &[&[u8]]) -> Result<Vec<u8>, Refused> {
        let needed: usize = self.passes().map(|pass| pass.rows * (1 + self.row_bytes(pass.columns))).sum();
        let mut raw = Vec::new();
        let packed = packed.concat();
        // One byte more shows a stream that is too long, and reading to the end compares its sum.
        let read = ZlibDecoder::new(packed.as_slice()).take(needed as u64 + 1).read_to_end(&mut raw);
        read.map_err(|e| broken(&e))?;
        match raw.len() == needed {
            true => Ok(raw),
            false => Err(broken(&"there are other pixels than the header says")),
        }
    }

    /// The values of the pixels.
    fn plane<T: Value>(&self, mut raw: Vec<u8>) -> Result<Plane<T>, Refused> {
        let Self { height, width, channels, depth, .. } = *self;
        let mut values = vec![T::default(); height * width * channels];
        // Filters look back by whole pixels, at least one byte.
        let back = (channels * depth as usize / 8).max(1);
        let mut rest = raw.as_mut_slice();
        for pass in self.passes() {
            let length = self.row_bytes(pass.columns);
            let mut above = vec![0; length];
            for n in 0..pass.rows {
                let (row, after) = std::mem::take(&mut rest).split_at_mut(1 + length);
                rest = after;
                let (filter, row) = row.split_at_mut(1);
                unfilter(filter[0], row, &above, back)?;
                above.copy_from_slice(row);
                let line = (pass.y + n * pass.down) * width;
                for column in 0..pass.columns {
                    let place = (line + pass.x + column * pass.right) * channels;
                    for channel in 0..channels {
                        values[place + channel] = T::of(value(row, column * channels + channel, depth));
                    }
                }
            }
        }
        Ok(Plane { height, width, channels, values })
    }
}

/// Takes the filter off a row, in place; section 9 of the standard.
fn unfilter(filter: u8, row: &mut [u8], above: &[u8], back: usize) -> Result<(), Refused> {
    for at in 0..row.len() {
        let left = at.checked_sub(back);
        let a = left.map_or(0, |left| row[left]);
        let (b, c) = (above[at], left.map_or(0, |left| above[left]));
        let guess = match filter {
            0 => return Ok(()),
            1 => a,
            2 => b,
            3 => ((u16::from(a) + u16::from(b)) / 2) as u8,
            4 => paeth(a, b, c),
            _ => return Err(broken(&"a row has an unknown filter")),
        };
        row[at] = row[at].wrapping_add(guess);
    }
    Ok(())
}

/// The neighbour that is nearest to `a + b − c`.
fn paeth(a: u8, b: u8, c: u8) -> u8 {
    let (x, y, z) = (i16::from(a), i16::from(b), i16::from(c));
    let guess = x + y - z;
    let (to_a, to_b, to_c) = ((guess - x).abs(), (guess - y).abs(), (guess - z).abs());
    if to_a <= to_b && to_a <= to_c {
        a
    } else if to_b <= to_c {
        b
    } else {
        c
    }
}

/// A value of a row, of `depth` bits.
fn value(row: &[u8], index: usize, depth: u32) -> u32 {
    match depth {
        16 => u32::from(u16::from_be_bytes([row[2 * index], row[2 * index + 1]])),
        8 => u32::from(row[index]),
        few => {
            let bit = index * few as usize;
            (u32::from(row[bit / 8]) >> (8 - few - (bit % 8) as u32)) & ((1 << few) - 1)
        }
    }
}

fn transparent() -> Refused {
    Refused::new(
        "the picture is transparent in places: it has an alpha channel or a transparent colour",
        "remove the transparency: in Python, PIL.Image.open(F).convert('RGB').save(G); 'L' is grey",
    )
}

/// First column, first row, and the steps, of the seven parts of an interlaced picture.
const ADAM7: [[usize; 4]; 7] =
    [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]];
