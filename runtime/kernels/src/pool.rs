//! The largest value and the mean of windows.

use crate::{image::Image, isa::Isa, level::with_level, team::Kit};

/// Windows over an image: for each row and each column of the output, the rows and columns of the input that
/// lie in the image, and what a mean divides by.
#[derive(Clone, Debug)]
pub struct Windows {
    rows: Vec<Span>,
    columns: Vec<Span>,
}

/// A window along one axis.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    end: usize,
    /// Values that a mean counts along the axis.
    count: usize,
}

impl Windows {
    /// Windows of `kernel` that move by `stride` over an image of `sides` with `edges` at the top and at the
    /// left and as many at the bottom and at the right; `out` are the sides of the output. A mean counts
    /// zeros of the edges if `padded`. Pairs are height, then width.
    #[must_use]
    pub fn moving(
        kernel: [usize; 2],
        stride: [usize; 2],
        edges: [usize; 2],
        sides: [usize; 2],
        out: [usize; 2],
        padded: bool,
    ) -> Self {
        let spans = |axis: usize| {
            let (edge, side) = (edges[axis], sides[axis]);
            let span = |at: usize| {
                let from = at * stride[axis];
                let to = (from + kernel[axis]).min(side + 2 * edge);
                let start = from.saturating_sub(edge).min(side);
                let end = to.saturating_sub(edge).clamp(start, side);
                Span { start, end, count: if padded { to.saturating_sub(from) } else { end - start } }
            };
            (0..out[axis]).map(span).collect()
        };
        Self { rows: spans(0), columns: spans(1) }
    }

    /// Windows that cover an image of `sides` together, `out` of them, as PyTorch's adaptive pools cut them.
    #[must_use]
    pub fn covering(sides: [usize; 2], out: [usize; 2]) -> Self {
        let spans = |axis: usize| {
            let (side, out) = (sides[axis], out[axis]);
            let span = |at: usize| {
                let (start, end) = (at * side / out, ((at + 1) * side).div_ceil(out));
                Span { start, end, count: end - start }
            };
            (0..out).map(span).collect()
        };
        Self { rows: spans(0), columns: spans(1) }
    }

    fn check(&self, large: &Image, small: &Image) {
        let sides = [small.height, small.width];
        assert_eq!([self.rows.len(), self.columns.len()], sides, "other windows");
        let fits = |spans: &[Span], side: usize| spans.iter().all(|span| span.end <= side);
        assert!(fits(&self.rows, large.height) && fits(&self.columns, large.width), "other windows");
        let shape = |image: &Image| (image.channels, image.count);
        assert_eq!(shape(large), shape(small), "images of other shapes");
    }
}

/// Writes the largest value of each window.
///
/// # Panics
/// If the images do not fit the windows.
pub fn largest(kit: Kit<'_>, windows: &Windows, x: &Image, out: &mut Image) {
    with_level!(kit.level, isa => {
        fold(
            isa,
            kit,
            windows,
            (x, out),
            f32::NEG_INFINITY,
            #[inline(always)]
            |most, value| isa.max(value, most),
            #[inline(always)]
            |most, _: &Span, _: &Span| most,
        );
    });
}

