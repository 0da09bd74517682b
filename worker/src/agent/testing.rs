//! A coordinator for tests, in this process: it hears what heartbeats say, and answers with bytes.

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use keyloom_common::{
    AttemptId, BlobId, Error, Result, WorkerId,
    report::TaskProgress,
    rpc::{BlobPart, Chunk, Order, TaskReport, WorkerApi, WorkerApiClient, WorkerInfo},
};
use tarpc::{
    client::Config,
    context::Context,
    server::{BaseChannel, Channel},
    transport::channel,
};
use tokio::sync::mpsc;

use super::Dial;

/// What a heartbeat says.
pub(super) type Told = (Vec<AttemptId>, Vec<(AttemptId, TaskProgress)>);

/// A coordinator with which anybody may register. What a test does not give it, it must not be
/// asked.
#[derive(Clone, Debug, Default)]
pub(super) struct FakeCoordinator {
    /// Where it passes on what heartbeats say.
    pub(super) heard: Option<mpsc::UnboundedSender<Told>>,
    /// Where it passes on which attempts have computed what they write.
    pub(super) computed: Option<mpsc::UnboundedSender<AttemptId>>,
    /// What it answers with, whichever blob it is asked for.
    pub(super) blob: Option<&'static [u8]>,
}

fn not_asked() -> Error {
    Error::internal("not asked")
}

impl WorkerApi for FakeCoordinator {
    async fn register(self, _: Context, _: WorkerInfo) -> Result<()> {
        Ok(())
    }

    async fn heartbeat(
        self,
        _: Context,
        _: WorkerId,
        attempts: Vec<AttemptId>,
        progress: Vec<(AttemptId, TaskProgress)>,
    ) -> Result<()> {
        let heard = self.heard.ok_or_else(not_asked)?;
        heard.send((attempts, progress)).map_err(|error| Error::internal(error.to_string()))
    }

    async fn drain(self, _: Context, _: WorkerId) -> Result<()> {
        Err(not_asked())
    }

    async fn orders(self, _: Context, _: WorkerId) -> Result<Vec<Order>> {
        Err(not_asked())
    }

    async fn deliver(self, _: Context, _: WorkerId, _: AttemptId, _: u32, _: Chunk) -> Result<()> {
        Err(not_asked())
    }

    async fn computed(self, _: Context, _: WorkerId, attempt: AttemptId) -> Result<()> {
        let computed = self.computed.ok_or_else(not_asked)?;
        computed.send(attempt).map_err(|error| Error::internal(error.to_string()))
    }

    async fn finish(
        self,
        _: Context,
        _: WorkerId,
        _: AttemptId,
        _: Result<TaskReport>,
    ) -> Result<()> {
        Err(not_asked())
    }

    async fn read_blob(self, _: Context, _: BlobId, offset: u64) -> Result<BlobPart> {
        // In parts of two bytes, but for those that are short.
        let blob = self.blob.ok_or_else(not_asked)?;
        let (start, total) = (offset as usize, blob.len());
        let end = if total < 4 { total } else { total.min(start + 2) };
        let part = Bytes::from_static(&blob[start..end]).into();
        Ok(BlobPart { total: total as u64, part })
    }
}

#[async_trait]
impl Dial for FakeCoordinator {
    async fn dial(&self) -> Result<WorkerApiClient> {
        let (near, far) = channel::unbounded();
        let requests = BaseChannel::with_defaults(far).execute(self.clone().serve());
        drop(tokio::spawn(requests.for_each_concurrent(None, |request| request)));
        Ok(WorkerApiClient::new(Config::default(), near).spawn())
    }
}
