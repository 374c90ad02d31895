//! Errors of a regression.

use fl_engine::plan::Metric;

/// Sums over the targets seen so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Errors {
    targets: u64,
    squares: f64,
    distances: f64,
    /// Each number of a vector; empty for larger outputs.
    columns: Vec<Column>,
    rows: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Column {
    /// The first target. Sums of differences from a target lose fewer digits than sums of targets.
    first: f64,
    sum: f64,
    sum_of_squares: f64,
    errors: f64,
}

impl Errors {
    pub(super) fn add(&mut self, outputs: &[f32], targets: &[f32]) {
        if self.rows == 0 && targets.len() <= WIDEST {
            let column = |target: &f32| Column { first: f64::from(*target), ..Column::default() };
            self.columns = targets.iter().map(column).collect();
        }
        self.rows += 1;
        self.targets += targets.len() as u64;
        for (at, (output, target)) in outputs.iter().zip(targets).enumerate() {
            let target = f64::from(*target);
            let difference = f64::from(*output) - target;
            self.squares += difference * difference;
            self.distances += difference.abs();
            if let Some(column) = self.columns.get_mut(at) {
                let from_first = target - column.first;
                column.sum += from_first;
                column.sum_of_squares += from_first * from_first;
                column.errors += difference * difference;
            }
        }
    }

    /// `None` where the targets do not define the metric.
    pub(super) fn value(&self, metric: Metric) -> Option<f64> {
        let targets = (self.targets > 0).then_some(self.targets as f64)?;
        match metric {
            Metric::Rmse => Some((self.squares / targets).sqrt()),
            Metric::Mae => Some(self.distances / targets),
            _ => {
                let rows = self.rows as f64;
                let of = |column: &Column| {
                    let spread = column.sum_of_squares - column.sum * column.sum / rows;
                    (spread > 0.0).then(|| 1.0 - column.errors / spread)
                };
                // A number that is constant has no variance to explain.
                let values: Option<Vec<f64>> = self.columns.iter().map(of).collect();
                let values = values.filter(|values| !values.is_empty())?;
                // Targets that nearly are the same make the quotient larger than a metric may be.
                Some((values.iter().sum::<f64>() / values.len() as f64).max(-f64::from(f32::MAX)))
            }
        }
    }
}

/// The widest vector whose numbers are counted apart. A wider one has no r2.
const WIDEST: usize = 65_536;
