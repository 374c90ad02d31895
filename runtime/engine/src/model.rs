//! A declarative model: from its layers to its tensors to its first values, without a training library.
//!
//! The aggregator, `fl-host` and the collaborator's training code all get the layout and the initial state
//! from this module, so a federation agrees on both without sending them. Tensors have PyTorch's names and
//! shapes (`fc1.weight [out, in]`). Nothing here computes with a model; the crate `fl-learn` does.

mod error;
mod init;
mod optimiser;
mod parts;
pub mod safetensors;
mod shape;
mod span;
mod spec;
mod window;

use std::sync::Arc;

pub use error::{LayerAt, ModelError};
pub(crate) use init::fill;
pub use init::init;
pub use optimiser::{OptimiserPlaces, StatePlace, is_optimiser_tensor, optimiser_places};
pub(crate) use optimiser::{Remembers, state_tensors};
pub use safetensors::ModelFileError;
pub use shape::{Placed, layer_output, output_shape, place};
pub use span::{Edges, Sides, Span};
pub use spec::{Layer, ModelSpec, Steps, Upsampling};
pub use window::{Weights, Window};

use crate::tensor::{Layout, TensorSpec};

/// The tensors of a model, in the order of its layers.
///
/// Tensors are f32 and combined by the task's rule, running statistics of a batch normalisation too: they are
/// averaged like the others, as in McMahan et al. (arXiv:1602.05629). The count of batches that a batch
/// normalisation may have is i64, and the largest count of a round wins.
///
/// # Errors
/// [`ModelError`] names the first layer that does not fit the one before it.
pub fn layout(spec: &ModelSpec) -> Result<Arc<Layout>, ModelError> {
    Ok(Layout::new(tensors(spec)?)?)
}

/// The model's tensors, each with its name after its layer's field name.
pub(crate) fn tensors(spec: &ModelSpec) -> Result<Vec<TensorSpec>, ModelError> {
    let placed = place(spec)?;
    Ok(placed.iter().flat_map(parts::parts).map(|part| part.tensor).collect())
}

/// Whether a model's tensor is a batch normalisation's running statistic or its count of batches, which no
/// gradient reaches.
#[must_use]
pub fn is_statistic(name: &str) -> bool {
    [".running_mean", ".running_var", ".num_batches_tracked"].iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::tensor::{Combine, Dtype};

    pub(super) fn linear(name: &str, out: u32) -> Layer {
        Layer::Linear { name: name.to_owned(), out, bias: true }
    }

    /// One of every layer with parameters that the first release had: 1×6×6 images in, two numbers out.
    pub(crate) fn every_layer() -> ModelSpec {
        ModelSpec::parse(
            "{input: [1, 6, 6], layers: [
                {conv2d: {name: conv, out: 3, kernel: 3, padding: 1}}, {batch_norm: {name: norm}}, relu,
                {max_pool: {kernel: 2}}, {conv_transpose2d: {name: up, out: 2, kernel: 2, stride: 2, bias: false}},
                gelu, {avg_pool: {kernel: 3}}, {dropout: {p: 0.5}}, flatten, {linear: {name: fc1, out: 4}}, tanh,
                {linear: {name: fc2, out: 2, bias: false}}, sigmoid]}",
        )
        .unwrap()
    }

    #[test]
    fn tensors_have_pytorchs_names_and_shapes() {
        let layout = layout(&every_layer()).unwrap();
        let found: Vec<(&str, &[u32])> =
            layout.tensors().iter().map(|t| (t.name.as_str(), t.shape.as_slice())).collect();
        let expected: [(&str, &[u32]); 10] = [
            ("conv.weight", &[3, 1, 3, 3]),
            ("conv.bias", &[3]),
            ("norm.weight", &[3]),
            ("norm.bias", &[3]),
            ("norm.running_mean", &[3]),
            ("norm.running_var", &[3]),
            ("up.weight", &[3, 2, 2, 2]),
            ("fc1.weight", &[4, 8]),
            ("fc1.bias", &[4]),
            ("fc2.weight", &[2, 4]),
        ];
        assert_eq!(found, expected);
        assert!(layout.tensors().iter().all(|t| t.combine == Combine::Rule));
    }

    #[test]
    fn model_without_a_tensor_is_refused() {
        let spec = ModelSpec::chain(vec![2], vec![Layer::Relu]);
        assert!(layout(&spec).unwrap_err().to_string().contains("no layer with parameters"));
    }

    #[test]
    fn count_of_batches_is_an_integer_and_the_largest_wins() {
        let spec = "{input: [2], layers: [{batch_norm: {name: n, count: true}}]}";
        let layout = layout(&ModelSpec::parse(spec).unwrap()).unwrap();
        let last = layout.tensors().last().unwrap();
        assert_eq!((last.name.as_str(), last.shape.len()), ("n.num_batches_tracked", 0));
        assert_eq!((last.dtype, last.combine), (Dtype::I64, Combine::Max));
        assert!(is_statistic(&last.name));
    }

    #[test]
    fn later_layers_have_pytorchs_names_and_shapes() {
        let spec = "{input: [4, 6, 6], layers: [
            {conv2d: {name: a, out: 6, kernel: [3, 2], groups: 2}},
            {conv_transpose2d: {name: b, out: 4, kernel: [2, 3], groups: 2}},
            {group_norm: {name: c, groups: 2}}, {layer_norm: {name: d, axes: 2}}, {linear: {name: e, out: 5}}]}";
        let layout = layout(&ModelSpec::parse(spec).unwrap()).unwrap();
        let found: Vec<String> =
            layout.tensors().iter().map(|t| format!("{} {:?}", t.name, t.shape)).collect();
        let expected = [
            "a.weight [6, 2, 3, 2]",
            "a.bias [6]",
            "b.weight [6, 2, 2, 3]",
            "b.bias [4]",
            "c.weight [4]",
            "c.bias [4]",
            "d.weight [5, 7]",
            "d.bias [5, 7]",
            "e.weight [5, 7]",
            "e.bias [5]",
        ];
        assert_eq!(found, expected);
        let spec =
            "{input: [4, 9], layers: [{conv1d: {name: a, out: 6, kernel: 5, groups: 2, bias: false}}]}";
        let found = super::layout(&ModelSpec::parse(spec).unwrap()).unwrap();
        assert_eq!(found.tensors()[0].shape, [6, 2, 5]);
    }
}
