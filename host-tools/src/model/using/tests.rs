//! Models that nobody has trained, on the data of templates: what is printed and written agrees with what the
//! data say.

use std::fs;

use fl_engine::plan::{Colour, PictureLabel, PictureSpec, Split};

use super::*;
use crate::{
    files::tests::scratch,
    model::{export, init},
    workspace::{self, Trial, Workspace},
};

/// A workspace of this template with an initial model, whose plan was changed.
fn made(name: &str, template: &str, change: impl FnOnce(&mut PlanDraft)) -> (Workspace, Plan, PathBuf) {
    let root = scratch(name).join("w");
    let template = workspace::template(template).unwrap();
    workspace::create(&root, template, None, &Trial::default()).unwrap();
    let workspace = Workspace::open(&root).unwrap();
    let plan = Plan::parse(template.plan).unwrap().edited(change).unwrap();
    let path = init(&workspace, &plan, Some(plan.hash()), None).unwrap().path;
    (workspace, plan, path)
}

#[test]
fn predictions_of_a_table_have_the_accuracy_that_evaluation_says() {
    let (workspace, _, model) = made("use-table", "breast_cancer", |_| {});
    let data = workspace.root().join("data/test.csv");
    let found = evaluate(&model, &data).unwrap();
    let matrix = found.assessment.confusion.as_ref().unwrap();
    let all: u64 = matrix.iter().flatten().sum();
    let labels = fs::read_to_string(&data).unwrap();
    let rows = labels.lines().count() - 1;
    assert_eq!((all, found.rows, found.classes.join(" ")), (rows as u64, rows, "0 1".to_owned()));
    let accuracy = (matrix[0][0] + matrix[1][1]) as f64 / rows as f64;
    assert_eq!(found.metrics()["accuracy"], accuracy);
    let of = found.by_class()[1];
    assert_eq!(of.sensitivity, Some(matrix[1][1] as f64 / (matrix[1][0] + matrix[1][1]) as f64));
    let lines = found.lines();
    assert!(lines.starts_with(&format!("rows         {rows}\naccuracy     0.")), "{lines}");
    assert!(lines.contains("\nlabels \\ answers ") && lines.contains("\nclass "), "{lines}");

    let output = workspace.root().join("predictions.csv");
    let made = predict(&model, &data, &output).unwrap();
    assert_eq!((made.rows, made.is_folder), (rows, false));
    let text = fs::read_to_string(&output).unwrap();
    assert_eq!(text.lines().next(), Some("row,answer,share_0,share_1"));
    let mut right = 0;
    for (line, of_data) in text.lines().zip(labels.lines()).skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let shares: Vec<f64> = cells[2..].iter().map(|cell| cell.parse().unwrap()).collect();
        assert!((shares[0] + shares[1] - 1.0).abs() < 1e-6, "{line}");
        assert_eq!(cells[1] == "1", shares[1] > shares[0], "{line}");
        right += u64::from(of_data.rsplit(',').next() == Some(cells[1]));
    }
    assert_eq!(right as f64 / rows as f64, accuracy);
    assert!(text.lines().nth(1).unwrap().starts_with("2,"), "rows are numbered as in the file");

    // Without labels, from an exported file.
    let bare: String = labels.lines().map(|line| format!("{}\n", line.rsplit_once(',').unwrap().0)).collect();
    fs::write(workspace.root().join("bare.csv"), bare).unwrap();
    let plain = workspace.root().join("plain.safetensors");
    export(&model, &plain, false).unwrap();
    predict(&plain, &workspace.root().join("bare.csv"), &output).unwrap();
    assert_eq!(fs::read_to_string(&output).unwrap(), text);
    let refused = evaluate(&plain, &workspace.root().join("bare.csv")).unwrap_err();
    assert_eq!(refused.exit, Exit::Data);
}

