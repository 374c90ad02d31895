//! Congestion control that lets a link send its last packet.
//!
//! quinn-proto 0.11.19 sends the packet that closes a connection only when the congestion window has room, as
//! long as stream data wait. The window of a closed connection never opens again. A peer whose link is closed
//! in the middle of a model would therefore notice it only at its idle timeout (quinn's issue 2785). Here the
//! window is unlimited from [`part`] on, which the link calls just before it closes. A closing connection
//! sends only that one packet.

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use quinn::{
    Connection,
    congestion::{Controller, ControllerFactory, ControllerMetrics, CubicConfig},
};
use quinn_proto::RttEstimator;

/// Makes quinn's default controller, wrapped.
#[derive(Debug, Default)]
pub(super) struct PartingConfig(Arc<CubicConfig>);

struct Parting {
    inner: Box<dyn Controller>,
    parting: Arc<AtomicBool>,
}

/// Makes the congestion window of a connection unlimited. Call it just before the connection is closed.
pub(crate) fn part(connection: &Connection) {
    if let Ok(controller) = connection.congestion_state().into_any().downcast::<Parting>() {
        controller.parting.store(true, Ordering::Relaxed);
    }
}

impl ControllerFactory for PartingConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let inner = Arc::clone(&self.0).build(now, current_mtu);
        Box::new(Parting { inner, parting: Arc::default() })
    }
}

impl Controller for Parting {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.inner.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.inner.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.inner.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        // quinn does not pace windows past u32::MAX either.
        if self.parting.load(Ordering::Relaxed) { u64::MAX } else { self.inner.window() }
    }

    fn metrics(&self) -> ControllerMetrics {
        self.inner.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self { inner: self.inner.clone_box(), parting: Arc::clone(&self.parting) })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
