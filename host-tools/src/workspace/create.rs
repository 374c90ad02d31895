//! `fl-host workspace create`: makes a workspace from a template, with trial data.

use std::path::{Path, PathBuf};

use fl_engine::Name;
use fl_learn::data::shard::Sharding;

use super::{FOLDERS, set_key};
use crate::{
    exit::{Exit, Failure},
    files,
    templates::{self, ShardError, TEMPLATES, Template},
};

/// How the trial data of a new workspace are divided.
#[derive(Clone, Debug)]
pub struct Trial {
    /// How many collaborators.
    pub collaborators: usize,
    /// How rows are divided; `None` for by label, with the template's α.
    pub sharding: Option<Sharding>,
}

impl Default for Trial {
    fn default() -> Self {
        Self { collaborators: 3, sharding: None }
    }
}

/// Reads `iid`, `label:ALPHA` or `size:N,N,…`.
///
/// # Errors
/// A message for the command line.
pub fn sharding(text: &str) -> Result<Sharding, String> {
    let numbers =
        |list: &str| list.split(',').map(|n| n.trim().parse::<f64>().ok()).collect::<Option<Vec<_>>>();
    let found = match text.split_once(':') {
        None if text == "iid" => Some(Sharding::Iid),
        Some(("label", alpha)) => alpha.parse().ok().map(|alpha| Sharding::ByLabel { alpha }),
        Some(("size", sizes)) => numbers(sizes).map(|sizes| Sharding::BySize { sizes }),
        _ => None,
    };
    found.ok_or_else(|| {
        format!("{text:?} is not iid, label:ALPHA (as label:0.5) or size:N,N,… (as size:3,2,1)")
    })
}

/// Names for `count` collaborators of a trial: `one` to `ten`, then `site-11` and so on.
#[must_use]
pub fn trial_names(count: usize) -> Vec<String> {
    let words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
    (0..count).map(|n| words.get(n).map_or_else(|| format!("site-{}", n + 1), |w| (*w).to_owned())).collect()
}

/// What [`create`] made.
#[derive(Clone, Debug)]
pub struct Created {
    /// The new folder.
    pub root: PathBuf,
    /// The federation that its plan names.
    pub federation: Name,
    /// Rows of each trial collaborator's shard.
    pub shards: Vec<(String, usize)>,
    /// Rows of `data/test.csv`.
    pub test_rows: usize,
}

/// Makes the workspace `root` from `template`, with trial data; the federation is named after the
/// folder unless `federation` says otherwise.
///
/// # Errors
/// [`Exit::Workspace`] when `root` exists and is not an empty folder, [`Exit::Usage`] for a folder name that
/// cannot name a federation, [`Exit::File`].
pub fn create(
    root: &Path,
    template: &Template,
    federation: Option<&str>,
    trial: &Trial,
) -> Result<Created, Failure> {
    let federation = name_of(root, federation)?;
    files::refuse_occupied(root, "--prefix")?;
    FOLDERS.iter().try_for_each(|folder| files::make_folder(&root.join(folder)))?;
    let names = trial_names(trial.collaborators);
    let dirs: Vec<PathBuf> = names.iter().map(|name| root.join("data").join(name)).collect();
    let how = trial.sharding.clone().unwrap_or(Sharding::ByLabel { alpha: template.alpha });
    let shards = templates::materialise_shards(template, &how, TRIAL_SEED, &dirs, &root.join("data"));
    let shards = shards.map_err(|e| {
        Failure::of(if matches!(e, ShardError::Data(_)) { Exit::Data } else { Exit::File }, &e)
    })?;

    let plan = set_key(template.plan, "federation", &format!("\"{federation}\""), "schema");
    let map: String = names.iter().map(|name| format!("{name}: data/{name}\n")).collect();
    for (file, text) in [
        ("plan/plan.yaml", plan.as_str()),
        ("plan/site.yaml", include_str!("../templates/site.yaml")),
        ("plan/data.yaml", &format!("{}{map}", include_str!("../templates/data.yaml"))),
        ("README.md", template.readme),
    ] {
        files::replace(&root.join(file), text.as_bytes())?;
    }
    Ok(Created {
        root: root.to_owned(),
        federation,
        shards: names.into_iter().zip(shards.rows).collect(),
        test_rows: shards.test_rows,
    })
}

/// The template of this name.
///
/// # Errors
/// [`Exit::Usage`], with the names that there are.
pub fn template(name: &str) -> Result<&'static Template, Failure> {
    templates::find(name).ok_or_else(|| {
        let known: Vec<&str> = TEMPLATES.iter().map(|t| t.name).collect();
        Failure::new(Exit::Usage, format!("no template is named {name:?}"))
            .hint(format!("the templates are {}", known.join(", ")))
    })
}

fn name_of(root: &Path, federation: Option<&str>) -> Result<Name, Failure> {
    let folder = root.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let text = federation.map_or(folder, str::to_owned);
    text.parse().map_err(|e| {
        let failure = Failure::of(Exit::Usage, &e);
        if federation.is_none() {
            failure.hint("give the federation a name with --federation NAME")
        } else {
            failure
        }
    })
}

/// Seed of the trial data's division.
const TRIAL_SEED: u64 = 7;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::tests::scratch;

    #[test]
    fn every_template_becomes_a_workspace() {
        for t in TEMPLATES {
            let root = scratch("create").join("w-1");
            let made = create(&root, t, None, &Trial::default()).unwrap();
            assert_eq!(made.federation.as_str(), "w-1");
            let plan = fs::read_to_string(root.join("plan/plan.yaml")).unwrap();
            assert!(plan.contains("\nfederation: \"w-1\"\n"));
            for folder in FOLDERS {
                assert!(root.join(folder).is_dir());
            }
            let again = create(&root, t, None, &Trial::default()).unwrap_err();
            assert_eq!(again.exit, Exit::Workspace);
        }
    }

    #[test]
    fn folder_that_cannot_name_a_federation_asks_for_a_name() {
        let root = scratch("names").join("My Federation");
        let refused = create(&root, &TEMPLATES[0], None, &Trial::default()).unwrap_err();
        assert_eq!(refused.exit, Exit::Usage);
        assert_eq!(refused.hint.as_deref(), Some("give the federation a name with --federation NAME"));
        assert!(!root.exists());
        assert_eq!(
            create(&root, &TEMPLATES[0], Some("mine"), &Trial::default()).unwrap().federation.as_str(),
            "mine"
        );
    }

    #[test]
    fn trial_data_are_cut_as_asked() {
        let rows = |how: &str, collaborators| {
            let trial = Trial { collaborators, sharding: Some(sharding(how).unwrap()) };
            let made = create(&scratch("cut").join("w"), &TEMPLATES[0], None, &trial).unwrap();
            made.shards.into_iter().map(|(_, rows)| rows).collect::<Vec<_>>()
        };
        assert_eq!(rows("iid", 4), [114, 114, 114, 114]);
        assert_eq!(rows("size:3,2,1", 3), [228, 152, 76]);
        assert_ne!(rows("label:0.1", 3), rows("label:100", 3));
        for bad in ["", "iid:1", "label", "label:x", "size:", "size:1,x", "by_label:1"] {
            assert!(sharding(bad).unwrap_err().contains("is not iid, label:ALPHA"), "{bad:?}");
        }
    }
}
