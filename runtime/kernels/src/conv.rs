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

mod by_weights;
mod gather;
mod meeting;

use by_weights::{by_weights, parts};
use gather::{Job, gather};
use meeting::{Meeting, pack};

use crate::{
    image::Image,
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
        self.small * self.large / self.groups * self.taps()
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

/// Most elements of a kernel.
const TAPS: usize = 1 << 16;

/// Most steps to sort the elements of a kernel by the pixels of a stride that they reach.
const STEPS: usize = 1 << 24;

/// Pieces of a layer's work, where its shape has as many.
const PIECES: usize = 32;
