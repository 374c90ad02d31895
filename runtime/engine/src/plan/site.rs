//! The site file: where the aggregator is, and which socket it uses. The file is bounded; it is not measured
//! and not part of any hash.

// core's: addresses are values, and std::net is where sockets are.
use core::net::IpAddr;

use serde::Serialize;

use super::{host::host_fault, keys, proxy::Proxy};
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
    /// Through which proxy a collaborator connects.
    pub proxy: ProxyChoice,
    /// The name that a collaborator sends in clear text, by which a load balancer finds the aggregator (SNI:
    /// RFC 6066, section 3). `None`: no name is sent.
    pub server_name: Option<String>,
    /// Threads that compute on this machine. `None`: as many as processors that the program may run on.
    pub threads: Option<u32>,
}

/// Through which proxy a collaborator connects.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyChoice {
    /// The one that the environment names, if it names one. An enclave reads no such variable.
    Environment,
    /// None, whatever the environment says.
    Never,
    /// This one.
    Through(Proxy),
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
        let (link, proxy) = (site.get::<LinkKind>("link")?, site.get::<ProxyChoice>("proxy")?);
        if let (LinkKind::Quic, ProxyChoice::Through(_), Some(field)) = (link, &proxy, site.optional("proxy"))
        {
            let hint = "remove `link: quic`, or write `link: tcp`. To use no proxy, remove `proxy`";
            let error = field.error("`proxy` is set beside `link: quic`, but QUIC cannot pass an HTTP proxy");
            return Err(error.with_hint(Some(hint.to_owned())));
        }
        Ok(Self {
            address: site.get::<Host>("address")?.0,
            port: site.get("port")?,
            bind: site.get("bind")?,
            mtu: site.get("mtu")?,
            socket: site.get("socket")?,
            link,
            proxy,
            server_name: site.get::<Option<ServerName>>("server_name")?.map(|ServerName(name)| name),
            threads: site.get("threads")?,
        })
    }

    /// Whether the file holds a user or a password for a proxy.
    #[must_use]
    pub fn holds_secret(&self) -> bool {
        matches!(&self.proxy, ProxyChoice::Through(proxy) if proxy.login().is_some())
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

/// A host name that is no address: TLS sends no address as a server's name.
struct ServerName(String);

impl Setting for ServerName {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        let name = field.text()?;
        if host_fault(name).is_some() || name.parse::<IpAddr>().is_ok() {
            return Err(field.refused());
        }
        Ok(Self(name.to_owned()))
    }
}

