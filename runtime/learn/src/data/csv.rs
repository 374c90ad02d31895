//! Tables of text: one sample a line, one column is the label.

mod cell;
mod columns;
mod faults;
mod records;

use std::{io::BufRead, path::Path};

use fl_engine::plan::{Column, CsvSpec, LabelCode, NamedNumber, Separator};
use ndarray::{Array1, ArrayD, IxDyn};

pub use self::{
    cell::{Cell, read as cell},
    records::{Record, Records},
};
use self::{
    columns::{Columns, Role, SEPARATOR},
    faults::{Fault, Faults},
};
use super::{
    dataset::Dataset,
    error::DataError,
    folder,
    labels::Labels,
    loaded::Loaded,
    scale::{Scale, Scaling},
};

/// Reads the plan's table in `dir`. The features have the shape `[rows, values of a sample]`.
pub(super) fn load(
    dir: &Path,
    spec: &CsvSpec,
    classes: Option<u32>,
    scaling: Scaling<'_>,
) -> Result<Loaded, DataError> {
    let truths = match &spec.label_file {
        None => Truths::InTable,
        Some(file) => Truths::Apart(labels(folder::open(dir, file)?.input, file, spec, classes)?),
    };
    read(folder::open(dir, &spec.file)?.input, spec, classes, scaling, truths)
}

/// Reads the plan's table in `dir` for its samples alone; all labels are 0. A table may lack the column of
/// the label. In a table without a header, the number of columns says whether the column is there.
pub(super) fn samples(
    dir: &Path,
    spec: &CsvSpec,
    input: &[u32],
    scaling: Scaling<'_>,
) -> Result<Loaded, DataError> {
    let width = input.iter().map(|side| *side as usize).product();
    read(folder::open(dir, &spec.file)?.input, spec, None, scaling, Truths::None { width })
}

/// Where the labels of a table are.
enum Truths {
    /// In a column.
    InTable,
    /// In a file of their own, in the order of the rows; `None` for a missing one.
    Apart(Vec<Option<f64>>),
    /// Nowhere: a sample has this many values.
    None { width: usize },
}

impl Truths {
    /// Whether a column of the table, whose rows have `columns` columns, has the labels.
    fn in_table(&self, spec: &CsvSpec, header: Option<&[String]>, columns: usize) -> bool {
        match (self, &spec.label) {
            (Self::InTable, _) => true,
            (Self::Apart(_), _) => false,
            (Self::None { .. }, _) if spec.label_file.is_some() => false,
            (Self::None { .. }, Column::Name(name)) => header.is_some_and(|names| names.contains(name)),
            (Self::None { width }, Column::Index(_)) => columns > *width,
        }
    }
}

/// Opens a table of a folder, to read its rows as they are.
///
/// # Errors
/// [`DataError`] for a file that cannot be opened, or is of another format.
pub fn open(
    dir: &Path,
    file: &str,
    separator: Separator,
    skip: u32,
) -> Result<Records<Box<dyn BufRead>>, DataError> {
    Records::new(folder::open(dir, file)?.input, file, separator, skip)
}

/// The names of the columns that are the plan's features, in the order of the sample; numbers for a table
/// without a header.
///
/// # Errors
/// [`DataError`] for a table whose columns do not fit the plan.
pub fn feature_names(dir: &Path, spec: &CsvSpec) -> Result<Vec<String>, DataError> {
    let table = Table::open(folder::open(dir, &spec.file)?.input, &spec.file, spec)?;
    // The names do not depend on the scaling.
    let labelled = spec.label_file.is_none();
    Columns::find(spec, Scaling::AsIs, table.header, table.width, labelled).map(|columns| columns.features)
}

