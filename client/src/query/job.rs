//! A job: submitted once, its rows taken chunk by chunk, cancelled when it is dropped, unless it is
//! detached.

mod submit;

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
    time::Duration,
};

use arrow::{
    array::RecordBatch,
    datatypes::{Schema, SchemaRef},
};
use futures::{Stream, stream};
use keyloom_common::{
    Error, ErrorKind, JobId, Result,
    ipc::Decoder,
    report::{JobProgress, JobStatus, JobSummary, RowSchema, Underway},
    rpc::{Next, under},
};
use tokio_util::task::AbortOnDropHandle;
use tracing::Span;

use super::JobHandle;
use crate::link::Link;

/// A query under way. Its rows come in order; dropping it cancels it, unless it is detached.
#[derive(Debug)]
pub struct Job {
    id: JobId,
    link: Arc<Link>,
    schema: SchemaRef,
    /// Whether that was said before the first rows came. Else they are as they come.
    is_planned: bool,
    is_detached: bool,
    sequence: u64,
    stream: Option<u32>,
    decoder: Decoder,
    batches: VecDeque<RecordBatch>,
    rows: u64,
    status: JobStatus,
    progress: JobProgress,
    /// Whether it was said that it waits for a worker, since it last had one.
    is_alone: bool,
    summary: Option<JobSummary>,
    /// Rows that missed their keys, if they are kept, and what decodes more of them.
    missed: Vec<RecordBatch>,
    missed_decoder: Decoder,
    /// Entered again when it ends, for whoever takes traces.
    span: Span,
    _renewing: AbortOnDropHandle<()>,
}

/// How often a job's client says that it is there, whatever it does with the rows meanwhile.
const RENEW: Duration = Duration::from_secs(1);

/// What a job tells whoever waits for its rows.
#[derive(Debug)]
pub enum JobUpdate {
    /// Rows.
    Batch(RecordBatch),
    /// Still working, or waiting for workers.
    Pending(JobStatus),
    /// All rows have come.
    Done,
}

impl Job {
    /// A job that was submitted. Its rows come from the first one on.
    fn attached(link: Arc<Link>, id: JobId, schema: Option<SchemaRef>, span: Span) -> Self {
        let renewing = link.connection.spawn(renew(Arc::downgrade(&link), id));
        Self {
            _renewing: AbortOnDropHandle::new(renewing),
            id,
            link,
            is_planned: schema.is_some(),
            schema: schema.unwrap_or_else(|| Arc::new(Schema::empty())),
            is_detached: true,
            sequence: 0,
            stream: None,
            decoder: Decoder::new(),
            batches: VecDeque::new(),
            rows: 0,
            status: JobStatus::default(),
            progress: JobProgress::default(),
            is_alone: false,
            summary: None,
            missed: Vec::new(),
            missed_decoder: Decoder::new(),
            span,
        }
    }

    /// A detached job whose rows nobody has taken, once the first ones are there, or it has ended.
    pub(super) async fn attach(link: Arc<Link>, id: JobId) -> Result<Self> {
        let span = tracing::error_span!("job", job = %id, otel.kind = "client");
        let mut job = Self::attached(link, id, None, span);
        while job.batches.is_empty() && job.summary.is_none() && !job.has_schema() {
            job.advance().await?;
        }
        if let Some(schema) = job.first_schema() {
            job.schema = schema;
        } else if let Some(RowSchema(schema)) = job.link.connection.job(id).await?.schema {
            // There are no rows to tell of their columns.
            job.schema = schema;
        }
        Ok(job)
    }

    fn first_schema(&self) -> Option<SchemaRef> {
        let first = self.batches.front().map(RecordBatch::schema);
        first.or_else(|| self.decoder.schema())
    }

    fn has_schema(&self) -> bool {
        self.first_schema().is_some()
    }

    /// The job's id.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// The columns of its rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// How many rows have come so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// How far it was when last heard of.
    pub fn status(&self) -> JobStatus {
        self.status
    }

    /// How far its stages were when last heard of, and what they had asked of stores.
    pub fn progress(&self) -> &JobProgress {
        &self.progress
    }

    /// What it did, once all rows have come.
    pub fn summary(&self) -> Option<&JobSummary> {
        self.summary.as_ref()
    }

    /// The rows that missed their keys, once all rows have come, if the job was to keep them: in
    /// the columns of [`crate::missed_schema`]. Taken once. Of more than there was room for,
    /// [`JobSummary::missed_left_out`] says how many there are.
    pub fn take_missed(&mut self) -> Vec<RecordBatch> {
        std::mem::take(&mut self.missed)
    }

