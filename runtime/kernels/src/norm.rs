//! Batch normalisation over channels (Ioffe and Szegedy, arXiv:1502.03167), with the activation `max(0, x)`
//! that follows it in most networks.

use crate::{
    image::Image,
    isa::Isa,
    lanes::{LANES, Lanes},
    level::with_level,
    team::Kit,
};

/// What normalises one block of channels.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    /// Means of the channels.
    pub mean: Lanes,
    /// Variances, with the bias of a division by the count.
    pub variance: Lanes,
    /// 1 / √(variance + ε).
    inverse: Lanes,
    /// What a value is multiplied with.
    scale: Lanes,
    /// What is added then.
    shift: Lanes,
}

/// Two sums over each channel of each plane: of gradients, and of gradients times distances from the mean.
type Sums = [Lanes; 2];

/// Memory of the passes, which later calls use again.
#[derive(Debug, Default)]
pub struct Scratch(Vec<Sums>);

/// Weight and bias of a normalisation, by lanes, and what is added to the variance.
#[derive(Clone, Copy, Debug)]
pub struct Affine<'a> {
    /// γ.
    pub weight: &'a [Lanes],
    /// β.
    pub bias: &'a [Lanes],
    /// ε.
    pub eps: f64,
}

impl Affine<'_> {
    fn moments(self, block: usize, mean: [f64; LANES], variance: [f64; LANES]) -> Moments {
        let inverse = Lanes::each(|l| (1.0 / (variance[l] + self.eps).sqrt()) as f32);
        let mean = Lanes::each(|l| mean[l] as f32);
        let scale = Lanes::each(|l| self.weight[block].0[l] * inverse.0[l]);
        let shift = Lanes::each(|l| (-mean.0[l]).mul_add(scale.0[l], self.bias[block].0[l]));
        Moments { mean, variance: Lanes::each(|l| variance[l] as f32), inverse, scale, shift }
    }
}

/// What normalises with given means and variances, as outside training.
pub fn given(affine: Affine<'_>, mean: &[Lanes], variance: &[Lanes], moments: &mut Vec<Moments>) {
    moments.clear();
    moments.extend(mean.iter().zip(variance).enumerate().map(|(block, (mean, variance))| {
        affine.moments(block, mean.0.map(f64::from), variance.0.map(f64::from))
    }));
}

/// What normalises with the batch's own means and variances. Each plane takes two passes; planes are put
/// together in order (Chan, Golub and LeVeque, 1979).
pub fn of_batch(
    kit: Kit<'_>,
    x: &Image,
    affine: Affine<'_>,
    scratch: &mut Scratch,
    moments: &mut Vec<Moments>,
) {
    let (blocks, pixels) = (x.blocks(), (x.height * x.width) as f64);
    scratch.0.resize(x.count * blocks, [Lanes::ZERO; 2]);
    let planes = &mut scratch.0;
    with_level!(kit.level, isa => {
        kit.share(planes.iter_mut().enumerate(), |(index, out)| *out = plane_moments(isa, x, x.block(index)));
    });
    moments.clear();
    moments.extend((0..blocks).map(|block| {
        let (mut mean, mut squares) = ([0.0; LANES], [0.0; LANES]);
        for image in 0..x.count {
            let [of_mean, of_squares] = &scratch.0[image * blocks + block];
            let (before, all) = (image as f64, image as f64 + 1.0);
            for l in 0..LANES {
                let off = f64::from(of_mean.0[l]) - mean[l];
                mean[l] += off / all;
                squares[l] += f64::from(of_squares.0[l]) + off * off * pixels * before / all;
            }
        }
        let count = pixels * x.count as f64;
        affine.moments(block, mean, squares.map(|squares| squares / count))
    }));
}

/// Mean and sum of squares around it of one plane, by lanes.
fn plane_moments<I: Isa>(isa: I, x: &Image, plane: &[Lanes]) -> Sums {
    isa.run(
        #[inline(always)]
        || {
            let pixels = isa.splat(1.0 / (x.height * x.width) as f32);
            let zero = isa.splat(0.0);
            let mut sums = [zero; 4];
            for y in 0..x.height {
                for four in plane[x.at(y)..][..x.width].chunks(4) {
                    for (sum, pixel) in sums.iter_mut().zip(four) {
                        *sum = isa.add(*sum, isa.load(pixel));
                    }
                }
            }
            let mean = isa.mul(isa.add(isa.add(sums[0], sums[1]), isa.add(sums[2], sums[3])), pixels);
            let mut squares = [zero; 4];
            for y in 0..x.height {
                for four in plane[x.at(y)..][..x.width].chunks(4) {
                    for (sum, pixel) in squares.iter_mut().zip(four) {
                        let off = isa.sub(isa.load(pixel), mean);
                        *sum = isa.fma(off, off, *sum);
                    }
                }
            }
            let squares = isa.add(isa.add(squares[0], squares[1]), isa.add(squares[2], squares[3]));
            let mut out = [Lanes::ZERO; 2];
            isa.store(&mut out[0], mean);
            isa.store(&mut out[1], squares);
            out
        },
    )
}

