//! Model files of a workspace: made from a plan, shown, copied for other programs.
//!
//! `fl-host model` and `plan initialize` come here. The engine decides which tensors there are. Nothing here
//! trains.

pub mod import;
pub mod sealed;
pub mod using;

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use fl_engine::{
    Digest,
    aggregate::outside_range,
    limits,
    model::{self, ModelError, ModelFileError, safetensors},
    plan::{ExactRange, Plan, PlanDraft, Standardise},
    printable::{unprintable, unprintable_in_lines},
    tensor::{Dtype, Layout, LayoutError, ModelState, root_of},
};
use fl_runtime::internal::store;

use crate::{
    exit::{Exit, Failure},
    files,
    workspace::Workspace,
};

/// Keys of the texts in a model file.
pub use fl_runtime::internal::store::text;

/// A model file as [`show`] found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// In the order of their bytes.
    pub tensors: Vec<safetensors::FileTensor>,
    /// Elements of all tensors.
    pub elements: u64,
    /// The file's metadata.
    pub texts: safetensors::Texts,
    /// Computed from the tensors; `None` for element types that have no root.
    pub root: Option<Digest>,
}

/// A model file that [`init`] wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// `save/W_init.safetensors`.
    pub path: PathBuf,
    /// Number of tensors.
    pub tensors: usize,
    /// Elements of all tensors.
    pub elements: u64,
    /// The state's root.
    pub root: Digest,
}

/// Writes the first round's model: the plan's, from its seed or from `seed`.
///
/// # Errors
/// [`Exit::Plan`] when the plan's model is refused, [`Exit::File`].
pub fn init(
    workspace: &Workspace,
    plan: &Plan,
    hash: Option<Digest>,
    seed: Option<u64>,
) -> Result<Made, Failure> {
    // A seed that the owner chose belongs to every plan of these tensors, as chosen values do.
    let hash = hash.filter(|_| seed.is_none_or(|seed| seed == plan.seed));
    let mut seeded = PlanDraft::clone(plan);
    seeded.seed = seed.unwrap_or(plan.seed);
    let state = seeded.initial_state().map_err(|e| refused_model(&e))?;
    refuse_outside(&state, plan.exact)?;
    write_init(workspace, plan, &state, (hash, Some(seeded.seed)))
}

/// Writes the first round's model from any safetensors file with the plan's tensors, or with those of its
/// model alone: optimiser state that the plan has travel then starts at 0.
///
/// # Errors
/// [`Exit::Plan`] when the plan's model is refused, [`Exit::Model`] when the file is, [`Exit::File`].
pub fn init_from(workspace: &Workspace, plan: &Plan, file: &Path) -> Result<Made, Failure> {
    let (bytes, refused) = (read(file)?, |e: ModelFileError| refused_file(file, &e));
    let (tensors, texts) = safetensors::inspect(&bytes).map_err(refused)?;
    check_statistics(file, &texts, plan)?;
    let state = if tensors.iter().any(|t| model::is_optimiser_tensor(&t.name)) {
        let layout = plan.layout().map_err(|e| refused_model(&e))?;
        safetensors::read(&bytes, &layout).map_err(refused)?.0
    } else {
        let layout = model::layout(&plan.model).map_err(|e| refused_model(&e))?;
        let (plain, _) = safetensors::read(&bytes, &layout).map_err(refused)?;
        plan.state_of(&plain).map_err(|e| refused_model(&e))?
    };
    refuse_outside(&state, plan.exact)?;
    write_init(workspace, plan, &state, (None, None))
}

/// The workspace's initial model; `None` where there is none. Every command that hands the plan on calls
/// this.
///
/// # Errors
/// [`Exit::Model`] for a model that the aggregator would refuse: of other tensors, of another plan's seed, or
/// changed after it was written; [`Exit::File`].
pub fn initial(
    workspace: &Workspace,
    plan: &Plan,
    hash: Digest,
    layout: &Arc<Layout>,
) -> Result<Option<Shown>, Failure> {
    let path = workspace.init_model_file(&plan.federation);
    if !path.exists() {
        return Ok(None);
    }
    let shown = show(&path, Some(layout))?;
    let (state, _) = safetensors::read(&read(&path)?, layout).map_err(|e| refused_file(&path, &e))?;
    refuse_outside(&state, plan.exact)?;
    check_texts(&path, &shown.texts, plan, hash)?;
    Ok(Some(shown))
}

