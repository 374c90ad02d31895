//! The file with Intel's collateral: what a verifier has to know of a processor besides its quote.
//!
//! Two forms are read. Ours holds any number of kinds of processors, and the revocation lists of both of
//! Intel's authorities for processors:
//!
//! ```json
//! {"schema": 1, "root_crl": "3082…", "pck_crls": ["3082…", "3082…"],
//!  "tcb_infos": [{"text": "{\"id\":\"SGX\",…}", "signature": "9f3c…", "issuer_chain": "-----BEGIN…"}],
//!  "qe_identity": {"text": "{\"id\":\"QE\",…}", "signature": "…", "issuer_chain": "…"}}
//! ```
//!
//! The other is the common form for one processor, with the keys `tcb_info`, `tcb_info_signature`,
//! `tcb_info_issuer_chain`, `qe_identity` and so on. Lists and signatures are in hexadecimal digits in both.
//! A text is kept letter by letter, because Intel's signature covers the letters. Nothing here checks a
//! signature: [`super::TrustedCollateral`] does.

use fl_engine::{
    hex,
    limits::{COLLATERAL_BYTES, PROCESSOR_KINDS},
};
use serde::{Deserialize, Serialize};

/// Intel's collateral, not checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collateral {
    /// What Intel's root has revoked, DER.
    pub root_crl: Vec<u8>,
    /// What Intel's authorities for processors have revoked, DER.
    pub pck_crls: Vec<Vec<u8>>,
    /// One for each kind of processor.
    pub tcb_infos: Vec<Statement>,
    /// The quoting enclave.
    pub qe_identity: Statement,
}

/// A text of Intel's, with its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// JSON, letter by letter.
    pub text: String,
    /// ECDSA P-256 over the text, r and s.
    pub signature: [u8; 64],
    /// Certificates in PEM, the signer's first.
    pub issuer_chain: String,
}

/// Why a file is not collateral. Each text follows the file's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CollateralError {
    /// Longer than any collateral.
    #[error("has {0} bytes; at most {COLLATERAL_BYTES} are allowed")]
    TooLong(usize),
    /// Not JSON, or without a key that is needed.
    #[error("is not collateral: {0}")]
    Json(String),
    /// Of a later version of this program.
    #[error("has schema {0}; this program reads schema 1")]
    Schema(u32),
    /// A value that is not hexadecimal digits, or not of the needed length.
    #[error("is not collateral: {0} is not in hexadecimal digits, or has a wrong length")]
    Hex(&'static str),
    /// More kinds of processors than this program takes.
    #[error("describes {0} kinds of processors; at most {PROCESSOR_KINDS} are allowed")]
    Kinds(usize),
}

impl Collateral {
    /// Reads a file in one of the two forms.
    ///
    /// # Errors
    /// [`CollateralError`].
    pub fn parse(file: &[u8]) -> Result<Self, CollateralError> {
        if file.len() > COLLATERAL_BYTES {
            return Err(CollateralError::TooLong(file.len()));
        }
        let json = |e: serde_json::Error| CollateralError::Json(e.to_string());
        let read = match serde_json::from_slice::<Form>(file).map_err(json)?.schema {
            None => serde_json::from_slice::<OneProcessor>(file).map_err(json)?.read()?,
            Some(SCHEMA) => serde_json::from_slice::<Own>(file).map_err(json)?.read()?,
            Some(other) => return Err(CollateralError::Schema(other)),
        };
        match read.tcb_infos.len() {
            1..=PROCESSOR_KINDS => Ok(read),
            other => Err(CollateralError::Kinds(other)),
        }
    }

    /// The file in our form, which [`Collateral::parse`] reads.
    #[must_use]
    pub fn render(&self) -> String {
        let statement = |statement: &Statement| OwnStatement {
            text: statement.text.clone(),
            signature: hex::digits(&statement.signature),
            issuer_chain: statement.issuer_chain.clone(),
        };
        let own = Own {
            schema: SCHEMA,
            root_crl: hex::digits(&self.root_crl),
            pck_crls: self.pck_crls.iter().map(|list| hex::digits(list)).collect(),
            tcb_infos: self.tcb_infos.iter().map(statement).collect(),
            qe_identity: statement(&self.qe_identity),
        };
        // Texts and numbers alone: nothing in them cannot be written.
        serde_json::to_string_pretty(&own).unwrap_or_default() + "\n"
    }
}

impl Own {
    fn read(self) -> Result<Collateral, CollateralError> {
        let statement = |of: OwnStatement, what| {
            let signature = hex::array(&of.signature).ok_or(CollateralError::Hex(what))?;
            Ok(Statement { text: of.text, signature, issuer_chain: of.issuer_chain })
        };
        let list = |text: &String| hex::bytes(text).ok_or(CollateralError::Hex("pck_crls"));
        Ok(Collateral {
            root_crl: hex::bytes(&self.root_crl).ok_or(CollateralError::Hex("root_crl"))?,
            pck_crls: self.pck_crls.iter().map(list).collect::<Result<_, _>>()?,
            tcb_infos: self
                .tcb_infos
                .into_iter()
                .map(|info| statement(info, "the signature of a TCB info"))
                .collect::<Result<_, _>>()?,
            qe_identity: statement(self.qe_identity, "the signature of the QE identity")?,
        })
    }
}

impl OneProcessor {
    fn read(self) -> Result<Collateral, CollateralError> {
        let list = |text: &str, what| hex::bytes(text).ok_or(CollateralError::Hex(what));
        let signature = |text: &str, what| hex::array(text).ok_or(CollateralError::Hex(what));
        Ok(Collateral {
            root_crl: list(&self.root_ca_crl, "root_ca_crl")?,
            pck_crls: vec![list(&self.pck_crl, "pck_crl")?],
            tcb_infos: vec![Statement {
                text: self.tcb_info,
                signature: signature(&self.tcb_info_signature, "tcb_info_signature")?,
                issuer_chain: self.tcb_info_issuer_chain,
            }],
            qe_identity: Statement {
                text: self.qe_identity,
                signature: signature(&self.qe_identity_signature, "qe_identity_signature")?,
                issuer_chain: self.qe_identity_issuer_chain,
            },
        })
    }
}

/// What tells the two forms apart.
#[derive(Deserialize)]
struct Form {
    schema: Option<u32>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    schema: u32,
    root_crl: String,
    pck_crls: Vec<String>,
    tcb_infos: Vec<OwnStatement>,
    qe_identity: OwnStatement,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnStatement {
    text: String,
    signature: String,
    issuer_chain: String,
}

/// The common form. Its chains of revocation lists are not needed: the quote brings these certificates.
#[derive(Deserialize)]
struct OneProcessor {
    root_ca_crl: String,
    pck_crl: String,
    tcb_info: String,
    tcb_info_signature: String,
    tcb_info_issuer_chain: String,
    qe_identity: String,
    qe_identity_signature: String,
    qe_identity_issuer_chain: String,
}

/// The schema that this version writes and reads.
const SCHEMA: u32 = 1;
