//! `fl-host model`: the command line of [`crate::model`].

use std::path::{Path, PathBuf};

use argh::FromArgs;
use fl_engine::printable::one_line;
use serde_json::json;

use super::Answer;
use crate::{
    exit::{Exit, Failure},
    model::{
        self, Shown, import, sealed,
        using::{self, Evaluated},
    },
    plan,
    workspace::Workspace,
};

/// Make, show, convert and decrypt model files.
#[derive(FromArgs)]
#[argh(subcommand, name = "model")]
pub(super) struct ModelArea {
    #[argh(subcommand)]
    command: ModelCommand,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum ModelCommand {
    Init(ModelInit),
    Show(ModelShow),
    Export(ModelExport),
    Import(ModelImport),
    Key(ModelKey),
    Open(ModelOpen),
    Evaluate(ModelEvaluate),
    Predict(ModelPredict),
}

/// Make the model that the first round starts from: save/W_init.safetensors, where W is the federation's
/// name.
#[derive(FromArgs)]
#[argh(subcommand, name = "init")]
struct ModelInit {
    /// seed of the model's random initial values; the plan's seed by default
    #[argh(option)]
    seed: Option<u64>,
    /// take the model's initial values from this .safetensors file
    #[argh(option)]
    from: Option<PathBuf>,
    /// the workspace; the current folder by default
    #[argh(option, default = "PathBuf::from(\".\")")]
    workspace: PathBuf,
}

/// Show a model file: its tensors, its metadata, and its root, which is a hash of all values.
#[derive(FromArgs)]
#[argh(subcommand, name = "show")]
struct ModelShow {
    /// a .safetensors file
    #[argh(positional)]
    file: PathBuf,
}

/// Copy a model file for PyTorch and other programs: the tensors, without optimiser state. Of the metadata,
/// the plan and the statistics are kept.
#[derive(FromArgs)]
#[argh(subcommand, name = "export")]
struct ModelExport {
    /// a .safetensors file, for example one in save/
    #[argh(positional)]
    file: PathBuf,
    /// the file to write
    #[argh(option)]
    output: PathBuf,
    /// copy the optimiser state, too
    #[argh(switch)]
    all: bool,
}

/// Take a network that PyTorch exported as ONNX: its layers for the plan, and its weights as a model file.
/// With --into, take the state dict of a network that the plan describes already.
#[derive(FromArgs)]
#[argh(subcommand, name = "import")]
struct ModelImport {
    /// an .onnx file; with --into, a state dict as .safetensors. The manual's chapter own_network says how to
    /// export both
    #[argh(positional)]
    file: PathBuf,
    /// the .safetensors file to write; by default beside the network, with this ending
    #[argh(option)]
    output: Option<PathBuf>,
    /// the plan whose model the state dict is for, for example plan/plan.yaml
    #[argh(option)]
    into: Option<PathBuf>,
    /// OLD=NEW: names of the state dict that begin with OLD begin with NEW instead; may be repeated
    #[argh(option)]
    rename: Vec<String>,
    /// take elements of 16 and 64 bits of the state dict, too
    #[argh(switch)]
    convert: bool,
    /// a plan whose `model` is replaced, for example plan/plan.yaml; without it, the layers are printed
    #[argh(option)]
    plan: Option<PathBuf>,
}

/// Make a key pair for released models: the aggregator encrypts them to the public key, which is printed.
#[derive(FromArgs)]
#[argh(subcommand, name = "key")]
struct ModelKey {
    /// the file to write the private key to; only this user can read it
    #[argh(option)]
    output: PathBuf,
}

/// Decrypt a model that was released to a key, check its digest, and write it as .safetensors.
#[derive(FromArgs)]
#[argh(subcommand, name = "open")]
struct ModelOpen {
    /// a .sealed file from save/released on the aggregator's machine
    #[argh(positional)]
    file: PathBuf,
    /// the private key that `fl-host model key` wrote
    #[argh(option)]
    key: PathBuf,
    /// the .safetensors file to write
    #[argh(option)]
    output: PathBuf,
}

/// Measure a model on labelled data: metrics, which answers each class got, and a table of the classes. The
/// model file says how the data are read.
#[derive(FromArgs)]
#[argh(subcommand, name = "evaluate")]
struct ModelEvaluate {
    /// a .safetensors file that fl-runtime or fl-host wrote
    #[argh(positional)]
    file: PathBuf,
    /// the data folder, or one file that takes the place of the plan's file; all rows are used
    #[argh(option)]
    data: PathBuf,
}

/// Write what a model says of samples: a CSV file, or a folder of masks where the model's output is an image.
/// The data need no labels.
#[derive(FromArgs)]
#[argh(subcommand, name = "predict")]
struct ModelPredict {
    /// a .safetensors file that fl-runtime or fl-host wrote
    #[argh(positional)]
    file: PathBuf,
    /// the data folder, a folder of pictures, or one file that takes the place of the plan's file
    #[argh(option)]
    data: PathBuf,
    /// the CSV file to write, or the new folder of the masks
    #[argh(option)]
    output: PathBuf,
}

pub(super) fn run(area: &ModelArea) -> Result<Answer, Failure> {
    match &area.command {
        ModelCommand::Init(command) => {
            let workspace = Workspace::open(&command.workspace)?;
            let plan = plan::load(&workspace)?;
            let made = match &command.from {
                Some(_) if command.seed.is_some() => {
                    let error =
                        "--seed and --from cannot be given together: --from takes the values from a file";
                    return Err(Failure::new(Exit::Usage, error).hint("give only one of the two options"));
                }
                Some(file) => model::init_from(&workspace, &plan.plan, file)?,
                None => model::init(&workspace, &plan.plan, Some(plan.hash), command.seed)?,
            };
            let path = made.path.display();
            let text = format!(
                "{path}: {} tensors, {} elements\nroot: {}\n",
                made.tensors, made.elements, made.root
            );
            let json = json!({
                "file": made.path, "tensors": made.tensors, "elements": made.elements,
                "root": made.root.to_string(), "plan": plan.hash.to_string(),
            });
            Ok(Answer { text, json })
        }
        ModelCommand::Show(command) => Ok(shown(&model::show(&command.file, None)?)),
        ModelCommand::Export(command) => {
            let made = model::export(&command.file, &command.output, command.all)?;
            let text = format!(
                "{}: {} tensors, {} elements\n",
                command.output.display(),
                made.tensors.len(),
                made.elements
            );
            let json = json!({
                "file": command.output, "tensors": made.tensors.len(), "elements": made.elements,
            });
            Ok(Answer { text, json })
        }
        ModelCommand::Import(command) if command.into.is_some() => fitted(command),
        ModelCommand::Import(command) => {
            if command.convert || !command.rename.is_empty() {
                let error = "--rename and --convert are for a state dict, and --into is missing";
                return Err(Failure::new(Exit::Usage, error)
                    .hint("name the plan of the state dict's network: --into plan/plan.yaml"));
            }
            let made = import::network(&command.file, command.output.as_deref(), command.plan.as_deref())?;
            Ok(imported(&made, command.plan.as_deref()))
        }
        ModelCommand::Key(command) => {
            let public = sealed::new_key(&command.output)?;
            let text = format!(
                "private key: {}: back this file up: without the file nobody can open the models that are released to this key\n\
                 public key: {public}\nin the plan: release: {{what: last, to: key:{public}}}\n",
                command.output.display()
            );
            Ok(Answer { text, json: json!({"file": command.output, "public_key": public.to_string()}) })
        }
        ModelCommand::Open(command) => Ok(opened(command)?),
        ModelCommand::Evaluate(command) => Ok(evaluated(&using::evaluate(&command.file, &command.data)?)),
        ModelCommand::Predict(command) => predicted(command),
    }
}

fn evaluated(found: &Evaluated) -> Answer {
    let of = |class: &using::OfClass| {
        json!({
            "labels": class.labels, "precision": class.precision, "sensitivity": class.sensitivity,
            "f1": class.f1, "iou": class.iou,
        })
    };
    let json = json!({
        "rows": found.rows, "metrics": found.metrics(), "classes": found.classes,
        "confusion": found.assessment.confusion, "by_class": found.by_class().iter().map(of).collect::<Vec<_>>(),
        "facts": found.facts, "warnings": found.warnings,
    });
    Answer { text: found.lines(), json }
}

fn predicted(command: &ModelPredict) -> Result<Answer, Failure> {
    let made = using::predict(&command.file, &command.data, &command.output)?;
    let what = if made.is_folder { "masks" } else { "lines" };
    let facts: String = made.facts.iter().map(|fact| format!("{fact}\n")).collect();
    let text = format!("{facts}{}: {} {what}\n", made.output.display(), made.rows);
    Ok(Answer { text, json: json!({"output": made.output, "rows": made.rows, "facts": made.facts}) })
}

/// A text of the metadata on one line. The plan's canonical form is long, and for programs.
fn told(key: &str, value: &str) -> String {
    match key {
        model::text::CANONICAL_PLAN => format!("{key}: {} bytes\n", value.len() / 2),
        _ => format!("{key}: {}\n", one_line(value)),
    }
}

fn fitted(command: &ModelImport) -> Result<Answer, Failure> {
    let usage = |error: &str, hint: &str| Err(Failure::new(Exit::Usage, error).hint(hint));
    let Some(plan) = command.into.as_ref().filter(|_| command.plan.is_none()) else {
        return usage(
            "--into and --plan cannot be given together",
            "--into leaves the plan as it is: give only --into",
        );
    };
    let Some(output) = &command.output else {
        return usage("--output is missing", "name the .safetensors file to write: --output FILE");
    };
    let mut renames = Vec::new();
    for pair in &command.rename {
        let Some((old, new)) = pair.split_once('=').filter(|(old, _)| !old.is_empty()) else {
            return usage("--rename takes OLD=NEW", "for example: --rename backbone.=trunk.");
        };
        renames.push((old.to_owned(), new.to_owned()));
    }
    let made = import::state_dict(&command.file, plan, output, &renames, command.convert)?;
    let weights = output.display();
    let mut text = format!("{weights}: {} tensors, {} elements\n", made.tensors, made.elements);
    for note in &made.notes {
        text += &format!("note: {}\n", one_line(note));
    }
    text +=
        &format!("to start from these weights: fl-host plan initialize -a ADDRESS --init-model {weights}\n");
    let json = json!({
        "file": output, "tensors": made.tensors, "elements": made.elements, "notes": made.notes, "plan": plan,
    });
    Ok(Answer { text, json })
}

fn imported(made: &import::Written, plan: Option<&Path>) -> Answer {
    let weights = made.weights.display();
    let mut text = format!("{weights}: {} tensors, {} elements\n", made.tensors, made.elements);
    let model = format!("{} layers, {:?} in, {:?} out", made.layers, made.input, made.output);
    match plan {
        Some(plan) => text += &format!("{}: model: {model}\n", plan.display()),
        None => text += &format!("model: {model}\n\n{}\n", made.model),
    }
    for note in &made.notes {
        text += &format!("note: {}\n", one_line(note));
    }
    text +=
        &format!("to start from these weights: fl-host plan initialize -a ADDRESS --init-model {weights}\n");
    let json = json!({
        "file": made.weights, "tensors": made.tensors, "elements": made.elements, "layers": made.layers,
        "input": made.input, "output": made.output, "model": made.model, "notes": made.notes, "plan": plan,
    });
    Answer { text, json }
}

fn opened(command: &ModelOpen) -> Result<Answer, Failure> {
    let sealed::Opened { label, texts, tensors, elements } =
        sealed::open(&command.file, &command.key, &command.output)?;
    let mut text = format!(
        "{}: {tensors} tensors, {elements} elements\nplan: {}\nround: {}\nroot: {}\n",
        command.output.display(),
        label.plan,
        label.rounds,
        label.root
    );
    let told = [model::text::PLAN, model::text::ROUND, model::text::ROOT];
    for (key, value) in texts.iter().filter(|(key, _)| !told.contains(&key.as_str())) {
        text += &self::told(key, value);
    }
    let json = json!({
        "file": command.output, "tensors": tensors, "elements": elements, "plan": label.plan.to_string(),
        "round": label.rounds, "root": label.root.to_string(), "metadata": texts,
    });
    Ok(Answer { text, json })
}

fn shown(model: &Shown) -> Answer {
    let width = model.tensors.iter().map(|t| t.name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for tensor in &model.tensors {
        text += &format!("{:width$}  {:4} {:?}\n", tensor.name, tensor.dtype, tensor.shape);
    }
    text += &format!("{} tensors, {} elements\n", model.tensors.len(), model.elements);
    for (key, value) in &model.texts {
        text += &told(key, value);
    }
    let tensors: Vec<_> =
        model.tensors.iter().map(|t| json!({"name": t.name, "dtype": t.dtype, "shape": t.shape})).collect();
    let root = model.root.map(|root| root.to_string());
    if let Some(root) = root.as_ref().filter(|root| model.texts.get(model::text::ROOT) != Some(*root)) {
        text += &format!("root, if no tensor is held out: {root}\n");
    }
    let json = json!({"tensors": tensors, "elements": model.elements, "metadata": model.texts, "root": root});
    Answer { text, json }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use fl_engine::{
        Digest,
        model::safetensors,
        tensor::{Combine, Layout, ModelState, TensorSpec, root_of},
    };
    use fl_runtime::internal::{
        sealed::{Label, Sealer},
        system::System,
    };

    use crate::{
        cli::transcript::{answered, transcript},
        files::tests::scratch,
    };

    #[test]
    fn model_commands_answer_as_their_transcript_says() {
        let dir = scratch("model-cli");
        let layout =
            Layout::new(vec![TensorSpec::f32("fc1.weight", [2, 3]), TensorSpec::f32("fc1.bias", [2])]);
        let texts = [("round".to_owned(), "3".to_owned())].into();
        let bytes = safetensors::write(&ModelState::zeros(layout.unwrap()), &texts);
        std::fs::write(dir.join("a.safetensors"), &bytes).unwrap();
        std::fs::write(dir.join("b.safetensors"), &bytes[..100]).unwrap();
        let template = crate::workspace::template("digits").unwrap();
        crate::workspace::create(&dir.join("w"), template, None, &crate::workspace::Trial::default())
            .unwrap();
        for name in ["lenet.classic.onnx", "refused/recurrent.onnx", "refused/merged.onnx"] {
            let path = format!("{}/src/onnx/networks/{name}", env!("CARGO_MANIFEST_DIR"));
            std::fs::copy(path, dir.join(name.rsplit('/').next().unwrap())).unwrap();
        }
        // The plan of another workspace, and state dicts of its network.
        let template = crate::workspace::template("breast_cancer").unwrap();
        crate::workspace::create(&dir.join("v"), template, None, &crate::workspace::Trial::default())
            .unwrap();
        let sides = [("fc1.weight", vec![16, 30]), ("fc1.bias", vec![16]), ("fc2.weight", vec![2, 16])];
        for (file, first, last) in [("state", "module.fc1", "module.fc2"), ("other", "head", "fc2")] {
            let wrapped = |name: &str| name.replace("fc1", first).replace("fc2", last);
            let mut all: Vec<TensorSpec> =
                sides.iter().map(|(name, shape)| TensorSpec::f32(wrapped(name), shape.clone())).collect();
            all.push(TensorSpec::f32(wrapped("fc2.bias"), [2]));
            let mut count = TensorSpec::f32(wrapped("fc1.num_batches_tracked"), []);
            (count.dtype, count.combine) = (fl_engine::tensor::Dtype::I64, Combine::Max);
            all.push(count);
            let bytes =
                safetensors::write(&ModelState::zeros(Layout::new(all).unwrap()), &Default::default());
            std::fs::write(dir.join(file).with_extension("safetensors"), bytes).unwrap();
        }
        std::fs::write(dir.join("state.pt"), b"PK\x03\x04 and more").unwrap();
        let lines = [
            "model --help",
            "model init --workspace D/w",
            "model init --workspace D/w --seed 8",
            "model init --workspace D/w --from D/a.safetensors",
            "model init --workspace D/w --from D/a.safetensors --seed 8",
            "model init --workspace D/none",
            "model show D/a.safetensors",
            "--json model show D/a.safetensors",
            "model export D/a.safetensors --output D/c.safetensors",
            "model show D/c.safetensors",
            "model show D/b.safetensors",
            "--json model show D/none.safetensors",
            "model import --help",
            "model import D/lenet.classic.onnx",
            "model import D/lenet.classic.onnx --output D/l.safetensors --plan D/w/plan/plan.yaml",
            "--json model import D/lenet.classic.onnx --output D/l.safetensors --plan D/w/plan/plan.yaml",
            "model show D/l.safetensors",
            "model import D/recurrent.onnx",
            "model import D/merged.onnx",
            "model import D/l.safetensors --output D/m.safetensors",
            "model import D/none.onnx",
            "model import D/state.safetensors --into D/w/plan/plan.yaml --output D/fit.safetensors",
            "model import D/state.safetensors --into D/v/plan/plan.yaml --output D/fit.safetensors",
            "--json model import D/state.safetensors --into D/v/plan/plan.yaml --output D/fit.safetensors",
            "model import D/other.safetensors --into D/v/plan/plan.yaml --output D/fit.safetensors",
            "model import D/other.safetensors --into D/v/plan/plan.yaml --output D/fit.safetensors --rename head.=fc1.",
            "model import D/state.pt --into D/v/plan/plan.yaml --output D/fit.safetensors",
            "model import D/state.safetensors --into D/v/plan/plan.yaml",
            "model import D/state.safetensors --into D/v/plan/plan.yaml --plan D/p.yaml --output D/fit.safetensors",
            "model import D/state.safetensors --into D/v/plan/plan.yaml --rename x --output D/fit.safetensors",
            "model import D/state.safetensors --rename a=b",
        ];
        assert_eq!(transcript(&dir, &lines), include_str!("model.txt"));
    }

    #[test]
    fn sealed_models_answer_as_their_transcript_says() {
        let dir = scratch("model-sealed");
        let folder = dir.display().to_string();
        let mut found = String::new();
        let mut say = |line: &str| {
            let (said, shown) = answered(line, &[("D/", &folder)]);
            found += &shown;
            said.out
        };
        let said = say("model key --output D/k.pem");
        let public = said.lines().find_map(|line| line.strip_prefix("public key: ")).unwrap().to_owned();
        say("model key --output D/k.pem");
        let said = say("--json model key --output D/other.pem");
        let other: serde_json::Value = serde_json::from_str(&said).unwrap();
        let other = other["public_key"].as_str().unwrap().to_owned();
        let mode = std::fs::metadata(dir.join("k.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        // Held out of aggregation: a root that takes more than the file's tensors to find.
        let mut tensor = TensorSpec::f32("fc1.weight", [2, 3]);
        tensor.combine = Combine::Keep;
        let layout = Layout::new(vec![tensor, TensorSpec::f32("fc1.bias", [2])]).unwrap();
        let state = ModelState::zeros(std::sync::Arc::clone(&layout));
        let mut payload = Vec::new();
        state.write_bytes(&mut payload);
        let root = root_of(layout.hash(), &payload);
        let texts = [("metrics".to_owned(), "{}".to_owned()), ("root".to_owned(), root.to_string())].into();
        let plain = safetensors::write(&state, &texts);
        let seal = |root, file: &str| {
            let label = Label {
                plan: Digest([7; 32]),
                rounds: 3,
                root,
                length: plain.len() as u64,
                recipient: public.parse().unwrap(),
                note: serde_json::to_string(layout.tensors()).unwrap(),
            };
            let mut sealer = Sealer::new(Vec::new(), &label, &System::real().random).unwrap();
            sealer.write(&plain).unwrap();
            let bytes = sealer.finish().unwrap();
            std::fs::write(dir.join(file), &bytes).unwrap();
            bytes
        };
        let mut sealed = seal(root, "w_last.sealed");
        seal(Digest([8; 32]), "lying.sealed");
        std::fs::write(dir.join("cut.sealed"), &sealed[..sealed.len() - 9]).unwrap();
        let last = sealed.len() - 1;
        sealed[last] ^= 1;
        std::fs::write(dir.join("changed.sealed"), &sealed).unwrap();
        std::fs::write(dir.join("no.pem"), "no key").unwrap();
        std::fs::write(dir.join("plain.safetensors"), &plain).unwrap();
        for line in [
            "model open D/w_last.sealed --key D/k.pem --output D/o.safetensors",
            "--json model open D/w_last.sealed --key D/k.pem --output D/o.safetensors",
            "model open D/w_last.sealed --key D/other.pem --output D/o.safetensors",
            "model open D/w_last.sealed --key D/no.pem --output D/o.safetensors",
            "model open D/w_last.sealed --key D/k.pem --output D/none/o.safetensors",
            "model open D/cut.sealed --key D/k.pem --output D/o.safetensors",
            "model open D/changed.sealed --key D/k.pem --output D/o.safetensors",
            "model open D/lying.sealed --key D/k.pem --output D/o.safetensors",
            "model open D/plain.safetensors --key D/k.pem --output D/o.safetensors",
            "model open D/none.sealed --key D/k.pem --output D/o.safetensors",
        ] {
            say(line);
        }
        assert!(std::fs::read(dir.join("o.safetensors")).unwrap() == plain, "refusals leave it alone");
        assert!(!dir.join("o.safetensors.new").exists());
        let found = found.replace(&folder, "D").replace(&public, "PUBLIC").replace(&other, "OTHER");
        assert_eq!(found, include_str!("model_sealed.txt"));
    }
}
