//! Intel's collateral as its service answers: which lines fetch the answers, and one file made of them.
//!
//! `fl-host` opens no connection. Somebody with access to the Internet runs the lines, on any machine. The
//! answers are in one folder:
//!
//! | file | what |
//! |---|---|
//! | `tcb-FMSPC.json`, `tcb-FMSPC.headers` | TCB info of a kind of processor; the header names its signer |
//! | `qe.json`, `qe.headers` | identity of the quoting enclave |
//! | `pck-platform.crl`, `pck-processor.crl` | what Intel's two authorities for processors have revoked |
//! | `root.crl` | what Intel's root has revoked |

use std::{collections::BTreeSet, fs, path::Path};

use fl_engine::{limits::COLLATERAL_BYTES, plan::roster::UnixSeconds};
use fl_runtime::internal::trust::evidence::{Collateral, Root, Statement, TrustedCollateral};

use super::{fmspc, refused};
use crate::{
    exit::{Exit, Failure},
    files,
};

/// The lines that fetch the collateral for this kind of processor into the current folder.
#[must_use]
pub fn lines(processor: [u8; 6]) -> [String; 5] {
    let kind = fmspc(processor);
    let ask = |name: &str, headers: bool, address: &str| {
        let headers =
            if headers { format!(" -D {}.headers", name.trim_end_matches(".json")) } else { String::new() };
        format!("curl -fsS{headers} -o {name} '{address}'")
    };
    let service = |question: &str| format!("{SERVICE}/{question}");
    [
        ask(&format!("tcb-{kind}.json"), true, &service(&format!("tcb?fmspc={kind}"))),
        ask("qe.json", true, &service("qe/identity?update=standard")),
        ask("pck-platform.crl", false, &service("pckcrl?ca=platform&encoding=der")),
        ask("pck-processor.crl", false, &service("pckcrl?ca=processor&encoding=der")),
        ask("root.crl", false, ROOT_LIST),
    ]
}

/// Reads a folder of answers and checks the signatures in it, at the time `now`.
///
/// # Errors
/// [`Exit::File`] for an answer that is missing; [`Exit::Evidence`] for one that is refused.
pub fn read(folder: &Path, root: Root, now: UnixSeconds) -> Result<(Collateral, TrustedCollateral), Failure> {
    let names = fs::read_dir(folder)
        .map_err(|e| Failure::new(Exit::File, format!("cannot read the folder {}: {e}", folder.display())))?;
    let names: BTreeSet<String> =
        names.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    let kinds =
        names.iter().filter_map(|name| name.strip_suffix(".json")).filter(|name| name.starts_with("tcb-"));
    let kinds: Vec<&str> = kinds.collect();
    if kinds.is_empty() {
        let error = format!("{} holds no tcb-FMSPC.json", folder.display());
        return Err(Failure::new(Exit::File, error)
            .hint("`fl-host attest show QUOTE` prints the lines that fetch the files"));
    }
    let list = |name: &str| files::read(&folder.join(name), COLLATERAL_BYTES);
    let collateral = Collateral {
        root_crl: list("root.crl")?,
        pck_crls: vec![list("pck-platform.crl")?, list("pck-processor.crl")?],
        tcb_infos: kinds
            .into_iter()
            .map(|name| statement(folder, name, "tcbInfo", &TCB_CHAIN))
            .collect::<Result<_, _>>()?,
        qe_identity: statement(folder, "qe", "enclaveIdentity", &QE_CHAIN)?,
    };
    let trusted = TrustedCollateral::check(&collateral, root, now).map_err(|error| {
        let mut failure = refused(&error);
        failure.error = format!("the collateral in {} is refused: {}", folder.display(), failure.error);
        failure
    })?;
    Ok((collateral, trusted))
}

