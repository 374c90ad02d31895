//! Labels, inputs and blocks: what they expand to, and what is refused where.

use crate::{
    limits,
    model::ModelSpec,
    plan::{Plan, PlanDraft},
};

fn parse(text: &str) -> ModelSpec {
    ModelSpec::parse(text).unwrap_or_else(|e| panic!("{e}"))
}

fn names(spec: &ModelSpec) -> Vec<&str> {
    spec.layers.iter().filter_map(|layer| layer.name()).collect()
}

/// A plan with this model, which begins in line 5.
fn plan(model: &str) -> String {
    format!(
        "schema: 1\nfederation: small\nrounds: 3\nmodel:\n{model}
data: {{loader: csv, file: a.csv, label: y, classes: 2}}
tasks:
  train: {{kind: train, epochs: 1, batch: 4, optimiser: {{sgd: {{learning_rate: 0.1}}}}, loss: cross_entropy}}
"
    )
}

/// `line:column: message | hint`.
fn refusal(model: &str) -> String {
    let error = Plan::parse(&plan(model)).unwrap_err();
    let hint = error.hint().map(|hint| format!(" | {hint}")).unwrap_or_default();
    format!("{}:{}: {}{hint}", error.line, error.column, error.message)
}

#[test]
fn blocks_become_layers_with_their_names_and_inputs() {
    let spec = parse(RESIDUAL);
    assert_eq!(names(&spec), ["first", "middle.0.body.fc", "middle.1.body.fc", "last.fc"]);
    let words: Vec<&str> = spec.layers.iter().map(|layer| layer.word()).collect();
    let expected = ["linear", "linear", "tanh", "add", "linear", "tanh", "add", "concat", "linear", "relu"];
    assert_eq!(words, expected);
    let from: [&[u32]; 10] = [&[0], &[1], &[2], &[3, 1, 1], &[4], &[5], &[6, 4, 1], &[7, 0], &[8], &[9]];
    assert_eq!(spec.from, from);
    let plan = Plan::parse(&plan(RESIDUAL)).unwrap();
    assert_eq!(plan.model, spec);
    assert_eq!(Plan::from_canonical(&plan.canonical()), Ok(plan));
}

#[test]
fn spelling_is_not_in_the_bytes() {
    let bytes = |text: &str| PlanDraft::parse(&plan(text)).unwrap().canonical();
    let plain = bytes("  input: [2]\n  layers: [{linear: {name: a, out: 2}}, relu]");
    for same in [
        "  input: [2]\n  layers: [{linear: {name: a, out: 2}, as: x, from: input}, {relu: , from: [x]}]",
        "  input: [2]\n  blocks: {b: [{linear: {name: $n, out: 2}}, relu]}\n  layers: [{block: b, n: a}]",
    ] {
        assert_eq!(bytes(same), plain, "{same}");
    }
    let windows =
        |settings: &str| bytes(&format!("  input: [1, 8, 8]\n  layers: [{{max_pool: {{{settings}}}}}]"));
    assert_eq!(windows("kernel: 2"), windows("kernel: [2, 2], stride: 2, padding: [0, 0]"));
    assert_ne!(windows("kernel: 2"), windows("kernel: [2, 3]"));
}

#[test]
fn graphs_bytes_are_what_the_documentation_says() {
    let draft = PlanDraft::parse(&plan(
        "  input: [2]\n  layers: [{linear: {name: a, out: 2}, as: x}, {add: , from: [x, input]}]",
    ));
    let bytes = draft.unwrap().canonical();
    // Field 3 of the model: lists of indices, each in its frame.
    let from = b"\x03\x20\0\0\0\x08\0\0\0\x04\0\0\0\0\0\0\0\x10\0\0\0\x04\0\0\0\x01\0\0\0\x04\0\0\0\0\0\0\0";
    assert!(bytes.windows(from.len()).any(|window| window == from), "{bytes:?}");
    let wide = PlanDraft::parse(&plan(
        "  input: [1, 4, 4]\n  layers: [{conv2d: {name: a, out: 2, kernel: [3, 1], padding: [1, 0]}}]",
    ));
    let bytes = wide.unwrap().canonical();
    let kernel =
        b"\x03\x08\0\0\0\x03\0\0\0\x01\0\0\0\x04\x04\0\0\0\x01\0\0\0\x05\x08\0\0\0\x01\0\0\0\0\0\0\0\x06";
    assert!(bytes.windows(kernel.len()).any(|window| window == kernel), "{bytes:?}");
}

