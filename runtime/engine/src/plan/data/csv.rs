//! `data` with `loader: csv`: which columns of a table are read, and how.

mod keys;

use serde::Serialize;

use keys::MISSING;
pub(super) use keys::{CSV, FILE};

use super::{super::pattern, is_file};
use crate::{
    limits,
    model::ModelSpec,
    name::nearest,
    settings::{
        Checked, Fault, Field, PlanError, Range, Section, Setting, Takes, Text, Value, Word, check, words,
    },
};

/// How a CSV file is read. One row is one sample.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CsvSpec {
    /// File name in the data folder.
    pub file: String,
    /// Whether the first line names the columns.
    pub header: bool,
    /// The label's column.
    pub label: Column,
    /// The columns of the features, by name, in the order of the model's input. `None`: every column but the
    /// label, in the file's order.
    pub features: Option<Vec<String>>,
    /// Columns that nobody reads: names, or prefixes with a final `*`.
    pub ignore: Vec<String>,
    /// What stands between two cells.
    pub separator: Separator,
    /// What stands before a number's fraction.
    pub decimal: Decimal,
    /// Lines before the table.
    pub skip: u32,
    /// A second file with the labels, in the order of the samples. `None`: the labels are in `file`.
    pub label_file: Option<String>,
    /// The class of each label's text, by text. Empty: labels are numbers.
    pub labels: Vec<LabelCode>,
    /// Columns of text, by column.
    pub categories: Vec<Category>,
    /// What becomes of missing values.
    pub missing: Missing,
}

/// A CSV column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Column {
    /// By header name.
    Name(String),
    /// By index from 0; negative counts from the end.
    Index(i32),
}

words! {
    /// What stands between two cells of a line.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    pub enum Separator {
        /// A comma.
        Comma = "comma",
        /// A semicolon.
        Semicolon = "semicolon",
        /// A tab.
        Tab = "tab",
        /// One or more spaces or tabs.
        Space = "space",
        /// A vertical bar.
        Pipe = "pipe",
    }
}

words! {
    /// What stands before a number's fraction.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    pub enum Decimal {
        /// A point, as in `1.5`.
        Point = "point",
        /// A comma, as in `1,5`.
        Comma = "comma",
    }
}

/// The class of a label's text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LabelCode {
    /// The label as the file spells it.
    pub text: String,
    /// The index of its class.
    pub class: u32,
}

/// A column of text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Category {
    /// The column's name.
    pub column: String,
    /// How its texts become numbers.
    pub coding: Coding,
}

/// How texts of a column become numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Coding {
    /// Each text has a number: one feature. In the order of the texts.
    Numbers(Vec<NamedNumber>),
    /// Each text has a feature of its own, which is 1 for this text and 0 for another one.
    OneHot(Vec<String>),
}

/// A text and its number.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NamedNumber {
    /// A category, or a column.
    pub name: String,
    /// Finite.
    pub number: f64,
}

/// What becomes of missing values. Without either, a missing value is refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Missing {
    /// What takes the place of missing features.
    pub fill: Option<Fill>,
    /// The most rows that may be left out because a value is missing that nothing fills.
    pub drop_row: u32,
}

/// What takes the place of a missing feature.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fill {
    /// This number, in every column.
    Number(f64),
    /// The column's mean in `standardise`.
    Mean,
    /// A number for each of these columns. In the order of the names.
    Columns(Vec<NamedNumber>),
}

impl CsvSpec {
    /// A table with a header, commas and numbers alone, and with the label in the column `label`.
    #[must_use]
    pub fn new(file: impl Into<String>, label: Column) -> Self {
        Self {
            file: file.into(),
            header: true,
            label,
            features: None,
            ignore: Vec::new(),
            separator: Separator::Comma,
            decimal: Decimal::Point,
            skip: 0,
            label_file: None,
            labels: Vec::new(),
            categories: Vec::new(),
            missing: Missing::default(),
        }
    }

