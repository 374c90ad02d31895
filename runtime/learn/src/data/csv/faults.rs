//! Cells of a table that cannot be used, counted by column: one error tells all of them.

use std::fmt::Write as _;

/// What is wrong with a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    Missing,
    /// Text in a column of numbers.
    Text,
    /// Text in a column of labels.
    LabelText,
    /// Text that the column's categories do not list.
    Category,
    /// A text that `labels` does not list.
    Label,
    Infinite,
    /// Beyond f32, after standardisation.
    Large,
}

impl Fault {
    const ALL: [Self; 7] = [
        Self::Missing,
        Self::Text,
        Self::LabelText,
        Self::Category,
        Self::Label,
        Self::Infinite,
        Self::Large,
    ];

    /// `12 are missing`.
    fn words(self, count: u64) -> &'static str {
        match (self, count) {
            (Self::Missing, 1) => "is missing",
            (Self::Missing, _) => "are missing",
            (Self::Text | Self::LabelText, 1) => "is not a number",
            (Self::Text | Self::LabelText, _) => "are not numbers",
            (Self::Category, 1) => "is not a category of the plan",
            (Self::Category, _) => "are not categories of the plan",
            (Self::Label, 1) => "is not a label of the plan",
            (Self::Label, _) => "are not labels of the plan",
            (Self::Infinite, 1) => "is not finite",
            (Self::Infinite, _) => "are not finite",
            (Self::Large, 1) => "is too large",
            (Self::Large, _) => "are too large",
        }
    }
}

/// The faults of a table.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// One entry for each kind of fault that a column has, in the order in which they were met.
    all: Vec<Tally>,
}

#[derive(Debug)]
struct Tally {
    column: usize,
    fault: Fault,
    count: u64,
    /// The first one's row, and its text.
    row: u64,
    text: String,
}

impl Faults {
    pub(super) fn add(&mut self, column: usize, fault: Fault, row: u64, text: &str) {
        match self.all.iter_mut().find(|tally| tally.column == column && tally.fault == fault) {
            Some(tally) => tally.count += 1,
            None => self.all.push(Tally { column, fault, count: 1, row, text: shown(text) }),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Takes over the faults of other rows.
    pub(super) fn append(&mut self, mut others: Self) {
        self.all.append(&mut others.all);
    }

    /// `column age: 12 are missing, first in row 4; column sex: 3 are not numbers, first "male" in row 2`.
    pub(super) fn words(&self, names: &[String]) -> String {
        let mut order: Vec<&Tally> = self.all.iter().collect();
        order.sort_by_key(|tally| (tally.column, tally.fault));
        let mut out = String::new();
        for Tally { column, fault, count, row, text } in order.iter().take(MOST_SHOWN) {
            let separator = if out.is_empty() { "" } else { "; " };
            let first = match fault {
                Fault::Missing => String::new(),
                _ => format!(" {text:?}"),
            };
            let name = names.get(*column).map_or("", String::as_str);
            let _ = write!(out, "{separator}column {name}: {count} {}", fault.words(*count));
            let _ = write!(out, ", first{first} in row {row}");
        }
        if order.len() > MOST_SHOWN {
            let _ = write!(out, "; {} more columns", order.len() - MOST_SHOWN);
        }
        out
    }

    /// What to do about each kind of fault that there is.
    pub(super) fn hint(&self, names: &[String]) -> String {
        let mut cures: Vec<String> = Vec::new();
        for fault in Fault::ALL {
            let Some(tally) = self.all.iter().find(|tally| tally.fault == fault) else { continue };
            let (name, text) = (names.get(tally.column).map_or("", String::as_str), &tally.text);
            cures.push(match fault {
                Fault::Missing => {
                    "say in the plan what becomes of missing values: `missing: {fill: mean}` or \
                                   `missing: {drop_row: N}`"
                        .to_owned()
                }
                Fault::Text | Fault::LabelText if separator(text).is_some() => {
                    format!("write `separator: {}` into the plan's data", separator(text).unwrap_or_default())
                }
                Fault::Text if is_decimal_comma(text) => {
                    "write `decimal: comma` into the plan's data".to_owned()
                }
                Fault::Text if is_date(text) => {
                    "write dates as numbers, for example as days since a day".to_owned()
                }
                Fault::Text if tally.row == 1 => {
                    "write `header: true` into the plan's data if row 1 names the columns".to_owned()
                }
                Fault::Text if begins_as_a_number(text) => format!(
                    "write plain numbers, for example -1.5 or 2e3; if column {name} has categories, give each a number in \
                     the plan's data.categories"
                ),
                Fault::Text => {
                    format!(
                        "give texts their numbers in the plan: `categories: {{{name}: {{{text}: 0, …}}}}`"
                    )
                }
                Fault::LabelText => {
                    format!("give labels their classes in the plan: `labels: {{{text}: 0, …}}`")
                }
                Fault::Category => format!("add the text to data.categories.{name}, or correct the cell"),
                Fault::Label => "add the text to data.labels, or correct the cell".to_owned(),
                Fault::Infinite => "write finite numbers, or remove the rows".to_owned(),
                Fault::Large => "scale the column, for example with `standardise`".to_owned(),
            });
        }
        cures.join("; ")
    }
}

/// The cell's first 24 characters: a log line stays short, and no patient's whole row gets into the log.
fn shown(text: &str) -> String {
    text.chars().take(24).collect()
}

/// The word of a separator that stands in a cell.
fn separator(text: &str) -> Option<&'static str> {
    let words = [(';', "semicolon"), ('\t', "tab"), ('|', "pipe")];
    words.into_iter().find(|(character, _)| text.contains(*character)).map(|(_, word)| word)
}

fn is_decimal_comma(text: &str) -> bool {
    text.contains(',') && !text.contains('.') && text.replacen(',', ".", 1).parse::<f64>().is_ok()
}

/// `10%`, `0x10`, `1_000`, digits of another script, a minus that is not ASCII.
fn begins_as_a_number(text: &str) -> bool {
    text.trim_start_matches(|c: char| !c.is_alphanumeric()).starts_with(char::is_numeric)
}

fn is_date(text: &str) -> bool {
    let digits = text.chars().filter(char::is_ascii_digit).count();
    digits >= 6 && text.matches(['-', '/', '.', ':']).count() >= 2
}

/// Columns that an error lists.
const MOST_SHOWN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_told_with_its_count_and_first_place() {
        let names = ["age", "sex", "when"].map(str::to_owned);
        let mut faults = Faults::default();
        assert!(faults.is_empty());
        for text in ["10%", "0x10", "1_000", "\u{ff11}", "\u{2212}1", "\u{feff}1", "$5"] {
            let mut faults = Faults::default();
            faults.add(0, Fault::Text, 2, text);
            assert!(faults.hint(&names).starts_with("write plain numbers"), "{text}");
        }
        faults.add(1, Fault::Text, 2, "male");
        faults.add(0, Fault::Missing, 3, "");
        faults.add(0, Fault::Missing, 5, "NA");
        faults.add(2, Fault::Text, 2, "2020-01-31");
        assert_eq!(
            faults.words(&names),
            "column age: 2 are missing, first in row 3; column sex: 1 is not a number, first \"male\" in row 2; \
             column when: 1 is not a number, first \"2020-01-31\" in row 2"
        );
        assert_eq!(
            faults.hint(&names),
            "say in the plan what becomes of missing values: `missing: {fill: mean}` or `missing: {drop_row: N}`; \
             give texts their numbers in the plan: `categories: {sex: {male: 0, …}}`"
        );
    }
}
