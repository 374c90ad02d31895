//! States what `fl-host --version` says: the compiler, and in a release build the commit.
//!
//! A debug build says no commit: it would be compiled again after each.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=FL_BUILD_COMMIT");
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    if let Some(version) = said(&compiler, &["--version"]) {
        println!("cargo::rustc-env=FL_HOST_TOOLCHAIN={version}");
    }
    if let Ok(commit) = std::env::var("FL_BUILD_COMMIT") {
        println!("cargo::rustc-env=FL_HOST_COMMIT={commit}");
    } else if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        // Without git, or outside its tree, nothing is said.
        let Some(commit) = said("git", &["rev-parse", "HEAD"]) else { return };
        let changed = said("git", &["status", "--porcelain"]).is_some();
        println!("cargo::rustc-env=FL_HOST_COMMIT={commit}{}", if changed { "+changes" } else { "" });
        if let Some(log) = said("git", &["rev-parse", "--git-path", "logs/HEAD"]) {
            println!("cargo::rerun-if-changed={log}");
        }
    }
}

/// The first line that a program says; `None` when it fails or says nothing.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next().map(str::to_owned)
}
