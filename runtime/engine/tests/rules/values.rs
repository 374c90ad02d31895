//! Every rule and every server step against `values.txt`.

use fl_engine::{
    aggregate::{ServerStep, StateRuns},
    plan::{Rule, Scope, Server},
    tensor::{Combine, Layout, TensorSpec},
};

use super::{EXACT, answer, bytes, layout, numbers};

const VALUES: &str = include_str!("values.txt");
/// What `weighted_mean` flushes to zero: far below one unit of its grid for mean weights of one and more.
const GRID: f64 = 1.0 / (1u64 << 58) as f64;

/// A case's name and its lines: a key and f32 values each.
type Section = (String, Vec<Line>);
type Line = (String, Vec<f32>);

/// Lines from one `case` or `server` line to the next.
fn sections(kind: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for line in VALUES.lines() {
        if line.starts_with("case ") || line.starts_with("server ") {
            sections.push((line.to_owned(), Vec::new()));
            continue;
        }
        // The key's words are never eight hexadecimal digits.
        let is_word = |word: &&str| word.len() == 8 && u32::from_str_radix(word, 16).is_ok();
        let key: Vec<&str> = line.split(' ').take_while(|word| !is_word(word)).collect();
        let values = line.split(' ').filter(is_word);
        let values = values.map(|word| f32::from_bits(u32::from_str_radix(word, 16).unwrap())).collect();
        sections.last_mut().unwrap().1.push((key.join(" ").trim().to_owned(), values));
    }
    let named = |(name, lines): Section| Some((name.strip_prefix(kind)?.trim().to_owned(), lines));
    sections.into_iter().filter_map(named).collect()
}

fn rule(key: &str) -> Rule {
    let words: Vec<&str> = key.split(' ').collect();
    let number = |i: usize| words[i].parse::<f64>().unwrap();
    let geometric = |scope| Rule::GeometricMedian { iterations: 20, smoothing: 1e-5, scope };
    match words[0] {
        "weighted_mean" => Rule::WeightedMean,
        "mean" => Rule::Mean,
        "clipped_mean" => Rule::ClippedMean { norm: number(1) },
        "median" => Rule::Median,
        "weighted_median" => Rule::WeightedMedian,
        "trimmed_mean" => Rule::TrimmedMean { trim: number(1) },
        "krum" => Rule::Krum { byzantine: number(1) as u32 },
        "multi_krum" => {
            let keep = Some(number(2) as u32).filter(|keep| *keep > 0);
            Rule::MultiKrum { byzantine: number(1) as u32, keep }
        }
        "bulyan" => Rule::Bulyan { byzantine: number(1) as u32 },
        "geometric_median" if words[1] == "tensor" => geometric(Scope::Tensor),
        "geometric_median" => geometric(Scope::Model),
        other => panic!("{other}"),
    }
}

/// Whether two floats are equal or neighbours; zeros are one.
fn one_ulp(a: f32, b: f32) -> bool {
    let place = |v: f32| if v < 0.0 { -i64::from((-v).to_bits()) } else { i64::from((v + 0.0).to_bits()) };
    (place(a) - place(b)).abs() <= 1
}

#[test]
fn every_rule_gives_the_references_answer() {
    let mut seen = 0;
    for (name, lines) in sections("case") {
        let base = &lines[0].1;
        let updates: Vec<(Vec<f32>, u32)> = lines
            .iter()
            .filter_map(|(key, v)| Some((v.clone(), key.strip_prefix("update ")?.parse().unwrap())))
            .collect();
        assert_eq!(updates.len().to_string(), name);
        let total: f64 = updates.iter().map(|(_, w)| f64::from(*w)).sum();
        for (key, expected) in &lines[1 + updates.len()..] {
            let given = answer(&rule(key), &updates, base);
            seen += 1;
            for (i, (given, expected)) in given.iter().zip(expected).enumerate() {
                let apart = (f64::from(*given) - f64::from(*expected)).abs();
                let held_out = (10..14).contains(&i);
                // An update's share is cut to a multiple of 2^-10 / its weight.
                let cut: f64 = updates.iter().map(|(x, _)| f64::from((x[i] - base[i]).abs())).sum::<f64>();
                let near = match key.split(' ').next() {
                    _ if held_out => given.to_bits() == base[i].to_bits(),
                    Some("median" | "weighted_median" | "krum") => given == expected,
                    Some("clipped_mean") => one_ulp(*given, *expected) || apart <= cut / 1024.0 / total,
                    // The reference works on the points, the rule on their products.
                    Some("geometric_median") => apart <= 2e-7 * f64::from(expected.abs().max(1.0)),
                    _ => one_ulp(*given, *expected) || apart <= GRID,
                };
                assert!(near, "{name} updates, {key}, element {i}: {given:e}, not {expected:e}");
                assert!(held_out || given.to_bits() != (-0.0f32).to_bits(), "{name} updates, {key}: -0");
            }
        }
    }
    assert!(seen > 100, "{seen} answers");
}

