//! Files that are broken, or made to take time and memory: each is refused with its reason.

use std::time::{Duration, Instant};

use fl_engine::model::Layer;

use super::{
    import,
    tests::{Nowhere, folder},
};

/// A field of a message.
fn field(number: u32, value: &[u8]) -> Vec<u8> {
    [number_of(u64::from(number) << 3 | 2), number_of(value.len() as u64), value.to_vec()].concat()
}

fn whole(number: u32, value: i64) -> Vec<u8> {
    [number_of(u64::from(number) << 3), number_of(value as u64)].concat()
}

fn number_of(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn wholes(name: &str, values: &[i64]) -> Vec<u8> {
    let values: Vec<u8> = values.iter().flat_map(|value| whole(8, *value)).collect();
    field(5, &[field(1, name.as_bytes()), values].concat())
}

fn node(op: &str, inputs: &[&str], output: &str, settings: &[Vec<u8>]) -> Vec<u8> {
    let inputs: Vec<u8> = inputs.iter().flat_map(|name| field(1, name.as_bytes())).collect();
    let settings = settings.concat();
    field(1, &[inputs, field(2, output.as_bytes()), field(4, op.as_bytes()), settings].concat())
}

fn weight(name: &str, shape: &[i64], elements: usize) -> Vec<u8> {
    tensor(name, shape, 1, &field(9, &vec![0; 4 * elements]))
}

fn tensor(name: &str, shape: &[i64], dtype: i64, values: &[u8]) -> Vec<u8> {
    let sides: Vec<u8> = shape.iter().flat_map(|side| whole(1, *side)).collect();
    field(5, &[sides, whole(2, dtype), field(8, name.as_bytes()), values.to_vec()].concat())
}

/// A list of whole numbers that nodes take.
fn numbers(name: &str, values: &[i64]) -> Vec<u8> {
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensor(name, &[values.len() as i64], 7, &field(9, &raw))
}

fn end(number: u32, name: &str, shape: &[i64]) -> Vec<u8> {
    let sides: Vec<u8> = shape.iter().flat_map(|side| field(1, &whole(1, *side))).collect();
    let kind = field(1, &[whole(1, 1), field(2, &sides)].concat());
    field(number, &[field(1, name.as_bytes()), field(2, &kind)].concat())
}

fn model(opset: i64, graph: &[Vec<u8>]) -> Vec<u8> {
    [whole(1, 8), field(7, &graph.concat()), field(8, &whole(2, opset))].concat()
}

/// Images of 3 × 8 × 8 in, through these parts, `y` out.
fn net(parts: &[Vec<u8>]) -> Vec<u8> {
    let ends = [end(11, "x", &[2, 3, 8, 8]), end(12, "y", &[])];
    model(17, &[&ends[..], parts].concat())
}

/// A convolution with these settings.
fn conv(settings: &[Vec<u8>]) -> Vec<u8> {
    net(&[weight("c.weight", &[4, 3, 3, 3], 108), node("Conv", &["x", "c.weight"], "y", settings)])
}

/// A relu behind a reshape of the image to this shape.
fn reshape(shape: &[i64]) -> Vec<u8> {
    net(&[
        numbers("s", shape),
        node("Reshape", &["x", "s"], "r", &[]),
        weight("f.weight", &[2, 192], 384),
        node("Gemm", &["r", "f.weight"], "y", &[field(5, &[field(1, b"transB"), whole(3, 1)].concat())]),
    ])
}

/// Each file with a part of the reason that it is refused for.
fn files() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let real = std::fs::read(folder().join("resnet18.classic.onnx")).unwrap();
    let good = conv(&[]);
    let cut = |at: usize| real[..at].to_vec();
    let relu = |input: &str, output: &str| node("Relu", &[input], output, &[]);
    let chain = |count: usize| -> Vec<u8> {
        (0..count)
            .flat_map(|n| relu(&if n == 0 { "x".to_owned() } else { n.to_string() }, &(n + 1).to_string()))
            .collect()
    };
    let nested = |mut inner: Vec<u8>, levels: usize| {
        for _ in 0..levels {
            inner = field(1, &field(5, &field(6, &inner)));
        }
        inner
    };
    let elsewhere = |name: &str, offset: &str, length: &str| {
        let entry = |key: &str, value: &str| {
            field(13, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat())
        };
        let place = [entry("location", name), entry("offset", offset), entry("length", length), whole(14, 1)]
            .concat();
        net(&[tensor("c.weight", &[4, 3, 3, 3], 1, &place), node("Conv", &["x", "c.weight"], "y", &[])])
    };
    let shaped = |shape: &[i64], elements: usize| {
        net(&[weight("c.weight", shape, elements), node("Conv", &["x", "c.weight"], "y", &[])])
    };
    vec![
        ("an empty file", Vec::new(), "no network"),
        ("a text", b"not a network at all".to_vec(), "not an ONNX model"),
        ("cut in the header", cut(3), "not an ONNX model"),
        ("cut in the middle", cut(real.len() / 2), "not an ONNX model"),
        ("cut before the end", cut(real.len() - 1), "not an ONNX model"),
        (
            "a length past the end",
            [&[0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f][..], &good].concat(),
            "longer than the file",
        ),
        (
            "a length of 2^63",
            [&[0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f][..]].concat(),
            "longer",
        ),
        ("a number without an end", vec![0xff; 64], "64 bits"),
        ("a group", vec![0x0b, 0x0c], "unknown form"),
        ("two networks", [good.clone(), good.clone()].concat(), "two networks"),
        (
            "a name in other bytes than text",
            net(&[node("Relu", &["x"], "y", &[field(3, &[0xff, 0xfe])])]),
            "UTF-8",
        ),
        ("opset 10", model(10, &[end(11, "x", &[2, 3]), end(12, "y", &[])]), "opset 10"),
        ("opset 21", model(21, &[end(11, "x", &[2, 3]), end(12, "y", &[])]), "opset 21"),
        ("opset 2^62", model(1 << 62, &[end(11, "x", &[2, 3]), end(12, "y", &[])]), "opset"),
        ("no opset", field(7, &[end(11, "x", &[2, 3]), end(12, "y", &[])].concat()), "opset 0"),
        ("no input", model(17, &[end(12, "y", &[])]), "takes 0 inputs"),
        ("two inputs", net(&[end(11, "z", &[2, 3])]), "takes 2 inputs"),
        ("no output", model(17, &[end(11, "x", &[2, 3])]), "gives 0 outputs"),
        ("an output that nothing gives", net(&[]), "no node gives"),
        ("an input of no shape", model(17, &[end(11, "x", &[]), end(12, "y", &[])]), "shape of the input"),
        ("a side below 0", model(17, &[end(11, "x", &[2, -3]), end(12, "y", &[])]), "needed are the batch"),
        (
            "an image of 2^60 pixels",
            model(
                17,
                &[
                    end(11, "x", &[2, 3, 1 << 30, 1 << 30]),
                    end(12, "y", &[]),
                    weight("c.weight", &[4, 3, 3, 3], 108),
                    node("Conv", &["x", "c.weight"], "y", &[]),
                ],
            ),
            "elements",
        ),
        (
            "a cycle of two nodes",
            net(&[relu("b", "a"), relu("a", "b"), relu("b", "y")]),
            "no node before it gives",
        ),
        ("a node that takes itself", net(&[relu("y", "y")]), "no node before it gives"),
        ("a name given twice", net(&[relu("x", "y"), relu("x", "y")]), "two nodes give"),
        (
            "a node that gives a weight",
            net(&[weight("w", &[1], 1), relu("x", "w"), relu("w", "y")]),
            "two nodes give",
        ),
        (
            "a bound that is trained",
            dense(&[weight("alpha", &[], 1), tensor("low", &[], 1, &field(9, &[0; 4])), clip("", "alpha")]),
            "has a bound that is computed or trained",
        ),
        (
            "a lower bound that is trained",
            dense(&[weight("alpha", &[], 1), clip("alpha", "")]),
            "has a bound that is computed or trained",
        ),
        ("values that become whole", dense(&[sigmoid(), cast("s", 7)]), "rounds or compares values"),
        ("values that become yes or no", dense(&[sigmoid(), cast("s", 9)]), "rounds or compares values"),
        ("a sample that becomes whole", dense(&[cast("x", 7)]), "other than an embedding"),
        ("values of 64 bits", dense(&[cast("x", 11)]), "elements of the type 11"),
        ("a softmax over another axis", heads(1), "goes over another axis than the last"),
        ("70,000 nodes", net(&[chain(70_000), relu("70000", "y")]), "too many nodes"),
        ("50,000 nodes", net(&[chain(50_000), relu("50000", "y")]), "layers"),
        ("a node of 600,000 inputs", net(&[node("Sum", &vec!["x"; 600_000], "y", &[])]), "too many inputs"),
        (
            "subgraphs in 3,000 levels",
            net(&[nested(relu("x", "y"), 3_000), relu("z", "y")]),
            "no node before it gives",
        ),
        (
            "an operator of somebody",
            net(&[node("Relu", &["x"], "y", &[field(7, b"com.evil")])]),
            "(Relu)|Relu",
        ),
        (
            "a split of somebody",
            net(&[node("Split", &["x"], "y", &[field(7, b"com.evil")])]),
            "(Split)|Split",
        ),
        ("a loop", net(&[node("Loop", &["x"], "y", &[])]), "Loop"),
        ("a stride of 0", conv(&[wholes("strides", &[0, 0])]), "stride is 0"),
        ("a padding of 2^62", conv(&[wholes("pads", &[1 << 62, 0, 0, 0])]), "has pads"),
        ("a padding below 0", conv(&[wholes("pads", &[-1, -1, -1, -1])]), "has pads"),
        ("groups below 0", conv(&[field(5, &[field(1, b"group"), whole(3, -3)].concat())]), "out of range"),
        ("a list of 100,000 numbers", conv(&[wholes("strides", &vec![1; 100_000])]), "too many numbers"),
        ("a weight of 2^62 elements", shaped(&[1 << 31, 3, 1 << 30, 1], 4), "needs sides of at least"),
        ("a weight of sides below 0", shaped(&[-4, 3, -3, 3], 108), "too large"),
        ("a weight with too few elements", shaped(&[4, 3, 3, 3], 107), "107 elements"),
        ("a weight of 4 GB that is not there", shaped(&[1 << 26, 3, 4, 4], 0), "elements"),
        ("a weight of 17 axes", shaped(&[1; 17], 1), "too many numbers"),
        ("weights outside of the folder", elsewhere("../../etc/passwd", "0", "432"), "no file"),
        ("weights at no number", elsewhere("w", "x", "432"), "not a number"),
        ("weights past the end of numbers", elsewhere("w", "18446744073709551615", "432"), "no file"),
        ("a reshape that mixes the batch", reshape(&[3, 128]), "mixes the batch"),
        ("a reshape to two unknown sides", reshape(&[-1, -1]), "mixes the batch"),
        ("a reshape to 2^126 values", reshape(&[2, 1 << 62, 1 << 62]), "mixes the batch"),
        (
            "a constant of 2^80 elements",
            net(&[
                numbers("s", &[1 << 40, 1 << 40]),
                node("ConstantOfShape", &["s"], "c", &[]),
                node("Add", &["x", "c"], "y", &[]),
            ]),
            "constant",
        ),
        (
            "a range of 2^62 numbers",
            net(&[
                tensor("a", &[], 7, &field(9, &0i64.to_le_bytes())),
                tensor("b", &[], 7, &field(9, &(1i64 << 62).to_le_bytes())),
                tensor("c", &[], 7, &field(9, &1i64.to_le_bytes())),
                node("Range", &["a", "b", "c"], "r", &[]),
                node("Reshape", &["x", "r"], "y", &[]),
            ]),
            "Range",
        ),
        (
            "a division by 0",
            net(&[
                numbers("a", &[4]),
                numbers("b", &[0]),
                node("Div", &["a", "b"], "r", &[]),
                node("Reshape", &["x", "r"], "y", &[]),
            ]),
            "Div",
        ),
        (
            "a slice from the smallest number",
            net(&[
                numbers("a", &[i64::MIN]),
                numbers("b", &[i64::MIN]),
                numbers("c", &[2]),
                node("Slice", &["x", "a", "b", "c"], "y", &[]),
            ]),
            "empty part",
        ),
        (
            "an axis that is not there",
            net(&[node(
                "Softmax",
                &["x"],
                "y",
                &[field(5, &[field(1, b"axis"), whole(3, i64::MIN)].concat())],
            )]),
            "Softmax",
        ),
        ("no weights", net(&[relu("x", "y")]), "no layer with parameters"),
    ]
}

