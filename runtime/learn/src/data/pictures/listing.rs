//! Which files are samples, and where their labels are. No picture is opened here.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use fl_engine::plan::{Decimal, LabelCode, PictureLabel, PictureSpec, Separator};

use super::{
    super::{
        csv::{self, Cell},
        error::DataError,
        folder,
        labels::Labels,
    },
    decode::NO_PICTURE,
};

/// The samples of a data folder, in the order of their files' names.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) samples: Vec<Sample>,
    /// Files that are not samples, and why.
    pub(super) bad: Vec<DataError>,
    /// What is probably not meant.
    pub(super) warnings: Vec<String>,
}

/// One sample.
#[derive(Debug)]
pub(super) struct Sample {
    /// The picture, as seen from the data folder.
    pub(super) file: String,
    pub(super) label: Label,
}

/// A sample's label.
#[derive(Debug)]
pub(super) enum Label {
    /// The index of a class, or a target.
    Number(f32),
    /// A mask, as seen from the data folder.
    Mask(String),
}

/// The entries of a folder.
#[derive(Default)]
struct Entries {
    /// Names that end as a picture's.
    pictures: Vec<String>,
    folders: Vec<String>,
    bad: Vec<DataError>,
}

/// Lists the samples.
pub(super) fn of(dir: &Path, spec: &PictureSpec, classes: Option<u32>) -> Result<Listing, DataError> {
    let mut listing = match &spec.label {
        PictureLabel::Folders => in_folders(dir, spec)?,
        PictureLabel::Table { file, name, label } => in_table(dir, spec, classes, [file, name, label])?,
        PictureLabel::Masks { folder, .. } => with_masks(dir, spec, folder)?,
    };
    listing.samples.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(listing)
}

/// Lists pictures whose labels nobody asks for: those in the folder of the pictures, or in the data folder
/// where that folder is not there, and those in the folders there.
pub(super) fn without_labels(dir: &Path, spec: &PictureSpec) -> Result<Listing, DataError> {
    let mut top = None;
    if let Some(folder) = spec.folder.as_deref() {
        top = Some(folder).filter(|_| folder::is_folder(dir, folder).unwrap_or(false));
    }
    let masks = match &spec.label {
        PictureLabel::Masks { folder, .. } => Some(folder.as_str()),
        _ => None,
    };
    let mut listing = Listing::default();
    let mut add = |place: Option<&str>| -> Result<Vec<String>, DataError> {
        let found = entries(dir, place)?;
        let sample = |name: &String| Sample { file: inside(place, name), label: Label::Number(0.0) };
        listing.samples.extend(found.pictures.iter().map(sample));
        // A table of labels may lie beside the pictures.
        listing.bad.extend(found.bad.into_iter().filter(|_| place.is_some() && spec.folder.is_some()));
        Ok(found.folders.iter().map(|name| inside(place, name)).collect())
    };
    for folder in add(top)? {
        if masks.is_none_or(|masks| !is_at_or_in(masks, &folder)) {
            add(Some(&folder))?;
        }
    }
    listing.samples.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(listing)
}

/// A sub-folder for each class.
fn in_folders(dir: &Path, spec: &PictureSpec) -> Result<Listing, DataError> {
    let top = spec.folder.as_deref();
    let found = entries(dir, top)?;
    let mut listing = Listing { bad: found.bad, ..Listing::default() };
    for name in &found.pictures {
        let what = "the picture lies beside the folders of the classes";
        listing.bad.push(DataError::file(
            &inside(top, name),
            what,
            "move the picture into the folder of its class",
        ));
    }
    // A class may have a folder in a folder: `labels: {left/benign: 0}`.
    let known = |name: &String| spec.labels.iter().any(|code| is_at_or_in(&code.text, name));
    if let Some(name) = found.folders.iter().find(|name| !known(name)) {
        let names: Vec<&str> = spec.labels.iter().map(|code| code.text.as_str()).collect();
        let what = format!("the folder is none of data.labels: {}", names.join(", "));
        let hint = "move the folder elsewhere, or give the class of the folder in the plan's `labels`";
        return Err(DataError::file(&inside(top, name), what, hint));
    }
    for LabelCode { text, class } in &spec.labels {
        let place = inside(top, text);
        if !folder::is_folder(dir, &place)? {
            listing
                .warnings
                .push(format!("there is no folder {place}: this site has no sample of class {class}"));
            continue;
        }
        let found = entries(dir, Some(&place))?;
        listing.bad.extend(found.bad);
        listing.bad.extend(nested(Some(&place), &found.folders));
        listing.samples.extend(
            found
                .pictures
                .iter()
                .map(|name| Sample { file: inside(Some(&place), name), label: Label::Number(*class as f32) }),
        );
    }
    Ok(listing)
}

