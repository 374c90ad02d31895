//! The columns of a sample's header, written into the plan: each site then finds them by name.

use std::path::{Path, PathBuf};

use fl_engine::plan::{CsvSpec, Loader, Plan, TaskKind};
use fl_learn::data::csv;

use crate::{
    exit::{Exit, Failure},
    workspace::insert_in,
};

/// The columns that were written into the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// In the order of the model's input.
    pub features: Vec<String>,
    /// The folder of the sample.
    pub folder: PathBuf,
}

/// The plan's table, if a task reads it, it has a header, and the plan lists no columns yet.
pub(super) fn unnamed(plan: &Plan) -> Option<&CsvSpec> {
    if plan.tasks.iter().all(|task| matches!(task.kind, TaskKind::Synthetic { .. })) {
        return None;
    }
    match &plan.data.loader {
        Loader::Csv(spec) if spec.header && spec.features.is_none() => Some(spec),
        _ => None,
    }
}

/// The plan's text with the columns that the table `spec` has in `folder`.
pub(super) fn name_features(text: &str, spec: &CsvSpec, folder: &Path) -> Result<(String, Named), Failure> {
    let features =
        csv::feature_names(folder, spec).map_err(|e| Failure::of(Exit::Data, &e).maybe_hint(e.hint()))?;
    let edited = insert_in(text, "data", "features", &list(&features), "label");
    let parsed = edited.map(|edited| (Plan::parse(&edited), edited));
    let (error, hint) = match parsed {
        Some((Ok(plan), edited)) => {
            if matches!(&plan.data.loader, Loader::Csv(spec) if spec.features.as_ref() == Some(&features)) {
                return Ok((edited, Named { features, folder: folder.to_owned() }));
            }
            (String::new(), None)
        }
        Some((Err(refused), _)) => (format!(": {refused}"), refused.hint),
        None => (String::new(), None),
    };
    let error = format!("cannot write the columns of {} into plan/plan.yaml{error}", folder.display());
    let hint = hint
        .unwrap_or_else(|| format!("add this line under data in the plan: features: {}", list(&features)));
    Err(Failure::new(Exit::Plan, error).hint(hint))
}

/// A list of YAML with line breaks before column 110.
fn list(names: &[String]) -> String {
    let mut out = String::from("[");
    let mut width = "  features: [".len();
    for (at, name) in names.iter().enumerate() {
        let item = quoted(name) + if at + 1 == names.len() { "]" } else { "," };
        if at > 0 && width + item.chars().count() > 108 {
            out += "\n  ";
            width = 4;
        } else if at > 0 {
            out.push(' ');
            width += 1;
        }
        width += item.chars().count();
        out += &item;
    }
    out
}

/// A name as YAML reads it back: in quotes, unless it can be nothing but a text.
fn quoted(name: &str) -> String {
    let letters = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let word = ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf"];
    let plain = letters && name.starts_with(|c: char| c.is_ascii_alphabetic());
    match plain && !word.contains(&name.to_lowercase().as_str()) {
        true => name.to_owned(),
        false => serde_json::Value::from(name).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_yaml_would_read_something_else() {
        let names = ["age", "ph.ecog", "No", "1", "a, b", "say \"x\"", ""].map(str::to_owned);
        assert_eq!(list(&names), r#"[age, "ph.ecog", "No", "1", "a, b", "say \"x\"", ""]"#);
        let long: Vec<String> = (0..40).map(|n| format!("pixel_{n}")).collect();
        assert!(list(&long).lines().all(|line| line.len() <= 110) && list(&long).lines().count() == 4);
    }
}
