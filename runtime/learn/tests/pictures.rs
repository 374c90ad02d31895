//! Plays every row of the manual's chapter on pictures: read as the row says, or refused with its words.
#![cfg(feature = "tables")]
#![allow(clippy::unwrap_used, reason = "a test's failure is its panic")]

#[path = "chapter/tables.rs"]
mod tables;

use std::{
    fs,
    io::Write as _,
    os::unix::{ffi::OsStrExt as _, fs::symlink},
    path::{Path, PathBuf},
};

use fl_engine::plan::Plan;
use fl_learn::data::{self, Loaded};

use self::tables::rows;

/// A cell without the backticks of code.
fn bare(cell: &str) -> String {
    cell.replace('`', "")
}

fn folder(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("fl-pictures-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// Reads a folder with the plan that has these keys under `data`. Labels have this shape, whatever the plan's
/// loss takes.
fn read(dir: &Path, input: &str, keys: &str, label: &[u32]) -> Result<Loaded, String> {
    let (outputs, loss) = match keys.split_once("classes: ") {
        Some((_, classes)) => (classes[..1].parse().unwrap(), "cross_entropy"),
        None => (1, "mse"),
    };
    // A label that is a mask needs an output for each pixel.
    let layers = if keys.contains("masks") {
        format!("{{conv2d: {{name: c, out: {outputs}, kernel: 1}}}}")
    } else {
        format!("flatten, {{linear: {{name: fc, out: {outputs}}}}}")
    };
    let plan = format!(
        "schema: 1\nfederation: f\nrounds: 1\nmodel: {{input: {input}, layers: [{layers}]}}\n\
         data: {{loader: pictures, {keys}}}\ntasks:\n  train: {{kind: train, epochs: 1, batch: 1, \
         optimiser: {{sgd: {{learning_rate: 0.1}}}}, loss: {loss}}}\n"
    );
    let plan = Plan::parse(&plan).map_err(|refused| refused.message)?;
    let mut loaded = data::read(&plan.data, &plan.model.input, label, dir).map_err(|refused| {
        assert!(refused.hint().is_some(), "{refused} has no hint");
        refused.to_string()
    })?;
    assert!(loaded.data.features.is_empty());
    loaded.data = loaded.data.in_memory().unwrap();
    Ok(loaded)
}

/// The rows of a table that say something else than what was read.
#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    /// Compares what was read with a row's last cell.
    fn compare(&mut self, row: &[String], read: Result<Loaded, String>) {
        let read = read.map(|_| "read".to_owned());
        let expected = row.last().unwrap();
        let same = match (&read, expected.strip_prefix("refused: ")) {
            (Err(words), Some(refused)) => words.contains(refused),
            (Ok(found), None) => found == expected,
            _ => false,
        };
        if !same {
            self.0.push(format!("{}\n  {read:?}", row.join(" | ")));
        }
    }

    fn none(self) {
        assert!(self.0.is_empty(), "{}", self.0.join("\n"));
    }
}

/// What a PNG file of a test says beside its pixels.
#[derive(Default)]
struct Extra {
    palette: Option<Vec<u8>>,
    transparent: Option<Vec<u8>>,
    animated: bool,
}

/// The colours of a PNG file, as its header says them.
#[derive(Clone, Copy)]
enum Kind {
    Grey = 0,
    Rgb = 2,
    Indexed = 3,
    GreyAlpha = 4,
    Rgba = 6,
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let covered = [kind, data].concat();
    let sum = crc(&covered).to_be_bytes();
    [&(data.len() as u32).to_be_bytes()[..], &covered, &sum].concat()
}

/// A PNG file of these rows, which are not filtered.
fn png_with(size: (u32, u32), kind: Kind, depth: u8, raw: &[u8], extra: Extra) -> Vec<u8> {
    let header = [&size.0.to_be_bytes()[..], &size.1.to_be_bytes(), &[depth, kind as u8, 0, 0, 0]].concat();
    let mut rows = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    for row in raw.chunks_exact(raw.len() / size.1 as usize) {
        rows.write_all(&[&[0], row].concat()).unwrap();
    }
    let mut out = [&b"\x89PNG\r\n\x1a\n"[..], &chunk(b"IHDR", &header)].concat();
    out.extend(if extra.animated { chunk(b"acTL", &[0, 0, 0, 1, 0, 0, 0, 0]) } else { Vec::new() });
    out.extend(extra.palette.map(|palette| chunk(b"PLTE", &palette)).unwrap_or_default());
    out.extend(extra.transparent.map(|colour| chunk(b"tRNS", &colour)).unwrap_or_default());
    out.extend(chunk(b"IDAT", &rows.finish().unwrap()));
    out.extend(chunk(b"IEND", b""));
    out
}

/// A PNG file whose values are 0, 1, 2 and so on.
fn png(size: (u32, u32), kind: Kind, depth: u8) -> Vec<u8> {
    let channels = match kind {
        Kind::Grey | Kind::Indexed => 1,
        Kind::GreyAlpha => 2,
        Kind::Rgb => 3,
        Kind::Rgba => 4,
    };
    let bits = size.0 as usize * channels * usize::from(depth);
    let raw: Vec<u8> = (0..bits.div_ceil(8) * size.1 as usize).map(|value| value as u8).collect();
    png_with(size, kind, depth, &raw, Extra::default())
}

/// A picture by the words of the chapter.
fn picture(words: &str) -> Vec<u8> {
    let colour = || png(SIZE, Kind::Rgb, 8);
    let whole = |size| png(size, Kind::Rgb, 8);
    match words {
        "a JPEG in colour" | "a JPEG whose name ends with .png" => JPEG.to_vec(),
        "a progressive JPEG" => include_bytes!("pictures/progressive.jpg").to_vec(),
        "a grey JPEG" => include_bytes!("pictures/grey.jpg").to_vec(),
        "a CMYK JPEG" => include_bytes!("pictures/cmyk.jpg").to_vec(),
        "a JPEG that a viewer shows turned" => include_bytes!("pictures/turned.jpg").to_vec(),
        "a JPEG that is cut short" => JPEG[..JPEG.len() - 20].to_vec(),
        "a JPEG without its last two bytes" => JPEG[..JPEG.len() - 2].to_vec(),
        "a PNG in colour" => colour(),
        "a grey PNG" => png(SIZE, Kind::Grey, 8),
        "a grey PNG of 1 bit" => png(SIZE, Kind::Grey, 1),
        "a grey PNG of 4 bits" => png(SIZE, Kind::Grey, 4),
        "a grey PNG of 16 bits" => png(SIZE, Kind::Grey, 16),
        "a PNG in colour of 16 bits" => png(SIZE, Kind::Rgb, 16),
        "a PNG with a palette" => indexed(vec![7; 3 * 256]),
        "a PNG with a palette that lacks a colour" => indexed(vec![7; 3 * 5]),
        "a PNG with alpha" => png(SIZE, Kind::Rgba, 8),
        "a grey PNG with alpha" => png(SIZE, Kind::GreyAlpha, 8),
        "a PNG with a transparent colour" => {
            let extra = Extra { transparent: Some(vec![0, 1, 0, 2, 0, 3]), ..Extra::default() };
            png_with(SIZE, Kind::Rgb, 8, &[9; 72], extra)
        }
        "an animated PNG" => {
            let extra = Extra { animated: true, ..Extra::default() };
            png_with(SIZE, Kind::Rgb, 8, &[9; 72], extra)
        }
        "a PNG that is cut short" => colour()[..60].to_vec(),
        "a PNG with a wrong checksum" => {
            let mut bytes = colour();
            let at = bytes.windows(4).position(|four| four == b"IDAT").unwrap();
            bytes[at + 12] ^= 1;
            bytes
        }
        "a PNG whose header says 100000 × 100000" => {
            let mut bytes = colour();
            bytes[16..24].copy_from_slice(&[100_000u32.to_be_bytes(), 100_000u32.to_be_bytes()].concat());
            let sum = crc(&bytes[12..29]);
            bytes[29..33].copy_from_slice(&sum.to_be_bytes());
            bytes
        }
        "a PNG of 8 × 5" => whole((8, 5)),
        "a PNG of 4 × 3" => whole((4, 3)),
        "a GIF" => b"GIF89a\x06\0\x04\0".to_vec(),
        "a TIFF" => b"II*\0\x08\0\0\0".to_vec(),
        "a WebP" => b"RIFF\x24\0\0\0WEBPVP8 ".to_vec(),
        "a text" => b"a picture\n".to_vec(),
        "nothing" => Vec::new(),
        other => panic!("{other}"),
    }
}

fn indexed(palette: Vec<u8>) -> Vec<u8> {
    let raw: Vec<u8> = (0..24).collect();
    let extra = Extra { palette: Some(palette), ..Extra::default() };
    png_with(SIZE, Kind::Indexed, 8, &raw, extra)
}

/// CRC-32 of a chunk of a PNG file.
fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ ((crc & 1) * 0xedb8_8320))
    };
    !bytes.iter().fold(u32::MAX, step)
}

