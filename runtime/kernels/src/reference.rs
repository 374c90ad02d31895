//! Kernels against plain sums in f64 on drawn shapes, and against themselves with other instructions and
//! other numbers of threads.

use std::thread;

use crate::{
    Image, Kit, Lanes, Level, alone, by_lanes, combine::*, conv::*, lines::*, norm, pointwise, pool::*,
    resize::*,
};

/// Numbers for shapes and values.
struct Draws(u64);

impl Draws {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn within(&mut self, least: usize, most: usize) -> usize {
        least + self.word() as usize % (most - least + 1)
    }

    /// Of −1 to 1, some of them 0, as after an activation.
    fn values(&mut self, count: usize) -> Vec<f32> {
        let value =
            |word: u64| if word.is_multiple_of(8) { 0.0 } else { word as f32 / (1u64 << 30) as f32 - 1.0 };
        (0..count).map(|_| value(self.word())).collect()
    }
}

fn kit(level: Level) -> Kit<'static> {
    Kit { level, team: &alone }
}

fn team<const N: usize>(work: &(dyn Fn() + Sync)) {
    thread::scope(|scope| {
        for _ in 1..N {
            scope.spawn(work);
        }
        work();
    });
}

/// Every set of instructions with one thread, and the widest with two and with seven.
fn kits() -> Vec<Kit<'static>> {
    let (two, seven): (crate::Team<'static>, crate::Team<'static>) = (&team::<2>, &team::<7>);
    let more = [two, seven].map(|team| Kit { level: Level::best(), team });
    Level::all().map(kit).chain(more).collect()
}

/// With a halo that is twice as wide at the sides.
fn image(values: &[f32], shape: [usize; 3], count: usize, halo: usize) -> Image {
    image_within(values, shape, count, [halo, 2 * halo])
}

fn image_within(values: &[f32], shape: [usize; 3], count: usize, halo: [usize; 2]) -> Image {
    let mut image = Image::new(shape, halo);
    image.hold(count);
    image.load(kit(Level::best()), values);
    image
}

fn values(image: &Image) -> Vec<f32> {
    let mut rows = vec![0.0; image.values() * image.samples()];
    image.store(kit(Level::best()), &mut rows);
    rows
}

/// Near the reference, and with one set of bits for all kits.
#[track_caller]
fn agree(what: &str, found: &[Vec<f32>], expected: &[f64]) {
    let largest = expected.iter().fold(1.0, |most: f64, value| most.max(value.abs()));
    for (found, expected) in found[0].iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() < 2e-5 * largest, "{what}: {found}, not {expected}");
    }
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    for (kit, other) in found.iter().enumerate() {
        assert_eq!(other.len(), expected.len(), "{what}");
        assert_eq!(bits(other), bits(&found[0]), "{what}: kit {kit} has other bits");
    }
}

/// A drawn convolution.
struct Case {
    count: usize,
    channels: [usize; 2],
    groups: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    edges: [usize; 2],
    small: [usize; 2],
    large: [usize; 2],
}

impl Case {
    fn draw(draws: &mut Draws) -> Self {
        let side = |draws: &mut Draws, most| [draws.within(1, most), draws.within(1, most)];
        loop {
            let (kernel, stride) = (side(draws, 4), side(draws, 3));
            let (dilation, large) = (side(draws, 2), side(draws, 13));
            let edges = [draws.within(0, 2), draws.within(0, 2)];
            let along = |axis: usize| {
                let reach = dilation[axis] * (kernel[axis] - 1) + 1;
                (large[axis] + 2 * edges[axis]).checked_sub(reach).map(|room| room / stride[axis] + 1)
            };
            if let (Some(height), Some(width)) = (along(0), along(1)) {
                let groups = [1, 1, 1, 2, 3, 5, 20, 33][draws.within(0, 7)];
                let channels = match groups {
                    1 => [[1, 3, 16, 20, 33][draws.within(0, 4)], [1, 3, 7, 16, 40][draws.within(0, 4)]],
                    20.. => [groups, groups * [1, 1, 2][draws.within(0, 2)]],
                    _ => [(); 2].map(|()| groups * [1, 2, 9, 16, 17][draws.within(0, 4)]),
                };
                let count = draws.within(1, 3);
                return Self {
                    count,
                    channels,
                    groups,
                    kernel,
                    stride,
                    dilation,
                    edges,
                    small: [height, width],
                    large,
                };
            }
        }
    }

