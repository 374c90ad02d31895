//! The fourth stage: the image in its archive, and beside it the record of what is in the image.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use fl_engine::{
    Digest, Name,
    plan::{Attestation, OfAggregator, OfCollaborators},
};
use fl_launcher::image::Target;
use indicatif::{ProgressBar, ProgressStyle};

use super::{
    enclaves::Enclaves,
    gramine_files::{self, Installation},
    inputs::Inputs,
    oci::OciImage,
    record::ImageRecord,
};
use crate::{exit::Failure, files, plan, sgx::gramine_version::Gramine};

/// An image that was written.
#[derive(Clone, Debug)]
pub struct Archive {
    /// The archive.
    pub file: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its SHA-256.
    pub digest: Digest,
    /// The name that `docker load` gives the image.
    pub name: String,
    /// The image's identity.
    pub id: Digest,
    /// Bytes of the image's layers.
    pub layer_bytes: u64,
    /// What is in the image, and what it measures.
    pub record: ImageRecord,
    /// The file that holds the record.
    pub record_file: PathBuf,
    /// What the user should know.
    pub notes: Vec<String>,
}

impl Archive {
    /// Writes the archive, the OCI layout if one is asked for, and the record.
    ///
    /// # Errors
    /// [`crate::exit::Exit::File`].
    pub(super) fn write(inputs: &Inputs<'_>, enclaves: Enclaves) -> Result<Self, Failure> {
        let Enclaves { layers, roles, records } = enclaves;
        let request = inputs.request;
        let record = ImageRecord {
            federation: inputs.loaded.plan.federation.clone(),
            plan: inputs.loaded.hash,
            ca: inputs.ca_digest,
            target: request.target,
            binary: Digest::of(&inputs.programs.runtime),
            build: inputs.programs.build.clone(),
            roles,
            signer: inputs.key.as_ref().map(|key| key.signer()),
            gramine: layers.gramine.as_ref().map(|gramine| gramine.version.clone()),
        };
        let image = OciImage::new(vec![layers.lower.tar()?, layers.upper.tar()?], &record.labels());
        let name = image_name(&record.federation);
        let in_workspace = || inputs.workspace.root().join(format!("{}.tar.gz", record.federation));
        let file = request.output.clone().unwrap_or_else(in_workspace);
        let passes = if request.oci.is_some() { 2 } else { 1 };
        let bar = progress(image.layer_bytes() * passes);
        let bytes = image.docker_archive(&name, &mut |more| bar.inc(more))?;
        if let Some(folder) = &request.oci {
            image.oci_layout(folder, &name, &mut |more| bar.inc(more))?;
        }
        bar.finish_and_clear();
        files::replace(&file, &bytes)?;
        let digest = Digest::of(&bytes);
        let record_file = record_file(&file);
        let text = format!("{:#}\n", record.json(&image, digest, &records));
        files::replace(&record_file, text.as_bytes())?;
        Ok(Self {
            file,
            bytes: bytes.len() as u64,
            digest,
            name,
            id: image.id(),
            layer_bytes: image.layer_bytes(),
            record,
            record_file,
            notes: notes(inputs, layers.gramine.as_ref()),
        })
    }
}

/// The record's file: `DIR/v1.measurement.json` for `DIR/v1.tar.gz`, so that each archive has its own.
fn record_file(archive: &Path) -> PathBuf {
    let name = archive.file_name().unwrap_or_default().to_string_lossy();
    let stem =
        [".tar.gz", ".tgz", ".tar"].iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(&name);
    archive.with_file_name(format!("{stem}.measurement.json"))
}

/// What the user should know of the image.
fn notes(inputs: &Inputs<'_>, gramine: Option<&Installation>) -> Vec<String> {
    let mut notes = inputs.notes.clone();
    if inputs.programs.sbom.is_none() {
        notes.push("the image contains no list of the binary's parts: the binary's folder has no fl-runtime.cdx.json".to_owned());
    }
    if let Some(gramine) = gramine {
        notes.extend(gramine.unlicensed.iter().map(|library| {
            format!("/{library}: the text of this library's licence is not on this machine; send the text along with the image")
        }));
        notes.extend(about_version(&gramine.version, inputs.request.target));
    }
    if inputs.request.target == Target::Sgx {
        notes.push(format!("enclaves seal their files to {}", inputs.loaded.plan.seal));
        notes.extend(plan::warning(&inputs.loaded).map(str::to_owned));
        notes.extend(unproved(inputs.loaded.plan.attestation));
    }
    notes
}

/// A plan for enclaves that do not prove themselves.
fn unproved(asked: Attestation) -> Option<String> {
    let who = match (asked.aggregator, asked.collaborators) {
        (OfAggregator::None, OfCollaborators::None) => "no enclave proves",
        (OfAggregator::None, _) => "the aggregator's enclave does not prove",
        (_, OfCollaborators::None) => "no collaborator's enclave proves",
        _ => return None,
    };
    Some(format!(
        "{who} to its peers which program runs in it. To ask for proof, add to the plan `attestation: {{aggregator: required, collaborators: required}}`"
    ))
}

/// What the user should know of this version of Gramine.
fn about_version(version: &str, target: Target) -> Option<String> {
    let numbers = Gramine::NEWEST.version;
    if target == Target::Sgx && Gramine::said(version) != Some(Gramine::NEWEST) {
        return Some(format!(
            "this Gramine is {version}, but the enclaves were measured as for {numbers}: compare each MRENCLAVE with the output of its gramine-sgx-sign"
        ));
    }
    (version == gramine_files::UNKNOWN).then(|| {
        "the version of this Gramine is unknown: no program of the installation states it".to_owned()
    })
}

/// The federation's name as container engines take it: letters and digits, single separators between them.
pub(super) fn image_name(federation: &Name) -> String {
    let mut name = String::new();
    for letter in federation.as_str().chars() {
        match letter {
            '-' | '_' | '.' if name.ends_with(['-', '_', '.']) => {}
            letter => name.push(letter),
        }
    }
    name.trim_end_matches(['-', '_', '.']).to_owned()
}

fn progress(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes);
    if let Ok(style) = ProgressStyle::with_template("packing {wide_bar} {bytes} of {total_bytes}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
