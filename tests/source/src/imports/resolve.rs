//! Leads each path of a crate to the file that defines what the path names.

use std::collections::BTreeSet;

use super::{
    Import, Imports,
    modules::{Module, ModuleId, Tree, Use},
};

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Named {
    Module(ModuleId),
    /// An item that this module defines.
    Item(ModuleId),
    /// Something of another crate, re-exported here.
    Outside,
}

pub(super) fn imports(tree: &Tree) -> Imports {
    let mut imports = Imports::default();
    for id in 0..tree.modules.len() {
        for import in &tree.modules[id].uses {
            use_imports(tree, id, import, &mut imports);
        }
        for (line, path) in &tree.modules[id].paths {
            path_imports(tree, id, *line, path, &mut imports);
        }
    }
    imports.found.sort();
    imports.found.dedup();
    imports
}

fn use_imports(tree: &Tree, id: ModuleId, import: &Use, imports: &mut Imports) {
    let names = resolve(tree, id, &import.path, &mut BTreeSet::new());
    if names.is_empty() {
        leads_outside(tree, id, import.line, &import.path, imports);
    }
    // A child's name is among the words by its declaration.
    let Module { words, children, .. } = &tree.modules[id];
    let is_used = |name: &String| words.contains(name) && !children.contains_key(name);
    let used_here = import.name.as_ref().is_some_and(is_used);
    for name in names {
        let owner = match (name, &import.name) {
            (Named::Item(owner), _) | (Named::Module(owner), None) => owner,
            // The paths that begin with the module's name are counted, each by itself.
            (Named::Module(_), Some(_)) | (Named::Outside, _) => continue,
        };
        if import.exported && !used_here && tree.is_under(owner, id) {
            continue;
        }
        let mut path = import.path.join("::");
        if import.name.is_none() {
            path.push_str("::*");
        }
        add(tree, id, import.line, path, owner, imports);
    }
}

fn path_imports(tree: &Tree, id: ModuleId, line: usize, path: &[String], imports: &mut Imports) {
    let first = resolve(tree, id, &path[..1], &mut BTreeSet::new());
    if !first.iter().any(|name| matches!(name, Named::Module(_))) {
        if first.is_empty() {
            leads_outside(tree, id, line, path, imports);
        }
        return;
    }
    let names = resolve(tree, id, path, &mut BTreeSet::new());
    if names.is_empty() {
        leads_outside(tree, id, line, path, imports);
    }
    for name in names {
        if let Named::Item(owner) = name {
            add(tree, id, line, path.join("::"), owner, imports);
        }
    }
}

/// Notes an import, unless it stays in its file or reaches what the parent's own file defines.
fn add(tree: &Tree, id: ModuleId, line: usize, path: String, owner: ModuleId, imports: &mut Imports) {
    let (from, to) = (tree.file_module(id), tree.file_module(owner));
    let parent = tree.modules[from].parent.map(|parent| tree.file_module(parent));
    if from != to && parent != Some(to) {
        let file = |id: ModuleId| tree.modules[id].file.clone();
        imports.found.push(Import { from: file(from), line, path, to: file(to) });
    }
}

fn leads_outside(tree: &Tree, id: ModuleId, line: usize, path: &[String], imports: &mut Imports) {
    let file = &tree.modules[id].file;
    if matches!(path[0].as_str(), "crate" | "self" | "super") {
        imports.unresolved.push(format!("{}:{line}: {}", file.display(), path.join("::")));
    } else {
        imports.outside.push((file.clone(), line, path[0].clone()));
    }
}

/// What `path`, written in the module `id`, stands for. A name may stand for a module and an item at once.
fn resolve(
    tree: &Tree,
    id: ModuleId,
    path: &[String],
    tried: &mut BTreeSet<(ModuleId, String)>,
) -> Vec<Named> {
    let Some((first, rest)) = path.split_first() else { return vec![Named::Module(id)] };
    let found = match first.as_str() {
        "crate" => vec![Named::Module(0)],
        "self" => vec![Named::Module(id)],
        "super" => tree.modules[id].parent.map(Named::Module).into_iter().collect(),
        name => look_up(tree, id, name, tried),
    };
    if rest.is_empty() {
        return found;
    }
    let mut names = Vec::new();
    for name in &found {
        if let Named::Module(module) = name {
            names.extend(resolve(tree, *module, rest, tried));
        }
    }
    if names.is_empty() {
        // What follows an item belongs to the item: a variant, a constant, a function of a type.
        names.extend(found.into_iter().filter(|name| !matches!(name, Named::Module(_))));
    }
    names
}

/// What `name` stands for in the module `id`. `tried` holds the look-ups under way, against re-exports in a
/// circle.
fn look_up(tree: &Tree, id: ModuleId, name: &str, tried: &mut BTreeSet<(ModuleId, String)>) -> Vec<Named> {
    let module = &tree.modules[id];
    let mut found = BTreeSet::new();
    found.extend(module.children.get(name).map(|child| Named::Module(*child)));
    found.extend(module.items.contains(name).then_some(Named::Item(id)));
    // Also on the way of `pub use load::load`, which looks for the module `load` to find its item.
    if !tried.insert((id, name.to_owned())) {
        return found.into_iter().collect();
    }
    for import in module.uses.iter().filter(|import| import.name.as_deref() == Some(name)) {
        let names = resolve(tree, id, &import.path, tried);
        let is_ours = matches!(import.path[0].as_str(), "crate" | "self" | "super");
        found.extend(names.is_empty().then_some(Named::Outside).filter(|_| !is_ours));
        found.extend(names);
    }
    if found.is_empty() {
        for import in module.uses.iter().filter(|import| import.name.is_none()) {
            for name_of_glob in resolve(tree, id, &import.path, tried) {
                if let Named::Module(of) = name_of_glob {
                    found.extend(look_up(tree, of, name, tried));
                }
            }
        }
    }
    tried.remove(&(id, name.to_owned()));
    found.into_iter().collect()
}
