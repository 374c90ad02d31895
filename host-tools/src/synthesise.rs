//! `fl-host data synthesise`: pictures that look a little like those of a public data set, in its layout.
//!
//! Nothing of the data set is in them: a textured background, one or two blobs of another colour, and the
//! mask of the blobs. The same seed gives the same pixels on every machine: no function of a mathematics
//! library is called.

use std::{fs, path::Path};

use fl_engine::Draws;
use jpeg_encoder::{ColorType, Encoder};

use crate::{
    exit::{Exit, Failure},
    files,
};

/// What is to be made.
#[derive(Clone, Debug)]
pub struct Synthesis {
    /// How many pictures.
    pub pictures: u32,
    /// Pixels of each picture.
    pub width: u16,
    /// Pixels of each picture.
    pub height: u16,
    /// Another seed gives other pictures.
    pub seed: u64,
}

/// One picture and its mask, as JPEG files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The name of both files.
    pub name: String,
    /// The picture.
    pub image: Vec<u8>,
    /// The mask: white blobs on black.
    pub mask: Vec<u8>,
}

impl Synthesis {
    /// Makes the pictures one after another.
    ///
    /// # Errors
    /// [`Exit::Usage`] for numbers out of range.
    pub fn pairs(&self) -> Result<impl Iterator<Item = Result<Pair, Failure>>, Failure> {
        let Self { pictures, width, height, seed } = *self;
        let refused = |what: String| Err(Failure::new(Exit::Usage, what));
        if !(1..=MOST_PICTURES).contains(&pictures) {
            return refused(format!("--pictures is {pictures}; it takes 1 to {MOST_PICTURES}"));
        }
        for (option, side) in [("--width", width), ("--height", height)] {
            if !SIDES.contains(&side) {
                let (least, most) = (SIDES.start(), SIDES.end());
                return refused(format!("{option} is {side}; it takes {least} to {most} pixels"));
            }
        }
        Ok((0..pictures)
            .map(move |number| pair(number, width, height, Draws::nth(seed, u64::from(number) + 1))))
    }
}

/// Writes the pictures into a new folder, as the archive of Kvasir-SEG's pictures has them:
/// `segmented-images/images/NAME.jpg` and `segmented-images/masks/NAME.jpg`. A failure leaves no file.
///
/// # Errors
/// [`Exit::Usage`] for numbers out of range, [`Exit::Workspace`] for a folder that is not empty,
/// [`Exit::File`].
pub fn kvasir(folder: &Path, synthesis: &Synthesis) -> Result<Vec<String>, Failure> {
    let pairs = synthesis.pairs()?;
    files::refuse_occupied(folder, "--output")?;
    files::fill_new_folder(folder, || {
        pairs.map(|pair| pair.and_then(|pair| write(folder, &pair).map(|()| pair.name))).collect()
    })
}

/// Writes one picture and its mask below `folder`.
///
/// # Errors
/// [`Exit::File`].
pub fn write(folder: &Path, pair: &Pair) -> Result<(), Failure> {
    for (kind, bytes) in [(IMAGES, &pair.image), (MASKS, &pair.mask)] {
        let path = folder.join(kind).join(&pair.name);
        files::make_folder_of(&path)?;
        fs::write(&path, bytes).map_err(|e| files::unwritten(&path, &e))?;
    }
    Ok(())
}

/// An ellipse whose edge waves.
struct Blob {
    x: f64,
    y: f64,
    across: f64,
    down: f64,
    waves: u64,
}

