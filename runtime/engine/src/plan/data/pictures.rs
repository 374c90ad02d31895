//! `data` with `loader: pictures`: folders of JPEG and PNG files, one picture a sample.

mod keys;

use serde::Serialize;

pub(super) use keys::PICTURES;
use keys::{AUGMENT, BAD, FOLDER};

use super::{
    csv::{FILE, LabelCode, Labels, REFUSE, check_labels},
    is_file,
};
use crate::{
    ByteCount,
    model::ModelSpec,
    settings::{
        Absent, Checked, Fault, Field, PlanError, Section, Setting, Takes, Text, Value, check, words,
    },
};

/// How a folder of pictures is read. One picture is one sample.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PictureSpec {
    /// The folder of the pictures in the data folder. `None`: the data folder itself.
    pub folder: Option<String>,
    /// Where the labels are.
    pub label: PictureLabel,
    /// The class of each sub-folder, or of each label's text in the table, by text.
    pub labels: Vec<LabelCode>,
    /// What the pictures become. `None`: they have the channels of the model's input.
    pub colour: Option<Colour>,
    /// Bits of one value of a pixel: 8 or 16.
    pub bits: u32,
    /// How pictures of another size get the size of the model's input.
    pub fit: Fit,
    /// How a resize finds the pixels of a picture. Masks are always resized by [`Interpolation::Nearest`].
    pub interpolation: Interpolation,
    /// Random changes of the pictures that are trained on.
    pub augment: Augment,
    /// The most samples that a site may leave out because a file is bad.
    pub skip: u32,
    /// Most bytes of decoded pictures and masks that stay in memory.
    pub cache: ByteCount,
    /// The order of the samples that are divided into training, validation and test.
    pub order: PictureOrder,
}

words! {
    /// Where the labels of pictures are.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize)]
    pub enum PictureLabel {
        /// The pictures lie in a sub-folder for each class. `labels` says which folder is which class.
        Folders = "folders",
        /// A CSV file in the data folder names each picture with its label. The first line names the columns.
        Table = "table" {
            /// The CSV file.
            file: String = FILE, Absent::Refused, "labels.csv";
            /// The column with the file's name, as seen from the folder of the pictures.
            name: String = Takes::Text(Text::Any("name of a column")), Absent::Refused, "image";
            /// The column with the label.
            label: String = Takes::Text(Text::Any("name of a column")), Absent::Refused, "class";
        },
        /// Each picture has a mask: a picture of the same name in another folder. The ending may differ. The
        /// label is the mask.
        Masks = "masks" {
            /// The folder of the masks in the data folder.
            folder: String = FOLDER, Absent::Refused, "masks";
            /// Which channel of a mask in colour is read: 0 is red. Without the key, such a mask is
            /// refused.
            channel: Option<u32> = Takes::Whole { least: 0, most: 2, unit: "" },
                Absent::Means("masks are grey"), "0";
        },
    }
}

words! {
    /// What pictures become.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    pub enum Colour {
        /// One channel. Of a picture in colour, (299 red + 587 green + 114 blue) / 1000 is taken.
        Grey = "grey",
        /// Three channels: red, green, blue. A grey picture becomes three equal channels.
        Rgb = "rgb",
    }
}

words! {
    /// How pictures of another size get the size of the model's input.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    pub enum Fit {
        /// Not at all: a picture of another size is refused.
        AsIs = "as_is",
        /// Every picture is resized to the size of the input, whatever its proportions.
        Resize = "resize",
        /// The middle of the picture is taken. A picture that is smaller than the input is refused.
        Crop = "crop",
        /// Black pixels are put around the picture. A picture that is larger than the input is refused.
        Pad = "pad",
    }
}

words! {
    /// How a resize finds the pixels.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    pub enum Interpolation {
        /// Bilinear with antialiasing, bit for bit as Pillow's `resize` with `BILINEAR`.
        Bilinear = "bilinear",
        /// The nearest pixel.
        Nearest = "nearest",
    }
}

