//! The way through an HTTP proxy to the aggregator: one request CONNECT and its answer (RFC 9110, section
//! 9.3.6). Afterwards the connection is the aggregator's. The TCP endpoint calls this before TLS begins.
//!
//! Nothing of the exchange is protected: anybody on the way can forge the answer. So no answer ends a
//! collaborator, and each answer is read within bounds of bytes and time.

mod answer;
pub mod fault;

use std::net::SocketAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fl_engine::plan::{Proxy, host_and_port};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use self::{
    answer::Answer,
    fault::{ANSWER_TIME, ProxyFault},
};
use super::{LinkError, tcp::connection};

/// A proxy, and what it has to connect to. The proxy resolves the host's name.
#[derive(Clone, Debug)]
pub struct Tunnel {
    proxy: Proxy,
    /// `host:port` of the aggregator.
    target: String,
}

impl Tunnel {
    /// The way through `proxy` to `host`, a name or an IP address, and `port`.
    #[must_use]
    pub fn new(proxy: Proxy, host: &str, port: u16) -> Self {
        Self { proxy, target: host_and_port(host, port) }
    }

    /// The proxy.
    #[must_use]
    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// Connects to the proxy at `address`, one of its addresses, and asks for the connection. What is sent
    /// afterwards reaches the aggregator.
    ///
    /// # Errors
    /// [`LinkError::Proxy`].
    ///
    /// # Cancel safety
    /// Cancel-safe: the connection to the proxy is closed.
    pub async fn open(&self, address: SocketAddr) -> Result<TcpStream, LinkError> {
        let exchange = async {
            let connected = connection::connect(address).await;
            let mut socket = connected.map_err(|error| ProxyFault::Unreachable(error.to_string()))?;
            self.ask(&mut socket).await?;
            Ok(socket)
        };
        let opened = timeout(ANSWER_TIME, exchange).await.unwrap_or(Err(ProxyFault::Silent));
        opened.map_err(|fault| LinkError::Proxy { proxy: self.proxy.to_string(), fault })
    }

    async fn ask(&self, socket: &mut TcpStream) -> Result<(), ProxyFault> {
        let login = self.proxy.login();
        // What the proxy sent before it left says more than the failure to write.
        let _ = socket.write_all(self.request().as_bytes()).await;
        let (mut answer, mut piece) = (Answer::new(login.is_some()), [0; 1024]);
        loop {
            match socket.read(&mut piece).await {
                Ok(0) | Err(_) => return Err(ProxyFault::Ended),
                Ok(len) if answer.take(&piece[..len])? => return Ok(()),
                Ok(_) => {}
            }
        }
    }

    /// A secret, if there is a login.
    fn request(&self) -> String {
        let target = &self.target;
        let login = self.proxy.login().map(|login| STANDARD.encode(login));
        let login = login.map(|login| format!("Proxy-Authorization: Basic {login}\r\n")).unwrap_or_default();
        format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{login}\r\n")
    }
}

#[cfg(test)]
mod tests;
