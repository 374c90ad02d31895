//! `fl-host workspace create`: makes a workspace from a template, with trial data.

use std::path::{Path, PathBuf};

use fl_engine::{Name, limits};
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
    /// How rows are divided; `None` for the template's own way: by label, or pictures in turn.
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
    files::fill_new_folder(root, || fill(root, template, federation, trial))
}

fn fill(root: &Path, template: &Template, federation: Name, trial: &Trial) -> Result<Created, Failure> {
    FOLDERS.iter().try_for_each(|folder| files::make_folder(&root.join(folder)))?;
    let names = trial_names(trial.collaborators);
    let dirs: Vec<PathBuf> = names.iter().map(|name| root.join("data").join(name)).collect();
    let how = trial.sharding.as_ref();
    let shards = templates::materialise_shards(template, how, TRIAL_SEED, &dirs, &root.join("data"));
    let shards = shards.map_err(|e| match e {
        ShardError::Picture(failure) => failure,
        ShardError::Data(_) => Failure::of(Exit::Data, &e),
        other => Failure::of(Exit::File, &other),
    })?;

    let plan = for_collaborators(template.plan, names.len());
    let plan = set_key(&plan, "federation", &format!("\"{federation}\""), "schema");
    let map: String = names.iter().map(|name| format!("{name}: data/{name}\n")).collect();
    for (file, text) in [
        ("plan/plan.yaml", plan.as_str()),
        ("plan/site.yaml", include_str!("../templates/site.yaml")),
        ("plan/data.yaml", &format!("{}{map}", include_str!("../templates/data.yaml"))),
        ("README.md", &readme(template.readme, &names)),
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

/// The plan with a quorum that this number of collaborators can reach.
fn for_collaborators(plan: &str, count: usize) -> String {
    plan.replacen(
        "count: {min: 2, max: 3}",
        &format!("count: {{min: {}, max: {count}}}", count.clamp(1, 2)),
        1,
    )
}

/// The README with this workspace's folders and number in place of the template's three.
fn readme(text: &str, names: &[String]) -> String {
    let count = match trial_names(10).get(names.len().wrapping_sub(1)) {
        Some(word) => word.clone(),
        None => names.len().to_string(),
    };
    let plural = names.len() != 1;
    let folders: Vec<String> = names.iter().map(|name| format!("`data/{name}`")).collect();
    let list = match folders.as_slice() {
        [one] => one.clone(),
        [first, .., last] if folders.len() > 10 => format!("{first} to {last}"),
        [all @ .., last] => format!("{} and {last}", all.join(", ")),
        [] => String::new(),
    };
    let (hold, s) = if plural { ("hold", "s") } else { ("holds", "") };
    let capital = count[..1].to_ascii_uppercase() + &count[1..];
    let train = if plural { "train" } else { "trains" };
    text.replacen(FOLDERS_OF_THREE, &format!("{list} {hold} trial data for {count} collaborator{s}"), 1)
        .replacen("Three collaborators train", &format!("{capital} collaborator{s} {train}"), 1)
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
            // The name that comes nearest to the folder's.
            let near: String = text
                .to_lowercase()
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' })
                .skip_while(|c| !c.is_ascii_alphanumeric())
                .take(limits::NAME_BYTES)
                .collect();
            let near = if near.is_empty() { "NAME" } else { &near };
            failure.hint(format!("give the federation a name, for example with --federation {near}; the folder keeps its own name"))
        } else {
            failure
        }
    })
}

/// What the templates' READMEs say of their data.
const FOLDERS_OF_THREE: &str =
    "`data/one`, `data/two` and `data/three` hold trial data for three collaborators";
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
        let hint = |failure: Failure| failure.hint.unwrap();
        assert_eq!(
            hint(refused),
            "give the federation a name, for example with --federation my-federation; the folder keeps its own name"
        );
        let upper = create(&root.with_file_name("Heart_2026"), &TEMPLATES[0], None, &Trial::default());
        assert!(hint(upper.unwrap_err()).contains("--federation heart_2026"));
        assert!(!root.exists());
        assert_eq!(
            create(&root, &TEMPLATES[0], Some("mine"), &Trial::default()).unwrap().federation.as_str(),
            "mine"
        );
    }

    #[test]
    fn plan_and_readme_speak_of_the_collaborators_that_there_are() {
        let root = scratch("number");
        let made = |count: usize| {
            let folder = root.join(format!("w{count}"));
            let trial = Trial { collaborators: count, sharding: Some(Sharding::Iid) };
            create(&folder, &TEMPLATES[0], None, &trial).unwrap();
            let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap();
            (read("plan/plan.yaml"), read("README.md"))
        };
        assert_eq!(made(3).1, TEMPLATES[0].readme);
        let (plan, readme) = made(2);
        assert!(plan.contains("\nquorum: {count: {min: 2, max: 2}, "), "{plan}");
        assert!(
            readme.contains("`data/one` and `data/two` hold trial data for two collaborators"),
            "{readme}"
        );
        let (plan, readme) = made(1);
        assert!(plan.contains("\nquorum: {count: {min: 1, max: 1}, "), "{plan}");
        assert!(
            readme.contains("\nOne collaborator trains") && readme.contains("`data/one` holds"),
            "{readme}"
        );
        let (plan, readme) = made(12);
        assert!(plan.contains("{min: 2, max: 12}"), "{plan}");
        assert!(
            readme.contains("`data/one` to `data/site-12` hold trial data for 12 collaborators"),
            "{readme}"
        );
        // A command that fails leaves nothing in the way of the next.
        let none = Trial { collaborators: 0, sharding: None };
        assert!(create(&root.join("x"), &TEMPLATES[0], None, &none).is_err());
        assert!(!root.join("x").exists());
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