fn clip(least: &str, most: &str) -> Vec<u8> {
    node("Clip", &["x", least, most], "v", &[])
}

fn sigmoid() -> Vec<u8> {
    node("Sigmoid", &["x"], "s", &[])
}

fn cast(from: &str, to: i64) -> Vec<u8> {
    node("Cast", &[from], "v", &[setting("to", to)])
}

fn setting(name: &str, value: i64) -> Vec<u8> {
    field(5, &[field(1, name.as_bytes()), whole(3, value)].concat())
}

/// A linear layer behind what these parts make as `v` of the images.
fn dense(parts: &[Vec<u8>]) -> Vec<u8> {
    let last = [
        numbers("flat", &[-1, 192]),
        node("Reshape", &["v", "flat"], "r", &[]),
        weight("f.weight", &[2, 192], 384),
        node("Gemm", &["r", "f.weight"], "y", &[setting("transB", 1)]),
    ];
    net(&[parts, &last[..]].concat())
}

/// A softmax over images whose channels and batch lie in one axis, as those of heads do.
fn heads(axis: i64) -> Vec<u8> {
    dense(&[
        numbers("s", &[-1, 8, 8]),
        node("Reshape", &["x", "s"], "h", &[]),
        node("Softmax", &["h"], "v", &[setting("axis", axis)]),
    ])
}

