use std::fs;

use fl_engine::plan::Plan;
use flate2::read::GzDecoder;

use super::{inspect::inspect, programs::tests::elf, *};
use crate::{
    cli,
    workspace::{Trial, tests::scratch},
};

/// A workspace with a CA and an initial model, and a folder of programs beside it.
fn workspace(name: &str) -> Workspace {
    let root = scratch(name).join("heart_1");
    let template = workspace::template("breast_cancer").unwrap();
    workspace::create(&root, template, None, &Trial::default()).unwrap();
    let path = root.display().to_string();
    for step in [&["pki", "init"][..], &["plan", "initialize", "-a", "aggregator.example.org"]] {
        let said = cli::run(&[step, &["--workspace", &path]].concat());
        assert_eq!(said.exit, Exit::Done, "{}", said.err);
    }
    for program in ["fl-runtime", "fl-launcher"] {
        fs::write(root.join("src").join(program), elf(false)).unwrap();
    }
    Workspace::open(&root).unwrap()
}

fn native(workspace: &Workspace) -> Request {
    Request {
        target: Target::Native,
        binary: Some(workspace.root().join("src/fl-runtime")),
        ca: None,
        output: None,
        oci: None,
        gramine: None,
        signer_key: None,
    }
}

#[test]
fn image_holds_programs_plan_ca_and_site_file_and_no_key() {
    let workspace = workspace("image-native");
    let done = dockerize(&workspace, &native(&workspace)).unwrap();
    assert!(done.archive.ends_with("heart_1/heart_1.tar.gz"));
    let found = inspect(&done.archive).unwrap();
    let files: Vec<&str> = found.contents.files().map(|(path, _)| path).collect();
    assert_eq!(
        files,
        [
            "fl/LICENSE",
            "fl/ca.crt",
            "fl/fl-launcher",
            "fl/fl-runtime",
            "fl/plan.bin",
            "workspace/plan/site.yaml"
        ]
    );
    for (path, bytes) in found.contents.files() {
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.contains("PRIVATE KEY"), "{path}");
    }
    let plan = Plan::from_canonical(found.contents.get("fl/plan.bin").unwrap()).unwrap();
    assert_eq!((plan.hash(), found.id), (done.record.plan, done.id));
    assert_eq!(found.name.as_deref(), Some("heart_1:latest"));
    assert!(found.checks.len() == 4 && found.checks.iter().all(inspect::Check::holds), "{:?}", found.checks);
    for role in &done.record.roles {
        let trusted: Vec<&str> = role.trusted.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(trusted, ["/fl/fl-runtime", "/fl/plan.bin", "/fl/ca.crt"]);
    }
    let record: serde_json::Value = serde_json::from_slice(&fs::read(&done.record_file).unwrap()).unwrap();
    assert_eq!(record["plan"], done.record.plan.to_string());
    assert_eq!(record["archive"], done.archive_digest.to_string());
    assert_eq!(record["binary"]["canonical_route"], "rustup");
    assert_eq!(record["roles"]["aggregator"]["mrenclave"], serde_json::Value::Null);
}

#[test]
fn same_workspace_is_the_same_archive_and_the_same_layout() {
    let workspace = workspace("image-twice");
    let oci = |name: &str| Some(workspace.root().with_file_name(name));
    let one = dockerize(&workspace, &Request { oci: oci("oci-1"), ..native(&workspace) }).unwrap();
    let first = fs::read(&one.archive).unwrap();
    let two = dockerize(&workspace, &Request { oci: oci("oci-2"), ..native(&workspace) }).unwrap();
    assert!(first == fs::read(&two.archive).unwrap());
    let index = |name: &str| fs::read(workspace.root().with_file_name(name).join("index.json")).unwrap();
    assert_eq!(index("oci-1"), index("oci-2"));
    let again = dockerize(&workspace, &Request { oci: oci("oci-1"), ..native(&workspace) }).unwrap_err();
    assert!(again.error.ends_with("is not an empty folder"), "{}", again.error);
    // Every blob is named by its digest, and the layers are those of the archive.
    let blobs = workspace.root().with_file_name("oci-1/blobs/sha256");
    for blob in fs::read_dir(blobs).unwrap() {
        let path = blob.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(Digest::of(&fs::read(&path).unwrap()).to_string(), name);
    }
    // One byte of the binary is another image.
    fs::write(workspace.root().join("src/fl-runtime"), [elf(false), vec![1]].concat()).unwrap();
    let other = dockerize(&workspace, &native(&workspace)).unwrap();
    assert_ne!(other.id, one.id);
}

