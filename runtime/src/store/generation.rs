//! Generations: one file for each of the last finished rounds. Each file shows whether it is whole.
//!
//! ```text
//! save/generations/W-0000012.fl      the number is the finished round's
//!
//!   0  magic "fl-state"      8
//!   8  version               4   little-endian, as every number here; 2 with a server's state, otherwise 1
//!  12  length of the facts   4
//!  16  length of the body    8   head, facts, payload and state together
//!  24  head                160   plan, layout, root, best root (32 each); incarnation, best value (8 each);
//!                                round, best round (4 each), whether there is a best (8)
//!      facts                     JSON, as a line of the history holds them
//!      payload                   f32 segment, then i64 segment
//!      state                     of the server's step, where the plan's step keeps one: its layout's
//!                                hash (32), then its payload
//!      SHA-256              32   of everything before it
//! ```
//!
//! An encrypted mount protects the bytes of a file, but not its length: a file that a crash cut short opens
//! without an error. A file that was renamed and not synced may not open at all. So the store writes a
//! generation under its final name and syncs it, and deletes older generations only then. Opening the store
//! uses the newest one that is whole.

use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use fl_engine::{Digest, RoundNo, aggregate::state_layout, plan::Plan, tensor::Layout};
use ring::digest::{Context, SHA256};

use super::{StoreError, entries};
use crate::{
    files::{BY_UMASK, File, Files},
    payload::leaves::root_of,
};

/// The best model so far. `W_best.safetensors` holds its values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Best {
    /// The round that measured it.
    pub(super) round: RoundNo,
    pub(super) root: Digest,
    pub(super) value: f64,
}

/// The part of a generation before facts and payload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Head {
    pub(super) plan: Digest,
    pub(super) layout: Digest,
    pub(super) root: Digest,
    pub(super) incarnation: u64,
    pub(super) round: RoundNo,
    pub(super) best: Option<Best>,
}

/// A generation that is whole.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) head: Head,
    pub(super) facts: String,
    pub(super) payload: Vec<u8>,
    /// State of the server's step, where the plan's step keeps one.
    pub(super) state: Option<Vec<u8>>,
}

/// The folder of one federation's generations.
#[derive(Debug)]
pub(super) struct Generations {
    files: Files,
    dir: PathBuf,
    prefix: String,
}

/// What a whole file holds.
enum Found {
    Whole(Box<Generation>),
    OtherPlan(Digest),
    /// A round of this plan without the state that the plan's server step keeps.
    NoState,
}

/// Why a file is not whole, in words.
type Broken = String;

impl Generations {
    /// The files of `federation` in `dir`.
    pub(super) fn new(files: &Files, dir: PathBuf, federation: &str) -> Self {
        Self { files: files.clone(), dir, prefix: format!("{federation}-") }
    }

    /// Makes the folder.
    pub(super) fn prepare(&self) -> Result<(), StoreError> {
        self.files.create_folder(&self.dir).map_err(StoreError::write(&self.dir))
    }

    /// The newest generation that is whole; `None` when no round was finished before.
    pub(super) fn newest(
        &self,
        plan: Digest,
        layout: &Layout,
        state: Option<&Layout>,
        rounds: u32,
    ) -> Result<Option<Generation>, StoreError> {
        let files = self.list()?;
        for (number, path) in &files {
            match examine(&self.files, path, plan, layout, state) {
                Ok(Found::Whole(whole)) if whole.head.round.0 == *number && *number < rounds => {
                    return Ok(Some(*whole));
                }
                Ok(Found::Whole(_)) => {
                    tracing::warn!(
                        "ignoring {}: the file holds another round than its name says",
                        path.display()
                    );
                }
                Ok(Found::OtherPlan(theirs)) => {
                    return Err(StoreError::OtherPlan { path: path.clone(), theirs, ours: plan });
                }
                // An older generation would have no state either, and newer ones would be deleted.
                Ok(Found::NoState) => return Err(StoreError::NoState { path: path.clone() }),
                Err(broken) => tracing::warn!("ignoring {}: {broken}", path.display()),
            }
        }
        match files.as_slice() {
            // A crash while the first round was written: no earlier round is lost.
            [] | [(0, _)] => Ok(None),
            files => Err(StoreError::NoneWhole { dir: self.dir.clone(), count: files.len() }),
        }
    }

    /// The generation of this round. `None` when there is no file of the round; a file that is not whole is
    /// an error.
    pub(super) fn of_round(
        &self,
        round: RoundNo,
        plan: Digest,
        layout: &Layout,
        state: Option<&Layout>,
    ) -> Result<Option<Generation>, StoreError> {
        let path = self.path(round);
        if !self.files.exists(&path).map_err(StoreError::read(&path))? {
            return Ok(None);
        }
        match examine(&self.files, &path, plan, layout, state) {
            Ok(Found::Whole(whole)) if whole.head.round == round => Ok(Some(*whole)),
            Ok(Found::Whole(_)) => Err(StoreError::OtherRound { path }),
            Ok(Found::OtherPlan(theirs)) => Err(StoreError::OtherPlan { path, theirs, ours: plan }),
            Ok(Found::NoState) => Err(StoreError::NoState { path }),
            Err(why) => Err(StoreError::NotWhole { path, why }),
        }
    }

