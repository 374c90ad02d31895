//! Finds the programs that go into an image, and checks that they need no library.

use std::{
    fs,
    path::{Path, PathBuf},
};

use fl_engine::Digest;
use object::{
    LittleEndian,
    elf::{EM_X86_64, FileHeader64},
    read::elf::{FileHeader as _, ProgramHeader as _},
};
use serde_json::Value;

use crate::{
    exit::{Exit, Failure},
    files,
};

/// The programs, and what their build states about them.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `fl-runtime`.
    pub runtime: Vec<u8>,
    /// Its file.
    pub file: PathBuf,
    /// `fl-launcher`.
    pub launcher: Vec<u8>,
    /// The list of what the runtime was linked from (CycloneDX), where it lies beside the binary.
    pub sbom: Option<Vec<u8>>,
    /// Their licences.
    pub licences: Option<Vec<u8>>,
    /// Version, commit, toolchain, route.
    pub build: Build,
}

/// What is known of a build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Build {
    /// The package's version.
    pub version: Option<String>,
    /// The commit.
    pub commit: Option<String>,
    /// The compiler.
    pub toolchain: Option<String>,
    /// The route of `ci/build-static`.
    pub route: Option<String>,
}

/// Finds the programs: `binary`, or those beside this program or in the folder `static` beside its own.
///
/// # Errors
/// [`Exit::File`] when a program is missing or not static, or when a list of parts belongs to another binary.
pub fn find(binary: Option<&Path>) -> Result<Programs, Failure> {
    let folders =
        std::env::current_exe().ok().and_then(|exe| exe.parent().map(candidates)).unwrap_or_default();
    find_in(binary, &folders)
}

/// The folders where `ci/build-static` puts programs, relative to this program's folder.
fn candidates(exe: &Path) -> Vec<PathBuf> {
    vec![exe.join("static"), exe.join("../static"), exe.to_owned()]
}

fn find_in(binary: Option<&Path>, folders: &[PathBuf]) -> Result<Programs, Failure> {
    let runtime = match binary {
        Some(path) => path.to_owned(),
        None => locate("fl-runtime", folders)?,
    };
    let bytes = read_static(&runtime)?;
    let beside = runtime.parent().map(Path::to_owned).unwrap_or_default();
    let launcher = locate("fl-launcher", &[&[beside], folders].concat())?;
    let launcher = read_static(&launcher)?;
    let list = |extension: &str| -> Result<Option<Vec<u8>>, Failure> {
        let mut name = runtime.file_name().unwrap_or_default().to_owned();
        name.push(extension);
        let path = runtime.with_file_name(name);
        if path.exists() { files::read(&path, LIST_BYTES).map(Some) } else { Ok(None) }
    };
    let (sbom, licences) = (list(".cdx.json")?, list(".licences.txt")?);
    let build = match &sbom {
        Some(sbom) => build_of(sbom, &bytes, &runtime)?,
        None => Build::default(),
    };
    Ok(Programs { runtime: bytes, file: runtime, launcher, sbom, licences, build })
}

/// The first of the folders that has a static program of this name.
fn locate(name: &str, folders: &[PathBuf]) -> Result<PathBuf, Failure> {
    let found: Vec<PathBuf> =
        folders.iter().map(|folder| folder.join(name)).filter(|path| path.is_file()).collect();
    if let Some(path) = found.iter().find(|path| fs::read(path).is_ok_and(|bytes| is_static(&bytes).is_ok()))
    {
        return Ok(path.clone());
    }
    let error = match found.first() {
        Some(path) => {
            format!("{} is not a static program, and an image has no libraries for it", path.display())
        }
        None => format!("cannot find {name} in the folder of this program"),
    };
    Err(Failure::new(Exit::File, error).hint(HINT))
}

fn read_static(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = files::read(path, PROGRAM_BYTES)?;
    is_static(&bytes).map_err(|why| {
        let error = format!("{} {why}", path.display());
        Failure::new(Exit::File, error).hint(HINT)
    })?;
    Ok(bytes)
}

/// Whether the program runs in an otherwise empty file system: it is for x86-64 and has no interpreter.
fn is_static(file: &[u8]) -> Result<(), &'static str> {
    let read = || -> object::Result<(bool, bool)> {
        let header = FileHeader64::<LittleEndian>::parse(file)?;
        let endian = header.endian()?;
        let mut interpreter = false;
        for segment in header.program_headers(endian, file)? {
            interpreter |= segment.interpreter(endian, file)?.is_some();
        }
        Ok((header.e_machine(endian) == EM_X86_64, interpreter))
    };
    match read() {
        Ok((true, false)) => Ok(()),
        Ok((true, true)) => Err("is not a static program, and an image has no libraries for it"),
        _ => Err("is not a program for x86-64 Linux"),
    }
}

