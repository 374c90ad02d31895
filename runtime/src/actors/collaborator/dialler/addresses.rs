//! The ways to the aggregator: each address of its host, or of the proxy before it, over each carrier. Each
//! is tried in its turn.
//!
//! The next way is tried when the one before has failed, or has not answered for [`STAGGER`]. The first link
//! wins (RFC 8305, "Happy Eyeballs"). A link over a carrier that is not the preferred one waits for
//! [`PREFERENCE`], because the preferred one may answer just then. The way of the last link is tried first.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::{JoinError, JoinSet},
    time::{sleep, timeout},
};

use super::{
    destination::Destination,
    verdict::{Cause, NoLink},
};
use crate::net::{Carrier, Link, Sockets};

/// Where the aggregator is, and the way of the last link.
pub(super) struct Addresses {
    destination: Arc<Destination>,
    last: Option<Way>,
}

/// An address, and what carries the link.
pub(super) type Way = (SocketAddr, Carrier);

type Tried = (Way, Result<Link, NoLink>);

impl Addresses {
    pub(super) fn new(destination: Arc<Destination>) -> Self {
        Self { destination, last: None }
    }

    /// Dials until one way has a link, or all have failed. Returns the way too.
    ///
    /// # Cancel safety
    /// Cancel-safe: half-open links are closed.
    pub(super) async fn connect(&mut self, sockets: &Arc<Sockets>) -> Result<(Link, Way), NoLink> {
        let (host, port) = self.destination.dialled();
        // A proxy resolves the aggregator's name itself.
        let found = resolve(host, port).await?;
        self.first_link(found, sockets).await
    }

    async fn first_link(
        &mut self,
        found: Vec<SocketAddr>,
        sockets: &Arc<Sockets>,
    ) -> Result<(Link, Way), NoLink> {
        let several = (found.len() > 1, sockets.carriers().count() > 1);
        // Each address over every carrier, before the next address.
        let over_all = |address| sockets.carriers().map(move |carrier| (address, carrier));
        let ways: Vec<Way> = found.into_iter().flat_map(over_all).collect();
        // After a link over another carrier, the preferred one is not waited for.
        let has_worked = |carrier: &Carrier| self.last.is_none_or(|(_, last)| last == *carrier);
        let preferred = sockets.carriers().next().filter(has_worked);
        let mut waiting = in_turn(ways, self.last).into_iter();
        let mut dialling: JoinSet<Tried> = JoinSet::new();
        let mut failures = Vec::new();
        loop {
            let next = waiting.next();
            let is_last = next.is_none();
            if let Some(way) = next {
                let (sockets, to) = (Arc::clone(sockets), Arc::clone(&self.destination));
                dialling.spawn(async move { (way, dial(&sockets, way, &to).await) });
            }
            let tried = tokio::select! {
                tried = dialling.join_next() => tried,
                () = sleep(STAGGER), if !is_last => continue,
            };
            let Some(tried) = tried else { return Err(all_failed(failures, several)) };
            match self.known(tried) {
                (way, Ok(link)) => {
                    let waits = preferred.is_some_and(|carrier| carrier != way.1);
                    let better = async {
                        while let Some(tried) = dialling.join_next().await {
                            if let Ok((way, Ok(link))) = tried
                                && Some(way.1) == preferred
                            {
                                return Some((link, way));
                            }
                        }
                        None
                    };
                    let better = if waits { timeout(PREFERENCE, better).await.ok().flatten() } else { None };
                    let (link, way) = better.unwrap_or((link, way));
                    self.last = Some(way);
                    return Ok((link, way));
                }
                (way, Err(no_link)) => failures.push((way, no_link)),
            }
        }
    }

    /// A task that panicked or was ended has no link.
    fn known(&self, tried: Result<Tried, JoinError>) -> Tried {
        tried.unwrap_or_else(|error| {
            let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.destination.port));
            ((unknown, Carrier::Tcp), Err(NoLink::other(error.to_string())))
        })
    }
}

async fn dial(sockets: &Sockets, (address, carrier): Way, to: &Destination) -> Result<Link, NoLink> {
    let endpoint = sockets.towards(carrier, address).map_err(NoLink::other)?;
    let linked = match to.tunnel() {
        Some(tunnel) => endpoint.connect_through(tunnel, address, to.server_name()).await,
        None => endpoint.connect(address, to.server_name()).await,
    };
    linked.map_err(|error| NoLink::unproven(&error))
}

/// One reason for all ways: the cause of the first that was answered, else of the first. `several`: whether
/// there are several addresses, and several carriers.
fn all_failed(failures: Vec<(Way, NoLink)>, several: (bool, bool)) -> NoLink {
    let answered =
        |no_link: &NoLink| matches!(no_link.cause, Cause::Unproven | Cause::Busy | Cause::Proxy(_));
    let told = failures.iter().find(|(_, no_link)| answered(no_link));
    let silent = || failures.iter().find(|(_, no_link)| no_link.cause == Cause::Silent);
    let cause = told.or_else(silent).map_or(Cause::Other, |(_, no_link)| no_link.cause);
    let why = failures.iter().map(|((address, carrier), no_link)| match several {
        (true, true) => format!("{} over {carrier}: {}", address.ip(), no_link.why),
        (true, false) => format!("{}: {}", address.ip(), no_link.why),
        (false, true) => format!("{carrier}: {}", no_link.why),
        (false, false) => no_link.why.clone(),
    });
    NoLink { cause, why: why.collect::<Vec<_>>().join("; ") }
}

/// The addresses of `host`. "localhost" is not resolved: under a library OS there is no resolver for it.
async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, NoLink> {
    let at = |ip: IpAddr| SocketAddr::new(ip, port);
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![at(address)]);
    }
    if host == "localhost" {
        return Ok(vec![at(Ipv4Addr::LOCALHOST.into()), at(Ipv6Addr::LOCALHOST.into())]);
    }
    let found = tokio::net::lookup_host((host, port)).await;
    let found = found.map_err(|error| NoLink::other(format!("cannot resolve {host}: {error}")))?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found.take(MOST_ADDRESSES) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() { Err(NoLink::other(format!("{host} has no address"))) } else { Ok(addresses) }
}

/// The same ways, `last` first if it is among them.
fn in_turn(mut found: Vec<Way>, last: Option<Way>) -> Vec<Way> {
    if let Some(place) = last.and_then(|last| found.iter().position(|way| *way == last)) {
        found[..=place].rotate_right(1);
    }
    found
}

/// Time that a way has to itself before the next one is tried as well.
const STAGGER: Duration = Duration::from_millis(300);
/// Time that the preferred carrier has after another one has a link.
const PREFERENCE: Duration = Duration::from_millis(200);
/// Most addresses of one name that are tried.
const MOST_ADDRESSES: usize = 16;

#[cfg(test)]
mod tests;
