//! What a validation measures on, and when.

use serde::Serialize;

use super::{ModelUnderTest, PlanDraft, TaskKind, TaskSpec, task};
use crate::settings::{Absent, Checked, Fault, Key, Takes, check, words};

words! {
    /// The rows that a validation measures on.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
    pub enum Rows {
        /// The share `validation` of data.split.
        #[default]
        Validation = "validation",
        /// The share `test` of data.split, which nothing else reads.
        Test = "test",
    }
}

words! {
    /// When a validation runs.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
    pub enum When {
        /// In every round, and on the final model.
        #[default]
        Always = "always",
        /// On the final model alone.
        End = "end",
    }
}

/// Checks a validation's rows, and that nothing decides by a task of the end.
pub(super) fn check_in(plan: &PlanDraft, task: &TaskSpec) -> Checked {
    let TaskKind::Validate(model) = &task.kind else { return Ok(()) };
    let share = if task.rows == Rows::Test { plan.data.split.test } else { plan.data.split.validation };
    if share <= 0.0 {
        let (key, name) = (task.rows.word(), &task.name);
        let message = format!("data.split.{key} is 0, and the task {name} needs {key} rows");
        return Err(Fault::new(format!("data/split/{key}"), message));
    }
    if let Some(loss) = &task.loss {
        check(task::VALIDATE, &task.path("loss"), loss)?;
        if *loss != plan.loss() {
            let message = format!("the task {} has the loss {}, and validations report {}", task.name, loss.word(), plan.loss().word());
            let hint = "remove loss from the validation: it reports the loss of the first task that trains".to_owned();
            return Err(Fault::new(task.path("loss"), message).hint(Some(hint)));
        }
    }
    if task.when == When::Always {
        return Ok(());
    }
    if *model == ModelUnderTest::LocallyTuned {
        let message =
            format!("the task {} measures the locally tuned model, which the end does not have", task.name);
        let hint = "write model: aggregated, or leave out when".to_owned();
        return Err(Fault::new(task.path("when"), message).hint(Some(hint)));
    }
    let judges =
        |other: &TaskSpec| other.threshold.as_ref().is_some_and(|threshold| threshold.task == task.name);
    let (path, what) = match () {
        () if plan.best.task == task.name => {
            ("best/task".to_owned(), "best compares the models of all rounds")
        }
        () if plan.tasks.iter().any(judges) => {
            (task.path("when"), "a threshold asks for the task in every round")
        }
        () => return Ok(()),
    };
    let message = format!("the task {} runs at the end alone, and {what}", task.name);
    Err(Fault::new(path, message).hint(Some("name a task that runs in every round".to_owned())))
}

pub(super) const ROWS: Key = Key {
    name: "rows",
    takes: Takes::Word(Rows::TABLE),
    absent: Absent::Default("validation"),
    meaning: "The rows that the task measures on.",
    example: "test",
};

pub(super) const WHEN: Key = Key {
    name: "when",
    takes: Takes::Word(When::TABLE),
    absent: Absent::Default("always"),
    meaning: "When the task runs.",
    example: "end",
};
