//! Real quotes with Intel's collateral, in the folder `shared` beside the repository. They belong to other
//! projects, so the repository holds none of them.

use std::{fs, path::PathBuf};

use fl_engine::plan::roster::UnixSeconds;

/// A quote, collateral for it, and a time at which to judge.
pub struct Real {
    /// The quote's name, and the collateral's.
    pub name: String,
    /// The quote.
    pub quote: Vec<u8>,
    /// The common JSON file.
    pub collateral: String,
    /// When the collateral was in force, or was not.
    pub now: UnixSeconds,
}

/// The folder of real quotes; `None` on a machine without the folder `shared`.
///
/// # Panics
/// When `shared` is there, but without the quotes.
#[must_use]
pub fn folder() -> Option<PathBuf> {
    let shared = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    if !shared.is_dir() {
        println!("skipped: {CASES} real quotes");
        return None;
    }
    let vectors = shared.join("attest/vectors");
    assert!(vectors.join("cases.txt").is_file(), "{} holds no real quotes", vectors.display());
    Some(vectors)
}

/// Every listed case; none on a machine without the quotes.
///
/// # Panics
/// When a listed file cannot be read.
#[must_use]
pub fn cases() -> Vec<Real> {
    let Some(folder) = folder() else { return Vec::new() };
    let list = fs::read_to_string(folder.join("cases.txt")).unwrap();
    let lines = list.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let case = |line: &str| {
        let [quote, collateral, now] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{line}: three words are needed")
        };
        Real {
            name: format!("{quote} {collateral} {now}"),
            quote: fs::read(folder.join("quotes").join(format!("{quote}.bin"))).unwrap(),
            collateral: fs::read_to_string(folder.join("collateral").join(format!("{collateral}.json")))
                .unwrap(),
            now: UnixSeconds(now.parse().unwrap()),
        }
    };
    let cases: Vec<Real> = lines.map(case).collect();
    assert_eq!(cases.len(), CASES);
    cases
}

/// The certificate of Intel's root, DER.
///
/// # Panics
/// Without [`folder`].
#[must_use]
pub fn root() -> Vec<u8> {
    fs::read(folder().unwrap().join("intel-root-ca.der")).unwrap()
}

/// How many cases are listed.
const CASES: usize = 10;
