//! An array's values in the file's order become samples or labels.

use std::io::Read;

use ndarray::{ArrayD, IxDyn, ShapeBuilder as _};

use super::{
    error::DataError,
    folder,
    scale::{Scale, Scaling, channels},
    shape,
};

/// What an array is read as.
#[derive(Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// Samples of this shape, and how they are scaled.
    Samples { input: &'a [u32], scaling: Scaling<'a> },
    /// Labels of this shape; `[]` for one number a sample.
    Labels { shape: &'a [u32] },
}

/// The values of an array's file, after its header.
pub(super) struct Body<'a> {
    /// The file's name.
    pub(super) file: &'a str,
    /// What to do with a damaged file.
    pub(super) hint: &'static str,
    /// Bytes of the header.
    pub(super) start: u64,
    /// Bytes of the file, where that is known before they are read.
    pub(super) length: Option<u64>,
    /// The sides that the header states.
    pub(super) shape: &'a [u64],
    /// Whether the first axis runs fastest.
    pub(super) column_major: bool,
    /// Bytes of one value.
    pub(super) element: usize,
}

impl Body<'_> {
    /// Reads the values to the end of `input`; `value` gives the number of one value's bytes.
    pub(super) fn read(
        &self,
        mut input: impl Read,
        value: impl Fn(&[u8]) -> f64,
        wanted: Wanted<'_>,
    ) -> Result<ArrayD<f32>, DataError> {
        let Self { file, shape, element, .. } = *self;
        let broken = |e: std::io::Error| folder::unreadable(file, &e);
        let refused = |what: String| DataError::file(file, what, self.hint);
        let volume = folder::volume(shape).ok_or_else(|| refused(format!("shape {shape:?} is too large")))?;
        let expected = self.start + volume * element as u64;
        if let Some(length) = self.length.filter(|length| *length != expected) {
            return Err(refused(format!(
                "the file has {length} bytes, but shape {shape:?} needs {expected}"
            )));
        }
        let shape = shape.iter().map(|&side| side as usize).collect();
        let mut filler = Filler::new(file, shape, self.column_major, wanted)?;
        let mut raw = vec![0; 8192];
        let mut left = volume as usize;
        while left > 0 {
            let take = left.min(raw.len() / element);
            let chunk = &mut raw[..take * element];
            input.read_exact(chunk).map_err(broken)?;
            chunk.chunks_exact(element).for_each(|cell| filler.push(value(cell)));
            left -= take;
        }
        // Reading to the end is what compares the checksum of a compressed file.
        if input.read(&mut raw).map_err(broken)? > 0 {
            return Err(refused(format!("the file is longer than the {expected} bytes of its array")));
        }
        filler.finish()
    }
}

/// Takes the values of one array.
struct Filler<'a> {
    file: &'a str,
    /// At least one side.
    shape: Vec<usize>,
    column_major: bool,
    scale: Scale<'a>,
    /// Where a column of a column-major array stands in a sample.
    places: Vec<usize>,
    /// Values of a row of the first axis.
    width: usize,
    values: Vec<f32>,
    bad: u64,
    /// Row, value of the row, and the value itself: both counted from 1.
    first: Option<(usize, usize, f64)>,
}

impl<'a> Filler<'a> {
    /// Refuses an array whose shape does not fit, before its values are read.
    fn new(
        file: &'a str,
        shape: Vec<usize>,
        column_major: bool,
        wanted: Wanted<'a>,
    ) -> Result<Self, DataError> {
        let rows = shape.first().copied().unwrap_or(0);
        let inner = shape.get(1..).unwrap_or_default();
        let width = inner.iter().product();
        let scale = match wanted {
            Wanted::Samples { input, scaling } => {
                if rows == 0 || width == 0 {
                    let what = format!("the array has the shape {shape:?}: there are no rows");
                    return Err(DataError::file(file, what, "save the array with its samples"));
                }
                shape::check(inner, input).map_err(|(what, hint)| DataError::file(file, what, hint))?;
                Scale::new(scaling, width, channels(input))?
            }
            Wanted::Labels { shape: [] } => {
                if shape.iter().filter(|&&side| side != 1).count() > 1 {
                    let what = format!("the labels have the shape {shape:?}; a sample has one label");
                    let hint =
                        "turn labels with a column for each class into indices: numpy.argmax(y, axis=1)";
                    return Err(DataError::file(file, what, hint));
                }
                Scale::new(Scaling::AsIs, width, 1)?
            }
            Wanted::Labels { shape: label } => {
                shape::check_label(inner, label).map_err(|(what, hint)| DataError::file(file, what, hint))?;
                Scale::new(Scaling::AsIs, width, 1)?
            }
        };
        let places = if column_major { places(inner) } else { Vec::new() };
        let values = Vec::new();
        Ok(Self { file, shape, column_major, scale, places, width, values, bad: 0, first: None })
    }

    /// The next value of the file.
    fn push(&mut self, value: f64) {
        let at = self.values.len();
        let rows = self.shape[0].max(1);
        let (row, feature) = match self.column_major {
            true => (at % rows, self.places[at / rows]),
            false => (at / self.width.max(1), at % self.width.max(1)),
        };
        let scaled = self.scale.take(feature, value);
        if !scaled.is_finite() {
            self.bad += 1;
            self.first.get_or_insert((row + 1, feature + 1, value));
        }
        self.values.push(scaled);
    }

    /// The array, row after row.
    fn finish(self) -> Result<ArrayD<f32>, DataError> {
        if let Some((row, feature, value)) = self.first {
            let (bad, what) = (self.bad, if value.is_finite() { "too large" } else { "not finite" });
            let what =
                format!("{bad} values are {what}, first {value:?} in row {row}, value {feature} of the row");
            let hint = match value.is_finite() {
                true => "scale the values, for example with `standardise` in the plan's data",
                false => {
                    "replace or remove missing values before the array is saved, for example with numpy.nan_to_num"
                }
            };
            return Err(DataError::file(self.file, what, hint));
        }
        let array = ArrayD::from_shape_vec(IxDyn(&self.shape).set_f(self.column_major), self.values);
        let array = array.map_err(|e| DataError::file(self.file, e.to_string(), "save the array again"))?;
        Ok(if self.column_major { array.as_standard_layout().into_owned() } else { array })
    }
}

/// For each column of a column-major array, in the file's order, its index in a row-major sample.
fn places(sides: &[usize]) -> Vec<usize> {
    let count = sides.iter().product();
    (0..count)
        .map(|mut column| {
            let mut steps = Vec::with_capacity(sides.len());
            for side in sides {
                steps.push(column % side);
                column /= side;
            }
            steps.iter().zip(sides).fold(0, |place, (step, side)| place * side + step)
        })
        .collect()
}
