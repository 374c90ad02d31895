//! Model files for people and for Python: safetensors with texts that describe the model.
//!
//! The texts are `plan` (the plan's hash), `round` (the number of rounds that the model has been through: 0
//! for the initial model) and `root`. Where the plan shows metrics, there is also `metrics` (JSON: measured
//! on this model) or `round_metrics` (JSON: reported in the round that made this model, measured on the model
//! before it), and in `W_best` `value` (the metric that selects the best model). `standardise` is there where
//! the plan asked the sites for the statistics of their data. `canonical_plan` is the plan itself, which says
//! how data are read and scaled for the model.

use std::{
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use fl_engine::{
    ByteCount, Digest, Name, RoundNo, limits,
    model::safetensors::{self, Texts},
    plan::{Plan, Standardise},
    tensor::{Layout, ModelState},
};

use super::StoreError;
use crate::{
    files::{Durability, File, Files},
    payload::leaves::root_of,
};

/// Keys of the texts.
pub mod text {
    /// The plan's hash.
    pub const PLAN: &str = "plan";
    /// The plan in its canonical form, two hex digits a byte.
    pub const CANONICAL_PLAN: &str = "canonical_plan";
    /// Rounds that the model has been through.
    pub const ROUND: &str = "round";
    /// The state's root.
    pub const ROOT: &str = "root";
    /// Seed of the initial values.
    pub const SEED: &str = "seed";
    /// JSON: measured on this model.
    pub const METRICS: &str = "metrics";
    /// JSON: measured in the round that made this model, on the model before it.
    pub const ROUND_METRICS: &str = "round_metrics";
    /// `yes` for the model with which a run ended, once it was measured.
    pub const FINAL: &str = "final";
    /// What the data are scaled by, where the plan asked the sites for it: JSON, and a value of the plan's
    /// key `standardise`.
    pub const STANDARDISE: &str = "standardise";
    /// The metric that selects the best model, in the shortest digits that give the same f64.
    pub const VALUE: &str = "value";
}

/// Which model a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// The plan.
    pub plan: Digest,
    /// The number of rounds that the model has been through: one more than the number of the round that made
    /// it.
    pub rounds: u32,
    /// Its root.
    pub root: Digest,
}

/// `save/W_init.safetensors`: the model that the first round starts from.
#[must_use]
pub fn initial_model_file(save: &Path, federation: &str) -> PathBuf {
    path(save, federation, "init")
}

/// `save/W_KIND.safetensors`.
pub(super) fn path(save: &Path, federation: &str, kind: &str) -> PathBuf {
    save.join(format!("{federation}_{kind}.safetensors"))
}

/// Writes a collaborator's copy of the final model, or of the last model that it received, and returns the
/// path: `save/W_NAME_final.safetensors`. The file states the statistics by which the site's data are scaled,
/// where all sites gave them.
///
/// # Errors
/// [`StoreError::Length`], [`StoreError::Write`]; a previous copy stays.
pub fn keep_final(
    files: &Files,
    save: &Path,
    federation: &str,
    name: &Name,
    (about, plan, statistics): (About, &Plan, Option<&Standardise>),
    layout: &Layout,
    payload: &[u8],
) -> Result<PathBuf, StoreError> {
    let path = path(save, federation, &format!("{name}_final"));
    let texts = texts_with(about, &plan.canonical_text(), statistics);
    replace(files, &path, layout, payload, &texts, Durability::Synced)?;
    Ok(path)
}

/// Whether an initial model with these texts may begin a run of the plan that has this hash and seed. A model
/// from the plan's seed does, whatever else of the plan has changed, and a model whose values somebody chose
/// does. The tensors are checked elsewhere.
#[must_use]
pub fn begins(texts: &Texts, plan: Digest, seed: u64) -> bool {
    let same_seed = texts.get(text::SEED).is_some_and(|text| *text == seed.to_string());
    same_seed || texts.get(text::PLAN).is_none_or(|text| *text == plan.to_string())
}

