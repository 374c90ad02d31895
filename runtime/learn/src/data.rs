//! Samples from a collaborator's data folder: loaders, standardisation, splits, shards.
//!
//! A collaborator calls [`crate::registry::Registry::read_data`] once, which calls [`read`] and then
//! [`split`].
//!
//! - No loader repairs data, unless the plan says how. A loader refuses a value that is missing, not a number
//!   or not finite, and names its place.
//! - No loader reinterprets data: names, shapes and types of a file agree with the plan, or the file is
//!   refused with the cure.
//! - No loader opens a file outside the data folder, whatever the plan says, or anything but a plain file.
//! - No loader allocates memory only because a file's header asks for it.

#[cfg(feature = "tables")]
mod array;
#[cfg(feature = "train")]
pub(crate) mod augment;
#[cfg(feature = "tables")]
pub mod csv;
mod dataset;
mod error;
#[cfg(feature = "tables")]
mod folder;
#[cfg(feature = "tables")]
mod idx;
mod labels;
mod loaded;
#[cfg(feature = "tables")]
mod npy;
#[cfg(feature = "tables")]
mod pictures;
mod scale;
mod shape;
pub mod shard;
#[cfg(feature = "tables")]
mod signature;
mod split;
mod spread;

use std::{cell::RefCell, path::Path};

use fl_engine::{
    plan::{DataSpec, Loader},
    statistics::SiteSums,
};
use ndarray::{ArrayD, IxDyn};

#[cfg(feature = "tables")]
use self::array::Wanted;
pub use self::{
    dataset::{Dataset, SplitData},
    error::DataError,
    loaded::Loaded,
    split::split,
};
use self::{
    labels::Labels,
    scale::{Scale, Scaling},
};

/// Reads, checks, shapes and standardises the data that `spec` describes from the folder `dir`.
///
/// With `standardise: federated`, the rows are as they are, and [`Loaded::sums`] has what the site sends.
///
/// `input_shape` is one sample's shape (`[30]`, `[1, 8, 8]`). A sample of the file has this shape, apart from
/// sides of 1, or is flat. `label_shape` is one label's shape in the same way; `[]` is one number a sample.
/// Labels of a classifier must be whole numbers in `0 .. classes`.
///
/// # Errors
/// [`DataError`], which names the file and, where there are any, rows and columns.
/// [`DataError::UnknownLoader`] for a custom loader: [`crate::registry::Registry::read_data`] knows those.
/// [`DataError::NoLoaders`] without the feature `tables`.
#[cfg(feature = "tables")]
pub fn read(
    spec: &DataSpec,
    input_shape: &[u32],
    label_shape: &[u32],
    dir: &Path,
) -> Result<Loaded, DataError> {
    let sums = spec.federated.map(|_| RefCell::new(SiteSums::new(input_shape)));
    let scaling = Scaling::of(spec, sums.as_ref());
    let samples = Wanted::Samples { input: input_shape, scaling };
    let truths = Wanted::Labels { shape: label_shape };
    let mut loaded = match &spec.loader {
        Loader::Csv(_) if !label_shape.is_empty() => {
            let what = format!(
                "the loss takes labels of the shape {label_shape:?}, and a table has one number a row"
            );
            return Err(DataError::Mismatch { what });
        }
        Loader::Csv(table) => csv::load(dir, table, spec.classes, scaling)?,
        Loader::Npy { features, labels } => {
            let arrays = [npy::load(dir, features, samples)?, npy::load(dir, labels, truths)?];
            pair(arrays, label_shape, labels, spec)?
        }
        Loader::Idx { features, labels } => {
            let arrays = [idx::load(dir, features, samples)?, idx::load(dir, labels, truths)?];
            pair(arrays, label_shape, labels, spec)?
        }
        Loader::Pictures(pictures) => {
            let mut loaded =
                pictures::load(dir, pictures, [input_shape, label_shape], spec.classes, scaling)?;
            loaded.sums = sums.map(RefCell::into_inner);
            return Ok(loaded);
        }
        Loader::Custom { name } => {
            return Err(DataError::UnknownLoader { name: name.clone(), nearest: None });
        }
        other => return Err(DataError::UnknownLoader { name: format!("{other:?}"), nearest: None }),
    };
    loaded.data.features = shaped(loaded.data.features, input_shape, "a sample", "the model's input")?;
    loaded.sums = sums.map(RefCell::into_inner);
    Ok(loaded)
}

