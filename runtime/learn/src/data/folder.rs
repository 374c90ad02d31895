//! The data folder: the only place where this crate opens a file.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, BufRead, BufReader},
    os::unix::fs::FileTypeExt as _,
    path::{Component, Path, PathBuf},
};

use flate2::bufread::MultiGzDecoder;

use super::error::DataError;

/// A data file, open.
pub(super) struct DataFile {
    /// The content, unpacked where gzip has compressed the file.
    pub(super) input: Box<dyn BufRead>,
    /// Bytes of the content; `None` for a compressed file, where only reading tells.
    pub(super) bytes: Option<u64>,
}

/// Opens `name` inside `dir`. A name may lead into sub-folders. `..`, absolute names and empty names are
/// refused, as is everything that is not a plain file.
///
/// Symbolic links inside the folder are the site's own business: they are followed.
pub(super) fn open(dir: &Path, name: &str) -> Result<DataFile, DataError> {
    let path = resolve(dir, name)?;
    let failed = |source| DataError::Io { path: path.clone(), source };
    let (mut input, bytes) = plain(&path)?;
    if input.fill_buf().map_err(failed)?.starts_with(GZIP) {
        return Ok(DataFile { input: Box::new(BufReader::new(MultiGzDecoder::new(input))), bytes: None });
    }
    Ok(DataFile { input: Box::new(input), bytes: Some(bytes) })
}

/// Opens a file that is read in any order, as it is.
pub(super) fn open_archive(dir: &Path, name: &str) -> Result<BufReader<File>, DataError> {
    Ok(plain(&resolve(dir, name)?)?.0)
}

/// The entries of a folder: the name of each, and whether the entry is a folder. `None` for `dir` itself.
/// Links are followed; a link that leads nowhere is not a folder.
pub(super) fn list(dir: &Path, name: Option<&str>) -> Result<Vec<(OsString, bool)>, DataError> {
    let path = match name {
        Some(name) => resolve(dir, name)?,
        None => dir.to_owned(),
    };
    let failed = |source| DataError::Io { path: path.clone(), source };
    let entry = |entry: io::Result<fs::DirEntry>| {
        let name = entry.map_err(failed)?.file_name();
        let is_folder = fs::metadata(path.join(&name)).is_ok_and(|kind| kind.is_dir());
        Ok((name, is_folder))
    };
    fs::read_dir(&path).map_err(failed)?.map(entry).collect()
}

/// Whether `name` is a folder inside `dir`. Links are followed.
pub(super) fn is_folder(dir: &Path, name: &str) -> Result<bool, DataError> {
    let path = resolve(dir, name)?;
    match fs::metadata(&path) {
        Ok(kind) => Ok(kind.is_dir()),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
        Err(source) => Err(DataError::Io { path, source }),
    }
}

/// What to say of a file whose content ends early or cannot be unpacked.
pub(super) fn unreadable(file: &str, error: &io::Error) -> DataError {
    let what = match error.kind() {
        io::ErrorKind::UnexpectedEof => "the file is cut short".to_owned(),
        _ => format!("the file cannot be read: {error}"),
    };
    let hint = match error.kind() {
        io::ErrorKind::Unsupported => SAVEZ,
        _ => "copy the file again from where it came from",
    };
    DataError::file(file, what, hint)
}

/// A plain file and its length. To open a FIFO would wait for a writer, for ever.
fn plain(path: &Path) -> Result<(BufReader<File>, u64), DataError> {
    let failed = |source| DataError::Io { path: path.to_owned(), source };
    let kind = fs::metadata(path).map_err(failed)?.file_type();
    let what = if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a FIFO (named pipe)"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    if !kind.is_file() {
        return Err(DataError::NotAFile { path: path.to_owned(), what });
    }
    let file = File::open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    Ok((BufReader::new(file), bytes))
}

/// The path of `name` inside `dir`.
pub(super) fn resolve(dir: &Path, name: &str) -> Result<PathBuf, DataError> {
    let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    if name.is_empty() || name.contains(['\0', '\\']) || !inside {
        return Err(DataError::Outside { name: name.to_owned() });
    }
    Ok(dir.join(name))
}

/// The number of values of an array of this shape; `None` above [`VALUES`].
pub(super) fn volume(shape: &[u64]) -> Option<u64> {
    shape.iter().try_fold(1u64, |product, &side| product.checked_mul(side)).filter(|&v| v <= VALUES)
}

/// Most values of an array or table: 4 Gi values are 16 GiB.
pub(super) const VALUES: u64 = fl_engine::limits::ELEMENTS;
/// How to write an archive that can be read.
pub(super) const SAVEZ: &str = "in Python, write the archive with numpy.savez or numpy.savez_compressed";
/// How a file begins that gzip has compressed.
const GZIP: &[u8] = &[0x1f, 0x8b];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        for bad in ["", "..", "../x", "a/../../x", "/etc/passwd", "a\0b", "a\\..\\b", "./x/.."] {
            assert!(matches!(resolve(Path::new("d"), bad), Err(DataError::Outside { .. })), "{bad:?}");
        }
        assert_eq!(resolve(Path::new("d"), "a/b.csv").unwrap(), Path::new("d/a/b.csv"));
    }
}