#[test]
fn softmax_over_the_last_axis_is_the_same_by_each_of_its_numbers() {
    for axis in [2, -1] {
        let layers = import(&heads(axis), &Nowhere).unwrap().model.layers;
        assert_eq!(layers[0], Layer::Softmax { axis: 2 }, "{axis}");
        assert_eq!(layers.len(), 3, "{layers:?}");
    }
}

#[test]
fn parts_of_an_axis_are_counted_with_those_that_nobody_takes() {
    let further = [field(2, b""), field(2, b"c"), setting("axis", 1)];
    let whole = node("Concat", &["c", "c", "c"], "v", &[setting("axis", 1)]);
    let layers =
        import(&dense(&[node("Split", &["x"], "a", &further), whole]), &Nowhere).unwrap().model.layers;
    let starts: Vec<u32> = layers
        .iter()
        .filter_map(|layer| if let Layer::Slice { start, .. } = layer { Some(*start) } else { None })
        .collect();
    assert_eq!(starts, [2], "{layers:?}");
}

#[test]
fn bounds_and_types_that_change_nothing_are_taken() {
    let first = |parts: &[Vec<u8>]| import(&dense(parts), &Nowhere).unwrap().model.layers.swap_remove(0);
    let zero = tensor("/zero", &[], 1, &field(9, &[0; 4]));
    assert_eq!(first(&[zero, clip("/zero", "")]), Layer::Relu);
    assert_eq!(first(&[sigmoid(), cast("s", 1)]), Layer::Sigmoid);
}

