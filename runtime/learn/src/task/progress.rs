//! How far a training has come.

/// The end of an epoch, in a training of several.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// The epoch that has ended, counted from 1.
    pub epoch: u64,
    /// Epochs of the task; the last one may be shorter.
    pub epochs: u64,
    /// Rows that the epoch has seen.
    pub rows: u64,
    /// The mean loss of these rows, each measured before its step.
    pub loss: f64,
}