/// Reads samples alone, as [`read`] reads and scales them: for a model that is to label them. All labels are
/// 0. A table may have the column of the label or lack the column. Pictures lie in the plan's folder, or in
/// `dir` itself, and in the folders there.
///
/// # Errors
/// As [`load`].
#[cfg(feature = "tables")]
pub fn samples(spec: &DataSpec, input_shape: &[u32], dir: &Path) -> Result<Loaded, DataError> {
    has_statistics(spec)?;
    let scaling = Scaling::of(spec, None);
    let samples = Wanted::Samples { input: input_shape, scaling };
    let unlabelled = |features: ArrayD<f32>| {
        let rows = features.shape().first().copied().unwrap_or(0);
        Loaded::new(Dataset::new(features, ArrayD::zeros(vec![rows])))
    };
    let mut loaded = match &spec.loader {
        Loader::Csv(table) => csv::samples(dir, table, input_shape, scaling)?,
        Loader::Npy { features, .. } => unlabelled(npy::load(dir, features, samples)?),
        Loader::Idx { features, .. } => unlabelled(idx::load(dir, features, samples)?),
        Loader::Pictures(pictures) => return pictures::samples(dir, pictures, input_shape, scaling),
        Loader::Custom { name } => {
            return Err(DataError::UnknownLoader { name: name.clone(), nearest: None });
        }
        other => return Err(DataError::UnknownLoader { name: format!("{other:?}"), nearest: None }),
    };
    loaded.data.features = shaped(loaded.data.features, input_shape, "a sample", "the model's input")?;
    Ok(loaded)
}

/// This program has no built-in loader.
///
/// # Errors
/// [`DataError::NoLoaders`].
#[cfg(not(feature = "tables"))]
pub fn samples(_: &DataSpec, _: &[u32], _: &Path) -> Result<Loaded, DataError> {
    Err(DataError::NoLoaders)
}

/// This program has no built-in loader.
///
/// # Errors
/// [`DataError::NoLoaders`].
#[cfg(not(feature = "tables"))]
pub fn read(_: &DataSpec, _: &[u32], _: &[u32], _: &Path) -> Result<Loaded, DataError> {
    Err(DataError::NoLoaders)
}

/// The rows of [`read`] alone.
///
/// # Errors
/// As [`read`]; [`DataError::NoStatistics`] for data whose statistics the sites are asked for.
pub fn load(
    spec: &DataSpec,
    input_shape: &[u32],
    label_shape: &[u32],
    dir: &Path,
) -> Result<Dataset, DataError> {
    has_statistics(spec)?;
    Ok(read(spec, input_shape, label_shape, dir)?.data)
}

/// Checks labels, gives rows the model's input shape, and standardises. [`load`] does the same while a
/// built-in loader reads. Labels may have any shape with `label_shape` of `None`.
///
/// # Errors
/// [`DataError::Mismatch`] if rows, labels or standardisation do not fit the plan, and as [`load`].
pub fn prepare(
    data: Dataset,
    spec: &DataSpec,
    input_shape: &[u32],
    label_shape: Option<&[u32]>,
) -> Result<Dataset, DataError> {
    has_statistics(spec)?;
    Ok(prepared(data, spec, input_shape, label_shape)?.data)
}

/// As [`prepare`], with the sums for a plan that asks for them.
pub(crate) fn prepared(
    data: Dataset,
    spec: &DataSpec,
    input_shape: &[u32],
    label_shape: Option<&[u32]>,
) -> Result<Loaded, DataError> {
    let mismatch = |what: String| DataError::Mismatch { what };
    let rows = data.rows();
    if rows == 0 {
        return Err(mismatch("there are no rows".to_owned()));
    }
    let samples = data.features.shape().first().copied().unwrap_or(0);
    if samples != rows {
        return Err(mismatch(format!("there are {samples} samples but {rows} labels")));
    }
    let labels = match label_shape {
        Some(shape) => shaped(data.labels, shape, "a label", "the label of the plan's loss")?,
        None => data.labels,
    };
    Labels::check(spec.classes, &labels, "the loader")?;
    let inner = data.features.shape().get(1..).unwrap_or_default();
    shape::check(inner, input_shape).map_err(|(what, hint)| DataError::file("the loader", what, hint))?;
    let width: usize = inner.iter().product();
    let sums = spec.federated.map(|_| RefCell::new(SiteSums::new(input_shape)));
    let scale = Scale::new(Scaling::of(spec, sums.as_ref()), width, scale::channels(input_shape))?;
    let mut features = shaped(data.features, input_shape, "a sample", "the model's input")?;
    for (at, value) in features.iter_mut().enumerate() {
        *value = scale.take(at % width, f64::from(*value));
        if !value.is_finite() {
            let (row, feature) = (at / width + 1, at % width + 1);
            return Err(mismatch(format!(
                "sample {row}, feature {feature} is not finite after standardisation"
            )));
        }
    }
    let mut loaded = Loaded::new(Dataset::new(features, labels));
    loaded.sums = sums.map(RefCell::into_inner);
    Ok(loaded)
}

