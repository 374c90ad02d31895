//! The server's step over a round's answer, and the state that it remembers from round to round.
//!
//! A [`Stepping`] lives as long as the run. For each round it lends a [`Step`], which the pool's jobs share: as soon as
//! one has an answer for a run of the model, it takes the step for that run, reads the state before the round and writes
//! the state after it. Two states live at once, as two models do: the newest, which the store writes too, and the one
//! that is built. A round that fails leaves the state as it was.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use fl_engine::{
    aggregate::{RuleError, ServerStep, StateRuns},
    plan::{ExactRange, Server},
    tensor::{Layout, LayoutError},
};

use crate::payload::{Draft, Parts, PayloadPool};

/// Why a step cannot begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SteppingError {
    /// The state's tensors are no layout.
    #[error("the server's state is no layout")]
    Layout(#[from] LayoutError),
    /// The state to go on from is another layout's.
    #[error("the server's state has {given} bytes where the plan's step has {expected}")]
    Length {
        /// Bytes given.
        given: usize,
        /// The layout's.
        expected: usize,
    },
}

/// A plan's step, and its newest state.
#[derive(Debug)]
pub struct Stepping {
    step: Arc<ServerStep>,
    memory: Option<Memory>,
}

/// What a step with state remembers.
#[derive(Debug)]
struct Memory {
    states: PayloadPool,
    newest: Bytes,
}

/// One round's step, to be taken shard by shard. Clones share it; dropping the last leaves the state as it was.
#[derive(Clone, Debug)]
pub struct Step(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    step: Arc<ServerStep>,
    /// Elements of each shard.
    shards: Vec<Range<usize>>,
    state: Option<State>,
}

/// State before and after. Each kind is cut by shards: the first kind's parts, then the second's.
#[derive(Debug)]
struct State {
    old: Bytes,
    new: Parts,
}

impl Stepping {
    /// The step of a plan over models of `layout`. `resumed` is the state of the newest round; without it, the step
    /// begins at its initial state.
    ///
    /// # Errors
    /// [`SteppingError`].
    pub async fn new(
        server: Server,
        layout: Arc<Layout>,
        exact: ExactRange,
        resumed: Option<&[u8]>,
    ) -> Result<Self, SteppingError> {
        let step = Arc::new(ServerStep::new(server, layout, exact)?);
        let expected = step.state_layout().map_or(0, |layout| layout.byte_len());
        if let Some(given) = resumed.map(<[u8]>::len).filter(|given| *given != expected) {
            return Err(SteppingError::Length { given, expected });
        }
        let Some(layout) = step.state_layout() else { return Ok(Self { step, memory: None }) };
        let states = PayloadPool::new(Arc::clone(layout));
        let mut draft = states.take().await;
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
        Ok(Self { step, memory: Some(Memory { states, newest }) })
    }

    /// The newest state, where the step has one; a cheap clone, which keeps its buffer taken.
    #[must_use]
    pub fn state(&self) -> Option<Bytes> {
        self.memory.as_ref().map(|memory| memory.newest.clone())
    }

    /// The next round's step over these shards of the f32 segment, in order and without gaps. Waits first until fewer
    /// than two states live.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn begin(&self, shards: &[Range<usize>]) -> Step {
        let state = match &self.memory {
            None => None,
            Some(Memory { states, newest }) => {
                let draft = states.take().await;
                let runs: Vec<StateRuns> =
                    shards.iter().map(|shard| self.step.state_runs(shard.clone())).collect();
                let (first, second) = (runs.iter().map(|r| &r.first), runs.iter().map(|r| &r.second));
                let lengths: Vec<usize> = first.chain(second).map(|run| run.len() * 4).collect();
                Some(State { old: newest.clone(), new: draft.split(lengths.into_iter()) })
            }
        };
        Step(Arc::new(Inner { step: Arc::clone(&self.step), shards: shards.to_vec(), state }))
    }

    /// Makes the state after `step` the newest. Every shard's step was taken, and no clone of it is left.
    pub fn finish(&mut self, step: Step) {
        let built = Arc::into_inner(step.0).and_then(|inner| inner.state?.new.join());
        if let (Some(memory), Some(draft)) = (&mut self.memory, built) {
            memory.newest = Draft::into_bytes(draft);
        }
    }
}

impl Step {
    /// Takes the step for the f32 elements from `from` on, which lie in shard `index`: `answer` holds the rule's answer
    /// there and becomes the next model's, `base` is the base's. One thread works on a shard.
    ///
    /// # Errors
    /// [`RuleError`] when the step leads out of the plan's range.
    pub(crate) fn take(
        &self,
        index: usize,
        from: usize,
        base: &[u8],
        answer: &mut [u8],
    ) -> Result<(), RuleError> {
        let Inner { step, shards, state } = &*self.0;
        let Some(State { old, new }) = state else {
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
