//! The keys at the top of `plan.yaml`. The tables below each stand with the key's type.

use super::{
    Backend, MetricsTo, OptimiserState, attestation, best, data, exact, groups, keep, network, quorum,
    release, resources, seal, stop, task,
};
use crate::settings::{self, Absent, Key, KeyReference, PlanError, Section, Takes, Text};

/// Every key of `plan.yaml`, from the tables by which a plan is read.
#[must_use]
pub fn reference() -> Vec<KeyReference> {
    settings::reference(KEYS)
}

/// Refuses a file of another schema, before anything else of it is read.
pub(super) fn check_schema(file: &Section<'_>) -> Result<(), PlanError> {
    let hint = || Some("this program reads schema 1 only".to_owned());
    file.get::<u32>("schema").map(drop).map_err(|e| e.with_hint(hint()))
}

/// The whole file.
pub(super) const KEYS: &[Key] = &[
    SCHEMA,
    Key {
        name: "federation",
        takes: Takes::Text(Text::Name("name")),
        absent: Absent::Refused,
        meaning: "The name of the federation. It is part of every certificate.",
        example: "hospitals",
    },
    Key {
        name: "ca",
        takes: Takes::Other { kind: "64 hex digits, or nothing", words: &[] },
        absent: Absent::Means("`fl-host plan initialize` has not set it yet"),
        meaning: "SHA-256 of the federation CA's certificate (DER). `fl-host plan initialize` writes it.",
        example: "\"704a262f76d0d2f43ea5903a9f38574f0fe7addc07bccf22815b9b13a1439e63\"",
    },
    Key {
        name: "rounds",
        takes: Takes::Whole { least: 1, most: 1_000_000, unit: "rounds" },
        absent: Absent::Refused,
        meaning: "How many rounds are run.",
        example: "10",
    },
    Key {
        name: "seed",
        takes: Takes::Whole { least: 0, most: u64::MAX, unit: "" },
        absent: Absent::Default("0"),
        meaning: "Seed of the first values of the model, of each collaborator's split of its rows, and of what its tasks draw \
                  at random. The draw of `sample` uses a secret of the aggregator in place of this seed.",
        example: "7",
    },
    Key {
        name: "model",
        takes: Takes::Tagged(network::TAGGED),
        absent: Absent::Refused,
        meaning: "The model: its layers, or a named network.",
        example: "{network: mlp, input: [30], hidden: [16], outputs: 2}",
    },
    Key {
        name: "data",
        takes: Takes::Tagged(data::TAGGED),
        absent: Absent::Refused,
        meaning: "How a collaborator reads its data folder. Each collaborator names its own folder in plan/data.yaml.",
        example: "{loader: csv, file: data.csv, label: diagnosis, classes: 2}",
    },
    Key {
        name: "tasks",
        takes: Takes::Names {
            kind: "a map from a task's name to its settings",
            of: &Takes::Tagged(task::TAGGED),
        },
        absent: Absent::Refused,
        meaning: "What collaborators do in each round, in this order.",
        example: "{train: {kind: train, epochs: 1, batch: 16, optimiser: {sgd: {learning_rate: 0.1}}, \
                  loss: cross_entropy}}",
    },
    Key {
        name: "groups",
        takes: Takes::Names {
            kind: "a map from a group's name to its collaborators and tasks",
            of: &Takes::Section(groups::KEYS),
        },
        absent: Absent::Means("one group `all`: every task, for every collaborator"),
        meaning: "Which collaborators run which tasks.",
        example: "{some: {collaborators: [one, two], tasks: [train]}}",
    },
    Key {
        name: "quorum",
        takes: Takes::Section(quorum::KEYS),
        absent: Absent::Default("{}"),
        meaning: "When a round may close.",
        example: "{count: {min: 2}, time: {max: 5m}}",
    },
    Key {
        name: "sample",
        takes: quorum::MEMBERS,
        absent: Absent::Means("every collaborator is asked"),
        meaning: "How many collaborators each round asks. The aggregator draws the collaborators at random.",
        example: "2",
    },
    Key {
        name: "optimiser_state",
        takes: Takes::Word(OptimiserState::TABLE),
        absent: Absent::Default("reset"),
        meaning: "What becomes of the state of a local optimiser (momentum, moments) at the start of a round.",
        example: "continue_local",
    },
    Key {
        name: "hold_out",
        takes: Takes::List {
            kind: "a list of tensor names; a final * stands for any ending",
            of: &Takes::Text(Text::Any("name of a tensor")),
        },
        absent: Absent::Default("[]"),
        meaning: "Tensors that are not aggregated: each collaborator keeps its own values. `fl-host model show` lists the \
                  names.",
        example: "[\"norm1.*\", fc1.bias]",
    },
    Key {
        name: "exact",
        takes: Takes::Section(exact::KEYS),
        absent: Absent::Default("{}"),
        meaning: "Range of the exact sum of updates.",
        example: "{value_bits: 20, weight_bits: 27}",
    },
    Key {
        name: "best",
        takes: Takes::Section(best::KEYS),
        absent: Absent::Means("the first metric of the first task that reports one in every round"),
        meaning: "What makes a model the best so far. The aggregator keeps the best model beside the last.",
        example: "{task: aggregated_model_validation, metric: accuracy}",
    },
    Key {
        name: "stop",
        takes: Takes::Section(stop::KEYS),
        absent: Absent::Means("every round is run"),
        meaning: "When the run ends before its last round, by the metric of `best`. The final model is measured, and the \
                  best model is released.",
        example: "{patience: 5, target: 0.95}",
    },
    Key {
        name: "limits",
        takes: Takes::Section(resources::LIMITS),
        absent: Absent::Default("{}"),
        meaning: "Memory and disk that the aggregator may take, and rows that one collaborator may claim.",
        example: "{memory: 1GiB, spill: 16GiB, rows: 1000}",
    },
    Key {
        name: "threads",
        takes: Takes::Section(resources::THREADS),
        absent: Absent::Default("{}"),
        meaning: "The most threads of each role. A machine with fewer processors, or with `threads` in its site file, takes fewer for \
                  `cpu`.",
        example: "{link: 2, cpu: 4}",
    },
    Key {
        name: "metrics",
        takes: Takes::Word(MetricsTo::TABLE),
        absent: Absent::Default("members"),
        meaning: "Who may read the metrics of a round, which are means over its collaborators.",
        example: "host",
    },
    Key {
        name: "release",
        takes: Takes::Section(release::KEYS),
        absent: Absent::Means(
            "no model leaves: each role keeps its models in save/, encrypted in an enclave",
        ),
        meaning: "Which models leave the aggregator, and who can read them.",
        example: "{what: last, to: members}",
    },
    Key {
        name: "keep",
        takes: Takes::Section(keep::KEYS),
        absent: Absent::Means("the last two rounds alone"),
        meaning: "Which finished rounds the aggregator keeps in save/kept. `fl-host pki resume` can take the run back to a \
                  kept round, and leave out a site from there. `fl-host plan check` shows the disk space.",
        example: "{every: 10}",
    },
    Key {
        name: "enclave",
        takes: Takes::Section(seal::KEYS),
        absent: Absent::Default("{}"),
        meaning: "Settings of enclaves.",
        example: "{seal: mrsigner}",
    },
    Key {
        name: "backend",
        takes: Takes::Word(Backend::TABLE),
        absent: Absent::Default("own"),
        meaning: "What computes the model at collaborators.",
        example: "burn",
    },
    Key {
        name: "attestation",
        takes: Takes::Section(attestation::KEYS),
        absent: Absent::Default("{}"),
        meaning: "Whose enclave proves at every link which program runs there. The section `attestation` of the roster says \
                  which programs and machines are accepted.",
        example: "{aggregator: required, collaborators: required}",
    },
];
/// The schema's number, in this file and in `site.yaml`.
pub(super) const SCHEMA: Key = Key {
    name: "schema",
    takes: Takes::Whole { least: 1, most: 1, unit: "" },
    absent: Absent::Refused,
    meaning: "Version of the file's form.",
    example: "1",
};
