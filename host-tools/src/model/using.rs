//! A model file in use: measured on data, or asked for predictions.
//!
//! The file's metadata hold the plan in its canonical form, so the file alone says how data are read and
//! scaled. `fl-host model evaluate` and `fl-host model predict` come here. The data are read as a
//! collaborator reads them, all rows and without augmentation.

mod png;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use fl_engine::{
    model::{self, output_shape, safetensors},
    plan::{DataSpec, LabelCode, Loader, Metric, Plan, PlanDraft, Standardise, Truth},
    tensor::ModelState,
};
use fl_learn::{
    data::{self, DataError},
    registry::Registry,
    task::{self, Assessment, Prediction, TaskError},
};

use super::{read, refused_file, refused_model, text};
use crate::{
    exit::{Exit, Failure},
    files,
};

/// A model with the plan that it was trained by.
pub struct Usable {
    /// With the statistics of the model file in place of those that the sites were asked for.
    pub plan: Plan,
    /// The model, without optimiser state.
    pub state: ModelState,
}

/// What a model is worth on some rows.
#[derive(Clone, Debug)]
pub struct Evaluated {
    /// The number of rows.
    pub rows: usize,
    /// Metrics, and the answers by class.
    pub assessment: Assessment,
    /// Names of the classes: the texts of the plan's labels, or their numbers.
    pub classes: Vec<String>,
    /// Whether labels are masks, whose pixels are counted.
    pub pixels: bool,
    /// What was done as the plan says.
    pub facts: Vec<String>,
    /// What is probably not meant.
    pub warnings: Vec<String>,
}

/// What [`predict`] wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predicted {
    /// The number of samples.
    pub rows: usize,
    /// The CSV file, or the folder of the masks.
    pub output: PathBuf,
    /// Whether it is a folder.
    pub is_folder: bool,
    /// What was done as the plan says.
    pub facts: Vec<String>,
}

/// Counts of one class, and what they make.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OfClass {
    /// Labels of the class.
    pub labels: u64,
    /// Share of the answers of this class that are right; `None` without such answers.
    pub precision: Option<f64>,
    /// Share of the labels of this class that were found; `None` without such labels.
    pub sensitivity: Option<f64>,
    /// The harmonic mean of the two.
    pub f1: Option<f64>,
    /// Right answers, divided by labels and answers of the class together.
    pub iou: Option<f64>,
}

/// Reads a model file with its plan.
///
/// # Errors
/// [`Exit::Model`] for a file without a plan, for a plan that is refused or another one, and for tensors that
/// are not those of the plan; [`Exit::File`].
pub fn open(file: &Path) -> Result<Usable, Failure> {
    let bytes = read(file)?;
    let (tensors, texts) = safetensors::inspect(&bytes).map_err(|e| refused_file(file, &e))?;
    let shown = file.display();
    let refused = |what: String| Failure::new(Exit::Model, format!("{shown}: {what}"));
    let Some(canonical) = texts.get(text::CANONICAL_PLAN) else {
        return Err(refused("the metadata of the file do not have the plan".to_owned()).hint(
            "use a model file that fl-runtime or `fl-host model` has written: other programs leave the metadata out",
        ));
    };
    let plan = Plan::from_canonical_text(canonical)
        .map_err(|e| refused(format!("the plan in the metadata is refused: {e}")))?;
    if let Some(stated) = texts.get(text::PLAN)
        && *stated != plan.hash().to_string()
    {
        let error = format!("the file states the plan {stated}, and has the plan {}", plan.hash());
        return Err(refused(error).hint("the file was changed after it was written: copy it again"));
    }
    let with_optimiser = tensors.iter().any(|t| model::is_optimiser_tensor(&t.name));
    let layout = match with_optimiser {
        true => plan.layout(),
        false => model::layout(&plan.model),
    };
    let layout = layout.map_err(|e| refused_model(&e))?;
    let (mut state, _) = safetensors::read(&bytes, &layout).map_err(|e| refused_file(file, &e))?;
    if with_optimiser {
        state = super::without_optimiser(&state).map_err(|e| refused(e.to_string()))?;
    }
    let Some(found) = texts.get(text::STANDARDISE) else { return Ok(Usable { plan, state }) };
    let found = Standardise::from_text(found)
        .ok_or_else(|| refused("the statistics in the metadata cannot be read".to_owned()))?;
    let with_statistics = |plan: &mut PlanDraft| {
        (plan.data.standardise, plan.data.federated) = (Some(found), None);
    };
    let plan = plan.edited(with_statistics).map_err(|fault| refused(fault.message))?;
    Ok(Usable { plan, state })
}