    fn conv(&self) -> Conv {
        let sides = [self.small, self.large];
        Conv::new(self.channels, self.kernel, self.stride, self.dilation, self.edges, sides)
            .in_groups(self.groups)
    }

    /// Calls `visit` with the places of each product: in the small image, in the large one, in the weights.
    fn products(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let ([outs, ins], [height, width], [kh, kw]) = (self.channels, self.small, self.kernel);
        let sides =
            (0..self.count).flat_map(|n| (0..height).flat_map(move |y| (0..width).map(move |x| (n, y, x))));
        for (n, y, x) in sides {
            for (ky, kx) in (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx))) {
                let row = (y * self.stride[0] + ky * self.dilation[0]).wrapping_sub(self.edges[0]);
                let column = (x * self.stride[1] + kx * self.dilation[1]).wrapping_sub(self.edges[1]);
                if row >= self.large[0] || column >= self.large[1] {
                    continue;
                }
                for (out, input) in (0..outs).flat_map(|out| (0..ins).map(move |input| (out, input))) {
                    let small = ((n * outs + out) * height + y) * width + x;
                    let large = ((n * ins + input) * self.large[0] + row) * self.large[1] + column;
                    let per_group = [outs, ins].map(|channels| channels / self.groups);
                    if out / per_group[0] != input / per_group[1] {
                        continue;
                    }
                    let weight = out * per_group[1] + input % per_group[1];
                    visit(small, large, (weight * kh + ky) * kw + kx);
                }
            }
        }
    }
}

#[test]
fn strides_beyond_the_image_take_no_tables_and_each_axis_has_its_own_halo() {
    let most = u32::MAX as usize;
    let conv = Conv::new([1, 1], [1; 2], [most; 2], [1; 2], [0; 2], [[1; 2], [3, 4]]);
    assert_eq!((conv.halo_down(), conv.halo_up()), ([0; 2], [0; 2]));
    let sequence = Conv::new([4, 4], [1, 3], [1; 2], [1, 64], [0, 64], [[1, 1000]; 2]);
    assert_eq!((sequence.halo_down(), sequence.halo_up()), ([0, 64], [0, 64]));
    let bytes = |halo| Image::new([64, 1, 16000], halo).bytes_of_sample();
    assert!(bytes(sequence.halo_down()) < 2 * bytes([0; 2]));
    assert_eq!(Image::new([1, most, most], [most; 2]).bytes_of_sample(), usize::MAX);
    assert!(Conv::has_small_tables([3; 2], [most; 2], [64; 2]));
    assert!(!Conv::has_small_tables([60_000; 2], [1; 2], [64; 2]));
    assert!(!Conv::has_small_tables([1; 2], [most; 2], [1, most]));
}

