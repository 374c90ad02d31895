//! The request, answers of hostile bytes, and exchanges with real sockets.

use std::net::Ipv4Addr;

use tokio::{net::TcpListener, task::JoinHandle};

use super::{fault::HEAD_BYTES, *};

/// What the bytes say in one piece. In single bytes they have to say the same, except for the text of an
/// answer in another protocol than HTTP.
fn read(bytes: &[u8]) -> Result<bool, ProxyFault> {
    let whole = Answer::new(false).take(bytes);
    let mut answer = Answer::new(false);
    let mut pieces = Ok(false);
    for byte in bytes {
        pieces = answer.take(&[*byte]);
        if pieces != Ok(false) {
            break;
        }
    }
    match (&whole, &pieces) {
        (Err(ProxyFault::NotHttp(_)), Err(ProxyFault::NotHttp(_))) => {}
        // The end of the head came before the page did.
        (Err(ProxyFault::Page(_)), Ok(true)) => {}
        (whole, pieces) => assert_eq!(whole, pieces, "{}", String::from_utf8_lossy(bytes)),
    }
    whole
}

fn refused(status: u16, reason: &str) -> Result<bool, ProxyFault> {
    let (reason, schemes) = (reason.to_owned(), String::new());
    Err(ProxyFault::Refused { status, reason, schemes, with_login: false })
}

#[test]
fn answers_of_proxies_are_understood() {
    for open in [
        "HTTP/1.1 200 Connection established\r\n\r\n",
        "HTTP/1.0 200 OK\n\n",
        "HTTP/1.1 200\r\n\r\n",
        "HTTP/1.1 204 x\r\nVia: 1.1 squid\r\nContent-Length: 1000000\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ] {
        assert_eq!(read(open.as_bytes()), Ok(true), "{open:?}");
    }
    for unfinished in
        ["", "H", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 403 Forbidden\r\n", "HTTP/1.1 100 x\r\n\r\nHTTP"]
    {
        assert_eq!(read(unfinished.as_bytes()), Ok(false), "{unfinished:?}");
    }
    assert_eq!(read(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\n<html"), refused(403, "Forbidden"));
    assert_eq!(read(b"HTTP/1.1 502\r\n\r\n"), refused(502, ""));
    assert_eq!(read(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), refused(101, "Switching Protocols"));
    assert_eq!(read(b"HTTP/1.1 302 Found\r\nLocation: http://login/\r\n\r\n"), refused(302, "Found"));
    let login = "HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: NTLM\r\nProxy-Authenticate:Basic realm=\"x\"\r\n\r\n";
    let Err(fault @ ProxyFault::Refused { .. }) = read(login.as_bytes()) else { panic!("not refused") };
    assert_eq!(fault.to_string(), "answers 407 Proxy Authentication Required");
    assert!(matches!(&fault, ProxyFault::Refused { schemes, .. } if schemes == "NTLM, Basic"), "{fault:?}");
    // Several ways in one header; what belongs to a way is not taken for one.
    for (value, expected) in [
        ("Negotiate, NTLM,Basic realm=\"x\"", "Negotiate, NTLM, Basic"),
        (
            "Digest realm=\"a, Basic b\", qop=\"auth\" , nonce = \"q\\\", Basic\", Basic realm=\"c\"",
            "Digest, Basic",
        ),
        ("Negotiate YWJj==, , Basic", "Negotiate, Basic"),
        ("", ""),
        ("=, \"", "\""),
    ] {
        let answer = format!("HTTP/1.1 407 No\r\nProxy-Authenticate: {value}\r\n\r\n");
        let Err(ProxyFault::Refused { schemes, .. }) = read(answer.as_bytes()) else { panic!("not refused") };
        assert_eq!(schemes, expected, "{value}");
    }
}

#[test]
fn hostile_answers_are_refused_within_their_bounds() {
    let not_http = |bytes: &[u8], words: &str| {
        let Err(ProxyFault::NotHttp(said)) = read(bytes) else {
            panic!("{}", String::from_utf8_lossy(bytes))
        };
        assert!(said.contains(words) && said.len() < 400, "{said}");
    };
    not_http(b"<!DOCTYPE html>\r\n<html>\r\n\r\n", "<!DOCTYPE html>");
    not_http(b"SSH-2.0-OpenSSH_9.2\r\n", "SSH-2.0");
    not_http(b"\r\nHTTP/1.1 200 OK\r\n\r\n", "HTTP");
    not_http(b"HTTP/2 200\r\n\r\n", "HTTP/2");
    not_http(b"HTTP/1.1 2000 OK\r\n\r\n", "2000");
    not_http(b"HTTP/1.1 20x OK\r\n\r\n", "20x");
    not_http(b"HTTP/1.1 +20 OK\r\n\r\n", "+20");
    not_http(b"HTTP/1.1 099 OK\r\n\r\n", "099");
    not_http(b"HTTP/1.1 600 OK\r\n\r\n", "600");
    not_http(b"HTTP/1.1\r\n\r\n", "HTTP/1.1");
    not_http(b"HTTP/1.\n\n", "HTTP/1.");
    not_http(&[0xff, 0x00, 0x1b, b'['], "\\u{1b}");
    // Control characters of a reason reach no terminal.
    let Err(ProxyFault::Refused { reason, .. }) = read(b"HTTP/1.1 403 \x1b[2J\xff\x00\r\n\r\n") else {
        panic!()
    };
    assert!(reason.chars().all(|c| !c.is_control()), "{reason:?}");
    assert_eq!(read(b"HTTP/1.1 200 OK\r\n\r\n<html>"), Err(ProxyFault::Page(200)));
    // Endless heads: of one line, of many lines, and of answers that announce another one.
    let endless = |unit: &[u8]| {
        [b"HTTP/1.1 200 OK\r\n".as_slice(), unit.repeat(HEAD_BYTES / unit.len() + 2).as_slice()].concat()
    };
    assert_eq!(read(&endless(b"x")), Err(ProxyFault::TooLong));
    assert_eq!(read(&endless(b"a: b\r\n")), Err(ProxyFault::TooLong));
    let again = b"HTTP/1.1 100 Continue\r\n\r\n";
    assert_eq!(read(&again.repeat(HEAD_BYTES / again.len() + 2)), Err(ProxyFault::TooLong));
    // A head of just the bound is read.
    let head = [b"HTTP/1.1 200 OK\r\na: ".as_slice(), &vec![b'b'; HEAD_BYTES - 24], b"\r\n\r\n"].concat();
    assert_eq!((head.len(), read(&head)), (HEAD_BYTES, Ok(true)));
    assert_eq!(read(&[&head[..20], b"b".as_slice(), &head[20..]].concat()), Err(ProxyFault::TooLong));
}

#[test]
fn changed_bytes_cause_no_panic_and_no_memory() {
    let good = b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"x\"\r\nVia: a\r\n\r\nrest";
    for at in 0..good.len() {
        for byte in 0..=255 {
            let mut changed = good.to_vec();
            changed[at] = byte;
            let _ = Answer::new(true).take(&changed);
            let _ = Answer::new(true).take(&changed[..at]);
        }
    }
    let mut answer = Answer::new(false);
    let mut pieces = 0;
    while answer.take([b"HTTP/1.1 200 ".as_slice(), b"H"][usize::from(pieces > 0)]).is_ok() {
        pieces += 1;
    }
    assert!(pieces <= HEAD_BYTES, "{pieces}");
}

#[test]
fn each_fault_has_its_advice() {
    let login = |schemes: &str, with_login| ProxyFault::Refused {
        status: 407,
        reason: String::new(),
        schemes: schemes.to_owned(),
        with_login,
    };
    for (fault, words) in [
        (login("Basic", false), "http://USER:PASSWORD@HOST:PORT"),
        (login("", false), "http://USER:PASSWORD@HOST:PORT"),
        (login("NTLM, basic", true), "Correct the user"),
        (login("Negotiate, NTLM", true), "no Basic login"),
        (refused(403, "").unwrap_err(), "443"),
        (refused(502, "").unwrap_err(), "can reach"),
        (ProxyFault::Silent, "can reach"),
        (ProxyFault::Page(200), "HTTP proxy"),
        (ProxyFault::Unreachable(String::new()), "host and port"),
    ] {
        assert!(fault.advice().contains(words), "{fault:?}: {}", fault.advice());
    }
}

/// A proxy that reads one request, answers so, and keeps the connection until the client leaves.
async fn proxy(answer: &'static [u8]) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut asked = vec![0; 4096];
        let len = socket.read(&mut asked).await.unwrap();
        socket.write_all(answer).await.unwrap();
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest).await;
        String::from_utf8(asked[..len].to_vec()).unwrap() + &String::from_utf8_lossy(&rest)
    });
    (address, asked)
}

