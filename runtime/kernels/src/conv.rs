//! Convolutions, with both passes back, for any kernel, stride, padding and dilation.
//!
//! A convolution leads from a large image to a small one ([`Conv::down`]). Its gradient by the large image is
//! the way [`Conv::up`], which is a transposed convolution, too. A transposed convolution is therefore the
//! same [`Conv`], with its two ways swapped. A linear layer is a convolution with a kernel of one pixel.
//!
//! Lanes are channels of what is written. The weights of one channel of the input meet some neighbouring
//! pixels, whose sums stay in registers (direct convolution; layout after Georganas et al., SC 2018,
//! arXiv:1808.05567).

use crate::{
    image::Image,
    isa::Isa,
    lanes::{LANES, Lanes},
    level::with_level,
    team::Kit,
};

/// The shape of a convolution.
#[derive(Clone, Debug)]
pub struct Conv {
    /// Channels of the small image: the output of a convolution, the input of a transposed one.
    small: usize,
    /// Channels of the large image.
    large: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    /// Pixels that [`Conv::down`] reads outside of the large image.
    halo_down: usize,
    /// Pixels that [`Conv::up`] reads outside of the small image.
    halo_up: usize,
    down: [Phase; 1],
    up: Vec<Phase>,
}

/// What a convolution writes and how. `Default` writes the bare sums.
#[derive(Clone, Copy, Debug, Default)]
pub struct Finish<'a> {
    /// Added to each channel: [`crate::by_lanes`] of the bias.
    pub bias: Option<&'a [Lanes]>,
    /// Whether sums below 0 become 0.
    pub relu: bool,
    /// Whether the sums are added to what the output holds. There is no bias then.
    pub add: bool,
}

/// The pixels whose coordinates have one remainder by the stride, and the taps that reach the pixels.
#[derive(Clone, Debug)]
struct Phase {
    first: [usize; 2],
    taps: Vec<Tap>,
    /// How many taps stand in the phases before.
    before: usize,
}

/// One element of the kernel.
#[derive(Clone, Copy, Debug)]
struct Tap {
    /// Row after row.
    index: usize,
    /// From the pixel that is written to the one that is read.
    shift: [isize; 2],
}

impl Conv {
    /// `channels` are those of the small and the large image. Pairs are height, then width. `edges` are the
    /// zeros at the top and at the left, or the pixels cropped there by a transposed convolution. `sides` are
    /// those of the small and the large image.
    #[must_use]
    pub fn new(
        channels: [usize; 2],
        kernel: [usize; 2],
        stride: [usize; 2],
        dilation: [usize; 2],
        edges: [usize; 2],
        sides: [[usize; 2]; 2],
    ) -> Self {
        let taps =
            || (0..kernel[0]).flat_map(move |y| (0..kernel[1]).map(move |x| (y * kernel[1] + x, [y, x])));
        // Row of the large image for row 0 of the small one.
        let shift = |at: [usize; 2], axis: usize| (at[axis] * dilation[axis]) as isize - edges[axis] as isize;
        let down = Phase {
            first: [0; 2],
            taps: taps().map(|(index, at)| Tap { index, shift: [shift(at, 0), shift(at, 1)] }).collect(),
            before: 0,
        };
        let mut up: Vec<Phase> = Vec::new();
        let mut before = 0;
        for first in (0..stride[0]).flat_map(|y| (0..stride[1]).map(move |x| [y, x])) {
            let back = |at: [usize; 2], axis: usize| {
                let (from, step) = (first[axis] as isize - shift(at, axis), stride[axis] as isize);
                (from.rem_euclid(step) == 0).then(|| from.div_euclid(step))
            };
            let tap = |(index, at)| Some(Tap { index, shift: [back(at, 0)?, back(at, 1)?] });
            let taps: Vec<Tap> = taps().filter_map(tap).collect();
            let count = taps.len();
            up.push(Phase { first, taps, before });
            before += count;
        }
        let [small, large] = sides;
        let mut conv = Self {
            small: channels[0],
            large: channels[1],
            kernel,
            stride,
            halo_down: 0,
            halo_up: 0,
            down: [down],
            up,
        };
        conv.halo_down = halo(&conv.down, small, [1; 2], stride, large);
        conv.halo_up = halo(&conv.up, large, stride, [1; 2], small);
        conv
    }

    /// A linear layer from `inputs` to `outputs` features.
    #[must_use]
    pub fn linear(outputs: usize, inputs: usize) -> Self {
        Self::new([outputs, inputs], [1; 2], [1; 2], [1; 2], [0; 2], [[1; 2]; 2])
    }

    /// The halo that the large image of [`Self::down`] needs.
    #[must_use]
    pub fn halo_down(&self) -> usize {
        self.halo_down
    }

    /// The halo that the small image of [`Self::up`] needs.
    #[must_use]
    pub fn halo_up(&self) -> usize {
        self.halo_up
    }

