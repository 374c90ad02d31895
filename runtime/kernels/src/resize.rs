//! Images of other sides: the nearest pixels, or means of the four pixels around a place.

use crate::{image::Image, isa::Isa, level::with_level, team::Kit};

/// Which pixels of the input each row and each column of the output takes.
#[derive(Clone, Debug)]
pub struct Resize {
    rows: Vec<Mix>,
    columns: Vec<Mix>,
}

/// Two neighbours along an axis.
#[derive(Clone, Copy, Debug)]
struct Mix {
    first: usize,
    second: usize,
    /// Share of the second in the mean.
    share: f32,
}

impl Resize {
    /// The pixel at each place, rounded down. `sides` are those of the input, `out` those of the output:
    /// height, then width.
    #[must_use]
    pub fn nearest(sides: [usize; 2], out: [usize; 2]) -> Self {
        let mix = |side: usize, out: usize, at: usize| {
            let first = at * side / out;
            Mix { first, second: first, share: 0.0 }
        };
        Self::new(sides, out, mix)
    }

    /// The mean of four pixels by distance. With `corners`, the centres of the corner pixels stay in the
    /// corners, otherwise the outer edges of the corner pixels do (PyTorch's `align_corners`).
    #[must_use]
    pub fn bilinear(sides: [usize; 2], out: [usize; 2], corners: bool) -> Self {
        let mix = |side: usize, out: usize, at: usize| {
            let (place, unit) = if corners {
                (at * (side - 1), (out - 1).max(1))
            } else {
                (((2 * at + 1) * side).saturating_sub(out), 2 * out)
            };
            let first = (place / unit).min(side - 1);
            let share = ((place % unit) as f64 / unit as f64) as f32;
            Mix { first, second: (first + 1).min(side - 1), share }
        };
        Self::new(sides, out, mix)
    }

    fn new(sides: [usize; 2], out: [usize; 2], mix: impl Fn(usize, usize, usize) -> Mix) -> Self {
        let along = |axis: usize| (0..out[axis]).map(|at| mix(sides[axis], out[axis], at)).collect();
        Self { rows: along(0), columns: along(1) }
    }

    fn check(&self, large: &Image, small: &Image) {
        assert_eq!([self.rows.len(), self.columns.len()], [small.height, small.width], "other sides");
        let fits = |mixes: &[Mix], side: usize| mixes.iter().all(|mix| mix.second < side);
        assert!(fits(&self.rows, large.height) && fits(&self.columns, large.width), "other sides");
        let shape = |image: &Image| (image.channels, image.count);
        assert_eq!(shape(large), shape(small), "images of other shapes");
    }
}

/// Writes the resized image.
///
/// # Panics
/// If the images have other shapes.
pub fn resize(kit: Kit<'_>, by: &Resize, x: &Image, out: &mut Image) {
    by.check(x, out);
    let (plane, row_at) = (out.plane(), out.row_at());
    with_level!(kit.level, isa => {
        kit.share(out.pixels_mut().chunks_mut(plane).enumerate(), |(index, out)| {
            isa.run(#[inline(always)] || {
                let from = x.block(index);
                for (y, rows) in by.rows.iter().enumerate() {
                    let [upper, lower] = [rows.first, rows.second].map(|y| &from[x.at(y)..][..x.width]);
                    let down = isa.splat(rows.share);
                    let out = &mut out[row_at(y)..][..by.columns.len()];
                    for (out, columns) in out.iter_mut().zip(&by.columns) {
                        let across = isa.splat(columns.share);
                        let [upper, lower] = [upper, lower].map(#[inline(always)] |row| {
                            let [left, right] = [columns.first, columns.second].map(
                                #[inline(always)] |x| isa.load(&row[x]),
                            );
                            isa.fma(isa.sub(right, left), across, left)
                        });
                        isa.store(out, isa.fma(isa.sub(lower, upper), down, upper));
                    }
                }
            });
        });
    });
}

/// Adds the gradient of [`resize`] to `by_x`.
///
/// # Panics
/// As [`resize`].
pub fn resize_back(kit: Kit<'_>, by: &Resize, gradient: &Image, by_x: &mut Image) {
    by.check(by_x, gradient);
    let (plane, row_at) = (by_x.plane(), by_x.row_at());
    with_level!(kit.level, isa => {
        kit.share(by_x.pixels_mut().chunks_mut(plane).enumerate(), |(index, by_x)| {
            isa.run(#[inline(always)] || {
                let slopes = gradient.block(index);
                for (y, rows) in by.rows.iter().enumerate() {
                    let slopes = &slopes[gradient.at(y)..][..by.columns.len()];
                    for (columns, slope) in by.columns.iter().zip(slopes) {
                        let slope = isa.load(slope);
                        for (y, down) in [(rows.first, 1.0 - rows.share), (rows.second, rows.share)] {
                            for (x, across) in
                                [(columns.first, 1.0 - columns.share), (columns.second, columns.share)]
                            {
                                let to = &mut by_x[row_at(y) + x];
                                let sum = isa.fma(slope, isa.splat(down * across), isa.load(to));
                                isa.store(to, sum);
                            }
                        }
                    }
                }
            });
        });
    });
}
