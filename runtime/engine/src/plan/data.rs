//! `data`: how a collaborator reads its data folder.

mod csv;
mod pictures;
mod standardise;

use serde::Serialize;

use csv::{CSV, FILE};
pub use csv::{Category, Coding, Column, CsvSpec, Decimal, Fill, LabelCode, Missing, NamedNumber, Separator};
use pictures::PICTURES;
pub use pictures::{
    Augment, Colour, Fit, Interpolation, PictureLabel, PictureOrder, PictureSpec, size as picture_size,
};
use standardise::Scaling;
pub use standardise::{Federated, Standardise, columns_of};

use super::PlanDraft;
use crate::settings::{
    Absent, Checked, Fault, Field, Key, PlanError, Range, Setting, Tagged, Takes, Text, check, words,
};

/// How a collaborator reads its data folder.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DataSpec {
    /// File format and its settings.
    pub loader: Loader,
    /// Feature scaling with declared statistics: one mean and one standard deviation a feature, or none.
    pub standardise: Option<Standardise>,
    /// Shares of train, validation and test rows; they sum to 1.
    pub split: Split,
    /// Number of classes; `None` for regression.
    pub classes: Option<u32>,
    /// The sites are asked for the statistics. Then `standardise` is `None` until they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub federated: Option<Federated>,
}

impl DataSpec {
    /// The name of a column that has statistics of its own: a column's of the plan, or of `found` in the file
    /// where the plan names none; `sex = male` for one text of a column.
    #[must_use]
    pub fn feature_name(&self, input: &[u32], found: &[String], column: usize) -> String {
        let (width, values) = columns_of(input);
        if values > 1 {
            return "the values of all samples".to_owned();
        }
        if let Loader::Csv(csv) = &self.loader {
            let of = |name: &String| match csv.coding(name) {
                Some(Coding::OneHot(texts)) => texts.iter().map(|text| format!("{name} = {text}")).collect(),
                _ => vec![name.clone()],
            };
            let names: Vec<String> = csv.features.as_deref().unwrap_or(found).iter().flat_map(of).collect();
            if let Some(name) = names.get(column).filter(|_| names.len() == width) {
                return format!("column {name}");
            }
        }
        format!("feature {}", column + 1)
    }

    /// Whether `split` divides the samples in their order. Otherwise, they are shuffled before.
    #[must_use]
    pub fn keeps_order(&self) -> bool {
        matches!(&self.loader, Loader::Pictures(spec) if spec.order == PictureOrder::ByName)
    }

    /// The same data, scaled by these statistics.
    #[must_use]
    pub fn scaled_by(&self, statistics: &Standardise) -> Self {
        Self { standardise: Some(statistics.clone()), federated: None, ..self.clone() }
    }
}

/// A file format.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Loader {
    /// A table of text: one row a sample.
    Csv(CsvSpec),
    /// NumPy: two `.npy` files, or one `.npz` with two arrays (`file.npz:array`).
    Npy {
        /// Samples, first axis.
        features: String,
        /// Labels.
        labels: String,
    },
    /// MNIST's IDX format.
    Idx {
        /// Samples, first axis.
        features: String,
        /// Labels.
        labels: String,
    },
    /// Folders of JPEG and PNG files: one picture a sample.
    Pictures(PictureSpec),
    /// A loader that a user's crate registered.
    Custom {
        /// Its registered name.
        name: String,
    },
}

/// Shares of a site's rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Split {
    /// Rows trained on.
    pub train: f64,
    /// Rows for the validation tasks.
    pub validation: f64,
    /// Rows for the validation tasks with `rows: test`. Nothing else reads them.
    pub test: f64,
}

words! {
    /// The word of a loader.
    #[derive(Clone, Copy, Debug, Serialize)]
    enum Format {
        /// A CSV file: one line a sample.
        Csv = "csv" => CSV,
        /// Two NumPy files: the samples and their labels.
        Npy = "npy" => TWO_FILES,
        /// One NumPy archive with two arrays: the samples and their labels.
        Npz = "npz" => NPZ,
        /// Two files in MNIST's IDX format: the samples and their labels.
        Idx = "idx" => TWO_FILES,
        /// A folder of JPEG and PNG files: one picture a sample.
        Pictures = "pictures" => PICTURES,
        /// A loader that a user's crate registered.
        Custom = "custom" => CUSTOM,
    }
}

impl Setting for DataSpec {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        let (format, data) = field.tagged()?;
        let format = format.ok_or_else(|| field.refused())?;
        let loader = match format {
            Format::Csv => Loader::Csv(csv::read(&data)?),
            Format::Npy => Loader::Npy { features: data.get("features")?, labels: data.get("labels")? },
            Format::Npz => {
                let file: String = data.get("file")?;
                if let Some(field) = data.optional("file").filter(|_| !file.ends_with(".npz")) {
                    return Err(field.wrong("a name that ends with .npz"));
                }
                let array = |key| Ok(format!("{file}:{}", data.get::<String>(key)?));
                Loader::Npy { features: array("features")?, labels: array("labels")? }
            }
            Format::Idx => Loader::Idx { features: data.get("features")?, labels: data.get("labels")? },
            Format::Pictures => Loader::Pictures(pictures::read(&data)?),
            Format::Custom => Loader::Custom { name: data.get("name")? },
        };
        let Scaling { declared, federated } = data.get("standardise")?;
        let (split, classes) = (data.get("split")?, data.get("classes")?);
        Ok(Self { loader, standardise: declared, split, classes, federated })
    }
}

