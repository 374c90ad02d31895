//! Activations, sums and copies: what computes each value by itself.

use std::ops::Range;

use crate::{
    image::Image,
    isa::Isa,
    lanes::{LANES, Lanes},
    level::with_level,
    team::Kit,
};

/// Writes `max(0, x)`.
///
/// # Panics
/// If the images have other shapes.
pub fn relu(kit: Kit<'_>, x: &Image, out: &mut Image) {
    zip(kit, x, out, &Rectify);
}

/// Sets values below 0 to 0.
pub fn relu_in_place(kit: Kit<'_>, out: &mut Image) {
    let plane = out.plane().max(1);
    with_level!(kit.level, isa => {
        kit.share(out.pixels_mut().chunks_mut(plane), |plane| {
            isa.run(#[inline(always)] || {
                for pixel in plane {
                    let value = isa.max(isa.load(pixel), isa.splat(0.0));
                    isa.store(pixel, value);
                }
            });
        });
    });
}

/// Sets gradients to zero where the output of a `max(0, x)` is not above 0.
///
/// # Panics
/// If the images have other shapes.
pub fn relu_back(kit: Kit<'_>, out: &Image, gradient: &mut Image) {
    zip(kit, out, gradient, &Mask);
}

/// Adds `x` to `out`.
///
/// # Panics
/// If the images have other shapes.
pub fn add(kit: Kit<'_>, x: &Image, out: &mut Image) {
    zip(kit, x, out, &Add);
}

/// Multiplies `out` by `x`.
///
/// # Panics
/// If the images have other shapes.
pub fn multiply(kit: Kit<'_>, x: &Image, out: &mut Image) {
    zip(kit, x, out, &Multiply);
}

/// Copies `x`.
///
/// # Panics
/// If the images have other shapes.
pub fn copy(kit: Kit<'_>, x: &Image, out: &mut Image) {
    zip(kit, x, out, &Copy);
}

/// Writes `of(x)`.
///
/// # Panics
/// If the images have other shapes.
pub fn map(kit: Kit<'_>, x: &Image, out: &mut Image, of: impl Fn(f32) -> f32 + Sync) {
    each_row(kit, x, out, |from, to, lanes| {
        for (from, to) in from.iter().zip(to) {
            for l in 0..lanes.min(LANES) {
                to.0[l] = of(from.0[l]);
            }
        }
    });
}

/// Multiplies a gradient by `slope(x)`.
///
/// # Panics
/// If the images have other shapes.
pub fn map_back(kit: Kit<'_>, x: &Image, gradient: &mut Image, slope: impl Fn(f32) -> f32 + Sync) {
    each_row(kit, x, gradient, |from, to, lanes| {
        for (from, to) in from.iter().zip(to) {
            for l in 0..lanes.min(LANES) {
                to.0[l] *= slope(from.0[l]);
            }
        }
    });
}

/// Where a part of one image lies in another.
#[derive(Clone, Debug)]
pub struct Part {
    /// The channels of the smaller image that are meant.
    pub from: Range<usize>,
    /// Where their first channel lies in the other image.
    pub to: usize,
    /// Added to a pixel's row and column.
    pub shift: [isize; 2],
}

impl Part {
    /// The same the other way round.
    #[must_use]
    pub fn turned(&self) -> Self {
        let from = self.to..self.to + self.from.len();
        Self { from, to: self.from.start, shift: self.shift.map(|by| -by) }
    }
}