/// Measures the model on all rows of a folder, or of one file.
///
/// # Errors
/// As [`open`]; [`Exit::Data`] for data that a collaborator would refuse; [`Exit::Usage`] for a file where
/// the plan needs a folder.
pub fn evaluate(file: &Path, at: &Path) -> Result<Evaluated, Failure> {
    let Usable { plan, state } = open(file)?;
    let (data, folder) = place(&plan.data, at)?;
    let plan =
        plan.edited(|plan| plan.data = data).map_err(|fault| Failure::new(Exit::Plan, fault.message))?;
    let loaded = Registry::new().read_data(&plan, &folder).map_err(|e| refused_data(&e))?;
    let assessment = task::assess(&plan, &state, &loaded.data).map_err(|e| refused_task(&e))?;
    let count = assessment.confusion.as_ref().map_or(0, Vec::len);
    let classes = match plan.loss().truth() {
        Truth::Class => (0..count).map(|class| class_name(&plan.data, class)).collect(),
        _ => ["no", "yes"].map(str::to_owned).into_iter().take(count).collect(),
    };
    let pixels = plan.label_shape().is_some_and(|shape| shape.len() > 1);
    let (facts, warnings) = (loaded.facts, loaded.warnings);
    Ok(Evaluated { rows: loaded.data.rows(), assessment, classes, pixels, facts, warnings })
}

/// Writes what the model says of each sample: a CSV file, or a folder of masks where the output is an image.
///
/// # Errors
/// As [`evaluate`]; [`Exit::Workspace`] for a folder that is not empty, [`Exit::File`]; [`Exit::Usage`] for
/// outputs that are neither masks nor at most 1,000 numbers.
pub fn predict(file: &Path, at: &Path, output: &Path) -> Result<Predicted, Failure> {
    let Usable { plan, state } = open(file)?;
    let shape = output_shape(&plan.model).map_err(|e| refused_model(&e))?;
    let label = plan.loss().label_shape(&shape);
    let size = match label[..] {
        [height, width] | [1, height, width] => Some((height, width)),
        _ => None,
    };
    let columns: u64 = shape.iter().map(|side| u64::from(*side)).product();
    if plan.loss().truth() == Truth::Number && size.is_some() || size.is_none() && columns > COLUMNS {
        let error = format!(
            "the model's output has the shape {shape:?}: predictions are masks, or at most {COLUMNS} numbers a sample"
        );
        return Err(Failure::new(Exit::Usage, error)
            .hint("`fl-host model export` writes the model for a program of your own"));
    }
    let (data, folder) = place(&plan.data, at)?;
    let loaded = data::samples(&data, &plan.model.input, &folder).map_err(|e| refused_data(&e))?;
    let (rows, facts) = (loaded.data.rows(), loaded.facts);
    let name = |row: usize| loaded.places.get(row).cloned().unwrap_or_else(|| (row + 1).to_string());
    match size {
        Some(size) => {
            files::refuse_occupied(output, "--output")?;
            let names = mask_names(&(0..rows).map(name).collect::<Vec<_>>())?;
            files::fill_new_folder(output, || {
                let mut failed = None;
                let mut put = |row: usize, prediction: Prediction| {
                    let written = mask(&prediction, size).and_then(|bytes| {
                        let path = output.join(&names[row]);
                        files::make_folder_of(&path)?;
                        std::fs::write(&path, bytes).map_err(|e| files::unwritten(&path, &e))
                    });
                    failed = failed.take().or(written.err());
                };
                task::predict(&plan, &state, &loaded.data, &mut put).map_err(|e| refused_task(&e))?;
                failed.map_or(Ok(()), Err)
            })?;
        }
        None => {
            let is_picture = matches!(plan.data.loader, Loader::Pictures(_));
            let mut csv = String::new();
            let mut put = |row: usize, prediction: Prediction| {
                if row == 0 {
                    csv += &header(&prediction, if is_picture { "file" } else { "row" });
                }
                csv += &line(&plan.data, &name(row), &prediction);
            };
            task::predict(&plan, &state, &loaded.data, &mut put).map_err(|e| refused_task(&e))?;
            files::replace(output, csv.as_bytes())?;
        }
    }
    Ok(Predicted { rows, output: output.to_owned(), is_folder: size.is_some(), facts })
}

