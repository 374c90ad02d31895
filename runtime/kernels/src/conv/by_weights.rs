//! The gradient by the weights, in parts of a batch that are added up in order.

use super::{Conv, PIECES, meeting::Meeting};
use crate::{
    image::Image,
    isa::Isa,
    lanes::{LANES, Lanes, resize_exact},
    team::Kit,
};

pub(super) fn by_weights<I: Isa>(
    isa: I,
    kit: Kit<'_>,
    conv: &Conv,
    large: &Image,
    small: &Image,
    scratch: &mut Vec<Lanes>,
    gradient: &mut [f32],
) {
    assert_eq!(small.samples(), large.samples(), "images of another batch");
    let taps = &conv.down[0].taps;
    let (outputs, inputs) = (small.blocks(), large.blocks());
    let meeting = conv.meeting_down();
    let most = meeting.most();
    let groups = parts(meeting, small.count);
    let per_output = most * taps.len();
    let per_group = outputs * per_output;
    resize_exact(scratch, groups * per_group, Lanes::ZERO);
    let pieces = scratch.chunks_mut(per_output).enumerate().flat_map(|(index, own)| {
        let pieces = own.chunks_mut(LANES * taps.len());
        meeting.blocks(index % outputs).zip(pieces).map(move |(input, piece)| (index, input, piece))
    });
    kit.share(pieces, |(index, input, piece)| {
        let (group, output) = (index / outputs, index % outputs);
        let images = group * small.count / groups..(group + 1) * small.count / groups;
        isa.run(
            #[inline(always)]
            || {
                piece.fill(Lanes::ZERO);
                for image in images {
                    let seen = large.block(image * inputs + input);
                    let slope = small.block(image * outputs + output);
                    match conv.stride[1] {
                        _ if meeting.is_by_lane() => {
                            add_image_by_lane(isa, conv, [large, small], seen, slope, piece);
                        }
                        1 => add_image::<I, 1>(isa, conv, [large, small], seen, slope, piece),
                        2 => add_image::<I, 2>(isa, conv, [large, small], seen, slope, piece),
                        _ => add_image::<I, 0>(isa, conv, [large, small], seen, slope, piece),
                    }
                }
            },
        );
    });
    let parts = &scratch[..];
    let sum = |at: usize| {
        let mut sum = parts[at].0;
        for group in 1..groups {
            sum.iter_mut().zip(parts[group * per_group + at].0).for_each(|(sum, part)| *sum += part);
        }
        sum
    };
    // Weights of one output.
    let own = conv.weights() / conv.small;
    kit.share(gradient.chunks_mut(LANES * own).enumerate(), |(output, gradient)| {
        if meeting.is_by_lane() {
            for (at, tap) in taps.iter().enumerate() {
                let gradient = gradient[tap.index..].iter_mut().step_by(own);
                gradient.zip(sum(output * per_output + at)).for_each(|(gradient, sum)| *gradient = sum);
            }
            return;
        }
        let inputs = meeting.inputs(&meeting.blocks(output));
        for input in inputs.clone() {
            let (block, lane) = ((input - inputs.start) / LANES, input % LANES);
            let channels = (most - block * LANES).min(LANES);
            let lanes = meeting.lanes(output, input);
            let place = input % (conv.large / conv.groups) * taps.len();
            for tap in taps {
                let at = output * per_output + block * LANES * taps.len() + tap.index * channels + lane;
                let sum = sum(at);
                for out in lanes.clone() {
                    gradient[out * own + place + tap.index] = sum[out];
                }
            }
        }
    });
}

/// As [`add_image`], where channels meet their own alone: `[tap]`.
#[inline(always)]
fn add_image_by_lane<I: Isa>(
    isa: I,
    conv: &Conv,
    [large, small]: [&Image; 2],
    seen: &[Lanes],
    slope: &[Lanes],
    piece: &mut [Lanes],
) {
    for (tap, out) in conv.down[0].taps.iter().zip(piece) {
        let mut sums = [isa.splat(0.0); 4];
        sums[0] = isa.load(out);
        for y in 0..small.height {
            let row = large.at(y * conv.stride[0]);
            let from = row.wrapping_add_signed(tap.shift[0] * large.stride() as isize + tap.shift[1]);
            let slopes = slope[small.at(y)..][..small.width].chunks(4);
            let seen = seen[from..][..(small.width - 1) * conv.stride[1] + 1].chunks(4 * conv.stride[1]);
            for (slopes, seen) in slopes.zip(seen) {
                for ((sum, slope), seen) in
                    sums.iter_mut().zip(slopes).zip(seen.iter().step_by(conv.stride[1]))
                {
                    *sum = isa.fma(isa.load(seen), isa.load(slope), *sum);
                }
            }
        }
        isa.store(out, isa.add(isa.add(sums[0], sums[1]), isa.add(sums[2], sums[3])));
    }
}

