//! The texts that Intel signs, and the common file of them.

use fl_engine::{hex::digits, plan::roster::UnixSeconds};

use crate::{QE_SIGNER, Wish};

/// What Intel publishes about one kind of processor. Tests change single parts.
#[derive(Clone, Debug)]
pub struct Collateral {
    /// What the root has revoked, DER.
    pub root_crl: Vec<u8>,
    /// What the processors' authority has revoked, DER.
    pub pck_crl: Vec<u8>,
    /// Levels of the processor.
    pub tcb_info: String,
    /// r and s.
    pub tcb_info_signature: Vec<u8>,
    /// The quoting enclave.
    pub qe_identity: String,
    /// r and s.
    pub qe_identity_signature: Vec<u8>,
    /// The certificates of who signed both texts, in PEM.
    pub issuer_chain: String,
}

impl Collateral {
    /// The common JSON file.
    #[must_use]
    pub fn json(&self) -> String {
        let text = |text: &str| format!("\"{}\"", text.replace('"', "\\\"").replace('\n', "\\n"));
        let chain = text(&self.issuer_chain);
        let keys = [
            ("pck_crl_issuer_chain", chain.clone()),
            ("root_ca_crl", text(&digits(&self.root_crl))),
            ("pck_crl", text(&digits(&self.pck_crl))),
            ("tcb_info_issuer_chain", chain.clone()),
            ("tcb_info", text(&self.tcb_info)),
            ("tcb_info_signature", text(&digits(&self.tcb_info_signature))),
            ("qe_identity_issuer_chain", chain),
            ("qe_identity", text(&self.qe_identity)),
            ("qe_identity_signature", text(&digits(&self.qe_identity_signature))),
        ];
        let lines: Vec<String> = keys.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
        format!("{{{}}}", lines.join(",\n "))
    }
}

pub(crate) fn tcb_info(wish: &Wish) -> String {
    let levels = wish.levels.iter().map(|(components, pce_svn, status)| {
        let components: Vec<String> = components.iter().map(|svn| format!("{{\"svn\":{svn}}}")).collect();
        let tcb = format!("{{\"sgxtcbcomponents\":[{}],\"pcesvn\":{pce_svn}}}", components.join(","));
        level(&tcb, status, "INTEL-SA-00615")
    });
    let levels: Vec<String> = levels.collect();
    format!(
        "{{\"id\":\"{}\",\"version\":3,{},\"fmspc\":\"{}\",\"pceId\":\"{}\",\"tcbType\":0,\
         \"tcbEvaluationDataNumber\":20,\"tcbLevels\":[{}]}}",
        wish.id,
        dates(wish),
        digits(&wish.fmspc),
        digits(&wish.pce_id),
        levels.join(",")
    )
}

pub(crate) fn qe_identity(wish: &Wish) -> String {
    let levels = wish.qe_levels.iter();
    let levels: Vec<String> = levels
        .map(|(svn, status)| level(&format!("{{\"isvsvn\":{svn}}}"), status, "INTEL-SA-00477"))
        .collect();
    format!(
        "{{\"id\":\"QE\",\"version\":2,{},\"tcbEvaluationDataNumber\":19,\"miscselect\":\"00000000\",\
         \"miscselectMask\":\"FFFFFFFF\",\"attributes\":\"11000000000000000000000000000000\",\
         \"attributesMask\":\"FBFFFFFFFFFFFFFF0000000000000000\",\"mrsigner\":\"{}\",\"isvprodid\":1,\
         \"tcbLevels\":[{}]}}",
        dates(wish),
        digits(&QE_SIGNER),
        levels.join(",")
    )
}

fn dates(wish: &Wish) -> String {
    let until = UnixSeconds(wish.issued.0 + wish.lives);
    format!("\"issueDate\":\"{}\",\"nextUpdate\":\"{until}\"", wish.issued)
}

/// Intel names advisories for each level but the best.
fn level(tcb: &str, status: &str, advisory: &str) -> String {
    let advisories =
        if status == "UpToDate" { String::new() } else { format!(",\"advisoryIDs\":[\"{advisory}\"]") };
    format!("{{\"tcb\":{tcb},\"tcbDate\":\"2026-01-01T00:00:00Z\",\"tcbStatus\":\"{status}\"{advisories}}}")
}
