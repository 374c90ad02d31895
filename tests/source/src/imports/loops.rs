//! Groups of files that import each other in a loop: strongly connected components.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::Import;

/// Every group of files of which each one reaches each other one by imports, largest first.
pub fn loops(imports: &[Import]) -> Vec<Vec<PathBuf>> {
    let mut next: BTreeMap<&Path, BTreeSet<&Path>> = BTreeMap::new();
    for import in imports {
        next.entry(&import.from).or_default().insert(&import.to);
    }
    // A few hundred files: who reaches whom is found by walking from each one.
    let reached: BTreeMap<&Path, BTreeSet<&Path>> =
        next.keys().map(|file| (*file, reached_from(file, &next))).collect();
    let mut groups: BTreeSet<Vec<PathBuf>> = BTreeSet::new();
    for (file, others) in &reached {
        let back = |other: &&&Path| reached.get(**other).is_some_and(|back| back.contains(file));
        let group: Vec<PathBuf> = others.iter().filter(back).map(|other| other.to_path_buf()).collect();
        if group.len() > 1 {
            groups.insert(group);
        }
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    groups
}

/// Files to which imports lead from `file`; `file` itself if it stands on a loop.
fn reached_from<'a>(file: &'a Path, next: &BTreeMap<&'a Path, BTreeSet<&'a Path>>) -> BTreeSet<&'a Path> {
    let mut reached = BTreeSet::new();
    let mut open = vec![file];
    while let Some(at) = open.pop() {
        let to = next.get(at).into_iter().flatten().copied();
        open.extend(to.filter(|to| reached.insert(*to)));
    }
    reached
}
