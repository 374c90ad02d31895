//! A collaborator that misbehaves, for `tests/hostile.rs`: `hostile FOLDER NAME MISDEED…`.
//!
//! For each misdeed this program makes a link with NAME's certificate out of the workspace FOLDER, introduces
//! itself, takes tasks and models as a collaborator should, and does one thing wrong. What the aggregator
//! answers goes to standard output, one JSON object a line, with the misdeed in each. The program speaks the
//! wire's messages over the bare streams of a link, so that no session of the runtime keeps it from a fault.
//! The key `link` of the workspace's site file chooses what carries the links: TCP with `tcp`, else QUIC.

mod deeds;
mod link;
mod misdeed;
mod workspace;

use std::{path::Path, process::ExitCode, time::Duration};

use serde_json::{Value, json};
use tokio::{runtime::Builder, time::timeout};

use misdeed::Misdeed;
use workspace::Workspace;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, name, misdeeds @ ..] = args.as_slice() else {
        eprintln!("usage: hostile FOLDER NAME MISDEED…");
        return ExitCode::from(2);
    };
    match run(Path::new(folder), name, misdeeds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(folder: &Path, name: &str, misdeeds: &[String]) -> Result<(), Failure> {
    let misdeeds = misdeeds.iter().map(|word| word.parse()).collect::<Result<Vec<Misdeed>, _>>()?;
    let workspace = Workspace::open(folder, name)?;
    Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(async {
        for misdeed in misdeeds {
            let done = timeout(LONGEST, deeds::commit(&workspace, misdeed)).await;
            done.map_err(|_| format!("{misdeed} does not end"))?.map_err(|e| format!("{misdeed}: {e}"))?;
            say(misdeed, json!({"event": "done"}));
        }
        Ok(())
    })
}

/// Prints a line about the misdeed.
fn say(misdeed: Misdeed, mut line: Value) {
    line["misdeed"] = misdeed.to_string().into();
    println!("{line}");
}

/// No misdeed takes longer.
const LONGEST: Duration = Duration::from_secs(45);
