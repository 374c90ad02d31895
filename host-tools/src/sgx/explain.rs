//! Why two measurements differ: which file, key of the plan, setting or version of Gramine.

use std::{collections::BTreeMap, fmt};

use toml::Value;

use super::{Manifest, document, gramine_version::Gramine, record::EnclaveRecord};
use crate::exit::Failure;

/// One input that differs between the two sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What kind of input.
    pub kind: Kind,
    /// Its name: a path, a key.
    pub name: String,
    /// Its value in the first; `None` if the first does not have it.
    pub before: Option<String>,
    /// Its value in the second.
    pub after: Option<String>,
}

/// A kind of input. Differences are shown in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Gramine's version, or one of its files.
    Gramine,
    /// A trusted file, by its hash.
    File,
    /// A field of the plan.
    Plan,
    /// The number of threads or the enclave's size.
    Size,
    /// Any other key of the manifest.
    Setting,
    /// The same tables, written differently.
    Form,
}

impl Kind {
    /// As `sgx explain` writes it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Gramine => "gramine",
            Self::File => "file",
            Self::Plan => "plan",
            Self::Size => "size",
            Self::Setting => "setting",
            Self::Form => "form",
        }
    }
}

/// `plan     rounds: 10 -> 20`.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "absent".to_owned());
        write!(f, "{:<9}{}: {} -> {}", self.kind.word(), self.name, shown(&self.before), shown(&self.after))
    }
}

/// Every difference between the two sides.
///
/// # Errors
/// [`crate::exit::Exit::Failed`] when a record's manifest cannot be read.
pub fn explain(before: &EnclaveRecord, after: &EnclaveRecord) -> Result<Vec<Difference>, Failure> {
    let mut found = Vec::new();
    let mut add = |kind: Kind, name: &str, before: Option<String>, after: Option<String>| {
        if before != after {
            found.push(Difference { kind, name: name.to_owned(), before, after });
        }
    };
    // An input that one side does not state is not a difference.
    if let (Some(one), Some(other)) = (&before.gramine, &after.gramine) {
        add(Kind::Gramine, "version", Some(one.clone()), Some(other.clone()));
    }
    if let (Some(one), Some(other)) = (&before.libpal, &after.libpal) {
        add(Kind::Gramine, "libpal.so", Some(one.short()), Some(other.short()));
    }
    let (one, other) = (inputs(&before.manifest)?, inputs(&after.manifest)?);
    let names: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
    for key in names {
        add(key.0, &key.1, one.get(key).cloned(), other.get(key).cloned());
    }
    if let (Some(one), Some(other)) = (&before.plan, &after.plan) {
        let names: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
        for name in names {
            add(Kind::Plan, name, one.get(name).cloned(), other.get(name).cloned());
        }
    }
    if found.is_empty() && before.manifest != after.manifest {
        let length = |record: &EnclaveRecord| Some(format!("{} bytes", record.manifest.len()));
        found.push(Difference {
            kind: Kind::Form,
            name: "the manifest's text: the same values in another order or spelling".into(),
            before: length(before),
            after: length(after),
        });
    }
    found.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    Ok(found)
}

/// A manifest's leaves by kind and name.
fn inputs(text: &str) -> Result<BTreeMap<(Kind, String), String>, Failure> {
    let manifest = Manifest::parse(text, "the manifest", &Gramine::NEWEST)?;
    let mut leaves = BTreeMap::new();
    for (key, value) in manifest.table() {
        flatten(key.clone(), value, &mut leaves);
    }
    let entrypoint = |part: &str| format!("loader.entrypoint.{part}");
    let mut found = BTreeMap::new();
    for (name, value) in leaves {
        let (kind, name, value) = match name.as_str() {
            key if key.starts_with("sgx.trusted_files[") => continue,
            key if key == entrypoint("sha256") => {
                (Kind::Gramine, "libsysdb.so".to_owned(), shortened(&value))
            }
            "sgx.max_threads" | "sgx.enclave_size" => (Kind::Size, name, value),
            _ => (Kind::Setting, name, value),
        };
        found.insert((kind, name), value);
    }
    for trusted in manifest
        .table()
        .get("sgx")
        .and_then(|sgx| sgx.get("trusted_files"))
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let part = |key: &str| trusted.get(key).and_then(Value::as_str).unwrap_or("no sha256").to_owned();
        found.insert((Kind::File, part("uri")), shortened(&part("sha256")));
    }
    Ok(found)
}

/// The first digits of a hash, enough to tell two files apart.
fn shortened(hex: &str) -> String {
    hex.trim_matches('"').chars().take(12).collect()
}

fn flatten(name: String, value: &Value, leaves: &mut BTreeMap<String, String>) {
    match value {
        Value::Table(table) if !table.is_empty() => {
            table.iter().for_each(|(key, value)| flatten(format!("{name}.{key}"), value, leaves));
        }
        Value::Array(list) if list.iter().any(Value::is_table) => {
            for (number, value) in list.iter().enumerate() {
                flatten(format!("{name}[{number}]"), value, leaves);
            }
        }
        leaf => {
            leaves.insert(name, document::shown(leaf));
        }
    }
}

#[cfg(test)]
mod tests;
