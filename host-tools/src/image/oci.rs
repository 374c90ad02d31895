//! Layers as files: the docker-archive that `docker load` and `podman load` take, and an OCI layout.
//!
//! Both have the same layers and the same configuration, so the image has one identity: the SHA-256 of its
//! configuration.

use std::{io::Write as _, path::Path};

use fl_engine::Digest;
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use tar::{Builder, EntryType};

use super::contents::{self, PLAIN};
use crate::{
    exit::{Exit, Failure},
    files,
};

/// An image, ready to be written.
#[derive(Clone, Debug)]
pub struct OciImage {
    config: Vec<u8>,
    /// Digest of the bytes, and the bytes: uncompressed tars.
    layers: Vec<(Digest, Vec<u8>)>,
}

impl OciImage {
    /// Layers, the lowest first, under a configuration with these labels (an object of texts).
    #[must_use]
    pub fn new(layers: Vec<Vec<u8>>, labels: &Value) -> Self {
        let layers: Vec<(Digest, Vec<u8>)> =
            layers.into_iter().map(|bytes| (Digest::of(&bytes), bytes)).collect();
        let diff_ids: Vec<String> = layers.iter().map(|(digest, _)| format!("sha256:{digest}")).collect();
        let history: Vec<Value> = HISTORY
            .iter()
            .take(layers.len())
            .map(|words| json!({"created": EPOCH, "created_by": words}))
            .collect();
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "created": EPOCH,
            "config": {
                "Entrypoint": [format!("/{}", fl_launcher::image::LAUNCHER)],
                "Cmd": ["aggregator", "start"],
                "WorkingDir": format!("/{}", fl_launcher::image::WORKSPACE),
                "Env": ["PATH=/fl"],
                "StopSignal": "SIGTERM",
                "Labels": labels,
            },
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": history,
        });
        Self { config: config.to_string().into_bytes(), layers }
    }

    /// The image's identity.
    #[must_use]
    pub fn id(&self) -> Digest {
        Digest::of(&self.config)
    }

    /// Bytes of all layers.
    #[must_use]
    pub fn layer_bytes(&self) -> u64 {
        self.layers.iter().map(|(_, bytes)| bytes.len() as u64).sum()
    }

    /// The compressed archive. `done` is called with the number of bytes that were compressed since its last
    /// call. The archive is a docker-archive and an OCI archive at once, as `docker save` writes them,
    /// because some engines read only one of the two when it is compressed.
    ///
    /// # Errors
    /// [`Exit::Failed`].
    pub fn docker_archive(&self, name: &str, done: &mut dyn FnMut(u64)) -> Result<Vec<u8>, Failure> {
        let layers: Vec<Blob<'_>> = self.layers.iter().map(|(_, bytes)| Blob::of(LAYER, bytes)).collect();
        let layout = self.layout(&layers, name);
        let paths: Vec<String> = layers.iter().map(Blob::path).collect();
        let config = Blob::of(CONFIG, &self.config);
        let manifest =
            json!([{"Config": config.path(), "RepoTags": [format!("{name}:latest")], "Layers": paths}]);
        let mut builder = Builder::new(Vec::new());
        let mut add =
            |file: &str, bytes: &[u8]| contents::append(&mut builder, file, EntryType::Regular, PLAIN, bytes);
        // These come before the layers, so that a program that reads the archive as a stream knows the
        // layers' names.
        add("manifest.json", manifest.to_string().as_bytes())?;
        for (file, bytes) in &layout {
            add(file, bytes)?;
        }
        for layer in &layers {
            add(&layer.path(), layer.bytes)?;
        }
        let tar = builder.into_inner().map_err(|e| Failure::of(Exit::Failed, &e))?;
        compressed(&tar, done)
    }

    /// Writes an OCI layout into `folder`, which is made.
    ///
    /// # Errors
    /// [`Exit::File`] for a folder that is not empty, or cannot be written to.
    pub fn oci_layout(&self, folder: &Path, name: &str, done: &mut dyn FnMut(u64)) -> Result<(), Failure> {
        if !files::is_free(folder) {
            let error = format!("{} is not an empty folder", folder.display());
            return Err(Failure::new(Exit::File, error).hint("give another folder with --oci"));
        }
        files::make_folder(&folder.join("blobs/sha256"))?;
        // Registries keep layers compressed.
        let mut packed = Vec::new();
        for (_, bytes) in &self.layers {
            packed.push(compressed(bytes, done)?);
        }
        let layers: Vec<Blob<'_>> = packed.iter().map(|bytes| Blob::of(LAYER_GZIP, bytes)).collect();
        for layer in &layers {
            files::replace(&folder.join(layer.path()), layer.bytes)?;
        }
        for (file, bytes) in self.layout(&layers, name) {
            files::replace(&folder.join(file), &bytes)?;
        }
        Ok(())
    }

    /// The files of an OCI layout of these layers, without the layers.
    fn layout(&self, layers: &[Blob<'_>], name: &str) -> Vec<(String, Vec<u8>)> {
        let config = Blob::of(CONFIG, &self.config);
        let descriptors: Vec<Value> = layers.iter().map(Blob::descriptor).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config.descriptor(), "layers": descriptors,
        })
        .to_string()
        .into_bytes();
        let manifest = Blob::of(MANIFEST, &manifest);
        let mut descriptor = manifest.descriptor();
        descriptor["annotations"] = json!({
            "org.opencontainers.image.ref.name": format!("{name}:latest"),
            "io.containerd.image.name": format!("docker.io/library/{name}:latest"),
        });
        let index = json!({"schemaVersion": 2, "manifests": [descriptor]});
        vec![
            ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
            ("index.json".to_owned(), index.to_string().into_bytes()),
            (manifest.path(), manifest.bytes.to_vec()),
            (config.path(), config.bytes.to_vec()),
        ]
    }
}

/// A part of an image, by its digest.
struct Blob<'a> {
    media: &'static str,
    digest: Digest,
    bytes: &'a [u8],
}

impl<'a> Blob<'a> {
    fn of(media: &'static str, bytes: &'a [u8]) -> Self {
        Self { media, digest: Digest::of(bytes), bytes }
    }

    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.digest)
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": self.media, "digest": format!("sha256:{}", self.digest), "size": self.bytes.len()})
    }
}

/// gzip without time, name or operating system.
pub(crate) fn compressed(bytes: &[u8], done: &mut dyn FnMut(u64)) -> Result<Vec<u8>, Failure> {
    let failed = |e: std::io::Error| Failure::of(Exit::Failed, &e);
    let mut encoder =
        GzBuilder::new().mtime(0).operating_system(UNKNOWN).write(Vec::new(), Compression::new(LEVEL));
    for piece in bytes.chunks(PIECE) {
        encoder.write_all(piece).map_err(failed)?;
        done(piece.len() as u64);
    }
    encoder.finish().map_err(failed)
}

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Images have no time, so that the same inputs give the same bytes.
const EPOCH: &str = "1970-01-01T00:00:00Z";
const HISTORY: [&str; 2] =
    ["fl-host workspace dockerize: programs", "fl-host workspace dockerize: federation"];
/// RFC 1952, section 2.3.1.
const UNKNOWN: u8 = 255;
/// A binary shrinks by another percent at 9, for twice the time.
const LEVEL: u32 = 6;
/// Between two steps of the progress bar.
const PIECE: usize = 1 << 20;
