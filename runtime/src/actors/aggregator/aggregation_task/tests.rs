use std::{future::Future, sync::Arc, task::Poll};

use fl_engine::{ByteCount, Weight, tensor::Layout};

use super::*;
use crate::aggregation::fixture::layout;

/// Slots in memory, and what the task is handed.
struct Rig {
    layout: Arc<Layout>,
    slots: SlotStore,
    base: Payload,
}

impl Rig {
    fn new(slots: u64) -> Self {
        let layout = layout();
        let len = layout.byte_len();
        let folder = std::env::temp_dir().join(format!("fl-aggregation-{}", std::process::id()));
        let slots = SlotStore::new(
            &crate::system::System::real(),
            ByteCount(slots * len as u64),
            ByteCount(0),
            folder,
            len as u64,
        )
        .unwrap();
        let base = Payload::new(&layout, vec![0; len].into()).unwrap();
        Self { layout, slots, base }
    }

    fn absorb(&self) -> AggregationJob {
        self.absorb_before(false)
    }

    fn absorb_before(&self, last: bool) -> AggregationJob {
        let mut writer = self.slots.try_reserve().unwrap().unwrap();
        writer.write(&vec![0; self.layout.byte_len()]).unwrap();
        let slot = writer.finish().unwrap();
        let update = StagedUpdate { name: "one".parse().unwrap(), slot, weight: Weight::ONE };
        AggregationJob::Absorb { update, base: self.base.clone(), last_but_one: last }
    }

    fn finalise(&self) -> AggregationJob {
        AggregationJob::Finalise { round: RoundNo(1), base: self.base.clone() }
    }

    /// What is gathered when `next` comes after a lone update that waited.
    async fn gathered_with(&self, next: impl FnOnce() -> AggregationJob) -> Gathered {
        let (jobs, mut todo) = mpsc::unbounded_channel();
        let mut gathered = Box::pin(Gathered::from(self.absorb(), &mut todo, &self.slots));
        assert!(is_pending(&mut gathered).await, "went alone");
        jobs.send(next()).unwrap_or_else(|_| panic!("no task"));
        gathered.await
    }
}

/// Polls once.
async fn is_pending(future: &mut (impl Future + Unpin)) -> bool {
    std::future::poll_fn(|context| Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending()))
        .await
}

#[tokio::test]
async fn lone_update_waits_for_the_next() {
    let rig = Rig::new(3);
    let gathered = rig.gathered_with(|| rig.absorb()).await;
    assert_eq!((gathered.updates.len(), gathered.last), (2, None));
}

#[tokio::test]
async fn lone_update_goes_when_its_slot_is_wanted() {
    let rig = Rig::new(1);
    let (_jobs, mut todo) = mpsc::unbounded_channel();
    let mut gathered = Box::pin(Gathered::from(rig.absorb(), &mut todo, &rig.slots));
    assert!(is_pending(&mut gathered).await, "went alone");
    let mut next = Box::pin(rig.slots.reserve());
    assert!(is_pending(&mut next).await, "the only slot is taken");
    let gathered = gathered.await;
    assert_eq!(gathered.updates.len(), 1);
    drop(gathered);
    next.await.unwrap();
}

#[tokio::test]
async fn lone_update_goes_when_the_round_closes() {
    let rig = Rig::new(2);
    let gathered = rig.gathered_with(|| rig.finalise()).await;
    assert_eq!((gathered.updates.len(), gathered.last), (1, Some(RoundNo(1))));
}

#[tokio::test]
async fn last_update_of_a_round_is_left_to_its_last_pass() {
    let rig = Rig::new(2);
    let (_jobs, mut todo) = mpsc::unbounded_channel();
    let mut gathered = Box::pin(Gathered::from(rig.absorb_before(true), &mut todo, &rig.slots));
    assert!(!is_pending(&mut gathered).await, "waits for the last");
}
