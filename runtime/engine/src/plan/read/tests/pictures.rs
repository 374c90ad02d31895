//! The keys of `data` that say how pictures are read.

use super::*;
use crate::plan::{
    Augment, Colour, Fit, Interpolation, LabelCode, PictureLabel, PictureOrder, PictureSpec, Standardise,
};

/// The small plan with pictures of 8 × 8 pixels and these keys after `loader: pictures`. The output has two
/// classes, for each pixel where labels are masks.
fn with(keys: &str) -> String {
    let small = if keys.contains("masks") {
        let model = "{input: [4], layers: [{conv2d: {name: c, out: 2, kernel: 1}}]}";
        SMALL.replace("{network: mlp, input: [4], hidden: [8], outputs: 2}", model)
    } else {
        SMALL.to_owned()
    };
    small.replace("input: [4]", "input: [3, 8, 8]").replace(
        "data: {loader: csv, file: a.csv, label: y, classes: 2}",
        &format!("data: {{loader: pictures, classes: 2, {keys}}}"),
    )
}

fn pictures(keys: &str) -> PictureSpec {
    match &Plan::parse(&with(keys)).unwrap().data.loader {
        Loader::Pictures(spec) => spec.clone(),
        other => panic!("{other:?}"),
    }
}

fn refusal(keys: &str) -> String {
    Plan::parse(&with(keys)).unwrap_err().message
}

#[test]
fn keys_of_pictures_are_read_as_they_are_meant() {
    let spec = pictures("label: folders, labels: {b: 1, a: 0}");
    let code = |text: &str, class| LabelCode { text: text.to_owned(), class };
    let labels = vec![code("a", 0), code("b", 1)];
    assert_eq!(spec, PictureSpec { labels, ..PictureSpec::new(PictureLabel::Folders) });
    let written = "fit: as_is, interpolation: bilinear, bits: 8, augment: {}, bad_samples: refuse, cache: 1GiB, order: shuffled";
    assert_eq!(pictures(&format!("label: folders, labels: {{b: 1, a: 0}}, {written}")), spec);
    let spec = pictures(
        "folder: p, label: {masks: {folder: m, channel: 2}}, colour: rgb, bits: 16, fit: resize, interpolation: nearest, \
         augment: {flip_horizontal: true, flip_vertical: true, quarter_turns: true, shift: 3, brightness: 0.5}, \
         bad_samples: {skip: 4}, cache: 1MiB, order: by_name",
    );
    let expected = PictureSpec {
        folder: Some("p".to_owned()),
        label: PictureLabel::Masks { folder: "m".to_owned(), channel: Some(2) },
        labels: vec![],
        colour: Some(Colour::Rgb),
        bits: 16,
        fit: Fit::Resize,
        interpolation: Interpolation::Nearest,
        augment: Augment {
            flip_horizontal: true,
            flip_vertical: true,
            quarter_turns: true,
            shift: 3,
            brightness: 0.5,
        },
        skip: 4,
        cache: crate::ByteCount(1 << 20),
        order: PictureOrder::ByName,
    };
    assert_eq!(spec, expected);
    let table = pictures("label: {table: {file: l.csv, name: image, label: sick}}").label;
    let (file, name, label) = ("l.csv".to_owned(), "image".to_owned(), "sick".to_owned());
    assert_eq!(table, PictureLabel::Table { file, name, label });
    let plan =
        Plan::parse(&with("label: {masks: {folder: m}}, standardise: {mean: [1, 2, 3], std: 2}")).unwrap();
    assert_eq!(plan.data.standardise, Some(Standardise::new(&[1.0, 2.0, 3.0], &[2.0])));
}

#[test]
fn every_key_of_pictures_changes_the_hash_and_is_read_back_from_the_bytes() {
    let masks = "label: {masks: {folder: m}}";
    let mut hashes = Vec::new();
    for keys in [
        masks,
        "label: {masks: {folder: n}}",
        "label: {masks: {folder: m, channel: 0}}",
        "label: {masks: {folder: m, channel: 1}}",
        "label: {table: {file: a, name: b, label: c}}",
        "label: {table: {file: x, name: b, label: c}}",
        "label: {table: {file: a, name: x, label: c}}",
        "label: {table: {file: a, name: b, label: x}}",
        "label: {table: {file: a, name: b, label: c}}, labels: {x: 0, y: 1}",
        "label: folders, labels: {x: 0, y: 1}",
        "label: folders, labels: {x: 1, y: 0}",
        "label: {masks: {folder: m}}, folder: p",
        "label: {masks: {folder: m}}, colour: rgb",
        "label: {masks: {folder: m}}, bits: 16",
        "label: {masks: {folder: m}}, fit: resize",
        "label: {masks: {folder: m}}, fit: crop",
        "label: {masks: {folder: m}}, fit: pad",
        "label: {masks: {folder: m}}, interpolation: nearest",
        "label: {masks: {folder: m}}, augment: {flip_horizontal: true}",
        "label: {masks: {folder: m}}, augment: {flip_vertical: true}",
        "label: {masks: {folder: m}}, augment: {quarter_turns: true}",
        "label: {masks: {folder: m}}, augment: {shift: 1}",
        "label: {masks: {folder: m}}, augment: {brightness: 0.1}",
        "label: {masks: {folder: m}}, bad_samples: {skip: 1}",
        "label: {masks: {folder: m}}, cache: 1MiB",
        "label: {masks: {folder: m}}, order: by_name",
    ] {
        let plan = Plan::parse(&with(keys)).unwrap();
        assert_eq!(Plan::from_canonical(&plan.canonical()).as_ref(), Ok(&plan), "{keys}");
        hashes.push(plan.hash());
    }
    let all = hashes.len();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), all, "two plans share a hash");
}

