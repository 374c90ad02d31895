//! The data map: one machine's own list of collaborators and their data folders.

use std::collections::BTreeMap;

use crate::{
    Name, limits,
    settings::{self, Field, PlanError, Setting, Takes, Value},
};

/// `plan/data.yaml`, checked: a collaborator's name to its data folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataMap(BTreeMap<Name, String>);

impl DataMap {
    /// Reads and checks a `data.yaml`. A file without lines gives an empty map. Whether the folders exist is
    /// not checked.
    ///
    /// # Errors
    /// [`PlanError`], as for a plan.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Self::default());
        }
        let tree = settings::parse(FILE, text)?;
        let file = Field::root(FILE, &tree, LINES);
        if matches!(file.value(), Value::Null) {
            return Ok(Self::default());
        }
        let lines = file.named(limits::COLLABORATORS)?;
        let map = lines.into_iter().map(|(name, field)| Ok((name, Folder::read(&field)?.0)));
        map.collect::<Result<_, _>>().map(Self)
    }

    /// The data folder of a collaborator: relative to the workspace, or absolute.
    #[must_use]
    pub fn folder(&self, collaborator: &Name) -> Option<&str> {
        self.0.get(collaborator).map(String::as_str)
    }

    /// Every line, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &str)> {
        self.0.iter().map(|(name, folder)| (name, folder.as_str()))
    }
}

/// The path of a data folder.
struct Folder(String);

impl Setting for Folder {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        let folder = field.text()?;
        let fits = !folder.is_empty() && folder.len() <= PATH_BYTES && !folder.contains('\0');
        if fits { Ok(Self(folder.to_owned())) } else { Err(field.refused()) }
    }
}

const FILE: &str = "plan/data.yaml";
const LINES: Takes = Takes::Names {
    kind: "lines of a collaborator's name and its data folder",
    of: &Takes::Other { kind: "a folder's path", words: &[] },
};
/// Linux's PATH_MAX.
const PATH_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_names_and_folders() {
        let map = DataMap::parse("# ours\none: data/one\ntwo: \"/srv/scans 2\"\n").unwrap();
        assert_eq!(map.folder(&"two".parse().unwrap()), Some("/srv/scans 2"));
        assert_eq!(map.folder(&"three".parse().unwrap()), None);
        assert_eq!(map.iter().count(), 2);
        let template = include_str!("../../../../host-tools/src/templates/data.yaml");
        assert_eq!(DataMap::parse(template), Ok(DataMap::default()));
        assert_eq!(DataMap::parse(""), Ok(DataMap::default()));
    }

    #[test]
    fn line_that_is_no_name_and_folder_is_refused() {
        let refusal = |text: &str| DataMap::parse(text).unwrap_err().to_string();
        assert!(refusal("One: data\n").starts_with("plan/data.yaml:1:1: \"One\" is not a name"));
        assert_eq!(refusal("one: 7\n"), "plan/data.yaml:1:6: one is 7; it takes a text");
        assert_eq!(
            refusal("one: a\none: b\n"),
            "plan/data.yaml:2:1: the key \"one\" is given twice; first in line 1"
        );
        assert!(refusal("one:\n").contains("one is empty; it takes a text"));
        assert!(refusal("one: ''\n").contains("a folder's path"));
        assert!(refusal("- one\n").contains("the file is a list"));
    }
}
