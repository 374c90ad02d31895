//! The initial model: `W_init.safetensors`.

use std::{path::Path, sync::Arc};

use fl_engine::{
    ByteCount, Digest, aggregate::outside_range, model::safetensors, plan::ExactRange, tensor::Layout,
};

use super::{
    StoreError,
    model_file::{begins, longest_model_file, text},
};
use crate::{files::Files, payload::leaves::root_of};

/// Payload and root of the model that the first round starts from.
pub(super) fn initial(
    files: &Files,
    path: &Path,
    plan: Digest,
    seed: u64,
    layout: &Arc<Layout>,
    range: ExactRange,
) -> Result<(Vec<u8>, Digest), StoreError> {
    let length = match files.length(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(StoreError::NoInit { path: path.to_owned() });
        }
        found => found.map_err(StoreError::read(path))?,
    };
    let room = longest_model_file(layout);
    if length > room as u64 {
        let (length, room) = (ByteCount(length), ByteCount(room as u64));
        return Err(StoreError::InitSize { path: path.to_owned(), length, room });
    }
    let file = files.read_at_most(path, room).map_err(StoreError::read(path))?;
    let (state, texts) = safetensors::read(&file, layout)
        .map_err(|source| StoreError::Init { path: path.to_owned(), source })?;
    drop(file);
    if !begins(&texts, plan, seed) {
        let (path, theirs) = (path.to_owned(), texts.get(text::PLAN).cloned().unwrap_or_default());
        return Err(StoreError::InitOfOtherPlan { path, theirs, ours: plan });
    }
    if let Some(source) = outside_range(&state, range) {
        return Err(StoreError::InitRange { path: path.to_owned(), source });
    }
    let mut payload = Vec::new();
    state.write_bytes(&mut payload);
    let found = root_of(layout.hash(), &payload);
    if let Some(stated) = texts.get(text::ROOT).filter(|stated| **stated != found.to_string()) {
        return Err(StoreError::InitRoot { path: path.to_owned(), stated: stated.clone(), found });
    }
    Ok((payload, found))
}
