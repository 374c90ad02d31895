//! Checks that the container has what the role needs: volumes, and for an enclave the device and the
//! attestation service.
//!
//! The kernel's list of mounts tells whether a volume is missing. If the list cannot be read, this is not
//! checked.

use std::{
    fs::{self, OpenOptions},
    io::ErrorKind,
};

use crate::image::{Image, Role, Target, WORKSPACE};

/// Why the role is not started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Exit code, of the table that both programs share.
    pub exit: u8,
    /// What is wrong.
    pub error: String,
    /// What to do.
    pub hint: String,
}

impl Failure {
    pub(crate) fn usage(error: &str, hint: &str) -> Self {
        Self { exit: USAGE, error: error.to_owned(), hint: hint.to_owned() }
    }

    /// A file, folder or device that cannot be used.
    #[must_use]
    pub fn file(error: &str, hint: &str) -> Self {
        Self { exit: FILE, error: error.to_owned(), hint: hint.to_owned() }
    }
}

/// Checks the container. Returns warnings: things that are missing, but without which the role can run.
///
/// `mounts` is the text of `/proc/self/mountinfo`, `status` that of `/proc/self/status`.
///
/// # Errors
/// A missing volume for keys and certificates, a folder in place of a file, a missing file that the manifest
/// mounts, a missing device or service for an enclave.
pub fn container(
    image: &Image,
    role: Role,
    mounts: Option<&str>,
    status: Option<&str>,
) -> Result<Vec<String>, Failure> {
    let target = image.target(role);
    if target == Target::Sgx {
        enclave(image)?;
    }
    // The role needs the first file; the others are optional.
    let files: &[&str] = match role {
        Role::Aggregator => &["plan/cols.yaml"],
        Role::Collaborator => &["plan/data.yaml", "plan/cols.yaml"],
    };
    if let Some(file) = files.iter().find(|file| image.path(WORKSPACE).join(file).is_dir()) {
        return Err(Failure::file(
            &format!("/{WORKSPACE}/{file} is a folder, but must be a file"),
            &format!(
                "the volume's file was missing on the host, so the container engine made a folder: replace that folder by the file {file}"
            ),
        ));
    }
    let mut warnings = Vec::new();
    if target == Target::Direct && status.is_some_and(|status| status.lines().any(|line| line == FILTERED)) {
        warnings.push(
            "the container engine filters system calls: if Gramine fails, start the container with --security-opt seccomp=unconfined"
                .to_owned(),
        );
    }
    let has = |inside: &str| {
        let wanted = image.path(WORKSPACE).join(inside);
        // One volume may cover the whole workspace.
        let covers = |point: &str| point != "/" && wanted.starts_with(point);
        mounts.is_none_or(|mounts| mounts.lines().filter_map(mount_point).any(|point| covers(&point)))
    };
    if !has("cert") {
        return Err(Failure::file(
            &format!("no volume at /{WORKSPACE}/cert: the key made here would be lost with the container"),
            &format!("start the container with --volume=FOLDER/cert:/{WORKSPACE}/cert"),
        ));
    }
    // A collaborator without data would say that a folder of the host is missing.
    let nothing = |inside: &str| {
        fs::read_dir(image.path(WORKSPACE).join(inside)).map_or(true, |mut entries| entries.next().is_none())
    };
    if role == Role::Collaborator && !has("data") && nothing("data") && !names_absolute_folder(image) {
        warnings.push(format!(
            "no volume at /{WORKSPACE}/data: if plan/data.yaml names a folder there, start the container with --volume=FOLDER/data:/{WORKSPACE}/data"
        ));
    }
    // The native runtime reports this itself. Gramine would end with an error number before the runtime runs.
    let file = files[0];
    let there = fs::metadata(image.path(WORKSPACE).join(file)).is_ok_and(|about| {
        // The image contains an empty roster, so that a collaborator runs with or without a mounted one.
        role == Role::Collaborator || about.len() > 0 || has(file)
    });
    if target != Target::Native && !there {
        return Err(Failure::file(
            &format!("there is no /{WORKSPACE}/{file} in the container"),
            &format!("start the container with --volume=FOLDER/{file}:/{WORKSPACE}/{file}"),
        ));
    }
    if target == Target::Sgx {
        // The sealed key has its own folder, which must exist before the enclave starts.
        let sealed = image.path(WORKSPACE).join("cert/private");
        fs::create_dir_all(&sealed).map_err(|e| {
            Failure::file(
                &format!("cannot make /{WORKSPACE}/cert/private: {e}"),
                "let the user of this container write to the volume's folder on the host",
            )
        })?;
    }
    let releases = image.releases(role);
    if releases {
        // Gramine mounts this folder separately, without encryption. It must exist before the enclave starts,
        // too.
        let released = image.path(WORKSPACE).join("save/released");
        fs::create_dir_all(&released).map_err(|e| {
            Failure::file(
                &format!("cannot make the folder /{WORKSPACE}/save/released for released models: {e}"),
                "make FOLDER/save/released on the host, and let the user of this container write to it",
            )
        })?;
    }
    if !has("save") {
        let lost = if releases { ", and released models are lost, too" } else { "" };
        warnings.push(format!(
            "no volume at /{WORKSPACE}/save: nothing survives a restart of this container{lost}; start it with --volume=FOLDER/save:/{WORKSPACE}/save"
        ));
    }
    Ok(warnings)
}

