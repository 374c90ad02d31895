//! The server's step over a round's mean or rule answer, and the state that the step keeps from round to
//! round.
//!
//! A [`ServerOptimiser`] lives as long as the run. For each round it makes a `RoundStep`, which the pool's
//! jobs share. When a job has the answer for a run of the model, it takes the step for that run: it reads the
//! state before the round and writes the state after it. So two states live at once, as two models do: the
//! newest, which the store writes too, and the next. A round that fails leaves the state as it was.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use fl_engine::{
    aggregate::{RuleError, ServerStep, StateRuns},
    plan::{ExactRange, Server},
    tensor::{Layout, LayoutError},
};

use crate::payload::{Parts, PayloadPool};

/// Why a server's step cannot begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerStepError {
    /// The tensors of the state make no valid layout.
    #[error("the plan's model leaves no room for the state of the server optimiser")]
    Layout(#[from] LayoutError),
    /// The stored state has another length than the plan's step needs.
    #[error(
        "the stored state of the server optimiser has {given} bytes, but the plan's step needs {expected}"
    )]
    Length {
        /// Bytes of the stored state.
        given: usize,
        /// Bytes that the plan's step needs.
        expected: usize,
    },
}

/// A plan's step, with its newest state.
#[derive(Debug)]
pub struct ServerOptimiser {
    step: Arc<ServerStep>,
    state: Option<OptimiserState>,
}

#[derive(Debug)]
struct OptimiserState {
    buffers: PayloadPool,
    newest: Bytes,
}

/// The step of one round, taken shard by shard. Clones share it. Dropping the last clone leaves the state as
/// it was.
#[derive(Clone, Debug)]
pub(super) struct RoundStep(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    step: Arc<ServerStep>,
    /// Elements of each shard.
    shards: Vec<Range<usize>>,
    change: Option<StateChange>,
}

/// The state before the round and after it. A step has two kinds of state. Each kind is cut by shards; the
/// parts of the first kind come before those of the second.
#[derive(Debug)]
struct StateChange {
    old: Bytes,
    new: Parts,
}

impl ServerOptimiser {
    /// The step of a plan over models of `layout`. `resumed` is the state after the newest stored round;
    /// without it, the step begins with its initial state.
    ///
    /// # Errors
    /// [`ServerStepError`].
    pub async fn new(
        server: Server,
        layout: Arc<Layout>,
        exact: ExactRange,
        resumed: Option<&[u8]>,
    ) -> Result<Self, ServerStepError> {
        let step = Arc::new(ServerStep::new(server, layout, exact)?);
        let expected = step.state_layout().map_or(0, |layout| layout.byte_len());
        if let Some(given) = resumed.map(<[u8]>::len).filter(|given| *given != expected) {
            return Err(ServerStepError::Length { given, expected });
        }
        let Some(layout) = step.state_layout() else { return Ok(Self { step, state: None }) };
        let buffers = PayloadPool::new(Arc::clone(layout));
        let mut draft = buffers.take().await;
        let out = draft.as_mut_slice();
        match resumed {
            Some(state) => out.copy_from_slice(state),
            None => {
                let initial = step.initial_state().map(|state| state.f32).unwrap_or_default();
                let out = out.as_chunks_mut::<4>().0.iter_mut();
                out.zip(initial).for_each(|(bytes, value)| *bytes = value.to_le_bytes());
            }
        }
        let newest = draft.into_bytes();
        Ok(Self { step, state: Some(OptimiserState { buffers, newest }) })
    }

    /// The newest state, where the step has one. The clone is cheap and keeps its buffer taken.
    #[must_use]
    pub fn state(&self) -> Option<Bytes> {
        self.state.as_ref().map(|state| state.newest.clone())
    }

    /// The next round's step over these shards of the f32 segment, which are in order and without gaps. The
    /// call first waits until fewer than two states live.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub(super) async fn begin(&self, shards: &[Range<usize>]) -> RoundStep {
        let change = match &self.state {
            None => None,
            Some(OptimiserState { buffers, newest }) => {
                let draft = buffers.take().await;
                let runs: Vec<StateRuns> =
                    shards.iter().map(|shard| self.step.state_runs(shard.clone())).collect();
                let (first, second) = (runs.iter().map(|r| &r.first), runs.iter().map(|r| &r.second));
                let lengths: Vec<usize> = first.chain(second).map(|run| run.len() * 4).collect();
                Some(StateChange { old: newest.clone(), new: draft.split(lengths.into_iter()) })
            }
        };
        RoundStep(Arc::new(Inner { step: Arc::clone(&self.step), shards: shards.to_vec(), change }))
    }

    /// Makes the state after `step` the newest. The step was taken in every shard, and `step` is its last
    /// clone.
    pub(super) fn finish(&mut self, step: RoundStep) {
        let built = Arc::into_inner(step.0).and_then(|inner| Some(inner.change?.new.join()));
        if let (Some(state), Some(draft)) = (&mut self.state, built) {
            state.newest = draft.into_bytes();
        }
    }
}

impl RoundStep {
    /// Takes the step for the f32 elements from `from` on, which lie in shard `index`. `answer` holds the
    /// mean or the rule's answer for these elements, and becomes the next model; `base` holds the base model.
    /// One thread works on a shard at a time.
    ///
    /// # Errors
    /// [`RuleError`] when the step leads out of the plan's range.
    pub(super) fn take(
        &self,
        index: usize,
        from: usize,
        base: &[u8],
        answer: &mut [u8],
    ) -> Result<(), RuleError> {
        let Inner { step, shards, change } = &*self.0;
        let Some(StateChange { old, new }) = change else {
            return step.run(from, base, answer, [&[], &[]], [&mut [], &mut []]);
        };
        let whole = step.state_runs(shards[index].clone());
        let run = step.state_runs(from..from + answer.len() / 4);
        let bytes = |run: &Range<usize>| run.start * 4..run.end * 4;
        let within = |run: &Range<usize>, whole: &Range<usize>| {
            let start = (run.start - whole.start) * 4;
            start..start + run.len() * 4
        };
        let (mut first, mut second) = (new.part(index), new.part(shards.len() + index));
        let new =
            [&mut first[within(&run.first, &whole.first)], &mut second[within(&run.second, &whole.second)]];
        step.run(from, base, answer, [&old[bytes(&run.first)], &old[bytes(&run.second)]], new)
    }
}