#[test]
fn what_a_graph_gets_wrong_is_refused_with_line_column_and_cure() {
    for (model, expected) in [
        (
            "  input: [2]\n  layers:\n  - {linear: {name: a, out: 2}, as: x1}\n  - {relu: , from: x2}",
            "8:20: no layer above has the label \"x2\" | did you mean \"x1\"?",
        ),
        (
            "  input: [2]\n  layers:\n  - {relu: , from: late}\n  - {linear: {name: a, out: 2}, as: late}",
            "7:20: the label late does not stand above | a layer takes what stands above it: move the layer down",
        ),
        (
            "  input: [2]\n  layers:\n  - {linear: {name: a, out: 2}, from: me, as: me}",
            "7:39: the label me does not stand above | a layer takes what stands above it: move the layer down",
        ),
        (
            "  input: [2]\n  layers:\n  - {linear: {name: a, out: 2}, as: x}\n  - {relu: , as: x}",
            "8:18: two layers have the label x | give each layer a label of its own",
        ),
        (
            "  input: [2]\n  layers:\n  - {linear: {name: a, out: 2}, as: input}",
            "7:37: input cannot be a label | choose another label",
        ),
        (
            "  input: [2]\n  layers:\n  - {linear: {name: a, out: 2}}\n  - {relu: , form: x}",
            "8:20: unknown key \"form\"; beside a layer are allowed: as, from | did you mean \"from\"?",
        ),
        (
            "  input: [2]\n  layers:\n  - {linear: {name: a, out: 2}}\n  - {block: b}",
            "8:13: no block \"b\" stands above | a block uses blocks that stand above it in `blocks`",
        ),
        (
            "  input: [2]\n  blocks:\n    b: [{block: b}]\n  layers: [relu]",
            "7:17: no block \"b\" stands above | a block uses blocks that stand above it in `blocks`",
        ),
        (
            "  input: [2]\n  blocks:\n    b: [{linear: {name: a, out: $out}}]\n  layers:\n  - {block: b}",
            "9:5: the block b needs the argument out | write `out: …` beside `block: b`",
        ),
        (
            "  input: [2]\n  blocks:\n    b: [{linear: {name: a, out: $out}}]\n  layers:\n  - {block: b, out: 2, outs: 3}",
            "9:30: the block b has no argument \"outs\"; it has out | did you mean \"out\"?",
        ),
        (
            "  input: [2]\n  layers:\n  - {linear: {name: a, out: $out}}",
            "7:29: $out stands outside of a block",
        ),
        (
            "  input: [2]\n  blocks:\n    b: [{add: , from: [in, $x]}]\n  layers:\n  - {linear: {name: a, out: 2}}\n  - {block: b, x: 3}",
            "7:28: the argument $x is not a label where the block is used",
        ),
        ("  input: [2]\n  blocks:\n    b: []\n  layers: [relu]", "7:5: the block b has no layers"),
        (
            "  input: [2]\n  layers:\n  - {linear: {name: a, out: 2}, as: x}\n  - {add: , from: []}",
            "8:5: from has 0 labels; it takes 1 to 64",
        ),
        (
            "  input: [2]\n  layers:\n  - {linear: {name: a, out: 2}, as: x}\n  - relu\n  - {relu: , from: x}",
            "8:5: layers[1] (relu) is used by nothing; the output of the model is the last layer | take the layer out, or name it in the `from` of a later layer",
        ),
        (
            "  input: [2]\n  layers:\n  - {linear: {name: a, out: 2, out: 3}}",
            "7:32: the key \"out\" is given twice; first in line 7",
        ),
    ] {
        assert_eq!(refusal(model), expected, "{model}");
    }
}

#[test]
fn fault_inside_a_block_is_told_at_its_use() {
    let model = "  input: [1, 8, 8]
  blocks:
    half: [{conv2d: {name: c, out: 2, kernel: 3}}, {max_pool: {kernel: 2}}]
  layers:
  - {block: half, name: a}
  - {block: half, name: b}
  - {linear: {name: fc, out: 2}}";
    let expected = "10:5: layers[3] (max_pool) is given shape [2, 1, 1] and needs sides of at least 2; \
                    layers[3] is in the block half of the plan's layers[1]";
    assert_eq!(refusal(model), expected);
}

#[test]
fn what_multiplies_is_counted_before_it_is_made() {
    let twice = |n: usize| {
        format!("    b{n}: [{{block: b{}, repeat: 4096}}, {{block: b{}, repeat: 4096}}]\n", n - 1, n - 1)
    };
    let blocks = |depth: usize| (1..depth).map(twice).collect::<String>();
    let model = |depth: usize| {
        format!(
            "  input: [2]\n  blocks:\n    b0: [relu]\n{}  layers:\n  - {{block: b{}, repeat: 4096}}",
            blocks(depth),
            depth - 1
        )
    };
    let refused = refusal(&model(limits::BLOCK_DEPTH));
    assert!(
        refused.contains("model.layers stands for 18446744073709551615 layers; a model has 1 to 4096"),
        "{refused}"
    );
    let refused = refusal(&model(limits::BLOCK_DEPTH + 1));
    assert!(refused.contains("the block b8 has 9 blocks inside each other; at most 8 are"), "{refused}");
    let just =
        "  input: [2]\n  blocks: {b: [{linear: {name: a, out: 2}}]}\n  layers: [{block: b, repeat: 4096}]";
    assert_eq!(Plan::parse(&plan(just)).unwrap().model.layers.len(), 4096);
}

#[test]
fn arguments_that_multiply_are_counted_before_they_are_copied() {
    let list = |count: usize| vec!["$x"; count].join(", ");
    let model = |count: usize| {
        let list = list(count);
        format!(
            "  input: [2]\n  blocks:\n    b0: [{{linear: {{name: a, out: $x}}}}]\n    b1: [{{block: b0, x: [{list}]}}]\n    \
             b2: [{{block: b1, x: [{list}]}}]\n  layers: [{{block: b2, x: 1}}]"
        )
    };
    let refused = refusal(&model(64));
    let expected = "model.blocks.b1[0].x stands for more than 256 values, the most of a layer or an argument";
    assert!(refused.contains(expected), "{refused}");
    let refused = refusal(&model(8));
    assert!(!refused.contains("stands for"), "8 lists of 8 are few: {refused}");
}

const RESIDUAL: &str = "
  input: [8]
  blocks:
    dense:
    - {linear: {name: fc, out: $out}}
    - $activation
    residual:
    - {block: dense, name: body, out: $width, activation: tanh, as: y}
    - {add: , from: [y, in, $skip]}
  layers:
  - {linear: {name: first, out: 8}, as: x0}
  - {block: residual, name: middle, repeat: 2, width: 8, skip: x0, as: x1}
  - {concat: , from: [x1, input]}
  - {block: dense, name: last, out: 2, activation: relu}";