fn tunnel(proxy: &str, host: &str) -> Tunnel {
    Tunnel::new(Proxy::parse(proxy).unwrap(), host, 443)
}

#[tokio::test]
async fn proxy_is_asked_for_the_host_and_hears_the_login_once() {
    let (address, asked) = proxy(b"HTTP/1.1 200 OK\r\n\r\n").await;
    let tunnel = tunnel("http://me:s3cret@proxy.example:3128", "2001:db8::7");
    assert!(!format!("{tunnel:?}").contains("s3cret"));
    let mut socket = tunnel.open(address).await.unwrap();
    socket.write_all(b"hello").await.unwrap();
    drop(socket);
    let target = "[2001:db8::7]:443";
    let expected = format!(
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Basic bWU6czNjcmV0\r\n\r\nhello"
    );
    assert_eq!(asked.await.unwrap(), expected);
}

#[tokio::test]
async fn refusal_names_the_proxy_and_its_status() {
    let (address, asked) = proxy(b"HTTP/1.1 403 Forbidden\r\nServer: x\r\n\r\n").await;
    let refused = tunnel("http://proxy.example:3128", "fl.example.org").open(address).await.unwrap_err();
    assert_eq!(refused.to_string(), "the proxy proxy.example:3128 answers 403 Forbidden");
    assert_eq!(
        asked.await.unwrap(),
        "CONNECT fl.example.org:443 HTTP/1.1\r\nHost: fl.example.org:443\r\n\r\n"
    );
}

#[tokio::test(start_paused = true)]
async fn proxy_that_says_nothing_costs_ten_seconds() {
    let (address, _asked) = proxy(b"HTTP/1.1 200 OK\r\n").await;
    let started = tokio::time::Instant::now();
    let silent = tunnel("http://p:1", "a").open(address).await.unwrap_err();
    assert_eq!(silent, LinkError::Proxy { proxy: "p:1".to_owned(), fault: ProxyFault::Silent });
    assert!(started.elapsed() < ANSWER_TIME * 2, "{:?}", started.elapsed());
}

#[tokio::test]
async fn proxy_that_leaves_or_does_not_run_is_told() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let opening = tokio::spawn(async move { tunnel("http://p:1", "a").open(address).await.map(drop) });
    drop(listener.accept().await.unwrap());
    let LinkError::Proxy { fault, .. } = opening.await.unwrap().unwrap_err() else { panic!() };
    assert_eq!(fault, ProxyFault::Ended);
    drop(listener);
    let LinkError::Proxy { fault, .. } = tunnel("http://p:1", "a").open(address).await.unwrap_err() else {
        panic!()
    };
    assert!(matches!(fault, ProxyFault::Unreachable(_)), "{fault:?}");
}
