//! Model files for people and Python: safetensors, with what a reader should know in their texts.
//!
//! Texts, all strings: `plan` (the plan's hash), `round` (rounds that the model has been through: 0 for the initial
//! one), `root`. Where the plan shows metrics: `metrics` (JSON, measured on this model) or `round_metrics` (JSON, of
//! the round that made it, measured on the model before it), and in `W_best` `value` (the best-model metric). A file
//! is replaced whole: a crash leaves the old one or the new one.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use fl_engine::{
    ByteCount, Digest, Name, RoundNo,
    model::safetensors::{self, Texts},
    tensor::{Layout, ModelState},
};

use super::{StoreError, generation::remove_if_there};
use crate::payload::leaves::root_of;

/// Keys of the texts.
pub mod text {
    /// The plan's hash.
    pub const PLAN: &str = "plan";
    /// Rounds that the model has been through.
    pub const ROUND: &str = "round";
    /// The state's root.
    pub const ROOT: &str = "root";
    /// JSON: measured on this model.
    pub const METRICS: &str = "metrics";
    /// JSON: measured in the round that made it.
    pub const ROUND_METRICS: &str = "round_metrics";
    /// The plan's best-model metric, in the shortest digits that give the same f64.
    pub const VALUE: &str = "value";
}

/// What a model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// The plan.
    pub plan: Digest,
    /// Rounds that it has been through: one more than the number of the round that made it.
    pub rounds: u32,
    /// Its root.
    pub root: Digest,
}

/// `save/W_KIND.safetensors`.
pub(super) fn path(save: &Path, federation: &str, kind: &str) -> PathBuf {
    save.join(format!("{federation}_{kind}.safetensors"))
}

/// A collaborator's copy of the final model, or of the last it was sent: `save/W_NAME_final.safetensors`. Returns the
/// path.
///
/// # Errors
/// [`StoreError::Length`], [`StoreError::Write`]; a copy that was there before is kept.
pub fn keep_final(
    save: &Path,
    federation: &str,
    name: &Name,
    about: About,
    layout: &Layout,
    payload: &[u8],
) -> Result<PathBuf, StoreError> {
    let path = path(save, federation, &format!("{name}_final"));
    replace(&path, layout, payload, &texts(about), Durability::Synced)?;
    Ok(path)
}

pub(super) fn texts(about: About) -> Texts {
    let text = |key: &str, text: String| (key.to_owned(), text);
    Texts::from([
        text(text::PLAN, about.plan.to_string()),
        text(text::ROUND, about.rounds.to_string()),
        text(text::ROOT, about.root.to_string()),
    ])
}

/// Texts of the first round's model.
pub(crate) fn initial_texts(plan: Digest, state: &ModelState) -> Texts {
    let mut payload = Vec::new();
    state.write_bytes(&mut payload);
    texts(About { plan, rounds: 0, root: root_of(state.layout().hash(), &payload) })
}

/// Whether a file must be on the disk when it is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    Synced,
    /// Another file has the same values.
    Unsynced,
}

/// Replaces a file by rename.
pub(super) fn replace(
    path: &Path,
    layout: &Layout,
    payload: &[u8],
    texts: &Texts,
    durability: Durability,
) -> Result<(), StoreError> {
    fits(layout, payload)?;
    let fresh = scrap_of(path);
    let write = || -> io::Result<()> {
        remove_if_there(&fresh)?;
        let mut file = File::create_new(&fresh)?;
        safetensors::write_payload(layout, payload, texts, &mut |piece| file.write_all(piece))?;
        if durability == Durability::Synced {
            file.sync_all()?;
        }
        fs::rename(&fresh, path)
    };
    write().map_err(|source| {
        let _ = fs::remove_file(&fresh);
        StoreError::Write { path: path.to_owned(), source }
    })
}

/// What a crash in the middle of [`replace`] leaves.
pub(super) fn scrap_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".new");
    name.into()
}

/// The root that a file's tensors have, and its texts; `None` when it is not there, not whole, or another model's.
pub(super) fn examine(path: &Path, layout: &Arc<Layout>) -> Option<(Digest, Texts)> {
    let (state, texts) = safetensors::read(&fs::read(path).ok()?, layout).ok()?;
    let mut payload = Vec::new();
    state.write_bytes(&mut payload);
    let root = root_of(layout.hash(), &payload);
    (texts.get(text::ROOT)? == &root.to_string()).then_some((root, texts))
}

/// The payload in a file that [`replace`] wrote, without a second copy of it: the tensors are the file's end, integers
/// first. Whether it is the model that is wanted, its root says.
pub(super) fn payload(path: &Path, layout: &Layout) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = i64::try_from(layout.byte_len()).map_err(io::Error::other)?;
    file.seek(SeekFrom::End(-length))?;
    let mut payload = vec![0; layout.byte_len()];
    let (floats, integers) = payload.split_at_mut(layout.f32_len() * size_of::<f32>());
    file.read_exact(integers)?;
    file.read_exact(floats)?;
    Ok(payload)
}

pub(super) fn fits(layout: &Layout, payload: &[u8]) -> Result<(), StoreError> {
    let (given, expected) = (ByteCount(payload.len() as u64), ByteCount(layout.byte_len() as u64));
    if given == expected { Ok(()) } else { Err(StoreError::Length { given, expected }) }
}

/// The number of rounds that a model has been through when `round` has made it.
pub(super) fn rounds_through(round: RoundNo) -> u32 {
    round.next().0
}
