//! Networks that PyTorch exported: `runtime/learn/reference/networks.py` makes the files in `networks/`.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use fl_engine::tensor::Dtype;

use super::*;

/// No second file.
pub(super) struct Nowhere;

impl Elsewhere for Nowhere {
    fn length(&self, name: &str) -> Result<u64, String> {
        Err(format!("there is no file {name}"))
    }

    fn read(&self, name: &str, _: u64, _: usize) -> Result<Vec<u8>, String> {
        Err(format!("there is no file {name}"))
    }
}

pub(super) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/onnx/networks")
}

/// Each network with its files, by the name before the first point.
fn networks() -> BTreeMap<String, Vec<PathBuf>> {
    let mut all = BTreeMap::<String, Vec<PathBuf>>::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if let Some((network, _)) = name.split_once('.').filter(|_| name.ends_with(".onnx")) {
            all.entry(network.to_owned()).or_default().push(path.clone());
        }
    }
    all.values_mut().for_each(|files| files.sort());
    all
}

/// The integers and the formula of `hashed.py`.
fn hashed(name: &str, shape: &[u32], transposed: bool) -> Vec<f32> {
    let (a, c) = match (name.rsplit('.').next(), shape) {
        (Some("running_mean" | "bias"), _) => (0.125, 0.0),
        (Some("running_var"), _) => (0.5, 1.0),
        (_, [_]) => (0.25, 1.0),
        (_, [first, rest @ ..]) => {
            let terms = if transposed { *first } else { rest.iter().product() };
            ((6.0 / f64::from(terms)).sqrt(), 0.0)
        }
        _ => (0.0, 0.0),
    };
    let seed =
        name.bytes().fold(0x811c_9dc5u32, |seed, byte| (seed ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let value = |index: u32| {
        let mut x = seed.wrapping_add(index.wrapping_mul(0x9e37_79b9));
        x ^= x >> 16;
        x = x.wrapping_mul(0x7feb_352d);
        x ^= x >> 15;
        x = x.wrapping_mul(0x846c_a68b);
        x ^= x >> 16;
        (f64::from((x >> 8) as i32 - (1 << 23)) / f64::from(1 << 23) * a + c) as f32
    };
    (0..shape.iter().product()).map(value).collect()
}

#[test]
fn plan_of_a_thousand_layers_is_read_and_checked_within_a_tenth_of_a_second() {
    // As many as a vision transformer with twelve blocks has, with as many branches.
    let mut text = "{input: [16, 8], layers: [{linear: {name: f, out: 8}}".to_owned();
    for n in 0..333 {
        text += &format!(
            ", {{layer_norm: {{name: n{n}}}, as: a{n}}}, {{linear: {{name: f{n}, out: 8}}, as: b{n}}}"
        );
        text += &format!(", {{add: , from: [a{n}, b{n}]}}");
    }
    text += "]}";
    let mut best = Duration::MAX;
    // A machine that does other work needs several tries.
    for _ in 0..30 {
        let begin = Instant::now();
        let spec = ModelSpec::parse(&text).unwrap();
        assert_eq!(model::layout(&spec).unwrap().tensors().len(), 2 + 4 * 333);
        best = best.min(begin.elapsed());
    }
    println!("1,000 layers: {best:?}");
    assert!(best < Duration::from_millis(100), "{best:?}");
}

#[test]
fn normalisation_in_evaluation_mode_is_told_or_refused() {
    let bytes = fs::read(folder().join("resnet18.classic.onnx")).unwrap();
    let training = b"training_mode\x18\x01";
    let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(training)).collect();
    assert_eq!(places.len(), 20);
    let without = |places: &[usize]| {
        let mut changed = bytes.clone();
        places.iter().for_each(|at| changed[at + training.len() - 1] = 0);
        import(&changed, &Nowhere)
    };
    let error = without(&places[3..4]).unwrap_err().hint().unwrap();
    assert!(error.contains("is in evaluation mode while others are in training mode"), "{error}");
    assert_eq!(
        without(&places).unwrap().notes,
        ["the network was exported in evaluation mode: it has no dropout"]
    );
}

#[test]
fn what_has_no_layer_is_named_with_what_to_use_instead() {
    let refused = |name: &str| {
        let error = import(&fs::read(folder().join("refused").join(name)).unwrap(), &Nowhere).unwrap_err();
        (error.to_string(), error.hint().unwrap())
    };
    let (error, hint) = refused("merged.onnx");
    assert_eq!(
        error,
        "the exporter merged batch normalisation into other layers, so the network cannot be trained"
    );
    assert!(hint.ends_with(error::EXPORT) && hint.contains("optimize=False"), "{hint}");
    let (error, hint) = refused("recurrent.onnx");
    let nodes = "rnn (LSTM), act (Softplus)";
    assert_eq!(error, format!("a plan has no layers for 2 nodes of the network: {nodes}"));
    let lines = [
        "rnn (LSTM): has no layer in a plan; write the layer `lstm` or `gru` into the plan by hand",
        "act (Softplus): has no layer in a plan; use nn.SiLU",
    ];
    assert_eq!(hint, lines.join("\n"));
}

#[test]
fn every_export_of_a_network_gives_its_layers_and_its_weights() {
    let plans =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../runtime/learn/src/task/trainer/training/networks");
    let all = networks();
    assert!(all.len() >= 30 && all.values().map(Vec::len).sum::<usize>() >= 90, "{}", all.len());
    let mut wrong = Vec::new();
    for (network, files) in all {
        let expected = fs::read_to_string(plans.join(format!("{network}.yaml"))).unwrap_or_default();
        for file in files {
            let shown = file.file_name().unwrap().to_str().unwrap().to_owned();
            let imported = match import(&fs::read(&file).unwrap(), &Nowhere) {
                Ok(imported) => imported,
                Err(error) => {
                    wrong.push(format!("{shown}: {error}\n{}", error.hint().unwrap_or_default()));
                    continue;
                }
            };
            let text = written(&imported.model, "one of the networks");
            if text != expected {
                wrong.push(format!("{shown}: expected\n{expected}\nfound\n{text}"));
            }
            let again = ModelSpec::parse(text.split_once('\n').unwrap().1).unwrap();
            assert_eq!(again, imported.model, "{shown}");
            let layout = imported.state.layout();
            for segment in layout.segments(Dtype::F32) {
                let tensor = &layout.tensors()[segment.tensor];
                let transposed = imported.model.layers.iter().any(|layer| {
                    matches!(layer, model::Layer::ConvTranspose1d { name, .. } | model::Layer::ConvTranspose2d { name, .. } if format!("{name}.weight") == tensor.name)
                });
                // The older exporter runs the network, and its running statistics move on.
                if !shown.ends_with(".dynamo.onnx") && tensor.name.contains(".running_") {
                    continue;
                }
                let expected = hashed(&tensor.name, &tensor.shape, transposed);
                assert!(imported.state.f32[segment.range] == expected, "{shown}: {}", tensor.name);
            }
            let parameters = imported.model.layers.iter().any(|l| matches!(l, Layer::Parameter { .. }));
            let told = |note: &String| note.starts_with("taken as parameters that are trained: ");
            assert!(imported.notes.iter().all(told), "{shown}: {:?}", imported.notes);
            assert_eq!(imported.notes.len(), usize::from(parameters), "{shown}: {:?}", imported.notes);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
