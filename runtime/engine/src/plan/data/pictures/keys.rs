//! The keys of `data` beside `loader: pictures`.

use super::{
    super::csv::{CLASS, REFUSE},
    COLOURS, FITS, INTERPOLATIONS, LABELS, ORDERS,
};
use crate::settings::{Absent, Key, Range, Takes, Text};

pub(in crate::plan::data) const PICTURES: &[Key] = &[
    Key {
        name: "folder",
        takes: FOLDER,
        absent: Absent::Means("the pictures lie in the data folder itself"),
        meaning: "The folder of the pictures. A file is a picture if its name ends with .jpg, .jpeg or .png. The chapter \
                  `pictures` says which files are read and which are refused.",
        example: "images",
    },
    Key {
        name: "label",
        takes: LABELS,
        absent: Absent::Refused,
        meaning: "Where the labels are.",
        example: "{masks: {folder: masks}}",
    },
    Key {
        name: "labels",
        takes: Takes::Names {
            kind: "a map from a folder's name, or a label's text, to the index of its class",
            of: &CLASS,
        },
        absent: Absent::Default("{}"),
        meaning: "The class of each sub-folder, or of each text in the label's column of the table. Without the key, a \
                  label of a table is a number.",
        example: "{normal: 0, polyp: 1}",
    },
    Key {
        name: "colour",
        takes: COLOURS,
        absent: Absent::Means("each picture has the channels of model.input, or is refused"),
        meaning: "What the pictures become, before they are resized.",
        example: "rgb",
    },
    Key {
        name: "bits",
        takes: Takes::Whole { least: 8, most: 16, unit: "bits" },
        absent: Absent::Default("8"),
        meaning: "Bits of one value of a pixel: 8 or 16. A picture of another depth is refused. Each value is divided by \
                  the largest that the bits can hold, 255 or 65,535: a feature is 0 to 1, before `standardise`.",
        example: "16",
    },
    Key {
        name: "fit",
        takes: FITS,
        absent: Absent::Default("as_is"),
        meaning: "How pictures and masks of another size get the height and width of model.input.",
        example: "resize",
    },
    Key {
        name: "interpolation",
        takes: INTERPOLATIONS,
        absent: Absent::Default("bilinear"),
        meaning: "How `fit: resize` finds the pixels of a picture. A mask is always resized by the nearest pixel.",
        example: "nearest",
    },
    Key {
        name: "augment",
        takes: Takes::Section(AUGMENT),
        absent: Absent::Default("{}"),
        meaning: "Random changes of the pictures that are trained on, another one in each epoch. A mask moves with its \
                  picture. The plan's seed, the collaborator, the task, the round, the epoch and the sample decide.",
        example: "{flip_horizontal: true, shift: 8}",
    },
    Key {
        name: "bad_samples",
        takes: Takes::Section(BAD),
        absent: Absent::Default(REFUSE),
        meaning: "What becomes of a sample whose picture or mask cannot be read: `refuse`, or a map with the key below.",
        example: "{skip: 3}",
    },
    Key {
        name: "cache",
        takes: Takes::Size,
        absent: Absent::Default("1GiB"),
        meaning: "Most memory for decoded pictures and masks: one byte a value, two with `bits: 16`. What is beyond is \
                  decoded again in each epoch.",
        example: "8GiB",
    },
    Key {
        name: "order",
        takes: ORDERS,
        absent: Absent::Default("shuffled"),
        meaning: "The order of the samples that `split` divides: training takes the first ones, validation the next.",
        example: "by_name",
    },
];

pub(super) const AUGMENT: &[Key] = &[
    Key {
        name: "flip_horizontal",
        takes: Takes::Flag,
        absent: Absent::Default("false"),
        meaning: "Whether half of the pictures are mirrored, left to right.",
        example: "true",
    },
    Key {
        name: "flip_vertical",
        takes: Takes::Flag,
        absent: Absent::Default("false"),
        meaning: "Whether half of the pictures are mirrored, top to bottom.",
        example: "true",
    },
    Key {
        name: "quarter_turns",
        takes: Takes::Flag,
        absent: Absent::Default("false"),
        meaning: "Whether pictures are turned by 0, 90, 180 or 270 degrees. The input has to be a square.",
        example: "true",
    },
    Key {
        name: "shift",
        takes: Takes::Whole { least: 0, most: 65_535, unit: "pixels" },
        absent: Absent::Default("0"),
        meaning: "Most pixels by which a picture is moved up or down, and left or right. Black pixels move in.",
        example: "8",
    },
    Key {
        name: "brightness",
        takes: Takes::Number(Range::FromZeroBelowOne),
        absent: Absent::Default("0"),
        meaning: "The values of a picture are multiplied by one number of `1 - brightness` to `1 + brightness`. What \
                  leaves 0 to 1 is cut.",
        example: "0.2",
    },
];

pub(super) const BAD: &[Key] = &[Key {
    name: "skip",
    takes: Takes::Whole { least: 0, most: 1_000_000, unit: "samples" },
    absent: Absent::Refused,
    meaning: "The most samples that a site may leave out because a file cannot be read. The collaborator's log names each \
              of them with its reason. A site with more is refused.",
    example: "3",
}];

pub(super) const FOLDER: Takes = Takes::Text(Text::Any("name of a folder in the data folder"));
