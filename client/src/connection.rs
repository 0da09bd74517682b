//! The connection of a session to its coordinator, near or far.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use keyloom_common::{
    BlobId, Error, JobId, Result,
    background::Background,
    input::{Fingerprint, InputAnswer, InputSpec},
    report::WorkerStatus,
    rpc::{
        Chunk, ClientApiClient, Limits, Next, Submission, call, connect, connection_failed,
        handshake::{self, Role},
        not_answered,
    },
    store::{StoreDescription, StoreSpec},
};
use keyloom_coordinator::part_is_gone;
use keyloom_worker::TasksShared;
use tokio::task::JoinHandle;
use tokio_util::context::TokioContext;

use crate::{embedded::Embedded, settings::EmbeddedSettings};

/// How often a question to the coordinator is put again when the connection fails.
const ASK_AGAIN: u32 = 3;

/// A connection that is opened again when it breaks.
#[derive(Debug)]
pub(crate) struct Connection {
    peer: Peer,
    limits: Limits,
    client: Mutex<ClientApiClient>,
}

#[derive(Debug)]
enum Peer {
    Embedded(Embedded),
    Cluster(Cluster),
}

/// A coordinator elsewhere. The connection has a thread of its own: it goes on, and says that its
/// jobs' client is there, whatever the caller's runtime does meanwhile.
#[derive(Debug)]
struct Cluster {
    address: String,
    background: Background,
}

impl Cluster {
    async fn dial(&self, limits: &Limits) -> Result<ClientApiClient> {
        let (address, limits) = (self.address.clone(), limits.clone());
        let dialling = async move {
            let transport = connect(&address, Role::Client, &limits).await?;
            Ok(ClientApiClient::new(tarpc::client::Config::default(), transport).spawn())
        };
        self.background.handle().spawn(dialling).await.map_err(Error::from_join)?
    }
}

impl Connection {
    pub(crate) fn embedded(settings: EmbeddedSettings) -> Result<Self> {
        let limits = settings.session.rpc.clone();
        let embedded = Embedded::start(settings)?;
        let client = Mutex::new(embedded.client());
        Ok(Self { peer: Peer::Embedded(embedded), limits, client })
    }

    pub(crate) async fn cluster(address: &str, limits: Limits) -> Result<Self> {
        let background = Background::start("keyloom-client", 1)?;
        let cluster = Cluster { address: address.to_owned(), background };
        let client = Mutex::new(dial_again(&cluster, &limits).await?);
        Ok(Self { peer: Peer::Cluster(cluster), limits, client })
    }

    /// The workers of this process, if the coordinator is here.
    pub(crate) fn local_workers(&self) -> Option<&TasksShared> {
        match &self.peer {
            Peer::Embedded(embedded) => Some(embedded.tasks()),
            Peer::Cluster(_) => None,
        }
    }

    /// Waits for work here, whose own tasks belong to the cluster's runtime, if that is in this process.
    pub(crate) async fn within<T>(&self, work: impl Future<Output = T>) -> T {
        match &self.peer {
            Peer::Embedded(embedded) => {
                TokioContext::new(work, embedded.background().handle().clone()).await
            }
            Peer::Cluster(_) => work.await,
        }
    }

    /// Runs what outlives its caller.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let background = match &self.peer {
            Peer::Embedded(embedded) => embedded.background(),
            Peer::Cluster(cluster) => &cluster.background,
        };
        background.handle().spawn(work)
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

    /// Says who it is that did not answer.
    fn name_if_silent(&self, error: Error) -> Error {
        match &self.peer {
            Peer::Cluster(cluster) if not_answered(&error) => {
                error.context(format_args!("the coordinator at {} is silent", cluster.address))
            }
            _ => error,
        }
    }

    async fn reconnect(&self) -> Result<()> {
        let client = match &self.peer {
            Peer::Embedded(embedded) => embedded.client(),
            Peer::Cluster(cluster) => cluster.dial(&self.limits).await?,
        };
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = client;
        Ok(())
    }

    /// Makes sure that the coordinator holds this.
    pub(crate) async fn ensure_blob(&self, id: BlobId, content: &Chunk) -> Result<()> {
        let mut sent = self.ask(|client| self.ensure_blob_over(client, id, content)).await;
        for _ in 0..ASK_AGAIN {
            // Its first parts went with a connection that is no more.
            let Err(error) = &sent else { break };
            if !part_is_gone(error) {
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
        if call(timeout, |context| client.has_blob(context, id)).await? {
            return Ok(());
        }
        let Chunk::Stream(body) = content else {
            let rows = content.clone();
            return call(timeout, |context| client.put_blob(context, id, 0, 0, rows)).await;
        };
        let bytes = body.bytes();
        let total = bytes.len() as u64;
        let part_bytes = match &self.peer {
            Peer::Embedded(_) => bytes.len().max(1),
            Peer::Cluster(_) => self.limits.chunk_bytes,
        };
        let mut rest = bytes.clone();
        loop {
            let offset = total - rest.len() as u64;
            let part = rest.split_to(part_bytes.min(rest.len()));
            call(timeout, |context| client.put_blob(context, id, offset, total, part.into()))
                .await?;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    pub(crate) async fn describe_store(&self, spec: StoreSpec) -> Result<StoreDescription> {
        let timeout = self.question_timeout();
        self.ask(|client| {
            let spec = spec.clone();
            async move { call(timeout, |context| client.describe_store(context, spec)).await }
        })
        .await
    }

    pub(crate) async fn describe_input(
        &self,
        spec: InputSpec,
        known: Option<Fingerprint>,
    ) -> Result<InputAnswer> {
        let timeout = self.question_timeout();
        self.ask(|client| {
            let spec = spec.clone();
            async move {
                call(timeout, |context| client.describe_input(context, spec, known)).await
            }
        })
        .await
    }

    /// Questions wait for a worker, which the coordinator bounds; this only catches a dead peer.
    fn question_timeout(&self) -> Duration {
        self.limits.call_timeout() * 2
    }

    pub(crate) async fn submit(&self, job: Submission) -> Result<()> {
        let timeout = self.limits.call_timeout();
        self.ask(|client| {
            let job = job.clone();
            async move { call(timeout, |context| client.submit(context, job)).await }
        })
        .await
    }

    pub(crate) async fn next(&self, job: JobId, sequence: u64) -> Result<Next> {
        let timeout = self.limits.call_timeout();
        self.ask(|client| async move {
            call(timeout, |context| client.next(context, job, sequence)).await
        })
        .await
    }

    /// Says that a job's client is there.
    pub(crate) async fn renew(&self, job: JobId) -> Result<()> {
        let timeout = self.limits.call_timeout();
        self.ask(|client| async move { call(timeout, |context| client.renew(context, job)).await })
            .await
    }

    pub(crate) async fn cancel(&self, job: JobId) -> Result<()> {
        let timeout = self.limits.call_timeout();
        self.ask(|client| async move { call(timeout, |context| client.cancel(context, job)).await })
            .await
    }

    pub(crate) async fn workers(&self) -> Result<Vec<WorkerStatus>> {
        let timeout = self.limits.call_timeout();
        self.ask(|client| async move { call(timeout, |context| client.workers(context)).await })
            .await
    }
}

/// Dials once more if the first try came to nothing on the way.
async fn dial_again(cluster: &Cluster, limits: &Limits) -> Result<ClientApiClient> {
    match cluster.dial(limits).await {
        Err(error) if error.message().contains(handshake::DAMAGED) => cluster.dial(limits).await,
        dialled => dialled,
    }
}
