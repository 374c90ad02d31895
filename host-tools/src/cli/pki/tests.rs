//! What the commands say, with what differs from run to run put out of sight.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use crate::{cli::transcript::transcript, files::tests::scratch};

fn told(folder: &Path, lines: &[&str]) -> String {
    hide(&transcript(folder, lines))
}

/// Digests, their short forms and dates, each kind by one word.
fn hide(text: &str) -> String {
    let is_hex = |word: &str| word.bytes().all(|b| b.is_ascii_hexdigit());
    let mut out = String::new();
    for word in text.split_inclusive([' ', '\n', '"', ',']) {
        let core = word.trim_end_matches([' ', '\n', '"', ',']);
        let hidden = if core.len() == 64 && is_hex(core) {
            "HEX"
        } else if core.len() == 23 && core.split('-').all(|group| group.len() == 5 && is_hex(group)) {
            "SHORT"
        } else if core.len() == 20 && core.ends_with('Z') {
            "DATE"
        } else {
            core
        };
        out += hidden;
        out += &word[core.len()..];
    }
    out
}

#[test]
fn pki_commands_answer_as_their_transcript_says() {
    let folder = scratch("pki-cli");
    for (file, text) in [
        ("owner/plan/plan.yaml", "schema: 1\nfederation: \"w\" # ours\n"),
        ("secret", "correct horse\n"),
        ("wrong", "correct house\n"),
    ] {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let found = told(
        &folder,
        &[
            "pki --help",
            "pki init --workspace D/none",
            "pki init --workspace D/owner --passphrase-file D/secret",
            "pki init --workspace D/owner",
            "pki request --workspace D/one --role collaborator -n one",
            "pki request --workspace D/one --role collaborator",
            "pki request --workspace D/agg --role aggregator",
            "pki approve D/one/cert/col_one.csr --workspace D/owner --role collaborator -n one --passphrase-file D/wrong",
            "pki approve D/one/cert/col_one.csr --workspace D/owner --role collaborator -n one --passphrase-file D/secret",
            "--json pki approve D/agg/cert/aggregator.csr --workspace D/owner --role aggregator --passphrase-file D/secret",
            "pki import D/owner/cert/issued/col_one.crt --workspace D/one",
            "pki import D/owner/cert/issued/col_one.crt --workspace D/one --ca D/owner/cert/ca.crt --roster D/owner/plan/cols.yaml",
            "pki renew -n one --workspace D/owner --passphrase-file D/secret",
            "pki renew -n two --workspace D/owner --passphrase-file D/secret",
            "pki list --workspace D/owner",
            "pki revoke -n one --reason left --workspace D/owner --passphrase-file D/secret",
            "pki sign --workspace D/owner --passphrase-file D/secret",
            "--json pki list --workspace D/owner",
            "pki approve D/secret --workspace D/one --role collaborator -n one",
        ],
    );
    assert_eq!(found, include_str!("../pki.txt"));
}

#[test]
fn passphrase_file_that_others_can_read_is_warned_of_with_its_cure() {
    let folder = scratch("pki-exposed");
    fs::create_dir_all(folder.join("owner/plan")).unwrap();
    fs::write(folder.join("owner/plan/plan.yaml"), "schema: 1\nfederation: w\n").unwrap();
    let secret = folder.join("secret");
    fs::write(&secret, "correct horse\n").unwrap();
    let mode = |mode| fs::set_permissions(&secret, fs::Permissions::from_mode(mode)).unwrap();
    let run = |words: &str| told(&folder, &[words]);
    let warning = |mode: &str| {
        format!(
            "other users of this machine can read or change the passphrase file D/secret (its mode is {mode}): run `chmod 600 D/secret`"
        )
    };
    mode(0o644);
    let said = run("pki init --workspace D/owner --passphrase-file D/secret");
    assert!(said.ends_with(&format!("warning: {}\n=> 0\n", warning("0644"))), "{said}");
    mode(0o620);
    let said = run("--json pki sign --workspace D/owner --passphrase-file D/secret");
    assert!(said.contains(&format!("\"warnings\":[\"{}\"]", warning("0620"))), "{said}");
    mode(0o400);
    let said = run("pki sign --workspace D/owner --passphrase-file D/secret");
    assert!(said.ends_with("=> 0\n") && !said.contains("warning"), "{said}");
    // Each command that takes the file, on a folder in which the command succeeds.
    let template = include_str!("../../templates/breast_cancer/plan.yaml");
    let plan = template.replace("federation: breast-cancer", "federation: w");
    fs::write(folder.join("owner/plan/plan.yaml"), plan).unwrap();
    mode(0o644);
    let key = "--workspace D/owner --passphrase-file D/secret";
    for site in ["one", "two", "three"] {
        run(&format!("pki request --workspace D/{site} --role collaborator -n {site}"));
        let said = run(&format!("pki approve D/{site}/cert/col_{site}.csr {key}"));
        assert!(said.ends_with(&format!("warning: {}\n=> 0\n", warning("0644"))), "{said}");
    }
    for command in ["renew -n one", "resume --round 4 --without three", "revoke -n two"] {
        let said = run(&format!("pki {command} {key}"));
        assert!(said.ends_with(&format!("warning: {}\n=> 0\n", warning("0644"))), "{said}");
    }
}

#[test]
fn order_to_go_back_is_shown_as_it_was_signed() {
    let folder = scratch("pki-resume");
    fs::create_dir_all(folder.join("owner/plan")).unwrap();
    let template = include_str!("../../templates/breast_cancer/plan.yaml");
    let plan = template.replace("federation: breast-cancer", "federation: w");
    fs::write(folder.join("owner/plan/plan.yaml"), plan).unwrap();
    let run = |words: &str| told(&folder, &[words]);
    run("pki init --workspace D/owner");
    for site in ["one", "two", "three", "four"] {
        run(&format!("pki request --workspace D/{site} --role collaborator -n {site}"));
        run(&format!("pki approve D/{site}/cert/col_{site}.csr --workspace D/owner --yes"));
    }
    let said = run("pki resume --round 4 --without three --without four --without three --workspace D/owner");
    assert!(
        said.contains(
            "\nresume       after round 4, without four, three (serial 6)\nrevoked      three, four\n"
        ),
        "{said}"
    );
    let said = run("--json pki resume --round 3 --without four --without four --workspace D/owner");
    assert!(said.contains("\"round\":3") && said.contains("\"without\":[\"four\"]"), "{said}");
}
