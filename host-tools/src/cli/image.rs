//! `fl-host image`: the command line of [`crate::image`].

use std::path::PathBuf;

use argh::FromArgs;
use fl_engine::printable::one_line;
use serde_json::json;

use super::Answer;
use crate::{
    exit::{Exit, Failure},
    image::inspect::{self, Inspected},
};

/// Inspect container images.
#[derive(FromArgs)]
#[argh(subcommand, name = "image")]
pub(super) struct ImageArea {
    #[argh(subcommand)]
    command: ImageCommand,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum ImageCommand {
    Inspect(ImageInspect),
}

/// Show the labels of an image's archive, and check each label against the archive's contents.
#[derive(FromArgs)]
#[argh(subcommand, name = "inspect")]
struct ImageInspect {
    /// the archive, for example heart.tar.gz
    #[argh(positional)]
    archive: PathBuf,
}

pub(super) fn run(area: &ImageArea) -> Result<Answer, Failure> {
    let ImageCommand::Inspect(command) = &area.command;
    let found = inspect::inspect(&command.archive)?;
    let broken: Vec<&str> =
        found.checks.iter().filter(|check| !check.holds()).map(|check| check.label.as_str()).collect();
    if !broken.is_empty() {
        let mut error = format!("{} does not match its labels", command.archive.display());
        for check in found.checks.iter().filter(|check| !check.holds()) {
            let stated = check.stated.as_deref().unwrap_or("not stated");
            error += &format!("; {} is {stated}, but the contents give {}", check.label, check.found);
        }
        return Err(Failure::new(Exit::Trust, error)
            .hint("do not run this image; ask the federation's owner for the archive again"));
    }
    Ok(Answer { text: text(&found), json: json(&found) })
}

fn text(found: &Inspected) -> String {
    let mut text = format!(
        "image    {}\nid       {}\nsha256   {}\ncontent  {} files, {:.1} MB\n",
        one_line(found.name.as_deref().unwrap_or("without a name")),
        found.id,
        found.archive,
        found.files,
        found.layer_bytes as f64 / 1e6,
    );
    for (key, value) in &found.labels {
        let checked = found.checks.iter().any(|check| check.label == *key && check.holds());
        let mark = if checked { "checked " } else { "label   " };
        // A label of two lines cannot look like two labels.
        text += &format!("{mark} {} {}\n", one_line(key), one_line(value));
    }
    text
}

fn json(found: &Inspected) -> serde_json::Value {
    json!({
        "name": found.name,
        "image": found.id.to_string(),
        "sha256": found.archive.to_string(),
        "files": found.files,
        "layer_bytes": found.layer_bytes,
        "labels": found.labels,
        "checked": found.checks.iter().map(|check| check.label.as_str()).collect::<Vec<_>>(),
    })
}
