//! Named networks: their tensors and shapes.

use crate::{
    model::{ModelSpec, init, layout, output_shape, place},
    tensor::Dtype,
};

fn network(text: &str) -> ModelSpec {
    ModelSpec::parse(text).unwrap()
}

#[test]
fn unet_is_the_network_of_kvasir() {
    let spec = network("{network: unet, input: [3, 332, 332]}");
    assert_eq!(output_shape(&spec).unwrap(), [1, 332, 332]);
    let layout = layout(&spec).unwrap();
    assert_eq!(layout.tensors().len(), 136);
    assert_eq!((layout.f32_len(), layout.i64_len()), (31_055_297, 18));
    let statistics = |name: &str| name.contains("running");
    let trained: u64 = layout
        .tensors()
        .iter()
        .filter(|t| t.dtype == Dtype::F32 && !statistics(&t.name))
        .map(|t| t.elements().unwrap())
        .sum();
    assert_eq!(trained, 31_043_521);
    for (name, shape) in [
        ("inc.conv.0.weight", &[64, 3, 3, 3][..]),
        ("inc.conv.1.num_batches_tracked", &[]),
        ("down4.mpconv.1.conv.3.weight", &[1024, 1024, 3, 3]),
        ("up1.up.weight", &[1024, 512, 2, 2]),
        ("up1.conv.conv.0.weight", &[512, 1024, 3, 3]),
        ("up4.conv.conv.4.running_var", &[64]),
        ("outc.weight", &[1, 64, 1, 1]),
        ("outc.bias", &[1]),
    ] {
        let tensor = layout.tensors().iter().find(|t| t.name == name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(tensor.shape, shape, "{name}");
    }
    // 41 grows to 82, the sides of the skip are 83.
    let padded: Vec<_> = place(&spec).unwrap().into_iter().filter(|at| at.layer.word() == "pad_to").collect();
    assert_eq!(
        padded.iter().map(|at| (at.input[1], at.output[1])).collect::<Vec<_>>(),
        [(40, 41), (82, 83), (166, 166), (332, 332)]
    );
}

#[test]
fn unet_takes_another_size() {
    let spec = network("{network: unet, input: [1, 64, 64], base: 8, depth: 3, outputs: 2, sigmoid: false}");
    assert_eq!(output_shape(&spec).unwrap(), [2, 64, 64]);
    assert_eq!(spec.layers.last().unwrap().name(), Some("outc"));
    assert_eq!(layout(&spec).unwrap().tensors().len(), 14 * 7 + 3 * 2 + 2);
    assert!(output_shape(&network("{network: unet, input: [3, 8, 8]}")).is_err());
}

#[test]
fn resnets_have_torchvisions_tensors() {
    for (depth, tensors, parameters) in [(18, 122, 11_689_512), (34, 218, 21_797_672)] {
        let spec =
            network(&format!("{{network: resnet, depth: {depth}, input: [3, 64, 64], outputs: 1000}}"));
        assert_eq!(output_shape(&spec).unwrap(), [1000]);
        let layout = layout(&spec).unwrap();
        assert_eq!(layout.tensors().len(), tensors);
        let trained =
            layout.tensors().iter().filter(|t| t.dtype == Dtype::F32 && !t.name.contains("running"));
        assert_eq!(trained.map(|t| t.elements().unwrap()).sum::<u64>(), parameters);
        let names: Vec<&str> = layout.tensors().iter().map(|t| t.name.as_str()).collect();
        for name in
            ["bn1.num_batches_tracked", "layer2.0.downsample.0.weight", "layer4.1.bn2.bias", "fc.weight"]
        {
            assert!(names.contains(&name), "{name}");
        }
        assert!(!names.contains(&"layer1.0.downsample.0.weight"));
    }
    let refusal =
        ModelSpec::parse("{network: resnet, depth: 50, input: [3, 64, 64], outputs: 10}").unwrap_err();
    assert_eq!(refusal.message, "depth is 50; it takes 18 or 34");
}

#[test]
fn weights_before_an_addition_and_a_relu_are_drawn_for_the_relu() {
    let spec = network("{network: resnet, depth: 18, input: [3, 32, 32], outputs: 10}");
    let state = init(&spec, 1).unwrap();
    let largest = |name: &str| {
        let index = state.layout().tensors().iter().position(|t| t.name == name).unwrap();
        state.f32[state.layout().place(index)].iter().fold(0f32, |most, v| most.max(v.abs()))
    };
    for (name, bound) in
        [("layer1.0.conv2.weight", (6.0f32 / 576.0).sqrt()), ("fc.weight", 512f32.sqrt().recip())]
    {
        let found = largest(name);
        assert!(found < bound && found > 0.99 * bound, "{name}: {found} of {bound}");
    }
}

#[test]
fn models_of_the_chapter_are_models_and_the_unet_is_the_named_one() {
    let yaml = CHAPTER.split("```yaml\nmodel:\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let models: Vec<ModelSpec> = yaml.map(network).collect();
    assert_eq!(models.len(), 2);
    assert_eq!(output_shape(&models[0]).unwrap(), [10]);
    assert_eq!(models[1], network("{network: unet, input: [3, 332, 332]}"));
}

const CHAPTER: &str = include_str!("../../../../src/manual/models.md");
