//! The converted plan as text, with comments where a person has to write.

use std::fmt::Write as _;

use super::rules::{Found, Kind, Task};

pub(super) fn plan(found: &Found) -> String {
    let mut out = String::from(
        "# Converted from an OpenFL plan. Each `fill_in` stands for Python code: replace each of them, and run\n\
         # `fl-host plan check`.\n\
         schema: 1\n\n\
         # The federation's name. Every certificate contains it.\nfederation: imported\nca:\n\n",
    );
    let mut line = |text: String| {
        let _ = writeln!(out, "{text}");
    };
    line(format!("rounds: {}\nseed: 7\n", found.rounds.unwrap_or(10)));
    line(
        "# The network: {network: mlp, input: [30], hidden: [16], outputs: 2}, {network: cnn, …}, or\n\
         # {input: […], layers: […]}. To start from trained weights: `plan initialize --init-model X.safetensors`.\n\
         model: fill_in\n"
            .to_owned(),
    );
    line(
        "# How a collaborator reads its folder: {loader: csv, file: data.csv, label: NAME, classes: 2}, or npy, npz,\n\
         # idx, custom.\n\
         data: fill_in\n"
            .to_owned(),
    );
    line("tasks:".to_owned());
    found.tasks.iter().for_each(|t| line(task(t, found.batch)));
    if found.groups.len() > 1
        || found.groups.iter().any(|(_, members, tasks)| members.is_some() || tasks.len() < found.tasks.len())
    {
        line("\ngroups:".to_owned());
        for (name, members, tasks) in &found.groups {
            let members = members
                .as_ref()
                .map(|names| format!("collaborators: [{}], ", quoted(names)))
                .unwrap_or_default();
            line(format!("  \"{name}\": {{{members}tasks: [{}]}}", quoted(tasks)));
        }
    }
    let time = found.time_max.map_or_else(|| "10m".to_owned(), |seconds| format!("{seconds}s"));
    line(format!(
        "\nquorum: {{count: {{min: {}}}, time: {{min: 0s, max: {time}}}}}",
        found.count_min.unwrap_or(1)
    ));
    line(format!("optimiser_state: {}", found.optimiser_state.unwrap_or("reset")));
    if !found.hold_out.is_empty() {
        line(format!("hold_out: [{}]", quoted(&found.hold_out)));
    }
    out
}

fn task(task: &Task, batch: Option<u64>) -> String {
    let metrics = task.metrics.join(", ");
    match task.kind {
        Kind::Validate { tuned } => {
            let model = if tuned { "locally_tuned" } else { "aggregated" };
            format!("  \"{}\": {{kind: validate, model: {model}, metrics: [{metrics}]}}", task.name)
        }
        Kind::Train { epochs, steps, batch: own } => {
            let length = match steps {
                Some(steps) => format!("steps: {steps}"),
                None => format!("epochs: {}", epochs.unwrap_or(1)),
            };
            let batch = own.or(batch).unwrap_or(32);
            let server = task.aggregation.server.as_ref().map(|server| format!("\n    server: {server}"));
            let comment = task.aggregation.comment.map(|comment| format!("\n    # {comment}"));
            let (server, comment) = (server.unwrap_or_default(), comment.unwrap_or_default());
            format!(
                "  \"{}\":\n    kind: train\n    {length}\n    batch: {batch}\n    \
                 # {{sgd: {{learning_rate: 0.01, momentum: 0.9}}}}, {{adam: {{…}}}} or {{adamw: {{…}}}}\n    \
                 optimiser: fill_in\n    # cross_entropy, binary_cross_entropy or mse\n    loss: fill_in\n    \
                 metrics: [{metrics}]\n    rule: {}{server}{comment}",
                task.name, task.aggregation.rule
            )
        }
    }
}

/// JSON's strings are YAML's too.
fn quoted(texts: &[String]) -> String {
    texts.iter().map(|text| serde_json::Value::from(text.as_str()).to_string()).collect::<Vec<_>>().join(", ")
}