/// A table with a line for each picture.
fn in_table(
    dir: &Path,
    spec: &PictureSpec,
    classes: Option<u32>,
    [file, name, label]: [&String; 3],
) -> Result<Listing, DataError> {
    let top = spec.folder.as_deref();
    let mut records = csv::open(dir, file, Separator::Comma, 0)?;
    let header: Vec<String> =
        records.next_row()?.map(|row| row.cells().map(str::to_owned).collect()).unwrap_or_default();
    let column = |wanted: &String| {
        let mut places = (0..header.len()).filter(|at| header[*at] == *wanted);
        match (places.next(), places.next()) {
            (Some(at), None) => Ok(at),
            (found, _) => {
                let what = match found {
                    Some(_) => format!("the header has the column {wanted:?} twice"),
                    None => format!("the header lacks the column {wanted:?}"),
                };
                Err(DataError::file(
                    file,
                    what,
                    "correct the header, or the names of data.label.table in the plan",
                ))
            }
        }
    };
    let (name, label) = (column(name)?, column(label)?);
    let mut listing = Listing::default();
    let (mut seen, mut labels) = (BTreeMap::new(), Labels::new(classes));
    while let Some(record) = records.next_row()? {
        let (row, cells) = (record.row, record.cells().collect::<Vec<_>>());
        let refused = |what: String, hint: &str| Err(DataError::file(file, what, hint));
        if cells.len() != header.len() {
            let what = format!("row {row} has {} cells, but the header has {}", cells.len(), header.len());
            return refused(what, "write a cell that contains a comma in quotes");
        }
        let Some(number) = number(cells[label], &spec.labels) else {
            let what = format!("row {row} has the label {:?}", cells[label]);
            let hint = match spec.labels.is_empty() {
                true => {
                    "a label is a number; `labels: {TEXT: 0, TEXT: 1}` in the plan's data gives texts a class"
                }
                false => "give the text a class in the plan's `labels`, or correct the table",
            };
            return refused(what, hint);
        };
        labels.see(row, number);
        let place = inside(top, cells[name]);
        if folder::resolve(dir, &place).is_err() {
            let what = format!("row {row} names the picture {place:?}, which is outside of the data folder");
            return refused(what, "a name may lead into a folder, and not out of one: correct the table");
        }
        if let Some(first) = seen.insert(place.clone(), row) {
            return refused(
                format!("rows {first} and {row} name the picture {place:?}"),
                "remove one of the rows",
            );
        }
        listing.samples.push(Sample { file: place, label: Label::Number(number as f32) });
    }
    labels.finish(file, true)?;
    if listing.samples.is_empty() {
        let hint = "write a row with the name and the label of each picture below the header";
        return Err(DataError::file(file, "there are no rows", hint));
    }
    let unnamed = entries(dir, top)?.pictures.iter().filter(|n| !seen.contains_key(&inside(top, n))).count();
    if unnamed > 0 {
        listing.warnings.push(format!("{unnamed} pictures are not in {file}, and are not read"));
    }
    Ok(listing)
}

