//! The files of a Gramine installation that an image needs, and no others.
//!
//! Without an enclave these are `libsysdb.so` and `direct/libpal.so`, which need no library. With an enclave
//! they are `libsysdb.so`, `sgx/libpal.so`, and `sgx/loader`, a program of the distribution, with the
//! libraries that it needs. Nothing trusts the loader and its libraries: an enclave measures `sgx/libpal.so`
//! and the hash of `libsysdb.so`.
//!
//! The licences of those libraries go in too, if the distribution's packages state them.
//!
//! Gramine's programs state its version and the commit that it was built from; its library OS contains the
//! commit. If the two commits are the same, the version is known.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use fl_launcher::image::{GRAMINE, Target};
use object::{
    LittleEndian,
    elf::{DT_NEEDED, FileHeader64},
    read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _},
};

use super::{
    contents::{Contents, PLAIN, PROGRAM},
    licence::{self, Licence},
};
use crate::{
    exit::{Exit, Failure},
    files,
};

/// else where distributions put it.
///
/// # Errors
/// [`Exit::File`] when there is no installation.
pub fn find(named: Option<&Path>) -> Result<PathBuf, Failure> {
    let is_one = |folder: &Path| folder.join("libsysdb.so").is_file();
    match named {
        Some(folder) if is_one(folder) => Ok(folder.to_owned()),
        Some(folder) => {
            let error = format!("{} is not a Gramine installation: it has no libsysdb.so", folder.display());
            Err(Failure::new(Exit::File, error)
                .hint("give the folder that contains libsysdb.so with --gramine; often it is /usr/lib/x86_64-linux-gnu/gramine"))
        }
        None => found(&env::var_os("PATH").unwrap_or_default(), &is_one).ok_or_else(|| {
            Failure::new(Exit::File, "no Gramine installation was found").hint(
                "install the package gramine, or give the folder that contains libsysdb.so with --gramine; --native-target needs no Gramine",
            )
        }),
    }
}

fn found(path: &OsStr, is_one: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
    let named = env::split_paths(path)
        .filter(|folder| PROGRAMS.iter().any(|program| folder.join(program).is_file()))
        .filter_map(|folder| Some(folder.parent()?.to_owned()));
    let mut folders = named
        .chain(PREFIXES.iter().map(PathBuf::from))
        .flat_map(|prefix| FOLDERS.iter().map(move |folder| prefix.join(folder)));
    folders.find(|folder| is_one(folder))
}

/// The version that the installation of [`find`] states, or [`UNKNOWN`]; `None` when no folder is named and
/// no installation is found.
///
/// # Errors
/// [`Exit::File`] when the named folder is not an installation.
pub fn installed(named: Option<&Path>) -> Result<Option<String>, Failure> {
    let folder = match find(named) {
        Err(_) if named.is_none() => return Ok(None),
        found => found?,
    };
    let libos = files::read(&folder.join("libsysdb.so"), FILE_BYTES).ok();
    let said = libos.and_then(|libos| version(&folder, &libos));
    Ok(Some(said.unwrap_or_else(|| UNKNOWN.to_owned())))
}

/// The Gramine whose files [`put`] took.
#[derive(Debug)]
pub struct Installation {
    /// Its `libpal.so` for the target.
    pub libpal: Vec<u8>,
    /// Version and commit as its programs state them, `1.9 (COMMIT)`. [`UNKNOWN`] without such programs, and
    /// when they belong to another build than its `libsysdb.so`.
    pub version: String,
    /// Libraries whose licence text is not on this machine, by their paths in the image.
    pub unlicensed: Vec<String>,
}

/// A library of the distribution.
struct Library {
    /// Its path in the image.
    inside: String,
    licence: Option<Licence>,
}

fn version(folder: &Path, libos: &[u8]) -> Option<String> {
    let folder = fs::canonicalize(folder).ok()?;
    let programs = folder
        .ancestors()
        .flat_map(|above| PROGRAMS.map(|program| above.join("bin").join(program)))
        .filter_map(|program| files::read(&program, SCRIPT_BYTES).ok());
    programs.filter_map(|program| said(&program)).find(|said| is_of(said, libos))
}