/// One signed answer, and its signer's certificates from the answer's headers.
fn statement(folder: &Path, name: &str, key: &str, headers: &[&str]) -> Result<Statement, Failure> {
    let (body, head) = (folder.join(format!("{name}.json")), folder.join(format!("{name}.headers")));
    let refuse = |path: &Path, what: &str| {
        Failure::new(Exit::Evidence, format!("{} {what}", path.display()))
            .hint("fetch the file again: `fl-host attest show QUOTE` prints how")
            .reason("collateral_form")
    };
    let text = files::read_text(&body, COLLATERAL_BYTES)?;
    let answer = cut(&text, key);
    let (text, signature) = answer
        .ok_or_else(|| refuse(&body, &format!("is not an answer of Intel's with {key} and signature")))?;
    let head_text = files::read_text(&head, COLLATERAL_BYTES)?;
    let issuer_chain = chain(&head_text, headers)
        .ok_or_else(|| refuse(&head, &format!("lacks the header {}", headers[0])))?;
    Ok(Statement { text: text.to_owned(), signature, issuer_chain })
}

/// The signed text of an answer, letter by letter, and the signature. Intel signs the letters, so the JSON is
/// cut and not parsed.
fn cut<'a>(answer: &'a str, key: &str) -> Option<(&'a str, [u8; 64])> {
    let rest = answer.trim().strip_prefix(&format!("{{\"{key}\":"))?;
    let (text, rest) = rest.rsplit_once(",\"signature\":\"")?;
    let digits = rest.strip_suffix("\"}").filter(|digits| digits.len() == 128)?;
    let mut signature = [0; 64];
    for (at, value) in signature.iter_mut().enumerate() {
        *value = byte(digits.get(2 * at..2 * at + 2)?)?;
    }
    Some((text, signature))
}

/// Two hexadecimal digits.
fn byte(digits: &str) -> Option<u8> {
    let are_digits = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    are_digits.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

/// The certificates in the last header of one of these names, without its percent signs.
fn chain(headers: &str, names: &[&str]) -> Option<String> {
    let value = headers.lines().rev().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        names.iter().any(|known| known.eq_ignore_ascii_case(name.trim())).then_some(value.trim())
    })?;
    let mut pieces = value.split('%');
    let mut text = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        text.push(byte(digits)?);
        text.extend(rest.as_bytes());
    }
    String::from_utf8(text).ok()
}

/// Intel's service for collateral, version 4.
const SERVICE: &str = "https://api.trustedservices.intel.com/sgx/certification/v4";
const ROOT_LIST: &str = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";
/// Headers with the certificates of a TCB info's signer; older services say the second.
const TCB_CHAIN: [&str; 2] = ["TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"];
const QE_CHAIN: [&str; 1] = ["SGX-Enclave-Identity-Issuer-Chain"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_text_is_cut_letter_by_letter() {
        let signature = "0f".repeat(64);
        let text = r#"{"b": 1,"signature":"x","a":2}"#;
        let answer = format!("{{\"tcbInfo\":{text},\"signature\":\"{signature}\"}}\n");
        assert_eq!(cut(&answer, "tcbInfo"), Some((text, [0x0f; 64])));
        assert_eq!(cut(&answer, "enclaveIdentity"), None);
        assert_eq!(cut(&answer.replace("0f\"", "0\""), "tcbInfo"), None);
        assert_eq!(cut(&answer.replace("0f\"", "+f\""), "tcbInfo"), None);
    }

    #[test]
    fn certificates_are_taken_from_the_last_answer_without_percent_signs() {
        let headers = "HTTP/1.1 302 Found\r\ntcb-info-issuer-chain: old\r\n\r\nHTTP/1.1 200 OK\r\n\
                       TCB-Info-Issuer-Chain: -----BEGIN%20CERTIFICATE-----%0AMII%2B\r\nRequest-ID: 1\r\n\r\n";
        assert_eq!(chain(headers, &TCB_CHAIN).as_deref(), Some("-----BEGIN CERTIFICATE-----\nMII+"));
        assert_eq!(chain(headers, &QE_CHAIN), None);
        assert_eq!(chain("SGX-Enclave-Identity-Issuer-Chain: %4", &QE_CHAIN), None);
        assert_eq!(chain("SGX-Enclave-Identity-Issuer-Chain: %zz", &QE_CHAIN), None);
    }
}
