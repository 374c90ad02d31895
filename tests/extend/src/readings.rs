//! The loader: `readings.txt` has one reading a line, x and y with a space between them.

use std::{fs, path::Path};

use fl_runtime::extend::{
    DataError, Dataset,
    ndarray::{Array1, ArrayD},
};

/// Features are the values of x, shape `[rows, 1]`; labels are the values of y.
pub(crate) fn load(folder: &Path) -> Result<Dataset, DataError> {
    let path = folder.join("readings.txt");
    let text = fs::read_to_string(&path).map_err(|source| DataError::Io { path, source })?;
    let (mut features, mut labels) = (Vec::new(), Vec::new());
    for (at, line) in text.lines().enumerate() {
        let pair = line.split_once(' ').and_then(|(x, y)| Some((x.parse().ok()?, y.parse().ok()?)));
        let Some((x, y)) = pair else {
            return Err(DataError::Loader(format!("readings.txt: line {} is not two numbers", at + 1)));
        };
        features.push(x);
        labels.push(y);
    }
    let features = ArrayD::from_shape_vec(vec![labels.len(), 1], features);
    let labels = Array1::from(labels).into_dyn();
    Ok(Dataset::new(features.map_err(|e| DataError::Loader(e.to_string()))?, labels))
}
