//! `fl-host sgx`: the command line of [`crate::sgx`].

use std::path::{Path, PathBuf};

use argh::FromArgs;
use fl_engine::{Digest, limits::PLAN_FILE_BYTES, plan::Plan, printable::one_line};
use fl_runtime::internal::trust::FlooredClock;
use serde_json::{Value, json};

use super::Answer;
use crate::{
    exit::{Exit, Failure},
    files,
    machine::machine,
    sgx::{
        self, Date, SigningKey, Sigstruct,
        explain::explain,
        gramine_version::{Gramine, VERSIONS},
        key,
        record::EnclaveRecord,
        template::Variables,
        trusted_files::OnDisk,
    },
};

/// Make, measure, sign and compare enclaves. Needs no SGX hardware.
#[derive(FromArgs)]
#[argh(subcommand, name = "sgx")]
pub(super) struct SgxArea {
    #[argh(subcommand)]
    command: SgxCommand,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum SgxCommand {
    Key(SgxKey),
    Manifest(SgxManifest),
    Measure(SgxMeasure),
    Sign(SgxSign),
    View(SgxView),
    Verify(SgxVerify),
    Explain(SgxExplain),
}

/// Make a key that signs enclaves: RSA with 3072 bits and exponent 3, in PEM.
#[derive(FromArgs)]
#[argh(subcommand, name = "key")]
struct SgxKey {
    /// the file to write; an existing file is never overwritten
    #[argh(option)]
    output: PathBuf,
}

/// Make a manifest from its template: fill in values and defaults, and hash the trusted files.
#[derive(FromArgs)]
#[argh(subcommand, name = "manifest")]
struct SgxManifest {
    /// the template, X.manifest.template
    #[argh(option)]
    template: PathBuf,
    /// the manifest to write, X.manifest.sgx
    #[argh(option)]
    output: PathBuf,
    /// the value of a name in the template, NAME=VALUE; can be repeated
    #[argh(option, short = 'D')]
    define: Vec<String>,
    /// the folder of Gramine, with libsysdb.so; needed for names in the template that begin with `gramine.`
    #[argh(option)]
    gramine: Option<PathBuf>,
    /// the folder that relative paths start from; the template's folder by default
    #[argh(option)]
    folder: Option<PathBuf>,
    /// the folder that absolute paths start from, for files of an image; / by default
    #[argh(option, default = "PathBuf::from(\"/\")")]
    chroot: PathBuf,
    /// the version of Gramine that will run the enclave; 1.9 by default
    #[argh(option, default = "&KNOWN[0]", from_str_fn(gramine_version))]
    gramine_version: &'static Gramine,
}

/// Compute and print the measurement of an enclave, MRENCLAVE.
#[derive(FromArgs)]
#[argh(subcommand, name = "measure")]
struct SgxMeasure {
    /// the manifest, X.manifest.sgx
    #[argh(option)]
    manifest: PathBuf,
    /// the file sgx/libpal.so of the Gramine installation
    #[argh(option)]
    libpal: PathBuf,
    /// with --json: the plan.yaml, so that `fl-host sgx explain` can name its keys later
    #[argh(option)]
    plan: Option<PathBuf>,
    /// the version of Gramine that will run the enclave; 1.9 by default
    #[argh(option, default = "&KNOWN[0]", from_str_fn(gramine_version))]
    gramine_version: &'static Gramine,
}

/// Measure an enclave and sign it.
#[derive(FromArgs)]
#[argh(subcommand, name = "sign")]
struct SgxSign {
    /// the signing key in PEM, from `fl-host sgx key` or `openssl genrsa -3 3072`
    #[argh(option)]
    key: PathBuf,
    /// the manifest, X.manifest.sgx
    #[argh(option)]
    manifest: PathBuf,
    /// the file sgx/libpal.so of the Gramine installation
    #[argh(option)]
    libpal: PathBuf,
    /// the date in the signature, YYYY-MM-DD; today by default
    #[argh(option)]
    date: Option<Date>,
    /// the signature to write, X.sig
    #[argh(option)]
    output: PathBuf,
    /// the version of Gramine that will run the enclave; 1.9 by default
    #[argh(option, default = "&KNOWN[0]", from_str_fn(gramine_version))]
    gramine_version: &'static Gramine,
}

/// Show what a signature states about its enclave.
#[derive(FromArgs)]
#[argh(subcommand, name = "view")]
struct SgxView {
    /// the signature, X.sig
    #[argh(positional)]
    signature: PathBuf,
}

/// Check a signature, and that it belongs to this enclave and this signer.
#[derive(FromArgs)]
#[argh(subcommand, name = "verify")]
struct SgxVerify {
    /// the signature, X.sig
    #[argh(positional)]
    signature: PathBuf,
    /// the enclave's manifest; needs --libpal
    #[argh(option)]
    manifest: Option<PathBuf>,
    /// the file sgx/libpal.so of the Gramine installation
    #[argh(option)]
    libpal: Option<PathBuf>,
    /// the MRSIGNER that the signature must have
    #[argh(option)]
    signer: Option<String>,
    /// the MRENCLAVE that the signature must have
    #[argh(option)]
    measurement: Option<String>,
    /// the version of Gramine that will run the enclave; 1.9 by default
    #[argh(option, default = "&KNOWN[0]", from_str_fn(gramine_version))]
    gramine_version: &'static Gramine,
}

/// Show why two measurements differ: trusted files, keys of the plan, size, settings, Gramine.
#[derive(FromArgs)]
#[argh(subcommand, name = "explain")]
struct SgxExplain {
    /// the output of `fl-host sgx measure --json`, an image's .measurement.json, or a .manifest.sgx
    #[argh(positional)]
    before: PathBuf,
    /// the second measurement, in one of these forms
    #[argh(positional)]
    after: PathBuf,
}

pub(super) fn run(area: &SgxArea) -> Result<Answer, Failure> {
    match &area.command {
        SgxCommand::Key(command) => make_key(command),
        SgxCommand::Manifest(command) => manifest(command),
        SgxCommand::Measure(command) => measure(command),
        SgxCommand::Sign(command) => sign(command),
        SgxCommand::View(command) => Ok(viewed(&sgx::load_sigstruct(&command.signature)?)),
        SgxCommand::Verify(command) => verify(command),
        SgxCommand::Explain(command) => explained(command),
    }
}

fn make_key(command: &SgxKey) -> Result<Answer, Failure> {
    key::refuse_to_overwrite(&command.output)?;
    let made = SigningKey::generate()?;
    key::save(&made, &command.output)?;
    let (path, signer) = (command.output.display(), made.signer().to_string());
    let text = format!(
        "MRSIGNER   {signer}\nkey        {path}: back it up, and keep it off the machines that run enclaves\n"
    );
    Ok(Answer { text, json: json!({"mrsigner": signer, "key": command.output}) })
}

fn manifest(command: &SgxManifest) -> Result<Answer, Failure> {
    let template = files::read_text(&command.template, sgx::TEXT_BYTES)?;
    let mut variables = Variables::new();
    for definition in &command.define {
        // A name alone is true, as in Gramine's own tool.
        variables = match definition.split_once('=') {
            Some((name, value)) => variables.with(name, value),
            None => variables.with(definition, true),
        };
    }
    if let Some(folder) = &command.gramine {
        let folder = folder.to_str().ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                format!("a manifest cannot name {}: the path is not UTF-8", folder.display()),
            )
        })?;
        variables = variables.with_gramine(folder);
    }
    let beside = command.template.parent().unwrap_or(Path::new("")).to_owned();
    let files =
        OnDisk { relative_to: command.folder.clone().unwrap_or(beside), root: command.chroot.clone() };
    let what = command.template.display().to_string();
    let made = sgx::make_manifest(&template, &what, &variables, &files, command.gramine_version)?;
    let (text, trusted) = (made.text()?, made.trusted()?);
    files::replace(&command.output, text.as_bytes())?;
    let listed: String =
        trusted.iter().map(|t| format!("trusted    {}  {}\n", t.sha256.short(), t.uri)).collect();
    let mut answer = format!("manifest   {}: {} bytes\n{listed}", command.output.display(), text.len());
    for (file, folder) in made.unchecked()? {
        answer += &format!(
            "warning: Gramine will not check {file}: it is inside {folder}, whose files are all allowed\n"
        );
    }
    let files: Vec<Value> =
        trusted.iter().map(|t| json!({"uri": t.uri, "sha256": t.sha256.to_string()})).collect();
    Ok(Answer {
        text: answer,
        json: json!({"manifest": command.output, "bytes": text.len(), "trusted": files}),
    })
}

