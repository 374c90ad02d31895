//! Everything before the processes start: the commands that the federation's owner and sites would run, in
//! the same order. Each of them has a folder, which stands for a machine.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
};

use fl_engine::plan::{LinkKind, Plan};
use serde_json::Value;

use crate::{
    exit::{Exit, Failure},
    files, plan,
    templates::Template,
    workspace::{self, Workspace},
};

/// What is to be prepared.
pub struct Request<'a> {
    /// An empty or missing folder.
    pub dir: PathBuf,
    /// Plan and data.
    pub template: &'a Template,
    /// How many collaborators; at least one.
    pub collaborators: usize,
    /// Number of rounds; `None` for the template's.
    pub rounds: Option<u32>,
    /// What carries the links: `auto`, `quic` or `tcp`.
    pub link: &'a str,
    /// A change of the plan's text before the plan is initialised.
    pub edit: Option<&'a dyn Fn(&str) -> String>,
}

/// A federation that is ready to run: one folder for each machine.
pub struct Federation {
    /// The folder of all.
    pub dir: PathBuf,
    /// The owner's workspace, with the rows that are held out of training.
    pub owner: PathBuf,
    /// The aggregator's workspace.
    pub aggregator: PathBuf,
    /// The collaborators; each has the workspace `dir/NAME`.
    pub names: Vec<String>,
    /// The plan that all have accepted.
    pub plan: Plan,
    /// The aggregator's UDP and TCP port on 127.0.0.1.
    pub port: u16,
}

impl Federation {
    /// The model of the newest finished round.
    #[must_use]
    pub fn last_model(&self) -> PathBuf {
        self.aggregator.join("save").join(format!("{}_last.safetensors", self.plan.federation))
    }
}

/// Runs one command of `fl-host`, given its arguments, and returns its result as JSON:
/// [`crate::cli::result`].
pub type Command = dyn Fn(&[&str]) -> Result<Value, Failure>;

/// Prepares a federation by running `command` for each step. `progress` is called with each step's command
/// line.
///
/// # Errors
/// The failure of the step that failed.
pub fn prepare(
    request: &Request<'_>,
    command: &Command,
    progress: &mut dyn FnMut(&str),
) -> Result<Federation, Failure> {
    let dir = &request.dir;
    let names = names(request.collaborators)?;
    if request.rounds == Some(0) {
        return Err(Failure::new(Exit::Usage, "--rounds is 0; a demonstration has at least one round"));
    }
    if !LinkKind::WORDS.contains(&request.link) {
        let error = format!("--link is {}; it takes one of {}", request.link, LinkKind::WORDS.join(", "));
        return Err(Failure::new(Exit::Usage, error));
    }
    let mut people = People { dir, steps: HEAD.to_owned(), command, progress };
    let (owner, aggregator) = (dir.join("owner"), dir.join("aggregator"));

    people.run(&[
        "workspace",
        "create",
        "--prefix",
        &text(&owner),
        "--template",
        request.template.name,
        "--federation",
        FEDERATION,
        "--collaborators",
        &request.collaborators.to_string(),
    ])?;
    people.run(&["pki", "init", "--workspace", &text(&owner)])?;
    let port = free_port()?;
    let (plan, site) = (owner.join("plan/plan.yaml"), owner.join("plan/site.yaml"));
    for (key, value, after) in request.template.demo {
        people.set(&plan, key, value, after)?;
    }
    if let Some(rounds) = request.rounds {
        people.set(&plan, "rounds", &rounds.to_string(), "schema")?;
    }
    // The run may lose one collaborator.
    let least = request.collaborators.saturating_sub(1).max(1);
    let quorum = format!("{{count: {{min: {least}}}, time: {{min: 0s, max: 10m}}}}");
    people.set(&plan, "quorum", &quorum, "tasks")?;
    if let Some(change) = request.edit {
        people.line("# here the plan was edited by hand");
        edit(&plan, change)?;
    }
    people.set(&site, "port", &port.to_string(), "address")?;
    people.set(&site, "bind", "\"127.0.0.1\"", "port")?;
    if request.link != LinkKind::Auto.word() {
        people.set(&site, "link", request.link, "bind")?;
    }
    people.run(&["plan", "initialize", "--workspace", &text(&owner), "-a", "127.0.0.1"])?;

    people.machine(&owner, &aggregator, true)?;
    people.certificate(&owner, &aggregator, "aggregator", None)?;
    for name in &names {
        let site = dir.join(name);
        people.machine(&owner, &site, false)?;
        people.copy(&owner.join("data").join(name), &site.join("data").join(name))?;
        let data_map = site.join("plan/data.yaml");
        let line = format!("echo {} > {}", quoted(&format!("{name}: data/{name}")), people.shown(&data_map));
        people.line(&line);
        write(&data_map, &format!("{name}: data/{name}\n"))?;
        people.certificate(&owner, &site, "collaborator", Some(name))?;
        people.run(&["plan", "accept", "--workspace", &text(&site)])?;
    }
    people.copy(&owner.join("plan/cols.yaml"), &aggregator.join("plan/cols.yaml"))?;
    // The demonstration starts the processes later.
    people.steps += "\n# The roles, each on its machine.\nroles=\n";
    people.steps += "(cd aggregator && exec fl-runtime aggregator) & roles=\"$roles $!\"\n";
    names.iter().for_each(|name| {
        people.steps +=
            &format!("(cd {name} && exec fl-runtime collaborator -n {name}) & roles=\"$roles $!\"\n");
    });
    people.steps += "for role in $roles; do wait \"$role\"; done\nfl-host model show aggregator/save/demo_last.safetensors\n";
    write(&dir.join("steps.txt"), &people.steps)?;

    let plan = plan::load(&Workspace::open(&owner)?)?.plan;
    Ok(Federation { dir: dir.clone(), owner, aggregator, names, plan, port })
}