#[test]
fn instance_norm_of_a_sequence_needs_no_weights() {
    let ends = [end(11, "x", &[2, 3, 8]), end(12, "y", &[])];
    let floats = |name: &str, value: f32| {
        let value = tensor("", &[3], 1, &field(9, &value.to_le_bytes().repeat(3)));
        node("Constant", &[], name, &[field(5, &[field(1, b"value"), value].concat())])
    };
    let parts = [
        floats("one", 1.0),
        floats("zero", 0.0),
        node("InstanceNormalization", &["x", "one", "zero"], "n", &[]),
        weight("f.weight", &[2, 8], 16),
        node("Transpose", &["f.weight"], "/turned", &[]),
        node("MatMul", &["n", "/turned"], "y", &[]),
    ];
    let layers = import(&model(17, &[&ends[..], &parts].concat()), &Nowhere).unwrap().model.layers;
    assert!(matches!(layers[0], Layer::InstanceNorm { .. }), "{layers:?}");
}

#[test]
fn tensors_that_may_be_buffers_are_named_as_trained() {
    let part = [weight("pe", &[1, 3, 8, 8], 192), node("Add", &["x", "pe"], "v", &[])];
    let notes = import(&dense(&part), &Nowhere).unwrap().notes;
    assert_eq!(
        notes,
        [
            "taken as parameters that are trained: \"pe\". If the network keeps one as it is, name it under `freeze` of \
          the plan's task"
        ]
    );
}

#[test]
fn broken_files_are_refused_with_their_reason_within_a_second() {
    let files = files();
    assert!(files.len() >= 40, "{}", files.len());
    assert!(import(&conv(&[]), &Nowhere).is_ok(), "what the files are made of");
    assert!(import(&reshape(&[2, -1]), &Nowhere).is_ok());
    let mut slowest = Duration::ZERO;
    for (what, bytes, reason) in files {
        // The best of three, because the machine does other work, too.
        let mut took = Duration::MAX;
        let mut error = None;
        for _ in 0..3 {
            let begin = Instant::now();
            error = Some(import(&bytes, &Nowhere).expect_err(what));
            took = took.min(begin.elapsed());
        }
        let error = error.unwrap();
        assert!(took < Duration::from_secs(1), "{what} took {took:?}");
        slowest = slowest.max(took);
        let said = format!("{error} {}", error.hint().unwrap_or_default());
        println!("{what}: {said}");
        assert!(reason.split('|').any(|reason| said.contains(reason)), "{what}: {said}");
        assert!(said.len() < 4_000, "{what}: {} bytes", said.len());
    }
    println!("slowest: {slowest:?}");
}

#[test]
fn changed_bytes_never_end_the_program() {
    // Each byte of a small export in turn, and pieces of it left out.
    for name in ["mlp.classic.onnx", "sequence.dynamo.onnx", "pyramid.classic.onnx"] {
        let real = std::fs::read(folder().join(name)).unwrap();
        for at in 0..real.len() {
            let mut changed = real.clone();
            changed[at] = changed[at].wrapping_mul(31).wrapping_add(at as u8 | 1);
            let _ = import(&changed, &Nowhere);
            if at % 7 == 0 {
                changed.drain(at..(at + 5).min(real.len()));
                let _ = import(&changed, &Nowhere);
            }
        }
    }
}
