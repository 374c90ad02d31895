//! Intel's lists of security versions: the TCB info of a kind of processor, and the identity of the quoting
//! enclave. The caller has checked their signatures.

use std::{cmp::Reverse, collections::BTreeSet};

use fl_engine::{
    hex,
    plan::roster::{TcbStatus, UnixSeconds},
};
use serde::Deserialize;

use super::{pck::Processor, quote::Report};

/// The first and the last second in which a statement of Intel's is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Term {
    pub(super) issued: UnixSeconds,
    pub(super) until: UnixSeconds,
}

/// The levels of a kind of processor.
#[derive(Clone, Debug)]
pub(super) struct TcbInfo {
    pub(super) term: Term,
    pub(super) evaluation: u32,
    pub(super) fmspc: [u8; 6],
    pub(super) pce_id: [u8; 2],
    /// The highest first.
    levels: Vec<Level>,
}

#[derive(Clone, Debug)]
struct Level {
    components: [u8; 16],
    pce_svn: u16,
    verdict: Verdict,
}

/// Intel's verdict on a level.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) status: TcbStatus,
    pub(super) advisories: BTreeSet<String>,
}

/// What Intel's quoting enclave looks like in its report.
#[derive(Clone, Debug)]
pub(super) struct QuotingEnclave {
    pub(super) term: Term,
    pub(super) evaluation: u32,
    miscellaneous: Masked<4>,
    attributes: Masked<16>,
    mrsigner: [u8; 32],
    product: u16,
    /// The highest security version first.
    levels: Vec<(u16, Verdict)>,
}

/// The bits that a report must have where the mask is set.
#[derive(Clone, Debug)]
struct Masked<const N: usize> {
    bits: [u8; N],
    mask: [u8; N],
}

impl TcbInfo {
    /// Reads a TCB info, version 3 of SGX. `Err` says what is wrong, in words that follow its name.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let json: TcbInfoJson = serde_json::from_str(text).map_err(|e| format!("cannot be read: {e}"))?;
        if (json.id.as_str(), json.version, json.tcb_type) != ("SGX", 3, 0) {
            return Err(format!(
                "is for {} in version {}; version 3 for SGX is needed",
                json.id, json.version
            ));
        }
        let level = |level: LevelJson| {
            let components: Vec<u8> =
                level.tcb.sgxtcbcomponents.iter().map(|component| component.svn).collect();
            Ok(Level {
                components: components.try_into().map_err(|_| "has a level without sixteen components")?,
                pce_svn: level.tcb.pcesvn,
                verdict: Verdict { status: level.tcb_status, advisories: level.advisories },
            })
        };
        let mut levels: Vec<Level> = json.tcb_levels.into_iter().map(level).collect::<Result<_, &str>>()?;
        // Intel sorts them too; the signed text is not trusted to be in order.
        levels.sort_by_key(|level| Reverse((level.components, level.pce_svn)));
        Ok(Self {
            term: term(&json.issue_date, &json.next_update)?,
            evaluation: json.tcb_evaluation_data_number,
            fmspc: hex::array(&json.fmspc).ok_or("has an unreadable FMSPC")?,
            pce_id: hex::array(&json.pce_id).ok_or("has an unreadable PCE id")?,
            levels,
        })
    }

    /// Intel's verdict on the highest level that the processor reaches.
    pub(super) fn verdict(&self, processor: &Processor) -> Option<&Verdict> {
        let reaches = |level: &&Level| {
            processor.pce_svn >= level.pce_svn
                && processor.components.iter().zip(&level.components).all(|(has, needed)| has >= needed)
        };
        self.levels.iter().find(reaches).map(|level| &level.verdict)
    }
}

