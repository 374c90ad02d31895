//! `fl-host data describe`: the statistics of the tables in a folder, column by column.

use std::{collections::BTreeMap, path::Path};

use fl_engine::plan::{Column, CsvSpec, Decimal, Separator};
use fl_learn::data::{
    DataError,
    csv::{self, Cell},
};

use super::refused;
use crate::exit::{Exit, Failure};

/// A table and its columns.
#[derive(Clone, Debug, PartialEq)]
pub struct TableSummary {
    /// The file's name in the folder.
    pub file: String,
    /// Rows without the header.
    pub rows: u64,
    /// Whether the first line names the columns.
    pub header: bool,
    /// What stands between two cells.
    pub separator: Separator,
    /// In the file's order.
    pub columns: Vec<ColumnSummary>,
}

/// What the cells of one column are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ColumnSummary {
    /// From the header, or the number from 1.
    pub name: String,
    /// Of the cells that are finite numbers.
    pub numbers: Moments,
    /// The smallest and the largest number.
    pub range: Option<(f64, f64)>,
    /// How many cells have no value.
    pub missing: u64,
    /// How often each text stands in the column, of the first twenty different ones; numbers are
    /// texts, too.
    pub texts: BTreeMap<String, u64>,
    /// Whether the column has more different texts.
    pub more_texts: bool,
    /// How many cells are neither a finite number nor missing.
    pub words: u64,
}

/// Count, mean and standard deviation of numbers (Welford, Technometrics 4, 1962).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    /// How many numbers.
    pub count: u64,
    /// Their mean; 0 without one.
    pub mean: f64,
    /// The sum of squared distances from the mean.
    squares: f64,
}

impl Moments {
    /// Counts one more number.
    pub fn add(&mut self, number: f64) {
        self.count += 1;
        let distance = number - self.mean;
        self.mean += distance / self.count as f64;
        self.squares += distance * (number - self.mean);
    }

    /// The standard deviation, with the count as divisor; 0 without a number.
    #[must_use]
    pub fn deviation(&self) -> f64 {
        (self.squares / self.count.max(1) as f64).sqrt()
    }
}

impl ColumnSummary {
    fn see(&mut self, text: &str, decimal: Decimal) {
        match csv::cell(text, decimal) {
            Cell::Missing => {
                self.missing += 1;
                return;
            }
            Cell::Number(number) => {
                self.numbers.add(number);
                let (least, most) = self.range.unwrap_or((number, number));
                self.range = Some((least.min(number), most.max(number)));
            }
            Cell::Infinite(_) | Cell::Text(_) => self.words += 1,
        }
        if let Some(count) = self.texts.get_mut(text) {
            *count += 1;
        } else if self.texts.len() < MOST_TEXTS {
            self.texts.insert(text.to_owned(), 1);
        } else {
            self.more_texts = true;
        }
    }
}

/// Describes the plan's table in a folder.
///
/// # Errors
/// [`Exit::Data`] for a table that cannot be read.
pub fn describe(folder: &Path, spec: &CsvSpec) -> Result<TableSummary, Failure> {
    let skip = spec.skip;
    table(folder, &spec.file, spec.separator, spec.decimal, skip, Some(spec.header)).map_err(|e| refused(&e))
}

/// Describes every table in a folder: files that end with `.csv`, `.tsv`, `.txt` or `.data`, or with `.gz`
/// after that. The separator is the one that divides the first rows into the most cells, and the first line
/// is a header unless it has a number. A table that cannot be read gives its failure.
///
/// # Errors
/// [`Exit::File`] for a folder that cannot be read, [`Exit::Data`] for a folder without tables.
pub fn tables(folder: &Path) -> Result<Vec<Result<TableSummary, Failure>>, Failure> {
    let entries = std::fs::read_dir(folder)
        .map_err(|e| Failure::new(Exit::File, format!("cannot read the folder {}: {e}", folder.display())))?;
    let mut names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| ENDINGS.iter().any(|ending| name.trim_end_matches(".gz").ends_with(ending)));
    names.sort_unstable();
    if names.is_empty() {
        let error = format!("{} has no file that ends with {}", folder.display(), ENDINGS.join(", "));
        return Err(Failure::new(Exit::Data, error)
            .hint("run the command in a workspace, whose plan names the file: see `data` in the plan"));
    }
    let of = |name: &String| {
        let separator = separator(folder, name)?;
        table(folder, name, separator, Decimal::Point, 0, None)
    };
    Ok(names.iter().map(|name| of(name).map_err(|e| refused(&e))).collect())
}

