//! Everything before the processes start, as the federation's people would do it: the same commands, in the same order,
//! each person in a folder of its own as if on a machine of its own.

use std::{
    fs,
    net::UdpSocket,
    path::{Path, PathBuf},
};

use fl_engine::plan::Plan;
use serde_json::Value;

use crate::{
    exit::{Exit, Failure},
    plan,
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
    /// Rounds, if not the template's.
    pub rounds: Option<u32>,
    /// What the owner does to the plan's text before it is initialised.
    pub edit: Option<&'a dyn Fn(&str) -> String>,
}

/// A federation that is ready to run: one folder a machine.
pub struct Federation {
    /// The folder of all.
    pub dir: PathBuf,
    /// The owner's workspace, with the rows that no training sees.
    pub owner: PathBuf,
    /// The aggregator's workspace.
    pub aggregator: PathBuf,
    /// The collaborators; each has the workspace `dir/NAME`.
    pub names: Vec<String>,
    /// What all have agreed on.
    pub plan: Plan,
    /// The aggregator's UDP port on 127.0.0.1.
    pub port: u16,
}

impl Federation {
    /// The model of the newest finished round.
    #[must_use]
    pub fn last_model(&self) -> PathBuf {
        self.aggregator.join("save").join(format!("{}_last.safetensors", self.plan.federation))
    }
}

/// Runs one command of `fl-host`, given its arguments, and returns its result as JSON: [`crate::cli::result`].
pub type Command = dyn Fn(&[&str]) -> Result<Value, Failure>;

/// Prepares a federation by running `command` for each step. `progress` is called with each step's command line.
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
        return Err(Failure::new(Exit::Usage, "0 rounds; a demonstration has one at least"));
    }
    let mut people = People { dir, steps: String::new(), command, progress };
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
    edit(&owner.join("plan/plan.yaml"), &|plan| {
        let count = request.collaborators;
        let plan = match request.rounds {
            Some(rounds) => workspace::set_key(plan, "rounds", &rounds.to_string(), "schema"),
            None => plan.to_owned(),
        };
        // One may be lost on the way.
        let quorum =
            format!("{{count: {{min: {}}}, time: {{min: 0s, max: 10m}}}}", count.saturating_sub(1).max(1));
        let plan = workspace::set_key(&plan, "quorum", &quorum, "tasks");
        match request.edit {
            Some(edit) => edit(&plan),
            None => plan,
        }
    })?;
    edit(&owner.join("plan/site.yaml"), &|site| {
        let site = workspace::set_key(site, "port", &port.to_string(), "address");
        workspace::set_key(&site, "bind", "\"127.0.0.1\"", "port")
    })?;
    people.run(&["plan", "initialize", "--workspace", &text(&owner), "-a", "127.0.0.1"])?;

    people.machine(&owner, &aggregator, true)?;
    people.certificate(&owner, &aggregator, "aggregator", None)?;
    for name in &names {
        let site = dir.join(name);
        people.machine(&owner, &site, false)?;
        people.copy(&owner.join("data").join(name), &site.join("data").join(name))?;
        write(&site.join("plan/data.yaml"), &format!("{name}: data/{name}\n"))?;
        people.certificate(&owner, &site, "collaborator", Some(name))?;
        people.run(&["plan", "accept", "--workspace", &text(&site)])?;
    }
    people.copy(&owner.join("plan/cols.yaml"), &aggregator.join("plan/cols.yaml"))?;
    write(&dir.join("steps.txt"), &people.steps)?;

    let plan = plan::load(&Workspace::open(&owner)?)?.plan;
    Ok(Federation { dir: dir.clone(), owner, aggregator, names, plan, port })
}

/// Does the steps and remembers them.
struct People<'a> {
    dir: &'a Path,
    steps: String,
    command: &'a Command,
    progress: &'a mut dyn FnMut(&str),
}

impl People<'_> {
    fn step(&mut self, words: &[&str]) {
        let base = format!("{}/", self.dir.display());
        let line = words.join(" ").replace(&base, "");
        (self.progress)(&line);
        self.steps.push_str(&line);
        self.steps.push('\n');
    }

    fn run(&mut self, args: &[&str]) -> Result<Value, Failure> {
        self.step(&[&["fl-host"], args].concat());
        (self.command)(args)
    }

    /// A new machine's workspace: what the owner publishes, and the initial model for the aggregator.
    fn machine(&mut self, owner: &Path, site: &Path, aggregator: bool) -> Result<(), Failure> {
        for folder in workspace::FOLDERS {
            make(&site.join(folder))?;
        }
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
        let requested =
            self.run(&[&["pki", "request", "--workspace", &site, "--role", role], named].concat())?;
        let request = requested["request"].as_str().unwrap_or_default();
        let fingerprint = requested["fingerprint"].as_str().unwrap_or_default();
        let approve =
            ["pki", "approve", request, "--workspace", &owner, "--role", role, "--fingerprint", fingerprint];
        let approved = self.run(&[&approve, named].concat())?;
        let certificate = approved["certificate"].as_str().unwrap_or_default();
        self.run(&["pki", "import", certificate, "--workspace", &site])?;
        Ok(())
    }

    fn copy(&mut self, from: &Path, to: &Path) -> Result<(), Failure> {
        self.step(&["cp", "-r", &text(from), &text(to)]);
        if from.is_dir() {
            make(to)?;
            let entries = fs::read_dir(from).map_err(|e| failed("read", from, &e))?;
            for entry in entries {
                let entry = entry.map_err(|e| failed("read", from, &e))?;
                let to = to.join(entry.file_name());
                fs::copy(entry.path(), &to).map_err(|e| failed("write", &to, &e))?;
            }
            return Ok(());
        }
        fs::copy(from, to).map(drop).map_err(|e| failed("write", to, &e))
    }
}

/// `one`, `two`, `three` …, then `site-11` and so on.
fn names(count: usize) -> Result<Vec<String>, Failure> {
    if !(1..=MOST).contains(&count) {
        return Err(Failure::new(
            Exit::Usage,
            format!("{count} collaborators; a demonstration has 1 to {MOST}"),
        ));
    }
    Ok(workspace::trial_names(count))
}

/// A UDP port that nobody uses now.
fn free_port() -> Result<u16, Failure> {
    let port = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).map(|a| a.port());
    port.map_err(|e| Failure::new(Exit::Network, format!("no free udp port on 127.0.0.1: {e}")))
}

fn edit(path: &Path, change: &dyn Fn(&str) -> String) -> Result<(), Failure> {
    let text = fs::read_to_string(path).map_err(|e| failed("read", path, &e))?;
    write(path, &change(&text))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|e| failed("write", path, &e))
}

fn make(path: &Path) -> Result<(), Failure> {
    fs::create_dir_all(path).map_err(|e| failed("make", path, &e))
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::File, format!("cannot {what} {}: {error}", path.display()))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

const FEDERATION: &str = "demo";
/// Every one is a process with threads of its own.
const MOST: usize = 64;
