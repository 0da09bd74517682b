//! What is told of jobs and workers: as JSON, whose names stay.

use std::collections::BTreeMap;

use keyloom_common::{
    Error,
    error::in_users_words,
    output::Committed,
    report::{
        JobInfo, JobList, JobLog, JobState, JobSummary, LogKind, LogLine, StoreStats, WorkerStatus,
    },
};
use serde::Serialize;
use utoipa::ToSchema;

use super::words::{ErrorKindDescribed, LogKindDescribed, StateDescribed};

/// A job as the coordinator knows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Job)]
pub(super) struct JobView {
    /// Its id.
    #[schema(format = "uuid")]
    id: String,
    /// The name that was given.
    #[schema(required)]
    name: Option<String>,
    /// The statement that it came from.
    #[schema(required)]
    statement: Option<String>,
    /// Whose it is.
    owner: String,
    /// How it is.
    #[schema(value_type = StateDescribed)]
    state: JobState,
    /// Where its rows go, if workers write them.
    #[schema(required)]
    output: Option<String>,
    /// When it was handed in, in milliseconds since 1970.
    submitted_ms: u64,
    /// When it began to run.
    #[schema(required)]
    started_ms: Option<u64>,
    /// When it ended.
    #[schema(required)]
    ended_ms: Option<u64>,
    /// Tasks known so far; null where that is not known of a job that was interrupted.
    #[schema(required)]
    tasks: Option<u32>,
    /// Tasks done; of a job that was interrupted, those that do not run again; null as `tasks` is.
    #[schema(required)]
    tasks_done: Option<u32>,
    /// Workers that could take tasks when last heard of.
    workers: u32,
    /// Why it failed.
    #[schema(required)]
    error: Option<ErrorView>,
    /// What it has written.
    #[schema(required)]
    written: Option<WrittenView>,
    /// What it did, once it is done.
    #[schema(required)]
    summary: Option<SummaryView>,
    /// What it asks for in vain: said where it is handed in, and not afterwards.
    warnings: Vec<String>,
}

/// Why something failed, or is refused.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Failure)]
pub(super) struct ErrorView {
    /// What can be done about it.
    #[schema(value_type = ErrorKindDescribed)]
    kind: &'static str,
    /// What was wrong, for people.
    message: String,
}

/// Why something is not answered.
#[derive(ToSchema)]
#[schema(as = Refusal)]
#[allow(dead_code, reason = "it is written by the port, and described here")]
pub(super) struct RefusalView {
    error: ErrorView,
}

/// What a job has written.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Written)]
struct WrittenView {
    /// Rows.
    rows: u64,
    /// Bytes of files.
    bytes: u64,
    /// Files.
    files: u64,
    /// The version of the Lance dataset that it made.
    #[schema(required)]
    version: Option<u64>,
}

/// What a job did.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Summary)]
struct SummaryView {
    /// Rows of its result.
    rows: u64,
    /// Tasks that it was cut into.
    tasks: u32,
    /// Workers that finished tasks of it.
    workers: u32,
    /// What was counted for each store, by alias.
    stores: BTreeMap<String, StoreView>,
}

/// What was counted for a store.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StoreCounts)]
struct StoreView {
    /// Keys that rows asked for.
    keys: u64,
    /// Distinct keys among them, batch by batch.
    distinct: u64,
    /// Distinct keys that the store holds.
    hits: u64,
    /// Distinct keys that the store does not hold.
    misses: u64,
    /// Requests made to the store.
    requests: u64,
    /// Bytes of values read.
    bytes: u64,
    /// Distinct keys of all rows.
    job_keys: u64,
    /// Rows that asked for a key's values and missed the key.
    missed_rows: u64,
    /// Distinct keys among those that were missed.
    missed_keys: u64,
    /// Whether distinct keys were too many to be counted exactly.
    is_about: bool,
}

/// Jobs, the newest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Jobs)]
pub(super) struct JobsView {
    /// Those that an answer has room for.
    jobs: Vec<JobView>,
    /// How many others are known, all of them older, for which an answer has no room.
    left_out: u64,
}

/// What happened to a job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobLog)]
pub(super) struct LogView {
    /// The job's id.
    #[schema(format = "uuid")]
    id: String,
    /// How it is: nothing more is added once it is over.
    #[schema(value_type = StateDescribed)]
    state: JobState,
    /// What happened, the oldest first.
    lines: Vec<LineView>,
}

