//! The second stage: the files of an image, in its two layers.
//!
//! The lower layer holds the programs and Gramine's files, and is the same for every federation. The upper
//! layer holds what belongs to this federation. No key goes into either.

use fl_launcher::image::{LAUNCHER, RUNTIME};
use fl_runtime::internal::image_layout;

use super::{
    contents::{Contents, PLAIN, PROGRAM, SHARED, in_workspace},
    gramine_files::{self, Installation},
    inputs::Inputs,
};
use crate::exit::Failure;

/// The files of an image.
pub(super) struct Layers {
    pub(super) lower: Contents,
    pub(super) upper: Contents,
    /// The Gramine whose files are in the lower layer.
    pub(super) gramine: Option<Installation>,
}

impl Layers {
    /// Lays the inputs out.
    ///
    /// # Errors
    /// [`crate::exit::Exit::File`] for a file or library of Gramine's that is missing.
    pub(super) fn of(inputs: &Inputs<'_>) -> Result<Self, Failure> {
        let (mut lower, mut upper) = (programs(inputs), federation(inputs));
        let gramine = match &inputs.gramine {
            Some(folder) => {
                // Gramine mounts only what is there, and a collaborator needs no roster. A volume covers it.
                upper.file(&in_workspace("plan/cols.yaml"), PLAIN, Vec::new());
                Some(gramine_files::put(&mut lower, folder, inputs.request.target)?)
            }
            None => None,
        };
        Ok(Self { lower, upper, gramine })
    }

    /// Both layers, as a container sees them.
    pub(super) fn stacked(&self) -> Contents {
        let mut all = self.lower.clone();
        all.stack(self.upper.clone());
        all
    }
}

fn programs(inputs: &Inputs<'_>) -> Contents {
    let programs = &inputs.programs;
    let mut contents = Contents::default();
    contents.file(RUNTIME, PROGRAM, programs.runtime.clone());
    contents.file(LAUNCHER, PROGRAM, programs.launcher.clone());
    if let Some(sbom) = &programs.sbom {
        contents.file(SBOM, PLAIN, sbom.clone());
    }
    if let Some(licences) = &programs.licences {
        contents.file(LICENCES, PLAIN, licences.clone());
    }
    contents.file(LICENCE, PLAIN, include_bytes!("../../../LICENSE").to_vec());
    contents
}

fn federation(inputs: &Inputs<'_>) -> Contents {
    let mut contents = Contents::default();
    contents.file(&in_workspace(image_layout::PLAN), PLAIN, inputs.loaded.plan.canonical());
    contents.file(&in_workspace(image_layout::CA), PLAIN, inputs.ca.clone());
    if let Some(model) = &inputs.model {
        contents.file(&in_workspace(image_layout::INITIAL_MODEL), PLAIN, model.clone());
    }
    contents.file(&in_workspace("plan/site.yaml"), PLAIN, inputs.site.clone());
    for folder in ["cert", "logs", "save", "save/released"] {
        contents.folder(&in_workspace(folder), SHARED);
    }
    contents.folder(&in_workspace("data"), PROGRAM);
    contents.folder("tmp", SHARED);
    contents
}

/// The list of what the runtime was linked from.
const SBOM: &str = "fl/fl-runtime.cdx.json";
/// The licences of those.
const LICENCES: &str = "fl/licences.txt";
/// fl-runtime's own licence.
const LICENCE: &str = "fl/LICENSE";