fn pair(number: u32, width: u16, height: u16, seed: u64) -> Result<Pair, Failure> {
    let mut draws = Draws::new(seed);
    let (w, h) = (f64::from(width), f64::from(height));
    let mut between = |least: f64, most: f64| least + (most - least) * draws.unit();
    let count = if between(0.0, 1.0) < 0.7 { 1 } else { 2 };
    let mut blobs = Vec::new();
    for _ in 0..count {
        let (x, y) = (between(0.25, 0.75) * w, between(0.25, 0.75) * h);
        let (across, down) = (between(0.12, 0.3) * w, between(0.12, 0.3) * h);
        blobs.push(Blob { x, y, across, down, waves: between(0.0, 1e15) as u64 });
    }
    let tint = [between(180.0, 215.0), between(95.0, 125.0), between(75.0, 100.0)];
    let raised = [between(215.0, 240.0), between(150.0, 180.0), between(120.0, 150.0)];
    let (coarse, fine, grain) =
        (between(0.0, 1e15) as u64, between(0.0, 1e15) as u64, between(0.0, 1e15) as u64);
    let cell = w.min(h) / 6.0;
    let (mut image, mut mask) = (Vec::new(), Vec::new());
    for y in 0..height {
        for x in 0..width {
            let (x, y) = (f64::from(x), f64::from(y));
            let depth = blobs.iter().map(|blob| depth(blob, x, y, cell)).fold(0.0, f64::max);
            let inside = depth > 0.0;
            let texture = 50.0 * (noise(coarse, x / cell, y / cell) - 0.5)
                + 24.0 * (noise(fine, 5.0 * x / cell, 5.0 * y / cell) - 0.5)
                + 10.0 * (noise(grain, x / 1.5, y / 1.5) - 0.5);
            // Light falls off to the edges, and the middle of a blob is nearer to the lamp.
            let (dx, dy) = (2.0 * x / w - 1.0, 2.0 * y / h - 1.0);
            let light = 1.0 - 0.25 * (dx * dx + dy * dy) + 0.12 * depth.min(1.0);
            let colour = if inside { raised } else { tint };
            image.extend(colour.map(|level| ((level + texture) * light).clamp(0.0, 255.0) as u8));
            mask.extend([if inside { 255u8 } else { 0 }; 3]);
        }
    }
    let name = format!("synthetic-{number:05}.jpg");
    Ok(Pair { image: jpeg(&name, &image, width, height)?, mask: jpeg(&name, &mask, width, height)?, name })
}

/// How far inside the blob a place is: 1 in its middle, 0 and less outside.
fn depth(blob: &Blob, x: f64, y: f64, cell: f64) -> f64 {
    let (dx, dy) = ((x - blob.x) / blob.across, (y - blob.y) / blob.down);
    1.0 - dx * dx - dy * dy + 0.5 * (noise(blob.waves, x / cell, y / cell) - 0.5)
}

/// Smooth noise of 0 to 1: random numbers on a lattice, and straight lines between them.
fn noise(seed: u64, x: f64, y: f64) -> f64 {
    let (column, row) = (x as u64, y as u64);
    let at = |column: u64, row: u64| {
        (Draws::nth(seed, (row << 32) + column + 1) >> 11) as f64 / (1u64 << 53) as f64
    };
    let (right, down) = (x - column as f64, y - row as f64);
    let line = |row: u64| at(column, row) * (1.0 - right) + at(column + 1, row) * right;
    line(row) * (1.0 - down) + line(row + 1) * down
}

fn jpeg(name: &str, values: &[u8], width: u16, height: u16) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    Encoder::new(&mut bytes, QUALITY)
        .encode(values, width, height, ColorType::Rgb)
        .map_err(|e| Failure::new(Exit::Failed, format!("cannot encode {name}: {e}")))?;
    Ok(bytes)
}

/// Where the archive has the pictures.
const IMAGES: &str = "segmented-images/images";
/// Where the archive has the masks.
const MASKS: &str = "segmented-images/masks";
const QUALITY: u8 = 90;
const MOST_PICTURES: u32 = 100_000;
const SIDES: std::ops::RangeInclusive<u16> = 16..=4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::scratch;

    #[test]
    fn pictures_and_masks_lie_as_in_the_archive_and_the_seed_decides() {
        let dir = scratch("synthesise");
        let synthesis = Synthesis { pictures: 3, width: 64, height: 48, seed: 7 };
        let names = kvasir(&dir.join("a"), &synthesis).unwrap();
        assert_eq!(names, ["synthetic-00000.jpg", "synthetic-00001.jpg", "synthetic-00002.jpg"]);
        let read = |folder: &str, kind: &str| fs::read(dir.join(folder).join(kind).join(&names[1])).unwrap();
        kvasir(&dir.join("b"), &synthesis).unwrap();
        kvasir(&dir.join("c"), &Synthesis { seed: 8, ..synthesis.clone() }).unwrap();
        for kind in [IMAGES, MASKS] {
            assert_eq!(read("a", kind), read("b", kind));
            assert_ne!(read("a", kind), read("c", kind));
        }
        assert_eq!(kvasir(&dir.join("a"), &synthesis).unwrap_err().exit, Exit::Workspace);
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let good = Synthesis { pictures: 1, width: 16, height: 16, seed: 1 };
        assert!(good.pairs().is_ok());
        for bad in [
            Synthesis { pictures: 0, ..good.clone() },
            Synthesis { width: 15, ..good.clone() },
            Synthesis { height: 5000, ..good },
        ] {
            assert_eq!(bad.pairs().err().unwrap().exit, Exit::Usage);
        }
    }
}