    /// How texts of the column become numbers; `None` for a column of numbers.
    #[must_use]
    pub fn coding(&self, column: &str) -> Option<&Coding> {
        self.categories.iter().find(|category| category.column == column).map(|category| &category.coding)
    }

    /// Whether the plan says that nobody reads the column.
    #[must_use]
    pub fn ignores(&self, column: &str) -> bool {
        self.ignore.iter().any(|pattern| pattern::matches(pattern, column))
    }
}

impl Coding {
    /// How many features the column gives.
    #[must_use]
    pub fn width(&self) -> usize {
        match self {
            Self::Numbers(_) => 1,
            Self::OneHot(texts) => texts.len(),
        }
    }
}

impl Separator {
    /// The character itself; for [`Self::Space`] the one that stands for its runs.
    #[must_use]
    pub fn character(self) -> char {
        match self {
            Self::Comma => ',',
            Self::Semicolon => ';',
            Self::Tab => '\t',
            Self::Space => ' ',
            Self::Pipe => '|',
        }
    }
}

pub(super) fn read(data: &Section<'_>) -> Result<CsvSpec, PlanError> {
    Ok(CsvSpec {
        file: data.get("file")?,
        header: data.get("header")?,
        label: data.get("label")?,
        features: data.get("features")?,
        ignore: data.get("ignore")?,
        separator: data.get::<Spelt>("separator")?.0,
        decimal: data.get("decimal")?,
        skip: data.get("skip")?,
        label_file: data.get("label_file")?,
        labels: data.get::<Labels>("labels")?.0,
        categories: data.get::<Categories>("categories")?.0,
        missing: data.get("missing")?,
    })
}

impl Setting for Column {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        match field.value() {
            Value::Text(name) => Ok(Self::Name(name.clone())),
            Value::Whole(index) => i32::try_from(*index).map(Self::Index).map_err(|_| field.refused()),
            _ => Err(field.refused()),
        }
    }
}

/// A separator by its word, or the character itself.
struct Spelt(Separator);

impl Setting for Spelt {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        let all = [Separator::Comma, Separator::Semicolon, Separator::Tab, Separator::Space, Separator::Pipe];
        let is = |text: &str| all.into_iter().find(|one| text.chars().eq([one.character()]));
        match field.value() {
            Value::Text(text) if is(text).is_some() => is(text).map(Self).ok_or_else(|| field.refused()),
            _ => Separator::read(field).map(Self),
        }
    }
}

/// Texts with their classes, in the order of the texts.
pub(super) struct Labels(pub(super) Vec<LabelCode>);

impl Setting for Labels {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        let codes = by_text(field, u32::read)?;
        Ok(Self(codes.into_iter().map(|(text, class)| LabelCode { text, class }).collect()))
    }
}

/// Columns of text, in the order of their names.
struct Categories(Vec<Category>);

impl Setting for Categories {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        let coding = |field: &Field<'_>| match field.value() {
            Value::List(_) => Vec::read(&field.taking(TEXTS)).map(Coding::OneHot),
            _ => numbers(field).map(Coding::Numbers),
        };
        let all = by_text(field, coding)?;
        Ok(Self(all.into_iter().map(|(column, coding)| Category { column, coding }).collect()))
    }
}

/// A map from texts to numbers, in the order of the texts.
fn numbers(field: &Field<'_>) -> Result<Vec<NamedNumber>, PlanError> {
    let all = by_text(field, f64::read)?;
    Ok(all.into_iter().map(|(name, number)| NamedNumber { name, number }).collect())
}

