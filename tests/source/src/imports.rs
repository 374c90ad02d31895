//! Which files of a crate import from which others, and which of them do so in a loop.
//!
//! Used by `tests/repository.rs`. An import is a `use` or a path in the code that leads to an item in another
//! file of the same crate; re-exports are followed to the file that defines the item. Three things are no
//! imports:
//!
//! - a file that declares a child module, or re-exports a child's item without using the item itself;
//! - a file that uses what its parent's own file defines (`super::Error`);
//! - tests: items under `#[cfg(test)]`, and the files of modules under `#[cfg(test)]`.
//!
//! This reader lexes and never parses. Method calls and names that macros build from pieces are beyond it.

mod lexer;
mod loops;
mod modules;
mod resolve;

use std::path::{Path, PathBuf};

pub use loops::loops;
use modules::Tree;

/// One item of one file, named in another file of the same crate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    /// The file that imports.
    pub from: PathBuf,
    /// Its line, counted from one.
    pub line: usize,
    /// The path as the importing file writes it, groups taken apart.
    pub path: String,
    /// The file that defines the item.
    pub to: PathBuf,
}

/// A crate's imports between its files.
#[derive(Debug, Default)]
pub struct Imports {
    /// Imports between files, sorted, each one once.
    pub found: Vec<Import>,
    /// Paths that begin with `crate`, `self` or `super` and lead to nothing that this reader knows:
    /// `file:line: path`.
    pub unresolved: Vec<String>,
    /// First words of the other paths of the product's code, each with its file: `std`, `tokio`, `fl_engine`.
    pub outside: Vec<(PathBuf, usize, String)>,
}

/// Reads the crate whose root is the file `root` (`src/lib.rs`, `src/main.rs`). `read` gives the text of a
/// file, if there is such a file.
pub fn imports(root: &Path, read: &dyn Fn(&Path) -> Option<String>) -> Imports {
    resolve::imports(&Tree::read(root, read))
}

#[cfg(test)]
mod tests;
