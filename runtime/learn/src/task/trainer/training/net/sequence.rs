//! Layers over sequences: attention, recurrent layers and embeddings, each composed of operations that other
//! layers use, too.

use burn_tensor::{Int, Tensor, TensorData, activation, module};
use fl_engine::Draws;

use crate::task::error::TaskError;

/// A recurrent layer.
pub(super) struct Recurrent {
    pub(super) hidden: usize,
    /// Layers on top of each other.
    pub(super) layers: usize,
    pub(super) both: bool,
    pub(super) bias: bool,
    /// Whether the last outputs alone are given.
    pub(super) last: bool,
    /// Whether there are four gates and a cell, in place of three gates.
    pub(super) memory: bool,
    pub(super) dropout: f32,
}

/// The tensors of one direction of one layer.
struct Weights {
    input: Tensor<2>,
    state: Tensor<2>,
    input_bias: Option<Tensor<1>>,
    state_bias: Option<Tensor<1>>,
}

impl Recurrent {
    /// What the layer gives for `[rows, length, features, 1]`: `[rows, length, outputs, 1]`, or with `last`
    /// `[rows, outputs, 1, 1]` (Hochreiter and Schmidhuber, Neural Computation 9, 1997; Cho et al.,
    /// arXiv:1406.1078). `take` gives the next tensor.
    pub(super) fn compute(
        &self,
        x: Tensor<4>,
        take: &mut dyn FnMut() -> Result<Tensor<2>, TaskError>,
        mut draws: Option<&mut Draws>,
    ) -> Result<Tensor<4>, TaskError> {
        let mut x = x;
        let mut last = Vec::new();
        for layer in 0..self.layers {
            if layer > 0
                && self.dropout > 0.0
                && let Some(draws) = &mut draws
            {
                x = drop_out(x, self.dropout, draws);
            }
            let (mut outputs, mut ends) = (Vec::new(), Vec::new());
            for back in [false, true].into_iter().take(if self.both { 2 } else { 1 }) {
                let (input, state) = (take()?, take()?);
                let mut bias = || -> Result<Option<Tensor<1>>, TaskError> {
                    if self.bias { Ok(Some(take()?.reshape([-1]))) } else { Ok(None) }
                };
                let (input_bias, state_bias) = (bias()?, bias()?);
                let weights = Weights { input, state, input_bias, state_bias };
                let (output, end) = self.direction(x.clone(), weights, back);
                outputs.push(output);
                ends.push(end);
            }
            x = joined(outputs);
            last = ends;
        }
        Ok(if self.last { joined(last).swap_dims(1, 2) } else { x })
    }

    /// One direction over `[rows, length, features, 1]`: all outputs, and the last one as
    /// `[rows, 1, hidden, 1]`.
    fn direction(&self, x: Tensor<4>, weights: Weights, back: bool) -> (Tensor<4>, Tensor<4>) {
        let [rows, length, features, _] = x.dims();
        let (hidden, device) = (self.hidden, x.device());
        let gates = if self.memory { 4 } else { 3 };
        let lines = x.reshape([rows * length, features]);
        let all = module::linear(lines, weights.input.transpose(), weights.input_bias);
        let all = all.reshape([rows, length, gates * hidden, 1]);
        let state = weights.state.transpose();
        let zeros =
            || Tensor::<2>::from_data(TensorData::new(vec![0.0f32; rows * hidden], [rows, hidden]), &device);
        let (mut output, mut cell) = (zeros(), zeros());
        let mut outputs = Vec::with_capacity(length);
        for step in 0..length {
            let at = if back { length - 1 - step } else { step };
            let seen = all.clone().narrow(1, at, 1).reshape([rows, gates * hidden]);
            let kept = module::linear(output.clone(), state.clone(), weights.state_bias.clone());
            let gate = |of: &Tensor<2>, number: usize| of.clone().narrow(1, number * hidden, hidden);
            if self.memory {
                let sum = seen + kept;
                let [enters, stays, leaves] = [0, 1, 3].map(|number| activation::sigmoid(gate(&sum, number)));
                cell = stays * cell + enters * activation::tanh(gate(&sum, 2));
                output = leaves * activation::tanh(cell.clone());
            } else {
                let [resets, stays] =
                    [0, 1].map(|number| activation::sigmoid(gate(&seen, number) + gate(&kept, number)));
                let fresh = activation::tanh(gate(&seen, 2) + resets * gate(&kept, 2));
                output = fresh.clone() + stays * (output - fresh);
            }
            outputs.push(output.clone().reshape([rows, 1, hidden, 1]));
        }
        if back {
            outputs.reverse();
        }
        (Tensor::cat(outputs, 1), output.reshape([rows, 1, hidden, 1]))
    }
}