/// The beginning of a model file, up to the end of its header.
///
/// # Errors
/// What is wrong, in words that follow the file's name.
pub fn header(file: &mut dyn Read) -> Result<Vec<u8>, String> {
    let mut begin = [0; 8];
    let cut = |_| "the file is not a safetensors file, or was cut short".to_owned();
    file.read_exact(&mut begin).map_err(cut)?;
    let length = u64::from_le_bytes(begin);
    if length > limits::MODEL_HEADER_BYTES as u64 {
        return Err(format!(
            "the header claims {length} bytes; at most {} are read",
            limits::MODEL_HEADER_BYTES
        ));
    }
    let mut header = begin.to_vec();
    file.take(length).read_to_end(&mut header).map_err(|e| e.to_string())?;
    if header.len() as u64 == 8 + length { Ok(header) } else { Err(cut(io::ErrorKind::UnexpectedEof.into())) }
}

/// As [`initial`], for a model file of which only the [`header`] and the length are known.
///
/// # Errors
/// [`Exit::Model`].
pub fn check_initial_header(
    header: &[u8],
    length: u64,
    file: &str,
    plan: &Plan,
    hash: Digest,
    layout: &Arc<Layout>,
) -> Result<(), Failure> {
    let expected = (header.len() + layout.byte_len()) as u64;
    let refused = |why: String| {
        Failure::new(Exit::Model, format!("{file}: {why}")).hint(
            "ask the owner to run `fl-host plan initialize -a ADDRESS`, and to export the workspace again",
        )
    };
    if length != expected {
        return Err(refused(format!(
            "the file has {length} bytes; the plan's model has {expected} with this header"
        )));
    }
    let parsed: serde_json::Value =
        serde_json::from_slice(&header[8..]).map_err(|e| refused(format!("the header is not JSON: {e}")))?;
    let texts = parsed["__metadata__"].as_object().map_or_else(safetensors::Texts::new, |map| {
        map.iter().filter_map(|(key, text)| Some((key.clone(), text.as_str()?.to_owned()))).collect()
    });
    if texts.iter().any(|(key, text)| unprintable(key).is_some() || unprintable_in_lines(text).is_some()) {
        return Err(refused("the metadata contains a control character".to_owned()));
    }
    check_texts(Path::new(file), &texts, plan, hash)
}

fn check_texts(path: &Path, texts: &safetensors::Texts, plan: &Plan, hash: Digest) -> Result<(), Failure> {
    if store::begins(texts, hash, plan.seed) {
        return Ok(());
    }
    Err(Failure::new(Exit::Model, format!("{} was made for another plan", path.display()))
        .hint("run `fl-host plan initialize -a ADDRESS` again, which makes the model for this plan"))
}

/// Tensors, texts and root of a model file. With the plan's `layout`, the file must have its tensors.
///
/// # Errors
/// [`Exit::Model`] when the file is refused, or when its tensors do not have the root that it states;
/// [`Exit::File`].
pub fn show(file: &Path, layout: Option<&Arc<Layout>>) -> Result<Shown, Failure> {
    let bytes = read(file)?;
    let refused = |e: ModelFileError| refused_file(file, &e);
    let (tensors, texts) = safetensors::inspect(&bytes).map_err(refused)?;
    let of_file = safetensors::layout_of(&bytes);
    let root = match (layout, of_file) {
        (Some(layout), _) => Some(root(&safetensors::read(&bytes, layout).map_err(refused)?.0)),
        (None, Ok(layout)) => Some(root(&safetensors::read(&bytes, &layout).map_err(refused)?.0)),
        (None, Err(_)) => None,
    };
    // Without the plan, tensors held out of aggregation are not known, and the root covers which they are.
    if let (Some(_), Some(found), Some(stated)) = (layout, root, texts.get(text::ROOT))
        && *stated != found.to_string()
    {
        let error = format!(
            "{} states the root {stated} (the hash of all tensors), but its tensors have the root {found}",
            file.display()
        );
        return Err(Failure::new(Exit::Model, error)
            .hint("the file was changed after it was written: copy it again from where it was made"));
    }
    let elements = tensors.iter().map(|t| t.shape.iter().map(|&side| side as u64).product::<u64>()).sum();
    Ok(Shown { tensors, elements, texts, root })
}