/// Runs the steps, and records each of them for `steps.txt`, a script.
struct People<'a> {
    dir: &'a Path,
    steps: String,
    command: &'a Command,
    progress: &'a mut dyn FnMut(&str),
}

impl People<'_> {
    fn step(&mut self, words: &[&str]) {
        let words: Vec<String> = words.iter().map(|word| self.shown(Path::new(word))).collect();
        self.line(&words.join(" "));
    }

    fn line(&mut self, line: &str) {
        (self.progress)(line);
        self.steps.push_str(line);
        self.steps.push('\n');
    }

    /// A word of the script: a path as it is seen from the folder of all.
    fn shown(&self, word: &Path) -> String {
        quoted(&text(word.strip_prefix(self.dir).unwrap_or(word)))
    }

    /// Sets a key of a YAML file, after the line of the key `after`.
    fn set(&mut self, file: &Path, key: &str, value: &str, after: &str) -> Result<(), Failure> {
        self.step(&["sed", "-i", &format!("s|^{key}:.*|{key}: {value}|"), &text(file)]);
        edit(file, &|yaml| workspace::set_key(yaml, key, value, after))
    }

    fn run(&mut self, args: &[&str]) -> Result<Value, Failure> {
        self.step(&[&["fl-host"], args].concat());
        (self.command)(args)
    }

    /// A new machine's workspace: what the owner publishes, and the initial model for the aggregator.
    fn machine(&mut self, owner: &Path, site: &Path, aggregator: bool) -> Result<(), Failure> {
        let folders = workspace::FOLDERS.map(|folder| site.join(folder));
        let shown: Vec<String> = folders.iter().map(|folder| text(folder)).collect();
        let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
        self.step(&[&["mkdir", "-p"], &shown[..]].concat());
        folders.iter().try_for_each(|folder| files::make_folder(folder))?;
        for file in ["plan/plan.yaml", "plan/site.yaml", "cert/ca.crt"] {
            self.copy(&owner.join(file), &site.join(file))?;
        }
        if aggregator {
            let model = format!("save/{FEDERATION}_init.safetensors");
            self.copy(&owner.join(&model), &site.join(&model))?;
        }
        Ok(())
    }

    /// Request, approval, import.
    fn certificate(
        &mut self,
        owner: &Path,
        site: &Path,
        role: &str,
        name: Option<&str>,
    ) -> Result<(), Failure> {
        let named: &[&str] = match &name {
            Some(name) => &["-n", name],
            None => &[],
        };
        let (owner, site) = (text(owner), text(site));
        let request = [&["pki", "request", "--workspace", &site, "--role", role], named].concat();
        let words: Vec<String> = request.iter().map(|word| self.shown(Path::new(word))).collect();
        // What the site reads to the owner by phone.
        self.line(&format!("read_out=$(fl-host --json {} | {FINGERPRINT})", words.join(" ")));
        let requested = (self.command)(&request)?;
        let request = requested["request"].as_str().unwrap_or_default();
        let fingerprint = requested["fingerprint"].as_str().unwrap_or_default();
        let approve = ["pki", "approve", request, "--workspace", &owner, "--fingerprint"];
        let words: Vec<String> = approve.iter().map(|word| self.shown(Path::new(word))).collect();
        self.line(&format!("fl-host {} \"$read_out\"", words.join(" ")));
        let approved = (self.command)(&[&approve[..], &[fingerprint]].concat())?;
        let certificate = approved["certificate"].as_str().unwrap_or_default();
        self.run(&["pki", "import", certificate, "--workspace", &site])?;
        Ok(())
    }

    fn copy(&mut self, from: &Path, to: &Path) -> Result<(), Failure> {
        self.step(&["cp", "-r", &text(from), &text(to)]);
        copy_all(from, to)
    }
}