    /// Elements of the weights, `[small channels, large channels, height, width]`.
    #[must_use]
    pub fn weights(&self) -> usize {
        self.small * self.large * self.kernel[0] * self.kernel[1]
    }

    /// Multiply-adds from a small image of so many pixels to the large one, or back.
    #[must_use]
    pub fn work(&self, pixels: usize) -> usize {
        self.weights() * pixels
    }

    /// Orders weights as [`Self::down`] reads them.
    pub fn pack_down(&self, kit: Kit<'_>, weights: &[f32], packed: &mut Vec<Lanes>) {
        let taps = self.kernel[0] * self.kernel[1];
        pack(kit, weights, &self.down, [self.small, self.large], [self.large * taps, taps], packed);
    }

    /// Orders weights as [`Self::up`] reads them.
    pub fn pack_up(&self, kit: Kit<'_>, weights: &[f32], packed: &mut Vec<Lanes>) {
        let taps = self.kernel[0] * self.kernel[1];
        pack(kit, weights, &self.up, [self.large, self.small], [taps, self.large * taps], packed);
    }

    /// From the large image to the small one: a convolution, or the gradient of a transposed convolution by
    /// its input.
    ///
    /// # Panics
    /// If an image or the weights have another shape, or if the large image's halo is too small.
    pub fn down(&self, kit: Kit<'_>, large: &Image, packed: &[Lanes], finish: Finish<'_>, small: &mut Image) {
        assert!(large.halo >= self.halo_down, "the halo is too small");
        assert_eq!([small.channels, large.channels], [self.small, self.large], "other channels");
        let job = Job { x: large, phases: &self.down, step: self.stride, every: [1; 2], packed, finish };
        with_level!(kit.level, isa => gather(isa, kit, &job, small));
    }

    /// From the small image to the large one: a transposed convolution, or the gradient of a convolution by
    /// its input.
    ///
    /// # Panics
    /// As [`Self::down`].
    pub fn up(&self, kit: Kit<'_>, small: &Image, packed: &[Lanes], finish: Finish<'_>, large: &mut Image) {
        assert!(small.halo >= self.halo_up, "the halo is too small");
        assert_eq!([small.channels, large.channels], [self.small, self.large], "other channels");
        let job = Job { x: small, phases: &self.up, step: [1; 2], every: self.stride, packed, finish };
        with_level!(kit.level, isa => gather(isa, kit, &job, large));
    }

    /// Writes the gradient by the weights, `[small channels, large channels, height, width]`. `scratch` is
    /// memory that later calls use again.
    ///
    /// # Panics
    /// As [`Self::down`].
    pub fn by_weights(
        &self,
        kit: Kit<'_>,
        large: &Image,
        small: &Image,
        scratch: &mut Vec<Lanes>,
        gradient: &mut [f32],
    ) {
        assert!(large.halo >= self.halo_down, "the halo is too small");
        assert_eq!(gradient.len(), self.weights(), "the gradient has another shape");
        assert_eq!([small.channels, large.channels], [self.small, self.large], "other channels");
        with_level!(kit.level, isa => by_weights(isa, kit, self, large, small, scratch, gradient));
    }
}

/// The most that a phase reads outside of an image of `sides`.
fn halo(
    phases: &[Phase],
    written: [usize; 2],
    every: [usize; 2],
    step: [usize; 2],
    sides: [usize; 2],
) -> usize {
    let mut most = 0;
    for phase in phases {
        for axis in 0..2 {
            let Some(last) = written[axis].checked_sub(1 + phase.first[axis]) else { continue };
            let last = last / every[axis] * step[axis];
            for tap in &phase.taps {
                let shift = tap.shift[axis];
                most = most.max(-shift).max(last as isize + shift - (sides[axis] as isize - 1));
            }
        }
    }
    most.max(0) as usize
}

/// Orders weights: `[phase][block of outputs][block of inputs][tap][input]`, lanes are outputs. `steps` are
/// those from one output to the next, and from one input to the next.
fn pack(
    kit: Kit<'_>,
    weights: &[f32],
    phases: &[Phase],
    [outputs, inputs]: [usize; 2],
    steps: [usize; 2],
    packed: &mut Vec<Lanes>,
) {
    let blocks = outputs.div_ceil(LANES);
    let taps: usize = phases.iter().map(|phase| phase.taps.len()).sum();
    packed.resize(blocks * inputs * taps, Lanes::ZERO);
    let mut rest = &mut packed[..];
    for phase in phases {
        let per = inputs * phase.taps.len();
        let (own, later) = rest.split_at_mut(blocks * per);
        rest = later;
        if per == 0 {
            continue;
        }
        kit.share(own.chunks_mut(per).enumerate(), |(block, own)| {
            let lanes = (outputs - block * LANES).min(LANES);
            let mut own = own.iter_mut();
            for first in (0..inputs).step_by(LANES) {
                let last = (first + LANES).min(inputs);
                for tap in &phase.taps {
                    for (input, out) in (first..last).zip(&mut own) {
                        let from = block * LANES * steps[0] + input * steps[1] + tap.index;
                        *out = Lanes::ZERO;
                        for lane in 0..lanes {
                            out.0[lane] = weights[from + lane * steps[0]];
                        }
                    }
                }
            }
        });
    }
}

