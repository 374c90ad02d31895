use std::os::unix::fs::symlink;

use tar::{Builder, Header};

use super::*;
use crate::{
    files::tests::scratch,
    workspace::{self, Trial},
};

fn workspace(name: &str) -> Workspace {
    let root = scratch(name).join("w");
    workspace::create(&root, workspace::template("breast_cancer").unwrap(), None, &Trial::default()).unwrap();
    Workspace::open(&root).unwrap()
}

/// A gzipped tar of any entries: the names are written unchanged, unlike those of a good archive.
fn archive(entries: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, kind, bytes) in entries {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o4777);
        if !matches!(kind, EntryType::Regular | EntryType::Directory) {
            header.set_link_name("../../etc/passwd").unwrap();
        }
        header.set_cksum();
        builder.append(&header, *bytes).unwrap();
    }
    compressed(&builder.into_inner().unwrap(), &mut |_| {}).unwrap()
}

#[test]
fn exported_workspace_is_imported_whole_and_says_the_same_digest() {
    let workspace = workspace("transfer");
    let root = workspace.root();
    fs::create_dir_all(root.join("src/task")).unwrap();
    fs::write(root.join("src/task/lib.rs"), "fn main() {}").unwrap();
    fs::write(root.join("save/w_init.safetensors"), "a model").unwrap();
    fs::write(root.join("save/accepted-plan"), "local").unwrap();
    let exported = export(&workspace, None).unwrap();
    assert!(exported.file.ends_with("w/w.workspace.tar.gz"));
    let inside =
        ["README.md", "plan/plan.yaml", "plan/site.yaml", "save/w_init.safetensors", "src/task/lib.rs"];
    assert_eq!(exported.files, inside);

    let copy = root.with_file_name("copy");
    let imported = import(&exported.file, &copy, Some(exported.digest)).unwrap();
    assert_eq!((imported.digest, imported.plan), (exported.digest, exported.plan));
    assert_eq!(imported.files, inside);
    for file in inside {
        assert_eq!(fs::read(copy.join(file)).unwrap(), fs::read(root.join(file)).unwrap(), "{file}");
    }
    for folder in FOLDERS {
        assert!(copy.join(folder).is_dir());
    }
    // The same contents are the same bytes, wherever they lie.
    let again = export(&Workspace::open(&copy).unwrap(), None).unwrap();
    assert_eq!(again.digest, exported.digest);
    assert_eq!(import(&exported.file, &copy, None).unwrap_err().exit, Exit::Workspace);
    let other =
        import(&exported.file, &root.with_file_name("other"), Some(Digest::of(b"other"))).unwrap_err();
    assert!(other.error.contains("has SHA-256"), "{}", other.error);
}

#[test]
fn keys_certificates_data_and_links_stay_at_home() {
    let workspace = workspace("transfer-secrets");
    let root = workspace.root();
    fs::create_dir_all(root.join("cert/ca")).unwrap();
    for file in ["cert/ca/ca.key", "cert/ca.crt", "plan/cols.yaml", "logs/log", "src/signing.PEM"] {
        fs::write(root.join(file), "secret").unwrap();
    }
    fs::write(root.join("src/notes.txt"), "-----BEGIN RSA PRIVATE KEY-----\nMII").unwrap();
    symlink("/etc/passwd", root.join("src/passwd")).unwrap();
    let exported = export(&workspace, None).unwrap();
    assert_eq!(exported.files, ["README.md", "plan/plan.yaml", "plan/site.yaml"]);
    let mut left_out = exported.left_out;
    left_out.sort();
    assert_eq!(
        left_out,
        [
            "src/notes.txt: a key or a certificate",
            "src/passwd: a link",
            "src/signing.PEM: a key or a certificate"
        ]
    );
}

