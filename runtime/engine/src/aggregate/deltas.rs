//! The arithmetic of [`super::Measure`]: deltas of one step in f64, and their dot products.
//!
//! A sum has eight lanes, element `e` of a step going to lane `e mod 8`, which are added up by halves at the step's end. No
//! product is fused with its sum, so every instruction set gives the same bits.

use multiversion::multiversion;

/// Elements of a step: a run of the first pass begins at a multiple of it, or at its shard's start.
pub const STEP: usize = 256;
/// Lanes of a sum.
pub(super) const LANES: usize = 8;

/// Deltas of one update.
pub(super) type Row = [[f64; LANES]; STEP / LANES];
/// Rows that are multiplied with another at once: their sums and operands fit into sixteen AVX2 registers. Of all shapes
/// of tiles, this one is compiled well for every level of x86-64; none changes a bit.
const TILE: usize = 4;

/// Writes `values - base` in f64, and zeros behind.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2"))]
pub(super) fn subtract(row: &mut [f64], values: &[[u8; 4]], base: &[[u8; 4]]) {
    let number = |bytes: &[u8; 4]| f64::from(f32::from_le_bytes(*bytes));
    let (deltas, behind) = row.split_at_mut(values.len());
    for ((delta, value), base) in deltas.iter_mut().zip(values).zip(base) {
        *delta = number(value) - number(base);
    }
    behind.fill(0.0);
}

/// Adds the dot products of all pairs of rows to a triangle of sums.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2"))]
pub(super) fn add_products(rows: &[Row], sums: &mut [f64]) {
    add_products_portable(rows, sums);
}

#[inline(always)]
fn add_products_portable(rows: &[Row], sums: &mut [f64]) {
    let whole = rows.len() / TILE * TILE;
    for first in (0..whole).step_by(TILE) {
        let tile: [&Row; TILE] = std::array::from_fn(|i| &rows[first + i]);
        for (j, row) in rows[..first + TILE].iter().enumerate() {
            let products = products_of(tile, row);
            for (i, product) in (first..).zip(products) {
                if j <= i {
                    sums[place(i, j)] += product;
                }
            }
        }
    }
    for i in whole..rows.len() {
        for (j, row) in rows[..=i].iter().enumerate() {
            let [product] = products_of([&rows[i]], row);
            sums[place(i, j)] += product;
        }
    }
}

/// Loops over indices of arrays: iterators over the same are not compiled to vectors.
#[inline(always)]
fn products_of<const N: usize>(tile: [&Row; N], row: &Row) -> [f64; N] {
    let mut sums = [[0.0; LANES]; N];
    for chunk in 0..STEP / LANES {
        for i in 0..N {
            for lane in 0..LANES {
                sums[i][lane] += tile[i][chunk][lane] * row[chunk][lane];
            }
        }
    }
    sums.map(add_up)
}

/// The sum of the lanes, by halves.
#[inline(always)]
fn add_up(lanes: [f64; LANES]) -> f64 {
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

/// Where the product of two rows is in a triangle with its diagonal, for `i >= j`.
pub(super) fn place(i: usize, j: usize) -> usize {
    i * (i + 1) / 2 + j
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        for updates in [1, 3, 4, 6, 9] {
            let mix = |i: usize| f64::from((i as u32).wrapping_mul(0x9e37_79b9)) / 3e9 - 0.7;
            let row = |r: usize| -> Row {
                std::array::from_fn(|c| std::array::from_fn(|lane| mix(r * STEP + c * LANES + lane)))
            };
            let rows: Vec<Row> = (0..updates).map(row).collect();
            let sums: Vec<f64> = (0..updates * (updates + 1) / 2).map(mix).collect();
            let (mut dispatched, mut portable, mut single) = (sums.clone(), sums.clone(), sums);
            add_products(&rows, &mut dispatched);
            add_products_portable(&rows, &mut portable);
            for i in 0..updates {
                (0..=i).for_each(|j| single[place(i, j)] += products_of([&rows[i]], &rows[j])[0]);
            }
            let bits = |sums: &[f64]| sums.iter().map(|s| s.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&dispatched), bits(&portable));
            assert_eq!(bits(&dispatched), bits(&single));
        }
    }

    #[test]
    fn a_short_step_is_filled_with_zeros() {
        let number = |v: f32| v.to_le_bytes();
        let mut row = vec![9.0; STEP];
        subtract(&mut row, &[number(3.5), number(-1.0)], &[number(1.0), number(1.0)]);
        assert_eq!(row[..2], [2.5, -2.0]);
        assert!(row[2..].iter().all(|delta| *delta == 0.0));
    }
}
