//! What can be the aggregator's address: a host name or an IP address that another machine can dial.

// core's: addresses are values, and std::net is where sockets are.
use core::net::{IpAddr, Ipv6Addr};

/// Why a text cannot be the address of the aggregator, with the cure. `None` for a text that can.
#[must_use]
pub fn host_fault(text: &str) -> Option<&'static str> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return ip_fault(address.to_canonical());
    }
    if is_host(text) {
        let last = text.rsplit('.').next().unwrap_or_default();
        // RFC 1123, section 2.1: the last label of a name is not all digits.
        let is_number = last.bytes().all(|b| b.is_ascii_digit());
        return is_number.then_some("an IPv4 address has four numbers of 0 to 255");
    }
    let inside = text.strip_prefix('[').and_then(|rest| rest.split(']').next());
    Some(match text {
        "" => "the address is empty",
        _ if text.contains("//") || text.contains('/') => {
            "give the name alone, without https:// and without a path"
        }
        _ if text.contains('%') => {
            "an address with a zone such as %eth0 is known to one machine alone: give the host's name or another address"
        }
        _ if inside.is_some_and(|inside| inside.parse::<Ipv6Addr>().is_ok()) => {
            "give an IPv6 address without brackets and without a port: the port has a key of its own in plan/site.yaml"
        }
        _ if text
            .rsplit_once(':')
            .is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok()) =>
        {
            "give the name alone: the port has a key of its own in plan/site.yaml"
        }
        _ if text.contains(':') => "this is not a complete IPv6 address",
        _ if text.contains('@') => "give the host alone, without a user",
        _ if text.chars().any(char::is_whitespace) => "a host name has no spaces",
        _ if !text.is_ascii() => "write a name with other letters in its ASCII form, which begins with xn--",
        _ if text.contains('_') => {
            "a host name has letters, digits and hyphens, and no underscore: give the host another name, or use its IP address"
        }
        _ if text.ends_with('.') => "leave out the dot at the end",
        _ if text.contains("..") || text.starts_with('.') => "there is nothing between two dots",
        _ if text.len() > MOST_BYTES || text.split('.').any(|label| label.len() > MOST_LABEL) => {
            "a host name has at most 253 letters, and 63 between two dots"
        }
        _ => "a host name has letters, digits and hyphens, with no hyphen at the ends",
    })
}

fn ip_fault(address: IpAddr) -> Option<&'static str> {
    match address {
        _ if address.is_unspecified() => Some(
            "this address stands for all addresses of a machine: give the address under which collaborators reach it",
        ),
        _ if address.is_multicast() => {
            Some("this address belongs to many machines: give the aggregator's own")
        }
        IpAddr::V4(v4) if v4.is_broadcast() => {
            Some("this address belongs to many machines: give the aggregator's own")
        }
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(
            "a link-local address means another machine on each network: give the host's name or another address",
        ),
        _ => None,
    }
}

/// Whether a text has the form of a host name: RFC 1123, section 2.1, and RFC 1035's lengths.
fn is_host(text: &str) -> bool {
    text.len() <= MOST_BYTES
        && text.split('.').all(|label| {
            (1..=MOST_LABEL).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

const MOST_BYTES: usize = 253;
const MOST_LABEL: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_that_nothing_could_reach_has_its_own_reason() {
        let long = format!("{}.org", "a".repeat(64));
        let table: &[(&str, &str)] = &[
            ("", "empty"),
            ("fl_aggregator", "no underscore"),
            ("fl.example.org.", "the dot at the end"),
            ("[::1]", "without brackets"),
            ("[2001:db8::1]:7464", "without brackets"),
            ("fe80::1%eth0", "a zone"),
            ("fe80::1", "link-local"),
            ("example.org:7464", "the port has a key of its own"),
            ("127.0.0.1:7464", "the port has a key of its own"),
            ("2001:db8:::1", "not a complete IPv6 address"),
            ("https://example.org", "without https://"),
            ("example.org/fl", "without a path"),
            ("user@example.org", "without a user"),
            ("my host", "no spaces"),
            ("bücher.example", "xn--"),
            ("0.0.0.0", "all addresses of a machine"),
            ("::", "all addresses of a machine"),
            ("::ffff:0.0.0.0", "all addresses of a machine"),
            ("224.0.0.1", "many machines"),
            ("ff02::1", "many machines"),
            ("255.255.255.255", "many machines"),
            ("256.1.1.1", "0 to 255"),
            ("10.0.0", "0 to 255"),
            ("7", "0 to 255"),
            ("a..b", "between two dots"),
            (".a", "between two dots"),
            (&long, "at most 253 letters"),
            ("-a", "no hyphen at the ends"),
            ("a*b", "letters, digits and hyphens"),
        ];
        for (text, words) in table {
            let fault = host_fault(text).unwrap_or_else(|| panic!("{text:?} is taken"));
            assert!(fault.contains(words), "{text:?}: {fault}");
        }
    }

    #[test]
    fn addresses_that_a_machine_may_have_are_taken() {
        for text in [
            "localhost",
            "fl.example.org",
            "xn--bcher-kva.example",
            "a",
            "1and1.example",
            "10.0.0.7",
            "::1",
            "2001:db8::1",
            "127.0.0.1",
            "fd00::7",
            "169.254.1.1",
        ] {
            assert_eq!(host_fault(text), None, "{text}");
        }
    }
}