/// What a program would print for `--version`. The program is a script: its text is read, and it is not run.
fn said(program: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(program).ok()?;
    let said =
        text.lines().find_map(|line| line.trim().strip_prefix("echo \"Gramine ")?.strip_suffix('"'))?;
    let is_short = said.len() <= VERSION_BYTES && said.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    is_short.then(|| said.to_owned())
}

/// Whether the library OS was built from the commit that `version` ends with.
pub(super) fn is_of(version: &str, libos: &[u8]) -> bool {
    let commit = version.rsplit_once(" (").and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or_default();
    !commit.is_empty() && libos.windows(commit.len()).any(|bytes| bytes == commit.as_bytes())
}

/// Puts what `target` needs into `contents`.
///
/// # Errors
/// [`Exit::File`] for a file or library that is not there.
pub fn put(contents: &mut Contents, folder: &Path, target: Target) -> Result<Installation, Failure> {
    let part = target.word();
    let read_part = |inside: &str| {
        files::read(&folder.join(inside), FILE_BYTES).map_err(|failure| {
            failure.hint("the Gramine installation is incomplete: install the package gramine again")
        })
    };
    let libos = read_part("libsysdb.so")?;
    let version = version(folder, &libos);
    contents.file(&format!("{GRAMINE}/libsysdb.so"), PLAIN, libos);
    let libpal = read_part(&format!("{part}/libpal.so"))?;
    // Without an enclave the library is its own loader.
    contents.file(&format!("{GRAMINE}/{part}/libpal.so"), PROGRAM, libpal.clone());
    let mut libraries = Vec::new();
    if target == Target::Sgx {
        let loader = read_part("sgx/loader")?;
        libraries = put_libraries(contents, &loader, folder)?;
        contents.file(&format!("{GRAMINE}/sgx/loader"), PROGRAM, loader);
    }
    for licence in libraries.iter().filter_map(|library| library.licence.as_ref()) {
        for (name, text) in &licence.texts {
            contents.file(&format!("{LIBRARY_LICENCES}/{name}"), PLAIN, text.clone());
        }
    }
    contents.file(NOTICE, PLAIN, notice(version.as_deref(), &libraries).into_bytes());
    contents.file(LGPL, PLAIN, include_bytes!("licences/LGPL-3.0.txt").to_vec());
    contents.file(GPL, PLAIN, include_bytes!("licences/GPL-3.0.txt").to_vec());
    let unlicensed = libraries.into_iter().filter(|library| library.licence.is_none()).map(|l| l.inside);
    let version = version.unwrap_or_else(|| UNKNOWN.to_owned());
    Ok(Installation { libpal, version, unlicensed: unlicensed.collect() })
}

