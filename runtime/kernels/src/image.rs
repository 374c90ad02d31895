//! Values of a batch in blocks of sixteen channels.

use crate::{
    lanes::{LANES, Lanes, resize_exact},
    team::Kit,
};

/// Images of a batch: `[images][blocks of channels][height + 2 halo][width + 2 halo][16]`. The halo is zero,
/// and each axis has its own.
///
/// A batch of feature lists is one image of height 1 whose pixels are the samples ([`Self::features`]): a
/// linear layer is then a convolution with a kernel of one pixel.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pub(crate) count: usize,
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) halo: [usize; 2],
    features: bool,
    pub(crate) data: Vec<Lanes>,
}

impl Image {
    /// Images of `[channels, height, width]`, none yet. `halo` has the rows of zeros at the top and at the
    /// bottom, then the columns of zeros at the left and at the right.
    #[must_use]
    pub fn new([channels, height, width]: [usize; 3], halo: [usize; 2]) -> Self {
        Self { count: 0, channels, height, width, halo, features: false, data: Vec::new() }
    }

    /// Lists of `features` values.
    #[must_use]
    pub fn features(features: usize) -> Self {
        let mut image = Self::new([features, 1, 0], [0; 2]);
        (image.count, image.features) = (1, true);
        image
    }

    /// Makes room for `samples`. Memory that was reserved for more samples is kept.
    pub fn hold(&mut self, samples: usize) {
        if self.samples() != samples {
            self.make_room(samples);
        }
    }

    /// Makes room for `samples` in memory that another image may have used: the halo becomes zero, and the
    /// values are any.
    pub fn take(&mut self, memory: Vec<Lanes>, samples: usize) {
        self.data = memory;
        self.make_room(samples);
        let (halo, stride, plane, first) = (self.halo, self.stride(), self.plane(), self.at(0));
        if halo == [0; 2] || plane == 0 {
            return;
        }
        let width = self.width;
        for plane in self.pixels_mut().chunks_mut(plane) {
            plane[..first].fill(Lanes::ZERO);
            // The end of a row, and the start of the next one.
            for row in plane[first..].chunks_mut(stride) {
                let after = width.min(row.len());
                row[after..].fill(Lanes::ZERO);
            }
            let last = plane.len() - halo[0] * stride;
            plane[last..].fill(Lanes::ZERO);
        }
    }

    /// The memory of the values, which the image has no more.
    pub fn give(&mut self) -> Vec<Lanes> {
        std::mem::take(&mut self.data)
    }

    fn make_room(&mut self, samples: usize) {
        if self.features {
            self.width = samples;
        } else {
            self.count = samples;
        }
        let needed = self.needed();
        if self.data.len() < needed {
            resize_exact(&mut self.data, needed, Lanes::ZERO);
        }
    }

    /// How many samples there are.
    #[must_use]
    pub fn samples(&self) -> usize {
        if self.features { self.width } else { self.count }
    }

    /// Bytes that the values of one sample take; `usize::MAX` for more than a `usize` counts.
    #[must_use]
    pub fn bytes_of_sample(&self) -> usize {
        let pixels = if self.features { 1 } else { self.plane() };
        self.blocks().saturating_mul(pixels).saturating_mul(size_of::<Lanes>())
    }

    /// Values of one sample.
    #[must_use]
    pub fn values(&self) -> usize {
        if self.features { self.channels } else { self.channels * self.height * self.width }
    }

    /// Reads samples whose values lie channel after channel and row after row.
    ///
    /// # Panics
    /// If `rows` is not as long as [`Self::values`] times the samples.
    pub fn load(&mut self, kit: Kit<'_>, rows: &[f32]) {
        self.read(kit, rows, false);
    }

    /// Adds samples to those that there are.
    ///
    /// # Panics
    /// As [`Self::load`].
    pub fn load_more(&mut self, kit: Kit<'_>, rows: &[f32]) {
        self.read(kit, rows, true);
    }

