//! What a bad path does to each packet: drops, delays and answers. The time is an argument, and nothing is
//! sent here.

use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
    str::FromStr,
    time::{Duration, Instant},
};

use fl_engine::Draws;
use fl_tests::relay::{AGGREGATOR, AGGREGATOR_SEEN};
use serde_json::{Value, json};

use super::packet::Packet;

/// The faults of a path, written as words: `loss=20 delay=300`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// Packets of a hundred that are lost, in each direction.
    loss: u32,
    /// Delay in each direction.
    delay: Duration,
    /// Bits a second in each direction, for all links together; zero for no limit.
    rate: u64,
    /// Longest packet, bytes; zero for no limit.
    most: usize,
    /// Packets of a hundred that wait [`HELD`] longer, so that later ones overtake them.
    overtaken: u32,
    /// Whether UDP is dropped.
    no_udp: bool,
    /// Bytes of the stream towards the aggregator after which a connection of TCP is cut; zero for never.
    reset: usize,
    /// Connections that are cut, at most.
    resets: usize,
    /// The last number of the address that the aggregator sees.
    seen: u8,
}

impl FromStr for Faults {
    type Err = String;

    fn from_str(words: &str) -> Result<Self, String> {
        let mut faults = Self { seen: 1, ..Self::default() };
        for word in words.split_whitespace() {
            let (name, number) = word.split_once('=').unwrap_or((word, "1"));
            let number: u32 = number.parse().map_err(|_| format!("{word}: no number"))?;
            match name {
                "loss" => faults.loss = number,
                "delay" => faults.delay = Duration::from_millis(number.into()),
                "rate" => faults.rate = number.into(),
                "most" => faults.most = number as usize,
                "overtaken" => faults.overtaken = number,
                "no-udp" => faults.no_udp = true,
                "reset" => faults.reset = number as usize,
                "resets" => faults.resets = number as usize,
                "seen" => faults.seen = number as u8,
                _ => return Err(format!("{word}: no fault of a path")),
            }
        }
        Ok(faults)
    }
}

/// A path between the sites and the aggregator. The path is a NAT for the sites: the aggregator sees one
/// address for all of them.
#[derive(Debug, Default)]
pub(crate) struct Path {
    faults: Faults,
    /// Numbers that were drawn.
    drawn: u64,
    /// The address of each site's socket, by protocol and port.
    sites: HashMap<(bool, u16), Ipv4Addr>,
    /// When each direction has sent what it has taken.
    free: [Option<Instant>; 2],
    /// Bytes of the stream of each connection of TCP towards the aggregator, by the port of the site.
    sent: HashMap<u16, usize>,
    /// Connections that are cut.
    cut: HashSet<u16>,
    carried: u64,
    lost: u64,
}

impl Path {
    /// Changes the faults, and returns what the path has done since the last change.
    pub(crate) fn change(&mut self, faults: Faults) -> Value {
        let done = json!({"carried": self.carried, "lost": self.lost, "cut": self.cut.len()});
        *self = Self { faults, drawn: self.drawn, sites: std::mem::take(&mut self.sites), ..Self::default() };
        done
    }

    /// What comes out of the path for a packet that goes in, and when.
    pub(crate) fn pass(&mut self, packet: Packet, now: Instant) -> Vec<(Instant, Packet)> {
        let Some((onward, is_up)) = self.readdressed(&packet) else {
            self.lost += 1;
            return Vec::new();
        };
        if let Some(resets) = self.cut(&packet, &onward, is_up) {
            return resets.into_iter().map(|reset| (now, reset)).collect();
        }
        match self.arrival(&onward, is_up, now) {
            Some(at) => {
                self.carried += 1;
                vec![(at, onward)]
            }
            None => {
                self.lost += 1;
                Vec::new()
            }
        }
    }

    /// The packet as the other side sees it, and whether it goes to the aggregator.
    fn readdressed(&mut self, packet: &Packet) -> Option<(Packet, bool)> {
        let seen = Ipv4Addr::from(SITES_SEEN | u32::from(self.faults.seen));
        let (from, to) = packet.ports();
        let mut onward = packet.clone();
        if packet.destination() == AGGREGATOR_SEEN {
            self.sites.insert((packet.is_tcp(), from), packet.source());
            onward.readdress(seen, AGGREGATOR);
            return Some((onward, true));
        }
        // A NAT forgets the address that it had before.
        let site = self.sites.get(&(packet.is_tcp(), to)).filter(|_| packet.destination() == seen)?;
        onward.readdress(AGGREGATOR_SEEN, *site);
        Some((onward, false))
    }

    /// The packets that end a connection of TCP at both ends, where the path cuts it.
    fn cut(&mut self, packet: &Packet, onward: &Packet, is_up: bool) -> Option<Vec<Packet>> {
        let (from, to) = packet.ports();
        let port = if is_up { from } else { to };
        if !packet.is_tcp() || self.faults.reset == 0 {
            return None;
        }
        if self.cut.contains(&port) {
            return Some(vec![packet.reset_back()]);
        }
        let sent = self.sent.entry(port).or_default();
        *sent += if is_up { packet.carries() } else { 0 };
        if *sent <= self.faults.reset || self.cut.len() >= self.faults.resets {
            return None;
        }
        self.cut.insert(port);
        Some(vec![onward.reset_onward(), packet.reset_back()])
    }