#[test]
fn every_form_of_a_picture_is_read_or_refused_as_the_chapter_says() {
    let rows = rows(CHAPTER, "## Which pictures are read");
    assert!(rows.len() > 40, "{}", rows.len());
    let mut differences = Differences::default();
    for row in &rows {
        let [words, keys, input, _] = &row[..] else { panic!("{row:?}") };
        let dir = folder("forms");
        fs::write(dir.join("labels.csv"), "image,y\na.PNG,0\nb.jpg,1\n").unwrap();
        fs::create_dir(dir.join("p")).unwrap();
        for name in ["a.PNG", "b.jpg"] {
            fs::write(dir.join("p").join(name), picture(words)).unwrap();
        }
        let keys = bare(keys);
        let keys = format!(
            "folder: p, label: {{table: {{file: labels.csv, name: image, label: y}}}}{}{keys}",
            if keys.is_empty() { "" } else { ", " }
        );
        differences.compare(row, read(&dir, input, &keys, &[]));
    }
    differences.none();
}

/// Makes the data folder that the words of the chapter say.
fn lay_out(dir: &Path, words: &str) {
    let colour = || png(SIZE, Kind::Rgb, 8);
    let put = |name: &str, bytes: &[u8]| {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let classes = || {
        put("cat/a.png", &colour());
        put("dog/b.png", &colour());
    };
    let table = |text: &str| {
        ["pics/a.png", "pics/b.png", "pics/c.png"].iter().for_each(|name| put(name, &colour()));
        put("labels.csv", text.as_bytes());
    };
    let values = [0, 128, 255].repeat(8);
    let grey = |values: &[u8]| png_with(SIZE, Kind::Grey, 8, values, Extra::default());
    let masks = |mask: &[u8]| {
        put("pics/a.png", &colour());
        put("pics/b.png", &colour());
        put("masks/a.png", mask);
        put("masks/b.png", &grey(&[0; 24]));
    };
    match words {
        "a folder for each class" => classes(),
        "a folder for each class, one without pictures" => {
            classes();
            fs::remove_file(dir.join("dog/b.png")).unwrap();
        }
        "a folder that no class has" => {
            classes();
            put("bird/c.png", &colour());
        }
        "a picture beside the folders" => {
            classes();
            put("e.png", &colour());
        }
        "a folder in a class" => {
            classes();
            put("cat/old/c.png", &colour());
        }
        "a text among the pictures" => {
            classes();
            put("cat/notes.txt", b"notes");
        }
        "a hidden file among the pictures" => {
            classes();
            put("cat/.DS_Store", b"x");
            put("Thumbs.db", b"x");
        }
        "a link to a picture" => {
            classes();
            symlink("../dog/b.png", dir.join("cat/c.png")).unwrap();
        }
        "a link that leads nowhere" => {
            classes();
            symlink("nowhere", dir.join("cat/c.png")).unwrap();
        }
        "a FIFO among the pictures" => {
            classes();
            let made = std::process::Command::new("mkfifo").arg(dir.join("cat/c.png")).status().unwrap();
            assert!(made.success());
        }
        "a name that is not UTF-8" => {
            classes();
            fs::write(dir.join("cat").join(std::ffi::OsStr::from_bytes(b"\xff.png")), colour()).unwrap();
        }
        "a name with spaces and capitals" => {
            classes();
            put("cat/Ä b (1).JPG", JPEG);
        }
        "a folder without pictures" => {
            fs::create_dir(dir.join("cat")).unwrap();
        }
        "labels.csv with numbers" => table("image,class\na.png,0\nb.png,1\n"),
        "labels.csv with texts" => table("class,image\nno,a.png\nyes,b.png\n"),
        "labels.csv with a class too many" => table("image,class\na.png,0\nb.png,2\n"),
        "labels.csv that names a picture twice" => table("image,class\na.png,0\nb.png,1\na.png,1\n"),
        "labels.csv that names a missing picture" => table("image,class\na.png,0\nz.png,1\n"),
        "labels.csv that leads out of the folder" => table("image,class\na.png,0\n../../z.png,1\n"),
        "masks of values" => masks(&grey(&values)),
        "masks of values, in colour" => masks(&colour()),
        "masks of another ending" => {
            masks(&grey(&values));
            fs::remove_file(dir.join("masks/b.png")).unwrap();
            put("masks/b.jpg", include_bytes!("pictures/grey.jpg"));
        }
        "a picture without a mask" => {
            masks(&grey(&values));
            fs::remove_file(dir.join("masks/b.png")).unwrap();
        }
        "a picture with two masks" => {
            masks(&grey(&values));
            fs::remove_file(dir.join("masks/b.png")).unwrap();
            put("masks/b.jpg", include_bytes!("pictures/grey.jpg"));
            put("masks/b.jpeg", include_bytes!("pictures/grey.jpg"));
        }
        "a mask of another size" => masks(&png((8, 5), Kind::Grey, 8)),
        "masks with a palette" => {
            let extra = Extra { palette: Some(vec![9; 9]), ..Extra::default() };
            let values = [0, 1, 2].repeat(8);
            masks(&png_with(SIZE, Kind::Indexed, 8, &values, extra));
        }
        "masks of classes" => masks(&grey(&[0, 1, 2].repeat(8))),
        "masks of classes of 1 bit" => masks(&png(SIZE, Kind::Grey, 1)),
        other => panic!("{other}"),
    }
}

#[test]
fn every_form_of_labels_is_read_or_refused_as_the_chapter_says() {
    let rows = rows(CHAPTER, "## Where the labels are");
    assert!(rows.len() > 30, "{}", rows.len());
    let mut differences = Differences::default();
    for row in &rows {
        let [words, keys, _] = &row[..] else { panic!("{row:?}") };
        let dir = folder("labels");
        lay_out(&dir, &bare(words));
        let label: &[u32] = match (keys.contains("masks"), keys.contains("classes")) {
            (true, false) => &[1, 4, 6],
            (true, true) => &[4, 6],
            (false, _) => &[],
        };
        differences.compare(row, read(&dir, "[3, 4, 6]", &bare(keys), label));
    }
    differences.none();
}

/// Writes one picture with its label and reads it; the features.
fn values(name: &str, bytes: &[u8], input: &str, keys: &str) -> Vec<f32> {
    let dir = folder(name);
    fs::write(dir.join("labels.csv"), "image,y\na.png,5\n").unwrap();
    fs::write(dir.join("a.png"), bytes).unwrap();
    let keys = format!("label: {{table: {{file: labels.csv, name: image, label: y}}}}{keys}");
    let loaded = read(&dir, input, &keys, &[]).unwrap();
    assert_eq!(loaded.data.labels.as_slice().unwrap(), [5.0]);
    loaded.data.features.as_slice().unwrap().to_vec()
}

#[test]
fn values_are_shares_of_the_largest_channel_after_channel() {
    let bits = png_with((3, 2), Kind::Grey, 1, &[0b1010_0000, 0b0110_0000], Extra::default());
    assert_eq!(values("bits", &bits, "[1, 2, 3]", ""), [1.0, 0.0, 1.0, 0.0, 1.0, 1.0]);
    let four = png_with((3, 1), Kind::Grey, 4, &[0x0f, 0x30], Extra::default());
    assert_eq!(values("four", &four, "[1, 1, 3]", ""), [0.0, 1.0, 0.2]);
    let words = png_with((2, 1), Kind::Grey, 16, &[0x01, 0x01, 0xff, 0xff], Extra::default());
    assert_eq!(values("words", &words, "[1, 1, 2]", ", bits: 16"), [(257.0f64 / 65535.0) as f32, 1.0]);
    let rgb = png_with((2, 1), Kind::Rgb, 8, &[0, 51, 102, 153, 204, 255], Extra::default());
    assert_eq!(values("rgb", &rgb, "[3, 1, 2]", ""), [0.0, 0.6, 0.2, 0.8, 0.4, 1.0]);
    let scaled =
        values("scaled", &rgb, "[3, 1, 2]", ", standardise: {mean: [0, 0.2, 0.4], std: [1, 2, 0.5]}");
    let expected = [0.0, 0.6, 0.0, 0.3, 0.0, 1.2];
    assert!(scaled.iter().zip(expected).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6), "{scaled:?}");
    let palette = Extra { palette: Some(vec![255, 0, 0, 0, 0, 255]), ..Extra::default() };
    let indexed = png_with((2, 1), Kind::Indexed, 2, &[0b0100_0000], palette);
    assert_eq!(values("palette", &indexed, "[3, 1, 2]", ""), [0.0, 1.0, 0.0, 0.0, 1.0, 0.0]);
}

