//! Sums, differences and products of images, where a side of 1 is repeated to the others' side.

use crate::{image::Image, isa::Isa, level::with_level, team::Kit};

/// What is computed from the inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    /// The sum.
    Sum,
    /// The first less the second.
    Difference,
    /// The product.
    Product,
}

/// Writes what `how` makes of the inputs.
///
/// # Panics
/// If a side of an input is neither 1 nor the output's, or the batches differ.
pub fn combine(kit: Kit<'_>, how: Combine, inputs: &[&Image], out: &mut Image) {
    inputs.iter().for_each(|input| check(input, out));
    let (blocks, plane, row_at) = (out.blocks(), out.plane(), out.row_at());
    let (channels, height, width) = (out.channels, out.height, out.width);
    with_level!(kit.level, isa => {
        kit.share(out.pixels_mut().chunks_mut(plane).enumerate(), |(index, out)| {
            isa.run(#[inline(always)] || {
                for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                    let at = At { image: index / blocks, block: index % blocks, y, x };
                    let mut value = seen(isa, inputs[0], channels, at);
                    for input in &inputs[1..] {
                        let other = seen(isa, input, channels, at);
                        value = match how {
                            Combine::Sum => isa.add(value, other),
                            Combine::Difference => isa.sub(value, other),
                            Combine::Product => isa.mul(value, other),
                        };
                    }
                    isa.store(&mut out[row_at(y) + x], value);
                }
            });
        });
    });
}

/// Adds the gradient of [`combine`] by the input `which` to `by_x`, which has that input's shape.
///
/// # Panics
/// As [`combine`].
pub fn combine_back(
    kit: Kit<'_>,
    how: Combine,
    inputs: &[&Image],
    which: usize,
    gradient: &Image,
    by_x: &mut Image,
) {
    inputs.iter().chain([&&*by_x]).for_each(|input| check(input, gradient));
    let (blocks, plane, row_at) = (by_x.blocks(), by_x.plane(), by_x.row_at());
    let (height, width, channels) = (by_x.height, by_x.width, by_x.channels);
    let is_repeated = channels < gradient.channels;
    with_level!(kit.level, isa => {
        kit.share(by_x.pixels_mut().chunks_mut(plane).enumerate(), |(index, by_x)| {
            isa.run(#[inline(always)] || {
                let (image, own) = (index / blocks, index % blocks);
                let met = if is_repeated { 0..gradient.blocks() } else { own..own + 1 };
                for block in met {
                    for (y, x) in (0..gradient.height).flat_map(|y| (0..gradient.width).map(move |x| (y, x))) {
                        let at = At { image, block, y, x };
                        let mut slope = seen(isa, gradient, gradient.channels, at);
                        match how {
                            Combine::Sum => {}
                            Combine::Difference if which == 0 => {}
                            Combine::Difference => slope = isa.sub(isa.splat(0.0), slope),
                            Combine::Product => {
                                for (n, input) in inputs.iter().enumerate() {
                                    if n != which {
                                        slope = isa.mul(slope, seen(isa, input, gradient.channels, at));
                                    }
                                }
                            }
                        }
                        let (y, x) = (y.min(height - 1), x.min(width - 1));
                        let to = &mut by_x[row_at(y) + x];
                        if is_repeated {
                            let mut lanes = *to;
                            isa.store(&mut lanes, slope);
                            let lanes = &lanes.0[..gradient.lanes(block)];
                            to.0[0] = lanes.iter().fold(to.0[0], |sum, value| sum + value);
                        } else {
                            isa.store(to, isa.add(isa.load(to), slope));
                        }
                    }
                }
            });
        });
    });
}

/// A pixel of an output.
#[derive(Clone, Copy)]
struct At {
    image: usize,
    block: usize,
    y: usize,
    x: usize,
}

/// What an input gives for a pixel of an output of so many channels.
#[inline(always)]
fn seen<I: Isa>(isa: I, input: &Image, channels: usize, at: At) -> I::V {
    let is_repeated = input.channels < channels;
    let block = if is_repeated { 0 } else { at.block };
    let plane = input.block(at.image * input.blocks() + block);
    let pixel = &plane[input.at(at.y.min(input.height - 1)) + at.x.min(input.width - 1)];
    if is_repeated { isa.splat(pixel.0[0]) } else { isa.load(pixel) }
}

fn check(input: &Image, out: &Image) {
    let sides = |image: &Image| [image.channels, image.height, image.width];
    let fits = sides(input).iter().zip(sides(out)).all(|(side, out)| *side == 1 || *side == out);
    assert!(fits && input.count == out.count, "images of other shapes");
}
