//! Shapes that follow and shapes that do not fit.

use super::{
    super::tests::{every_layer, linear},
    *,
};

fn shapes(input: &[u32], layers: Vec<Layer>) -> Result<Vec<Vec<u32>>, String> {
    let spec = ModelSpec::chain(input.to_vec(), layers);
    place(&spec).map(|p| p.into_iter().map(|p| p.output).collect()).map_err(|e| e.to_string())
}

fn conv(kernel: u32, stride: u32, padding: u32) -> Layer {
    one(&format!("{{conv2d: {{name: c, out: 4, kernel: {kernel}, stride: {stride}, padding: {padding}}}}}"))
}

/// One layer as a plan has it.
fn one(text: &str) -> Layer {
    ModelSpec::parse(&format!("{{input: [1], layers: [{text}]}}")).unwrap().layers.remove(0)
}

/// The output, or the refusal, of a model after a layer with parameters.
fn output_of(input: &str, layers: &str) -> String {
    let text = format!("{{input: {input}, layers: [{{batch_norm: {{name: first}}, as: a}}, {layers}]}}");
    let spec = ModelSpec::parse(&text).unwrap_or_else(|e| panic!("{layers}: {e}"));
    output_shape(&spec).map_or_else(|e| e.to_string(), |shape| format!("{shape:?}"))
}

#[test]
fn shapes_follow_from_layer_to_layer() {
    let spec = every_layer();
    let outputs: Vec<Vec<u32>> = place(&spec).unwrap().into_iter().map(|p| p.output).collect();
    let expected: [&[u32]; 13] = [
        &[3, 6, 6],
        &[3, 6, 6],
        &[3, 6, 6],
        &[3, 3, 3],
        &[2, 6, 6],
        &[2, 6, 6],
        &[2, 2, 2],
        &[2, 2, 2],
        &[8],
        &[4],
        &[4],
        &[2],
        &[2],
    ];
    assert_eq!(outputs, expected);
    assert_eq!(output_shape(&spec).unwrap(), [2]);
    assert_eq!(shapes(&[1, 7, 9], vec![conv(3, 2, 1)]).unwrap(), [[4, 4, 5]]);
}

#[test]
fn layer_that_does_not_fit_is_named_with_what_arrives_and_what_it_needs() {
    let refusal = |input: &[u32], layers: Vec<Layer>| shapes(input, layers).unwrap_err();
    let up = one("{conv_transpose2d: {name: u, out: 1, kernel: 2, padding: 4}}");
    let cases = [
        (
            refusal(&[30], vec![conv(3, 1, 1)]),
            "layers[0] (conv2d \"c\") is given shape [30] and needs [channels, height, width]",
        ),
        (
            refusal(&[1, 2, 8], vec![conv(5, 1, 1)]),
            "layers[0] (conv2d \"c\") is given shape [1, 2, 8] and needs sides of at least 3",
        ),
        (
            refusal(&[1, 3, 3], vec![up]),
            "layers[0] (conv_transpose2d \"u\") is given shape [1, 3, 3] and needs sides that its padding does not crop to nothing",
        ),
        (
            refusal(&[1, 3, 3], vec![one("{max_pool: {kernel: 4}}")]),
            "layers[0] (max_pool) is given shape [1, 3, 3] and needs sides of at least 4",
        ),
        (
            refusal(&[3], vec![linear("a", 2), Layer::Relu, linear("a", 2)]),
            "layers[2] (linear \"a\") has the same name as layers[0]",
        ),
        (
            refusal(&[3], vec![linear("a b", 2)]),
            "layers[0] (linear \"a b\"): a layer's name has letters, digits and _ only, in parts with . between them",
        ),
        (refusal(&[3], vec![linear("a", 0)]), "layers[0] (linear \"a\"): out is 0; it must be at least 1"),
        (
            refusal(&[1, 3, 3], vec![conv(3, 0, 0)]),
            "layers[0] (conv2d \"c\"): stride is 0; it must be at least 1",
        ),
        (
            refusal(&[3], vec![Layer::Dropout { p: f32::NAN }]),
            "layers[0] (dropout): p is NaN; it must be at least 0 and below 1",
        ),
        (
            refusal(&[3, 0, 3], vec![]),
            "input shape [3, 0, 3] is not [features], [channels, length] or [channels, height, width] with sides above 0",
        ),
        (refusal(&[3], vec![]), "the model has 0 layers; a model has 1 to 4096"),
    ];
    for (found, expected) in cases {
        assert_eq!(found, expected);
    }
}