#[test]
fn masks_are_resized_by_the_nearest_pixel_and_belong_to_their_pictures() {
    let dir = folder("masks");
    for (name, value) in [("b", 51), ("a", 102)] {
        fs::create_dir_all(dir.join("m")).unwrap();
        fs::create_dir_all(dir.join("p")).unwrap();
        let picture = png_with((4, 2), Kind::Grey, 8, &[value; 8], Extra::default());
        let mask = [value, 1, 2, 0].repeat(2);
        let mask = png_with((4, 2), Kind::Grey, 8, &mask, Extra::default());
        fs::write(dir.join(format!("p/{name}.png")), picture).unwrap();
        fs::write(dir.join(format!("m/{name}.png")), mask).unwrap();
    }
    let keys = "folder: p, label: {masks: {folder: m}}, fit: resize, interpolation: nearest";
    let loaded = read(&dir, "[1, 1, 8]", keys, &[1, 1, 8]).unwrap();
    assert_eq!(loaded.data.features.shape(), [2, 1, 1, 8]);
    assert_eq!(loaded.data.features.iter().copied().collect::<Vec<_>>(), [[0.4; 8], [0.2; 8]].concat());
    let masks: Vec<f32> = loaded.data.labels.iter().map(|value| (value * 255.0).round()).collect();
    let mask = |value: f32| [value, value, 1.0, 1.0, 2.0, 2.0, 0.0, 0.0];
    assert_eq!(masks, [mask(102.0), mask(51.0)].concat());
}

