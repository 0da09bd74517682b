//! How a command ends badly: what stderr says, and the exit code.

use std::io::{self, Write, stderr};

use keyloom_client::{Error, ErrorCode, ErrorKind};
use keyloom_common::error::in_users_words;
use keyloom_program::signals::Ending;

/// The job failed.
const FAILED: u8 = 1;
/// What was asked is wrong.
const MISTAKE: u8 = 2;
/// The job failed, since more keys are missing than it allows.
const TOO_MANY_MISSES: u8 = 4;
/// The cluster is not reached, or is lost: another time it may be there.
const UNREACHABLE: u8 = 5;
/// Ctrl-C ended it, as shells say it: 128 and the signal's number.
const INTERRUPTED: u8 = 130;
/// SIGTERM ended it.
const TERMINATED: u8 = 143;

/// What to do where the coordinator was there when the job began.
const LOST: &str = "the coordinator was lost while the job ran, and the job with it: run it again \
                    once there is one; a job that is handed in with --detach --resumes goes on";

/// Why a command ended.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    /// What kind of error it was, as far as one was behind it.
    kind: Option<ErrorKind>,
    /// Absent when nobody listens any more.
    pub(crate) message: Option<String>,
    pub(crate) help: Option<String>,
}

impl Failure {
    fn new(code: u8, message: String) -> Self {
        Self { code, kind: None, message: Some(in_users_words(&message)), help: None }
    }

    /// What was asked is wrong.
    pub(crate) fn mistake(message: impl Into<String>) -> Self {
        Self { kind: Some(ErrorKind::Invalid), ..Self::new(MISTAKE, message.into()) }
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
        let failure = Self::failed(error.message()).helped(&error);
        match error.code() {
            Some(ErrorCode::NoCoordinator) => failure.help(LOST),
            _ => failure,
        }
    }

    /// The same, with what to do about errors that users meet, and with the exit codes of those that
    /// programs tell apart.
    fn helped(self, error: &Error) -> Self {
        let code = match error.code() {
            Some(ErrorCode::TooManyMisses) => TOO_MANY_MISSES,
            Some(ErrorCode::NoCoordinator | ErrorCode::ConnectionFailed) => UNREACHABLE,
            _ => self.code,
        };
        let help = error.code().and_then(help_for).map(ToOwned::to_owned);
        Self { code, kind: Some(error.kind()), help, ..self }
    }

    /// A job that somebody waited for was cancelled by somebody else.
    pub(crate) fn cancelled(message: impl Into<String>) -> Self {
        Self { kind: Some(ErrorKind::Cancelled), ..Self::new(INTERRUPTED, message.into()) }
    }

    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    /// The kind of the error in a word.
    pub(crate) fn kind(&self) -> &'static str {
        self.kind.map_or("failed", ErrorKind::name)
    }

    /// The user wants no more.
    pub(crate) fn interrupted() -> Self {
        Self::cancelled("interrupted")
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
            io::ErrorKind::BrokenPipe => Self { code: 0, kind: None, message: None, help: None },
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

/// What to do about an error, unless its message says it already.
fn help_for(code: ErrorCode) -> Option<&'static str> {
    match code {
        ErrorCode::KeyMissing => {
            Some("to get null for keys that are missing, add on_error => 'null' to the call")
        }
        ErrorCode::TooManyMisses => Some(
            "max_misses says how many rows may miss their keys; to see all that do, run it without \
             a limit, with on_error => 'null', and with a file for them: --misses FILE",
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
        | ErrorCode::BlobPartGone
        | ErrorCode::CommitUnknown
        | ErrorCode::PlaceTaken => None,
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

    #[test]
    fn programs_tell_apart_what_they_do_something_about() {
        let misses = Error::invalid("too many").with_code(ErrorCode::TooManyMisses);
        let failure = Failure::running(misses);
        assert_eq!((failure.code(), failure.kind()), (TOO_MANY_MISSES, "invalid"));
        let nobody = Error::unavailable("nobody answers").with_code(ErrorCode::NoCoordinator);
        let failure = Failure::running(nobody.clone());
        assert_eq!((failure.code(), failure.help.as_deref()), (UNREACHABLE, Some(LOST)));
        let failure = Failure::before(nobody);
        assert_eq!((failure.code(), failure.kind()), (UNREACHABLE, "unavailable"));
        assert_eq!(
            (Failure::interrupted().code(), Failure::interrupted().kind()),
            (130, "cancelled")
        );
        assert_eq!((Failure::failed("no disk").code(), Failure::failed("").kind()), (1, "failed"));
    }
}