fn measure(command: &SgxMeasure) -> Result<Answer, Failure> {
    let (text, measured) = sgx::measure_files(&command.manifest, &command.libpal, command.gramine_version)?;
    let mut record = EnclaveRecord::of(&measured, &text, command.gramine_version);
    if let Some(path) = &command.plan {
        let plan = Plan::parse(&files::read_text(path, PLAN_FILE_BYTES)?);
        let plan = plan.map_err(|e| Failure::of(Exit::Plan, &e).maybe_hint(e.hint().map(str::to_owned)))?;
        record = record.with_plan(&plan);
    }
    Ok(Answer { text: format!("{}\n", measured.measurement), json: record.to_json() })
}

fn sign(command: &SgxSign) -> Result<Answer, Failure> {
    let signing = key::load(&command.key)?;
    let (_, measured) = sgx::measure_files(&command.manifest, &command.libpal, command.gramine_version)?;
    let date = command.date.unwrap_or_else(|| Date::of_unix(FlooredClock::of(&machine().clock).now().0));
    let signed = Sigstruct::sign(&signing, &measured.attributes, &measured.measurement, date)?;
    files::replace(&command.output, signed.bytes().as_slice())?;
    let Answer { mut text, mut json } = viewed(&signed);
    text += &format!("signature    {}\n", command.output.display());
    json["signature"] = json!(command.output);
    Ok(Answer { text, json })
}

