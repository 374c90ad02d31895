//! Measures each encoding and decoding that a model passes through between two machines: payload form, model
//! file, digest over a tree of chunks, check, spill file; and the envelopes of the control stream. Each is
//! set against a copy of the same bytes in the same run.
//!
//! `cargo run --release -p fl-benches --bin codec -- [--quick] [--params N] [--layout one|sixty|unet]
//! [--json]`

use std::{convert::Infallible, hint::black_box, process::ExitCode, sync::Arc};

use argh::FromArgs;
use fl_benches::{
    Failure,
    report::Report,
    rules,
    shape::Shape,
    timing::{Timing, Took, timed},
    updates::{Updates, weight},
};
use fl_engine::{
    ByteCount, Digest, RoundNo,
    aggregate::PayloadChecker,
    model::safetensors::{self, Texts},
    plan::{Metric, Rule},
    round::{Offer, Report as Metrics, Stamp},
    tensor::{Layout, ModelState, leaves_of, root_of},
    wire::{self, Message},
};
use fl_runtime::internal::{
    memory::{SlotStore, StagedSlot},
    payload::Payload,
};

/// Measures encoding and decoding.
#[derive(FromArgs)]
struct Arguments {
    /// parameters of the model (10 million); the U-Net has its own
    #[argh(option)]
    params: Option<usize>,
    /// one, sixty or unet: how the model is cut into tensors (sixty)
    #[argh(option, default = "Shape::Sixty")]
    layout: Shape,
    /// repetitions of each figure (11)
    #[argh(option)]
    repetitions: Option<usize>,
    /// a small model, in seconds: shows that it runs
    #[argh(switch)]
    quick: bool,
    /// one JSON object a line
    #[argh(switch)]
    json: bool,
}

fn main() -> ExitCode {
    fl_benches::ended(run(argh::from_env()))
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { params, layout, repetitions, quick, json } = arguments;
    let layout = layout.layout(params.unwrap_or(if quick { 100_000 } else { 10_000_000 }));
    let repetitions = repetitions.unwrap_or(if quick { 3 } else { 11 }).max(1);
    let settings = format!(
        "{} f32 and {} i64 in {} tensors",
        layout.f32_len(),
        layout.i64_len(),
        layout.tensors().len()
    );
    let update = Updates::new(Arc::clone(&layout)).bytes(0);
    let mut report = Report::new("codec", update.len(), json, &settings);
    limits(&mut report, &update, repetitions);
    payload(&report, &layout, &update, repetitions)?;
    file(&report, &layout, &update, repetitions)?;
    digest(&report, &layout, &update, repetitions);
    check(&report, &layout, &update, repetitions)?;
    spill(&report, &update, repetitions)?;
    envelopes(json, repetitions)
}

fn limits(report: &mut Report, bytes: &[u8], repetitions: usize) {
    let mut copy = bytes.to_vec();
    report.limit(
        "memcpy",
        Timing::of(repetitions, || timed(|| black_box(&mut copy).copy_from_slice(black_box(bytes)))),
    );
    report.limit("SHA-256", Timing::of(repetitions, || timed(|| _ = black_box(Digest::of(bytes)))));
}

/// Times a model's state against the bytes that are sent.
fn payload(report: &Report, layout: &Arc<Layout>, update: &[u8], repetitions: usize) -> Result<(), Failure> {
    let state = ModelState::from_bytes(Arc::clone(layout), update)?;
    let mut out = Vec::with_capacity(update.len());
    let encode = || {
        out.clear();
        timed(|| state.write_bytes(black_box(&mut out)))
    };
    report.row("payload: encode", Timing::of(repetitions, encode));
    let decode = || timed(|| _ = black_box(ModelState::from_bytes(Arc::clone(layout), black_box(update))));
    report.row("payload: decode, fresh memory", Timing::of(repetitions, decode));
    let with_root = || timed(|| drop(black_box(Payload::from_state(&state))));
    report.row("payload: encode and root, fresh memory", Timing::of(repetitions, with_root));
    Ok(())
}

/// Times reading and writing of a safetensors file.
fn file(report: &Report, layout: &Arc<Layout>, update: &[u8], repetitions: usize) -> Result<(), Failure> {
    let texts = Texts::new();
    let mut file = Vec::with_capacity(update.len() + 65_536);
    let write = || {
        file.clear();
        timed(|| {
            let mut put = |piece: &[u8]| {
                file.extend_from_slice(piece);
                Ok::<_, Infallible>(())
            };
            let Ok(()) = safetensors::write_payload(layout, black_box(update), &texts, &mut put);
        })
    };
    report.row("safetensors: write", Timing::of(repetitions, write));
    safetensors::read(&file, layout)?;
    let read = || timed(|| _ = black_box(safetensors::read(black_box(&file), layout)));
    report.row("safetensors: read and check, fresh memory", Timing::of(repetitions, read));
    Ok(())
}

