//! Formats that are known by their first bytes: a file of another format is named, with its cure.

/// What a file is, and what to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signature {
    /// For example `an Excel workbook or another ZIP archive`.
    pub(super) what: &'static str,
    pub(super) cure: &'static str,
}

/// The format of a file that begins with these bytes. Text and unknown bytes have none.
pub(super) fn of(start: &[u8]) -> Option<Signature> {
    found(start).map(|(_, signature)| signature)
}

/// [`of`] for a file that may be text: a column's name may begin as a format does, for example `PAR1` or
/// `[Fe/H]`.
pub(super) fn of_table(start: &[u8]) -> Option<Signature> {
    let (bytes, signature) = found(start)?;
    let next = start.get(bytes.len()).copied();
    let among = |set: &[u8]| next.is_none_or(|next| set.contains(&next));
    let is_meant = match bytes {
        b"{" => among(b"\"} \t\r\n"),
        b"[" => among(b"[{\"-] \t\r\n") || next.is_some_and(|next| next.is_ascii_digit()),
        b"<" => among(b"!?/") || next.is_some_and(|next| next.is_ascii_alphabetic()),
        text if text.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') => {
            // The format is binary: text has no such characters.
            let control = |byte: &u8| byte.is_ascii_control() && !b"\t\r\n".contains(byte);
            text == PDF || start.iter().take(BEGINNING).any(control)
        }
        _ => true,
    };
    is_meant.then_some(signature)
}

/// The beginning by which a format is known, and the format.
fn found(start: &[u8]) -> Option<(&'static [u8], Signature)> {
    let (bytes, what, cure) = KNOWN.iter().find(|(bytes, ..)| start.starts_with(bytes))?;
    Some((bytes, Signature { what, cure }))
}

const PDF: &[u8] = b"%PDF-1";
/// Bytes of a file of which a binary format shows that it is not text.
const BEGINNING: usize = 256;
const AS_CSV: &str = "open the file in the program that wrote it, and save it as CSV";
const UTF8: &str = "convert the file: iconv -f UTF-16 -t UTF-8 FILE > NEW";
const UNPACK: &str = "unpack the file first; of compressed files, only those of gzip are read";
const NUMPY: &str = "in Python, save numbers alone with numpy.save";

/// Longer beginnings stand before shorter ones that begin alike.
const KNOWN: &[(&[u8], &str, &str)] = &[
    (b"\xff\xfe\0\0", "text in UTF-32", "convert the file: iconv -f UTF-32 -t UTF-8 FILE > NEW"),
    (b"\xff\xfe", "text in UTF-16", UTF8),
    (b"\xfe\xff", "text in UTF-16", UTF8),
    (b"PK\x03\x04", "a ZIP archive, as Excel workbooks (.xlsx), .npz and .pt files are", AS_CSV),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook (.xls)", AS_CSV),
    (b"\x1f\x8b", "a gzip file inside a gzip file", "unpack the file once: gunzip FILE.gz"),
    (b"BZh", "a bzip2 file", UNPACK),
    (b"\xfd7zXZ", "an xz file", UNPACK),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file", UNPACK),
    (b"PAR1", "a Parquet file", "in Python, write a CSV file: pandas.read_parquet(F).to_csv(G, index=False)"),
    (
        b"ARROW1",
        "an Arrow file",
        "in Python, write a CSV file: pandas.read_feather(F).to_csv(G, index=False)",
    ),
    (b"\x89HDF", "an HDF5 file", "in Python, write its arrays with numpy.save"),
    (
        b"SQLite format 3",
        "an SQLite database",
        "export the table: sqlite3 -csv -header FILE 'select * from TABLE'",
    ),
    (b"\x93NUMPY", "a NumPy array", "write `loader: npy` in the plan's `data`"),
    (b"RDX2", "an R data file", "in R, write a CSV file: write.csv(TABLE, FILE, row.names = FALSE)"),
    (b"RDX3", "an R data file", "in R, write a CSV file: write.csv(TABLE, FILE, row.names = FALSE)"),
    (b"X\n\0\0\0", "an R data file", "in R, write a CSV file: write.csv(TABLE, FILE, row.names = FALSE)"),
    (b"\x80\x02", "a Python pickle", NUMPY),
    (b"\x80\x03", "a Python pickle", NUMPY),
    (b"\x80\x04", "a Python pickle", NUMPY),
    (b"\x80\x05", "a Python pickle", NUMPY),
    (PDF, "a PDF document", AS_CSV),
    (b"<", "a web page or an XML file", AS_CSV),
    (b"{", "a JSON file", "in Python, write a CSV file: pandas.read_json(F).to_csv(G, index=False)"),
    (b"[", "a JSON file", "in Python, write a CSV file: pandas.read_json(F).to_csv(G, index=False)"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_beginnings_are_found_before_shorter_ones() {
        assert_eq!(of(b"\xff\xfe\0\0a").unwrap().what, "text in UTF-32");
        assert_eq!(of(b"\xff\xfea\0").unwrap().what, "text in UTF-16");
        assert_eq!(of(b"a,b\n1,2\n"), None);
        assert_eq!(of(b""), None);
    }

    #[test]
    fn names_of_columns_that_begin_as_a_format_does_are_text() {
        for text in [
            "PAR1,y\n1,0\n",
            "PAR1",
            "BZh\u{e4}ufig,y\n",
            "ARROW1,y\n",
            "RDX2,y\r\n1,0\r\n",
            "SQLite format 3,y\n",
            "[Fe/H],y\n",
            "{a},y\n",
            "<18,y\n",
            "%PDF,y\n",
        ] {
            assert_eq!(of_table(text.as_bytes()), None, "{text}");
        }
        for (bytes, what) in [
            (&b"PAR1\x15\x04\x15"[..], "a Parquet file"),
            (b"BZh91AY&SY\x0d\x1f", "a bzip2 file"),
            (b"SQLite format 3\0", "an SQLite database"),
            (b"%PDF-1.7\n", "a PDF document"),
            (b"[[1, 2], [3, 4]]", "a JSON file"),
            (b"{\n \"a\": 1}", "a JSON file"),
            (b"<!DOCTYPE html>", "a web page or an XML file"),
            (b"<html>", "a web page or an XML file"),
        ] {
            assert_eq!(of_table(bytes).map(|found| found.what), Some(what));
        }
    }
}
