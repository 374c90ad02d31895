//! One list of tests for every kind of link: each test of the list runs over QUIC and over TCP.

use fl_engine::plan::{LinkKind, Site};
use fl_runtime::internal::net::{Carrier, SocketKind};

/// What carries the links of a client that is no collaborator: TCP where the site file has `link: tcp`, else
/// QUIC.
#[must_use]
pub fn carrier(site: &Site) -> Carrier {
    match site.link {
        LinkKind::Tcp => Carrier::Tcp,
        _ => Carrier::Quic(SocketKind::Auto),
    }
}

/// Makes a test over QUIC and a test over TCP of each function of the list. A function takes what carries the
/// links: `"quic"` or `"tcp"`.
#[macro_export]
macro_rules! over_each_link {
    ($($name:ident)*) => {
        mod quic {
            $(
                #[test]
                fn $name() {
                    super::$name("quic");
                }
            )*
        }
        mod tcp {
            $(
                #[test]
                fn $name() {
                    super::$name("tcp");
                }
            )*
        }
    };
}