/// Adds the gradient of [`largest`] to `by_x`: the first of a window's largest values, row after row, takes
/// the window's gradient, as in PyTorch.
///
/// # Panics
/// As [`largest`].
pub fn largest_back(
    kit: Kit<'_>,
    windows: &Windows,
    x: &Image,
    out: &Image,
    gradient: &Image,
    by_x: &mut Image,
) {
    windows.check(x, out);
    windows.check(by_x, gradient);
    let (plane, row_at) = (by_x.plane(), by_x.row_at());
    with_level!(kit.level, isa => {
        kit.share(by_x.pixels_mut().chunks_mut(plane).enumerate(), |(index, by_x)| {
            isa.run(#[inline(always)] || {
                let (from, given, by_out) = (x.block(index), out.block(index), gradient.block(index));
                let (zero, width) = (isa.splat(0.0), windows.columns.len());
                for (y, rows) in windows.rows.iter().enumerate() {
                    let largest = &given[out.at(y)..][..width];
                    let slopes = &by_out[gradient.at(y)..][..width];
                    for ((columns, largest), slope) in windows.columns.iter().zip(largest).zip(slopes) {
                        let (most, mut left) = (isa.load(largest), isa.load(slope));
                        for y in rows.start..rows.end {
                            let from = &from[x.at(y) + columns.start..x.at(y) + columns.end];
                            let to = &mut by_x[row_at(y)..][columns.start..columns.end];
                            for (to, pixel) in to.iter_mut().zip(from) {
                                let value = isa.load(pixel);
                                isa.store(to, isa.add(isa.load(to), isa.if_equal(value, most, left, zero)));
                                left = isa.if_equal(value, most, zero, left);
                            }
                        }
                    }
                }
            });
        });
    });
}

/// Writes the mean of each window.
///
/// # Panics
/// As [`largest`].
pub fn mean(kit: Kit<'_>, windows: &Windows, x: &Image, out: &mut Image) {
    with_level!(kit.level, isa => {
        fold(
            isa,
            kit,
            windows,
            (x, out),
            0.0,
            #[inline(always)]
            |sum, value| isa.add(sum, value),
            #[inline(always)]
            |sum, rows: &Span, columns: &Span| isa.mul(sum, isa.splat(share(rows, columns))),
        );
    });
}

/// Writes what `add` makes of each window's values, row after row from `start`, and `finish` of that.
fn fold<I: Isa>(
    isa: I,
    kit: Kit<'_>,
    windows: &Windows,
    (x, out): (&Image, &mut Image),
    start: f32,
    add: impl Fn(I::V, I::V) -> I::V + Sync,
    finish: impl Fn(I::V, &Span, &Span) -> I::V + Sync,
) {
    windows.check(x, out);
    let (plane, row_at) = (out.plane(), out.row_at());
    kit.share(out.pixels_mut().chunks_mut(plane).enumerate(), |(index, out)| {
        isa.run(
            #[inline(always)]
            || {
                let from = x.block(index);
                for (y, rows) in windows.rows.iter().enumerate() {
                    let out = &mut out[row_at(y)..][..windows.columns.len()];
                    for (out, columns) in out.iter_mut().zip(&windows.columns) {
                        let mut found = isa.splat(start);
                        for y in rows.start..rows.end {
                            for pixel in &from[x.at(y) + columns.start..x.at(y) + columns.end] {
                                found = add(found, isa.load(pixel));
                            }
                        }
                        isa.store(out, finish(found, rows, columns));
                    }
                }
            },
        );
    });
}

/// Adds the gradient of [`mean`] to `by_x`.
///
/// # Panics
/// As [`largest`].
pub fn mean_back(kit: Kit<'_>, windows: &Windows, gradient: &Image, by_x: &mut Image) {
    windows.check(by_x, gradient);
    let (plane, row_at) = (by_x.plane(), by_x.row_at());
    with_level!(kit.level, isa => {
        kit.share(by_x.pixels_mut().chunks_mut(plane).enumerate(), |(index, by_x)| {
            isa.run(#[inline(always)] || {
                let slopes = gradient.block(index);
                for (y, rows) in windows.rows.iter().enumerate() {
                    let slopes = &slopes[gradient.at(y)..][..windows.columns.len()];
                    for (columns, slope) in windows.columns.iter().zip(slopes) {
                        let each = isa.mul(isa.load(slope), isa.splat(share(rows, columns)));
                        for y in rows.start..rows.end {
                            let to = &mut by_x[row_at(y)..][columns.start..columns.end];
                            for to in to {
                                isa.store(to, isa.add(isa.load(to), each));
                            }
                        }
                    }
                }
            });
        });
    });
}

fn share(rows: &Span, columns: &Span) -> f32 {
    1.0 / (rows.count * columns.count).max(1) as f32
}