impl Evaluated {
    /// Each class, in the order of the classes; empty for a regression.
    #[must_use]
    pub fn by_class(&self) -> Vec<OfClass> {
        let matrix = self.assessment.confusion.as_deref().unwrap_or_default();
        let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        let of = |class: usize| {
            let labels: u64 = matrix[class].iter().sum();
            let answers: u64 = matrix.iter().map(|row| row[class]).sum();
            let right = matrix[class][class];
            OfClass {
                labels,
                precision: share(right, answers),
                sensitivity: share(right, labels),
                f1: share(2 * right, labels + answers),
                iou: share(right, labels + answers - right),
            }
        };
        (0..matrix.len()).map(of).collect()
    }

    /// For people: metrics, the confusion matrix of at most 20 classes, and a table of the classes.
    #[must_use]
    pub fn lines(&self) -> String {
        let mut out = format!("{:<13}{}\n", "rows", self.rows);
        for (metric, value) in &self.assessment.metrics {
            let _ = writeln!(out, "{:<13}{value:.4}", metric.word());
        }
        let Some(matrix) = &self.assessment.confusion else { return out + &self.remarks() };
        let counted = if self.pixels { "pixels" } else { "labels" };
        if matrix.len() <= SHOWN_CLASSES {
            let mut rows = vec![[&[format!("{counted} \\ answers")], &self.classes[..]].concat()];
            for (class, counts) in self.classes.iter().zip(matrix) {
                let counts = counts.iter().map(u64::to_string);
                rows.push(std::iter::once(class.clone()).chain(counts).collect());
            }
            out += &format!("\n{}", aligned(&rows));
        }
        let mut rows =
            vec![["class", counted, "precision", "sensitivity", "f1", "iou"].map(str::to_owned).to_vec()];
        for (class, of) in self.classes.iter().zip(self.by_class()) {
            let values = [of.precision, of.sensitivity, of.f1, of.iou];
            let values = values.map(|value| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.4}")));
            rows.push([&[class.clone(), of.labels.to_string()], &values[..]].concat());
        }
        out + &format!("\n{}", aligned(&rows)) + &self.remarks()
    }

    fn remarks(&self) -> String {
        let facts = self.facts.iter().map(|fact| format!("{fact}\n"));
        facts.chain(self.warnings.iter().map(|warning| format!("warning: {warning}\n"))).collect()
    }

    /// The metrics by name.
    #[must_use]
    pub fn metrics(&self) -> BTreeMap<&'static str, f64> {
        self.assessment
            .metrics
            .iter()
            .map(|(metric, value): &(Metric, f64)| (metric.word(), *value))
            .collect()
    }
}

/// The plan's data, and the folder where they are. One file takes the place of the plan's file.
fn place(data: &DataSpec, at: &Path) -> Result<(DataSpec, PathBuf), Failure> {
    if !at.is_file() {
        return Ok((data.clone(), at.to_owned()));
    }
    let mut data = data.clone();
    let name = at.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let rename = |array: &mut String| {
        *array = match array.split_once(".npz:") {
            Some((_, member)) => format!("{name}:{member}"),
            None => name.clone(),
        };
    };
    match &mut data.loader {
        Loader::Csv(spec) => spec.file.clone_from(&name),
        Loader::Npy { features, labels } if features.contains(".npz:") => {
            [features, labels].into_iter().for_each(rename);
        }
        Loader::Npy { features, .. } | Loader::Idx { features, .. } => rename(features),
        _ => {
            let error =
                format!("{} is a file; the plan of the model reads a folder of pictures", at.display());
            return Err(Failure::new(Exit::Usage, error).hint("give the data folder with --data"));
        }
    }
    let parent = at.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((data, parent.to_owned()))
}

/// The text that the plan's labels give a class, or its number.
fn class_name(data: &DataSpec, class: usize) -> String {
    let codes: &[LabelCode] = match &data.loader {
        Loader::Csv(spec) => &spec.labels,
        Loader::Pictures(spec) => &spec.labels,
        _ => &[],
    };
    let code = codes.iter().find(|code| code.class as usize == class);
    code.map_or_else(|| class.to_string(), |code| code.text.clone())
}

