//! Normalisation and softmax of values in rows, as a batch lies outside of blocks.
//!
//! Each sum is over the values of one line, in f64, in their order.

use crate::{maths, team::Kit};

/// A normalisation of lines of a row (Ba et al., arXiv:1607.06450; Wu and He, arXiv:1803.08494).
#[derive(Clone, Copy, Debug)]
pub struct LineNorm {
    /// Values that are normalised together.
    pub width: usize,
    /// Neighbours that have one weight and one bias.
    pub pixels: usize,
    /// Added to the variance.
    pub eps: f64,
}

/// Mean of a line, and 1 / √(variance + ε).
pub type Moments = [f32; 2];

impl LineNorm {
    /// Normalises `x` into `out`, each value with the weight and the bias of its place. Writes each line's
    /// moments.
    ///
    /// # Panics
    /// If `out` is shorter than `x`, or there are no weights.
    pub fn apply(
        &self,
        kit: Kit<'_>,
        x: &[f32],
        [weight, bias]: [&[f32]; 2],
        moments: &mut Vec<Moments>,
        out: &mut [f32],
    ) {
        moments.resize(x.len() / self.width, [0.0; 2]);
        let lines = x.chunks(self.width).zip(out.chunks_mut(self.width)).zip(moments.iter_mut());
        kit.share(lines.enumerate(), |(line, ((x, out), moments))| {
            let count = x.len() as f64;
            let mean = sum(x, |value| value) / count;
            let variance = sum(x, |value| (value - mean) * (value - mean)) / count;
            *moments = [mean as f32, (1.0 / (variance + self.eps).sqrt()) as f32];
            for (at, (x, out)) in x.iter().zip(out).enumerate() {
                let n = self.place(line * self.width + at, weight.len());
                *out = ((x - moments[0]) * moments[1]).mul_add(weight[n], bias[n]);
            }
        });
    }

    /// Turns the gradient by the output, in place, into the gradient by `x`, and writes those by the weight
    /// and by the bias.
    ///
    /// # Panics
    /// As [`Self::apply`].
    pub fn back(
        &self,
        kit: Kit<'_>,
        x: &[f32],
        weight: &[f32],
        moments: &[Moments],
        gradient: &mut [f32],
        [by_weight, by_bias]: [&mut [f32]; 2],
    ) {
        let (given, count) = (&*gradient, weight.len());
        let run = self.pixels * count;
        kit.share(by_weight.iter_mut().zip(by_bias).enumerate(), |(n, (by_weight, by_bias))| {
            let (mut weighted, mut plain) = (0.0, 0.0);
            for start in (n * self.pixels..x.len()).step_by(run) {
                for at in start..start + self.pixels {
                    let [mean, inverse] = moments[at / self.width];
                    let slope = f64::from(given[at]);
                    weighted += slope * f64::from((x[at] - mean) * inverse);
                    plain += slope;
                }
            }
            (*by_weight, *by_bias) = (weighted as f32, plain as f32);
        });
        let lines = x.chunks(self.width).zip(gradient.chunks_mut(self.width)).zip(moments);
        kit.share(lines.enumerate(), |(line, ((x, slopes), [mean, inverse]))| {
            let (mut plain, mut weighted) = (0.0, 0.0);
            for (at, (x, slope)) in x.iter().zip(&mut *slopes).enumerate() {
                *slope *= weight[self.place(line * self.width + at, count)];
                plain += f64::from(*slope);
                weighted += f64::from(*slope) * f64::from((x - mean) * inverse);
            }
            let number = x.len() as f64;
            let (plain, weighted) = ((plain / number) as f32, (weighted / number) as f32);
            for (x, slope) in x.iter().zip(slopes) {
                *slope = inverse * (*slope - plain - (x - mean) * inverse * weighted);
            }
        });
    }

    /// Which of `count` weights a value has.
    fn place(&self, at: usize, count: usize) -> usize {
        at / self.pixels % count
    }
}

/// Softmax, or its logarithm, over one axis of a row.
#[derive(Clone, Copy, Debug)]
pub struct Softmax {
    /// Values of the axis.
    pub count: usize,
    /// From one of these values to the next.
    pub step: usize,
    /// Whether the logarithm is meant.
    pub log: bool,
}

impl Softmax {
    /// Replaces values by their softmax.
    pub fn apply(&self, kit: Kit<'_>, values: &mut [f32]) {
        self.each(kit, values, &[], |values, _| {
            let most = values.iter().fold(f64::NEG_INFINITY, |most, value| value.max(most));
            let all = values.iter().fold(0.0, |sum, value| sum + maths::exp(value - most));
            let log = maths::ln(all) + most;
            for value in values {
                *value = if self.log { *value - log } else { maths::exp(*value - most) / all };
            }
        });
    }

    /// Turns the gradient by `out`, what [`Self::apply`] gave, into the gradient by its values.
    ///
    /// # Panics
    /// If `out` is shorter than `gradient`.
    pub fn back(&self, kit: Kit<'_>, out: &[f32], gradient: &mut [f32]) {
        self.each(kit, gradient, out, |slopes, out| {
            let sum = slopes
                .iter()
                .zip(out)
                .fold(0.0, |sum, (slope, out)| sum + if self.log { *slope } else { slope * out });
            for (slope, out) in slopes.iter_mut().zip(out) {
                *slope = if self.log { *slope - maths::exp(*out) * sum } else { out * (*slope - sum) };
            }
        });
    }

    /// Calls `work` with the values of each line, and with those of `beside` there, if it has any.
    fn each(
        &self,
        kit: Kit<'_>,
        values: &mut [f32],
        beside: &[f32],
        work: impl Fn(&mut [f64], &[f64]) + Sync,
    ) {
        let span = self.count * self.step;
        kit.share(values.chunks_mut(span).enumerate(), |(index, values)| {
            let (mut line, mut other) = (Vec::with_capacity(self.count), Vec::with_capacity(self.count));
            let beside = beside.get(index * span..(index + 1) * span).unwrap_or_default();
            for first in 0..self.step {
                let places = |from: &[f32], into: &mut Vec<f64>| {
                    into.clear();
                    into.extend(from.iter().skip(first).step_by(self.step).map(|value| f64::from(*value)));
                };
                places(values, &mut line);
                places(beside, &mut other);
                work(&mut line, &other);
                let values = values.iter_mut().skip(first).step_by(self.step);
                values.zip(&line).for_each(|(value, found)| *value = *found as f32);
            }
        });
    }
}

fn sum(values: &[f32], of: impl Fn(f64) -> f64) -> f64 {
    values.iter().fold(0.0, |sum, value| sum + of(f64::from(*value)))
}
