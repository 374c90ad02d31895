//! The arithmetic of [`super::Measure`]: deltas of one step in f64, and their dot products.
//!
//! A sum has eight lanes, element `e` of a step going to lane `e mod 8`, which are added up by halves at the
//! step's end. No product is fused with its sum, so every instruction set gives the same bits.
//!
//! Measured (Zen 4, 32 rows): 7.7 µs a step with AVX2; with the eight lanes of four by one sums 8.3, of four
//! by two 11.3 for want of registers, and 7.6 where AVX-512 has those. Compiled for AVX-512 the halves take
//! 11.5.

use multiversion::multiversion;

/// Deltas of one update.
pub(super) type Row = [[f64; LANES]; ELEMENTS_A_STEP / LANES];

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
#[multiversion(targets("x86_64+avx2"))]
pub(super) fn add_products(rows: &[Row], sums: &mut [f64]) {
    add_products_portable(rows, sums);
}

#[inline(always)]
fn add_products_portable(rows: &[Row], sums: &mut [f64]) {
    let whole = rows.len() / TILE * TILE;
    for first in (0..whole).step_by(TILE) {
        let tile: [&Row; TILE] = std::array::from_fn(|i| &rows[first + i]);
        for (pair, others) in rows[..first + TILE].as_chunks::<PAIR>().0.iter().enumerate() {
            let products = products_of_tile(tile, others);
            for (i, products) in (first..).zip(products) {
                for (j, product) in (pair * PAIR..).zip(products) {
                    if j <= i {
                        sums[place(i, j)] += product;
                    }
                }
            }
        }
    }
    for i in whole..rows.len() {
        for (j, row) in rows[..=i].iter().enumerate() {
            sums[place(i, j)] += product_of(&rows[i], row);
        }
    }
}

#[inline(always)]
fn products_of_tile(tile: [&Row; TILE], others: &[Row; PAIR]) -> [[f64; PAIR]; TILE] {
    let (first, second) = (half_of_tile::<0>(tile, others), half_of_tile::<HALF>(tile, others));
    add_up_tile(&first, &second)
}

/// Half of the lanes of a tile's sums, from lane `FROM` on.
type Halves = [[[f64; HALF]; PAIR]; TILE];

/// Eight sums by name, and added up elsewhere: else some builds compile them to scalars, at four times the
/// cost.
#[inline(always)]
fn half_of_tile<const FROM: usize>([a, b, c, d]: [&Row; TILE], [one, two]: &[Row; PAIR]) -> Halves {
    let (mut p, mut q, mut r, mut s) = ([0.0; HALF], [0.0; HALF], [0.0; HALF], [0.0; HALF]);
    let (mut t, mut u, mut v, mut w) = ([0.0; HALF], [0.0; HALF], [0.0; HALF], [0.0; HALF]);
    for chunk in 0..ELEMENTS_A_STEP / LANES {
        let half = |row: &Row| -> [f64; HALF] { std::array::from_fn(|lane| row[chunk][FROM + lane]) };
        let (x, y) = (half(one), half(two));
        let (a, b, c, d) = (half(a), half(b), half(c), half(d));
        p = with_products(p, &a, &x);
        t = with_products(t, &a, &y);
        q = with_products(q, &b, &x);
        u = with_products(u, &b, &y);
        r = with_products(r, &c, &x);
        v = with_products(v, &c, &y);
        s = with_products(s, &d, &x);
        w = with_products(w, &d, &y);
    }
    [[p, t], [q, u], [r, v], [s, w]]
}

#[inline(never)]
fn add_up_tile(first: &Halves, second: &Halves) -> [[f64; PAIR]; TILE] {
    std::array::from_fn(|i| {
        std::array::from_fn(|j| {
            let ([a, b, c, d], [e, f, g, h]) = (first[i][j], second[i][j]);
            add_up([a, b, c, d, e, f, g, h])
        })
    })
}

#[inline(always)]
fn product_of(a: &Row, row: &Row) -> f64 {
    add_up(a.iter().zip(row).fold([0.0; LANES], |sums, (a, x)| with_products(sums, a, x)))
}

/// Two roundings a product: never fused.
#[inline(always)]
fn with_products<const N: usize>(sums: [f64; N], a: &[f64; N], b: &[f64; N]) -> [f64; N] {
    std::array::from_fn(|lane| sums[lane] + a[lane] * b[lane])
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

/// Elements of a step: a run of the first pass begins at a multiple of it, or at its shard's start.
pub const ELEMENTS_A_STEP: usize = 256;
/// Lanes of a sum.
pub(super) const LANES: usize = 8;
/// Lanes of a sum that are worked on in one go.
const HALF: usize = LANES / 2;
/// Rows that are multiplied with others in one go: four with two, whose sums and operands, half of their
/// lanes at a time, fit into sixteen AVX2 registers.
const TILE: usize = 4;
/// The others.
const PAIR: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        for updates in [1, 3, 4, 6, 9] {
            let mix = |i: usize| f64::from((i as u32).wrapping_mul(0x9e37_79b9)) / 3e9 - 0.7;
            let row = |r: usize| -> Row {
                std::array::from_fn(|c| {
                    std::array::from_fn(|lane| mix(r * ELEMENTS_A_STEP + c * LANES + lane))
                })
            };
            let rows: Vec<Row> = (0..updates).map(row).collect();
            let sums: Vec<f64> = (0..updates * (updates + 1) / 2).map(mix).collect();
            let (mut dispatched, mut portable, mut single) = (sums.clone(), sums.clone(), sums);
            add_products(&rows, &mut dispatched);
            add_products_portable(&rows, &mut portable);
            for i in 0..updates {
                (0..=i).for_each(|j| single[place(i, j)] += product_of(&rows[i], &rows[j]));
            }
            let bits = |sums: &[f64]| sums.iter().map(|s| s.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&dispatched), bits(&portable));
            assert_eq!(bits(&dispatched), bits(&single));
        }
    }

    #[test]
    fn a_short_step_is_filled_with_zeros() {
        let number = |v: f32| v.to_le_bytes();
        let mut row = vec![9.0; ELEMENTS_A_STEP];
        subtract(&mut row, &[number(3.5), number(-1.0)], &[number(1.0), number(1.0)]);
        assert_eq!(row[..2], [2.5, -2.0]);
        assert!(row[2..].iter().all(|delta| *delta == 0.0));
    }
}
