//! Whatever a name, path, plan, model, request, archive or manifest contains: the program prints no character
//! that moves a terminal's cursor, hides other text or turns its direction, neither in text nor in JSON.
#![allow(clippy::unwrap_used, reason = "a test's failure is its panic")]

use std::{
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use fl_engine::{
    model::safetensors,
    printable::unprintable,
    tensor::{Layout, ModelState, TensorSpec},
};
use fl_host_tools::cli;

/// One of each kind of character that the filter escapes.
const CONTROLS: [char; 9] =
    ['\u{1b}', '\u{7}', '\r', '\t', '\u{7f}', '\u{9b}', '\u{202e}', '\u{2066}', '\u{2028}'];

/// Text that paints over the line before it, where a terminal gets it.
const PAINT: &str = "\u{1b}[1A\u{1b}[2K\u{9b}2Jpainted\u{202e}\u{7f}\r";

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("fl-host-output-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// Runs the program in `dir`, for people and for programs, and checks what it prints. Returns the text for
/// people and the exit code.
fn said(dir: &Path, args: &[&str]) -> (String, Option<i32>) {
    let run = |args: &[&str]| {
        let ended = Command::new(env!("CARGO_BIN_EXE_fl-host")).args(args).current_dir(dir).output().unwrap();
        let text = String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap();
        let bad = text.lines().find_map(unprintable);
        assert_eq!(bad, None, "{args:?}: {text:?}");
        (text, ended.status.code())
    };
    let answer = run(args);
    let (json, _) = run(&[&["--json"], args].concat());
    for line in json.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        each_text(&value, &mut |text| {
            let bad = text.chars().find(|c| *c != '\n' && unprintable(&c.to_string()).is_some());
            assert_eq!(bad, None, "{args:?}: {text:?}");
        });
    }
    answer
}

fn each_text(value: &serde_json::Value, check: &mut dyn FnMut(&str)) {
    match value {
        serde_json::Value::String(text) => check(text),
        serde_json::Value::Array(list) => list.iter().for_each(|value| each_text(value, check)),
        serde_json::Value::Object(map) => map.iter().for_each(|(key, value)| {
            check(key);
            each_text(value, check);
        }),
        _ => {}
    }
}

/// A workspace with a CA and an initial model.
fn workspace(name: &str) -> PathBuf {
    let root = scratch(name).join("w");
    let path = root.display().to_string();
    for args in [
        &["workspace", "create", "--prefix", &path, "--template", "breast_cancer"][..],
        &["pki", "init", "--workspace", &path],
        &["plan", "initialize", "-a", "localhost", "--workspace", &path],
    ] {
        assert_eq!(cli::run(args).err, "");
    }
    root
}

#[test]
fn words_and_paths_of_the_command_line_are_printed_escaped() {
    let dir = scratch("words");
    for c in CONTROLS {
        let word = format!("a{c}b");
        let shown = format!("a\\u{{{:x}}}b", u32::from(c));
        for args in [
            &["workspace", "create", "--prefix", &word, "--template", "digits"][..],
            &["workspace", "create", "--prefix", "x", "--template", &word],
            &["workspace", "create", "--prefix", &word, "--template", "digits", "--federation", "x"],
            &["workspace", "import", "--archive", &word, "--prefix", "y"],
            &["workspace", "export", "--workspace", &word],
            &["plan", "check", "--workspace", &word],
            &["plan", "import", &word],
            &["plan", "reference", &word],
            &["model", "show", &word],
            &["model", "init", "--seed", &word],
            &["image", "inspect", &word],
            &["sgx", "view", &word],
            &["pki", "approve", &word, "--role", "collaborator", "-n", "x"],
            &["pki", "request", "--role", &word],
            &["manual", &word],
        ] {
            let (text, _) = said(&dir, args);
            // A few answers quote the word as the command line's parser does.
            assert!(text.contains(&shown) || !text.contains("painted"), "{args:?}: {text}");
        }
    }
    // A word that is not UTF-8 is refused as any other.
    let word = OsString::from_vec(vec![0xff, 0x1b]);
    let ended = Command::new(env!("CARGO_BIN_EXE_fl-host")).arg(word).output().unwrap();
    assert_eq!(ended.status.code(), Some(2));
}

#[test]
fn plans_and_site_files_with_control_characters_are_refused() {
    let root = workspace("plans");
    let plan = fs::read_to_string(root.join("plan/plan.yaml")).unwrap();
    let escaped = |c: char| format!("\\u{:04x}", u32::from(c));
    for c in CONTROLS {
        let texts = [
            plan.replace("file: data.csv", &format!("file: \"d{}\"", escaped(c))),
            plan.replace("rounds:", &format!("\"rounds{}\":", escaped(c))),
            plan.replace("diagnosis", &format!("\"diagnosis{}\"", escaped(c))),
            format!("{plan}# painted {c} over\n"),
        ];
        // An editor shows a tab in a comment as it is, and the end of a line is no control of the text.
        let raw = if matches!(c, '\t' | '\r') { 3 } else { 4 };
        for text in &texts[..raw] {
            assert_ne!(*text, plan);
            fs::write(root.join("plan/plan.yaml"), text).unwrap();
            for command in ["show", "check", "accept"] {
                let (said, code) = said(&root, &["plan", command]);
                assert_eq!(code, Some(4), "{said}");
                let name = format!("the control character \\u{{{:x}}} is not allowed", u32::from(c));
                assert!(said.starts_with("error: plan/plan.yaml:") && said.contains(&name), "{said}");
            }
        }
    }
    fs::write(root.join("plan/plan.yaml"), &plan).unwrap();
    fs::write(root.join("plan/data.yaml"), "one: \"data/\\e[2J\"\n").unwrap();
    let (text, code) = said(&root, &["plan", "check"]);
    assert!(code == Some(4) && text.starts_with("error: plan/data.yaml:1:6: the control"), "{text}");
    fs::remove_file(root.join("plan/data.yaml")).unwrap();
    let site = fs::read_to_string(root.join("plan/site.yaml")).unwrap();
    fs::write(root.join("plan/site.yaml"), format!("{site}# \u{202e}\n")).unwrap();
    let (text, code) = said(&root, &["plan", "check"]);
    assert!(code == Some(4) && text.starts_with("error: plan/site.yaml:"), "{text}");
}

#[test]
fn models_requests_rosters_and_records_of_others_paint_nothing() {
    let root = workspace("files");
    let texts = [("note".to_owned(), PAINT.to_owned())].into();
    let tensor = |name: &str| ModelState::zeros(Layout::new(vec![TensorSpec::f32(name, [1])]).unwrap());
    fs::write(root.join("m.safetensors"), safetensors::write(&tensor("w"), &texts)).unwrap();
    let painted = safetensors::write(&tensor(&format!("w{PAINT}")), &safetensors::Texts::new());
    fs::write(root.join("n.safetensors"), painted).unwrap();
    for file in ["m.safetensors", "n.safetensors"] {
        for args in [&["model", "show", file][..], &["plan", "initialize", "-a", "x", "--init-model", file]] {
            let (text, code) = said(&root, args);
            assert!(code == Some(6) && text.contains("contains the control character \\u{1b}"), "{text}");
        }
    }
    let two = [("note".to_owned(), "a\nroot: 0000".to_owned())].into();
    fs::write(root.join("o.safetensors"), safetensors::write(&tensor("w"), &two)).unwrap();
    let (text, _) = said(&root, &["model", "show", "o.safetensors"]);
    assert!(text.contains("note: a\\u{a}root: 0000\n"), "{text}");

    let (text, code) = said(&root, &["pki", "revoke", "-n", "one", "--reason", PAINT]);
    assert!(code == Some(5), "{text}");
    for (file, text) in [
        ("junk.pem", format!("-----BEGIN {PAINT}-----\nAAEC\n-----END {PAINT}-----\n")),
        ("junk.json", format!("{{\"federation\": {:?}, \"target\": \"sgx\"}}", "\u{202e}x")),
        ("openfl.yaml", "tasks: {}\naggregator: {settings: {\"a\\e[2J\": \"b\\u202e\"}}\n".to_owned()),
        (
            "enclave.toml",
            "sgx.\"\\u001b[2J\" = \"\\u202e\"\nloader.entrypoint = \"file:\\u009b\"\n".to_owned(),
        ),
        ("bad.yaml", format!("a: [{PAINT}\n")),
    ] {
        fs::write(root.join(file), text).unwrap();
    }
    let key = root.join("cert/ca.crt").display().to_string();
    for args in [
        &["pki", "approve", "junk.pem", "--role", "collaborator", "-n", "one"][..],
        &["pki", "import", "junk.pem", "--ca", &key],
        &["pki", "import", "junk.pem", "--ca", "junk.pem"],
        &["pki", "sign", "--measurement", "junk.json"],
        &["plan", "import", "openfl.yaml", "--output", "plan/new.yaml"],
        &["plan", "import", "bad.yaml", "--output", "plan/newer.yaml"],
        &["sgx", "measure", "enclave.toml"],
        &["sgx", "view", "junk.pem"],
        &["sgx", "explain", "junk.json", "junk.json"],
        &["sgx", "explain", "enclave.toml", "enclave.toml"],
        &["image", "inspect", "junk.json"],
        &["model", "open", "junk.json", "--key", "junk.pem", "--output", "x"],
    ] {
        said(&root, args);
    }
}

#[test]
fn archives_of_others_paint_nothing() {
    let root = workspace("archives");
    let archive = |entries: &[(&str, &[u8])]| {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, bytes) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    };
    let gzip = |bytes: &[u8]| {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gz, bytes).unwrap();
        gz.finish().unwrap()
    };
    let plan = fs::read(root.join("plan/plan.yaml")).unwrap();
    let name = format!("src/{PAINT}");
    fs::write(root.join("w.tar.gz"), gzip(&archive(&[("plan/plan.yaml", &plan), (&name, b"x")]))).unwrap();
    let (text, code) = said(&root, &["workspace", "import", "--archive", "w.tar.gz", "--prefix", "made"]);
    assert!(code == Some(3) && text.contains("control character"), "{text}");
    assert!(!root.join("made").exists());

    // An image whose labels and name paint: nothing of it can be checked, and nothing is painted.
    let layer = archive(&[]);
    let config = serde_json::json!({
        "config": {"Labels": {"fl.plan": PAINT, PAINT: "x", "fl.federation": "a\nchecked  fl.plan 00"}},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", fl_engine::Digest::of(&layer))]},
    });
    let manifest = serde_json::json!([{"Config": "c", "RepoTags": [PAINT], "Layers": ["l"]}]);
    let parts = [("manifest.json", manifest.to_string()), ("c", config.to_string())];
    let mut entries: Vec<(&str, &[u8])> = parts.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    entries.push(("l", &layer));
    fs::write(root.join("image.tar"), archive(&entries)).unwrap();
    let (text, code) = said(&root, &["image", "inspect", "image.tar"]);
    assert!(code == Some(5) && text.contains("fl.plan is \\u{1b}[1A"), "{text}");
}
