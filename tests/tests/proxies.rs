//! Whole federations of real processes behind HTTP proxies and a load balancer, which are real processes too.
#![allow(clippy::unwrap_used, reason = "a test's failure is its panic")]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use fl_host_tools::{demo::Federation, workspace::set_key};
use fl_tests::federation::{Process, all_end_well, federation, rounds_of_all, set_site, synthetic};

/// Rounds that need both members. The members know the aggregator by a name that only a proxy resolves.
fn pair(name: &str, rounds: u32) -> Federation {
    let federation = federation(name, 2, &|plan| {
        let plan = synthetic(plan, 100_000, rounds);
        set_key(&plan, "quorum", "{count: {min: 2}, time: {min: 0s, max: 10m}}", "tasks")
    });
    for name in &federation.names {
        set_site(&federation.dir.join(name), "address", NAME);
    }
    federation
}

fn site(federation: &Federation, name: &str) -> PathBuf {
    federation.dir.join(name)
}

/// Starts a proxy whose log is in the folder of the site `name`. Returns the proxy and its port.
fn proxy(federation: &Federation, name: &str, port: u64, deed: &str) -> (Process, u64) {
    let log = format!("proxy-{name}");
    let proxy = Process::spawn("proxy", &log, &site(federation, name), &[&port.to_string(), deed], &[]);
    let port = proxy.event("listening", SOON)["port"].as_u64().unwrap();
    (proxy, port)
}

/// Lets nobody but its owner read the site file.
fn for_its_owner(folder: &Path) {
    fs::set_permissions(folder.join("plan/site.yaml"), fs::Permissions::from_mode(0o600)).unwrap();
}

/// A collaborator that logs everything, with more variables in its environment.
fn collaborator(federation: &Federation, name: &str, variables: &[&str]) -> Process {
    let args = ["--json", "-v", "collaborator", "-n", name];
    let wrapper = [&["env"], variables].concat();
    Process::start(name, &site(federation, name), &args, &wrapper)
}

fn aggregator(federation: &Federation) -> Process {
    let aggregator = Process::aggregator(federation);
    aggregator.event("listening", SOON);
    aggregator
}

#[test]
fn proxy_of_the_site_file_and_proxy_of_the_environment_lead_to_the_aggregator() {
    let federation = pair("proxies", 3);
    let (one, two) = (site(&federation, "one"), site(&federation, "two"));
    let (with_login, port) = proxy(&federation, "one", 0, &format!("login={SECRET}"));
    set_site(&one, "proxy", &format!("http://me:s3cret@127.0.0.1:{port}"));
    for_its_owner(&one);
    let (open, port) = proxy(&federation, "two", 0, "open");
    let environment = format!("HTTPS_PROXY=http://127.0.0.1:{port}");
    let mut aggregator = aggregator(&federation);
    let mut members = vec![
        // The site file goes before the environment.
        collaborator(&federation, "one", &[&environment]),
        collaborator(&federation, "two", &[&environment, "NO_PROXY=other.test,10.0.0.0/8"]),
    ];
    all_end_well(&mut aggregator, &mut members);
    rounds_of_all(&federation, 3);
    let target = format!("{NAME}:{}", federation.port);
    for (proxy, member, words) in
        [(&with_login, &members[0], "plan/site.yaml names the proxy"), (&open, &members[1], "in HTTPS_PROXY")]
    {
        assert_eq!(proxy.event("asked", SOON)["target"], target);
        let log = member.log();
        assert!(log.contains("goes over TCP through the proxy 127.0.0.1:") && log.contains(words), "{log}");
    }
    for folder in [&one, &two] {
        for log in fs::read_dir(folder.join("logs")).unwrap() {
            let text = fs::read_to_string(log.unwrap().path()).unwrap();
            assert!(!text.contains("s3cret") && !text.contains(SECRET), "{text}");
        }
    }
}

#[test]
fn password_in_a_site_file_that_others_can_read_ends_the_start_and_is_not_shown() {
    let federation = pair("exposed", 1);
    let one = site(&federation, "one");
    set_site(&one, "proxy", "http://me:s3cret@127.0.0.1:9");
    fs::set_permissions(one.join("plan/site.yaml"), fs::Permissions::from_mode(0o640)).unwrap();
    let refused = |variables: &[&str], code| {
        let mut member = collaborator(&federation, "one", variables);
        assert_eq!(member.ended(SOON).code(), Some(code), "{}", member.log());
        let log = member.log();
        assert!(!log.contains("s3cret"), "{log}");
        log
    };
    assert!(refused(&[], 4).contains("chmod 600 plan/site.yaml"));
    // A password in a bad address of the environment is not shown either.
    set_site(&one, "proxy", "http://me:s3cret@127.0.0.1");
    assert!(refused(&[], 4).contains("the proxy's port is missing"));
    fs::write(one.join("plan/site.yaml"), format!("schema: 1\naddress: {NAME}\n")).unwrap();
    assert!(refused(&["HTTPS_PROXY=https://me:s3cret@127.0.0.1:9"], 2).contains("http:// address"));
}

