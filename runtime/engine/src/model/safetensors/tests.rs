//! Model files: ours through the reference reader, its through ours, and files that lie.

use std::collections::HashMap;

use ::safetensors::tensor::{TensorView, serialize};

use super::*;

fn layout() -> Arc<Layout> {
    let steps = TensorSpec { dtype: Dtype::I64, combine: Combine::Max, ..TensorSpec::f32("steps", []) };
    Layout::new(vec![TensorSpec::f32("a", [2, 2]), steps, TensorSpec::f32("b.weight", [3])]).unwrap()
}

fn state() -> ModelState {
    let mut state = ModelState::zeros(layout());
    state.f32 = vec![1.0, -0.0, f32::MIN_POSITIVE / 2.0, f32::MAX, 5.0, 6.0, 7.0];
    state.i64 = vec![i64::MIN];
    state
}

fn some_texts() -> Texts {
    [("round", "3"), ("who \"said\"", "a\\b\nü")].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
}

/// A file with this header and `data` bytes of tensors.
fn file(header: &str, data: usize) -> Vec<u8> {
    [(header.len() as u64).to_le_bytes().as_slice(), header.as_bytes(), &vec![0; data]].concat()
}

fn refusal(file: &[u8]) -> String {
    let error = read(file, &layout()).unwrap_err();
    let hint = error.hint().unwrap_or_default();
    format!("{error} | {hint}")
}

fn with(a: &str, steps: &str, b: &str) -> Vec<u8> {
    file(&format!("{{{a},{steps},{b}}}"), 36)
}