/// Copies, or with `add` adds, a part of `x` to its place in `out`. Pixels that fall outside of `out` are
/// left out, and nothing else of `out` changes.
///
/// # Panics
/// If an image lacks the channels, or the batches differ.
pub fn place(kit: Kit<'_>, x: &Image, part: &Part, add: bool, out: &mut Image) {
    let channels = part.from.len();
    assert!(part.from.end <= x.channels && part.to + channels <= out.channels, "too few channels");
    assert_eq!(x.count, out.count, "images of another batch");
    let (blocks, plane, row_at) = (out.blocks(), out.plane(), out.row_at());
    // In `out`.
    let clip = |axis: usize, from: usize, to: usize| {
        let by = part.shift[axis];
        let end = (from as isize + by).clamp(0, to as isize) as usize;
        by.clamp(0, to as isize) as usize..end
    };
    let (rows, columns) = (clip(0, x.height, out.height), clip(1, x.width, out.width));
    if rows.is_empty() || columns.is_empty() {
        return;
    }
    let left = (columns.start as isize - part.shift[1]) as usize;
    let touched = part.to / LANES..(part.to + channels).div_ceil(LANES);
    let planes = out.pixels_mut().chunks_mut(plane).enumerate();
    let planes = planes.filter(|(index, _)| touched.contains(&(index % blocks)));
    with_level!(kit.level, isa => {
        kit.share(planes, |(index, plane)| {
            isa.run(#[inline(always)] || {
                let (image, block) = (index / blocks, index % blocks);
                let first = (block * LANES).max(part.to);
                let last = ((block + 1) * LANES).min(part.to + channels);
                let whole = last - first == LANES && (first - part.to + part.from.start).is_multiple_of(LANES);
                for y in rows.clone() {
                    let from = (y as isize - part.shift[0]) as usize;
                    let to = &mut plane[row_at(y)..][columns.clone()];
                    let row = |channel: usize| {
                        let block = x.block(image * x.blocks() + channel / LANES);
                        &block[x.at(from) + left..][..columns.len()]
                    };
                    if whole {
                        for (to, pixel) in to.iter_mut().zip(row(first - part.to + part.from.start)) {
                            let value = isa.load(pixel);
                            isa.store(to, if add { isa.add(isa.load(to), value) } else { value });
                        }
                        continue;
                    }
                    for channel in first..last {
                        let source = channel - part.to + part.from.start;
                        for (to, pixel) in to.iter_mut().zip(row(source)) {
                            let (to, value) = (&mut to.0[channel % LANES], pixel.0[source % LANES]);
                            *to = if add { *to + value } else { value };
                        }
                    }
                }
            });
        });
    });
}

/// Writes the sum of each channel over all pixels and images, in blocks.
pub fn channel_sums(kit: Kit<'_>, x: &Image, sums: &mut Vec<Lanes>) {
    sums.clear();
    sums.resize(x.blocks(), Lanes::ZERO);
    with_level!(kit.level, isa => {
        kit.share(sums.iter_mut().enumerate(), |(block, out)| {
            isa.run(#[inline(always)] || {
                let mut sums = [isa.splat(0.0); 4];
                for image in 0..x.count {
                    let plane = x.block(image * x.blocks() + block);
                    for y in 0..x.height {
                        for four in plane[x.at(y)..][..x.width].chunks(4) {
                            for (sum, pixel) in sums.iter_mut().zip(four) {
                                *sum = isa.add(*sum, isa.load(pixel));
                            }
                        }
                    }
                }
                isa.store(out, isa.add(isa.add(sums[0], sums[1]), isa.add(sums[2], sums[3])));
            });
        });
    });
}

/// What a pass over two images computes from a value of each.
trait Pair: Sync {
    fn of<I: Isa>(&self, isa: I, x: I::V, out: I::V) -> I::V;
}

macro_rules! pairs {
    ($($name:ident = |$isa:ident, $x:ident, $out:ident| $value:expr;)*) => {$(
        struct $name;
        impl Pair for $name {
            #[inline(always)]
            fn of<I: Isa>(&self, $isa: I, $x: I::V, $out: I::V) -> I::V {
                $value
            }
        }
    )*};
}

pairs! {
    Rectify = |isa, x, _out| isa.max(x, isa.splat(0.0));
    Mask = |isa, x, out| isa.if_greater(x, isa.splat(0.0), out, isa.splat(0.0));
    Add = |isa, x, out| isa.add(out, x);
    Multiply = |isa, x, out| isa.mul(out, x);
    Copy = |_isa, x, _out| x;
}

fn zip(kit: Kit<'_>, x: &Image, out: &mut Image, pair: &impl Pair) {
    with_level!(kit.level, isa => {
        each_row(kit, x, out, |from, to, _| {
            isa.run(#[inline(always)] || {
                for (from, to) in from.iter().zip(to) {
                    let value = pair.of(isa, isa.load(from), isa.load(to));
                    isa.store(to, value);
                }
            });
        });
    });
}

/// Calls `work` with each row of `x`, the row of `out`, and the channels of the block.
fn each_row(kit: Kit<'_>, x: &Image, out: &mut Image, work: impl Fn(&[Lanes], &mut [Lanes], usize) + Sync) {
    let shape = |image: &Image| (image.channels, image.count, image.height, image.width);
    assert_eq!(shape(x), shape(out), "images of other shapes");
    let (plane, row_at) = (out.plane(), out.row_at());
    kit.share(out.pixels_mut().chunks_mut(plane.max(1)).enumerate(), |(index, out)| {
        let from = x.block(index);
        for y in 0..x.height {
            let to = &mut out[row_at(y)..][..x.width];
            work(&from[x.at(y)..][..x.width], to, x.lanes(index % x.blocks()));
        }
    });
}
