use std::{fs, io::Read, path::Path};

use fl_engine::{Digest, plan::Plan};
use fl_launcher::image::Target;
use flate2::read::GzDecoder;

use super::{
    archive::image_name, contents::Contents, inspect::inspect, oci::OciImage, programs::tests::elf, *,
};
use crate::{
    cli,
    exit::Exit,
    files::tests::scratch,
    workspace::{self, Trial},
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
        svn: 0,
        edmm: false,
        date: default_date(),
    }
}

/// Everything in an archive that [`dockerize`] wrote, its layers stacked.
fn contents_of(archive: &Path) -> Contents {
    let mut all = Contents::default();
    let tar = GzDecoder::new(fs::File::open(archive).unwrap());
    let bytes = |entry: &mut dyn Read| {
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        bytes
    };
    for part in tar::Archive::new(tar).entries().unwrap() {
        let mut part = part.unwrap();
        let layer = bytes(&mut part);
        for entry in tar::Archive::new(&*layer).entries().unwrap() {
            // A part that is not a layer.
            let Ok(mut entry) = entry else { break };
            let path = entry.path().unwrap().display().to_string();
            let mode = entry.header().mode().unwrap();
            match entry.header().entry_type().is_dir() {
                true => all.folder(path.trim_end_matches('/'), mode),
                false => all.file(&path, mode, bytes(&mut entry)),
            }
        }
    }
    all
}

#[test]
fn image_holds_programs_plan_ca_and_site_file_and_no_key() {
    let workspace = workspace("image-native");
    let done = dockerize(&workspace, &native(&workspace)).unwrap();
    assert!(done.file.ends_with("heart_1/heart_1.tar.gz"));
    let found = inspect(&done.file).unwrap();
    let files: Vec<&str> = found.contents.paths().collect();
    assert_eq!(
        files,
        [
            "fl/LICENSE",
            "fl/fl-launcher",
            "fl/fl-runtime",
            "workspace/plan/ca.crt",
            "workspace/plan/plan.bin",
            "workspace/plan/site.yaml"
        ]
    );
    for (path, bytes) in contents_of(&done.file).files() {
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.contains("PRIVATE KEY"), "{path}");
    }
    let plan = Plan::from_canonical(found.contents.get("workspace/plan/plan.bin").unwrap()).unwrap();
    assert_eq!((plan.hash(), found.id), (done.record.plan, done.id));
    assert_eq!(found.name.as_deref(), Some("heart_1:latest"));
    assert!(found.checks.len() == 4 && found.checks.iter().all(inspect::Check::holds), "{:?}", found.checks);
    for role in &done.record.roles {
        let trusted: Vec<&str> = role.trusted.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(trusted, ["/fl/fl-runtime", "/workspace/plan/plan.bin", "/workspace/plan/ca.crt"]);
    }
    let record: serde_json::Value = serde_json::from_slice(&fs::read(&done.record_file).unwrap()).unwrap();
    assert_eq!(record["plan"], done.record.plan.to_string());
    assert_eq!(record["archive"], done.digest.to_string());
    assert_eq!(record["binary"]["canonical_route"], "rustup");
    assert_eq!(record["roles"]["aggregator"]["mrenclave"], serde_json::Value::Null);
}

#[test]
fn password_of_a_proxy_comes_into_no_image() {
    let workspace = workspace("image-password");
    let text = fs::read_to_string(workspace.site_file()).unwrap() + "proxy: http://me:s3cret@p:1\n";
    fs::write(workspace.site_file(), &text).unwrap();
    let exposed = dockerize(&workspace, &native(&workspace)).unwrap_err();
    assert!(exposed.hint.as_deref().unwrap().contains("chmod 600"), "{exposed:?}");
    crate::files::replace_secret(&workspace.site_file(), text.as_bytes()).unwrap();
    let refused = dockerize(&workspace, &native(&workspace)).unwrap_err();
    assert_eq!(refused.exit, Exit::Plan);
    assert!(refused.hint.as_deref().unwrap().contains("mounts that file at /workspace/plan/site.yaml"));
    assert!(!format!("{exposed:?} {refused:?}").contains("s3cret"));
    // The owner's other commands keep the file for its owner.
    let path = workspace.root().display().to_string();
    let said = cli::run(&["plan", "initialize", "-a", "b.example.org", "--workspace", &path]);
    assert_eq!(said.exit, Exit::Done, "{}", said.err);
    assert_eq!(crate::files::exposed(&workspace.site_file()), None);
    assert!(!format!("{}{}", said.out, said.err).contains("s3cret"));
}

