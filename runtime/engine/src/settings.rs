//! Keys of the plan's files: each is described once, and is read, checked and explained from that
//! description.
//!
//! A [`Key`] says what a key takes, what its absence means, and what it is for. Keys that belong together
//! stand in one table (`&[Key]`); a closed choice is an enum of the macro [`words`], which is such a table
//! too. A reader walks a file with [`Field`] and [`Section`], which know the table of the place where they
//! stand: a key that is in no table cannot be read. [`reference()`] prints the tables.
//!
//! The module knows YAML and the tables' form. What the keys mean is in `plan` and `model`.

mod choice;
mod error;
mod fault;
mod field;
mod key;
mod reference;
mod tree;
mod units;

pub(crate) use choice::{Chosen, words};
pub use error::PlanError;
pub use fault::Fault;
pub(crate) use fault::{Checked, number_of};
pub(crate) use field::{Choice, Field, Section, Setting, check};
pub use key::Absent;
pub(crate) use key::{Key, Range, Tagged, Takes, Text, Word};
pub(crate) use reference::reference;
pub use reference::{KeyReference, WordReference};
pub(crate) use tree::{Node, Value, did_you_mean, parse, quoted};
