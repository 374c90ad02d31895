//! The `tasks` key.

use super::aggregation::{rule, server, threshold};
use crate::plan::fault::ranges;
use crate::plan::field::{Field, Section};
use crate::plan::{
    Loss, Metric, ModelUnderTest, Optimiser, PlanError, Rule, TaskKind, TaskSpec, TrainLength, TrainSpec,
};
use crate::{Name, limits};

/// Tasks in the file's order.
pub(super) fn tasks(field: &Field<'_>) -> Result<Vec<TaskSpec>, PlanError> {
    let tasks = field.named("a map from a task's name to its settings")?;
    field.at_most(tasks.len(), limits::TASKS)?;
    tasks.into_iter().map(|(name, field)| task(name, &field)).collect()
}

fn task(name: Name, field: &Field<'_>) -> Result<TaskSpec, PlanError> {
    let aggregation = ["rule", "server", "threshold"];
    let keys = |own: &[&'static str]| [own, &aggregation].concat();
    let train_keys = keys(&["epochs", "steps", "batch", "optimiser", "loss", "fedprox_mu", "metrics"]);
    let (synthetic_keys, custom_keys) = (keys(&["weight"]), keys(&["name", "metrics"]));
    let (kind, task) = field.tagged(
        "kind",
        &[],
        &[
            ("train", &train_keys),
            ("validate", &["model", "metrics"]),
            ("synthetic", &synthetic_keys),
            ("custom", &custom_keys),
        ],
    )?;
    let kind = match kind {
        "train" => TaskKind::Train(train(&task)?),
        "validate" => TaskKind::Validate(task.required("model")?.choice(&[
            ("aggregated", ModelUnderTest::Aggregated),
            ("locally_tuned", ModelUnderTest::LocallyTuned),
        ])?),
        "synthetic" => TaskKind::Synthetic {
            weight: task.or("weight", 1, |f| f.whole(&ranges::WEIGHT))?,
            rule: task.optional("rule").map(|f| rule(&f)).transpose()?,
        },
        _ => TaskKind::Custom {
            name: task.required("name")?.text()?.to_owned(),
            rule: task.optional("rule").map(|f| rule(&f)).transpose()?,
        },
    };
    let metrics = task.or("metrics", Vec::new(), |f| {
        f.list("a list of metrics: accuracy, loss, auc, rmse")?.iter().map(Metric::read).collect()
    })?;
    let server = task.optional("server").map(|f| server(&f)).transpose()?;
    let threshold = task.optional("threshold").map(|f| threshold(&f)).transpose()?;
    Ok(TaskSpec { name, kind, metrics, server, threshold })
}

fn train(task: &Section<'_>) -> Result<TrainSpec, PlanError> {
    let length = match (task.optional("epochs"), task.optional("steps")) {
        (Some(epochs), None) => TrainLength::Epochs(epochs.whole(&ranges::LENGTH)?),
        (None, Some(steps)) => TrainLength::Steps(steps.whole(&ranges::LENGTH)?),
        (None, None) => {
            let path = &task.field().path;
            return Err(task.field().error(format!("{path} needs either epochs or steps")));
        }
        (Some(_), Some(steps)) => {
            let path = &task.field().path;
            return Err(steps.error(format!("{path} has both epochs and steps; it takes one of them")));
        }
    };
    Ok(TrainSpec {
        length,
        batch: task.required("batch")?.whole(&ranges::BATCH)?,
        optimiser: optimiser(&task.required("optimiser")?)?,
        loss: task.required("loss")?.choice(&[
            ("cross_entropy", Loss::CrossEntropy),
            ("binary_cross_entropy", Loss::BinaryCrossEntropy),
            ("mse", Loss::Mse),
        ])?,
        fedprox_mu: task.or("fedprox_mu", 0.0, Field::single)?,
        rule: task.or("rule", Rule::WeightedMean, rule)?,
    })
}

fn optimiser(field: &Field<'_>) -> Result<Optimiser, PlanError> {
    let (kind, settings) = field.variant(&["sgd", "adam", "adamw"])?;
    let Some(settings) = settings else {
        let hint = Some(format!("write {{{kind}: {{learning_rate: 0.01}}}}"));
        return Err(field.error(format!("{kind} needs a learning_rate")).with_hint(hint));
    };
    let of = |keys: &[&str]| settings.section(keys);
    let learning_rate = |s: &Section<'_>| s.required("learning_rate")?.number();
    match kind {
        "sgd" => {
            let s = of(&["learning_rate", "momentum", "weight_decay"])?;
            Ok(Optimiser::Sgd {
                learning_rate: learning_rate(&s)?,
                momentum: s.or("momentum", 0.0, Field::number)?,
                weight_decay: s.or("weight_decay", 0.0, Field::number)?,
            })
        }
        "adam" => Ok(Optimiser::Adam { learning_rate: learning_rate(&of(&["learning_rate"])?)? }),
        _ => {
            let s = of(&["learning_rate", "weight_decay"])?;
            // PyTorch's default.
            let weight_decay = s.or("weight_decay", 0.01, Field::number)?;
            Ok(Optimiser::AdamW { learning_rate: learning_rate(&s)?, weight_decay })
        }
    }
}
