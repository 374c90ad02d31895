//! A packet of IPv4 with UDP or TCP inside: what a path has to know of the packet, and what a path changes in
//! it.

use std::net::Ipv4Addr;

/// A whole packet, beginning with the header of IPv4.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    bytes: Vec<u8>,
}

impl Packet {
    /// `None` for what the tests never send on purpose: another protocol, a fragment, a broken packet.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let first = *bytes.first()?;
        let header = usize::from(first & 15) * 4;
        let is_fragment = u16::from_be_bytes([*bytes.get(6)?, *bytes.get(7)?]) & 0x3fff != 0;
        let inner = match *bytes.get(9)? {
            TCP => 20,
            UDP => 8,
            _ => return None,
        };
        let is_whole = header >= 20 && bytes.len() >= header + inner;
        (first >> 4 == 4 && is_whole && !is_fragment).then(|| Self { bytes: bytes.to_vec() })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn is_tcp(&self) -> bool {
        self.bytes[9] == TCP
    }

    pub(crate) fn source(&self) -> Ipv4Addr {
        self.address(12)
    }

    pub(crate) fn destination(&self) -> Ipv4Addr {
        self.address(16)
    }

    /// The ports of the source and of the destination.
    pub(crate) fn ports(&self) -> (u16, u16) {
        (self.number(0), self.number(2))
    }

    /// Bytes of the stream that the packet carries, for TCP.
    pub(crate) fn carries(&self) -> usize {
        self.inner().len().saturating_sub(usize::from(self.inner()[12] >> 4) * 4)
    }

    /// Sends the packet from another address to another one.
    pub(crate) fn readdress(&mut self, source: Ipv4Addr, destination: Ipv4Addr) {
        self.bytes[12..16].copy_from_slice(&source.octets());
        self.bytes[16..20].copy_from_slice(&destination.octets());
        self.sign();
    }

    /// The packet that ends this packet's connection of TCP at the receiver: it stands in the place of this
    /// one.
    pub(crate) fn reset_onward(&self) -> Self {
        let (from, to) = self.ports();
        Self::reset((self.source(), from), (self.destination(), to), self.word(4), self.word(8))
    }

    /// The packet that ends this packet's connection of TCP at the sender: it is what the sender waits for
    /// next.
    pub(crate) fn reset_back(&self) -> Self {
        let (from, to) = self.ports();
        let received = self.word(4).wrapping_add(self.carries() as u32);
        Self::reset((self.destination(), to), (self.source(), from), self.word(8), received)
    }

    fn reset(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), sequence: u32, acknowledged: u32) -> Self {
        // Version and length of the header, no fragment, time to live, TCP; data offset; RST and ACK.
        let mut bytes = vec![0; 40];
        (bytes[0], bytes[3], bytes[6], bytes[8], bytes[9]) = (0x45, 40, 0x40, 64, TCP);
        bytes[12..16].copy_from_slice(&from.0.octets());
        bytes[16..20].copy_from_slice(&to.0.octets());
        bytes[20..22].copy_from_slice(&from.1.to_be_bytes());
        bytes[22..24].copy_from_slice(&to.1.to_be_bytes());
        bytes[24..28].copy_from_slice(&sequence.to_be_bytes());
        bytes[28..32].copy_from_slice(&acknowledged.to_be_bytes());
        (bytes[32], bytes[33]) = (5 << 4, RST | ACK);
        let mut packet = Self { bytes };
        packet.sign();
        packet
    }

    /// Writes both checksums.
    fn sign(&mut self) {
        let header = self.header();
        self.bytes[10..12].fill(0);
        let own = checksum(sum(&self.bytes[..header]));
        self.bytes[10..12].copy_from_slice(&own.to_be_bytes());
        let at = header + if self.is_tcp() { 16 } else { 6 };
        self.bytes[at..at + 2].fill(0);
        let inner = self.inner();
        let pseudo = sum(&self.bytes[12..20]) + u32::from(self.bytes[9]) + inner.len() as u32;
        let whole = match checksum(pseudo + sum(inner)) {
            // For UDP a zero means that there is no checksum.
            0 => u16::MAX,
            whole => whole,
        };
        self.bytes[at..at + 2].copy_from_slice(&whole.to_be_bytes());
    }

    fn header(&self) -> usize {
        usize::from(self.bytes[0] & 15) * 4
    }

    fn inner(&self) -> &[u8] {
        &self.bytes[self.header()..]
    }

    fn address(&self, at: usize) -> Ipv4Addr {
        Ipv4Addr::new(self.bytes[at], self.bytes[at + 1], self.bytes[at + 2], self.bytes[at + 3])
    }

    fn number(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.inner()[at], self.inner()[at + 1]])
    }

    fn word(&self, at: usize) -> u32 {
        u32::from(self.number(at)) << 16 | u32::from(self.number(at + 2))
    }
}

/// The sum of the Internet checksum (RFC 1071), not folded yet.
fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum()
}

fn checksum(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const RST: u8 = 4;
const ACK: u8 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_hold_after_a_change_of_addresses() {
        let reset = Packet::reset((Ipv4Addr::new(10, 0, 0, 1), 7), (Ipv4Addr::new(10, 0, 0, 2), 8), 9, 10);
        let mut packet = Packet::read(reset.bytes()).unwrap();
        packet.readdress(Ipv4Addr::new(172, 16, 5, 4), Ipv4Addr::new(192, 168, 7, 6));
        // A sum over what is checked, with its checksum, is all ones.
        let pseudo = sum(&packet.bytes[12..20]) + u32::from(TCP) + 20;
        assert_eq!((checksum(sum(&packet.bytes[..20])), checksum(pseudo + sum(packet.inner()))), (0, 0));
        assert_eq!((packet.ports(), packet.carries()), ((7, 8), 0));
    }

    #[test]
    fn what_is_no_packet_of_the_tests_is_not_carried() {
        let whole = Packet::reset((Ipv4Addr::LOCALHOST, 1), (Ipv4Addr::LOCALHOST, 2), 3, 4);
        let changed = |at: usize, to: u8| {
            let mut bytes = whole.bytes().to_vec();
            bytes[at] = to;
            Packet::read(&bytes).is_some()
        };
        assert!(changed(8, 1));
        assert!(!changed(9, 1) && !changed(6, 0x20) && !changed(0, 0x65) && !changed(0, 0x44));
        assert!((0..40).all(|len| Packet::read(&whole.bytes()[..len]).is_none()));
    }
}
