//! Samples from a collaborator's data folder: loaders, standardisation, splits, shards.
//!
//! A collaborator calls [`crate::registry::Registry::load_data`] once, which calls [`load`] and then
//! [`split`].
//!
//! - No loader repairs data. A loader refuses a value that is missing, not a number or not finite, and names
//!   its place.
//! - No loader opens a file outside the data folder, whatever the plan says.
//! - No loader allocates memory only because a file's header asks for it.

mod csv;
mod dataset;
mod error;
mod folder;
mod idx;
mod npy;
pub mod shard;
mod split;

use std::path::Path;

use fl_engine::plan::{DataSpec, Loader, Standardise};
use ndarray::{ArrayD, IxDyn};

pub use dataset::{Dataset, SplitData};
pub use error::DataError;
pub use split::split;

/// Reads, checks, shapes and standardises the data that `spec` describes from the folder `dir`.
///
/// `input_shape` is one sample's shape (`[30]`, `[1, 8, 8]`). The shape in the file may differ, but each row
/// must have the same number of values. Labels of a classifier must be whole numbers in `0 .. classes`.
///
/// # Errors
/// [`DataError`], which names the file and, where there is one, the row and column.
/// [`DataError::UnknownLoader`] for a custom loader: [`crate::registry::Registry::load_data`] knows those.
pub fn load(spec: &DataSpec, input_shape: &[u32], dir: &Path) -> Result<Dataset, DataError> {
    let data = match &spec.loader {
        Loader::Csv { file, header, label } => csv::load(dir, file, *header, label)?,
        Loader::Npy { features, labels } => pair(npy::load(dir, features)?, npy::load(dir, labels)?)?,
        Loader::Idx { features, labels } => pair(idx::load(dir, features)?, idx::load(dir, labels)?)?,
        Loader::Custom { name } => {
            return Err(DataError::UnknownLoader { name: name.clone(), nearest: None });
        }
        other => return Err(DataError::UnknownLoader { name: format!("{other:?}"), nearest: None }),
    };
    prepare(data, spec, input_shape)
}

/// Checks labels, gives rows the model's input shape, and standardises. [`load`] does the same after a
/// built-in loader.
///
/// # Errors
/// [`DataError::Mismatch`] if rows, labels or standardisation do not fit the plan.
pub fn prepare(data: Dataset, spec: &DataSpec, input_shape: &[u32]) -> Result<Dataset, DataError> {
    let mismatch = |what: String| DataError::Mismatch { what };
    let rows = data.rows();
    if rows == 0 {
        return Err(mismatch("there are no rows".to_owned()));
    }
    if let Some(classes) = spec.classes {
        let bad = data.labels.iter().position(|&l| !(l >= 0.0 && l < classes as f32 && l.fract() == 0.0));
        if let Some(row) = bad {
            let label = data.labels[row];
            let what =
                format!("sample {} has label {label}, but the classes are 0 to {}", row + 1, classes - 1);
            return Err(mismatch(what));
        }
    }
    let found = data.features.len() / rows;
    let wanted = input_shape.iter().try_fold(1usize, |n, &side| n.checked_mul(side as usize));
    if wanted != Some(found) {
        return Err(mismatch(format!(
            "a sample has {found} values, but the model's input {input_shape:?} needs {}",
            wanted.unwrap_or(usize::MAX)
        )));
    }
    let shape: Vec<usize> =
        std::iter::once(rows).chain(input_shape.iter().map(|&side| side as usize)).collect();
    let mut values = data.features.into_raw_vec_and_offset().0;
    if let Some(statistics) = &spec.standardise {
        standardise(&mut values, found, statistics)?;
    }
    let features = ArrayD::from_shape_vec(IxDyn(&shape), values).map_err(|e| mismatch(e.to_string()))?;
    Ok(Dataset { features, labels: data.labels })
}

fn pair(features: ArrayD<f32>, labels: ArrayD<f32>) -> Result<Dataset, DataError> {
    let rows = features.shape().first().copied().unwrap_or(0);
    if labels.len() != rows {
        let what = format!("there are {rows} samples but {} labels", labels.len());
        return Err(DataError::Mismatch { what });
    }
    Ok(Dataset { features, labels: labels.into_raw_vec_and_offset().0 })
}

