//! The site file: where the aggregator is, and which socket it uses. The file is bounded; it is not measured
//! and not part of any hash.

// core's: addresses are values, and std::net is where sockets are.
use core::net::IpAddr;

use serde::Serialize;

use super::{host::host_fault, keys};
use crate::settings::{self, Absent, Field, Key, PlanError, Setting, Takes, words};

/// `plan/site.yaml`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Site {
    /// Host name or IP address that collaborators connect to.
    pub address: String,
    /// UDP and TCP port of the aggregator.
    pub port: u16,
    /// Where the aggregator listens.
    pub bind: IpAddr,
    /// Largest UDP payload, bytes.
    pub mtu: u16,
    /// Which UDP socket is used.
    pub socket: SocketKind,
    /// What carries the link.
    pub link: LinkKind,
}

words! {
    /// A UDP socket.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    #[non_exhaustive]
    pub enum SocketKind {
        /// The fastest socket that opens.
        Auto = "auto",
        /// The socket that also opens under Gramine.
        Portable = "portable",
        /// The socket with the operating system's offloads, and no other.
        Native = "native",
    }
}

words! {
    /// What carries a link.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    #[non_exhaustive]
    pub enum LinkKind {
        /// QUIC or TCP: what answers, QUIC if both answer. An aggregator listens on both.
        Auto = "auto",
        /// QUIC over UDP, and nothing else.
        Quic = "quic",
        /// TLS over TCP, and nothing else.
        Tcp = "tcp",
    }
}

impl Site {
    /// Reads and checks a `site.yaml`.
    ///
    /// # Errors
    /// [`PlanError`], as for a plan.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let tree = settings::parse(FILE, text)?;
        let site = Field::root(FILE, &tree, Takes::Section(KEYS)).section()?;
        keys::check_schema(&site)?;
        Ok(Self {
            address: site.get::<Host>("address")?.0,
            port: site.get("port")?,
            bind: site.get("bind")?,
            mtu: site.get("mtu")?,
            socket: site.get("socket")?,
            link: site.get("link")?,
        })
    }
}

/// A host name or an IP address.
struct Host(String);

impl Setting for Host {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        let host = field.text()?;
        if let Some(fault) = host_fault(host) {
            return Err(field.refused().with_hint(Some(fault.to_owned())));
        }
        Ok(Self(host.to_owned()))
    }
}

impl Setting for IpAddr {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        field.text()?.parse().map_err(|_| field.refused())
    }
}

/// The whole file.
const KEYS: &[Key] = &[
    keys::SCHEMA,
    Key {
        name: "address",
        takes: Takes::Other { kind: "a host name or an IP address", words: &[] },
        absent: Absent::Refused,
        meaning: "Where collaborators find the aggregator.",
        example: "fl.example.org",
    },
    Key {
        name: "port",
        takes: Takes::Whole { least: 1, most: u16::MAX as u64, unit: "" },
        absent: Absent::Default("7464"),
        meaning: "UDP and TCP port of the aggregator.",
        example: "7464",
    },
    Key {
        name: "bind",
        takes: Takes::Other { kind: "an IP address; 0.0.0.0 listens on every interface", words: &[] },
        absent: Absent::Default("0.0.0.0"),
        meaning: "Where the aggregator listens.",
        example: "192.0.2.7",
    },
    Key {
        name: "mtu",
        // QUIC's least (RFC 9000, section 14) to the most that UDP's length field allows (section 18.2).
        takes: Takes::Whole { least: 1200, most: 65527, unit: "bytes" },
        absent: Absent::Default("1200"),
        meaning: "Largest UDP payload.",
        example: "1452",
    },
    Key {
        name: "socket",
        takes: Takes::Word(SocketKind::TABLE),
        absent: Absent::Default("auto"),
        meaning: "Which UDP socket is used.",
        example: "portable",
    },
    Key {
        name: "link",
        takes: Takes::Word(LinkKind::TABLE),
        absent: Absent::Default("auto"),
        meaning: "What carries the link; with `auto` a collaborator takes what answers, and the aggregator listens on both.",
        example: "tcp",
    },
];

const FILE: &str = "plan/site.yaml";

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = include_str!("../../../../host-tools/src/templates/site.yaml");

    fn refusal(text: &str) -> String {
        Site::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn template_is_read_and_defaults_are_the_same() {
        let site = Site::parse(TEMPLATE).unwrap();
        let expected = Site {
            address: "localhost".to_owned(),
            port: 7464,
            bind: "0.0.0.0".parse().unwrap(),
            mtu: 1200,
            socket: SocketKind::Auto,
            link: LinkKind::Auto,
        };
        assert_eq!(site, expected);
        assert_eq!(Site::parse("schema: 1\naddress: localhost\n"), Ok(expected));
        let six =
            Site::parse("schema: 1\naddress: '::1'\nbind: '::'\nsocket: portable\nmtu: 65527\n").unwrap();
        assert_eq!((six.socket, six.mtu), (SocketKind::Portable, 65527));
        let tcp = Site::parse("schema: 1\naddress: a\nlink: tcp\n").unwrap();
        assert_eq!(tcp.link, LinkKind::Tcp);
        assert!(six.bind.is_ipv6());
    }

    #[test]
    fn site_that_nothing_could_reach_is_refused() {
        let address = |text: &str| refusal(&format!("schema: 1\naddress: {text}\n"));
        assert_eq!(
            address("example.org:7464"),
            "plan/site.yaml:2:10: address is the text \"example.org:7464\"; it takes a host name or an IP address"
        );
        assert!(address("7").contains("it takes a text"));
        let other = |line: &str| refusal(&format!("schema: 1\naddress: a\n{line}\n"));
        assert_eq!(
            other("mtu: 1199"),
            "plan/site.yaml:3:6: mtu is 1199; it takes a whole number of 1200 to 65527"
        );
        assert!(other("port: 0").contains("1 to 65535"));
        assert!(other("bind: everywhere").contains("an IP address"));
        assert!(other("soket: auto").contains("unknown key \"soket\""));
        assert!(other("socket: fast").contains("one of auto, portable, native"));
        assert!(other("link: udp").contains("one of auto, quic, tcp"));
        assert!(refusal("schema: 2\naddress: a").contains("schema is 2; it takes 1"));
    }
}