/// The entries of a map from texts, in the order of the texts.
fn by_text<T>(
    field: &Field<'_>,
    read: impl Fn(&Field<'_>) -> Result<T, PlanError>,
) -> Result<Vec<(String, T)>, PlanError> {
    let entry = |(text, field): (String, Field<'_>)| Ok((text, read(&field)?));
    let mut all: Vec<(String, T)> =
        field.texts(limits::PLAN_FILE_BYTES)?.into_iter().map(entry).collect::<Result<_, PlanError>>()?;
    all.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(all)
}

impl Setting for Missing {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        if matches!(field.value(), Value::Text(word) if word == REFUSE) {
            return Ok(Self::default());
        }
        if !matches!(field.value(), Value::Map(_)) {
            return Err(field.wrong(format!("{REFUSE}, or a map with the keys fill and drop_row")));
        }
        let rule = field.section()?;
        Ok(Self { fill: rule.get("fill")?, drop_row: rule.get("drop_row")? })
    }
}

impl Setting for Fill {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        match field.value() {
            Value::Text(word) if word == MEAN => Ok(Self::Mean),
            Value::Map(_) => numbers(field).map(Self::Columns),
            Value::Whole(_) | Value::Number(_) => f64::read(&field.taking(NUMBER)).map(Self::Number),
            _ => Err(field.refused()),
        }
    }
}

/// Checks the table's keys against each other, and against the model and the classes.
pub(super) fn check_in(
    csv: &CsvSpec,
    model: &ModelSpec,
    classes: Option<u32>,
    has_statistics: bool,
) -> Checked {
    is_file("file", &csv.file)?;
    csv.label_file.as_ref().map_or(Ok(()), |file| is_file("label_file", file))?;
    if csv.label_file.as_ref() == Some(&csv.file) {
        let message = format!(
            "data.label_file is {:?}, and so is data.file: the label would be a feature, too",
            csv.file
        );
        let hint = "remove data.label_file: without it, the labels are in data.file".to_owned();
        return Err(Fault::new("data/label_file", message).hint(Some(hint)));
    }
    check(CSV, "data/skip", &csv.skip)?;
    if csv.decimal == Decimal::Comma && csv.separator == Separator::Comma {
        let message = "data.decimal is comma, and data.separator is comma, too";
        return Err(Fault::new("data/decimal", message)
            .hint(Some("write `separator: semicolon`, or the file's own separator".to_owned())));
    }
    check_columns(csv, model)?;
    check_labels(&csv.labels, classes)?;
    check_categories(csv)?;
    check_missing(csv, has_statistics)
}

fn check_columns(csv: &CsvSpec, model: &ModelSpec) -> Checked {
    let named = [
        ("features", csv.features.is_some()),
        ("ignore", !csv.ignore.is_empty()),
        ("categories", !csv.categories.is_empty()),
    ];
    if let Some((key, _)) = named.into_iter().find(|(_, there)| *there && !csv.header) {
        let message = format!("data.{key} names columns, but data.header is false");
        let hint = "a file without a header has no names: remove the key, or write names into the first line";
        return Err(Fault::new(format!("data/{key}"), message).hint(Some(hint.to_owned())));
    }
    if let (Column::Name(name), false) = (&csv.label, csv.header) {
        let message = format!("data.label is the column's name {name:?}, but data.header is false");
        let hint = "write `header: true`, or the label's index: `label: -1` is the last column".to_owned();
        return Err(Fault::new("data/label", message).hint(Some(hint)));
    }
    let label = match &csv.label {
        Column::Name(name) if csv.label_file.is_none() => Some(name),
        _ => None,
    };
    let twice = |name: &&String| csv.ignore.contains(name);
    if let Some(name) = label.into_iter().chain(csv.features.iter().flatten()).find(twice) {
        let message = format!("data.ignore has the column {name:?}, which the plan reads");
        let hint = "remove the name from data.ignore, or from the columns that the plan reads".to_owned();
        return Err(Fault::new("data/ignore", message).hint(Some(hint)));
    }
    let Some(features) = &csv.features else { return Ok(()) };
    if features.is_empty() {
        return Err(Fault::new("data/features", "data.features is empty; it takes at least one column"));
    }
    for (index, name) in features.iter().enumerate() {
        let refused = |what: &str| {
            let message = format!("data.features has the column {name:?}{what}");
            Err(Fault::new(format!("data/features/{index}"), message))
        };
        if features[..index].contains(name) {
            return refused(" twice");
        }
        if label == Some(name) {
            return refused(", which is the label");
        }
    }
    let width: usize = features.iter().map(|name| csv.coding(name).map_or(1, Coding::width)).sum();
    let needed: u64 = model.input.iter().map(|side| u64::from(*side)).product();
    if width as u64 != needed {
        let message = format!(
            "data.features gives {width} values a sample; model.input {:?} takes {needed}",
            model.input
        );
        let hint =
            "a column is one value; a column with a list in data.categories is one value for each text";
        return Err(Fault::new("data/features", message).hint(Some(hint.to_owned())));
    }
    Ok(())
}