/// Copies a file, or a folder with all that is in it.
fn copy_all(from: &Path, to: &Path) -> Result<(), Failure> {
    if !from.is_dir() {
        return fs::copy(from, to).map(drop).map_err(|e| failed("write", to, &e));
    }
    files::make_folder(to)?;
    for entry in fs::read_dir(from).map_err(|e| failed("read", from, &e))? {
        let entry = entry.map_err(|e| failed("read", from, &e))?;
        copy_all(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// `one`, `two`, `three` …, then `site-11` and so on.
fn names(count: usize) -> Result<Vec<String>, Failure> {
    if !(1..=MOST).contains(&count) {
        return Err(Failure::new(
            Exit::Usage,
            format!("--collaborators is {count}; a demonstration has 1 to {MOST}"),
        ));
    }
    Ok(workspace::trial_names(count))
}

/// A number whose UDP port and TCP port are both free.
fn free_port() -> Result<u16, Failure> {
    let here = Ipv4Addr::LOCALHOST;
    let both = || {
        let udp = UdpSocket::bind((here, 0))?;
        TcpListener::bind((here, udp.local_addr()?.port()))?.local_addr()
    };
    let found = (0..PORTS_TRIED).map(|_| both()).find(Result::is_ok).unwrap_or_else(both);
    found.map(|address| address.port()).map_err(|e| {
        Failure::new(Exit::Network, format!("cannot find a free UDP and TCP port on 127.0.0.1: {e}"))
    })
}

fn edit(path: &Path, change: &dyn Fn(&str) -> String) -> Result<(), Failure> {
    let text = fs::read_to_string(path).map_err(|e| failed("read", path, &e))?;
    write(path, &change(&text))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|e| failed("write", path, &e))
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::File, format!("cannot {what} {}: {error}", path.display()))
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

const FEDERATION: &str = "demo";
/// Takes the fingerprint out of a request's JSON.
const FINGERPRINT: &str = r#"sed 's/.*"fingerprint":"\([0-9a-f]*\)".*/\1/'"#;
/// The beginning of `steps.txt`.
const HEAD: &str = "\
#!/bin/sh
# All steps of this demonstration. In an empty folder, `sh steps.txt` repeats the steps. fl-host and fl-runtime have to
# be on the PATH. Each folder stands for a machine.
set -e

";
/// Attempts to find a number that is free for UDP and TCP.
const PORTS_TRIED: usize = 20;
/// Each collaborator is a process with its own threads.
const MOST: usize = 64;
