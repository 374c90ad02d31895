//! The address of an HTTP proxy, as the site file and the environment of a collaborator name it. It may hold
//! a password: no refusal repeats a part of it.

// core's: addresses are values, and std::net is where sockets are.
use core::{fmt, net::Ipv6Addr};

use super::host::host_fault;

/// An HTTP proxy that passes connections on (CONNECT: RFC 9110, section 9.3.6). Neither `Debug` nor `Display`
/// shows the user or the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    host: String,
    port: u16,
    login: Option<String>,
}

impl Proxy {
    /// Reads `http://HOST:PORT` or `http://USER:PASSWORD@HOST:PORT`. `http://` may be left out, as curl
    /// allows. An IPv6 address stands between brackets.
    ///
    /// # Errors
    /// What is wrong, with the cure. The words hold nothing of the text.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > MOST_BYTES {
            return Err("the address of a proxy has at most 1024 bytes");
        }
        let rest = match text.split_once("://") {
            None => text,
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {
                return Err(
                    "a proxy that is itself reached over TLS is not supported: give the proxy's http:// address",
                );
            }
            Some(_) => return Err("only HTTP proxies are supported: the address begins with http://"),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '\\']) {
            return Err(
                "the address ends with the port. In a user or a password, write / as %2F, ? as %3F, # as %23 and \\ as %5C",
            );
        }
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(self::login(login)?), place),
            None => (None, rest),
        };
        let (host, port) = match place.strip_prefix('[') {
            Some(six) => {
                let (host, port) =
                    six.split_once(']').ok_or("the bracket after the IPv6 address is missing")?;
                if host.parse::<Ipv6Addr>().is_err() {
                    return Err("only an IPv6 address stands between brackets");
                }
                (host, port.strip_prefix(':'))
            }
            None => match place.rsplit_once(':') {
                Some((host, _)) if host.contains(':') => {
                    return Err("put the IPv6 address between brackets, as in http://[2001:db8::1]:3128");
                }
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        let port = port.ok_or("the proxy's port is missing: write http://HOST:PORT")?;
        let digits = port.bytes().all(|b| b.is_ascii_digit());
        let port = port.parse::<u16>().ok().filter(|port| digits && *port > 0);
        let port = port.ok_or("the proxy's port is a number of 1 to 65535")?;
        if host_fault(host).is_some() {
            return Err("the proxy's host is a host name or an IP address of a machine");
        }
        Ok(Self { host: host.to_owned(), port, login })
    }

    /// Host name or IP address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A secret: user and password with a colon between them, as the proxy is told (RFC 7617).
    #[must_use]
    pub fn login(&self) -> Option<&str> {
        self.login.as_deref()
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&host_and_port(&self.host, self.port))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// `host:port`, with brackets around an IPv6 address (RFC 3986, section 3.2.2).
#[must_use]
pub fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn login(text: &str) -> Result<String, &'static str> {
    if text.contains('@') {
        return Err("write @ in a user or a password as %40");
    }
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let (user, password) = (decoded(user)?, decoded(password)?);
    match user.as_str() {
        "" => Err("the user before the password is missing: write http://USER:PASSWORD@HOST:PORT"),
        user if user.contains(':') => Err("a user with a colon cannot be told to a proxy"),
        user => Ok(format!("{user}:{password}")),
    }
}

/// Undoes `%40` and the like (RFC 3986, section 2.1).
fn decoded(text: &str) -> Result<String, &'static str> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
                let byte = digit().zip(digit()).and_then(|(high, low)| u8::try_from(high << 4 | low).ok());
                byte.ok_or("write % in a user or a password as %25")?
            }
            byte => byte,
        };
        if byte.is_ascii_control() {
            return Err("a user or a password has no control characters");
        }
        out.push(byte);
    }
    String::from_utf8(out).map_err(|_| "user and password are UTF-8")
}

const MOST_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, u16, Option<String>) {
        let proxy = Proxy::parse(text).unwrap();
        (proxy.host, proxy.port, proxy.login)
    }

    #[test]
    fn address_has_a_host_a_port_and_perhaps_a_login() {
        let plain = |host: &str, port| (host.to_owned(), port, None);
        assert_eq!(parts("http://proxy.example:3128"), plain("proxy.example", 3128));
        assert_eq!(parts("HTTP://proxy.example:80/"), plain("proxy.example", 80));
        assert_eq!(parts("10.0.0.7:8080"), plain("10.0.0.7", 8080));
        assert_eq!(parts("http://[2001:db8::1]:3128"), plain("2001:db8::1", 3128));
        let with = |login: &str| ("p".to_owned(), 1, Some(login.to_owned()));
        assert_eq!(parts("http://me:s3cret@p:1"), with("me:s3cret"));
        assert_eq!(parts("http://me:%40%2f%25:x@p:1"), with("me:@/%:x"));
        assert_eq!(parts("http://token@p:1"), with("token:"));
        assert_eq!(parts("me:g%C3%BCte@p:1"), with("me:güte"));
        assert_eq!(Proxy::parse("http://me:s@[::1]:9").unwrap().to_string(), "[::1]:9");
    }

    #[test]
    fn no_refusal_and_no_text_shows_the_login() {
        for (text, words) in [
            ("https://me:s3cret@p:1", "reached over TLS"),
            ("socks5://me:s3cret@p:1", "only HTTP proxies"),
            ("http://me:s3cret@p", "port is missing"),
            ("http://me:s3cret@p:", "1 to 65535"),
            ("http://me:s3cret@p:0", "1 to 65535"),
            ("http://me:s3cret@p:+80", "1 to 65535"),
            ("http://me:s3cret@p:65536", "1 to 65535"),
            ("http://me:s3cret@p:80/path", "ends with the port"),
            ("http://me:s3cret/x@p:80", "%2F"),
            ("http://me:s3cret#x@p:80", "%23"),
            ("http://me:s3cret@x@p:80", "%40"),
            ("http://me:s3cret%4@p:80", "%25"),
            ("http://me:s3cret%zz@p:80", "%25"),
            ("http://me:s3cret%0d%0aX:%20y@p:80", "control"),
            ("http://me:s3cret%ff@p:80", "UTF-8"),
            ("http://:s3cret@p:80", "user"),
            ("http://a%3Ab:s3cret@p:80", "colon"),
            ("http://me:s3cret@::1:80", "brackets"),
            ("http://me:s3cret@[::1:80", "bracket"),
            ("http://me:s3cret@[p]:80", "IPv6"),
            ("http://me:s3cret@[::1]80", "port is missing"),
            ("http://me:s3cret@0.0.0.0:80", "host name or an IP address"),
            ("http://me:s3cret@a b:80", "host name or an IP address"),
            ("", "port is missing"),
        ] {
            let fault = Proxy::parse(text).unwrap_err();
            assert!(fault.contains(words) && !fault.contains("s3cret"), "{text}: {fault}");
        }
        let long = format!("http://me:{}@p:1", "s3cret".repeat(200));
        assert!(Proxy::parse(&long).unwrap_err().contains("1024"));
        let proxy = Proxy::parse("http://me:s3cret@p:1").unwrap();
        assert_eq!((format!("{proxy}"), format!("{proxy:?}")), ("p:1".to_owned(), "Proxy(p:1)".to_owned()));
    }
}
