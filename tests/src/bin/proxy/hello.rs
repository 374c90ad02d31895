//! The name in a TLS ClientHello (RFC 8446, section 4.1.2; RFC 6066, section 3), read as a load balancer
//! reads it: without keys.

use std::{
    io::{self, Read as _},
    net::TcpStream,
};

/// Reads a client's first TLS record. Returns the server's name in it, if there is one, and the record.
pub(crate) fn server_name(client: &mut TcpStream) -> io::Result<(Option<String>, Vec<u8>)> {
    let mut record = vec![0; 5];
    client.read_exact(&mut record)?;
    let [22, _, _, high, low] = record[..] else { return Err(io::Error::other("not a TLS handshake")) };
    record.resize(5 + usize::from(u16::from_be_bytes([high, low])), 0);
    client.read_exact(&mut record[5..])?;
    let name = name(&record[5..]);
    Ok((name, record))
}

fn name(handshake: &[u8]) -> Option<String> {
    // Type, length, version, random.
    let mut rest = Cursor(handshake.get(4 + 2 + 32..)?);
    let _session = rest.vector(1)?;
    let _suites = rest.vector(2)?;
    let _compression = rest.vector(1)?;
    let mut extensions = Cursor(rest.vector(2)?);
    while let Some(kind) = extensions.number(2) {
        let extension = extensions.vector(2)?;
        if kind == 0 {
            let mut list = Cursor(Cursor(extension).vector(2)?);
            let 0 = list.number(1)? else { return None };
            return String::from_utf8(list.vector(2)?.to_vec()).ok();
        }
    }
    None
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn number(&mut self, bytes: usize) -> Option<usize> {
        let (number, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(number.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// Bytes behind their length, which has `bytes` bytes.
    fn vector(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let len = self.number(bytes)?;
        let (vector, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(vector)
    }
}
