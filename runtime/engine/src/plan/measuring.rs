//! What a validation measures on, and when.

use serde::Serialize;

use super::Loss;
use crate::settings::{Absent, Key, Takes, words};

words! {
    /// The rows that a validation measures on.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    pub enum Rows {
        /// The share `validation` of data.split.
        Validation = "validation",
        /// The share `test` of data.split, which nothing else reads.
        Test = "test",
    }
}

words! {
    /// When a validation runs.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    pub enum When {
        /// In every round, and on the final model.
        Always = "always",
        /// On the final model alone.
        End = "end",
    }
}

pub(super) const ROWS: Key = Key {
    name: "rows",
    takes: Takes::Word(Rows::TABLE),
    absent: Absent::Default("validation"),
    meaning: "The rows that the task measures on.",
    example: "test",
};

pub(super) const WHEN: Key = Key {
    name: "when",
    takes: Takes::Word(When::TABLE),
    absent: Absent::Default("always"),
    meaning: "When the task runs.",
    example: "end",
};

pub(super) const LOSS: Key = Key {
    name: "loss",
    takes: Takes::Variant(Loss::TABLE),
    absent: Absent::Means(
        "the loss of the first task that trains; without one, cross_entropy for classes and mse otherwise",
    ),
    meaning: "The loss that the task reports, and by which outputs are read. Only for a plan without training.",
    example: "dice",
};
