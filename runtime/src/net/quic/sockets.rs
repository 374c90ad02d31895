//! The UDP sockets of a side that dials: one for each family of addresses that the machine has.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{
    endpoint::{Endpoint, EndpointError, SocketKind},
    transport::NetLimits,
};

/// An endpoint for IPv4 and one for IPv6, or the reason why there is none.
#[derive(Debug)]
pub struct Sockets {
    v4: Result<Endpoint, EndpointError>,
    v6: Result<Endpoint, EndpointError>,
}

impl Sockets {
    /// Opens both sockets on free ports of all addresses. A machine may lack one of the two families.
    ///
    /// # Errors
    /// When neither socket opens: the reason for IPv4.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open(
        config: &rustls::ClientConfig,
        kind: SocketKind,
        limits: &NetLimits,
    ) -> Result<Self, EndpointError> {
        let open = |bind: SocketAddr| Endpoint::client(config.clone(), bind, kind, limits.clone());
        let v4 = open((Ipv4Addr::UNSPECIFIED, 0).into());
        let v6 = open((Ipv6Addr::UNSPECIFIED, 0).into());
        match (v4, v6) {
            (Err(error), Err(_)) => Err(error),
            (v4, v6) => Ok(Self { v4, v6 }),
        }
    }

    /// The endpoint that reaches `address`.
    ///
    /// # Errors
    /// Why this machine has no socket of the address's family.
    pub fn towards(&self, address: SocketAddr) -> Result<&Endpoint, String> {
        let (family, endpoint) = if address.is_ipv6() { ("IPv6", &self.v6) } else { ("IPv4", &self.v4) };
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
        [&self.v4, &self.v6].into_iter().filter_map(|endpoint| endpoint.as_ref().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::fixture::{Authority, SERVER_NAME};

    #[tokio::test]
    async fn each_family_of_addresses_has_a_socket() {
        let authority = Authority::new();
        let config = authority.client(&authority).0;
        let sockets = Sockets::open(&config, SocketKind::Auto, &NetLimits::client()).unwrap();
        for loopback in
            [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), SocketAddr::from((Ipv6Addr::LOCALHOST, 0))]
        {
            if loopback.is_ipv6() && std::net::UdpSocket::bind(loopback).is_err() {
                assert!(sockets.towards(loopback).is_err());
                continue;
            }
            let server =
                Endpoint::server(authority.server(), loopback, SocketKind::Auto, NetLimits::server())
                    .unwrap();
            let to = server.local_addr().unwrap();
            let admitting = async { server.accept().await.unwrap().admit().await };
            let dialling = sockets.towards(to).unwrap().connect(to, SERVER_NAME);
            let (there, here) = tokio::join!(dialling, admitting);
            assert!(there.is_ok() && here.is_ok(), "{to}");
        }
    }
}