#[test]
fn initial_model_goes_in_only_where_the_plans_seed_does_not_make_it() {
    let workspace = workspace("image-model");
    let path = workspace.root().display().to_string();
    let init = workspace.root().join("save/heart_1_init.safetensors");
    let moved = workspace.root().join("imported.safetensors");
    let said = cli::run(&["plan", "initialize", "-a", "localhost", "--seed", "99", "--workspace", &path]);
    assert_eq!(said.exit, Exit::Done, "{}", said.err);
    fs::copy(&init, &moved).unwrap();
    let done = dockerize(&workspace, &native(&workspace)).unwrap();
    let found = inspect(&done.archive).unwrap();
    assert_eq!(found.contents.get("fl/init.safetensors").unwrap(), fs::read(&moved).unwrap());
    assert_eq!(done.record.roles[0].trusted[3].0, "/fl/init.safetensors");
    // A model of another plan would be refused by the aggregator.
    let plan = fs::read_to_string(workspace.plan_file()).unwrap();
    fs::write(workspace.plan_file(), plan.replace("rounds: 10", "rounds: 11")).unwrap();
    let refused = dockerize(&workspace, &native(&workspace)).unwrap_err();
    assert!(refused.error.ends_with("was made for another plan"), "{}", refused.error);
    fs::remove_file(&init).unwrap();
    assert!(dockerize(&workspace, &native(&workspace)).is_ok());
}

#[test]
fn ca_of_another_federation_or_none_is_refused() {
    let workspace = workspace("image-ca");
    let ca = workspace.ca_file();
    let other = self::workspace("image-other-ca");
    let refused =
        dockerize(&workspace, &Request { ca: Some(other.ca_file()), ..native(&workspace) }).unwrap_err();
    assert_eq!(refused.exit, Exit::Trust);
    fs::remove_file(&ca).unwrap();
    let refused = dockerize(&workspace, &native(&workspace)).unwrap_err();
    assert!(refused.hint.unwrap().contains("pki init"));
}

#[test]
fn archive_that_was_changed_is_found_out() {
    let workspace = workspace("image-changed");
    let done = dockerize(&workspace, &native(&workspace)).unwrap();
    let mut tar = Vec::new();
    std::io::Read::read_to_end(&mut GzDecoder::new(&*fs::read(&done.archive).unwrap()), &mut tar).unwrap();
    let plain = workspace.root().join("changed.tar");
    fs::write(&plain, &tar).unwrap();
    assert_eq!(inspect(&plain).unwrap().id, done.id);
    // A changed layer does not have its name any more.
    let plan = Plan::parse(&fs::read_to_string(workspace.plan_file()).unwrap()).unwrap().canonical();
    let at = tar.windows(plan.len()).position(|window| window == plan).unwrap();
    let mut changed = tar.clone();
    changed[at + 5] ^= 1;
    fs::write(&plain, &changed).unwrap();
    let refused = inspect(&plain).unwrap_err();
    assert!(
        refused.error.contains("its layers are not those that its configuration names"),
        "{}",
        refused.error
    );
    // A label that lies is found by working it out again.
    let text = done.record.plan.to_string();
    let at = tar.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    let mut changed = tar.clone();
    changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
    fs::write(&plain, &changed).unwrap();
    let said = cli::run(&["image", "inspect", &plain.display().to_string()]);
    assert_eq!(said.exit, Exit::Trust, "{}{}", said.out, said.err);
    assert!(said.err.contains("is not what its labels say; fl.plan is"), "{}", said.err);
    for cut in [0, 100, 600, tar.len() / 2] {
        fs::write(&plain, &tar[..cut]).unwrap();
        assert_eq!(inspect(&plain).unwrap_err().exit, Exit::File);
    }
}

#[test]
fn names_that_engines_refuse_are_made_to_fit() {
    for (federation, name) in [("heart", "heart"), ("a--b..c_-d", "a-b.c_d"), ("end-_", "end")] {
        assert_eq!(image_name(&federation.parse().unwrap()), name);
    }
}
