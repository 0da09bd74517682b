//! What a worker may ask of a coordinator. Workers connect, coordinators listen: a worker needs no
//! address that others can reach.

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

use super::{Body, Chunk, parse_address};
use crate::{
    AttemptId, BlobId, JobId, WorkerId,
    error::{Error, Result},
    input::{Fingerprint, InputInspection, InputSpec},
    ipc,
    misses::{LookupTally, MissPolicy},
    output::{Committed, OutputInspection, OutputSpec, PreparedOutput},
    report::{PlanMetrics, TaskProgress},
    store::{StoreDescription, StoreSpec},
    trace::TraceParent,
};

/// The service for workers.
///
/// A worker keeps three connections: one for `register` and `heartbeat`, whose end is the worker's
/// end, one for work, so that a large frame never stands before a heartbeat, and, once it reads
/// blobs (each fragment is one), one for these.
#[tarpc::service]
pub trait WorkerApi {
    /// Joins, with a fresh id.
    async fn register(worker: WorkerInfo) -> Result<()>;

    /// Says that the worker is alive, which attempts it has whose ends it has not reported, and how
    /// far those are that run a plan, as many as one message has room for.
    async fn heartbeat(
        worker: WorkerId,
        attempts: Vec<AttemptId>,
        progress: Vec<(AttemptId, TaskProgress)>,
    ) -> Result<()>;

    /// Asks for no new tasks; those that run may end.
    async fn drain(worker: WorkerId) -> Result<()>;

    /// Waits a while for orders.
    async fn orders(worker: WorkerId) -> Result<Vec<Order>>;

    /// Hands in the next chunk of an attempt's output.
    async fn deliver(
        worker: WorkerId,
        attempt: AttemptId,
        sequence: u32,
        chunk: Chunk,
    ) -> Result<()>;

    /// Says that an attempt has computed all that it writes, and waits until that is stored: it
    /// gives its slot back before its end.
    async fn computed(worker: WorkerId, attempt: AttemptId) -> Result<()>;

    /// Says how an attempt ended.
    async fn finish(
        worker: WorkerId,
        attempt: AttemptId,
        outcome: Result<TaskReport>,
    ) -> Result<()>;

    /// Reads a blob from an offset.
    async fn read_blob(id: BlobId, offset: u64) -> Result<BlobPart>;
}

/// A worker as it introduces itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkerInfo {
    /// Drawn anew for each registration.
    pub id: WorkerId,
    /// For people: host and process.
    pub name: String,
    /// How many tasks it runs at once.
    pub slots: u32,
    /// Where other workers reach it to shuffle, if they may, as `tcp://HOST:PORT` or
    /// `tls://HOST:PORT`.
    pub shuffle: Option<String>,
}

/// The longest name of a worker, in bytes: it stands in log lines and in lists of workers.
const MAX_NAME: usize = 1024;

impl WorkerInfo {
    /// Refuses a name that nobody could show, and an address that is none.
    ///
    /// # Errors
    /// `invalid`, naming the bound, or the forms of an address.
    pub fn check(&self) -> Result<()> {
        let bytes = self.name.len();
        if bytes > MAX_NAME || self.name.chars().any(char::is_control) {
            return Err(Error::invalid(format!(
                "the worker's name takes {bytes} bytes; it is a line of at most {MAX_NAME}"
            )));
        }
        match &self.shuffle {
            Some(address) if address.len() > MAX_NAME => {
                Err(Error::invalid(format!("the worker's address is longer than {MAX_NAME} bytes")))
            }
            Some(address) => parse_address(address).map(drop),
            None => Ok(()),
        }
    }
}

/// What a coordinator tells a worker to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    /// Run this.
    Start(Box<Assignment>),
    /// Stop that: its output is not wanted any more.
    Stop(AttemptId),
    /// End what runs, take no more, and go: as if the process were told to stop.
    Leave,
}

/// An attempt at a task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Assignment {
    /// Under which name its output is handed in.
    pub attempt: AttemptId,
    /// What to do.
    pub work: Work,
    /// The span that it is done for, if somebody takes traces at the coordinator.
    pub trace: Option<TraceParent>,
}

