//! The pieces of aggregation, each over one leaf (65,536 f32 elements, 256 KiB an update) that stays in the cache: what the
//! arithmetic costs without the memory and the threads around it.
//!
//! `cargo run --release -p fl-benches --bin pieces -- [--quick] [--updates N] [--json]`

use std::{hint::black_box, process::ExitCode, sync::Arc};

use argh::FromArgs;
use fl_benches::{
    front::Failure,
    report::Report,
    rules,
    shape::Shape,
    timing::{Timing, timed},
    updates::{Updates, weight},
};
use fl_engine::{
    Digest,
    aggregate::{ExactMean, PayloadChecker},
    limits::LEAF_BYTES,
    plan::Rule,
    tensor::Layout,
};

/// Measures the pieces.
#[derive(FromArgs)]
struct Arguments {
    /// updates that the rules take which need all of them (32)
    #[argh(option, default = "32")]
    updates: usize,
    /// few repetitions: shows that it runs
    #[argh(switch)]
    quick: bool,
    /// one JSON object a line
    #[argh(switch)]
    json: bool,
}

/// One leaf of a model, and updates of it.
struct Bench {
    layout: Arc<Layout>,
    updates: Vec<Vec<u8>>,
    repetitions: usize,
    /// Runs of a piece in one repetition.
    runs: usize,
}

fn main() -> ExitCode {
    match run(&argh::from_env()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
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
    Ok(())
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
        let weights = [0, 1, 2, 3].map(weight);
        let four = [0, 1, 2, 3].map(|n| self.updates[n].as_slice());
        let one = self.time(|| {
            shard.reserve(1);
            shard.absorb(0, black_box(four[0]), weights[0]);
        });
        report.row("exact sum: absorb one", one);
        let all = self.time(|| {
            shard.reserve(4);
            shard.absorb_four(0, black_box(four), weights);
        });
        report.row("exact sum: absorb four at once", all.per(4));
        shard.clear();
        shard.reserve(4);
        shard.absorb_four(0, four, weights);
        let total = weights.iter().map(|weight| u64::from(weight.value())).sum();
        let mut out = Vec::new();
        let mean = self.time(|| {
            out.clear();
            shard.finalise(&self.layout, black_box(total), four[0], &mut out);
        });
        report.row("exact sum: mean (once a round)", mean);
    }
}
