//! The service for workers.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use keyloom_common::{
    AttemptId, BlobId, Error, Result, WorkerId,
    rpc::{BlobPart, Chunk, Order, TaskOutput, WorkerApi, WorkerInfo, guarded},
};
use tarpc::context::Context;
use tokio::sync::mpsc;

use super::Shared;

/// Orders on their way, by worker. A worker registers on one connection and works on another.
pub(super) type Outboxes =
    Arc<Mutex<HashMap<WorkerId, Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Order>>>>>>;

/// One connection of a worker.
#[derive(Clone, Debug)]
pub(super) struct WorkerConnection {
    pub(super) shared: Arc<Shared>,
    /// The most bytes of a blob in one answer.
    pub(super) part_bytes: usize,
    registered: Arc<Registered>,
}

/// The worker that registered on a connection: when the connection ends, so does the worker.
#[derive(Debug)]
struct Registered {
    shared: Arc<Shared>,
    worker: Mutex<Option<WorkerId>>,
}

impl WorkerConnection {
    pub(super) fn new(shared: Arc<Shared>, part_bytes: usize) -> Self {
        let worker = Mutex::new(None);
        let registered = Arc::new(Registered { shared: Arc::clone(&shared), worker });
        Self { shared, part_bytes, registered }
    }

    /// Says that the connection has ended, whatever handlers still run on it.
    pub(super) fn ended(&self) {
        let worker = self.registered.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(worker) = worker {
            lock(&self.shared.outboxes).remove(&worker);
            self.registered.shared.dispatcher.left(worker, "its connection closed".to_owned());
        }
    }
}

impl WorkerApi for WorkerConnection {
    async fn register(self, _: Context, info: WorkerInfo) -> Result<()> {
        let worker = info.id;
        let orders = Arc::new(tokio::sync::Mutex::new(self.shared.dispatcher.join(info)));
        lock(&self.shared.outboxes).insert(worker, orders);
        *self.registered.worker.lock().unwrap_or_else(PoisonError::into_inner) = Some(worker);
        Ok(())
    }

    async fn heartbeat(self, _: Context, worker: WorkerId, attempts: Vec<AttemptId>) -> Result<()> {
        self.shared.dispatcher.heartbeat(worker, attempts);
        Ok(())
    }

    async fn drain(self, _: Context, worker: WorkerId) -> Result<()> {
        self.shared.dispatcher.drain(worker);
        Ok(())
    }

    async fn orders(self, _: Context, worker: WorkerId) -> Result<Vec<Order>> {
        let orders = lock(&self.shared.outboxes).get(&worker).cloned();
        let orders = orders.ok_or_else(not_registered)?;
        let mut orders = orders.lock().await;
        let first = tokio::time::timeout(self.shared.settings.rpc.long_poll(), orders.recv()).await;
        let Ok(first) = first else { return Ok(Vec::new()) };
        let mut all = vec![first.ok_or_else(not_registered)?];
        while let Ok(order) = orders.try_recv() {
            all.push(order);
        }
        Ok(all)
    }

    async fn deliver(
        self,
        _: Context,
        worker: WorkerId,
        attempt: AttemptId,
        sequence: u32,
        chunk: Chunk,
    ) -> Result<()> {
        guarded(self.shared.dispatcher.deliver(worker, attempt, sequence, chunk)).await
    }

    async fn finish(
        self,
        _: Context,
        worker: WorkerId,
        attempt: AttemptId,
        outcome: Result<TaskOutput>,
    ) -> Result<()> {
        self.shared.dispatcher.finish(worker, attempt, outcome);
        Ok(())
    }

    async fn read_blob(self, _: Context, id: BlobId, offset: u64) -> Result<BlobPart> {
        self.shared.blobs.read(id, offset, self.part_bytes)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn not_registered() -> Error {
    Error::unavailable("the worker is not registered (any more)")
}
