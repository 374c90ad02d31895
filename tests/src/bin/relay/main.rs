//! A bad path between an aggregator and its sites, packet by packet: `relay`, inside a network namespace of
//! its own. See [`fl_tests::relay`], which starts this program.
//!
//! A TUN device brings what the namespace's processes send, and takes what they receive. Each line of
//! standard input names the faults of the path from now on; the answer is a line of JSON with what the path
//! has done since the last change. The program ends with its standard input.

mod packet;
mod path;

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    io,
    net::Ipv4Addr,
    process::{Command, ExitCode},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use fl_tests::relay::{AGGREGATOR, AGGREGATOR_NETWORK, DEVICE, SITES};
use packet::Packet;
use path::Path;
use tappers::{Interface, Tun};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let tun = Tun::new_named(Interface::new(DEVICE)?).map_err(|error| format!("no TUN device: {error}"))?;
    set_up()?;
    let relay =
        Arc::new(Relay { tun, path: Mutex::default(), waiting: Mutex::default(), more: Condvar::new() });
    relay.path().change("".parse()?);
    for work in [Relay::take, Relay::give] {
        let relay = Arc::clone(&relay);
        thread::spawn(move || work(&relay));
    }
    println!("{{}}");
    for line in io::stdin().lines() {
        let done = relay.path().change(line?.parse()?);
        println!("{done}");
    }
    Ok(())
}

/// Gives the device its addresses: one for the aggregator, one for the sites, and a network for each of the
/// two as the other one sees it.
fn set_up() -> Result<(), Failure> {
    let own = |address: Ipv4Addr| format!("addr add {address}/32 dev {DEVICE}");
    let seen = |network: &str, from: Ipv4Addr| format!("route add {network} dev {DEVICE} src {from}");
    for words in [
        own(AGGREGATOR),
        own(SITES),
        format!("link set {DEVICE} txqueuelen 4000 up"),
        seen(AGGREGATOR_NETWORK, SITES),
        seen("10.77.4.0/24", AGGREGATOR),
    ] {
        let said = Command::new("ip").args(words.split(' ')).output()?;
        if !said.status.success() {
            return Err(format!("ip {words}: {}", String::from_utf8_lossy(&said.stderr).trim()).into());
        }
    }
    Ok(())
}

struct Relay {
    tun: Tun,
    path: Mutex<Path>,
    waiting: Mutex<Waiting>,
    /// Something waits that did not before.
    more: Condvar,
}

/// Packets by the time of their arrival. Packets of the same time arrive in the order of their sending.
#[derive(Default)]
struct Waiting {
    next: u64,
    packets: BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>>,
}

impl Relay {
    fn path(&self) -> MutexGuard<'_, Path> {
        self.path.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what the processes send.
    fn take(&self) {
        let mut buffer = [0; 65_536];
        while let Ok(len) = self.tun.recv(&mut buffer) {
            let Some(packet) = Packet::read(&buffer[..len]) else { continue };
            let passed = self.path().pass(packet, Instant::now());
            let mut waiting = self.waiting();
            for (at, packet) in passed {
                waiting.next += 1;
                let number = waiting.next;
                waiting.packets.push(Reverse((at, number, packet.bytes().to_vec())));
            }
            drop(waiting);
            self.more.notify_one();
        }
    }

    /// Gives the processes what arrives.
    fn give(&self) {
        let mut waiting = self.waiting();
        loop {
            let now = Instant::now();
            let first = waiting.packets.peek().map(|Reverse((at, ..))| *at);
            waiting = match first {
                Some(at) if at <= now => {
                    let packet = waiting.packets.pop();
                    drop(waiting);
                    if let Some(Reverse((.., packet))) = packet {
                        // The kernel refuses what it cannot deliver.
                        let _ = self.tun.send(&packet);
                    }
                    self.waiting()
                }
                first => {
                    let wait = first.map_or(FOREVER, |at| at - now);
                    let woken = self.more.wait_timeout(waiting, wait);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

const FOREVER: Duration = Duration::from_secs(3600);