#[test]
fn sizes_past_the_bound_are_refused_without_overflow() {
    for width in [2_000_000_000, 65_536] {
        let refusal = shapes(&[1, width], vec![one("{attention: {name: a, heads: 8}}")]).unwrap_err();
        assert_eq!(refusal, "layers[0] (attention \"a\") gives or holds more than 2^32 elements");
    }
    let up = |stride: u32| {
        let most = u32::MAX;
        one(&format!("{{conv_transpose2d: {{name: u, out: {most}, kernel: {most}, stride: {stride}}}}}"))
    };
    let refusal = shapes(&[1, 65_536, 65_535], vec![up(u32::MAX)]).unwrap_err();
    assert_eq!(refusal, "layers[0] (conv_transpose2d \"u\") gives or holds more than 2^32 elements");
    assert!(shapes(&[1, 8, 8], vec![conv(u32::MAX, 1, u32::MAX)]).is_err());
    assert!(shapes(&[u32::MAX, u32::MAX, u32::MAX], vec![Layer::Flatten]).is_err());
    assert!(super::super::layout(&ModelSpec::chain(vec![u32::MAX], vec![linear("a", u32::MAX)])).is_err());
}

/// Worked out by PyTorch's formulas.
#[test]
fn every_kind_has_the_output_of_pytorch() {
    for (input, layers, output) in [
        (
            "[4, 7, 9]",
            "{conv2d: {name: c, out: 6, kernel: [3, 2], stride: [2, 1], padding: [1, 2], dilation: [1, 2], groups: 2}}",
            "[6, 4, 11]",
        ),
        (
            "[4, 7, 9]",
            "{conv2d: {name: c, out: 6, kernel: 3, stride: 2, padding: [2, 1, 0, 1]}}",
            "[6, 4, 4]",
        ),
        (
            "[4, 11]",
            "{conv1d: {name: c, out: 6, kernel: 3, stride: 2, padding: 3, dilation: 2, groups: 2}}",
            "[6, 7]",
        ),
        ("[4, 11]", "{conv1d: {name: c, out: 6, kernel: 3, padding: [2, 0]}}", "[6, 11]"),
        (
            "[4, 7, 9]",
            "{conv_transpose2d: {name: c, out: 6, kernel: 3, stride: 2, padding: 1, output_padding: 1, groups: 2, dilation: 2}}",
            "[6, 16, 20]",
        ),
        ("[4, 7, 9]", "{max_pool: {kernel: 3, stride: 2, padding: 1}}", "[4, 4, 5]"),
        ("[4, 7, 9]", "{max_pool: {kernel: 3, stride: 2, ceil: true}}", "[4, 3, 4]"),
        ("[4, 8, 10]", "{max_pool: {kernel: 3, stride: 2, ceil: true}}", "[4, 4, 5]"),
        // A last window that would lie in the padding alone is dropped.
        ("[4, 8, 8]", "{max_pool: {kernel: 2, stride: 3, padding: 1, ceil: true}}", "[4, 3, 3]"),
        ("[4, 11]", "{avg_pool: {kernel: 2}}", "[4, 5]"),
        ("[4, 7, 9]", "{adaptive_avg_pool: {size: [3, 4]}}", "[4, 3, 4]"),
        ("[4, 7, 9]", "adaptive_avg_pool, flatten", "[4]"),
        ("[4, 7, 9]", "{upsample: {mode: nearest, scale: 2}}", "[4, 14, 18]"),
        ("[4, 7, 9]", "{upsample: {mode: bilinear, size: [5, 13], corners: true}}", "[4, 5, 13]"),
        ("[4, 7]", "{upsample: {mode: nearest, scale: 3}}", "[4, 21]"),
        ("[4, 7, 9]", "{pad: {by: [0, 1, 2, 3]}}", "[4, 8, 14]"),
        ("[4, 7]", "{pad: {by: [2, 1, 0, 0]}}", "[4, 10]"),
        ("[4, 7]", "{pad: {by: 2}}", "[4, 11]"),
        ("[4, 7, 9]", "{crop: {by: [1, 2]}}", "[4, 5, 5]"),
        ("[4, 7, 9]", "{crop: {by: 1}, as: b}, {pad_to: , from: [b, a]}", "[4, 7, 9]"),
        ("[4, 7, 9]", "{concat: , from: [a, a, input]}", "[12, 7, 9]"),
        ("[4, 7, 9]", "{concat: {axis: 2}, from: [a, input]}", "[4, 7, 18]"),
        ("[4, 7, 9]", "{adaptive_avg_pool: , as: b}, {mul: , from: [a, b]}", "[4, 7, 9]"),
        ("[4, 7, 9]", "{conv2d: {name: c, out: 1, kernel: 1}, as: b}, {add: , from: [b, a]}", "[4, 7, 9]"),
        ("[4, 7, 9]", "{linear: {name: l, out: 2}}", "[4, 7, 2]"),
        (
            "[4, 9]",
            "{layer_norm: {name: l, axes: 2}}, {softmax: {axis: 1}}, {linear: {name: m, out: 2}}",
            "[4, 2]",
        ),
        (
            "[4, 7, 9]",
            "{group_norm: {name: g, groups: 2}}, silu, hard_swish, hard_sigmoid, {leaky_relu: {slope: 0.1}}, relu6, elu, log_softmax",
            "[4, 7, 9]",
        ),
    ] {
        assert_eq!(output_of(input, layers), output, "{layers}");
    }
}

