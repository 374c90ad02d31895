//! The history: one JSON line for each finished round. Each line holds the digest of the line before it.
//!
//! `previous` is the SHA-256 of the line before, without its line feed; in the first line it is 64 zeros. So
//! `sed -n 3p W_history.jsonl | tr -d '\n' | sha256sum` prints what line 4 states. Lines are only appended. A
//! round that ran again because its model was lost has two lines: the later one counts. `previous` reveals a
//! line that was changed or removed from the middle. Only a generation or a peer can reveal that the end of
//! the file is missing.
//!
//! A line with the key `resumed` is no round: it says that the run went back to the model after the round
//! that it names, and by which roster.
//!
//! Where the plan asks the sites for the statistics of their data (`standardise: federated`), a line with
//! `standardise` in place of a round stands before the first round.

use std::{
    io::{self, BufReader, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use fl_engine::{
    Digest, Name, RoundNo,
    plan::roster::Resumption,
    round::{RoundFacts, StatisticsFacts},
};
use serde::{Deserialize, Serialize};

use super::{StoreError, generation::Head};
use crate::{
    files::{File, Files},
    observe::MetricJson,
};

/// `save/W_history.jsonl`.
pub(super) fn file(save: &Path, federation: &str) -> PathBuf {
    save.join(format!("{federation}_history.jsonl"))
}

/// The open file.
#[derive(Debug)]
pub(super) struct History {
    path: PathBuf,
    file: File,
    /// Length of the whole lines.
    length: u64,
    previous: Digest,
}

/// What the history has of one plan's rounds, since another plan's.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lines {
    /// Whether there is a line for the round that was sought.
    pub(super) has_sought: bool,
    /// The last line's round.
    pub(super) last: Option<RoundNo>,
    /// Rounds without a line, before others with one: first and last.
    pub(super) missing: Vec<(u32, u32)>,
    /// The statistics of all sites, as text.
    pub(super) statistics: Option<String>,
}

/// The fields of a line that opening the history reads.
#[derive(Deserialize)]
struct Line {
    previous: String,
    plan: String,
    incarnation: String,
    /// Of a round, as the next one.
    round: Option<u32>,
    root: Option<String>,
    /// Of the statistics of all sites.
    standardise: Option<String>,
    resumed: Option<ResumedBy>,
}

/// The order by which a run went back.
#[derive(Serialize, Deserialize)]
struct ResumedBy {
    /// Serial of the first roster with the order.
    serial: u64,
    without: Vec<Name>,
    /// SHA-256 of the roster's file.
    roster: String,
    /// The newest finished round before.
    before: u32,
}

/// The line of a run that went back. Its first fields are those of the round that the run went back to, as a
/// program of before reads them.
#[derive(Serialize)]
struct Resumed {
    round: RoundNo,
    incarnation: String,
    plan: String,
    root: String,
    resumed: ResumedBy,
}

/// What the history says about a round of one plan, and about orders to go back.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Whether the history has any line of the plan.
    pub(super) any: bool,
    /// The facts of the round, by its last line.
    pub(super) facts: Option<String>,
    /// Root of the model after the round.
    pub(super) root: Option<Digest>,
    /// The incarnation that ran the round.
    pub(super) incarnation: u64,
    /// The highest serial of an order that was carried out.
    pub(super) resumed: u64,
}

/// [`RoundFacts`] with digests in hex digits. The incarnation is 16 hex digits, because numbers in jq have 53
/// bits.
#[derive(Serialize)]
struct Facts<'a> {
    round: RoundNo,
    incarnation: String,
    plan: String,
    base: String,
    root: String,
    contributions: Vec<Contribution<'a>>,
    refused: &'a [fl_engine::round::RefusalFact],
    metrics: Vec<MetricJson<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    left_out: &'a [fl_engine::round::LeftOutFact],
}

#[derive(Serialize)]
struct Contribution<'a> {
    collaborator: &'a str,
    task: &'a str,
    weight: u32,
    root: String,
}