words! {
    /// The order of the samples that `split` divides: training takes the first ones, validation the next.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    pub enum PictureOrder {
        /// The seed of the plan decides.
        Shuffled = "shuffled",
        /// The order of the names of the files.
        ByName = "by_name",
    }
}

/// Random changes of pictures that are trained on. Masks follow the moves of their pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Augment {
    /// Half of the pictures are mirrored, left to right.
    pub flip_horizontal: bool,
    /// Half of the pictures are mirrored, top to bottom.
    pub flip_vertical: bool,
    /// Pictures are turned by 0, 90, 180 or 270 degrees.
    pub quarter_turns: bool,
    /// Most pixels by which a picture is moved, in either direction of either axis. Black pixels move in.
    pub shift: u32,
    /// The values are multiplied by a number of `1 - brightness` to `1 + brightness`.
    pub brightness: f64,
}

impl PictureSpec {
    /// The default of `cache`.
    pub(in crate::plan) const CACHE: ByteCount = ByteCount(1 << 30);

    /// Pictures in the data folder itself, with the keys' defaults.
    #[must_use]
    pub fn new(label: PictureLabel) -> Self {
        Self {
            folder: None,
            label,
            labels: Vec::new(),
            colour: None,
            bits: 8,
            fit: Fit::AsIs,
            interpolation: Interpolation::Bilinear,
            augment: Augment::default(),
            skip: 0,
            cache: Self::CACHE,
            order: PictureOrder::Shuffled,
        }
    }
}

impl PictureSpec {
    /// Why the pictures have no labels of this shape; `None` if they have. `input` is the model's, and
    /// `classes` are the plan's.
    #[must_use]
    pub fn lacks(&self, input: &[u32], classes: Option<u32>, label: &[u32]) -> Option<String> {
        let (_, height, width) = size(input)?;
        let (has, fits) = match self.label {
            PictureLabel::Folders | PictureLabel::Table { .. } => ("one number".to_owned(), label.is_empty()),
            PictureLabel::Masks { .. } => {
                let of_classes = label == [height, width] && classes.is_some();
                let fits = of_classes || label == [1, height, width];
                (format!("a mask of {height} × {width} pixels"), fits)
            }
        };
        let word = self.label.word();
        (!fits).then(|| {
            format!(
                "the label of a picture is {has} (data.label: {word}), but the loss takes a label of the shape {label:?}"
            )
        })
    }
}

pub(super) fn read(data: &Section<'_>) -> Result<PictureSpec, PlanError> {
    Ok(PictureSpec {
        folder: data.get("folder")?,
        label: data.get("label")?,
        labels: data.get::<Labels>("labels")?.0,
        colour: data.get("colour")?,
        bits: data.get("bits")?,
        fit: data.get("fit")?,
        interpolation: data.get("interpolation")?,
        augment: data.get("augment")?,
        skip: data.get::<Skip>("bad_samples")?.0,
        cache: data.get("cache")?,
        order: data.get("order")?,
    })
}

impl Setting for Augment {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        let keys = field.section()?;
        Ok(Self {
            flip_horizontal: keys.get("flip_horizontal")?,
            flip_vertical: keys.get("flip_vertical")?,
            quarter_turns: keys.get("quarter_turns")?,
            shift: keys.get("shift")?,
            brightness: keys.get("brightness")?,
        })
    }
}

/// How many samples may be left out.
struct Skip(u32);

impl Setting for Skip {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        if matches!(field.value(), Value::Text(word) if word == REFUSE) {
            return Ok(Self(0));
        }
        if !matches!(field.value(), Value::Map(_)) {
            return Err(field.wrong(format!("{REFUSE}, or a map with the key skip")));
        }
        field.section()?.get("skip").map(Self)
    }
}

