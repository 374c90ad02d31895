//! Folders of JPEG and PNG files: one picture is one sample.
//!
//! A picture is decoded, gets the plan's colours, then the size of the model's input, and is scaled. A mask
//! is decoded and gets the size by its nearest pixels. What the plan does not say is not done: a picture of
//! another size, depth or number of channels is refused with the key that would change it.
//!
//! All pictures of a site are decoded before the first round, so that a bad file is known. As many of them
//! as the plan's `cache` holds stay in memory, as bytes in the size of the model's input. A task decodes the
//! others again when it needs them.

mod decode;
mod listing;
mod plane;
mod resize;

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use fl_engine::plan::{Colour, Fit, Interpolation, PictureLabel, PictureSpec, picture_size};
use ndarray::ArrayD;

use self::{
    decode::{Decoded, PIXELS, Pixels, Refused, SMALLER, decode},
    listing::{Label, Listing, Sample},
    plane::{Plane, Value},
};
use super::{
    dataset::{Dataset, Source},
    error::DataError,
    folder,
    loaded::Loaded,
    scale::{Known, Scale, Scaling},
};

/// Reads the plan's pictures in `dir`, for samples and labels of these two shapes. The shape of a label is
/// `[]` for a number, `[1, h, w]` for a mask of values of 0 to 1, `[h, w]` for a mask of the indices of
/// `classes`.
pub(super) fn load(
    dir: &Path,
    spec: &PictureSpec,
    shapes: [&[u32]; 2],
    classes: Option<u32>,
    scaling: Scaling<'_>,
) -> Result<Loaded, DataError> {
    let mask = mask_of(spec, shapes, classes)?;
    read(dir, spec, shapes, mask, scaling, &|| listing::of(dir, spec, classes)).map(|(loaded, _)| loaded)
}

/// Reads the pictures in `dir` that a model is to label. All labels are 0.
pub(super) fn samples(
    dir: &Path,
    spec: &PictureSpec,
    input: &[u32],
    scaling: Scaling<'_>,
) -> Result<Loaded, DataError> {
    let list = || listing::without_labels(dir, spec);
    let (mut loaded, places) = read(dir, spec, [input, &[]], None, scaling, &list)?;
    loaded.places = places;
    Ok(loaded)
}

/// Reads the pictures that `list` finds, and gives the names of those that are samples.
fn read(
    dir: &Path,
    spec: &PictureSpec,
    [input, label_shape]: [&[u32]; 2],
    mask: Option<Mask>,
    scaling: Scaling<'_>,
    list: &dyn Fn() -> Result<Listing, DataError>,
) -> Result<(Loaded, Vec<String>), DataError> {
    let mismatch = |what: String| DataError::Mismatch { what };
    let (channels, height, width) = picture_size(input)
        .map(|(channels, height, width)| (channels as usize, height as usize, width as usize))
        .ok_or_else(|| mismatch(format!("the model's input {input:?} is not a picture")))?;
    let area = height * width;
    let target = Target { spec: spec.clone(), channels, height, width, mask };
    let scale = Scale::new(scaling, channels * area, channels)?;
    // The values of a picture are 0 to 1, and what becomes of them lies between what becomes of the two.
    let extremes =
        (0..channels * area).flat_map(|feature| [scale.apply(feature, 0.0), scale.apply(feature, 1.0)]);
    if extremes.into_iter().any(|value| !value.is_finite()) {
        return Err(mismatch("a pixel is not finite after standardisation".to_owned()));
    }

    let found = list()?;
    let mut bad =
        Bad { most: spec.skip as usize, of: found.samples.len() + found.bad.len(), all: Vec::new() };
    found.bad.into_iter().try_for_each(|error| bad.add(error))?;
    let (mut samples, mut numbers, mut room) = (Vec::new(), Vec::new(), spec.cache.0);
    let mut brightest = Brightest::default();
    for sample in found.samples {
        match target.read(dir, &sample) {
            Ok(read) => {
                if scaling.adds_up() {
                    read.picture.shares(|feature, share| _ = scale.take(feature, share));
                }
                if let Label::Number(number) = sample.label {
                    numbers.push(number);
                }
                if let Truth::Mask(pixels, white) = &read.label {
                    brightest.see(pixels, *white);
                }
                let bytes = read.bytes();
                let kept = (bytes <= room).then_some(read);
                room -= kept.as_ref().map_or(0, |_| bytes);
                samples.push((sample, kept));
            }
            Err(error) => bad.add(error)?,
        }
    }
    let count = samples.len();
    if count == 0 && !bad.all.is_empty() {
        return Err(bad.refusal(&format!("none of {} samples can be read", bad.of)));
    }
    if count == 0 {
        let what = "there is no picture: no file that ends with .jpg, .jpeg or .png";
        let hint = "put the pictures there, or correct `folder` in the plan's data";
        return Err(DataError::file(spec.folder.as_deref().unwrap_or("the data folder"), what, hint));
    }
    let places = samples.iter().map(|(sample, _): &(Sample, _)| sample.file.clone()).collect();
    let in_memory = samples.iter().filter(|(_, kept)| kept.is_some()).count();
    let known = scale.known();
    let of_bytes = (0..channels).map(|c| known.table(c * area..(c + 1) * area, u8::MOST)).collect();
    let sides = |shape: &[u32]| shape.iter().map(|side| *side as usize).collect();
    let (input, label) = (sides(input), sides(label_shape));
    let store = Store { dir: dir.to_owned(), target, known, of_bytes, samples, input, label };
    let labels = ArrayD::from_shape_vec(vec![numbers.len()], numbers).map_err(|e| mismatch(e.to_string()))?;
    let mut loaded = Loaded::new(Dataset::later(Arc::new(store), count, labels));
    loaded.warnings = found.warnings;
    loaded.warnings.extend(brightest.warning());
    (loaded.facts, loaded.left_out) = (bad.facts(), bad.names());
    if in_memory < count {
        let (others, cache) = (count - in_memory, spec.cache.0);
        let fact = format!(
            "{in_memory} of {count} pictures stay in memory, and {others} are decoded again in each epoch (data.cache is {cache} B)"
        );
        loaded.facts.push(fact);
    }
    Ok((loaded, places))
}