/// Copies a model file's tensors as PyTorch's tools expect them. Optimiser state is left out, unless `all`.
///
/// # Errors
/// [`Exit::Model`] when the file is refused or contains only optimiser state, [`Exit::File`].
pub fn export(file: &Path, output: &Path, all: bool) -> Result<Shown, Failure> {
    let bytes = read(file)?;
    let refused = |e: ModelFileError| refused_file(file, &e);
    let layout = safetensors::layout_of(&bytes).map_err(refused)?;
    let (mut state, mut texts) = safetensors::read(&bytes, &layout).map_err(refused)?;
    if !all {
        state = without_optimiser(&state).map_err(|_| {
            Failure::new(Exit::Model, format!("{} contains only optimiser state", file.display()))
                .hint("add --all to copy optimiser state, too")
        })?;
    }
    // The Python library transformers refuses a file without this entry.
    let mut kept = safetensors::Texts::from([("format".to_owned(), "pt".to_owned())]);
    // Without plan and statistics nobody could use the model.
    kept.extend(texts.remove_entry(text::CANONICAL_PLAN));
    kept.extend(texts.remove_entry(text::STANDARDISE));
    files::replace(output, &safetensors::write(&state, &kept))?;
    show(output, None)
}

/// A plan's model that was refused, as a failure.
#[must_use]
pub fn refused_model(error: &ModelError) -> Failure {
    Failure::of(Exit::Plan, error).maybe_hint(error.hint())
}

/// Refuses a model of data that were scaled by other statistics than the plan's.
fn check_statistics(file: &Path, texts: &safetensors::Texts, plan: &Plan) -> Result<(), Failure> {
    let Some(text) = texts.get(text::STANDARDISE) else { return Ok(()) };
    if plan.data.standardise.is_some() && plan.data.standardise == Standardise::from_text(text) {
        return Ok(());
    }
    let file = file.display();
    let error = format!("the model in {file} was trained on data with other statistics than the plan's");
    Err(Failure::new(Exit::Model, error).hint(format!(
        "`fl-host model show {file}` prints the statistics: copy the line `standardise` into `data` of plan/plan.yaml"
    )))
}

fn refused_file(file: &Path, error: &ModelFileError) -> Failure {
    Failure::new(Exit::Model, format!("{}: {error}", file.display())).maybe_hint(error.hint())
}

/// No update of a model with such a value would be taken.
fn refuse_outside(state: &ModelState, range: ExactRange) -> Result<(), Failure> {
    let Some(outside) = outside_range(state, range) else { return Ok(()) };
    let error = format!("the plan's range does not hold the initial model: {outside}");
    Err(Failure::new(Exit::Model, error).hint(
        "set exact.value_bits in plan/plan.yaml so that the plan's range holds the value, or change the value in the model",
    ))
}

fn write_init(
    workspace: &Workspace,
    plan: &Plan,
    state: &ModelState,
    (hash, seed): (Option<Digest>, Option<u64>),
) -> Result<Made, Failure> {
    let (root, path) = (root(state), workspace.init_model_file(&plan.federation));
    let mut texts = safetensors::Texts::from([
        (text::CANONICAL_PLAN.to_owned(), plan.canonical_text()),
        (text::ROUND.to_owned(), "0".to_owned()),
        (text::ROOT.to_owned(), root.to_string()),
    ]);
    texts.extend(hash.map(|hash| (text::PLAN.to_owned(), hash.to_string())));
    texts.extend(seed.map(|seed| (text::SEED.to_owned(), seed.to_string())));
    files::replace(&path, &safetensors::write(state, &texts))?;
    let elements = (state.f32.len() + state.i64.len()) as u64;
    Ok(Made { path, tensors: state.layout().tensors().len(), elements, root })
}

/// The model's tensors alone.
fn without_optimiser(state: &ModelState) -> Result<ModelState, LayoutError> {
    let layout = state.layout();
    let kept = |index: &usize| !model::is_optimiser_tensor(&layout.tensors()[*index].name);
    let kept: Vec<usize> = (0..layout.tensors().len()).filter(kept).collect();
    let tensors = kept.iter().map(|&index| layout.tensors()[index].clone()).collect();
    let mut plain = ModelState::zeros(Layout::new(tensors)?);
    let (mut floats, mut integers) = (Vec::new(), Vec::new());
    for index in kept {
        match layout.tensors()[index].dtype {
            Dtype::F32 => floats.extend_from_slice(&state.f32[layout.place(index)]),
            Dtype::I64 => integers.extend_from_slice(&state.i64[layout.place(index)]),
        }
    }
    (plain.f32, plain.i64) = (floats, integers);
    Ok(plain)
}