#[test]
fn same_workspace_is_the_same_archive_and_the_same_layout() {
    let workspace = workspace("image-twice");
    let oci = |name: &str| Some(workspace.root().with_file_name(name));
    let one = dockerize(&workspace, &Request { oci: oci("oci-1"), ..native(&workspace) }).unwrap();
    let first = fs::read(&one.file).unwrap();
    let two = dockerize(&workspace, &Request { oci: oci("oci-2"), ..native(&workspace) }).unwrap();
    assert!(first == fs::read(&two.file).unwrap());
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
fn each_archive_has_its_own_record() {
    let workspace = workspace("image-records");
    let to = |name: &str| Request { output: Some(workspace.root().join(name)), ..native(&workspace) };
    let records =
        ["v1.tar.gz", "v2.tar.gz", "v3"].map(|name| dockerize(&workspace, &to(name)).unwrap().record_file);
    let names = records.each_ref().map(|path| path.file_name().unwrap().to_str().unwrap());
    assert_eq!(names, ["v1.measurement.json", "v2.measurement.json", "v3.measurement.json"]);
    let usual = dockerize(&workspace, &native(&workspace)).unwrap().record_file;
    assert!(usual.ends_with("heart_1.measurement.json"));
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
    let found = inspect(&done.file).unwrap();
    assert_eq!(
        found.contents.digest("workspace/plan/init.safetensors"),
        Some(Digest::of(&fs::read(&moved).unwrap()))
    );
    assert_eq!(done.record.roles[0].trusted[3].0, "/workspace/plan/init.safetensors");
    // Chosen values begin any plan of these tensors. A model of another plan's seed would be refused by the
    // aggregator.
    let plan = fs::read_to_string(workspace.plan_file()).unwrap();
    fs::write(workspace.plan_file(), plan.replace("rounds: 10", "rounds: 11")).unwrap();
    assert!(dockerize(&workspace, &native(&workspace)).is_ok());
    let said = cli::run(&["plan", "initialize", "-a", "localhost", "--workspace", &path]);
    assert_eq!(said.exit, Exit::Done, "{}", said.err);
    fs::write(workspace.plan_file(), plan.replace("\nseed: 7\n", "\nseed: 77\n")).unwrap();
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
    std::io::Read::read_to_end(&mut GzDecoder::new(&*fs::read(&done.file).unwrap()), &mut tar).unwrap();
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
        refused.error.contains("the image's layers differ from those in the image's configuration"),
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
    assert!(said.err.contains("does not match its labels; fl.plan is"), "{}", said.err);
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

/// What an enclave's image is made with: Gramine's files as far as a measurement goes, and a key.
fn with_gramine(workspace: &Workspace, target: Target, name: &str) -> Request {
    let folder = gramine_files::tests::installation(name, include_bytes!("../../tests/sgx/pal-a.elf"));
    let pem = pem::encode(&pem::Pem::new("PRIVATE KEY", include_bytes!("../../tests/sgx/test-key.pk8.der")));
    let key = folder.join("key.pem");
    fs::write(&key, pem).unwrap();
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    Request { target, gramine: Some(folder), signer_key: Some(key), ..native(workspace) }
}

#[test]
fn enclaves_are_measured_signed_and_found_again_in_the_archive() {
    let workspace = workspace("image-sgx");
    let request = with_gramine(&workspace, Target::Sgx, "image-sgx-gramine");
    let done = dockerize(&workspace, &request).unwrap();
    let first = fs::read(&done.file).unwrap();
    dockerize(&workspace, &request).unwrap();
    assert!(first == fs::read(&done.file).unwrap(), "the same inputs gave two archives");

    let found = inspect(&done.file).unwrap();
    assert!(found.checks.iter().all(inspect::Check::holds), "{:?}", found.checks);
    for label in
        ["fl.mrenclave.aggregator", "fl.mrenclave.collaborator", "fl.mrsigner", "fl.isv-svn.aggregator"]
    {
        assert!(found.checks.iter().any(|check| check.label == label), "{label} is not worked out again");
    }
    let measured: Vec<Digest> =
        done.record.roles.iter().map(|role| role.enclave.unwrap().measurement).collect();
    assert_ne!(measured[0], measured[1], "a peer could not tell the roles apart");
    for role in &done.record.roles {
        assert!(role.trusted.len() <= 5, "{:?}", role.trusted);
        assert!(role.trusted.iter().all(|(path, hash)| found.contents.digest(&path[1..]) == Some(*hash)));
    }
    let all = contents_of(&done.file);
    for (path, bytes) in all.files().filter(|(path, _)| !path.starts_with("gramine/sgx/loader")) {
        assert!(!bytes.windows(11).any(|window| window == b"PRIVATE KEY"), "{path}");
    }
    let record: serde_json::Value = serde_json::from_slice(&fs::read(&done.record_file).unwrap()).unwrap();
    assert_eq!(record["roles"]["aggregator"]["mrenclave"], measured[0].to_string());
    assert_eq!(record["enclaves"][1]["role"], "collaborator");
    let measured_by_all =
        crate::pki::measurements(&done.record_file, &done.record.federation, done.record.ca).unwrap();
    assert_eq!(measured_by_all.collaborator.enclave, measured[1]);
    assert_eq!((measured_by_all.aggregator.product, measured_by_all.collaborator.product), (1, 2));
    assert_eq!(Some(measured_by_all.aggregator.signer), done.record.signer);
    let kept = crate::sgx::record::EnclaveRecord::load(&done.record_file).unwrap();
    assert_eq!(kept[1].measurement, Some(measured[1]));

    // One byte more in the plan is another enclave.
    let plan = fs::read_to_string(workspace.plan_file()).unwrap();
    fs::write(workspace.plan_file(), plan.replace("rounds: 10", "rounds: 11")).unwrap();
    fs::remove_file(workspace.init_model_file(&"heart_1".parse().unwrap())).unwrap();
    let other = dockerize(&workspace, &request).unwrap();
    assert_ne!(other.record.roles[0].enclave, done.record.roles[0].enclave);
    let keyless = dockerize(&workspace, &Request { signer_key: None, ..request }).unwrap_err();
    assert_eq!((keyless.exit, keyless.error.as_str()), (Exit::Usage, "an enclave needs a signing key"));
}

#[test]
fn plan_says_who_reads_what_is_saved_and_what_is_released() {
    let workspace = workspace("image-release");
    let request = with_gramine(&workspace, Target::Sgx, "image-release-gramine");
    let plan = fs::read_to_string(workspace.plan_file()).unwrap();
    fs::remove_file(workspace.init_model_file(&"heart_1".parse().unwrap())).unwrap();
    let made = |release: &str, enclave: &str| {
        let text = plan.replace("release: {what: last, to: members}\n", release);
        fs::write(workspace.plan_file(), text + enclave).unwrap();
        let done = dockerize(&workspace, &request).unwrap();
        let found = inspect(&done.file).unwrap();
        let manifests = ["aggregator", "collaborator"].map(|role| {
            let bytes = found.contents.get(&format!("fl/{role}.manifest.sgx")).unwrap();
            String::from_utf8(bytes.to_vec()).unwrap()
        });
        let mounts = |text: &String| text.matches("\"file:/workspace/save/released\"").count();
        let sealed = |text: &String| {
            (text.matches("\"_sgx_mrenclave\"").count(), text.matches("\"_sgx_mrsigner\"").count())
        };
        let measured = done.record.roles.iter().map(|role| role.enclave.unwrap().measurement);
        let measured: Vec<Digest> = measured.collect();
        (manifests.each_ref().map(mounts), manifests.each_ref().map(sealed), measured, done.notes)
    };
    let members = "release: {what: last, to: members}\n";
    let (mounts, sealed, first, notes) = made(members, "");
    assert_eq!((mounts, sealed), ([0, 1], [(2, 0), (2, 0)]));
    assert!(notes.iter().any(|note| note.contains("mrenclave: the same image alone can read")), "{notes:?}");
    let (mounts, sealed, ..) = made("release: {what: best, to: host}\n", "");
    assert_eq!((mounts, sealed), ([1, 0], [(2, 0), (2, 0)]));
    let (mounts, sealed, second, notes) = made(members, "enclave: {seal: mrsigner}\n");
    assert_eq!((mounts, sealed), ([0, 1], [(0, 2), (0, 2)]));
    assert!(first.iter().zip(&second).all(|(one, other)| one != other));
    assert!(!notes.iter().any(|note| note.contains("no key `release`")), "{notes:?}");
    let (mounts, _, _, notes) = made("", "");
    assert_eq!(mounts, [0, 0]);
    assert!(notes.iter().any(|note| note.contains("the plan has no key `release`")), "{notes:?}");
    let tar = contents_of(&workspace.root().join("heart_1.tar.gz")).tar().unwrap();
    let name = b"workspace/save/released/\0";
    assert!(tar.windows(name.len()).any(|window| window == name), "no folder is there to mount");
}

#[test]
fn gramine_without_an_enclave_needs_no_key_and_an_imported_model_is_trusted() {
    let workspace = workspace("image-direct");
    let path = workspace.root().display().to_string();
    let said = cli::run(&["plan", "initialize", "-a", "localhost", "--seed", "99", "--workspace", &path]);
    assert_eq!(said.exit, Exit::Done, "{}", said.err);
    let request = with_gramine(&workspace, Target::Direct, "image-direct-gramine");
    let done = dockerize(&workspace, &Request { signer_key: None, ..request }).unwrap();
    let found = inspect(&done.file).unwrap();
    assert!(found.checks.iter().all(inspect::Check::holds), "{:?}", found.checks);
    let files: Vec<&str> = found.contents.paths().collect();
    for file in
        ["fl/aggregator.manifest", "fl/collaborator.manifest", "gramine/direct/libpal.so", "gramine/NOTICE"]
    {
        assert!(files.contains(&file), "{files:?}");
    }
    assert!(!files.iter().any(|file| file.ends_with(".sig") || file.starts_with("gramine/sgx")), "{files:?}");
    let trusted: Vec<usize> = done.record.roles.iter().map(|role| role.trusted.len()).collect();
    assert_eq!(trusted, [4, 3], "the model is the aggregator's alone");
    let manifest = String::from_utf8_lossy(found.contents.get("fl/aggregator.manifest").unwrap());
    assert!(manifest.contains("/workspace/plan/init.safetensors"), "{manifest}");
    assert_eq!(found.labels["fl.gramine"], "unknown");
    assert_eq!(
        done.notes.last().unwrap(),
        "the version of this Gramine is unknown: no program of the installation states it"
    );
}

#[test]
fn version_of_gramine_is_labelled_recorded_and_held_against_the_files() {
    let workspace = workspace("image-version");
    let pal = include_bytes!("../../tests/sgx/pal-a.elf");
    let with = |version: &str, built_from: &str| {
        let gramine =
            Some(gramine_files::tests::with_version("image-version-gramine", pal, version, built_from));
        let request = Request { gramine, ..with_gramine(&workspace, Target::Sgx, "image-version-key") };
        dockerize(&workspace, &request).unwrap()
    };
    let done = with("1.9post (0123abcd)", "0123abcd");
    let record: serde_json::Value = serde_json::from_slice(&fs::read(&done.record_file).unwrap()).unwrap();
    assert_eq!(record["gramine"], "1.9post (0123abcd)");
    let is_about_gramine = |note: &&String| note.contains("Gramine");
    assert_eq!(done.notes.iter().find(is_about_gramine), None);
    let found = inspect(&done.file).unwrap();
    assert_eq!(found.labels["fl.gramine"], "1.9post (0123abcd)");
    assert!(
        found.checks.iter().any(|check| check.label == "fl.gramine" && check.holds()),
        "{:?}",
        found.checks
    );

    let mut labels = done.record.labels();
    labels["fl.gramine"] = "1.9 (99999999)".into();
    let packed = OciImage::new(vec![contents_of(&done.file).tar().unwrap()], &labels);
    fs::write(&done.file, packed.docker_archive("x", &mut |_| {}).unwrap()).unwrap();
    let broken: Vec<_> =
        inspect(&done.file).unwrap().checks.into_iter().filter(|check| !check.holds()).collect();
    assert_eq!(
        (broken.len(), broken[0].found.as_str()),
        (1, "a libsysdb.so of another version"),
        "{broken:?}"
    );

    // Other numbers may be right for it; who signs has to look.
    let notes = with("2.0 (0123abcd)", "0123abcd").notes;
    let note = notes.iter().find(is_about_gramine).unwrap();
    assert!(
        note.starts_with("this Gramine is 2.0 (0123abcd), but the enclaves were measured as for 1.9"),
        "{note}"
    );

    let folder = gramine_files::tests::with_version("image-version-cli", pal, "1.9 (ab)", "ab");
    let [root, program, folder] = [workspace.root(), &workspace.root().join("src/fl-runtime"), &folder]
        .map(|path| path.display().to_string());
    let asked = ["workspace", "dockerize", "--no-sgx-target", "--binary", &program, "--gramine", &folder];
    let said = cli::run(&[&asked[..], &["--workspace", &root]].concat());
    assert!(said.out.contains("\ngramine      1.9 (ab)\n"), "{}{}", said.out, said.err);
}

#[test]
fn library_without_a_licence_is_named() {
    let workspace = workspace("image-licence");
    let request = with_gramine(&workspace, Target::Sgx, "image-licence-gramine");
    // In the place of the distribution's, and of no package.
    fs::write(request.gramine.as_ref().unwrap().join("sgx/libc.so.6"), "").unwrap();
    let notes = dockerize(&workspace, &request).unwrap().notes;
    let note = "/lib/x86_64-linux-gnu/libc.so.6: the text of this library's licence is not on this machine; send the text along with the image";
    assert_eq!(notes.iter().filter(|found| *found == note).count(), 1, "{notes:?}");
}

#[test]
fn changed_trusted_file_is_named() {
    let workspace = workspace("image-trusted");
    let request = with_gramine(&workspace, Target::Sgx, "image-trusted-gramine");
    let done = dockerize(&workspace, &request).unwrap();
    let mut upper = contents_of(&done.file);
    upper.file("gramine/libsysdb.so", contents::PLAIN, b"another library OS".to_vec());
    let packed = OciImage::new(vec![upper.tar().unwrap()], &done.record.labels());
    fs::write(&done.file, packed.docker_archive("x", &mut |_| {}).unwrap()).unwrap();
    let broken: Vec<_> =
        inspect(&done.file).unwrap().checks.into_iter().filter(|check| !check.holds()).collect();
    let labels: Vec<&str> = broken.iter().map(|check| check.label.as_str()).collect();
    assert_eq!(labels, ["trusted files of the aggregator", "trusted files of the collaborator"]);
    assert!(broken[0].found.contains("/gramine/libsysdb.so is a different file"), "{broken:?}");
}