    /// The file of a round.
    pub(super) fn path(&self, round: RoundNo) -> PathBuf {
        self.dir.join(format!("{}{:07}.fl", self.prefix, round.0))
    }

    /// Writes a generation: when this returns, it is durable. A file of the same name is replaced: it is a
    /// part that a crash left, or the same round stored again.
    pub(super) fn write(
        &self,
        head: &Head,
        facts: &str,
        payload: &[u8],
        state: Option<(Digest, &[u8])>,
    ) -> Result<(), StoreError> {
        let path = self.path(head.round);
        let write = |file: &mut File| {
            let mut out = Hashing::new(file);
            let (version, behind) = state.map_or((PLAIN, 0), |(_, state)| (STATEFUL, DIGEST + state.len()));
            let body = (HEAD + facts.len() + payload.len() + behind) as u64;
            let facts_len = u32::try_from(facts.len()).map_err(io::Error::other)?;
            let start = [MAGIC.as_slice(), &version.to_le_bytes(), &facts_len.to_le_bytes()].concat();
            let parts = [&start, &body.to_le_bytes()[..], &head.to_bytes(), facts.as_bytes(), payload];
            parts.into_iter().try_for_each(|part| out.write_all(part))?;
            if let Some((layout, state)) = state {
                out.write_all(&layout.0)?;
                out.write_all(state)?;
            }
            let digest = out.digest.finish();
            out.inner.write_all(digest.as_ref())
        };
        self.files.write_new(&path, BY_UMASK, write).map_err(StoreError::write(&path))
    }

    /// Deletes all generations but `newest` and the one before it.
    pub(super) fn prune(&self, newest: RoundNo) {
        let Ok(files) = self.list() else { return };
        let older = files.iter().filter(|(n, _)| *n < newest.0).skip(KEPT - 1);
        for (_, path) in files.iter().filter(|(n, _)| *n > newest.0).chain(older) {
            if let Err(error) = self.files.remove(path) {
                tracing::warn!("cannot delete {}: {error}", path.display());
            }
        }
    }

    /// Deletes all generations but the newest `most`.
    pub(super) fn keep_newest(&self, most: usize) -> Result<(), StoreError> {
        let mut older = self.list()?.into_iter().skip(most);
        older.try_for_each(|(_, path)| self.files.remove(&path).map_err(StoreError::write(path)))
    }

    /// The rounds that there is a file of, whole or not, the newest first.
    pub(super) fn rounds(&self) -> Result<Vec<RoundNo>, StoreError> {
        Ok(self.list()?.into_iter().map(|(round, _)| RoundNo(round)).collect())
    }

    /// Deletes all generations; returns how many rounds were run, by their numbers.
    pub(super) fn delete(&self) -> Result<u32, StoreError> {
        let files = self.list()?;
        for (_, path) in &files {
            self.files.remove(path).map_err(StoreError::write(path))?;
        }
        Ok(files.first().map_or(0, |(newest, _)| newest.saturating_add(1)))
    }

    /// Numbers and paths of the generations, the newest first; none where there is no folder. Files of other
    /// names are ignored.
    fn list(&self) -> Result<Vec<(u32, PathBuf)>, StoreError> {
        let mut files = Vec::new();
        for path in entries(&self.files, &self.dir)? {
            let name = path.file_name().and_then(|n| n.to_str());
            let digits = name.and_then(|n| n.strip_prefix(&self.prefix)?.strip_suffix(".fl"));
            if let Some(number) = digits.filter(|d| d.len() >= 7).and_then(|d| d.parse().ok()) {
                files.push((number, path));
            }
        }
        files.sort_unstable_by(|a, b| b.cmp(a));
        Ok(files)
    }
}

/// Layout of the state of the plan's server step, where the step keeps one.
pub(super) fn layout_of_state(plan: &Plan, layout: &Arc<Layout>) -> Result<Option<Arc<Layout>>, StoreError> {
    match plan.aggregation().and_then(|aggregation| aggregation.server) {
        Some(server) => state_layout(server, layout).map_err(StoreError::StateLayout),
        None => Ok(None),
    }
}

impl Head {
    fn to_bytes(self) -> Vec<u8> {
        let best = self.best.unwrap_or(Best { round: RoundNo(0), root: Digest([0; 32]), value: 0.0 });
        let mut out = Vec::with_capacity(HEAD);
        [self.plan, self.layout, self.root, best.root].iter().for_each(|d| out.extend(d.0));
        out.extend(self.incarnation.to_le_bytes());
        out.extend(best.value.to_bits().to_le_bytes());
        out.extend(self.round.0.to_le_bytes());
        out.extend(best.round.0.to_le_bytes());
        out.extend(u64::from(self.best.is_some()).to_le_bytes());
        out
    }

