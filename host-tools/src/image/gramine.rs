//! The files of a Gramine installation that an image needs, and no others.
//!
//! Without an enclave: `libsysdb.so` and `direct/libpal.so`, which need no library. With one: `libsysdb.so`,
//! `sgx/libpal.so` and `sgx/loader`, a program of the distribution, with the libraries that it asks for. None of the
//! loader's side is trusted: an enclave measures `sgx/libpal.so` and the hash of `libsysdb.so`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use fl_launcher::image::{GRAMINE, Target};
use object::{
    LittleEndian,
    elf::{DT_NEEDED, FileHeader64},
    read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _},
};

use super::contents::{Contents, PLAIN, PROGRAM};
use crate::{
    exit::{Exit, Failure},
    workspace,
};

/// Where distributions and Gramine's own build put it.
const FOLDERS: [&str; 6] = [
    "/usr/lib/x86_64-linux-gnu/gramine",
    "/usr/lib64/gramine",
    "/usr/lib/gramine",
    "/usr/local/lib/x86_64-linux-gnu/gramine",
    "/usr/local/lib64/gramine",
    "/usr/local/lib/gramine",
];
/// Where the dynamic linker of every distribution looks by itself.
const LIBRARIES: [&str; 6] =
    ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"];

/// The installation's folder: `named`, or where one is found.
///
/// # Errors
/// [`Exit::File`] when there is none.
pub fn find(named: Option<&Path>) -> Result<PathBuf, Failure> {
    let is_one = |folder: &Path| folder.join("libsysdb.so").is_file();
    match named {
        Some(folder) if is_one(folder) => Ok(folder.to_owned()),
        Some(folder) => {
            let error = format!("{} is no Gramine installation: it has no libsysdb.so", folder.display());
            Err(Failure::new(Exit::File, error)
                .hint("--gramine names the folder with libsysdb.so, often /usr/lib/x86_64-linux-gnu/gramine"))
        }
        None => FOLDERS.iter().map(PathBuf::from).find(|folder| is_one(folder)).ok_or_else(|| {
            Failure::new(Exit::File, "no Gramine installation was found").hint(
                "install the package gramine, as Gramine's documentation says for this distribution; or name its folder with \
                 --gramine; --native-target needs none",
            )
        }),
    }
}

/// Puts what `target` needs into `contents`; answers with the bytes of its `libpal.so`.
///
/// # Errors
/// [`Exit::File`] for a file or library that is not there.
pub fn put(contents: &mut Contents, folder: &Path, target: Target) -> Result<Vec<u8>, Failure> {
    let part = target.word();
    let read_part = |inside: &str| {
        workspace::read(&folder.join(inside), FILE_BYTES)
            .map_err(|failure| failure.hint("the Gramine installation is not whole: install it again"))
    };
    contents.file(&format!("{GRAMINE}/libsysdb.so"), PLAIN, read_part("libsysdb.so")?);
    let pal = read_part(&format!("{part}/libpal.so"))?;
    // Without an enclave it is its own loader.
    contents.file(&format!("{GRAMINE}/{part}/libpal.so"), PROGRAM, pal.clone());
    let mut libraries = Vec::new();
    if target == Target::Sgx {
        let loader = read_part("sgx/loader")?;
        libraries = put_libraries(contents, &loader, folder)?;
        contents.file(&format!("{GRAMINE}/sgx/loader"), PROGRAM, loader);
    }
    contents.file(NOTICE, PLAIN, notice(&libraries).into_bytes());
    Ok(pal)
}

