//! `fl-host pki`: the command line of [`crate::pki`].

mod passphrase;

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
};

use argh::FromArgs;
use fl_engine::{
    Name, RoundNo,
    limits::PLAN_FILE_BYTES,
    plan::roster::{Accepted, Measurement, Measurements, Resumption, RosterError},
    printable::printable,
};
use fl_runtime::internal::trust::{Fingerprint, FlooredClock, Role};
use serde_json::json;

use super::Answer;
use crate::{
    exit::{Exit, Failure},
    files,
    machine::machine,
    pki::{self, Approval, Init, Issued, Listed, Owner, Withdrawal},
    plan,
    workspace::Workspace,
};

/// Keys, certificates and the roster of a federation: some commands are the owner's, some a site's.
#[derive(FromArgs)]
#[argh(subcommand, name = "pki")]
pub(super) struct PkiArea {
    #[argh(subcommand)]
    command: PkiCommand,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum PkiCommand {
    Init(PkiInit),
    Request(PkiRequest),
    Show(PkiShow),
    Approve(PkiApprove),
    Import(PkiImport),
    Renew(PkiRenew),
    List(PkiList),
    Revoke(PkiRevoke),
    Resume(PkiResume),
    Sign(PkiSign),
}

/// Owner: make the federation's certificate authority (CA) and an empty roster.
#[derive(FromArgs)]
#[argh(subcommand, name = "init")]
struct PkiInit {
    /// the federation's name; the name in plan/plan.yaml by default
    #[argh(option)]
    federation: Option<Name>,
    /// years until the CA's certificate expires; 10 by default
    #[argh(option, default = "Init::default().years")]
    years: u32,
    /// ask for a passphrase on the terminal, and encrypt the CA's key with it
    #[argh(switch)]
    ask_passphrase: bool,
    /// encrypt the CA's key with the passphrase in this file
    #[argh(option)]
    passphrase_file: Option<PathBuf>,
    /// the workspace; the current folder by default
    #[argh(option, default = "PathBuf::from(\".\")")]
    workspace: PathBuf,
}

/// Site: make a key, and a certificate request to send to the owner.
#[derive(FromArgs)]
#[argh(subcommand, name = "request")]
struct PkiRequest {
    /// aggregator or collaborator
    #[argh(option)]
    role: Role,
    /// the collaborator's name
    #[argh(option, short = 'n')]
    name: Option<Name>,
    /// the workspace; the current folder by default
    #[argh(option, default = "PathBuf::from(\".\")")]
    workspace: PathBuf,
    /// make a key although cert/ has another member's certificate
    #[argh(switch)]
    new: bool,
}

/// Show who a request or a certificate is for, and the fingerprint of its key. Nothing is signed.
#[derive(FromArgs)]
#[argh(subcommand, name = "show")]
struct PkiShow {
    /// a site's request, a .csr file, or a certificate, a .crt file
    #[argh(positional)]
    file: PathBuf,
}

/// Owner: issue a certificate for a site's request, for the role and the name that the request asks for.
#[derive(FromArgs)]
#[argh(subcommand, name = "approve")]
struct PkiApprove {
    /// the site's request, a .csr file
    #[argh(positional)]
    request: PathBuf,
    /// aggregator or collaborator; the request's role by default
    #[argh(option)]
    role: Option<Role>,
    /// the member's name; the request's name by default
    #[argh(option, short = 'n')]
    name: Option<Name>,
    /// the fingerprint that the site read to you; a request for another key is refused
    #[argh(option)]
    fingerprint: Option<String>,
    /// do not ask on the terminal whether the fingerprint is right
    #[argh(switch)]
    yes: bool,
    /// allow another role or name than the request's; a member on the roster gets the new name
    #[argh(switch)]
    rename: bool,
    /// give the name to the key of this request: the key that has the name now is revoked
    #[argh(switch)]
    replace: bool,
    /// days until the certificate expires; 365 by default
    #[argh(option, default = "365")]
    days: u32,
    /// the image's .measurement.json, if members run enclaves: the roster then lists its measurements
    #[argh(option)]
    measurement: Option<PathBuf>,
    /// the file with the CA key's passphrase; the variable FL_PASSPHRASE_FILE can name it instead
    #[argh(option)]
    passphrase_file: Option<PathBuf>,
    /// the workspace; the current folder by default
    #[argh(option, default = "PathBuf::from(\".\")")]
    workspace: PathBuf,
}

/// Site: install the certificate that the owner sent.
#[derive(FromArgs)]
#[argh(subcommand, name = "import")]
struct PkiImport {
    /// the certificate, a .crt file
    #[argh(positional)]
    certificate: PathBuf,
    /// the federation's ca.crt; needed with the first certificate
    #[argh(option)]
    ca: Option<PathBuf>,
    /// the roster that the owner sent, cols.yaml
    #[argh(option)]
    roster: Option<PathBuf>,
    /// the workspace; the current folder by default
    #[argh(option, default = "PathBuf::from(\".\")")]
    workspace: PathBuf,
}

/// Owner: issue a new certificate for a member's present key; nothing else changes.
#[derive(FromArgs)]
#[argh(subcommand, name = "renew")]
struct PkiRenew {
    /// the member's name; for an aggregator "aggregator" by default
    #[argh(option, short = 'n')]
    name: Option<Name>,
    /// the member's role; collaborator by default
    #[argh(option, default = "Role::Collaborator")]
    role: Role,
    /// days until the certificate expires; 365 by default
    #[argh(option, default = "365")]
    days: u32,
    /// the file with the CA key's passphrase; the variable FL_PASSPHRASE_FILE can name it instead
    #[argh(option)]
    passphrase_file: Option<PathBuf>,
    /// the workspace; the current folder by default
    #[argh(option, default = "PathBuf::from(\".\")")]
    workspace: PathBuf,
}

/// Owner or site: list the members, their keys, and when their certificates expire.
#[derive(FromArgs)]
#[argh(subcommand, name = "list")]
struct PkiList {
    /// the workspace; the current folder by default
    #[argh(option, default = "PathBuf::from(\".\")")]
    workspace: PathBuf,
}

/// Owner: remove a member from the federation.
#[derive(FromArgs)]
#[argh(subcommand, name = "revoke")]
struct PkiRevoke {
    /// the member's name
    #[argh(option, short = 'n')]
    name: Name,
    /// aggregator or collaborator; needed only if an aggregator and a collaborator have this name
    #[argh(option)]
    role: Option<Role>,
    /// the reason; every member can read it on the roster
    #[argh(option, default = "String::from(\"by the owner\")")]
    reason: String,
    /// the file with the CA key's passphrase; the variable FL_PASSPHRASE_FILE can name it instead
    #[argh(option)]
    passphrase_file: Option<PathBuf>,
    /// the workspace; the current folder by default
    #[argh(option, default = "PathBuf::from(\".\")")]
    workspace: PathBuf,
}

/// Owner: take the run back to the model after a round, and leave members out from there.
#[derive(FromArgs)]
#[argh(subcommand, name = "resume")]
struct PkiResume {
    /// the round whose model the run continues from; rounds count from 0
    #[argh(option)]
    round: u32,
    /// a member that is left out, and revoked; give the option once for each member
    #[argh(option)]
    without: Vec<Name>,
    /// the reason; every member can read it on the roster
    #[argh(option, default = "String::from(\"withdrawn by the owner\")")]
    reason: String,
    /// the file with the CA key's passphrase; the variable FL_PASSPHRASE_FILE can name it instead
    #[argh(option)]
    passphrase_file: Option<PathBuf>,
    /// the workspace; the current folder by default
    #[argh(option, default = "PathBuf::from(\".\")")]
    workspace: PathBuf,
}

/// Owner: sign the roster again, so that it stays valid for another year.
#[derive(FromArgs)]
#[argh(subcommand, name = "sign")]
struct PkiSign {
    /// a new image's .measurement.json: its measurements replace those on the roster
    #[argh(option)]
    measurement: Option<PathBuf>,
    /// a file with the section `attestation`, the enclaves and platforms that are accepted: it replaces the
    /// roster's
    #[argh(option)]
    attestation: Option<PathBuf>,
    /// the file with the CA key's passphrase; the variable FL_PASSPHRASE_FILE can name it instead
    #[argh(option)]
    passphrase_file: Option<PathBuf>,
    /// the workspace; the current folder by default
    #[argh(option, default = "PathBuf::from(\".\")")]
    workspace: PathBuf,
}

pub(super) fn run(area: &PkiArea) -> Result<Answer, Failure> {
    let mut answer = answer(area)?;
    let named = match &area.command {
        PkiCommand::Init(command) => &command.passphrase_file,
        PkiCommand::Approve(command) => &command.passphrase_file,
        PkiCommand::Renew(command) => &command.passphrase_file,
        PkiCommand::Revoke(command) => &command.passphrase_file,
        PkiCommand::Resume(command) => &command.passphrase_file,
        PkiCommand::Sign(command) => &command.passphrase_file,
        PkiCommand::Request(_) | PkiCommand::Show(_) | PkiCommand::Import(_) | PkiCommand::List(_) => {
            return Ok(answer);
        }
    };
    if let Some(warning) = passphrase::exposed(named.as_deref()) {
        answer.text += &format!("warning: {warning}\n");
        answer.json["warnings"] = json!([warning]);
    }
    Ok(answer)
}

fn answer(area: &PkiArea) -> Result<Answer, Failure> {
    match &area.command {
        PkiCommand::Init(command) => init(command),
        PkiCommand::Request(command) => request(command),
        PkiCommand::Show(command) => show(command),
        PkiCommand::Approve(command) => approve(command),
        PkiCommand::Import(command) => import(command),
        PkiCommand::Renew(command) => renew(command),
        PkiCommand::List(command) => Ok(listed(&pki::list(&command.workspace, &clock())?)),
        PkiCommand::Revoke(command) => {
            let mut owner = owner(&command.workspace, command.passphrase_file.as_deref())?;
            let (role, serial) = pki::revoke(&mut owner, command.role, &command.name, &command.reason)?;
            let sites = match role {
                Role::Aggregator => SITES_HINT,
                Role::Collaborator => "",
            };
            let text = format!("revoked      {role} {}\n{}{sites}", command.name, publish_hint(serial));
            let json = json!({"revoked": command.name.as_str(), "role": role.as_str(), "serial": serial});
            Ok(Answer { text, json })
        }
        PkiCommand::Resume(command) => resume(command),
        PkiCommand::Sign(command) => {
            let mut owner = owner(&command.workspace, command.passphrase_file.as_deref())?;
            let given = measured(&owner, command.measurement.as_deref())?;
            let accepted = command.attestation.as_deref().map(accepted).transpose()?;
            let serial = pki::sign(&mut owner, given, accepted)?;
            let until = owner.roster().not_after().to_string();
            let held = owner.roster().measurements();
            let attestation = owner.roster().attestation();
            let lines = measurement_lines(held) + &accepted_lines(attestation);
            let text = format!("good until   {until}\n{lines}{}", publish_hint(serial));
            let mut json =
                json!({"serial": serial, "not_after": until, "measurements": measurements_json(held)});
            if let Some(accepted) = attestation {
                json["attestation"] = json!(accepted.lines());
            }
            Ok(Answer { text, json })
        }
    }
}

fn init(command: &PkiInit) -> Result<Answer, Failure> {
    let root = &command.workspace;
    let federation = match &command.federation {
        Some(name) => name.clone(),
        None => pki::federation_of(root)?.ok_or_else(|| {
            let error = format!("{} has no plan/plan.yaml that names the federation", root.display());
            Failure::new(Exit::Workspace, error).hint(
                "run this command in the owner's workspace, or give that folder with --workspace, or the federation's name with --federation",
            )
        })?,
    };
    let passphrase = passphrase::chosen(command.passphrase_file.as_deref(), command.ask_passphrase)?;
    let locked = passphrase.is_some();
    let settings = Init { years: command.years, passphrase };
    let made = pki::init(root, &federation, &settings, &clock())?;
    let (ca, until) = (made.authority.digest().to_string(), made.authority.validity().not_after.to_string());
    let key = if locked { "encrypted" } else { "not encrypted" };
    let text = format!(
        "federation   {federation}\nCA           {ca}\ngood until   {until}\nkey          {}, {key}: back it up, and \
         never copy it to the aggregator's machine\n",
        made.key_file.display()
    );
    let json = json!({
        "federation": federation.as_str(), "ca": ca, "not_after": until, "key": made.key_file, "encrypted": locked,
    });
    Ok(Answer { text, json })
}

fn request(command: &PkiRequest) -> Result<Answer, Failure> {
    if command.role == Role::Collaborator {
        name_in(command.role, command.name.as_ref())?;
    }
    let made = pki::request(&command.workspace, command.role, command.name.as_ref(), command.new)?;
    let text = format!(
        "request      {}\n{}next         send the request to the federation's owner, and read the fingerprint to the owner, for example by phone\n",
        made.path.display(),
        fingerprint(made.fingerprint)
    );
    let json = json!({
        "request": made.path, "fingerprint": made.fingerprint.to_string(), "made_key": made.made_key,
    });
    Ok(Answer { text, json })
}

fn show(command: &PkiShow) -> Result<Answer, Failure> {
    let shown = match pki::shown_certificate(&command.file)? {
        Some((identity, key, until)) => {
            let text = format!("identity     {identity}\n{}good until   {until}\n", fingerprint(key));
            let json = json!({
                "identity": identity.to_string(), "fingerprint": key.to_string(), "not_after": until.to_string(),
            });
            Answer { text, json }
        }
        None => {
            let asked = pki::look(&command.file)?;
            let stated = asked.stated.as_deref().unwrap_or("nothing");
            let text = format!(
                "asks for     {stated}\n{}next         compare the fingerprint with the one that the site reads to you, then `fl-host pki approve {}`\n",
                fingerprint(asked.fingerprint),
                command.file.display()
            );
            let json = json!({"asked_as": asked.stated, "fingerprint": asked.fingerprint.to_string()});
            Answer { text, json }
        }
    };
    Ok(shown)
}

fn approve(command: &PkiApprove) -> Result<Answer, Failure> {
    if command.fingerprint.is_none() && !command.yes && std::io::stdin().is_terminal() {
        confirm(&pki::look(&command.request)?)?;
    }
    let mut owner = owner(&command.workspace, command.passphrase_file.as_deref())?;
    let approval = Approval {
        role: command.role,
        name: command.name.clone(),
        rename: command.rename,
        fingerprint: command.fingerprint.clone(),
        replace: command.replace,
        days: command.days,
        measurements: measured(&owner, command.measurement.as_deref())?,
    };
    let before = owner.roster().serial();
    let made = pki::approve(&mut owner, &command.request, &approval)?;
    let mut answer = issued(&made);
    if approval.measurements.is_some() {
        answer.text += &measurement_lines(owner.roster().measurements());
    }
    if made.serial != before {
        answer.text += &publish_hint(made.serial);
    }
    Ok(answer)
}

/// Asks on the terminal, before anything is signed, whether the site has read this fingerprint out.
fn confirm(asked: &pki::Request) -> Result<(), Failure> {
    let terminal = console::Term::stderr();
    let stated = asked.stated.as_deref().unwrap_or("nothing");
    let question = format!(
        "asks for     {stated}\n{}Has the site read this fingerprint to you? [y/N] ",
        fingerprint(asked.fingerprint)
    );
    let answer = terminal.write_str(&printable(&question)).and_then(|()| terminal.read_line());
    match answer {
        Ok(answer) if matches!(answer.trim(), "y" | "Y" | "yes") => Ok(()),
        _ => Err(Failure::new(Exit::Trust, "the fingerprint was not confirmed: nothing was signed").hint(
            "compare the fingerprint with the site, for example by phone; or give the fingerprint that the site read to you with --fingerprint",
        )),
    }
}

fn measured(owner: &Owner, file: Option<&Path>) -> Result<Option<Measurements>, Failure> {
    file.map(|file| pki::measurements(file, owner.federation(), owner.authority().digest())).transpose()
}

/// Reads the owner's file with the section `attestation`.
fn accepted(file: &Path) -> Result<Accepted, Failure> {
    Accepted::parse(&files::read_text(file, PLAN_FILE_BYTES)?).map_err(|error| {
        let what = match error {
            RosterError::Malformed(what) => format!("it cannot be read: {what}"),
            error => error.to_string(),
        };
        Failure::new(Exit::Plan, format!("{} is refused: {what}", file.display()))
            .hint("the chapter attestation has an example: `fl-host manual attestation`")
    })
}

/// What the roster's section `attestation` accepts, if there is one.
fn accepted_lines(of: Option<&Accepted>) -> String {
    let lines = of.map(Accepted::lines).unwrap_or_default();
    lines.iter().map(|line| format!("accepts      {line}\n")).collect()
}

/// One line for each role, if the roster lists measurements of enclaves.
fn measurement_lines(of: Option<&Measurements>) -> String {
    let Some(Measurements { aggregator, collaborator }) = of else { return String::new() };
    format!("aggregator   {aggregator}\ncollaborator {collaborator}\n")
}

/// One line, if the roster takes the run back.
fn resume_line(of: Option<&Resumption>) -> String {
    let line = |of: &Resumption| {
        format!("resume       after round {}, without {} (serial {})\n", of.round, of.names(), of.serial)
    };
    of.map(line).unwrap_or_default()
}

fn measurements_json(of: Option<&Measurements>) -> serde_json::Value {
    let role = |of: &Measurement| {
        json!({
            "mrenclave": of.enclave.to_string(), "mrsigner": of.signer.to_string(), "isv_prod_id": of.product,
            "isv_svn": of.svn,
        })
    };
    of.map_or(
        serde_json::Value::Null,
        |of| json!({"aggregator": role(&of.aggregator), "collaborator": role(&of.collaborator)}),
    )
}

fn import(command: &PkiImport) -> Result<Answer, Failure> {
    let PkiImport { certificate, ca, roster, workspace } = command;
    let made = pki::import(workspace, certificate, ca.as_deref(), roster.as_deref(), &clock())?;
    let (identity, until) = (&made.fitting.identity, made.fitting.validity.not_after.to_string());
    let text = format!(
        "identity     {identity}\n{}good until   {until}\ncertificate  {}\n",
        fingerprint(made.fitting.fingerprint),
        made.file.display()
    );
    let json = json!({
        "identity": identity.to_string(), "fingerprint": made.fitting.fingerprint.to_string(),
        "not_after": until, "certificate": made.file, "serial": made.serial,
    });
    Ok(Answer { text, json })
}

fn renew(command: &PkiRenew) -> Result<Answer, Failure> {
    let name = name_in(command.role, command.name.as_ref())?;
    let owner = owner(&command.workspace, command.passphrase_file.as_deref())?;
    Ok(issued(&pki::renew(&owner, command.role, &name, command.days)?))
}

fn resume(command: &PkiResume) -> Result<Answer, Failure> {
    let plan = plan::load(&Workspace::open(&command.workspace)?)?.plan;
    let mut owner = owner(&command.workspace, command.passphrase_file.as_deref())?;
    let order = Withdrawal {
        round: RoundNo(command.round),
        without: command.without.clone(),
        reason: command.reason.clone(),
    };
    let made = pki::resume(&mut owner, &plan, &order)?;
    let signed = owner.roster().resume();
    let mut text = resume_line(signed);
    if !made.revoked.is_empty() {
        let revoked: Vec<&str> = made.revoked.iter().map(Name::as_str).collect();
        text += &format!("revoked      {}\n", revoked.join(", "));
    }
    made.notes.iter().for_each(|note| text += &format!("note         {note}\n"));
    text += &publish_hint(made.serial);
    text += RESUME_HINT;
    let json = json!({
        "round": signed.map(|of| of.round), "without": signed.map(|of| &of.without), "revoked": made.revoked,
        "notes": made.notes, "serial": made.serial,
    });
    Ok(Answer { text, json })
}

fn issued(made: &Issued) -> Answer {
    let until = made.not_after.to_string();
    let mut text = format!("identity     {}\n{}", made.identity, fingerprint(made.fingerprint));
    if let Some(asked) = &made.asked_as {
        text += &format!("requested as {asked}\n");
    }
    text += &format!("good until   {until}\ncertificate  {}: send it to the site\n", made.file.display());
    let json = json!({
        "identity": made.identity.to_string(), "fingerprint": made.fingerprint.to_string(), "not_after": until,
        "certificate": made.file, "serial": made.serial, "asked_as": made.asked_as,
    });
    Answer { text, json }
}

fn listed(found: &Listed) -> Answer {
    let width = found.rows.iter().map(|row| row.name.as_str().len()).max().unwrap_or(0).max(4);
    let mut text = format!(
        "federation   {}\nCA           {}, {} days left\nroster       serial {}, {} days left\n{}{}\n{:width$}  {:12}  {:23}  \
         certificate\n",
        found.federation,
        found.ca,
        found.ca_days,
        found.serial,
        found.roster_days,
        measurement_lines(found.measurements.as_ref()) + &accepted_lines(found.attestation.as_ref()),
        resume_line(found.resume.as_ref()),
        "name",
        "role",
        "key"
    );
    for row in &found.rows {
        let state = match (&row.revoked, row.days) {
            (Some(why), _) => format!("revoked: {why}"),
            (None, Some(days)) if days < 0 => "expired".to_owned(),
            (None, Some(days)) => format!("{days} days left"),
            (None, None) => "no certificate in this folder".to_owned(),
        };
        text += &format!("{:width$}  {:12}  {}  {state}\n", row.name, row.role, row.fingerprint.grouped());
    }
    for warning in &found.warnings {
        text += &format!("warning: {warning}\n");
    }
    let row = |row: &pki::Row| {
        json!({
            "name": row.name.as_str(), "role": row.role.as_str(), "fingerprint": row.fingerprint.to_string(),
            "days": row.days, "revoked": row.revoked,
        })
    };
    let mut json = json!({
        "federation": found.federation.as_str(), "ca": found.ca.to_string(), "ca_days": found.ca_days,
        "serial": found.serial, "roster_days": found.roster_days,
        "measurements": measurements_json(found.measurements.as_ref()),
        "resume": found.resume.as_ref().map(|of| json!({
            "round": of.round, "without": of.without, "serial": of.serial,
        })),
        "members": found.rows.iter().map(row).collect::<Vec<_>>(), "warnings": found.warnings,
    });
    if let Some(accepted) = &found.attestation {
        json["attestation"] = json!(accepted.lines());
    }
    Answer { text, json }
}

fn fingerprint(key: Fingerprint) -> String {
    format!("fingerprint  {key}\n             short form {}\n", key.grouped())
}

fn publish_hint(serial: u64) -> String {
    format!("roster       serial {serial}: copy plan/cols.yaml to the aggregator's machine\n")
}

fn name_in(role: Role, name: Option<&Name>) -> Result<Name, Failure> {
    match (name, role) {
        (Some(name), _) => Ok(name.clone()),
        (None, Role::Aggregator) => role.as_str().parse().map_err(|e| Failure::of(Exit::Failed, &e)),
        (None, Role::Collaborator) => Err(Failure::new(Exit::Usage, "a collaborator needs a name")
            .hint("give the collaborator's name with -n NAME")),
    }
}

fn clock() -> FlooredClock {
    FlooredClock::of(&machine().clock)
}

fn owner(root: &Path, file: Option<&Path>) -> Result<Owner, Failure> {
    Owner::open(root, || passphrase::known(file), &clock())
}

/// What a changed key of the aggregator asks of the sites.
const SITES_HINT: &str = "sites        the owner sends plan/cols.yaml to each site: a site that holds the roster does not connect to a revoked aggregator\n";
/// What happens on the aggregator's machine.
const RESUME_HINT: &str = "next         a running aggregator goes back within seconds, a stopped one when it is started; a site starts its collaborator again if the collaborator has ended\n";

#[cfg(test)]
mod tests;