/// One call of [`gather`].
struct Job<'a> {
    x: &'a Image,
    phases: &'a [Phase],
    /// Pixels that are read for each step of the output.
    step: [usize; 2],
    /// Distance of the pixels that a phase writes.
    every: [usize; 2],
    packed: &'a [Lanes],
    finish: Finish<'a>,
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

fn gather<I: Isa>(isa: I, kit: Kit<'_>, job: &Job<'_>, out: &mut Image) {
    let x = job.x;
    assert_eq!(out.samples(), x.samples(), "images of another batch");
    let (blocks, plane, halo, stride) = (out.blocks(), out.plane(), out.halo, out.stride());
    let (height, width, inputs) = (out.height, out.width, x.channels);
    let rows = rows_of_tile(out.count * blocks, height);
    let tiles = out.data.chunks_mut(plane).enumerate().flat_map(move |(index, plane)| {
        plane.chunks_mut(rows * stride).enumerate().map(move |(tile, rest)| (index, tile * rows, rest))
    });
    kit.share(tiles, |(index, row, tile)| {
        let (image, block) = (index / blocks, index % blocks);
        let per_image = x.blocks() * x.plane();
        let bias = job.finish.bias.map_or(Lanes::ZERO, |bias| bias[block]);
        isa.run(
            #[inline(always)]
            || {
                for phase in job.phases {
                    let per = inputs * phase.taps.len();
                    let reach = Reach {
                        x: &x.data[image * per_image..][..per_image],
                        taps: &phase.taps,
                        weights: &job.packed[blocks * inputs * phase.before + block * per..][..per],
                        plane: x.plane(),
                        stride: x.stride() as isize,
                        blocks: x.blocks(),
                        last: x.lanes(x.blocks() - 1),
                        step: job.step[1],
                    };
                    for (y, line) in (row..).zip(tile.chunks_mut(stride)) {
                        let inside = y.wrapping_sub(halo);
                        let from = inside.wrapping_sub(phase.first[0]);
                        if inside >= height || from >= height || !from.is_multiple_of(job.every[0]) {
                            continue;
                        }
                        let at = x.at(from / job.every[0] * job.step[0]);
                        let count = width.saturating_sub(phase.first[1]).div_ceil(job.every[1]);
                        if count == 0 {
                            continue;
                        }
                        let line = &mut line[halo + phase.first[1]..][..(count - 1) * job.every[1] + 1];
                        match job.step[1] {
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
    let every = job.every[1];
    let line = &mut line[..(P - 1) * every + 1];
    let mut sums = [isa.load(bias); P];
    if job.finish.add {
        for p in 0..P {
            sums[p] = isa.load(&line[p * every]);
        }
    }
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
    let zero = isa.splat(0.0);
    for p in 0..P {
        let sum = if job.finish.relu { isa.max(sums[p], zero) } else { sums[p] };
        isa.store(&mut line[p * every], sum);
    }
}

fn by_weights<I: Isa>(
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
    // The batch is cut by shapes alone.
    let groups = PIECES.div_ceil(outputs * inputs).min(small.count).max(1);
    let per_output = conv.large * taps.len();
    let per_group = outputs * per_output;
    scratch.resize(groups * per_group, Lanes::ZERO);
    let pieces = scratch.chunks_mut(per_output).enumerate().flat_map(|(index, outputs)| {
        let pieces = outputs.chunks_mut(LANES * taps.len()).enumerate();
        pieces.map(move |(input, piece)| (index, input, piece))
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
                        1 => add_image::<I, 1>(isa, conv, [large, small], seen, slope, piece),
                        2 => add_image::<I, 2>(isa, conv, [large, small], seen, slope, piece),
                        _ => add_image::<I, 0>(isa, conv, [large, small], seen, slope, piece),
                    }
                }
            },
        );
    });
    let parts = &scratch[..];
    kit.share(gradient.chunks_mut(LANES * per_output).enumerate(), |(output, gradient)| {
        let lanes = gradient.len() / per_output;
        for input in 0..conv.large {
            let (block, lane) = (input / LANES, input % LANES);
            let channels = large.lanes(block);
            for tap in taps {
                let at = output * per_output + block * LANES * taps.len() + tap.index * channels + lane;
                let mut sum = parts[at].0;
                for group in 1..groups {
                    let part = &parts[group * per_group + at].0;
                    sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
                }
                for (out, sum) in sum[..lanes].iter().enumerate() {
                    gradient[out * per_output + input * taps.len() + tap.index] = *sum;
                }
            }
        }
    });
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

/// Pieces of a layer's work, where its shape has as many.
const PIECES: usize = 32;

/// Rows of a piece at the least.
const LEAST_ROWS: usize = 4;

/// Pixels of the small image that one pass over the weights' taps takes.
const PIXELS_AT_ONCE: usize = 64;