impl Setting for Split {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        let shares = field.section()?;
        Ok(Self {
            train: shares.get("train")?,
            validation: shares.get("validation")?,
            test: shares.get("test")?,
        })
    }
}

/// Checks the key against the plan's model.
pub(super) fn check_in(plan: &PlanDraft) -> Checked {
    let data = &plan.data;
    let has_statistics = data.standardise.is_some() || data.federated.is_some();
    match &data.loader {
        Loader::Csv(spec) => csv::check_in(spec, &plan.model, data.classes, has_statistics)?,
        Loader::Npy { features, labels } | Loader::Idx { features, labels } => {
            is_file("features", features)?;
            is_file("labels", labels)?;
        }
        Loader::Pictures(spec) => pictures::check_in(spec, &plan.model, data.classes)?,
        Loader::Custom { name } => check(CUSTOM, "data/name", name)?,
    }
    check(TAGGED.common, "data/classes", &data.classes)?;
    if let Some(statistics) = &data.standardise {
        let features = plan.model.input.iter().map(|side| u64::from(*side)).product();
        let channels = match plan.model.input[..] {
            [channels, _, _] => u64::from(channels),
            _ => 1,
        };
        standardise::check_in(statistics, features, channels)?;
    }
    if let Some(federated) = &data.federated {
        standardise::check_federated(federated, data.standardise.is_some(), &plan.model.input)?;
    }
    let Split { train, validation, test } = data.split;
    for (key, share) in [("train", train), ("validation", validation), ("test", test)] {
        check(SPLIT, &format!("data/split/{key}"), &share)?;
    }
    let sum = train + validation + test;
    if (sum - 1.0).abs() > 1e-9 {
        return Err(Fault::new("data/split", format!("the shares of data.split sum to {sum}, not to 1")));
    }
    Ok(())
}

fn is_file(key: &str, name: &str) -> Checked {
    let mut parts = name.split('/');
    if name.is_empty() || name.contains(['\0', '\\']) || parts.any(|part| matches!(part, "" | "." | "..")) {
        let spelt = key.replace('/', ".");
        let message = format!("data.{spelt} is {name:?}, but a file inside the data folder is needed");
        let hint = "each collaborator names its data folder in plan/data.yaml".to_owned();
        return Err(Fault::new(format!("data/{key}"), message).hint(Some(hint)));
    }
    Ok(())
}

/// `data` itself.
pub(super) const TAGGED: &Tagged = &Tagged {
    tag: Key {
        name: "loader",
        takes: Takes::Word(Format::TABLE),
        absent: Absent::Refused,
        meaning: "The format of the files in the data folder.",
        example: "csv",
    },
    common: &[
        Key {
            name: "classes",
            takes: Takes::Whole { least: 2, most: 1_000_000, unit: "classes" },
            absent: Absent::Means("the labels are numbers: a regression"),
            meaning: "Number of classes. A label is the index of its class, from 0.",
            example: "2",
        },
        Key {
            name: "standardise",
            takes: Takes::Section(standardise::KEYS),
            absent: Absent::Means("features are used as they are"),
            meaning: "Statistics by which each feature is scaled: (x - mean) / std. Every collaborator uses the same statistics. With the \
                      word `federated`, the sites are asked for them before the first round.",
            example: "{mean: 0.1307, std: 0.3081}",
        },
        Key {
            name: "split",
            takes: Takes::Section(SPLIT),
            absent: Absent::Default("{train: 0.8, validation: 0.2, test: 0}"),
            meaning: "Shares of a collaborator's rows. The three shares sum to 1.",
            example: "{train: 0.7, validation: 0.2, test: 0.1}",
        },
    ],
    untagged: None,
};

const TWO_FILES: &[Key] = &[
    Key {
        name: "features",
        takes: FILE,
        absent: Absent::Refused,
        meaning: "The file of the samples. Each entry along the first axis is one sample.",
        example: "images",
    },
    Key {
        name: "labels",
        takes: FILE,
        absent: Absent::Refused,
        meaning: "The file of the labels, in the order of the samples.",
        example: "labels",
    },
];

const NPZ: &[Key] = &[
    Key {
        name: "file",
        takes: FILE,
        absent: Absent::Refused,
        meaning: "The NumPy archive.",
        example: "digits.npz",
    },
    Key {
        name: "features",
        takes: Takes::Text(Text::Any("name of an array in the archive")),
        absent: Absent::Refused,
        meaning: "The array of the samples. Each entry along the first axis is one sample.",
        example: "x",
    },
    Key {
        name: "labels",
        takes: Takes::Text(Text::Any("name of an array in the archive")),
        absent: Absent::Refused,
        meaning: "The array of the labels, in the order of the samples.",
        example: "y",
    },
];

const CUSTOM: &[Key] = &[Key {
    name: "name",
    takes: Takes::Text(Text::Registered("registered name")),
    absent: Absent::Refused,
    meaning: "The name under which the loader is registered.",
    example: "scans",
}];
const SPLIT: &[Key] = &[
    Key {
        name: "train",
        takes: Takes::Number(Range::FromZeroToOne),
        absent: Absent::Default("0"),
        meaning: "Share of the rows that training reads.",
        example: "0.7",
    },
    Key {
        name: "validation",
        takes: Takes::Number(Range::FromZeroToOne),
        absent: Absent::Default("0"),
        meaning: "Share of the rows that validation tasks read.",
        example: "0.2",
    },
    Key {
        name: "test",
        takes: Takes::Number(Range::FromZeroToOne),
        absent: Absent::Default("0"),
        meaning: "Share of the rows that only validation tasks with `rows: test` read.",
        example: "0.1",
    },
];
