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
    KNOWN.iter().find(|(bytes, ..)| start.starts_with(bytes)).map(|(_, what, cure)| Signature { what, cure })
}

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
    (b"%PDF", "a PDF document", AS_CSV),
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
}
