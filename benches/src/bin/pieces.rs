//! Measures the pieces of aggregation over few elements that stay in the cache: the cost of the arithmetic
//! without memory and threads. Bytes and sums take one leaf of one update (256 KiB). Rules over all updates
//! take 2,048 elements of each update.
//!
//! `cargo run --release -p fl-benches --bin pieces -- [--quick] [--updates N] [--json]`

use std::{hint::black_box, process::ExitCode, sync::Arc};

use argh::FromArgs;
use fl_benches::{
    Failure,
    report::Report,
    rules,
    shape::Shape,
    timing::{Timing, timed},
    updates::{Updates, weight},
};
use fl_engine::{
    Digest, Weight,
    aggregate::{
        ColumnRule, Combiner, ExactMean, MOST_AT_ONCE, Measure, Median, NearMedian, PayloadChecker, Scratch,
        TrimmedMean, WeightedMedian,
    },
    limits::LEAF_BYTES,
    plan::{Rule, Scope},
    tensor::Layout,
};

/// Measures the pieces.
#[derive(FromArgs)]
struct Arguments {
    /// updates for the rules that need all updates (32)
    #[argh(option, default = "32")]
    updates: usize,
    /// few repetitions: shows that it runs
    #[argh(switch)]
    quick: bool,
    /// one JSON object a line
    #[argh(switch)]
    json: bool,
}

/// One leaf of a model, and updates of that leaf.
struct Bench {
    layout: Arc<Layout>,
    updates: Vec<Vec<u8>>,
    repetitions: usize,
    /// Runs of a piece in one repetition.
    runs: usize,
}

fn main() -> ExitCode {
    fl_benches::ended(run(&argh::from_env()))
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let layout = Shape::One.layout(LEAF_BYTES / 4);
    let source = Updates::new(Arc::clone(&layout));
    let updates = (0..arguments.updates.max(4)).map(|n| source.bytes(n)).collect();
    let (repetitions, runs) = if arguments.quick { (3, 2) } else { (21, 20) };
    let bench = Bench { layout, updates, repetitions, runs };
    let mut report =
        Report::new("pieces", LEAF_BYTES, arguments.json, "one leaf of 256 KiB, times an update");
    bench.bytes(&mut report)?;
    bench.sums(&report);
    bench.rules(arguments)
}

impl Bench {
    /// Times one run of `piece`.
    fn time(&self, mut piece: impl FnMut()) -> Timing {
        Timing::of(self.repetitions, || timed(|| (0..self.runs).for_each(|_| piece()))).per(self.runs)
    }

    fn bytes(&self, report: &mut Report) -> Result<(), Failure> {
        let update = self.updates[0].as_slice();
        let mut copy = update.to_vec();
        report.limit("memcpy", self.time(|| black_box(&mut copy).copy_from_slice(black_box(update))));
        report.limit("SHA-256", self.time(|| _ = black_box(Digest::of(black_box(update)))));
        let range = rules::range(&Rule::WeightedMean);
        let check = || PayloadChecker::new(Arc::clone(&self.layout), range).update(black_box(update));
        check()?;
        report.row("check", self.time(|| _ = black_box(check())));
        Ok(())
    }

    fn sums(&self, report: &Report) {
        let range = rules::range(&Rule::WeightedMean);
        let mut mean = ExactMean::new(Arc::clone(&self.layout), range, 1);
        let mut shard = mean.take_shards().remove(0);
        let updates: Vec<(&[u8], u32)> = self
            .updates
            .iter()
            .zip(0..MOST_AT_ONCE)
            .map(|(update, n)| (update.as_slice(), weight(n).value()))
            .collect();
        for at_once in [1, 2, updates.len()] {
            let batch = &updates[..at_once];
            let time = self.time(|| {
                shard.reserve(at_once as u32);
                shard.absorb_all(0, black_box(batch));
            });
            report.row(&format!("exact sum: absorb, {at_once} at once"), time.per(at_once));
        }
        shard.clear();
        shard.reserve(updates.len() as u32);
        shard.absorb_all(0, &updates);
        let total = updates.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut out = Vec::new();
        let mean = self.time(|| {
            out.clear();
            shard.finalise(&self.layout, black_box(total), updates[0].0, &mut out);
        });
        report.row("exact sum: mean (once a round)", mean);
    }

    /// Times the rules that need all updates, over a run of elements of each update.
    fn rules(&self, arguments: &Arguments) -> Result<(), Failure> {
        let n = self.updates.len();
        let settings = format!("{RUN} elements of {n} updates, times over all of them");
        let mut report = Report::new("pieces", n * RUN * 4, arguments.json, &settings);
        let inputs: Vec<&[u8]> = self.updates.iter().map(|update| &update[..RUN * 4]).collect();
        let weights: Vec<Weight> = (0..n).map(weight).collect();
        let (mut scratch, mut out) = (Scratch::new(), vec![0; RUN * 4]);
        let copy = self.time(|| black_box(&inputs).iter().for_each(|input| out.copy_from_slice(input)));
        report.limit("memcpy", copy);
        let exact = rules::range(&Rule::Median);
        let columns: [(&str, Arc<dyn ColumnRule>); 4] = [
            ("median", Arc::new(Median)),
            ("weighted median", Arc::new(WeightedMedian)),
            ("trimmed mean, a fifth cut at each end", Arc::new(TrimmedMean { trim: 0.2 })),
            ("Bulyan's mean around the median, of half", Arc::new(NearMedian { keep: n / 2 })),
        ];
        for (name, rule) in columns {
            let combiner = Combiner::columns(Arc::clone(&self.layout), exact, &rule, &weights)?;
            let mut run = || combiner.run(0, black_box(&inputs), inputs[0], &mut out, &mut scratch);
            run()?;
            report.row(name, self.time(|| _ = black_box(run())));
        }
        let measure = Measure::new(&self.layout, Scope::Model, n);
        let products = self.time(|| {
            let mut partial = measure.partial(0);
            partial.accumulate(0, black_box(&inputs), inputs[0], &mut scratch);
            black_box(partial);
        });
        report.row("dot products of all pairs", products);
        Ok(())
    }
}

/// Elements of a run: 256 KiB of 32 updates.
const RUN: usize = 2048;
