//! `fl-source draw SEED [--bare]`: a hundred sentences for two fresh readers. `fl-source check [FOLDER...]`:
//! what the rules for prose refuse; the exit code is 1 if there is anything.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use fl_source::prose::{self, Text};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["draw", seed] => draw(seed, true),
        ["draw", seed, "--bare"] => draw(seed, false),
        ["check", folders @ ..] => check(folders),
        _ => Err("usage: fl-source draw SEED [--bare] | fl-source check [FOLDER...]".to_owned()),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn draw(seed: &str, with_places: bool) -> Result<ExitCode, String> {
    let seed: u64 = seed.parse().map_err(|_| format!("{seed:?} is not a seed: give a whole number"))?;
    let mut texts: Vec<Text> = Vec::new();
    for (file, content) in tracked(&[])?.into_iter().filter(|(file, _)| is_of_the_product(file)) {
        texts.extend(prose::texts(&file, &content));
    }
    print(&prose::numbered(&prose::draw(&texts, seed, SENTENCES), with_places));
    Ok(ExitCode::SUCCESS)
}

fn check(folders: &[&str]) -> Result<ExitCode, String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut lines = String::new();
    for (file, content) in tracked(folders)? {
        // The list of refused words, and its tests.
        if file.starts_with("tests/source/src/prose") {
            continue;
        }
        for offence in prose::offences(&file, &content) {
            *counts.entry(offence.rule).or_default() += 1;
            lines.push_str(&format!("{}:{}: {}\n", file.display(), offence.line, offence.cure));
        }
    }
    print(&lines);
    if counts.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("refused: {counts:?}");
    Ok(ExitCode::FAILURE)
}

/// A reader that has gone ends nothing.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// What a user of the product reads.
fn is_of_the_product(file: &Path) -> bool {
    file == Path::new("README.md") || file.starts_with("runtime") || file.starts_with("host-tools")
}

/// Text files that git tracks, below `folders` if any are given, by name.
fn tracked(folders: &[&str]) -> Result<BTreeMap<PathBuf, String>, String> {
    let output = Command::new("git").args(["ls-files", "-z", "--"]).args(folders).output();
    let output = output.map_err(|error| format!("git ls-files: {error}"))?;
    if !output.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    let files = names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from);
    // A deleted file is still tracked; another kind of file has no text.
    Ok(files.filter_map(|file| std::fs::read_to_string(&file).ok().map(|text| (file, text))).collect())
}

/// Sentences of a draw.
const SENTENCES: usize = 100;