    fn read(from: &mut impl Read) -> io::Result<Self> {
        let [plan, layout, root, best_root] =
            [take(from)?, take(from)?, take(from)?, take(from)?].map(Digest);
        let incarnation = u64::from_le_bytes(take(from)?);
        let value = f64::from_bits(u64::from_le_bytes(take(from)?));
        let [round, best_round] = [take(from)?, take(from)?].map(|n| RoundNo(u32::from_le_bytes(n)));
        let there = u64::from_le_bytes(take(from)?) != 0;
        let best = there.then_some(Best { round: best_round, root: best_root, value });
        Ok(Self { plan, layout, root, incarnation, round, best })
    }
}

/// Reads a file to its end. Memory is allocated only for payloads of the layouts' lengths.
fn examine(
    files: &Files,
    path: &Path,
    plan: Digest,
    layout: &Layout,
    state_layout: Option<&Layout>,
) -> Result<Found, Broken> {
    let read = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => "the file was cut short".to_owned(),
        _ => error.to_string(),
    };
    let mut file = files.open(path).map_err(read)?;
    let length = file.length().map_err(read)?;
    let mut from = Hashing::new(&mut file);
    if take::<8>(&mut from).map_err(read)? != *MAGIC {
        return Err("the file is not a stored round".to_owned());
    }
    let version = u32::from_le_bytes(take(&mut from).map_err(read)?);
    if !(PLAIN..=STATEFUL).contains(&version) {
        return Err(format!(
            "the file's format is version {version}, but this program reads {PLAIN} and {STATEFUL}"
        ));
    }
    let facts_len = u64::from(u32::from_le_bytes(take(&mut from).map_err(read)?));
    let body = u64::from_le_bytes(take(&mut from).map_err(read)?);
    if body.checked_add((START + DIGEST) as u64) != Some(length) {
        return Err(format!("the file has {length} bytes, but should have {START} + {body} + {DIGEST}"));
    }
    let head = Head::read(&mut from).map_err(read)?;
    let Some(rest) = body.checked_sub(HEAD as u64 + facts_len) else {
        return Err("the facts in the file are longer than the file".to_owned());
    };
    let length = layout.byte_len();
    let behind = state_layout.map_or(0, |layout| DIGEST + layout.byte_len());
    let of_plan = head.plan == plan && head.layout == layout.hash();
    let stateless = of_plan && version == PLAIN && state_layout.is_some() && rest == length as u64;
    let stateful = version == STATEFUL;
    let ours = of_plan && stateful == state_layout.is_some() && rest == (length + behind) as u64;
    let (mut facts, mut payload, mut state) = (Vec::new(), Vec::new(), None);
    if ours {
        let mut part = |length: usize| -> Result<Vec<u8>, Broken> {
            let mut bytes = vec![0; length];
            from.read_exact(&mut bytes).map_err(read)?;
            Ok(bytes)
        };
        facts = part(facts_len as usize)?;
        payload = part(length)?;
        if let Some(layout) = state_layout {
            if part(DIGEST)? != layout.hash().0 {
                return Err("the server state in the file has another layout than the plan's".to_owned());
            }
            state = Some(part(layout.byte_len())?);
        }
    } else {
        io::copy(&mut Read::take(&mut from, facts_len + rest), &mut io::sink()).map_err(read)?;
    }
    let expected = from.digest.clone().finish();
    if take::<DIGEST>(&mut from.inner).map_err(read)? != *expected.as_ref() {
        return Err("the file was changed after it was written".to_owned());
    }
    if stateless {
        return Ok(Found::NoState);
    }
    if !ours {
        return Ok(Found::OtherPlan(head.plan));
    }
    if root_of(head.layout, &payload) != head.root {
        return Err("the model in the file does not have the root that the file states".to_owned());
    }
    let facts = String::from_utf8(facts).map_err(|_| "the facts in the file are not text".to_owned())?;
    Ok(Found::Whole(Box::new(Generation { head, facts, payload, state })))
}

/// Hashes the bytes that it passes on.
struct Hashing<'a> {
    inner: &'a mut File,
    digest: Context,
}

impl<'a> Hashing<'a> {
    fn new(inner: &'a mut File) -> Self {
        Self { inner, digest: Context::new(&SHA256) }
    }
}

impl Read for Hashing<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        // In steps that stay in the cache between the read and the hash.
        let step = into.len().min(PIECE);
        let read = self.inner.read(&mut into[..step])?;
        self.digest.update(&into[..read]);
        Ok(read)
    }
}

impl Write for Hashing<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let wrote = self.inner.write(&from[..from.len().min(PIECE)])?;
        self.digest.update(&from[..wrote]);
        Ok(wrote)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn take<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

const MAGIC: &[u8; 8] = b"fl-state";
/// Version of a generation without a server's state.
const PLAIN: u32 = 1;
/// Version of a generation with a server's state.
const STATEFUL: u32 = 2;
/// Bytes before the head.
const START: usize = 24;
/// Bytes of the head.
const HEAD: usize = 160;
/// Bytes of the trailer.
const DIGEST: usize = 32;
/// Bytes hashed at a time.
const PIECE: usize = 256 * 1024;
/// Generations kept: the newest one, and one more in case the newest is damaged.
const KEPT: usize = 2;
