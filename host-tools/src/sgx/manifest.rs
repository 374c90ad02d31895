//! A manifest, from a template's text to the text that is measured.
//!
//! [`Manifest::parse`] fills in the defaults of Gramine's tool, in the same order. [`Manifest::hash_files`]
//! expands folders and hashes every trusted file. [`Manifest::text`] writes the result. [`Attributes`] are
//! the keys that decide how the enclave is built and signed.

use std::collections::BTreeMap;

use fl_engine::Digest;
use toml::{Table, Value};

use super::{
    document,
    gramine_version::Gramine,
    trusted_files::{self, Files},
};
use crate::exit::{Exit, Failure};

/// A manifest with its defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    table: Table,
}

/// A file that the enclave hashes before it reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    /// `file:` and the path.
    pub uri: String,
    /// SHA-256 of the contents.
    pub sha256: Digest,
}

/// The keys that decide how an enclave is built and signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Bytes; a power of two.
    pub enclave_size: u64,
    /// Memory on demand.
    pub edmm: bool,
    /// 1 to [`MOST_THREADS`].
    pub max_threads: u64,
    /// The host may read the enclave's memory.
    pub debug: bool,
    /// The processor reports memory faults to the enclave.
    pub exinfo: bool,
    /// Product.
    pub product: u16,
    /// Security version.
    pub svn: u16,
    /// `none` or `dcap`.
    pub attestation: String,
    /// Processor features that are on.
    pub features: u64,
    /// Processor features whose state is fixed.
    pub features_mask: u64,
}

impl Manifest {
    /// Reads a rendered template, or a finished manifest. `what` names it in errors.
    ///
    /// # Errors
    /// [`Exit::Failed`] with the place, or the key.
    pub fn parse(text: &str, what: &str, gramine: &Gramine) -> Result<Self, Failure> {
        let mut table = document::parse(text, what)?;
        let refused =
            |key: &str, need: &str| Failure::new(Exit::Failed, format!("{what}: {key} must be {need}"));
        let sgx = table.entry("sgx").or_insert_with(|| Value::Table(Table::new()));
        let sgx = sgx.as_table_mut().ok_or_else(|| refused("sgx", "a table"))?;
        let mut default = |key: &str, value: Value| {
            sgx.entry(key).or_insert(value);
        };
        default("trusted_files", Value::Array(Vec::new()));
        default("max_threads", Value::Integer(i64::try_from(gramine.default_threads).unwrap_or(i64::MAX)));
        default("isvprodid", Value::Integer(0));
        default("isvsvn", Value::Integer(0));
        default("remote_attestation", Value::String("none".into()));
        default("debug", Value::Boolean(false));
        default("enable_stats", Value::Boolean(false));
        default("edmm_enable", Value::Boolean(false));
        let edmm = sgx.get("edmm_enable").and_then(Value::as_bool).unwrap_or(false);
        let size = if edmm { gramine.default_size_edmm } else { gramine.default_size };
        let mut default = |key: &str, value: Value| {
            sgx.entry(key).or_insert(value);
        };
        default("enclave_size", Value::String(size.into()));
        default("use_exinfo", Value::Boolean(false));
        default("cpu_features", Value::Table(Table::new()));
        let features = sgx.get_mut("cpu_features").and_then(Value::as_table_mut);
        let features = features.ok_or_else(|| refused("sgx.cpu_features", "a table"))?;
        for feature in FEATURES {
            features.entry(feature.key).or_insert_with(|| Value::String(feature.default.into()));
        }
        let list = sgx.get_mut("trusted_files").and_then(Value::as_array_mut);
        let list = list.ok_or_else(|| refused("sgx.trusted_files", "an array"))?;
        for (number, entry) in list.iter_mut().enumerate() {
            let key = || format!("sgx.trusted_files[{number}]");
            match entry {
                Value::String(uri) => {
                    let uri = Value::String(std::mem::take(uri));
                    *entry = Value::Table([("uri".to_owned(), uri)].into_iter().collect());
                }
                Value::Table(table) => {
                    let known = |(k, v): (&str, &Value)| matches!(k, "uri" | "sha256") && v.is_str();
                    if !table.contains_key("uri") || !table.iter().all(|(k, v)| known((k, v))) {
                        return Err(refused(&key(), "a uri, or a table of a uri and a sha256"));
                    }
                }
                _ => return Err(refused(&key(), "a uri, or a table of a uri and a sha256")),
            }
        }
        let loader = table.entry("loader").or_insert_with(|| Value::Table(Table::new()));
        let loader = loader.as_table_mut().ok_or_else(|| refused("loader", "a table"))?;
        let entrypoint = loader.entry("entrypoint").or_insert_with(|| Value::Table(Table::new()));
        if !entrypoint.is_table() {
            return Err(refused("loader.entrypoint", "a table with a uri").hint(
                "since Gramine 1.8, write loader.entrypoint.uri = \"file:…/libsysdb.so\", and the program as libos.entrypoint",
            ));
        }
        Ok(Self { table })
    }

