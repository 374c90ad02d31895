//! The program itself: what it prints goes where it should, and it ends with its numbered code.
#![allow(clippy::unwrap_used, reason = "a test's failure is its panic")]

use std::process::{Command, Output};

fn fl_host(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fl-host")).args(args).output().unwrap()
}

#[test]
fn help_goes_to_standard_output_and_mistakes_to_standard_error() {
    let help = fl_host(&["--help"]);
    assert_eq!((help.status.code(), help.stderr.len()), (Some(0), 0));
    assert!(String::from_utf8_lossy(&help.stdout).contains("Usage: fl-host"));

    let mistake = fl_host(&["workspace", "crate"]);
    assert_eq!((mistake.status.code(), mistake.stdout.len()), (Some(2), 0));
    let said = String::from_utf8_lossy(&mistake.stderr).into_owned();
    assert!(said.starts_with("error: ") && said.contains("\nhint: "), "{said}");

    let json = fl_host(&["--json", "workspace", "templates"]);
    assert!(serde_json::from_slice::<serde_json::Value>(&json.stdout).unwrap().is_array());
}

#[test]
fn owner_on_a_terminal_is_asked_about_the_fingerprint_before_anything_is_signed() {
    let root = std::env::temp_dir().join(format!("fl-host-asks-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&root);
    std::fs::create_dir(&root).unwrap();
    let at = |name: &str| root.join(name).display().to_string();
    for args in [
        &["pki", "init", "--workspace", &at("owner"), "--federation", "w"][..],
        &["pki", "request", "--workspace", &at("one"), "--role", "collaborator", "-n", "one"],
    ] {
        assert!(fl_host(args).status.success());
    }
    let request = at("one/cert/col_one.csr");
    let shown = fl_host(&["pki", "show", &request]);
    assert!(
        String::from_utf8_lossy(&shown.stdout).starts_with("asks for     collaborator one\nfingerprint  ")
    );
    let line = format!("{} pki approve {request} --workspace {}", env!("CARGO_BIN_EXE_fl-host"), at("owner"));
    let certificate = root.join("owner/cert/issued/col_one.crt");
    for (answer, code, there) in [("n", 5, false), ("", 5, false), ("y", 0, true)] {
        // script(1) runs the command on a terminal of its own.
        let mut child = Command::new("script")
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut keys = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut keys, format!("{answer}\n").as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        drop(keys);
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(said.contains("Has the site read this fingerprint to you? [y/N]"), "{said}");
        assert_eq!((out.status.code(), certificate.exists()), (Some(code), there), "{answer:?}: {said}");
    }
    // A script is not asked, and the fingerprint that it gives counts.
    let wrong =
        ["pki", "approve", &request, "--workspace", &at("owner"), "--fingerprint", "00000-00000-00000-00000"];
    assert_eq!(fl_host(&wrong).status.code(), Some(5));
    std::fs::remove_dir_all(&root).unwrap();
}