fn root(state: &ModelState) -> Digest {
    let mut bytes = Vec::new();
    state.write_bytes(&mut bytes);
    root_of(state.layout().hash(), &bytes)
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    files::read(file, FILE_BYTES)
}

/// Most bytes of a model file.
pub const FILE_BYTES: usize = 8 + limits::MODEL_HEADER_BYTES + limits::ELEMENTS as usize * 8;

#[cfg(test)]
mod tests {
    use std::fs;

    use fl_engine::{
        model::{Layer, ModelSpec},
        plan::{DataSpec, Federated, Loader, Optimiser, OptimiserState, Split, TaskKind},
        tensor::TensorSpec,
    };

    use super::*;
    use crate::{files::tests::scratch, workspace};

    fn plan() -> Plan {
        let linear = |name: &str, out| Layer::Linear { name: name.to_owned(), out, bias: true };
        let model = ModelSpec::chain(vec![3], vec![linear("fc1", 4), Layer::Relu, linear("fc2", 2)]);
        let data = DataSpec {
            loader: Loader::Custom { name: "none".to_owned() },
            standardise: None,
            split: Split { train: 0.8, validation: 0.2, test: 0.0 },
            classes: Some(2),
            federated: None,
        };
        PlanDraft::trial("trial", model, data).unwrap().check().unwrap()
    }

    fn workspace(name: &str) -> Workspace {
        let root = scratch(name).join("w");
        let template = workspace::template("digits").unwrap();
        workspace::create(&root, template, None, &workspace::Trial::default()).unwrap();
        Workspace::open(&root).unwrap()
    }

    #[test]
    fn initial_model_is_written_shown_and_read_back() {
        let workspace = workspace("model-init");
        let plan = plan().edited(|plan| plan.hold_out = vec!["fc2.*".to_owned()]).unwrap();
        let made = init(&workspace, &plan, Some(Digest::of(b"plan")), None).unwrap();
        assert!(made.path.ends_with("w/save/trial_init.safetensors"));
        assert_eq!((made.tensors, made.elements), (4, 26));
        let layout = plan.layout().unwrap();
        let shown = show(&made.path, Some(&layout)).unwrap();
        assert_eq!((shown.elements, shown.root), (26, Some(made.root)));
        let texts: Vec<&str> = shown.texts.keys().map(String::as_str).collect();
        assert_eq!(texts, ["canonical_plan", "plan", "root", "round", "seed"]);
        assert_eq!(Plan::from_canonical_text(&shown.texts["canonical_plan"]), Ok(plan.clone()));
        assert_eq!(shown.texts["root"], made.root.to_string());
        assert!(show(&made.path, None).is_ok());
        let other = init(&workspace, &plan, None, Some(8)).unwrap();
        assert_ne!(other.root, made.root);
    }

    #[test]
    fn exported_file_is_plain_and_can_start_a_run() {
        let (workspace, plan) = (workspace("model-export"), plan());
        let made = init(&workspace, &plan, None, None).unwrap();
        let plain = workspace.root().join("plain.safetensors");
        let shown = export(&made.path, &plain, false).unwrap();
        let kept = [("canonical_plan", plan.canonical_text()), ("format", "pt".to_owned())];
        assert_eq!(shown.texts, kept.map(|(key, text)| (key.to_owned(), text)).into());
        assert_eq!(shown.root, Some(made.root));
        let again = init_from(&workspace, &plan, &plain).unwrap();
        assert_eq!(again, made);
    }

    #[test]
    fn model_of_other_statistics_is_refused_with_where_to_find_them() {
        let (workspace, plan) = (workspace("model-statistics"), plan());
        let found = Standardise::from_values(&[1.6e9, 0.1, 3.0], &[1.0, 0.2, 7.0]).unwrap();
        let texts = safetensors::Texts::from([(text::STANDARDISE.to_owned(), found.to_text())]);
        let [file, copy] = ["a", "b"].map(|n| workspace.root().join(n).with_extension("safetensors"));
        fs::write(&file, safetensors::write(&plan.initial_state().unwrap(), &texts)).unwrap();
        assert_eq!(export(&file, &copy, false).unwrap().texts[text::STANDARDISE], found.to_text());
        let same = plan.edited(|plan| plan.data.standardise = Some(found.clone())).unwrap();
        let other =
            plan.edited(|plan| plan.data.standardise = Some(Standardise::new(&[0.0], &[1.0]))).unwrap();
        let asked = plan.edited(|plan| plan.data.federated = Some(Federated { least: 5 })).unwrap();
        for (plan, fits) in [(&same, true), (&plan, false), (&other, false), (&asked, false)] {
            for file in [&file, &copy] {
                let made = init_from(&workspace, plan, file);
                assert_eq!(made.is_ok(), fits, "{made:?}");
                if let Err(failure) = made {
                    assert_eq!(failure.exit, Exit::Model);
                    assert!(failure.hint.unwrap().contains("copy the line `standardise` into `data`"));
                }
            }
        }
    }