#[test]
fn pictures_beyond_the_cache_are_decoded_again_and_are_the_same() {
    let dir = folder("cache");
    lay_out(&dir, "masks of values");
    let keys = "folder: pics, label: {masks: {folder: masks}}, fit: crop, bad_samples: {skip: 1}";
    let plan = |cache: &str| read(&dir, "[3, 4, 4]", &format!("{keys}, cache: {cache}"), &[1, 4, 4]).unwrap();
    // One picture with its mask takes 64 bytes.
    let (all, one, none) = (plan("128B"), plan("127B"), plan("0B"));
    assert_eq!((&all.data, &all.data), (&one.data, &none.data));
    assert_eq!(all.facts, [""; 0]);
    assert_eq!(
        one.facts,
        ["1 of 2 pictures stay in memory, and 1 are decoded again in each epoch (data.cache is 127 B)"]
    );
    assert!(none.facts[0].starts_with("0 of 2 pictures stay in memory, and 2"), "{:?}", none.facts);
}

#[test]
fn a_picture_that_is_gone_when_it_is_needed_again_is_named() {
    let dir = folder("gone");
    lay_out(&dir, "masks of values");
    let plan = "schema: 1\nfederation: f\nrounds: 1\n\
        model: {input: [3, 4, 6], layers: [{conv2d: {name: c, out: 1, kernel: 1}}]}\n\
        data: {loader: pictures, folder: pics, label: {masks: {folder: masks}}, cache: 0B}\n\
        tasks: {train: {kind: train, epochs: 1, batch: 1, optimiser: {adam: {learning_rate: 0.1}}, loss: mse}}\n";
    let plan = Plan::parse(plan).unwrap();
    let rows = data::read(&plan.data, &plan.model.input, &[1, 4, 6], &dir).unwrap().data;
    let second = rows.select(&[1]);
    assert_eq!((rows.rows(), second.rows()), (2, 1));
    assert_eq!(second.gather(&[0]).unwrap(), rows.gather(&[1]).unwrap());
    fs::remove_file(dir.join("masks/b.png")).unwrap();
    assert!(rows.gather(&[0]).is_ok());
    let gone = second.gather(&[0]).unwrap_err().to_string();
    assert!(gone.contains("masks/b.png"), "{gone}");
}

