//! Cuts one data set into shards for several collaborators, for trials and demonstrations.
//!
//! A real federation never calls this module: each site has its own data.

use fl_engine::Draws;

use super::{dataset::Dataset, error::DataError};

/// How the collaborators share the rows.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Sharding {
    /// Shuffled, in shards of equal size. Sizes differ by one row at most.
    Iid,
    /// Each label's rows in proportions drawn from Dirichlet(α, …, α) (Hsu, Qi, Brown, arXiv:1909.06335). α
    /// below 1 gives most of a label to few collaborators; 100 is close to [`Sharding::Iid`].
    ByLabel {
        /// Above 0.
        alpha: f64,
    },
    /// Shuffled, in shards of these relative sizes.
    BySize {
        /// One number a collaborator, each above 0.
        sizes: Vec<f64>,
    },
}

/// The row indices of `n` shards. Every row is in one shard. Each shard has at least [`LEAST_ROWS`] rows, or
/// an equal part of all rows if there are too few. The same arguments give the same shards.
///
/// # Errors
/// [`DataError::Mismatch`] if there are fewer rows than shards, or if a setting is out of range.
pub fn shards(data: &Dataset, n: usize, how: &Sharding, seed: u64) -> Result<Vec<Vec<usize>>, DataError> {
    let refused = |what: String| Err(DataError::Mismatch { what });
    let rows = data.rows();
    if n == 0 || rows < n {
        return refused(format!("{rows} rows are too few for {n} shards"));
    }
    let mut draws = Draws::new(seed);
    let mut order: Vec<usize> = (0..rows).collect();
    draws.shuffle(&mut order);
    let mut shards = vec![Vec::new(); n];
    match how {
        Sharding::Iid => deal(&order, &vec![1.0; n], &mut shards),
        Sharding::BySize { sizes } => {
            if sizes.len() != n || sizes.iter().any(|s| !s.is_finite() || *s <= 0.0) {
                return refused(format!("{n} shards need {n} relative sizes above 0"));
            }
            deal(&order, sizes, &mut shards);
        }
        Sharding::ByLabel { alpha } => {
            if !alpha.is_finite() || *alpha <= 0.0 {
                return refused(format!("alpha is {alpha}, but must be above 0"));
            }
            // Masks that are read later have no row here.
            if data.labels.ndim() != 1 || data.labels.len() != rows {
                return refused("shards by label need one number a sample as its label".to_owned());
            }
            let labels: Vec<f32> = data.labels.iter().copied().collect();
            // A stable sort of the shuffled rows keeps each label's rows shuffled.
            order.sort_by(|&a, &b| labels[a].total_cmp(&labels[b]));
            for label in order.chunk_by(|&a, &b| labels[a] == labels[b]) {
                let shares: Vec<f64> = (0..n).map(|_| gamma(&mut draws, *alpha)).collect();
                deal(label, &shares, &mut shards);
            }
        }
    }
    let least = LEAST_ROWS.min(rows / n);
    while let Some(poor) = shards.iter().position(|shard| shard.len() < least) {
        let largest = (0..n).max_by_key(|&i| shards[i].len()).unwrap_or(0);
        let row = shards[largest].pop();
        shards[poor].extend(row);
    }
    Ok(shards)
}

/// Splits rows into the rest and a test set with `share` of each label's rows (rounded), as two lists of row
/// indices.
///
/// The labels of the test set are in the same proportions as those of all rows.
#[must_use]
pub fn stratified(labels: &[f32], share: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..labels.len()).collect();
    Draws::new(seed).shuffle(&mut order);
    order.sort_by(|&a, &b| labels[a].total_cmp(&labels[b]));
    let (mut rest, mut held_out) = (Vec::new(), Vec::new());
    for label in order.chunk_by(|&a, &b| labels[a] == labels[b]) {
        let count = (share.clamp(0.0, 1.0) * label.len() as f64).round() as usize;
        held_out.extend_from_slice(&label[..count]);
        rest.extend_from_slice(&label[count..]);
    }
    rest.sort_unstable();
    held_out.sort_unstable();
    (rest, held_out)
}

/// Deals `rows` to the shards in proportion to `shares`: cuts at the cumulated shares, rounded.
fn deal(rows: &[usize], shares: &[f64], shards: &mut [Vec<usize>]) {
    // With a tiny alpha every gamma draw may underflow to 0. Equal shares are then as good as any.
    let total: f64 = shares.iter().sum();
    let (shares, total) =
        if total > 0.0 { (shares.to_vec(), total) } else { (vec![1.0; shares.len()], shares.len() as f64) };
    let (mut sum, mut from) = (0.0, 0);
    for (at, share) in shares.iter().enumerate() {
        sum += share;
        let to = if at + 1 == shares.len() {
            rows.len()
        } else {
            ((sum / total * rows.len() as f64).round() as usize).clamp(from, rows.len())
        };
        shards[at].extend_from_slice(&rows[from..to]);
        from = to;
    }
}