/// The pictures of a site.
#[derive(Debug)]
struct Store {
    dir: PathBuf,
    target: Target,
    known: Known,
    /// What each value of a byte becomes, for each channel.
    of_bytes: Vec<Option<Vec<f32>>>,
    /// Each sample and, if the cache holds the sample, its pixels.
    samples: Vec<(Sample, Option<Read>)>,
    input: Vec<usize>,
    label: Vec<usize>,
}

/// A sample in the size of the model's input.
#[derive(Debug)]
struct Read {
    picture: Pixels,
    label: Truth,
}

/// The label of a sample.
#[derive(Debug)]
enum Truth {
    Number(f32),
    /// A mask, and what its values are divided by.
    Mask(Pixels, u32),
}

impl Source for Store {
    fn read(&self, row: usize, features: &mut Vec<f32>, labels: &mut Vec<f32>) -> Result<(), DataError> {
        let (sample, kept) = &self.samples[row];
        let decoded;
        let read = match kept {
            Some(read) => read,
            None => {
                decoded = self.target.read(&self.dir, sample)?;
                &decoded
            }
        };
        match &read.picture {
            Pixels::Bytes(plane) => {
                for (channel, table) in self.of_bytes.iter().enumerate() {
                    let values = plane.values.iter().skip(channel).step_by(plane.channels);
                    match table {
                        Some(table) => features.extend(values.map(|value| table[usize::from(*value)])),
                        None => self.scaled(plane, channel, features),
                    }
                }
            }
            Pixels::Words(plane) => {
                (0..plane.channels).for_each(|channel| self.scaled(plane, channel, features));
            }
        }
        match &read.label {
            Truth::Number(number) => labels.push(*number),
            Truth::Mask(pixels, most) => pixels.shares_of(*most, |_, share| labels.push(share as f32)),
        }
        Ok(())
    }

    fn shapes(&self) -> (&[usize], &[usize]) {
        (&self.input, &self.label)
    }
}

impl Store {
    /// Appends the values of one channel.
    fn scaled<T: Value>(&self, plane: &Plane<T>, channel: usize, features: &mut Vec<f32>) {
        let area = plane.height * plane.width;
        features.extend(plane.values.iter().skip(channel).step_by(plane.channels).enumerate().map(
            |(at, value)| {
                let value: u32 = (*value).into();
                self.known.apply(channel * area + at, f64::from(value) / f64::from(T::MOST))
            },
        ));
    }
}

impl Read {
    /// What the cache counts.
    fn bytes(&self) -> u64 {
        let mask = match &self.label {
            Truth::Number(_) => 0,
            Truth::Mask(pixels, _) => pixels.bytes(),
        };
        self.picture.bytes() + mask
    }
}

/// The brightest pixel of all masks of values.
#[derive(Default)]
struct Brightest {
    /// Its value, and what white is.
    pixel: Option<(f64, u32)>,
}

impl Brightest {
    /// `white` is 1 for a mask of classes, which has no brightness, and for a mask of 1 bit.
    fn see(&mut self, pixels: &Pixels, white: u32) {
        if white <= 1 {
            return;
        }
        let most = self.pixel.map_or(0.0, |(most, _)| most);
        let mut found = most;
        pixels.shares_of(1, |_, value| found = found.max(value));
        if found >= most {
            self.pixel = Some((found, white));
        }
    }

