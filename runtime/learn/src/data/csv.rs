//! Comma-separated values: one sample a line, numbers only, one column is the label.
//!
//! A cell may stand in quotes as a whole: the loader takes the quotes off. The loader refuses a quote
//! anywhere else.

use std::{
    io::{BufRead, Read},
    path::Path,
};

use fl_engine::plan::Column;
use ndarray::{ArrayD, IxDyn};

use super::{dataset::Dataset, error::DataError, folder};

/// Reads the file `name` in `dir`. The features have the shape `[rows, columns - 1]`.
pub(super) fn load(dir: &Path, name: &str, header: bool, label: &Column) -> Result<Dataset, DataError> {
    let file = folder::open(dir, name)?;
    read(file.input, &file.path, name, header, label)
}

fn read(
    mut input: impl BufRead,
    path: &Path,
    file: &str,
    header: bool,
    label: &Column,
) -> Result<Dataset, DataError> {
    let mut line = Vec::new();
    let mut row = 0u64;
    let mut next = |line: &mut Vec<u8>, row: &mut u64| -> Result<bool, DataError> {
        line.clear();
        *row += 1;
        let read = input.by_ref().take(LINE_BYTES + 1).read_until(b'\n', line);
        let read = read.map_err(|source| DataError::Io { path: path.to_owned(), source })?;
        if read as u64 > LINE_BYTES {
            let what = format!("the line is longer than {LINE_BYTES} bytes");
            return Err(DataError::Row { file: file.to_owned(), row: *row, what });
        }
        Ok(read > 0)
    };

    let mut columns = None;
    let mut label_at = None;
    if header {
        if !next(&mut line, &mut row)? {
            return Err(DataError::File { file: file.to_owned(), what: "the file is empty".to_owned() });
        }
        let text = text(&line, file, row)?;
        let names: Vec<&str> = text.split(',').map(unquote).collect();
        label_at = Some(locate(label, Some(&names), names.len(), file)?);
        columns = Some(names.len());
    }

    let (mut features, mut labels) = (Vec::new(), Vec::new());
    while next(&mut line, &mut row)? {
        let text = text(&line, file, row)?;
        if text.is_empty() {
            continue;
        }
        let width = text.split(',').count();
        let expected = *columns.get_or_insert(width);
        if width != expected {
            let what = format!("{width} columns, but the rows above have {expected}");
            return Err(DataError::Row { file: file.to_owned(), row, what });
        }
        let at = match label_at {
            Some(at) => at,
            None => *label_at.insert(locate(label, None, width, file)?),
        };
        if features.len() as u64 + width as u64 > folder::VALUES {
            let what = format!("the file has more than {} values", folder::VALUES);
            return Err(DataError::File { file: file.to_owned(), what });
        }
        for (column, cell) in text.split(',').enumerate() {
            let value = number(cell).map_err(|what| DataError::Cell {
                file: file.to_owned(),
                row,
                column: column + 1,
                what,
            })?;
            if column == at { labels.push(value) } else { features.push(value) }
        }
    }
    let Some(columns) = columns.filter(|_| !labels.is_empty()) else {
        return Err(DataError::File { file: file.to_owned(), what: "there are no rows".to_owned() });
    };
    let features = ArrayD::from_shape_vec(IxDyn(&[labels.len(), columns - 1]), features)
        .map_err(|e| DataError::File { file: file.to_owned(), what: e.to_string() })?;
    Ok(Dataset { features, labels })
}

fn text<'a>(line: &'a [u8], file: &str, row: u64) -> Result<&'a str, DataError> {
    let text = std::str::from_utf8(line).map_err(|_| DataError::Row {
        file: file.to_owned(),
        row,
        what: "the line is not UTF-8 text".to_owned(),
    })?;
    let text = if row == 1 { text.trim_start_matches('\u{feff}') } else { text };
    Ok(text.trim_end_matches(['\n', '\r']))
}

fn unquote(cell: &str) -> &str {
    let cell = cell.trim();
    cell.strip_prefix('"').and_then(|c| c.strip_suffix('"')).unwrap_or(cell)
}

fn number(cell: &str) -> Result<f32, String> {
    let cell = unquote(cell);
    if cell.is_empty() {
        return Err("the value is missing".to_owned());
    }
    match cell.parse::<f32>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(_) => Err(format!("{} is not a finite number", shown(cell))),
        Err(_) => Err(format!("{} is not a number", shown(cell))),
    }
}

/// The cell's first 24 characters: a log line stays short, and no patient's whole row gets into the log.
fn shown(cell: &str) -> String {
    format!("{:?}", cell.chars().take(24).collect::<String>())
}

