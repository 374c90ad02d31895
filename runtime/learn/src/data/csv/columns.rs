//! Which column of a file is what: the label, a feature, or not read.

use fl_engine::{
    Digest,
    name::nearest,
    plan::{Coding, Column, CsvSpec, Fill, NamedNumber},
};

use super::super::{error::DataError, scale::Scaling};

/// What a column of the file is read as.
#[derive(Clone, Debug)]
pub(super) enum Role<'a> {
    Unread,
    Label,
    /// A number at this place of the sample.
    Number {
        at: usize,
        fill: Option<f64>,
    },
    /// A text with a number.
    Coded {
        at: usize,
        codes: &'a [NamedNumber],
        fill: Option<f64>,
    },
    /// A text of which each is a feature.
    OneHot {
        at: usize,
        texts: &'a [String],
        fill: bool,
    },
}

/// The columns of a file in their order.
pub(super) struct Columns<'a> {
    pub(super) roles: Vec<Role<'a>>,
    /// Their names; without a header their numbers from 1.
    pub(super) names: Vec<String>,
    /// Values of a sample.
    pub(super) width: usize,
    /// Names of the features, in the order of the sample.
    pub(super) features: Vec<String>,
}

impl<'a> Columns<'a> {
    /// Finds the plan's columns among `names` (with a header) or among `width` columns (without). One of them
    /// is the label if the table is `labelled`.
    pub(super) fn find(
        spec: &'a CsvSpec,
        scaling: Scaling<'_>,
        header: Option<Vec<String>>,
        width: usize,
        labelled: bool,
    ) -> Result<Self, DataError> {
        let names = header.clone().unwrap_or_else(|| (1..=width).map(|number| number.to_string()).collect());
        let refused = |what: String, hint: &str| DataError::file(&spec.file, what, hint);
        let label = match labelled {
            true => Some(label(spec, &spec.file, header.as_deref(), width)?),
            false => None,
        };
        let order = match (&spec.features, &header) {
            (Some(features), Some(names)) => by_name(spec, features, names, label)?,
            _ => in_order(spec, header.as_deref(), width, label)?,
        };
        if order.is_empty() {
            return Err(refused(format!("a row has {width} columns: there is no feature"), SEPARATOR));
        }
        let mut roles = vec![Role::Unread; width];
        if let Some(label) = label {
            roles[label] = Role::Label;
        }
        let mut at = 0;
        for &column in &order {
            let name = &names[column];
            let coding = if header.is_some() { spec.coding(name) } else { None };
            let fill = match &spec.missing.fill {
                Some(Fill::Number(number)) => Some(*number),
                Some(Fill::Mean) => scaling.mean_of(at),
                Some(Fill::Columns(columns)) => columns.iter().find(|c| c.name == *name).map(|c| c.number),
                None => None,
            };
            roles[column] = match coding {
                None => Role::Number { at, fill },
                Some(Coding::Numbers(codes)) => Role::Coded { at, codes, fill },
                Some(Coding::OneHot(texts)) => Role::OneHot { at, texts, fill: fill.is_some() },
            };
            at += coding.map_or(1, Coding::width);
        }
        let features = order.iter().map(|&column| names[column].clone()).collect::<Vec<_>>();
        let named = spec.categories.iter().map(|category| ("categories", &category.column));
        let filled = match &spec.missing.fill {
            Some(Fill::Columns(columns)) => columns.as_slice(),
            _ => &[],
        };
        let named = named.chain(filled.iter().map(|column| ("missing.fill", &column.name)));
        for (key, name) in named {
            if !features.contains(name) {
                let near = near(name, &features);
                let what =
                    format!("data.{key} names the column {name:?}, and the file has no such feature{near}");
                return Err(refused(what, "correct the name in the plan, or in the file's header"));
            }
        }
        Ok(Self { roles, names, width: at, features })
    }

    /// The digest of what is read from where: the names of the features in their order, then the label's.
    pub(super) fn digest(&self) -> Digest {
        let label = self.names.iter().zip(&self.roles).find(|(_, role)| matches!(role, Role::Label));
        let names = self.features.iter().chain(label.map(|(name, _)| name));
        // A length in front of each name: names may contain line feeds.
        Digest::of(names.map(|name| format!("{} {name}\n", name.len())).collect::<String>().as_bytes())
    }
}

/// The index of the label's column in a file of `width` columns.
pub(super) fn label(
    spec: &CsvSpec,
    file: &str,
    names: Option<&[String]>,
    width: usize,
) -> Result<usize, DataError> {
    let refused = |what: String, hint: &str| DataError::file(file, what, hint);
    match (&spec.label, names) {
        (Column::Name(name), None) => {
            let what = format!("the label {name:?} is a column's name, and data.header is false");
            Err(refused(
                what,
                "write `header: true`, or give the label's index: `label: -1` is the last column",
            ))
        }
        (Column::Name(name), Some(names)) => {
            let mut found = names.iter().enumerate().filter(|(_, n)| *n == name).map(|(at, _)| at);
            match (found.next(), found.next()) {
                (Some(at), None) => Ok(at),
                (Some(_), Some(_)) => Err(refused(format!("the header has {name:?} twice"), TWICE)),
                _ => {
                    let near = near(name, names);
                    Err(refused(
                        format!("the header has no column {name:?}{near}"),
                        "correct data.label in the plan, or the header",
                    ))
                }
            }
        }
        (Column::Index(index), _) => {
            let at = if *index < 0 { width as i64 + i64::from(*index) } else { i64::from(*index) };
            usize::try_from(at).ok().filter(|&at| at < width).ok_or_else(|| {
                refused(format!("there is no column {index}: a row has {width} columns"), SEPARATOR)
            })
        }
    }
}

