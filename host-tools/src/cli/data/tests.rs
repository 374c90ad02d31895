//! What the commands say of tables that are good, odd and bad.

use std::fs;

use crate::{cli::transcript::transcript, files::tests::scratch};

#[test]
fn data_commands_answer_as_their_transcript_says() {
    let root = scratch("data-cli");
    for (file, text) in [
        ("w/plan/plan.yaml", PLAN),
        ("w/plan/data.yaml", "one: ../one\ntwo: ../two\n"),
        ("one/d.csv", GOOD),
        ("two/d.csv", GOOD),
        ("swapped/d.csv", &GOOD.replace("age,dose", "dose,age")),
        ("bad/d.csv", "age,dose,sick\n61,12o,yes\n,95,maybe\n70,inf,yes\n"),
        ("tables/a.csv", "name;height;note\nAnna;1,71;\nBert;1,84;tall\nÇem;NA;\n"),
        ("tables/b.tsv.gz", "not packed\n"),
        ("tables/c.txt", "5.1 3.5 setosa\n4.9 3.0 setosa\n7.0 3.2 versicolor\n"),
        ("tables/d.csv", "a,b\n1,2,3\n"),
        ("empty/read.me", "no table\n"),
    ] {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let mut found = transcript(
        &root,
        &[
            "data --help",
            "data describe D/tables",
            "--json data describe D/tables",
            "data describe D/empty",
            "data describe D/one --workspace D/w",
            "--json data describe D/one --workspace D/w",
            "data describe D/none --workspace D/w",
            "data check --workspace D/w",
            "--json data check --workspace D/w -n two",
            "data check --workspace D/w -n three",
            "data check --workspace D/w --data D/bad -n one",
            "data check --workspace D/w --data D/one",
        ],
    );
    fs::write(root.join("w/plan/data.yaml"), "one: ../one\ntwo: ../swapped\n").unwrap();
    found += &transcript(&root, &["data check --workspace D/w"]);
    assert_eq!(found, include_str!("../data.txt"));
}

const PLAN: &str = "schema: 1
federation: w
rounds: 1
model: {network: mlp, input: [2], outputs: 2}
data:
  loader: csv
  file: d.csv
  label: sick
  classes: 2
  labels: {no: 0, yes: 1}
  missing: {drop_row: 1}
  split: {train: 0.5, validation: 0.25, test: 0.25}
tasks:
  train: {kind: train, epochs: 1, batch: 1, optimiser: {sgd: {learning_rate: 0.1}}, loss: cross_entropy}
";

/// Eight rows; one value is missing.
const GOOD: &str = "age,dose,sick
61,120,yes
48,95,no
70,,yes
55,101,no
39,88,no
66,131,yes
52,99,no
58,117,yes
";
