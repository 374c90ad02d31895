//! Which rows are trained on, validated on, and held back for tests.

use fl_engine::{Draws, plan::Split};

use super::{
    dataset::{Dataset, SplitData},
    error::DataError,
};

/// Splits the rows by the plan's shares: shuffled by `seed`, or without a seed in their own order.
///
/// Counts are rounded to the nearest row. The rows that are left go to the last part that has a share: the
/// test part, else validation, else training.
///
/// # Errors
/// [`DataError::Mismatch`] if a part that has a share would get no row.
pub fn split(data: &Dataset, shares: &Split, seed: Option<u64>) -> Result<SplitData, DataError> {
    let rows = data.rows();
    let mut order: Vec<usize> = (0..rows).collect();
    if let Some(seed) = seed {
        Draws::new(seed).shuffle(&mut order);
    }
    let count = |share: f64| ((share * rows as f64).round() as usize).min(rows);
    let train = if shares.validation == 0.0 && shares.test == 0.0 { rows } else { count(shares.train) };
    let validation =
        if shares.test == 0.0 { rows - train } else { count(shares.validation).min(rows - train) };
    let counts = [
        ("train", shares.train, train),
        ("validation", shares.validation, validation),
        ("test", shares.test, rows - train - validation),
    ];
    if let Some((part, share, _)) = counts.iter().find(|(_, share, count)| *share > 0.0 && *count == 0) {
        let what = format!("{rows} rows are too few for a {part} share of {share}");
        return Err(DataError::Mismatch { what });
    }
    Ok(SplitData {
        train: data.select(&order[..train]),
        validation: data.select(&order[train..train + validation]),
        test: data.select(&order[train + validation..]),
    })
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, ArrayD};

    use super::*;

    fn numbered(rows: usize) -> Dataset {
        let values: Vec<f32> = (0..rows).map(|r| r as f32).collect();
        let features = ArrayD::from_shape_vec(vec![rows, 1], values.clone()).unwrap();
        Dataset::new(features, Array1::from(values).into_dyn())
    }

    #[test]
    fn every_row_gets_into_one_part_and_the_seed_decides_which() {
        let data = numbered(101);
        let shares = Split { train: 0.7, validation: 0.2, test: 0.1 };
        let parts = split(&data, &shares, Some(7)).unwrap();
        assert_eq!([parts.train.rows(), parts.validation.rows(), parts.test.rows()], [71, 20, 10]);
        let mut all = [&parts.train, &parts.validation, &parts.test]
            .map(|part| part.labels.as_slice().unwrap())
            .concat();
        all.sort_by(f32::total_cmp);
        assert_eq!(all, data.labels.as_slice().unwrap());
        assert_eq!(parts, split(&data, &shares, Some(7)).unwrap());
        assert_ne!(parts, split(&data, &shares, Some(8)).unwrap());
        let ordered = split(&data, &shares, None).unwrap();
        assert_eq!(ordered.train.labels, data.select(&(0..71).collect::<Vec<_>>()).labels);
        assert_eq!(parts.train.features.as_slice(), parts.train.labels.as_slice());
    }

    #[test]
    fn share_that_gets_no_row_is_refused() {
        let shares = Split { train: 0.8, validation: 0.2, test: 0.0 };
        let refusal = split(&numbered(1), &shares, Some(0)).unwrap_err().to_string();
        assert_eq!(
            refusal,
            "the data does not fit the plan: 1 rows are too few for a validation share of 0.2"
        );
        let all = Split { train: 1.0, validation: 0.0, test: 0.0 };
        assert_eq!(split(&numbered(1), &all, Some(0)).unwrap().train.rows(), 1);
    }
}
