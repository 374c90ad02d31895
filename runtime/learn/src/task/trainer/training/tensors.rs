//! The tensors of a model in a layout.

use fl_engine::{
    model::{self, ModelSpec},
    tensor::Layout,
};

use crate::task::error::TaskError;

/// Checks that `layout` begins with the tensors of `spec`, held out of aggregation or not. Optimiser state
/// may follow. The number of the model's tensors.
pub(super) fn count_tensors(spec: &ModelSpec, layout: &Layout) -> Result<usize, TaskError> {
    let own = model::layout(spec)?;
    let count = own.tensors().len();
    let shapes = |layout: &Layout| -> Vec<_> {
        layout.tensors().iter().take(count).map(|t| (t.name.clone(), t.shape.clone(), t.dtype)).collect()
    };
    if shapes(&own) == shapes(layout) { Ok(count) } else { Err(TaskError::Layout) }
}
