//! What is known of an image before it runs: `W.measurement.json` and the image's labels.
//!
//! Beside Gramine's own files, a role trusts the binary, the plan, the CA's certificate, and the initial
//! model if it was imported. An enclave's measurement covers these files.

use fl_engine::{Digest, Name};
use fl_launcher::image::{Role, Target};
use serde_json::{Map, Value, json};

use super::{oci::OciImage, programs::Build};
use crate::sgx::record::EnclaveRecord;

/// What is in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRecord {
    /// The federation.
    pub federation: Name,
    /// The plan's hash.
    pub plan: Digest,
    /// The CA's.
    pub ca: Digest,
    /// What the roles run in.
    pub target: Target,
    /// SHA-256 of the runtime's binary.
    pub binary: Digest,
    /// What its build states about it.
    pub build: Build,
    /// For each role, its trusted files and its enclave.
    pub roles: Vec<RoleRecord>,
    /// SHA-256 of the signer's public key, for an enclave.
    pub signer: Option<Digest>,
    /// The version of Gramine that the installation states, or `unknown`; `None` for the native target.
    pub gramine: Option<String>,
}

/// One role's part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleRecord {
    /// Which.
    pub role: Role,
    /// Path and SHA-256 of each trusted file.
    pub trusted: Vec<(String, Digest)>,
    /// The enclave.
    pub enclave: Option<Enclave>,
}

/// What an enclave's attestation will state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enclave {
    /// MRENCLAVE.
    pub measurement: Digest,
    /// ISVPRODID.
    pub product: u16,
    /// ISVSVN.
    pub svn: u16,
}

impl ImageRecord {
    /// The image's labels: an object of texts.
    #[must_use]
    pub fn labels(&self) -> Value {
        let mut labels = Map::new();
        let mut add = |key: &str, value: String| labels.insert(key.to_owned(), Value::String(value));
        add(label::TITLE, format!("fl-runtime of {}", self.federation));
        add(label::LICENCES, "Apache-2.0".to_owned());
        add(label::FEDERATION, self.federation.to_string());
        add(label::PLAN, self.plan.to_string());
        add(label::CA, self.ca.to_string());
        add(label::TARGET, self.target.word().to_owned());
        add(label::BINARY, self.binary.to_string());
        add(label::MADE_BY, format!("fl-host {}", fl_runtime::internal::version::VERSION));
        let build = &self.build;
        for (key, value) in [
            (label::VERSION, &build.version),
            (label::COMMIT, &build.commit),
            (label::TOOLCHAIN, &build.toolchain),
            (label::ROUTE, &build.route),
            (label::GRAMINE, &self.gramine),
        ] {
            if let Some(value) = value {
                add(key, value.clone());
            }
        }
        if let Some(signer) = &self.signer {
            add(label::MRSIGNER, signer.to_string());
        }
        for role in &self.roles {
            if let Some(enclave) = &role.enclave {
                let word = role.role.word();
                add(&format!("{}.{word}", label::MRENCLAVE), enclave.measurement.to_string());
                add(&format!("{}.{word}", label::PRODUCT), enclave.product.to_string());
                add(&format!("{}.{word}", label::SVN), enclave.svn.to_string());
            }
        }
        Value::Object(labels)
    }

    /// `W.measurement.json`.
    pub(super) fn json(&self, packed: &OciImage, archive: Digest, enclaves: &[EnclaveRecord]) -> Value {
        let roles: Map<String, Value> = self
            .roles
            .iter()
            .map(|role| {
                let trusted: Vec<Value> = role
                    .trusted
                    .iter()
                    .map(|(path, hash)| json!({"path": path, "sha256": hash.to_string()}))
                    .collect();
                let enclave = role.enclave.as_ref();
                let value = json!({
                    "mrenclave": enclave.map(|e| e.measurement.to_string()),
                    "isv_prod_id": enclave.map(|e| e.product),
                    "isv_svn": enclave.map(|e| e.svn),
                    "trusted": trusted,
                });
                (role.role.word().to_owned(), value)
            })
            .collect();
        json!({
            "schema": 1,
            "federation": self.federation.as_str(),
            "plan": self.plan.to_string(),
            "ca": self.ca.to_string(),
            "target": self.target.word(),
            "mrsigner": self.signer.map(|signer| signer.to_string()),
            "roles": roles,
            "gramine": self.gramine,
            // What `fl-host sgx explain` compares.
            "enclaves": enclaves.iter().map(EnclaveRecord::to_json).collect::<Vec<_>>(),
            "binary": {
                "sha256": self.binary.to_string(),
                "version": self.build.version,
                "commit": self.build.commit,
                "toolchain": self.build.toolchain,
                "route": self.build.route,
                "canonical_route": CANONICAL_ROUTE,
            },
            "image": packed.id().to_string(),
            "archive": archive.to_string(),
        })
    }
}

/// The build route whose measurement is published. The binary of the other route has other bytes.
pub const CANONICAL_ROUTE: &str = "rustup";

/// Keys of the labels. Those of an enclave end with a dot and the role.
pub mod label {
    /// For people.
    pub const TITLE: &str = "org.opencontainers.image.title";
    /// Of fl-runtime itself; those of its parts are in the image.
    pub const LICENCES: &str = "org.opencontainers.image.licenses";
    /// The runtime's version.
    pub const VERSION: &str = "org.opencontainers.image.version";
    /// The runtime's commit.
    pub const COMMIT: &str = "org.opencontainers.image.revision";
    /// The federation.
    pub const FEDERATION: &str = "fl.federation";
    /// The plan's hash.
    pub const PLAN: &str = "fl.plan";
    /// The CA's.
    pub const CA: &str = "fl.ca";
    /// `native`, `direct`, `sgx`.
    pub const TARGET: &str = "fl.target";
    /// SHA-256 of the runtime's binary.
    pub const BINARY: &str = "fl.binary";
    /// Its compiler.
    pub const TOOLCHAIN: &str = "fl.toolchain";
    /// The route of `ci/build-static`.
    pub const ROUTE: &str = "fl.route";
    /// Version and commit of Gramine, or `unknown`.
    pub const GRAMINE: &str = "fl.gramine";
    /// The program that made the image.
    pub const MADE_BY: &str = "fl.made-by";
    /// SHA-256 of the signer's public key.
    pub const MRSIGNER: &str = "fl.mrsigner";
    /// A role's enclave.
    pub const MRENCLAVE: &str = "fl.mrenclave";
    /// A role's product.
    pub const PRODUCT: &str = "fl.isv-prod-id";
    /// A role's security version.
    pub const SVN: &str = "fl.isv-svn";
}