/// A mask of the same name for each picture.
fn with_masks(dir: &Path, spec: &PictureSpec, masks: &str) -> Result<Listing, DataError> {
    let top = spec.folder.as_deref();
    let (mut found, marked) = (entries(dir, top)?, entries(dir, Some(masks))?);
    // The folder of the masks may lie in the folder of the pictures.
    found.folders.retain(|name| !is_at_or_in(masks, &inside(top, name)));
    let mut listing = Listing { bad: found.bad, ..Listing::default() };
    listing.bad.extend(marked.bad);
    listing.bad.extend(nested(top, &found.folders));
    let mut by_stem: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
    marked.pictures.iter().for_each(|name| by_stem.entry(stem(name)).or_default().push(name));
    let mut used = BTreeSet::new();
    for name in &found.pictures {
        let file = inside(top, name);
        let same = by_stem.get(stem(name)).map(Vec::as_slice).unwrap_or_default();
        let exact = same.iter().copied().find(|mask| *mask == name);
        let mask = match (exact, same) {
            (Some(mask), _) => mask,
            (None, [mask]) => *mask,
            (None, []) => {
                let hint = format!("put the mask of the picture into {masks}, or move the picture elsewhere");
                listing.bad.push(DataError::file(&file, format!("there is no mask in {masks}"), hint));
                continue;
            }
            (None, [one, other, ..]) => {
                let what = format!("there are two masks: {one} and {other}");
                listing.bad.push(DataError::file(&file, what, "move one of the masks elsewhere"));
                continue;
            }
        };
        used.insert(mask);
        listing.samples.push(Sample { file, label: Label::Mask(inside(Some(masks), mask)) });
    }
    let unused = marked.pictures.len() - used.len();
    if unused > 0 {
        listing.warnings.push(format!("{unused} masks in {masks} have no picture"));
    }
    Ok(listing)
}

/// The number of a label's text.
fn number(text: &str, codes: &[LabelCode]) -> Option<f64> {
    if !codes.is_empty() {
        return codes.iter().find(|code| code.text == text).map(|code| f64::from(code.class));
    }
    match csv::cell(text, Decimal::Point) {
        Cell::Number(number) if (number as f32).is_finite() => Some(number),
        _ => None,
    }
}

/// The entries of a folder of the data folder, by name. Hidden files are left out.
fn entries(dir: &Path, name: Option<&str>) -> Result<Entries, DataError> {
    let mut found = Entries::default();
    for (file, is_folder) in folder::list(dir, name)? {
        let Some(file) = file.to_str() else {
            let shown = inside(name, &file.to_string_lossy());
            found.bad.push(DataError::file(&shown, "the name is not UTF-8", "rename the file"));
            continue;
        };
        if file.starts_with('.') || LEFT_BY_SYSTEMS.contains(&file) {
            continue;
        }
        if is_folder {
            found.folders.push(file.to_owned());
        } else if ENDINGS.iter().any(|ending| file.to_ascii_lowercase().ends_with(ending)) {
            found.pictures.push(file.to_owned());
        } else {
            let what = "the file is not a picture: its name does not end with .jpg, .jpeg or .png";
            found.bad.push(DataError::file(&inside(name, file), what, NO_PICTURE));
        }
    }
    found.pictures.sort_unstable();
    found.folders.sort_unstable();
    found.bad.sort_by_cached_key(ToString::to_string);
    Ok(found)
}

/// Folders where only pictures are read.
fn nested(place: Option<&str>, folders: &[String]) -> Vec<DataError> {
    let what = "a folder lies among the pictures: folders in it are not searched";
    let hint = "move the pictures out of the folder, or the folder elsewhere";
    folders.iter().map(|name| DataError::file(&inside(place, name), what, hint)).collect()
}

/// Whether a place is this folder, or lies in it.
fn is_at_or_in(place: &str, folder: &str) -> bool {
    place.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A name in a folder.
fn inside(folder: Option<&str>, name: &str) -> String {
    folder.map_or_else(|| name.to_owned(), |folder| format!("{folder}/{name}"))
}

/// A name without its ending.
fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

const ENDINGS: [&str; 3] = [".jpg", ".jpeg", ".png"];
/// Files that Windows puts into folders of pictures.
const LEFT_BY_SYSTEMS: [&str; 2] = ["Thumbs.db", "desktop.ini"];
