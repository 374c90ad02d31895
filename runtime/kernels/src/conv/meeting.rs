//! Which channels of the two images of a convolution meet, and their weights in that order.

use std::ops::Range;

use super::Phase;
use crate::{
    lanes::{LANES, Lanes, resize_exact},
    team::Kit,
};

/// Which channels of one way of a convolution meet.
#[derive(Clone, Copy)]
pub(super) struct Meeting {
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    pub(super) groups: usize,
}

impl Meeting {
    /// Whether each channel meets its own alone: lanes are then multiplied with lanes.
    pub(super) fn is_by_lane(self) -> bool {
        self.groups > 1 && self.groups == self.outputs && self.groups == self.inputs
    }

    /// The blocks of inputs that a block of outputs meets.
    pub(super) fn blocks(self, block: usize) -> Range<usize> {
        let (outputs, inputs) = (self.outputs / self.groups, self.inputs / self.groups);
        let last = ((block + 1) * LANES).min(self.outputs) - 1;
        let (first, end) = (block * LANES / outputs * inputs, (last / outputs + 1) * inputs);
        first / LANES..end.div_ceil(LANES)
    }

    /// Inputs of some blocks.
    pub(super) fn inputs(self, blocks: &Range<usize>) -> Range<usize> {
        blocks.start * LANES..(blocks.end * LANES).min(self.inputs)
    }

    /// The most inputs that a block of outputs has weights for; 1 where each lane has its own.
    pub(super) fn most(self) -> usize {
        if self.is_by_lane() {
            return 1;
        }
        let blocks = 0..self.outputs.div_ceil(LANES);
        blocks.map(|block| self.inputs(&self.blocks(block)).len()).max().unwrap_or(0)
    }

    /// The lanes of a block of outputs that an input meets.
    pub(super) fn lanes(self, block: usize, input: usize) -> Range<usize> {
        let outputs = self.outputs / self.groups;
        let first = input / (self.inputs / self.groups) * outputs;
        let within = |output: usize| output.clamp(block * LANES, (block + 1) * LANES) - block * LANES;
        within(first)..within(first + outputs)
    }
}

/// Orders weights: `[phase][block of outputs][block of inputs][tap][input]`, lanes are outputs. `step` is the
/// one from one output to the next in the same group, and `place` says where the first tap's weight of an
/// output and an input lies.
pub(super) fn pack(
    kit: Kit<'_>,
    weights: &[f32],
    phases: &[Phase],
    meeting: Meeting,
    step: usize,
    place: impl Fn(usize, usize) -> usize + Sync,
    packed: &mut Vec<Lanes>,
) {
    let (blocks, most) = (meeting.outputs.div_ceil(LANES), meeting.most());
    let taps: usize = phases.iter().map(|phase| phase.taps.len()).sum();
    let needed = blocks * most * taps;
    resize_exact(packed, needed, Lanes::ZERO);
    let mut rest = &mut packed[..];
    for phase in phases {
        let per = most * phase.taps.len();
        let (own, later) = rest.split_at_mut(blocks * per);
        rest = later;
        if per == 0 {
            continue;
        }
        kit.share(own.chunks_mut(per).enumerate(), |(block, own)| {
            if meeting.is_by_lane() {
                let first = block * LANES;
                let lanes = (meeting.outputs - first).min(LANES);
                for (tap, out) in phase.taps.iter().zip(own) {
                    *out = Lanes::ZERO;
                    for lane in 0..lanes {
                        out.0[lane] = weights[place(first + lane, first + lane) + tap.index];
                    }
                }
                return;
            }
            let inputs = meeting.inputs(&meeting.blocks(block));
            let mut own = own.iter_mut();
            for first in inputs.clone().step_by(LANES) {
                let last = (first + LANES).min(inputs.end);
                for tap in &phase.taps {
                    for (input, out) in (first..last).zip(&mut own) {
                        *out = Lanes::ZERO;
                        let lanes = meeting.lanes(block, input);
                        if lanes.is_empty() {
                            continue;
                        }
                        let from = place(block * LANES + lanes.start, input) + tap.index;
                        for (lane, out) in out.0[lanes].iter_mut().enumerate() {
                            *out = weights[from + lane * step];
                        }
                    }
                }
            }
        });
    }
}
