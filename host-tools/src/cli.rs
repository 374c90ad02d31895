//! The command line: argh's structs, and one line of dispatch for each area of commands.
//!
//! [`run`] takes arguments and returns text, so that tests can pin what each command prints.

mod attest;
mod data;
mod image;
mod manual;
mod model;
mod pki;
mod plan;
mod sgx;
#[cfg(test)]
mod transcript;
mod workspace;

use std::path::PathBuf;

use argh::{EarlyExit, FromArgs};
use fl_runtime::internal::{cli::usage, observe::json_line, version};
use serde_json::Value;

use crate::{
    demo,
    exit::{Exit, Failure},
    workspace::Trial,
};

/// What a command prints, and how it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// For standard output.
    pub out: String,
    /// For standard error.
    pub err: String,
    /// The exit code.
    pub exit: Exit,
}

/// Tools for the owner and the sites of a federation: workspaces, plans, models, keys, images and enclaves.
#[derive(FromArgs)]
#[argh(
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
    error_code(16, "the evidence about an enclave, or its collateral, is refused"),
    note = "fl-host and fl-runtime share these exit codes. Only fl-runtime ends with 9, 10, 12, 13 or 15."
)]
struct Host {
    /// print the result or the failure as one JSON object
    #[argh(switch)]
    json: bool,
    /// print version, commit and toolchain of this build, then exit
    #[argh(switch)]
    #[expect(dead_code, reason = "answered before argh asks for a command; here for --help")]
    version: bool,
    #[argh(subcommand)]
    area: Area,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Area {
    Demo(DemoArea),
    Workspace(workspace::WorkspaceArea),
    Plan(plan::PlanArea),
    Data(data::DataArea),
    Model(model::ModelArea),
    Pki(pki::PkiArea),
    Image(image::ImageArea),
    Sgx(sgx::SgxArea),
    Attest(attest::AttestArea),
    Manual(manual::ManualArea),
}

/// Run a whole federation on this machine, from an empty folder to a trained model.
#[derive(FromArgs)]
#[argh(subcommand, name = "demo")]
struct DemoArea {
    /// a template that `fl-host workspace templates` lists; breast_cancer by default
    #[argh(option, default = "DEMO_TEMPLATE.to_owned()")]
    template: String,
    /// number of collaborators; 3 by default
    #[argh(option, default = "Trial::default().collaborators")]
    collaborators: usize,
    /// number of rounds; the template's number by default
    #[argh(option)]
    rounds: Option<u32>,
    /// what carries the links: auto, quic or tcp; auto by default
    #[argh(option, default = "\"auto\".to_owned()")]
    link: String,
    /// the new folder; by default the first of fl-demo, fl-demo-2, … that does not exist yet
    #[argh(option)]
    dir: Option<PathBuf>,
    /// print one JSON object for each round, and a last one for the whole run
    #[argh(switch)]
    json: bool,
}

/// A command's result: lines for people, and the same as JSON.
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) json: Value,
}

/// Runs `fl-host` with these arguments, the program's name left out.
#[must_use]
pub fn run(args: &[&str]) -> Outcome {
    if matches!(args, ["--version"] | ["--json", "--version"] | ["--version", "--json"]) {
        let out = match args {
            ["--version"] => version::text("fl-host", COMMIT, TOOLCHAIN),
            _ => json_line(&version::json("fl-host", COMMIT, TOOLCHAIN)),
        };
        return Outcome { out, err: String::new(), exit: Exit::Done };
    }
    let (answer, json) = match parse(args) {
        Ok(Host { area: Area::Demo(area), json, .. }) => {
            // `--json` is taken before and after this command's name.
            let json = json || area.json;
            (demonstrate(area, json), json)
        }
        Ok(Host { area, json, .. }) => (answer(area), json),
        Err(early) if early.status.is_ok() => {
            return Outcome { out: early.output, err: String::new(), exit: Exit::Done };
        }
        Err(early) => (Err(misused(&early, args)), args.contains(&"--json")),
    };
    match answer {
        Ok(answer) => {
            let out = if json { json_line(&answer.json) } else { answer.text };
            Outcome { out, err: String::new(), exit: Exit::Done }
        }
        Err(failure) => Outcome { out: String::new(), err: failure.render(json), exit: failure.exit },
    }
}

/// Runs one command and returns its result as `--json` prints it.
///
/// # Errors
/// The command's failure; [`Exit::Usage`] for arguments that are no command, and for `--help`.
pub fn result(args: &[&str]) -> Result<Value, Failure> {
    let host = parse(args).map_err(|early| misused(&early, args))?;
    answer(host.area).map(|answer| answer.json)
}