    fn read(&mut self, kit: Kit<'_>, rows: &[f32], add: bool) {
        let write = |to: &mut f32, value: f32| *to = if add { *to + value } else { value };
        let (values, channels, features) = (self.values(), self.channels, self.features);
        assert_eq!(rows.len(), values * self.samples(), "the batch has another shape");
        let (blocks, height, width) = (self.blocks(), self.height, self.width);
        let (plane, row_at) = (self.plane(), self.row_at());
        kit.share(self.pixels_mut().chunks_mut(plane.max(1)).enumerate(), |(index, plane)| {
            let (image, block) = (index / blocks, index % blocks);
            let lanes = (channels - block * LANES).min(LANES);
            if features {
                for (sample, pixel) in plane.iter_mut().enumerate() {
                    let row = &rows[sample * values + block * LANES..][..lanes];
                    pixel.0.iter_mut().zip(row).for_each(|(to, value)| write(to, *value));
                }
                return;
            }
            for lane in 0..lanes {
                let from = &rows[image * values + (block * LANES + lane) * height * width..];
                for y in 0..height {
                    let row = &mut plane[row_at(y)..][..width];
                    for (pixel, value) in row.iter_mut().zip(&from[y * width..][..width]) {
                        write(&mut pixel.0[lane], *value);
                    }
                }
            }
        });
    }

    /// Writes the samples as [`Self::load`] reads them.
    ///
    /// # Panics
    /// If `rows` is not as long as [`Self::values`] times the samples.
    pub fn store(&self, kit: Kit<'_>, rows: &mut [f32]) {
        let (values, plane) = (self.values(), self.plane());
        assert_eq!(rows.len(), values * self.samples(), "the batch has another shape");
        kit.share(rows.chunks_mut(values.max(1)).enumerate(), |(sample, row)| {
            if self.features {
                for (block, lanes) in row.chunks_mut(LANES).enumerate() {
                    lanes.copy_from_slice(&self.data[block * plane + sample].0[..lanes.len()]);
                }
                return;
            }
            let pixels = self.height * self.width;
            for (channel, out) in row.chunks_mut(pixels.max(1)).enumerate() {
                let from = &self.data[(sample * self.blocks() + channel / LANES) * plane..][..plane];
                for (y, out) in out.chunks_mut(self.width.max(1)).enumerate() {
                    let row = &from[self.at(y)..][..self.width];
                    out.iter_mut().zip(row).for_each(|(out, pixel)| *out = pixel.0[channel % LANES]);
                }
            }
        });
    }

    /// As [`Self::store`], into a list of the right length.
    pub fn store_into(&self, kit: Kit<'_>, rows: &mut Vec<f32>) {
        let count = self.values() * self.samples();
        resize_exact(rows, count, 0.0);
        self.store(kit, rows);
    }

    /// Sets all values to zero.
    pub fn clear(&mut self, kit: Kit<'_>) {
        let plane = self.plane().max(1);
        kit.share(self.pixels_mut().chunks_mut(plane), |plane| plane.fill(Lanes::ZERO));
    }

    /// Pixels of all blocks and images.
    fn needed(&self) -> usize {
        self.count * self.blocks() * self.plane()
    }

    /// All pixels, with the halo. Memory may be longer.
    pub(crate) fn pixels_mut(&mut self) -> &mut [Lanes] {
        let needed = self.needed();
        &mut self.data[..needed]
    }

    /// Blocks of channels.
    pub(crate) fn blocks(&self) -> usize {
        self.channels.div_ceil(LANES)
    }

    /// Channels of a block: 16, except for the last one.
    pub(crate) fn lanes(&self, block: usize) -> usize {
        (self.channels - block * LANES).min(LANES)
    }

    /// Pixels from a row to the next.
    pub(crate) fn stride(&self) -> usize {
        self.width.saturating_add(self.halo[1].saturating_mul(2))
    }

    /// Pixels of a block.
    pub(crate) fn plane(&self) -> usize {
        self.height.saturating_add(self.halo[0].saturating_mul(2)).saturating_mul(self.stride())
    }

    /// The first pixel of a row, in a block.
    pub(crate) fn at(&self, y: usize) -> usize {
        self.row_at()(y)
    }

    /// The same, while the pixels are borrowed.
    pub(crate) fn row_at(&self) -> impl Fn(usize) -> usize + Copy + Send + Sync + use<> {
        let (halo, stride) = (self.halo, self.stride());
        #[inline(always)]
        move |y| (y + halo[0]) * stride + halo[1]
    }

    /// One block of one image, by the number that `image * blocks + block` gives.
    pub(crate) fn block(&self, index: usize) -> &[Lanes] {
        &self.data[index * self.plane()..][..self.plane()]
    }
}
