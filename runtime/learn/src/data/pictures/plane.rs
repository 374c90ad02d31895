//! Pixels in memory, row after row, the channels of a pixel side by side.

/// A picture whose values have one type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plane<T> {
    pub(super) height: usize,
    pub(super) width: usize,
    /// 1 or 3.
    pub(super) channels: usize,
    pub(super) values: Vec<T>,
}

/// A value of a pixel.
pub(super) trait Value: Copy + Default + Into<u32> {
    /// A weight of a resize.
    type Weight: Copy;
    /// A sum of weighted values.
    type Sum: Copy;

    /// The largest value.
    const MOST: u32;
    /// The sum of nothing.
    const START: Self::Sum;

    fn weight(weight: f64) -> Self::Weight;
    fn add(self, sum: Self::Sum, weight: Self::Weight) -> Self::Sum;
    fn rounded(sum: Self::Sum) -> Self;
    /// A value of 0 to [`Self::MOST`].
    fn of(value: u32) -> Self;
}

impl Value for u8 {
    type Sum = i32;
    type Weight = i32;

    const MOST: u32 = 255;
    const START: i32 = 1 << (WEIGHT_BITS - 1);

    fn weight(weight: f64) -> i32 {
        (weight * f64::from(1 << WEIGHT_BITS) + 0.5) as i32
    }

    fn add(self, sum: i32, weight: i32) -> i32 {
        sum + i32::from(self) * weight
    }

    fn rounded(sum: i32) -> Self {
        (sum >> WEIGHT_BITS).clamp(0, 255) as Self
    }

    fn of(value: u32) -> Self {
        value as Self
    }
}

impl Value for u16 {
    type Sum = f64;
    type Weight = f64;

    const MOST: u32 = 65_535;
    const START: f64 = 0.0;

    fn weight(weight: f64) -> f64 {
        weight
    }

    fn add(self, sum: f64, weight: f64) -> f64 {
        sum + f64::from(self) * weight
    }

    fn rounded(sum: f64) -> Self {
        (sum + 0.5).floor().clamp(0.0, f64::from(Self::MAX)) as Self
    }

    fn of(value: u32) -> Self {
        value as Self
    }
}

impl<T: Value> Plane<T> {
    /// The values of a row.
    pub(super) fn row(&self, y: usize) -> &[T] {
        let length = self.width * self.channels;
        &self.values[y * length..][..length]
    }

    /// Calls `each` with every value divided by `most`, channel after channel.
    pub(super) fn shares(&self, most: u32, mut each: impl FnMut(usize, f64)) {
        let area = self.height * self.width;
        for channel in 0..self.channels {
            for (at, value) in self.values.iter().skip(channel).step_by(self.channels).enumerate() {
                let value: u32 = (*value).into();
                each(channel * area + at, f64::from(value) / f64::from(most));
            }
        }
    }

    /// One channel: a picture in colour becomes grey as ITU-R 601 has it, with Pillow's whole numbers.
    pub(super) fn grey(self) -> Self {
        if self.channels == 1 {
            return self;
        }
        let luma = |pixel: &[T]| {
            let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(|value| {
                let value: u32 = value.into();
                u64::from(value)
            });
            T::of(((r * 19_595 + g * 38_470 + b * 7_471 + 0x8000) >> 16) as u32)
        };
        let values = self.values.chunks_exact(3).map(luma).collect();
        Self { channels: 1, values, ..self }
    }

    /// Three channels: a grey picture becomes three equal ones.
    pub(super) fn rgb(self) -> Self {
        if self.channels == 3 {
            return self;
        }
        let values = self.values.iter().flat_map(|value| [*value; 3]).collect();
        Self { channels: 3, values, ..self }
    }

    /// One channel of a picture in colour.
    pub(super) fn channel(self, channel: usize) -> Self {
        let values = self.values.iter().skip(channel).step_by(self.channels).copied().collect();
        Self { channels: 1, values, ..self }
    }

    /// The middle of the plane, or the plane in the middle of black pixels. An odd rest is at the end.
    pub(super) fn centred(self, height: usize, width: usize) -> Self {
        let channels = self.channels;
        let mut values = vec![T::default(); height * width * channels];
        let (rows, columns) = (self.height.min(height), self.width.min(width));
        let first = |large: usize, small: usize| large.saturating_sub(small) / 2;
        let (from_y, from_x) = (first(self.height, height), first(self.width, width));
        let (to_y, to_x) = (first(height, self.height), first(width, self.width));
        for y in 0..rows {
            let from = &self.row(from_y + y)[from_x * channels..][..columns * channels];
            values[((to_y + y) * width + to_x) * channels..][..columns * channels].copy_from_slice(from);
        }
        Self { height, width, channels, values }
    }
}

/// Bits of a weight behind the point: `PRECISION_BITS` of Pillow's `Resample.c`.
const WEIGHT_BITS: u32 = 32 - 8 - 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_become_grey_as_in_pillow_and_grey_becomes_three_channels() {
        let plane =
            Plane { height: 1, width: 3, channels: 3, values: vec![255u8, 0, 0, 0, 255, 0, 0, 0, 255] };
        let grey = plane.clone().grey();
        assert_eq!(grey.values, [76, 150, 29]);
        assert_eq!(plane.clone().channel(1).values, [0, 255, 0]);
        assert_eq!(grey.rgb().values, [76, 76, 76, 150, 150, 150, 29, 29, 29]);
        assert_eq!(
            Plane {
                values: vec![65_535u16; 9],
                ..Plane { height: 1, width: 3, channels: 3, values: vec![] }
            }
            .grey()
            .values,
            [65_535; 3]
        );
    }

    #[test]
    fn the_middle_is_taken_and_put_into_the_middle() {
        let plane = Plane { height: 3, width: 3, channels: 1, values: vec![1u8, 2, 3, 4, 5, 6, 7, 8, 9] };
        assert_eq!(plane.clone().centred(1, 1).values, [5]);
        assert_eq!(plane.clone().centred(2, 2).values, [1, 2, 4, 5]);
        assert_eq!(plane.centred(1, 4).values, [4, 5, 6, 0]);
    }
}
