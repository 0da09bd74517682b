//! A dispatcher for tests, and a worker that does what a test says, and says what it was told.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use keyloom_common::{
    AttemptId, Result, WorkerId,
    report::TaskProgress,
    rpc::{Assignment, Chunk, Identity, Order, TaskReport, WorkerInfo},
};
use tokio_util::sync::CancellationToken;

use super::{Dispatcher, Patience};
use crate::{scheduler::Settings, spool::SpoolRoom};

/// How long a test waits for what is to come.
const SOON: Duration = Duration::from_secs(10);

/// A dispatcher of whose attempts one may wait for room, and no time at all.
pub(crate) fn dispatcher(settings: &Settings, room: Arc<SpoolRoom>) -> Dispatcher {
    let patience = Patience { time: Duration::ZERO, attempts: 1 };
    Dispatcher::start(settings.clone(), room, patience, &CancellationToken::new())
}

/// A registered worker with one slot.
#[derive(Debug)]
pub(crate) struct FakeWorker {
    dispatcher: Dispatcher,
    id: WorkerId,
    orders: VecDeque<Order>,
}

impl FakeWorker {
    pub(crate) fn join(dispatcher: &Dispatcher) -> Self {
        let id = WorkerId::new();
        let info = WorkerInfo { id, name: "fake".to_owned(), slots: 1, shuffle: None };
        dispatcher.join(info, &Identity::anybody()).unwrap();
        Self { dispatcher: dispatcher.clone(), id, orders: VecDeque::new() }
    }

    /// What it is told to begin next. That it is told to stop something is passed over.
    pub(crate) async fn assigned(&mut self) -> Assignment {
        loop {
            while let Some(order) = self.orders.pop_front() {
                if let Order::Start(assignment) = order {
                    return *assignment;
                }
            }
            let orders = self.dispatcher.orders(self.id, usize::MAX);
            let orders = tokio::time::timeout(SOON, orders).await;
            self.orders.extend(orders.expect("no order").unwrap());
        }
    }

    /// Says how far an attempt is.
    pub(crate) fn tell(&self, attempt: AttemptId, progress: TaskProgress) {
        self.dispatcher.heartbeat(self.id, vec![attempt], vec![(attempt, progress)]);
    }

    pub(crate) async fn deliver(&self, attempt: AttemptId, chunks: Vec<Chunk>) {
        for (sequence, chunk) in (0..).zip(chunks) {
            self.dispatcher.deliver(self.id, attempt, sequence, chunk).await.unwrap();
        }
    }

    pub(crate) fn finish(&self, attempt: AttemptId, outcome: Result<TaskReport>) {
        self.dispatcher.finish(self.id, attempt, outcome);
    }

    /// Dies.
    pub(crate) fn leave(self) {
        self.dispatcher.left(self.id, "it was killed".to_owned());
    }
}