fn standardise(values: &mut [f32], width: usize, statistics: &Standardise) -> Result<(), DataError> {
    let Standardise { mean, std } = statistics;
    for (name, list) in [("mean", mean), ("std", std)] {
        if list.len() != 1 && list.len() != width {
            let what =
                format!("standardise has {} values of {name}, but a sample has {width} features", list.len());
            return Err(DataError::Mismatch { what });
        }
    }
    if mean.iter().any(|m| !m.is_finite()) || std.iter().any(|s| !s.is_finite() || *s <= 0.0) {
        let what = "standardise needs finite means, and standard deviations above 0".to_owned();
        return Err(DataError::Mismatch { what });
    }
    for (row, sample) in values.chunks_exact_mut(width).enumerate() {
        for (at, value) in sample.iter_mut().enumerate() {
            *value = (*value - mean[at % mean.len()]) / std[at % std.len()];
            if !value.is_finite() {
                let what =
                    format!("sample {}, feature {} is not finite after standardisation", row + 1, at + 1);
                return Err(DataError::Mismatch { what });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use fl_engine::plan::{Column, Split};

    use super::*;

    /// A fresh folder of this test run.
    pub(super) fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("fl-data-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn spec(loader: Loader) -> DataSpec {
        let split = Split { train: 1.0, validation: 0.0, test: 0.0 };
        DataSpec { loader, standardise: None, split, classes: Some(2) }
    }

    fn csv(file: &str) -> Loader {
        Loader::Csv { file: file.to_owned(), header: true, label: Column::Name("y".to_owned()) }
    }

    #[test]
    fn csv_is_shaped_and_standardised() {
        let dir = scratch("csv");
        fs::write(dir.join("d.csv"), "a,b,c,d,y\n1,2,3,4,0\n5,6,7,8,1\n").unwrap();
        let mut spec = spec(csv("d.csv"));
        spec.standardise = Some(Standardise { mean: vec![1.0], std: vec![1.0, 2.0, 4.0, 8.0] });
        let data = load(&spec, &[1, 2, 2], &dir).unwrap();
        assert_eq!(data.features.shape(), [2, 1, 2, 2]);
        assert_eq!(data.features.as_slice().unwrap(), [0.0, 0.5, 0.5, 0.375, 4.0, 2.5, 1.5, 0.875]);
        assert_eq!(data.labels, [0.0, 1.0]);
    }

    #[test]
    fn idx_pairs_are_read_and_unequal_ones_refused() {
        let dir = scratch("idx");
        fs::write(dir.join("x"), [0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 1, 9, 8]).unwrap();
        fs::write(dir.join("y"), [0, 0, 8, 1, 0, 0, 0, 2, 1, 0]).unwrap();
        let idx = |labels: &str| spec(Loader::Idx { features: "x".to_owned(), labels: labels.to_owned() });
        let data = load(&idx("y"), &[1], &dir).unwrap();
        assert_eq!((data.features.as_slice().unwrap(), &data.labels[..]), (&[9.0, 8.0][..], &[1.0, 0.0][..]));
        fs::write(dir.join("z"), [0, 0, 8, 1, 0, 0, 0, 1, 1]).unwrap();
        let refusal = load(&idx("z"), &[1], &dir).unwrap_err().to_string();
        assert_eq!(refusal, "the data does not fit the plan: there are 2 samples but 1 labels");
    }

    #[test]
    fn data_that_does_not_fit_the_plan_is_refused() {
        let dir = scratch("fit");
        fs::write(dir.join("d.csv"), "a,y\n1,0\n2,2\n").unwrap();
        let refusal = |spec: &DataSpec, shape: &[u32]| load(spec, shape, &dir).unwrap_err().to_string();
        let mut s = spec(csv("d.csv"));
        assert!(refusal(&s, &[1]).ends_with("sample 2 has label 2, but the classes are 0 to 1"));
        s.classes = None;
        assert!(refusal(&s, &[3]).ends_with("a sample has 1 values, but the model's input [3] needs 3"));
        s.standardise = Some(Standardise { mean: vec![0.0, 0.0], std: vec![1.0] });
        assert!(refusal(&s, &[1]).ends_with("standardise has 2 values of mean, but a sample has 1 features"));
        s.standardise = Some(Standardise { mean: vec![0.0], std: vec![0.0] });
        assert!(refusal(&s, &[1]).ends_with("standard deviations above 0"));
    }

    #[test]
    fn a_file_outside_the_folder_is_refused_and_a_missing_one_named() {
        let dir = scratch("outside");
        let refusal = load(&spec(csv("../d.csv")), &[1], &dir).unwrap_err();
        assert!(matches!(refusal, DataError::Outside { .. }), "{refusal}");
        let missing = load(&spec(csv("none.csv")), &[1], &dir).unwrap_err().to_string();
        assert!(missing.contains("none.csv"), "{missing}");
    }
}
