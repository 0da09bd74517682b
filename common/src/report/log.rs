//! What happened to a job, line by line, for those who were not there.

use serde::{Deserialize, Serialize};

use super::JobState;
use crate::JobId;

/// What happened to a job, in order. It is bounded: of lines of a kind that came too often, the
/// oldest are left out, and a line in their place says how many they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobLog {
    /// The job.
    pub job: JobId,
    /// How it is: nothing more is added once it has ended, unless it is resumed.
    pub state: JobState,
    /// What happened, the oldest first.
    pub lines: Vec<LogLine>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Its number in the job's log, from 0 on: it stays when others are left out.
    pub number: u64,
    /// When it was, in milliseconds since 1970.
    pub at_ms: u64,
    /// What it was.
    pub kind: LogKind,
    /// The stage that it is about.
    pub stage: Option<u32>,
    /// The task of the stage.
    pub task: Option<u32>,
    /// The name of the worker.
    pub worker: Option<String>,
    /// The same for people.
    pub text: String,
    /// For how many lines of this kind this one stands, the newest of which had its number and its
    /// time: 0 of one that stands for itself.
    pub left_out: u64,
}

/// What may happen to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogKind {
    /// It was handed in.
    Submitted,
    /// It waits for its turn.
    Queued,
    /// It began to run.
    Started,
    /// A stage began.
    StageBegun,
    /// All tasks of a stage are done.
    StageDone,
    /// A stage ended before all of its tasks were done.
    StageStopped,
    /// A worker could not do a task.
    AttemptFailed,
    /// A worker is gone that ran tasks.
    WorkerLost,
    /// A task runs once more.
    Retried,
    /// Tasks wait, and there is no worker.
    NoWorker,
    /// More rows missed their keys than may.
    Misses,
    /// A worker was asked to make visible what was written.
    Committing,
    /// What was written can be seen.
    Committed,
    /// What was written could not be made visible.
    Refused,
    /// It goes on.
    Resumed,
    /// It could not go on by itself.
    NotResumed,
    /// The coordinator ended before it.
    Interrupted,
    /// It was cancelled.
    Cancelled,
    /// It is done.
    Done,
    /// It failed.
    Failed,
    /// It asks for a shuffle, for which there are not workers enough.
    NotShuffled,
}

impl LogKind {
    /// All kinds.
    pub const ALL: [Self; 21] = [
        Self::Submitted,
        Self::Queued,
        Self::Started,
        Self::StageBegun,
        Self::StageDone,
        Self::StageStopped,
        Self::AttemptFailed,
        Self::WorkerLost,
        Self::Retried,
        Self::NoWorker,
        Self::Misses,
        Self::Committing,
        Self::Committed,
        Self::Refused,
        Self::Resumed,
        Self::NotResumed,
        Self::Interrupted,
        Self::Cancelled,
        Self::Done,
        Self::Failed,
        Self::NotShuffled,
    ];

    /// Its name, which stays.
    pub fn name(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Queued => "queued",
            Self::Started => "started",
            Self::StageBegun => "stage_begun",
            Self::StageDone => "stage_done",
            Self::StageStopped => "stage_stopped",
            Self::AttemptFailed => "attempt_failed",
            Self::WorkerLost => "worker_lost",
            Self::Retried => "retried",
            Self::NoWorker => "no_worker",
            Self::Misses => "misses",
            Self::Committing => "committing",
            Self::Committed => "committed",
            Self::Refused => "refused",
            Self::Resumed => "resumed",
            Self::NotResumed => "not_resumed",
            Self::Interrupted => "interrupted",
            Self::Cancelled => "cancelled",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::NotShuffled => "not_shuffled",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn kinds_are_written_by_their_names_and_each_has_its_own() {
        for kind in LogKind::ALL {
            let written = serde_json::to_value(kind).unwrap();
            assert_eq!(written, serde_json::json!(kind.name()));
        }
        let names: BTreeSet<_> = LogKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), LogKind::ALL.len());
    }
}