    /// Expands folders, and hashes the trusted files and the entry point. Hashes that the text already has
    /// are kept. `libos` is the entry point's path if the text states none.
    ///
    /// # Errors
    /// [`Exit::File`] for a missing file, [`Exit::Failed`] for an invalid URI, or two hashes for one file.
    pub fn hash_files(&mut self, files: &dyn Files, libos: Option<&str>) -> Result<(), Failure> {
        let sgx = self.table.get_mut("sgx").and_then(|sgx| sgx.get_mut("trusted_files"));
        if let Some(Value::Array(list)) = sgx {
            let mut found: Vec<(String, Option<Digest>)> = Vec::new();
            let mut places: BTreeMap<String, usize> = BTreeMap::new();
            for entry in list.iter() {
                let uri = entry.get("uri").and_then(Value::as_str).unwrap_or_default();
                let hash =
                    entry.get("sha256").and_then(Value::as_str).map(|hex| digest(uri, hex)).transpose()?;
                for (uri, hash) in trusted_files::expand(files, uri, hash)? {
                    let Some(place) = places.get(&uri) else {
                        places.insert(uri.clone(), found.len());
                        found.push((uri, hash));
                        continue;
                    };
                    let known = &mut found[*place].1;
                    if known.zip(hash).is_some_and(|(one, other)| one != other) {
                        let error = format!("{uri} is trusted twice, with different hashes");
                        return Err(Failure::new(Exit::Failed, error)
                            .hint("remove one of the two entries from sgx.trusted_files"));
                    }
                    *known = known.or(hash);
                }
            }
            let mut hashed = Vec::with_capacity(found.len());
            for (uri, hash) in found {
                let hash = match hash {
                    Some(hash) => hash,
                    None => files.sha256(trusted_files::path_of(&uri)?)?,
                };
                let pairs = [("uri".to_owned(), uri), ("sha256".to_owned(), hash.to_string())];
                hashed.push(Value::Table(pairs.map(|(k, v)| (k, Value::String(v))).into_iter().collect()));
            }
            *list = hashed;
        }
        let entrypoint = self.table.get_mut("loader").and_then(|loader| loader.get_mut("entrypoint"));
        if let Some(Value::Table(entrypoint)) = entrypoint {
            if !entrypoint.contains_key("uri") {
                let libos = libos.ok_or_else(|| {
                    Failure::new(Exit::Failed, "loader.entrypoint.uri is missing").hint(
                        "give Gramine's folder with --gramine, or write loader.entrypoint.uri = \"file:…/libsysdb.so\"",
                    )
                })?;
                entrypoint.insert("uri".into(), Value::String(format!("file:{libos}")));
            }
            if !entrypoint.contains_key("sha256") {
                let uri = entrypoint.get("uri").and_then(Value::as_str);
                let uri =
                    uri.ok_or_else(|| Failure::new(Exit::Failed, "loader.entrypoint.uri is not a text"))?;
                let hash = files.sha256(trusted_files::path_of(uri)?)?;
                entrypoint.insert("sha256".into(), Value::String(hash.to_string()));
            }
        }
        Ok(())
    }

    /// The text that is measured, in its only form.
    ///
    /// # Errors
    /// [`Exit::Failed`] for a value that no manifest has.
    pub fn text(&self) -> Result<String, Failure> {
        document::write(&self.table)
    }

    /// The files that the manifest trusts beside Gramine's own, in order.
    ///
    /// # Errors
    /// [`Exit::Failed`] when one has no hash: [`Self::hash_files`] was not called.
    pub fn trusted(&self) -> Result<Vec<Trusted>, Failure> {
        let list = self.value("sgx.trusted_files").and_then(Value::as_array);
        let one = |entry: &Value| {
            let uri = entry.get("uri").and_then(Value::as_str).unwrap_or_default();
            let hash = entry.get("sha256").and_then(Value::as_str).ok_or_else(|| {
                Failure::new(Exit::Failed, format!("the manifest has no sha256 for the trusted file {uri}"))
                    .hint("make the manifest again with `fl-host sgx manifest`, which adds the sha256 of each file")
            })?;
            Ok(Trusted { uri: uri.to_owned(), sha256: digest(uri, hash)? })
        };
        list.map(Vec::as_slice).unwrap_or_default().iter().map(one).collect()
    }

