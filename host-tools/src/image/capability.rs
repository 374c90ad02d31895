//! Whether the program of an image has what its plan names: the program is asked with `--json --version`.

use std::{
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use fl_engine::plan::{Loader, Plan, Rule, TaskKind};
use serde_json::Value;

use crate::exit::{Exit, Failure};

/// What a program says of itself; `None` for a program that does not run on this machine, or says nothing.
pub(super) struct Capability(Option<Value>);

impl Capability {
    /// Runs the program, for [`LONGEST`] at most.
    pub(super) fn of(program: &Path) -> Self {
        let mut command = Command::new(program);
        command.args(["--json", "--version"]).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let Ok(mut child) = command.spawn() else { return Self(None) };
        let until = Instant::now() + LONGEST;
        while let Ok(None) = child.try_wait() {
            if Instant::now() > until {
                // It may have ended in between.
                let _ = child.kill();
            }
            thread::sleep(Duration::from_millis(5));
        }
        let said =
            child.wait_with_output().ok().and_then(|output| serde_json::from_slice(&output.stdout).ok());
        Self(said)
    }

    /// Compares the plan's names and tasks with the program's. Returns a note where the program does not say
    /// what it has.
    ///
    /// # Errors
    /// [`Exit::Plan`] for the first thing that the program does not have.
    pub(super) fn check(&self, plan: &Plan) -> Result<Option<String>, Failure> {
        let needed = needs(plan);
        let Some(said) = self.0.as_ref().filter(|said| said["adds"].is_object()) else {
            let names: Vec<String> = needed.iter().map(|(_, what, name)| format!("{what} {name}")).collect();
            let note = format!(
                "the binary does not say what it adds to fl-runtime: make sure that it has the {}",
                names.join(", ")
            );
            return Ok((!names.is_empty()).then_some(note));
        };
        let refused = |error: String, hint: &str| Err(Failure::new(Exit::Plan, error).hint(hint));
        for (kind, what, name) in needed {
            let has = said["adds"][kind].as_array().is_some_and(|names| names.iter().any(|has| has == name));
            if !has {
                return refused(
                    format!("the plan needs the {what} {name:?}, which the image's fl-runtime does not have"),
                    "build your own program, which adds it, as a static program, and give the program with --binary",
                );
            }
        }
        let trains = plan.tasks.iter().any(|task| matches!(task.kind, TaskKind::Train(_)));
        if trains && said["trains"] == false {
            return refused(
                "the plan trains, and the image's fl-runtime was built without training".to_owned(),
                "run `ci/build-static train`, or give a static fl-runtime that trains with --binary",
            );
        }
        Ok(None)
    }
}

/// What only a user's crate adds: the kind as the program lists it, a word for it, and the name.
fn needs(plan: &Plan) -> Vec<(&'static str, &'static str, &str)> {
    let mut needs = Vec::new();
    if let Loader::Custom { name } = &plan.data.loader {
        needs.push(("loaders", "data loader", name.as_str()));
    }
    for task in &plan.tasks {
        if let TaskKind::Custom { name, .. } = &task.kind {
            needs.push(("tasks", "task", name.as_str()));
        }
        if let Some(Rule::Custom { name }) = task.kind.rule() {
            needs.push(("rules", "aggregation rule", name.as_str()));
        }
    }
    needs
}

const LONGEST: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plan_that_names_what_the_program_lacks_is_refused() {
        let text = crate::templates::TEMPLATES[0].plan;
        let plain = Plan::parse(text).unwrap();
        let (before, rest) = text.split_once("\ndata:\n").unwrap();
        let (_, after) = rest.split_once("\n\n").unwrap();
        let data = "{loader: custom, name: line, classes: 2, split: {train: 0.8, validation: 0.2, test: 0}}";
        let custom = Plan::parse(&format!("{before}\ndata: {data}\n\n{after}")).unwrap();
        let said = |loaders: &[&str], trains: bool| {
            Capability(Some(
                json!({"trains": trains, "adds": {"loaders": loaders, "tasks": [], "rules": []}}),
            ))
        };
        assert!(matches!(said(&[], true).check(&plain), Ok(None)));
        assert!(matches!(said(&["line"], true).check(&custom), Ok(None)));
        let refused = said(&["lines"], true).check(&custom).unwrap_err();
        assert_eq!(
            refused.error,
            "the plan needs the data loader \"line\", which the image's fl-runtime does not have"
        );
        assert!(said(&[], false).check(&plain).unwrap_err().error.contains("built without training"));
        // A program that cannot be asked.
        let mute = Capability::of(Path::new("/nonexistent"));
        assert!(matches!(mute.check(&plain), Ok(None)));
        assert!(
            mute.check(&custom).unwrap().unwrap().ends_with("make sure that it has the data loader line")
        );
    }
}
