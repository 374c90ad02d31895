//! Convolutions, with both passes back, for any kernel, stride, padding and dilation.
//!
//! A convolution leads from a large image to a small one ([`Conv::down`]). Its gradient by the large image is
//! the way [`Conv::up`], which is a transposed convolution, too. A transposed convolution is therefore the
//! same [`Conv`], with its two ways swapped. A linear layer is a convolution with a kernel of one pixel.
//!
//! With groups of channels, a block of outputs reads the blocks of inputs that its groups lie in, with
//! weights of 0 between channels of different groups. Where each channel is a group, lanes are multiplied
//! with lanes.
//!
//! Lanes are channels of what is written. The weights of one channel of the input meet some neighbouring
//! pixels, whose sums stay in registers (direct convolution; layout after Georganas et al., SC 2018,
//! arXiv:1808.05567).

use std::ops::Range;

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
    groups: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    /// Pixels that [`Conv::down`] reads outside of the large image.
    halo_down: [usize; 2],
    /// Pixels that [`Conv::up`] reads outside of the small image.
    halo_up: [usize; 2],
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
        // A stride above the image's side leaves pixels out that would be outside.
        let [rows, columns] = [0, 1].map(|axis| stride[axis].min(sides[1][axis]));
        for first in (0..rows).flat_map(|y| (0..columns).map(move |x| [y, x])) {
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
            groups: 1,
            kernel,
            stride,
            halo_down: [0; 2],
            halo_up: [0; 2],
            down: [down],
            up,
        };
        conv.halo_down = halo(&conv.down, small, [1; 2], stride, large);
        conv.halo_up = halo(&conv.up, large, stride, [1; 2], small);
        conv
    }

    /// Whether the tables of a convolution are small: they have a place for each element of the kernel, and
    /// for each pixel of a stride. `large` has the sides of the large image.
    #[must_use]
    pub fn has_small_tables(kernel: [usize; 2], stride: [usize; 2], large: [usize; 2]) -> bool {
        let taps = kernel[0].saturating_mul(kernel[1]);
        let phases = stride[0].min(large[0]).saturating_mul(stride[1].min(large[1]));
        taps <= TAPS && taps.saturating_mul(phases) <= STEPS
    }

    /// The same with so many groups of channels: the channels of a group meet those of the same group alone.
    ///
    /// # Panics
    /// If the number does not divide the channels of both images.
    #[must_use]
    pub fn in_groups(mut self, groups: usize) -> Self {
        let divides = |channels: usize| groups > 0 && channels.is_multiple_of(groups);
        assert!(divides(self.small) && divides(self.large), "groups that do not divide the channels");
        self.groups = groups;
        self
    }

    /// A linear layer from `inputs` to `outputs` features.
    #[must_use]
    pub fn linear(outputs: usize, inputs: usize) -> Self {
        Self::new([outputs, inputs], [1; 2], [1; 2], [1; 2], [0; 2], [[1; 2]; 2])
    }

    /// The halo that the large image of [`Self::down`] needs.
    #[must_use]
    pub fn halo_down(&self) -> [usize; 2] {
        self.halo_down
    }

    /// The halo that the small image of [`Self::up`] needs.
    #[must_use]
    pub fn halo_up(&self) -> [usize; 2] {
        self.halo_up
    }

    /// Elements of the weights, `[small channels, large channels / groups, height, width]`.
    #[must_use]
    pub fn weights(&self) -> usize {
        self.small * self.large / self.groups * self.kernel[0] * self.kernel[1]
    }

    /// Bytes beside the images that the passes over `samples` take at most: packed weights, and the scratch
    /// of [`Self::by_weights`].
    #[must_use]
    pub fn bytes_of_pass(&self, samples: usize) -> usize {
        let packed = |meeting: Meeting| meeting.outputs.div_ceil(LANES).saturating_mul(meeting.most());
        let (down, up) = (self.meeting_down(), self.meeting_up());
        let sums = parts(down, samples).saturating_mul(packed(down));
        let lanes = packed(down).max(packed(up)).saturating_add(sums);
        lanes.saturating_mul(self.taps()).saturating_mul(size_of::<Lanes>())
    }

    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    fn meeting_down(&self) -> Meeting {
        Meeting { outputs: self.small, inputs: self.large, groups: self.groups }
    }

    fn meeting_up(&self) -> Meeting {
        Meeting { outputs: self.large, inputs: self.small, groups: self.groups }
    }

    /// Multiply-adds from a small image of so many pixels to the large one, or back.
    #[must_use]
    pub fn work(&self, pixels: usize) -> usize {
        self.weights() * pixels
    }

    /// Orders weights as [`Self::down`] reads them.
    pub fn pack_down(&self, kit: Kit<'_>, weights: &[f32], packed: &mut Vec<Lanes>) {
        let (meeting, taps) = (self.meeting_down(), self.taps());
        let per_group = self.large / self.groups;
        let place = |output: usize, input: usize| (output * per_group + input % per_group) * taps;
        pack(kit, weights, &self.down, meeting, per_group * taps, place, packed);
    }

    /// Orders weights as [`Self::up`] reads them.
    pub fn pack_up(&self, kit: Kit<'_>, weights: &[f32], packed: &mut Vec<Lanes>) {
        let (meeting, taps) = (self.meeting_up(), self.taps());
        let per_group = self.large / self.groups;
        let place = |output: usize, input: usize| (input * per_group + output % per_group) * taps;
        pack(kit, weights, &self.up, meeting, taps, place, packed);
    }

    /// From the large image to the small one: a convolution, or the gradient of a transposed convolution by
    /// its input.
    ///
    /// # Panics
    /// If an image or the weights have another shape, or if the large image's halo is too small.
    pub fn down(&self, kit: Kit<'_>, large: &Image, packed: &[Lanes], finish: Finish<'_>, small: &mut Image) {
        assert!(covers(large.halo, self.halo_down), "the halo is too small");
        assert_eq!([small.channels, large.channels], [self.small, self.large], "other channels");
        let meeting = self.meeting_down();
        let job =
            Job { x: large, phases: &self.down, meeting, step: self.stride, every: [1; 2], packed, finish };
        with_level!(kit.level, isa => gather(isa, kit, &job, small));
    }

    /// From the small image to the large one: a transposed convolution, or the gradient of a convolution by
    /// its input.
    ///
    /// # Panics
    /// As [`Self::down`].
    pub fn up(&self, kit: Kit<'_>, small: &Image, packed: &[Lanes], finish: Finish<'_>, large: &mut Image) {
        assert!(covers(small.halo, self.halo_up), "the halo is too small");
        assert_eq!([small.channels, large.channels], [self.small, self.large], "other channels");
        let meeting = self.meeting_up();
        let job =
            Job { x: small, phases: &self.up, meeting, step: [1; 2], every: self.stride, packed, finish };
        with_level!(kit.level, isa => gather(isa, kit, &job, large));
    }

    /// Writes the gradient by the weights, `[small channels, large channels / groups, height, width]`.
    /// `scratch` is memory that later calls use again.
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
        assert!(covers(large.halo, self.halo_down), "the halo is too small");
        assert_eq!(gradient.len(), self.weights(), "the gradient has another shape");
        assert_eq!([small.channels, large.channels], [self.small, self.large], "other channels");
        with_level!(kit.level, isa => by_weights(isa, kit, self, large, small, scratch, gradient));
    }
}

