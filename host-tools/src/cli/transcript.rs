//! Command lines with what they answered, as the tests pin them.

use std::path::Path;

use super::{Outcome, run};

/// Runs command lines. The words `D/…` name files below `folder`, which answers show as `D`.
pub(super) fn transcript(folder: &Path, lines: &[&str]) -> String {
    let folder = folder.display().to_string();
    let shown: String = lines.iter().map(|line| answered(line, &[("D/", &folder)]).1).collect();
    shown.replace(&folder, "D")
}

/// Runs a command line whose words name folders by the beginnings in `places`. What it answered, and as a
/// terminal shows it.
pub(super) fn answered(line: &str, places: &[(&str, &str)]) -> (Outcome, String) {
    let placed = |word: &str| {
        places.iter().fold(word.to_owned(), |word, (name, folder)| word.replace(name, &format!("{folder}/")))
    };
    let words: Vec<String> = line.split(' ').map(placed).collect();
    let said = run(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let shown = format!("$ fl-host {line}\n{}{}=> {}\n", said.out, said.err, said.exit as u8);
    (said, shown)
}
