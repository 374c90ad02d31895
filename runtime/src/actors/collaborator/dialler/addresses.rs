//! The addresses of the aggregator's host, each tried in its turn.
//!
//! The next address is tried when the one before has failed, or has not answered for [`STAGGER`]. The first
//! link wins (RFC 8305, "Happy Eyeballs"). The address of the last link is tried first.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{task::JoinSet, time::sleep};

use super::verdict::{Cause, NoLink};
use crate::{
    net::{Link, Sockets},
    trust::SERVER_NAME,
};

/// A host name or address with its port, and the address of the last link.
pub(super) struct Addresses {
    host: String,
    port: u16,
    last: Option<SocketAddr>,
}

type Tried = (SocketAddr, Result<Link, NoLink>);

impl Addresses {
    pub(super) fn new(host: String, port: u16) -> Self {
        Self { host, port, last: None }
    }

    /// Dials until one address has a link, or all have failed.
    ///
    /// # Cancel safety
    /// Cancel-safe: half-open links are closed.
    pub(super) async fn connect(&mut self, sockets: &Arc<Sockets>) -> Result<Link, NoLink> {
        let found = resolve(&self.host, self.port).await?;
        self.first_link(found, sockets).await
    }

    async fn first_link(&mut self, found: Vec<SocketAddr>, sockets: &Arc<Sockets>) -> Result<Link, NoLink> {
        let several = found.len() > 1;
        let mut waiting = in_turn(found, self.last).into_iter();
        let mut dialling: JoinSet<Tried> = JoinSet::new();
        let mut failures = Vec::new();
        loop {
            let next = waiting.next();
            let is_last = next.is_none();
            if let Some(address) = next {
                let sockets = Arc::clone(sockets);
                dialling.spawn(async move { (address, dial(&sockets, address).await) });
            }
            let tried = tokio::select! {
                tried = dialling.join_next() => tried,
                () = sleep(STAGGER), if !is_last => continue,
            };
            match tried {
                Some(Ok((address, Ok(link)))) => {
                    self.last = Some(address);
                    return Ok(link);
                }
                Some(Ok((address, Err(no_link)))) => failures.push((address, no_link)),
                // A task that panicked or was ended has no link.
                Some(Err(error)) => {
                    let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.port));
                    failures.push((unknown, NoLink::other(error.to_string())));
                }
                None => return Err(all_failed(failures, several)),
            }
        }
    }
}

async fn dial(sockets: &Sockets, address: SocketAddr) -> Result<Link, NoLink> {
    let endpoint = sockets.towards(address).map_err(NoLink::other)?;
    endpoint.connect(address, SERVER_NAME).await.map_err(|error| NoLink::unproven(&error))
}

/// One reason for all addresses: the cause of the first that was answered, else of the first.
fn all_failed(failures: Vec<(SocketAddr, NoLink)>, several: bool) -> NoLink {
    let answered = |no_link: &NoLink| matches!(no_link.cause, Cause::Unproven | Cause::Busy);
    let told = failures.iter().find(|(_, no_link)| answered(no_link));
    let silent = || failures.iter().find(|(_, no_link)| no_link.cause == Cause::Silent);
    let cause = told.or_else(silent).map_or(Cause::Other, |(_, no_link)| no_link.cause);
    let why = failures.iter().map(|(address, no_link)| match several {
        true => format!("{}: {}", address.ip(), no_link.why),
        false => no_link.why.clone(),
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

/// The same addresses, `last` first if it is among them.
fn in_turn(mut found: Vec<SocketAddr>, last: Option<SocketAddr>) -> Vec<SocketAddr> {
    if let Some(place) = last.and_then(|last| found.iter().position(|address| *address == last)) {
        found[..=place].rotate_right(1);
    }
    found
}

/// Time that an address has to itself before the next one is tried as well.
const STAGGER: Duration = Duration::from_millis(300);
/// Most addresses of one name that are tried.
const MOST_ADDRESSES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Endpoint, NetLimits, SocketKind, fixture::Authority};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn address_that_does_not_answer_holds_up_the_next_one_for_a_moment_only() {
        let authority = Authority::new();
        let config = authority.client(&authority).0;
        let sockets = Arc::new(Sockets::open(&config, SocketKind::Auto, &NetLimits::client()).unwrap());
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server =
            Endpoint::server(authority.server(), any, SocketKind::Auto, NetLimits::server()).unwrap();
        let alive = server.local_addr().unwrap();
        tokio::spawn(async move {
            while let Some(incoming) = server.accept().await {
                tokio::spawn(async move {
                    if let Ok(mut link) = incoming.admit().await {
                        let _ = link.recv_envelope().await;
                    }
                });
            }
        });
        // A port that is open and says nothing, and an IPv6 address where nothing is.
        let silent = std::net::UdpSocket::bind(any).unwrap();
        let found = vec![SocketAddr::from((Ipv6Addr::LOCALHOST, 9)), silent.local_addr().unwrap(), alive];
        let mut addresses = Addresses::new("agg.example".to_owned(), alive.port());
        let linking = addresses.first_link(found, &sockets);
        tokio::time::timeout(STAGGER * 6, linking).await.expect("the first address is waited for").unwrap();
        assert_eq!(addresses.last, Some(alive));
    }

    #[test]
    fn address_of_the_last_link_goes_first_and_the_others_keep_their_order() {
        let [a, b, c] = [1, 2, 3].map(|n| SocketAddr::from(([127, 0, 0, n], 7)));
        assert_eq!(in_turn(vec![a, b, c], None), [a, b, c]);
        assert_eq!(in_turn(vec![a, b, c], Some(c)), [c, a, b]);
        assert_eq!(in_turn(vec![a, b], Some(c)), [a, b]);
    }

    #[test]
    fn reason_names_each_address_and_the_cause_of_what_answered() {
        let [a, b] = [1, 2].map(|n| SocketAddr::from(([127, 0, 0, n], 7)));
        let no_link = |cause, why: &str| NoLink { cause, why: why.to_owned() };
        let failures =
            vec![(a, no_link(Cause::Silent, "silent")), (b, no_link(Cause::Unproven, "a stranger"))];
        let all = all_failed(failures, true);
        assert_eq!(all, no_link(Cause::Unproven, "127.0.0.1: silent; 127.0.0.2: a stranger"));
        assert_eq!(
            all_failed(vec![(a, no_link(Cause::Other, "no socket"))], false),
            no_link(Cause::Other, "no socket")
        );
    }
}