/// Gamma(α, 1) (Marsaglia and Tsang, ACM TOMS 26, 2000), boosted for α below 1.
fn gamma(draws: &mut Draws, alpha: f64) -> f64 {
    if alpha < 1.0 {
        return gamma(draws, alpha + 1.0) * draws.unit().powf(1.0 / alpha);
    }
    let d = alpha - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        // Box and Muller's normal deviate.
        let x = (-2.0 * draws.unit().ln()).sqrt() * (std::f64::consts::TAU * draws.unit()).cos();
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && draws.unit().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

/// Fewest rows of a shard, if there are enough rows. With fewer, the fifth for validation would measure
/// nothing.
pub const LEAST_ROWS: usize = 10;

#[cfg(test)]
mod tests {
    use ndarray::{Array1, ArrayD};

    use super::*;

    fn two_labels(rows: usize) -> Dataset {
        let labels = Array1::from_iter((0..rows).map(|r| (r % 2) as f32)).into_dyn();
        Dataset::new(ArrayD::zeros(vec![rows, 1]), labels)
    }

    fn assert_partition(shards: &[Vec<usize>], rows: usize) {
        let mut all: Vec<usize> = shards.concat();
        all.sort_unstable();
        assert_eq!(all, (0..rows).collect::<Vec<_>>());
        assert!(shards.iter().all(|s| s.len() >= LEAST_ROWS.min(rows / shards.len())));
    }

    #[test]
    fn every_row_is_dealt_once_and_the_seed_decides_where() {
        let data = two_labels(101);
        for how in [
            Sharding::Iid,
            Sharding::ByLabel { alpha: 0.5 },
            Sharding::ByLabel { alpha: 1e-300 },
            Sharding::BySize { sizes: vec![3.0, 2.0, 1.0] },
        ] {
            let first = shards(&data, 3, &how, 7).unwrap();
            assert_partition(&first, 101);
            assert_eq!(first, shards(&data, 3, &how, 7).unwrap(), "{how:?}");
            assert_ne!(first, shards(&data, 3, &how, 8).unwrap(), "{how:?}");
        }
    }

    #[test]
    fn sizes_follow_the_request() {
        let data = two_labels(120);
        let sizes = |how| -> Vec<usize> { shards(&data, 3, &how, 1).unwrap().iter().map(Vec::len).collect() };
        assert_eq!(sizes(Sharding::Iid), [40, 40, 40]);
        assert_eq!(sizes(Sharding::BySize { sizes: vec![3.0, 2.0, 1.0] }), [60, 40, 20]);
    }

    #[test]
    fn small_alpha_skews_labels_more_than_a_large_one() {
        let data = two_labels(1000);
        let skew = |alpha| -> f64 {
            (0..20)
                .flat_map(|seed| shards(&data, 4, &Sharding::ByLabel { alpha }, seed).unwrap())
                .map(|shard| {
                    let ones = shard.iter().filter(|&&r| r % 2 == 1).count() as f64;
                    (ones / shard.len() as f64 - 0.5).abs()
                })
                .sum::<f64>()
                / 80.0
        };
        let (small, large) = (skew(0.1), skew(100.0));
        assert!(small > 0.25 && large < 0.1, "{small} {large}");
    }

    #[test]
    fn held_out_rows_are_a_share_of_every_label() {
        let labels: Vec<f32> = (0..100).map(|r| if r < 80 { 0.0 } else { 1.0 }).collect();
        let (rest, held_out) = stratified(&labels, 0.2, 7);
        let mut all = [rest, held_out.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        assert_eq!(held_out.len(), 20);
        assert_eq!(held_out.iter().filter(|&&r| labels[r] == 1.0).count(), 4);
        assert_ne!(held_out, stratified(&labels, 0.2, 8).1);
    }

    #[test]
    fn impossible_requests_are_refused() {
        let data = two_labels(2);
        assert!(shards(&data, 0, &Sharding::Iid, 0).is_err());
        assert!(shards(&data, 3, &Sharding::Iid, 0).is_err());
        assert!(shards(&data, 2, &Sharding::ByLabel { alpha: 0.0 }, 0).is_err());
        assert!(shards(&data, 2, &Sharding::BySize { sizes: vec![1.0] }, 0).is_err());
        assert!(shards(&data, 2, &Sharding::BySize { sizes: vec![1.0, f64::NAN] }, 0).is_err());
        let masks = Dataset::new(ArrayD::zeros(vec![4, 1]), ArrayD::zeros(vec![4, 2, 2]));
        assert!(shards(&masks, 2, &Sharding::ByLabel { alpha: 1.0 }, 0).is_err());
        assert!(shards(&masks, 2, &Sharding::Iid, 0).is_ok());
    }
}