#[test]
fn convolutions_and_both_passes_back_are_plain_sums_of_products() {
    let mut draws = Draws(1);
    for round in 0..120 {
        let case = Case::draw(&mut draws);
        let conv = case.conv();
        let [outs, ins] = case.channels;
        let small_values = draws.values(case.count * outs * case.small[0] * case.small[1]);
        let large_values = draws.values(case.count * ins * case.large[0] * case.large[1]);
        let (weights, bias) = (draws.values(conv.weights()), draws.values(outs));
        let more = draws.within(0, 1);
        let with_more = |halo: [usize; 2]| halo.map(|pixels| pixels + more);
        let shape = |channels: usize, [height, width]: [usize; 2]| [channels, height, width];
        let large =
            image_within(&large_values, shape(ins, case.large), case.count, with_more(conv.halo_down()));
        let small =
            image_within(&small_values, shape(outs, case.small), case.count, with_more(conv.halo_up()));
        let (mut down, mut up) = (vec![0.0; small_values.len()], vec![0.0; large_values.len()]);
        let mut by_weights = vec![0.0; weights.len()];
        case.products(|s, l, w| {
            let (sv, lv, wv) =
                (f64::from(small_values[s]), f64::from(large_values[l]), f64::from(weights[w]));
            down[s] += lv * wv;
            up[l] += sv * wv;
            by_weights[w] += sv * lv;
        });
        let pixels = case.small[0] * case.small[1];
        let relu = draws.within(0, 1) == 1;
        let finished = down.iter().enumerate().map(|(at, sum)| {
            let sum = sum + f64::from(bias[at / pixels % outs]);
            if relu { sum.max(0.0) } else { sum }
        });
        let finished: Vec<f64> = finished.collect();
        let added: Vec<f64> =
            up.iter().zip(&large_values).map(|(sum, held)| sum + f64::from(*held)).collect();
        let mut lanes = Vec::new();
        by_lanes(&bias, &mut lanes);
        let mut found = [(); 3].map(|()| Vec::new());
        for kit in kits() {
            let (mut packed, mut scratch) = (Vec::new(), Vec::new());
            conv.pack_down(kit, &weights, &mut packed);
            let mut out = small.clone();
            conv.down(kit, &large, &packed, Finish { bias: Some(&lanes), relu, add: false }, &mut out);
            found[0].push(values(&out));
            conv.pack_up(kit, &weights, &mut packed);
            let mut out = large.clone();
            conv.up(kit, &small, &packed, Finish { add: true, ..Finish::default() }, &mut out);
            found[1].push(values(&out));
            let mut gradient = vec![0.0; weights.len()];
            conv.by_weights(kit, &large, &small, &mut scratch, &mut gradient);
            found[2].push(gradient);
        }
        agree(&format!("{round}: down"), &found[0], &finished);
        agree(&format!("{round}: up"), &found[1], &added);
        agree(&format!("{round}: by weights"), &found[2], &by_weights);
    }
}

#[test]
fn linear_layers_are_products_of_matrices() {
    let mut draws = Draws(2);
    for [rows, ins, outs] in [[1, 3, 2], [64, 70, 20], [7, 16, 10], [33, 40, 16]] {
        let (conv, weights, x) =
            (Conv::linear(outs, ins), draws.values(outs * ins), draws.values(rows * ins));
        let mut expected = vec![0.0; rows * outs];
        for (row, (out, input)) in
            (0..rows).flat_map(|row| (0..outs * ins).map(move |at| (row, (at / ins, at % ins))))
        {
            expected[row * outs + out] +=
                f64::from(x[row * ins + input]) * f64::from(weights[out * ins + input]);
        }
        let found = kits().into_iter().map(|kit| {
            let (mut from, mut to, mut packed) = (Image::features(ins), Image::features(outs), Vec::new());
            from.hold(rows);
            to.hold(rows);
            from.load(kit, &x);
            conv.pack_down(kit, &weights, &mut packed);
            conv.down(kit, &from, &packed, Finish::default(), &mut to);
            values(&to)
        });
        agree(&format!("{rows} × {ins} × {outs}"), &found.collect::<Vec<_>>(), &expected);
    }
}