#[test]
fn reference_implementation_reads_what_we_write() {
    let bytes = write(&state(), &some_texts());
    let (header, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!((header + 8) % 8, 0);
    let texts: HashMap<String, String> = some_texts().into_iter().collect();
    assert_eq!(metadata.metadata(), &Some(texts));
    let read = SafeTensors::deserialize(&bytes).unwrap();
    let a = read.tensor("a").unwrap();
    assert_eq!((a.dtype(), a.shape()), (::safetensors::Dtype::F32, [2, 2].as_slice()));
    assert_eq!(a.data(), state().f32[..4].iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>());
    let steps = read.tensor("steps").unwrap();
    assert_eq!((steps.dtype(), steps.shape().len()), (::safetensors::Dtype::I64, 0));
    assert_eq!(steps.data(), i64::MIN.to_le_bytes());
    assert_eq!(read.tensor("b.weight").unwrap().data()[..4], 5f32.to_le_bytes());
}

#[test]
fn payload_form_gives_the_bytes_of_the_state() {
    let (mut payload, mut file) = (Vec::new(), Vec::new());
    state().write_bytes(&mut payload);
    let Ok(()) = write_payload(&layout(), &payload, &some_texts(), &mut |piece| {
        file.extend_from_slice(piece);
        Ok::<(), std::convert::Infallible>(())
    });
    assert_eq!(file, write(&state(), &some_texts()));
}

#[test]
fn we_read_what_the_reference_implementation_writes() {
    let floats = |range: std::ops::Range<usize>| -> Vec<u8> {
        state().f32[range].iter().flat_map(|v| v.to_le_bytes()).collect()
    };
    let (a, b, steps) = (floats(0..4), floats(4..7), i64::MIN.to_le_bytes());
    let views = [
        ("b.weight", TensorView::new(::safetensors::Dtype::F32, vec![3], &b).unwrap()),
        ("a", TensorView::new(::safetensors::Dtype::F32, vec![2, 2], &a).unwrap()),
        ("steps", TensorView::new(::safetensors::Dtype::I64, vec![], &steps).unwrap()),
    ];
    let bytes = serialize(views, Some(some_texts().into_iter().collect())).unwrap();
    assert_eq!(read(&bytes, &layout()), Ok((state(), some_texts())));
}

#[test]
fn file_from_python_is_read() {
    let steps = TensorSpec { dtype: Dtype::I64, combine: Combine::Max, ..TensorSpec::f32("steps", []) };
    let layout = Layout::new(vec![TensorSpec::f32("a", [2, 2]), steps]).unwrap();
    let (state, texts) = read(GOLDEN, &layout).unwrap();
    assert_eq!((state.f32, state.i64), (vec![1.5, -2.0, 0.25, 1e-30], vec![41]));
    assert_eq!(texts["made_by"], "safetensors.numpy.save");
}

#[test]
fn same_state_and_texts_give_the_same_bytes() {
    let texts =
        [("round", "3"), ("who \"said\"", "a\\b\n\u{1}ü")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    assert_eq!(crate::Digest::of(&write(&state(), &texts)).short(), "e5293886");
    assert_eq!(read(&write(&state(), &some_texts()), &layout()), Ok((state(), some_texts())));
    assert_eq!(read(&write(&state(), &Texts::new()), &layout()), Ok((state(), Texts::new())));
}

#[test]
fn pieces_together_are_the_file_and_a_full_disk_is_told() {
    let layout = Layout::new(vec![TensorSpec::f32("a", [40_000])]).unwrap();
    let mut state = ModelState::zeros(layout);
    state.f32.iter_mut().zip(0..).for_each(|(v, i)| *v = i as f32);
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    write_pieces(&state, &Texts::new(), &mut |p| {
        pieces.push(p.to_vec());
        Ok::<(), ()>(())
    })
    .unwrap();
    assert_eq!(pieces.len(), 2 + 3);
    assert!(pieces[2..].iter().all(|p| p.len() <= PIECE_BYTES));
    assert_eq!(pieces.concat(), write(&state, &Texts::new()));
    assert_eq!(write_pieces(&state, &Texts::new(), &mut |_| Err("disk full")), Err("disk full"));
}

#[test]
fn names_that_differ_are_listed_with_the_nearest() {
    let cases = [
        (
            with(A, STEPS, &B.replace("b.weight", "b.weigth")),
            "the tensors of the file are not those of the model: the file lacks \"b.weight\"; the model does not have \"b.weigth\" | \
          the tensor \"b.weigth\" of the file may be \"b.weight\" of the model: rename it before saving",
        ),
        (
            file(&format!("{{{A},{STEPS}}}"), 24),
            "the tensors of the file are not those of the model: the file lacks \"b.weight\" | \
          the file holds another model than the one that plan/plan.yaml describes",
        ),
        (
            file("{}", 0),
            "the tensors of the file are not those of the model: the file lacks \"a\", \"b.weight\", \"steps\" | \
          the file holds another model than the one that plan/plan.yaml describes",
        ),
    ];
    for (file, expected) in cases {
        assert_eq!(refusal(&file), expected);
    }
    let many: Vec<String> = (0..9).map(|n| n.to_string()).collect();
    assert_eq!(differences(&many, &[]), "the file lacks \"0\", \"1\", \"2\", \"3\", \"4\" and 4 more");
}

#[test]
fn forms_that_other_programs_write_are_named_with_their_cure() {
    // What a BatchNorm of PyTorch, DataParallel, torch.compile, and Keras write.
    let renamed = |prefix: &str| {
        let put = |entry: &str| entry.replacen('"', &format!("\"{prefix}"), 1);
        file(&format!("{{{},{},{}}}", put(A), put(STEPS), put(B)), 36)
    };
    let counter = r#""bn.num_batches_tracked":{"dtype":"I64","shape":[],"data_offsets":[36,44]}"#;
    let both = file(&format!("{{{},{},{},{counter}}}", A, STEPS, B), 44);
    let wrapped = counter.replace("bn.", "module.bn.");
    let put = |entry: &str| entry.replacen('"', "\"module.", 1);
    let wrapped = file(&format!("{{{},{},{},{wrapped}}}", put(A), put(STEPS), put(B)), 44);
    for (file, cure) in [
        (
            renamed("module."),
            "each name in the file begins with \"module.\": remove this beginning before saving. In PyTorch, a model inside DataParallel",
        ),
        (renamed("_orig_mod."), "save model._orig_mod.state_dict()"),
        (
            renamed("net.0."),
            "each name in the file begins with \"net.0.\": remove this beginning before saving.",
        ),
        (wrapped, "each name in the file begins with \"module.\""),
        (both, "BatchNorm of PyTorch counts batches in num_batches_tracked"),
    ] {
        let said = refusal(&file);
        assert!(said.contains(cure), "{said}");
    }
    let shape = |found: &[usize], expected: &[u32]| {
        let (found, expected) = (found.to_vec(), expected.to_vec());
        ModelFileError::Shape { name: "w".to_owned(), found, expected }.hint().unwrap()
    };
    assert!(
        shape(&[30, 16], &[16, 30]).ends_with("tensor.transpose(1, 0))"),
        "{}",
        shape(&[30, 16], &[16, 30])
    );
    assert!(shape(&[3, 5, 1, 8], &[8, 1, 3, 5]).ends_with("tensor.transpose(3, 2, 0, 1))"));
    for (found, expected) in [(&[30, 16][..], &[16, 31][..]), (&[4], &[2, 2]), (&[2, 3, 4], &[4, 3, 2])] {
        assert!(shape(found, expected).starts_with("the file holds another model"));
    }
}

#[test]
fn tensor_of_another_type_or_shape_is_named() {
    assert_eq!(read(&with(A, STEPS, B), &layout()).map(|(state, _)| state.f32), Ok(vec![0.0; 7]));
    let cases = [
        (
            with(&A.replace("F32", "I32"), STEPS, B),
            "the tensor \"a\" of the file has the type I32; the model needs F32 | convert the tensor before saving; in PyTorch: tensor.float()",
        ),
        (
            with(&A.replace("[2,2]", "[4]"), STEPS, B),
            "the tensor \"a\" of the file has the shape [4]; the model needs [2, 2] | the file holds another model than the one that plan/plan.yaml describes",
        ),
        (
            with(A, &STEPS.replace("I64", "F64"), B),
            "the tensor \"steps\" of the file has the type F64; the model needs I64 | ",
        ),
    ];
    for (file, expected) in cases {
        assert_eq!(refusal(&file), expected);
    }
}

#[test]
fn values_that_are_not_finite_are_refused_with_their_place() {
    for (value, shown) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let mut state = state();
        state.f32[5] = value;
        let expected = format!(
            "the tensor \"b.weight\" of the file has the value {shown} at element 1; values are finite | "
        );
        assert_eq!(refusal(&write(&state, &Texts::new())), expected);
    }
}

#[test]
fn hostile_files_are_refused() {
    let whole = write(&state(), &some_texts());
    for length in 0..whole.len() {
        assert!(read(&whole[..length], &layout()).is_err(), "cut to {length} bytes");
        assert!(inspect(&whole[..length]).is_err(), "cut to {length} bytes");
    }
    assert!(read(&[whole.as_slice(), &[0]].concat(), &layout()).is_err(), "a byte too many");
    for claimed in [u64::MAX, u64::MAX - 7, 1 << 40, whole.len() as u64, whole.len() as u64 - 7] {
        let lie = [claimed.to_le_bytes().as_slice(), &whole[8..]].concat();
        let expected = ModelFileError::HeaderLength { claimed, room: whole.len() - 8 };
        assert_eq!(read(&lie, &layout()), Err(expected));
    }
    let big = limits::MODEL_HEADER_BYTES + 1;
    let padded = file(&format!("{{{A},{STEPS},{B}}}{}", " ".repeat(big)), 36);
    assert!(matches!(read(&padded, &layout()), Err(ModelFileError::HeaderLength { .. })));
    let headers = [
        ("overlap", with(&A.replace("[8,24]", "[4,20]"), STEPS, B)),
        ("gap", with(A, STEPS, &B.replace("[24,36]", "[28,40]"))),
        ("backwards", with(&A.replace("[8,24]", "[24,8]"), STEPS, B)),
        ("past the end", with(A, STEPS, &B.replace("[24,36]", "[24,1000000000036]"))),
        ("longer than its shape", with(&A.replace("[2,2]", "[2,1]"), STEPS, B)),
        ("huge shape", with(&A.replace("[2,2]", "[4294967296,4294967296,4294967296]"), STEPS, B)),
        ("negative offset", with(&A.replace("[8,24]", "[-8,8]"), STEPS, B)),
        ("no such dtype", with(&A.replace("F32", "F33"), STEPS, B)),
        ("not JSON", file("{\"a\":", 36)),
        ("not UTF-8", [8u64.to_le_bytes().as_slice(), &[0xff; 8]].concat()),
        ("an array", file("[]", 0)),
        ("deep nesting", file(&"[".repeat(100_000), 0)),
        ("a number for a tensor", file("{\"a\":1}", 0)),
        ("null for a tensor", file("{\"a\":null}", 0)),
        ("a list for a tensor", file("{\"a\":[]}", 0)),
        ("no dtype", with(&A.replace("\"dtype\":\"F32\",", ""), STEPS, B)),
        ("no shape", with(&A.replace("\"shape\":[2,2],", ""), STEPS, B)),
        ("no offsets", with(r#""a":{"dtype":"F32","shape":[2,2]}"#, STEPS, B)),
        ("one offset", with(&A.replace("[8,24]", "[8]"), STEPS, B)),
        ("three offsets", with(&A.replace("[8,24]", "[8,16,24]"), STEPS, B)),
        ("offsets that are texts", with(&A.replace("[8,24]", "[\"8\",\"24\"]"), STEPS, B)),
        ("offsets with fractions", with(&A.replace("[8,24]", "[8.5,24.5]"), STEPS, B)),
        ("offset past 64 bits", with(&A.replace("[8,24]", "[8,18446744073709551640]"), STEPS, B)),
        ("negative side", with(&A.replace("[2,2]", "[-2,-2]"), STEPS, B)),
        ("side with a fraction", with(&A.replace("[2,2]", "[2.0,2.5]"), STEPS, B)),
        ("side that is a text", with(&A.replace("[2,2]", "[\"2\",2]"), STEPS, B)),
        ("shape that is a number", with(&A.replace("[2,2]", "4"), STEPS, B)),
        ("product of sides past 64 bits", with(&A.replace("[2,2]", "[18446744073709551615,2]"), STEPS, B)),
        ("dtype in small letters", with(&A.replace("F32", "f32"), STEPS, B)),
        ("dtype that is a number", with(&A.replace("\"F32\"", "32"), STEPS, B)),
        (
            "shorter than its shape",
            with(&A.replace("[8,24]", "[8,20]"), STEPS, &B.replace("[24,36]", "[20,32]")),
        ),
        ("two tensors of the same bytes", with(&A.replace("[8,24]", "[24,40]"), STEPS, B)),
        ("bytes behind the last tensor", file(&format!("{{{A},{STEPS},{B}}}"), 40)),
        ("bytes missing from the last tensor", file(&format!("{{{A},{STEPS},{B}}}"), 32)),
        (
            "first tensor not at 0",
            with(
                &A.replace("[8,24]", "[12,28]"),
                &STEPS.replace("[0,8]", "[4,12]"),
                &B.replace("[24,36]", "[28,40]"),
            ),
        ),
        ("a byte-order mark", file(&format!("\u{feff}{{{A},{STEPS},{B}}}"), 36)),
        ("a comment", file(&format!("/* */{{{A},{STEPS},{B}}}"), 36)),
        ("a comma too many", file(&format!("{{{A},{STEPS},{B},}}"), 36)),
        ("two objects", file(&format!("{{{A},{STEPS},{B}}}{{}}"), 36)),
        ("an open text", file("{\"a", 0)),
        ("half of a surrogate pair", file(&format!("{{\"\\ud800\":1,{A},{STEPS},{B}}}"), 36)),
        ("a null byte", file(&format!("{{{A},\0{STEPS},{B}}}"), 36)),
        ("metadata that is a list", file(&format!("{{\"__metadata__\":[],{A},{STEPS},{B}}}"), 36)),
        ("metadata of metadata", file(&format!("{{\"__metadata__\":{{\"a\":{{}}}},{A},{STEPS},{B}}}"), 36)),
        ("deep nesting inside", file(&format!("{{\"a\":{}", "{\"a\":".repeat(50_000)), 0)),
        ("metadata that is no text", file(&format!("{{\"__metadata__\":{{\"a\":1}},{A},{STEPS},{B}}}"), 36)),
    ];
    for (what, file) in headers {
        let error = read(&file, &layout()).unwrap_err();
        assert!(matches!(error, ModelFileError::Header(_)), "{what}: {error}");
    }
}

#[test]
fn names_and_metadata_with_control_characters_are_refused() {
    let named = |json: &str| with(&A.replace("\"a\"", json), STEPS, B);
    let about = |json: &str| file(&format!("{{\"__metadata__\":{{{json}}},{A},{STEPS},{B}}}"), 36);
    for (file, what) in [
        (
            named(r#""a\u001b[2J""#),
            "the tensor \"a\\u{1b}[2J\" of the file contains the control character \\u{1b}",
        ),
        (named(r#""a\nb""#), "the tensor \"a\\nb\" of the file contains the control character \\u{a}"),
        (
            named("\"\u{202e}a\""),
            "the tensor \"\\u{202e}a\" of the file contains the control character \\u{202e}",
        ),
        (
            about(r#""k\u007f":"v""#),
            "the metadata \"k\\u{7f}\" of the file contains the control character \\u{7f}",
        ),
        (
            about("\"k\":\"\u{9b}2J\""),
            "the metadata \"k\" of the file contains the control character \\u{9b}",
        ),
        (about(r#""k":"a\tb""#), "the metadata \"k\" of the file contains the control character \\u{9}"),
    ] {
        for error in [read(&file, &layout()).unwrap_err(), inspect(&file).unwrap_err()] {
            assert_eq!(error.to_string(), what);
        }
        assert!(layout_of(&file).is_err());
    }
    assert!(read(&about(r#""notes":"two\nlines""#), &layout()).is_ok());
}

#[test]
fn any_file_can_be_inspected() {
    let bytes = with(&A.replace("F32", "I32"), STEPS, B);
    let (tensors, texts) = inspect(&bytes).unwrap();
    let found: Vec<(&str, &str, &[usize])> =
        tensors.iter().map(|t| (t.name.as_str(), t.dtype.as_str(), t.shape.as_slice())).collect();
    let expected: [(&str, &str, &[usize]); 3] =
        [("steps", "I64", &[]), ("a", "I32", &[2, 2]), ("b.weight", "F32", &[3])];
    assert_eq!(found, expected);
    assert!(texts.is_empty());
}

#[test]
fn layout_is_read_off_a_file_of_any_model() {
    let layout = layout_of(&write(&state(), &Texts::new())).unwrap();
    let names: Vec<&str> = layout.tensors().iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["steps", "a", "b.weight"]);
    let (read, _) = read(&write(&state(), &Texts::new()), &layout).unwrap();
    assert_eq!((read.f32, read.i64), (state().f32, state().i64));
    let refused = layout_of(&with(&A.replace("F32", "I32"), STEPS, B)).unwrap_err();
    assert_eq!(refused.to_string(), "the tensor \"a\" of the file has the type I32; the model needs F32");
}

/// Written by the reference implementation (Python): `a` [2, 2] F32, `steps` [] I64, metadata `made_by`.
const GOLDEN: &[u8] = include_bytes!("golden.safetensors");
/// Entries of a header that fits [`layout`], to be changed.
const A: &str = r#""a":{"dtype":"F32","shape":[2,2],"data_offsets":[8,24]}"#;
const STEPS: &str = r#""steps":{"dtype":"I64","shape":[],"data_offsets":[0,8]}"#;
const B: &str = r#""b.weight":{"dtype":"F32","shape":[3],"data_offsets":[24,36]}"#;