fn server_layout() -> std::sync::Arc<Layout> {
    let keep = TensorSpec { combine: Combine::Keep, ..TensorSpec::f32("keep", [4]) };
    let tensors = vec![
        TensorSpec::f32("fc.weight", [8]),
        TensorSpec::f32("norm.running_mean", [3]),
        keep,
        TensorSpec::f32("optimiser.train.momentum.fc.weight", [4]),
        TensorSpec::f32("fc.bias", [5]),
    ];
    Layout::new(tensors).unwrap()
}

fn server(name: &str) -> Server {
    let (learning_rate, beta1, beta2, tau) = (0.05, 0.9, 0.95, 1e-2);
    match name {
        "fedavgm" => Server::FedAvgM { learning_rate: 0.9, momentum: 0.8 },
        "fedadagrad" => Server::FedAdagrad { learning_rate, beta1, tau },
        "fedadam" => Server::FedAdam { learning_rate, beta1, beta2, tau },
        "fedyogi" => Server::FedYogi { learning_rate, beta1, beta2, tau },
        "smoothing" => Server::Smoothing { keep: 0.7 },
        other => panic!("{other}"),
    }
}

#[test]
fn every_server_step_gives_the_references_rounds() {
    assert_eq!(layout().f32_len(), server_layout().f32_len());
    let all = sections("server");
    assert_eq!(all.len(), 5);
    for (name, lines) in all {
        // Whole, and in runs that cut tensors and begin inside and outside of what is stepped.
        for cuts in [vec![0, 24], vec![0, 1, 5, 9, 12, 16, 17, 20, 24]] {
            let step = ServerStep::new(server(&name), server_layout(), EXACT).unwrap();
            let mut base = bytes(&lines[0].1);
            let mut state = Vec::new();
            step.initial_state().iter().for_each(|s| s.write_bytes(&mut state));
            let mut rounds = 0;
            for round in lines[1..].chunks(3) {
                let mut next = bytes(&round[0].1);
                let mut new = vec![0xff; state.len()];
                for cut in cuts.windows(2) {
                    let model = cut[0] * 4..cut[1] * 4;
                    let StateRuns { first, second } = step.state_runs(cut[0]..cut[1]);
                    let (first, second) = (first.start * 4..first.end * 4, second.start * 4..second.end * 4);
                    let (mut m, mut v) = (new[first.clone()].to_vec(), new[second.clone()].to_vec());
                    let old = [&state[first.clone()], &state[second.clone()]];
                    let run = [m.as_mut_slice(), v.as_mut_slice()];
                    step.run(cut[0], &base[model.clone()], &mut next[model], old, run).unwrap();
                    new[first].copy_from_slice(&m);
                    new[second].copy_from_slice(&v);
                }
                for (given, expected) in [(numbers(&next), &round[1].1), (numbers(&new), &round[2].1)] {
                    assert_eq!(given.len(), expected.len(), "{name}");
                    let near = given.iter().zip(expected).all(|(a, b)| one_ulp(*a, *b));
                    assert!(near, "{name}, round {rounds}: {given:?}, not {expected:?}");
                }
                // From the reference's round on, so that one ulp does not become two.
                (base, state) = (bytes(&round[1].1), bytes(&round[2].1));
                rounds += 1;
            }
            assert_eq!(rounds, 3);
        }
    }
}

#[test]
fn state_is_named_after_the_tensors_that_are_stepped() {
    let names = |name: &str| -> Vec<String> {
        let step = ServerStep::new(server(name), server_layout(), EXACT).unwrap();
        step.state_layout().iter().flat_map(|l| l.tensors().iter().map(|t| t.name.clone())).collect()
    };
    assert_eq!(names("smoothing"), [""; 0]);
    assert_eq!(names("fedavgm"), ["server.m.fc.weight", "server.m.fc.bias"]);
    let both = ["server.m.fc.weight", "server.m.fc.bias", "server.v.fc.weight", "server.v.fc.bias"];
    assert_eq!(names("fedyogi"), both);
}
