//! The two roles: from a workspace to a run and its exit code.
//!
//! [`aggregator`] and [`collaborator`] check everything that can be checked before the first socket opens,
//! build the threads and actors, and wait for the outcome. `cli` calls them.

pub(crate) mod aggregator;
pub(crate) mod collaborator;
mod fresh_hint;
mod proxy;
mod resumption;
mod startup_trust;
mod stop_signals;
mod workspace;

use fl_engine::plan::{LinkKind, Site, SocketKind};

use crate::net::{self, Carrier};

/// What the site file allows to carry links, the preferred carrier first.
fn carriers(site: &Site) -> Vec<Carrier> {
    let quic = Carrier::Quic(match site.socket {
        SocketKind::Portable => net::SocketKind::Portable,
        SocketKind::Native => net::SocketKind::Native,
        _ => net::SocketKind::Auto,
    });
    match site.link {
        LinkKind::Quic => vec![quic],
        LinkKind::Tcp => vec![Carrier::Tcp],
        _ => vec![quic, Carrier::Tcp],
    }
}