    /// Waits for the next batch of rows; `None` after the last.
    ///
    /// # Errors
    /// Why the job failed.
    pub async fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            match self.next_update().await? {
                JobUpdate::Batch(batch) => return Ok(Some(batch)),
                JobUpdate::Pending(_) => {}
                JobUpdate::Done => return Ok(None),
            }
        }
    }

    /// Waits for the next batch of rows, for about a second.
    ///
    /// # Errors
    /// Why the job failed.
    pub async fn next_update(&mut self) -> Result<JobUpdate> {
        loop {
            if let Some(batch) = self.batches.pop_front() {
                self.rows += batch.num_rows() as u64;
                return Ok(JobUpdate::Batch(batch));
            }
            if self.summary.is_some() {
                return Ok(JobUpdate::Done);
            }
            if self.advance().await? {
                return Ok(JobUpdate::Pending(self.status));
            }
        }
    }

    /// Takes what comes next of it, and says whether that is nothing yet.
    async fn advance(&mut self) -> Result<bool> {
        match self.link.connection.next(self.id, self.sequence).await? {
            Next::Chunk { stream, chunk } => {
                self.sequence += 1;
                // Streams are tasks, in order: those before this one are done.
                self.status.tasks_done = self.status.tasks_done.max(stream);
                if self.stream.replace(stream) != Some(stream) {
                    self.decoder = Decoder::new();
                }
                for batch in chunk.decode(&mut self.decoder)? {
                    // Tasks may differ in the nullability of their columns.
                    let batch = if self.is_planned { under(&self.schema, batch)? } else { batch };
                    self.batches.push_back(batch);
                }
            }
            Next::Missed(chunk) => {
                self.sequence += 1;
                self.missed.extend(chunk.decode(&mut self.missed_decoder)?);
            }
            Next::Pending(Underway { status, progress }) => {
                (self.status, self.progress) = (status, progress);
                self.tell_if_alone();
                return Ok(true);
            }
            Next::Done(summary) => {
                self.summary = Some(summary);
                forget(&self.link, self.id);
            }
        }
        Ok(false)
    }

    /// Says that there is no worker, once each time that this begins.
    fn tell_if_alone(&mut self) {
        let was_alone = std::mem::replace(&mut self.is_alone, self.status.workers == 0);
        if self.is_alone && !was_alone {
            self.link.connection.say_that_there_is_no_worker();
        }
    }

    /// Takes the rest of the rows and returns what the job did.
    ///
    /// # Errors
    /// Why the job failed.
    pub async fn finish(mut self) -> Result<JobSummary> {
        while self.next_batch().await?.is_some() {}
        Ok(self.summary.take().unwrap_or_default())
    }

    /// Takes all the rows.
    ///
    /// # Errors
    /// Why the job failed.
    pub async fn collect(&mut self) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next_batch().await? {
            batches.push(batch);
        }
        Ok(batches)
    }

    /// The rows as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<RecordBatch>> + Send {
        stream::try_unfold(self, async |mut job| {
            Ok(job.next_batch().await?.map(|batch| (batch, job)))
        })
    }

    /// Leaves a job that was submitted as detached to itself.
    ///
    /// # Errors
    /// `invalid` if it was not: it is cancelled then.
    pub fn detach(self) -> Result<JobHandle> {
        match self.is_detached {
            true => Ok(JobHandle::new(Arc::clone(&self.link), self.id)),
            false => Err(Error::invalid(
                "the job was not submitted as detached, and ends with its client: submit it with \
                 JobOptions::detached",
            )),
        }
    }

    /// Stops the job and waits until the coordinator knows.
    ///
    /// # Errors
    /// If the coordinator cannot be told.
    pub async fn cancel(self) -> Result<()> {
        self.link.connection.cancel(self.id).await
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let _within = self.span.enter();
        if self.summary.is_none() && !self.is_detached {
            forget(&self.link, self.id);
        }
    }
}

/// Lets the coordinator forget a job.
fn forget(link: &Arc<Link>, id: JobId) {
    let told = Arc::clone(link);
    drop(link.connection.spawn(async move {
        // A coordinator that is not told forgets by itself, later.
        let _ = told.connection.cancel(id).await;
    }));
}

/// Says again and again that a job's client is there.
async fn renew(link: Weak<Link>, job: JobId) {
    loop {
        tokio::time::sleep(RENEW).await;
        let Some(link) = link.upgrade() else { return };
        match link.connection.renew(job).await {
            // It has ended; whoever asks for its rows is told why.
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            // The next time may be better, and the next rows tell of it.
            Err(error) => tracing::debug!(%job, %error, "the coordinator was not told"),
            Ok(()) => {}
        }
    }
}
