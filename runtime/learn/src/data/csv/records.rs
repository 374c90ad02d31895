//! Lines of a table to cells, as RFC 4180 has it: a cell in quotes may contain separators, doubled quotes and
//! line breaks.

use std::io::{self, BufRead, Read as _};

use fl_engine::plan::Separator;

use super::super::{error::DataError, folder, signature};

/// Reads a table row by row.
pub struct Records<R> {
    input: R,
    file: String,
    separator: Separator,
    /// Lines read so far.
    lines: u64,
    line: Vec<u8>,
    /// The cells of the row one after another, and where each ends.
    text: String,
    ends: Vec<usize>,
    /// The line on which the row begins.
    row: u64,
    /// Whether the row is given again.
    again: bool,
}

/// The cells of one row.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The line on which the row begins, from 1.
    pub row: u64,
    text: &'a str,
    ends: &'a [usize],
}

impl<'a> Record<'a> {
    /// Number of cells.
    #[must_use]
    pub fn width(&self) -> usize {
        self.ends.len()
    }

    /// The cells in order. Spaces around a cell are taken off, unless they are in quotes.
    pub fn cells(self) -> impl Iterator<Item = &'a str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(self.ends).map(move |(start, end)| &self.text[start..*end])
    }
}

impl<R: BufRead> Records<R> {
    /// The rows of a table after its first `skip` lines. `file` is what refusals call the table.
    ///
    /// # Errors
    /// [`DataError`] for a file of another format, and when the file cannot be read.
    pub fn new(mut input: R, file: &str, separator: Separator, skip: u32) -> Result<Self, DataError> {
        let start = input.fill_buf().map_err(|e| folder::unreadable(file, &e))?;
        if let Some(found) = signature::of_table(start) {
            return Err(DataError::file(
                file,
                format!("the file is {}, not a CSV file", found.what),
                found.cure,
            ));
        }
        let (line, text, ends) = (Vec::new(), String::new(), Vec::new());
        let file = file.to_owned();
        let mut records = Self { input, file, separator, lines: 0, line, text, ends, row: 0, again: false };
        for _ in 0..skip {
            records.read_line()?;
        }
        Ok(records)
    }

    /// The next row that is not blank; `None` at the end.
    ///
    /// # Errors
    /// [`DataError`] for a line that is too long, not UTF-8, or whose quotes do not fit.
    pub fn next_row(&mut self) -> Result<Option<Record<'_>>, DataError> {
        if std::mem::take(&mut self.again) {
            return Ok(Some(self.record()));
        }
        loop {
            if !self.read_line()? {
                return Ok(None);
            }
            // A line of spaces is blank. A line of tabs may be a row of missing values.
            if !self.line.iter().all(|byte| *byte == b' ') {
                break;
            }
        }
        self.row = self.lines;
        self.text.clear();
        self.ends.clear();
        let mut quoted = self.split(false)?;
        while quoted {
            if self.text.len() as u64 > LINE_BYTES || !self.read_line()? {
                let hint = "close the quote, or remove it: a cell in quotes begins and ends with one";
                return Err(self.refused(self.row, "a quote is opened and not closed", hint));
            }
            self.text.push('\n');
            quoted = self.split(true)?;
        }
        Ok(Some(self.record()))
    }

    /// The next row is the last one again.
    pub(super) fn again(&mut self) {
        self.again = true;
    }

    fn record(&self) -> Record<'_> {
        Record { row: self.row, text: &self.text, ends: &self.ends }
    }

    /// Reads a line without its end; false at the end of the file.
    fn read_line(&mut self) -> Result<bool, DataError> {
        self.line.clear();
        self.lines += 1;
        let mut input = self.input.by_ref().take(LINE_BYTES + 1);
        let read = match input.read_until(b'\n', &mut self.line) {
            Ok(read) => read as u64,
            Err(error) => return Err(self.unreadable(&error)),
        };
        if self.lines == 1 && self.line.starts_with(BYTE_ORDER_MARK) {
            self.line.drain(..BYTE_ORDER_MARK.len());
        }
        if self.line.ends_with(b"\n") {
            self.line.pop();
        }
        if self.line.ends_with(b"\r") {
            self.line.pop();
        }
        if read > LINE_BYTES && !self.line.contains(&b'\r') {
            let what = format!("the line is longer than {LINE_BYTES} bytes");
            return Err(self.refused(self.lines, &what, "save images and other arrays with numpy.save"));
        }
        Ok(read > 0)
    }

    /// Splits the line into cells, or goes on with a cell that a quote has opened. Returns whether the last
    /// cell is still open.
    fn split(&mut self, mut quoted: bool) -> Result<bool, DataError> {
        let line = std::mem::take(&mut self.line);
        let whole = std::str::from_utf8(&line).map_err(|_| self.not_text(&line))?;
        if whole.contains('\0') {
            return Err(self.not_text(&line));
        }
        let (space, character) = (self.separator == Separator::Space, self.separator.character());
        let blank = |c: char| c == ' ' || c == '\u{a0}' || c == '\t' && character != '\t';
        let mut rest = if space { whole.trim_end_matches(blank) } else { whole };
        loop {
            if !quoted {
                rest = rest.trim_start_matches(blank);
                quoted = rest.starts_with('"');
                if quoted {
                    rest = &rest[1..];
                }
            }
            if quoted {
                let Some(after) = self.take_quoted(rest) else {
                    self.line = line;
                    return Ok(true);
                };
                quoted = false;
                rest = if space { after } else { after.trim_start_matches(blank) };
                let separated = if space { rest.starts_with(blank) } else { rest.starts_with(character) };
                if !rest.is_empty() && !separated {
                    let hint = "write a quote inside of a cell twice: \"\"";
                    return Err(self.refused(
                        self.lines,
                        "text stands after the closing quote of a cell",
                        hint,
                    ));
                }
            } else {
                let end = if space { rest.find(blank) } else { rest.find(character) };
                let (cell, after) = rest.split_at(end.unwrap_or(rest.len()));
                if cell.contains('\r') && self.lines == 1 {
                    let hint = "convert the file: tr '\\r' '\\n' < FILE > NEW";
                    return Err(DataError::file(&self.file, "its lines end with CR alone", hint));
                }
                if cell.contains('\r') {
                    let hint = "remove the character: tr -d '\\r' < FILE > NEW";
                    return Err(self.refused(
                        self.lines,
                        "a carriage return (CR) stands inside the line",
                        hint,
                    ));
                }
                self.text.push_str(cell.trim_end_matches(blank));
                rest = after;
            }
            self.ends.push(self.text.len());
            let Some(separator) = rest.chars().next() else { break };
            rest = &rest[separator.len_utf8()..];
        }
        self.line = line;
        Ok(false)
    }

    /// Takes the content of a quoted cell off the front of `rest`, up to and with its closing quote; `None`
    /// if there is none on this line.
    fn take_quoted<'l>(&mut self, mut rest: &'l str) -> Option<&'l str> {
        loop {
            let Some((content, after)) = rest.split_once('"') else {
                self.text.push_str(rest);
                return None;
            };
            self.text.push_str(content);
            let Some(more) = after.strip_prefix('"') else { return Some(after) };
            self.text.push('"');
            rest = more;
        }
    }

    fn not_text(&self, line: &[u8]) -> DataError {
        if line.contains(&0) {
            let hint = "convert the file: iconv -f UTF-16 -t UTF-8 FILE > NEW";
            return self.refused(self.lines, "the line has NUL bytes, as text in UTF-16 has", hint);
        }
        let hint = "convert the file, for example from Latin-1: iconv -f LATIN1 -t UTF-8 FILE > NEW";
        self.refused(self.lines, "the line is not UTF-8 text", hint)
    }

    fn refused(&self, row: u64, what: &str, hint: &str) -> DataError {
        DataError::file(&self.file, format!("row {row}: {what}"), hint)
    }

    fn unreadable(&self, error: &io::Error) -> DataError {
        folder::unreadable(&self.file, error)
    }
}

