//! How a command ends badly: what stderr says, and the exit code.

use std::io::{self, Write, stderr};

use keyloom_client::{Error, ErrorCode, ErrorKind};
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
        Self { code, message: Some(plain(&message)), help: None }
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
        let failure = match error.kind() {
            ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::PermissionDenied => {
                Self::mistake(error.message())
            }
            _ => Self::failed(error.message()),
        };
        failure.helped(&error)
    }

    /// An error of the job that runs.
    pub(crate) fn running(error: Error) -> Self {
        Self::failed(error.message()).helped(&error)
    }

    /// The same, with what to do about errors that users meet.
    fn helped(self, error: &Error) -> Self {
        Self { help: error.code().and_then(help_for).map(ToOwned::to_owned), ..self }
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

/// What to do about an error, unless its message says it already.
fn help_for(code: ErrorCode) -> Option<&'static str> {
    match code {
        ErrorCode::KeyMissing => {
            Some("to get null for keys that are missing, add on_error => 'null' to the call")
        }
        ErrorCode::TooManyMisses => Some(
            "max_misses says how many rows may miss their keys; to see which ones do, name a file \
             for them: misses in [job], or --misses FILE",
        ),
        ErrorCode::KeyRepeated => Some(
            "give each key one row, or, for a Lance store, set on_duplicate_key to 'first' or \
             'last'",
        ),
        ErrorCode::StoreNotAttached => Some(
            "attach it: a section [stores.ALIAS] in the job file or in keyloom.toml, or --store \
             ALIAS=lance:PATH?key=COLUMN",
        ),
        ErrorCode::NoCurrentStore => Some(
            "say which store is meant: current_store in [job], --current ALIAS, or source => \
             'ALIAS' in the call",
        ),
        ErrorCode::TableNotFound => Some(
            "tables are inputs: [inputs.NAME] in the job file, --input NAME=PATH, or a path in \
             single quotes: FROM 'items.parquet'",
        ),
        ErrorCode::StorageProfile => Some(
            "profiles stand in the workers' settings, as [store.storage_profiles.NAME]; see \
             keyloom-worker --help",
        ),
        ErrorCode::NoCoordinator => Some(
            "start one with keyloom-coordinator, or leave out --cluster to run in this process",
        ),
        ErrorCode::ConnectionFailed => {
            Some("the coordinator or the way to it is gone; see its log, then run the job again")
        }
        ErrorCode::HandshakeDamaged
        | ErrorCode::NotAnswered
        | ErrorCode::BlobGone
        | ErrorCode::BlobPartGone => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_hangs_on_the_code_and_not_on_the_words() {
        let error = Error::not_found("no such table").with_code(ErrorCode::TableNotFound);
        let failure = Failure::before(error.context("EXPLAIN"));
        assert_eq!(failure.code, MISTAKE);
        assert_eq!(failure.message.as_deref(), Some("EXPLAIN: no such table"));
        let help = "tables are inputs: [inputs.NAME] in the job file, --input NAME=PATH, or a path \
                    in single quotes: FROM 'items.parquet'";
        assert_eq!(failure.help.as_deref(), Some(help));
        let failure = Failure::running(Error::unavailable("no coordinator answers, it says"));
        assert_eq!((failure.code, failure.help), (FAILED, None));
    }
}
