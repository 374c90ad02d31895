//! Shapes, layer by layer: the input and output of each layer, and whether they fit together.

use std::collections::BTreeMap;

use super::{Layer, LayerAt, ModelError, ModelSpec, is_optimiser_tensor};
use crate::limits;

/// A layer with the shapes of its input and output, without the batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed<'a> {
    /// The layer.
    pub layer: &'a Layer,
    /// `[features]` or `[channels, height, width]`.
    pub input: Vec<u32>,
    /// As `input`.
    pub output: Vec<u32>,
}

/// Checks every layer against what arrives at it.
///
/// Convolutions and pools round their output down, as PyTorch's defaults do: rows and columns that fill no
/// whole window are dropped.
///
/// # Errors
/// [`ModelError`] names the first layer at fault, the shape that arrives and what it needs.
pub fn place(spec: &ModelSpec) -> Result<Vec<Placed<'_>>, ModelError> {
    let known = matches!(spec.input.len(), 1 | 3) && !spec.input.contains(&0);
    if !known || elements(&spec.input).is_none() {
        return Err(ModelError::Input(spec.input.clone()));
    }
    if spec.layers.is_empty() || spec.layers.len() > limits::LAYERS {
        return Err(ModelError::Layers(spec.layers.len()));
    }
    let mut names = BTreeMap::new();
    let mut placed: Vec<Placed<'_>> = Vec::with_capacity(spec.layers.len());
    for (index, layer) in spec.layers.iter().enumerate() {
        let at = || LayerAt::new(index, layer);
        if let Some(name) = layer.name() {
            if !is_field_name(name) {
                return Err(ModelError::FieldName(at()));
            }
            if is_optimiser_tensor(name) {
                return Err(ModelError::Reserved(at()));
            }
            if let Some(first) = names.insert(name, index) {
                return Err(ModelError::Duplicate { first, second: at() });
            }
        }
        let input = placed.last().map_or(&spec.input, |before| &before.output).clone();
        let output = output(layer, &input, &at)?;
        placed.push(Placed { layer, input, output });
    }
    if names.is_empty() {
        return Err(ModelError::NoParameters);
    }
    Ok(placed)
}

/// Shape of the last layer's output, the batch left out.
///
/// # Errors
/// As [`place`].
pub fn output_shape(spec: &ModelSpec) -> Result<Vec<u32>, ModelError> {
    Ok(place(spec)?.pop().map_or_else(|| spec.input.clone(), |last| last.output))
}

fn output(layer: &Layer, input: &[u32], at: &dyn Fn() -> LayerAt) -> Result<Vec<u32>, ModelError> {
    let needs =
        |needs: &str| ModelError::Shape { layer: at(), arrives: input.to_vec(), needs: needs.to_owned() };
    let image = || match *input {
        [channels, height, width] => Ok((channels, height, width)),
        _ => Err(needs("[channels, height, width]")),
    };
    let positive = |what: &str, value: u32| match value {
        0 => Err(ModelError::Setting { layer: at(), what: format!("{what} is 0; it is at least 1") }),
        _ => Ok(u64::from(value)),
    };
    let shape: Vec<u64> = match *layer {
        Layer::Linear { out, .. } => match input {
            [_] => vec![positive("out", out)?],
            _ => return Err(needs("[features]")),
        },
        Layer::Conv2d { out, kernel, stride, padding, .. } => {
            let (_, height, width) = image()?;
            let (out, kernel) = (positive("out", out)?, positive("kernel", kernel)?);
            let (stride, around) = (positive("stride", stride)?, 2 * u64::from(padding));
            let side = |side: u32| {
                let room = (u64::from(side) + around).checked_sub(kernel);
                room.map(|room| room / stride + 1)
                    .ok_or_else(|| needs(&format!("sides of at least {}", kernel.saturating_sub(around))))
            };
            vec![out, side(height)?, side(width)?]
        }
        Layer::ConvTranspose2d { out, kernel, stride, padding, .. } => {
            let (_, height, width) = image()?;
            let (out, kernel) = (positive("out", out)?, positive("kernel", kernel)?);
            let (stride, around) = (positive("stride", stride)?, 2 * u64::from(padding));
            // (2^32)² + 2^32 still fits u64, because both factors are below 2^32.
            let side = |side: u32| {
                ((u64::from(side) - 1) * stride + kernel)
                    .checked_sub(around)
                    .filter(|&left| left > 0)
                    .ok_or_else(|| needs("sides that its padding does not crop to nothing"))
            };
            vec![out, side(height)?, side(width)?]
        }
        Layer::BatchNorm { .. } => input.iter().copied().map(u64::from).collect(),
        Layer::MaxPool { kernel } | Layer::AvgPool { kernel } => {
            let (channels, height, width) = image()?;
            let kernel = positive("kernel", kernel)?;
            let side = |side: u32| match u64::from(side) / kernel {
                0 => Err(needs(&format!("sides of at least {kernel}"))),
                windows => Ok(windows),
            };
            vec![channels.into(), side(height)?, side(width)?]
        }
        Layer::Dropout { p } => {
            if !(0.0..1.0).contains(&p) {
                let what = format!("p is {p}; it is at least 0 and below 1");
                return Err(ModelError::Setting { layer: at(), what });
            }
            input.iter().copied().map(u64::from).collect()
        }
        Layer::Relu | Layer::Gelu | Layer::Sigmoid | Layer::Tanh => {
            input.iter().copied().map(u64::from).collect()
        }
        Layer::Flatten => vec![input.iter().copied().map(u64::from).product()],
    };
    let sides: Option<Vec<u32>> = shape.iter().map(|&side| u32::try_from(side).ok()).collect();
    sides.filter(|sides| elements(sides).is_some()).ok_or_else(|| ModelError::TooLarge { layer: at() })
}