/// Longest line, bytes. A row of a 512 × 512 image as text takes about 1 MiB.
pub(super) const LINE_BYTES: u64 = 4 << 20;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of a text, with `|` between their cells.
    fn rows(text: &str, separator: Separator) -> Result<Vec<String>, String> {
        let mut records = Records::new(text.as_bytes(), "t.csv", separator, 0).map_err(|e| e.to_string())?;
        let mut all = Vec::new();
        while let Some(record) = records.next_row().map_err(|e| e.to_string())? {
            all.push(format!("{}: {}", record.row, record.cells().collect::<Vec<_>>().join("|")));
        }
        Ok(all)
    }

    #[test]
    fn cells_are_what_rfc_4180_says() {
        let comma = |text| rows(text, Separator::Comma).unwrap();
        assert_eq!(comma("a,b\r\n1, 2 \n\n \n,\n"), ["1: a|b", "2: 1|2", "5: |"]);
        assert_eq!(comma("\u{feff}\"a, cm\",\" b \"\n"), ["1: a, cm| b "]);
        assert_eq!(comma("\"say \"\"x\"\"\" ,2"), ["1: say \"x\"|2"]);
        assert_eq!(comma("\"two\r\nlines\",1\n3,4\n"), ["1: two\nlines|1", "3: 3|4"]);
        assert_eq!(comma("5\" pipe,1\n"), ["1: 5\" pipe|1"]);
        assert_eq!(comma("\"\"\n"), ["1: "]);
    }

    #[test]
    fn every_separator_separates() {
        assert_eq!(rows("a;\"b;c\";d", Separator::Semicolon).unwrap(), ["1: a|b;c|d"]);
        assert_eq!(rows("a\t\tb\n\t\t\n", Separator::Tab).unwrap(), ["1: a||b", "2: ||"]);
        assert_eq!(rows("  a  \tb c \n", Separator::Space).unwrap(), ["1: a|b|c"]);
        assert_eq!(rows("\"a b\" c\n", Separator::Space).unwrap(), ["1: a b|c"]);
        assert_eq!(rows("a| b |c", Separator::Pipe).unwrap(), ["1: a|b|c"]);
    }

    #[test]
    fn lines_that_are_no_rows_are_refused() {
        let refusal = |text: &str| rows(text, Separator::Comma).unwrap_err();
        assert_eq!(refusal("a\n\"b\n1\n"), "t.csv: row 2: a quote is opened and not closed");
        assert_eq!(refusal("\"a\"b,c\n"), "t.csv: row 1: text stands after the closing quote of a cell");
        assert_eq!(refusal("a,b\r1,2\r"), "t.csv: its lines end with CR alone");
        assert_eq!(refusal("a,b\n1\r,2\n"), "t.csv: row 2: a carriage return (CR) stands inside the line");
        assert_eq!(refusal("a\0,\0b"), "t.csv: row 1: the line has NUL bytes, as text in UTF-16 has");
        let endless = "1".repeat(LINE_BYTES as usize + 1);
        assert_eq!(refusal(&endless), "t.csv: row 1: the line is longer than 4194304 bytes");
    }
}