fn viewed(signed: &Sigstruct) -> Answer {
    let (measurement, signer, date) =
        (signed.measurement().to_string(), signed.signer().to_string(), signed.date().to_string());
    let ((flags, flags_mask), (features, features_mask)) = (signed.flags(), signed.features());
    let debug = if signed.debug() { "yes: the host can read the enclave's memory" } else { "no" };
    let faults = if signed.exinfo() { "reported to the enclave" } else { "end the enclave" };
    let text = format!(
        "MRENCLAVE    {measurement}\nMRSIGNER     {signer}\nproduct      {}\nsvn          {}\ndate         {date}\n\
         debug        {debug}\nfaults       {faults}\nattributes   {flags:#x}, mask {flags_mask:#x}\nfeatures     \
         {features:#x}, mask {features_mask:#x}\n",
        signed.product(),
        signed.svn(),
    );
    let hex = |n: u64| format!("{n:#x}");
    let json = json!({
        "mrenclave": measurement, "mrsigner": signer, "isvprodid": signed.product(), "isvsvn": signed.svn(),
        "date": date, "debug": signed.debug(), "exinfo": signed.exinfo(), "attributes": hex(flags),
        "attributes_mask": hex(flags_mask), "xfrm": hex(features), "xfrm_mask": hex(features_mask),
    });
    Answer { text, json }
}