#[test]
fn hostile_archives_are_refused_and_nothing_is_written() {
    let dir = scratch("transfer-hostile");
    let plan = fs::read(workspace("transfer-plan").plan_file()).unwrap();
    let good = ("plan/plan.yaml", EntryType::Regular, plan.as_slice());
    let file = |name: &'static str| (name, EntryType::Regular, &b"x"[..]);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (archive(&[good, file("../escaped")]), "leads out of the workspace"),
        (archive(&[good, file("/etc/passwd")]), "leads out of the workspace"),
        (archive(&[good, file("src/../../escaped")]), "leads out of the workspace"),
        (archive(&[good, file("src\\..\\escaped")]), "leads out of the workspace"),
        (archive(&[good, file("./src/a")]), "leads out of the workspace"),
        (archive(&[good, ("../folder/", EntryType::Directory, b"")]), "leads out of the workspace"),
        (archive(&[good, ("src/link", EntryType::Symlink, b"")]), "neither a file nor a folder"),
        (archive(&[good, ("src/link", EntryType::Link, b"")]), "neither a file nor a folder"),
        (archive(&[good, ("src/device", EntryType::Char, b"")]), "neither a file nor a folder"),
        (archive(&[good, ("src/pipe", EntryType::Fifo, b"")]), "neither a file nor a folder"),
        (archive(&[good, file("cert/ca.crt")]), "does not belong in"),
        (archive(&[good, file("cert/aggregator.key")]), "does not belong in"),
        (archive(&[good, file("data/one/data.csv")]), "does not belong in"),
        (archive(&[good, file("plan/cols.yaml")]), "does not belong in"),
        (archive(&[good, file("save/accepted-plan")]), "does not belong in"),
        (archive(&[good, file("src/site.key")]), "is a key or a certificate"),
        (archive(&[good, file("src/a"), file("src/a")]), "the archive contains \"src/a\" twice"),
        (archive(&[good, file("src/a"), file("src/a/b")]), "is both a file and a folder"),
        (archive(&[good, file("save/other_init.safetensors")]), "is not the initial model of its plan"),
        (archive(&[file("README.md")]), "the archive has no plan/plan.yaml"),
        (b"not gzip".to_vec(), "is not an exported workspace"),
        (Vec::new(), "is not an exported workspace"),
        (archive(&[good])[..60].to_vec(), "is not an exported workspace"),
    ];
    for (number, (bytes, why)) in cases.iter().enumerate() {
        let path = dir.join(format!("{number}.tar.gz"));
        fs::write(&path, bytes).unwrap();
        let root = dir.join("inside/w");
        let refused = import(&path, &root, None).unwrap_err();
        assert!(refused.error.contains(why), "{number}: {}", refused.error);
        assert!(!dir.join("inside").exists(), "{number}");
    }
    let names = fs::read_dir(&dir).unwrap().count();
    assert_eq!(names, cases.len(), "something was written beside the archives");
}

#[test]
fn archive_that_unpacks_without_end_is_refused_before_it_fills_the_memory() {
    let dir = scratch("transfer-bomb");
    let mut header = Header::new_gnu();
    header.set_path("src/zeros").unwrap();
    header.set_size(UNPACKED_BYTES * 4);
    header.set_mode(0o644);
    header.set_cksum();
    let path = dir.join("bomb.tar.gz");
    fs::write(
        &path,
        compressed(&[header.as_bytes().as_slice(), &[0; 1 << 20]].concat(), &mut |_| {}).unwrap(),
    )
    .unwrap();
    let refused = import(&path, &dir.join("w"), None).unwrap_err();
    assert!(refused.error.contains("the archive contains more than"), "{}", refused.error);
    let many: Vec<(String, EntryType, &[u8])> =
        (0..=MOST_FILES).map(|n| (format!("src/{n}"), EntryType::Regular, &b""[..])).collect();
    let many: Vec<(&str, EntryType, &[u8])> = many.iter().map(|(n, k, b)| (n.as_str(), *k, *b)).collect();
    fs::write(&path, archive(&many)).unwrap();
    assert!(
        import(&path, &dir.join("w"), None).unwrap_err().error.contains("the archive contains more than")
    );
}
