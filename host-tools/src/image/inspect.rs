//! `fl-host image inspect`: checks an archive's labels against its contents.
//!
//! The archive may come from anywhere: each label is computed again from the contents, nothing is written,
//! and the unpacked size is bounded.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::Path,
};

use fl_engine::{Digest, plan::Plan};
use fl_launcher::image::{FOLDER, GRAMINE, RUNTIME, Role};
use fl_runtime::internal::{image_layout, trust::Authority};
use flate2::read::MultiGzDecoder;
use serde_json::Value;

use super::{
    contents::{Contents, in_workspace},
    gramine_files,
    record::label,
};
use crate::{
    exit::{Exit, Failure},
    sgx::{self, Manifest, Sigstruct, gramine_version::Gramine},
};

/// An archive that was read.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// The name that it loads under.
    pub name: Option<String>,
    /// The image's identity.
    pub id: Digest,
    /// SHA-256 of the archive.
    pub archive: Digest,
    /// Bytes of its layers.
    pub layer_bytes: u64,
    /// Number of files.
    pub files: usize,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// Each label that can be computed from the contents, with the result.
    pub checks: Vec<Check>,
    /// Everything in it.
    pub contents: Contents,
}

/// A label, and its value computed from the contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The label's key.
    pub label: String,
    /// The value that the label states.
    pub stated: Option<String>,
    /// The value that the contents give.
    pub found: String,
}

impl Check {
    /// Whether both values are the same.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.stated.as_deref() == Some(self.found.as_str())
    }
}

/// Reads a docker-archive, compressed or not.
///
/// # Errors
/// [`Exit::File`] for a file that cannot be read, or is not the archive of an image.
pub fn inspect(path: &Path) -> Result<Inspected, Failure> {
    let shown = path.display();
    let refused = |why: &str| {
        Failure::new(Exit::File, format!("{shown} is not the archive of an image: {why}"))
            .hint("give an archive that `fl-host workspace dockerize` or `docker save` wrote")
    };
    let unread = |e: &io::Error| Failure::new(Exit::File, format!("cannot read {shown}: {e}"));
    let archive = sgx::trusted_files::hash(path).map_err(|e| unread(&e))?;
    let mut file = File::open(path).map_err(|e| unread(&e))?;
    let mut magic = [0; 2];
    let compressed = file.read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b];
    let file = File::open(path).map_err(|e| unread(&e))?;
    let parts = match compressed {
        true => unpack(MultiGzDecoder::new(file)),
        false => unpack(file),
    };
    let parts = parts.map_err(|why| refused(&why))?;

    let manifest: Value = parts
        .get("manifest.json")
        .and_then(|bytes| serde_json::from_slice(bytes).ok())
        .ok_or_else(|| refused("the archive has no manifest.json"))?;
    let image = manifest.get(0).ok_or_else(|| refused("the archive's manifest.json lists no image"))?;
    let part = |name: Option<&str>| name.and_then(|name| parts.get(name));
    let config =
        part(image["Config"].as_str()).ok_or_else(|| refused("the image's configuration is missing"))?;
    let settings: Value =
        serde_json::from_slice(config).map_err(|_| refused("the image's configuration is not JSON"))?;
    let mut contents = Contents::default();
    let (mut layer_bytes, mut layers) = (0, Vec::new());
    for name in
        image["Layers"].as_array().ok_or_else(|| refused("the archive's manifest.json lists no layers"))?
    {
        let layer = part(name.as_str()).ok_or_else(|| refused("a layer of the image is missing"))?;
        layer_bytes += layer.len() as u64;
        layers.push(format!("sha256:{}", Digest::of(layer)));
        contents.stack(layer_contents(layer).map_err(|why| refused(&why))?);
    }
    if settings["rootfs"]["diff_ids"] != serde_json::json!(layers) {
        return Err(refused("the image's layers differ from those in the image's configuration"));
    }
    let labels: BTreeMap<String, String> = settings["config"]["Labels"]
        .as_object()
        .map(|labels| {
            labels.iter().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
        })
        .unwrap_or_default();
    let checks = checks(&contents, &labels)?;
    Ok(Inspected {
        name: image["RepoTags"][0].as_str().map(str::to_owned),
        id: Digest::of(config),
        archive,
        layer_bytes,
        files: contents.files().count(),
        labels,
        checks,
        contents,
    })
}

/// What the contents give for each label.
fn checks(contents: &Contents, labels: &BTreeMap<String, String>) -> Result<Vec<Check>, Failure> {
    let mut checks = Vec::new();
    let mut check = |label: &str, found: String| {
        checks.push(Check { label: label.to_owned(), stated: labels.get(label).cloned(), found });
    };
    let get = |name: &str| contents.get(&in_workspace(name));
    let missing = || "not in the image".to_owned();
    let plan = get(image_layout::PLAN).map(Plan::from_canonical);
    check(
        label::PLAN,
        match &plan {
            Some(Ok(plan)) => plan.hash().to_string(),
            Some(Err(error)) => error.to_string(),
            None => missing(),
        },
    );
    if let Some(Ok(plan)) = &plan {
        check(label::FEDERATION, plan.federation.to_string());
    }
    check(
        label::CA,
        match get(image_layout::CA).map(Authority::from_pem) {
            Some(Ok(authority)) => authority.digest().to_string(),
            Some(Err(error)) => error.to_string(),
            None => missing(),
        },
    );
    check(label::BINARY, contents.get(RUNTIME).map_or_else(missing, |binary| Digest::of(binary).to_string()));
    if let Some(libos) = contents.get(&format!("{GRAMINE}/libsysdb.so")) {
        let stated = labels.get(label::GRAMINE).map_or("", String::as_str);
        let holds = stated == gramine_files::UNKNOWN || gramine_files::is_of(stated, libos);
        check(
            label::GRAMINE,
            if holds { stated.to_owned() } else { "a libsysdb.so of another version".to_owned() },
        );
    }
    for role in Role::ALL {
        checks.extend(enclave_checks(role, contents, labels));
    }
    Ok(checks)
}