/// Whether plan/data.yaml names a folder by its absolute path, which may be a volume of any place.
fn names_absolute_folder(image: &Image) -> bool {
    let text = fs::read_to_string(image.path(WORKSPACE).join("plan/data.yaml")).unwrap_or_default();
    let folder = |line: &str| {
        line.split_once(':').map(|(_, folder)| folder.trim().trim_matches(['"', '\'']).to_owned())
    };
    text.lines().filter_map(folder).any(|folder| folder.starts_with('/'))
}

fn enclave(image: &Image) -> Result<(), Failure> {
    let device = image.path("dev/sgx_enclave");
    match OpenOptions::new().read(true).write(true).open(device) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Failure::file(
                "there is no /dev/sgx_enclave in the container",
                "start the container with --device=/dev/sgx_enclave; on a machine without SGX, use an image made with --no-sgx-target",
            ));
        }
        Err(error) => {
            return Err(Failure::file(
                &format!("cannot open /dev/sgx_enclave: {error}"),
                "start the container with --group-add and the group of /dev/sgx_enclave, or as root",
            ));
        }
    }
    if !image.path("var/run/aesmd/aesm.socket").exists() {
        return Err(Failure::file(
            "there is no /var/run/aesmd/aesm.socket in the container: nobody could attest the enclave",
            "start aesmd on the host, and the container with --volume=/var/run/aesmd/aesm.socket:/var/run/aesmd/aesm.socket",
        ));
    }
    Ok(())
}

/// Field 5 of a line of mountinfo (proc(5)), with its octal escapes undone.
fn mount_point(line: &str) -> Option<String> {
    let field = line.split(' ').nth(4)?;
    let mut point = Vec::new();
    let mut bytes = field.as_bytes();
    while let [first, rest @ ..] = bytes {
        let escape = (*first == b'\\').then(|| rest.get(..3)).flatten();
        match escape.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()) {
            Some(byte) => {
                point.push(byte);
                bytes = &rest[3..];
            }
            None => {
                point.push(*first);
                bytes = rest;
            }
        }
    }
    String::from_utf8(point).ok()
}

/// The kernel's list of mounts; `None` if it cannot be read.
#[must_use]
pub fn mounts() -> Option<String> {
    fs::read_to_string("/proc/self/mountinfo").ok()
}

/// The kernel's status of this process; `None` if it cannot be read.
#[must_use]
pub fn status() -> Option<String> {
    fs::read_to_string("/proc/self/status").ok()
}

