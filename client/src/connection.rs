//! The connection of a session to its coordinator, near or far.

use std::{
    convert::Infallible,
    future::pending,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use keyloom_common::{
    BlobId, Error, ErrorCode, JobId, Result, WorkerId,
    described::ClusterCatalog,
    input::{Fingerprint, InputInspection, InputSpec},
    output::OutputInspection,
    report::{JobInfo, JobList, JobLog, WorkerStatus},
    rpc::{
        Chunk, ClientApiClient, Credentials, Limits, Next, PlannedOutput, Submission,
        connection_failed, in_time, not_answered,
    },
    store::{StoreDescription, StoreSpec},
};
use tokio::task::JoinHandle;
use tokio_util::context::TokioContext;

use crate::{
    cluster::Cluster,
    peer::{LocalWorkers, Peer},
    waits::{TELL_AFTER, Waits},
};

/// How often a question to the coordinator is put again when the connection fails.
const ASK_AGAIN: u32 = 3;

/// A connection that is opened again when it breaks.
#[derive(Debug)]
pub(crate) struct Connection {
    peer: Box<dyn Peer>,
    limits: Limits,
    client: Mutex<ClientApiClient>,
    pub(crate) waits: Waits,
}

impl Connection {
    /// To a peer that was dialled.
    pub(crate) fn new(peer: impl Peer + 'static, client: ClientApiClient, limits: Limits) -> Self {
        let waits = Waits::default();
        Self { peer: Box::new(peer), limits, client: Mutex::new(client), waits }
    }

    pub(crate) async fn cluster(
        address: &str,
        limits: Limits,
        credentials: Credentials,
    ) -> Result<Self> {
        let (cluster, client) = Cluster::connect(address, limits.clone(), credentials).await?;
        Ok(Self::new(cluster, client, limits))
    }

    /// The workers of this process, if the coordinator is here.
    pub(crate) fn local_workers(&self) -> Option<&dyn LocalWorkers> {
        self.peer.workers()
    }

    /// Waits for work here, whose own tasks belong to the cluster's runtime, if that is in this
    /// process.
    pub(crate) async fn within<T>(&self, work: impl Future<Output = T>) -> T {
        match self.peer.workers() {
            Some(_) => TokioContext::new(work, self.peer.background().handle().clone()).await,
            None => work.await,
        }
    }

    /// Runs what outlives its caller.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.peer.background().handle().spawn(work)
    }

    fn client(&self) -> ClientApiClient {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks again over a new connection when the old one fails. All questions are idempotent.
    async fn ask<T, F>(&self, question: impl Fn(ClientApiClient) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut tries = 0;
        let mut unanswered = None;
        loop {
            let error = match question(self.client()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if !connection_failed(&error) {
                return Err(self.name_if_silent(error));
            }
            if tries == ASK_AGAIN {
                // It names the address.
                return Err(unanswered.unwrap_or(error));
            }
            tries += 1;
            tokio::time::sleep(Duration::from_millis(100) * tries).await;
            unanswered = self.reconnect().await.err();
        }
    }

    /// Says who it is that did not answer: then it is lost, as one is that is not there.
    fn name_if_silent(&self, error: Error) -> Error {
        match self.peer.address() {
            Some(address) if not_answered(&error) => error
                .context(format_args!("the coordinator at {address} is silent"))
                .with_code(ErrorCode::NoCoordinator),
            _ => error,
        }
    }

    async fn reconnect(&self) -> Result<()> {
        let client = self.peer.dial().await?;
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = client;
        Ok(())
    }

    /// Makes sure that the coordinator holds this.
    pub(crate) async fn ensure_blob(&self, id: BlobId, content: &Chunk) -> Result<()> {
        let mut sent = self.ask(|client| self.ensure_blob_over(client, id, content)).await;
        for _ in 0..ASK_AGAIN {
            // Its first parts went with a connection that is no more.
            let Err(error) = &sent else { break };
            if error.code() != Some(ErrorCode::BlobPartGone) {
                break;
            }
            sent = self.ask(|client| self.ensure_blob_over(client, id, content)).await;
        }
        sent
    }

    async fn ensure_blob_over(
        &self,
        client: ClientApiClient,
        id: BlobId,
        content: &Chunk,
    ) -> Result<()> {
        let timeout = self.limits.call_timeout();
        if in_time(timeout, |context| client.has_blob(context, id)).await? {
            return Ok(());
        }
        let Chunk::Stream(body) = content else {
            let rows = content.clone();
            return in_time(timeout, |context| client.put_blob(context, id, 0, 0, rows)).await;
        };
        let bytes = body.bytes();
        let total = bytes.len() as u64;
        let part_bytes = match self.peer.workers() {
            Some(_) => bytes.len().max(1),
            None => self.limits.chunk_bytes,
        };
        let mut rest = bytes.clone();
        loop {
            let offset = total - rest.len() as u64;
            let part = rest.split_to(part_bytes.min(rest.len()));
            in_time(timeout, |context| client.put_blob(context, id, offset, total, part.into()))
                .await?;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    /// What the cluster offers by name.
    pub(crate) async fn catalog(&self) -> Result<ClusterCatalog> {
        let timeout = self.limits.call_timeout();
        self.ask(|client| async move { in_time(timeout, |context| client.catalog(context)).await })
            .await
    }

    pub(crate) async fn describe_store(&self, spec: StoreSpec) -> Result<StoreDescription> {
        let timeout = self.question_timeout();
        let asked = self.ask(|client| {
            let spec = spec.clone();
            async move { in_time(timeout, |context| client.describe_store(context, spec)).await }
        });
        self.of_a_worker(asked).await
    }

    pub(crate) async fn describe_input(
        &self,
        spec: InputSpec,
        known: Option<Fingerprint>,
    ) -> Result<InputInspection> {
        let timeout = self.question_timeout();
        let asked =
            self.ask(|client| {
                let spec = spec.clone();
                async move {
                    in_time(timeout, |context| client.describe_input(context, spec, known)).await
                }
            });
        self.of_a_worker(asked).await
    }

    /// Looks whether an output can be written, and what others have left there.
    pub(crate) async fn prepare_output(&self, output: PlannedOutput) -> Result<OutputInspection> {
        let timeout = self.question_timeout();
        let asked = self.ask(|client| {
            let output = output.clone();
            async move { in_time(timeout, |context| client.prepare_output(context, output)).await }
        });
        self.of_a_worker(asked).await
    }

    /// Waits for an answer that only a worker gives. After a while it is said that there is none,
    /// if so.
    async fn of_a_worker<T>(&self, asked: impl Future<Output = T>) -> T {
        tokio::select! {
            answer = asked => answer,
            never = self.miss_workers() => match never {},
        }
    }

    async fn miss_workers(&self) -> Infallible {
        if self.peer.address().is_some() {
            tokio::time::sleep(TELL_AFTER).await;
            // If the coordinator is gone, what is asked fails by itself.
            if self.workers().await.is_ok_and(|workers| workers.is_empty()) {
                self.say_that_there_is_no_worker();
            }
        }
        pending().await
    }

    /// Says that something waits for a worker, if these are elsewhere.
    pub(crate) fn say_that_there_is_no_worker(&self) {
        if let Some(address) = self.peer.address() {
            self.waits.say(address);
        }
    }

    /// Questions wait for a worker, which the coordinator bounds; this only catches a dead peer.
    fn question_timeout(&self) -> Duration {
        self.limits.call_timeout() * 2
    }

    pub(crate) async fn submit(&self, job: Submission) -> Result<()> {
        let timeout = self.limits.call_timeout();
        self.ask(|client| {
            let job = job.clone();
            async move { in_time(timeout, |context| client.submit(context, job)).await }
        })
        .await
    }

    pub(crate) async fn next(&self, job: JobId, sequence: u64) -> Result<Next> {
        let timeout = self.limits.call_timeout();
        self.ask(|client| async move {
            in_time(timeout, |context| client.next(context, job, sequence)).await
        })
        .await
    }

    /// Says that a job's client is there.
    pub(crate) async fn renew(&self, job: JobId) -> Result<()> {
        let timeout = self.limits.call_timeout();
        self.ask(
            |client| async move { in_time(timeout, |context| client.renew(context, job)).await },
        )
        .await
    }

    pub(crate) async fn cancel(&self, job: JobId) -> Result<()> {
        let timeout = self.limits.call_timeout();
        self.ask(
            |client| async move { in_time(timeout, |context| client.cancel(context, job)).await },
        )
        .await
    }

    /// The jobs that are known.
    pub(crate) async fn jobs(&self) -> Result<JobList> {
        let timeout = self.limits.call_timeout();
        self.ask(|client| async move { in_time(timeout, |context| client.jobs(context)).await })
            .await
    }

    /// What is known of a job.
    pub(crate) async fn job(&self, job: JobId) -> Result<JobInfo> {
        let timeout = self.limits.call_timeout();
        self.ask(|client| async move { in_time(timeout, |context| client.job(context, job)).await })
            .await
    }

    /// What happened to a job.
    pub(crate) async fn job_log(&self, job: JobId) -> Result<JobLog> {
        let timeout = self.limits.call_timeout();
        self.ask(
            |client| async move { in_time(timeout, |context| client.job_log(context, job)).await },
        )
        .await
    }

    pub(crate) async fn resume(&self, job: JobId) -> Result<()> {
        let timeout = self.limits.call_timeout();
        self.ask(
            |client| async move { in_time(timeout, |context| client.resume(context, job)).await },
        )
        .await
    }

    pub(crate) async fn drain_worker(&self, worker: WorkerId) -> Result<()> {
        let timeout = self.limits.call_timeout();
        self.ask(|client| async move {
            in_time(timeout, |context| client.drain_worker(context, worker)).await
        })
        .await
    }

    pub(crate) async fn workers(&self) -> Result<Vec<WorkerStatus>> {
        let timeout = self.limits.call_timeout();
        self.ask(|client| async move { in_time(timeout, |context| client.workers(context)).await })
            .await
    }
}
