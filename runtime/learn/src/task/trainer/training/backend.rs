//! What computes a model: the kernels of this project, or burn.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use burn_tensor::Device;
use fl_engine::{
    Draws,
    plan::{self, Loss, Plan, TaskKind},
    tensor::{Layout, ModelState},
};
use fl_kernels::{Kit, Level};

use super::{
    loss,
    net::{self, Net, Params},
    own::{self, Own},
};
use crate::task::{error::TaskError, team::Team};

/// A plan's model, ready to compute.
pub(super) struct Backend {
    kind: Kind,
    /// Most rows of a forward pass outside training.
    at_once: usize,
    note: Option<String>,
}

enum Kind {
    Burn(Net),
    Own(Box<Mutex<Computer>>),
}

/// The executor with what it computes with.
pub(super) struct Computer {
    own: Own,
    level: Level,
    by_output: Vec<f32>,
}

/// Some rows, and the threads that compute.
pub(super) struct Batch<'a> {
    pub(super) features: Vec<f32>,
    pub(super) labels: &'a [f32],
    pub(super) rows: usize,
    pub(super) team: Team<'a>,
}

impl Backend {
    pub(super) fn new(plan: &Plan, layout: &Arc<Layout>) -> Result<Self, TaskError> {
        let burn = |note: Option<String>| -> Result<Self, TaskError> {
            let net = Net::new(&plan.model, layout)?;
            Ok(Self { at_once: net.at_once(SCORED_AT_ONCE), kind: Kind::Burn(net), note })
        };
        if plan.backend == plan::Backend::Burn {
            return burn(None);
        }
        let level = Level::best();
        let own = match own::plan(&plan.model, layout, false)? {
            Ok(own) => own,
            Err(layer) => {
                let note =
                    format!("the model runs on burn: the own backend has no layer {layer} of this form");
                return burn(Some(note));
            }
        };
        if !level.is_fast() {
            let note = "the model runs on burn: the own backend needs a processor with AVX2";
            return burn(Some(note.to_owned()));
        }
        let at_once = at_once(&own, plan);
        let computer = Computer { own, level, by_output: Vec::new() };
        Ok(Self { kind: Kind::Own(Box::new(Mutex::new(computer))), at_once, note: None })
    }

    pub(super) fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Most rows of a forward pass outside training.
    pub(super) fn at_once(&self) -> usize {
        self.at_once
    }

    /// Number of the model's f32 elements. A state's f32 segment begins with these elements.
    pub(super) fn len(&self) -> usize {
        match &self.kind {
            Kind::Burn(net) => net.len(),
            Kind::Own(own) => lock(own).own.len(),
        }
    }

    /// Places of the elements that an optimiser steps on.
    pub(super) fn trained(&self) -> Vec<std::ops::Range<usize>> {
        match &self.kind {
            Kind::Burn(net) => net.trained().to_vec(),
            Kind::Own(own) => lock(own).own.trained().to_vec(),
        }
    }

    /// The mean loss of a batch and the model's outputs. Writes the loss's gradient by each element of the
    /// model, 0 for elements that no gradient reaches, and moves the running statistics of `model`.
    pub(super) fn train(
        &mut self,
        model: &mut ModelState,
        batch: Batch<'_>,
        loss: &Loss,
        draws: &mut Draws,
        gradient: &mut Vec<f32>,
    ) -> Result<(f32, Cow<'_, [f32]>), TaskError> {
        let Batch { features, labels, rows, team } = batch;
        match &mut self.kind {
            Kind::Burn(net) => {
                let device = Device::flex().autodiff();
                let params = net.params(model, &device, true);
                let pass = net.forward(&params, features, rows, Some(draws), &device)?;
                let mean = loss::mean(loss, pass.output.clone(), labels, &device);
                let mut gradients = mean.backward();
                *gradient = net.gradient(&params, &mut gradients);
                net.update_statistics(model, pass.statistics);
                Ok((mean.into_scalar::<f32>(), Cow::Owned(net::values(pass.output.detach()))))
            }
            Kind::Own(own) => {
                let Computer { own, level, by_output } =
                    own.get_mut().unwrap_or_else(PoisonError::into_inner);
                let kit = Kit { level: *level, team };
                let output = own.forward(model, &features, rows, Some(draws), kit);
                let mean = own::loss::mean(loss, output, labels, rows, by_output);
                gradient.resize(own.len(), 0.0);
                own.backward(model, by_output, gradient, kit);
                own.update_statistics(model);
                Ok((mean, Cow::Borrowed(own.output())))
            }
        }
    }

    /// Forward passes over one state, outside training.
    pub(super) fn inference(&self, state: &ModelState) -> Inference<'_> {
        match &self.kind {
            Kind::Burn(net) => Inference::Burn(net, net.params(state, &Device::flex(), false)),
            Kind::Own(own) => Inference::Own(lock(own)),
        }
    }
}

/// See [`Backend::inference`].
pub(super) enum Inference<'a> {
    Burn(&'a Net, Params),
    Own(MutexGuard<'a, Computer>),
}

impl Inference<'_> {
    /// The outputs for a batch, without dropout; batch normalisation uses its running statistics.
    pub(super) fn run(&mut self, state: &ModelState, batch: Batch<'_>) -> Result<Vec<f32>, TaskError> {
        let Batch { features, rows, team, .. } = batch;
        match self {
            Self::Burn(net, params) => {
                let pass = net.forward(params, features, rows, None, &Device::flex())?;
                Ok(net::values(pass.output))
            }
            Self::Own(computer) => {
                let kit = Kit { level: computer.level, team };
                Ok(computer.own.forward(state, &features, rows, None, kit).to_vec())
            }
        }
    }
}

/// See [`Trainer::planned_memory`](super::Trainer::planned_memory).
pub(super) fn planned_memory(plan: &Plan) -> Option<(u64, u64)> {
    if plan.backend != plan::Backend::Own {
        return None;
    }
    let own = own::plan(&plan.model, &plan.layout().ok()?, false).ok()?.ok()?;
    let rows = at_once(&own, plan).max(largest_batch(plan));
    Some((rows as u64, own.bytes_of_step(rows) as u64))
}

/// Most rows of a forward pass outside training: those of a training, or more in little memory.
fn at_once(own: &Own, plan: &Plan) -> usize {
    let least = largest_batch(plan);
    (BYTES_AT_ONCE / own.bytes_of_sample().max(1)).max(least).clamp(1, SCORED_AT_ONCE)
}

/// Most rows of a step of the plan's trainings.
fn largest_batch(plan: &Plan) -> usize {
    let batches = plan.tasks.iter().filter_map(|task| match &task.kind {
        TaskKind::Train(train) => Some(train.batch as usize),
        _ => None,
    });
    batches.max().unwrap_or(1)
}

/// A pass that panicked leaves buffers that the next pass fills again.
fn lock(computer: &Mutex<Computer>) -> MutexGuard<'_, Computer> {
    computer.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Most rows of one forward pass outside training.
const SCORED_AT_ONCE: usize = 128;

/// Bytes that the values of a pass outside training may take, if training needs less.
const BYTES_AT_ONCE: usize = 64 << 20;
