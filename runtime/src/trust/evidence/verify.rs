//! From a quote to what Intel vouches for: signatures, certificates, revocation, levels. No policy.
//!
//! What is signed is parsed only after its signature was checked, except for the places of a quote's parts:
//! the keys that check the quote are among them.
//!
//! ```text
//! root ─▶ PCK CA ─▶ processor ─▶ report of the quoting enclave ─▶ attestation key ─▶ quote
//!   │        └────▶ revocation list
//!   ├─▶ TCB signer ─▶ TCB info (processor's levels), QE identity (quoting enclave)
//!   └─▶ revocation list
//! ```

use std::{collections::BTreeMap, fmt};

use fl_engine::{
    hex,
    plan::roster::{TcbStatus, UnixSeconds},
};
use ring::digest::{SHA256, digest};

use super::{
    chain::{Chain, ChainError, Holder, RevocationLists, Root, certificates, is_signed},
    collateral::{Collateral, Statement},
    pck::Processor,
    quote::Quote,
    refusal::{NotVerified, Signed},
    tcb::{QuotingEnclave, TcbInfo, Term},
    verified::{Enclave, Measured, Verified},
};

/// Collateral whose signatures were checked.
#[derive(Debug)]
pub struct TrustedCollateral {
    root: Root,
    lists: RevocationLists,
    /// With the last second of their signer's certificates.
    tcb_infos: Vec<(TcbInfo, UnixSeconds)>,
    quoting_enclave: (QuotingEnclave, UnixSeconds),
}

/// What one part of collateral is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// A revocation list, by its issuer.
    List(Vec<u8>),
    /// A kind of processor.
    TcbInfo([u8; 6]),
    /// The quoting enclave.
    QeIdentity,
}

impl TrustedCollateral {
    /// Checks the signatures of `collateral` under `root`, at the time `now`. The revocation lists of Intel's
    /// authorities for processors are checked with the first quote that needs them.
    ///
    /// # Errors
    /// [`NotVerified`]. An expired TCB info is refused with the quote that needs it.
    pub fn check(collateral: &Collateral, root: Root, now: UnixSeconds) -> Result<Self, NotVerified> {
        let lists: Vec<&[u8]> =
            std::iter::once(&collateral.root_crl).chain(&collateral.pck_crls).map(Vec::as_slice).collect();
        let lists = RevocationLists::parse(&lists).ok_or(NotVerified::Lists)?;
        let signed = |statement: &Statement, holder: Holder, what: Signed| {
            let refused = |error: ChainError| NotVerified::Chain(holder, error);
            // The signer stands directly under the root: no authority for processors signs such a text.
            let chain = Chain::parse(statement.issuer_chain.as_bytes(), 2, root).map_err(refused)?;
            let until = chain.check(&lists, now).map_err(refused)?;
            match chain.has_signed(statement.text.as_bytes(), &statement.signature).map_err(refused)? {
                true => Ok(until),
                false => Err(NotVerified::Signature(what)),
            }
        };
        let mut tcb_infos: Vec<(TcbInfo, UnixSeconds)> = Vec::new();
        for statement in &collateral.tcb_infos {
            let until = signed(statement, Holder::TcbInfoSigner, Signed::TcbInfo)?;
            let info = TcbInfo::parse(&statement.text).map_err(|e| NotVerified::Text(Signed::TcbInfo, e))?;
            if tcb_infos.iter().any(|(other, _)| other.fmspc == info.fmspc) {
                return Err(NotVerified::ProcessorTwice);
            }
            tcb_infos.push((info, until));
        }
        let statement = &collateral.qe_identity;
        let until = signed(statement, Holder::QuotingEnclaveSigner, Signed::QeIdentity)?;
        let quoting_enclave =
            QuotingEnclave::parse(&statement.text).map_err(|e| NotVerified::Text(Signed::QeIdentity, e))?;
        Ok(Self { root, lists, tcb_infos, quoting_enclave: (quoting_enclave, until) })
    }

    /// The last second in which all of the collateral is valid.
    #[must_use]
    pub fn good_until(&self) -> UnixSeconds {
        let (quoting_enclave, until) = &self.quoting_enclave;
        let infos = self.tcb_infos.iter().map(|(info, until)| info.term.until.min(*until));
        infos.fold(self.lists.term.until.min(quoting_enclave.term.until).min(*until), Ord::min)
    }

    /// When Intel issued the newest part: it is not earlier now.
    #[must_use]
    pub fn issued(&self) -> UnixSeconds {
        let infos = self.tcb_infos.iter().map(|(info, _)| info.term.issued);
        infos.fold(self.quoting_enclave.0.term.issued, Ord::max)
    }

    /// When Intel issued each part.
    pub(super) fn parts(&self) -> BTreeMap<Part, UnixSeconds> {
        let lists = self.lists.issued.iter().map(|(issuer, issued)| (Part::List(issuer.clone()), *issued));
        let infos = self.tcb_infos.iter().map(|(info, _)| (Part::TcbInfo(info.fmspc), info.term.issued));
        let identity = (Part::QeIdentity, self.quoting_enclave.0.term.issued);
        let mut parts = BTreeMap::from([identity]);
        for (part, issued) in lists.chain(infos) {
            // Of two lists of one issuer the older one counts.
            parts.entry(part).and_modify(|other| *other = issued.min(*other)).or_insert(issued);
        }
        parts
    }

