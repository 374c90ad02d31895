//! `save/released/`: what the plan lets out, written by the aggregator and by members. In an enclave it is the one part of
//! `save/` that the host can read.
//!
//! ```text
//! W_last, W_best, W_round_0000012       .safetensors to the host, .sealed to a key
//! W_NAME_final, W_NAME_best, W_NAME_round_0000012    .safetensors at a member
//! ```

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use fl_engine::{
    Digest, Name, RoundNo,
    model::safetensors::{self, Texts},
    plan::{PublicKey, Release, ReleaseTo, Released},
    tensor::Layout,
};

use super::{
    StoreError,
    generation::remove_if_there,
    model_file::{self, About, Durability, fits, replace, scrap_of, texts},
};
use crate::sealed::{self, Label, Sealer};

/// `save/released`.
fn folder(save: &Path) -> PathBuf {
    save.join("released")
}

fn of_round(rounds: u32) -> String {
    format!("round_{rounds:07}")
}

/// What the aggregator releases.
#[derive(Debug)]
pub(super) struct Releases {
    save: PathBuf,
    federation: String,
    pub(super) what: Released,
    /// To the host without.
    key: Option<PublicKey>,
    layout: Arc<Layout>,
}

impl Releases {
    /// `None` when the aggregator itself releases nothing.
    pub(super) fn open(
        save: &Path,
        federation: &str,
        release: Option<Release>,
        layout: &Arc<Layout>,
    ) -> Result<Option<Self>, StoreError> {
        let Some(Release { what, to }) = release else { return Ok(None) };
        let key = match to {
            ReleaseTo::Key(key) => {
                sealed::check_key(&key).map_err(StoreError::Seal)?;
                Some(key)
            }
            ReleaseTo::Host => None,
            _ => return Ok(None),
        };
        let folder = folder(save);
        fs::create_dir_all(&folder).map_err(StoreError::write(&folder))?;
        let (save, federation) = (save.to_owned(), federation.to_owned());
        Ok(Some(Self { save, federation, what, key, layout: Arc::clone(layout) }))
    }

    /// Whether a round's model is there already.
    pub(super) fn has_round(&self, rounds: u32) -> bool {
        self.path(Released::Each, rounds).exists()
    }

    /// Releases a model in its payload form as `what` it is, with its texts: the round's, or the last one's.
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
            return replace(&path, &self.layout, payload, texts, Durability::Synced).map(|()| told(path));
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

    /// Releases the best model: the file that the store keeps, without taking it into memory.
    pub(super) fn put_best(&self, about: About) -> Result<PathBuf, StoreError> {
        let from = model_file::path(&self.save, &self.federation, "best");
        let path = self.path(Released::Best, about.rounds);
        let file = File::open(&from).map_err(StoreError::read(&from))?;
        let length = file.metadata().map_err(StoreError::read(&from))?.len();
        let Some(key) = self.key else {
            return write_new(&path, |out| copy(&file, &mut |piece| out.write_all(piece)))
                .map(|()| told(path));
        };
        self.seal(path, key, about, length, &mut |put| copy(&file, put))
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
        write_new(&path, |out| {
            let mut sealer = Sealer::new(out, &label)?;
            fill(&mut |piece| sealer.write(piece))?;
            sealer.finish().map(drop)
        })?;
        Ok(told(path))
    }

    /// The file of a model that is released as `what`, after so many rounds.
    pub(super) fn path(&self, what: Released, rounds: u32) -> PathBuf {
        let ending = if self.key.is_some() { "sealed" } else { "safetensors" };
        let kind = match what {
            Released::Each => of_round(rounds),
            what => what.word().to_owned(),
        };
        folder(&self.save).join(format!("{}_{kind}.{ending}", self.federation))
    }
}

/// What a member keeps of the models that it is sent.
#[derive(Debug)]
pub struct MemberCopies {
    save: PathBuf,
    federation: String,
    name: Name,
    plan: Digest,
    layout: Arc<Layout>,
    what: Released,
}

impl MemberCopies {
    /// `None` when the plan does not release models to members.
    #[must_use]
    pub fn new(
        save: &Path,
        federation: &str,
        name: &Name,
        plan: Digest,
        release: Option<Release>,
        layout: &Arc<Layout>,
    ) -> Option<Self> {
        let what = release.filter(|release| release.to == ReleaseTo::Members)?.what;
        let (save, federation) = (save.to_owned(), federation.to_owned());
        Some(Self { save, federation, name: name.clone(), plan, layout: Arc::clone(layout), what })
    }

    /// Whether every round's model is kept.
    #[must_use]
    pub fn keeps_each(&self) -> bool {
        self.what == Released::Each
    }

    /// Keeps the model that `round` starts from, or was measured in, whose root was checked. Returns the path.
    ///
    /// # Errors
    /// [`StoreError::Length`], [`StoreError::Write`].
    pub fn put(&self, round: RoundNo, root: Digest, payload: &[u8]) -> Result<PathBuf, StoreError> {
        fits(&self.layout, payload)?;
        let folder = folder(&self.save);
        fs::create_dir_all(&folder).map_err(StoreError::write(&folder))?;
        let kind = match self.what {
            Released::Each => of_round(round.0),
            Released::Best => "best".to_owned(),
            _ => "final".to_owned(),
        };
        let path = folder.join(format!("{}_{}_{kind}.safetensors", self.federation, self.name));
        let about = About { plan: self.plan, rounds: round.0, root };
        replace(&path, &self.layout, payload, &texts(about), Durability::Synced)?;
        Ok(path)
    }
}

fn told(path: PathBuf) -> PathBuf {
    tracing::info!("released {}", path.display());
    path
}

/// Writes a file beside `path`, synced, and gives it that name.
fn write_new(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), StoreError> {
    let fresh = scrap_of(path);
    let written = remove_if_there(&fresh).and_then(|()| File::create_new(&fresh)).and_then(|mut file| {
        write(&mut file)?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    });
    written.map_err(|source| {
        let _ = fs::remove_file(&fresh);
        StoreError::Write { path: path.to_owned(), source }
    })
}

fn copy(mut file: &File, put: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(()),
            read => put(&piece[..read])?,
        }
    }
}

/// Of a file that is copied, bytes.
const PIECE: usize = 256 << 10;

/// Takes the next bytes of a file.
type Put<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;