#[test]
fn normalisation_and_its_gradient_are_the_published_formulas() {
    let mut draws = Draws(3);
    for (count, channels, height, width, relu) in
        [(3, 20, 5, 7, true), (1, 16, 1, 9, false), (2, 3, 4, 4, true)]
    {
        let pixels = height * width;
        let (x, slope) = (draws.values(count * channels * pixels), draws.values(count * channels * pixels));
        let (weight, bias) = (draws.values(channels), draws.values(channels));
        let eps = 1e-5;
        let (mut out, mut by_x) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        let (mut by_weight, mut by_bias) = (vec![0.0; channels], vec![0.0; channels]);
        for channel in 0..channels {
            let places: Vec<usize> = (0..count)
                .flat_map(|n| (0..pixels).map(move |p| (n * channels + channel) * pixels + p))
                .collect();
            let number = places.len() as f64;
            let mean = places.iter().map(|&at| f64::from(x[at])).sum::<f64>() / number;
            let squares = places.iter().map(|&at| (f64::from(x[at]) - mean).powi(2)).sum::<f64>();
            let deviation = (squares / number + eps).sqrt();
            let (gamma, beta) = (f64::from(weight[channel]), f64::from(bias[channel]));
            let mut kept = Vec::new();
            for &at in &places {
                let normal = (f64::from(x[at]) - mean) / deviation;
                out[at] = gamma * normal + beta;
                let open = !relu || out[at] > 0.0;
                out[at] = if open { out[at] } else { 0.0 };
                kept.push((normal, if open { f64::from(slope[at]) } else { 0.0 }));
            }
            by_bias[channel] = kept.iter().map(|(_, g)| g).sum();
            by_weight[channel] = kept.iter().map(|(normal, g)| normal * g).sum();
            for (&at, (normal, g)) in places.iter().zip(&kept) {
                let rest = by_bias[channel] / number + normal * by_weight[channel] / number;
                by_x[at] = gamma / deviation * (g - rest);
            }
        }
        let mut found = [(); 4].map(|()| Vec::new());
        let (mut gamma, mut beta) = (Vec::new(), Vec::new());
        by_lanes(&weight, &mut gamma);
        by_lanes(&bias, &mut beta);
        for kit in kits() {
            let (mut scratch, mut moments, mut by_affine) =
                (norm::Scratch::default(), Vec::new(), Vec::new());
            let shape = [channels, height, width];
            let from = image(&x, shape, count, 1);
            let affine = norm::Affine { weight: &gamma, bias: &beta, eps };
            norm::of_batch(kit, &from, affine, &mut scratch, &mut moments);
            let mut to = image(&x, shape, count, 0);
            norm::apply(kit, &from, &moments, relu, &mut to);
            found[0].push(values(&to));
            let mut gradient = image(&slope, shape, count, 2);
            norm::back(kit, &from, &moments, relu, &mut gradient, &mut scratch, &mut by_affine);
            found[1].push(values(&gradient));
            for (part, found) in [1, 0].into_iter().zip(&mut found[2..]) {
                let lanes = by_affine.iter().flat_map(|sums: &[Lanes; 2]| sums[part].0);
                found.push(lanes.take(channels).collect());
            }
        }
        for (what, (found, expected)) in ["output", "by input", "by weight", "by bias"]
            .iter()
            .zip(found.iter().zip([&out, &by_x, &by_weight, &by_bias]))
        {
            agree(what, found, expected);
        }
    }
}