/// Refuses rows that would not be scaled although the plan wants them scaled.
pub(crate) fn has_statistics(spec: &DataSpec) -> Result<(), DataError> {
    if spec.federated.is_some() { Err(DataError::NoStatistics) } else { Ok(()) }
}

/// Refuses labels that are no shares, from 0 to 1.
pub(crate) fn check_shares(data: &Dataset, loss: &str) -> Result<(), DataError> {
    let outside = |label: &f32| !(0.0..=1.0).contains(label);
    for (row, label) in (1..).zip(data.labels.outer_iter()) {
        if let Some(value) = label.iter().copied().find(|value| outside(value)) {
            let what =
                format!("sample {row} has the value {value}; the loss {loss} takes values from 0 to 1");
            return Err(DataError::file(
                "labels",
                what,
                "divide masks of bytes by 255, or choose another loss",
            ));
        }
    }
    Ok(())
}

/// A warning about the scales of the features; see [`Loaded::warnings`].
#[must_use]
pub fn spread_warning(loaded: &Loaded, spec: &DataSpec) -> Option<String> {
    // The values of pictures are 0 to 1, and a pixel is no feature of its own.
    if spec.federated.is_some() || matches!(spec.loader, Loader::Pictures(_)) {
        return None;
    }
    spread::warning(&loaded.data.features, &loaded.features, spec.standardise.is_some())
}

/// Samples and labels of two arrays. `file` is the labels' file.
#[cfg(feature = "tables")]
fn pair(
    [features, labels]: [ArrayD<f32>; 2],
    label_shape: &[u32],
    file: &str,
    spec: &DataSpec,
) -> Result<Loaded, DataError> {
    let rows = features.shape().first().copied().unwrap_or(0);
    // One number a sample may stand in a row or in a column.
    let count =
        if label_shape.is_empty() { labels.len() } else { labels.shape().first().copied().unwrap_or(0) };
    if count != rows {
        let what = format!("there are {rows} samples but {count} labels");
        return Err(DataError::file(
            file,
            what,
            "both arrays need an entry for each sample, in the same order",
        ));
    }
    let shape: Vec<usize> = [rows].into_iter().chain(label_shape.iter().map(|&side| side as usize)).collect();
    let labels = ArrayD::from_shape_vec(IxDyn(&shape), labels.into_raw_vec_and_offset().0)
        .map_err(|e| DataError::Mismatch { what: e.to_string() })?;
    Labels::check(spec.classes, &labels, file)?;
    Ok(Loaded::new(Dataset::new(features, labels)))
}

/// The rows with this shape, apart from the first axis. `what` is a row, `needs` what asks for the shape.
fn shaped(rows: ArrayD<f32>, shape: &[u32], what: &str, needs: &str) -> Result<ArrayD<f32>, DataError> {
    let count = rows.shape().first().copied().unwrap_or(0);
    let (found, wanted) = (rows.len() / count.max(1), shape.iter().map(|side| *side as usize));
    let sides: Vec<usize> = std::iter::once(count).chain(wanted).collect();
    let needed = sides.iter().skip(1).try_fold(1usize, |n, &side| n.checked_mul(side));
    if needed != Some(found) {
        let needed = needed.unwrap_or(usize::MAX);
        let what = format!("{what} has {found} values, but {needs} {shape:?} needs {needed}");
        return Err(DataError::Mismatch { what });
    }
    let values = rows.into_raw_vec_and_offset().0;
    ArrayD::from_shape_vec(IxDyn(&sides), values).map_err(|e| DataError::Mismatch { what: e.to_string() })
}

