//! What carries a link: QUIC over a UDP socket, or TLS over TCP.

use std::{fmt, io, net::SocketAddr};

/// Which UDP socket carries the endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SocketKind {
    /// The native one, or the portable one where the native one does not open.
    #[default]
    Auto,
    /// quinn's own: segmentation offload, ECN, source address control.
    Native,
    /// Datagrams without options, several a system call where the system can; works inside a library OS.
    Portable,
    /// The portable socket with one datagram a system call, which [`Self::Portable`] falls back to. For tests
    /// and benches: no site file names it.
    PortablePlain,
}

impl SocketKind {
    /// One word, for logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Portable => "portable",
            Self::PortablePlain => "portable, plain",
        }
    }

    /// Whether the kernel segments nothing. Kernel segmentation excludes datagrams over 1452 bytes.
    pub(super) fn is_portable(self) -> bool {
        matches!(self, Self::Portable | Self::PortablePlain)
    }
}

/// What carries a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// QUIC, over this UDP socket.
    Quic(SocketKind),
    /// TLS over TCP.
    Tcp,
}

impl Carrier {
    /// One word, for logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quic(_) => "QUIC",
            Self::Tcp => "TCP",
        }
    }
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<SocketKind> for Carrier {
    fn from(kind: SocketKind) -> Self {
        Self::Quic(kind)
    }
}

/// Why an endpoint could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The port of this protocol, UDP or TCP, cannot be bound.
    #[error("cannot bind the {0} address {1}")]
    Bind(&'static str, SocketAddr, #[source] io::Error),
    /// The TLS configuration lacks QUIC's initial cipher suite (AES-128-GCM with SHA-256).
    #[error("the TLS configuration lacks the cipher suite that QUIC begins with (AES-128-GCM with SHA-256)")]
    Tls,
}