#[test]
fn pools_take_their_windows_and_give_gradients_back() {
    let mut draws = Draws(4);
    for round in 0..40 {
        let (channels, count) = ([1, 16, 18][draws.within(0, 2)], draws.within(1, 2));
        let sides = [draws.within(2, 9), draws.within(2, 9)];
        let kernel = [draws.within(1, sides[0].min(3)), draws.within(1, sides[1].min(3))];
        let stride = [draws.within(1, 3), draws.within(1, 3)];
        let edges = [draws.within(0, kernel[0] / 2), draws.within(0, kernel[1] / 2)];
        let side = |axis: usize| (sides[axis] + 2 * edges[axis] - kernel[axis]) / stride[axis] + 1;
        let out = [side(0), side(1)];
        let windows = Windows::moving(kernel, stride, edges, sides, out, false);
        let (x, slope) = (
            draws.values(count * channels * sides[0] * sides[1]),
            draws.values(count * channels * out[0] * out[1]),
        );
        let mut expected = [(); 4].map(|()| Vec::new());
        (expected[1], expected[3]) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        for plane in 0..count * channels {
            for (y, column) in (0..out[0]).flat_map(|y| (0..out[1]).map(move |x| (y, x))) {
                let mut seen = Vec::new();
                for (ky, kx) in (0..kernel[0]).flat_map(|ky| (0..kernel[1]).map(move |kx| (ky, kx))) {
                    let row = (y * stride[0] + ky).wrapping_sub(edges[0]);
                    let column = (column * stride[1] + kx).wrapping_sub(edges[1]);
                    if row < sides[0] && column < sides[1] {
                        seen.push((plane * sides[0] + row) * sides[1] + column);
                    }
                }
                let g = f64::from(slope[(plane * out[0] + y) * out[1] + column]);
                let most = seen.iter().map(|&at| x[at]).fold(f32::NEG_INFINITY, f32::max);
                expected[0].push(f64::from(most));
                let first = seen.iter().find(|at| x[**at] == most).unwrap();
                expected[1][*first] += g;
                let number = seen.len() as f64;
                expected[2].push(seen.iter().map(|&at| f64::from(x[at])).sum::<f64>() / number);
                seen.iter().for_each(|&at| expected[3][at] += g / number);
            }
        }
        let mut found = [(); 4].map(|()| Vec::new());
        for kit in kits() {
            let shape = |[height, width]: [usize; 2]| [channels, height, width];
            let from = image(&x, shape(sides), count, draws.within(0, 1));
            let gradient = image(&slope, shape(out), count, 1);
            let mut to = gradient.clone();
            largest(kit, &windows, &from, &mut to);
            found[0].push(values(&to));
            let mut by_x = from.clone();
            by_x.clear(kit);
            largest_back(kit, &windows, &from, &to, &gradient, &mut by_x);
            found[1].push(values(&by_x));
            mean(kit, &windows, &from, &mut to);
            found[2].push(values(&to));
            by_x.clear(kit);
            mean_back(kit, &windows, &gradient, &mut by_x);
            found[3].push(values(&by_x));
        }
        for (what, (found, expected)) in found.iter().zip(&expected).enumerate() {
            agree(&format!("{round}: result {what}"), found, expected);
        }
    }
}

#[test]
fn parts_of_images_find_their_places_and_come_back() {
    let mut draws = Draws(5);
    for round in 0..40 {
        let (count, ins, outs) = (draws.within(1, 2), draws.within(1, 40), draws.within(1, 60));
        let (sides, room) =
            ([draws.within(1, 6), draws.within(1, 6)], [draws.within(1, 8), draws.within(1, 8)]);
        let aligned = round % 2 == 0;
        let from = if aligned { 0 } else { draws.within(0, ins - 1) };
        let most = (ins - from).min(outs);
        let number = draws.within(1, most);
        let to = if aligned { (outs - number) / 16 * 16 } else { draws.within(0, outs - number) };
        let part = pointwise::Part {
            from: from..from + number,
            to,
            shift: [draws.within(0, 4) as isize - 2, draws.within(0, 4) as isize - 2],
        };
        let (x, held) =
            (draws.values(count * ins * sides[0] * sides[1]), draws.values(count * outs * room[0] * room[1]));
        let mut expected: Vec<f64> = held.iter().map(|value| f64::from(*value)).collect();
        let mut back: Vec<f64> = x.iter().map(|value| f64::from(*value)).collect();
        for (n, c) in (0..count).flat_map(|n| (0..number).map(move |c| (n, c))) {
            for (y, column) in (0..sides[0]).flat_map(|y| (0..sides[1]).map(move |x| (y, x))) {
                let row = y.wrapping_add_signed(part.shift[0]);
                let over = column.wrapping_add_signed(part.shift[1]);
                if row < room[0] && over < room[1] {
                    let at = ((n * ins + from + c) * sides[0] + y) * sides[1] + column;
                    let place = ((n * outs + to + c) * room[0] + row) * room[1] + over;
                    expected[place] += f64::from(x[at]);
                    back[at] = f64::from(held[place]);
                }
            }
        }
        let mut found = [(); 2].map(|()| Vec::new());
        for kit in kits() {
            let small = image(&x, [ins, sides[0], sides[1]], count, 1);
            let large = image(&held, [outs, room[0], room[1]], count, 0);
            let mut out = large.clone();
            pointwise::place(kit, &small, &part, true, &mut out);
            found[0].push(values(&out));
            let mut out = small.clone();
            pointwise::place(kit, &large, &part.turned(), false, &mut out);
            found[1].push(values(&out));
        }
        agree(&format!("{round}: there"), &found[0], &expected);
        agree(&format!("{round}: back"), &found[1], &back);
    }
}

