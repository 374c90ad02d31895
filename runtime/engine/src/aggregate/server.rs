//! The server's step from the base towards a rule's answer (Hsu et al., arXiv:1909.06335; Reddi et al.,
//! arXiv:2003.00295).
//!
//! The difference of the answer and the base, `Δ = answer - base`, serves as the gradient. Each element of
//! the model and of the state is computed in f64 and rounded to f32 once. Optimiser state that travels with
//! the model (`optimiser.*`) and running statistics are not parameters: they take the rule's answer and have
//! no state here.

use std::{ops::Range, sync::Arc};

use super::{RuleError, check::tensor_at, combiner::check};
use crate::{
    model::{is_optimiser_tensor, is_statistic},
    plan::{ExactRange, Server},
    tensor::{Combine, Dtype, Layout, LayoutError, ModelState, TensorSpec},
};

/// One plan's step over one layout.
#[derive(Clone, Debug)]
pub struct ServerStep {
    server: Server,
    layout: Arc<Layout>,
    exact: ExactRange,
    /// Runs of the f32 segment that take a step, each with the number of such elements before it.
    stepped: Vec<(Range<usize>, usize)>,
    state: Option<Arc<Layout>>,
    /// Elements of one kind of state.
    len: usize,
}

/// Where the state of a run of the model lies in the f32 segment of the state's layout, as elements. Kinds of
/// state that the step does not have are empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateRuns {
    /// Momentum: tensors `server.m.NAME`.
    pub first: Range<usize>,
    /// Second moments: tensors `server.v.NAME`.
    pub second: Range<usize>,
}

/// The layout of a step's state: `server.m.NAME` for every tensor that is stepped, then `server.v.NAME` where
/// the step has second moments. `None` for a step without state, or a model without a tensor that is stepped.
///
/// # Errors
/// [`LayoutError`] when a tensor's name is within nine bytes of its bound, or the elements are more than a
/// layout has.
pub fn state_layout(server: Server, layout: &Layout) -> Result<Option<Arc<Layout>>, LayoutError> {
    let stepped = || layout.tensors().iter().filter(|tensor| is_stepped(tensor));
    let part = |part: &'static str| {
        stepped().map(move |t| TensorSpec::f32(format!("server.{part}.{}", t.name), t.shape.clone()))
    };
    let tensors: Vec<TensorSpec> = match kinds(server) {
        0 => Vec::new(),
        1 => part("m").collect(),
        _ => part("m").chain(part("v")).collect(),
    };
    if tensors.is_empty() { Ok(None) } else { Layout::new(tensors).map(Some) }
}

impl ServerStep {
    /// For a plan's step over the model's layout.
    ///
    /// # Errors
    /// As [`state_layout`].
    pub fn new(server: Server, layout: Arc<Layout>, exact: ExactRange) -> Result<Self, LayoutError> {
        let mut stepped: Vec<(Range<usize>, usize)> = Vec::new();
        let mut len = 0;
        let segments = layout.segments(Dtype::F32).filter(|s| is_stepped(&layout.tensors()[s.tensor]));
        for segment in segments {
            let elements = segment.range.len();
            match stepped.last_mut() {
                Some((last, _)) if last.end == segment.range.start => last.end = segment.range.end,
                _ => stepped.push((segment.range, len)),
            }
            len += elements;
        }
        Ok(Self { state: state_layout(server, &layout)?, server, layout, exact, stepped, len })
    }

    /// The layout of the state; `None` when there is none.
    #[must_use]
    pub fn state_layout(&self) -> Option<&Arc<Layout>> {
        self.state.as_ref()
    }

    /// The state before the first round: zeros, second moments at `tau²`.
    #[must_use]
    pub fn initial_state(&self) -> Option<ModelState> {
        let mut state = ModelState::zeros(Arc::clone(self.state.as_ref()?));
        if let Server::FedAdagrad { tau, .. } | Server::FedAdam { tau, .. } | Server::FedYogi { tau, .. } =
            self.server
        {
            state.f32[self.len..].fill((tau * tau) as f32);
        }
        Some(state)
    }

    /// Where the state of the model's f32 elements `run` lies.
    #[must_use]
    pub fn state_runs(&self, run: Range<usize>) -> StateRuns {
        let (from, to) = (self.stepped_before(run.start), self.stepped_before(run.end));
        let kinds = if self.state.is_some() { kinds(self.server) } else { 0 };
        let of = |kind: usize| if kind < kinds { kind * self.len + from..kind * self.len + to } else { 0..0 };
        StateRuns { first: of(0), second: of(1) }
    }

