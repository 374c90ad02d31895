//! `fl-host model`: the command line of [`crate::model`].

use std::path::PathBuf;

use argh::FromArgs;
use serde_json::json;

use super::Report;
use crate::{
    exit::{Exit, Failure},
    model::{self, Shown},
    plan,
    workspace::Workspace,
};

/// Make, look at and convert model files.
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
}

/// Make the first round's model, save/W_init.safetensors, from the plan.
#[derive(FromArgs)]
#[argh(subcommand, name = "init")]
struct ModelInit {
    /// seed of the initial values; the plan's by default
    #[argh(option)]
    seed: Option<u64>,
    /// take the values from this .safetensors file
    #[argh(option)]
    from: Option<PathBuf>,
    /// the workspace's folder; the current one by default
    #[argh(option, default = "PathBuf::from(\".\")")]
    workspace: PathBuf,
}

/// List a model file's tensors, what it says beside them, and its root.
#[derive(FromArgs)]
#[argh(subcommand, name = "show")]
struct ModelShow {
    /// a .safetensors file
    #[argh(positional)]
    file: PathBuf,
}

/// Write a model file's tensors alone, for PyTorch and others; optimiser
/// state is left out.
#[derive(FromArgs)]
#[argh(subcommand, name = "export")]
struct ModelExport {
    /// a .safetensors file, for example of save/
    #[argh(positional)]
    file: PathBuf,
    /// the new file
    #[argh(option)]
    output: PathBuf,
    /// keep optimiser state
    #[argh(switch)]
    all: bool,
}

pub(super) fn run(area: &ModelArea) -> Result<Report, Failure> {
    match &area.command {
        ModelCommand::Init(command) => {
            let workspace = Workspace::open(&command.workspace)?;
            let plan = plan::load(&workspace)?;
            let made = match &command.from {
                Some(_) if command.seed.is_some() => {
                    let error = "--seed has no effect on values that come --from a file";
                    return Err(Failure::new(Exit::Usage, error).hint("give one of the two"));
                }
                Some(file) => model::init_from(&workspace, &plan.plan, Some(plan.hash), file)?,
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
            Ok(Report { text, json })
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
            Ok(Report { text, json })
        }
    }
}

fn shown(model: &Shown) -> Report {
    let width = model.tensors.iter().map(|t| t.name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for tensor in &model.tensors {
        text += &format!("{:width$}  {:4} {:?}\n", tensor.name, tensor.dtype, tensor.shape);
    }
    text += &format!("{} tensors, {} elements\n", model.tensors.len(), model.elements);
    for (key, value) in &model.texts {
        text += &format!("{key}: {value}\n");
    }
    let tensors: Vec<_> =
        model.tensors.iter().map(|t| json!({"name": t.name, "dtype": t.dtype, "shape": t.shape})).collect();
    let root = model.root.map(|root| root.to_string());
    if let Some(root) = root.as_ref().filter(|root| model.texts.get(model::text::ROOT) != Some(*root)) {
        text += &format!("root, nothing held out: {root}\n");
    }
    let json = json!({"tensors": tensors, "elements": model.elements, "metadata": model.texts, "root": root});
    Report { text, json }
}

#[cfg(test)]
mod tests {
    use fl_engine::{
        model::safetensors,
        tensor::{Layout, ModelState, TensorSpec},
    };

    use crate::{cli, workspace::tests::scratch};

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
        let folder = dir.display().to_string();
        let mut found = String::new();
        for line in [
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
        ] {
            let words: Vec<String> =
                line.split(' ').map(|word| word.replace("D/", &format!("{folder}/"))).collect();
            let said = cli::run(&words.iter().map(String::as_str).collect::<Vec<_>>());
            found += &format!("$ fl-host {line}\n{}{}=> {}\n", said.out, said.err, said.exit as u8);
        }
        assert_eq!(found.replace(&folder, "D"), include_str!("model.txt"));
    }
}
