//! The passes from one image to the other: each value that is written is gathered from those that reach it.

use super::{Finish, PIECES, Phase, Tap, meeting::Meeting};
use crate::{
    image::Image,
    isa::Isa,
    lanes::{LANES, Lanes},
    team::Kit,
};

/// One call of [`gather`].
pub(super) struct Job<'a> {
    pub(super) x: &'a Image,
    pub(super) phases: &'a [Phase],
    pub(super) meeting: Meeting,
    /// Pixels that are read for each step of the output.
    pub(super) step: [usize; 2],
    /// Distance of the pixels that a phase writes.
    pub(super) every: [usize; 2],
    pub(super) packed: &'a [Lanes],
    pub(super) finish: Finish<'a>,
}

/// What a sum runs over, and where it lies.
#[derive(Clone, Copy)]
struct Reach<'a> {
    x: &'a [Lanes],
    taps: &'a [Tap],
    weights: &'a [Lanes],
    plane: usize,
    stride: isize,
    blocks: usize,
    /// Channels of the last block.
    last: usize,
    step: usize,
}

pub(super) fn gather<I: Isa>(isa: I, kit: Kit<'_>, job: &Job<'_>, out: &mut Image) {
    let x = job.x;
    assert_eq!(out.samples(), x.samples(), "images of another batch");
    let (blocks, plane, halo, stride) = (out.blocks(), out.plane(), out.halo, out.stride());
    let (height, width, most) = (out.height, out.width, job.meeting.most());
    let rows = rows_of_tile(out.count * blocks, height);
    let tiles = out.pixels_mut().chunks_mut(plane).enumerate().flat_map(move |(index, plane)| {
        plane.chunks_mut(rows * stride).enumerate().map(move |(tile, rest)| (index, tile * rows, rest))
    });
    kit.share(tiles, |(index, row, tile)| {
        let (image, block) = (index / blocks, index % blocks);
        let met = job.meeting.blocks(block);
        let first = (image * x.blocks() + met.start) * x.plane();
        let bias = job.finish.bias.map_or(Lanes::ZERO, |bias| bias[block]);
        isa.run(
            #[inline(always)]
            || {
                for phase in job.phases {
                    let per = most * phase.taps.len();
                    let reach = Reach {
                        x: &x.data[first..][..met.len() * x.plane()],
                        taps: &phase.taps,
                        weights: &job.packed[blocks * most * phase.before + block * per..][..per],
                        plane: x.plane(),
                        stride: x.stride() as isize,
                        blocks: met.len(),
                        last: x.lanes(met.end - 1),
                        step: job.step[1],
                    };
                    for (y, line) in (row..).zip(tile.chunks_mut(stride)) {
                        let inside = y.wrapping_sub(halo[0]);
                        let from = inside.wrapping_sub(phase.first[0]);
                        if inside >= height || from >= height || !from.is_multiple_of(job.every[0]) {
                            continue;
                        }
                        let at = x.at(from / job.every[0] * job.step[0]);
                        let count = width.saturating_sub(phase.first[1]).div_ceil(job.every[1]);
                        if count == 0 {
                            continue;
                        }
                        let line = &mut line[halo[1] + phase.first[1]..][..(count - 1) * job.every[1] + 1];
                        match job.step[1] {
                            _ if job.meeting.is_by_lane() => {
                                write_row_by_lane(isa, &reach, at, &bias, job, line, count);
                            }
                            1 => write_row::<I, 1>(isa, &reach, at, &bias, job, line, count),
                            2 => write_row::<I, 2>(isa, &reach, at, &bias, job, line, count),
                            _ => write_row::<I, 0>(isa, &reach, at, &bias, job, line, count),
                        }
                    }
                }
            },
        );
    });
}

/// Rows of one thread's piece of a plane: enough pieces for 32 threads, by shapes alone.
fn rows_of_tile(planes: usize, height: usize) -> usize {
    height.div_ceil(PIECES.div_ceil(planes.max(1)).max(1)).max(LEAST_ROWS)
}

/// One row, some pixels at a time. `S` is the step of what is read, or 0 for other steps.
#[inline(always)]
fn write_row<I: Isa, const S: usize>(
    isa: I,
    reach: &Reach<'_>,
    at: usize,
    bias: &Lanes,
    job: &Job<'_>,
    line: &mut [Lanes],
    count: usize,
) {
    let mut done = 0;
    while done < count {
        let pixels = pixels_at_once(I::WIDE, count - done);
        let at = at + done * reach.step;
        let line = &mut line[done * job.every[1]..];
        match pixels {
            16 => write::<I, 16, S>(isa, reach, at, bias, job, line),
            8 => write::<I, 8, S>(isa, reach, at, bias, job, line),
            6 => write::<I, 6, S>(isa, reach, at, bias, job, line),
            5 => write::<I, 5, S>(isa, reach, at, bias, job, line),
            4 => write::<I, 4, S>(isa, reach, at, bias, job, line),
            3 => write::<I, 3, S>(isa, reach, at, bias, job, line),
            2 => write::<I, 2, S>(isa, reach, at, bias, job, line),
            _ => write::<I, 1, S>(isa, reach, at, bias, job, line),
        }
        done += pixels;
    }
}

