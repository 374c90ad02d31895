//! `save/released/`: the models that the plan releases, written by the aggregator and by members. In an
//! enclave this is the only part of `save/` that the host can read.
//!
//! ```text
//! W_last, W_best, W_round_0000012       .safetensors to the host, .sealed to a key
//! W_NAME_final, W_NAME_best, W_NAME_round_0000012    .safetensors at a member
//! ```

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use fl_engine::{
    Digest, Name, RoundNo,
    model::safetensors::{self, Texts},
    plan::{Plan, PublicKey, Release, ReleaseTo, Released, Standardise},
    tensor::Layout,
};

use super::{
    StoreError, entries,
    model_file::{self, About, fits, replace, texts_with},
};
use crate::{
    files::{Durability, File, Files},
    sealed::{self, Label, Sealer},
    system::{Random, System},
};

/// `save/released`.
fn folder(save: &Path) -> PathBuf {
    save.join("released")
}

/// The model after this number of rounds, released to the aggregator's host.
pub(super) fn round_file(save: &Path, federation: &str, rounds: u32) -> PathBuf {
    folder(save).join(format!("{federation}_{}.safetensors", of_round(rounds)))
}

/// The aggregator's released models of a run that goes back to the model after this number of rounds: those
/// of later rounds, and those of the run's end.
pub(super) fn later_files(
    files: &Files,
    save: &Path,
    federation: &str,
    rounds: u32,
) -> Result<Vec<PathBuf>, StoreError> {
    let prefix = format!("{federation}_");
    let is_later = |path: &PathBuf| {
        let kind = path.file_name()?.to_str()?.strip_prefix(&prefix)?;
        let kind = kind.strip_suffix(".safetensors").or_else(|| kind.strip_suffix(".sealed"))?;
        let number = kind.strip_prefix("round_").and_then(|digits| digits.parse::<u32>().ok());
        let of_the_end = [Released::Last, Released::Best].iter().any(|what| what.word() == kind);
        (of_the_end || number.is_some_and(|number| number > rounds)).then_some(())
    };
    let listed = entries(files, &folder(save))?;
    Ok(listed.into_iter().filter(|path| is_later(path).is_some()).collect())
}

fn of_round(rounds: u32) -> String {
    format!("round_{rounds:07}")
}

/// What the aggregator releases.
#[derive(Debug)]
pub(super) struct Releases {
    files: Files,
    random: Random,
    save: PathBuf,
    federation: String,
    pub(super) what: Released,
    /// The key that models are sealed to; without one, models are released to the host as they are.
    key: Option<PublicKey>,
    layout: Arc<Layout>,
}

impl Releases {
    /// `None` when the plan lets the aggregator release nothing.
    pub(super) fn open(
        system: &System,
        save: &Path,
        federation: &str,
        release: Option<Release>,
        layout: &Arc<Layout>,
    ) -> Result<Option<Self>, StoreError> {
        let Some(Release { what, to }) = release else { return Ok(None) };
        let key = match to {
            ReleaseTo::Key(key) => {
                sealed::check_key(&key, &system.random).map_err(StoreError::Seal)?;
                Some(key)
            }
            ReleaseTo::Host => None,
            _ => return Ok(None),
        };
        let folder = folder(save);
        system.files.create_folder(&folder).map_err(StoreError::write(&folder))?;
        let (files, random) = (system.files.clone(), system.random.clone());
        let (save, federation) = (save.to_owned(), federation.to_owned());
        Ok(Some(Self { files, random, save, federation, what, key, layout: Arc::clone(layout) }))
    }

    /// Whether the model of a round was released already.
    pub(super) fn has_round(&self, rounds: u32) -> bool {
        self.files.is_file(&self.path(Released::Each, rounds))
    }

    /// Releases a payload as `what`: a round's model, or the last model.
    pub(super) fn put(
        &self,
        what: Released,
        about: About,
        texts: &Texts,
        payload: &[u8],
    ) -> Result<PathBuf, StoreError> {
        fits(&self.layout, payload)?;
        let path = self.path(what, about.rounds);
        let Some(key) = self.key else {
            return replace(&self.files, &path, &self.layout, payload, texts, Durability::Synced)
                .map(|()| logged(path));
        };
        let mut length = 0;
        let Ok(()) = safetensors::write_payload(&self.layout, payload, texts, &mut |piece| {
            length += piece.len() as u64;
            Ok::<_, std::convert::Infallible>(())
        });
        self.seal(path, key, about, length, &mut |put| {
            safetensors::write_payload(&self.layout, payload, texts, put)
        })
    }

