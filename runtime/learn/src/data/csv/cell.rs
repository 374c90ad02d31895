//! What the text of a cell says.

use fl_engine::plan::Decimal;

/// A cell's content.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    /// A finite number. `True` is 1, `False` is 0.
    Number(f64),
    /// A number, but not a finite one.
    Infinite(&'a str),
    /// No value: an empty cell, or one of the words that stand for one.
    Missing,
    /// Anything else.
    Text(&'a str),
}

/// Reads a cell.
#[must_use]
pub fn read(text: &str, decimal: Decimal) -> Cell<'_> {
    let word = text.trim();
    if MISSING.contains(&word) {
        return Cell::Missing;
    }
    let number = match decimal {
        Decimal::Point => word.parse(),
        Decimal::Comma if word.contains('.') => return Cell::Text(text),
        Decimal::Comma => word.replace(',', ".").parse(),
    };
    match number {
        Ok(number) if f64::is_finite(number) => Cell::Number(number),
        Ok(number) if number.is_nan() => Cell::Missing,
        Ok(_) => Cell::Infinite(text),
        Err(_) => match word {
            "True" | "true" | "TRUE" => Cell::Number(1.0),
            "False" | "false" | "FALSE" => Cell::Number(0.0),
            _ => Cell::Text(text),
        },
    }
}

/// Words that stand for a missing value: those of pandas, R, SAS and the UCI repository.
const MISSING: [&str; 13] =
    ["", "NA", "N/A", "n/a", "#N/A", "<NA>", "NULL", "null", "None", "NaT", "?", ".", "-"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_truth_values_and_missing_ones_are_told_apart() {
        let point = |text| read(text, Decimal::Point);
        for (text, number) in [
            ("1", 1.0),
            ("-1.5e3", -1500.0),
            ("+.5", 0.5),
            ("5.", 5.0),
            (" 7 ", 7.0),
            ("20200131", 20_200_131.0),
            ("True", 1.0),
            ("FALSE", 0.0),
        ] {
            assert_eq!(point(text), Cell::Number(number), "{text:?}");
        }
        for text in ["", "  ", "NA", "NaN", "nan", "-nan", "null", "None", "?", "."] {
            assert_eq!(point(text), Cell::Missing, "{text:?}");
        }
        for text in ["inf", "-Infinity", "1e999"] {
            assert_eq!(point(text), Cell::Infinite(text), "{text:?}");
        }
        for text in ["0x10", "1_000", "1,5", "12%", "2020-01-31", "male", "T", "none", "\u{2212}1"] {
            assert_eq!(point(text), Cell::Text(text), "{text:?}");
        }
        assert_eq!(read("-1,5", Decimal::Comma), Cell::Number(-1.5));
        assert_eq!(read("1.5", Decimal::Comma), Cell::Text("1.5"));
    }
}