/// Parts of a batch whose gradients are summed apart: by shapes alone.
pub(super) fn parts(meeting: Meeting, samples: usize) -> usize {
    let pieces = meeting.outputs.div_ceil(LANES) * meeting.most().div_ceil(LANES);
    PIECES.div_ceil(pieces.max(1)).min(samples).max(1)
}

/// Adds one image's part of one block's weights: `[tap][input]`, lanes are channels of the small image.
#[inline(always)]
fn add_image<I: Isa, const S: usize>(
    isa: I,
    conv: &Conv,
    [large, small]: [&Image; 2],
    seen: &[Lanes],
    slope: &[Lanes],
    piece: &mut [Lanes],
) {
    let taps = &conv.down[0].taps;
    let channels = piece.len() / taps.len();
    // So many rows stay in the first cache while all taps pass over them.
    let rows = (PIXELS_AT_ONCE / small.width.max(1)).clamp(1, small.height.max(1));
    let mut y = 0;
    while y < small.height {
        let rows = rows.min(small.height - y);
        let mut first = 0;
        while first < taps.len() {
            let count = (taps.len() - first).min(3);
            let spot = Spot { conv, large, small, seen, slope, y, rows, first, channels };
            match count {
                3 => add_taps::<I, 3, S>(isa, &spot, piece),
                2 => add_taps::<I, 2, S>(isa, &spot, piece),
                _ => add_taps::<I, 1, S>(isa, &spot, piece),
            }
            first += count;
        }
        y += rows;
    }
}

/// Some rows of one block, and some taps.
struct Spot<'a> {
    conv: &'a Conv,
    large: &'a Image,
    small: &'a Image,
    seen: &'a [Lanes],
    slope: &'a [Lanes],
    y: usize,
    rows: usize,
    first: usize,
    channels: usize,
}

#[inline(always)]
fn add_taps<I: Isa, const T: usize, const S: usize>(isa: I, spot: &Spot<'_>, piece: &mut [Lanes]) {
    let mut channel = 0;
    while channel < spot.channels {
        let left = spot.channels - channel;
        // As many sums as registers hold.
        channel += if I::WIDE && left >= 8 {
            add_channels::<I, T, 8, S>(isa, spot, channel, piece)
        } else if left >= 4 && (I::WIDE || T == 1) {
            add_channels::<I, T, 4, S>(isa, spot, channel, piece)
        } else if left >= 2 {
            add_channels::<I, T, 2, S>(isa, spot, channel, piece)
        } else {
            add_channels::<I, T, 1, S>(isa, spot, channel, piece)
        };
    }
}

#[inline(always)]
fn add_channels<I: Isa, const T: usize, const C: usize, const S: usize>(
    isa: I,
    spot: &Spot<'_>,
    channel: usize,
    piece: &mut [Lanes],
) -> usize {
    let Spot { conv, large, small, .. } = *spot;
    assert!(channel <= LANES - C);
    let at = |tap: usize| (spot.first + tap) * spot.channels + channel;
    let mut sums = [[isa.splat(0.0); C]; T];
    for tap in 0..T {
        for c in 0..C {
            sums[tap][c] = isa.load(&piece[at(tap) + c]);
        }
    }
    let step = if S == 0 { conv.stride[1] } else { S };
    let width = small.width;
    for y in spot.y..spot.y + spot.rows {
        let slopes = &spot.slope[small.at(y)..][..width];
        let row = large.at(y * conv.stride[0]);
        let mut seen = [&spot.seen[..0]; T];
        for tap in 0..T {
            let shift = conv.down[0].taps[spot.first + tap].shift;
            let from = row.wrapping_add_signed(shift[0] * large.stride() as isize + shift[1]);
            seen[tap] = &spot.seen[from..][..(width - 1) * step + 1];
        }
        for x in 0..width {
            let slope = isa.load(&slopes[x]);
            for tap in 0..T {
                let pixel = &seen[tap][x * step].0;
                for c in 0..C {
                    sums[tap][c] = isa.fma(isa.splat(pixel[channel + c]), slope, sums[tap][c]);
                }
            }
        }
    }
    for tap in 0..T {
        for c in 0..C {
            isa.store(&mut piece[at(tap) + c], sums[tap][c]);
        }
    }
    C
}

/// Pixels of the small image that one pass over the weights' taps takes.
const PIXELS_AT_ONCE: usize = 64;
