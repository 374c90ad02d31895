//! `fl-host image inspect`: checks an archive's labels against its contents.
//!
//! The archive may come from anywhere: each label is computed again from the contents, nothing is written,
//! and the unpacked size is bounded. The archive is read twice as a stream. Memory holds the digest of each
//! file, and the few small files that labels are computed from.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    path::Path,
};

use fl_engine::{Digest, limits, plan::Plan};
use fl_launcher::image::{FOLDER, GRAMINE, RUNTIME, Role};
use fl_runtime::internal::{image_layout, trust::Authority};
use ring::digest::{Context, SHA256};
use serde_json::Value;

use super::{
    contents::in_workspace,
    gramine_files,
    record::label,
    tarball::{self, Bounds, Kind, whole},
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
    /// The image's files, as a container sees them.
    pub contents: ImageFiles,
}

/// The files of an image or of a layer by their paths, without the first slash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageFiles(BTreeMap<String, ImageFile>);

/// A file of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFile {
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Its bytes, where a label is computed from them.
    kept: Option<Vec<u8>>,
}

impl ImageFiles {
    /// Every file's path, in order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The SHA-256 of a file.
    #[must_use]
    pub fn digest(&self, path: &str) -> Option<Digest> {
        self.0.get(path).map(|file| file.digest)
    }

    /// The bytes of a file from which labels are computed.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&[u8]> {
        self.0.get(path)?.kept.as_deref()
    }
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
    let refused = |why: String| {
        Failure::new(Exit::File, format!("{shown} is not the archive of an image: {why}"))
            .hint("give an archive that `fl-host workspace dockerize` or `docker save` wrote")
    };
    let unread = |e: io::Error| Failure::new(Exit::File, format!("cannot read {shown}: {e}"));
    let pass = |take: &mut Take<'_>| {
        tarball::each(tarball::open(path).map_err(unread)?, PARTS, take).map_err(refused)
    };

    // The manifest may stand behind the parts that it names.
    let mut manifest = None;
    pass(&mut |member, contents| {
        if member.path == "manifest.json" {
            manifest = Some(whole(member, contents, TEXT_BYTES)?);
        }
        Ok(())
    })?;
    let manifest: Value = manifest
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or_else(|| refused("the archive has no manifest.json".to_owned()))?;
    let named = Named::of(&manifest).map_err(|why| refused(why.to_owned()))?;

    let (mut config, mut layers, mut room) =
        (None, BTreeMap::new(), Room { members: 10_000, kept: 64 << 20 });
    pass(&mut |member, contents| {
        let path = member.path.trim_start_matches("./");
        if path == named.config {
            config = Some(whole(member, contents, TEXT_BYTES)?);
        } else if named.layers.contains(&path) {
            layers.insert(path.to_owned(), Layer::read(member.size, contents, &mut room)?);
        }
        Ok(())
    })?;
    let config = config.ok_or_else(|| refused("the image's configuration is missing".to_owned()))?;
    let settings: Value = serde_json::from_slice(&config)
        .map_err(|_| refused("the image's configuration is not JSON".to_owned()))?;
    let mut contents = ImageFiles::default();
    let (mut layer_bytes, mut diff_ids) = (0, Vec::new());
    for name in &named.layers {
        let layer = layers.get(*name).ok_or_else(|| refused("a layer of the image is missing".to_owned()))?;
        layer_bytes += layer.bytes;
        diff_ids.push(format!("sha256:{}", layer.digest));
        // As a container engine stacks layers.
        contents.0.extend(layer.files.0.clone());
    }
    if settings["rootfs"]["diff_ids"] != serde_json::json!(diff_ids) {
        return Err(refused("the image's layers differ from those in the image's configuration".to_owned()));
    }
    let labels: BTreeMap<String, String> = settings["config"]["Labels"]
        .as_object()
        .map(|labels| {
            labels.iter().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
        })
        .unwrap_or_default();
    let checks = checks(&contents, &labels)?;
    Ok(Inspected {
        name: named.tag.map(str::to_owned),
        id: Digest::of(&config),
        archive: sgx::trusted_files::hash(path).map_err(unread)?,
        layer_bytes,
        files: contents.0.len(),
        labels,
        checks,
        contents,
    })
}

/// What is done with each part of an archive.
type Take<'a> = dyn FnMut(&tarball::Member, &mut dyn Read) -> Result<(), String> + 'a;

/// The parts of an archive that its manifest names.
struct Named<'a> {
    tag: Option<&'a str>,
    config: &'a str,
    /// The lowest first.
    layers: Vec<&'a str>,
}

