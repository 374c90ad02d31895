//! The paths of the files in an image that `fl-host workspace dockerize` made.

use std::path::{Path, PathBuf};

/// The role that runs in a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Combines updates.
    Aggregator,
    /// Trains.
    Collaborator,
}

impl Role {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Aggregator, Self::Collaborator];

    /// Its word on the command line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Aggregator => "aggregator",
            Self::Collaborator => "collaborator",
        }
    }

    /// The role of this word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }
}

/// What a role runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The binary itself.
    Native,
    /// Gramine without an enclave.
    Direct,
    /// An enclave.
    Sgx,
}

impl Target {
    /// Its word in labels and messages.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Direct => "direct",
            Self::Sgx => "sgx",
        }
    }
}

/// An image's file system. Its root is `/`, except in tests.
#[derive(Clone, Debug)]
pub struct Image {
    root: PathBuf,
}

impl Image {
    /// The image under `root`.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// A file or folder by its path inside, without the first slash.
    #[must_use]
    pub fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside)
    }

    /// The path of the role's manifest without its extension, which Gramine calls the application.
    #[must_use]
    pub fn application(&self, role: Role) -> PathBuf {
        self.path(FOLDER).join(role.word())
    }

    /// Whether the role's enclave writes unencrypted models to `save/released`: then its manifest mounts the
    /// folder.
    #[must_use]
    pub fn releases(&self, role: Role) -> bool {
        let manifest = self.path(FOLDER).join(format!("{}.manifest.sgx", role.word()));
        std::fs::read_to_string(manifest).is_ok_and(|text| text.contains("/workspace/save/released"))
    }

    /// The target that the image was made for, which its manifests tell.
    #[must_use]
    pub fn target(&self, role: Role) -> Target {
        let has = |extension: &str| self.path(FOLDER).join(format!("{}.{extension}", role.word())).is_file();
        match () {
            () if has("manifest.sgx") => Target::Sgx,
            () if has("manifest") => Target::Direct,
            () => Target::Native,
        }
    }
}

/// The folder of the files that the image fixes.
pub const FOLDER: &str = "fl";
/// The launcher, in [`FOLDER`].
pub const LAUNCHER: &str = "fl/fl-launcher";
/// The runtime, in [`FOLDER`].
pub const RUNTIME: &str = "fl/fl-runtime";
/// The workspace: volumes are mounted into it.
pub const WORKSPACE: &str = "workspace";
/// The folder of Gramine's files, for the targets that need Gramine.
pub const GRAMINE: &str = "gramine";