/// Checks the keys against each other, and against the model and the classes.
pub(super) fn check_in(spec: &PictureSpec, model: &ModelSpec, classes: Option<u32>) -> Checked {
    spec.folder.as_ref().map_or(Ok(()), |folder| is_file("folder", folder))?;
    check(PICTURES, "data/label", &spec.label)?;
    let Some((channels, height, width)) = size(&model.input) else {
        let message = format!(
            "data.loader is pictures, and model.input is {:?}; a picture is [1, height, width] or [3, height, width]",
            model.input
        );
        let hint = "write the size of the pictures as model.input: `input: [3, 64, 64]`".to_owned();
        return Err(Fault::new("data/loader", message).hint(Some(hint)));
    };
    let needed = if channels == 1 { Colour::Grey } else { Colour::Rgb };
    if let Some(colour) = spec.colour.filter(|colour| *colour != needed) {
        let message = format!(
            "data.colour is {}, and model.input {:?} has {channels} channels",
            colour.word(),
            model.input
        );
        let hint = format!("write `colour: {}`, or change model.input", needed.word());
        return Err(Fault::new("data/colour", message).hint(Some(hint)));
    }
    if spec.bits != 8 && spec.bits != 16 {
        return Err(Fault::new("data/bits", format!("data.bits is {}; it takes 8 or 16", spec.bits)));
    }
    match &spec.label {
        PictureLabel::Masks { folder, .. } => {
            is_file("label/masks/folder", folder)?;
            if spec.folder.as_ref() == Some(folder) {
                let message = format!("data.folder is {folder:?}, and so is the folder of the masks");
                let hint = "name two folders: one of the pictures, one of the masks".to_owned();
                return Err(Fault::new("data/label/masks/folder", message).hint(Some(hint)));
            }
        }
        PictureLabel::Table { file, .. } => is_file("label/table/file", file)?,
        PictureLabel::Folders if spec.labels.is_empty() => {
            let message = "data.label is folders, which needs the key labels: the class of each folder";
            let hint = "write `labels: {FOLDER: 0, FOLDER: 1}` beside it".to_owned();
            return Err(Fault::new("data/label", message).hint(Some(hint)));
        }
        PictureLabel::Folders => {
            spec.labels.iter().try_for_each(|code| is_file(&format!("labels/{}", code.text), &code.text))?;
        }
    }
    if matches!(spec.label, PictureLabel::Masks { .. }) && !spec.labels.is_empty() {
        return Err(Fault::new("data/labels", "data.labels is beside label masks, which have no texts"));
    }
    check_labels(&spec.labels, classes)?;
    check(AUGMENT, "data/augment/shift", &spec.augment.shift)?;
    check(AUGMENT, "data/augment/brightness", &spec.augment.brightness)?;
    if spec.augment.quarter_turns && height != width {
        let message =
            format!("data.augment.quarter_turns needs squares, and model.input is {:?}", model.input);
        return Err(Fault::new("data/augment/quarter_turns", message));
    }
    if spec.augment.shift >= height.min(width) {
        let message = format!(
            "data.augment.shift is {}, and model.input {:?} has fewer pixels",
            spec.augment.shift, model.input
        );
        return Err(Fault::new("data/augment/shift", message));
    }
    check(BAD, "data/bad_samples/skip", &spec.skip)
}

/// Channels, height and width of a model's input; `None` for another shape.
#[must_use]
pub fn size(input: &[u32]) -> Option<(u32, u32, u32)> {
    match *input {
        [channels @ (1 | 3), height, width] => Some((channels, height, width)),
        _ => None,
    }
}

const LABELS: Takes = Takes::Variant(PictureLabel::TABLE);
const COLOURS: Takes = Takes::Word(Colour::TABLE);
const FITS: Takes = Takes::Word(Fit::TABLE);
const INTERPOLATIONS: Takes = Takes::Word(Interpolation::TABLE);
const ORDERS: Takes = Takes::Word(PictureOrder::TABLE);
