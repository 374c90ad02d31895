//! A whole federation where socket options and control messages are refused, as a library OS refuses them.
#![allow(clippy::unwrap_used, reason = "a test's failure is its panic")]

use std::time::Duration;

use fl_tests::{
    federation::{Process, federation_over, synthetic},
    over_each_link,
    shim::preload,
};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);

over_each_link! {
    federation_runs_over_the_portable_socket_when_the_native_one_is_refused
}

fn federation_runs_over_the_portable_socket_when_the_native_one_is_refused(link: &str) {
    let federation = federation_over(link, "refusing", 2, &|plan| synthetic(plan, 200_000, 3));
    let preload = preload(&federation.dir, "refuse");
    let wrapper = ["env", preload.as_str()];
    let mut aggregator = Process::aggregator_in(&federation, &wrapper);
    let socket = if link == "tcp" { Value::Null } else { "portable".into() };
    assert_eq!(aggregator.event("listening", SOON)["socket"], socket);
    let members: Vec<Process> =
        federation.names.iter().map(|name| Process::collaborator_in(&federation, name, &wrapper)).collect();
    let rounds = aggregator.events_to_the_end("round");
    assert!(rounds.len() == 3 && rounds.iter().all(|round| round["updates"] == 2), "{}", aggregator.log());
    assert!(aggregator.ended(SOON).success(), "{}", aggregator.log());
    for mut member in members {
        assert!(member.ended(SOON).success(), "{}", member.log());
    }
}