#[test]
fn layers_of_a_graph_that_do_not_meet_are_named_with_all_shapes() {
    for (input, layers, refusal) in [
        (
            "[4, 7, 9]",
            "{max_pool: {kernel: 2}, as: b}, {concat: , from: [a, b]}",
            "layers[2] (concat) is given [4, 7, 9] and [4, 3, 4] and needs shapes that differ on axis 0 alone; the first axis is 0",
        ),
        (
            "[4, 7, 9]",
            "{max_pool: {kernel: 2}, as: b}, {add: , from: [a, b]}",
            "layers[2] (add) is given [4, 7, 9] and [4, 3, 4] and needs equal sides, or sides of 1",
        ),
        (
            "[4, 7, 9]",
            "{flatten: , as: b}, {sub: , from: [a, b]}",
            "layers[2] (sub) is given [4, 7, 9] and [252] and needs equal sides, or sides of 1",
        ),
        (
            "[4, 7, 9]",
            "{max_pool: {kernel: 2}, as: b}, {pad_to: , from: [a, b]}",
            "layers[2] (pad_to) is given [4, 7, 9] and [4, 3, 4] and needs a second input with sides at least as long",
        ),
        ("[4, 7, 9]", "add", "the number of inputs of layers[1] (add) is 1; the layer takes 2 to 8"),
        (
            "[4, 7, 9]",
            "{relu: , from: [a, a]}",
            "the number of inputs of layers[1] (relu) is 2; the layer takes 1",
        ),
        (
            "[4, 7, 9]",
            "{add: , from: [a, a, a, a, a, a, a, a, a]}",
            "the number of inputs of layers[1] (add) is 9; the layer takes 2 to 8",
        ),
        (
            "[4, 7, 9]",
            "{sub: , from: [a, a, a]}",
            "the number of inputs of layers[1] (sub) is 3; the layer takes 2",
        ),
        (
            "[4, 7, 9]",
            "{conv2d: {name: c, out: 6, kernel: 1, groups: 3}}",
            "layers[1] (conv2d \"c\") is given shape [4, 7, 9] and needs input channels and output channels (6) that its groups (3) divide",
        ),
        (
            "[4, 7, 9]",
            "{group_norm: {name: g, groups: 3}}",
            "layers[1] (group_norm \"g\") is given shape [4, 7, 9] and needs channels that its groups (3) divide",
        ),
        (
            "[4, 7, 9]",
            "{conv1d: {name: c, out: 6, kernel: 1}}",
            "layers[1] (conv1d \"c\") is given shape [4, 7, 9] and needs [channels, length]",
        ),
        (
            "[4, 7]",
            "{conv2d: {name: c, out: 6, kernel: 1}}",
            "layers[1] (conv2d \"c\") is given shape [4, 7] and needs [channels, height, width]",
        ),
        (
            "[4, 7, 9]",
            "{conv2d: {name: c, out: 6, kernel: 5, dilation: 3}}",
            "layers[1] (conv2d \"c\") is given shape [4, 7, 9] and needs sides of at least 13",
        ),
        (
            "[4, 7, 9]",
            "{conv_transpose2d: {name: c, out: 6, kernel: 2, output_padding: 1}}",
            "layers[1] (conv_transpose2d \"c\"): output_padding must be smaller than the stride or the dilation",
        ),
        (
            "[4, 7, 9]",
            "{max_pool: {kernel: 2, padding: 2}}",
            "layers[1] (max_pool): padding must be at most half of the kernel",
        ),
        ("[4, 7]", "{max_pool: {kernel: [2, 3]}}", "layers[1] (max_pool): a sequence takes one number"),
        (
            "[4]",
            "{max_pool: {kernel: 2}}",
            "layers[1] (max_pool) is given shape [4] and needs [channels, length] or [channels, height, width]",
        ),
        (
            "[4, 7]",
            "{pad: {by: [1, 1, 0, 0]}}",
            "layers[1] (pad): for [channels, length], by is one number or [before, after, 0, 0]",
        ),
        (
            "[4, 7, 9]",
            "{crop: {by: 4}}",
            "layers[1] (crop) is given shape [4, 7, 9] and needs sides that are longer than what is taken away",
        ),
        ("[4, 7, 9]", "{upsample: {mode: nearest}}", "layers[1] (upsample): give either scale or size"),
        (
            "[4, 7, 9]",
            "{upsample: {mode: nearest, scale: 2, corners: true}}",
            "layers[1] (upsample): corners is for bilinear alone",
        ),
        (
            "[4]",
            "{softmax: {axis: 1}}",
            "layers[1] (softmax) is given shape [4] and needs a shape with an axis 1; the first axis is 0",
        ),
        (
            "[4]",
            "{layer_norm: {name: n, axes: 2}}",
            "layers[1] (layer_norm \"n\") is given shape [4] and needs a shape of at least 2 axes",
        ),
        (
            "[4, 7, 9]",
            "{relu: , as: b}, {relu: , from: a}",
            "layers[1] (relu) is used by nothing; the output of the model is the last layer",
        ),
    ] {
        assert_eq!(output_of(input, layers), refusal, "{layers}");
    }
}