    fn arrival(&mut self, packet: &Packet, is_up: bool, now: Instant) -> Option<Instant> {
        let Faults { loss, delay, rate, most, overtaken, no_udp, .. } = self.faults;
        let bytes = packet.bytes().len();
        if no_udp && !packet.is_tcp() || most != 0 && bytes > most || self.draws(loss) {
            return None;
        }
        let mut at = now;
        if let Some(nanos) = (bytes as u64 * 8 * 1_000_000_000).checked_div(rate) {
            let free = &mut self.free[usize::from(is_up)];
            at = free.map_or(now, |free| free.max(now));
            if at.duration_since(now) > QUEUE {
                return None;
            }
            at += Duration::from_nanos(nanos);
            *free = Some(at);
        }
        Some(at + delay + if self.draws(overtaken) { HELD } else { Duration::ZERO })
    }

    /// True `of_hundred` times out of a hundred.
    fn draws(&mut self, of_hundred: u32) -> bool {
        self.drawn += 1;
        Draws::nth(0, self.drawn) % 100 < u64::from(of_hundred)
    }
}

/// The network of the address as which the aggregator sees the sites.
const SITES_SEEN: u32 = 0x0a4d_0400;
/// Longest time that a packet waits for a slow line. A packet that would wait longer is lost.
const QUEUE: Duration = Duration::from_millis(500);
/// Additional delay of a packet that others overtake.
const HELD: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use fl_tests::relay::SITES;

    use super::*;

    fn packet(from: Ipv4Addr, to: Ipv4Addr, ports: (u16, u16), bytes: usize) -> Packet {
        let mut whole = vec![0; bytes];
        (whole[0], whole[9], whole[32]) = (0x45, 6, 5 << 4);
        whole[20..22].copy_from_slice(&ports.0.to_be_bytes());
        whole[22..24].copy_from_slice(&ports.1.to_be_bytes());
        let mut packet = Packet::read(&whole).unwrap();
        packet.readdress(from, to);
        packet
    }

    fn path(faults: &str) -> Path {
        let mut path = Path::default();
        path.change(faults.parse().unwrap());
        path
    }

    #[test]
    fn packets_reach_the_other_side_from_the_address_that_is_seen() {
        let mut path = path("");
        let now = Instant::now();
        let up = path.pass(packet(SITES, AGGREGATOR_SEEN, (5, 7464), 100), now).remove(0).1;
        assert_eq!((up.source(), up.destination()), (Ipv4Addr::new(10, 77, 4, 1), AGGREGATOR));
        let down = packet(AGGREGATOR, up.source(), (7464, 5), 100);
        let came = path.pass(down.clone(), now).remove(0).1;
        assert_eq!((came.source(), came.destination()), (AGGREGATOR_SEEN, SITES));
        path.change("seen=2".parse().unwrap());
        assert!(path.pass(down, now).is_empty(), "the old address still has a way");
    }

    #[test]
    fn slow_line_sends_one_packet_after_the_other_and_loses_what_waits_too_long() {
        let mut path = path("rate=1000000 delay=300");
        let now = Instant::now();
        let sent =
            (0..100).filter_map(|_| path.pass(packet(SITES, AGGREGATOR_SEEN, (5, 6), 1250), now).pop());
        let waits: Vec<Duration> = sent.map(|(at, _)| at - now).collect();
        assert_eq!(waits[..2], [Duration::from_millis(310), Duration::from_millis(320)]);
        assert_eq!(waits.len(), 51);
    }

    #[test]
    fn connection_is_cut_at_both_ends_after_its_bytes_and_stays_cut() {
        let mut path = path("reset=1000 resets=1");
        let now = Instant::now();
        let up = |port| packet(SITES, AGGREGATOR_SEEN, (port, 7464), 740);
        assert_eq!(path.pass(up(5), now).len(), 1);
        let resets = path.pass(up(5), now);
        let to: Vec<Ipv4Addr> = resets.iter().map(|(_, reset)| reset.destination()).collect();
        assert_eq!(to, [AGGREGATOR, SITES]);
        assert_eq!(path.pass(up(5), now)[0].1.destination(), SITES);
        // Another connection has bytes of its own, and only one is cut.
        assert!((0..9).all(|_| path.pass(up(6), now)[0].1.destination() == AGGREGATOR));
        assert_eq!(path.change(Faults::default())["cut"], 1);
    }

    #[test]
    fn share_of_packets_that_are_lost_is_the_one_that_was_asked_for() {
        let mut path = path("loss=20 most=1280");
        let now = Instant::now();
        let mut pass = |bytes| path.pass(packet(SITES, AGGREGATOR_SEEN, (5, 6), bytes), now).len();
        let carried: usize = (0..10_000).map(|_| pass(1280)).sum();
        assert!((7_800..8_200).contains(&carried), "{carried}");
        assert_eq!((0..100).map(|_| pass(1281)).sum::<usize>(), 0);
    }
}