fn answer(area: Area) -> Result<Answer, Failure> {
    match area {
        Area::Demo(area) => demonstrate(area, true),
        Area::Model(area) => model::run(&area),
        Area::Pki(area) => pki::run(&area),
        Area::Plan(area) => plan::run(&area),
        Area::Data(area) => data::run(&area),
        Area::Workspace(area) => workspace::run(&area),
        Area::Image(area) => image::run(&area),
        Area::Sgx(area) => sgx::run(&area),
        Area::Attest(area) => attest::run(&area),
        Area::Manual(area) => manual::run(&area),
    }
}

/// The only command that prints something before it ends.
fn demonstrate(area: DemoArea, json: bool) -> Result<Answer, Failure> {
    let DemoArea { template, collaborators, rounds, link, dir, .. } = area;
    let shown = demo::run(&demo::Options { template, collaborators, rounds, link, dir, json }, &result)?;
    Ok(Answer { text: shown.text, json: shown.json })
}

/// Takes `--json` before and after the command.
fn parse(args: &[&str]) -> Result<Host, EarlyExit> {
    // What can be read as it stands is read so: the value of an option may look like an option.
    Host::from_args(&["fl-host"], args).or_else(|early| match usage::options_first(args, &["--json"]) {
        Some(moved) if early.status.is_err() => Host::from_args(&["fl-host"], &moved),
        _ => Err(early),
    })
}

fn misused(early: &EarlyExit, args: &[&str]) -> Failure {
    let help = |words: &[&str]| {
        let early = Host::from_args(&["fl-host"], &[words, &["--help"]].concat()).err()?;
        early.status.is_ok().then_some(early.output)
    };
    let own = usage::usage_line(args, help).map(|line| format!("the command is `{line}`"));
    Failure::of_usage(&early.output)
        .hint("`fl-host --help` lists the commands; `fl-host COMMAND --help` explains one of them")
        .maybe_hint(own)
}

/// From the build script.
const COMMIT: Option<&str> = option_env!("FL_HOST_COMMIT");
const TOOLCHAIN: Option<&str> = option_env!("FL_HOST_TOOLCHAIN");

const DEMO_TEMPLATE: &str = "breast_cancer";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::scratch;

    /// Standard output, standard error and exit code, as a terminal shows them.
    fn transcript(args: &[&str]) -> String {
        let said = run(args);
        format!("{}{}=> {}\n", said.out, said.err, said.exit as u8)
    }

    #[test]
    fn help_lists_commands_and_exit_codes() {
        assert_eq!(transcript(&["--help"]), include_str!("cli/help.txt"));
        assert_eq!(transcript(&["workspace", "create", "--help"]), include_str!("cli/help_create.txt"));
    }

    #[test]
    fn help_lists_every_exit_code_with_its_meaning() {
        let help = run(&["--help"]).out.split_whitespace().collect::<Vec<_>>().join(" ");
        for exit in Exit::ALL {
            let line = format!(" {} {}", exit as u8, exit.meaning());
            assert!(help.contains(&line), "{line}");
        }
    }

    #[test]
    fn version_says_of_what_the_program_was_made() {
        let said = run(&["--version"]);
        assert!(said.out.starts_with("fl-host ") && said.out.contains("toolchain  rustc "), "{}", said.out);
        let json: serde_json::Value = serde_json::from_str(&run(&["--json", "--version"]).out).unwrap();
        assert_eq!(json["program"], "fl-host");
    }

    #[test]
    fn templates_are_listed() {
        assert_eq!(transcript(&["workspace", "templates"]), include_str!("cli/templates.txt"));
    }

    #[test]
    fn created_workspace_is_reported_and_not_made_twice() {
        let root = scratch("transcript").join("w");
        let path = root.display().to_string();
        let args = ["workspace", "create", "--prefix", &path, "--template", "digits"];
        let twice = transcript(&args) + &transcript(&args);
        assert_eq!(twice.replace(&path, "W"), include_str!("cli/create_twice.txt"));
    }

    #[test]
    fn mistakes_are_answered_with_error_hint_and_code() {
        let mistakes = [
            transcript(&["workspace", "crate"]),
            transcript(&["workspace", "create", "--prefix", "w", "--template", "iris"]),
            transcript(&["--json", "workspace", "create", "--prefix", "w", "--template", "iris"]),
            transcript(&[
                "workspace",
                "create",
                "--prefix",
                "w",
                "--template",
                "digits",
                "--federation",
                "A B",
            ]),
        ];
        assert_eq!(mistakes.concat(), include_str!("cli/mistakes.txt"));
    }
}