/// The command line cannot be understood.
const USAGE: u8 = 2;
/// A file cannot be read or written.
const FILE: u8 = 3;
/// The line of /proc/self/status (proc(5)) that shows a filter of system calls, as container engines install
/// it.
const FILTERED: &str = "Seccomp:\t2";

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn root(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("fl-launcher-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        for folder in ["fl", "workspace/plan", "dev", "var/run/aesmd"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        root
    }

    fn mounted(root: &std::path::Path, inside: &[&str]) -> String {
        let line = |inside: &&str| {
            format!("36 35 98:0 /x {}/{inside} rw,noatime - ext4 /dev/sda1 rw\n", root.display())
        };
        "22 1 0:21 / / rw,relatime - overlay overlay rw\n".to_owned()
            + &inside.iter().map(line).collect::<String>()
    }

    #[test]
    fn container_of_the_manual_gets_one_warning_and_a_save_volume_none() {
        let root = root("volumes");
        let image = Image::at(&root);
        let manual = mounted(&root, &["workspace/cert", "workspace/plan/data.yaml", "workspace/data"]);
        let warnings = container(&image, Role::Collaborator, Some(&manual), None).unwrap();
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("nothing survives"), "{warnings:?}");
        let more = mounted(&root, &["workspace/cert", "workspace/save", "workspace/data"]);
        assert_eq!(container(&image, Role::Collaborator, Some(&more), None), Ok(vec![]));
        // A folder of data that nothing is mounted at, unless the data are elsewhere.
        let without = mounted(&root, &["workspace/cert", "workspace/save"]);
        let warnings = container(&image, Role::Collaborator, Some(&without), None).unwrap();
        assert!(warnings[0].contains("--volume=FOLDER/data:/workspace/data"), "{warnings:?}");
        assert_eq!(container(&image, Role::Aggregator, Some(&without), None), Ok(vec![]));
        fs::write(root.join("workspace/plan/data.yaml"), "one: /srv/data\n").unwrap();
        assert_eq!(container(&image, Role::Collaborator, Some(&without), None), Ok(vec![]));
        fs::remove_file(root.join("workspace/plan/data.yaml")).unwrap();
        let whole = mounted(&root, &["workspace"]);
        assert_eq!(container(&image, Role::Collaborator, Some(&whole), None), Ok(vec![]));
        assert_eq!(container(&image, Role::Collaborator, None, None), Ok(vec![]));
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn missing_certificate_volume_and_a_folder_for_a_file_are_errors() {
        let root = root("errors");
        let image = Image::at(&root);
        let refused = container(&image, Role::Aggregator, Some(&mounted(&root, &["workspace/save"])), None)
            .unwrap_err();
        assert!(refused.error.starts_with("no volume at /workspace/cert"), "{refused:?}");
        assert_eq!(
            (refused.exit, refused.hint.as_str()),
            (3, "start the container with --volume=FOLDER/cert:/workspace/cert")
        );
        fs::create_dir_all(root.join("workspace/plan/cols.yaml")).unwrap();
        let refused = container(&image, Role::Aggregator, Some(&mounted(&root, &["workspace/cert"])), None)
            .unwrap_err();
        assert_eq!(refused.error, "/workspace/plan/cols.yaml is a folder, but must be a file");
        let refused = container(&image, Role::Collaborator, Some(&mounted(&root, &["workspace/cert"])), None)
            .unwrap_err();
        assert_eq!(refused.error, "/workspace/plan/cols.yaml is a folder, but must be a file");
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn enclave_needs_its_device_and_its_service() {
        let root = root("enclave");
        let image = Image::at(&root);
        fs::write(root.join("fl/aggregator.manifest.sgx"), "").unwrap();
        fs::write(root.join("workspace/plan/cols.yaml"), "").unwrap();
        let mounts = mounted(&root, &["workspace/cert", "workspace/save", "workspace/plan/cols.yaml"]);
        let ask = || container(&image, Role::Aggregator, Some(&mounts), None);
        assert_eq!(ask().unwrap_err().error, "there is no /dev/sgx_enclave in the container");
        fs::write(root.join("dev/sgx_enclave"), "").unwrap();
        assert!(ask().unwrap_err().hint.contains("--volume=/var/run/aesmd/aesm.socket"));
        fs::write(root.join("var/run/aesmd/aesm.socket"), "").unwrap();
        assert_eq!(ask(), Ok(vec![]));
        assert!(root.join("workspace/cert/private").is_dir());
        // A role without an enclave asks for neither.
        fs::remove_file(root.join("dev/sgx_enclave")).unwrap();
        assert!(container(&image, Role::Collaborator, Some(&mounts), None).is_ok());
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn gramine_is_given_every_file_that_it_mounts_and_a_filter_is_named() {
        let root = root("gramine");
        let image = Image::at(&root);
        let mounts = mounted(&root, &["workspace/cert", "workspace/save", "workspace/data"]);
        let ask = |status| container(&image, Role::Collaborator, Some(&mounts), status);
        // Without Gramine the runtime reports it, and misses no system call.
        assert_eq!(ask(Some("Seccomp:\t2\n")), Ok(vec![]));
        fs::write(root.join("fl/collaborator.manifest"), "").unwrap();
        let refused = ask(None).unwrap_err();
        assert_eq!(
            (refused.error.as_str(), refused.hint.as_str()),
            (
                "there is no /workspace/plan/data.yaml in the container",
                "start the container with --volume=FOLDER/plan/data.yaml:/workspace/plan/data.yaml"
            )
        );
        fs::write(root.join("workspace/plan/data.yaml"), "").unwrap();
        assert_eq!(ask(Some("Name:\tx\nSeccomp:\t0\n")), Ok(vec![]));
        // The image's own roster is nobody's: no aggregator starts with it, and collaborators need none.
        fs::write(root.join("fl/aggregator.manifest"), "").unwrap();
        fs::write(root.join("workspace/plan/cols.yaml"), "").unwrap();
        assert_eq!(ask(None), Ok(vec![]));
        let ask_aggregator = |mounts: &str| container(&image, Role::Aggregator, Some(mounts), None);
        assert_eq!(
            ask_aggregator(&mounts).unwrap_err().error,
            "there is no /workspace/plan/cols.yaml in the container"
        );
        let covered = mounted(&root, &["workspace/cert", "workspace/save", "workspace/plan/cols.yaml"]);
        assert_eq!(ask_aggregator(&covered), Ok(vec![]));
        let warnings = ask(Some("Name:\tx\nSeccomp:\t2\n")).unwrap();
        assert!(warnings.len() == 1 && warnings[0].contains("seccomp=unconfined"), "{warnings:?}");
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn enclave_that_releases_models_gets_a_folder_for_them_and_is_told_when_they_are_lost() {
        let root = root("released");
        let image = Image::at(&root);
        for file in ["dev/sgx_enclave", "var/run/aesmd/aesm.socket", "workspace/plan/data.yaml"] {
            fs::write(root.join(file), "").unwrap();
        }
        let manifest = root.join("fl/collaborator.manifest.sgx");
        let without = mounted(&root, &["workspace/cert", "workspace/data"]);
        let ask = |mounts: &str| container(&image, Role::Collaborator, Some(mounts), None);
        // Nothing is released.
        fs::write(&manifest, "uri = \"file:/workspace/save\"").unwrap();
        assert_eq!(ask(&without).unwrap().len(), 1);
        fs::write(&manifest, "uri = \"file:/workspace/save/released\"").unwrap();
        let warnings = ask(&without).unwrap();
        assert!(warnings.len() == 1 && warnings[0].contains("released models are lost, too"), "{warnings:?}");
        let volumes = mounted(&root, &["workspace/cert", "workspace/save", "workspace/data"]);
        assert_eq!(ask(&volumes), Ok(vec![]));
        assert!(root.join("workspace/save/released").is_dir());
        // A file is in its place.
        fs::remove_dir(root.join("workspace/save/released")).unwrap();
        fs::write(root.join("workspace/save/released"), "").unwrap();
        let refused = ask(&volumes).unwrap_err();
        assert!(refused.error.starts_with("cannot make the folder /workspace/save/released"), "{refused:?}");
        assert_eq!(
            refused.hint,
            "make FOLDER/save/released on the host, and let the user of this container write to it"
        );
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn mount_points_with_spaces_are_read() {
        let line = r"36 35 98:0 /x /work\040space/cert rw - ext4 /dev/sda1 rw";
        assert_eq!(mount_point(line).as_deref(), Some("/work space/cert"));
        assert_eq!(mount_point("too short"), None);
    }
}
