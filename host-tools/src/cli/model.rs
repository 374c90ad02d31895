//! `fl-host model`: the command line of [`crate::model`].

use std::path::PathBuf;

use argh::FromArgs;
use serde_json::json;

use super::Report;
use crate::{
    exit::Failure,
    model::{self, Shown},
};

/// Look at model files and convert them.
#[derive(FromArgs)]
#[argh(subcommand, name = "model")]
pub(super) struct ModelArea {
    #[argh(subcommand)]
    command: ModelCommand,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum ModelCommand {
    Show(ModelShow),
    Export(ModelExport),
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
        let folder = dir.display().to_string();
        let mut found = String::new();
        for line in [
            "model --help",
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
