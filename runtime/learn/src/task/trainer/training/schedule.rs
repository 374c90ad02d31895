//! The share of the learning rate that a schedule gives one round or one step.

use fl_engine::plan::{By, Optimiser, Schedule};

use crate::task::trainer::Fit;

/// The task's optimiser with the learning rate of `step` of `steps`, which are counted from 0.
pub(super) fn optimiser(fit: &Fit<'_>, step: u64, steps: u64) -> Optimiser {
    let Some(schedule) = &fit.spec.schedule else { return fit.spec.optimiser };
    let share = match schedule.by() {
        By::Rounds => share(schedule, fit.round.0.into(), fit.rounds.into()),
        By::Steps => share(schedule, step, steps),
    };
    let mut optimiser = fit.spec.optimiser;
    if let Optimiser::Sgd { learning_rate, .. }
    | Optimiser::Adam { learning_rate }
    | Optimiser::AdamW { learning_rate, .. } = &mut optimiser
    {
        *learning_rate *= share;
    }
    optimiser
}

/// `at` is counted from 0, and below `of`. PyTorch's StepLR and CosineAnnealingLR after the warm-up.
fn share(schedule: &Schedule, at: u64, of: u64) -> f64 {
    let warm_up = u64::from(schedule.warm_up());
    if at < warm_up {
        return (at + 1) as f64 / (warm_up + 1) as f64;
    }
    let (at, of) = (at - warm_up, of.saturating_sub(warm_up).max(1));
    match *schedule {
        Schedule::Constant { .. } => 1.0,
        Schedule::Step { every, factor, .. } => factor.powf((at / u64::from(every.max(1))) as f64),
        Schedule::Cosine { least, .. } => {
            let wave = (std::f64::consts::PI * at.min(of) as f64 / of as f64).cos();
            least + (1.0 - least) * (1.0 + wave) / 2.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(schedule: Schedule, of: u64) -> Vec<f64> {
        (0..of).map(|at| share(&schedule, at, of)).collect()
    }

    #[track_caller]
    fn close(found: &[f64], expected: &[f64]) {
        let near = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(near && found.len() == expected.len(), "{found:?} where {expected:?}");
    }

    /// From torch.optim.lr_scheduler 1.13 in Python: StepLR(step_size=2, gamma=0.5),
    /// CosineAnnealingLR(T_max=5, eta_min=0.1) and, in front, LinearLR(start_factor=1/3, total_iters=2).
    #[test]
    fn rates_are_those_of_pytorch() {
        let by = By::Rounds;
        close(&shares(Schedule::Constant { warm_up: 2, by }, 4), &[1.0 / 3.0, 2.0 / 3.0, 1.0, 1.0]);
        let step = Schedule::Step { every: 2, factor: 0.5, warm_up: 0, by };
        close(&shares(step, 6), &[1.0, 1.0, 0.5, 0.5, 0.25, 0.25]);
        let cosine = |warm_up| Schedule::Cosine { least: 0.1, warm_up, by };
        let wave = [
            1.0,
            0.914_057_647_468_726_5,
            0.689_057_647_468_726_5,
            0.410_942_352_531_273_6,
            0.185_942_352_531_273_6,
        ];
        close(&shares(cosine(0), 5), &wave);
        close(&shares(cosine(2), 7), &[&[1.0 / 3.0, 2.0 / 3.0][..], &wave].concat());
        close(&shares(cosine(0), 1), &[1.0]);
        assert!(share(&cosine(0), 99, 5) >= 0.1, "a round past the plan's last");
        close(&shares(Schedule::Step { every: 1, factor: 0.1, warm_up: 1, by }, 3), &[0.5, 1.0, 0.1]);
    }
}