#[cfg(feature = "tables")]
#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use fl_engine::{
        plan::{Category, Coding, Column, CsvSpec, Federated, Fill, Missing, Split, Standardise},
        statistics::ColumnSums,
    };

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
        DataSpec { loader, standardise: None, split, classes: Some(2), federated: None }
    }

    fn csv(file: &str) -> Loader {
        Loader::Csv(CsvSpec::new(file, Column::Name("y".to_owned())))
    }

    #[test]
    fn csv_is_shaped_and_standardised() {
        let dir = scratch("csv");
        fs::write(dir.join("d.csv"), "a,b,c,d,y\n1,2,3,4,0\n5,6,7,8,1\n").unwrap();
        let mut spec = spec(csv("d.csv"));
        spec.standardise = Some(Standardise::new(&[1.0], &[1.0, 2.0, 4.0, 8.0]));
        let data = load(&spec, &[1, 2, 2], &[], &dir).unwrap();
        assert_eq!(data.features.shape(), [2, 1, 2, 2]);
        assert_eq!(data.features.as_slice().unwrap(), [0.0, 0.5, 0.5, 0.375, 4.0, 2.5, 1.5, 0.875]);
        assert_eq!(data.labels.as_slice().unwrap(), [0.0, 1.0]);
    }

    #[test]
    fn idx_pairs_are_read_and_unequal_ones_refused() {
        let dir = scratch("idx");
        fs::write(dir.join("x"), [0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 1, 9, 8]).unwrap();
        fs::write(dir.join("y"), [0, 0, 8, 1, 0, 0, 0, 2, 1, 0]).unwrap();
        let idx = |labels: &str| spec(Loader::Idx { features: "x".to_owned(), labels: labels.to_owned() });
        let data = load(&idx("y"), &[1], &[], &dir).unwrap();
        assert_eq!(
            (data.features.as_slice().unwrap(), data.labels.as_slice().unwrap()),
            (&[9.0, 8.0][..], &[1.0, 0.0][..])
        );
        fs::write(dir.join("z"), [0, 0, 8, 1, 0, 0, 0, 1, 1]).unwrap();
        let refusal = load(&idx("z"), &[1], &[], &dir).unwrap_err().to_string();
        assert_eq!(refusal, "z: there are 2 samples but 1 labels");
    }

    #[test]
    fn masks_are_read_in_the_shape_of_the_loss_and_other_labels_refused() {
        let dir = scratch("masks");
        fs::write(dir.join("x"), [0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 1, 9, 8]).unwrap();
        fs::write(dir.join("y"), [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 1, 0, 0, 1]).unwrap();
        let spec = spec(Loader::Idx { features: "x".to_owned(), labels: "y".to_owned() });
        let data = load(&spec, &[1], &[1, 1, 2], &dir).unwrap();
        assert_eq!((data.labels.shape(), data.rows()), (&[2, 1, 1, 2][..], 2));
        assert_eq!(data.select(&[1]).labels.as_slice().unwrap(), [0.0, 1.0]);
        let refusal = |label: &[u32]| load(&spec, &[1], label, &dir).unwrap_err().to_string();
        assert_eq!(
            refusal(&[2, 2]),
            "y: a label has the shape [1, 2]; the plan's loss takes labels of the shape [2, 2]"
        );
        assert_eq!(refusal(&[]), "y: the labels have the shape [2, 1, 2]; a sample has one label");
        fs::write(dir.join("y"), [0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 2, 1, 0, 0, 2]).unwrap();
        assert!(
            refusal(&[2]).starts_with("y: row 2 has the label 2, but the plan's classes are 0 to 1; 1 of 4")
        );
        fs::write(dir.join("y"), [0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 2, 1, 0]).unwrap();
        assert_eq!(refusal(&[2]), "y: there are 2 samples but 1 labels");
        let rows = |labels: ArrayD<f32>| Dataset::new(ArrayD::ones(vec![2, 1]), labels);
        let masks = || rows(ArrayD::zeros(vec![2, 4]));
        assert_eq!(prepare(masks(), &spec, &[1], Some(&[2, 2])).unwrap().labels.shape(), [2, 2, 2]);
        assert_eq!(prepare(masks(), &spec, &[1], None).unwrap().labels.shape(), [2, 4]);
        let refusal = prepare(masks(), &spec, &[1], Some(&[])).unwrap_err().to_string();
        assert!(refusal.ends_with("a label has 4 values, but the label of the plan's loss [] needs 1"));
        assert!(prepare(rows(ArrayD::zeros(vec![3])), &spec, &[1], Some(&[])).is_err());
        let refusal = check_shares(&rows(ArrayD::from_elem(vec![2, 2], 255.0)), "dice").unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "labels: sample 1 has the value 255; the loss dice takes values from 0 to 1"
        );
        assert!(check_shares(&rows(ArrayD::from_elem(vec![2, 2], 0.5)), "dice").is_ok());
    }

    #[test]
    fn sums_leave_missing_values_and_dropped_rows_out_and_the_second_reading_fills_and_scales() {
        let dir = scratch("sums");
        fs::write(dir.join("d.csv"), "a,b,c,y\n1,NA,u,0\n3,4,,1\n5,6,u,NA\n7,8,v,1\n").unwrap();
        let Loader::Csv(mut table) = csv("d.csv") else { panic!() };
        table.missing = Missing { fill: Some(Fill::Mean), drop_row: 1 };
        let texts = ["u".to_owned(), "v".to_owned()].to_vec();
        table.categories = vec![Category { column: "c".to_owned(), coding: Coding::OneHot(texts) }];
        let mut spec = spec(Loader::Csv(table));
        spec.federated = Some(Federated { least: 3 });
        let loaded = read(&spec, &[4], &[], &dir).unwrap();
        assert_eq!(loaded.data.rows(), 3);
        let sums = loaded.sums.unwrap();
        let counts = |least| sums.to_send(least).iter().map(ColumnSums::count).collect::<Vec<_>>();
        assert_eq!((counts(2), counts(3), sums.few(3)), (vec![3, 2, 2, 2], vec![3, 0, 0, 0], vec![1, 2, 3]));
        assert!(matches!(load(&spec, &[4], &[], &dir), Err(DataError::NoStatistics)));
        let scaled = spec.scaled_by(&Standardise::new(&[3.0, 6.0, 0.0, 0.0], &[2.0, 1.0, 1.0, 1.0]));
        let data = load(&scaled, &[4], &[], &dir).unwrap();
        let rows = [[-1.0, 0.0, 1.0, 0.0], [0.0, -2.0, 0.0, 0.0], [2.0, 2.0, 0.0, 1.0]].concat();
        assert_eq!(data.features.as_slice().unwrap(), rows);
    }

    #[test]
    fn sums_of_pictures_are_one_and_values_that_cannot_be_summed_are_refused() {
        let dir = scratch("sums-idx");
        let picture = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8];
        fs::write(dir.join("x"), picture).unwrap();
        fs::write(dir.join("y"), [0, 0, 8, 1, 0, 0, 0, 2, 1, 0]).unwrap();
        let files = Loader::Idx { features: "x".to_owned(), labels: "y".to_owned() };
        let mut idx = spec(files);
        idx.federated = Some(Federated { least: 2 });
        let sums = |input: &[u32]| read(&idx, input, &[], &dir).unwrap().sums.unwrap().to_send(2);
        assert_eq!(sums(&[1, 2, 2]).iter().map(ColumnSums::count).collect::<Vec<_>>(), [8]);
        fs::write(dir.join("d.csv"), "a,y\n1,0\n2e36,1\n").unwrap();
        let mut table = spec(csv("d.csv"));
        assert!(read(&table, &[1], &[], &dir).is_ok());
        table.federated = Some(Federated { least: 2 });
        let refusal = read(&table, &[1], &[], &dir).unwrap_err().to_string();
        assert_eq!(refusal, "d.csv: column a: 1 is too large, first \"2e36\" in row 3");
        let rows = Dataset::new(ArrayD::ones(vec![3, 2]), ArrayD::zeros(vec![3]));
        let own = DataSpec { loader: Loader::Custom { name: "own".to_owned() }, ..table };
        assert_eq!(prepared(rows, &own, &[2], Some(&[])).unwrap().sums.unwrap().few(4), [0, 1]);
    }

    #[test]
    fn data_that_does_not_fit_the_plan_is_refused() {
        let dir = scratch("fit");
        fs::write(dir.join("d.csv"), "a,y\n1,0\n2,2\n").unwrap();
        let refusal = |spec: &DataSpec, shape: &[u32]| load(spec, shape, &[], &dir).unwrap_err().to_string();
        let mut s = spec(csv("d.csv"));
        assert!(refusal(&s, &[1]).contains("row 3 has the label 2, but the plan's classes are 0 to 1"));
        s.classes = None;
        assert!(refusal(&s, &[3]).ends_with("a sample has 1 values, but the model's input [3] needs 3"));
        s.standardise = Some(Standardise::new(&[0.0, 0.0], &[1.0]));
        assert!(refusal(&s, &[1]).ends_with("standardise has 2 values of mean, but a sample has 1 features"));
        s.standardise = Some(Standardise::new(&[0.0], &[0.0]));
        assert!(refusal(&s, &[1]).ends_with("standard deviations above 0"));
    }

    #[test]
    fn a_file_outside_the_folder_is_refused_and_a_missing_one_named() {
        let dir = scratch("outside");
        let refusal = load(&spec(csv("../d.csv")), &[1], &[], &dir).unwrap_err();
        assert!(matches!(refusal, DataError::Outside { .. }), "{refusal}");
        let missing = load(&spec(csv("none.csv")), &[1], &[], &dir).unwrap_err().to_string();
        assert!(missing.contains("none.csv"), "{missing}");
    }
}