fn table(
    folder: &Path,
    file: &str,
    separator: Separator,
    decimal: Decimal,
    skip: u32,
    header: Option<bool>,
) -> Result<TableSummary, DataError> {
    let mut records = csv::open(folder, file, separator, skip)?;
    let mut summary =
        TableSummary { file: file.to_owned(), rows: 0, header: false, separator, columns: Vec::new() };
    while let Some(record) = records.next_row()? {
        let cells: Vec<&str> = record.cells().collect();
        if summary.columns.is_empty() {
            let number = |cell: &&str| matches!(csv::cell(cell, decimal), Cell::Number(_));
            summary.header = header.unwrap_or_else(|| !cells.iter().any(number));
            let name = |(at, cell): (usize, &&str)| match summary.header {
                true => (*cell).to_owned(),
                false => (at + 1).to_string(),
            };
            let names: Vec<String> = cells.iter().enumerate().map(name).collect();
            let column = |name| ColumnSummary { name, ..ColumnSummary::default() };
            summary.columns = names.into_iter().map(column).collect();
            if summary.header {
                continue;
            }
        }
        if cells.len() != summary.columns.len() {
            let (row, found, needed) = (record.row, cells.len(), summary.columns.len());
            let what = format!("row {row} has {found} cells, but the rows above have {needed}");
            let hint = "write a cell that contains the separator in quotes".to_owned();
            return Err(DataError::File { file: file.to_owned(), what, hint });
        }
        summary.rows += 1;
        summary.columns.iter_mut().zip(cells).for_each(|(column, cell)| column.see(cell, decimal));
    }
    Ok(summary)
}

/// The separator that divides the first two rows of a table into the most cells, as many in either row.
fn separator(folder: &Path, file: &str) -> Result<Separator, DataError> {
    let mut best = (1, Separator::Comma);
    for separator in
        [Separator::Comma, Separator::Semicolon, Separator::Tab, Separator::Pipe, Separator::Space]
    {
        let mut records = csv::open(folder, file, separator, 0)?;
        // Another separator may make no sense of the lines.
        let mut width = || records.next_row().map(|row| row.map(|record| record.width()));
        let (Ok(Some(first)), Ok(second)) = (width(), width()) else { continue };
        if first > best.0 && second.is_none_or(|second| second == first) {
            best = (first, separator);
        }
    }
    Ok(best.1)
}

impl TableSummary {
    /// A line for the table, and one for each column.
    #[must_use]
    pub fn lines(&self) -> String {
        let header = if self.header { "with a header" } else { "without a header" };
        let (columns, separator) = (self.columns.len(), self.separator.word());
        let mut rows = vec![
            ["column", "numbers", "missing", "mean", "deviation", "least", "most", "texts"]
                .map(str::to_owned)
                .to_vec(),
        ];
        rows.extend(self.columns.iter().map(row));
        let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let pad = |at: usize, cell: &String, width: usize| match at {
                0 => format!("{cell:<width$}"),
                7 => cell.clone(),
                _ => format!("{cell:>width$}"),
            };
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(at, (cell, width))| pad(at, cell, *width))
                .collect();
            format!("{}\n", cells.join("  ").trim_end())
        };
        let table: String = rows.iter().map(line).collect();
        format!(
            "{}: {} rows, {columns} columns, separator {separator}, {header}\n{table}",
            self.file, self.rows
        )
    }

    /// The texts of the plan's label and how often each is there; `None` if the table has no such column.
    #[must_use]
    pub fn label(&self, label: &Column) -> Option<&ColumnSummary> {
        match label {
            Column::Name(name) => self.columns.iter().find(|column| column.name == *name),
            Column::Index(index) if *index < 0 => {
                self.columns.len().checked_sub(index.unsigned_abs() as usize).map(|at| &self.columns[at])
            }
            Column::Index(index) => self.columns.get(index.unsigned_abs() as usize),
        }
    }

    /// `{mean: […], std: […]}` of these columns, for a plan; `None` if one of them has no number, or is
    /// constant.
    #[must_use]
    pub fn standardise(&self, features: &[String]) -> Option<String> {
        let column = |name: &String| self.columns.iter().find(|column| column.name == *name);
        let columns: Vec<&ColumnSummary> = features.iter().map(column).collect::<Option<_>>()?;
        // Without a number, the deviation is 0.
        if columns.is_empty() || columns.iter().any(|c| c.words > 0 || c.numbers.deviation() == 0.0) {
            return None;
        }
        let list = |of: &dyn Fn(&Moments) -> f64| {
            columns.iter().map(|column| digits(of(&column.numbers))).collect::<Vec<_>>().join(", ")
        };
        Some(format!("{{mean: [{}], std: [{}]}}", list(&|m| m.mean), list(&Moments::deviation)))
    }
}