    /// Masks of 0 and 1 are read as black: white is 255.
    fn warning(&self) -> Option<String> {
        let (_, white) = self.pixel.filter(|(value, _)| *value == 1.0)?;
        Some(format!(
            "no mask has a value above 1, and white is {white}: the masks are read as black; save them with 0 and {white}"
        ))
    }
}

/// What each sample becomes.
#[derive(Debug)]
struct Target {
    spec: PictureSpec,
    channels: usize,
    height: usize,
    width: usize,
    /// `None` where a label is a number.
    mask: Option<Mask>,
}

/// How a mask is read.
#[derive(Debug)]
struct Mask {
    channel: Option<u32>,
    /// The values are the indices of as many classes; without it, they become 0 to 1.
    classes: Option<u32>,
}

/// How the masks are read; refuses labels that the loss does not take.
fn mask_of(
    spec: &PictureSpec,
    [input, label_shape]: [&[u32]; 2],
    classes: Option<u32>,
) -> Result<Option<Mask>, DataError> {
    if let Some(what) = spec.lacks(input, classes, label_shape) {
        return Err(DataError::Mismatch { what });
    }
    let PictureLabel::Masks { channel, .. } = spec.label else { return Ok(None) };
    // A mask of values has an axis of channels, as the output that it is compared with.
    let classes = classes.filter(|_| label_shape.len() == 2);
    Ok(Some(Mask { channel, classes }))
}

impl Target {
    fn read(&self, dir: &Path, sample: &Sample) -> Result<Read, DataError> {
        let file = sample.file.as_str();
        let decoded = open(dir, file)?;
        let size = decoded.pixels.size();
        let picture = decoded.picture(self.spec.bits).and_then(|picture| self.picture(picture));
        let picture = picture.map_err(|refused| refused.of(file))?;
        let label = match (&sample.label, &self.mask) {
            (Label::Number(number), _) => Truth::Number(*number),
            (Label::Mask(file), Some(mask)) => {
                self.mask(open(dir, file)?, mask, size).map_err(|refused| refused.of(file))?
            }
            (Label::Mask(file), None) => {
                return Err(DataError::file(
                    file,
                    "the loss takes no mask",
                    "correct data.label in the plan",
                ));
            }
        };
        Ok(Read { picture, label })
    }

    /// The mask of a picture that has this size.
    fn mask(&self, decoded: Decoded, mask: &Mask, size: (usize, usize)) -> Result<Truth, Refused> {
        let found = decoded.pixels.size();
        if found != size {
            let what = format!("the mask has {} pixels, and its picture {}", times(found), times(size));
            return Err(Refused::new(what, "save the mask in the size of its picture"));
        }
        let (pixels, most) = decoded.mask(mask.channel, mask.classes.is_some())?;
        let pixels = match pixels {
            Pixels::Bytes(plane) => Pixels::Bytes(self.fitted(plane, Interpolation::Nearest)?),
            Pixels::Words(plane) => Pixels::Words(self.fitted(plane, Interpolation::Nearest)?),
        };
        let Some(classes) = mask.classes else { return Ok(Truth::Mask(pixels, most)) };
        let mut first = None;
        pixels.shares_of(1, |at, value| {
            if value >= f64::from(classes) {
                first.get_or_insert((at, value));
            }
        });
        let Some((at, value)) = first else { return Ok(Truth::Mask(pixels, 1)) };
        let (y, x) = (at / self.width, at % self.width);
        let what = format!(
            "the mask has the value {value} in row {y}, column {x}; the plan's classes are 0 to {}",
            classes - 1
        );
        Err(Refused::new(
            what,
            "a pixel of a mask is the index of its class: save the mask with these numbers",
        ))
    }

    /// The picture with the plan's colours, in the size of the input.
    fn picture(&self, picture: Pixels) -> Result<Pixels, Refused> {
        Ok(match picture {
            Pixels::Bytes(plane) => {
                Pixels::Bytes(self.fitted(self.coloured(plane)?, self.spec.interpolation)?)
            }
            Pixels::Words(plane) => {
                Pixels::Words(self.fitted(self.coloured(plane)?, self.spec.interpolation)?)
            }
        })
    }

    fn coloured<T: Value>(&self, plane: Plane<T>) -> Result<Plane<T>, Refused> {
        match self.spec.colour {
            Some(Colour::Grey) => Ok(plane.grey()),
            Some(Colour::Rgb) => Ok(plane.rgb()),
            None if plane.channels == self.channels => Ok(plane),
            None => {
                let (found, word) = if plane.channels == 1 { ("grey", "rgb") } else { ("in colour", "grey") };
                let what = format!("the picture is {found}, and model.input has {} channels", self.channels);
                Err(Refused::new(
                    what,
                    format!("write `colour: {word}` into the plan's data: pictures become {word}"),
                ))
            }
        }
    }