/// One thing that happened to a job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LogLine)]
struct LineView {
    /// Its number in the job's log, from 0 on, which stays when others are left out.
    number: u64,
    /// When it was, in milliseconds since 1970.
    at_ms: u64,
    /// What it was.
    #[schema(value_type = LogKindDescribed)]
    kind: LogKind,
    /// The stage that it is about.
    #[schema(required)]
    stage: Option<u32>,
    /// The task of the stage.
    #[schema(required)]
    task: Option<u32>,
    /// The name of the worker.
    #[schema(required)]
    worker: Option<String>,
    /// The same for people.
    text: String,
    /// For how many lines of this kind that are left out this one stands: 0 of one that stands for
    /// itself.
    left_out: u64,
}

/// A worker as the coordinator sees it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Worker)]
pub(super) struct WorkerView {
    /// Its id in this life.
    #[schema(format = "uuid")]
    id: String,
    /// The name it gave.
    name: String,
    /// Tasks that it may run at once.
    slots: u32,
    /// Tasks that it runs, and shuffles of others in which it takes part.
    running: u32,
    /// Whether it takes no new tasks.
    draining: bool,
}

/// The workers that are registered.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Workers)]
pub(super) struct WorkersView {
    workers: Vec<WorkerView>,
}

impl From<JobInfo> for JobView {
    fn from(info: JobInfo) -> Self {
        let status = info.known_status();
        Self {
            id: info.id.to_string(),
            name: info.name,
            statement: info.statement,
            owner: info.owner,
            state: info.state,
            output: info.output,
            submitted_ms: info.submitted_ms,
            started_ms: info.started_ms,
            ended_ms: info.ended_ms,
            tasks: status.map(|status| status.tasks),
            tasks_done: status.map(|status| status.tasks_done),
            workers: info.status.workers,
            error: info.error.as_ref().map(ErrorView::from),
            written: info.committed.map(WrittenView::from),
            summary: info.summary.map(SummaryView::from),
            warnings: Vec::new(),
        }
    }
}

impl JobView {
    /// The same, with what is to be said where it is handed in.
    pub(super) fn with_warnings(self, warnings: Vec<String>) -> Self {
        Self { warnings, ..self }
    }
}

impl From<&Error> for ErrorView {
    fn from(error: &Error) -> Self {
        Self { kind: error.kind().name(), message: in_users_words(error.message()) }
    }
}

impl From<Committed> for WrittenView {
    fn from(committed: Committed) -> Self {
        let Committed { rows, bytes, files, version, .. } = committed;
        Self { rows, bytes, files, version }
    }
}

impl From<JobSummary> for SummaryView {
    fn from(summary: JobSummary) -> Self {
        let JobSummary { rows, tasks, workers, stores, .. } = summary;
        let stores = stores.into_iter().map(|(alias, stats)| (alias, stats.into())).collect();
        Self { rows, tasks, workers, stores }
    }
}

impl From<StoreStats> for StoreView {
    fn from(stats: StoreStats) -> Self {
        Self {
            keys: stats.keys,
            distinct: stats.distinct,
            hits: stats.hits,
            misses: stats.misses,
            requests: stats.requests,
            bytes: stats.bytes,
            job_keys: stats.job_keys,
            missed_rows: stats.missed_rows,
            missed_keys: stats.missed_keys,
            is_about: stats.is_about,
        }
    }
}

impl From<JobList> for JobsView {
    fn from(list: JobList) -> Self {
        let jobs = list.jobs.into_iter().map(JobView::from).collect();
        Self { jobs, left_out: list.left_out }
    }
}

impl From<JobLog> for LogView {
    fn from(log: JobLog) -> Self {
        let lines = log.lines.into_iter().map(LineView::from).collect();
        Self { id: log.job.to_string(), state: log.state, lines }
    }
}

impl From<LogLine> for LineView {
    fn from(line: LogLine) -> Self {
        let LogLine { number, at_ms, kind, stage, task, worker, text, left_out } = line;
        Self { number, at_ms, kind, stage, task, worker, text, left_out }
    }
}

impl From<Vec<WorkerStatus>> for WorkersView {
    fn from(workers: Vec<WorkerStatus>) -> Self {
        let view = |worker: WorkerStatus| WorkerView {
            id: worker.id.to_string(),
            name: worker.name,
            slots: worker.slots,
            running: worker.running,
            draining: worker.draining,
        };
        Self { workers: workers.into_iter().map(view).collect() }
    }
}
