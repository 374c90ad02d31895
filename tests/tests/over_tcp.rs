//! Whole federations of real processes whose links go over TCP, and links that change what carries them.
#![allow(clippy::unwrap_used, reason = "a test's failure is its panic")]

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use fl_host_tools::{demo::Federation, workspace::set_key};
use fl_tests::federation::{
    Process, all_end_well, federation_over, rounds_of_all, set_links, set_site, synthetic,
};
use serde_json::Value;

/// Rounds that need both members.
fn pair(name: &str, rounds: u32, pace: &str) -> Federation {
    federation_over("auto", name, 2, &|plan| {
        let plan = synthetic(plan, 100_000, rounds);
        let quorum = format!("{{count: {{min: 2}}, time: {{min: {pace}, max: 10m}}}}");
        set_key(&plan, "quorum", &quorum, "tasks")
    })
}

/// UDP and TCP at the federation's port of another loopback address, carried to the aggregator. Whatever is
/// switched off carries nothing: datagrams vanish, and connections are cut.
struct Relay {
    carries_udp: Arc<AtomicBool>,
    carries_tcp: Arc<AtomicBool>,
}

impl Relay {
    const HERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

    fn start(port: u16) -> Self {
        let relay = Self { carries_udp: Arc::new(true.into()), carries_tcp: Arc::new(true.into()) };
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let near = Arc::new(UdpSocket::bind((Self::HERE, port)).unwrap());
        let carries = Arc::clone(&relay.carries_udp);
        thread::spawn(move || carry_datagrams(&near, to, &carries));
        let near = TcpListener::bind((Self::HERE, port)).unwrap();
        let carries = Arc::clone(&relay.carries_tcp);
        thread::spawn(move || {
            for client in near.incoming().map_while(Result::ok) {
                let Some(server) = carries.load(Ordering::Relaxed).then(|| TcpStream::connect(to)) else {
                    continue;
                };
                let Ok(server) = server else { continue };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let carries = Arc::clone(&carries);
                    thread::spawn(move || carry_bytes(from, to, &carries));
                }
            }
        });
        relay
    }
}

fn carry_datagrams(near: &Arc<UdpSocket>, to: SocketAddr, carries: &Arc<AtomicBool>) {
    // One socket towards the aggregator for each of the few clients.
    let mut clients: Vec<(SocketAddr, UdpSocket)> = Vec::new();
    let mut datagram = vec![0; 2048];
    while let Ok((len, from)) = near.recv_from(&mut datagram) {
        if !clients.iter().any(|(client, _)| *client == from) {
            let far = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let (back, near, carries) = (far.try_clone().unwrap(), Arc::clone(near), Arc::clone(carries));
            thread::spawn(move || {
                let mut datagram = vec![0; 2048];
                while let Ok((len, _)) = back.recv_from(&mut datagram) {
                    if carries.load(Ordering::Relaxed) {
                        let _ = near.send_to(&datagram[..len], from);
                    }
                }
            });
            clients.push((from, far));
        }
        let client = clients.iter().find(|(client, _)| *client == from);
        if let (Some((_, far)), true) = (client, carries.load(Ordering::Relaxed)) {
            let _ = far.send_to(&datagram[..len], to);
        }
    }
}

fn carry_bytes(mut from: TcpStream, mut to: TcpStream, carries: &AtomicBool) {
    from.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut buffer = vec![0; 64 << 10];
    while carries.load(Ordering::Relaxed) {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) if to.write_all(&buffer[..len]).is_err() => break,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => {}
            Err(_) => break,
        }
    }
    // One of the two may have ended the connection before.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

#[test]
fn federation_trains_where_no_datagram_gets_through() {
    let federation = pair("no-udp", 5, "0s");
    set_site(&federation.aggregator, "link", "tcp");
    // One member knows that UDP is blocked, the other one finds out. The socket swallows every datagram.
    set_site(&federation.dir.join("one"), "link", "tcp");
    let _swallowing = UdpSocket::bind((Ipv4Addr::LOCALHOST, federation.port)).unwrap();
    let mut aggregator = Process::aggregator(&federation);
    let listening = aggregator.event("listening", SOON);
    assert_eq!((&listening["socket"], &listening["tcp"]), (&Value::Null, &Value::Bool(true)));
    let started = Instant::now();
    let mut members = Process::collaborators(&federation);
    members[1].says("goes over TCP: QUIC has not answered", 1, SOON);
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    all_end_well(&mut aggregator, &mut members);
    assert!(
        members[0].log().contains("goes over TCP: plan/site.yaml allows no QUIC"),
        "{}",
        members[0].log()
    );
    rounds_of_all(&federation, 5);
}

#[test]
fn quic_is_taken_where_both_answer_and_each_can_be_chosen() {
    for (link, words) in
        [("auto", "goes over QUIC: QUIC has answered"), ("quic", "goes over QUIC"), ("tcp", "goes over TCP")]
    {
        let federation = pair(&format!("link-{link}"), 2, "0s");
        let mut aggregator = Process::aggregator(&federation);
        aggregator.event("listening", SOON);
        set_links(&federation, link);
        let mut members = Process::collaborators(&federation);
        all_end_well(&mut aggregator, &mut members);
        for member in &members {
            assert!(member.log().contains(words), "{link}: {}", member.log());
        }
        rounds_of_all(&federation, 2);
    }
}

#[test]
fn link_that_stops_working_in_mid_run_is_replaced_by_the_other_kind_and_no_update_is_lost() {
    // The rounds last until both links have changed.
    let federation = pair("change", 40, "1s");
    let relay = Relay::start(federation.port);
    set_site(&federation.dir.join("two"), "address", "\"127.0.0.2\"");
    let mut aggregator = Process::aggregator(&federation);
    aggregator.event("listening", SOON);
    let mut members = Process::collaborators(&federation);
    members[1].says("goes over QUIC", 1, SOON);
    aggregator.event("round", SOON);
    relay.carries_udp.store(false, Ordering::Relaxed);
    // QUIC notices after 15 seconds that nothing comes.
    members[1].says("goes over TCP", 1, Duration::from_secs(25));
    aggregator.event("round", SOON);
    relay.carries_udp.store(true, Ordering::Relaxed);
    relay.carries_tcp.store(false, Ordering::Relaxed);
    members[1].says("goes over QUIC", 2, SOON);
    all_end_well(&mut aggregator, &mut members);
    rounds_of_all(&federation, 40);
}

const SOON: Duration = Duration::from_secs(20);