#[test]
fn lists_of_inputs_have_one_form() {
    let spec = |from: Vec<Vec<u32>>| ModelSpec {
        from,
        ..ModelSpec::chain(vec![2], vec![linear("a", 2), Layer::Relu])
    };
    assert!(place(&spec(vec![vec![0], vec![0]])).is_err(), "nothing takes the first");
    for refused in [vec![vec![0], vec![1]], vec![vec![0]], vec![vec![0], vec![2]], vec![vec![1], vec![1]]] {
        assert_eq!(place(&spec(refused.clone())).unwrap_err(), ModelError::From, "{refused:?}");
    }
    assert!(matches!(place(&spec(vec![vec![], vec![1]])), Err(ModelError::Inputs { given: 0, .. })));
    let spelt = Layer::MaxPool { kernel: 2.into(), stride: Some(2.into()), padding: 0.into(), ceil: false };
    let refusal = shapes(&[1, 4, 4], vec![spelt]).unwrap_err();
    assert_eq!(refusal, "layers[0] (max_pool): stride is the kernel's; leave it out");
}

#[test]
fn layers_that_move_and_join_values_give_their_shapes_or_a_reason() {
    for (input, layers, expected) in [
        ("[4, 6]", "{reshape: {shape: [2, 3, 4]}}", "[2, 3, 4]"),
        ("[4, 6]", "{permute: {order: [1, 0]}}", "[6, 4]"),
        (
            "[4, 6]",
            "{slice: {axis: 1, start: 1, end: 6, step: 2}}",
            "layers[1] (slice): end is the end of the axis; leave it out",
        ),
        ("[4, 6]", "{slice: {axis: 1, start: 1, step: 2}}", "[4, 3]"),
        ("[4, 6]", "{select: {axis: 0, index: 3}}", "[6]"),
        ("[4, 5, 6]", "{mean: {axes: [1, 2]}}", "[4]"),
        ("[4, 5, 6]", "{max: {axes: [0], keep: true}}", "[1, 5, 6]"),
        ("[4, 6]", "{permute: {order: [1, 0]}, as: b}, {matmul: , from: [a, b]}", "[4, 4]"),
        (
            "[4, 6]",
            "{parameter: {name: p, shape: [1, 6], batch: true}, as: p}, {add: , from: [a, p]}",
            "[4, 6]",
        ),
        ("[4, 6]", "{lstm: {name: r, hidden: 5, bidirectional: true}}", "[4, 10]"),
        ("[4, 6]", "{gru: {name: r, hidden: 5, take: last}}", "[5]"),
        ("[4, 6]", "{attention: {name: t, heads: 3}}", "[4, 6]"),
        ("[4, 6]", "{conv_transpose1d: {name: c, out: 2, kernel: 3, stride: 2}}", "[2, 13]"),
        ("[4, 6]", "{prelu: {name: c, slopes: 4}}", "[4, 6]"),
        (
            "[4, 6]",
            "{reshape: {shape: [5, 5]}}",
            "layers[1] (reshape) is given shape [4, 6] and needs as many values as [5, 5] has",
        ),
        (
            "[4, 6]",
            "{reshape: {shape: [4, 6]}}",
            "layers[1] (reshape): the shape is the input's; leave the layer out",
        ),
        (
            "[4, 6]",
            "{permute: {order: [0, 1]}}",
            "layers[1] (permute): order [0, 1] is not another order of the 2 axes",
        ),
        (
            "[4, 6]",
            "{slice: {axis: 1, start: 3, end: 7}}",
            "layers[1] (slice) is given shape [4, 6] and needs an axis 1 with the indices 3 to 7",
        ),
        (
            "[4, 6]",
            "{select: {axis: 1, index: 6}}",
            "layers[1] (select) is given shape [4, 6] and needs an axis 1 with the index 6, and another axis",
        ),
        (
            "[4, 6]",
            "{mean: {axes: [1, 0]}}",
            "layers[1] (mean): axes is a list of different axes in ascending order",
        ),
        (
            "[4, 6]",
            "{matmul: , from: [a, a]}",
            "layers[1] (matmul) is given [4, 6] and [4, 6] and needs [.., a, b] and [.., b, c] with the same sides in front",
        ),
        (
            "[4, 6]",
            "{embedding: {name: e, rows: 3, width: 2}}",
            "layers[1] (embedding \"e\"): an embedding takes the sample itself, before any other layer",
        ),
        (
            "[4, 6]",
            "{attention: {name: t, heads: 4}}",
            "layers[1] (attention \"t\") is given shape [4, 6] and needs features that its heads (4) divide",
        ),
        (
            "[4, 6]",
            "{lstm: {name: r, hidden: 5, dropout: 0.5}}",
            "layers[1] (lstm \"r\"): dropout is between layers, and there is 1 layer",
        ),
    ] {
        assert_eq!(output_of(input, layers), expected, "{layers}");
    }
}

