//! Another verifier's judgement: the crate `dcap-qvl`, which shares no code with the runtime's verifier.
//!
//! It accepts some quotes that the runtime's refuses, for example with bytes after the end. So it never
//! decides alone about an SGX enclave. About trust domains of Intel TDX it does.

use dcap_qvl::{
    QuoteCollateralV3,
    quote::Report,
    verify::{QuoteVerifier, VerifiedReport},
};
use fl_engine::{Digest, plan::roster::UnixSeconds};
use fl_runtime::internal::trust::evidence::{Collateral, Root};

use crate::exit::{Exit, Failure};

/// What the other verifier read in the quote of an enclave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opinion {
    /// Intel's word.
    pub status: String,
    /// MRENCLAVE.
    pub mrenclave: [u8; 32],
    /// What the enclave put into its report.
    pub report_data: [u8; 64],
}

/// A trust domain of Intel TDX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustDomain {
    /// Measurement of the virtual firmware.
    pub mrtd: [u8; 48],
    /// Measurements that firmware and kernel extend.
    pub rtmr: [[u8; 48]; 4],
    /// What the domain put into its report.
    pub report_data: [u8; 64],
    /// Intel's word.
    pub status: String,
    /// Intel's advisories.
    pub advisories: Vec<String>,
}

/// The opinion about an SGX enclave.
///
/// # Errors
/// Why the other verifier refuses the quote, in its words.
pub fn enclave(
    quote: &[u8],
    collateral: &Collateral,
    root: Root,
    now: UnixSeconds,
) -> Result<Opinion, String> {
    let VerifiedReport { status, report, .. } = ask(quote, collateral, root, now)?;
    match report {
        Report::SgxEnclave(report) => {
            Ok(Opinion { status, mrenclave: report.mr_enclave, report_data: report.report_data })
        }
        _ => Err("the quote does not come from an SGX enclave".to_owned()),
    }
}

/// The verdict on a trust domain.
///
/// # Errors
/// [`Exit::Evidence`].
pub fn trust_domain(
    quote: &[u8],
    collateral: &Collateral,
    root: Root,
    now: UnixSeconds,
) -> Result<TrustDomain, Failure> {
    let refused = |why: String| {
        Failure::new(Exit::Evidence, format!("the second verifier refuses the quote: {why}"))
            .reason("trust_domain")
    };
    let VerifiedReport { status, advisory_ids: advisories, report, .. } =
        ask(quote, collateral, root, now).map_err(refused)?;
    let report = report.as_td10().ok_or_else(|| refused("it comes from no trust domain".to_owned()))?;
    Ok(TrustDomain {
        mrtd: report.mr_td,
        rtmr: [report.rt_mr0, report.rt_mr1, report.rt_mr2, report.rt_mr3],
        report_data: report.report_data,
        status,
        advisories,
    })
}

fn ask(
    quote: &[u8],
    collateral: &Collateral,
    root: Root,
    now: UnixSeconds,
) -> Result<VerifiedReport, String> {
    let Collateral { root_crl, pck_crls, tcb_infos, qe_identity } = collateral;
    let root = root_certificate(&qe_identity.issuer_chain, root)
        .ok_or_else(|| "the collateral does not end in Intel's root certificate".to_owned())?;
    let verifier = QuoteVerifier::new(root);
    // It takes the collateral of one processor and one authority: one of the combinations fits.
    let mut why = "the collateral describes no processor".to_owned();
    for info in tcb_infos {
        for pck_crl in pck_crls {
            let one = QuoteCollateralV3 {
                pck_crl_issuer_chain: String::new(),
                root_ca_crl: root_crl.clone(),
                pck_crl: pck_crl.clone(),
                tcb_info_issuer_chain: info.issuer_chain.clone(),
                tcb_info: info.text.clone(),
                tcb_info_signature: info.signature.to_vec(),
                qe_identity_issuer_chain: qe_identity.issuer_chain.clone(),
                qe_identity: qe_identity.text.clone(),
                qe_identity_signature: qe_identity.signature.to_vec(),
                // The quote has to bring its own certificates.
                pck_certificate_chain: None,
            };
            match verifier.verify(quote, &one, now.0) {
                Ok(report) => return Ok(report),
                Err(error) => why = format!("{error:#}"),
            }
        }
    }
    Err(why)
}

/// The certificate of `root` in DER, out of a chain in PEM that should end in it.
fn root_certificate(chain: &str, root: Root) -> Option<Vec<u8>> {
    let certificates = pem::parse_many(chain).ok()?;
    let last = certificates.last()?.contents().to_vec();
    (Digest::of(&last) == root.0).then_some(last)
}
