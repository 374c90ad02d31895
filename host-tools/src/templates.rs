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

use crate::{
    exit::Failure,
    synthesise::{self, Synthesis},
};

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
    /// The data of a trial.
    pub data: TrialData,
    /// Dirichlet α of a trial's shards.
    pub alpha: f64,
    /// What a demonstration changes in the plan, so that it takes minutes: keys with the spaces before them,
    /// their values, and the key whose line they follow where the plan lacks them.
    pub demo: &'static [(&'static str, &'static str, &'static str)],
}

/// The data of a template's trial.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TrialData {
    /// CSV with a header line; the label is the last column.
    Table(&'static str),
    /// Pictures with masks, which are made when they are needed ([`Synthesis`]).
    Kvasir {
        /// For the collaborators.
        pictures: u32,
        /// Held out of training.
        test: u32,
        /// Pixels.
        width: u16,
        /// Pixels.
        height: u16,
    },
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
    /// The file, or the folder, of rows that no collaborator sees.
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
    /// A picture could not be made or written.
    #[error("{}", .0.error)]
    Picture(Failure),
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// Writes trial data into each of `dirs` (one a collaborator; made when missing) and into `test_dir` what no
/// collaborator sees. The same seed gives the same files.
///
/// Of a table, each folder gets `data.csv` and `test_dir` gets `test.csv`: a fifth of the rows, stratified by
/// label. The others are divided as `how` says; by label with the template's α if `how` is `None`. Of
/// pictures, each folder gets pictures and masks, and `test_dir` gets the folder `test`. Without `how`,
/// collaborator k of n gets the pictures k, k + n and so on by name, as in OpenFL's workspace.
///
/// # Errors
/// [`ShardError`]; files already written stay.
pub fn materialise_shards(
    template: &Template,
    how: Option<&Sharding>,
    seed: u64,
    dirs: &[PathBuf],
    test_dir: &Path,
) -> Result<Shards, ShardError> {
    let data = match template.data {
        TrialData::Table(data) => data,
        TrialData::Kvasir { pictures, test, width, height } => {
            let synthesis = |pictures, seed| Synthesis { pictures, width, height, seed };
            let made = (synthesis(pictures, seed), synthesis(test, seed + 1));
            return materialise_pictures(&made, how, seed, dirs, test_dir);
        }
    };
    let by_label = Sharding::ByLabel { alpha: template.alpha };
    let how = how.unwrap_or(&by_label);
    let mut lines = data.lines();
    let header = lines.next().unwrap_or_default();
    let lines: Vec<&str> = lines.collect();
    let label = |line: &str| line.rsplit(',').next().and_then(|cell| cell.parse().ok()).unwrap_or(f32::NAN);
    let labels: Vec<f32> = lines.iter().map(|line| label(line)).collect();
    let (rest, held_out) = shard::stratified(&labels, HELD_OUT, seed);

    // Sharding looks at labels only.
    let seen = Array1::from_iter(rest.iter().map(|&row| labels[row])).into_dyn();
    let seen = Dataset::new(ArrayD::zeros(vec![rest.len(), 0]), seen);
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

/// Writes pictures and masks; see [`materialise_shards`].
fn materialise_pictures(
    (seen, held_out): &(Synthesis, Synthesis),
    how: Option<&Sharding>,
    seed: u64,
    dirs: &[PathBuf],
    test_dir: &Path,
) -> Result<Shards, ShardError> {
    let count = seen.pictures as usize;
    let shards: Vec<Vec<usize>> = match how {
        None => (1..=dirs.len()).map(|first| (first..count).step_by(dirs.len()).collect()).collect(),
        Some(how) => {
            let labels = ArrayD::zeros(vec![count, 1, 1]);
            shard::shards(&Dataset::new(ArrayD::zeros(vec![count, 0]), labels), dirs.len(), how, seed)?
        }
    };
    for (number, pair) in seen.pairs().map_err(ShardError::Picture)?.enumerate() {
        let pair = pair.map_err(ShardError::Picture)?;
        for (dir, _) in dirs.iter().zip(&shards).filter(|(_, shard)| shard.contains(&number)) {
            synthesise::write(dir, &pair).map_err(ShardError::Picture)?;
        }
    }
    let test = test_dir.join("test");
    for pair in held_out.pairs().map_err(ShardError::Picture)? {
        synthesise::write(&test, &pair.map_err(ShardError::Picture)?).map_err(ShardError::Picture)?;
    }
    let rows = shards.iter().map(Vec::len).collect();
    Ok(Shards { rows, test, test_rows: held_out.pictures as usize })
}

/// Every template, in the order in which they are listed.
pub const TEMPLATES: &[Template] = &[
    Template {
        name: "breast_cancer",
        about: "30 measurements of cell nuclei, benign or malignant; multilayer perceptron",
        plan: include_str!("templates/breast_cancer/plan.yaml"),
        readme: include_str!("templates/breast_cancer/README.md"),
        data: TrialData::Table(include_str!("templates/breast_cancer/data.csv")),
        alpha: 1.0,
        demo: &[],
    },
    Template {
        name: "digits",
        about: "handwritten digits of 8 x 8 pixels; convolutional network",
        plan: include_str!("templates/digits/plan.yaml"),
        readme: include_str!("templates/digits/README.md"),
        data: TrialData::Table(include_str!("templates/digits/data.csv")),
        alpha: 1.0,
        demo: &[],
    },
    Template {
        name: "kvasir_unet",
        about: "pictures of the bowel and masks of polyps; U-Net of 31 million parameters, as in OpenFL",
        plan: include_str!("templates/kvasir_unet/plan.yaml"),
        readme: include_str!("templates/kvasir_unet/README.md"),
        data: TrialData::Kvasir { pictures: 65, test: 16, width: 156, height: 132 },
        alpha: 1.0,
        demo: &[
            ("model", "{network: unet, input: [3, 64, 64], base: 8}", "seed"),
            ("rounds", "8", "schema"),
            ("    optimiser", "{adam: {learning_rate: 0.01}}", "    batch"),
        ],
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
            let TrialData::Table(data) = template.data else { continue };
            let dir = crate::files::tests::scratch(&format!("shards-{}", template.name));
            let dirs: Vec<PathBuf> = ["one", "two", "three"].iter().map(|n| dir.join(n)).collect();
            let shards = materialise_shards(template, None, 7, &dirs, &dir).unwrap();
            let read = |path: &Path| -> Vec<String> {
                fs::read_to_string(path).unwrap().lines().skip(1).map(str::to_owned).collect()
            };
            let mut all = read(&shards.test);
            let total = data.lines().count() - 1;
            assert_eq!(all.len(), shards.test_rows);
            assert!((all.len() as f64 / total as f64 - 0.2).abs() < 0.01);
            for (dir, rows) in dirs.iter().zip(&shards.rows) {
                let shard = read(&dir.join("data.csv"));
                assert_eq!(shard.len(), *rows);
                all.extend(shard);
            }
            assert_eq!(all.len(), total);
            let distinct: BTreeSet<&str> = all.iter().map(String::as_str).collect();
            let original: BTreeSet<&str> = data.lines().skip(1).collect();
            assert_eq!(distinct, original);
            assert!(shards.rows.iter().collect::<BTreeSet<_>>().len() == 3, "{:?}", shards.rows);
            assert!(shards.rows.iter().all(|&r| r >= 30), "{:?}", shards.rows);
            assert_eq!(shards, materialise_shards(template, None, 7, &dirs, &dir).unwrap());
        }
    }

    #[test]
    fn pictures_are_dealt_in_turn_as_in_the_workspace_of_openfl() {
        let dir = crate::files::tests::scratch("shards-pictures");
        let dirs = [dir.join("one"), dir.join("two")];
        let template = Template {
            data: TrialData::Kvasir { pictures: 6, test: 2, width: 16, height: 16 },
            ..TEMPLATES[0].clone()
        };
        let shards = materialise_shards(&template, None, 7, &dirs, &dir).unwrap();
        assert_eq!((shards.rows, shards.test_rows), (vec![3, 2], 2));
        let names = |folder: &str| {
            let files = fs::read_dir(dir.join(folder)).unwrap().map(|entry| entry.unwrap().file_name());
            files.map(|name| name.into_string().unwrap()[10..15].parse().unwrap()).collect::<BTreeSet<u32>>()
        };
        // Picture 0 is in no shard.
        for kind in ["images", "masks"] {
            assert_eq!(names(&format!("one/segmented-images/{kind}")), [1, 3, 5].into());
            assert_eq!(names(&format!("two/segmented-images/{kind}")), [2, 4].into());
            assert_eq!(names(&format!("test/segmented-images/{kind}")), [0, 1].into());
        }
        assert_eq!(materialise_shards(&template, Some(&Sharding::Iid), 7, &dirs, &dir).unwrap().rows, [3, 3]);
        let by_label = Sharding::ByLabel { alpha: 1.0 };
        assert!(materialise_shards(&template, Some(&by_label), 7, &dirs, &dir).is_err());
    }

    #[test]
    fn commands_of_the_chapter_deal_an_archive_as_trial_data_are_dealt() {
        let dir = crate::files::tests::scratch("shards-chapter");
        let synthesis = Synthesis { pictures: 5, width: 16, height: 16, seed: 7 };
        synthesise::kvasir(&dir.join("archive"), &synthesis).unwrap();
        let chapter = include_str!("../../runtime/src/manual/kvasir.md");
        let script = chapter.split("```sh\n").find(|part| part.starts_with("for site")).unwrap();
        let script = script.split("```").next().unwrap();
        let mut shell = std::process::Command::new("sh");
        shell.args(["-ec", script]).current_dir(dir.join("archive"));
        assert!(shell.status().unwrap().success());
        let template = find("kvasir_unet").unwrap();
        let template = Template {
            data: TrialData::Kvasir { pictures: 5, test: 1, width: 16, height: 16 },
            ..template.clone()
        };
        let dirs = [dir.join("one"), dir.join("two")];
        materialise_shards(&template, None, 7, &dirs, &dir).unwrap();
        let files = |folder: &Path| -> BTreeSet<_> {
            let inside = |kind| fs::read_dir(folder.join("segmented-images").join(kind)).unwrap();
            let all = ["images", "masks"].into_iter().flat_map(inside).map(|entry| entry.unwrap().path());
            all.map(|path| path.strip_prefix(folder).unwrap().to_owned()).collect()
        };
        for site in ["one", "two"] {
            let dealt = files(&dir.join("archive/data").join(site));
            assert!(dealt.len() == 4 && dealt == files(&dir.join(site)), "{site}: {dealt:?}");
        }
    }

    #[test]
    fn kvasir_is_divided_between_training_and_validation_as_openfl_does() {
        let plan = fl_engine::plan::Plan::parse(find("kvasir_unet").unwrap().plan).unwrap();
        for (pictures, train, validation) in [(500, 438, 62), (499, 437, 62)] {
            let rows = Dataset::new(ArrayD::zeros(vec![pictures, 0]), ArrayD::zeros(vec![pictures]));
            let parts = fl_learn::data::split(&rows, &plan.data.split, None).unwrap();
            assert_eq!((parts.train.rows(), parts.validation.rows()), (train, validation));
        }
        assert!(plan.data.keeps_order());
        let layout = plan.layout().unwrap();
        assert_eq!(layout.tensors().len(), 136);
        let learnt = |t: &&fl_engine::tensor::TensorSpec| {
            let last = t.name.rsplit('.').next();
            !matches!(last, Some("running_mean" | "running_var" | "num_batches_tracked"))
        };
        let elements =
            |t: &fl_engine::tensor::TensorSpec| t.shape.iter().map(|&side| u64::from(side)).product::<u64>();
        assert_eq!(layout.tensors().iter().filter(learnt).map(elements).sum::<u64>(), 31_043_521);
    }

    #[test]
    fn every_template_carries_its_attribution() {
        for template in TEMPLATES {
            assert!(template.readme.contains("doi:10.") && template.readme.contains("CC BY 4.0"));
        }
    }
}