#[test]
fn tensors_of_sequences_are_those_of_pytorch() {
    let spec = "{input: [4, 6], layers: [{lstm: {name: r, hidden: 5, layers: 2, bidirectional: true}},
        {attention: {name: t, heads: 2}, as: t}, {parameter: {name: p, shape: [4, 1], batch: true}},
        {gru: {name: g, hidden: 1, bias: false}, as: g}, {mul: , from: [t, g]}]}";
    let layout = super::super::layout(&ModelSpec::parse(spec).unwrap()).unwrap();
    let found: Vec<String> = layout.tensors().iter().map(|t| format!("{} {:?}", t.name, t.shape)).collect();
    assert_eq!(found.len(), 16 + 4 + 1 + 2);
    for (at, expected) in [
        (0, "r.weight_ih_l0 [20, 6]"),
        (1, "r.weight_hh_l0 [20, 5]"),
        (2, "r.bias_ih_l0 [20]"),
        (7, "r.bias_hh_l0_reverse [20]"),
        (8, "r.weight_ih_l1 [20, 10]"),
        (16, "t.in_proj_weight [30, 10]"),
        (17, "t.in_proj_bias [30]"),
        (19, "t.out_proj.bias [10]"),
        (20, "p [1, 4, 1]"),
        (22, "g.weight_hh_l0 [3, 1]"),
    ] {
        assert_eq!(found[at], expected);
    }
}
