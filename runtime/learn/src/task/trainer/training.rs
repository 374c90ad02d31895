//! Training and inference on the CPU (feature `train`).
//!
//! A backend computes what layers give, and gradients: this project's kernels ([`own`]), or burn ([`net`] and
//! [`loss`], the only modules that know burn). Parameters, optimiser state and running statistics are ours
//! and lie over the model's layout: the trainer loads what a round receives bit for bit, and sends what it
//! trained. The plan says whether optimiser state is dropped, kept, or sent. All randomness comes from the
//! task's seed, so the same task on the same machine gives the same bits. One thread may read pictures ahead
//! ([`ahead`]), which changes no bit.

mod ahead;
mod backend;
mod loss;
mod net;
mod optimiser;
mod own;
mod schedule;
mod tensors;

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use fl_engine::{
    Draws, Name,
    model::{optimiser_places, output_shape},
    plan::{Loss, OptimiserState, Plan, TrainLength, TrainSpec},
    tensor::{Dtype, Layout, ModelState},
};

use self::{
    ahead::ahead,
    backend::{Backend, Batch},
    optimiser::Memory,
};
use super::{Each, Fit};
use crate::{
    data::{Dataset, augment::Augmenter},
    task::{error::TaskError, progress::Progress, scores::Scores, team::Team},
};

/// One member's model, with the optimiser state of its training tasks.
pub(in crate::task) struct Trainer {
    backend: Backend,
    /// The loss that validations report.
    loss: Loss,
    state: OptimiserState,
    /// Changes the pictures that are trained on, if the plan says so.
    augment: Option<Augmenter>,
    /// Optimiser state by task, if the plan says `continue_local`.
    memory: BTreeMap<Name, Memory>,
}

impl Trainer {
    /// Checks the plan's model against `layout` and against the loss of validations, which a plan without
    /// training and validation need not suit.
    pub(in crate::task) fn new(plan: &Plan, layout: &Arc<Layout>) -> Result<Self, TaskError> {
        let output = output_shape(&plan.model)?;
        if let Some(needs) = plan.loss().needs(plan.data.classes, &output) {
            return Err(TaskError::Output { found: output, needs });
        }
        Ok(Self {
            backend: Backend::new(plan, layout)?,
            loss: plan.loss(),
            state: plan.optimiser_state,
            augment: Augmenter::of(&plan.data, &plan.model.input)?,
            memory: BTreeMap::new(),
        })
    }

    /// See [`crate::task::planned_memory`].
    pub(in crate::task) fn planned_memory(plan: &Plan) -> Option<(u64, u64)> {
        backend::planned_memory(plan)
    }

    /// Why the model runs on another backend than the plan's, in one line.
    pub(in crate::task) fn note(&self) -> Option<&str> {
        self.backend.note()
    }

    /// Trains from `fit.start`. That state holds the optimiser's state too if the plan has optimiser state
    /// travel with the model. The scores are over all batches, each measured before its step.
    pub(in crate::task) fn fit(&mut self, fit: &Fit<'_>) -> Result<(ModelState, Scores), TaskError> {
        let spec = fit.spec;
        let mut model = fit.start.clone();
        let (places, len) = (optimiser_places(fit.start.layout(), fit.task), self.backend.len());
        let mut memory = match self.state {
            OptimiserState::Reset => Memory::default(),
            OptimiserState::ContinueLocal => self.memory.get(fit.task).cloned().unwrap_or_default(),
            OptimiserState::ContinueGlobal => Memory::load(fit.start, &places, len),
        };
        let mut scores = Scores::new(&spec.loss);
        let mut draws = Draws::new(fit.seed.word("dropout"));
        let seed = fit.seed;
        let mut batches = Batches::new(fit.data.rows(), spec.batch, Draws::new(seed.word("shuffle")));
        let steps = match spec.length {
            TrainLength::Epochs(epochs) => u64::from(epochs) * batches.in_epoch(),
            TrainLength::Steps(steps) => u64::from(steps),
        };
        let frozen = frozen(fit.start.layout(), spec);
        let trained: Vec<Range<usize>> =
            self.backend.trained().iter().filter(|range| !frozen.contains(range)).cloned().collect();
        let in_epoch = batches.in_epoch();
        let mut made = 0;
        // The next batch, with the changes of its pictures.
        let make = || -> Made {
            let epoch = made / in_epoch;
            made += 1;
            let batch = batches.next();
            let (mut features, mut labels) = fit.data.gather(batch)?;
            if let Some(augment) = &self.augment {
                let seed = |row: usize| seed.sample(epoch, row as u64);
                augment.apply_all(&mut features, &mut labels, batch, seed);
            }
            Ok((batch.len(), features, labels))
        };
        let train = |next: &mut dyn FnMut() -> Option<Made>| {
            let (mut epoch_rows, mut epoch_loss) = (0, 0.0);
            let mut sum = GradientSum::default();
            for step in 1..=steps {
                if (fit.cancelled)() {
                    return Err(TaskError::Cancelled);
                }
                let Some(batch) = next() else { break };
                let (rows_in_batch, features, labels) = batch?;
                let batch = Batch { features, labels: &labels, rows: rows_in_batch, team: fit.team };
                let (loss, output) =
                    self.backend.train(&mut model, batch, &spec.loss, &mut draws, &mut sum.fresh)?;
                if !loss.is_finite() {
                    let what = format!("the loss of step {step}");
                    return Err(TaskError::NotFinite { task: fit.task.clone(), what });
                }
                scores.add(&output, &labels, rows_in_batch);
                epoch_rows += rows_in_batch as u64;
                epoch_loss += f64::from(loss) * rows_in_batch as f64;
                if step % in_epoch == 0 && steps > in_epoch {
                    let (epoch, epochs) = (step / in_epoch, steps.div_ceil(in_epoch));
                    let loss = epoch_loss / epoch_rows as f64;
                    (fit.progress)(&Progress { epoch, epochs, rows: epoch_rows, loss });
                    (epoch_rows, epoch_loss) = (0, 0.0);
                }
                sum.add();
                if sum.count < spec.accumulate && step < steps {
                    continue;
                }
                let gradient = sum.mean();
                if spec.fedprox_mu > 0.0 {
                    for range in &trained {
                        optimiser::pull(gradient, &model.f32, &fit.start.f32, range.clone(), spec.fedprox_mu);
                    }
                }
                if let Some(most) = spec.clip_norm {
                    optimiser::clip(gradient, &trained, most);
                }
                let optimiser = schedule::optimiser(fit, step - 1, steps);
                memory.step(optimiser, &mut model.f32[..len], gradient, &trained)?;
            }
            Ok(())
        };
        ahead(fit.data.is_read_later(), steps, make, train)?;
        for range in frozen {
            model.f32[range.clone()].copy_from_slice(&fit.start.f32[range]);
        }
        if self.state == OptimiserState::ContinueGlobal {
            memory.store(&mut model, &places);
        }
        if model.f32.iter().any(|v| !v.is_finite()) {
            return Err(TaskError::NotFinite {
                task: fit.task.clone(),
                what: "the trained model".to_owned(),
            });
        }
        if self.state == OptimiserState::ContinueLocal {
            self.memory.insert(fit.task.clone(), memory);
        }
        Ok((model, scores))
    }