pub(super) fn check_labels(labels: &[LabelCode], classes: Option<u32>) -> Checked {
    check_order("labels", labels.iter().map(|code| code.text.as_str()))?;
    check_spellings("labels", labels.iter().map(|code| code.text.as_str()))?;
    if labels.is_empty() {
        return Ok(());
    }
    let Some(classes) = classes else {
        let hint = "add `classes`: the number of classes";
        return Err(Fault::new("data/labels", "data.labels needs the key classes beside it")
            .hint(Some(hint.to_owned())));
    };
    for LabelCode { text, class } in labels {
        if *class >= classes {
            let message = format!("data.labels.{text} is {class}; the classes are 0 to {}", classes - 1);
            return Err(Fault::new(format!("data/labels/{text}"), message));
        }
    }
    let unnamed = (0..classes).find(|class| !labels.iter().any(|code| code.class == *class));
    match unnamed {
        None => Ok(()),
        Some(class) => {
            let message = format!("no label of data.labels is the class {class}; data.classes is {classes}");
            Err(Fault::new("data/labels", message))
        }
    }
}

fn check_categories(csv: &CsvSpec) -> Checked {
    check_order("categories", csv.categories.iter().map(|category| category.column.as_str()))?;
    for Category { column, coding } in &csv.categories {
        is_feature(csv, "categories", column)?;
        let key = format!("categories/{column}");
        let empty = match coding {
            Coding::Numbers(codes) => {
                check_order(&key, codes.iter().map(|code| code.name.as_str()))?;
                check_spellings(&key, codes.iter().map(|code| code.name.as_str()))?;
                check_finite(&key, codes)?;
                codes.is_empty()
            }
            Coding::OneHot(texts) => {
                if let Some(index) = (0..texts.len()).find(|&index| texts[..index].contains(&texts[index])) {
                    let message = format!("data.categories.{column} has {:?} twice", texts[index]);
                    return Err(Fault::new(format!("data/{key}/{index}"), message));
                }
                check_spellings(&key, texts.iter().map(String::as_str))?;
                texts.is_empty()
            }
        };
        if empty {
            let message = format!("data.categories.{column} is empty; it takes at least one category");
            return Err(Fault::new(format!("data/{key}"), message));
        }
    }
    Ok(())
}

fn check_missing(csv: &CsvSpec, has_statistics: bool) -> Checked {
    check(MISSING, "data/missing/drop_row", &csv.missing.drop_row)?;
    match &csv.missing.fill {
        Some(Fill::Mean) if !has_statistics => {
            let message = "data.missing.fill is mean, but the plan has no data.standardise with the means";
            let hint = "add `standardise`, or write a number for each column: fill: {age: 40}";
            Err(Fault::new("data/missing/fill", message).hint(Some(hint.to_owned())))
        }
        Some(Fill::Number(number)) if !number.is_finite() => {
            Err(Fault::new("data/missing/fill", "data.missing.fill is not a finite number"))
        }
        Some(Fill::Columns(columns)) => {
            let key = "missing/fill";
            if !csv.header {
                let message = "data.missing.fill names columns, but data.header is false";
                return Err(Fault::new(format!("data/{key}"), message));
            }
            check_order(key, columns.iter().map(|column| column.name.as_str()))?;
            check_finite(key, columns)?;
            let one_hot = |column: &&NamedNumber| matches!(csv.coding(&column.name), Some(Coding::OneHot(_)));
            if let Some(NamedNumber { name, .. }) = columns.iter().filter(one_hot).find(|c| c.number != 0.0) {
                let message = format!(
                    "data.missing.fill has a number for the column {name:?}, each text of which is a feature of 0 or 1"
                );
                let hint = format!(
                    "write `{name}: 0`: then all features of the column are 0 where the value is missing"
                );
                return Err(Fault::new(format!("data/{key}/{name}"), message).hint(Some(hint)));
            }
            columns.iter().try_for_each(|column| is_feature(csv, key, &column.name))
        }
        _ => Ok(()),
    }
}