fn read(
    input: impl BufRead,
    spec: &CsvSpec,
    classes: Option<u32>,
    scaling: Scaling<'_>,
    truths: Truths,
) -> Result<Loaded, DataError> {
    let file = &spec.file;
    let mut table = Table::open(input, file, spec)?;
    let labelled = truths.in_table(spec, table.header.as_deref(), table.width);
    let columns = Columns::find(spec, scaling, table.header.clone(), table.width, labelled)?;
    let (apart, unlabelled) = match truths {
        Truths::InTable => (None, false),
        Truths::Apart(labels) => (Some(labels), false),
        Truths::None { .. } => (None, true),
    };
    let mut places = Vec::new();
    let scale = Scale::new(scaling, columns.width, 1)?;
    let (mut features, mut labels) = (Vec::new(), Vec::new());
    // The labels of a file of their own were looked at in that file, whose rows and cures are its own.
    let classes = classes.filter(|_| apart.is_none());
    let (mut faults, mut missing, mut seen) = (Faults::default(), Faults::default(), Labels::new(classes));
    let (mut rows, mut dropped, mut filled) = (0, 0u64, 0u64);
    let mut sample = vec![0.0; columns.width];
    while let Some(record) = table.next_row()? {
        let mut label = None;
        let mut complete = true;
        if let Some(apart) = &apart {
            label = apart.get(rows).copied().flatten();
            complete = rows >= apart.len() || label.is_some();
        }
        if unlabelled {
            label = Some(0.0);
        }
        rows += 1;
        for (column, (text, role)) in record.cells().zip(&columns.roles).enumerate() {
            let value = match role {
                Role::Unread => continue,
                Role::Label if unlabelled => continue,
                Role::Label => label_of(text, spec),
                Role::Number { .. } => number_of(text, spec),
                Role::Coded { codes, .. } => code_of(text, codes, spec),
                Role::OneHot { texts, .. } => text_of(text, texts, spec),
            };
            let value = match (value, role) {
                (Err(fault), _) => {
                    faults.add(column, fault, record.row, text);
                    continue;
                }
                (
                    Ok(None),
                    Role::Number { at, fill: Some(fill) } | Role::Coded { at, fill: Some(fill), .. },
                ) => {
                    filled += 1;
                    if scaling.adds_up() {
                        sample[*at] = f64::NAN;
                        continue;
                    }
                    *fill
                }
                (Ok(None), Role::OneHot { at, texts, fill: true }) => {
                    filled += 1;
                    sample[*at..at + texts.len()].fill(if scaling.adds_up() { f64::NAN } else { 0.0 });
                    continue;
                }
                (Ok(None), _) => {
                    missing.add(column, Fault::Missing, record.row, text);
                    complete = false;
                    continue;
                }
                (Ok(Some(value)), _) => value,
            };
            match role {
                Role::Unread => {}
                Role::Label if !(value as f32).is_finite() => {
                    faults.add(column, Fault::Large, record.row, text)
                }
                Role::Label => label = Some(value),
                Role::Number { at, .. } | Role::Coded { at, .. } => {
                    if !scale.apply(*at, value).is_finite() {
                        faults.add(column, Fault::Large, record.row, text);
                    }
                    sample[*at] = value;
                }
                Role::OneHot { at, texts, .. } => {
                    sample[*at..at + texts.len()].fill(0.0);
                    sample[at + value as usize] = 1.0;
                }
            }
        }
        let Some(label) = label.filter(|_| complete) else {
            dropped += u64::from(!complete);
            continue;
        };
        if (features.len() + sample.len()) as u64 > folder::VALUES {
            let what = format!("the file has more than {} values", folder::VALUES);
            return Err(DataError::file(file, what, "divide the file among several collaborators"));
        }
        features.extend(sample.iter().enumerate().map(|(at, value)| scale.take(at, *value)));
        seen.see(record.row, label);
        labels.push(label as f32);
        if unlabelled {
            places.push(record.row.to_string());
        }
    }
    if let Some(apart) = apart.filter(|apart| apart.len() != rows) {
        let of = spec.label_file.as_deref().unwrap_or_default();
        let what = format!("there are {rows} samples, but {} labels in {of}", apart.len());
        return Err(DataError::file(file, what, "both files need a line for each sample, in the same order"));
    }
    let most = u64::from(spec.missing.drop_row);
    let gaps = missing.words(&columns.names);
    if !faults.is_empty() || dropped > most {
        let mut what = String::new();
        if dropped > most {
            if most > 0 {
                what = format!("{dropped} rows have missing values, and data.missing.drop_row is {most}; ");
            }
            faults.append(missing);
        }
        return Err(DataError::file(file, what + &faults.words(&columns.names), faults.hint(&columns.names)));
    }
    if labels.is_empty() {
        return Err(DataError::file(file, "there are no rows", "copy the data into the file"));
    }
    seen.finish(file, true)?;

    let features = ArrayD::from_shape_vec(IxDyn(&[labels.len(), columns.width]), features)
        .map_err(|e| DataError::file(file, e.to_string(), SEPARATOR))?;
    let mut loaded = Loaded::new(Dataset::new(features, Array1::from(labels).into_dyn()));
    if table.header.is_some() && spec.features.is_none() {
        let digest = columns.digest();
        loaded.facts.push(format!(
            "{file}: the plan names no columns; the digest of their names in order is {}, which has to be the same at every site",
            digest.short()
        ));
        loaded.columns = Some(digest);
    }
    if dropped > 0 {
        let gaps = if gaps.is_empty() { String::new() } else { format!(": {gaps}") };
        loaded.facts.push(format!("{file}: {dropped} rows are left out, because a value is missing{gaps}"));
    }
    if filled > 0 {
        loaded.facts.push(format!("{file}: {filled} missing values are filled as the plan says"));
    }
    loaded.warnings.extend(table.header_of_numbers(spec).map(|names| {
        format!(
            "the header of {file} has numbers alone: {names}. If this line is a sample, write `header: false`"
        )
    }));
    loaded.features = columns.features;
    loaded.places = places;
    Ok(loaded)
}

