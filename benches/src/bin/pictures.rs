//! Measures what a site does with each of its pictures before it trains: read the JPEG file, decode the file,
//! and resize the picture as Pillow does. The pictures have the size of Kvasir's.
//!
//! `cargo run --release -p fl-benches --bin pictures -- [--pictures N] [--repetitions N] [--json]`

use std::{hint::black_box, process::ExitCode};

use argh::FromArgs;
use fl_benches::{
    Failure,
    report::Report,
    timing::{Timing, timed},
};
use fl_engine::plan::{DataSpec, Fit, Loader, PictureLabel, PictureSpec, Split, Standardise};
use fl_host_tools::synthesise::{Synthesis, write};

/// Measures how fast pictures are read.
#[derive(FromArgs)]
struct Arguments {
    /// pictures that one repetition reads (24)
    #[argh(option, default = "24")]
    pictures: u32,
    /// repetitions (9)
    #[argh(option, default = "9")]
    repetitions: usize,
    /// one JSON object a line
    #[argh(switch)]
    json: bool,
}

fn main() -> ExitCode {
    fl_benches::ended(run(&argh::from_env()))
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let dir = std::env::temp_dir().join(format!("fl-pictures-{}", std::process::id()));
    let synthesis = Synthesis { pictures: arguments.pictures, width: WIDTH, height: HEIGHT, seed: 7 };
    let mut table = "image,label\n".to_owned();
    for pair in synthesis.pairs().map_err(|failure| failure.error)? {
        let pair = pair.map_err(|failure| failure.error)?;
        write(&dir, &pair).map_err(|failure| failure.error)?;
        table += &format!("{},0\n", pair.name);
    }
    std::fs::write(dir.join("labels.csv"), table)?;

    let bytes = usize::from(WIDTH) * usize::from(HEIGHT) * 3;
    let settings = format!("{WIDTH} × {HEIGHT} pixels in colour, times a picture");
    let mut report = Report::new("pictures", bytes, arguments.json, &settings);
    let pixels = vec![7u8; bytes];
    let mut copy = pixels.clone();
    let copied = Timing::of(arguments.repetitions, || {
        timed(|| (0..16).for_each(|_| black_box(&mut copy).copy_from_slice(black_box(&pixels))))
    });
    report.limit("memcpy", copied.per(16));
    for (row, fit, side) in [("decode", Fit::Crop, 332), ("decode and resize to 332 × 332", Fit::Resize, 332)]
    {
        let spec = data(fit);
        let read = || fl_learn::data::read(black_box(&spec), &[3, side, side], &[], &dir);
        read()?;
        let time = Timing::of(arguments.repetitions, || timed(|| _ = black_box(read())));
        report.row(row, time.per(arguments.pictures as usize));
    }
    Ok(std::fs::remove_dir_all(&dir)?)
}

/// A label for each picture in a table, and Kvasir's statistics.
fn data(fit: Fit) -> DataSpec {
    let [file, name, label] = ["labels.csv", "image", "label"].map(str::to_owned);
    let label = PictureLabel::Table { file, name, label };
    let spec =
        PictureSpec { folder: Some("segmented-images/images".to_owned()), fit, ..PictureSpec::new(label) };
    DataSpec {
        loader: Loader::Pictures(spec),
        standardise: Some(Standardise::new(&[0.5], &[0.5])),
        split: Split { train: 1.0, validation: 0.0, test: 0.0 },
        classes: None,
        federated: None,
    }
}

/// The size of many pictures of Kvasir.
const WIDTH: u16 = 620;
const HEIGHT: u16 = 530;