#[test]
fn masks_have_the_names_of_their_pictures_and_the_values_of_the_model() {
    let small = |plan: &mut PlanDraft| {
        let text = "{network: unet, input: [3, 16, 12], base: 1, depth: 2}";
        plan.model = fl_engine::model::ModelSpec::parse(text).unwrap();
    };
    let (workspace, plan, model) = made("use-masks", "kvasir_unet", small);
    let data = workspace.root().join("data/test");
    let found = evaluate(&model, &data).unwrap();
    let pixels: u64 = found.assessment.confusion.as_ref().unwrap().iter().flatten().sum();
    assert_eq!((found.rows, pixels, found.pixels), (16, 16 * 16 * 12, true));
    assert!(found.metrics()["dice"] > 0.0 && found.lines().contains("pixels \\ answers"));

    let output = workspace.root().join("masks");
    // A folder of pictures without masks.
    let pictures = data.join("segmented-images/images");
    assert_eq!(predict(&model, &pictures, &output).unwrap().rows, 16);
    assert_eq!(predict(&model, &data, &output).unwrap_err().exit, Exit::Workspace);
    let mut names: Vec<_> = fs::read_dir(&output).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort_unstable();
    assert_eq!((names.len(), &*names[0]), (16, std::ffi::OsStr::new("synthetic-00000.png")));
    // The masks, read again.
    let label = PictureLabel::Table { file: "x".to_owned(), name: "x".to_owned(), label: "x".to_owned() };
    let spec = PictureSpec { colour: Some(Colour::Grey), ..PictureSpec::new(label) };
    let split = Split { train: 1.0, validation: 0.0, test: 0.0 };
    let loader = Loader::Pictures(spec);
    let spec = DataSpec { loader, standardise: None, split, classes: None, federated: None };
    let masks = data::samples(&spec, &[1, 16, 12], &output).unwrap().data.in_memory().unwrap();
    let samples = data::samples(&plan.data, &plan.model.input, &data).unwrap().data;
    let (state, mut compared) = (open(&model).unwrap().state, 0);
    task::predict(&plan, &state, &samples, &mut |row, prediction| {
        let Prediction::Shares(shares) = prediction else { panic!("{prediction:?}") };
        let row = masks.features.index_axis(ndarray::Axis(0), row);
        for (share, value) in shares.iter().zip(row.iter()) {
            assert_eq!((share * 255.0).round(), f64::from(value * 255.0).round());
            compared += 1;
        }
    })
    .unwrap();
    assert_eq!(compared, pixels);
}

#[test]
fn file_without_a_plan_or_with_another_one_is_refused() {
    let (workspace, plan, model) = made("use-refused", "digits", |_| {});
    let (state, texts) = {
        let bytes = fs::read(&model).unwrap();
        safetensors::read(&bytes, &plan.layout().unwrap()).unwrap()
    };
    let refusal = |change: &dyn Fn(&mut safetensors::Texts)| {
        let mut texts = texts.clone();
        change(&mut texts);
        fs::write(&model, safetensors::write(&state, &texts)).unwrap();
        let refused = open(&model).err().unwrap();
        assert_eq!(refused.exit, Exit::Model);
        refused.error
    };
    let without = refusal(&|texts| _ = texts.remove(text::CANONICAL_PLAN));
    assert!(without.ends_with("the metadata of the file do not have the plan"), "{without}");
    let other = plan.edited(|plan| plan.seed += 1).unwrap().canonical_text();
    let changed = refusal(&|texts| _ = texts.insert(text::CANONICAL_PLAN.to_owned(), other.clone()));
    assert!(changed.contains("the file states the plan"), "{changed}");
    let broken = refusal(&|texts| _ = texts.insert(text::CANONICAL_PLAN.to_owned(), "0x".to_owned()));
    assert!(broken.contains("the plan in the metadata is refused"), "{broken}");
    let folder = workspace.root().join("data/test.csv");
    fs::write(&model, safetensors::write(&state, &texts)).unwrap();
    assert!(evaluate(&model, &folder).is_ok());
}

#[test]
fn one_mask_for_two_pictures_is_refused() {
    let names = |places: [&str; 2]| mask_names(&places.map(str::to_owned));
    assert_eq!(names(["a/b.jpg", "c.png"]).unwrap(), ["a/b.png", "c.png"]);
    assert!(names(["a.jpg", "a.png"]).unwrap_err().error.contains("would have one mask: a.png"));
}
