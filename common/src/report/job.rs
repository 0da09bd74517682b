//! What is known of a job, for those who did not wait for it.

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

use super::{JobProgress, JobStatus, JobSummary};
use crate::{JobId, error::Error, ipc, output::Committed};

/// A job as the coordinator knows it, while it runs and for a while afterwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobInfo {
    /// Its id.
    pub id: JobId,
    /// The name that its client gave.
    pub name: Option<String>,
    /// The statement that it came from.
    pub statement: Option<String>,
    /// Whose it is, as its connection said.
    pub owner: String,
    /// How it is.
    pub state: JobState,
    /// Where its rows go, if workers write them.
    pub output: Option<String>,
    /// When it was submitted, in milliseconds since 1970.
    pub submitted_ms: u64,
    /// When it began to run.
    pub started_ms: Option<u64>,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// How far it is, or was, as far as [that is known](Self::known_status).
    pub status: JobStatus,
    /// How far its parts are, while it runs.
    pub progress: JobProgress,
    /// Why it failed.
    pub error: Option<Error>,
    /// What it has written.
    pub committed: Option<Committed>,
    /// What it did, once it is done.
    pub summary: Option<JobSummary>,
    /// The columns of its rows, or of the row that says what it has written; absent in lists, and
    /// where there are too many of them to be remembered.
    pub schema: Option<RowSchema>,
}

impl JobInfo {
    /// How far it is, or was; none where that is not known: a job that was interrupted is known to
    /// have tasks if its coordinator said so at its end, or what they have done is kept.
    pub fn known_status(&self) -> Option<JobStatus> {
        let is_unknown = self.state == JobState::Interrupted && self.status.tasks == 0;
        (!is_unknown).then_some(self.status)
    }
}

/// The columns of rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowSchema(#[serde(with = "ipc::schema_serde")] pub SchemaRef);

/// Jobs, the newest first, as many as an answer holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobList {
    /// The jobs.
    pub jobs: Vec<JobInfo>,
    /// How many others are known, all of them older: there is no room for them in an answer.
    pub left_out: u64,
}

/// How a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// It waits for its turn.
    Queued,
    /// It runs, or waits for its client to take rows.
    Running,
    /// It is done.
    Done,
    /// It failed.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// The coordinator ended before it: it can be resumed.
    Interrupted,
}

impl JobState {
    /// Its name, as people read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }

    /// Whether nothing more becomes of it by itself.
    pub fn is_end(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}
