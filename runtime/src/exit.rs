//! How a program ends: numbered exit codes, and a failure's two strings. Both programs use the same table.

use std::{error::Error, fmt::Write as _, path::Path};

use fl_engine::printable::one_line;

use crate::observe::json_line;

/// Numbered exit codes; scripts may rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Any failure without a code of its own.
    Failed = 1,
    /// The command line cannot be understood.
    Usage = 2,
    /// A file cannot be read or written.
    File = 3,
    /// The plan, `plan/site.yaml`, `plan/data.yaml` or the roster is refused.
    Plan = 4,
    /// A key or certificate is refused or missing.
    Trust = 5,
    /// A model file is refused.
    Model = 6,
    /// The data cannot be used, or a task fails on them.
    Data = 7,
    /// The folder is not a workspace, or already is one.
    Workspace = 8,
    /// The role has written a request for a certificate; the federation's owner has to approve the request.
    WaitingForCertificate = 9,
    /// The plan is not the one that this site has accepted.
    NotAccepted = 10,
    /// The network port cannot be opened.
    Network = 11,
    /// The aggregator rejected this collaborator.
    Refused = 12,
    /// A round's deadline passed with too few updates.
    QuorumMissed = 13,
    /// Stopped on request before the last round; finished rounds are saved.
    Stopped = 14,
    /// No update counted: tasks failed, or updates were refused.
    NoUpdate = 15,
    /// The evidence about an enclave, or Intel's collateral for it, is refused.
    Evidence = 16,
}

impl Exit {
    /// Every code, in order: `--help` of both programs lists them.
    pub const ALL: [Self; 17] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::File,
        Self::Plan,
        Self::Trust,
        Self::Model,
        Self::Data,
        Self::Workspace,
        Self::WaitingForCertificate,
        Self::NotAccepted,
        Self::Network,
        Self::Refused,
        Self::QuorumMissed,
        Self::Stopped,
        Self::NoUpdate,
        Self::Evidence,
    ];

    /// The meaning that `--help` prints.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "any failure without a code of its own",
            Self::Usage => "the command line cannot be understood",
            Self::File => "a file cannot be read or written",
            Self::Plan => "the plan, plan/site.yaml, plan/data.yaml or the roster is refused",
            Self::Trust => "a key or certificate is refused or missing",
            Self::Model => "a model file is refused",
            Self::Data => "the data cannot be used, or a task fails on them",
            Self::Workspace => "the folder is not a workspace, or already is one",
            Self::WaitingForCertificate => "waiting for a certificate: the request is in cert/",
            Self::NotAccepted => "the plan is not the one that this site has accepted",
            Self::Network => "the network port cannot be opened",
            Self::Refused => "the aggregator rejected this collaborator",
            Self::QuorumMissed => "a round's deadline passed with too few updates",
            Self::Stopped => "stopped on request before the last round; finished rounds are saved",
            Self::NoUpdate => "no update counted: tasks failed, or updates were refused",
            Self::Evidence => "the evidence about an enclave, or its collateral, is refused",
        }
    }
}

/// A failure as the user reads it: what happened, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The process's exit code.
    pub exit: Exit,
    /// What happened, in one line; causes follow after colons.
    pub error: String,
    /// What to do; `None` when the error says so already.
    pub hint: Option<String>,
    /// One word for programs, where one exit code has several causes.
    pub reason: Option<&'static str>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(exit: Exit, error: impl Into<String>) -> Self {
        Self { exit, error: error.into(), hint: None, reason: None }
    }

    /// A failure from an error and all its causes.
    pub fn of(exit: Exit, error: &dyn Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(e) = cause {
            let _ = write!(text, ": {e}");
            cause = e.source();
        }
        Self::new(exit, text)
    }

    /// A site file with a login for a proxy that other users of this machine can read or change. `mode` are
    /// its permission bits.
    #[must_use]
    pub fn exposed_login(site: &Path, mode: u32) -> Self {
        let site = site.display();
        let error = format!(
            "{site} holds a login for the proxy, and other users of this machine can read or change {site} (its mode is {mode:04o})"
        );
        Self::new(Exit::Plan, error).hint(format!("run `chmod 600 {site}`"))
    }

    /// A failure from the text of the command line's parser, put on one line.
    #[must_use]
    pub fn of_usage(said: &str) -> Self {
        Self::new(Exit::Usage, said.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what to do, where there is something to do. Without a new hint the old one stays.
    #[must_use]
    pub fn maybe_hint(self, hint: Option<String>) -> Self {
        Self { hint: hint.or(self.hint), ..self }
    }

    /// Adds the word for programs, which `--json` prints.
    #[must_use]
    pub fn reason(self, word: &'static str) -> Self {
        Self { reason: Some(word), ..self }
    }

    /// The text for standard error: a line `error:` and, where there is a hint, a line `hint:`; or one JSON
    /// object.
    #[must_use]
    pub fn render(&self, json: bool) -> String {
        if json {
            let mut object =
                serde_json::json!({"error": self.error, "hint": self.hint, "exit": self.exit as u8});
            if let Some(word) = self.reason {
                object["reason"] = word.into();
            }
            return json_line(&object);
        }
        let hint = self.hint.as_ref().map(|h| format!("hint: {h}\n")).unwrap_or_default();
        // Text of a peer or a file cannot begin a line of its own.
        format!("error: {}\n{hint}", one_line(&self.error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_shows_its_causes_and_what_to_do() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot read plan.yaml")]
        struct Outer(#[source] std::io::Error);
        let outer = Outer(std::io::Error::other("disk on fire"));
        let failure = Failure::of(Exit::File, &outer).hint("put it out");
        assert_eq!(failure.render(false), "error: cannot read plan.yaml: disk on fire\nhint: put it out\n");
        assert_eq!(
            failure.render(true),
            "{\"error\":\"cannot read plan.yaml: disk on fire\",\"exit\":3,\"hint\":\"put it out\"}\n"
        );
        assert!(
            failure.reason("fire").render(true).ends_with("\"hint\":\"put it out\",\"reason\":\"fire\"}\n")
        );
    }
}