/// The labels of a file of their own; `None` for a missing one that the plan allows.
fn labels(
    input: impl BufRead,
    file: &str,
    spec: &CsvSpec,
    classes: Option<u32>,
) -> Result<Vec<Option<f64>>, DataError> {
    let mut table = Table::open(input, file, spec)?;
    let at = columns::label(spec, file, table.header.as_deref(), table.width)?;
    let names: Vec<String> = match &table.header {
        Some(names) => names.clone(),
        None => (1..=table.width).map(|number| number.to_string()).collect(),
    };
    let (mut faults, mut seen, mut labels) = (Faults::default(), Labels::new(classes), Vec::new());
    while let Some(record) = table.next_row()? {
        let text = record.cells().nth(at).unwrap_or_default();
        match label_of(text, spec) {
            Ok(None) if spec.missing.drop_row == 0 => faults.add(at, Fault::Missing, record.row, text),
            Ok(label) => {
                label.into_iter().for_each(|label| seen.see(record.row, label));
                labels.push(label);
            }
            Err(fault) => faults.add(at, fault, record.row, text),
        }
    }
    if !faults.is_empty() {
        return Err(DataError::file(file, faults.words(&names), faults.hint(&names)));
    }
    seen.finish(file, true)?;
    Ok(labels)
}

/// A table whose header has been read.
struct Table<R> {
    records: Records<R>,
    file: String,
    /// `None` for a file without one.
    header: Option<Vec<String>>,
    /// Cells of each row.
    width: usize,
}

impl<R: BufRead> Table<R> {
    fn open(input: R, file: &str, spec: &CsvSpec) -> Result<Self, DataError> {
        let mut records = Records::new(input, file, spec.separator, spec.skip)?;
        let Some(record) = records.next_row()? else {
            if spec.skip > 0 {
                let what =
                    format!("there is no row after the first {} lines, which data.skip skips", spec.skip);
                return Err(DataError::file(file, what, "correct data.skip in the plan, or the file"));
            }
            return Err(DataError::file(file, "the file is empty", "copy the data into the file"));
        };
        if record.width() <= 2 && record.cells().next().is_some_and(|cell| cell.starts_with("sep=")) {
            let what = format!("row {} is a line for Excel, `sep=`, and not the header", record.row);
            let hint = format!("write `skip: {}` into the plan's data", spec.skip + 1);
            return Err(DataError::file(file, what, hint));
        }
        let cells: Vec<String> = record.cells().map(str::to_owned).collect();
        let row = record.row;
        if let ([only], true) = (cells.as_slice(), spec.label_file.is_none()) {
            let others = [Separator::Comma, Separator::Semicolon, Separator::Tab, Separator::Pipe];
            let there = others.into_iter().find(|other| only.contains(other.character()));
            let there = there.or_else(|| only.contains(' ').then_some(Separator::Space));
            if let Some(other) = there {
                let (other, ours) = (other.word(), spec.separator.word());
                let what = format!(
                    "row {row} has one cell: data.separator is {ours}, and the file seems to have {other}"
                );
                return Err(DataError::file(
                    file,
                    what,
                    format!("write `separator: {other}` into the plan's data"),
                ));
            }
            let what = format!("a row needs a label and at least one feature, and row {row} has one cell");
            return Err(DataError::file(file, what, SEPARATOR));
        }
        let width = cells.len();
        let header = spec.header.then_some(cells);
        if header.is_none() {
            records.again();
        }
        Ok(Self { records, file: file.to_owned(), header, width })
    }