/// What the list of parts states about the build, after a check that it belongs to this binary.
fn build_of(sbom: &[u8], binary: &[u8], path: &Path) -> Result<Build, Failure> {
    let list: Value = serde_json::from_slice(sbom)
        .map_err(|e| Failure::new(Exit::File, format!("{}.cdx.json is not JSON: {e}", path.display())))?;
    let component = &list["metadata"]["component"];
    let property = |name: &str| {
        let all = component["properties"].as_array()?;
        let found = all.iter().find(|property| property["name"] == format!("fl:{name}").as_str())?;
        Some(found["value"].as_str()?.to_owned())
    };
    let stated = component["hashes"][0]["content"].as_str();
    if stated != Some(&Digest::of(binary).to_string()) {
        let error = format!("{}.cdx.json lists the parts of another binary", path.display());
        return Err(
            Failure::new(Exit::File, error).hint("run ci/build-static again, or remove the .cdx.json file")
        );
    }
    Ok(Build {
        version: component["version"].as_str().map(str::to_owned),
        commit: property("commit"),
        toolchain: property("toolchain"),
        route: property("route"),
    })
}

const HINT: &str = "run ci/build-static in the folder of the sources, which makes static programs in target/static/; or give a static fl-runtime with --binary";
const PROGRAM_BYTES: usize = 256 << 20;
const LIST_BYTES: usize = 16 << 20;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::files::tests::scratch;

    /// The smallest file that counts as a static program.
    pub(crate) fn elf(interpreter: bool) -> Vec<u8> {
        let mut file = vec![0; 64 + 56 + 8];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"\x7fELF\x02\x01\x01");
        // x86-64; one program header of 56 bytes at 64: PT_LOAD or PT_INTERP, whose text lies behind it.
        for (at, half) in [(18, 62_u16), (20, 1), (52, 64), (54, 56), (56, 1)] {
            put(at, &half.to_le_bytes());
        }
        put(32, &64_u64.to_le_bytes());
        put(64, &[if interpreter { 3 } else { 1 }]);
        put(64 + 8, &120_u64.to_le_bytes());
        put(64 + 32, &8_u64.to_le_bytes());
        put(120, b"/lib/ld\0");
        file
    }

    #[test]
    fn dynamic_program_is_refused_with_what_builds_a_static_one() {
        let dir = scratch("image-programs");
        fs::write(dir.join("fl-runtime"), elf(true)).unwrap();
        fs::write(dir.join("fl-launcher"), elf(false)).unwrap();
        for failure in [
            find_in(None, std::slice::from_ref(&dir)).unwrap_err(),
            find_in(Some(&dir.join("fl-runtime")), std::slice::from_ref(&dir)).unwrap_err(),
            find_in(None, &[dir.join("nowhere")]).unwrap_err(),
        ] {
            assert!(failure.hint.unwrap().contains("ci/build-static"), "{}", failure.error);
        }
        for bytes in [&b""[..], b"\x7fELF", &elf(false)[..70], b"#!/bin/sh\n"] {
            assert!(is_static(bytes).is_err());
        }
        fs::create_dir(dir.join("static")).unwrap();
        fs::write(dir.join("static/fl-runtime"), elf(false)).unwrap();
        let found = find_in(None, &candidates(&dir)).unwrap();
        assert_eq!((found.runtime, found.build), (elf(false), Build::default()));
    }

    #[test]
    fn list_of_parts_has_to_be_of_this_binary() {
        let dir = scratch("image-sbom");
        for name in ["fl-runtime", "fl-launcher"] {
            fs::write(dir.join(name), elf(false)).unwrap();
        }
        let list = |hash: &str| {
            serde_json::json!({"metadata": {"component": {
                "version": "1.2.3",
                "hashes": [{"alg": "SHA-256", "content": hash}],
                "properties": [{"name": "fl:route", "value": "rustup"}, {"name": "fl:commit", "value": "abc"}],
            }}})
            .to_string()
        };
        fs::write(dir.join("fl-runtime.cdx.json"), list(&Digest::of(&elf(false)).to_string())).unwrap();
        let found = find_in(None, std::slice::from_ref(&dir)).unwrap();
        assert_eq!(found.build.version.as_deref(), Some("1.2.3"));
        assert_eq!(
            (found.build.route.as_deref(), found.build.commit.as_deref()),
            (Some("rustup"), Some("abc"))
        );
        assert_eq!(found.build.toolchain, None);
        fs::write(dir.join("fl-runtime.cdx.json"), list("00")).unwrap();
        let failure = find_in(None, std::slice::from_ref(&dir)).unwrap_err();
        assert!(failure.error.ends_with("lists the parts of another binary"));
    }
}