#[test]
fn bad_samples_are_left_out_and_named_up_to_the_number_of_the_plan() {
    let dir = folder("bad");
    lay_out(&dir, "a folder for each class");
    fs::write(dir.join("cat/c.png"), b"no picture").unwrap();
    fs::write(dir.join("cat/notes.txt"), b"notes").unwrap();
    let keys = "label: folders, labels: {cat: 0, dog: 1}, classes: 2";
    let skip = |count: u32| read(&dir, "[3, 4, 6]", &format!("{keys}, bad_samples: {{skip: {count}}}"), &[]);
    let loaded = skip(2).unwrap();
    assert_eq!(loaded.data.rows(), 2);
    assert_eq!(loaded.data.labels.as_slice().unwrap(), [0.0, 1.0]);
    assert_eq!(loaded.facts[0], "left out 2 of 4 samples that cannot be read (data.bad_samples)");
    assert!(
        loaded.facts[1].starts_with("left out cat/notes.txt: the file is not a picture"),
        "{:?}",
        loaded.facts
    );
    assert_eq!(loaded.facts[2], "left out cat/c.png: the file is neither JPEG nor PNG");
    assert_eq!(loaded.left_out, ["cat/notes.txt", "cat/c.png"]);
    let refused = skip(1).unwrap_err();
    assert!(refused.contains("more than 1 of 4 samples cannot be read"), "{refused}");
    assert!(refused.contains("cat/notes.txt"), "{refused}");
    ["cat/a.png", "dog/b.png"].iter().for_each(|file| fs::remove_file(dir.join(file)).unwrap());
    let none = skip(2).unwrap_err();
    assert!(none.contains("none of 2 samples can be read"), "{none}");
}

