//! What a measurement was made of, kept as JSON, so that two of them can be compared later and elsewhere.
//!
//! The manifest's text is in it whole: it is short, and says everything but what is behind the hashes. Of those the plan
//! is worth a look inside, so its fields are kept too. `sgx measure --json` prints a record; an image's
//! `W.measurement.json` holds one for each role.

use std::path::Path;

use fl_engine::{Digest, plan::Plan};
use serde_json::{Value, json};

use super::{Manifest, Measured, TEXT_BYTES, gramine::Gramine};
use crate::{
    exit::{Exit, Failure},
    workspace,
};

/// One enclave's measurement and what went into it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The role, where the enclave is one of this project's.
    pub role: Option<String>,
    /// MRENCLAVE; `None` for a manifest that nobody has measured.
    pub measurement: Option<Digest>,
    /// MRSIGNER, once signed.
    pub signer: Option<Digest>,
    /// The version of Gramine whose numbers were used.
    pub gramine: Option<String>,
    /// SHA-256 of `libpal.so`.
    pub libpal: Option<Digest>,
    /// The text of the `manifest.sgx`.
    pub manifest: String,
    /// The plan's fields.
    pub plan: Option<Value>,
}

impl Record {
    /// Of a measurement just made.
    #[must_use]
    pub fn of(measured: &Measured, manifest: &str, gramine: &Gramine) -> Self {
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
        // A plan's fields are numbers, texts and lists of them: they have a JSON form.
        Self { plan: serde_json::to_value(plan).ok(), ..self }
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

    /// From JSON; fields that it does not know are somebody else's.
    ///
    /// # Errors
    /// Which field is wrong.
    pub fn from_json(value: &Value) -> Result<Self, String> {
        let text = |key: &str| match value.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(format!("{key} is no text")),
        };
        let digest = |key: &str| {
            let hex = text(key)?;
            hex.map(|hex| hex.parse().map_err(|_| format!("{key} is not 64 digits of base 16"))).transpose()
        };
        Ok(Self {
            role: text("role")?,
            measurement: digest("mrenclave")?,
            signer: digest("mrsigner")?,
            gramine: text("gramine")?,
            libpal: digest("libpal_sha256")?,
            manifest: text("manifest")?.ok_or("manifest is missing")?,
            plan: value.get("plan").filter(|plan| !plan.is_null()).cloned(),
        })
    }

    /// The records of a file: one that `sgx measure --json` printed, those of an image's `W.measurement.json` (an array,
    /// or under `enclaves`), or a `manifest.sgx` by itself.
    ///
    /// # Errors
    /// [`Exit::File`]; [`Exit::Failed`] with place and reason.
    pub fn load(path: &Path) -> Result<Vec<Self>, Failure> {
        let text = workspace::read_text(path, TEXT_BYTES)?;
        let refused = |what: String| {
            Failure::new(Exit::Failed, format!("{} is no measurement: {what}", path.display()))
                .hint("give what `fl-host sgx measure --json` printed, an image's .measurement.json, or a .manifest.sgx")
        };
        if !text.trim_start().starts_with(['{', '[']) || text.trim_start().starts_with("[loader") {
            return Self::of_manifest(&text, path).map(|record| vec![record]);
        }
        let value: Value = match serde_json::from_str(&text) {
            Ok(value) => value,
            // A manifest may begin with a heading.
            Err(error) => {
                return Self::of_manifest(&text, path)
                    .map(|record| vec![record])
                    .map_err(|_| refused(error.to_string()));
            }
        };
        let list = match (&value, value.get("enclaves")) {
            (Value::Array(list), _) | (_, Some(Value::Array(list))) => list.as_slice(),
            _ => std::slice::from_ref(&value),
        };
        let records: Result<Vec<Self>, String> = list.iter().map(Self::from_json).collect();
        match records.map_err(&refused)? {
            none if none.is_empty() => Err(refused("it holds none".into())),
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