/// Which pixels a place of a resized side takes, and how much of each.
fn taken(side: usize, out: usize, at: usize, corners: Option<bool>) -> [(usize, f64); 2] {
    let (side_f, out_f, at_f) = (side as f64, out as f64, at as f64);
    let place = match corners {
        None => return [(at * side / out, 1.0), (0, 0.0)],
        Some(true) if out == 1 => 0.0,
        Some(true) => at_f * (side_f - 1.0) / (out_f - 1.0),
        Some(false) => ((at_f + 0.5) * side_f / out_f - 0.5).max(0.0),
    };
    let first = ((place + 1e-9).floor() as usize).min(side - 1);
    let share = (place - first as f64).max(0.0);
    [(first, 1.0 - share), ((first + 1).min(side - 1), share)]
}

#[test]
fn resized_images_are_means_by_distance_and_give_gradients_back() {
    let mut draws = Draws(6);
    for round in 0..60 {
        let (channels, count) = ([1, 16, 18][draws.within(0, 2)], draws.within(1, 2));
        let side = |draws: &mut Draws| [draws.within(1, 7), draws.within(1, 7)];
        let (sides, out) = (side(&mut draws), side(&mut draws));
        let corners = [None, Some(false), Some(true)][round % 3];
        let by = match corners {
            None => Resize::nearest(sides, out),
            Some(corners) => Resize::bilinear(sides, out, corners),
        };
        let planes = count * channels;
        let (x, slope) = (draws.values(planes * sides[0] * sides[1]), draws.values(planes * out[0] * out[1]));
        let (mut expected, mut back) = (vec![0.0; slope.len()], vec![0.0; x.len()]);
        for (at, expected) in expected.iter_mut().enumerate() {
            let (plane, y, x_at) = (at / (out[0] * out[1]), at / out[1] % out[0], at % out[1]);
            for (row, down) in taken(sides[0], out[0], y, corners) {
                for (column, across) in taken(sides[1], out[1], x_at, corners) {
                    let from = (plane * sides[0] + row) * sides[1] + column;
                    *expected += f64::from(x[from]) * down * across;
                    back[from] += f64::from(slope[at]) * down * across;
                }
            }
        }
        let mut found = [(); 2].map(|()| Vec::new());
        for kit in kits() {
            let shape = |[height, width]: [usize; 2]| [channels, height, width];
            let (from, gradient) = (image(&x, shape(sides), count, 1), image(&slope, shape(out), count, 0));
            let mut to = image(&slope, shape(out), count, 1);
            resize(kit, &by, &from, &mut to);
            found[0].push(values(&to));
            let mut by_x = from.clone();
            by_x.clear(kit);
            resize_back(kit, &by, &gradient, &mut by_x);
            found[1].push(values(&by_x));
        }
        agree(&format!("{round}: resized"), &found[0], &expected);
        agree(&format!("{round}: back"), &found[1], &back);
    }
}

