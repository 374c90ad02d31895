//! Reference measurements, from the `W.measurement.json` that `fl-host workspace dockerize` writes beside an
//! image.

use std::path::Path;

use fl_engine::{
    Digest, Name,
    plan::roster::{Measurement, Measurements, Roster, RosterError},
};
use serde_json::Value;

use crate::{
    exit::{Exit, Failure},
    files,
    sgx::TEXT_BYTES,
};

/// Reads both roles' measurements, of an image of this federation and CA.
///
/// # Errors
/// [`Exit::File`]; [`Exit::Trust`] for a file that is not such a record, or belongs to an image without
/// enclaves, another federation or another CA.
pub fn measurements(path: &Path, federation: &Name, ca: Digest) -> Result<Measurements, Failure> {
    let text = files::read_text(path, TEXT_BYTES)?;
    let refused = |what: String| Failure::new(Exit::Trust, format!("{} {what}", path.display()));
    let anew = "with --measurement, give the .measurement.json that `fl-host workspace dockerize -s KEY --sgx-target` wrote for this federation";
    let found: Value = serde_json::from_str(&text)
        .map_err(|e| refused(format!("is not the record of an image: {e}")).hint(anew))?;
    let stated = |key: &str| found.get(key).and_then(Value::as_str).unwrap_or("none").to_owned();
    for (key, ours) in [("federation", federation.to_string()), ("ca", ca.to_string())] {
        let theirs = stated(key);
        if theirs != ours {
            return Err(
                refused(format!("belongs to the {key} {theirs}; this workspace has {ours}")).hint(anew)
            );
        }
    }
    if stated("target") != "sgx" {
        let error = format!("describes an image for the target {}, which has no enclave", stated("target"));
        return Err(refused(error).hint(anew));
    }
    let digest = |value: Option<&Value>, what: &str| {
        let digest = value.and_then(Value::as_str).and_then(|hex| hex.parse::<Digest>().ok());
        digest.ok_or_else(|| refused(format!("has no {what} of 64 hexadecimal digits")).hint(anew))
    };
    let signer = digest(found.get("mrsigner"), "mrsigner")?;
    let role = |name: &str| {
        let of = found.get("roles").and_then(|roles| roles.get(name));
        let number = |key: &str| {
            let number = of.and_then(|of| of.get(key)).and_then(Value::as_u64);
            number
                .and_then(|number| u16::try_from(number).ok())
                .ok_or_else(|| refused(format!("has no {key} from 0 to 65535 for the {name}")).hint(anew))
        };
        Ok(Measurement {
            enclave: digest(of.and_then(|of| of.get("mrenclave")), &format!("mrenclave for the {name}"))?,
            signer,
            product: number("isv_prod_id")?,
            svn: number("isv_svn")?,
        })
    };
    let measured = Measurements { aggregator: role("aggregator")?, collaborator: role("collaborator")? };
    measured.check().map_err(|e: RosterError| refused(format!("is refused: {e}")).hint(anew))?;
    Ok(measured)
}

/// Refuses measurements for a roster whose section `attestation` would stand above them.
///
/// # Errors
/// [`Exit::Usage`].
pub(super) fn may_count(roster: &Roster) -> Result<(), Failure> {
    if roster.attestation().is_none() {
        return Ok(());
    }
    let error = "the roster has a section `attestation`, and then measurements of an image do not count";
    Err(Failure::new(Exit::Usage, error).hint(
        "add the MRENCLAVE of both roles to the owner's file, and run `fl-host pki sign --attestation FILE`: `fl-host image inspect` prints them",
    ))
}

/// Compares the roster's measurements with those of an approval. The error shows both where they differ.
pub(super) fn same(held: &Measurements, given: &Measurements) -> Result<(), Failure> {
    let roles = [
        ("aggregator", held.aggregator, given.aggregator),
        ("collaborator", held.collaborator, given.collaborator),
    ];
    let differ: Vec<String> = roles
        .into_iter()
        .filter(|(_, held, given)| held != given)
        .map(|(role, held, given)| format!("for the {role} the roster has {held}, and the file has {given}"))
        .collect();
    if differ.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Exit::Trust, format!("the measurements of the enclaves differ: {}", differ.join("; ")))
        .hint("`fl-host sgx explain OLD NEW` shows what differs. If the new image is right, `fl-host pki sign --measurement FILE` puts its measurements on the roster"))
}
