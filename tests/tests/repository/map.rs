//! Who may import whom: crates, and the rooms of each crate. A room is a file below `src/` with the folder of
//! its name.
//!
//! The map stands in the architecture chapter, and nowhere else: this test reads it there.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use fl_source::imports::imports;

use super::{
    loops::{crate_roots, text},
    read,
};

/// The chapter, and the heading of the map in it.
const CHAPTER: &str = "runtime/src/manual/architecture.md";
const HEADING: &str = "Who may import whom";

/// For each name, the names that it may import.
type Map = BTreeMap<String, BTreeSet<String>>;

/// Tables of the map by the word in their first cell: `crate`, or a folder such as `runtime/src`.
fn tables() -> BTreeMap<String, Map> {
    let chapter = read(Path::new(CHAPTER));
    let is_heading = |line: &&str| line.starts_with('#') && line.trim_start_matches('#').trim() == HEADING;
    let section = chapter.lines().skip_while(|line| !is_heading(line)).skip(1);
    let section = section.take_while(|line| !line.starts_with('#'));
    let mut tables: BTreeMap<String, Map> = BTreeMap::new();
    let mut open = None;
    for line in section {
        let Some(row) = line.trim().strip_prefix('|') else {
            open = None;
            continue;
        };
        let cells: Vec<&str> = row.trim_end_matches('|').split('|').map(str::trim).collect();
        let names = |cell: &str| -> BTreeSet<String> {
            cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
        };
        match &open {
            None => {
                let about = names(cells[0]).pop_first().unwrap_or_else(|| "crate".to_owned());
                tables.entry(about.clone()).or_default();
                open = Some(about);
            }
            Some(about) => {
                let table = tables.entry(about.clone()).or_default();
                let may = cells.get(1).map(|cell| names(cell)).unwrap_or_default();
                table.extend(names(cells[0]).into_iter().map(|name| (name, may.clone())));
            }
        }
    }
    tables
}

/// What is imported but not on the map, and what is on the map but not imported.
fn differences(about: &str, map: &Map, found: &BTreeMap<(String, String), String>) -> Vec<String> {
    let may = |from: &String, to: &String| map.get(from).is_some_and(|names| names.contains(to));
    let mut lines: Vec<String> = found
        .iter()
        .filter(|((from, to), _)| !may(from, to))
        .map(|((from, to), place)| {
            format!("{about}: `{from}` imports `{to}`, which the map does not allow: {place}")
        })
        .collect();
    for (from, names) in map {
        let idle = names.iter().filter(|to| !found.contains_key(&(from.clone(), (*to).clone())));
        lines.extend(idle.map(|to| format!("{about}: `{from}` does not import `{to}`: take it off the map")));
    }
    lines
}

/// The names that stand in a circle of the map, or above one: all others can be put in an order in which each
/// name imports only names before it.
fn circle(map: &Map) -> BTreeSet<&String> {
    let mut left: BTreeSet<&String> = map.keys().collect();
    loop {
        let before = left.len();
        let free: Vec<&String> =
            left.iter().copied().filter(|name| !map[*name].iter().any(|to| left.contains(to))).collect();
        left.retain(|name| !free.contains(name));
        if left.len() == before {
            return left;
        }
    }
}

/// Imports between the rooms below `folder`, each with one place.
fn between_rooms(folder: &str) -> BTreeMap<(String, String), String> {
    let room = |file: &Path| {
        let below = file.strip_prefix(folder).ok()?;
        let first = below.components().next()?.as_os_str().to_str()?;
        Some(first.trim_end_matches(".rs").to_owned())
    };
    let root = Path::new(folder).join("lib.rs");
    let mut found = BTreeMap::new();
    for import in imports(&root, &text).found {
        if let (Some(from), Some(to)) = (room(&import.from), room(&import.to))
            && from != to
        {
            let place = format!("{}:{}: {}", import.from.display(), import.line, import.path);
            found.entry((from, to)).or_insert(place);
        }
    }
    found
}

/// Imports between our crates in product code, each with one place. The names are those of the manifests.
fn between_crates() -> BTreeMap<(String, String), String> {
    let mut found = BTreeMap::new();
    for root in crate_roots() {
        let Some(folder) = root.ancestors().find(|folder| folder.ends_with("src")).and_then(Path::parent)
        else {
            continue;
        };
        // Tests and benches may import every crate.
        if folder.starts_with("tests") || folder.starts_with("benches") {
            continue;
        }
        let manifest = read(&folder.join("Cargo.toml"));
        let name = manifest.lines().find_map(|line| line.strip_prefix("name = "));
        let from = name.unwrap_or_default().trim_matches('"').to_owned();
        for (file, line, word) in imports(&root, &text).outside {
            let to = word.replace('_', "-");
            if to.starts_with("fl-") && to != from {
                found.entry((from.clone(), to)).or_insert(format!("{}:{line}", file.display()));
            }
        }
    }
    found
}

#[test]
fn crates_and_rooms_import_only_what_the_map_allows() {
    let tables = tables();
    assert!(tables.contains_key("crate") && tables.len() > 2, "no map in {CHAPTER}: {tables:?}");
    let mut refused = Vec::new();
    for (about, map) in &tables {
        let found = if about == "crate" { between_crates() } else { between_rooms(about) };
        assert!(!found.is_empty(), "no import was found below {about}");
        refused.extend(differences(about, map, &found));
        let circle = circle(map);
        if !circle.is_empty() {
            refused.push(format!("{about}: the map has a circle of {circle:?}"));
        }
    }
    assert!(refused.is_empty(), "the map in {CHAPTER} and the sources differ:\n{}", refused.join("\n"));
}

#[test]
fn circle_of_a_map_is_found() {
    let map = |rows: &[(&str, &[&str])]| -> Map {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        rows.iter().map(|(name, may)| ((*name).to_owned(), names(may))).collect()
    };
    assert!(circle(&map(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])])).is_empty());
    let found = map(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"]), ("d", &[])]);
    assert_eq!(circle(&found).into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
}