impl Setting for ProxyChoice {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        match field.text()? {
            "none" => Ok(Self::Never),
            // The text may hold a password: it is not repeated.
            text => Proxy::parse(text).map(Self::Through).map_err(|fault| {
                let error = field.error(format!("proxy cannot be read; it takes {}", field.takes()));
                error.with_hint(Some(fault.to_owned()))
            }),
        }
    }

    fn absent() -> Option<Self> {
        Some(Self::Environment)
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
    Key {
        name: "proxy",
        takes: Takes::Other { kind: "http://HOST:PORT, http://USER:PASSWORD@HOST:PORT, or none", words: &[] },
        absent: Absent::Means("the environment's HTTPS_PROXY and NO_PROXY, outside of an enclave"),
        meaning: "The HTTP proxy through which a collaborator connects, over TCP. An aggregator ignores the key.",
        example: "http://proxy.example.org:3128",
    },
    Key {
        name: "server_name",
        takes: Takes::Other { kind: "a host name", words: &[] },
        absent: Absent::Means("no name is sent"),
        meaning: "The name that a collaborator sends in clear text, for a load balancer that routes by it (SNI).",
        example: "fl.example.org",
    },
    Key {
        name: "threads",
        takes: Takes::Whole { least: 1, most: 64, unit: "threads" },
        absent: Absent::Means("as many as processors that the program may run on"),
        meaning: "Threads that compute on this machine: at most `threads.cpu` of the plan.",
        example: "1",
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
            proxy: ProxyChoice::Environment,
            server_name: None,
            threads: None,
        };
        assert_eq!(site, expected);
        assert_eq!(Site::parse("schema: 1\naddress: localhost\n"), Ok(expected));
        let six =
            Site::parse("schema: 1\naddress: '::1'\nbind: '::'\nsocket: portable\nmtu: 65527\n").unwrap();
        assert_eq!((six.socket, six.mtu), (SocketKind::Portable, 65527));
        assert_eq!(Site::parse("schema: 1\naddress: a\nthreads: 3\n").unwrap().threads, Some(3));
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

    #[test]
    fn proxy_and_server_name_are_read_and_contradictions_refused() {
        let site = |lines: &str| Site::parse(&format!("schema: 1\naddress: a\n{lines}\n"));
        let proxy = site("proxy: http://me:s3cret@proxy.example:3128").unwrap();
        assert!(proxy.holds_secret() && !format!("{proxy:?}").contains("s3cret"), "{proxy:?}");
        assert!(!site("proxy: http://proxy.example:3128").unwrap().holds_secret());
        assert_eq!(site("proxy: none\nlink: quic").unwrap().proxy, ProxyChoice::Never);
        let name = site("server_name: fl.example.org").unwrap().server_name;
        assert_eq!(name.as_deref(), Some("fl.example.org"));
        let refused = site("link: quic\nproxy: http://p:1").unwrap_err();
        assert!(refused.message.contains("QUIC cannot pass"), "{refused}");
        assert!(refused.hint().unwrap().contains("link: tcp"));
        for name in ["10.0.0.1", "'::1'", "fl.example.org:443", "a_b"] {
            let refused = site(&format!("server_name: {name}")).unwrap_err();
            assert!(refused.message.contains("takes a host name"), "{refused}");
        }
    }

    #[test]
    fn no_refusal_repeats_a_password() {
        for line in [
            "proxy: http://me:s3cret@proxy.example",
            "proxy: [http://me:s3cret@proxy.example:3128]",
            "proxy: {http: //me:s3cret@proxy.example:3128}",
            "prxy: http://me:s3cret@proxy.example:3128",
            "address: http://me:s3cret@proxy.example:3128",
            "bind: me:s3cret@proxy.example:3128",
            "port: http://me:s3cret@proxy.example:3128",
            "link: http://me:s3cret@proxy.example:3128",
            "server_name: http://me:s3cret@proxy.example:3128",
            "http://me:s3cret@proxy.example:3128",
            "http://me:s3cret@proxy.example:3128: proxy",
            "? http://me:s3cret@proxy.example:3128",
            "proxy: http://me:s3cret: x@proxy.example:3128",
            "proxy: \"http://me:s3cret@proxy.example:3128",
            "proxy: http://me:&s3cret@proxy.example:3128 *s3cret@",
            "proxy: &s3cret http://proxy.example:3128",
            "proxy: !s3cret http://proxy.example",
            "proxy: @me:s3cret@proxy.example:3128",
            "proxy: %me:s3cret@proxy.example:3128",
            "proxy: \"http://me:\\s3cret@proxy.example:3128\"",
            "proxy: http://me:s3cret@proxy.example:3128\nproxy: http://me:s3cret@proxy.example:3128",
        ] {
            let refused = Site::parse(&format!("schema: 1\naddress: a\n{line}\n")).unwrap_err();
            let said = format!("{refused:?} {refused}");
            assert!(!said.contains("s3cret"), "{line}: {said}");
        }
    }

    #[test]
    fn manual_has_a_line_for_each_key() {
        let manual = include_str!("../../../src/manual/operating.md");
        for key in KEYS {
            assert!(manual.contains(&format!("\n| `{}` |", key.name)), "{}", key.name);
        }
    }
}
