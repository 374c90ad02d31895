//! What stands between a site and its aggregator, for `tests/proxies.rs`: `proxy PORT DEED`, an HTTP proxy or
//! a load balancer on this machine's loopback address. Port 0 is a free port.
//!
//! Standard output has one JSON object a line: `listening` with the port, and `asked` for each client with
//! what the client asked for. Names below `.test` are this machine, for the proxy alone.

mod carry;
mod deed;
mod hello;

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::json;

use carry::{Pace, carry};
use deed::Deed;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [port, deed] = args.as_slice() else {
        eprintln!("usage: proxy PORT DEED");
        return ExitCode::from(2);
    };
    match run(port, deed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(port: &str, deed: &str) -> Result<(), Failure> {
    let deed: Deed = deed.parse()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.parse()?))?;
    println!("{}", json!({"event": "listening", "port": listener.local_addr()?.port()}));
    let has_cut = Arc::new(AtomicBool::new(false));
    loop {
        let (client, _) = listener.accept()?;
        let (deed, has_cut) = (deed.clone(), Arc::clone(&has_cut));
        // A client that leaves ends its own thread only.
        thread::spawn(move || serve(client, &deed, &has_cut).map_err(|failure| eprintln!("{failure}")));
    }
}

fn serve(mut client: TcpStream, deed: &Deed, has_cut: &AtomicBool) -> Result<(), Failure> {
    if let Deed::Balance { name, to } = deed {
        let (found, hello) = hello::server_name(&mut client)?;
        println!("{}", json!({"event": "asked", "name": found}));
        if found.as_deref() == Some(name) {
            let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, *to))?;
            server.write_all(&hello)?;
            carry(client, server, Pace::default());
        }
        return Ok(());
    }
    let head = head(&mut client)?;
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    println!("{}", json!({"event": "asked", "target": target}));
    let pace = match deed {
        Deed::Open => Pace::default(),
        Deed::Login(login) if head.contains(&format!("\r\nProxy-Authorization: Basic {login}\r\n")) => {
            Pace::default()
        }
        Deed::Slow(pause) => {
            thread::sleep(*pause * 50);
            Pace { pause: *pause, ..Pace::default() }
        }
        Deed::Cut(bytes) if !has_cut.swap(true, Ordering::Relaxed) => {
            Pace { most: Some(*bytes), ..Pace::default() }
        }
        Deed::Cut(_) => Pace::default(),
        Deed::Login(_) => return say(
            client,
            b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"site\"\r\n\r\n",
        ),
        Deed::Status(line) => {
            return say(client, format!("HTTP/1.1 {line}\r\nContent-Length: 6\r\n\r\n<html>").as_bytes());
        }
        Deed::Answer(bytes) => return say(client, bytes),
        Deed::Endless => loop {
            client.write_all(&[b'x'; 4096])?;
        },
        Deed::Leave => return Ok(()),
        Deed::Silent | Deed::Balance { .. } => return say(client, b""),
    };
    let server = TcpStream::connect(address(target)?)?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n")?;
    carry(client, server, pace);
    Ok(())
}

/// The head of the client's request. TLS begins after the answer only.
fn head(client: &mut TcpStream) -> Result<String, Failure> {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while !head.ends_with(b"\r\n\r\n") {
        match client.read(&mut piece)? {
            0 => return Err("the client left before the end of its request".into()),
            len => head.extend_from_slice(&piece[..len]),
        }
    }
    Ok(String::from_utf8(head)?)
}

/// Host and port of `host:port`.
fn address(target: &str) -> Result<(String, u16), Failure> {
    let (host, port) = target.rsplit_once(':').ok_or("no port")?;
    let host = if host.ends_with(".test") { "127.0.0.1" } else { host.trim_matches(['[', ']']) };
    Ok((host.to_owned(), port.parse()?))
}

/// Sends an answer and waits until the client leaves.
fn say(mut client: TcpStream, answer: &[u8]) -> Result<(), Failure> {
    client.write_all(answer)?;
    client.set_read_timeout(Some(Duration::from_secs(60)))?;
    while client.read(&mut [0; 1024])? > 0 {}
    Ok(())
}
