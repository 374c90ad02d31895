//! The manual's quick start, as a reader types it: its `sh` blocks run in one shell, from the data to the
//! model.

use std::{net::UdpSocket, path::Path, process::Command};

use fl_runtime::manual::CHAPTERS;
use fl_tests::federation::program;

/// The fenced blocks of the language, without their fences.
fn blocks(markdown: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let parts = markdown.split(&fence).skip(1).filter_map(|part| part.split("```").next());
    parts.map(str::to_owned).collect()
}

#[test]
fn commands_of_the_quick_start_train_the_model_that_its_last_section_uses() {
    let chapter = CHAPTERS.iter().find(|chapter| chapter.name == "quick_start").unwrap().text;
    let blocks = blocks(chapter, "sh");
    // The first builds the programs, which the test run has done.
    assert!(blocks[0].contains("cargo build") && blocks.len() >= 8, "{}", blocks.len());
    let folder = std::env::temp_dir().join(format!("fl-quick-start-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut script = blocks[1..].join("\n");
    // Another program of this machine may have the usual port.
    script = script.replace(
        "fl-host pki init",
        &format!("sed -i 's/^port: 7464/port: {port}/' plan/site.yaml; fl-host pki init"),
    );
    let programs: Vec<_> =
        ["fl-host", "fl-runtime"].iter().map(|name| program(name).parent().unwrap().to_owned()).collect();
    let path = std::env::join_paths(
        programs.iter().map(Path::new).chain([Path::new("/usr/bin"), Path::new("/bin")]),
    );
    let out = Command::new("timeout")
        .args(["120", "bash", "-c", &script])
        .env("PATH", path.unwrap())
        .current_dir(&folder)
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert_eq!(out.status.code(), Some(0), "{said}");
    let [requests, rounds] = ["error: waiting for a certificate", "  2 updates of 520 rows  accuracy "]
        .map(|words| said.matches(words).count());
    assert_eq!((requests, rounds), (3, 10), "{said}");
    assert!(said.contains("all 10 rounds were run; the model is save/heart_last.safetensors"), "{said}");
    // What `model show` says of the file that the Python of the last section reads.
    assert!(said.contains("fc1.weight  F32  [8, 3]") && said.contains("fc2.bias    F32  [2]"), "{said}");
    std::fs::remove_dir_all(&folder).unwrap();
}