#[test]
fn labels_that_do_not_fit_the_loss_are_refused() {
    let masks = with("label: {masks: {folder: m}}");
    let refused = |text: &str| {
        let refused = Plan::parse(text).unwrap_err();
        (refused.message, refused.hint.unwrap())
    };
    let flat = masks.replace("kernel: 1}}]", "kernel: 1}}, flatten, {linear: {name: d, out: 2}}]");
    let (message, hint) = refused(&flat);
    assert_eq!(
        message,
        "the label of a picture is a mask of 8 × 8 pixels (data.label: masks), but the loss takes a label of the shape []"
    );
    assert!(hint.starts_with("choose a loss that takes masks"), "{hint}");
    let (message, hint) = refused(&masks.replace("kernel: 1}}", "kernel: 3}}"));
    assert!(message.ends_with("the loss takes a label of the shape [6, 6]"), "{message}");
    assert!(hint.starts_with("give the model an output of the label's shape"), "{hint}");
    let folders = "label: folders, labels: {x: 0, y: 1}";
    let (message, _) = refused(&masks.replace("label: {masks: {folder: m}}", folders));
    assert_eq!(
        message,
        "the label of a picture is one number (data.label: folders), but the loss takes a label of the shape [8, 8]"
    );
    let values = masks.replace("classes: 2, ", "").replace("out: 2", "out: 1");
    let values = values.replace("loss: cross_entropy", "loss: bce_dice");
    assert_eq!(Plan::parse(&values).unwrap().label_shape().unwrap(), [1, 8, 8]);
}

#[test]
fn pictures_that_do_not_fit_the_model_or_each_other_are_refused() {
    for (keys, expected) in [
        ("label: folders", "data.label is folders, which needs the key labels: the class of each folder"),
        (
            "label: folders, labels: {\"../x\": 0, y: 1}",
            "data.labels....x is \"../x\", but a file inside the data folder is needed",
        ),
        ("label: folders, labels: {x: 0, y: 2}", "data.labels.y is 2; the classes are 0 to 1"),
        (
            "label: {masks: {folder: /m}}",
            "data.label.masks.folder is \"/m\", but a file inside the data folder is needed",
        ),
        (
            "label: {masks: {folder: m}}, labels: {x: 0, y: 1}",
            "data.labels is beside label masks, which have no texts",
        ),
        ("label: {masks: {folder: m}}, folder: m", "data.folder is \"m\", and so is the folder of the masks"),
        (
            "label: {masks: {folder: m}}, colour: grey",
            "data.colour is grey, and model.input [3, 8, 8] has 3 channels",
        ),
        ("label: {masks: {folder: m}}, bits: 12", "data.bits is 12; it takes 8 or 16"),
        (
            "label: {masks: {folder: m, channel: 3}}",
            "data.label.masks.channel is 3; it takes a whole number of 0 to 2",
        ),
        (
            "label: {masks: {folder: m}}, augment: {shift: 8}",
            "data.augment.shift is 8, and model.input [3, 8, 8] has fewer pixels",
        ),
        (
            "label: {masks: {folder: m}}, augment: {brightness: 1}",
            "data.augment.brightness is 1; it takes a number from 0, below 1",
        ),
        (
            "label: {masks: {folder: m}}, bad_samples: 3",
            "data.bad_samples is 3; it takes refuse, or a map with the key skip",
        ),
        (
            "label: {masks: {folder: m}}, standardise: {mean: [1, 2], std: 1}",
            "data.standardise.mean has 2 values; it takes 1, 3 or 192",
        ),
    ] {
        assert_eq!(refusal(keys), expected, "{keys}");
    }
    let wide =
        with("label: {masks: {folder: m}}, augment: {quarter_turns: true}").replace("[3, 8, 8]", "[3, 8, 9]");
    let refused = Plan::parse(&wide).unwrap_err().message;
    assert_eq!(refused, "data.augment.quarter_turns needs squares, and model.input is [3, 8, 9]");
    let flat = with("label: {table: {file: a, name: b, label: c}}").replace("[3, 8, 8]", "[192]");
    let refused = Plan::parse(&flat).unwrap_err().message;
    assert!(
        refused.starts_with("data.loader is pictures, and model.input is [192]; a picture is"),
        "{refused}"
    );
}
