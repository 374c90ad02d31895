//! The `model` key: layers, or a named network that expands to layers.

use crate::model::{Layer, ModelSpec};
use crate::plan::PlanError;
use crate::plan::fault::ranges;
use crate::plan::field::{Field, Section};

/// `{input: […], layers: […]}` or `{network: …, input: […], …}`.
pub(super) fn model(field: &Field<'_>) -> Result<ModelSpec, PlanError> {
    let Some(network) = field.peek("network") else {
        let model = field.section(&["input", "layers"]).map_err(|e| {
            let hint = "a network (mlp, cnn) has other keys: name it in `network`".to_owned();
            if e.hint.is_none() { e.with_hint(Some(hint)) } else { e }
        })?;
        let layers = model.required("layers")?.list("a list of layers")?;
        let layers = layers.iter().map(layer).collect::<Result<_, _>>()?;
        return Ok(ModelSpec { input: sides(&model, "input")?, layers });
    };
    match network.choice(&[("mlp", Network::Mlp), ("cnn", Network::Cnn)])? {
        Network::Mlp => {
            let model = field.section(&["network", "input", "hidden", "outputs"])?;
            let input = sides(&model, "input")?;
            let mut layers = if input.len() > 1 { vec![Layer::Flatten] } else { Vec::new() };
            dense(&model, &mut layers)?;
            Ok(ModelSpec { input, layers })
        }
        Network::Cnn => {
            let model = field.section(&["network", "input", "channels", "hidden", "outputs"])?;
            let mut layers = Vec::new();
            for (out, number) in sides(&model, "channels")?.into_iter().zip(1..) {
                let name = format!("conv{number}");
                layers.push(Layer::Conv2d { name, out, kernel: 3, stride: 1, padding: 1, bias: true });
                layers.push(Layer::Relu);
                layers.push(Layer::MaxPool { kernel: 2 });
            }
            layers.push(Layer::Flatten);
            dense(&model, &mut layers)?;
            Ok(ModelSpec { input: sides(&model, "input")?, layers })
        }
    }
}

#[derive(Clone, Copy)]
enum Network {
    /// Linear layers with ReLU between them: `fc1`, `fc2`, …
    Mlp,
    /// 3×3 convolutions that keep the sides, each with ReLU and a pool that halves them: `conv1`, …; then as an MLP.
    Cnn,
}

/// `hidden` layers, then `outputs`.
fn dense(model: &Section<'_>, layers: &mut Vec<Layer>) -> Result<(), PlanError> {
    let hidden = if model.optional("hidden").is_some() { sides(model, "hidden")? } else { Vec::new() };
    let outputs = model.required("outputs")?.whole(&ranges::SIDE)?;
    let last = hidden.len() + 1;
    for (out, number) in hidden.into_iter().chain([outputs]).zip(1..) {
        layers.push(Layer::Linear { name: format!("fc{number}"), out, bias: true });
        if number < last {
            layers.push(Layer::Relu);
        }
    }
    Ok(())
}

fn sides(model: &Section<'_>, key: &str) -> Result<Vec<u32>, PlanError> {
    let list = model.required(key)?.list("a list of whole numbers")?;
    list.iter().map(|side| side.whole(&ranges::SIDE)).collect()
}

/// `relu`, or `{linear: {name: fc1, out: 16}}`.
fn layer(field: &Field<'_>) -> Result<Layer, PlanError> {
    const KINDS: [&str; 12] = [
        "linear",
        "conv2d",
        "conv_transpose2d",
        "batch_norm",
        "max_pool",
        "avg_pool",
        "dropout",
        "relu",
        "gelu",
        "sigmoid",
        "tanh",
        "flatten",
    ];
    let (kind, settings) = field.variant(&KINDS)?;
    let section = |keys: &[&str]| match &settings {
        Some(settings) => settings.section(keys),
        None => {
            let message = format!("{} is {kind}, which needs the keys {}", field.path, keys.join(", "));
            Err(field.error(message).with_hint(Some(format!("write {{{kind}: {{…}}}}"))))
        }
    };
    let name = |s: &Section<'_>| s.required("name").and_then(|f| Ok(f.text()?.to_owned()));
    let number = |s: &Section<'_>, key: &str| s.required(key)?.whole(&ranges::SIDE);
    let bias = |s: &Section<'_>| s.or("bias", true, Field::flag);
    let plain = |layer: Layer| match &settings {
        Some(settings) if !settings.is_null() => {
            settings.section(&[]).map_err(|_| field.error(format!("{kind} has no settings")))?;
            Ok(layer)
        }
        _ => Ok(layer),
    };
    match kind {
        "linear" => {
            let s = section(&["name", "out", "bias"])?;
            Ok(Layer::Linear { name: name(&s)?, out: number(&s, "out")?, bias: bias(&s)? })
        }
        "conv2d" | "conv_transpose2d" => {
            let s = section(&["name", "out", "kernel", "stride", "padding", "bias"])?;
            let (name, out, kernel, bias) = (name(&s)?, number(&s, "out")?, number(&s, "kernel")?, bias(&s)?);
            let stride = s.or("stride", 1, |f| f.whole(&ranges::SIDE))?;
            let padding = s.or("padding", 0, |f| f.whole(&ranges::PADDING))?;
            Ok(match kind {
                "conv2d" => Layer::Conv2d { name, out, kernel, stride, padding, bias },
                _ => Layer::ConvTranspose2d { name, out, kernel, stride, padding, bias },
            })
        }
        "batch_norm" => Ok(Layer::BatchNorm { name: name(&section(&["name"])?)? }),
        "max_pool" => Ok(Layer::MaxPool { kernel: number(&section(&["kernel"])?, "kernel")? }),
        "avg_pool" => Ok(Layer::AvgPool { kernel: number(&section(&["kernel"])?, "kernel")? }),
        "dropout" => Ok(Layer::Dropout { p: section(&["p"])?.required("p")?.single()? }),
        "relu" => plain(Layer::Relu),
        "gelu" => plain(Layer::Gelu),
        "sigmoid" => plain(Layer::Sigmoid),
        "tanh" => plain(Layer::Tanh),
        _ => plain(Layer::Flatten),
    }
}