    fn next_row(&mut self) -> Result<Option<Record<'_>>, DataError> {
        let Some(record) = self.records.next_row()? else { return Ok(None) };
        if record.width() != self.width {
            let (row, width) = (record.row, record.width());
            let above = if self.header.is_some() { "the header has" } else { "the rows above have" };
            let what = format!("row {row} has {width} cells, but {above} {}", self.width);
            let is_longer = width == self.width + 1;
            let hint = if is_longer && record.cells().last() == Some("") {
                "a separator stands at the end of the row: remove it from each row, or add it to the header with a name that data.ignore names"
            } else if self.header.is_some() && is_longer {
                "R's write.table leaves the heading of row names out: write the file with row.names = FALSE"
            } else {
                "write a cell that contains the separator in quotes, or remove the row"
            };
            return Err(DataError::file(&self.file, what, hint));
        }
        Ok(Some(record))
    }

    /// The first names of a header whose every cell is a number, which the plan does not compare with names
    /// of its own.
    fn header_of_numbers(&self, spec: &CsvSpec) -> Option<String> {
        let names = self.header.as_ref().filter(|_| spec.features.is_none())?;
        let number = |name: &String| matches!(cell(name, spec.decimal), Cell::Number(_));
        names.iter().all(number).then(|| names.iter().take(4).cloned().collect::<Vec<_>>().join(", "))
    }
}

/// A cell's number; `None` if it is missing.
fn number_of(text: &str, spec: &CsvSpec) -> Result<Option<f64>, Fault> {
    match cell(text, spec.decimal) {
        Cell::Number(number) => Ok(Some(number)),
        Cell::Missing => Ok(None),
        Cell::Infinite(_) => Err(Fault::Infinite),
        Cell::Text(_) => Err(Fault::Text),
    }
}

/// The label of a cell.
fn label_of(text: &str, spec: &CsvSpec) -> Result<Option<f64>, Fault> {
    if spec.labels.is_empty() {
        return number_of(text, spec)
            .map_err(|fault| if fault == Fault::Text { Fault::LabelText } else { fault });
    }
    let found = listed(text, spec.labels.iter().map(|LabelCode { text, class }| (text, f64::from(*class))));
    otherwise(found, text, spec, Fault::Label)
}

/// The number of a category.
fn code_of(text: &str, codes: &[NamedNumber], spec: &CsvSpec) -> Result<Option<f64>, Fault> {
    let found = listed(text, codes.iter().map(|code| (&code.name, code.number)));
    otherwise(found, text, spec, Fault::Category)
}

/// The index of a category.
fn text_of(text: &str, texts: &[String], spec: &CsvSpec) -> Result<Option<f64>, Fault> {
    let found = listed(text, texts.iter().zip(0u32..).map(|(text, at)| (text, f64::from(at))));
    otherwise(found, text, spec, Fault::Category)
}

/// What the plan says of a cell's text. Numbers are the same in every spelling: programs write 1 as 1.0.
fn listed<'a>(cell: &str, known: impl Iterator<Item = (&'a String, f64)> + Clone) -> Option<f64> {
    let exact = known.clone().find(|(text, _)| *text == cell);
    let found = exact.or_else(|| {
        let number: f64 = cell.parse().ok()?;
        known.clone().find(|(text, _)| text.parse() == Ok(number))
    });
    found.map(|(_, value)| value)
}