    /// The kinds of processors (FMSPC) that the collateral describes.
    #[must_use]
    pub fn processors(&self) -> Vec<[u8; 6]> {
        self.tcb_infos.iter().map(|(info, _)| info.fmspc).collect()
    }

    /// Verifies a quote at the time `now`.
    ///
    /// # Errors
    /// [`NotVerified`]. An enclave in debug mode is always refused; the error says what else was verified.
    pub fn verify(&self, quote: &[u8], now: UnixSeconds) -> Result<Verified, NotVerified> {
        let quote = Quote::parse(quote)?;
        let refused = |error: ChainError| NotVerified::Chain(Holder::Processor, error);
        in_time(Signed::List, self.lists.term, now)?;
        let chain = Chain::parse(quote.certificates, 3, self.root).map_err(refused)?;
        let chain_until = chain.check(&self.lists, now).map_err(refused)?;
        let processor = Processor::of(chain.holder())?;

        let report = quote.quoting_enclave;
        if !chain.has_signed(report.bytes(), quote.quoting_enclave_signature).map_err(refused)? {
            return Err(NotVerified::Signature(Signed::QeReport));
        }
        let bound = digest(&SHA256, &[&quote.attestation_key[..], quote.authentication].concat());
        let data = report.data();
        let (hash, zeros) = data.split_at(32);
        if bound.as_ref() != hash || zeros.iter().any(|byte| *byte != 0) {
            return Err(NotVerified::OtherKey);
        }
        let point = [&[UNCOMPRESSED], &quote.attestation_key[..]].concat();
        if !is_signed(&point, quote.signed, quote.signature) {
            return Err(NotVerified::Signature(Signed::Quote));
        }

        let (info, info_until) = self
            .tcb_infos
            .iter()
            .find(|(info, _)| info.fmspc == processor.fmspc)
            .ok_or(NotVerified::OtherProcessor)?;
        let (quoting_enclave, enclave_until) = &self.quoting_enclave;
        in_time(Signed::TcbInfo, info.term, now)?;
        in_time(Signed::QeIdentity, quoting_enclave.term, now)?;
        if info.pce_id != processor.pce_id {
            return Err(NotVerified::OtherPce);
        }
        if !quoting_enclave.is(report) {
            return Err(NotVerified::QuotingEnclave);
        }
        let of_enclave = quoting_enclave.verdict(report.svn()).ok_or(NotVerified::QuotingEnclaveTooOld)?;
        let of_processor = info.verdict(&processor).ok_or(NotVerified::NoLevel)?;
        let status = of_processor.status.with_quoting_enclave(of_enclave.status);
        if status == TcbStatus::Revoked {
            return Err(NotVerified::Revoked);
        }
        let ends = [
            chain_until,
            self.lists.term.until,
            info.term.until,
            *info_until,
            quoting_enclave.term.until,
            *enclave_until,
        ];
        let enclave = Enclave::of(quote.report());
        let verified = Verified {
            measured: Measured::Sgx(enclave),
            report_data: quote.report().data(),
            status,
            advisories: &of_processor.advisories | &of_enclave.advisories,
            evaluation: info.evaluation.min(quoting_enclave.evaluation),
            issued: info.term.issued.max(quoting_enclave.term.issued),
            good_until: ends.into_iter().fold(ends[0], Ord::min),
            platform: processor.platform,
        };
        if enclave.debug { Err(NotVerified::Debug(Box::new(verified))) } else { Ok(verified) }
    }
}

/// The kind of processor (FMSPC) that a quote claims to come from. Nothing is checked.
///
/// # Errors
/// [`NotVerified`] for bytes that are not a quote with certificates.
pub fn claimed_processor(quote: &[u8]) -> Result<[u8; 6], NotVerified> {
    let refused = |error: ChainError| NotVerified::Chain(Holder::Processor, error);
    let chain = certificates(Quote::parse(quote)?.certificates).map_err(refused)?;
    let holder = chain.first().ok_or(refused(ChainError::Number { found: 0, needed: 3 }))?;
    Ok(Processor::of(holder)?.fmspc)
}

fn in_time(what: Signed, term: Term, now: UnixSeconds) -> Result<(), NotVerified> {
    match term.contains(now) {
        true => Ok(()),
        false if now < term.issued => Err(NotVerified::Early(what, term.issued)),
        false => Err(NotVerified::Late(what, term.until)),
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(_) => f.write_str("a revocation list"),
            Self::TcbInfo(fmspc) => write!(f, "the TCB info of the FMSPC {}", hex::digits(fmspc)),
            Self::QeIdentity => f.write_str("the QE identity"),
        }
    }
}

/// Begins a point of which both coordinates follow.
const UNCOMPRESSED: u8 = 4;
