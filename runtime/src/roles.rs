//! The two roles: from a workspace to a run and its exit code.
//!
//! [`aggregator`] and [`collaborator`] check everything that can be checked before the first socket opens,
//! build the threads and actors, and wait for the outcome. `cli` calls them.

pub(crate) mod aggregator;
pub(crate) mod collaborator;
mod startup_trust;
mod stop_signals;
mod workspace;

use fl_engine::plan;

use crate::net::SocketKind;

/// The endpoint's value for the word in the site file.
fn socket_kind(socket: plan::SocketKind) -> SocketKind {
    match socket {
        plan::SocketKind::Portable => SocketKind::Portable,
        plan::SocketKind::Native => SocketKind::Native,
        _ => SocketKind::Auto,
    }
}
