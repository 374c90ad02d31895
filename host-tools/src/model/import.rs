//! A network of PyTorch becomes a plan's model and a model file.
//!
//! `fl-host model import` comes here. [`crate::onnx`] reads the network; this module opens the files, and
//! writes the plan and the weights.

use std::{
    fs,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Component, Path, PathBuf},
};

use fl_engine::{
    limits::PLAN_FILE_BYTES,
    model::{self, output_shape},
    plan::Plan,
};

use super::{refused_model, safetensors};
use crate::{
    exit::{Exit, Failure},
    files,
    onnx::{self, Elsewhere},
    workspace::replace_section,
};

/// A network that [`network`] wrote down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The model file.
    pub weights: PathBuf,
    /// Number of its tensors.
    pub tensors: usize,
    /// Elements of all tensors.
    pub elements: usize,
    /// Layers of the model.
    pub layers: usize,
    /// Shape of a sample.
    pub input: Vec<u32>,
    /// Shape of what the model gives for a sample.
    pub output: Vec<u32>,
    /// The section `model` of a plan.
    pub model: String,
    /// What the user should know: a sentence each.
    pub notes: Vec<String>,
}

/// Reads the network of an ONNX `file`. Writes the weights to `output`, by default beside the file, and the
/// layers into `plan`, if there is one.
///
/// # Errors
/// [`Exit::Model`] when the network is refused, [`Exit::File`]. Nothing is written then.
pub fn network(file: &Path, output: Option<&Path>, plan: Option<&Path>) -> Result<Written, Failure> {
    let output = output.map_or_else(|| file.with_extension("safetensors"), Path::to_path_buf);
    if output == file {
        let error = format!("{} would be overwritten by the weights", file.display());
        return Err(Failure::new(Exit::Usage, error).hint("name another file with --output"));
    }
    let bytes = files::read(file, FILE_BYTES)?;
    if safetensors::inspect(&bytes).is_ok() {
        let error = format!("{} is a safetensors file, which has weights and no layers", file.display());
        return Err(Failure::new(Exit::Usage, error)
            .hint("name the plan that describes the network: --into plan/plan.yaml"));
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let imported = onnx::import(&bytes, &Beside(folder))
        .map_err(|e| Failure::new(Exit::Model, format!("{}: {e}", file.display())).maybe_hint(e.hint()))?;
    let shown = file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let section =
        onnx::written(&imported.model, &format!("imported from {}", fl_engine::printable::one_line(&shown)));
    let mut notes = imported.notes;
    let edited = match plan {
        Some(plan) => {
            let text = replace_section(&files::read_text(plan, PLAN_FILE_BYTES)?, "model", &section);
            notes.extend(unfinished(plan, &text));
            Some((plan, text))
        }
        None => None,
    };
    files::replace(&output, &safetensors::write(&imported.state, &safetensors::Texts::new()))?;
    if let Some((plan, text)) = edited {
        files::replace(plan, text.as_bytes())?;
    }
    let layout = imported.state.layout();
    Ok(Written {
        weights: output,
        tensors: layout.tensors().len(),
        elements: layout.f32_len(),
        layers: imported.model.layers.len(),
        output: output_shape(&imported.model).map_err(|e| refused_model(&e))?,
        input: imported.model.input,
        model: section,
        notes,
    })
}

/// A model file that [`state_dict`] wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fitted {
    /// Number of its tensors.
    pub tensors: usize,
    /// Elements of all tensors.
    pub elements: usize,
    /// What was done with names, counts and types: a sentence each.
    pub notes: Vec<String>,
}

/// Writes the model of `plan` from a state dict of PyTorch to `output`. `renames` are pairs of beginnings of
/// names; with `convert`, elements of 16 and 64 bits are taken, too.
///
/// # Errors
/// [`Exit::Model`] when the state dict does not fit the plan, [`Exit::Plan`], [`Exit::File`].
pub fn state_dict(
    file: &Path,
    plan: &Path,
    output: &Path,
    renames: &[(String, String)],
    convert: bool,
) -> Result<Fitted, Failure> {
    let bytes = files::read(file, super::FILE_BYTES)?;
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\x80\x02") {
        let error = format!("{} was written by torch.save, which stores Python objects", file.display());
        return Err(Failure::new(Exit::Model, error).hint(format!("convert the file in Python:\n{CONVERT}")));
    }
    let text = files::read_text(plan, PLAN_FILE_BYTES)?;
    let parsed = Plan::parse(&text)
        .map_err(|e| Failure::of(Exit::Plan, &e).maybe_hint(e.hint().map(str::to_owned)))?;
    let layout = model::layout(&parsed.model).map_err(|e| refused_model(&e))?;
    let found = safetensors::read_state_dict(&bytes, &layout, renames, convert)
        .map_err(|e| super::refused_file(file, &e))?;
    files::replace(output, &safetensors::write(&found.state, &safetensors::Texts::new()))?;
    let mut notes = Vec::new();
    notes.extend(
        found.prefix.map(|prefix| format!("each name begins with {prefix:?}: the beginning is left out")),
    );
    let mut add = |names: &[String], what: &str| {
        if let Some(first) = names.first() {
            let more = if names.len() > 1 { format!(" and {} more", names.len() - 1) } else { String::new() };
            notes.push(format!("{first}{more}: {what}"));
        }
    };
    add(&found.left_out, "left out, because no batch_norm of the plan has `count: true`");
    add(&found.started, "not in the file, starts at 0");
    let converted: Vec<String> =
        found.converted.iter().map(|(name, kind)| format!("{name} ({kind})")).collect();
    add(&converted, "converted to elements of 32 bits");
    Ok(Fitted { tensors: layout.tensors().len(), elements: layout.f32_len() + layout.i64_len(), notes })
}

