//! Plays every row of the manual's chapter on data files: read as the row says, or refused with its words.
#![cfg(feature = "tables")]
#![allow(clippy::unwrap_used, reason = "a test's failure is its panic")]

#[path = "chapter/tables.rs"]
mod tables;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use fl_engine::{
    model::safetensors,
    plan::Plan,
    tensor::{Layout, TensorSpec},
};
use fl_learn::{data::Loaded, registry::Registry};

use self::tables::rows;

/// What stands between backticks.
fn pieces(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The bytes of a line: `\t`, `\0`, `\x7c` and `\u{feff}` are what Rust says.
fn bytes(line: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('\\') {
        out.extend(before.as_bytes());
        let (taken, found): (usize, Vec<u8>) = match &after[..1] {
            "t" => (1, vec![b'\t']),
            "r" => (1, vec![b'\r']),
            "n" => (1, vec![b'\n']),
            "0" => (1, vec![0]),
            "x" => (3, vec![u8::from_str_radix(&after[1..3], 16).unwrap()]),
            "u" => {
                let hex = after[2..].split('}').next().unwrap();
                let character = char::from_u32(u32::from_str_radix(hex, 16).unwrap()).unwrap();
                (hex.len() + 3, character.to_string().into())
            }
            other => panic!("{other}"),
        };
        out.extend(found);
        rest = &after[taken..];
    }
    out.extend(rest.as_bytes());
    out
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn folder(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("fl-data-files-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// Reads a folder with the plan that has these keys under `data`.
fn read(dir: &Path, input: &str, data: &str) -> Result<Loaded, String> {
    let (outputs, loss) = if data.contains("classes") { (2, "cross_entropy") } else { (1, "mse") };
    let plan = format!(
        "schema: 1\nfederation: f\nrounds: 1\nmodel: {{network: mlp, input: {input}, outputs: {outputs}}}\n\
         data: {{{data}}}\ntasks:\n  train: {{kind: train, epochs: 1, batch: 1, \
         optimiser: {{sgd: {{learning_rate: 0.1}}}}, loss: {loss}}}\n"
    );
    let plan = Plan::parse(&plan).map_err(|refused| refused.message)?;
    Registry::new().read_data(&plan, dir).map_err(|refused| {
        assert!(refused.hint().is_some(), "{refused} has no hint");
        refused.to_string()
    })
}

/// The rows of a table that say something else than what was read.
#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    /// Compares what was read, as the chapter writes it, with a row's last cell.
    fn compare(&mut self, row: &[String], read: Result<String, String>) {
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

#[test]
fn every_form_of_a_csv_file_is_read_or_refused_as_the_chapter_says() {
    let rows = rows(CHAPTER, "## CSV files");
    assert!(rows.len() > 70, "{}", rows.len());
    let dir = folder("csv");
    let mut differences = Differences::default();
    for row in &rows {
        let [lines, keys, result] = &row[..] else { panic!("{row:?}") };
        let text: Vec<Vec<u8>> = pieces(lines).into_iter().map(bytes).collect();
        let mut content = text.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect::<Vec<u8>>();
        match lines.split('`').next().unwrap().trim() {
            "" => {}
            "gzip of" => content = gzip(&content),
            "half of the gzip of" => {
                content = gzip(&content);
                content.truncate(content.len() / 2);
            }
            "gzip of the gzip of" => content = gzip(&gzip(&content)),
            "nothing" => content.clear(),
            other => panic!("{other}"),
        }
        fs::write(dir.join("d.csv"), content).unwrap();
        let first =
            pieces(result).first().map_or(2, |sample| sample.split(':').next().unwrap().split(' ').count());
        let features = if result.starts_with("refused") { 2 } else { first };
        let keys = pieces(keys).first().map(|keys| format!(", {keys}")).unwrap_or_default();
        let label = if keys.contains("label: ") { "" } else { ", label: y" };
        let read = read(&dir, &format!("[{features}]"), &format!("loader: csv, file: d.csv{label}{keys}"));
        let shown = |loaded: Loaded| {
            let samples = loaded.data.features.as_slice().unwrap().chunks(features).zip(&loaded.data.labels);
            let sample = |(values, label): (&[f32], &f32)| {
                let values: Vec<String> = values.iter().map(f32::to_string).collect();
                format!("`{}: {label}`", values.join(" "))
            };
            let mut all: Vec<String> = samples.map(sample).collect();
            let header = loaded.warnings.iter().find(|warning| warning.contains("numbers alone"));
            let header = header.map(|warning| warning.split_once(". ").unwrap().0);
            all.extend(header.map(|warning| format!("warned: {warning}.")));
            all.join(" ")
        };
        differences.compare(row, read.map(shown));
    }
    differences.none();
}

/// An array of `numpy.save`.
fn npy(version: u8, descr: &str, column_major: bool, shape: &str, data: &[u8]) -> Vec<u8> {
    let order = if column_major { "True" } else { "False" };
    let header = format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n");
    let mut out = b"\x93NUMPY".to_vec();
    out.extend([version, 0]);
    match version {
        1 => out.extend((header.len() as u16).to_le_bytes()),
        _ => out.extend((header.len() as u32).to_le_bytes()),
    }
    [out, header.into_bytes(), data.to_vec()].concat()
}

/// A whole number as an element of this type.
fn element(descr: &str, value: u8) -> Vec<u8> {
    // IEEE 754 halves of 0 to 2 and, above that, of other whole numbers below 32.
    let half = match value {
        0 => 0,
        _ => {
            let exponent = value.ilog2() as u16;
            (exponent + 15) << 10 | (u16::from(value) << (10 - exponent)) & 0x3ff
        }
    };
    let (order, kind) = match descr.strip_prefix(['<', '>']) {
        Some(kind) => (&descr[..1], kind),
        None => ("<", descr),
    };
    let mut little = match kind {
        "f2" => half.to_le_bytes().to_vec(),
        "f4" => f32::from(value).to_le_bytes().to_vec(),
        "f8" => f64::from(value).to_le_bytes().to_vec(),
        _ => {
            let bytes: usize = kind[1..].trim_end_matches("[D]").parse().unwrap_or(4);
            let mut raw = vec![0; bytes];
            raw[0] = value;
            raw
        }
    };
    if order == ">" {
        little.reverse();
    }
    little
}

#[test]
fn every_form_of_an_array_is_read_or_refused_as_the_chapter_says() {
    let rows = rows(CHAPTER, "## NumPy arrays");
    assert!(rows.len() > 30, "{}", rows.len());
    let dir = folder("arrays");
    let labels = npy(1, "'<f4'", false, "(2,)", &[element("<f4", 0), element("<f4", 1)].concat());
    fs::write(dir.join("y.npy"), labels).unwrap();
    let mut differences = Differences::default();
    for row in &rows {
        let [descr, order, shape, input, _] = &row[..] else { panic!("{row:?}") };
        let (descr, shape) = (pieces(descr)[0], pieces(shape)[0]);
        let sides: Vec<usize> = shape
            .trim_matches(['(', ')'])
            .split(',')
            .filter(|side| !side.trim().is_empty())
            .map(|side| side.trim().parse().unwrap())
            .collect();
        let count: usize = sides.iter().product();
        let column_major = order == "Fortran";
        // The value of each element is its place in C order, so that the order of reading shows.
        let places: Vec<usize> = match column_major {
            false => (0..count).collect(),
            true => {
                let all: Vec<usize> = (0..count).collect();
                let array = ndarray::ArrayD::from_shape_vec(sides.clone(), all).unwrap();
                array.t().iter().copied().collect()
            }
        };
        let value = |place: usize| (place % if descr == "b1" { 2 } else { 31 }) as u8;
        let data: Vec<u8> = places.iter().flat_map(|&place| element(descr, value(place))).collect();
        let spelt = if descr.starts_with(['<', '>']) { descr.to_owned() } else { format!("|{descr}") };
        fs::write(dir.join("x.npy"), npy(1, &format!("'{spelt}'"), column_major, shape, &data)).unwrap();
        let read = read(&dir, pieces(input)[0], "loader: npy, features: x.npy, labels: y.npy");
        differences.compare(
            row,
            read.map(|loaded| {
                let expected: Vec<f32> = (0..count).map(|place| f32::from(value(place))).collect();
                assert_eq!(loaded.data.features.as_slice().unwrap(), expected, "{row:?}");
                "read".to_owned()
            }),
        );
    }
    differences.none();
}

fn archive(arrays: &[(&str, &[u8])], deflated: bool) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let method = if deflated { zip::CompressionMethod::Deflated } else { zip::CompressionMethod::Stored };
    for (name, bytes) in arrays {
        let options = zip::write::SimpleFileOptions::default().compression_method(method);
        writer.start_file(format!("{name}.npy"), options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[test]
fn every_other_form_of_an_arrays_file_is_read_or_refused_as_the_chapter_says() {
    let dir = folder("array-files");
    let f4 = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let six = f4(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let good = npy(1, "'<f4'", false, "(2, 3)", &six);
    let label = |shape: &str, values: &[f32]| npy(1, "'<f4'", false, shape, &f4(values));
    let two = label("(2,)", &[0.0, 1.0]);
    let rows = rows(CHAPTER, "Other forms of the samples' file");
    assert!(rows.len() > 15, "{}", rows.len());
    let mut differences = Differences::default();
    for row in &rows {
        let (mut x, mut y, mut keys) =
            (good.clone(), two.clone(), "loader: npy, features: x.npy, labels: y.npy");
        let npz = "loader: npz, file: d.npz, features: x, labels: y";
        let archived = |deflated| archive(&[("x", &good), ("y", &two)], deflated);
        match row[0].as_str() {
            "an array of numpy.savez" => {
                fs::write(dir.join("d.npz"), archived(false)).unwrap();
                keys = npz;
            }
            "an array of numpy.savez_compressed" => {
                fs::write(dir.join("d.npz"), archived(true)).unwrap();
                keys = npz;
            }
            "an archive without the array" => {
                fs::write(dir.join("d.npz"), archive(&[("y", &two), ("other", &two)], false)).unwrap();
                keys = npz;
            }
            "an array that gzip has compressed" => x = gzip(&x),
            "an array of format version 3" => x = npy(3, "'<f4'", false, "(2, 3)", &six),
            "an array of format version 9" => x = npy(9, "'<f4'", false, "(2, 3)", &six),
            "an array that is cut short" => x.truncate(x.len() - 1),
            "an array with bytes after its end" => x.push(0),
            "an array with NaN" => {
                x = npy(1, "'<f4'", false, "(2, 3)", &f4(&[0.0, 1.0, 2.0, f32::NAN, 4.0, 5.0]));
            }
            "an array with a value beyond f32" => {
                let f8: Vec<u8> =
                    [0.0, 1.0, 2.0, 1e99, 4.0, 5.0].iter().flat_map(|v: &f64| v.to_le_bytes()).collect();
                x = npy(1, "'<f8'", false, "(2, 3)", &f8);
            }
            "records" => x = npy(1, "[('a', '<f4')]", false, "(6,)", &six),
            "a pickle" => x = b"\x80\x04\x95aaaaaaaaaaaa".to_vec(),
            "a ZIP archive under `loader: npy`" => x = archived(false),
            "labels of another number than the samples" => y = label("(3,)", &[0.0, 1.0, 0.0]),
            "labels with a column for each class" => y = label("(2, 2)", &[0.0, 1.0, 1.0, 0.0]),
            "labels in one column" => y = label("(2, 1)", &[0.0, 1.0]),
            "labels from 1" => y = label("(2,)", &[1.0, 2.0]),
            other => panic!("{other}"),
        }
        fs::write(dir.join("x.npy"), x).unwrap();
        fs::write(dir.join("y.npy"), y).unwrap();
        let read = read(&dir, "[3]", &format!("{keys}, classes: 2"));
        differences.compare(
            row,
            read.map(|loaded| {
                assert_eq!(loaded.data.features.as_slice().unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
                assert_eq!(loaded.data.labels.as_slice().unwrap(), [0.0, 1.0]);
                "read".to_owned()
            }),
        );
    }
    differences.none();
}

/// A safetensors file: a tensor's name, type, shape and bytes.
fn model_file(tensors: &[(&str, &str, &[usize], Vec<u8>)], metadata: bool) -> Vec<u8> {
    let mut entries = Vec::new();
    let mut data = Vec::new();
    if metadata {
        entries.push("\"__metadata__\":{\"format\":\"pt\"}".to_owned());
    }
    for (name, dtype, shape, bytes) in tensors {
        let (from, to) = (data.len(), data.len() + bytes.len());
        entries.push(format!(
            "\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"data_offsets\":[{from},{to}]}}"
        ));
        data.extend(bytes);
    }
    let header = format!("{{{}}}", entries.join(","));
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

#[test]
fn every_form_of_a_model_file_is_read_or_refused_as_the_chapter_says() {
    let layout =
        Layout::new(vec![TensorSpec::f32("fc1.weight", [2, 3]), TensorSpec::f32("fc1.bias", [2])]).unwrap();
    let f4 = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let weights = || f4(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let weight = || ("fc1.weight", "F32", &[2, 3][..], weights());
    let bias = || ("fc1.bias", "F32", &[2][..], f4(&[6.0, 7.0]));
    let good = model_file(&[weight(), bias()], false);
    let rows = rows(CHAPTER, "## Model files");
    assert!(rows.len() > 12, "{}", rows.len());
    let mut differences = Differences::default();
    for row in &rows {
        let file = match row[0].as_str() {
            "both tensors" => good.clone(),
            "both tensors, in another order" => model_file(&[bias(), weight()], false),
            "both tensors, and metadata" => model_file(&[weight(), bias()], true),
            "a tensor is missing" => model_file(&[weight()], false),
            "a third tensor" => model_file(&[weight(), bias(), ("a", "F32", &[1], f4(&[1.0]))], false),
            "names with a prefix" => model_file(
                &[
                    ("module.fc1.weight", "F32", &[2, 3], weights()),
                    ("module.fc1.bias", "F32", &[2], f4(&[6.0, 7.0])),
                ],
                false,
            ),
            "a weight in f64" => model_file(&[("fc1.weight", "F64", &[2, 3], vec![0; 48]), bias()], false),
            "a weight in f16" => model_file(&[("fc1.weight", "F16", &[2, 3], vec![0; 12]), bias()], false),
            "a transposed weight" => model_file(&[("fc1.weight", "F32", &[3, 2], weights()), bias()], false),
            "a bias with a side of 1" => {
                model_file(&[weight(), ("fc1.bias", "F32", &[2, 1], f4(&[6.0, 7.0]))], false)
            }
            "a value that is not finite" => {
                model_file(&[weight(), ("fc1.bias", "F32", &[2], f4(&[6.0, f32::NAN]))], false)
            }
            "cut short" => good[..good.len() - 1].to_vec(),
            "bytes after the last tensor" => [&good[..], b"x"].concat(),
            "a pickle of PyTorch" => b"PK\x03\x04aaaaaaaaaaaaaaaa".to_vec(),
            "nothing" => Vec::new(),
            other => panic!("{other}"),
        };
        let read = safetensors::read(&file, &layout).map_err(|refused| refused.to_string());
        differences.compare(
            row,
            read.map(|(state, _)| {
                assert_eq!(state.f32, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
                "read".to_owned()
            }),
        );
    }
    differences.none();
}

#[test]
fn what_is_not_a_plain_file_is_refused_at_once() {
    let dir = folder("plain");
    let data = "loader: csv, file: d.csv, label: y";
    fs::create_dir(dir.join("d.csv")).unwrap();
    assert!(read(&dir, "[2]", data).unwrap_err().ends_with("d.csv is a folder, not a plain file"));
    fs::remove_dir(dir.join("d.csv")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(dir.join("d.csv")).status().unwrap();
    assert!(made.success());
    assert!(read(&dir, "[2]", data).unwrap_err().ends_with("d.csv is a FIFO (named pipe), not a plain file"));
    fs::remove_file(dir.join("d.csv")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.join("d.csv")).unwrap();
    assert!(read(&dir, "[2]", data).unwrap_err().ends_with("d.csv is a socket, not a plain file"));
    fs::remove_file(dir.join("d.csv")).unwrap();
    std::os::unix::fs::symlink("/dev/null", dir.join("d.csv")).unwrap();
    assert!(read(&dir, "[2]", data).unwrap_err().ends_with("d.csv is a device, not a plain file"));
}

#[test]
fn labels_of_a_file_of_their_own_belong_to_the_rows_in_order() {
    let dir = folder("label-file");
    fs::write(dir.join("x.csv"), gzip(b"1 2\n3 4\n5 NA\n")).unwrap();
    let data = "loader: csv, file: x.csv, separator: space, header: false, label_file: y.csv, label: 0";
    fs::write(dir.join("y.csv"), "1.5e+02\n7.5e+01\n3\n").unwrap();
    let loaded = read(&dir, "[2]", &format!("{data}, missing: {{drop_row: 1}}")).unwrap();
    assert_eq!((loaded.data.labels.as_slice().unwrap(), loaded.facts.len()), (&[150.0, 75.0][..], 1));
    fs::write(dir.join("y.csv"), "1\n2\n").unwrap();
    let refused = read(&dir, "[2]", &format!("{data}, missing: {{fill: 0}}")).unwrap_err();
    assert_eq!(refused, "x.csv: there are 3 samples, but 2 labels in y.csv");
}

const CHAPTER: &str = include_str!("../../src/manual/data_files.md");