fn digest(report: &Report, layout: &Layout, update: &[u8], repetitions: usize) {
    let root = || timed(|| _ = black_box(root_of(layout.hash(), black_box(update))));
    report.row("chunk tree: root as bytes arrive", Timing::of(repetitions, root));
    let leaves = || timed(|| _ = black_box(leaves_of(black_box(update))));
    report.row("chunk tree: leaves apart", Timing::of(repetitions, leaves));
}

fn check(report: &Report, layout: &Arc<Layout>, update: &[u8], repetitions: usize) -> Result<(), Failure> {
    let pass = || {
        let mut checker = PayloadChecker::new(Arc::clone(layout), rules::range(&Rule::WeightedMean));
        update.chunks(PIECE).try_for_each(|piece| checker.update(black_box(piece)))?;
        checker.finish()
    };
    pass()?;
    report.row("check of an arriving update", Timing::of(repetitions, || timed(|| _ = black_box(pass()))));
    Ok(())
}

/// An update in an encrypted file: the disk is the machine's temporary folder.
fn spill(report: &Report, update: &[u8], repetitions: usize) -> Result<(), Failure> {
    let folder = std::env::temp_dir().join(format!("fl-bench-codec-{}", std::process::id()));
    let len = update.len() as u64;
    let store = SlotStore::new(
        &fl_runtime::internal::system::System::real(),
        ByteCount(0),
        ByteCount(len + len / 1024 + 4096),
        folder.clone(),
        len,
    )?;
    let seal = || -> Result<StagedSlot, Failure> {
        let mut writer = store.try_reserve()?.ok_or("a slot that is still taken")?;
        update.chunks(PIECE).try_for_each(|piece| writer.write(piece))?;
        Ok(writer.finish()?)
    };
    let mut scratch = Vec::new();
    let mut open = |slot: &StagedSlot| {
        (0..len).step_by(PIECE).try_for_each(|at| {
            slot.read(at..len.min(at + PIECE as u64), &mut scratch).map(|bytes| _ = black_box(bytes))
        })
    };
    open(&seal()?)?;
    // The same call has succeeded just before. The slot is freed outside of the measured time.
    let sealing = || {
        let mut slot = None;
        let took = timed(|| slot = seal().ok());
        drop(slot);
        took
    };
    report.row("spill: seal and write", Timing::of(repetitions, sealing));
    let slot = seal()?;
    report.row("spill: read and open", Timing::of(repetitions, || timed(|| _ = open(&slot))));
    drop(slot);
    let _ = std::fs::remove_dir_all(folder);
    Ok(())
}

/// Times the messages that a round sends most often.
fn envelopes(json: bool, repetitions: usize) -> Result<(), Failure> {
    const MESSAGES: usize = 10_000;
    let stamp = Stamp { incarnation: 7, round: RoundNo(3), base: Digest::of(b"base") };
    let offer = Offer {
        stamp,
        task: "train".parse()?,
        weight: weight(0),
        bytes: ByteCount(124_221_404),
        root: Digest::of(b"root"),
    };
    let metrics = Metrics {
        stamp,
        task: "locally_tuned_model_validation".parse()?,
        samples: 438,
        metrics: vec![(Metric::Accuracy, 0.93), (Metric::Loss, 0.21), (Metric::Auc, 0.97)],
    };
    for (name, message) in [("offer", Message::Offer(offer)), ("report", Message::Report(metrics))] {
        let encoded = wire::encode(&message);
        wire::decode(&encoded)?;
        let many = |work: &dyn Fn()| -> Took { timed(|| (0..MESSAGES).for_each(|_| work())) };
        let settings = format!("{MESSAGES} envelopes with an {name} of {} bytes", encoded.len());
        let mut report = Report::new("envelopes", MESSAGES * encoded.len(), json, &settings);
        let mut copy = vec![0; encoded.len() * MESSAGES];
        let all = encoded.repeat(MESSAGES);
        report.limit(
            "memcpy",
            Timing::of(repetitions, || timed(|| black_box(&mut copy).copy_from_slice(black_box(&all)))),
        );
        let encode = || many(&|| _ = black_box(wire::encode(black_box(&message))));
        report.row(&format!("{name}: encode"), Timing::of(repetitions, encode));
        let decode = || many(&|| _ = black_box(wire::decode(black_box(&encoded))));
        report.row(&format!("{name}: decode"), Timing::of(repetitions, decode));
    }
    Ok(())
}

/// About the bytes that a stream delivers at once: whole leaves, as the sum reads them.
const PIECE: usize = 256 * 1024;