impl QuotingEnclave {
    /// Reads the identity of SGX's quoting enclave, version 2. `Err` says what is wrong, in words that follow
    /// its name.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let json: IdentityJson = serde_json::from_str(text).map_err(|e| format!("cannot be read: {e}"))?;
        if (json.id.as_str(), json.version) != ("QE", 2) {
            return Err(format!(
                "is for {} in version {}; version 2 for QE is needed",
                json.id, json.version
            ));
        }
        let mut levels: Vec<(u16, Verdict)> = json
            .tcb_levels
            .into_iter()
            .map(|level| {
                (level.tcb.isvsvn, Verdict { status: level.tcb_status, advisories: level.advisories })
            })
            .collect();
        levels.sort_by_key(|(svn, _)| Reverse(*svn));
        Ok(Self {
            term: term(&json.issue_date, &json.next_update)?,
            evaluation: json.tcb_evaluation_data_number,
            miscellaneous: Masked::parse(&json.miscselect, &json.miscselect_mask)?,
            attributes: Masked::parse(&json.attributes, &json.attributes_mask)?,
            mrsigner: hex::array(&json.mrsigner).ok_or("has an unreadable MRSIGNER")?,
            product: json.isvprodid,
            levels,
        })
    }

    /// Whether the report is one of this quoting enclave, in some security version, and not in debug mode.
    pub(super) fn is(&self, report: Report<'_>) -> bool {
        report.mrsigner() == self.mrsigner
            && report.product() == self.product
            && self.miscellaneous.fits(report.miscellaneous().to_le_bytes())
            && self.attributes.fits(report.attributes())
            && !report.is_debug()
    }

    /// Intel's verdict on the quoting enclave's security version.
    pub(super) fn verdict(&self, svn: u16) -> Option<&Verdict> {
        self.levels.iter().find(|(least, _)| svn >= *least).map(|(_, verdict)| verdict)
    }
}

impl<const N: usize> Masked<N> {
    fn parse(bits: &str, mask: &str) -> Result<Self, String> {
        let array = |text| hex::array(text).ok_or("has an unreadable set of flags");
        Ok(Self { bits: array(bits)?, mask: array(mask)? })
    }

    fn fits(&self, bits: [u8; N]) -> bool {
        let Self { bits: wanted, mask } = self;
        bits.iter().zip(wanted).zip(mask).all(|((bits, wanted), mask)| bits & mask == wanted & mask)
    }
}

impl Term {
    pub(super) fn contains(self, now: UnixSeconds) -> bool {
        (self.issued..=self.until).contains(&now)
    }
}

fn term(issued: &str, until: &str) -> Result<Term, String> {
    let instant = |text: &str| text.parse().map_err(|_| format!("has an unreadable date, {text:?}"));
    Ok(Term { issued: instant(issued)?, until: instant(until)? })
}

// Intel adds keys from time to time: others are skipped.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TcbInfoJson {
    id: String,
    version: u32,
    issue_date: String,
    next_update: String,
    fmspc: String,
    pce_id: String,
    tcb_type: u32,
    tcb_evaluation_data_number: u32,
    tcb_levels: Vec<LevelJson>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LevelJson {
    tcb: VersionsJson,
    tcb_status: TcbStatus,
    #[serde(rename = "advisoryIDs", default)]
    advisories: BTreeSet<String>,
}

#[derive(Deserialize)]
struct VersionsJson {
    sgxtcbcomponents: Vec<ComponentJson>,
    pcesvn: u16,
}

#[derive(Deserialize)]
struct ComponentJson {
    svn: u8,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IdentityJson {
    id: String,
    version: u32,
    issue_date: String,
    next_update: String,
    tcb_evaluation_data_number: u32,
    miscselect: String,
    miscselect_mask: String,
    attributes: String,
    attributes_mask: String,
    mrsigner: String,
    isvprodid: u16,
    tcb_levels: Vec<IdentityLevelJson>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IdentityLevelJson {
    tcb: IdentityVersionJson,
    tcb_status: TcbStatus,
    #[serde(rename = "advisoryIDs", default)]
    advisories: BTreeSet<String>,
}

#[derive(Deserialize)]
struct IdentityVersionJson {
    isvsvn: u16,
}