fn verify(command: &SgxVerify) -> Result<Answer, Failure> {
    let signed = sgx::load_sigstruct(&command.signature)?;
    let path = command.signature.display();
    let mut checked = vec!["the signature, q1 and q2"];
    let differs = |what: &str, found: Digest, wanted: Digest| {
        Failure::new(Exit::Trust, format!("{path} has {what} {found}, not {wanted}"))
    };
    let digest = |word: &Option<String>| {
        let read = |text: &String| {
            text.parse::<Digest>().map_err(|_| {
                Failure::new(Exit::Usage, format!("{text:?} is not a SHA-256 hash of 64 hexadecimal digits"))
            })
        };
        word.as_ref().map(read).transpose()
    };
    if let Some(wanted) = digest(&command.signer)? {
        if signed.signer() != wanted {
            return Err(differs("MRSIGNER", signed.signer(), wanted).hint(
                "another key made this signature: do not run the enclave before you know whose key it is",
            ));
        }
        checked.push("MRSIGNER");
    }
    if let Some(wanted) = digest(&command.measurement)? {
        if signed.measurement() != wanted {
            return Err(differs("MRENCLAVE", signed.measurement(), wanted)
                .hint("`fl-host sgx explain BEFORE AFTER` shows why two measurements differ"));
        }
        checked.push("MRENCLAVE");
    }
    match (&command.manifest, &command.libpal) {
        (Some(manifest), Some(libpal)) => {
            let (_, measured) = sgx::measure_files(manifest, libpal, command.gramine_version)?;
            if signed.measurement() != measured.measurement {
                return Err(differs("MRENCLAVE", signed.measurement(), measured.measurement).hint(format!(
                    "{} or {} differs from the file that was signed",
                    manifest.display(),
                    libpal.display()
                )));
            }
            if !signed.fits(&measured.attributes) {
                let error =
                    format!("{path} was signed with other attributes than those of {}", manifest.display());
                return Err(Failure::new(Exit::Trust, error)
                    .hint("`fl-host sgx view` shows them; `fl-host sgx sign` signs again"));
            }
            checked.push("the manifest and libpal.so");
        }
        (None, None) => {}
        _ => {
            return Err(Failure::new(Exit::Usage, "--manifest and --libpal must be given together")
                .hint("an enclave is measured from both files"));
        }
    }
    let mut answer = viewed(&signed);
    if signed.debug() {
        answer.text += "warning: this is a debug enclave: its host can read its memory\n";
    }
    answer.text += &format!("checked      {}\n", checked.join(", "));
    answer.json["checked"] = json!(checked);
    Ok(answer)
}

fn explained(command: &SgxExplain) -> Result<Answer, Failure> {
    let (before, after) = (EnclaveRecord::load(&command.before)?, EnclaveRecord::load(&command.after)?);
    let mut text = String::new();
    let mut enclaves = Vec::new();
    for (number, one) in before.iter().enumerate() {
        // By role, where both sides have roles.
        let same_role = after.iter().find(|other| one.role.is_some() && other.role == one.role);
        let Some(other) =
            same_role.or_else(|| after.get(number).filter(|_| one.role.is_none() || after.len() == 1))
        else {
            let role = one.role.as_deref().unwrap_or("enclave");
            text += &format!("{}: only in {}\n", one_line(role), command.before.display());
            continue;
        };
        let found = explain(one, other)?;
        if let Some(role) = &one.role {
            text += &format!("{}\n", one_line(role));
        }
        for (side, record) in [("before", one), ("after", other)] {
            if let Some(measurement) = &record.measurement {
                text += &format!("{side:<9}{measurement}\n");
            }
        }
        let same = one.measurement.is_some() && one.measurement == other.measurement;
        match (found.is_empty(), same) {
            (true, true) => text += "the same measurement\n",
            (true, false) => text += "no input differs\n",
            (false, _) => found
                .iter()
                .for_each(|difference| text += &format!("{}\n", one_line(&difference.to_string()))),
        }
        let listed: Vec<Value> = found
            .iter()
            .map(|d| json!({"kind": d.kind.word(), "name": d.name, "before": d.before, "after": d.after}))
            .collect();
        enclaves.push(json!({"role": one.role, "differences": listed}));
    }
    for other in after.iter().filter(|o| o.role.is_some() && before.iter().all(|one| one.role != o.role)) {
        if before.len() > 1 || before.iter().all(|one| one.role.is_some()) {
            let role = other.role.as_deref().unwrap_or("enclave");
            text += &format!("{}: only in {}\n", one_line(role), command.after.display());
        }
    }
    Ok(Answer { text, json: json!(enclaves) })
}

fn gramine_version(word: &str) -> Result<&'static Gramine, String> {
    KNOWN.iter().find(|known| known.version == word).ok_or_else(|| {
        let known = KNOWN.each_ref().map(|known| known.version).join(", ");
        format!("{word:?} is not a known version of Gramine; known: {known}")
    })
}

static KNOWN: [Gramine; VERSIONS.len()] = VERSIONS;

#[cfg(test)]
mod tests;