/// Facts as JSON, without metrics where the plan shows metrics to nobody.
pub(super) fn facts_json(facts: &RoundFacts, metrics: bool) -> String {
    let contributions = facts.contributions.iter().map(|c| Contribution {
        collaborator: c.collaborator.as_str(),
        task: c.task.as_str(),
        weight: c.weight.value(),
        root: c.root.to_string(),
    });
    let facts = Facts {
        round: facts.round,
        incarnation: hex(facts.incarnation),
        plan: facts.plan.to_string(),
        base: facts.base.to_string(),
        root: facts.root.to_string(),
        contributions: contributions.collect(),
        refused: &facts.refused,
        metrics: if metrics { MetricJson::all(&facts.metrics) } else { Vec::new() },
        left_out: &facts.left_out,
    };
    // Serialising fails only for map keys that are not text, and there are none.
    serde_json::to_string(&facts).unwrap_or_default()
}

/// The line of a run that goes back to `head`.
pub(super) fn resumed_json(head: &Head, order: &Resumption, roster: Digest, before: RoundNo) -> String {
    let by = ResumedBy {
        serial: order.serial,
        without: order.without.clone(),
        roster: roster.to_string(),
        before: before.0,
    };
    let line = Resumed {
        round: head.round,
        incarnation: hex(head.incarnation),
        plan: head.plan.to_string(),
        root: head.root.to_string(),
        resumed: by,
    };
    serde_json::to_string(&line).unwrap_or_default()
}

/// Reads what the history says about `round`. A last line that is not whole says nothing: [`History::open`]
/// removes it. That function checks the digests too.
pub(super) fn told(files: &Files, path: &Path, plan: Digest, round: RoundNo) -> Result<Told, StoreError> {
    let mut told = Told::default();
    let file = match files.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(told),
        opened => opened.map_err(StoreError::read(path))?,
    };
    let (plan, mut lines, mut text) = (plan.to_string(), BufReader::new(file), Vec::new());
    loop {
        let (bytes, line) = match next_line(&mut lines, &mut text).map_err(StoreError::read(path))? {
            Next::Whole(bytes, line) => (bytes, line),
            Next::Torn => continue,
            Next::End => break,
        };
        if line.plan != plan {
            told = Told::default();
            continue;
        }
        if line.standardise.is_some() {
            continue;
        }
        told.any = true;
        match &line.resumed {
            Some(by) => told.resumed = told.resumed.max(by.serial),
            None if line.round == Some(round.0) => {
                // `{"previous":"DIGEST",` comes before the facts.
                let facts = bytes.get(PREVIOUS..).and_then(|facts| str::from_utf8(facts).ok());
                told.facts = facts.map(|facts| format!("{{{facts}"));
                told.root = line.root.as_deref().and_then(|root| root.parse().ok());
                told.incarnation = u64::from_str_radix(&line.incarnation, 16).unwrap_or(0);
            }
            None => {}
        }
    }
    Ok(told)
}

/// The statistics of all sites as JSON. They are a text: readers of JSON may round numbers.
pub(super) fn statistics_json(facts: &StatisticsFacts) -> String {
    let line = serde_json::json!({
        "collaborators": facts.collaborators,
        "incarnation": hex(facts.incarnation),
        "plan": facts.plan.to_string(),
        "standardise": facts.statistics.to_text(),
    });
    line.to_string()
}

impl History {
    /// Opens or makes the file, checks the digests, and returns what it has of this plan's rounds. A last
    /// line that is not whole is removed with a warning.
    pub(super) fn open(
        files: &Files,
        path: PathBuf,
        plan: Digest,
        sought: Option<&Head>,
    ) -> Result<(Self, Lines), StoreError> {
        // Append mode would write behind a last line that could not be removed.
        let file = files.open_or_create(&path).map_err(StoreError::write(&path))?;
        let mut history = Self { path, file, length: 0, previous: FIRST };
        let found = history.check(plan, sought)?;
        Ok((history, found))
    }

