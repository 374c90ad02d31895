//! Training and inference with burn on the CPU (feature `train`); the only module that knows burn.
//!
//! burn gives tensors, the arithmetic of layers, and gradients. Parameters, optimiser state and running
//! statistics are ours and lie over the model's layout: the trainer loads what a round receives bit for bit,
//! and sends what it trained. The plan says whether optimiser state is dropped, kept, or sent. All randomness
//! comes from the task's seed and no thread is started, so the same task on the same machine gives the same
//! bits.

mod loss;
mod net;
mod optimiser;
mod schedule;

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use burn_tensor::Device;
use fl_engine::{
    Draws, Name,
    model::{optimiser_places, output_shape},
    plan::{Loss, OptimiserState, Plan, TrainLength, TrainSpec},
    tensor::{Dtype, Layout, ModelState},
};

use self::{net::Net, optimiser::Memory};
use super::Fit;
use crate::{
    data::{Dataset, augment::Augmenter},
    task::{error::TaskError, progress::Progress, scores::Scores},
};

/// One member's model, with the optimiser state of its training tasks.
pub(in crate::task) struct Trainer {
    net: Net,
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
            net: Net::new(&plan.model, layout)?,
            loss: plan.loss(),
            state: plan.optimiser_state,
            augment: Augmenter::of(&plan.data, &plan.model.input)?,
            memory: BTreeMap::new(),
        })
    }

    /// Trains from `fit.start`. That state holds the optimiser's state too if the plan has optimiser state
    /// travel with the model. The scores are over all batches, each measured before its step.
    pub(in crate::task) fn fit(&mut self, fit: &Fit<'_>) -> Result<(ModelState, Scores), TaskError> {
        let spec = fit.spec;
        let device = Device::flex().autodiff();
        let mut model = fit.start.clone();
        let (places, len) = (optimiser_places(fit.start.layout(), fit.task), self.net.len());
        let mut memory = match self.state {
            OptimiserState::Reset => Memory::default(),
            OptimiserState::ContinueLocal => self.memory.get(fit.task).cloned().unwrap_or_default(),
            OptimiserState::ContinueGlobal => Memory::load(fit.start, &places, len),
        };
        let mut scores = Scores::new(&spec.loss);
        let mut draws = Draws::new(fit.seed.word("dropout"));
        let mut batches = Batches::new(fit.data.rows(), spec.batch, Draws::new(fit.seed.word("shuffle")));
        let steps = match spec.length {
            TrainLength::Epochs(epochs) => u64::from(epochs) * batches.in_epoch(),
            TrainLength::Steps(steps) => u64::from(steps),
        };
        let frozen = frozen(fit.start.layout(), spec);
        let trained: Vec<Range<usize>> =
            self.net.trained().iter().filter(|range| !frozen.contains(range)).cloned().collect();
        let (mut epoch_rows, mut epoch_loss) = (0, 0.0);
        let mut sum = GradientSum::default();
        for step in 1..=steps {
            if (fit.cancelled)() {
                return Err(TaskError::Cancelled);
            }
            let epoch = (step - 1) / batches.in_epoch();
            let batch = batches.next();
            let (rows_in_batch, (mut features, mut labels)) = (batch.len(), fit.data.gather(batch)?);
            if let Some(augment) = &self.augment {
                let seed = |row: usize| fit.seed.sample(epoch, row as u64);
                augment.apply_all(&mut features, &mut labels, batch, seed);
            }
            let params = self.net.params(&model, &device, true);
            let pass = self.net.forward(&params, features, rows_in_batch, Some(&mut draws), &device)?;
            let loss = loss::mean(&spec.loss, pass.output.clone(), &labels, &device);
            let mut gradients = loss.backward();
            let loss = loss.into_scalar::<f32>();
            if !loss.is_finite() {
                let what = format!("the loss of step {step}");
                return Err(TaskError::NotFinite { task: fit.task.clone(), what });
            }
            scores.add(&net::values(pass.output.detach()), &labels, rows_in_batch);
            epoch_rows += rows_in_batch as u64;
            epoch_loss += f64::from(loss) * rows_in_batch as f64;
            if step % batches.in_epoch() == 0 && steps > batches.in_epoch() {
                let (epoch, epochs) = (step / batches.in_epoch(), steps.div_ceil(batches.in_epoch()));
                let loss = epoch_loss / epoch_rows as f64;
                (fit.progress)(&Progress { epoch, epochs, rows: epoch_rows, loss });
                (epoch_rows, epoch_loss) = (0, 0.0);
            }
            sum.add(self.net.gradient(&params, &mut gradients));
            self.net.update_statistics(&mut model, pass.statistics);
            if sum.count < spec.accumulate && step < steps {
                continue;
            }
            let mut gradient = sum.take();
            if spec.fedprox_mu > 0.0 {
                for range in &trained {
                    optimiser::pull(
                        &mut gradient,
                        &model.f32,
                        &fit.start.f32,
                        range.clone(),
                        spec.fedprox_mu,
                    );
                }
            }
            if let Some(most) = spec.clip_norm {
                optimiser::clip(&mut gradient, &trained, most);
            }
            let optimiser = schedule::optimiser(fit, step - 1, steps);
            memory.step(optimiser, &mut model.f32[..len], &gradient, &trained)?;
        }
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
    ) -> Result<Scores, TaskError> {
        let device = Device::flex();
        let params = self.net.params(state, &device, false);
        let order: Vec<usize> = (0..data.rows()).collect();
        let mut scores = Scores::new(&self.loss);
        for batch in order.chunks(self.net.at_once(SCORED_AT_ONCE)) {
            if cancelled() {
                return Err(TaskError::Cancelled);
            }
            let (features, labels) = data.gather(batch)?;
            let pass = self.net.forward(&params, features, batch.len(), None, &device)?;
            scores.add(&net::values(pass.output), &labels, batch.len());
        }
        Ok(scores)
    }
}

/// The places of the tensors that the task leaves as they are, running statistics too.
fn frozen(layout: &Layout, spec: &TrainSpec) -> Vec<Range<usize>> {
    let segments = layout.segments(Dtype::F32);
    segments.filter(|s| spec.freezes(&layout.tensors()[s.tensor].name)).map(|s| s.range).collect()
}

/// The gradients of the batches since the last step.
#[derive(Default)]
struct GradientSum {
    values: Vec<f32>,
    count: u32,
}

impl GradientSum {
    fn add(&mut self, gradient: Vec<f32>) {
        self.count += 1;
        if self.count == 1 {
            self.values = gradient;
        } else {
            self.values.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += value);
        }
    }

    /// Their mean.
    fn take(&mut self) -> Vec<f32> {
        let count = std::mem::take(&mut self.count).max(1);
        if count > 1 {
            self.values.iter_mut().for_each(|value| *value /= count as f32);
        }
        std::mem::take(&mut self.values)
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

/// Most rows of one forward pass outside training.
const SCORED_AT_ONCE: usize = 128;

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
