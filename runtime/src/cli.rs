//! The command line: two roles, one word each.

use std::{path::PathBuf, process::ExitCode};

use argh::FromArgs;
use fl_engine::Name;
use tracing::Level;

use crate::{
    exit::{Exit, Failure},
    observe,
    registry::Registry,
    roles::{aggregator, collaborator},
};

/// Federated learning: the aggregator, or one collaborator, of a workspace.
///
/// Run it in the workspace's folder. A role without a key makes one, writes its request to cert/ and exits with 9; the
/// federation owner approves the request with `fl-host pki approve`.
#[derive(FromArgs)]
#[argh(
    example = "{command_name} aggregator",
    example = "{command_name} collaborator -n one",
    note = "Ctrl-C or SIGTERM ends a run cleanly, with finished rounds saved; a second one ends it at once. fl-host makes
workspaces, plans, certificates and models.",
    error_code(0, "done: every round was run"),
    error_code(1, "something that no other code names"),
    error_code(2, "the command line cannot be understood"),
    error_code(3, "a file cannot be read or written"),
    error_code(4, "a plan, site, roster or data-map file is refused"),
    error_code(5, "a key or certificate is refused or missing"),
    error_code(6, "a model file is refused"),
    error_code(7, "data are refused, or a task cannot run on them"),
    error_code(8, "the folder is not a workspace"),
    error_code(9, "waiting for a certificate: the request is in cert/"),
    error_code(10, "the plan is not the one that this site has accepted"),
    error_code(11, "the network port cannot be opened"),
    error_code(12, "the aggregator does not take this collaborator in"),
    error_code(13, "a round's deadline passed with too few updates"),
    error_code(14, "stopped on request before the last round; finished rounds are saved")
)]
struct Runtime {
    /// rounds, results and failures as JSON, one object a line, on standard output
    #[argh(switch)]
    json: bool,
    /// say more: messages and streams too
    #[argh(switch, short = 'v')]
    verbose: bool,
    #[argh(subcommand)]
    role: Role,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Role {
    Aggregator(AggregatorRole),
    Collaborator(CollaboratorRole),
}

/// Combine the collaborators' updates, round by round.
#[derive(FromArgs)]
#[argh(subcommand, name = "aggregator")]
struct AggregatorRole {
    /// the workspace's folder; the current one by default
    #[argh(option, default = "PathBuf::from(\".\")")]
    workspace: PathBuf,
}

/// Train on one site's data and send updates.
#[derive(FromArgs)]
#[argh(subcommand, name = "collaborator")]
struct CollaboratorRole {
    /// the collaborator's name, as the roster has it
    #[argh(option, short = 'n')]
    name: Name,
    /// the workspace's folder; the current one by default
    #[argh(option, default = "PathBuf::from(\".\")")]
    workspace: PathBuf,
    /// accept the plan if this site has accepted none yet: for trials
    #[argh(switch)]
    accept_first: bool,
}

/// Runs the program with these arguments, its name left out. `registry` holds what a user's crate adds.
#[must_use]
pub fn run(args: &[&str], registry: &Registry) -> ExitCode {
    let json = args.contains(&"--json");
    let runtime = match Runtime::from_args(&["fl-runtime"], &without_start(args)) {
        Ok(runtime) => runtime,
        Err(early) if early.status.is_ok() => {
            print!("{}", early.output);
            return ExitCode::from(Exit::Done as u8);
        }
        Err(early) => {
            let failure = Failure::new(Exit::Usage, early.output.trim_end())
                .hint("`fl-runtime --help` shows both roles and the exit codes");
            eprint!("{}", failure.render(json));
            return ExitCode::from(Exit::Usage as u8);
        }
    };
    let level = if runtime.verbose { Level::DEBUG } else { Level::INFO };
    if observe::log::init(runtime.json, level).is_err() {
        // Whoever embeds this has set its own log up.
    }
    let ended = match runtime.role {
        Role::Aggregator(role) => aggregator::run(&role.workspace, runtime.json),
        Role::Collaborator(role) => {
            let options = collaborator::Options {
                name: role.name,
                workspace: role.workspace,
                accept_first: role.accept_first,
                json: runtime.json,
            };
            collaborator::run(&options, registry)
        }
    };
    match ended {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(failure) => {
            eprint!("{}", failure.render(runtime.json));
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// A word `start` after the role is accepted anywhere: container images pass it.
fn without_start<'a>(args: &[&'a str]) -> Vec<&'a str> {
    let role = args.iter().position(|word| matches!(*word, "aggregator" | "collaborator"));
    let mut seen = false;
    let mut value = false;
    let keep = |(at, word): (usize, &&'a str)| {
        let is_value = std::mem::replace(&mut value, matches!(*word, "-n" | "--name" | "--workspace"));
        let drop = role.is_some_and(|role| at > role) && *word == "start" && !is_value && !seen;
        seen |= drop;
        (!drop).then_some(*word)
    };
    args.iter().enumerate().filter_map(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_is_dropped_wherever_it_stands_and_never_where_it_is_a_value() {
        let cases: [(&[&str], &[&str]); 5] = [
            (&["aggregator", "start"], &["aggregator"]),
            (&["collaborator", "start", "-n", "one"], &["collaborator", "-n", "one"]),
            (&["collaborator", "-n", "one", "start"], &["collaborator", "-n", "one"]),
            (&["collaborator", "-n", "start", "start"], &["collaborator", "-n", "start"]),
            (&["start", "aggregator"], &["start", "aggregator"]),
        ];
        for (given, expected) in cases {
            assert_eq!(without_start(given), expected);
        }
    }

    #[test]
    fn help_names_every_exit_code() {
        let early = Runtime::from_args(&["fl-runtime"], &["--help"]).err().unwrap();
        for code in 0..=14 {
            assert!(
                early.output.lines().any(|line| line.trim_start().starts_with(&format!("{code} "))),
                "{code}"
            );
        }
    }
}