/// Both directions, one behind the other.
fn joined(mut parts: Vec<Tensor<4>>) -> Tensor<4> {
    if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(parts, 2) }
}

/// The tensors and settings of a self-attention.
pub(super) struct Attention {
    pub(super) heads: usize,
    pub(super) causal: bool,
    pub(super) dropout: f32,
    /// `[3 · width, width]`: queries, keys, values.
    pub(super) input: Tensor<2>,
    pub(super) input_bias: Option<Tensor<1>>,
    pub(super) output: Tensor<2>,
    pub(super) output_bias: Option<Tensor<1>>,
}

impl Attention {
    /// Self-attention with several heads (Vaswani et al., arXiv:1706.03762, section 3.2) over
    /// `[rows, length, width, 1]`.
    pub(super) fn compute(self, x: Tensor<4>, draws: Option<&mut Draws>) -> Tensor<4> {
        let [rows, length, width, _] = x.dims();
        let device = x.device();
        let each = width / self.heads;
        let lines = x.reshape([rows * length, width]);
        let all =
            module::linear(lines, self.input.transpose(), self.input_bias).reshape([rows, length, 3, width]);
        let [queries, keys, values] = [0, 1, 2].map(|part| {
            let part = all.clone().narrow(2, part, 1).reshape([rows, length, self.heads, each]);
            part.swap_dims(1, 2)
        });
        let mut scores = queries.mul_scalar(1.0 / (each as f64).sqrt()).matmul(keys.swap_dims(2, 3));
        if self.causal {
            let far = |at: usize| if at % length > at / length { f32::NEG_INFINITY } else { 0.0 };
            let mask: Vec<f32> = (0..length * length).map(far).collect();
            scores = scores + Tensor::<4>::from_data(TensorData::new(mask, [1, 1, length, length]), &device);
        }
        let mut shares = activation::softmax(scores, 3);
        if let Some(draws) = draws
            && self.dropout > 0.0
        {
            shares = drop_out(shares, self.dropout, draws);
        }
        let seen = shares.matmul(values).swap_dims(1, 2).reshape([rows * length, width]);
        module::linear(seen, self.output.transpose(), self.output_bias).reshape([rows, length, width, 1])
    }
}

/// The rows of `weight` that the whole numbers of a sample name, one behind the other.
pub(super) fn embed(x: Tensor<4>, weight: Tensor<2>) -> Result<Tensor<2>, TaskError> {
    let device = x.device();
    let rows = weight.dims()[0];
    let numbers = super::values(x);
    let index = |number: &f32| {
        let known = number.fract() == 0.0 && (0.0..rows as f32).contains(number);
        if known { Ok(*number as i64) } else { Err(TaskError::Index { found: *number, rows }) }
    };
    let indices: Vec<i64> = numbers.iter().map(index).collect::<Result<_, _>>()?;
    let count = indices.len();
    Ok(weight.select(0, Tensor::<1, Int>::from_data(TensorData::new(indices, [count]), &device)))
}

/// Zeroes values with probability `p` and scales the others by `1 / (1 − p)` (Srivastava et al., JMLR 15,
/// 2014).
pub(super) fn drop_out(x: Tensor<4>, p: f32, draws: &mut Draws) -> Tensor<4> {
    let (shape, device, kept) = (x.dims(), x.device(), 1.0 / (1.0 - p));
    let unit = |word: u64| (word >> 40) as f32 / (1 << 24) as f32;
    let mask = (0..shape.iter().product()).map(|_| if unit(draws.next_u64()) < p { 0.0 } else { kept });
    let mask = TensorData::new(mask.collect::<Vec<f32>>(), shape);
    x * Tensor::from_data(mask, &device)
}