    /// Releases the best model: copies the store's file without reading all of it into memory.
    pub(super) fn put_best(&self, about: About) -> Result<PathBuf, StoreError> {
        let from = model_file::path(&self.save, &self.federation, "best");
        let path = self.path(Released::Best, about.rounds);
        let mut file = self.files.open(&from).map_err(StoreError::read(&from))?;
        let length = file.length().map_err(StoreError::read(&from))?;
        let Some(key) = self.key else {
            return model_file::copy(&self.files, &from, &path).map(|()| logged(path));
        };
        self.seal(path, key, about, length, &mut |put| model_file::pass_on(&mut file, put))
    }

    fn seal(
        &self,
        path: PathBuf,
        recipient: PublicKey,
        about: About,
        length: u64,
        fill: &mut dyn FnMut(&mut Put<'_>) -> io::Result<()>,
    ) -> Result<PathBuf, StoreError> {
        let About { plan, rounds, root } = about;
        let note = serde_json::to_string(self.layout.tensors()).unwrap_or_default();
        let label = Label { plan, rounds, root, length, recipient, note };
        let write = |out: &mut File| {
            let mut sealer = Sealer::new(out, &label, &self.random)?;
            fill(&mut |piece| sealer.write(piece))?;
            sealer.finish().map(drop)
        };
        let written = self.files.replace_with(&path, Durability::Synced, write);
        written.map_err(StoreError::write(&path)).map(|()| logged(path))
    }

    /// The file of a model that is released as `what` after this number of rounds.
    pub(super) fn path(&self, what: Released, rounds: u32) -> PathBuf {
        let ending = if self.key.is_some() { "sealed" } else { "safetensors" };
        let kind = match what {
            Released::Each => of_round(rounds),
            what => what.word().to_owned(),
        };
        folder(&self.save).join(format!("{}_{kind}.{ending}", self.federation))
    }
}

/// The copies that a member keeps of models that the aggregator sends.
#[derive(Debug)]
pub struct MemberCopies {
    files: Files,
    save: PathBuf,
    federation: String,
    name: Name,
    hash: Digest,
    /// The plan's canonical text.
    canonical: String,
    layout: Arc<Layout>,
    what: Released,
}

impl MemberCopies {
    /// `None` when the plan, which has this hash, does not release models to members.
    #[must_use]
    pub fn new(
        files: &Files,
        save: &Path,
        federation: &str,
        name: &Name,
        (plan, hash): (&Plan, Digest),
        layout: &Arc<Layout>,
    ) -> Option<Self> {
        let what = plan.release.filter(|release| release.to == ReleaseTo::Members)?.what;
        let (files, save, federation) = (files.clone(), save.to_owned(), federation.to_owned());
        let (name, layout, canonical) = (name.clone(), Arc::clone(layout), plan.canonical_text());
        Some(Self { files, save, federation, name, hash, canonical, layout, what })
    }

    /// Whether the member keeps the model of each round.
    #[must_use]
    pub fn keeps_each(&self) -> bool {
        self.what == Released::Each
    }

    /// Writes a copy of the model that `round` starts from, or that `round` measured, and returns the path.
    /// The caller has checked the root.
    ///
    /// # Errors
    /// [`StoreError::Length`], [`StoreError::Write`].
    pub fn put(
        &self,
        round: RoundNo,
        root: Digest,
        statistics: Option<&Standardise>,
        payload: &[u8],
    ) -> Result<PathBuf, StoreError> {
        fits(&self.layout, payload)?;
        let folder = folder(&self.save);
        self.files.create_folder(&folder).map_err(StoreError::write(&folder))?;
        let kind = match self.what {
            Released::Each => of_round(round.0),
            Released::Best => "best".to_owned(),
            _ => "final".to_owned(),
        };
        let path = folder.join(format!("{}_{}_{kind}.safetensors", self.federation, self.name));
        let texts = texts_with(About { plan: self.hash, rounds: round.0, root }, &self.canonical, statistics);
        replace(&self.files, &path, &self.layout, payload, &texts, Durability::Synced)?;
        Ok(path)
    }
}

fn logged(path: PathBuf) -> PathBuf {
    tracing::info!("released {}", path.display());
    path
}

/// Takes the next bytes of a model's file.
type Put<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;
