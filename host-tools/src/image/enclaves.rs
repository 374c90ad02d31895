//! The third stage: the manifests of the image's roles, rendered for the image's own files, and for enclaves
//! measured and signed. An image for the native target has no manifest: its record only lists the files that
//! the image fixes.

use std::collections::BTreeMap;

use fl_engine::Digest;
use fl_launcher::image::{FOLDER, GRAMINE, RUNTIME, Role};
use fl_runtime::internal::{image_layout, trust};

use super::{
    contents::{PLAIN, in_workspace},
    inputs::Inputs,
    layers::Layers,
    record::{Enclave, RoleRecord},
};
use crate::{
    exit::Failure,
    plan,
    sgx::{
        self, Sigstruct,
        gramine_version::Gramine,
        record::EnclaveRecord,
        roles::{self, Paths, RoleManifest},
        trusted_files::Known,
    },
};

/// The layers with their manifests and signatures, and what is known of each role.
pub(super) struct Enclaves {
    pub(super) layers: Layers,
    pub(super) roles: Vec<RoleRecord>,
    /// For `fl-host sgx explain`; empty without enclaves.
    pub(super) records: Vec<EnclaveRecord>,
}

impl Enclaves {
    /// Renders each role's manifest and, with a key, measures and signs its enclave.
    ///
    /// # Errors
    /// As [`roles::render`], [`sgx::measure_bytes`] and [`Sigstruct::sign`].
    pub(super) fn of(inputs: &Inputs<'_>, mut layers: Layers) -> Result<Self, Failure> {
        let hashes = layers.stacked().hashes();
        let Some(installation) = &layers.gramine else {
            let role = |role| RoleRecord { role, trusted: fixed_files(&hashes), enclave: None };
            return Ok(Self { layers, roles: Role::ALL.map(role).to_vec(), records: Vec::new() });
        };
        let (plan, request, gramine) = (&inputs.loaded.plan, inputs.request, Gramine::NEWEST);
        let footprint = plan::memory(&inputs.loaded);
        let paths = paths(&hashes);
        let known = Known(hashes);
        let (mut parts, mut records) = (Vec::new(), Vec::new());
        for role in Role::ALL {
            let made = RoleManifest {
                role: match role {
                    Role::Aggregator => trust::Role::Aggregator,
                    Role::Collaborator => trust::Role::Collaborator,
                },
                target: request.target,
                plan,
                footprint: &footprint,
                paths: &paths,
                svn: request.svn,
                edmm: request.edmm,
            };
            let rendered = roles::render(&made, &known, &gramine)?;
            let path = |uri: &str| uri.trim_start_matches("file:").to_owned();
            let trusted =
                rendered.trusted.iter().map(|trusted| (path(&trusted.uri), trusted.sha256)).collect();
            let word = role.word();
            let mut put = |extension: &str, bytes: &[u8]| {
                layers.upper.file(&format!("{FOLDER}/{word}.{extension}"), PLAIN, bytes.to_vec());
            };
            let enclave = match &inputs.key {
                None => {
                    put("manifest", rendered.text.as_bytes());
                    None
                }
                Some(key) => {
                    let measured = sgx::measure_bytes(&rendered.text, word, &installation.libpal, &gramine)?;
                    let (measurement, attributes) = (measured.measurement, &measured.attributes);
                    let signed = Sigstruct::sign(key, attributes, &measurement, request.date)?;
                    put("sig", signed.bytes());
                    put("manifest.sgx", rendered.text.as_bytes());
                    records.push(EnclaveRecord {
                        role: Some(word.to_owned()),
                        signer: Some(key.signer()),
                        ..EnclaveRecord::of(&measured, &rendered.text, &gramine).with_plan(plan)
                    });
                    Some(Enclave { measurement, product: attributes.product, svn: attributes.svn })
                }
            };
            parts.push(RoleRecord { role, trusted, enclave });
        }
        Ok(Self { layers, roles: parts, records })
    }
}

/// Where manifests find the image's files.
fn paths(hashes: &BTreeMap<String, Digest>) -> Paths {
    let [plan, ca, model] = CARRIED.map(|name| format!("/{}", in_workspace(name)));
    Paths {
        program: format!("/{RUNTIME}"),
        plan,
        ca,
        model: hashes.contains_key(&model).then_some(model),
        gramine: format!("/{GRAMINE}"),
    }
}

/// The files that the image fixes for every role, with their hashes.
fn fixed_files(hashes: &BTreeMap<String, Digest>) -> Vec<(String, Digest)> {
    let carried = CARRIED.map(|name| format!("/{}", in_workspace(name)));
    let all = std::iter::once(format!("/{RUNTIME}")).chain(carried);
    all.filter_map(|path| hashes.get(&path).map(|hash| (path.clone(), *hash))).collect()
}

/// The files of the workspace that an image fixes.
const CARRIED: [&str; 3] = [image_layout::PLAN, image_layout::CA, image_layout::INITIAL_MODEL];
