//! Bytes of a client and a server, carried both ways.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    thread,
    time::Duration,
};

/// How bytes are carried.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    /// Wait after each piece.
    pub(crate) pause: Duration,
    /// Bytes of the client after which both connections are cut.
    pub(crate) most: Option<u64>,
}

/// Carries until one of the two leaves, or the pace cuts.
pub(crate) fn carry(client: TcpStream, server: TcpStream, pace: Pace) {
    let (Ok(client_in), Ok(server_out)) = (client.try_clone(), server.try_clone()) else { return };
    let up = thread::spawn(move || one_way(client_in, server_out, pace));
    one_way(server, client, Pace { most: None, ..pace });
    // A thread that panicked has cut its connections too.
    let _ = up.join();
}

fn one_way(mut from: TcpStream, mut to: TcpStream, Pace { pause, most }: Pace) {
    let mut left = most.unwrap_or(u64::MAX);
    let mut piece = vec![0; 16 << 10];
    while let Ok(len @ 1..) = from.read(&mut piece) {
        left = left.saturating_sub(len as u64);
        if left == 0 || to.write_all(&piece[..len]).is_err() {
            break;
        }
        thread::sleep(pause);
    }
    // One of the two may have left before.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
