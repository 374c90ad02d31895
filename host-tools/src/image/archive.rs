//! Layers as files: the docker-archive that `docker load` and `podman load` take, and an OCI layout.
//!
//! Both are made of the same layers and the same configuration, so that the image has one identity: the SHA-256 of its
//! configuration.

use std::{fs, io::Write as _, path::Path};

use fl_engine::Digest;
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use tar::{Builder, EntryType};

use super::contents::{self, PLAIN};
use crate::{
    exit::{Exit, Failure},
    workspace,
};

/// An image, ready to be written.
#[derive(Clone, Debug)]
pub struct Packed {
    config: Vec<u8>,
    /// Digest of the bytes, and the bytes: uncompressed tars.
    layers: Vec<(Digest, Vec<u8>)>,
}

impl Packed {
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

    /// The docker-archive, compressed; `done` hears of bytes that went in.
    ///
    /// # Errors
    /// [`Exit::Failed`].
    pub fn docker_archive(&self, name: &str, done: &mut dyn FnMut(u64)) -> Result<Vec<u8>, Failure> {
        let config = format!("{}.json", self.id());
        let layers: Vec<String> = self.layers.iter().map(|(digest, _)| format!("{digest}.tar")).collect();
        let manifest = json!([{"Config": config, "RepoTags": [format!("{name}:latest")], "Layers": layers}]);
        let mut builder = Builder::new(Vec::new());
        let mut add =
            |file: &str, bytes: &[u8]| contents::append(&mut builder, file, EntryType::Regular, PLAIN, bytes);
        // Whoever streams the archive knows what is in it before the layers come.
        add("manifest.json", manifest.to_string().as_bytes())?;
        add(&config, &self.config)?;
        for (file, (_, bytes)) in layers.iter().zip(&self.layers) {
            add(file, bytes)?;
        }
        let tar = builder.into_inner().map_err(|e| Failure::of(Exit::Failed, &e))?;
        compressed(&tar, done)
    }

    /// Writes an OCI layout into `folder`, which is made.
    ///
    /// # Errors
    /// [`Exit::File`] for a folder that holds something, or cannot be written to.
    pub fn oci_layout(&self, folder: &Path, name: &str, done: &mut dyn FnMut(u64)) -> Result<(), Failure> {
        if folder.exists() && !fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none()) {
            let error = format!("{} is not an empty folder", folder.display());
            return Err(Failure::new(Exit::File, error).hint("name a new folder with --oci"));
        }
        let blobs = folder.join("blobs/sha256");
        fs::create_dir_all(&blobs)
            .map_err(|e| Failure::new(Exit::File, format!("cannot make {}: {e}", blobs.display())))?;
        let blob = |media: &str, bytes: &[u8]| -> Result<Value, Failure> {
            let digest = Digest::of(bytes);
            workspace::replace(&blobs.join(digest.to_string()), bytes)?;
            Ok(json!({"mediaType": media, "digest": format!("sha256:{digest}"), "size": bytes.len()}))
        };
        let mut layers = Vec::new();
        for (_, bytes) in &self.layers {
            layers.push(blob("application/vnd.oci.image.layer.v1.tar+gzip", &compressed(bytes, done)?)?);
        }
        let config = blob("application/vnd.oci.image.config.v1+json", &self.config)?;
        let media = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({"schemaVersion": 2, "mediaType": media, "config": config, "layers": layers});
        let mut manifest = blob(media, manifest.to_string().as_bytes())?;
        manifest["annotations"] = json!({"org.opencontainers.image.ref.name": format!("{name}:latest")});
        let index = json!({"schemaVersion": 2, "manifests": [manifest]});
        workspace::replace(&folder.join("index.json"), index.to_string().as_bytes())?;
        workspace::replace(&folder.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)
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

/// Images have no time: the same inputs are the same bytes.
const EPOCH: &str = "1970-01-01T00:00:00Z";
const HISTORY: [&str; 2] =
    ["fl-host workspace dockerize: programs", "fl-host workspace dockerize: federation"];
/// RFC 1952, section 2.3.1.
const UNKNOWN: u8 = 255;
/// A binary shrinks by another percent at 9, for twice the time.
const LEVEL: u32 = 6;
/// Between two steps of the progress bar.
const PIECE: usize = 1 << 20;
