//! Files of a run that is given up: they stay in their folder under another name.

use std::path::{Path, PathBuf};

use super::StoreError;
use crate::files::Files;

/// Renames a file: `NAME.ENDING` becomes `NAME.1.ENDING`, or the next free number. Returns the new name;
/// `None` where there is no file. When this returns, the new name is durable.
pub(super) fn put_aside(files: &Files, path: &Path) -> Result<Option<PathBuf>, StoreError> {
    if !files.exists(path).map_err(StoreError::read(path))? {
        return Ok(None);
    }
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    for number in 1..=u32::MAX {
        let aside = path.with_extension(format!("{number}.{ending}"));
        if !files.exists(&aside).map_err(StoreError::read(&aside))? {
            files.rename_synced(path, &aside).map_err(StoreError::write(path))?;
            return Ok(Some(aside));
        }
    }
    Ok(None)
}