    /// Takes the step for the f32 elements from `from` on: `answer` holds the rule's answer, and then the
    /// next model. `base` is that run of the base's payload; `old` and `new` are the runs of
    /// [`Self::state_runs`] of the state's payloads before and after. The bits do not depend on how a model
    /// is cut into runs.
    ///
    /// # Errors
    /// [`RuleError::NotFinite`] and [`RuleError::OutOfRange`] when the step leads out of the plan's range:
    /// its learning rate is too large.
    ///
    /// # Panics
    /// When a length is wrong.
    pub fn run(
        &self,
        from: usize,
        base: &[u8],
        answer: &mut [u8],
        old: [&[u8]; 2],
        new: [&mut [u8]; 2],
    ) -> Result<(), RuleError> {
        assert_eq!(base.len(), answer.len(), "a run of the base and of the answer");
        let run = from..from + base.len() / 4;
        let state = self.state_runs(run.clone());
        let [m_new, v_new] = new;
        let lengths = [old[0].len(), m_new.len(), old[1].len(), v_new.len()];
        let [m_len, v_len] = [state.first.len() * 4, state.second.len() * 4];
        assert_eq!(lengths, [m_len, m_len, v_len, v_len], "the run's state");
        let before_run = self.stepped_before(run.start);
        let next = self.stepped.partition_point(|(range, _)| range.end <= run.start);
        for (range, before) in self.stepped[next..].iter().take_while(|(range, _)| range.start < run.end) {
            let (start, end) = (range.start.max(run.start), range.end.min(run.end));
            let model = (start - from) * 4..(end - from) * 4;
            let place = before + start - range.start - before_run;
            let place = place * 4..(place + end - start) * 4;
            let part = |kind: Range<usize>| if kind.is_empty() { 0..0 } else { place.clone() };
            let (m, v) = (part(state.first.clone()), part(state.second.clone()));
            let mut elements = Elements {
                base: base[model.clone()].as_chunks().0,
                x: answer[model].as_chunks_mut().0,
                m_old: old[0][m.clone()].as_chunks().0,
                m: m_new[m].as_chunks_mut().0,
                v_old: old[1][v.clone()].as_chunks().0,
                v: v_new[v].as_chunks_mut().0,
            };
            elements.step(self.server);
            let fault = |values: &[[u8; 4]]| check(&self.layout, self.exact, start, values.as_flattened());
            fault(elements.x)?;
            if !elements.m.iter().chain(&*elements.v).all(|value| f32::from_le_bytes(*value).is_finite()) {
                let (tensor, element) = tensor_at(&self.layout, start);
                return Err(RuleError::NotFinite { tensor: format!("server.*.{tensor}"), element });
            }
        }
        Ok(())
    }

    fn stepped_before(&self, element: usize) -> usize {
        let next = self.stepped.partition_point(|(range, _)| range.end <= element);
        match self.stepped.get(next) {
            Some((range, before)) => before + element.saturating_sub(range.start),
            None => self.len,
        }
    }
}

fn is_stepped(tensor: &TensorSpec) -> bool {
    tensor.dtype == Dtype::F32
        && tensor.combine == Combine::Rule
        && !is_optimiser_tensor(&tensor.name)
        && !is_statistic(&tensor.name)
}

/// Kinds of state.
fn kinds(server: Server) -> usize {
    match server {
        Server::Smoothing { .. } => 0,
        Server::FedAvgM { .. } => 1,
        Server::FedAdagrad { .. } | Server::FedAdam { .. } | Server::FedYogi { .. } => 2,
    }
}

/// One run of elements that are stepped; kinds of state that the step does not have are empty.
struct Elements<'a> {
    base: &'a [[u8; 4]],
    /// The rule's answer, then the next model.
    x: &'a mut [[u8; 4]],
    m_old: &'a [[u8; 4]],
    m: &'a mut [[u8; 4]],
    v_old: &'a [[u8; 4]],
    v: &'a mut [[u8; 4]],
}

impl Elements<'_> {
    fn step(&mut self, server: Server) {
        match server {
            Server::Smoothing { keep } => self.smooth(1.0 - keep),
            Server::FedAvgM { learning_rate, momentum } => self.momentum(learning_rate, momentum),
            Server::FedAdagrad { learning_rate, beta1, tau } => {
                self.adapt(learning_rate, beta1, tau, |v, square| v + square);
            }
            Server::FedAdam { learning_rate, beta1, beta2, tau } => {
                self.adapt(learning_rate, beta1, tau, |v, square| beta2 * v + (1.0 - beta2) * square);
            }
            Server::FedYogi { learning_rate, beta1, beta2, tau } => {
                self.adapt(learning_rate, beta1, tau, |v, square| {
                    let towards = (1.0 - beta2) * square;
                    if v > square {
                        v - towards
                    } else if v < square {
                        v + towards
                    } else {
                        v
                    }
                });
            }
        }
    }

    fn smooth(&mut self, rate: f64) {
        for (x, base) in self.x.iter_mut().zip(self.base) {
            let base = number(base);
            *x = rounded(base + rate * (number(x) - base));
        }
    }

    fn momentum(&mut self, rate: f64, momentum: f64) {
        let state = self.m_old.iter().zip(&mut *self.m);
        for ((x, base), (old, new)) in self.x.iter_mut().zip(self.base).zip(state) {
            let base = number(base);
            let m = momentum * number(old) + (number(x) - base);
            *x = rounded(base + rate * m);
            *new = rounded(m);
        }
    }

    fn adapt(&mut self, rate: f64, beta1: f64, tau: f64, second: impl Fn(f64, f64) -> f64) {
        let first = self.m_old.iter().zip(&mut *self.m);
        let state = first.zip(self.v_old.iter().zip(&mut *self.v));
        for ((x, base), ((m_old, m_new), (v_old, v_new))) in self.x.iter_mut().zip(self.base).zip(state) {
            let base = number(base);
            let delta = number(x) - base;
            let m = beta1 * number(m_old) + (1.0 - beta1) * delta;
            let v = second(number(v_old), delta * delta);
            *x = rounded(base + rate * m / (v.sqrt() + tau));
            (*m_new, *v_new) = (rounded(m), rounded(v));
        }
    }
}

fn number(bytes: &[u8; 4]) -> f64 {
    f64::from(f32::from_le_bytes(*bytes))
}

/// No zero has a sign.
fn rounded(value: f64) -> [u8; 4] {
    (value as f32 + 0.0).to_le_bytes()
}
