//! The task: the line y = w·x + b with the least squared error over a site's readings.

use fl_runtime::extend::{
    CustomJob, CustomTask, SplitData, TaskError, TaskOutput, Weight,
    plan::{Metric, Plan},
};

/// Starts anew in each round: the fit depends on the readings alone.
pub(crate) struct FitLine;

impl CustomTask for FitLine {
    fn check(&mut self, plan: &Plan, data: Option<&SplitData>) -> Result<(), String> {
        if plan.model.input != [1] {
            return Err(format!("a line has one input, the plan's model has {:?}", plan.model.input));
        }
        match data {
            Some(data) if data.train.rows() >= 2 => Ok(()),
            _ => Err("a line needs at least two readings".to_owned()),
        }
    }

    fn run(&mut self, job: &CustomJob<'_>) -> Result<TaskOutput, TaskError> {
        if (job.cancelled)() {
            return Err(TaskError::Cancelled);
        }
        let rows = &job.data.ok_or_else(|| TaskError::NoData(job.task.name.clone()))?.train;
        let readings: Vec<(f64, f64)> =
            rows.features.iter().zip(&rows.labels).map(|(x, y)| (f64::from(*x), f64::from(*y))).collect();
        let count = readings.len() as f64;
        let sum = |term: fn(f64, f64) -> f64| readings.iter().map(|(x, y)| term(*x, *y)).sum::<f64>();
        let (x, y, xx, xy) = (sum(|x, _| x), sum(|_, y| y), sum(|x, _| x * x), sum(|x, y| x * y));
        let w = (count * xy - x * y) / (count * xx - x * x);
        let b = (y - w * x) / count;
        let error = readings.iter().map(|(x, y)| (w * x + b - y).powi(2)).sum::<f64>() / count;

        let mut model = job.base.clone();
        model.f32.copy_from_slice(&[w as f32, b as f32]);
        let weight = Weight::new(readings.len() as u64)?;
        Ok(TaskOutput {
            update: Some((model, weight)),
            samples: readings.len() as u64,
            metrics: vec![(Metric::Loss, error)],
        })
    }
}
