//! The layout, the updates and the rig of the tests of aggregation.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use fl_engine::{
    ByteCount, Draws, Name, Weight,
    aggregate::{Method, method},
    plan::{self, ExactRange, Rule},
    tensor::{Combine, Dtype, Layout, ModelState, TensorSpec},
};

use super::StagedUpdate;
use crate::{
    memory::SlotStore,
    payload::{Payload, PayloadPool},
    pool::Pool,
    system::System,
};

/// Four leaves and a bit of f32, with a tensor held out across a leaf's end, then integers of three kinds.
/// The integers of an update lie in a chunk of their own.
pub(crate) fn layout() -> Arc<Layout> {
    let held = TensorSpec { combine: Combine::Keep, ..TensorSpec::f32("held", [9_000]) };
    Layout::new(vec![
        TensorSpec::f32("a", [60_000]),
        integers("steps", Combine::Sum),
        held,
        integers("most", Combine::Max),
        TensorSpec::f32("b.running_mean", [203_003]),
        integers("kept", Combine::Keep),
    ])
    .unwrap()
}

pub(crate) fn integers(name: &str, combine: Combine) -> TensorSpec {
    TensorSpec { dtype: Dtype::I64, combine, ..TensorSpec::f32(name.to_owned(), [3]) }
}

/// A number between -1 and 1.
pub(crate) fn signed(draws: &mut Draws) -> f32 {
    (2.0 * draws.unit() - 1.0) as f32
}

/// An update, as a collaborator would send it.
#[derive(Clone)]
pub(crate) struct Given {
    pub(crate) name: Name,
    pub(crate) payload: Vec<u8>,
    pub(crate) weight: Weight,
}

/// An aggregation, with slots for its updates.
pub(crate) struct Rig<A> {
    pub(crate) aggregation: A,
    pub(crate) payloads: PayloadPool,
    pub(crate) store: SlotStore,
    pub(crate) folder: PathBuf,
    slots: (usize, usize),
}

impl<A> Rig<A> {
    /// The slots are `memory` in memory and `disk` on disk.
    pub(crate) fn new(
        threads: usize,
        (memory, disk): (usize, usize),
        aggregation: impl FnOnce(Pool, PayloadPool) -> A,
    ) -> Self {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("fl-aggregation-{}-{number}", std::process::id()));
        let len = layout().byte_len() as u64;
        let (in_memory, on_disk) = (ByteCount(memory as u64 * len), ByteCount(disk as u64 * (len + 4096)));
        let store = SlotStore::new(&System::real(), in_memory, on_disk, folder.clone(), len).unwrap();
        assert_eq!(store.free(), (memory, disk));
        let payloads = PayloadPool::new(layout());
        let aggregation = aggregation(pool(threads), payloads.clone());
        Self { aggregation, payloads, store, folder, slots: (memory, disk) }
    }

    pub(crate) fn stage(&self, given: &[Given]) -> Vec<StagedUpdate> {
        let stage = |given: &Given| staged(&self.store, &given.name, &given.payload, given.weight);
        given.iter().map(stage).collect()
    }

    /// Changes a bit of a spill file.
    pub(crate) fn damage(&self, file: &str, byte: usize) {
        let path = self.folder.join(file);
        let mut bytes = fs::read(&path).unwrap();
        bytes[byte] ^= 1;
        fs::write(path, bytes).unwrap();
    }

    /// Whether every slot and every buffer is free.
    pub(crate) fn everything_came_back(&self) -> bool {
        self.store.free() == self.slots && self.payloads.free() == PayloadPool::MOST_LIVE
    }

    pub(crate) async fn until_everything_came_back(&self) {
        let start = Instant::now();
        while !self.everything_came_back() {
            assert!(start.elapsed() < Duration::from_secs(10), "a dropped call kept something");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl<A> Drop for Rig<A> {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn pool(threads: usize) -> Pool {
    Pool::new(&System::real().threads, threads).unwrap()
}

/// A store for one update of `len` bytes, in memory.
pub(crate) fn one_slot(len: u64) -> SlotStore {
    SlotStore::new(&System::real(), ByteCount(len), ByteCount(0), PathBuf::new(), len).unwrap()
}

/// An aggregation over these tensors on three threads, one update for it, and the same update as a base.
pub(crate) fn alone<A>(
    tensors: Vec<TensorSpec>,
    aggregation: impl FnOnce(Pool, PayloadPool) -> A,
) -> (A, StagedUpdate, Payload) {
    let layout = Layout::new(tensors).unwrap();
    let mut state = ModelState::zeros(Arc::clone(&layout));
    state.f32.fill(1.5);
    state.i64.fill(-2);
    let update = Payload::from_state(&state);
    let store = one_slot(layout.byte_len() as u64);
    let staged = staged(&store, &site(0), update.as_slice(), Weight::new(9).unwrap());
    (aggregation(pool(3), PayloadPool::new(layout)), staged, update)
}

/// An update in a slot of `store`.
pub(crate) fn staged(store: &SlotStore, name: &Name, payload: &[u8], weight: Weight) -> StagedUpdate {
    let mut writer = store.try_reserve().unwrap().unwrap();
    writer.write(payload).unwrap();
    StagedUpdate { name: name.clone(), slot: writer.finish().unwrap(), weight }
}

/// The name of the collaborator with this number, in order of the numbers.
pub(crate) fn site(number: usize) -> Name {
    format!("site-{number:02}").parse().unwrap()
}

/// Updates in order of their names. The last two are far from the others.
pub(crate) fn given(count: usize, seed: u64) -> Vec<Given> {
    let mut draws = Draws::new(seed);
    let layout = layout();
    let one = |n: usize| {
        let far = if n + 2 >= count { 40.0 } else { 1.0 };
        let values = (0..layout.f32_len()).map(|_| signed(&mut draws) * far);
        let mut payload: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
        (0..layout.i64_len()).for_each(|_| payload.extend(draws.next_u64().to_le_bytes()));
        let weight = Weight::new(1 + draws.next_u64() % 1000).unwrap();
        Given { name: site(n), payload, weight }
    };
    (0..count).map(one).collect()
}

pub(crate) fn base() -> Payload {
    let mut state = ModelState::zeros(layout());
    let mut draws = Draws::new(77);
    state.f32.iter_mut().for_each(|value| *value = signed(&mut draws) / 4.0);
    state.i64.iter_mut().for_each(|value| *value = 5);
    Payload::from_state(&state)
}

pub(crate) fn method_of(rule: &Rule) -> Method {
    let aggregation = plan::Aggregation { rule, server: None, threshold: None };
    method(&aggregation, EXACT, |_| None).unwrap()
}

/// The range of a plan that leaves room for clipping.
pub(crate) const EXACT: ExactRange = ExactRange { value_bits: 16, weight_bits: 19 };

static FOLDERS: AtomicU32 = AtomicU32::new(0);
