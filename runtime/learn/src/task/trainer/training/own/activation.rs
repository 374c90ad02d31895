//! Activations and their slopes, from functions with the same bits on every machine.

use fl_engine::model::Layer;
use fl_kernels::maths::{exp, sigmoid, tanh};

/// An activation that computes each value by itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum Activation {
    Gelu,
    Sigmoid,
    Tanh,
    LeakyRelu(f64),
    Silu,
    HardSwish,
    HardSigmoid,
    Relu6,
    Elu(f64),
}

impl Activation {
    pub(super) fn new(layer: &Layer) -> Option<Self> {
        Some(match *layer {
            Layer::Gelu => Self::Gelu,
            Layer::Sigmoid => Self::Sigmoid,
            Layer::Tanh => Self::Tanh,
            Layer::LeakyRelu { slope } => Self::LeakyRelu(slope),
            Layer::Silu => Self::Silu,
            Layer::HardSwish => Self::HardSwish,
            Layer::HardSigmoid => Self::HardSigmoid,
            Layer::Relu6 => Self::Relu6,
            Layer::Elu { alpha } => Self::Elu(alpha),
            _ => return None,
        })
    }

    pub(super) fn of(self, x: f32) -> f32 {
        let x = f64::from(x);
        let y = match self {
            Self::Gelu => x * normal(x),
            Self::Sigmoid => sigmoid(x),
            Self::Tanh => tanh(x),
            Self::LeakyRelu(slope) => {
                if x > 0.0 {
                    x
                } else {
                    slope * x
                }
            }
            Self::Silu => x * sigmoid(x),
            Self::HardSwish => x * hard_sigmoid(x),
            Self::HardSigmoid => hard_sigmoid(x),
            Self::Relu6 => x.clamp(0.0, 6.0),
            Self::Elu(alpha) => {
                if x > 0.0 {
                    x
                } else {
                    alpha * (exp(x) - 1.0)
                }
            }
        };
        y as f32
    }

    pub(super) fn slope(self, x: f32) -> f32 {
        let x = f64::from(x);
        let within = |low: f64, high: f64| if x > low && x < high { 1.0 } else { 0.0 };
        let slope = match self {
            Self::Gelu => normal(x) + x * exp(-x * x / 2.0) * DENSITY,
            Self::Sigmoid => sigmoid(x) * sigmoid(-x),
            Self::Tanh => 1.0 - tanh(x) * tanh(x),
            Self::LeakyRelu(slope) => {
                if x > 0.0 {
                    1.0
                } else {
                    slope
                }
            }
            Self::Silu => sigmoid(x) * (1.0 + x * sigmoid(-x)),
            Self::HardSwish => hard_sigmoid(x) + x * within(-3.0, 3.0) / 6.0,
            Self::HardSigmoid => within(-3.0, 3.0) / 6.0,
            Self::Relu6 => within(0.0, 6.0),
            Self::Elu(alpha) => {
                if x > 0.0 {
                    1.0
                } else {
                    alpha * exp(x)
                }
            }
        };
        slope as f32
    }
}

fn hard_sigmoid(x: f64) -> f64 {
    (x / 6.0 + 0.5).clamp(0.0, 1.0)
}

/// The distribution function of the normal distribution, within 2e-8: Taylor's series of the error function.
fn normal(x: f64) -> f64 {
    let z = x * std::f64::consts::FRAC_1_SQRT_2;
    if z.abs() > 4.0 {
        return if z > 0.0 { 1.0 } else { 0.0 };
    }
    let (mut power, mut sum) = (z, z);
    for n in 1..64 {
        power *= -z * z / f64::from(n);
        sum += power / f64::from(2 * n + 1);
    }
    0.5 + sum * std::f64::consts::FRAC_2_SQRT_PI / 2.0
}

/// 1 / √2π.
const DENSITY: f64 = 0.398_942_280_401_432_7;