fn row(column: &ColumnSummary) -> Vec<String> {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), digits);
    let any = (column.numbers.count > 0).then_some(&column.numbers);
    let is_word = |text: &&String| !matches!(csv::cell(text, Decimal::Point), Cell::Number(_));
    let texts = if column.words == 0 {
        String::new()
    } else if column.more_texts {
        format!("{} cells are not numbers; over {MOST_TEXTS} different", column.words)
    } else {
        let words = column.texts.iter().filter(|(text, _)| is_word(text));
        words.map(|(text, count)| format!("{text:?} {count}")).collect::<Vec<_>>().join(", ")
    };
    vec![
        format!("{:?}", column.name).trim_matches('"').to_owned(),
        column.numbers.count.to_string(),
        column.missing.to_string(),
        number(any.map(|numbers| numbers.mean)),
        number(any.map(Moments::deviation)),
        number(column.range.map(|(least, _)| least)),
        number(column.range.map(|(_, most)| most)),
        texts,
    ]
}

/// Six significant digits, or all digits of a mean beyond a million.
fn digits(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return "0".to_owned();
    }
    let magnitude = value.abs().log10().floor() as i32;
    let after = (5 - magnitude).clamp(0, 17) as usize;
    let text = format!("{value:.after$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Different texts that are counted in a column.
const MOST_TEXTS: usize = 20;
const ENDINGS: [&str; 4] = [".csv", ".tsv", ".txt", ".data"];

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::tests::scratch;

    #[test]
    fn columns_are_counted_and_their_statistics_are_those_of_numpy() {
        let dir = scratch("describe");
        fs::write(dir.join("a.csv"), "age;sex;when\n20;m;1600000000\n;f;1600000010\n40;m;1600000020\n")
            .unwrap();
        let [Ok(found)] = &tables(&dir).unwrap()[..] else { panic!() };
        assert_eq!((found.rows, found.header, found.separator), (3, true, Separator::Semicolon));
        let [age, sex, when] = &found.columns[..] else { panic!() };
        assert_eq!(
            (age.numbers.mean, age.numbers.deviation(), age.missing, age.range),
            (30.0, 10.0, 1, Some((20.0, 40.0)))
        );
        assert_eq!((sex.words, sex.texts["m"], sex.texts["f"]), (3, 2, 1));
        assert_eq!(when.numbers.mean, 1_600_000_010.0);
        assert!((when.numbers.deviation() - (200f64 / 3.0).sqrt()).abs() < 1e-9);
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            found.standardise(&names(&["age", "when"])).unwrap(),
            "{mean: [30, 1600000010], std: [10, 8.16497]}"
        );
        assert_eq!(found.standardise(&names(&["sex"])), None);
        assert_eq!(found.label(&Column::Index(-2)), Some(sex));
        assert_eq!(found.label(&Column::Name("age".to_owned())), Some(age));
    }

    #[test]
    fn folder_without_tables_is_refused_with_what_is_read() {
        let dir = scratch("describe-none");
        let refused = tables(&dir).unwrap_err();
        assert_eq!(refused.exit, Exit::Data);
        assert!(
            refused.error.ends_with("has no file that ends with .csv, .tsv, .txt, .data"),
            "{}",
            refused.error
        );
    }
}
