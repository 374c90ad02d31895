//! The modules of a crate: in which file each one stands, what it defines, what it imports, which paths its
//! code has.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::lexer::{Token, tokens};

/// Index of a module in its tree; the root is 0.
pub(super) type ModuleId = usize;

#[derive(Debug)]
pub(super) struct Tree {
    pub(super) modules: Vec<Module>,
}

#[derive(Debug)]
pub(super) struct Module {
    pub(super) file: PathBuf,
    pub(super) parent: Option<ModuleId>,
    /// Written `mod name { … }` in its parent's file.
    inline: bool,
    pub(super) children: BTreeMap<String, ModuleId>,
    /// Names of types, functions, constants, traits and macros that the module itself defines.
    pub(super) items: BTreeSet<String>,
    pub(super) uses: Vec<Use>,
    /// Paths of two words or more outside of `use`, with their lines.
    pub(super) paths: Vec<(usize, Vec<String>)>,
    /// Every word of the code outside of `use`.
    pub(super) words: BTreeSet<String>,
}

/// One leaf of a `use`.
#[derive(Debug, Clone)]
pub(super) struct Use {
    pub(super) line: usize,
    pub(super) path: Vec<String>,
    /// What the path is called here; none for `path::*`.
    pub(super) name: Option<String>,
    /// `pub`, `pub(crate)` or another visibility.
    pub(super) exported: bool,
}

impl Tree {
    pub(super) fn read(root: &Path, read: &dyn Fn(&Path) -> Option<String>) -> Self {
        let mut tree = Self { modules: Vec::new() };
        tree.add_file(None, root.to_owned(), read);
        tree
    }

    /// The module that the file of `id` begins with.
    pub(super) fn file_module(&self, mut id: ModuleId) -> ModuleId {
        while let (true, Some(parent)) = (self.modules[id].inline, self.modules[id].parent) {
            id = parent;
        }
        id
    }

    /// Whether `id` stands under `above`, at any depth.
    pub(super) fn is_under(&self, id: ModuleId, above: ModuleId) -> bool {
        let mut next = self.modules[id].parent;
        while let Some(parent) = next {
            if parent == above {
                return true;
            }
            next = self.modules[parent].parent;
        }
        false
    }

    fn add(&mut self, parent: Option<ModuleId>, file: PathBuf, inline: bool) -> ModuleId {
        self.modules.push(Module {
            file,
            parent,
            inline,
            children: BTreeMap::new(),
            items: BTreeSet::new(),
            uses: Vec::new(),
            paths: Vec::new(),
            words: BTreeSet::new(),
        });
        self.modules.len() - 1
    }