/// The libraries that a program needs, and those that they need, in the order of their paths in the image.
fn put_libraries(contents: &mut Contents, program: &[u8], folder: &Path) -> Result<Vec<Library>, Failure> {
    let needs = needs(program).map_err(|why| {
        Failure::new(Exit::File, format!("{} cannot be read: {why}", folder.join("sgx/loader").display()))
    })?;
    // The path in the image, and the path on this machine.
    let mut put = BTreeMap::new();
    if let Some(interpreter) = &needs.interpreter {
        let bytes = files::read(Path::new(interpreter), FILE_BYTES)?;
        let inside = interpreter.trim_start_matches('/').to_owned();
        contents.file(&inside, PROGRAM, bytes);
        put.insert(inside, PathBuf::from(interpreter));
    }
    let mut waiting = needs.libraries;
    let mut seen = BTreeSet::new();
    while let Some(name) = waiting.pop() {
        if !seen.insert(name.clone()) || put.keys().any(|path| path.ends_with(&format!("/{name}"))) {
            continue;
        }
        let own = [folder.join("sgx"), folder.to_owned()];
        let found = own.into_iter().chain(LIBRARIES.iter().map(PathBuf::from)).map(|at| at.join(&name));
        let Some(path) = found.into_iter().find(|path| path.is_file()) else {
            let error = format!("Gramine's loader needs the library {name}, which is not on this machine");
            return Err(Failure::new(Exit::File, error)
                .hint("install the distribution's package that contains this library"));
        };
        let bytes = fs::read(&path)
            .map_err(|e| Failure::new(Exit::File, format!("cannot read {}: {e}", path.display())))?;
        waiting.extend(self::needs(&bytes).map(|needs| needs.libraries).unwrap_or_default());
        // A folder that the linker searches, even if the library is elsewhere on this machine.
        let place = match path.parent().and_then(Path::to_str) {
            Some(at) if LIBRARIES.contains(&at) => at,
            _ => LIBRARIES[0],
        };
        let inside = format!("{}/{name}", place.trim_start_matches('/'));
        contents.file(&inside, PROGRAM, bytes);
        put.insert(inside, path);
    }
    let (inside, found): (Vec<String>, Vec<PathBuf>) = put.into_iter().unzip();
    let licences = licence::find(Path::new("/"), &found);
    let library = |(inside, licence)| Library { inside, licence };
    Ok(inside.into_iter().zip(licences).map(library).collect())
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Needs {
    interpreter: Option<String>,
    libraries: Vec<String>,
}

/// PT_INTERP and DT_NEEDED of an ELF file.
fn needs(file: &[u8]) -> Result<Needs, object::Error> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let header = FileHeader64::<LittleEndian>::parse(file)?;
    let endian = header.endian()?;
    let mut needs = Needs::default();
    for segment in header.program_headers(endian, file)? {
        if let Some(path) = segment.interpreter(endian, file)? {
            needs.interpreter = Some(text(path));
        }
    }
    let sections = header.sections(endian, file)?;
    if let Some((entries, strings)) = sections.dynamic(endian, file)? {
        let strings = sections.strings(endian, file, strings)?;
        for entry in entries.iter().filter(|entry| entry.tag(endian) == DT_NEEDED) {
            needs.libraries.push(text(entry.string(endian, strings)?));
        }
    }
    Ok(needs)
}

fn notice(version: Option<&str>, libraries: &[Library]) -> String {
    let of = version.unwrap_or("a version that the installation does not state");
    let at = version.map_or(
        "at the tag or commit of that version",
        |_| "at the commit in parentheses or the version's tag",
    );
    let mut text = format!(
        "The files under /{GRAMINE}/ are of the Gramine Library OS, {of},\n\
         unchanged as they were installed where this image was made.\n\
         Licence: LGPL-3.0-or-later; its text is /{LGPL}, that of the GPL that it refers to /{GPL}.\n\
         Source: https://github.com/gramineproject/gramine, {at};\n\
         distributions offer their own source package. It contains Mbed TLS (Apache-2.0 or\n\
         GPL-2.0-or-later), tomlc99 (MIT) and uthash (BSD-1-Clause).\n\
         The files can be exchanged for others: --gramine names another installation, and an image is only a tar of files.\n"
    );
    if !libraries.is_empty() {
        text += "\nGramine's loader needs these libraries of the distribution, unchanged, each under its own licence (the GNU C\n\
                 library: LGPL-2.1-or-later), as the file behind it states; the distribution's source packages are their source:\n\n";
        text.extend(libraries.iter().map(|library| match &library.licence {
            Some(Licence { package, .. }) => {
                format!("  /{}  /{LIBRARY_LICENCES}/{package}\n", library.inside)
            }
            None => format!("  /{}  (no text was found where this image was made)\n", library.inside),
        }));
    }
    text
}

/// Where distributions and Gramine's own build put everything.
const PREFIXES: [&str; 2] = ["/usr", "/usr/local"];
/// The folder of Gramine below those.
const FOLDERS: [&str; 3] = ["lib/x86_64-linux-gnu/gramine", "lib64/gramine", "lib/gramine"];
/// Gramine's programs that start other programs, and state its version.
const PROGRAMS: [&str; 2] = ["gramine-direct", "gramine-sgx"];
/// The folders that every distribution's dynamic linker searches.
const LIBRARIES: [&str; 6] =
    ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"];

