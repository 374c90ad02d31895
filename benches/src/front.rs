//! The product's aggregation, driven as the aggregator drives it.

use std::{sync::Arc, time::Duration};

use fl_engine::{
    ByteCount,
    aggregate::method,
    plan::{self, Rule},
    tensor::Layout,
};
use fl_runtime::internal::{
    aggregation::{Aggregation, StagedUpdate},
    memory::SlotStore,
    payload::{Payload, PayloadPool},
    pool::Pool,
};
use tokio::runtime::{Builder, Runtime};

use crate::{
    Failure, resident, rules,
    timing::{Samples, Took, timed},
    updates::Updates,
};

/// A rule over one layout, the threads that work it, and the model that updates are of.
#[derive(Debug)]
pub struct Front {
    runtime: Runtime,
    aggregation: Aggregation,
    base: Payload,
}

impl Front {
    /// An aggregation that holds no update.
    ///
    /// # Errors
    /// When threads are refused, or there is no such rule.
    pub fn new(updates: &Updates, rule: &Rule, threads: usize) -> Result<Self, Failure> {
        let exact = rules::range(rule);
        let method = method(&plan::Aggregation { rule, server: None, threshold: None }, exact, |_| None)?;
        let payloads = PayloadPool::new(Arc::clone(updates.layout()));
        let aggregation = Aggregation::new(
            Pool::new(&fl_runtime::internal::system::System::real().threads, threads)?,
            payloads,
            exact,
            method,
            None,
        );
        let runtime = Builder::new_current_thread().build()?;
        Ok(Self { runtime, aggregation, base: updates.base() })
    }

    /// Takes in updates while more are expected.
    ///
    /// # Errors
    /// Those of the product.
    pub fn absorb(&mut self, batch: Vec<StagedUpdate>) -> Result<(), Failure> {
        Ok(self.runtime.block_on(self.aggregation.absorb(batch, &self.base))?)
    }

    /// Takes in the last updates and makes the model: its bytes and their root, ready to send.
    ///
    /// # Errors
    /// Those of the product.
    pub fn finish(&mut self, batch: Vec<StagedUpdate>) -> Result<Payload, Failure> {
        Ok(self.runtime.block_on(self.aggregation.finish(batch, &self.base))?.model)
    }
}

/// How updates arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Each update is staged before the next one arrives, and every second update is taken in together with
    /// the one before. When the last update arrives, all others are in the sum.
    OneByOne,
    /// All updates are staged before the first one is taken in.
    AtOnce,
}

impl Arrival {
    /// Both ways.
    pub const ALL: [Self; 2] = [Self::OneByOne, Self::AtOnce];

    /// The word in a table.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::OneByOne => "one by one",
            Self::AtOnce => "at once",
        }
    }
}

/// A round to be repeated.
#[derive(Clone, Debug)]
pub struct Round {
    /// How updates become a model.
    pub rule: Rule,
    /// How many there are.
    pub collaborators: usize,
    /// How they arrive.
    pub arrival: Arrival,
    /// Threads of the CPU pool.
    pub threads: usize,
}

impl Round {
    /// Slots that are in use at once.
    #[must_use]
    pub fn slots(&self) -> usize {
        let kept = self.arrival == Arrival::AtOnce || keeps_updates(&self.rule);
        if kept { self.collaborators } else { self.collaborators.min(A_PASS) }
    }

    /// Checks that the machine has memory for this round, for `models` more models of `layout`, and for the
    /// aggregation.
    ///
    /// # Errors
    /// How much memory is needed and available, in words.
    pub fn fits(&self, layout: &Layout, models: usize) -> Result<(), String> {
        // Two models, the base, and sums of four times the model.
        let needed = (layout.byte_len() * (7 + models + self.slots())) as u64;
        let room = resident::available() / 10 * 9;
        if needed <= room {
            Ok(())
        } else {
            Err(format!("needs {} of {}", ByteCount(needed), ByteCount(room)))
        }
    }

    /// Repeats the round at least three times, and again until `budget` is used up. The wall time is from the
    /// last update staged to the model ready to send. The processor time is that of all updates, without
    /// copying them into slots.
    ///
    /// # Errors
    /// Those of the product.
    pub fn measure(&self, updates: &Updates, budget: Duration) -> Result<Samples, Failure> {
        let len = updates.layout().byte_len() as u64;
        let store = SlotStore::new(
            &fl_runtime::internal::system::System::real(),
            ByteCount(len * self.slots() as u64),
            ByteCount(0),
            std::env::temp_dir(),
            len,
        )?;
        let mut front = Front::new(updates, &self.rule, self.threads)?;
        let stage = |n: usize| updates.stage(&store, n);
        let last = self.collaborators.saturating_sub(1);
        let round = || {
            let mut before = Took::default();
            let batch = match self.arrival {
                Arrival::AtOnce => (0..=last).map(stage).collect::<Result<_, _>>()?,
                Arrival::OneByOne => {
                    let mut waiting = Vec::with_capacity(A_PASS);
                    for n in 0..last {
                        waiting.push(stage(n)?);
                        if waiting.len() == A_PASS || n + 1 == last {
                            let batch = std::mem::take(&mut waiting);
                            let mut absorbed = Ok(());
                            before = before.plus(timed(|| absorbed = front.absorb(batch)));
                            absorbed?;
                        }
                    }
                    waiting.push(stage(last)?);
                    waiting
                }
            };
            let mut made = None;
            let end = timed(|| made = Some(front.finish(batch)));
            drop(made.transpose()?);
            Ok((Took { wall: end.wall, cpu: before.cpu + end.cpu }, end.cpu))
        };
        Samples::of(3, 1000, budget, round)
    }
}

/// Whether every update is kept until the last one has arrived.
#[must_use]
pub fn keeps_updates(rule: &Rule) -> bool {
    !matches!(rule, Rule::WeightedMean | Rule::Mean | Rule::ClippedMean { .. })
}

/// Updates of a pass when they arrive one by one: the aggregator lets a lone update wait for the next one.
pub const A_PASS: usize = 2;