    /// Adds the module of a file and all that it declares; none if there is no such file.
    fn add_file(
        &mut self,
        parent: Option<ModuleId>,
        file: PathBuf,
        read: &dyn Fn(&Path) -> Option<String>,
    ) -> Option<ModuleId> {
        let source = read(&file)?;
        let id = self.add(parent, file, false);
        for (module, folder, name) in self.scan(id, &tokens(&source)) {
            let candidates = [folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs")];
            for candidate in candidates {
                if let Some(child) = self.add_file(Some(module), candidate, read) {
                    self.modules[module].children.insert(name, child);
                    break;
                }
            }
        }
        Some(id)
    }

    /// Reads the tokens of one file into `first` and the inline modules below. Gives the modules that lie in
    /// files of their own: who declares each, in which folder it lies, and its name.
    fn scan(&mut self, first: ModuleId, tokens: &[(usize, Token)]) -> Vec<(ModuleId, PathBuf, String)> {
        let mut declared = Vec::new();
        let folder = children_folder(&self.modules[first].file, self.modules[first].parent.is_none());
        // Open modules: each with the folder of its children and the depth of braces at which its items
        // stand.
        let mut open = vec![(first, folder, 0_usize)];
        let (mut depth, mut at) = (0_usize, 0);
        while let Some((line, token)) = tokens.get(at) {
            let (module, folder, top) = open[open.len() - 1].clone();
            let next = |more: usize| tokens.get(at + more).map(|(_, token)| token);
            let next_word = next(1).and_then(Token::word);
            match token {
                Token::Sign('{') => depth += 1,
                Token::Sign('}') => {
                    depth = depth.saturating_sub(1);
                    if open.len() > 1 && depth < top {
                        open.pop();
                    }
                }
                Token::Word(word) if word == "use" && next(1) != Some(&Token::Sign('<')) => {
                    let mut found = Vec::new();
                    let exported = is_exported(&tokens[..at]);
                    at = use_tree(tokens, at + 1, Vec::new(), &mut found);
                    self.modules[module]
                        .uses
                        .extend(found.into_iter().map(|found| Use { exported, ..found }));
                    continue;
                }
                Token::Word(word) if word == "mod" && depth == top && next_word.is_some() => {
                    let name = next_word.unwrap_or_default().to_owned();
                    if next(2) == Some(&Token::Sign('{')) {
                        let file = self.modules[module].file.clone();
                        let child = self.add(Some(module), file, true);
                        self.modules[module].children.insert(name.clone(), child);
                        depth += 1;
                        open.push((child, folder.join(name), depth));
                        at += 3;
                        continue;
                    }
                    declared.push((module, folder, name));
                }
                Token::Word(word) => {
                    let after_separator =
                        at > 0 && matches!(tokens[at - 1].1, Token::Separator | Token::Sign('.'));
                    if depth == top && DEFINING.contains(&word.as_str()) {
                        self.modules[module].items.extend(next_word.map(str::to_owned));
                    }
                    if depth == top && word == "macro_rules" {
                        self.modules[module].items.extend(next(2).and_then(Token::word).map(str::to_owned));
                    }
                    self.modules[module].words.insert(word.clone());
                    let path = path_at(tokens, at);
                    if !after_separator && path.len() > 1 {
                        self.modules[module].paths.push((*line, path));
                    }
                }
                Token::Separator | Token::Sign(_) => {}
            }
            at += 1;
        }
        declared
    }
}

/// Where the files of a module's children lie.
fn children_folder(file: &Path, is_root: bool) -> PathBuf {
    if is_root || file.ends_with("mod.rs") {
        file.parent().unwrap_or(file).to_owned()
    } else {
        file.with_extension("")
    }
}

/// The words of `a::b::c` from `at` on.
fn path_at(tokens: &[(usize, Token)], mut at: usize) -> Vec<String> {
    let mut path = Vec::new();
    while let Some(word) = tokens.get(at).and_then(|(_, token)| token.word()) {
        path.push(word.to_owned());
        if tokens.get(at + 1).map(|(_, token)| token) != Some(&Token::Separator) {
            break;
        }
        at += 2;
    }
    path
}

/// Reads `a::{b as c, d::*}` from `at` on, after `before`; gives where the reading ended.
fn use_tree(tokens: &[(usize, Token)], mut at: usize, before: Vec<String>, found: &mut Vec<Use>) -> usize {
    let mut path = before;
    while let Some((line, token)) = tokens.get(at) {
        let leaf = |path: Vec<String>, name| Use { line: *line, path, name, exported: false };
        match token {
            Token::Separator => at += 1,
            Token::Sign('{') => {
                at += 1;
                while tokens.get(at).is_some_and(|(_, token)| *token != Token::Sign('}')) {
                    at = use_tree(tokens, at, path.clone(), found);
                    at += usize::from(tokens.get(at).is_some_and(|(_, token)| *token == Token::Sign(',')));
                }
                return at + 1;
            }
            Token::Sign('*') => {
                found.push(leaf(path, None));
                return at + 1;
            }
            Token::Word(word) => {
                // `self` in a group names the module before it.
                if word != "self" || path.is_empty() {
                    path.push(word.clone());
                }
                at += 1;
                let next = tokens.get(at).map(|(_, token)| token);
                if next == Some(&Token::Separator) {
                    continue;
                }
                let mut name = path.last().cloned();
                if next.is_some_and(|next| next.is_word("as")) {
                    name = tokens.get(at + 1).and_then(|(_, token)| token.word()).map(str::to_owned);
                    at += 2;
                }
                found.push(leaf(path, name));
                return at;
            }
            Token::Sign(_) => return at,
        }
    }
    at
}

/// Whether these tokens end with a visibility.
fn is_exported(before: &[(usize, Token)]) -> bool {
    let belongs = |token: &Token| match token {
        Token::Word(word) => VISIBILITY.contains(&word.as_str()),
        Token::Separator => true,
        Token::Sign(sign) => matches!(sign, '(' | ')'),
    };
    before.iter().rev().take_while(|(_, token)| belongs(token)).any(|(_, token)| token.is_word("pub"))
}

/// Words before the name of an item.
const DEFINING: [&str; 8] = ["struct", "enum", "union", "trait", "fn", "const", "static", "type"];
const VISIBILITY: [&str; 5] = ["pub", "crate", "super", "self", "in"];