/// The kinds of tasks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Work {
    /// Run a fragment over a slice of its input and hand in its rows.
    Fragment {
        /// The physical plan of all tasks that run it (see [`crate::plan`]), which is read once.
        plan: BlobId,
        /// The [`crate::plan::Slice`] of this task, encoded.
        slice: Body,
        /// The most rows of a batch.
        batch_rows: u32,
        /// Whether the rows are dropped instead of handed in.
        discard: bool,
        /// What the job does about missing keys.
        misses: MissPolicy,
    },
    /// Open a store and describe it.
    DescribeStore(StoreSpec),
    /// Look at files and describe them, unless they are those that are known.
    DescribeInput(InputSpec, Option<Fingerprint>),
    /// Look whether an output can be written, and what jobs have left there other than these, which
    /// the coordinator knows.
    PrepareOutput(PlannedOutput, Vec<JobId>),
    /// Make visible what the tasks of a job have written, or find that it was made before.
    CommitOutput(WrittenOutput),
    /// Remove what the tasks of a job have written and nobody sees, as far as it is known.
    AbortOutput(WrittenOutput),
    /// Run a plan that shuffles rows, together with other workers, and hand in its rows.
    Shuffle {
        /// The physical plan, with all that it reads.
        plan: BlobId,
        /// Where the workers are reached that take part, each of which has a slot for it, the one
        /// that is asked among them. Filled in when the work is handed out; with fewer than two,
        /// who is asked runs it alone.
        peers: Vec<String>,
        /// The most rows of a batch.
        batch_rows: u32,
        /// Whether the rows are dropped instead of handed in.
        discard: bool,
    },
    /// Look whether what a job reads that is resumed is what it was, and what it has written is
    /// there.
    CheckResumed(ResumedJob),
}

/// A job that goes on where an earlier run of it ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResumedJob {
    /// The physical plan as it was handed in, with all that it reads.
    pub plan: BlobId,
    /// What its tasks have written that are not run again, if they write.
    pub written: Option<WrittenOutput>,
}

/// An output that is to be written.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlannedOutput {
    /// Where.
    pub spec: OutputSpec,
    /// The columns of the rows.
    #[serde(with = "ipc::schema_serde")]
    pub schema: SchemaRef,
}

/// An output of which tasks have written pieces.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WrittenOutput {
    /// The job that writes it.
    pub job: JobId,
    /// Where.
    pub output: PreparedOutput,
    /// The pieces of the accepted attempts, in the order of their rows: the rows of
    /// [`crate::output::Piece`] as an Arrow IPC stream.
    pub pieces: BlobId,
}

/// What an attempt that succeeded reports.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum TaskReport {
    /// It handed in this many chunks and rows.
    Rows {
        /// Chunks handed in; the coordinator checks that all arrived.
        chunks: u32,
        /// Rows in them.
        rows: u64,
        /// What the fragment's nodes counted.
        metrics: PlanMetrics,
        /// What its lookups counted of their keys.
        lookups: Vec<LookupTally>,
    },
    /// The store's description.
    Store(StoreDescription),
    /// The input's description.
    Input(InputInspection),
    /// What is known of the output.
    Prepared(OutputInspection),
    /// What can be seen now.
    Committed(Committed),
    /// It is removed.
    Aborted,
    /// The job can go on.
    Resumed {
        /// The places of those pieces that are not there any more as they were written.
        gone: Vec<u32>,
    },
}

impl TaskReport {
    /// Refuses a report that tells more than any task has to tell.
    ///
    /// # Errors
    /// `internal`, naming the bound.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Rows { metrics, .. } => metrics.check(),
            Self::Store(_)
            | Self::Input(_)
            | Self::Prepared(_)
            | Self::Committed(_)
            | Self::Aborted
            | Self::Resumed { .. } => Ok(()),
        }
    }
}

/// A part of a blob.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BlobPart {
    /// The whole blob's size, in bytes.
    pub total: u64,
    /// The bytes from the offset on, as many as fit a chunk; or all rows, within a process.
    pub part: Chunk,
}
