//! Hints of the aggregator about a new beginning, which this process can follow.

use fl_sys::syscall::{self, Entry};

/// A hint that this process can follow: under Gramine the manifest fixes the command line.
pub(super) fn for_this_target(hint: String) -> String {
    match syscall::entry() {
        Entry::Library => hint,
        Entry::Gramine => in_a_fixed_command_line(&hint),
    }
}

fn in_a_fixed_command_line(hint: &str) -> String {
    hint.replace(", which deletes the stored rounds; copy save/ first to keep them", "")
        .replace(FRESH, FRESH_FOLDER)
}

/// How hints name the way to begin again.
pub(super) const FRESH: &str = "start the aggregator with --fresh";
/// The same in a container of Gramine.
const FRESH_FOLDER: &str = "start the container with an empty folder at /workspace/save";

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use fl_engine::Digest;

    use super::*;
    use crate::store::StoreError;

    #[test]
    fn hint_names_an_option_only_where_the_command_line_is_free() {
        let path = PathBuf::from("save/generations/w-0000002.fl");
        let error = StoreError::OtherPlan { path, theirs: Digest([1; 32]), ours: Digest([2; 32]) };
        let hint = error.hint().unwrap();
        assert!(hint.contains("--fresh"), "{hint}");
        assert_eq!(for_this_target(hint.clone()), hint);
        assert_eq!(
            in_a_fixed_command_line(&hint),
            "to begin with the initial model, start the container with an empty folder at /workspace/save"
        );
    }
}