    /// Forgets the optimiser state of earlier rounds.
    pub(in crate::task) fn forget(&mut self) {
        self.memory.clear();
    }

    /// Measures `state` on `data`, without dropout; batch normalisation uses its running statistics.
    pub(in crate::task) fn score(
        &self,
        state: &ModelState,
        data: &Dataset,
        cancelled: &dyn Fn() -> bool,
        team: Team<'_>,
    ) -> Result<Scores, TaskError> {
        let mut scores = Scores::new(&self.loss);
        let mut each = |outputs: &[f32], labels: &[f32], rows| scores.add(outputs, labels, rows);
        self.outputs(state, data, cancelled, team, &mut each)?;
        Ok(scores)
    }

    /// What `state` gives for `data`, as [`Self::score`] sees it: `each` gets the outputs, the labels and the
    /// number of some rows, in their order.
    pub(in crate::task) fn outputs(
        &self,
        state: &ModelState,
        data: &Dataset,
        cancelled: &dyn Fn() -> bool,
        team: Team<'_>,
        each: Each<'_>,
    ) -> Result<(), TaskError> {
        let order: Vec<usize> = (0..data.rows()).collect();
        let mut pass = self.backend.inference(state);
        let mut batches = order.chunks(self.backend.at_once());
        let count = batches.len() as u64;
        let make = || -> Made {
            let batch = batches.next().unwrap_or_default();
            let (features, labels) = data.gather(batch)?;
            Ok((batch.len(), features, labels))
        };
        ahead(data.is_read_later(), count, make, |next| {
            while let Some(batch) = next() {
                if cancelled() {
                    return Err(TaskError::Cancelled);
                }
                let (rows, features, labels) = batch?;
                let batch = Batch { features, labels: &labels, rows, team };
                each(&pass.run(state, batch)?, &labels, rows);
            }
            Ok(())
        })
    }
}

/// The places of the tensors that the task leaves as they are, running statistics too.
fn frozen(layout: &Layout, spec: &TrainSpec) -> Vec<Range<usize>> {
    let segments = layout.segments(Dtype::F32);
    segments.filter(|s| spec.freezes(&layout.tensors()[s.tensor].name)).map(|s| s.range).collect()
}

/// A batch: its rows, features and labels.
type Made = Result<(usize, Vec<f32>, Vec<f32>), TaskError>;

/// The gradients of the batches since the last step.
#[derive(Default)]
struct GradientSum {
    values: Vec<f32>,
    /// The newest batch's.
    fresh: Vec<f32>,
    count: u32,
}

impl GradientSum {
    /// Adds the newest gradient.
    fn add(&mut self) {
        self.count += 1;
        if self.count == 1 {
            std::mem::swap(&mut self.values, &mut self.fresh);
        } else {
            self.values.iter_mut().zip(&self.fresh).for_each(|(sum, value)| *sum += value);
        }
    }

    /// Their mean; the next gradient begins a new sum.
    fn mean(&mut self) -> &mut [f32] {
        let count = std::mem::take(&mut self.count).max(1);
        if count > 1 {
            self.values.iter_mut().for_each(|value| *value /= count as f32);
        }
        &mut self.values
    }
}

/// Batches of row indices. Each epoch has its own random order; an epoch's last batch may be smaller.
struct Batches {
    order: Vec<usize>,
    batch: usize,
    at: usize,
    draws: Draws,
}

impl Batches {
    fn new(rows: usize, batch: u32, draws: Draws) -> Self {
        let batch = (batch as usize).clamp(1, rows.max(1));
        Self { order: (0..rows).collect(), batch, at: rows, draws }
    }

    fn in_epoch(&self) -> u64 {
        self.order.len().div_ceil(self.batch) as u64
    }

    fn next(&mut self) -> &[usize] {
        if self.at >= self.order.len() {
            self.draws.shuffle(&mut self.order);
            self.at = 0;
        }
        let start = self.at;
        self.at = (start + self.batch).min(self.order.len());
        &self.order[start..self.at]
    }
}

#[cfg(test)]
mod curves;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod hashed;
#[cfg(test)]
mod kinds;
#[cfg(test)]
mod networks;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod unet;