/// What a cell says whose text the plan does not list.
fn otherwise(found: Option<f64>, text: &str, spec: &CsvSpec, fault: Fault) -> Result<Option<f64>, Fault> {
    match found {
        Some(value) => Ok(Some(value)),
        None if cell(text, spec.decimal) == Cell::Missing => Ok(None),
        None => Err(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8], header: bool, label: Column) -> Result<Dataset, DataError> {
        let spec = CsvSpec { header, ..CsvSpec::new("t.csv", label) };
        read(text, &spec, None, Scaling::AsIs, Truths::InTable).map(|loaded| loaded.data)
    }

    fn refusal(text: &[u8], header: bool, label: Column) -> String {
        parse(text, header, label).unwrap_err().to_string()
    }

    #[test]
    fn label_is_found_by_name_and_by_index_from_either_end() {
        let named =
            parse(b"\xef\xbb\xbf\"y\",a,b\r\n1,2,3\r\n\r\n0,5,6", true, Column::Name("y".into())).unwrap();
        assert_eq!(named.labels.as_slice().unwrap(), [1.0, 0.0]);
        assert_eq!(named.features.shape(), [2, 2]);
        assert_eq!(named.features.as_slice().unwrap(), [2.0, 3.0, 5.0, 6.0]);
        let first = parse(b"1,2,3\n0,5,6\n", false, Column::Index(0)).unwrap();
        assert_eq!(first, named);
        let last = parse(b"2,3,1\n5,6,0\n", false, Column::Index(-1)).unwrap();
        assert_eq!(last, named);
    }

    #[test]
    fn samples_are_read_with_and_without_the_column_of_the_label() {
        let samples = |text: &[u8], header: bool, label: Column| {
            let spec = CsvSpec { header, ..CsvSpec::new("t.csv", label) };
            let loaded = read(text, &spec, None, Scaling::AsIs, Truths::None { width: 2 }).unwrap();
            assert_eq!(loaded.data.labels.as_slice().unwrap(), [0.0, 0.0]);
            (loaded.data.features.into_raw_vec_and_offset().0, loaded.places)
        };
        let name = || Column::Name("y".into());
        let expected =
            |first: &str, second: &str| (vec![2.0, 3.0, 5.0, 6.0], vec![first.to_owned(), second.to_owned()]);
        assert_eq!(samples(b"y,a,b\nsick,2,3\n\n,5,6\n", true, name()), expected("2", "4"));
        assert_eq!(samples(b"a,b\n2,3\n5,6\n", true, name()), expected("2", "3"));
        assert_eq!(samples(b"2,3\n5,6\n", false, Column::Index(-1)), expected("1", "2"));
        assert_eq!(samples(b"2,3,x\n5,6,y\n", false, Column::Index(-1)), expected("1", "2"));
    }

    #[test]
    fn rows_that_are_no_samples_are_refused() {
        let y = || Column::Index(-1);
        assert_eq!(
            refusal(b"1,2\n1,2,3\n", false, y()),
            "t.csv: row 2 has 3 cells, but the rows above have 2"
        );
        assert_eq!(refusal(b"", true, y()), "t.csv: the file is empty");
        assert_eq!(refusal(b"a,y\n", true, y()), "t.csv: there are no rows");
        assert_eq!(refusal(b"\xff,1\n", false, y()), "t.csv: row 1: the line is not UTF-8 text");
        assert_eq!(
            refusal(b"a,y\n,1\nx,NaN\n1e999,1\n", true, y()),
            "t.csv: column a: 1 is missing, first in row 2; column a: 1 is not a number, first \"x\" in row 3; \
             column a: 1 is not finite, first \"1e999\" in row 4; column y: 1 is missing, first in row 3"
        );
    }

    #[test]
    fn labels_that_are_missing_or_there_twice_are_refused() {
        let name = |n: &str| Column::Name(n.into());
        assert_eq!(refusal(b"a,y\n1,2\n", true, name("z")), "t.csv: the header has no column \"z\"");
        assert_eq!(
            refusal(b"a,Why\n1,2\n", true, name("why")),
            "t.csv: the header has no column \"why\" (is \"Why\" meant?)"
        );
        assert_eq!(refusal(b"y,y\n1,2\n", true, name("y")), "t.csv: the header has \"y\" twice");
        assert_eq!(
            refusal(b"1,2\n", false, name("y")),
            "t.csv: the label \"y\" is a column's name, and data.header is false"
        );
        assert_eq!(
            refusal(b"1,2\n", false, Column::Index(-3)),
            "t.csv: there is no column -3: a row has 2 columns"
        );
        assert_eq!(
            refusal(b"1\n", false, Column::Index(0)),
            "t.csv: a row needs a label and at least one feature, and row 1 has one cell"
        );
    }
}
