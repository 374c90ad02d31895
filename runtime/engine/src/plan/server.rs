//! `server`: the step that the aggregator makes from the base towards the rule's answer.

use std::fmt;

use serde::Serialize;

use crate::settings::{Absent, Key, Range, Takes, words};

// The defaults are the choices of Reddi et al., except for the learning rate, which they search for each
// problem.
words! {
    /// What the aggregator does with the rule's answer: a step from the base, of which the answer's distance
    /// from the base is the gradient (Reddi et al., arXiv:2003.00295; no bias correction).
    #[derive(Clone, Copy, Debug, PartialEq, Serialize)]
    #[non_exhaustive]
    pub enum Server {
        /// Momentum (Hsu et al., arXiv:1909.06335): `v ← momentum·v + Δ`, `x ← x + learning_rate·v`.
        FedAvgM = "fedavgm" {
            /// The learning rate η.
            learning_rate: f64 = POSITIVE, Absent::Refused, "1.0";
            /// The momentum β.
            momentum: f64 = SHARE, Absent::Default("0.9"), "0.5";
        },
        /// Adagrad: `m ← β₁m + (1 − β₁)Δ`, `v ← v + Δ²`, `x ← x + η·m / (√v + τ)`.
        FedAdagrad = "fedadagrad" {
            /// The learning rate η.
            learning_rate: f64 = POSITIVE, Absent::Refused, "0.1";
            /// The decay β₁ of the first moment. The default 0 is a step without momentum, as in Reddi et al.
            beta1: f64 = SHARE, Absent::Default("0"), "0.9";
            /// The number τ that is added to the divisor.
            tau: f64 = POSITIVE, Absent::Default("0.001"), "0.01";
        },
        /// Adam: as `fedadagrad`, with `v ← β₂v + (1 − β₂)Δ²`.
        FedAdam = "fedadam" {
            /// The learning rate η.
            learning_rate: f64 = POSITIVE, Absent::Refused, "0.1";
            /// The decay β₁ of the first moment.
            beta1: f64 = SHARE, Absent::Default("0.9"), "0.5";
            /// The decay β₂ of the second moment.
            beta2: f64 = SHARE, Absent::Default("0.99"), "0.999";
            /// The number τ that is added to the divisor.
            tau: f64 = POSITIVE, Absent::Default("0.001"), "0.01";
        },
        /// Yogi: as `fedadagrad`, with `v ← v − (1 − β₂)Δ²·sign(v − Δ²)`.
        FedYogi = "fedyogi" {
            /// The learning rate η.
            learning_rate: f64 = POSITIVE, Absent::Refused, "0.1";
            /// The decay β₁ of the first moment.
            beta1: f64 = SHARE, Absent::Default("0.9"), "0.5";
            /// The decay β₂ of the second moment.
            beta2: f64 = SHARE, Absent::Default("0.99"), "0.999";
            /// The number τ that is added to the divisor.
            tau: f64 = POSITIVE, Absent::Default("0.001"), "0.01";
        },
        /// Exponential smoothing over rounds: `x ← x + (1 − keep)·Δ`.
        Smoothing = "smoothing" {
            /// The share of the base model that stays in the next model.
            keep: f64 = SHARE, Absent::Refused, "0.1";
        },
    }
}

/// `fedadam, learning rate 0.1, beta1 0.9, beta2 0.99, tau 0.001`.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, ", self.word())?;
        match self {
            Self::FedAvgM { learning_rate, momentum } => {
                write!(f, "learning rate {learning_rate}, momentum {momentum}")
            }
            Self::FedAdagrad { learning_rate, beta1, tau } => {
                write!(f, "learning rate {learning_rate}, beta1 {beta1}, tau {tau}")
            }
            Self::FedAdam { learning_rate, beta1, beta2, tau }
            | Self::FedYogi { learning_rate, beta1, beta2, tau } => {
                write!(f, "learning rate {learning_rate}, beta1 {beta1}, beta2 {beta2}, tau {tau}")
            }
            Self::Smoothing { keep } => write!(f, "keep {keep} of the base"),
        }
    }
}

const POSITIVE: Takes = Takes::Number(Range::AboveZero);
const SHARE: Takes = Takes::Number(Range::FromZeroBelowOne);

pub(super) const SERVER: Key = Key {
    name: "server",
    takes: Takes::Variant(Server::TABLE),
    absent: Absent::Means("the rule's answer is the next model"),
    meaning: "The step that the aggregator makes from the base towards the rule's answer. In the formulas, x is the base \
              and Δ the answer less the base. All tasks that send updates have the same `server` step.",
    example: "{fedadam: {learning_rate: 0.1}}",
};
