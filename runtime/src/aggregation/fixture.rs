//! The layout, the random numbers and the rig of the tests of aggregation.

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
    ByteCount, Name, Weight,
    aggregate::{Method, method},
    plan::{self, ExactRange, Rule},
    tensor::{Combine, Dtype, Layout, ModelState, TensorSpec},
};

use super::StagedUpdate;
use crate::{
    memory::SlotStore,
    payload::{Payload, PayloadPool},
    pool::Pool,
};

/// Four leaves and a bit of f32, with a tensor held out across a leaf's end, then integers of three kinds.
/// The integers of an update lie in a chunk of their own.
pub(crate) fn layout() -> Arc<Layout> {
    let held = TensorSpec { combine: Combine::Keep, ..TensorSpec::f32("held", [9_000]) };
    let integers = |name: &str, combine| TensorSpec {
        dtype: Dtype::I64,
        combine,
        ..TensorSpec::f32(name.to_owned(), [3])
    };
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

/// splitmix64 (Steele, Lea, Flood 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
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
        let store =
            SlotStore::new(&crate::system::System::real(), in_memory, on_disk, folder.clone(), len).unwrap();
        assert_eq!(store.free(), (memory, disk));
        let payloads = PayloadPool::new(layout());
        let aggregation = aggregation(
            Pool::new(&crate::system::System::real().threads, threads).unwrap(),
            payloads.clone(),
        );
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
    let mut random = Random(seed);
    let layout = layout();
    let one = |n: usize| {
        let far = if n + 2 >= count { 40.0 } else { 1.0 };
        let values = (0..layout.f32_len()).map(|_| random.unit() * far);
        let mut payload: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
        (0..layout.i64_len()).for_each(|_| payload.extend(random.next().to_le_bytes()));
        let weight = Weight::new(1 + random.next() % 1000).unwrap();
        Given { name: site(n), payload, weight }
    };
    (0..count).map(one).collect()
}

pub(crate) fn base() -> Payload {
    let mut state = ModelState::zeros(layout());
    let mut random = Random(77);
    state.f32.iter_mut().for_each(|value| *value = random.unit() / 4.0);
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