/// Writes the normalised values; with `relu`, those below 0 become 0.
///
/// # Panics
/// If the images have other shapes.
pub fn apply(kit: Kit<'_>, x: &Image, moments: &[Moments], relu: bool, out: &mut Image) {
    assert_eq!((out.values(), out.samples()), (x.values(), x.samples()), "images of other shapes");
    let (blocks, plane) = (x.blocks(), out.plane());
    let row_at = out.row_at();
    with_level!(kit.level, isa => {
        kit.share(out.pixels_mut().chunks_mut(plane).enumerate(), |(index, out)| {
            isa.run(#[inline(always)] || {
                let (from, with) = (x.block(index), &moments[index % blocks]);
                let (scale, shift, zero) = (isa.load(&with.scale), isa.load(&with.shift), isa.splat(0.0));
                for y in 0..x.height {
                    let out = &mut out[row_at(y)..][..x.width];
                    for (out, pixel) in out.iter_mut().zip(&from[x.at(y)..][..x.width]) {
                        let value = isa.fma(isa.load(pixel), scale, shift);
                        isa.store(out, if relu { isa.max(value, zero) } else { value });
                    }
                }
            });
        });
    });
}

/// Turns the gradient by the output, in place, into the gradient by `x`. `by_affine` gets, for each block,
/// the gradients by the bias and by the weight.
///
/// # Panics
/// If the images have other shapes.
pub fn back(
    kit: Kit<'_>,
    x: &Image,
    moments: &[Moments],
    relu: bool,
    gradient: &mut Image,
    scratch: &mut Scratch,
    by_affine: &mut Vec<[Lanes; 2]>,
) {
    assert_eq!((gradient.values(), gradient.samples()), (x.values(), x.samples()), "images of other shapes");
    let (blocks, plane) = (x.blocks(), gradient.plane());
    let row_at = gradient.row_at();
    scratch.0.resize(x.count * blocks, [Lanes::ZERO; 2]);
    let sums = &mut scratch.0;
    with_level!(kit.level, isa => {
        let planes = gradient.pixels_mut().chunks_mut(plane).zip(sums.iter_mut()).enumerate();
        kit.share(planes, |(index, (slope, sums))| {
            isa.run(#[inline(always)] || {
                let (from, with) = (x.block(index), &moments[index % blocks]);
                let (scale, shift) = (isa.load(&with.scale), isa.load(&with.shift));
                let (mean, zero) = (isa.load(&with.mean), isa.splat(0.0));
                let (mut plain, mut weighted) = ([zero; 2], [zero; 2]);
                for y in 0..x.height {
                    let slope = &mut slope[row_at(y)..][..x.width];
                    let from = &from[x.at(y)..][..x.width];
                    for (slope, from) in slope.chunks_mut(2).zip(from.chunks(2)) {
                        for (j, (slope, pixel)) in slope.iter_mut().zip(from).enumerate() {
                            let pixel = isa.load(pixel);
                            let mut kept = isa.load(slope);
                            if relu {
                                kept = isa.if_greater(isa.fma(pixel, scale, shift), zero, kept, zero);
                                isa.store(slope, kept);
                            }
                            plain[j] = isa.add(plain[j], kept);
                            weighted[j] = isa.fma(kept, isa.sub(pixel, mean), weighted[j]);
                        }
                    }
                }
                isa.store(&mut sums[0], isa.add(plain[0], plain[1]));
                isa.store(&mut sums[1], isa.add(weighted[0], weighted[1]));
            });
        });
    });
    by_affine.clear();
    by_affine.extend((0..blocks).map(|block| {
        let mut all = [Lanes::ZERO; 2];
        for image in 0..x.count {
            for (all, part) in all.iter_mut().zip(&scratch.0[image * blocks + block]) {
                all.0.iter_mut().zip(part.0).for_each(|(all, part)| *all += part);
            }
        }
        all
    }));
    // γ/σ · (g − Σg / N − (x − mean) / σ² · Σ g (x − mean) / N)
    let count = (x.count * x.height * x.width) as f32;
    let totals = &by_affine[..];
    with_level!(kit.level, isa => {
        kit.share(gradient.pixels_mut().chunks_mut(plane).enumerate(), |(index, slope)| {
            isa.run(#[inline(always)] || {
                let (from, with) = (x.block(index), &moments[index % blocks]);
                let [plain, weighted] = &totals[index % blocks];
                let factor = Lanes::each(|l| {
                    -with.scale.0[l] * with.inverse.0[l] * with.inverse.0[l] * weighted.0[l] / count
                });
                let rest = Lanes::each(|l| {
                    -with.scale.0[l] * plain.0[l] / count - factor.0[l] * with.mean.0[l]
                });
                let (scale, factor, rest) = (isa.load(&with.scale), isa.load(&factor), isa.load(&rest));
                for y in 0..x.height {
                    let slope = &mut slope[row_at(y)..][..x.width];
                    for (slope, pixel) in slope.iter_mut().zip(&from[x.at(y)..][..x.width]) {
                        let value = isa.fma(isa.load(pixel), factor, rest);
                        let value = isa.fma(isa.load(slope), scale, value);
                        isa.store(slope, value);
                    }
                }
            });
        });
    });
    for ([_, weighted], with) in by_affine.iter_mut().zip(moments) {
        weighted.0.iter_mut().zip(with.inverse.0).for_each(|(sum, inverse)| *sum *= inverse);
    }
}