#[test]
fn a_table_without_a_row_below_its_header_is_named() {
    let dir = folder("header");
    fs::write(dir.join("labels.csv"), "image,y\n").unwrap();
    let keys = "label: {table: {file: labels.csv, name: image, label: y}}";
    assert_eq!(read(&dir, "[3, 4, 6]", keys, &[]).unwrap_err(), "labels.csv: there are no rows");
}

#[test]
fn decoded_jpeg_files_are_close_to_those_of_libjpeg() {
    let recorded: serde_json::Value = serde_json::from_str(include_str!("pictures/values.json")).unwrap();
    let levels = |key: &str| -> Vec<i64> {
        recorded[key].as_array().unwrap().iter().map(|value| value.as_i64().unwrap()).collect()
    };
    let difference = |found: &[f32], expected: &[i64]| {
        assert_eq!(found.len(), expected.len());
        let distance = |(a, b): (&f32, &i64)| ((a * 255.0).round() as i64 - b).abs();
        let all: Vec<i64> = found.iter().zip(expected).map(distance).collect();
        (all.iter().sum::<i64>() as f64 / all.len() as f64, all.into_iter().max().unwrap())
    };
    let planar = |values: &[i64]| -> Vec<i64> {
        (0..3).flat_map(|c| values.iter().skip(c).step_by(3).copied().collect::<Vec<_>>()).collect()
    };
    let found = values("textured", include_bytes!("pictures/textured.jpg"), "[3, 32, 48]", "");
    let (mean, most) = difference(&found, &planar(&levels("textured")));
    assert!(mean <= 0.5 && most <= 8, "{mean} {most}");
    let found = values("grey", JPEG, "[1, 4, 6]", ", colour: grey");
    let (mean, most) = difference(&found, &levels("grey"));
    assert!(mean <= 0.5 && most <= 3, "{mean} {most}");
    // Six pixels in a row have three values of colour, and decoders differ in what they put between them.
    let found = values("colour", JPEG, "[3, 4, 6]", "");
    let (mean, most) = difference(&found, &planar(&levels("colour")));
    assert!(mean <= 4.0 && most <= 32, "{mean} {most}");
}

#[test]
fn every_filter_and_the_interlaced_parts_give_the_pixels_of_pillow() {
    let recorded: serde_json::Value = serde_json::from_str(include_str!("pictures/values.json")).unwrap();
    for (file, input, bits) in [
        ("filtered.png", "[3, 32, 48]", 8),
        ("deep.png", "[1, 11, 13]", 16),
        ("interlaced.png", "[1, 11, 13]", 8),
        ("interlaced1.png", "[1, 11, 13]", 8),
    ] {
        let bytes = fs::read(Path::new("tests/pictures").join(file)).unwrap();
        let found = values(file, &bytes, input, &format!(", bits: {bits}"));
        let most = if bits == 16 { 65535.0 } else { 255.0 };
        let found: Vec<i64> = found.iter().map(|share| (f64::from(*share) * most).round() as i64).collect();
        let expected: Vec<i64> =
            recorded[file].as_array().unwrap().iter().map(|v| v.as_i64().unwrap()).collect();
        let channels = if input.starts_with("[3") { 3 } else { 1 };
        let planar: Vec<i64> = (0..channels)
            .flat_map(|c| expected.iter().skip(c).step_by(channels).copied().collect::<Vec<_>>())
            .collect();
        assert_eq!(found, planar, "{file}");
    }
}

