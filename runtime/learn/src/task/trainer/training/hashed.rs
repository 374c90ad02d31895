//! Values that every language makes with the same bits, from a name and an index: see `reference/hashed.py`.

use super::*;

/// The integers behind a tensor's elements, from −2²³ to 2²³ − 1.
pub(super) fn integers(name: &str, count: usize) -> impl Iterator<Item = i32> {
    let fnv = |seed: u32, byte: u8| (seed ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let seed = name.bytes().fold(0x811c_9dc5, fnv);
    (0..count as u32).map(move |index| {
        let mut x = seed.wrapping_add(index.wrapping_mul(0x9e37_79b9));
        x ^= x >> 16;
        x = x.wrapping_mul(0x7feb_352d);
        x ^= x >> 15;
        x = x.wrapping_mul(0x846c_a68b);
        x ^= x >> 16;
        (x >> 8) as i32 - (1 << 23)
    })
}

/// A tensor's elements, from `c - a` to `c + a`.
pub(super) fn values(name: &str, count: usize, a: f64, c: f64) -> Vec<f32> {
    integers(name, count).map(|k| (f64::from(k) / f64::from(1 << 23) * a + c) as f32).collect()
}

/// `a` and `c` for a tensor of a network.
pub(super) fn scale(name: &str, shape: &[u32], transposed: bool) -> (f64, f64) {
    match (name.rsplit('.').next(), shape) {
        (Some("running_mean" | "bias"), _) => (0.125, 0.0),
        (Some("running_var"), _) => (0.5, 1.0),
        (_, [_]) => (0.25, 1.0),
        (_, [first, rest @ ..]) => {
            let terms = if transposed { *first } else { rest.iter().product() };
            ((6.0 / f64::from(terms)).sqrt(), 0.0)
        }
        (_, []) => (0.0, 0.0),
    }
}

/// Gives every tensor of a network its values; counts become 0.
pub(super) fn fill(state: &mut ModelState) {
    let layout = Arc::clone(state.layout());
    state.i64.fill(0);
    for segment in layout.segments(Dtype::F32) {
        let tensor = &layout.tensors()[segment.tensor];
        let (a, c) = scale(&tensor.name, &tensor.shape, tensor.name.ends_with("up.weight"));
        state.f32[segment.range.clone()].copy_from_slice(&values(&tensor.name, segment.range.len(), a, c));
    }
}

#[test]
fn values_have_the_bits_of_the_script() {
    assert_eq!(integers("input", 4).collect::<Vec<_>>(), [2_399_538, 7_052_212, -5_167_661, -4_621_670]);
    let weight = values("inc.conv.0.weight", 3, (6.0f64 / 27.0).sqrt(), 0.0);
    assert_eq!(weight, [0.183_613_3, 0.345_589_88, -0.094_092_17]);
    assert_eq!(values("inc.conv.1.running_var", 2, 0.5, 1.0), [0.702_851, 0.765_694_44]);
}