    #[test]
    fn optimiser_state_is_shown_kept_on_request_and_left_out_of_a_plain_file() {
        let workspace = workspace("model-optimiser");
        let adam = |plan: &mut PlanDraft| {
            plan.optimiser_state = OptimiserState::ContinueGlobal;
            for task in &mut plan.tasks {
                if let TaskKind::Train(spec) = &mut task.kind {
                    spec.optimiser = Optimiser::Adam { learning_rate: 0.1 };
                }
            }
        };
        let plan = plan().edited(adam).unwrap();
        let made = init(&workspace, &plan, None, None).unwrap();
        assert_eq!((made.tensors, made.elements), (4 + 2 * 4 + 1, 26 + 2 * 26 + 1));
        let names = |shown: &Shown| shown.tensors.iter().map(|t| t.name.clone()).collect::<Vec<_>>();
        let layout = plan.layout().unwrap();
        let all = names(&show(&made.path, Some(&layout)).unwrap());
        assert!(all.contains(&"optimiser.train.steps".to_owned()), "{all:?}");
        let [plain, whole] =
            ["plain", "whole"].map(|n| workspace.root().join(n).with_extension("safetensors"));
        let shown = export(&made.path, &plain, false).unwrap();
        assert_eq!(names(&shown), ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]);
        assert_eq!(export(&made.path, &whole, true).unwrap().elements, made.elements);
        for file in [&plain, &whole] {
            assert_eq!(init_from(&workspace, &plan, file).unwrap(), made);
        }
        let plan = plan.edited(|plan| plan.optimiser_state = OptimiserState::Reset).unwrap();
        assert_eq!(init_from(&workspace, &plan, &plain).unwrap().elements, 26);
        let failure = init_from(&workspace, &plan, &whole).unwrap_err();
        let hint = "`fl-host model export` writes a file without its optimiser state";
        assert_eq!((failure.exit, failure.hint.as_deref()), (Exit::Model, Some(hint)));
        let state = Layout::new(vec![TensorSpec::f32("optimiser.train.momentum.a", [1])]).unwrap();
        fs::write(&whole, safetensors::write(&ModelState::zeros(state), &safetensors::Texts::new())).unwrap();
        let failure = export(&whole, &plain, false).unwrap_err();
        assert_eq!(
            (failure.exit, failure.hint.as_deref()),
            (Exit::Model, Some("add --all to copy optimiser state, too"))
        );
    }

    #[test]
    fn file_of_another_model_or_changed_after_writing_is_refused() {
        let (workspace, plan) = (workspace("model-refused"), plan());
        let made = init(&workspace, &plan, None, None).unwrap();
        let layout = plan.layout().unwrap();
        let mut bytes = fs::read(&made.path).unwrap();
        let middle = bytes.len() - 10;
        bytes[middle] ^= 1;
        fs::write(&made.path, &bytes).unwrap();
        let failure = show(&made.path, Some(&layout)).unwrap_err();
        assert_eq!(failure.exit, Exit::Model);
        assert!(failure.error.contains("states the root"), "{}", failure.error);
        let shorter = |plan: &mut PlanDraft| {
            plan.model.layers.pop();
            if let Some(Layer::Linear { out, .. }) = plan.model.layers.first_mut() {
                *out = 2;
            }
        };
        let other = plan.edited(shorter).unwrap();
        let failure = init_from(&workspace, &other, &made.path).unwrap_err();
        assert!(
            failure.error.contains("the model does not have \"fc2.bias\", \"fc2.weight\""),
            "{}",
            failure.error
        );
        fs::write(&made.path, b"not a model").unwrap();
        let failure = show(&made.path, None).unwrap_err();
        assert_eq!(failure.hint.as_deref(), Some("the file is not a safetensors file, or was cut short"));
    }
}