/// Product of the sides, up to [`limits::ELEMENTS`].
fn elements(shape: &[u32]) -> Option<u64> {
    shape
        .iter()
        .try_fold(1u64, |product, &side| product.checked_mul(u64::from(side)))
        .filter(|&product| product <= limits::ELEMENTS)
}

fn is_field_name(name: &str) -> bool {
    name.split('.')
        .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{every_layer, linear};
    use super::*;

    fn shapes(input: &[u32], layers: Vec<Layer>) -> Result<Vec<Vec<u32>>, String> {
        let spec = ModelSpec { input: input.to_vec(), layers };
        place(&spec).map(|p| p.into_iter().map(|p| p.output).collect()).map_err(|e| e.to_string())
    }

    fn conv(kernel: u32, stride: u32, padding: u32) -> Layer {
        Layer::Conv2d { name: "c".to_owned(), out: 4, kernel, stride, padding, bias: true }
    }

    #[test]
    fn shapes_follow_from_layer_to_layer() {
        let spec = every_layer();
        let outputs: Vec<Vec<u32>> = place(&spec).unwrap().into_iter().map(|p| p.output).collect();
        let expected: [&[u32]; 13] = [
            &[3, 6, 6],
            &[3, 6, 6],
            &[3, 6, 6],
            &[3, 3, 3],
            &[2, 6, 6],
            &[2, 6, 6],
            &[2, 2, 2],
            &[2, 2, 2],
            &[8],
            &[4],
            &[4],
            &[2],
            &[2],
        ];
        assert_eq!(outputs, expected);
        assert_eq!(output_shape(&spec).unwrap(), [2]);
        assert_eq!(shapes(&[1, 7, 9], vec![conv(3, 2, 1)]).unwrap(), [[4, 4, 5]]);
    }

    #[test]
    fn layer_that_does_not_fit_is_named_with_what_arrives_and_what_it_needs() {
        let refusal = |input: &[u32], layers: Vec<Layer>| shapes(input, layers).unwrap_err();
        let up = Layer::ConvTranspose2d {
            name: "u".to_owned(),
            out: 1,
            kernel: 2,
            stride: 1,
            padding: 4,
            bias: true,
        };
        let cases = [
            (
                refusal(&[1, 8, 8], vec![conv(3, 1, 1), linear("fc1", 2)]),
                "layers[1] (linear \"fc1\") is given shape [4, 8, 8] and needs [features]",
            ),
            (
                refusal(&[30], vec![conv(3, 1, 1)]),
                "layers[0] (conv2d \"c\") is given shape [30] and needs [channels, height, width]",
            ),
            (
                refusal(&[1, 2, 8], vec![conv(5, 1, 1)]),
                "layers[0] (conv2d \"c\") is given shape [1, 2, 8] and needs sides of at least 3",
            ),
            (
                refusal(&[1, 3, 3], vec![up]),
                "layers[0] (conv_transpose2d \"u\") is given shape [1, 3, 3] and needs sides that its padding does not crop to nothing",
            ),
            (
                refusal(&[1, 3, 3], vec![Layer::MaxPool { kernel: 4 }]),
                "layers[0] (max_pool) is given shape [1, 3, 3] and needs sides of at least 4",
            ),
            (
                refusal(&[3], vec![linear("a", 2), Layer::Relu, linear("a", 2)]),
                "layers[2] (linear \"a\") has the same name as layers[0]",
            ),
            (
                refusal(&[3], vec![linear("a b", 2)]),
                "layers[0] (linear \"a b\"): a layer's name has letters, digits and _ only, in parts with . between them",
            ),
            (refusal(&[3], vec![linear("a", 0)]), "layers[0] (linear \"a\"): out is 0; it is at least 1"),
            (
                refusal(&[1, 3, 3], vec![conv(3, 0, 0)]),
                "layers[0] (conv2d \"c\"): stride is 0; it is at least 1",
            ),
            (
                refusal(&[3], vec![Layer::Dropout { p: f32::NAN }]),
                "layers[0] (dropout): p is NaN; it is at least 0 and below 1",
            ),
            (
                refusal(&[3, 0, 3], vec![]),
                "input shape [3, 0, 3] is not [features] or [channels, height, width] with sides above 0",
            ),
            (refusal(&[3], vec![]), "the model has 0 layers; a model has 1 to 4096"),
        ];
        for (found, expected) in cases {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn sizes_past_the_bound_are_refused_without_overflow() {
        let up = |stride| Layer::ConvTranspose2d {
            name: "u".to_owned(),
            out: u32::MAX,
            kernel: u32::MAX,
            stride,
            padding: 0,
            bias: true,
        };
        let refusal = shapes(&[1, 65_536, 65_535], vec![up(u32::MAX)]).unwrap_err();
        assert_eq!(refusal, "layers[0] (conv_transpose2d \"u\") gives or holds more than 2^32 elements");
        assert!(shapes(&[1, 8, 8], vec![conv(u32::MAX, 1, u32::MAX)]).is_err());
        assert!(shapes(&[u32::MAX, u32::MAX, u32::MAX], vec![Layer::Flatten]).is_err());
        assert!(
            super::super::layout(&ModelSpec { input: vec![u32::MAX], layers: vec![linear("a", u32::MAX)] })
                .is_err()
        );
    }
}