/// What a plan still needs, once it has the new model.
fn unfinished(plan: &Path, text: &str) -> Option<String> {
    let error = Plan::parse(text).err()?;
    Some(format!("{} has to be changed before it can be used: {error}", plan.display()))
}

/// The folder of a network, in which its second files lie.
struct Beside<'a>(&'a Path);

impl Beside<'_> {
    /// A file of the folder: a plain name, behind which no link leads out of the folder.
    fn path(&self, name: &str) -> Result<PathBuf, String> {
        let shown: String = name.chars().take(120).collect();
        let own = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        if name.is_empty() || name.contains('\0') || !Path::new(name).components().all(own) {
            return Err(format!("the second file {shown:?} is not in the network's folder"));
        }
        let missing = |e: std::io::Error| format!("cannot read the second file {shown:?}: {e}");
        let folder = self.0.canonicalize().map_err(missing)?;
        let path = self.0.join(name).canonicalize().map_err(missing)?;
        if !path.starts_with(&folder) {
            return Err(format!("the second file {shown:?} is not in the network's folder"));
        }
        if !path.is_file() {
            return Err(format!("the second file {shown:?} is not a file"));
        }
        Ok(path)
    }
}

impl Elsewhere for Beside<'_> {
    fn length(&self, name: &str) -> Result<u64, String> {
        let path = self.path(name)?;
        fs::metadata(&path).map(|found| found.len()).map_err(|e| e.to_string())
    }

    fn read(&self, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, String> {
        let open = || {
            let mut file = fs::File::open(self.path(name).map_err(std::io::Error::other)?)?;
            file.seek(SeekFrom::Start(offset))?;
            let mut bytes = Vec::new();
            file.take(length as u64).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        open().map_err(|e: std::io::Error| format!("cannot read the second file: {e}"))
    }
}

/// Writes a state dict of `torch.save` in the form that is read.
const CONVERT: &str = "\
import torch
from safetensors.torch import save_file
save_file(torch.load(\"state.pt\", weights_only=True), \"state.safetensors\")";

/// Most bytes of a network's file: what one message of Protocol Buffers can have.
const FILE_BYTES: usize = 2 << 30;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{files::tests::scratch, workspace};

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src/onnx/networks").join(name)
    }

    #[test]
    fn plan_gets_the_model_and_starts_from_the_weights() {
        let dir = scratch("model-import");
        let (root, weights) = (dir.join("w"), dir.join("x.safetensors"));
        let template = workspace::template("digits").unwrap();
        workspace::create(&root, template, None, &workspace::Trial::default()).unwrap();
        let workspace = workspace::Workspace::open(&root).unwrap();
        let before = fs::read_to_string(workspace.plan_file()).unwrap();
        let made =
            network(&fixture("mlp.classic.onnx"), Some(&weights), Some(&workspace.plan_file())).unwrap();
        assert_eq!((made.tensors, made.input.as_slice(), made.output.as_slice()), (11, &[10][..], &[4][..]));
        // The template's data have ten classes.
        assert_eq!(made.notes.len(), 1, "{:?}", made.notes);
        let after = fs::read_to_string(workspace.plan_file()).unwrap();
        assert!(after.contains(&made.model) && !after.contains("network: cnn"), "{after}");
        let kept = |text: &str| text.lines().filter(|line| line.starts_with('#')).count();
        assert_eq!(kept(&after), kept(&before));
        let plan = Plan::parse(&after.replace("classes: 10", "classes: 4")).unwrap();
        assert!(super::super::init_from(&workspace, &plan, &weights).is_ok());
    }

    #[test]
    fn second_file_lies_in_the_folder_of_the_network() {
        let dir = scratch("model-beside");
        fs::create_dir(dir.join("in")).unwrap();
        fs::write(dir.join("outside"), b"12345678").unwrap();
        fs::write(dir.join("in/data"), b"12345678").unwrap();
        std::os::unix::fs::symlink(dir.join("outside"), dir.join("in/link")).unwrap();
        let folder = dir.join("in");
        let beside = Beside(&folder);
        assert_eq!((beside.length("data"), beside.length("./data")), (Ok(8), Ok(8)));
        assert_eq!(beside.read("data", 2, 3).unwrap(), b"345");
        let absolute = dir.join("outside").display().to_string();
        for name in ["../outside", "link", &absolute, "", "missing", ".", "a\0b", "x/../../outside"] {
            assert!(beside.length(name).is_err() && beside.read(name, 0, 1).is_err(), "{name:?}");
        }
    }

    #[test]
    fn weights_do_not_overwrite_the_network() {
        let dir = scratch("model-import-self");
        let file = dir.join("net.safetensors");
        fs::write(&file, b"x").unwrap();
        assert_eq!(network(&file, None, None).unwrap_err().exit, Exit::Usage);
    }
}
