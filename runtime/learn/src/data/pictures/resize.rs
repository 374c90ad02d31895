//! Resizing, pixel by pixel as Pillow does it.
//!
//! Bilinear: a triangle as wide as the step between two pixels of the result, so that a smaller picture is
//! antialiased. First all rows, then all columns, each rounded: `Resample.c` of Pillow. Values of 8 bits are
//! added up as whole numbers with weights of 22 bits; values of 16 bits as f64.

use super::plane::{Plane, Value};

/// The plane in another size, bilinear.
pub(super) fn bilinear<T: Value>(plane: Plane<T>, height: usize, width: usize) -> Plane<T> {
    let plane = if width == plane.width {
        plane
    } else {
        match plane.channels {
            1 => across::<T, 1>(&plane, width),
            _ => across::<T, 3>(&plane, width),
        }
    };
    if height == plane.height { plane } else { down(&plane, height) }
}

/// The plane in another size: each pixel is the nearest one, `⌊(i + ½) · from / to⌋`.
pub(super) fn nearest<T: Value>(plane: &Plane<T>, height: usize, width: usize) -> Plane<T> {
    let at = |i: usize, from: usize, to: usize| (2 * i + 1) * from / (2 * to);
    let columns: Vec<usize> = (0..width).map(|x| at(x, plane.width, width)).collect();
    let mut values = Vec::with_capacity(height * width * plane.channels);
    for y in 0..height {
        let row = plane.row(at(y, plane.height, height));
        for &x in &columns {
            values.extend_from_slice(&row[x * plane.channels..][..plane.channels]);
        }
    }
    Plane { height, width, channels: plane.channels, values }
}

/// The rows in another width. `C` is the number of channels.
fn across<T: Value, const C: usize>(plane: &Plane<T>, width: usize) -> Plane<T> {
    let taps = Taps::<T>::new(plane.width, width);
    let mut values = Vec::with_capacity(plane.height * width * C);
    for y in 0..plane.height {
        let row = plane.row(y);
        for (first, weights) in taps.iter() {
            let mut sums = [T::START; C];
            for (pixel, weight) in row[first * C..].chunks_exact(C).zip(weights) {
                for (sum, value) in sums.iter_mut().zip(pixel) {
                    *sum = value.add(*sum, *weight);
                }
            }
            values.extend(sums.map(T::rounded));
        }
    }
    Plane { height: plane.height, width, channels: C, values }
}

/// The columns in another height.
fn down<T: Value>(plane: &Plane<T>, height: usize) -> Plane<T> {
    let mut values = Vec::with_capacity(height * plane.width * plane.channels);
    let mut sums = vec![T::START; plane.width * plane.channels];
    for (first, weights) in Taps::<T>::new(plane.height, height).iter() {
        sums.fill(T::START);
        for (y, weight) in (first..plane.height).zip(weights) {
            for (sum, value) in sums.iter_mut().zip(plane.row(y)) {
                *sum = value.add(*sum, *weight);
            }
        }
        values.extend(sums.iter().map(|sum| T::rounded(*sum)));
    }
    Plane { height, width: plane.width, channels: plane.channels, values }
}

/// What each pixel of the result is made of: pixels from a first one on, each with its weight.
struct Taps<T: Value> {
    first: Vec<usize>,
    /// As many for each pixel; 0 beyond the last one that counts.
    weights: Vec<T::Weight>,
    each: usize,
}

impl<T: Value> Taps<T> {
    fn new(from: usize, to: usize) -> Self {
        let scale = from as f64 / to as f64;
        let support = scale.max(1.0);
        let each = support.ceil() as usize * 2 + 1;
        let mut taps = Self { first: Vec::with_capacity(to), weights: Vec::with_capacity(to * each), each };
        for at in 0..to {
            let center = (at as f64 + 0.5) * scale;
            let first = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(from);
            let weight = |x: usize| (1.0 - ((x as f64 - center + 0.5) * (1.0 / support)).abs()).max(0.0);
            let sum: f64 = (first..end).map(weight).sum();
            taps.first.push(first);
            taps.weights.extend((first..end).map(|x| T::weight(weight(x) / sum)));
            taps.weights.resize((at + 1) * each, T::weight(0.0));
        }
        taps
    }

    fn iter(&self) -> impl Iterator<Item = (usize, &[T::Weight])> {
        self.first.iter().copied().zip(self.weights.chunks_exact(self.each))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(height: usize, width: usize, values: Vec<u8>) -> Plane<u8> {
        Plane { height, width, channels: 1, values }
    }

    #[test]
    fn one_size_is_the_picture_itself_and_a_constant_stays_constant() {
        let plane = grey(2, 3, vec![1, 2, 3, 4, 5, 6]);
        assert_eq!(bilinear(plane.clone(), 2, 3).values, plane.values);
        assert_eq!(nearest(&plane, 2, 3).values, plane.values);
        assert_eq!(bilinear(grey(5, 7, vec![9; 35]), 3, 11).values, [9; 33]);
    }

    /// The values of `noise` in tests/pictures/record.py, which recorded what Pillow makes of them.
    fn noise(bits: u32, count: u32) -> impl Iterator<Item = u32> {
        (0..count).map(move |i| i.wrapping_mul(2_654_435_761).wrapping_add(12_345) >> (32 - bits))
    }

    #[test]
    fn every_byte_is_that_of_pillow() {
        let recorded: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/pictures/values.json")).unwrap();
        let cases = recorded["resize"].as_array().unwrap();
        assert!(cases.len() >= 10, "{}", cases.len());
        for case in cases {
            let side = |key: &str, at: usize| case[key][at].as_u64().unwrap() as usize;
            let (width, height, columns, rows) =
                (side("from", 0), side("from", 1), side("to", 0), side("to", 1));
            let channels = if case["mode"] == "RGB" { 3 } else { 1 };
            let count = (width * height * channels) as u32;
            let bytes = if case["mode"] == "I;16" {
                let values = noise(16, count).map(|value| value as u16).collect();
                let plane = bilinear(Plane { height, width, channels, values }, rows, columns);
                plane.values.iter().flat_map(|value| value.to_le_bytes()).collect()
            } else {
                let values = noise(8, count).map(|value| value as u8).collect();
                let plane = Plane { height, width, channels, values };
                match case["how"].as_str() {
                    Some("nearest") => nearest(&plane, rows, columns).values,
                    _ => bilinear(plane, rows, columns).values,
                }
            };
            let digest = fl_engine::Digest::of(&bytes).to_string();
            assert_eq!(digest, case["sha256"].as_str().unwrap(), "{case}");
        }
    }

    #[test]
    fn nearest_pixels_are_those_of_the_middle() {
        let plane = grey(1, 4, vec![10, 11, 12, 13]);
        assert_eq!(nearest(&plane, 1, 2).values, [11, 13]);
        assert_eq!(nearest(&plane, 2, 8).values, [[10, 10, 11, 11, 12, 12, 13, 13]; 2].concat());
    }
}