    /// Trusted files that Gramine would not check, because an allowed path covers them, with that path.
    ///
    /// # Errors
    /// As [`Self::trusted`].
    pub fn unchecked(&self) -> Result<Vec<(String, String)>, Failure> {
        let allowed = self.value("sgx.allowed_files").and_then(Value::as_array);
        let allowed: Vec<&str> = allowed.into_iter().flatten().filter_map(Value::as_str).collect();
        let covers = |folder: &str, uri: &str| {
            let rest = uri.strip_prefix(folder.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let trusted = self.trusted()?;
        let pairs = trusted.iter().filter_map(|file| {
            let found = allowed.iter().find(|folder| covers(folder, &file.uri))?;
            Some((file.uri.clone(), (*found).to_owned()))
        });
        Ok(pairs.collect())
    }

    /// The value of a key, whose parts are between dots.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&Value> {
        let mut parts = key.split('.');
        let first = self.table.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    }

    /// The whole document.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// What decides how the enclave is built and signed.
    ///
    /// # Errors
    /// [`Exit::Failed`] with the key whose value cannot be used.
    pub fn attributes(&self) -> Result<Attributes, Failure> {
        let refused = |key: &str, need: &str| {
            let found = self.value(key).map_or_else(|| "nothing".to_owned(), document::shown);
            Failure::new(Exit::Failed, format!("{key} is {found}, but must be {need}"))
        };
        let flag =
            |key: &str| self.value(key).and_then(Value::as_bool).ok_or_else(|| refused(key, "true or false"));
        let short = |key: &str| {
            let value = self.value(key).and_then(Value::as_integer);
            value.and_then(|n| u16::try_from(n).ok()).ok_or_else(|| refused(key, "0 to 65535"))
        };
        let threads = self.value("sgx.max_threads").and_then(Value::as_integer);
        let threads = threads.and_then(|n| u64::try_from(n).ok()).filter(|n| (1..=MOST_THREADS).contains(n));
        let size = self.value("sgx.enclave_size").and_then(Value::as_str).and_then(size);
        let size = size.filter(|n| n.is_power_of_two() && *n <= MOST_BYTES);
        let attestation = self.value("sgx.remote_attestation").and_then(Value::as_str);
        let (mut features, mut features_mask) = (FEATURES_ON, FEATURES_MASK);
        for feature in FEATURES {
            let key = format!("sgx.cpu_features.{}", feature.key);
            match self.value(&key).and_then(Value::as_str) {
                Some("required") => features |= feature.bits,
                Some("disabled") => features &= !feature.bits,
                Some("unspecified") if feature.default == "unspecified" => continue,
                _ if feature.default == "unspecified" => {
                    return Err(refused(&key, "\"unspecified\", \"required\" or \"disabled\""));
                }
                _ => return Err(refused(&key, "\"required\" or \"disabled\"")),
            }
            features_mask |= feature.bits;
        }
        Ok(Attributes {
            enclave_size: size.ok_or_else(|| {
                refused("sgx.enclave_size", "a text like \"512M\", a power of two of at most \"1024G\"")
            })?,
            edmm: flag("sgx.edmm_enable")?,
            max_threads: threads.ok_or_else(|| refused("sgx.max_threads", "1 to 4096"))?,
            debug: flag("sgx.debug")?,
            exinfo: flag("sgx.use_exinfo")?,
            product: short("sgx.isvprodid")?,
            svn: short("sgx.isvsvn")?,
            attestation: attestation
                .filter(|word| matches!(*word, "none" | "dcap"))
                .ok_or_else(|| refused("sgx.remote_attestation", "\"none\" or \"dcap\""))?
                .to_owned(),
            features,
            features_mask,
        })
    }
}

/// A number with a suffix of K, M or G, or none; 0x for base 16.
fn size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 10),
        b'M' => (&text[..text.len() - 1], 20),
        b'G' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let all = |radix: u32, digits: &str| digits.chars().all(|c| c.is_digit(radix)).then(|| digits.to_owned());
    let number = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(&all(16, hex)?, 16).ok()?,
        // "010" is an error in Gramine's tool, too, because its base is unclear.
        None if digits.len() > 1 && digits.starts_with('0') => return None,
        None => all(10, digits)?.parse().ok()?,
    };
    number.checked_mul(1 << shift)
}

fn digest(uri: &str, hex: &str) -> Result<Digest, Failure> {
    hex.parse().map_err(|_| {
        Failure::new(
            Exit::Failed,
            format!("the sha256 of {uri} is {hex:?}, but must be 64 hexadecimal digits"),
        )
        .hint("remove this sha256 from the manifest: `fl-host sgx manifest` adds the right one")
    })
}

/// A group of processor features that a manifest names.
struct Feature {
    key: &'static str,
    /// Bits of XFRM.
    bits: u64,
    default: &'static str,
}

/// Most threads of an enclave. Each thread has 360 KiB of measured pages.
pub const MOST_THREADS: u64 = 4096;
/// Largest enclave: Gramine uses the addresses beyond.
const MOST_BYTES: u64 = 1 << 40;
/// In the order in which they apply; avx512 contains avx's bit.
const FEATURES: [Feature; 5] = [
    Feature { key: "avx", bits: 0x4, default: "unspecified" },
    Feature { key: "avx512", bits: 0xe4, default: "unspecified" },
    Feature { key: "amx", bits: 0x6_0000, default: "unspecified" },
    Feature { key: "mpx", bits: 0x18, default: "disabled" },
    Feature { key: "pkru", bits: 0x200, default: "disabled" },
];
/// x87 and SSE.
const FEATURES_ON: u64 = 0x3;
/// The features that every manifest fixes.
const FEATURES_MASK: u64 = 0xffff_ffff_fff9_ff1b;

#[cfg(test)]
mod tests;