#[test]
fn sides_of_one_are_repeated_in_sums_differences_and_products() {
    let mut draws = Draws(7);
    for round in 0..60 {
        let how = [Combine::Sum, Combine::Difference, Combine::Product][round % 3];
        let (count, number) = (draws.within(1, 2), if round % 3 == 1 { 2 } else { draws.within(2, 4) });
        let most = [[1, 5, 16, 33][draws.within(0, 3)], draws.within(1, 4), draws.within(1, 5)];
        let shapes: Vec<[usize; 3]> = (0..number)
            .map(|n| most.map(|side| if n > 0 && draws.within(0, 1) == 1 { 1 } else { side }))
            .collect();
        // The first may be the one that is repeated.
        let (first, size) = (draws.within(0, number - 1), most.iter().product::<usize>());
        let shape = |n: usize| shapes[(n + first) % number];
        let place = |shape: [usize; 3], at: usize| {
            let [_, height, width] = most;
            let (n, c, y, x) = (at / size, at / (height * width) % most[0], at / width % height, at % width);
            let least = |at: usize, side: usize| at.min(side - 1);
            ((n * shape[0] + least(c, shape[0])) * shape[1] + least(y, shape[1])) * shape[2]
                + least(x, shape[2])
        };
        let inputs: Vec<Vec<f32>> =
            (0..number).map(|n| draws.values(count * shape(n).iter().product::<usize>())).collect();
        let slope = draws.values(count * size);
        let seen = |n: usize, at: usize| f64::from(inputs[n][place(shape(n), at)]);
        let value = |at: usize| match how {
            Combine::Sum => (0..number).map(|n| seen(n, at)).sum(),
            Combine::Difference => seen(0, at) - seen(1, at),
            Combine::Product => (0..number).map(|n| seen(n, at)).product::<f64>(),
        };
        let expected: Vec<f64> = (0..count * size).map(value).collect();
        let mut back: Vec<Vec<f64>> = inputs.iter().map(|input| vec![0.0; input.len()]).collect();
        for (n, back) in back.iter_mut().enumerate() {
            for (at, slope) in slope.iter().enumerate() {
                let factor = match how {
                    Combine::Sum => 1.0,
                    Combine::Difference => [1.0, -1.0][n],
                    Combine::Product => {
                        (0..number).filter(|other| *other != n).map(|other| seen(other, at)).product()
                    }
                };
                back[place(shape(n), at)] += factor * f64::from(*slope);
            }
        }
        let mut found = Vec::new();
        let mut found_back = vec![Vec::new(); number];
        for kit in kits() {
            let images: Vec<Image> = (0..number).map(|n| image(&inputs[n], shape(n), count, n % 2)).collect();
            let images: Vec<&Image> = images.iter().collect();
            let gradient = image(&slope, most, count, 1);
            let mut out = image(&slope, most, count, 0);
            combine(kit, how, &images, &mut out);
            found.push(values(&out));
            for (n, found) in found_back.iter_mut().enumerate() {
                let mut by_x = images[n].clone();
                by_x.clear(kit);
                combine_back(kit, how, &images, n, &gradient, &mut by_x);
                found.push(values(&by_x));
            }
        }
        agree(&format!("{round}: {how:?}"), &found, &expected);
        for (n, (found, back)) in found_back.iter().zip(&back).enumerate() {
            agree(&format!("{round}: {how:?} by input {n}"), found, back);
        }
    }
}

