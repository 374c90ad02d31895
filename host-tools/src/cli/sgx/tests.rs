use std::{fs, path::Path};

use crate::{
    cli::{self, transcript::answered},
    files::tests::scratch,
    sgx::tests::{NAMES, expected, test_key, vectors},
};

/// The commands with what they answered; `D` is a scratch folder, `V` the vectors'.
fn transcript(dir: &Path, lines: &[&str]) -> String {
    let (folder, vectors) = (dir.display().to_string(), vectors().display().to_string());
    let places = [("D/", folder.as_str()), ("V/", vectors.as_str())];
    let found: String = lines.iter().map(|line| answered(line, &places).1).collect();
    found.replace(&folder, "D").replace(&vectors, "V")
}

fn with_key(name: &str) -> std::path::PathBuf {
    let dir = scratch(name);
    crate::sgx::key::save(&test_key(), &dir.join("key.pem")).unwrap();
    dir
}

#[test]
fn sgx_commands_answer_as_their_transcript_says() {
    let dir = with_key("sgx-cli");
    let made = transcript(
        &dir,
        &[
            "sgx --help",
            "sgx sign --help",
            "sgx key --output D/key.pem",
            "sgx manifest --template V/plain.manifest.template -D role=aggregator --output D/plain.manifest.sgx",
            "sgx manifest --template V/plain.manifest.template --output D/none.manifest.sgx",
            "sgx measure --manifest D/plain.manifest.sgx --libpal V/pal-a.elf",
            "sgx measure --manifest D/plain.manifest.sgx --libpal V/hello.txt",
            "sgx measure --manifest V/hello.txt --libpal V/pal-a.elf",
            "sgx measure --manifest D/plain.manifest.sgx --libpal V/pal-a.elf --gramine-version 1.2",
            "sgx sign --key D/key.pem --manifest D/plain.manifest.sgx --libpal V/pal-a.elf --date 2026-01-02 --output D/plain.sig",
            "sgx sign --key D/key.pem --manifest D/plain.manifest.sgx --libpal V/pal-a.elf --date 2026-02-30 --output D/no.sig",
            "sgx sign --key V/hello.txt --manifest D/plain.manifest.sgx --libpal V/pal-a.elf --output D/no.sig",
            "sgx view V/features.sig",
            "sgx view V/hello.txt",
            "--json sgx view D/plain.sig",
            "sgx verify D/plain.sig --manifest D/plain.manifest.sgx --libpal V/pal-a.elf --signer e02896ed935b981ccceb0743ac530f0608756f73ec6f6d59eef3d8cbf69c90ad",
            "sgx verify D/plain.sig --manifest D/plain.manifest.sgx --libpal V/pal-b.elf",
            "sgx verify D/plain.sig --manifest D/plain.manifest.sgx",
            "sgx verify V/debug.sig --signer 0000000000000000000000000000000000000000000000000000000000000000",
            "sgx explain V/plain.manifest.sgx V/debug.manifest.sgx",
            "sgx explain V/plain.manifest.sgx D/plain.manifest.sgx",
            "sgx explain V/plain.manifest.sgx V/plain.sig",
        ],
    );
    assert!(!dir.join("no.sig").exists() && !dir.join("none.manifest.sgx").exists());
    assert_eq!(made, include_str!("../sgx.txt"));
}

#[test]
fn signatures_of_the_command_line_are_the_vectors() {
    let dir = with_key("sgx-vectors");
    for name in NAMES {
        let (date, pal) = (expected(name, "date"), expected(name, "libpal"));
        let output = dir.join(format!("{name}.sig")).display().to_string();
        let key = dir.join("key.pem").display().to_string();
        let at = |file: &str| vectors().join(file).display().to_string();
        let manifest = at(&format!("{name}.manifest.sgx"));
        let measure = ["sgx", "measure", "--manifest", &manifest, "--libpal", &at(&pal)];
        assert_eq!(cli::run(&measure).out, format!("{}\n", expected(name, "mr_enclave")));
        let args = [
            "sgx",
            "sign",
            "--key",
            &key,
            "--manifest",
            &manifest,
            "--libpal",
            &at(&pal),
            "--date",
            &date,
            "--output",
            &output,
        ];
        assert_eq!(cli::run(&args).err, "");
        assert!(fs::read(&output).unwrap() == fs::read(at(&format!("{name}.sig"))).unwrap(), "{name}");
    }
}

#[test]
fn records_of_two_measurements_are_explained() {
    let dir = with_key("sgx-explain");
    let plan = include_str!("../../templates/breast_cancer/plan.yaml");
    fs::write(dir.join("a.yaml"), plan).unwrap();
    fs::write(dir.join("b.yaml"), plan.replace("rounds: 10", "rounds: 11")).unwrap();
    for (name, plan) in [("plain", "a"), ("edmm", "b")] {
        let at = |file: &str| vectors().join(file).display().to_string();
        let (manifest, pal) = (at(&format!("{name}.manifest.sgx")), at(&expected(name, "libpal")));
        let plan = dir.join(format!("{plan}.yaml")).display().to_string();
        let said = cli::run(&[
            "--json",
            "sgx",
            "measure",
            "--manifest",
            &manifest,
            "--libpal",
            &pal,
            "--plan",
            &plan,
        ]);
        fs::write(dir.join(format!("{name}.json")), said.out).unwrap();
    }
    let found =
        transcript(&dir, &["sgx explain D/plain.json D/edmm.json", "sgx explain D/plain.json D/plain.json"]);
    assert_eq!(found, include_str!("../sgx_explain.txt"));
}
