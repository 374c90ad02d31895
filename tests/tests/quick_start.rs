//! The manual's quick start, as a reader types it: its `sh` blocks run in one shell, from the data to the
//! model.
#![allow(clippy::unwrap_used, reason = "a test's failure is its panic")]

use std::{net::UdpSocket, path::Path, process::Command};

use fl_runtime::manual::CHAPTERS;
use fl_tests::federation::program;

/// The fenced blocks of the language, without their fences.
fn blocks(markdown: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let parts = markdown.split(&fence).skip(1).filter_map(|part| part.split("```").next());
    parts.map(str::to_owned).collect()
}

/// The `sh` blocks of a chapter.
fn commands(name: &str) -> Vec<String> {
    let chapter = CHAPTERS.iter().find(|chapter| chapter.name == name).unwrap();
    blocks(chapter.text, "sh")
}

/// The quick start's commands, on a free port. The first builds the programs, which the test run has done.
fn quick_start() -> String {
    let blocks = commands("quick_start");
    assert!(blocks[0].contains("cargo build") && blocks.len() >= 8, "{}", blocks.len());
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // Another program of this machine may have the usual port.
    blocks[1..].join("\n").replace(
        "fl-host pki init",
        &format!("sed -i 's/^port: 7464/port: {port}/' plan/site.yaml; fl-host pki init"),
    )
}

/// What the commands print, in a fresh folder, which is removed.
fn printed(name: &str, script: &str) -> String {
    let folder = std::env::temp_dir().join(format!("fl-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let programs: Vec<_> =
        ["fl-host", "fl-runtime"].iter().map(|name| program(name).parent().unwrap().to_owned()).collect();
    let path = std::env::join_paths(
        programs.iter().map(Path::new).chain([Path::new("/usr/bin"), Path::new("/bin")]),
    );
    let out = Command::new("timeout")
        .args(["120", "bash", "-c", script])
        .env("PATH", path.unwrap())
        .current_dir(&folder)
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert_eq!(out.status.code(), Some(0), "{said}");
    std::fs::remove_dir_all(&folder).unwrap();
    said
}

#[test]
fn commands_of_the_quick_start_train_the_model_that_its_last_section_uses() {
    let said = printed("quick-start", &quick_start());
    let [requests, rounds] = ["error: waiting for a certificate", "  2 updates of 520 rows  accuracy "]
        .map(|words| said.matches(words).count());
    assert_eq!((requests, rounds), (3, 10), "{said}");
    let [described, checked] = ["data.csv: ", "data of "].map(|words| said.matches(words).count());
    assert!(described >= 2 && checked >= 2 && said.contains("disease"), "{said}");
    assert!(said.contains("all 10 rounds were run; the model is save/heart_last.safetensors"), "{said}");
    // What `model show` says of the file that the Python of the last section reads.
    assert!(said.contains("fc1.weight  F32  [8, 3]") && said.contains("fc2.bias    F32  [2]"), "{said}");
}

#[test]
fn commands_after_a_lost_owners_key_carry_the_model_to_a_new_federation() {
    let lost = "rm heart/cert/ca/ca.key\n";
    let roots = "for model in lost/save/heart_last save/heart_init; do fl-host model show aggregator/$model.safetensors; done";
    let script = format!("{}\n{lost}{}\n{roots}", quick_start(), commands("owners_key").join("\n"));
    let said = printed("owners-key", &script);
    let [requests, rounds, ends] =
        ["error: waiting for a certificate", "  2 updates of 520 rows  accuracy ", "all 10 rounds were run"]
            .map(|words| said.matches(words).count());
    assert_eq!((requests, rounds, ends), (6, 20, 2), "{said}");
    // The new run begins with the last model of the old one.
    let roots: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("root: ")).collect();
    assert_eq!(roots[roots.len() - 2], roots[roots.len() - 1], "{said}");
}

#[test]
fn commands_for_a_withdrawn_site_run_the_later_rounds_again_without_it() {
    let plan = "quorum: {count: {min: 1, max: 2}}\nkeep: {every: 2}";
    let start = quick_start().replace("quorum: {count: {min: 2, max: 2}}", plan);
    assert!(start.contains(plan));
    let said = printed("withdrawn", &format!("{start}\n{}", commands("withdrawn_site").join("\n")));
    let [both, alone, ends] =
        ["  2 updates of 520 rows  accuracy ", "  1 update of 320 rows  accuracy ", "all 10 rounds were run"]
            .map(|words| said.matches(words).count());
    assert_eq!((both, alone, ends), (10, 5, 2), "{said}");
    assert!(said.contains("\n\"round\":0\n"), "{said}");
    assert!(said.contains("resumes the run after round 4 without two (roster 5)"), "{said}");
}