/// The first line of the CSV file.
fn header(prediction: &Prediction, first: &str) -> String {
    let many = |word: &str, count: usize| match count {
        1 => vec![word.to_owned()],
        _ => (0..count).map(|number| format!("{word}_{number}")).collect(),
    };
    let columns = match prediction {
        Prediction::Classes { shares, .. } => {
            [vec!["answer".to_owned()], many("share", shares.len())].concat()
        }
        Prediction::Shares(shares) => [many("answer", shares.len()), many("share", shares.len())].concat(),
        Prediction::Numbers(values) => many("value", values.len()),
        _ => Vec::new(),
    };
    format!("{first},{}\n", columns.join(","))
}

/// One sample of the CSV file.
fn line(data: &DataSpec, place: &str, prediction: &Prediction) -> String {
    let numbers = |values: &[f64]| values.iter().map(|value| (*value as f32).to_string()).collect::<Vec<_>>();
    let cells = match prediction {
        Prediction::Classes { found, shares } => {
            let answers = found.iter().map(|class| quoted(&class_name(data, *class))).collect::<Vec<_>>();
            [answers, numbers(shares)].concat()
        }
        Prediction::Shares(shares) => {
            let answers = shares.iter().map(|share| u8::from(*share > 0.5).to_string()).collect::<Vec<_>>();
            [answers, numbers(shares)].concat()
        }
        Prediction::Numbers(values) => numbers(values),
        _ => Vec::new(),
    };
    format!("{},{}\n", quoted(place), cells.join(","))
}

/// A cell of a CSV file (RFC 4180).
fn quoted(cell: &str) -> String {
    match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.to_owned(),
    }
}

/// A mask as a PNG file: 0 to 255 for how likely each pixel is yes, or the index of its class.
fn mask(prediction: &Prediction, (height, width): (u32, u32)) -> Result<Vec<u8>, Failure> {
    let values: Option<Vec<u8>> = match prediction {
        Prediction::Classes { found, .. } => found.iter().map(|class| u8::try_from(*class).ok()).collect(),
        Prediction::Shares(shares) => {
            Some(shares.iter().map(|share| (share * 255.0).round() as u8).collect())
        }
        _ => None,
    };
    let values = values.ok_or_else(|| {
        Failure::new(Exit::Usage, "a pixel of a mask has one of at most 256 classes, and the model has more")
    })?;
    png::grey(width, height, &values)
        .map_err(|e| Failure::new(Exit::Failed, format!("cannot write a mask: {e}")))
}

/// The names of the masks: each picture's, with the ending `.png`.
fn mask_names(places: &[String]) -> Result<Vec<String>, Failure> {
    let mut seen = BTreeMap::new();
    let name = |place: &String| {
        let stem = place.rsplit_once('.').map_or(place.as_str(), |(stem, _)| stem);
        let name = format!("{stem}.png");
        match seen.insert(name.clone(), place.clone()) {
            Some(other) => {
                let error = format!("the pictures {other} and {place} would have one mask: {name}");
                Err(Failure::new(Exit::Data, error).hint("rename one of the pictures"))
            }
            None => Ok(name),
        }
    };
    places.iter().map(name).collect()
}

/// Columns aligned right, two spaces between them; the first one is aligned left.
fn aligned(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows.first().map_or(0, Vec::len)).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate();
        let cells: Vec<String> = cells
            .map(|(at, (cell, w))| if at == 0 { format!("{cell:<w$}") } else { format!("{cell:>w$}") })
            .collect();
        format!("{}\n", cells.join("  "))
    };
    rows.iter().map(line).collect()
}

fn refused_data(error: &DataError) -> Failure {
    Failure::of(Exit::Data, error).maybe_hint(error.hint())
}

fn refused_task(error: &TaskError) -> Failure {
    Failure::of(Exit::Data, error).maybe_hint(error.hint())
}

/// Most numbers of a line of predictions.
const COLUMNS: u64 = 1000;
/// Most classes of a confusion matrix for people. The JSON has it for more.
const SHOWN_CLASSES: usize = 20;

#[cfg(feature = "train")]
#[cfg(test)]
mod tests;
