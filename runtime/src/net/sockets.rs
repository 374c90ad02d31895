//! The endpoints of a side that dials: for QUIC a UDP socket for each family of addresses that the machine
//! has, and one for TCP.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{
    carrier::{Carrier, EndpointError},
    endpoint::Endpoint,
    quic::transport::NetLimits,
};

/// What a side can dial with.
#[derive(Debug)]
pub struct Sockets {
    /// Carriers in the order of preference, each with its endpoints.
    opened: Vec<(Carrier, Families)>,
}

/// An endpoint for IPv4 and one for IPv6, or the reason why there is none.
#[derive(Debug)]
struct Families {
    v4: Result<Endpoint, EndpointError>,
    v6: Result<Endpoint, EndpointError>,
}

impl Sockets {
    /// Opens what the carriers need, on free ports of all addresses. A machine may lack one of the two
    /// families.
    ///
    /// # Errors
    /// When no carrier has an endpoint: the first reason for IPv4.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open(
        config: &rustls::ClientConfig,
        carriers: &[Carrier],
        limits: &NetLimits,
    ) -> Result<Self, EndpointError> {
        let (mut opened, mut refused) = (Vec::new(), None);
        for carrier in carriers {
            let open = |bind: SocketAddr| Endpoint::client(config.clone(), bind, *carrier, limits.clone());
            let v4 = open((Ipv4Addr::UNSPECIFIED, 0).into());
            let v6 = open((Ipv6Addr::UNSPECIFIED, 0).into());
            match (v4, v6) {
                (Err(error), Err(_)) => {
                    tracing::info!("no link over {carrier} is possible: {error}");
                    refused.get_or_insert(error);
                }
                (v4, v6) => opened.push((*carrier, Families { v4, v6 })),
            }
        }
        match refused {
            Some(error) if opened.is_empty() => Err(error),
            _ => Ok(Self { opened }),
        }
    }

    /// The carriers that can be dialled with, the preferred one first.
    pub fn carriers(&self) -> impl Iterator<Item = Carrier> {
        self.opened.iter().map(|(carrier, _)| *carrier)
    }

    /// The endpoint that reaches `address` over `carrier`.
    ///
    /// # Errors
    /// Why this machine has no socket of the address's family.
    pub fn towards(&self, carrier: Carrier, address: SocketAddr) -> Result<&Endpoint, String> {
        let opened = self.opened.iter().find(|(opened, _)| *opened == carrier);
        let (_, families) = opened.ok_or_else(|| format!("this machine has no socket for {carrier}"))?;
        let (family, endpoint) =
            if address.is_ipv6() { ("IPv6", &families.v6) } else { ("IPv4", &families.v4) };
        endpoint.as_ref().map_err(|error| {
            let cause =
                std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
            format!("this machine has no {family} socket: {error}{cause}")
        })
    }

    /// Closes every link.
    pub fn close(&self, code: u32, reason: &str) {
        self.all().for_each(|endpoint| endpoint.close(code, reason));
    }

    /// Waits until all peers have received the close.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn wait_idle(&self) {
        for endpoint in self.all() {
            endpoint.wait_idle().await;
        }
    }

    fn all(&self) -> impl Iterator<Item = &Endpoint> {
        let families = self.opened.iter().flat_map(|(_, families)| [&families.v4, &families.v6]);
        families.filter_map(|endpoint| endpoint.as_ref().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{
        SocketKind,
        fixture::{Authority, SERVER_NAME},
    };

    #[tokio::test]
    async fn each_family_of_addresses_has_a_socket_for_each_carrier() {
        let authority = Authority::new();
        let config = authority.client(&authority).0;
        let carriers = [Carrier::Quic(SocketKind::Auto), Carrier::Tcp];
        let sockets = Sockets::open(&config, &carriers, &NetLimits::client()).unwrap();
        let loopbacks =
            [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), SocketAddr::from((Ipv6Addr::LOCALHOST, 0))];
        for (loopback, carrier) in loopbacks.into_iter().flat_map(|at| carriers.map(|carrier| (at, carrier)))
        {
            if loopback.is_ipv6() && std::net::UdpSocket::bind(loopback).is_err() {
                continue;
            }
            let server =
                Endpoint::server(authority.server(), loopback, carrier, NetLimits::server()).unwrap();
            let to = server.local_addr().unwrap();
            let admitting = async { server.accept().await.unwrap().admit().await };
            let dialling = sockets.towards(carrier, to).unwrap().connect(to, SERVER_NAME);
            let (there, here) = tokio::join!(dialling, admitting);
            assert!(there.is_ok() && here.is_ok(), "{to} over {carrier}");
        }
        let one = Sockets::open(&config, &[Carrier::Tcp], &NetLimits::client()).unwrap();
        assert!(one.towards(carriers[0], loopbacks[0]).is_err());
    }
}
