//! `backend`: what computes a model.

use serde::Serialize;

use crate::settings::words;

words! {
    /// What computes a model's layers and gradients.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    #[non_exhaustive]
    pub enum Backend {
        /// This project's kernels: every processor with AVX2 and every number of threads give the same bits.
        /// A model with a layer that the kernels lack runs on `burn`.
        Own = "own",
        /// The library burn, on one thread.
        Burn = "burn",
    }
}
