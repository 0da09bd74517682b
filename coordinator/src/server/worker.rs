//! The service for workers.

use std::sync::{Arc, Mutex, PoisonError};

use keyloom_common::{
    AttemptId, BlobId, Result, WorkerId,
    report::TaskProgress,
    rpc::{BlobPart, Chunk, Identity, Order, TaskReport, WorkerApi, WorkerInfo, guarded},
};
use tarpc::context::Context;

use super::Shared;

/// One connection of a worker.
#[derive(Clone, Debug)]
pub(super) struct WorkerConnection {
    pub(super) shared: Arc<Shared>,
    /// The most bytes of a blob in one answer.
    pub(super) part_bytes: usize,
    /// Who speaks on it. A worker has several connections, and is the same on all of them.
    identity: Identity,
    registered: Arc<Registered>,
}

/// The worker that registered on a connection: when the connection ends, so does the worker.
#[derive(Debug)]
struct Registered {
    shared: Arc<Shared>,
    worker: Mutex<Option<WorkerId>>,
}

impl WorkerConnection {
    pub(super) fn new(shared: Arc<Shared>, part_bytes: usize, identity: Identity) -> Self {
        let worker = Mutex::new(None);
        let registered = Arc::new(Registered { shared: Arc::clone(&shared), worker });
        Self { shared, part_bytes, identity, registered }
    }

    /// Refuses who speaks for another's worker: its orders, and what becomes of its tasks, are its
    /// own matter.
    fn check(&self, worker: WorkerId) -> Result<()> {
        self.shared.dispatcher.check_worker(worker, &self.identity)
    }

    /// Says that the connection has ended, whatever handlers still run on it.
    pub(super) fn ended(&self) {
        let worker = self.registered.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(worker) = worker {
            self.registered.shared.dispatcher.left(worker, "its connection closed".to_owned());
        }
    }
}

impl WorkerApi for WorkerConnection {
    async fn register(self, _: Context, info: WorkerInfo) -> Result<()> {
        // Whoever registered on this connection before is over.
        self.ended();
        let worker = info.id;
        self.shared.dispatcher.join(info, &self.identity)?;
        *self.registered.worker.lock().unwrap_or_else(PoisonError::into_inner) = Some(worker);
        Ok(())
    }

    async fn heartbeat(
        self,
        _: Context,
        worker: WorkerId,
        attempts: Vec<AttemptId>,
        progress: Vec<(AttemptId, TaskProgress)>,
    ) -> Result<()> {
        self.check(worker)?;
        self.shared.dispatcher.heartbeat(worker, attempts, progress);
        Ok(())
    }

    async fn drain(self, _: Context, worker: WorkerId) -> Result<()> {
        self.check(worker)?;
        self.shared.dispatcher.drain(worker);
        Ok(())
    }

    async fn orders(self, _: Context, worker: WorkerId) -> Result<Vec<Order>> {
        self.check(worker)?;
        let limits = &self.shared.settings.rpc;
        let orders = self.shared.dispatcher.orders(worker, limits.max_frame_bytes / 2);
        tokio::time::timeout(limits.long_poll(), orders).await.unwrap_or_else(|_| Ok(Vec::new()))
    }

    async fn deliver(
        self,
        _: Context,
        worker: WorkerId,
        attempt: AttemptId,
        sequence: u32,
        chunk: Chunk,
    ) -> Result<()> {
        self.check(worker)?;
        guarded(self.shared.dispatcher.deliver(worker, attempt, sequence, chunk)).await
    }

    async fn computed(self, _: Context, worker: WorkerId, attempt: AttemptId) -> Result<()> {
        self.check(worker)?;
        self.shared.dispatcher.computed(worker, attempt);
        Ok(())
    }

    async fn finish(
        self,
        _: Context,
        worker: WorkerId,
        attempt: AttemptId,
        outcome: Result<TaskReport>,
    ) -> Result<()> {
        self.check(worker)?;
        self.shared.dispatcher.finish(worker, attempt, outcome);
        Ok(())
    }

    async fn read_blob(self, _: Context, id: BlobId, offset: u64) -> Result<BlobPart> {
        let part = self.shared.blobs.read(id, offset, self.part_bytes)?;
        self.shared.dispatcher.metrics().bytes.sent_blobs.inc_by(part.part.sent_bytes());
        Ok(part)
    }
}
