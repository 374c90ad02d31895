//! Which proxy a collaborator connects through: the site file's, or outside of an enclave the environment's.

use std::net::IpAddr;

use fl_engine::plan::{LinkKind, Proxy, ProxyChoice, Site};

use crate::{
    environment::ProxyVariables,
    exit::{Exit, Failure},
};

/// The proxy of a collaborator, and who names it: the end of a log line.
pub(super) fn choose(site: &Site, variables: &ProxyVariables) -> Result<Option<(Proxy, String)>, Failure> {
    let (name, text) = match (&site.proxy, &variables.proxy) {
        (ProxyChoice::Through(proxy), _) => {
            return Ok(Some((proxy.clone(), "plan/site.yaml names the proxy".to_owned())));
        }
        (ProxyChoice::Environment, Some((name, text))) => (*name, text),
        _ => return Ok(None),
    };
    if is_own(&site.address) || is_exempt(&variables.exempt, &site.address) {
        return Ok(None);
    }
    if site.link == LinkKind::Quic {
        tracing::info!(
            "the environment names a proxy ({name}), which is not used: QUIC cannot pass a proxy, and plan/site.yaml has `link: quic`"
        );
        return Ok(None);
    }
    match Proxy::parse(text) {
        Ok(proxy) => Ok(Some((proxy, format!("the environment names the proxy, in {name}")))),
        // The text may hold a password: it is not repeated.
        Err(fault) => Err(Failure::new(
            Exit::Usage,
            format!("{name} in the environment is not the address of an HTTP proxy: {fault}"),
        )
        .hint(format!(
            "correct {name}. To use no proxy, set NO_PROXY={} or write `proxy: none` in plan/site.yaml",
            site.address
        ))),
    }
}

/// Whether `host` is this machine. No proxy leads to it.
fn is_own(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Whether `list` names `host`, as curl reads NO_PROXY: `*` alone is every host, a name stands for itself and
/// all names below it, an address for itself, and an address with a number of bits for a network.
fn is_exempt(list: &str, host: &str) -> bool {
    if list.trim() == "*" {
        return true;
    }
    let address = host.parse::<IpAddr>().ok();
    let entries = list.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty());
    entries.into_iter().any(|entry| match address {
        Some(address) => is_in(address, entry),
        None => is_below(host, entry),
    })
}

fn is_below(host: &str, name: &str) -> bool {
    let name = name.strip_prefix('.').unwrap_or(name);
    let name = name.strip_suffix('.').unwrap_or(name);
    let Some(at) = host.len().checked_sub(name.len()).filter(|_| !name.is_empty()) else { return false };
    let (before, end) = host.as_bytes().split_at(at);
    end.eq_ignore_ascii_case(name.as_bytes()) && matches!(before, [] | [.., b'.'])
}

fn is_in(address: IpAddr, network: &str) -> bool {
    let (network, bits) = network.split_once('/').unwrap_or((network, ""));
    let Ok(network) = network.parse::<IpAddr>() else { return false };
    // The bits of both, and how many of them there are.
    let (ours, theirs, all): (u128, u128, u32) = match (address, network) {
        (IpAddr::V4(ours), IpAddr::V4(theirs)) => (ours.to_bits().into(), theirs.to_bits().into(), 32),
        (IpAddr::V6(ours), IpAddr::V6(theirs)) => (ours.to_bits(), theirs.to_bits(), 128),
        _ => return false,
    };
    let bits = if bits.is_empty() { Some(all) } else { bits.parse::<u32>().ok() };
    let rest = bits.and_then(|bits| all.checked_sub(bits));
    // A network of no bits holds every address.
    rest.is_some_and(|rest| (ours ^ theirs).checked_shr(rest).unwrap_or(0) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(lines: &str) -> Site {
        Site::parse(&format!("schema: 1\n{lines}\n")).unwrap()
    }

    fn variables(proxy: &str, exempt: &str) -> ProxyVariables {
        ProxyVariables { proxy: Some(("HTTPS_PROXY", proxy.to_owned())), exempt: exempt.to_owned() }
    }

    fn chosen(lines: &str, proxy: &str, exempt: &str) -> Option<String> {
        let chosen = choose(&site(lines), &variables(proxy, exempt)).unwrap();
        chosen.map(|(proxy, _)| proxy.to_string())
    }

    #[test]
    fn site_file_goes_before_the_environment() {
        let environment = Some("env:1".to_owned());
        assert_eq!(chosen("address: fl.example", "env:1", ""), environment);
        assert_eq!(chosen("address: fl.example\nlink: tcp", "env:1", ""), environment);
        assert_eq!(
            chosen("address: fl.example\nproxy: http://own:2", "env:1", "*"),
            Some("own:2".to_owned())
        );
        assert_eq!(chosen("address: fl.example\nproxy: none", "env:1", ""), None);
        assert_eq!(chosen("address: fl.example\nlink: quic", "env:1", ""), None);
        assert_eq!(chosen("address: fl.example", "env:1", "example"), None);
        // A machine's own programs are reached without a proxy, also where a bad address stands there.
        for own in ["localhost", "127.0.0.1", "127.3.2.1", "'::1'", "'::ffff:127.0.0.1'"] {
            assert_eq!(chosen(&format!("address: {own}"), "socks5://x", ""), None, "{own}");
        }
        assert!(choose(&site("address: fl.example"), &ProxyVariables::default()).unwrap().is_none());
    }

    #[test]
    fn bad_address_in_the_environment_is_refused_without_its_password() {
        let bad = variables("socks5://me:s3cret@p:1", "");
        let refused = choose(&site("address: fl.example"), &bad).unwrap_err();
        assert_eq!(refused.exit, Exit::Usage);
        assert!(refused.error.contains("only HTTP proxies"), "{}", refused.error);
        assert!(refused.hint.as_deref().unwrap().contains("NO_PROXY=fl.example"));
        assert!(!refused.render(true).contains("s3cret") && !format!("{refused:?}").contains("s3cret"));
    }

    #[test]
    fn exempt_hosts_are_those_of_curl() {
        for (list, host, exempt) in [
            ("*", "fl.example", true),
            (" * ", "10.0.0.1", true),
            ("*, a", "fl.example", false),
            ("*.example", "fl.example", false),
            ("", "fl.example", false),
            ("local.com", "local.com", true),
            ("local.com", "www.local.com", true),
            ("local.com", "www.notlocal.com", false),
            ("local.com", "notlocal.com", false),
            ("local.com", "com", false),
            (".local.com", "www.local.com", true),
            (".local.com", "local.com", true),
            ("local.com.", "LOCAL.com", true),
            ("a,LOCAL.COM b", "www.local.com", true),
            (".", "local.com", false),
            ("local.com:80", "local.com", false),
            ("192.168.0.0/16", "192.168.255.1", true),
            ("192.168.0.0/16", "192.169.0.1", false),
            ("192.168.0.7", "192.168.0.7", true),
            ("192.168.0", "192.168.0.7", false),
            ("192.168.0.7/33", "192.168.0.7", false),
            ("192.168.0.7/x", "192.168.0.7", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("::/0", "2001:db8::1", true),
            ("::/0", "8.8.8.8", false),
            ("2001:db8::/32", "2001:db8:7::1", true),
            ("2001:0db8::1", "2001:db8::1", true),
            ("2001:db8::/129", "2001:db8::", false),
            ("10.0.0.0/8", "10.example", false),
        ] {
            assert_eq!(is_exempt(list, host), exempt, "{list:?} {host}");
        }
    }
}