/// The libraries that a program needs, and those that they need; answers with their paths in the image.
fn put_libraries(contents: &mut Contents, program: &[u8], folder: &Path) -> Result<Vec<String>, Failure> {
    let needs = needs(program).map_err(|why| {
        Failure::new(Exit::File, format!("{} cannot be read: {why}", folder.join("sgx/loader").display()))
    })?;
    let mut put = Vec::new();
    if let Some(interpreter) = &needs.interpreter {
        let bytes = workspace::read(Path::new(interpreter), FILE_BYTES)?;
        let inside = interpreter.trim_start_matches('/').to_owned();
        contents.file(&inside, PROGRAM, bytes);
        put.push(inside);
    }
    let mut waiting = needs.libraries;
    let mut seen = BTreeSet::new();
    while let Some(name) = waiting.pop() {
        if !seen.insert(name.clone()) || put.iter().any(|path| path.ends_with(&format!("/{name}"))) {
            continue;
        }
        let own = [folder.join("sgx"), folder.to_owned()];
        let found = own.into_iter().chain(LIBRARIES.iter().map(PathBuf::from)).map(|at| at.join(&name));
        let Some(path) = found.into_iter().find(|path| path.is_file()) else {
            let error = format!("Gramine's loader needs {name}, which is not on this machine");
            return Err(Failure::new(Exit::File, error).hint("install the package that brings it"));
        };
        let bytes = fs::read(&path)
            .map_err(|e| Failure::new(Exit::File, format!("cannot read {}: {e}", path.display())))?;
        waiting.extend(self::needs(&bytes).map(|needs| needs.libraries).unwrap_or_default());
        // Where the linker looks by itself, wherever it lay here.
        let place = match path.parent().and_then(Path::to_str) {
            Some(at) if LIBRARIES.contains(&at) => at,
            _ => LIBRARIES[0],
        };
        let inside = format!("{}/{name}", place.trim_start_matches('/'));
        contents.file(&inside, PROGRAM, bytes);
        put.push(inside);
    }
    put.sort();
    Ok(put)
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

fn notice(libraries: &[String]) -> String {
    let mut text = format!(
        "The files under /{GRAMINE}/ are of the Gramine Library OS, unchanged as this machine's distribution has them.\n\
         Licence: LGPL-3.0-or-later, https://www.gnu.org/licenses/lgpl-3.0.html, and the GPL-3.0 that it refers to.\n\
         Source: https://github.com/gramineproject/gramine, at the tag of the installed version; distributions offer\n\
         their own source package. They can be exchanged for others: --gramine names another installation, and an\n\
         image is only a tar of files.\n"
    );
    if !libraries.is_empty() {
        text += "\nGramine's loader needs these libraries of the distribution, unchanged, each under its own licence (the GNU C\n\
                 library: LGPL-2.1-or-later); the distribution's source packages are their source:\n\n";
        text.extend(libraries.iter().map(|path| format!("  /{path}\n")));
    }
    text
}

/// What Gramine's licence asks for.
pub const NOTICE: &str = "gramine/NOTICE";
const FILE_BYTES: usize = 256 << 20;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::workspace::tests::scratch;

    /// A folder that looks like an installation: `libpal.so` is `pal`, the loader this machine's own shell, which needs
    /// the C library as the true one does.
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
        assert_eq!(put(&mut direct, &folder, Target::Direct).unwrap(), b"pal");
        let paths: Vec<&str> = direct.files().map(|(path, _)| path).collect();
        assert_eq!(paths, ["gramine/NOTICE", "gramine/direct/libpal.so", "gramine/libsysdb.so"]);
        let mut sgx = Contents::default();
        put(&mut sgx, &folder, Target::Sgx).unwrap();
        let has = |ending: &str| sgx.files().any(|(path, _)| path.ends_with(ending));
        assert!(has("gramine/sgx/loader") && has("gramine/sgx/libpal.so"));
        assert!(
            has("/libc.so.6") && has("/ld-linux-x86-64.so.2"),
            "{:?}",
            sgx.files().map(|f| f.0).collect::<Vec<_>>()
        );
        let notice = String::from_utf8(sgx.get(NOTICE).unwrap().to_vec()).unwrap();
        assert!(notice.contains("LGPL-3.0") && notice.contains("/libc.so.6"), "{notice}");
        fs::remove_file(folder.join("sgx/libpal.so")).unwrap();
        let failure = put(&mut Contents::default(), &folder, Target::Sgx).unwrap_err();
        assert!(failure.hint.unwrap().contains("install it again"));
    }

    #[test]
    fn missing_installation_is_told_with_what_to_install() {
        let failure = find(Some(&scratch("gramine-none"))).unwrap_err();
        assert!(failure.error.ends_with("is no Gramine installation: it has no libsysdb.so"));
        if let Err(failure) = find(None) {
            assert!(failure.hint.unwrap().starts_with("install the package gramine"));
        }
        assert!(needs(b"not an ELF").is_err());
    }
}
