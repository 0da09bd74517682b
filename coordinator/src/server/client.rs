//! The service for clients.

use std::sync::Arc;

use keyloom_common::{
    BlobId, Error, JobId, Result,
    input::{Fingerprint, InputAnswer, InputSpec},
    report::WorkerStatus,
    rpc::{Body, ClientApi, Next, Submission, TaskOutput, Work, guarded},
    store::{StoreDescription, StoreSpec},
};
use tarpc::context::Context;

use super::Shared;

/// One client's connection.
#[derive(Clone, Debug)]
pub(super) struct ClientConnection(pub(super) Arc<Shared>);

impl ClientApi for ClientConnection {
    async fn has_blob(self, _: Context, id: BlobId) -> Result<bool> {
        Ok(self.0.blobs.has(id))
    }

    async fn put_blob(
        self,
        _: Context,
        id: BlobId,
        offset: u64,
        total: u64,
        part: Body,
    ) -> Result<()> {
        guarded(async { self.0.blobs.put_part(id, offset, total, part.0) }).await
    }

    async fn describe_store(self, _: Context, spec: StoreSpec) -> Result<StoreDescription> {
        match guarded(self.0.jobs.ask_worker(Work::DescribeStore(spec))).await? {
            TaskOutput::Store(description) => Ok(description),
            _ => Err(wrong_answer()),
        }
    }

    async fn describe_input(
        self,
        _: Context,
        spec: InputSpec,
        known: Option<Fingerprint>,
    ) -> Result<InputAnswer> {
        match guarded(self.0.jobs.ask_worker(Work::DescribeInput(spec, known))).await? {
            TaskOutput::Input(answer) => Ok(answer),
            _ => Err(wrong_answer()),
        }
    }

    async fn submit(self, _: Context, job: Submission) -> Result<()> {
        guarded(async { self.0.jobs.submit(job) }).await
    }

    async fn next(self, _: Context, job: JobId, sequence: u64) -> Result<Next> {
        guarded(self.0.jobs.next(job, sequence)).await
    }

    async fn cancel(self, _: Context, job: JobId) -> Result<()> {
        self.0.jobs.cancel(job);
        Ok(())
    }

    async fn workers(self, _: Context) -> Result<Vec<WorkerStatus>> {
        Ok(self.0.dispatcher.workers().await)
    }
}

fn wrong_answer() -> Error {
    Error::internal("a worker answered another question than was asked")
}