/// The checks of a role's manifest: its trusted files and its measurement against the image's files.
fn enclave_checks(role: Role, contents: &Contents, labels: &BTreeMap<String, String>) -> Vec<Check> {
    let file = |extension: &str| contents.get(&format!("{FOLDER}/{}.{extension}", role.word()));
    let (enclave, manifest) = match (file("manifest.sgx"), file("manifest")) {
        (Some(manifest), _) => (true, manifest),
        (None, Some(manifest)) => (false, manifest),
        (None, None) => return Vec::new(),
    };
    let mut checks = Vec::new();
    let labelled = |label: &str, found: String| {
        let label = format!("{label}.{}", role.word());
        Check { stated: labels.get(&label).cloned(), label, found }
    };
    let gramine = Gramine::NEWEST;
    let text = String::from_utf8_lossy(manifest);
    let whole = "the files of the image".to_owned();
    checks.push(Check {
        label: format!("trusted files of the {}", role.word()),
        stated: Some(whole.clone()),
        found: untrue(&text, contents, &gramine).unwrap_or(whole),
    });
    if !enclave {
        return checks;
    }
    let libpal = contents.get(&format!("{GRAMINE}/sgx/libpal.so")).unwrap_or_default();
    match sgx::measure_bytes(&text, role.word(), libpal, &gramine) {
        Err(failure) => checks.push(labelled(label::MRENCLAVE, failure.error)),
        Ok(measured) => {
            checks.push(labelled(label::MRENCLAVE, measured.measurement.to_string()));
            checks.push(labelled(label::PRODUCT, measured.attributes.product.to_string()));
            checks.push(labelled(label::SVN, measured.attributes.svn.to_string()));
            let signed = Sigstruct::parse(file("sig").unwrap_or_default());
            let signature = match &signed {
                Ok(signed) if signed.measurement() != measured.measurement => {
                    "for another measurement".to_owned()
                }
                Ok(signed) if !signed.fits(&measured.attributes) => "for other attributes".to_owned(),
                Ok(_) => "good".to_owned(),
                Err(error) => error.to_string(),
            };
            let label = format!("signature of the {}", role.word());
            checks.push(Check { label, stated: Some("good".to_owned()), found: signature });
            if let Ok(signed) = signed {
                let label = label::MRSIGNER.to_owned();
                let stated = labels.get(&label).cloned();
                checks.push(Check { label, stated, found: signed.signer().to_string() });
            }
        }
    }
    checks
}

/// The first trusted file that differs from the image's file.
fn untrue(manifest: &str, contents: &Contents, gramine: &Gramine) -> Option<String> {
    let read = || -> Result<Option<String>, Failure> {
        let manifest = Manifest::parse(manifest, "the manifest", gramine)?;
        let hashes = contents.hashes();
        let entry = |key: &str| manifest.value(key).and_then(|value| value.as_str().map(str::to_owned));
        let mut files: Vec<(String, String)> =
            manifest.trusted()?.into_iter().map(|t| (t.uri, t.sha256.to_string())).collect();
        files.extend(entry("loader.entrypoint.uri").zip(entry("loader.entrypoint.sha256")));
        let differs = |(uri, hash): &(String, String)| {
            hashes.get(uri.trim_start_matches("file:")).map(Digest::to_string).as_ref() != Some(hash)
        };
        Ok(files.into_iter().find(differs).map(|(uri, _)| format!("{uri} is a different file, or missing")))
    };
    read().unwrap_or_else(|failure| Some(failure.error))
}

/// A tar's files by their names.
fn unpack(reader: impl Read) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let mut parts = BTreeMap::new();
    let mut archive = tar::Archive::new(reader.take(MOST_BYTES));
    for entry in archive.entries().map_err(|e| e.to_string())? {
        let mut entry = entry.map_err(|e| e.to_string())?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = name_of(&entry)?;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(|e| e.to_string())?;
        if parts.len() >= MOST_FILES {
            return Err(format!("the archive contains more than {MOST_FILES} files"));
        }
        parts.insert(name, bytes);
    }
    Ok(parts)
}

fn layer_contents(layer: &[u8]) -> Result<Contents, String> {
    let mut contents = Contents::default();
    let mut archive = tar::Archive::new(layer);
    for entry in archive.entries().map_err(|e| e.to_string())? {
        let mut entry = entry.map_err(|e| e.to_string())?;
        let name = name_of(&entry)?;
        let mode = entry.header().mode().map_err(|e| e.to_string())?;
        match entry.header().entry_type() {
            tar::EntryType::Directory => contents.folder(name.trim_end_matches('/'), mode),
            kind if kind.is_file() => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).map_err(|e| e.to_string())?;
                contents.file(&name, mode, bytes);
            }
            _ => return Err(format!("{name} is neither a file nor a folder")),
        }
    }
    Ok(contents)
}

fn name_of(entry: &tar::Entry<'_, impl Read>) -> Result<String, String> {
    let path = entry.path().map_err(|e| e.to_string())?;
    path.to_str()
        .map(|path| path.trim_start_matches("./").to_owned())
        .ok_or_else(|| "the archive contains a name that is not UTF-8".to_owned())
}

/// Most bytes, unpacked: room for a model of the largest size.
const MOST_BYTES: u64 = 4 << 30;
const MOST_FILES: usize = 1000;
