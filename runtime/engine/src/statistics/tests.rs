use num_bigint::BigInt;

use super::*;
use crate::{
    Draws,
    model::{Layer, ModelSpec},
    plan::{DataSpec, Federated, Loader, Plan, Split},
};

/// A plan of `features` columns with a least count of 3.
fn plan(features: u32) -> Plan {
    let data = DataSpec {
        loader: Loader::Custom { name: "none".to_owned() },
        standardise: None,
        split: Split { train: 0.8, validation: 0.2, test: 0.0 },
        classes: Some(2),
        federated: Some(Federated { least: 3 }),
    };
    let layers = vec![Layer::Linear { name: "fc".to_owned(), out: 2, bias: true }];
    let mut plan = PlanDraft::trial("a", ModelSpec::chain(vec![features], layers), data).unwrap();
    plan.row_limit = Some(1000);
    plan.check().unwrap()
}

/// What one site sends that has these values of its columns.
fn site(columns: &[&[f64]]) -> Vec<ColumnSums> {
    let mut sums = SiteSums::new(&[columns.len() as u32]);
    for (at, values) in columns.iter().enumerate() {
        values.iter().for_each(|value| assert!(sums.add(at, *value), "{value}"));
    }
    sums.to_send(3)
}

fn pooled(sites: &[Vec<ColumnSums>]) -> Result<Standardise, NoStatistics> {
    let plan = plan(sites[0].len() as u32);
    let mut pool = Pool::new(&plan).unwrap();
    sites.iter().for_each(|site| pool.add(site).unwrap());
    pool.statistics(&plan)
}

/// Sum and sum of squares in units of 2^-160 and 2^-320, by integers of any size.
fn exact(values: &[f64]) -> (BigInt, BigInt) {
    let whole = |value: &f64| {
        let bits = value.abs().to_bits();
        let (exponent, fraction) = ((bits >> 52) as i64, bits & ((1 << 52) - 1));
        let at = exponent - 1075 + 160;
        let whole = BigInt::from(fraction | 1 << 52);
        let whole = if at < 0 { whole >> -at } else { whole << at };
        if *value < 0.0 {
            -whole
        } else if *value == 0.0 {
            BigInt::ZERO
        } else {
            whole
        }
    };
    let all: Vec<BigInt> = values.iter().map(whole).collect();
    (all.iter().sum(), all.iter().map(|value| value * value).sum())
}

/// The number over `2^bits`, as f64.
fn ratio(above: &BigInt, below: u64, bits: i32) -> f64 {
    let scaled: BigInt = (above << 128) / below;
    scaled.to_string().parse::<f64>().unwrap() * 2f64.powi(-bits - 128)
}

/// Columns that f64 sums of squares get wrong, or that are hard for other reasons.
fn hard(draws: &mut Draws, rows: usize) -> Vec<Vec<f64>> {
    let mut unit = || draws.unit() - 0.5;
    let mut column = |of: &dyn Fn(f64) -> f64| (0..rows).map(|_| of(unit())).collect::<Vec<f64>>();
    vec![
        column(&|u| 1_600_000_000.0 + u * 12f64.sqrt()),
        column(&|u| u),
        column(&|u| u * 1e30),
        column(&|u| u * 1e-30),
        column(&|u| -1e15 + (8.0 * u).round()),
        column(&|u| if u > 0.4 { 1e12 } else { u }),
    ]
}

#[test]
fn pooled_rows_give_the_same_bits_however_they_are_spread_and_in_whatever_order() {
    let mut draws = Draws::new(7);
    let rows = 300;
    let columns = hard(&mut draws, rows);
    let whole: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
    let expected = pooled(&[site(&whole)]).unwrap();
    for round in 0..30 {
        let mut order: Vec<usize> = (0..rows).collect();
        draws.shuffle(&mut order);
        let count = 1 + round % 12;
        // Each site has three rows or more.
        let mut cuts: Vec<usize> = (1..count).map(|_| 3 * (1 + draws.below(98) as usize)).collect();
        cuts.extend([0, rows]);
        cuts.sort_unstable();
        cuts.dedup();
        let mut sites: Vec<Vec<ColumnSums>> = cuts
            .windows(2)
            .map(|cut| {
                let part = |column: &Vec<f64>| -> Vec<f64> {
                    order[cut[0]..cut[1]].iter().map(|&row| column[row]).collect()
                };
                let parts: Vec<Vec<f64>> = columns.iter().map(part).collect();
                site(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>())
            })
            .collect();
        draws.shuffle(&mut sites);
        assert_eq!(pooled(&sites).unwrap(), expected, "{cuts:?}");
    }
}

#[test]
fn moments_are_those_of_integers_of_any_size() {
    let mut draws = Draws::new(11);
    for values in hard(&mut draws, 500) {
        let count = values.len() as u64;
        let (sum, squares) = exact(&values);
        let spread: BigInt = &squares * count - &sum * &sum;
        let mean = ratio(&sum, count, 160);
        let deviation = ratio(&spread, count * count, 320).sqrt();
        let mut column = ColumnSums::default();
        values.iter().for_each(|value| assert!(column.add(*value)));
        let mut pool = ColumnSums::default();
        pool.merge(&column.trimmed());
        let (found, width) = pool.moments();
        let near = |a: f64, b: f64| (a - b).abs() <= 4.0 * f64::EPSILON * b.abs();
        assert!(near(found, mean) && near(width, deviation), "{found} {mean}, {width} {deviation}");
    }
    let found = pooled(&[site(&[&[1_600_000_000.0, 1_600_000_001.0, 1_600_000_002.0]])]).unwrap();
    assert_eq!((found.mean_of(0), found.std_of(0)), (1_600_000_001.0, f64::from((2f64 / 3.0).sqrt() as f32)));
}

