//! The service for workers.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use keyloom_common::{
    AttemptId, BlobId, Error, Result, WorkerId,
    rpc::{BlobPart, Chunk, Order, TaskOutput, Work, WorkerApi, WorkerInfo, bincode, guarded},
};
use serde::Serialize;
use tarpc::context::Context;
use tokio::sync::mpsc;

use super::Shared;

/// Orders on their way, by worker. A worker registers on one connection and works on another.
pub(super) type Outboxes = Arc<Mutex<HashMap<WorkerId, Arc<tokio::sync::Mutex<Outbox>>>>>;

/// The orders for one worker.
#[derive(Debug)]
pub(super) struct Outbox {
    orders: mpsc::UnboundedReceiver<Order>,
    /// One that did not fit into the last answer.
    kept: Option<Order>,
}

impl Outbox {
    /// Waits for orders, and gives as many as one answer of so many bytes holds, or one.
    async fn next(&mut self, max_bytes: usize) -> Result<Vec<Order>> {
        let first = match self.kept.take() {
            Some(kept) => kept,
            None => self.orders.recv().await.ok_or_else(not_registered)?,
        };
        let mut bytes = order_bytes(&first);
        let mut all = vec![first];
        while let Ok(order) = self.orders.try_recv() {
            bytes += order_bytes(&order);
            if bytes > max_bytes {
                self.kept = Some(order);
                break;
            }
            all.push(order);
        }
        Ok(all)
    }
}

/// About the bytes of an order.
fn order_bytes(order: &Order) -> usize {
    const NAMES: usize = 256;
    let work = match order {
        Order::Start(assignment) => match &assignment.work {
            Work::Fragment { slice, .. } => slice.bytes().len(),
            Work::DescribeStore(spec) => encoded_bytes(spec),
            Work::DescribeInput(spec, _) => encoded_bytes(spec),
        },
        Order::Stop(_) => 0,
    };
    NAMES + work
}

/// What cannot be encoded does not travel.
fn encoded_bytes(value: &impl Serialize) -> usize {
    bincode::encode(value).map_or(0, |bytes| bytes.len())
}

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
        // Whoever registered on this connection before is over.
        self.ended();
        let worker = info.id;
        let outbox = Outbox { orders: self.shared.dispatcher.join(info), kept: None };
        let orders = Arc::new(tokio::sync::Mutex::new(outbox));
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
        let limits = &self.shared.settings.rpc;
        let next = orders.next(limits.max_frame_bytes / 2);
        tokio::time::timeout(limits.long_poll(), next).await.unwrap_or_else(|_| Ok(Vec::new()))
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