#[test]
fn lines_are_normalised_by_the_published_formulas() {
    let mut draws = Draws(8);
    for [width, pixels, weights, lines] in
        [[7, 1, 7, 5], [12, 1, 4, 6], [12, 4, 6, 4], [30, 5, 6, 2], [6, 6, 3, 6]]
    {
        let norm = LineNorm { width, pixels, eps: 1e-3 };
        let (x, slope) = (draws.values(width * lines), draws.values(width * lines));
        let (weight, bias) = (draws.values(weights), draws.values(weights));
        let (mut out, mut by_x) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        let (mut by_weight, mut by_bias) = (vec![0.0; weights], vec![0.0; weights]);
        for line in 0..lines {
            let places = line * width..(line + 1) * width;
            let number = width as f64;
            let mean = places.clone().map(|at| f64::from(x[at])).sum::<f64>() / number;
            let squares = places.clone().map(|at| (f64::from(x[at]) - mean).powi(2)).sum::<f64>();
            let deviation = (squares / number + norm.eps).sqrt();
            let normal = |at: usize| (f64::from(x[at]) - mean) / deviation;
            let own = |at: usize| at / pixels % weights;
            let by_normal = |at: usize| f64::from(slope[at]) * f64::from(weight[own(at)]);
            let plain = places.clone().map(by_normal).sum::<f64>() / number;
            let weighted = places.clone().map(|at| by_normal(at) * normal(at)).sum::<f64>() / number;
            for at in places {
                out[at] = normal(at) * f64::from(weight[own(at)]) + f64::from(bias[own(at)]);
                by_x[at] = (by_normal(at) - plain - normal(at) * weighted) / deviation;
                by_weight[own(at)] += f64::from(slope[at]) * normal(at);
                by_bias[own(at)] += f64::from(slope[at]);
            }
        }
        let mut found = [(); 4].map(|()| Vec::new());
        for kit in kits() {
            let (mut moments, mut to, mut back) = (Vec::new(), vec![0.0; x.len()], slope.clone());
            norm.apply(kit, &x, [&weight, &bias], &mut moments, &mut to);
            let (mut of_weight, mut of_bias) = (vec![0.0; weights], vec![0.0; weights]);
            norm.back(kit, &x, &weight, &moments, &mut back, [&mut of_weight, &mut of_bias]);
            found.iter_mut().zip([to, back, of_weight, of_bias]).for_each(|(all, found)| all.push(found));
        }
        for (n, expected) in [out, by_x, by_weight, by_bias].iter().enumerate() {
            agree(&format!("{width}, {pixels}: result {n}"), &found[n], expected);
        }
    }
}

#[test]
fn softmax_and_its_logarithm_are_exponentials_over_their_sum() {
    let mut draws = Draws(9);
    for [rows, count, step] in [[3, 5, 1], [2, 4, 6], [1, 1, 3], [4, 33, 2]] {
        for log in [false, true] {
            let softmax = Softmax { count, step, log };
            let scale = |values: Vec<f32>| values.into_iter().map(|value| 9.0 * value).collect::<Vec<f32>>();
            let (x, slope) = (scale(draws.values(rows * count * step)), draws.values(rows * count * step));
            let (mut out, mut back) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            for line in 0..rows * step {
                let places = || (0..count).map(|n| line / step * count * step + n * step + line % step);
                let all: f64 = places().map(|at| f64::from(x[at]).exp()).sum();
                let share = |at: usize| f64::from(x[at]).exp() / all;
                let weighted: f64 =
                    places().map(|at| f64::from(slope[at]) * if log { 1.0 } else { share(at) }).sum();
                for at in places() {
                    let slope = f64::from(slope[at]);
                    out[at] = if log { share(at).ln() } else { share(at) };
                    back[at] =
                        if log { slope - share(at) * weighted } else { share(at) * (slope - weighted) };
                }
            }
            let mut found = [(); 2].map(|()| Vec::new());
            for kit in kits() {
                let (mut to, mut gradient) = (x.clone(), slope.clone());
                softmax.apply(kit, &mut to);
                softmax.back(kit, &to, &mut gradient);
                found.iter_mut().zip([to, gradient]).for_each(|(all, found)| all.push(found));
            }
            agree(&format!("{rows}, {count}, {step}: log {log}"), &found[0], &out);
            agree(&format!("{rows}, {count}, {step}: log {log}, back"), &found[1], &back);
        }
    }
}
