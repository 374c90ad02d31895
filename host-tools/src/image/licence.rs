//! The licences of a distribution's libraries, from the packages of Debian and its descendants.
//!
//! A package's list names its files. Its `copyright` file states the licence, and refers to texts that many
//! packages share. Plain files are read, and nothing is run. On a system without such lists nothing is found.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::files;

/// What a package says of its licence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Licence {
    /// The package.
    pub(super) package: String,
    /// Its statement and the texts that it refers to, by their names in an image's folder.
    pub(super) texts: BTreeMap<String, Vec<u8>>,
}

/// The licence of each file, in the file system under `root`; `None` when its package, the package's
/// statement, or a text that the statement refers to is missing.
pub(super) fn find(root: &Path, files: &[PathBuf]) -> Vec<Option<Licence>> {
    let owners = owners(root, files);
    owners.into_iter().map(|package| of_package(root, package?)).collect()
}

/// The package of each file.
fn owners(root: &Path, files: &[PathBuf]) -> Vec<Option<String>> {
    let names: Vec<Vec<String>> = files.iter().map(|file| names(root, file)).collect();
    let mut owners = vec![None; files.len()];
    let Ok(entries) = fs::read_dir(root.join(LISTS)) else { return owners };
    let mut lists: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    lists.sort();
    for list in lists.iter().filter(|list| list.extension().is_some_and(|extension| extension == "list")) {
        let Ok(text) = fs::read_to_string(list) else { continue };
        let listed: Vec<&str> = text.lines().map(without_usr).collect();
        for (owner, names) in owners.iter_mut().zip(&names).filter(|(owner, _)| owner.is_none()) {
            if names.iter().any(|name| listed.contains(&name.as_str())) {
                // PACKAGE.list, or PACKAGE:ARCHITECTURE.list.
                let stem = list.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                *owner = stem.split(':').next().map(str::to_owned);
            }
        }
    }
    owners
}

/// The names that a list may have for the file: its own, and that of the file that a link leads to.
fn names(root: &Path, file: &Path) -> Vec<String> {
    let inside = file.strip_prefix("/").unwrap_or(file);
    let whole = fs::canonicalize(root.join(inside)).ok();
    let target = whole.as_deref().and_then(|path| path.strip_prefix(root).ok());
    let shown = |path: &Path| without_usr(&format!("/{}", path.display())).to_owned();
    [Some(inside), target].into_iter().flatten().map(shown).collect()
}

/// Lists and file systems differ in whether `/lib` is `/usr/lib`.
fn without_usr(path: &str) -> &str {
    path.strip_prefix("/usr").unwrap_or(path)
}

fn of_package(root: &Path, package: String) -> Option<Licence> {
    let read = |inside: &str| files::read(&root.join(inside), TEXT_BYTES).ok();
    let statement = read(&format!("usr/share/doc/{package}/copyright"))?;
    let mut texts = BTreeMap::new();
    for name in shared(&String::from_utf8_lossy(&statement)) {
        texts.insert(format!("common/{name}"), read(&format!("{SHARED}{name}"))?);
    }
    texts.insert(package.clone(), statement);
    Some(Licence { package, texts })
}

/// Names of the shared texts that a statement refers to.
fn shared(statement: &str) -> Vec<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '+');
    let name = |rest: &str| {
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        // The full stop of a sentence.
        rest[..end].trim_end_matches('.').to_owned()
    };
    statement.split(SHARED).skip(1).map(name).filter(|name| !name.is_empty()).collect()
}

/// One list a package: dpkg's own.
const LISTS: &str = "var/lib/dpkg/info";
/// Texts that statements refer to.
const SHARED: &str = "usr/share/common-licenses/";
/// The longest statements of a distribution have some hundred kB.
const TEXT_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::scratch;

    fn put(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn statement_of_the_owner_and_the_texts_that_it_refers_to_are_found() {
        let root = fs::canonicalize(scratch("licences")).unwrap();
        put(&root, "var/lib/dpkg/info/libaa-dev:amd64.list", "/.\n/usr/lib/x/libaa.a\n");
        put(&root, "var/lib/dpkg/info/libaa1:amd64.list", "/.\n/lib/x/libaa.so.1.0\n");
        put(&root, "var/lib/dpkg/info/libaa1:amd64.md5sums", "0 usr/lib/x/libaa.so.1\n");
        put(&root, "var/lib/dpkg/info/libbb.list", "/usr/lib/x/libbb.so\n");
        put(&root, "var/lib/dpkg/info/libcc.list", "/usr/lib/x/libcc.so\n");
        put(&root, "var/lib/dpkg/info/libdd.list", "/usr/lib/x/libdd.so\n");
        let statement =
            "see '/usr/share/common-licenses/GPL-2'.\nAlso /usr/share/common-licenses/LGPL-2.1.\n";
        put(&root, "usr/share/doc/libaa1/copyright", statement);
        put(&root, "usr/share/doc/libbb/copyright", "free\n");
        put(&root, "usr/share/doc/libdd/copyright", "/usr/share/common-licenses/none\n");
        put(&root, "usr/share/common-licenses/GPL-2", "GPL\n");
        put(&root, "usr/share/common-licenses/LGPL-2.1", "LGPL\n");
        put(&root, "usr/lib/x/libaa.so.1.0", "");
        // The linker's name is a link that no list has, below one that a merged /usr has.
        std::os::unix::fs::symlink("libaa.so.1.0", root.join("usr/lib/x/libaa.so.1")).unwrap();
        std::os::unix::fs::symlink("usr/lib", root.join("lib")).unwrap();
        let files =
            ["/lib/x/libaa.so.1", "/lib/x/libbb.so", "/lib/x/libcc.so", "/lib/x/libdd.so", "/lib/x/ee.so"];
        let found = find(&root, &files.map(PathBuf::from));
        let aa = found[0].as_ref().unwrap();
        let names: Vec<&str> = aa.texts.keys().map(String::as_str).collect();
        assert_eq!(
            (aa.package.as_str(), names),
            ("libaa1", vec!["common/GPL-2", "common/LGPL-2.1", "libaa1"])
        );
        assert_eq!(aa.texts["libaa1"], statement.as_bytes());
        assert_eq!(aa.texts["common/LGPL-2.1"], b"LGPL\n");
        assert_eq!(found[1].as_ref().unwrap().texts.len(), 1);
        // Without a statement, without a text that it refers to, without an owner.
        assert_eq!(found[2..], [None, None, None]);
        assert_eq!(find(&root.join("usr"), &[PathBuf::from("/lib/x/libbb.so")]), [None]);
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let names = shared(
            "/usr/share/common-licenses/../../etc/passwd /usr/share/common-licenses/ /usr/share/common-licenses/BSD\n",
        );
        assert_eq!(names, ["BSD"]);
    }
}
