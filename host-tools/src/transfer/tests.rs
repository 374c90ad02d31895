use std::os::unix::fs::symlink;

use tar::{Builder, EntryType, Header};

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
    let plan = plan::load(&workspace).unwrap();
    model::init(&workspace, &plan.plan, Some(plan.hash), None).unwrap();
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
fn password_of_a_proxy_leaves_and_enters_in_no_archive() {
    let owner = workspace("transfer-password");
    let text = fs::read_to_string(owner.site_file()).unwrap() + "proxy: http://me:s3cret@p:1\n";
    files::replace_secret(&owner.site_file(), text.as_bytes()).unwrap();
    let refused = export(&owner, None).unwrap_err();
    assert_eq!(refused.exit, Exit::Plan);
    assert!(refused.error.contains("everybody who gets the archive"), "{}", refused.error);
    assert!(refused.hint.as_deref().unwrap().contains("remove `proxy`"));
    assert!(!format!("{refused:?}").contains("s3cret"));
    let plan = fs::read(owner.plan_file()).unwrap();
    let entry = |name: &'static str, bytes| (name, EntryType::Regular, bytes);
    let hostile =
        archive(&[entry("plan/plan.yaml", plan.as_slice()), entry("plan/site.yaml", text.as_bytes())]);
    let path = owner.root().with_file_name("hostile.tar.gz");
    fs::write(&path, hostile).unwrap();
    let refused = import(&path, &owner.root().with_file_name("copy"), None).unwrap_err();
    assert!(refused.error.contains("everybody who gets the archive"), "{}", refused.error);
    assert!(!format!("{refused:?}").contains("s3cret"));
    // A proxy without a login is no secret.
    files::replace(&owner.site_file(), text.replace("me:s3cret@", "").as_bytes()).unwrap();
    export(&owner, None).unwrap();
}

