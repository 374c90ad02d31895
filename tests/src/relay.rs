//! A bad path between an aggregator and its sites, for packets: a network namespace with the program `relay`
//! in it, and what a test does with both.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::Ipv4Addr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use fl_host_tools::demo::Federation;
use serde_json::Value;

use crate::federation::{Process, program, set_site};

/// A network namespace whose processes reach each other through one bad path alone.
pub struct Relay {
    child: Child,
    faults: ChildStdin,
    done: BufReader<ChildStdout>,
}

impl Relay {
    /// Makes the namespace, with a path that has no faults.
    ///
    /// # Errors
    /// Why this machine cannot make one. The namespace needs `unshare`, `nsenter`, `ip` and the TUN driver.
    ///
    /// # Panics
    /// When the program `relay` is not built.
    pub fn start() -> Result<Self, String> {
        let mut child = Command::new("unshare")
            .args(["--map-root-user", "--net"])
            .arg(program("relay"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("unshare: {error}"))?;
        let (faults, done) = (child.stdin.take(), child.stdout.take().map(BufReader::new));
        let (Some(faults), Some(mut done)) = (faults, done) else { return Err("no pipes".to_owned()) };
        let mut ready = String::new();
        // Without a line the program has ended, and says why.
        if done.read_line(&mut ready).is_ok_and(|len| len > 0) {
            return Ok(Self { child, faults, done });
        }
        let said = child.wait_with_output().map_err(|error| error.to_string())?;
        Err(String::from_utf8_lossy(&said.stderr).trim().to_owned())
    }

    /// Changes the faults of the path: words such as `loss=20 delay=300`, or none. Returns what the path has
    /// done since the last change: packets `carried` and `lost`, connections `cut`.
    ///
    /// # Panics
    /// When the relay does not answer.
    pub fn set(&mut self, faults: &str) -> Value {
        let mut line = String::new();
        let answered =
            writeln!(self.faults, "{faults}").and_then(|()| self.done.read_line(&mut line).map(drop));
        assert!(answered.is_ok(), "the relay has ended: {answered:?}");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// Puts the path between the aggregator and the sites of a federation.
    ///
    /// # Panics
    /// When a site file cannot be changed.
    pub fn join(&self, federation: &Federation) {
        set_site(&federation.aggregator, "bind", &format!("\"{AGGREGATOR}\""));
        for name in &federation.names {
            set_site(&federation.dir.join(name), "address", &format!("\"{AGGREGATOR_SEEN}\""));
        }
    }

    /// Starts the aggregator inside.
    #[must_use]
    pub fn aggregator(&self, federation: &Federation) -> Process {
        Process::aggregator_in(federation, &self.inside().each_ref().map(String::as_str))
    }

    /// Starts all collaborators inside.
    #[must_use]
    pub fn collaborators(&self, federation: &Federation) -> Vec<Process> {
        let inside = self.inside();
        let inside = inside.each_ref().map(String::as_str);
        federation.names.iter().map(|name| Process::collaborator_in(federation, name, &inside)).collect()
    }

    /// Gives the sites another address, as a machine gets one that moves to another network.
    ///
    /// # Panics
    /// When the system refuses the change.
    pub fn move_sites(&self) {
        for words in [
            format!("addr add {SITES_MOVED}/32 dev {DEVICE}"),
            format!("route replace {AGGREGATOR_NETWORK} dev {DEVICE} src {SITES_MOVED}"),
            format!("addr del {SITES}/32 dev {DEVICE}"),
        ] {
            let inside = self.inside();
            let said = Command::new(&inside[0]).args(&inside[1..]).arg("ip").args(words.split(' ')).output();
            assert!(said.as_ref().is_ok_and(|said| said.status.success()), "ip {words}: {said:?}");
        }
    }

    /// The command that runs another one inside.
    fn inside(&self) -> [String; 5] {
        let target = format!("--target={}", self.child.id());
        ["nsenter", &target, "--user", "--net", "--preserve-credentials"].map(str::to_owned)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // The program may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The device of the bad path.
pub const DEVICE: &str = "path";
/// The aggregator's own address.
pub const AGGREGATOR: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);
/// The sites' own address.
pub const SITES: Ipv4Addr = Ipv4Addr::new(10, 77, 2, 1);
/// The sites' own address after [`Relay::move_sites`].
const SITES_MOVED: Ipv4Addr = Ipv4Addr::new(10, 77, 2, 2);
/// The aggregator's address as the sites see it.
pub const AGGREGATOR_SEEN: Ipv4Addr = Ipv4Addr::new(10, 77, 3, 1);
/// The network of [`AGGREGATOR_SEEN`].
pub const AGGREGATOR_NETWORK: &str = "10.77.3.0/24";
