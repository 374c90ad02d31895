//! The manifests of an image's roles: rendered for its own files, and for an enclave measured and signed.

use fl_engine::{aggregate::Footprint, plan::Plan};
use fl_launcher::image::{FOLDER, GRAMINE, RUNTIME, Role, Target};
use fl_runtime::{image as carried, trust};

use super::{
    contents::{Contents, PLAIN, in_workspace},
    record::{Enclave, ImageRecord},
};
use crate::{
    exit::Failure,
    sgx::{
        self, Date, SigningKey, Sigstruct,
        gramine_version::Gramine,
        roles::{self, Paths, RoleManifest},
        trusted_files::Known,
    },
};

/// What manifests are made with.
pub(super) struct Making<'a> {
    pub(super) target: Target,
    pub(super) plan: &'a Plan,
    pub(super) footprint: &'a Footprint,
    /// The bytes of the target's `libpal.so`.
    pub(super) libpal: &'a [u8],
    /// For an enclave.
    pub(super) key: Option<&'a SigningKey>,
    pub(super) svn: u16,
    pub(super) edmm: bool,
    pub(super) date: Date,
}

/// Makes both roles' manifests of the files in `all`, puts them into `contents`, and tells `record` of them. Answers with
/// each role's record.
pub(super) fn put(
    making: &Making<'_>,
    all: &Contents,
    contents: &mut Contents,
    record: &mut ImageRecord,
) -> Result<Vec<sgx::record::EnclaveRecord>, Failure> {
    let gramine = Gramine::NEWEST;
    let files = Known(all.hashes());
    let model = in_workspace(carried::INITIAL_MODEL);
    let paths = Paths {
        program: format!("/{RUNTIME}"),
        plan: format!("/{}", in_workspace(carried::PLAN)),
        ca: format!("/{}", in_workspace(carried::CA)),
        model: all.get(&model).map(|_| format!("/{model}")),
        gramine: format!("/{GRAMINE}"),
    };
    let (mut records, mut signer) = (Vec::new(), None);
    for part in &mut record.roles {
        let made = RoleManifest {
            role: match part.role {
                Role::Aggregator => trust::Role::Aggregator,
                Role::Collaborator => trust::Role::Collaborator,
            },
            target: making.target,
            plan: making.plan,
            footprint: making.footprint,
            paths: &paths,
            svn: making.svn,
            edmm: making.edmm,
        };
        let rendered = roles::render(&made, &files, &gramine)?;
        part.trusted = rendered
            .trusted
            .iter()
            .map(|trusted| (trusted.uri.trim_start_matches("file:").to_owned(), trusted.sha256))
            .collect();
        let word = part.role.word();
        let inside = |extension: &str| format!("{FOLDER}/{word}.{extension}");
        let text = rendered.text;
        match making.target {
            Target::Sgx => {
                let measured = sgx::measure_bytes(&text, word, making.libpal, &gramine)?;
                part.enclave = Some(Enclave {
                    measurement: measured.measurement,
                    product: measured.attributes.product,
                    svn: measured.attributes.svn,
                });
                let mut kept =
                    sgx::record::EnclaveRecord::of(&measured, &text, &gramine).with_plan(making.plan);
                kept.role = Some(word.to_owned());
                if let Some(key) = making.key {
                    let signed =
                        Sigstruct::sign(key, &measured.attributes, &measured.measurement, making.date)?;
                    contents.file(&inside("sig"), PLAIN, signed.bytes().to_vec());
                    signer = Some(key.signer());
                    kept.signer = signer;
                }
                contents.file(&inside("manifest.sgx"), PLAIN, text.into_bytes());
                records.push(kept);
            }
            _ => contents.file(&inside("manifest"), PLAIN, text.into_bytes()),
        }
    }
    record.signer = signer;
    Ok(records)
}
