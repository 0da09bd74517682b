//! The service for clients.

use std::sync::Arc;

use keyloom_common::{
    BlobId, Error, JobId, Result, WorkerId,
    described::ClusterCatalog,
    input::{Fingerprint, InputInspection, InputSpec},
    output::OutputInspection,
    report::{JobInfo, JobList, JobLog, WorkerStatus},
    rpc::{Chunk, ClientApi, Next, PlannedOutput, Submission, TaskReport, Work, guarded},
    stack::deep,
    store::{StoreDescription, StoreSpec},
};
use tarpc::context::Context;
use tokio::task::spawn_blocking;

use super::Shared;
use crate::{catalog::Rights, output::place_of, owner::Owner};

/// One client's connection.
#[derive(Clone, Debug)]
pub(super) struct ClientConnection {
    pub(super) shared: Arc<Shared>,
    /// The connection, to the jobs and blobs that came over it, and whose it is.
    pub(super) owner: Owner,
    /// Whether the client is in this process.
    pub(super) in_process: bool,
}

impl ClientConnection {
    /// What the client may read, if that is not everything.
    fn rights(&self) -> Option<Rights> {
        self.shared.catalog.rights(self.owner.identity())
    }
}

impl ClientApi for ClientConnection {
    async fn has_blob(self, _: Context, id: BlobId) -> Result<bool> {
        Ok(self.shared.blobs.has(&self.owner, id))
    }

    async fn put_blob(
        self,
        _: Context,
        id: BlobId,
        offset: u64,
        total: u64,
        part: Chunk,
    ) -> Result<()> {
        self.shared.dispatcher.metrics().bytes.blobs.inc_by(part.sent_bytes());
        let last = match &part {
            Chunk::Stream(body) => offset.saturating_add(body.bytes().len() as u64) >= total,
            Chunk::Batches(_) => false,
        };
        let put = move || self.shared.blobs.put_part(&self.owner, id, offset, total, part);
        match last {
            // The whole is hashed, which takes its time.
            true => spawn_blocking(put).await.map_err(Error::from_join)?,
            false => guarded(async move { put() }).await,
        }
    }

    async fn catalog(self, _: Context) -> Result<ClusterCatalog> {
        Ok(self.shared.catalog.offered(self.owner.identity()))
    }

    async fn describe_store(self, _: Context, spec: StoreSpec) -> Result<StoreDescription> {
        self.rights().iter().try_for_each(|rights| rights.check_store(&spec))?;
        if let Some(content) = spec.content {
            // Workers read whatever they are named: what others hold is not there for this one.
            self.shared.blobs.check(&self.owner, content)?;
        }
        match guarded(self.shared.jobs.ask_worker(Work::DescribeStore(spec))).await? {
            TaskReport::Store(mut description) => {
                if let Some(figures) = &mut description.figures {
                    figures.max_key_set_bytes = self.shared.settings.max_key_set_bytes;
                }
                Ok(description)
            }
            _ => Err(wrong_answer()),
        }
    }

    async fn describe_input(
        self,
        _: Context,
        spec: InputSpec,
        known: Option<Fingerprint>,
    ) -> Result<InputInspection> {
        self.rights().iter().try_for_each(|rights| rights.check_input(&spec))?;
        match guarded(self.shared.jobs.ask_worker(Work::DescribeInput(spec, known))).await? {
            TaskReport::Input(answer) => Ok(answer),
            _ => Err(wrong_answer()),
        }
    }

    async fn prepare_output(self, _: Context, output: PlannedOutput) -> Result<OutputInspection> {
        place_of(&output.spec)?;
        self.rights().iter().try_for_each(|rights| rights.check_output(&output.spec))?;
        let work = Work::PrepareOutput(output, self.shared.jobs.with_pieces());
        match guarded(self.shared.jobs.ask_worker(work)).await? {
            TaskReport::Prepared(mut inspected) => {
                // Some may have begun meanwhile.
                inspected.leftovers.retain(|left| !self.shared.jobs.may_have_pieces(left.job));
                Ok(inspected)
            }
            _ => Err(wrong_answer()),
        }
    }

    async fn submit(self, _: Context, job: Submission) -> Result<()> {
        // Known before it waits for a thread: if its client goes meanwhile, it can be cancelled.
        let Some(entry) = self.shared.jobs.begin(&job, &self.owner)? else { return Ok(()) };
        let submit = move || {
            // Large plans take their time, and deep ones a large stack.
            deep(|| self.shared.jobs.submit(&entry, job, &self.owner, self.in_process))
        };
        spawn_blocking(submit).await.map_err(Error::from_join)?
    }

    async fn next(self, _: Context, job: JobId, sequence: u64) -> Result<Next> {
        guarded(self.shared.jobs.next(job, sequence, &self.owner)).await
    }

    async fn renew(self, _: Context, job: JobId) -> Result<()> {
        self.shared.jobs.renew(job, &self.owner)
    }

    async fn cancel(self, _: Context, job: JobId) -> Result<()> {
        self.shared.jobs.cancel(job, &self.owner)?;
        // Or a job that was cancelled might go on by itself after a restart.
        guarded(async {
            self.shared.jobs.remembered_for_good().await;
            Ok(())
        })
        .await
    }

    async fn jobs(self, _: Context) -> Result<JobList> {
        // There may be many, and much is known of each.
        let list = move || self.shared.jobs.list(&self.owner);
        spawn_blocking(list).await.map_err(Error::from_join)
    }

    async fn job(self, _: Context, job: JobId) -> Result<JobInfo> {
        self.shared.jobs.info(job, &self.owner)
    }

    async fn job_log(self, _: Context, job: JobId) -> Result<JobLog> {
        self.shared.jobs.log(job, &self.owner)
    }

    async fn resume(self, _: Context, job: JobId) -> Result<()> {
        let resume = move || deep(|| self.shared.jobs.resume(job, &self.owner));
        spawn_blocking(resume).await.map_err(Error::from_join)?
    }

    async fn drain_worker(self, _: Context, worker: WorkerId) -> Result<()> {
        self.shared.jobs.drain_worker(worker, &self.owner)
    }

    async fn workers(self, _: Context) -> Result<Vec<WorkerStatus>> {
        Ok(self.shared.dispatcher.workers().await)
    }
}

fn wrong_answer() -> Error {
    Error::internal("a worker answered another question than was asked")
}