/// The columns that the plan lists, in its order.
fn by_name(
    spec: &CsvSpec,
    features: &[String],
    names: &[String],
    label: Option<usize>,
) -> Result<Vec<usize>, DataError> {
    let place = |feature: &String| names.iter().position(|name| name == feature);
    let extra: Vec<String> = names
        .iter()
        .enumerate()
        .filter(|(at, name)| Some(*at) != label && !features.contains(name) && !spec.ignores(name))
        .map(|(_, name)| name.clone())
        .collect();
    let missing: Vec<&String> = features.iter().filter(|feature| place(feature).is_none()).collect();
    if let Some(first) = missing.first() {
        let near = near(first, &extra);
        let what = format!("the header lacks {} of data.features{near}", list(&missing));
        let extra =
            if extra.is_empty() { String::new() } else { format!("; the plan lacks {}", list(&extra)) };
        return Err(DataError::file(
            &spec.file,
            what + &extra,
            "give the columns the plan's names in the header",
        ));
    }
    if let Some(twice) = doubled(names, |_, name| features.contains(name)) {
        return Err(DataError::file(&spec.file, format!("the header has {twice:?} twice"), TWICE));
    }
    if !extra.is_empty() {
        let what =
            format!("the header has {}, and the plan neither reads nor ignores such a column", list(&extra));
        let hint =
            "remove the columns from the file, or name them in the plan: data.features, or data.ignore";
        return Err(DataError::file(&spec.file, what, hint));
    }
    Ok(features.iter().filter_map(place).collect())
}

/// Every column but the label and the ignored ones, in the file's order.
fn in_order(
    spec: &CsvSpec,
    names: Option<&[String]>,
    width: usize,
    label: Option<usize>,
) -> Result<Vec<usize>, DataError> {
    let Some(names) = names else { return Ok((0..width).filter(|at| Some(*at) != label).collect()) };
    let is_read = |at: usize, name: &str| Some(at) != label && !spec.ignores(name);
    if let Some(twice) = doubled(names, |at, name| is_read(at, name)) {
        return Err(DataError::file(&spec.file, format!("the header has {twice:?} twice"), TWICE));
    }
    if let Some(at) = (0..width).find(|&at| names[at].is_empty() && is_read(at, "")) {
        let what = format!("column {} has no name in the header", at + 1);
        let hint = "if it is an index, ignore it in the plan: `ignore: [\"\"]`; pandas leaves it out with to_csv(index=False)";
        return Err(DataError::file(&spec.file, what, hint));
    }
    Ok((0..width).filter(|&at| is_read(at, &names[at])).collect())
}

/// A name that two columns have, one of which is read.
fn doubled(names: &[String], is_read: impl Fn(usize, &String) -> bool) -> Option<&String> {
    let mut sorted: Vec<&String> = names.iter().collect();
    sorted.sort_unstable();
    let twice =
        |name: &String| sorted.partition_point(|n| *n <= name) - sorted.partition_point(|n| *n < name) > 1;
    names.iter().enumerate().find(|(at, name)| is_read(*at, name) && twice(name)).map(|(_, name)| name)
}

/// ` (is it "age"?)`, if a name is near; without regard to case, too.
fn near(wrong: &str, known: &[String]) -> String {
    // Quotes, spaces and signs that no editor shows make another name, too.
    let plain = |name: &str| name.to_lowercase().replace(|c: char| !c.is_alphanumeric(), "");
    let folded = known.iter().find(|name| name.to_lowercase() == wrong.to_lowercase());
    let folded =
        folded.or_else(|| known.iter().find(|name| plain(name) == plain(wrong) && !plain(wrong).is_empty()));
    let folded = folded.cloned();
    // Every name is near to one of two letters.
    let long = || wrong.chars().count() > 2;
    let near = folded.or_else(|| nearest(wrong, known.iter().map(String::as_str)).filter(|_| long()));
    near.map(|near| format!(" (is {near:?} meant?)")).unwrap_or_default()
}

/// `"a", "b" and 3 more`.
fn list<T: AsRef<str>>(names: &[T]) -> String {
    let shown: Vec<String> = names.iter().take(6).map(|name| format!("{:?}", name.as_ref())).collect();
    let more = names.len() - shown.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    shown.join(", ") + &more
}

pub(super) const TWICE: &str =
    "give each column a name of its own; data.ignore names columns that are not read";
pub(super) const SEPARATOR: &str = "check the file, and data.separator and data.label in the plan";
