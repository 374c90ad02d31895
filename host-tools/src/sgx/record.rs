//! The inputs of a measurement, kept as JSON, so that two measurements can be compared later, on any machine.
//!
//! A record contains the manifest's whole text, which is short and lists the hash of each trusted file. The
//! plan is one of these files; its fields are recorded, too. `sgx measure --json` prints a record; an image's
//! `W.measurement.json` contains one for each role.

use std::{collections::BTreeMap, path::Path};

use fl_engine::{Digest, plan::Plan};
use serde_json::{Value, json};

use super::{Manifest, MeasuredEnclave, TEXT_BYTES, gramine_version::Gramine};
use crate::{
    exit::{Exit, Failure},
    files,
};

/// One enclave's measurement and its inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct EnclaveRecord {
    /// The role, where the enclave is one of this project's.
    pub role: Option<String>,
    /// MRENCLAVE; `None` for a manifest that was not measured.
    pub measurement: Option<Digest>,
    /// MRSIGNER, once signed.
    pub signer: Option<Digest>,
    /// The version of Gramine whose numbers were used.
    pub gramine: Option<String>,
    /// SHA-256 of `libpal.so`.
    pub libpal: Option<Digest>,
    /// The text of the `manifest.sgx`.
    pub manifest: String,
    /// The plan's fields: path and value. Values are texts, because a number that is read back may differ in
    /// its last digit.
    pub plan: Option<BTreeMap<String, String>>,
}

impl EnclaveRecord {
    /// Of a measurement just made.
    #[must_use]
    pub fn of(measured: &MeasuredEnclave, manifest: &str, gramine: &Gramine) -> Self {
        Self {
            role: None,
            measurement: Some(measured.measurement),
            signer: None,
            gramine: Some(gramine.version.to_owned()),
            libpal: Some(measured.libpal),
            manifest: manifest.to_owned(),
            plan: None,
        }
    }

    /// With the plan's fields, for `explain`.
    #[must_use]
    pub fn with_plan(self, plan: &Plan) -> Self {
        // A text first: an f32 is written in its own shortest form, not in an f64's.
        let fields = serde_json::to_string(plan).and_then(|text| serde_json::from_str::<Value>(&text));
        let lines = fields.map(|fields| {
            let mut lines = BTreeMap::new();
            flatten(String::new(), &fields, &mut lines);
            lines
        });
        // A plan's fields are numbers, texts and lists of them: they have a JSON form.
        Self { plan: lines.ok(), ..self }
    }

    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let hex = |digest: &Option<Digest>| digest.as_ref().map(Digest::to_string);
        json!({
            "role": self.role, "mrenclave": hex(&self.measurement), "mrsigner": hex(&self.signer),
            "gramine": self.gramine, "libpal_sha256": hex(&self.libpal), "manifest": self.manifest, "plan": self.plan,
        })
    }

    /// From JSON. Unknown fields are ignored.
    ///
    /// # Errors
    /// A message that names the wrong field.
    pub fn from_json(value: &Value) -> Result<Self, String> {
        let text = |key: &str| match value.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(format!("{key} is not a text")),
        };
        let digest = |key: &str| {
            let hex = text(key)?;
            hex.map(|hex| hex.parse().map_err(|_| format!("{key} is not 64 hexadecimal digits"))).transpose()
        };
        Ok(Self {
            role: text("role")?,
            measurement: digest("mrenclave")?,
            signer: digest("mrsigner")?,
            gramine: text("gramine")?,
            libpal: digest("libpal_sha256")?,
            manifest: text("manifest")?.ok_or("manifest is missing")?,
            plan: match value.get("plan") {
                None | Some(Value::Null) => None,
                Some(Value::Object(fields)) => {
                    let line =
                        |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
                    let lines: Option<BTreeMap<String, String>> = fields.iter().map(line).collect();
                    Some(lines.ok_or("a line of plan is not a text")?)
                }
                Some(_) => return Err("plan is not an object".into()),
            },
        })
    }

    /// The records of a file: one that `sgx measure --json` printed, those of an image's `W.measurement.json`
    /// (an array, or under `enclaves`), or a `manifest.sgx` by itself.
    ///
    /// # Errors
    /// [`Exit::File`]; [`Exit::Failed`] with place and reason.
    pub fn load(path: &Path) -> Result<Vec<Self>, Failure> {
        let text = files::read_text(path, TEXT_BYTES)?;
        let refused = |what: String| {
            Failure::new(Exit::Failed, format!("{} contains no measurement: {what}", path.display()))
                .hint("give the output of `fl-host sgx measure --json`, an image's .measurement.json, or a .manifest.sgx")
        };
        let value = match serde_json::from_str(&text) {
            Ok(value @ (Value::Object(_) | Value::Array(_))) => value,
            Err(error) if text.trim_start().starts_with('{') => return Err(refused(error.to_string())),
            // No manifest is JSON.
            _ => return Self::of_manifest(&text, path).map(|record| vec![record]),
        };
        let list = match (&value, value.get("enclaves")) {
            (Value::Array(list), _) | (_, Some(Value::Array(list))) => list.as_slice(),
            _ => std::slice::from_ref(&value),
        };
        let records: Result<Vec<Self>, String> = list.iter().map(Self::from_json).collect();
        match records.map_err(&refused)? {
            none if none.is_empty() => Err(refused("the list of enclaves is empty".into())),
            records => Ok(records),
        }
    }

    fn of_manifest(text: &str, path: &Path) -> Result<Self, Failure> {
        Manifest::parse(text, &path.display().to_string(), &Gramine::NEWEST)?;
        Ok(Self {
            role: None,
            measurement: None,
            signer: None,
            gramine: None,
            libpal: None,
            manifest: text.to_owned(),
            plan: None,
        })
    }
}

/// A plan's leaves by their paths.
fn flatten(name: String, value: &Value, leaves: &mut BTreeMap<String, String>) {
    let below = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            fields.iter().for_each(|(key, value)| flatten(below(key), value, leaves));
        }
        Value::Array(list) if list.iter().any(|v| v.is_object() || v.is_array()) => {
            // A part with a name is called by it. If one part moves, only the order changes, and not every
            // line of the others.
            let part = |(number, value): (usize, &Value)| {
                value.get("name").and_then(Value::as_str).map_or_else(|| number.to_string(), str::to_owned)
            };
            let parts: Vec<String> = list.iter().enumerate().map(part).collect();
            for (part, value) in parts.iter().zip(list) {
                flatten(format!("{name}[{part}]"), value, leaves);
            }
            leaves.insert(name, parts.join(", "));
        }
        leaf => {
            leaves.insert(name, leaf.to_string());
        }
    }
}
