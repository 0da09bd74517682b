//! How a command ends badly: what stderr says, and the exit code.

use std::io::{self, Write, stderr};

use crate::{Error, ErrorKind};
use keyloom_program::signals::Ending;

/// The job failed.
const FAILED: u8 = 1;
/// What was asked is wrong.
const MISTAKE: u8 = 2;
/// Ctrl-C ended it, as shells say it: 128 and the signal's number.
const INTERRUPTED: u8 = 130;
/// SIGTERM ended it.
const TERMINATED: u8 = 143;

/// Why a command ended.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    /// Absent when nobody listens any more.
    pub(crate) message: Option<String>,
    pub(crate) help: Option<String>,
}

impl Failure {
    fn new(code: u8, message: String) -> Self {
        let message = plain(&message);
        let help = help_for(&message);
        Self { code, message: Some(message), help }
    }

    /// What was asked is wrong.
    pub(crate) fn mistake(message: impl Into<String>) -> Self {
        Self::new(MISTAKE, message.into())
    }

    /// The job, or this machine, failed.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(FAILED, message.into())
    }

    /// An error before the job starts.
    pub(crate) fn before(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Invalid | ErrorKind::NotFound => Self::mistake(error.message()),
            _ => Self::failed(error.message()),
        }
    }

    /// An error of the job that runs.
    pub(crate) fn running(error: Error) -> Self {
        Self::failed(error.message())
    }

    /// The user wants no more.
    pub(crate) fn interrupted() -> Self {
        Self { code: INTERRUPTED, message: Some("interrupted".to_owned()), help: None }
    }

    /// The same; if a signal is why, by that signal.
    pub(crate) fn ended_by(self, ending: Ending) -> Self {
        match ending {
            Ending::Terminated if self.code == INTERRUPTED => {
                Self { code: TERMINATED, message: Some("terminated".to_owned()), ..self }
            }
            _ => self,
        }
    }

    /// Stdout cannot be written. If its reader is gone, as with `| head`, that is no failure.
    pub(crate) fn stdout(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self { code: 0, message: None, help: None },
            _ => Self::failed(format!("stdout cannot be written: {error}")),
        }
    }

    /// The same, with what to do about it.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same; if it is a mistake, its message preceded by what it was made in.
    pub(crate) fn context(mut self, place: impl std::fmt::Display) -> Self {
        if self.code == MISTAKE {
            self.message = self.message.map(|message| format!("{place}: {message}"));
        }
        self
    }

    /// Says it on stderr.
    pub(crate) fn tell(&self) -> u8 {
        let mut stderr = stderr().lock();
        // Without a stderr there is nobody to tell.
        if let Some(message) = &self.message {
            let _ = writeln!(stderr, "error: {}", message.trim_end());
        }
        if let Some(help) = &self.help {
            let _ = writeln!(stderr, "help: {help}");
        }
        self.code
    }
}

/// A message without the names that only DataFusion's authors know.
fn plain(message: &str) -> String {
    let mut rest = message;
    while let Some(shorter) = LAYERS.iter().find_map(|layer| rest.strip_prefix(layer)) {
        rest = shorter;
    }
    let parsed = rest.strip_prefix("ParserError(\"").and_then(|rest| rest.strip_suffix("\")"));
    parsed.unwrap_or(rest).replace("datafusion.public.", "")
}

const LAYERS: &[&str] = &[
    "Error during planning: ",
    "Execution error: ",
    "External error: ",
    "Schema error: ",
    "SQL error: ",
    "Arrow error: ",
];

/// What to do about errors that users meet, by their words; the first that fits.
const HELP: &[(&str, &str)] = &[
    (
        "Key not found in KV store",
        "to get null for keys that are missing, add on_error => 'null' to the call",
    ),
    (
        "not found in session",
        "attach it: a section [stores.ALIAS] in the job file, or --store ALIAS=lance:PATH?key=COLUMN",
    ),
    (
        "No KV store is currently attached",
        "say which store is meant: current_store in [job], --current ALIAS, or source => 'ALIAS' in \
         the call",
    ),
    (
        "stands in several rows",
        "give each key one row, or, for a Lance store, set on_duplicate_key to 'first' or 'last'",
    ),
    (
        "storage profile",
        "profiles stand in the workers' settings, as [store.storage_profiles.NAME]; see \
         keyloom-worker --help",
    ),
    (
        "no coordinator answers",
        "start one with keyloom-coordinator, or leave out --cluster to run in this process",
    ),
    (
        "the connection to the coordinator failed",
        "the coordinator or the way to it is gone; see its log, then run the job again",
    ),
    ("table '", "tables are inputs: [inputs.NAME] in the job file, or --input NAME=PATH"),
];

fn help_for(message: &str) -> Option<String> {
    let found = HELP.iter().find(|(words, _)| message.contains(words));
    // The message may say it already.
    found.filter(|_| !message.contains("set on_duplicate_key")).map(|(_, help)| (*help).to_owned())
}