    fn check(&mut self, plan: Digest, sought: Option<&Head>) -> Result<Lines, StoreError> {
        let read = || StoreError::read(&self.path);
        let changed = |line| StoreError::History { path: self.path.clone(), line };
        let mut lines = BufReader::new(&mut self.file);
        let (mut text, mut number, mut torn, mut found) = (Vec::new(), 0, false, Lines::default());
        let plan = plan.to_string();
        let (mut length, mut previous) = (0, FIRST);
        loop {
            let next = next_line(&mut lines, &mut text).map_err(read())?;
            if torn && !matches!(next, Next::End) {
                return Err(changed(number));
            }
            match next {
                Next::Whole(_, line) if line.previous != previous.to_string() => {
                    return Err(changed(number.max(1)));
                }
                Next::Whole(bytes, line) => {
                    number += 1;
                    previous = Digest::of(bytes);
                    length += bytes.len() as u64 + 1;
                    found.add(&line, &plan, sought);
                }
                Next::Torn => (number, torn) = (number + 1, true),
                Next::End => break,
            }
        }
        (self.length, self.previous) = (length, previous);
        if torn {
            tracing::warn!("removed line {number} of {}, which a crash had cut short", self.path.display());
            self.file.set_length(length).map_err(StoreError::write(&self.path))?;
        }
        Ok(found)
    }

    /// Appends a line with these facts and syncs the file. On an error the file stays as it was.
    pub(super) fn append(&mut self, facts: &str) -> Result<(), StoreError> {
        let facts = facts.strip_prefix('{').unwrap_or(facts);
        // The line feed says that the line is whole: one write for both.
        let line = format!("{{\"previous\":\"{}\",{facts}\n", self.previous);
        let mut write = || -> io::Result<()> {
            self.file.seek(SeekFrom::Start(self.length))?;
            self.file.write_all(line.as_bytes())?;
            self.file.sync_data()
        };
        if let Err(source) = write() {
            let _ = self.file.set_length(self.length);
            return Err(StoreError::Write { path: self.path.clone(), source });
        }
        self.length += line.len() as u64;
        self.previous = Digest::of(line.trim_end_matches('\n').as_bytes());
        Ok(())
    }
}

/// What the file holds next.
enum Next<'t> {
    /// A line, without its line feed.
    Whole(&'t [u8], Box<Line>),
    /// A line without a line feed, or one that is no line of a history.
    Torn,
    End,
}

/// Reads on to the next line feed. `text` is overwritten.
fn next_line<'t>(from: &mut impl io::BufRead, text: &'t mut Vec<u8>) -> io::Result<Next<'t>> {
    text.clear();
    if from.read_until(b'\n', text)? == 0 {
        return Ok(Next::End);
    }
    let whole = text.strip_suffix(b"\n").and_then(|bytes| Some((bytes, Box::new(Line::read(bytes)?))));
    Ok(whole.map_or(Next::Torn, |(bytes, line)| Next::Whole(bytes, line)))
}

impl Lines {
    fn add(&mut self, line: &Line, plan: &str, sought: Option<&Head>) {
        if line.plan != plan {
            // What follows is another run.
            *self = Self::default();
            return;
        }
        self.statistics = line.standardise.clone().or(self.statistics.take());
        let Some(round) = line.round else { return };
        let next = self.last.map_or(0, |last| last.0 + 1);
        if round > next {
            self.missing.push((next, round - 1));
        }
        self.last = Some(RoundNo(round));
        self.has_sought |= sought.is_some_and(|head| line.is_of(head));
    }
}

impl Line {
    /// `None` for a line that is neither a round's nor has the statistics.
    fn read(bytes: &[u8]) -> Option<Self> {
        let line: Self = serde_json::from_slice(bytes).ok()?;
        (line.standardise.is_some() || (line.round.is_some() && line.root.is_some())).then_some(line)
    }

    fn is_of(&self, head: &Head) -> bool {
        self.round == Some(head.round.0)
            && self.root == Some(head.root.to_string())
            && self.plan == head.plan.to_string()
            && self.incarnation == hex(head.incarnation)
    }
}

fn hex(incarnation: u64) -> String {
    format!("{incarnation:016x}")
}

/// What the first line states as the digest of the line before it.
const FIRST: Digest = Digest([0; 32]);
/// Bytes of a line before its facts.
const PREVIOUS: usize = 79;