fn covers(halo: [usize; 2], needed: [usize; 2]) -> bool {
    halo[0] >= needed[0] && halo[1] >= needed[1]
}

/// The most that a phase reads outside of an image of `sides`, along each axis.
fn halo(
    phases: &[Phase],
    written: [usize; 2],
    every: [usize; 2],
    step: [usize; 2],
    sides: [usize; 2],
) -> [usize; 2] {
    let mut most = [0; 2];
    for phase in phases {
        for axis in 0..2 {
            let Some(last) = written[axis].checked_sub(1 + phase.first[axis]) else { continue };
            let last = last / every[axis] * step[axis];
            for tap in &phase.taps {
                let shift = tap.shift[axis];
                let behind = last as isize + shift - (sides[axis] as isize - 1);
                most[axis] = most[axis].max(-shift).max(behind);
            }
        }
    }
    most.map(|pixels: isize| pixels.max(0) as usize)
}

/// Which channels of one way of a convolution meet.
#[derive(Clone, Copy)]
struct Meeting {
    outputs: usize,
    inputs: usize,
    groups: usize,
}

impl Meeting {
    /// Whether each channel meets its own alone: lanes are then multiplied with lanes.
    fn is_by_lane(self) -> bool {
        self.groups > 1 && self.groups == self.outputs && self.groups == self.inputs
    }