/// The texts of every model; `canonical` is the plan's canonical text.
pub(super) fn texts(about: About, canonical: &str) -> Texts {
    let text = |key: &str, text: String| (key.to_owned(), text);
    Texts::from([
        text(text::CANONICAL_PLAN, canonical.to_owned()),
        text(text::PLAN, about.plan.to_string()),
        text(text::ROUND, about.rounds.to_string()),
        text(text::ROOT, about.root.to_string()),
    ])
}

/// Texts of a model at a site whose data are scaled by these statistics of all sites.
pub(super) fn texts_with(about: About, canonical: &str, statistics: Option<&Standardise>) -> Texts {
    let mut texts = texts(about, canonical);
    texts.extend(statistics.map(|found| (text::STANDARDISE.to_owned(), found.to_text())));
    texts
}

/// Texts of the initial model.
pub(crate) fn initial_texts(plan: &Plan, hash: Digest, state: &ModelState) -> Texts {
    let mut payload = Vec::new();
    state.write_bytes(&mut payload);
    let about = About { plan: hash, rounds: 0, root: root_of(state.layout().hash(), &payload) };
    texts(about, &plan.canonical_text())
}

/// Replaces a model's file.
pub(super) fn replace(
    files: &Files,
    path: &Path,
    layout: &Layout,
    payload: &[u8],
    texts: &Texts,
    durability: Durability,
) -> Result<(), StoreError> {
    fits(layout, payload)?;
    let write = |out: &mut File| {
        safetensors::write_payload(layout, payload, texts, &mut |piece| out.write_all(piece))
    };
    files.replace_with(path, durability, write).map_err(StoreError::write(path))
}

/// The root of a file's tensors, and its texts. `None` when the file is missing, not whole, or holds another
/// model.
pub(super) fn examine(files: &Files, path: &Path, layout: &Arc<Layout>) -> Option<(Digest, Texts)> {
    let bytes = files.read_at_most(path, longest_model_file(layout)).ok()?;
    let (state, texts) = safetensors::read(&bytes, layout).ok()?;
    let mut payload = Vec::new();
    state.write_bytes(&mut payload);
    let root = root_of(layout.hash(), &payload);
    (texts.get(text::ROOT)? == &root.to_string()).then_some((root, texts))
}

/// The payload in a file that [`replace`] wrote, read without a second copy in memory: the tensors are the
/// end of the file, integers first. The caller checks the root.
pub(super) fn payload(files: &Files, path: &Path, layout: &Layout) -> io::Result<Vec<u8>> {
    let mut file = files.open(path)?;
    let length = i64::try_from(layout.byte_len()).map_err(io::Error::other)?;
    file.seek(SeekFrom::End(-length))?;
    let mut payload = vec![0; layout.byte_len()];
    let (floats, integers) = payload.split_at_mut(layout.f32_len() * size_of::<f32>());
    file.read_exact(integers)?;
    file.read_exact(floats)?;
    Ok(payload)
}

/// Copies a model's file. When this returns, the copy is durable.
pub(super) fn copy(files: &Files, from: &Path, to: &Path) -> Result<(), StoreError> {
    let mut file = files.open(from).map_err(StoreError::read(from))?;
    let write = |out: &mut File| pass_on(&mut file, &mut |piece| out.write_all(piece));
    files.replace_with(to, Durability::Synced, write).map_err(StoreError::write(to))
}

/// Reads a file to its end, piece by piece: a large model needs little memory.
pub(super) fn pass_on(file: &mut File, put: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(()),
            read => put(&piece[..read])?,
        }
    }
}

pub(super) fn fits(layout: &Layout, payload: &[u8]) -> Result<(), StoreError> {
    let (given, expected) = (ByteCount(payload.len() as u64), ByteCount(layout.byte_len() as u64));
    if given == expected { Ok(()) } else { Err(StoreError::Length { given, expected }) }
}

/// Longest file of a model, bytes: the longest header, and the layout's bytes.
pub(crate) fn longest_model_file(layout: &Layout) -> usize {
    8 + limits::MODEL_HEADER_BYTES + layout.byte_len()
}

/// The number of rounds that a model has been through when `round` has made it.
pub(super) fn rounds_through(round: RoundNo) -> u32 {
    round.next().0
}

/// Bytes that are copied at a time.
const PIECE: usize = 256 << 10;