#[test]
fn hostile_archives_are_refused_and_nothing_is_written() {
    let dir = scratch("transfer-hostile");
    let owner = workspace("transfer-plan");
    let plan = fs::read(owner.plan_file()).unwrap();
    let loaded = plan::load(&owner).unwrap();
    let model = model::init(&owner, &loaded.plan, Some(loaded.hash), None).unwrap();
    let model = fs::read(model.path).unwrap();
    let other_seed = {
        // The file of another plan with another seed.
        let at = |words: &[u8]| model.windows(words.len()).position(|bytes| bytes == words).unwrap();
        let mut changed = model.clone();
        changed[at(b"\"seed\":\"7\"") + 8] = b'8';
        let plan = at(b"\"plan\":\"") + 8;
        changed[plan..plan + 64].fill(b'0');
        changed
    };
    let good = ("plan/plan.yaml", EntryType::Regular, plan.as_slice());
    let file = |name: &'static str| (name, EntryType::Regular, &b"x"[..]);
    let init = |bytes| ("save/w_init.safetensors", EntryType::Regular, bytes);
    let whole = archive(&[good, file("src/a")]);
    let tar = {
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(&*whole).read_to_end(&mut tar).unwrap();
        tar
    };
    let packed = |tar: &[u8]| compressed(tar, &mut |_| {}).unwrap();
    let changed = |at: usize, byte: u8| {
        let mut changed = whole.clone();
        let at = if at > 100 { changed.len() - 8 } else { at };
        changed[at] ^= byte;
        changed
    };
    let header = |set: &dyn Fn(&mut Header)| {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..5].copy_from_slice(b"src/a");
        header.set_size(1);
        header.set_mode(0o644);
        set(&mut header);
        header.set_cksum();
        packed(&[header.as_bytes().as_slice(), &[b'x'; 512], &[0; 1024]].concat())
    };
    let many_folders: Vec<String> = (0..=BOUNDS.members).map(|n| format!("src/{n}/")).collect();
    let many_folders: Vec<(&str, EntryType, &[u8])> =
        many_folders.iter().map(|name| (name.as_str(), EntryType::Directory, &b""[..])).collect();
    let long_text = vec![b'#'; TEXT_BYTES + 1];
    let long_name = "a".repeat(90);
    let zeros = [0xff_u8; 4096];
    let huge_name = vec![b'a'; 1 << 20];
    let longer = [&model[..], b"more"].concat();
    let deep: Vec<u8> = std::iter::repeat_n(long_name.as_bytes(), 60).collect::<Vec<_>>().join(&b'/');
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (archive(&[good, file("../escaped")]), "leads out of the workspace"),
        (archive(&[good, file("/etc/passwd")]), "leads out of the workspace"),
        (archive(&[good, file("src/../../escaped")]), "leads out of the workspace"),
        (archive(&[good, file("src\\..\\escaped")]), "leads out of the workspace"),
        (archive(&[good, file("./src/a")]), "leads out of the workspace"),
        (archive(&[good, file("src//a")]), "leads out of the workspace"),
        (archive(&[good, file("src/a/")]), "leads out of the workspace"),
        (archive(&[good, file("C:/src/a")]), "leads out of the workspace"),
        (archive(&[good, file("")]), "leads out of the workspace"),
        (archive(&[good, ("../folder/", EntryType::Directory, b"")]), "leads out of the workspace"),
        (archive(&[good, ("/", EntryType::Directory, b"")]), "leads out of the workspace"),
        (archive(&[good, ("src/link", EntryType::Symlink, b"")]), "neither a file nor a folder"),
        (archive(&[good, ("src/link", EntryType::Link, b"")]), "neither a file nor a folder"),
        (archive(&[good, ("src/device", EntryType::Char, b"")]), "neither a file nor a folder"),
        (archive(&[good, ("src/disk", EntryType::Block, b"")]), "neither a file nor a folder"),
        (archive(&[good, ("src/pipe", EntryType::Fifo, b"")]), "neither a file nor a folder"),
        (archive(&[good, ("src/sparse", EntryType::GNUSparse, b"")]), "neither a file nor a folder"),
        (archive(&[good, ("src/odd", EntryType::new(b'Z'), b"")]), "neither a file nor a folder"),
        (archive(&[good, ("src", EntryType::Symlink, b""), file("src/a")]), "neither a file nor a folder"),
        (archive(&[good, file("cert/ca.crt")]), "does not belong in"),
        (archive(&[good, file("cert/aggregator.key")]), "does not belong in"),
        (archive(&[good, file("data/one/data.csv")]), "does not belong in"),
        (archive(&[good, file("plan/cols.yaml")]), "does not belong in"),
        (archive(&[good, file("plan/data.yaml")]), "does not belong in"),
        (archive(&[good, file("save/accepted-plan")]), "does not belong in"),
        (archive(&[good, file("save/generations/1")]), "does not belong in"),
        (archive(&[good, file("README.MD")]), "does not belong in"),
        (archive(&[good, file("src/site.key")]), "is a key or a certificate"),
        (archive(&[good, ("src/a", EntryType::Regular, b"-----BEGIN EC PRIVATE KEY-----")]), "is a key or"),
        (archive(&[good, file("src/a"), file("src/a")]), "the archive contains \"src/a\" twice"),
        (archive(&[good, good]), "the archive contains \"plan/plan.yaml\" twice"),
        (archive(&[good, file("src/a"), file("src/a/b")]), "is both a file and a folder"),
        (archive(&[good, file("src/a"), file("src/a!"), file("src/a/b")]), "is both a file and a folder"),
        (
            archive(&[good, ("save/x_init.safetensors", EntryType::Regular, &model)]),
            "is not the initial model",
        ),
        (archive(&[good, init(&model[..model.len() - 4])]), "bytes; the plan's model has"),
        (archive(&[good, init(&longer)]), "bytes; the plan's model has"),
        (archive(&[good, init(b"short")]), "is not a safetensors file, or was cut short"),
        (archive(&[good, init(&zeros)]), "the header claims 18446744073709551615 bytes"),
        (archive(&[good, init(&other_seed)]), "was made for another plan"),
        (archive(&[file("README.md")]), "the archive has no plan/plan.yaml"),
        (archive(&[("plan/plan.yaml", EntryType::Regular, &long_text)]), "may have at most 1048576"),
        (archive(&[good, ("README.md", EntryType::Regular, &long_text)]), "may have at most 1048576"),
        (archive(&[("plan/plan.yaml", EntryType::Regular, &[0xff, 0xfe])]), "is not UTF-8 text"),
        (archive(&[("plan/plan.yaml", EntryType::Regular, b"schema: 2")]), "schema is 2"),
        (archive(&[good, ("x", EntryType::GNULongName, &huge_name), file("y")]), "a name of 1048576 bytes"),
        (archive(&[good, ("x", EntryType::XHeader, &huge_name), file("y")]), "a name of 1048576 bytes"),
        (archive(&[good, ("x", EntryType::GNULongName, &deep), file("y")]), "a name of 5459 bytes"),
        (archive(&[good, ("x", EntryType::XHeader, b"22 path=../../escaped\n"), file("y")]), "leads out of"),
        (
            archive(&[good, ("x", EntryType::XHeader, b"16 path=src/a\x1bb\n"), file("y")]),
            "control character",
        ),
        (archive(&[good, ("x", EntryType::XHeader, b"16 size=9999999\n"), file("y")]), "8 GiB or more"),
        (archive(&many_folders), "the archive contains more than 10000 files"),
        (header(&|header| header.set_size(u64::MAX / 2)), "the archive contains more than"),
        (header(&|header| header.as_old_mut().size = *b"nonsense\0\0\0\0"), "is not an exported workspace"),
        (header(&|header| header.as_old_mut().name[..6].copy_from_slice(b"src/\xff\xfe")), "is not UTF-8"),
        (packed(&[&tar[..], b"more"].concat()), "bytes follow the archive's end"),
        (packed(&tar[..tar.len() - 1024 - 256]), "is not an exported workspace"),
        (b"not gzip".to_vec(), "is not an exported workspace"),
        (Vec::new(), "is not an exported workspace"),
        (vec![0; 4096], "the archive has no plan/plan.yaml"),
        // gzip's own parts: its header, its checksum, its length, and every cut.
        (changed(2, 0xff), "is not an exported workspace"),
        (changed(1000, 1), "is not an exported workspace"),
        (whole[..whole.len() - 1].to_vec(), "is cut short"),
        (whole[..whole.len() - 8].to_vec(), "is cut short"),
        (whole[..whole.len() - 20].to_vec(), "is cut short"),
        (whole[..60].to_vec(), "is cut short"),
        ([&whole[..], b"more"].concat(), "is not an exported workspace"),
        ([&whole[..], &whole[..]].concat(), "bytes follow the archive's end"),
    ];
    for (number, (bytes, why)) in cases.iter().enumerate() {
        let path = dir.join(format!("{number}.tar.gz"));
        fs::write(&path, bytes).unwrap();
        let root = dir.join("inside/w");
        let refused = import(&path, &root, None).err().unwrap_or_else(|| panic!("{number}: {why}"));
        assert!(refused.error.contains(why), "{number}: {}", refused.error);
        assert!(!dir.join("inside").exists(), "{number}");
    }
    let names = fs::read_dir(&dir).unwrap().count();
    assert_eq!(names, cases.len(), "something was written beside the archives");
    // The good parts alone are taken, the model behind the plan and before it.
    for (name, entries) in [("a", [good, init(&model)]), ("b", [init(&model), good])] {
        fs::write(dir.join("good.tar.gz"), archive(&entries)).unwrap();
        let made = import(&dir.join("good.tar.gz"), &dir.join(name), None).unwrap();
        assert_eq!(fs::read(dir.join(name).join("save/w_init.safetensors")).unwrap(), model);
        assert_eq!(made.plan, loaded.hash);
    }
}

#[test]
fn archive_that_is_no_plain_file_is_refused_at_once() {
    let dir = scratch("transfer-pipe");
    let pipe = dir.join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [&pipe, &dir] {
        let refused = import(path, &dir.join("w"), None).unwrap_err();
        assert!(refused.error.ends_with("this is not a plain file"), "{}", refused.error);
    }
}

#[test]
fn archive_that_unpacks_without_end_is_refused_before_it_fills_the_memory() {
    let dir = scratch("transfer-bomb");
    let mut header = Header::new_gnu();
    header.set_path("src/zeros").unwrap();
    header.set_size(ARCHIVE_BYTES * 4);
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
        (0..=BOUNDS.members).map(|n| (format!("src/{n}"), EntryType::Regular, &b""[..])).collect();
    let many: Vec<(&str, EntryType, &[u8])> = many.iter().map(|(n, k, b)| (n.as_str(), *k, *b)).collect();
    fs::write(&path, archive(&many)).unwrap();
    assert!(
        import(&path, &dir.join("w"), None).unwrap_err().error.contains("the archive contains more than")
    );
}