/// How many of the pixels that are left have their sums in registers together.
fn pixels_at_once(wide: bool, left: usize) -> usize {
    match left {
        _ if wide && (left == 16 || left >= 24) => 16,
        _ if wide && left >= 14 => 8,
        8 if wide => 8,
        // Seven and eight are four and the rest.
        7 | 8 => 4,
        9 => 5,
        0..=6 => left,
        _ => 6,
    }
}

#[inline(always)]
fn write<I: Isa, const P: usize, const S: usize>(
    isa: I,
    reach: &Reach<'_>,
    at: usize,
    bias: &Lanes,
    job: &Job<'_>,
    line: &mut [Lanes],
) {
    let mut sums = begin::<I, P>(isa, bias, job, line);
    let step = if S == 0 { reach.step } else { S };
    let mut weight = 0;
    for block in 0..reach.blocks {
        let channels = if block + 1 == reach.blocks { reach.last } else { LANES }.min(LANES);
        let from = at + block * reach.plane;
        for tap in reach.taps {
            let from = from.wrapping_add_signed(tap.shift[0] * reach.stride + tap.shift[1]);
            let seen = &reach.x[from..][..(P - 1) * step + 1];
            let weights = &reach.weights[weight..][..channels];
            weight += channels;
            for channel in 0..channels {
                let w = isa.load(&weights[channel]);
                for p in 0..P {
                    sums[p] = isa.fma(isa.splat(seen[p * step].0[channel]), w, sums[p]);
                }
            }
        }
    }
    finish(isa, sums, job, line);
}

/// What the sums of some pixels start with.
#[inline(always)]
fn begin<I: Isa, const P: usize>(isa: I, bias: &Lanes, job: &Job<'_>, line: &[Lanes]) -> [I::V; P] {
    let every = job.every[1];
    let line = &line[..(P - 1) * every + 1];
    let mut sums = [isa.load(bias); P];
    if job.finish.add {
        for p in 0..P {
            sums[p] = isa.load(&line[p * every]);
        }
    }
    sums
}

/// Writes the sums of some pixels.
#[inline(always)]
fn finish<I: Isa, const P: usize>(isa: I, sums: [I::V; P], job: &Job<'_>, line: &mut [Lanes]) {
    let every = job.every[1];
    let line = &mut line[..(P - 1) * every + 1];
    let zero = isa.splat(0.0);
    for p in 0..P {
        let sum = if job.finish.relu { isa.max(sums[p], zero) } else { sums[p] };
        isa.store(&mut line[p * every], sum);
    }
}

/// One row of a convolution whose channels meet their own alone.
#[inline(always)]
fn write_row_by_lane<I: Isa>(
    isa: I,
    reach: &Reach<'_>,
    at: usize,
    bias: &Lanes,
    job: &Job<'_>,
    line: &mut [Lanes],
    count: usize,
) {
    let mut done = 0;
    while done < count {
        let at = at + done * reach.step;
        let line = &mut line[done * job.every[1]..];
        done += if count - done >= 8 {
            write_by_lane::<I, 8>(isa, reach, at, bias, job, line)
        } else {
            write_by_lane::<I, 1>(isa, reach, at, bias, job, line)
        };
    }
}

#[inline(always)]
fn write_by_lane<I: Isa, const P: usize>(
    isa: I,
    reach: &Reach<'_>,
    at: usize,
    bias: &Lanes,
    job: &Job<'_>,
    line: &mut [Lanes],
) -> usize {
    let mut sums = begin::<I, P>(isa, bias, job, line);
    for (tap, weight) in reach.taps.iter().zip(reach.weights) {
        let from = at.wrapping_add_signed(tap.shift[0] * reach.stride + tap.shift[1]);
        let seen = &reach.x[from..][..(P - 1) * reach.step + 1];
        let weight = isa.load(weight);
        for p in 0..P {
            sums[p] = isa.fma(isa.load(&seen[p * reach.step]), weight, sums[p]);
        }
    }
    finish(isa, sums, job, line);
    P
}

/// Rows of a piece at the least.
const LEAST_ROWS: usize = 4;
