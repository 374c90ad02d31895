//! Where the aggregator is, and what stands on the way.

use crate::{net::Tunnel, trust::SERVER_NAME};

/// The aggregator as the site file names it, and the proxy.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    /// Host name or IP address of the aggregator.
    pub(crate) host: String,
    /// Port of the aggregator.
    pub(crate) port: u16,
    /// What a load balancer routes by, sent in clear text; `None`: nothing is sent.
    pub(crate) server_name: Option<String>,
    /// The proxy, and who names it.
    pub(crate) proxy: Option<(Tunnel, String)>,
}

impl Destination {
    /// Host and port that this side dials: the proxy's, where there is one.
    pub(super) fn dialled(&self) -> (&str, u16) {
        match &self.proxy {
            Some((tunnel, _)) => (tunnel.proxy().host(), tunnel.proxy().port()),
            None => (&self.host, self.port),
        }
    }

    /// The name for rustls, which has to have one.
    pub(super) fn server_name(&self) -> &str {
        self.server_name.as_deref().unwrap_or(SERVER_NAME)
    }

    pub(super) fn tunnel(&self) -> Option<&Tunnel> {
        self.proxy.as_ref().map(|(tunnel, _)| tunnel)
    }
}
