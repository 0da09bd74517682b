//! What a program that submits jobs may ask of a coordinator.

use serde::{Deserialize, Serialize};

use super::{Body, Chunk, PlannedOutput};
use crate::{
    BlobId, JobId, WorkerId,
    described::ClusterCatalog,
    error::Result,
    input::{Fingerprint, InputInspection, InputSpec},
    misses::MissPolicy,
    output::OutputInspection,
    report::{JobInfo, JobList, JobLog, JobSummary, Underway, WorkerStatus},
    store::{StoreDescription, StoreSpec},
    trace::TraceParent,
};

/// The service for clients.
#[tarpc::service]
pub trait ClientApi {
    /// Whether the coordinator holds these bytes.
    async fn has_blob(id: BlobId) -> Result<bool>;

    /// Sends the next part of a blob. Parts come in order; the last one completes it.
    async fn put_blob(id: BlobId, offset: u64, total: u64, part: Chunk) -> Result<()>;

    /// The stores and inputs that the client may use by their names.
    async fn catalog() -> Result<ClusterCatalog>;

    /// Opens a store on a worker to learn its columns and newest snapshot.
    async fn describe_store(spec: StoreSpec) -> Result<StoreDescription>;

    /// Looks at files on a worker to learn their columns, unless they are those that are known.
    async fn describe_input(spec: InputSpec, known: Option<Fingerprint>)
    -> Result<InputInspection>;

    /// Looks on a worker whether an output can be written, and what jobs that are not known any
    /// more have left there.
    async fn prepare_output(output: PlannedOutput) -> Result<OutputInspection>;

    /// Starts a job. Submitting the same job again changes nothing.
    async fn submit(job: Submission) -> Result<()>;

    /// Waits a while for chunk `sequence` of a job's result. Asking for it says that the chunks
    /// before it have arrived.
    async fn next(job: JobId, sequence: u64) -> Result<Next>;

    /// Says that the client of a job is there, though it asks for nothing.
    async fn renew(job: JobId) -> Result<()>;

    /// Stops a job and forgets it.
    async fn cancel(job: JobId) -> Result<()>;

    /// The jobs that are known and that the client may see, the newest first.
    async fn jobs() -> Result<JobList>;

    /// What is known of a job.
    async fn job(job: JobId) -> Result<JobInfo>;

    /// What happened to a job.
    async fn job_log(job: JobId) -> Result<JobLog>;

    /// Goes on with a job that ended before its output was committed. One that runs stays as it is.
    async fn resume(job: JobId) -> Result<()>;

    /// Lets a worker end what it runs and take no more; operators may.
    async fn drain_worker(worker: WorkerId) -> Result<()>;

    /// The workers that are registered.
    async fn workers() -> Result<Vec<WorkerStatus>>;
}

/// A job as a client hands it in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Submission {
    /// Drawn by the client.
    pub id: JobId,
    /// The physical plan (see [`crate::plan`]).
    pub plan: Body,
    /// The most rows of a batch.
    pub batch_rows: u32,
    /// Whether the rows are wanted, or only what was counted.
    pub discard: bool,
    /// What it does about missing keys.
    pub misses: MissPolicy,
    /// How it is known and kept.
    pub terms: JobTerms,
    /// The client's span of the job, if somebody takes traces there.
    pub trace: Option<TraceParent>,
}

/// How a job is known and kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobTerms {
    /// A name that the client gave.
    pub name: Option<String>,
    /// The statement that it came from.
    pub statement: Option<String>,
    /// Whether it goes on when its client is gone.
    pub detached: bool,
    /// Whether it goes on by itself when the coordinator was restarted. Only a job that is detached
    /// and has an output can.
    pub resumes: bool,
}

/// The answer to [`ClientApi::next`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Next {
    /// A piece of the result.
    Chunk {
        /// Which Arrow IPC stream it belongs to: the result is several, one after the other.
        stream: u32,
        /// The piece.
        chunk: Chunk,
    },
    /// A piece of the table of rows that missed their keys, which is one stream and comes after the
    /// result.
    Missed(Chunk),
    /// Nothing yet.
    Pending(Underway),
    /// That was all.
    Done(JobSummary),
}
