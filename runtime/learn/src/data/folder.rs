//! The data folder: the only way from a plan's file name to an open file.

use std::{
    fs::File,
    path::{Component, Path, PathBuf},
};

use super::DataError;

/// Largest array or table that a loader builds: 4 Gi values are 16 GiB.
pub(super) const VALUES: u64 = fl_engine::limits::ELEMENTS;

/// Opens `name` inside `dir`; sub-folders are allowed, `..`, absolute names and empty ones are not.
///
/// Symbolic links inside the folder are the site's own business and are followed.
pub(super) fn open(dir: &Path, name: &str) -> Result<File, DataError> {
    let path = resolve(dir, name)?;
    File::open(&path).map_err(|source| DataError::Io { path, source })
}

/// The path of `name` inside `dir`.
pub(super) fn resolve(dir: &Path, name: &str) -> Result<PathBuf, DataError> {
    let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    if name.is_empty() || name.contains(['\0', '\\']) || !inside {
        return Err(DataError::Outside { name: name.to_owned() });
    }
    Ok(dir.join(name))
}

/// The product of a shape, unless it passes [`VALUES`].
pub(super) fn volume(shape: &[u64]) -> Option<u64> {
    shape.iter().try_fold(1u64, |product, &side| product.checked_mul(side)).filter(|&v| v <= VALUES)
}

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