/// Refuses a column that is the label, or that a plan with `features` does not list.
fn is_feature(csv: &CsvSpec, key: &str, column: &str) -> Checked {
    let refused = |what: String, hint: Option<String>| {
        let message = format!("data.{} has the column {column:?}, which {what}", key.replace('/', "."));
        Err(Fault::new(format!("data/{key}/{column}"), message).hint(hint))
    };
    if csv.label_file.is_none() && matches!(&csv.label, Column::Name(label) if label == column) {
        return refused(
            "is the label".to_owned(),
            Some("the key `labels` names the label's classes".to_owned()),
        );
    }
    match &csv.features {
        Some(features) if !features.iter().any(|name| name == column) => {
            let near = nearest(column, features.iter().map(String::as_str));
            let hint = near.map(|near| format!("did you mean {near:?}?"));
            refused("is not in data.features".to_owned(), hint)
        }
        _ => Ok(()),
    }
}

/// Keys of a map have one order in the canonical bytes, and each is there once.
fn check_order<'a>(key: &str, texts: impl Iterator<Item = &'a str> + Clone) -> Checked {
    let twice = texts.clone().zip(texts.skip(1)).find(|(a, b)| a >= b);
    twice.map_or(Ok(()), |(_, text)| {
        Err(Fault::new(format!("data/{key}"), format!("data.{} has {text:?} twice", key.replace('/', "."))))
    })
}

/// Refuses two texts that are one number: a cell is found by its number where no text is the cell's own.
fn check_spellings<'a>(key: &str, texts: impl Iterator<Item = &'a str>) -> Checked {
    let mut numbers: Vec<(f64, &str)> = texts
        .filter_map(|text| Some((text.parse().ok()?, text)))
        .filter(|(number, _)| !f64::is_nan(*number))
        .collect();
    // Zeros of both signs are one number.
    numbers.sort_by(|a, b| (a.0 + 0.0).total_cmp(&(b.0 + 0.0)));
    let Some(pair) = numbers.windows(2).find(|pair| pair[0].0 == pair[1].0) else { return Ok(()) };
    let name = key.replace('/', ".");
    let message = format!("data.{name} has {:?} and {:?}, which are one number", pair[0].1, pair[1].1);
    let hint = "write the number once: a file may spell 1 as 1.0".to_owned();
    Err(Fault::new(format!("data/{key}"), message).hint(Some(hint)))
}

fn check_finite(key: &str, numbers: &[NamedNumber]) -> Checked {
    match numbers.iter().find(|named| !named.number.is_finite()) {
        None => Ok(()),
        Some(named) => {
            let message = format!("data.{}.{} is not a finite number", key.replace('/', "."), named.name);
            Err(Fault::new(format!("data/{key}"), message))
        }
    }
}

const TEXTS: Takes = Takes::List { kind: "a list of texts", of: &Takes::Text(Text::Any("text")) };
const NUMBER: Takes = Takes::Number(Range::Finite);
const SEPARATORS: &[Word] = Separator::TABLE;
const DECIMALS: &[Word] = Decimal::TABLE;
/// The index of a class.
pub(super) const CLASS: Takes = Takes::Whole { least: 0, most: 1_000_000, unit: "" };
pub(super) const REFUSE: &str = "refuse";
const MEAN: &str = "mean";
