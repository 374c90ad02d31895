//! The data folder: the only place where this crate opens a file.

use std::{
    fs::File,
    io::BufReader,
    path::{Component, Path, PathBuf},
};

use super::error::DataError;

/// A data file, open.
pub(super) struct DataFile {
    pub(super) input: BufReader<File>,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

/// Opens `name` inside `dir`. A name may lead into sub-folders. `..`, absolute names and empty names are
/// refused.
///
/// Symbolic links inside the folder are the site's own business: they are followed.
pub(super) fn open(dir: &Path, name: &str) -> Result<DataFile, DataError> {
    let path = resolve(dir, name)?;
    match File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file))) {
        Ok((bytes, file)) => Ok(DataFile { input: BufReader::new(file), path, bytes }),
        Err(source) => Err(DataError::Io { path, source }),
    }
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