fn locate(label: &Column, names: Option<&[&str]>, width: usize, file: &str) -> Result<usize, DataError> {
    let refused = |what| DataError::File { file: file.to_owned(), what };
    if width < 2 {
        return Err(refused("a row needs a label and at least one feature".to_owned()));
    }
    match label {
        Column::Name(name) => {
            let Some(names) = names else {
                return Err(refused(format!(
                    "the label {name:?} is a column's name: the plan needs header: true"
                )));
            };
            let mut found = names.iter().enumerate().filter(|(_, n)| *n == name).map(|(at, _)| at);
            match (found.next(), found.next()) {
                (Some(at), None) => Ok(at),
                (Some(_), Some(_)) => Err(refused(format!("the header has {name:?} twice"))),
                _ => Err(refused(format!("the header has no column {name:?}"))),
            }
        }
        Column::Index(index) => {
            let at = if *index < 0 { width as i64 + i64::from(*index) } else { i64::from(*index) };
            usize::try_from(at)
                .ok()
                .filter(|&at| at < width)
                .ok_or_else(|| refused(format!("there is no column {index}: a row has {width} columns")))
        }
    }
}

/// Longest line, bytes. A row of a 512 × 512 image as text takes about 1 MiB.
const LINE_BYTES: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8], header: bool, label: Column) -> Result<Dataset, DataError> {
        read(text, Path::new("t.csv"), "t.csv", header, &label)
    }

    fn refusal(text: &[u8], header: bool, label: Column) -> String {
        parse(text, header, label).unwrap_err().to_string()
    }

    #[test]
    fn label_is_found_by_name_and_by_index_from_either_end() {
        let named =
            parse(b"\xef\xbb\xbf\"y\",a,b\r\n1,2,3\r\n\r\n0,5,6", true, Column::Name("y".into())).unwrap();
        assert_eq!(named.labels, [1.0, 0.0]);
        assert_eq!(named.features.shape(), [2, 2]);
        assert_eq!(named.features.as_slice().unwrap(), [2.0, 3.0, 5.0, 6.0]);
        let first = parse(b"1,2,3\n0,5,6\n", false, Column::Index(0)).unwrap();
        assert_eq!(first, named);
        let last = parse(b"2,3,1\n5,6,0\n", false, Column::Index(-1)).unwrap();
        assert_eq!(last, named);
    }

    #[test]
    fn bad_cells_are_refused_with_row_and_column() {
        let y = || Column::Index(-1);
        assert_eq!(refusal(b"1,2\n,1\n", false, y()), "t.csv: row 2, column 1: the value is missing");
        assert_eq!(
            refusal(b"a,y\n1,NaN\n", true, y()),
            "t.csv: row 2, column 2: \"NaN\" is not a finite number"
        );
        assert_eq!(
            refusal(b"1,2\n1e99,1\n", false, y()),
            "t.csv: row 2, column 1: \"1e99\" is not a finite number"
        );
        assert_eq!(refusal(b"x,2\n", false, y()), "t.csv: row 1, column 1: \"x\" is not a number");
        assert_eq!(refusal(b"\"1,2\",3\n", false, y()), "t.csv: row 1, column 1: \"\\\"1\" is not a number");
    }

    #[test]
    fn ragged_empty_and_endless_files_are_refused() {
        let y = || Column::Index(-1);
        assert_eq!(
            refusal(b"1,2\n1,2,3\n", false, y()),
            "t.csv: row 2: 3 columns, but the rows above have 2"
        );
        assert_eq!(refusal(b"", true, y()), "t.csv: the file is empty");
        assert_eq!(refusal(b"a,y\n", true, y()), "t.csv: there are no rows");
        assert_eq!(refusal(b"\xff,1\n", false, y()), "t.csv: row 1: the line is not UTF-8 text");
        let endless = vec![b'1'; LINE_BYTES as usize + 1];
        assert_eq!(refusal(&endless, false, y()), "t.csv: row 1: the line is longer than 4194304 bytes");
    }

    #[test]
    fn labels_that_are_missing_or_there_twice_are_refused() {
        let name = |n: &str| Column::Name(n.into());
        assert_eq!(refusal(b"a,y\n1,2\n", true, name("z")), "t.csv: the header has no column \"z\"");
        assert_eq!(refusal(b"y,y\n1,2\n", true, name("y")), "t.csv: the header has \"y\" twice");
        assert_eq!(
            refusal(b"1,2\n", false, name("y")),
            "t.csv: the label \"y\" is a column's name: the plan needs header: true"
        );
        assert_eq!(
            refusal(b"1,2\n", false, Column::Index(-3)),
            "t.csv: there is no column -3: a row has 2 columns"
        );
        assert_eq!(
            refusal(b"1\n", false, Column::Index(0)),
            "t.csv: a row needs a label and at least one feature"
        );
    }
}