#[test]
fn refusal_of_a_proxy_is_told_and_its_consent_is_taken() {
    let federation = pair("refusals", 2);
    let mut aggregator = aggregator(&federation);
    let (one, two) = (site(&federation, "one"), site(&federation, "two"));
    set_site(&two, "address", "127.0.0.1");
    let mut port = 0;
    for (deed, words) in [
        ("status=407 Proxy Authentication Required", "answers 407 Proxy Authentication Required"),
        ("ntlm", "answers 407 Unauthorized"),
        ("status=403 Forbidden", "answers 403 Forbidden"),
        ("status=502 Bad Gateway", "answers 502 Bad Gateway"),
        ("page", "does not answer in HTTP; its answer begins with \\\"<!DOCTYPE html>"),
        ("lie", "answers 200, but sends a page in place of a connection"),
        ("endless", "does not answer in HTTP; its answer begins with \\\"xxx"),
        ("leave", "ended the connection and gave no complete answer"),
        ("silent", "has not answered within 10 s"),
    ] {
        let (_proxy, at) = proxy(&federation, "one", port, deed);
        port = at;
        set_site(&one, "proxy", &format!("http://127.0.0.1:{port}"));
        let member = collaborator(&federation, "one", &[]);
        let words =
            format!("no aggregator at {NAME}:{} yet (the proxy 127.0.0.1:{port} {words}", federation.port);
        member.says(&words, 1, SOON);
    }
    // Nothing listens; then the proxy works.
    let mut members = vec![collaborator(&federation, "one", &[]), collaborator(&federation, "two", &[])];
    members[0].says(&format!("the proxy 127.0.0.1:{port} cannot be reached"), 1, SOON);
    let (_proxy, _) = proxy(&federation, "one", port, "open");
    all_end_well(&mut aggregator, &mut members);
    rounds_of_all(&federation, 2);
}

#[test]
fn tunnel_that_is_cut_in_an_upload_is_made_again_and_no_update_is_lost() {
    let federation = pair("cut", 6);
    let mut aggregator = aggregator(&federation);
    let mut proxies = Vec::new();
    // An update has 400 KB.
    for (name, deed) in [("one", "cut=300000"), ("two", "cut=1000000")] {
        let (proxy, port) = proxy(&federation, name, 0, deed);
        proxies.push(proxy);
        set_site(&site(&federation, name), "proxy", &format!("http://127.0.0.1:{port}"));
    }
    let mut members = ["one", "two"].map(|name| collaborator(&federation, name, &[]));
    all_end_well(&mut aggregator, &mut members);
    rounds_of_all(&federation, 6);
    for proxy in &proxies {
        proxy.event("asked", SOON);
        proxy.event("asked", SOON);
    }
}

#[test]
fn slow_proxy_costs_time_only() {
    let federation = pair("slow", 2);
    let mut aggregator = aggregator(&federation);
    // The answer takes two seconds, and each piece of a round 40 ms.
    let (_proxy, port) = proxy(&federation, "one", 0, "slow=40");
    for name in ["one", "two"] {
        set_site(&site(&federation, name), "proxy", &format!("http://127.0.0.1:{port}"));
    }
    let started = Instant::now();
    let mut members = ["one", "two"].map(|name| collaborator(&federation, name, &[]));
    all_end_well(&mut aggregator, &mut members);
    assert!(started.elapsed() > Duration::from_secs(2), "{:?}", started.elapsed());
    rounds_of_all(&federation, 2);
}

#[test]
fn load_balancer_finds_the_aggregator_by_the_name_in_the_site_file() {
    let federation = pair("balancer", 2);
    let mut aggregator = aggregator(&federation);
    let deed = format!("balance=fl.example.test:{}", federation.port);
    let (balancer, port) = proxy(&federation, "one", 0, &deed);
    for name in ["one", "two"] {
        let folder = site(&federation, name);
        set_site(&folder, "address", "127.0.0.1");
        set_site(&folder, "port", &port.to_string());
    }
    // Without a name no byte tells the balancer where to.
    let nameless = collaborator(&federation, "one", &[]);
    assert!(balancer.event("asked", SOON)["name"].is_null());
    nameless.says("no aggregator at 127.0.0.1", 1, SOON);
    drop(nameless);
    for name in ["one", "two"] {
        set_site(&site(&federation, name), "server_name", "fl.example.test");
    }
    let mut members = ["one", "two"].map(|name| collaborator(&federation, name, &[]));
    all_end_well(&mut aggregator, &mut members);
    rounds_of_all(&federation, 2);
}

#[test]
fn environment_names_no_proxy_where_the_host_fills_it() {
    let federation = pair("enclave", 1);
    let (_proxy, port) = proxy(&federation, "one", 0, "open");
    let proxied = format!("HTTPS_PROXY=http://127.0.0.1:{port}");
    let words = format!("connecting to {NAME}:{}", federation.port);
    for (variables, through) in [
        (vec![proxied.as_str()], true),
        (vec![proxied.as_str(), "FL_GRAMINE=1"], false),
        (vec![proxied.as_str(), "NO_PROXY=test"], false),
    ] {
        // The log of the process before.
        let _ = fs::remove_file(site(&federation, "one").join("logs/one.stderr"));
        let member = collaborator(&federation, "one", &variables);
        member.says(&words, 1, SOON);
        assert_eq!(member.log().contains("through the proxy"), through, "{variables:?}: {}", member.log());
    }
}

/// The aggregator, for a proxy of the tests only.
const NAME: &str = "aggregator.test";
/// `me:s3cret` in base64.
const SECRET: &str = "bWU6czNjcmV0";
const SOON: Duration = Duration::from_secs(20);