#[test]
fn values_at_the_ends_of_the_range_are_added_or_refused() {
    let mut sums = SiteSums::new(&[1]);
    let largest = f64::from_bits(LARGEST.to_bits() - 1);
    for value in [largest, -largest, f64::MIN_POSITIVE, 5e-324, 0.0, -0.0] {
        assert!(sums.add(0, value), "{value}");
    }
    for value in [LARGEST, -LARGEST, f64::INFINITY, f64::NAN, f64::MAX] {
        assert!(!sums.add(0, value), "{value}");
    }
    let plan = plan(1);
    let mut pool = Pool::new(&plan).unwrap();
    pool.add(&sums.to_send(3)).unwrap();
    let found = pool.statistics(&plan).unwrap();
    assert!(found.mean_of(0) == 0.0 && found.std_of(0) < LARGEST && found.std_of(0) > 1e35);
}

#[test]
fn column_below_the_least_count_is_not_sent_and_named_when_nobody_has_enough() {
    let few = site(&[&[1.0, 2.0], &[1.0, 2.0, 4.0]]);
    assert_eq!((few[0].count(), few[1].count()), (0, 3));
    let none = pooled(&[few.clone(), few.clone()]).unwrap_err();
    assert_eq!(none, NoStatistics { column: 0, why: ColumnFault::Few { least: 3 } });
    let enough = site(&[&[1.0, 2.0, 6.0], &[4.0, 4.0, 4.0]]);
    let found = pooled(&[few, enough.clone()]).unwrap();
    assert_eq!((found.mean_of(0), found.mean_of(1) as f32), (3.0, (19.0 / 6.0) as f32));
    let constant = pooled(&[enough]).unwrap_err();
    assert_eq!(constant, NoStatistics { column: 1, why: ColumnFault::Constant });
}

#[test]
fn hostile_sums_are_refused_and_add_nothing() {
    let plan = plan(1);
    let mut pool = Pool::new(&plan).unwrap();
    let good = site(&[&[1.0, 2.0, 3.0]]);
    let of = |count: u64, sum: &[i64], squares: &[i64]| -> Vec<ColumnSums> {
        let bytes = postcard::to_stdvec(&(count, sum, squares)).unwrap();
        vec![postcard::from_bytes(&bytes).unwrap()]
    };
    let columns = |given| SumsFault::Columns { given, expected: 1 };
    let impossible = SumsFault::Impossible { column: 0 };
    let one = 1i64 << 32;
    for (sent, fault) in [
        (Vec::new(), columns(0)),
        ([good.clone(), good.clone()].concat(), columns(2)),
        (of(2, &[1], &[1]), SumsFault::Few { column: 0, count: 2, least: 3 }),
        (of(1001, &[1], &[1]), SumsFault::Many { column: 0, count: 1001, most: 1000 }),
        (of(u64::MAX, &[1], &[1]), SumsFault::Many { column: 0, count: u64::MAX, most: 1000 }),
        // No rows, and sums of them.
        (of(0, &[1], &[]), impossible),
        // A negative variance, and a negative sum of squares.
        (of(3, &[9], &[1]), impossible),
        (of(3, &[], &[-1]), impossible),
        // Digits out of their range, and too many.
        (of(3, &[one], &[0, 0, 0, 1]), impossible),
        (of(3, &[0], &[0, 0, -one]), impossible),
        (of(3, &[i64::MIN], &[i64::MAX; 21]), impossible),
        (of(3, &[0; 13], &[0; 21]), impossible),
        (of(3, &[0; 12], &[0; 22]), impossible),
        // Larger than any values.
        (of(3, &[0], &[u32::MAX.into(); 21]), impossible),
        (of(3, &[u32::MAX.into(); 12], &[u32::MAX.into(); 21]), impossible),
    ] {
        assert_eq!(pool.add(&sent), Err(fault), "{sent:?}");
    }
    pool.add(&good).unwrap();
    assert_eq!(pool.statistics(&plan).unwrap().mean_of(0), 2.0);
}

#[test]
fn picture_has_one_mean_for_all_its_values_and_a_flat_sample_one_for_each() {
    assert_eq!(columns_of(&[30]), (30, 1));
    assert_eq!(columns_of(&[1, 30]), (30, 1));
    assert_eq!(columns_of(&[1]), (1, 1));
    assert_eq!(columns_of(&[1, 8, 8]), (1, 64));
    let mut sums = SiteSums::new(&[2, 2]);
    (0..12).for_each(|at| assert!(sums.add(at % 4, at as f64)));
    assert_eq!((sums.few(3), sums.few(4)), (vec![], vec![0]));
    assert_eq!(sums.to_send(3)[0].count(), 12);
}
