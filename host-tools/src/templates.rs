//! The workspaces that `fl-host` can make: a plan, its data with their attribution, a README; all embedded.
//!
//! [`materialise_shards`] divides a template's data among collaborators' folders, for a trial or a
//! demonstration.

use std::{
    fs,
    path::{Path, PathBuf},
};

use fl_learn::data::{
    DataError, Dataset,
    shard::{self, Sharding},
};
use ndarray::{Array1, ArrayD};

/// One embedded workspace.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Template {
    /// The value of `--template`.
    pub name: &'static str,
    /// One line for `workspace templates`.
    pub about: &'static str,
    /// `plan/plan.yaml`.
    pub plan: &'static str,
    /// `README.md`, with the data's attribution.
    pub readme: &'static str,
    /// CSV with a header line; the label is the last column.
    pub data: &'static str,
    /// Dirichlet α of a trial's shards.
    pub alpha: f64,
}

/// The template of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Template> {
    TEMPLATES.iter().find(|t| t.name == name)
}

/// What [`materialise_shards`] wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shards {
    /// Rows of each collaborator's `data.csv`, in the order of the folders.
    pub rows: Vec<usize>,
    /// The file of rows that no collaborator sees; same columns.
    pub test: PathBuf,
    /// Its rows.
    pub test_rows: usize,
}

/// Why shards could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShardError {
    /// The split is impossible.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// Writes `data.csv` into each of `dirs` (one a collaborator; made when missing) and `test.csv` into
/// `test_dir`.
///
/// A fifth of the rows, stratified by label, goes to `test.csv`. The others are divided as `how` says. The
/// same seed gives the same files.
///
/// # Errors
/// [`ShardError`]; files already written stay.
pub fn materialise_shards(
    template: &Template,
    how: &Sharding,
    seed: u64,
    dirs: &[PathBuf],
    test_dir: &Path,
) -> Result<Shards, ShardError> {
    let mut lines = template.data.lines();
    let header = lines.next().unwrap_or_default();
    let lines: Vec<&str> = lines.collect();
    let label = |line: &str| line.rsplit(',').next().and_then(|cell| cell.parse().ok()).unwrap_or(f32::NAN);
    let labels: Vec<f32> = lines.iter().map(|line| label(line)).collect();
    let (rest, held_out) = shard::stratified(&labels, HELD_OUT, seed);

    // Sharding looks at labels only.
    let seen = Dataset {
        features: ArrayD::zeros(vec![rest.len(), 0]),
        labels: Array1::from_iter(rest.iter().map(|&row| labels[row])).into_dyn(),
    };
    let shards = shard::shards(&seen, dirs.len(), how, seed)?;
    let write = |dir: &Path, file: &str, rows: &mut dyn Iterator<Item = usize>| {
        let mut text = format!("{header}\n");
        for row in rows {
            text.push_str(lines[row]);
            text.push('\n');
        }
        let path = dir.join(file);
        fs::create_dir_all(dir)
            .and_then(|()| fs::write(&path, text))
            .map_err(|source| ShardError::Io { path: path.clone(), source })?;
        Ok::<_, ShardError>(path)
    };
    for (dir, shard) in dirs.iter().zip(&shards) {
        let mut rows: Vec<usize> = shard.iter().map(|&at| rest[at]).collect();
        rows.sort_unstable();
        write(dir, "data.csv", &mut rows.into_iter())?;
    }
    let test_rows = held_out.len();
    let test = write(test_dir, "test.csv", &mut held_out.into_iter())?;
    Ok(Shards { rows: shards.iter().map(Vec::len).collect(), test, test_rows })
}

/// Every template, in the order in which they are listed.
pub const TEMPLATES: &[Template] = &[
    Template {
        name: "breast_cancer",
        about: "30 measurements of cell nuclei, benign or malignant; multilayer perceptron",
        plan: include_str!("templates/breast_cancer/plan.yaml"),
        readme: include_str!("templates/breast_cancer/README.md"),
        data: include_str!("templates/breast_cancer/data.csv"),
        alpha: 1.0,
    },
    Template {
        name: "digits",
        about: "handwritten digits of 8 x 8 pixels; convolutional network",
        plan: include_str!("templates/digits/plan.yaml"),
        readme: include_str!("templates/digits/README.md"),
        data: include_str!("templates/digits/data.csv"),
        alpha: 1.0,
    },
];
/// Share of each label's rows that no collaborator sees.
const HELD_OUT: f64 = 0.2;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn shards_and_test_rows_are_disjoint_complete_unequal_and_repeatable() {
        for template in TEMPLATES {
            let dir = crate::files::tests::scratch(&format!("shards-{}", template.name));
            let how = Sharding::ByLabel { alpha: template.alpha };
            let dirs: Vec<PathBuf> = ["one", "two", "three"].iter().map(|n| dir.join(n)).collect();
            let shards = materialise_shards(template, &how, 7, &dirs, &dir).unwrap();
            let read = |path: &Path| -> Vec<String> {
                fs::read_to_string(path).unwrap().lines().skip(1).map(str::to_owned).collect()
            };
            let mut all = read(&shards.test);
            let total = template.data.lines().count() - 1;
            assert_eq!(all.len(), shards.test_rows);
            assert!((all.len() as f64 / total as f64 - 0.2).abs() < 0.01);
            for (dir, rows) in dirs.iter().zip(&shards.rows) {
                let shard = read(&dir.join("data.csv"));
                assert_eq!(shard.len(), *rows);
                all.extend(shard);
            }
            assert_eq!(all.len(), total);
            let distinct: BTreeSet<&str> = all.iter().map(String::as_str).collect();
            let original: BTreeSet<&str> = template.data.lines().skip(1).collect();
            assert_eq!(distinct, original);
            assert!(shards.rows.iter().collect::<BTreeSet<_>>().len() == 3, "{:?}", shards.rows);
            assert!(shards.rows.iter().all(|&r| r >= 30), "{:?}", shards.rows);
            assert_eq!(shards, materialise_shards(template, &how, 7, &dirs, &dir).unwrap());
        }
    }

    #[test]
    fn every_template_carries_its_attribution() {
        for template in TEMPLATES {
            assert!(template.readme.contains("doi:10.24432/") && template.readme.contains("CC BY 4.0"));
        }
    }
}
