//! `fl-host attest`: the command line of [`crate::attest`].

use std::path::{Path, PathBuf};

use argh::FromArgs;
use fl_engine::{hex::digits, plan::roster::UnixSeconds};
use fl_runtime::internal::trust::{
    FlooredClock,
    evidence::{Enclave, Measured, Root, Verified},
};
use serde_json::{Value, json};

use super::Answer;
use crate::{
    attest::{self, Examined, fetched, second_opinion::TrustDomain},
    exit::{Exit, Failure},
    files,
    machine::machine,
};

/// Show and verify what proves which program a member runs. Needs no SGX hardware.
#[derive(FromArgs)]
#[argh(subcommand, name = "attest")]
pub(super) struct AttestArea {
    #[argh(subcommand)]
    command: AttestCommand,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum AttestCommand {
    Show(AttestShow),
    Collateral(AttestCollateral),
    Verify(AttestVerify),
}

/// Show what a quote claims, and how to fetch the collateral that verifies the quote. Nothing is verified.
#[derive(FromArgs)]
#[argh(subcommand, name = "show")]
struct AttestShow {
    /// the quote of an SGX enclave
    #[argh(positional)]
    file: PathBuf,
}

/// Make one collateral file of what was fetched from Intel, and check Intel's signatures.
#[derive(FromArgs)]
#[argh(subcommand, name = "collateral")]
struct AttestCollateral {
    /// the folder of the fetched files
    #[argh(positional)]
    folder: PathBuf,
    /// the file to write; plan/collateral.json by default
    #[argh(option, default = "PathBuf::from(\"plan/collateral.json\")")]
    output: PathBuf,
}

/// Verify the quote of an enclave with Intel's collateral. Opens no connection.
#[derive(FromArgs)]
#[argh(subcommand, name = "verify")]
struct AttestVerify {
    /// the quote of an enclave of SGX, or of a trust domain of TDX
    #[argh(positional)]
    evidence: PathBuf,
    /// the collateral, from `fl-host attest collateral` or in the common form for one processor
    #[argh(option)]
    collateral: PathBuf,
    /// the federation's roster, cols.yaml: the enclave has to be one that the roster lists
    #[argh(option)]
    roster: Option<PathBuf>,
    /// with --roster: the federation's ca.crt; cert/ca.crt by default
    #[argh(option, default = "PathBuf::from(\"cert/ca.crt\")")]
    ca: PathBuf,
    /// judge as of this time, YYYY-MM-DDThh:mm:ssZ; now by default
    #[argh(option)]
    at: Option<UnixSeconds>,
}

pub(super) fn run(area: &AttestArea) -> Result<Answer, Failure> {
    match &area.command {
        AttestCommand::Show(command) => show(command),
        AttestCommand::Collateral(command) => collateral(command),
        AttestCommand::Verify(command) => verify(command),
    }
}

fn show(command: &AttestShow) -> Result<Answer, Failure> {
    let quote = attest::read_quote(&command.file)?;
    let shown = attest::show(&quote).map_err(|f| of_file(&command.file, f))?;
    let (text, mut json) = enclave(&shown.enclave, &shown.report_data);
    let processor = attest::fmspc(shown.processor);
    let lines = fetched::lines(shown.processor);
    json["fmspc"] = json!(processor);
    json["fetch"] = json!(lines);
    let text = format!(
        "{text}processor    {processor} (FMSPC)\nverified     no: these are claims until `fl-host attest verify` has \
         checked them\n\nTo fetch the collateral, run these lines in an empty folder, on a machine with access to the \
         Internet:\n\n{}\n\nThen run `fl-host attest collateral FOLDER`.\n",
        lines.map(|line| format!("  {line}")).join("\n")
    );
    Ok(Answer { text, json })
}

fn collateral(command: &AttestCollateral) -> Result<Answer, Failure> {
    let now = now();
    let (collateral, trusted) = fetched::read(&command.folder, Root::INTEL, now)?;
    files::replace(&command.output, collateral.render().as_bytes())?;
    let processors: Vec<String> = trusted.processors().into_iter().map(attest::fmspc).collect();
    let text = format!(
        "collateral   {}\nprocessors   {} (FMSPC)\nissued       {}\ngood until   {}{}\n",
        command.output.display(),
        processors.join(", "),
        trusted.issued(),
        trusted.good_until(),
        days(trusted.good_until(), now),
    );
    let json = json!({
        "collateral": command.output, "processors": processors, "issued": trusted.issued().to_string(),
        "good_until": trusted.good_until().to_string(),
    });
    Ok(Answer { text, json })
}

fn verify(command: &AttestVerify) -> Result<Answer, Failure> {
    let quote = attest::read_quote(&command.evidence)?;
    let collateral = attest::read_collateral(&command.collateral)?;
    let roster =
        command.roster.as_ref().map(|roster| attest::read_roster(roster, &command.ca)).transpose()?;
    let now = command.at.unwrap_or_else(now);
    let examined = attest::examine(&quote, &collateral, Root::INTEL, now);
    let verified = match examined.map_err(|f| of_file(&command.evidence, f))? {
        Examined::Sgx(verified) => verified,
        Examined::Tdx(_) if roster.is_some() => {
            return Err(Failure::new(
                Exit::Evidence,
                "a roster lists enclaves of SGX, and the quote comes from TDX",
            )
            .reason("quote_kind"));
        }
        Examined::Tdx(domain) => return Ok(trust_domain(&domain)),
    };
    let mut answer = sgx(&verified, now)?;
    if let (Some(roster), Measured::Sgx(enclave)) = (roster, verified.measured()) {
        let role = attest::role_of(enclave, roster.accepted().as_deref())?;
        answer.text += &format!("listed       as {role}, on the roster with serial {}\n", roster.serial());
        answer.json["role"] = json!(role.as_str());
        answer.json["serial"] = json!(roster.serial());
    }
    Ok(answer)
}

/// What both verifiers agree on.
fn sgx(verified: &Verified, now: UnixSeconds) -> Result<Answer, Failure> {
    let Measured::Sgx(measured) = verified.measured() else {
        return Err(Failure::new(Exit::Failed, "fl-host knows the verdict on SGX enclaves only"));
    };
    let (mut text, mut json) = enclave(measured, verified.report_data());
    let advisories: Vec<&str> = verified.advisories().iter().map(String::as_str).collect();
    let shown = if advisories.is_empty() { "none".to_owned() } else { advisories.join(", ") };
    text += &format!(
        "status       {}\nadvisories   {shown}\nevaluation   {}\nplatform     {}\ngood until   {}{}\n",
        verified.status(),
        verified.evaluation(),
        verified.platform(),
        verified.good_until(),
        days(verified.good_until(), now),
    );
    if let Some(advice) = attest::advice(verified.status()) {
        text += &format!("warning: {advice}\n");
    }
    text +=
        "verified     signatures, certificates and revocation lists; a second verifier (dcap-qvl) agrees\n";
    json["status"] = json!(verified.status().as_str());
    json["advisories"] = json!(advisories);
    json["evaluation"] = json!(verified.evaluation());
    json["platform"] = json!(verified.platform().to_string());
    json["issued"] = json!(verified.issued().to_string());
    json["good_until"] = json!(verified.good_until().to_string());
    Ok(Answer { text, json })
}

fn trust_domain(domain: &TrustDomain) -> Answer {
    let measured = [("MRTD", &domain.mrtd), ("RTMR0", &domain.rtmr[0]), ("RTMR1", &domain.rtmr[1])];
    let measured = measured.into_iter().chain([("RTMR2", &domain.rtmr[2]), ("RTMR3", &domain.rtmr[3])]);
    let measured: Vec<(&str, String)> = measured.map(|(name, bytes)| (name, digits(bytes))).collect();
    let mut text = "kind         trust domain of Intel TDX\n".to_owned();
    let mut json = json!({"kind": "tdx", "status": domain.status, "advisories": domain.advisories});
    for (name, digits) in &measured {
        text += &format!("{name:<13}{digits}\n");
        json[name.to_ascii_lowercase()] = json!(digits);
    }
    let advisories =
        if domain.advisories.is_empty() { "none".to_owned() } else { domain.advisories.join(", ") };
    text += &format!(
        "report data  {}\nstatus       {}\nadvisories   {advisories}\nverified     by one verifier alone (dcap-qvl)\n",
        digits(&domain.report_data),
        domain.status
    );
    json["report_data"] = json!(digits(&domain.report_data));
    Answer { text, json }
}

fn enclave(enclave: &Enclave, report_data: &[u8; 64]) -> (String, Value) {
    let Enclave { mrenclave, mrsigner, product, svn, debug } = enclave;
    let data = digits(report_data);
    let shown = if *debug { "yes: the host can read the enclave's memory" } else { "no" };
    let text = format!(
        "kind         SGX enclave\nMRENCLAVE    {mrenclave}\nMRSIGNER     {mrsigner}\nproduct      {product}\nsvn          \
         {svn}\ndebug        {shown}\nreport data  {data}\n"
    );
    let json = json!({
        "kind": "sgx", "mrenclave": mrenclave.to_string(), "mrsigner": mrsigner.to_string(), "isvprodid": product,
        "isvsvn": svn, "debug": debug, "report_data": data,
    });
    (text, json)
}

/// Names the file in a refusal.
fn of_file(file: &Path, failure: Failure) -> Failure {
    Failure { error: format!("{} is refused: {}", file.display(), failure.error), ..failure }
}

/// ` (in 12 days)`, a part of a day not counted.
fn days(until: UnixSeconds, now: UnixSeconds) -> String {
    match until.0.checked_sub(now.0) {
        Some(left) if left < DAY => " (today)".to_owned(),
        Some(left) if left < 2 * DAY => " (in 1 day)".to_owned(),
        Some(left) => format!(" (in {} days)", left / DAY),
        None => " (over)".to_owned(),
    }
}

fn now() -> UnixSeconds {
    FlooredClock::of(&machine().clock).now()
}

/// Seconds.
const DAY: u64 = 86_400;

#[cfg(test)]
mod tests;
