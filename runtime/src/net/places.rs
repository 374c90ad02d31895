//! A bounded number of places for peers that have not proved themselves yet, of which each key gets few.
//!
//! When places are short, the oldest holder gives way, if it has had its place for [`LEAST_TIME`]: an honest
//! peer needs a few round trips. Otherwise the newcomer is turned away: honest peers that come all at once
//! would keep each other from ending. A peer that holds places without going on pushes out itself first,
//! because its key has few.

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    sync::oneshot,
    time::{Duration, Instant},
};

/// The places. Clones share them.
#[derive(Debug)]
pub(crate) struct Places<K>(Arc<Shared<K>>);

#[derive(Debug)]
struct Shared<K> {
    /// Most places in all.
    most: usize,
    /// Most places of one key.
    each: usize,
    next: AtomicU64,
    /// Oldest first.
    held: Mutex<VecDeque<Held<K>>>,
}

#[derive(Debug)]
struct Held<K> {
    number: u64,
    key: K,
    since: Instant,
    /// Dropped to tell the holder that it has lost its place.
    _lost: oneshot::Sender<()>,
}

/// A place. Dropping it frees the place.
#[derive(Debug)]
pub(crate) struct Place<K> {
    shared: Arc<Shared<K>>,
    number: u64,
    lost: oneshot::Receiver<()>,
}

impl<K: PartialEq> Places<K> {
    /// At most `most` places, and `each` of one key.
    pub(crate) fn new(most: usize, each: usize) -> Self {
        Self(Arc::new(Shared { most, each, next: AtomicU64::new(0), held: Mutex::default() }))
    }

    /// How many are held.
    pub(crate) fn held(&self) -> usize {
        self.0.held().len()
    }

    /// A place for `key`, if there is one. The oldest of the same key gives way, or else the oldest of all,
    /// where places are short and it has had its time.
    pub(crate) fn take(&self, key: K) -> Option<Place<K>> {
        let now = Instant::now();
        let mut held = self.0.held();
        let of_key = held.iter().filter(|held| held.key == key).count();
        let gives_way = match of_key {
            of_key if of_key >= self.0.each => held.iter().position(|held| held.key == key),
            _ => (held.len() >= self.0.most).then_some(0),
        };
        if let Some(at) = gives_way {
            held.get(at).filter(|oldest| now.duration_since(oldest.since) >= LEAST_TIME)?;
            held.remove(at);
        }
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (_lost, lost) = oneshot::channel();
        held.push_back(Held { number, key, since: now, _lost });
        Some(Place { shared: Arc::clone(&self.0), number, lost })
    }
}

impl<K> Clone for Places<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> Shared<K> {
    fn held(&self) -> MutexGuard<'_, VecDeque<Held<K>>> {
        // Every change is one step, so that a panic elsewhere leaves the queue whole.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> Place<K> {
    /// Waits until the holder has to give way.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub(crate) async fn lost(&mut self) {
        // The other end is dropped, never used.
        let _ = (&mut self.lost).await;
    }
}

impl<K> Drop for Place<K> {
    fn drop(&mut self) {
        self.shared.held().retain(|held| held.number != self.number);
    }
}

/// What counts as one address: under IPv6 a site has a network of 64 bits.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        address => address,
    }
}

/// Time that every holder has.
const LEAST_TIME: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn is_lost(place: &mut Place<&str>) -> bool {
        place.lost.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    #[tokio::test(start_paused = true)]
    async fn key_with_too_many_places_loses_its_own_oldest() {
        let places = Places::new(4, 2);
        let mut honest = places.take("honest").unwrap();
        let (mut a, mut b) = (places.take("flood").unwrap(), places.take("flood").unwrap());
        assert!(places.take("flood").is_none(), "the oldest has not had its time");
        advance(LEAST_TIME).await;
        let mut c = places.take("flood").unwrap();
        assert!(is_lost(&mut a) && !is_lost(&mut b) && !is_lost(&mut c) && !is_lost(&mut honest));
        let d = places.take("flood").unwrap();
        assert!(places.take("flood").is_none());
        assert_eq!(places.held(), 3);
        drop(d);
        assert!(places.take("flood").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn oldest_of_all_gives_way_where_places_are_short() {
        let places = Places::new(2, 2);
        let (mut a, mut b) = (places.take("a").unwrap(), places.take("b").unwrap());
        assert!(places.take("c").is_none());
        advance(LEAST_TIME).await;
        let mut c = places.take("c").unwrap();
        assert!(is_lost(&mut a) && !is_lost(&mut b) && !is_lost(&mut c));
        assert_eq!(places.held(), 2);
    }

    #[test]
    fn dropped_place_is_free_again() {
        let places = Places::new(1, 1);
        drop(places.take("a"));
        assert_eq!(places.held(), 0);
        assert!(places.take("b").is_some());
    }
}