    /// The blocks of inputs that a block of outputs meets.
    fn blocks(self, block: usize) -> Range<usize> {
        let (outputs, inputs) = (self.outputs / self.groups, self.inputs / self.groups);
        let last = ((block + 1) * LANES).min(self.outputs) - 1;
        let (first, end) = (block * LANES / outputs * inputs, (last / outputs + 1) * inputs);
        first / LANES..end.div_ceil(LANES)
    }

    /// Inputs of some blocks.
    fn inputs(self, blocks: &Range<usize>) -> Range<usize> {
        blocks.start * LANES..(blocks.end * LANES).min(self.inputs)
    }

    /// The most inputs that a block of outputs has weights for; 1 where each lane has its own.
    fn most(self) -> usize {
        if self.is_by_lane() {
            return 1;
        }
        let blocks = 0..self.outputs.div_ceil(LANES);
        blocks.map(|block| self.inputs(&self.blocks(block)).len()).max().unwrap_or(0)
    }

    /// The lanes of a block of outputs that an input meets.
    fn lanes(self, block: usize, input: usize) -> Range<usize> {
        let outputs = self.outputs / self.groups;
        let first = input / (self.inputs / self.groups) * outputs;
        let within = |output: usize| output.clamp(block * LANES, (block + 1) * LANES) - block * LANES;
        within(first)..within(first + outputs)
    }
}

/// Orders weights: `[phase][block of outputs][block of inputs][tap][input]`, lanes are outputs. `step` is the
/// one from one output to the next in the same group, and `place` says where the first tap's weight of an
/// output and an input lies.
fn pack(
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
    packed.reserve_exact(needed.saturating_sub(packed.len()));
    packed.resize(needed, Lanes::ZERO);
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

/// One call of [`gather`].
struct Job<'a> {
    x: &'a Image,
    phases: &'a [Phase],
    meeting: Meeting,
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
    let meeting = conv.meeting_down();
    let most = meeting.most();
    let groups = parts(meeting, small.count);
    let per_output = most * taps.len();
    let per_group = outputs * per_output;
    scratch.reserve_exact((groups * per_group).saturating_sub(scratch.len()));
    scratch.resize(groups * per_group, Lanes::ZERO);
    let blocks = outputs;
    let pieces = scratch.chunks_mut(per_output).enumerate().flat_map(|(index, outputs)| {
        let pieces = outputs.chunks_mut(LANES * taps.len());
        meeting.blocks(index % blocks).zip(pieces).map(move |(input, piece)| (index, input, piece))
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
            let end = lanes.end.min(gradient.len() / own);
            let place = input % (conv.large / conv.groups) * taps.len();
            for tap in taps {
                let at = output * per_output + block * LANES * taps.len() + tap.index * channels + lane;
                let sum = sum(at);
                for out in lanes.start..end {
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
fn parts(meeting: Meeting, samples: usize) -> usize {
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

/// Most elements of a kernel.
const TAPS: usize = 1 << 16;

/// Most steps to sort the elements of a kernel by the pixels of a stride that they reach.
const STEPS: usize = 1 << 24;

/// Pieces of a layer's work, where its shape has as many.
const PIECES: usize = 32;

/// Rows of a piece at the least.
const LEAST_ROWS: usize = 4;

/// Pixels of the small image that one pass over the weights' taps takes.
const PIXELS_AT_ONCE: usize = 64;