impl<'a> Named<'a> {
    fn of(manifest: &'a Value) -> Result<Self, &'static str> {
        let image = manifest.get(0).ok_or("the archive's manifest.json lists no image")?;
        let config = image["Config"].as_str().ok_or("the image's configuration is missing")?;
        let layers = image["Layers"].as_array().ok_or("the archive's manifest.json lists no layers")?;
        let layers: Option<Vec<&str>> = layers.iter().map(Value::as_str).collect();
        let layers = layers
            .filter(|layers| layers.len() <= MOST_LAYERS)
            .ok_or("the archive's manifest.json lists too many layers")?;
        Ok(Self { tag: image["RepoTags"][0].as_str(), config, layers })
    }
}

/// What may still be held of all layers together.
struct Room {
    /// Files and folders.
    members: usize,
    /// Bytes of files from which labels are computed.
    kept: usize,
}

/// A layer that was read.
struct Layer {
    digest: Digest,
    bytes: u64,
    files: ImageFiles,
}

impl Layer {
    fn read(bytes: u64, contents: &mut dyn Read, room: &mut Room) -> Result<Self, String> {
        let mut hashed = Hashed { reader: contents, context: Context::new(&SHA256) };
        let mut files = BTreeMap::new();
        tarball::each(&mut hashed, Bounds { bytes, members: room.members }, &mut |member, contents| {
            let path = member.path.trim_start_matches("./");
            room.members -= 1;
            match member.kind {
                Kind::Folder => {}
                Kind::File => {
                    let file = ImageFile::read(path, member, contents)?;
                    let held = file.kept.as_ref().map_or(0, Vec::len);
                    room.kept = room
                        .kept
                        .checked_sub(held)
                        .ok_or("its layers replace each other's files too often")?;
                    files.insert(path.to_owned(), file);
                }
                Kind::Other => return Err(format!("{path:?} is neither a file nor a folder")),
            }
            Ok(())
        })?;
        Ok(Self { digest: hashed.digest(), bytes, files: ImageFiles(files) })
    }
}

impl ImageFile {
    fn read(path: &str, member: &tarball::Member, contents: &mut dyn Read) -> Result<Self, String> {
        if let Some(most) = most_bytes(path) {
            let bytes = whole(member, contents, most)?;
            return Ok(Self { digest: Digest::of(&bytes), kept: Some(bytes) });
        }
        let mut hashed = Hashed { reader: contents, context: Context::new(&SHA256) };
        io::copy(&mut hashed, &mut io::sink()).map_err(|e| e.to_string())?;
        Ok(Self { digest: hashed.digest(), kept: None })
    }
}

/// The most bytes of a file from which labels are computed; `None` for other files.
fn most_bytes(path: &str) -> Option<usize> {
    let gramine = |name: &str| path.strip_prefix(GRAMINE).is_some_and(|rest| rest == name);
    let of_role = |role: Role| {
        let rest = path.strip_prefix(FOLDER).and_then(|rest| rest.strip_prefix('/'));
        let extension = rest.and_then(|name| name.strip_prefix(role.word()));
        matches!(extension, Some(".manifest" | ".manifest.sgx" | ".sig"))
    };
    match path {
        _ if path == in_workspace(image_layout::PLAN) => Some(limits::CANONICAL_PLAN_BYTES),
        _ if path == in_workspace(image_layout::CA) => Some(TEXT_BYTES),
        _ if gramine("/libsysdb.so") || gramine("/sgx/libpal.so") => Some(LIBRARY_BYTES),
        _ if Role::ALL.into_iter().any(of_role) => Some(TEXT_BYTES),
        _ => None,
    }
}

/// Hashes what is read through it.
struct Hashed<R> {
    reader: R,
    context: Context,
}

impl<R> Hashed<R> {
    fn digest(self) -> Digest {
        let mut digest = [0; 32];
        digest.copy_from_slice(self.context.finish().as_ref());
        Digest(digest)
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(into)?;
        self.context.update(&into[..read]);
        Ok(read)
    }
}

/// What the contents give for each label.
fn checks(contents: &ImageFiles, labels: &BTreeMap<String, String>) -> Result<Vec<Check>, Failure> {
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
    check(label::BINARY, contents.digest(RUNTIME).map_or_else(missing, |digest| digest.to_string()));
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
fn enclave_checks(role: Role, contents: &ImageFiles, labels: &BTreeMap<String, String>) -> Vec<Check> {
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
fn untrue(manifest: &str, contents: &ImageFiles, gramine: &Gramine) -> Option<String> {
    let read = || -> Result<Option<String>, Failure> {
        let manifest = Manifest::parse(manifest, "the manifest", gramine)?;
        let entry = |key: &str| manifest.value(key).and_then(|value| value.as_str().map(str::to_owned));
        let mut files: Vec<(String, String)> =
            manifest.trusted()?.into_iter().map(|t| (t.uri, t.sha256.to_string())).collect();
        files.extend(entry("loader.entrypoint.uri").zip(entry("loader.entrypoint.sha256")));
        let differs = |(uri, hash): &(String, String)| {
            let path = uri.trim_start_matches("file:").trim_start_matches('/');
            contents.digest(path).map(|digest| digest.to_string()).as_ref() != Some(hash)
        };
        Ok(files.into_iter().find(differs).map(|(uri, _)| format!("{uri} is a different file, or missing")))
    };
    read().unwrap_or_else(|failure| Some(failure.error))
}

/// Room for a model of the largest size.
const PARTS: Bounds = Bounds { members: 1000, bytes: 4 << 30 };
/// A container engine stacks no more.
const MOST_LAYERS: usize = 128;
/// Longest manifest, configuration, certificate or signature, bytes.
const TEXT_BYTES: usize = 1 << 20;
/// Longest library of Gramine's, bytes. Those of version 1.9 have 1.5 MB.
const LIBRARY_BYTES: usize = 16 << 20;