    /// The picture or mask in the size of the input.
    fn fitted<T: Value>(&self, plane: Plane<T>, by: Interpolation) -> Result<Plane<T>, Refused> {
        let (height, width) = (self.height, self.width);
        let (higher, wider) = (plane.height > height, plane.width > width);
        let (lower, narrower) = (plane.height < height, plane.width < width);
        let refused = |key: &str| {
            let what = format!(
                "the picture has {} pixels; data.fit is {key}, and the model's input has {}",
                times((plane.height, plane.width)),
                times((height, width))
            );
            Err(Refused::new(what, CURES))
        };
        // A bilinear resize first makes as many rows as the picture has, each as wide as the input.
        let between = (plane.height as u64).saturating_mul(width as u64);
        match self.spec.fit {
            Fit::AsIs if higher || wider || lower || narrower => refused("as_is"),
            Fit::Crop if lower || narrower => refused("crop"),
            Fit::Pad if higher || wider => refused("pad"),
            Fit::AsIs => Ok(plane),
            Fit::Crop | Fit::Pad => Ok(plane.centred(height, width)),
            Fit::Resize if by == Interpolation::Bilinear && between > PIXELS => {
                let size = times((plane.height, plane.width));
                let what =
                    format!("the picture has {size} pixels: too many rows for a resize to {width} columns");
                Err(Refused::new(what, SMALLER))
            }
            Fit::Resize if by == Interpolation::Bilinear => Ok(resize::bilinear(plane, height, width)),
            Fit::Resize => Ok(resize::nearest(&plane, height, width)),
        }
    }
}

/// Reads and decodes one file. The length of the file is checked before memory is allocated.
fn open(dir: &Path, file: &str) -> Result<Decoded, DataError> {
    let input = folder::open_archive(dir, file)?;
    let failed = |error: std::io::Error| folder::unreadable(file, &error);
    let length = input.get_ref().metadata().map_err(failed)?.len();
    if length > FILE_BYTES {
        let what = format!("the file has {length} bytes; at most {FILE_BYTES} are read");
        return Err(DataError::file(file, what, "save the picture smaller, or with compression"));
    }
    let mut bytes = Vec::with_capacity(length as usize);
    input.take(FILE_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    decode(&bytes).map_err(|refused| refused.of(file))
}

/// Samples that are left out.
struct Bad {
    most: usize,
    of: usize,
    all: Vec<DataError>,
}

impl Bad {
    /// Notes a sample, or refuses the folder.
    fn add(&mut self, error: DataError) -> Result<(), DataError> {
        if self.most == 0 {
            return Err(error);
        }
        self.all.push(error);
        if self.all.len() <= self.most {
            return Ok(());
        }
        Err(self.refusal(&format!("more than {} of {} samples cannot be read", self.most, self.of)))
    }

    /// Refuses the folder for `what`; the cure is that of the first sample.
    fn refusal(&self, what: &str) -> DataError {
        let (first, hint) = (told(&self.all[0]), self.all[0].hint().unwrap_or_default());
        let what = format!("{what} (data.bad_samples); the first one: {first}");
        DataError::file("the data folder", what, hint)
    }

    /// The files.
    fn names(&self) -> Vec<String> {
        let name = |error: &DataError| match error {
            DataError::File { file, .. } => file.clone(),
            DataError::Io { path, .. } | DataError::NotAFile { path, .. } => path.display().to_string(),
            other => other.to_string(),
        };
        self.all.iter().map(name).collect()
    }

    fn facts(&self) -> Vec<String> {
        if self.all.is_empty() {
            return Vec::new();
        }
        let count = format!(
            "left out {} of {} samples that cannot be read (data.bad_samples)",
            self.all.len(),
            self.of
        );
        std::iter::once(count)
            .chain(self.all.iter().map(|error| format!("left out {}", told(error))))
            .collect()
    }
}

/// An error with the reason of the system.
fn told(error: &DataError) -> String {
    match error {
        DataError::Io { source, .. } => format!("{error}: {source}"),
        other => other.to_string(),
    }
}

/// `332 × 332`: width and height, as programs for pictures say it.
fn times((height, width): (usize, usize)) -> String {
    format!("{width} × {height}")
}

/// Largest file: 128 MiB.
const FILE_BYTES: u64 = 128 << 20;
const CURES: &str = "choose `fit: resize`, `crop` or `pad` in the plan's data, or set model.input to the size of the pictures";
