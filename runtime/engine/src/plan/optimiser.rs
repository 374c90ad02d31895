//! `optimiser`: how a collaborator trains, and what becomes of its state between rounds.

use serde::Serialize;

use crate::settings::{Absent, Range, Takes, words};

words! {
    /// A local optimiser.
    #[derive(Clone, Copy, Debug, PartialEq, Serialize)]
    #[non_exhaustive]
    pub enum Optimiser {
        /// Stochastic gradient descent.
        Sgd = "sgd" {
            /// The learning rate.
            learning_rate: f64 = Takes::Number(Range::AboveZero), Absent::Refused, "0.1";
            /// The momentum; 0 for none.
            momentum: f64 = Takes::Number(Range::FromZeroBelowOne), Absent::Default("0"), "0.9";
            /// The L2 penalty.
            weight_decay: f64 = Takes::Number(Range::FromZero), Absent::Default("0"), "0.0001";
        },
        /// Adam (Kingma and Ba, arXiv:1412.6980).
        Adam = "adam" {
            /// The learning rate.
            learning_rate: f64 = Takes::Number(Range::AboveZero), Absent::Refused, "0.001";
        },
        /// AdamW (Loshchilov and Hutter, arXiv:1711.05101).
        AdamW = "adamw" {
            /// The learning rate.
            learning_rate: f64 = Takes::Number(Range::AboveZero), Absent::Refused, "0.001";
            /// The decoupled decay of weights. The default is that of PyTorch.
            weight_decay: f64 = Takes::Number(Range::FromZero), Absent::Default("0.01"), "0.1";
        },
    }
}

words! {
    /// What becomes of the state of a local optimiser at the start of a round.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    pub enum OptimiserState {
        /// Each round starts with fresh state.
        Reset = "reset",
        /// Each collaborator goes on with its own state.
        ContinueLocal = "continue_local",
        /// The state is aggregated with the model, as further tensors of its layout.
        ContinueGlobal = "continue_global",
    }
}