/// The installation's folder: `named`; else the one of the `gramine-direct` or `gramine-sgx` on the PATH;
/// What Gramine's licence asks for.
pub const NOTICE: &str = "gramine/NOTICE";
const LGPL: &str = "gramine/LGPL-3.0.txt";
const GPL: &str = "gramine/GPL-3.0.txt";
/// The licence statement of each package, and below `common` the texts that the statements refer to.
const LIBRARY_LICENCES: &str = "gramine/licences";
/// The label of a version that no program states.
pub const UNKNOWN: &str = "unknown";
const FILE_BYTES: usize = 256 << 20;
/// Gramine's own programs are scripts of 2.5 kB.
const SCRIPT_BYTES: usize = 64 << 10;
const VERSION_BYTES: usize = 100;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::files::tests::scratch;

    /// A folder that looks like an installation: `libpal.so` is `pal`, the loader this machine's own shell,
    /// which needs the C library as the true one does.
    pub(crate) fn installation(name: &str, pal: &[u8]) -> PathBuf {
        let folder = scratch(name);
        for part in ["direct", "sgx"] {
            fs::create_dir_all(folder.join(part)).unwrap();
            fs::write(folder.join(part).join("libpal.so"), pal).unwrap();
        }
        fs::write(folder.join("libsysdb.so"), b"the library OS").unwrap();
        fs::copy("/bin/sh", folder.join("sgx/loader")).unwrap();
        folder
    }

    #[test]
    fn direct_target_takes_two_files_and_an_enclave_its_loaders_libraries() {
        let folder = installation("gramine-files", b"pal");
        let mut direct = Contents::default();
        assert_eq!(put(&mut direct, &folder, Target::Direct).unwrap().libpal, b"pal");
        let paths: Vec<&str> = direct.files().map(|(path, _)| path).collect();
        let expected = [GPL, LGPL, NOTICE, "gramine/direct/libpal.so", "gramine/libsysdb.so"];
        assert_eq!(paths, expected);
        let licence = String::from_utf8_lossy(direct.get(LGPL).unwrap());
        assert!(licence.trim_start().starts_with("GNU LESSER GENERAL PUBLIC LICENSE"));
        let notice = String::from_utf8_lossy(direct.get(NOTICE).unwrap()).into_owned();
        assert!(notice.contains("a version that the installation does not state"), "{notice}");
        let mut sgx = Contents::default();
        let sgx_put = put(&mut sgx, &folder, Target::Sgx).unwrap();
        let has = |ending: &str| sgx.files().any(|(path, _)| path.ends_with(ending));
        assert!(has("gramine/sgx/loader") && has("gramine/sgx/libpal.so"));
        assert!(
            has("/libc.so.6") && has("/ld-linux-x86-64.so.2"),
            "{:?}",
            sgx.files().map(|f| f.0).collect::<Vec<_>>()
        );
        let notice = String::from_utf8(sgx.get(NOTICE).unwrap().to_vec()).unwrap();
        assert!(notice.contains("LGPL-3.0") && notice.contains("/libc.so.6"), "{notice}");
        // Which licences are found depends on this machine. The notice names each library without one.
        for (path, _) in sgx.files().filter(|(path, _)| path.contains(".so") && !path.starts_with(GRAMINE)) {
            let line = notice.lines().find(|line| line.starts_with(&format!("  /{path}  "))).unwrap();
            let named = line
                .rsplit_once("  /")
                .map(|(_, text)| text)
                .filter(|text| text.starts_with(LIBRARY_LICENCES));
            assert!(named.is_none_or(|text| sgx.get(text).is_some()), "{line}");
            assert_eq!(named.is_none(), sgx_put.unlicensed.iter().any(|library| library == path), "{line}");
        }
        fs::remove_file(folder.join("sgx/libpal.so")).unwrap();
        let failure = put(&mut Contents::default(), &folder, Target::Sgx).unwrap_err();
        assert!(failure.hint.unwrap().contains("install the package gramine again"));
    }

    /// The same with its programs beside it, as a prefix has them: its folder.
    pub(crate) fn with_version(name: &str, pal: &[u8], version: &str, built_from: &str) -> PathBuf {
        let prefix = scratch(&format!("{name}-prefix"));
        let folder = prefix.join(FOLDERS[0]);
        fs::create_dir_all(folder.parent().unwrap()).unwrap();
        fs::rename(installation(name, pal), &folder).unwrap();
        fs::write(folder.join("libsysdb.so"), format!("\0Gramine was built from\0{built_from}\0")).unwrap();
        fs::create_dir_all(prefix.join("bin")).unwrap();
        let script = format!(
            "#!/bin/sh\nif [ \"$1\" == \"--version\" ]; then\n    echo \"Gramine {version}\"\nfi\nexec true\n"
        );
        fs::write(prefix.join("bin/gramine-direct"), script).unwrap();
        folder
    }

    /// What the installation in `folder` says of itself.
    fn version_in(folder: &Path) -> Option<String> {
        version(folder, &fs::read(folder.join("libsysdb.so")).unwrap())
    }

    #[test]
    fn installation_on_the_path_is_found_and_says_its_version() {
        let folder = with_version("gramine-version", b"pal", "1.9 (0123abcd)", "0123abcd");
        let path = env::join_paths([Path::new("/nowhere"), &folder.ancestors().nth(3).unwrap().join("bin")]);
        assert_eq!(found(&path.unwrap(), &|at| at.join("libsysdb.so").is_file()), Some(folder.clone()));
        assert_eq!(version_in(&folder).as_deref(), Some("1.9 (0123abcd)"));
        let mut contents = Contents::default();
        put(&mut contents, &folder, Target::Direct).unwrap();
        let notice = String::from_utf8(contents.get(NOTICE).unwrap().to_vec()).unwrap();
        assert!(
            notice.contains("Library OS, 1.9 (0123abcd)") && notice.contains("gramineproject/gramine"),
            "{notice}"
        );
        // Programs of another build say nothing of this one.
        fs::write(folder.join("libsysdb.so"), "built from 99999999").unwrap();
        assert_eq!(version_in(&folder), None);
        assert_eq!(version_in(&installation("gramine-versionless", b"pal")), None);
    }

    #[test]
    fn scripts_that_say_no_version_are_passed_over() {
        for (text, version) in [
            ("echo \"Gramine 1.8 (1.8)\"", Some("1.8 (1.8)")),
            ("    echo \"Gramine 1.9post~UNRELEASED (ff71)\"\n", Some("1.9post~UNRELEASED (ff71)")),
            ("echo \"Gramine \u{e9} (1)\"", None),
            ("echo Gramine", None),
            ("", None),
        ] {
            assert_eq!(said(text.as_bytes()).as_deref(), version, "{text}");
        }
        assert_eq!(said(format!("echo \"Gramine {}\"", "9".repeat(200)).as_bytes()), None);
        assert!(!is_of("1.9", b"1.9") && !is_of("1.9 ()", b"()") && is_of("1.9 (ab)", b"xaby"));
    }

    /// With a real one, where there is one.
    #[test]
    fn installed_gramine_is_what_its_own_program_answers() {
        let Ok(said) = std::process::Command::new("gramine-direct").arg("--version").output() else {
            eprintln!("skipped: gramine-direct is not on the PATH");
            return;
        };
        let version = version_in(&find(None).unwrap()).unwrap();
        assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), format!("Gramine {version}"));
    }

    #[test]
    fn missing_installation_is_told_with_what_to_install() {
        let failure = find(Some(&scratch("gramine-none"))).unwrap_err();
        assert!(failure.error.ends_with("is not a Gramine installation: it has no libsysdb.so"));
        if let Err(failure) = find(None) {
            assert!(failure.hint.unwrap().starts_with("install the package gramine"));
        }
        assert!(needs(b"not an ELF").is_err());
    }
}