#[test]
fn masks_of_0_and_1_are_read_with_a_warning() {
    let dir = folder("dark");
    lay_out(&dir, "masks of classes of 1 bit");
    let keys = "folder: pics, label: {masks: {folder: masks}}";
    let warnings = |mask: &[u8], kind, depth| {
        for name in ["a", "b"] {
            let mask = png_with(SIZE, kind, depth, mask, Extra::default());
            fs::write(dir.join(format!("masks/{name}.png")), mask).unwrap();
        }
        read(&dir, "[3, 4, 6]", keys, &[1, 4, 6]).unwrap().warnings
    };
    assert_eq!(
        warnings(&[0, 1].repeat(12), Kind::Grey, 8),
        [
            "no mask has a value above 1, and white is 255: the masks are read as black; save them with 0 and 255"
        ]
    );
    for (mask, depth) in [([0, 255].repeat(12), 8), (vec![0; 24], 8), (vec![0b0101_0100; 4], 1)] {
        assert!(warnings(&mask, Kind::Grey, depth).is_empty(), "{mask:?}");
    }
}

#[test]
fn a_folder_whose_name_begins_that_of_the_masks_is_not_the_folder_of_the_masks() {
    let dir = folder("beginning");
    for place in ["mask", "masks"] {
        fs::create_dir(dir.join(place)).unwrap();
        fs::write(dir.join(place).join("a.png"), png(SIZE, Kind::Grey, 8)).unwrap();
    }
    fs::write(dir.join("a.png"), png(SIZE, Kind::Rgb, 8)).unwrap();
    let refused = read(&dir, "[3, 4, 6]", "label: {masks: {folder: masks}}", &[1, 4, 6]).unwrap_err();
    assert!(refused.starts_with("mask: a folder lies among the pictures"), "{refused}");
}

#[test]
fn a_tall_picture_is_refused_before_its_rows_are_made_wider() {
    let dir = folder("tall");
    fs::write(dir.join("labels.csv"), "image,y\na.png,5\n").unwrap();
    let rows = 1 << 18;
    let tall = png_with((1, rows), Kind::Grey, 8, &vec![7; rows as usize], Extra::default());
    fs::write(dir.join("a.png"), tall).unwrap();
    let keys = "label: {table: {file: labels.csv, name: image, label: y}}, fit: resize";
    assert_eq!(
        read(&dir, "[1, 1, 257]", keys, &[]).unwrap_err(),
        "a.png: the picture has 1 × 262144 pixels: too many rows for a resize to 257 columns"
    );
}

#[test]
fn damaged_files_are_refused_and_never_end_the_program() {
    let dir = folder("damaged");
    fs::write(dir.join("labels.csv"), "image,y\na.png,5\n").unwrap();
    let keys = "label: {table: {file: labels.csv, name: image, label: y}}";
    let mut draws = fl_engine::Draws::new(1);
    let (mut read_all, mut refused) = (0, 0);
    let png = png(SIZE, Kind::Rgb, 8);
    for whole in
        [JPEG, include_bytes!("pictures/progressive.jpg"), include_bytes!("pictures/turned.jpg"), &png]
    {
        for _ in 0..150 {
            let mut bytes = whole.to_vec();
            for _ in 0..1 + draws.below(4) {
                let at = 4 + draws.below(bytes.len() as u64 - 4) as usize;
                bytes[at] = draws.next_u64() as u8;
            }
            bytes.truncate(bytes.len() - draws.below(3) as usize * 7);
            fs::write(dir.join("a.png"), bytes).unwrap();
            match read(&dir, "[3, 4, 6]", keys, &[]) {
                Ok(_) => read_all += 1,
                Err(_) => refused += 1,
            }
        }
    }
    assert!(read_all > 0 && refused > 300, "{read_all} {refused}");
}

const CHAPTER: &str = include_str!("../../src/manual/pictures.md");
const JPEG: &[u8] = include_bytes!("pictures/colour.jpg");
/// Width and height.
const SIZE: (u32, u32) = (6, 4);
