//! The command line: a role is a word, with options after the word.

pub mod usage;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
    str::FromStr as _,
    sync::Arc,
};

use argh::FromArgs;
use fl_engine::Name;
use fl_learn::registry::Registry;
use tracing::Level;

use crate::{
    environment::{GRAMINE_VARIABLE, NAME_VARIABLE, ProxyVariables},
    exit::{Exit, Failure},
    observe,
    roles::{aggregator, collaborator},
    system::System,
    version,
};

/// Federated learning: the aggregator or one collaborator of a workspace.
///
/// Run fl-runtime in the workspace's folder. A role that has no key makes one, writes a certificate request
/// to cert/ and exits with code 9. The federation's owner approves the request with `fl-host pki approve`.
#[derive(FromArgs)]
#[argh(
    example = "{command_name} aggregator",
    example = "{command_name} collaborator -n one",
    note = "--json and -v may also follow the role.",
    note = "Ctrl-C or SIGTERM ends a run; finished rounds are saved. A second signal ends the program at once. fl-host makes
workspaces, plans, certificates and models.",
    error_code(0, "done"),
    error_code(1, "any failure without a code of its own"),
    error_code(2, "the command line cannot be understood"),
    error_code(3, "a file cannot be read or written"),
    error_code(4, "the plan, plan/site.yaml, plan/data.yaml or the roster is refused"),
    error_code(5, "a key or certificate is refused or missing"),
    error_code(6, "a model file is refused"),
    error_code(7, "the data cannot be used, or a task fails on them"),
    error_code(8, "the folder is not a workspace, or already is one"),
    error_code(9, "waiting for a certificate: the request is in cert/"),
    error_code(10, "the plan is not the one that this site has accepted"),
    error_code(11, "the network port cannot be opened"),
    error_code(12, "the aggregator rejected this collaborator"),
    error_code(13, "a round's deadline passed with too few updates"),
    error_code(14, "stopped on request before the last round; finished rounds are saved"),
    error_code(15, "no update counted: tasks failed, or updates were refused"),
    error_code(16, "the evidence about an enclave, or its collateral, is refused")
)]
struct Runtime {
    /// write one JSON object per line: events to standard output, log lines and failures to standard error
    #[argh(switch)]
    json: bool,
    /// log more: also each message and each stream
    #[argh(switch, short = 'v')]
    verbose: bool,
    /// print version, commit, toolchain and route of the build, then exit
    #[argh(switch)]
    #[expect(dead_code, reason = "answered before argh asks for a role; here for --help")]
    version: bool,
    #[argh(subcommand)]
    role: Role,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Role {
    Aggregator(AggregatorRole),
    Collaborator(CollaboratorRole),
}

impl Role {
    /// The role's workspace, and the name of its log file there.
    fn log(&self) -> (&Path, String) {
        match self {
            Self::Aggregator(role) => (&role.workspace, "aggregator".to_owned()),
            Self::Collaborator(role) => {
                let name = named(role.name.clone(), std::env::var_os(NAME_VARIABLE));
                // `start` refuses a collaborator without a name.
                (
                    &role.workspace,
                    name.map_or_else(|_| "collaborator".to_owned(), |name| format!("col_{name}")),
                )
            }
        }
    }
}

/// Combine the collaborators' updates, round by round.
#[derive(FromArgs)]
#[argh(subcommand, name = "aggregator")]
struct AggregatorRole {
    /// the workspace's folder (default: the current folder)
    #[argh(option, default = "PathBuf::from(\".\")")]
    workspace: PathBuf,
    /// delete the rounds that save/ holds and begin with the initial model
    #[argh(switch)]
    fresh: bool,
    /// make a key although cert/ has another member's certificate
    #[argh(switch)]
    new: bool,
}

/// Train on one site's data and send updates.
#[derive(FromArgs)]
#[argh(subcommand, name = "collaborator")]
struct CollaboratorRole {
    /// the collaborator's name in the roster (default: the environment variable FL_COLLABORATOR)
    #[argh(option, short = 'n')]
    name: Option<Name>,
    /// the workspace's folder (default: the current folder)
    #[argh(option, default = "PathBuf::from(\".\")")]
    workspace: PathBuf,
    /// accept the plan if this site has not accepted any plan yet; meant for trials
    #[argh(switch)]
    accept_first: bool,
    /// make a key although cert/ has another member's certificate
    #[argh(switch)]
    new: bool,
}

/// Runs the program with these arguments, without the program's name. `registry` holds what a user's crate
/// adds.
#[must_use]
pub fn run(args: &[&str], registry: &Registry, system: &System) -> ExitCode {
    observe::report_panics(args.contains(&"--json"));
    if matches!(args, ["--version"] | ["--json", "--version"] | ["--version", "--json"]) {
        let (commit, toolchain) = (version::COMMIT, version::TOOLCHAIN);
        match args {
            ["--version"] => observe::say(version::text("fl-runtime", commit, toolchain)),
            _ => {
                let mut said = version::json("fl-runtime", commit, toolchain);
                // `fl-host workspace dockerize` compares these with the plan.
                for (kind, names) in registry.names() {
                    said["adds"][kind] = names.into();
                }
                observe::say_event(&said);
            }
        }
        return ExitCode::from(Exit::Done as u8);
    }
    let runtime = match parse(args) {
        Ok(runtime) => runtime,
        Err(Early::Help(text)) => {
            observe::say(text);
            return ExitCode::from(Exit::Done as u8);
        }
        Err(Early::Mistake(failure)) => {
            observe::complain(failure.render(args.contains(&"--json")));
            return ExitCode::from(failure.exit as u8);
        }
    };
    let level = if runtime.verbose { Level::DEBUG } else { Level::INFO };
    let (workspace, log) = runtime.role.log();
    let (file, unopened) = match observe::log::LogFile::open(&system.files, workspace, &log) {
        Ok(file) => (file.map(Arc::new), None),
        Err(error) => (None, Some(error)),
    };
    if observe::log::init(runtime.json, level, file.clone(), system.clock.clone()).is_err() {
        // An embedding program has already installed a subscriber.
    }
    if let Some(error) = unopened {
        tracing::warn!(
            "cannot write log lines to logs/{log}.log: {error}. The log goes to standard error only"
        );
    }
    choose_entry(std::env::var_os(GRAMINE_VARIABLE));
    let json = runtime.json;
    match start(runtime, registry, system) {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(failure) => {
            let text = failure.render(json);
            observe::complain(&text);
            // The process ends: there is nobody left to report a failed write to.
            let _ = file.map(|file| file.append(&text));
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// Chooses how this process makes its system calls; no thread has been started yet. Returns true if
/// `FL_GRAMINE=1` was set although this process does not run under Gramine.
fn choose_entry(variable: Option<OsString>) -> bool {
    let set = variable.is_some_and(|value| value == "1");
    let entry = fl_sys::syscall::choose(set);
    tracing::debug!(?entry, "system calls");
    let mistaken = set && entry == fl_sys::syscall::Entry::Library;
    if mistaken {
        tracing::warn!(
            "{GRAMINE_VARIABLE} is set, but this process does not run under Gramine: unset {GRAMINE_VARIABLE}"
        );
    }
    mistaken
}

/// Why the arguments start no role.
enum Early {
    Help(String),
    Mistake(Failure),
}

fn parse(args: &[&str]) -> Result<Runtime, Early> {
    let args = without_start(args);
    let from = |args: &[&str]| Runtime::from_args(&["fl-runtime"], args);
    // What can be read as it stands is read so: the value of an option may look like an option.
    let parsed =
        from(&args).or_else(|early| match usage::options_first(&args, &["--json", "-v", "--verbose"]) {
            Some(moved) if early.status.is_err() => from(&moved),
            _ => Err(early),
        });
    parsed.map_err(|early| match early.status {
        Ok(()) => Early::Help(early.output),
        Err(()) => {
            let help = |words: &[&str]| {
                let early = from(&[words, &["--help"]].concat()).err()?;
                early.status.is_ok().then_some(early.output)
            };
            let hint = usage::usage_line(&args, help).map(|line| format!("the command is `{line}`"));
            Early::Mistake(
                Failure::of_usage(&early.output)
                    .hint("`fl-runtime --help` shows both roles and all exit codes")
                    .maybe_hint(hint),
            )
        }
    })
}

fn start(runtime: Runtime, registry: &Registry, system: &System) -> Result<Exit, Failure> {
    match runtime.role {
        Role::Aggregator(role) => {
            let AggregatorRole { workspace, fresh, new } = role;
            let options = aggregator::Options { workspace, fresh, new, json: runtime.json };
            aggregator::run(system, &options, registry)
        }
        Role::Collaborator(role) => {
            let options = collaborator::Options {
                name: named(role.name, std::env::var_os(NAME_VARIABLE))?,
                workspace: role.workspace,
                accept_first: role.accept_first,
                new: role.new,
                json: runtime.json,
                proxies: proxies(),
            };
            collaborator::run(system, &options, registry)
        }
    }
}

/// What the environment says of proxies; nothing under Gramine, where the host fills the environment.
fn proxies() -> ProxyVariables {
    let is_gramine = fl_sys::syscall::entry() == fl_sys::syscall::Entry::Gramine;
    match is_gramine || std::env::var_os(GRAMINE_VARIABLE).is_some() {
        true => ProxyVariables::default(),
        false => ProxyVariables::read(|name| std::env::var_os(name)),
    }
}

/// The collaborator's name: from the command line, otherwise from the environment, which may hold anything.
fn named(option: Option<Name>, variable: Option<OsString>) -> Result<Name, Failure> {
    match (option, variable) {
        (Some(name), _) => Ok(name),
        (None, Some(value)) => Name::from_str(&value.to_string_lossy()).map_err(|e| {
            Failure::new(Exit::Usage, format!("{NAME_VARIABLE} in the environment: {e}")).hint(format!(
                "start with -n NAME, or set {NAME_VARIABLE} to the collaborator's name in the roster"
            ))
        }),
        (None, None) => Err(Failure::new(Exit::Usage, "a collaborator needs a name")
            .hint(format!("start with -n NAME, or set {NAME_VARIABLE} in the environment"))),
    }
}

/// Drops the word `start` after the role, wherever it stands: container images pass the word.
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
    use std::fs;

    use super::*;

    #[test]
    fn gramine_variable_outside_of_gramine_is_noticed_and_changes_nothing() {
        assert!(choose_entry(Some("1".into())));
        assert_eq!(fl_sys::syscall::entry(), fl_sys::syscall::Entry::Library);
        for other in [None, Some("0".into()), Some(OsString::new())] {
            assert!(!choose_entry(other));
        }
    }

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
    fn name_on_the_command_line_goes_before_the_one_in_the_environment() {
        let name = |text: &str| text.parse::<Name>().unwrap();
        let variable = |text: &str| Some(OsString::from(text));
        assert_eq!(named(Some(name("one")), variable("two")), Ok(name("one")));
        assert_eq!(named(None, variable("two")), Ok(name("two")));
        let refused = named(None, variable("../two")).unwrap_err();
        assert_eq!(refused.exit, Exit::Usage);
        assert!(refused.error.starts_with("FL_COLLABORATOR in the environment: "), "{}", refused.error);
        assert!(named(None, None).unwrap_err().hint.unwrap().contains("-n NAME"));
    }

    /// What a terminal shows, and the exit code.
    fn transcript(args: &[&str]) -> String {
        let json = args.contains(&"--json");
        let (said, exit) = match parse(args) {
            Err(Early::Help(text)) => (text, Exit::Done),
            Err(Early::Mistake(failure)) => (failure.render(json), failure.exit),
            Ok(runtime) => match start(runtime, &Registry::new(), &System::real()) {
                Ok(exit) => (String::new(), exit),
                Err(failure) => (failure.render(json), failure.exit),
            },
        };
        format!("$ fl-runtime {}\n{said}=> {}\n", args.join(" "), exit as u8)
    }

    #[test]
    fn help_teaches_both_roles_and_the_exit_codes() {
        let asked: [&[&str]; 3] = [&["--help"], &["aggregator", "--help"], &["collaborator", "--help"]];
        assert_eq!(asked.map(transcript).concat(), include_str!("cli/help.txt"));
    }

    #[test]
    fn mistakes_are_answered_with_error_hint_and_code() {
        let mistakes: [&[&str]; 11] = [
            &[],
            &["agregator"],
            &["collaborator"],
            &["collaborator", "-n", "One"],
            &["collaborator", "-n", "one", "two"],
            &["aggregator", "-n", "one"],
            &["--json", "collaborator", "start", "--nme", "one"],
            &["collaborator", "start", "-n", "one", "--workspace", "no/such/folder"],
            &["--json", "aggregator", "start", "--workspace", "no/such/folder"],
            &["aggregator", "-v", "--workspace", "no/such/folder", "--json"],
            &["collaborator", "--json", "-n"],
        ];
        assert_eq!(mistakes.map(transcript).concat(), include_str!("cli/mistakes.txt"));
    }

    /// Each run makes a new key.
    fn without_fingerprints(text: &str) -> String {
        let words = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        let word = |word: &str| match word.len() {
            65 => format!("FINGERPRINT{}", &word[64..]),
            24 if word.matches('-').count() == 3 => format!("SHORT{}", &word[23..]),
            _ => word.to_owned(),
        };
        words.map(word).collect()
    }

    #[test]
    fn folder_that_lacks_a_file_is_told_where_the_file_comes_from() {
        let root = std::env::temp_dir().join(format!("fl-runtime-cli-{}", std::process::id()));
        let workspace = root.display().to_string();
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("plan")).unwrap();
        let mut said = String::new();
        let mut run = |args: &[&str]| {
            let text = transcript(&[args, &["--workspace", &workspace]].concat());
            said += &without_fingerprints(&text.replace(&workspace, "W"));
        };
        let plan = include_str!("../../host-tools/src/templates/breast_cancer/plan.yaml");
        fs::write(root.join("plan/plan.yaml"), plan.replace("rounds:", "ronds:")).unwrap();
        run(&["aggregator"]);
        fs::write(root.join("plan/plan.yaml"), plan).unwrap();
        run(&["aggregator"]);
        fs::write(root.join("plan/site.yaml"), include_str!("../../host-tools/src/templates/site.yaml"))
            .unwrap();
        run(&["aggregator"]);
        run(&["--json", "collaborator", "-n", "one"]);
        fs::write(root.join("cert/col_one.crt"), "").unwrap();
        run(&["collaborator", "-n", "one"]);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(said, include_str!("cli/folder.txt"));
    }

    #[test]
    fn help_lists_every_exit_code_with_its_meaning() {
        let early = Runtime::from_args(&["fl-runtime"], &["--help"]).err().unwrap();
        let help = early.output.split_whitespace().collect::<Vec<_>>().join(" ");
        for exit in Exit::ALL {
            let line = format!(" {} {}", exit as u8, exit.meaning());
            assert!(help.contains(&line), "{line}");
        }
    }
}
