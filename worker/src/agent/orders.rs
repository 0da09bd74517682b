//! One life of a worker: orders in, attempts run, outputs handed in.

use std::sync::Arc;

use keyloom_common::{
    Error, ErrorKind, Result, WorkerId,
    rpc::{Assignment, Order, TaskOutput, WorkerApiClient, WorkerInfo, call, guarded},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Agent, CoordinatorBlobs, heartbeat, running::Running};
use crate::task::Tasks;

/// Registers and works until the life ends.
///
/// # Errors
/// If the coordinator cannot be reached (any more).
pub(super) async fn live(
    agent: &Agent,
    info: WorkerInfo,
    shutdown: &CancellationToken,
    failures: &mut u32,
) -> Result<()> {
    let worker = info.id;
    let client = agent.dial.dial().await?;
    let (dial, running) = (Arc::clone(&agent.dial), Running::default());
    let heartbeat = heartbeat::start(dial, info, running.clone(), &agent.settings).await?;
    tracing::info!(%worker, slots = agent.slots, "registered");
    *failures = 0;
    let blobs = CoordinatorBlobs::new(Arc::clone(&agent.dial), agent.settings.rpc.clone());
    let tasks = Tasks::new(agent.tasks.clone(), Arc::new(blobs), agent.dial.in_process());
    let mut life = Life { worker, agent, client, tasks, attempts: JoinSet::new(), running };
    tokio::select! {
        ended = life.work() => ended,
        () = heartbeat.lost.cancelled() => Err(Error::unavailable("the coordinator is gone")),
        () = shutdown.cancelled() => {
            heartbeat.drain.cancel();
            life.finish_running().await;
            Ok(())
        }
    }
}

struct Life<'a> {
    worker: WorkerId,
    agent: &'a Agent,
    client: WorkerApiClient,
    tasks: Tasks,
    /// Aborted when the life ends.
    attempts: JoinSet<Result<()>>,
    running: Running,
}

impl Life<'_> {
    async fn work(&mut self) -> Result<()> {
        let timeout = self.agent.settings.rpc.call_timeout();
        loop {
            let client = self.client.clone();
            let worker = self.worker;
            let mut orders =
                std::pin::pin!(call(timeout, |context| client.orders(context, worker)));
            let orders = loop {
                tokio::select! {
                    orders = &mut orders => break orders?,
                    Some(ended) = self.attempts.join_next() => {
                        ended.map_err(Error::from_join)??;
                    }
                }
            };
            for order in orders {
                self.obey(order);
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Start(assignment) => {
                let stop = self.running.start(assignment.attempt);
                let attempt = Attempt {
                    worker: self.worker,
                    running: self.running.clone(),
                    client: self.client.clone(),
                    tasks: self.tasks.clone(),
                    timeout: self.agent.settings.rpc.call_timeout(),
                };
                self.attempts.spawn(attempt.run(*assignment, stop));
            }
            Order::Stop(attempt) => self.running.stop(attempt),
        }
    }

    /// Lets attempts end by themselves, within a bound.
    async fn finish_running(&mut self) {
        let bound = self.agent.settings.drain_timeout();
        let all = async { while self.attempts.join_next().await.is_some() {} };
        if tokio::time::timeout(bound, all).await.is_err() {
            tracing::warn!("tasks still ran after {bound:?} and were stopped");
        }
    }
}

/// What one attempt needs.
struct Attempt {
    worker: WorkerId,
    running: Running,
    client: WorkerApiClient,
    tasks: Tasks,
    timeout: std::time::Duration,
}

impl Attempt {
    /// Runs it and says how it ended.
    ///
    /// # Errors
    /// If the coordinator did not hear that: the connection is broken, and with it this life.
    async fn run(self, assignment: Assignment, stop: CancellationToken) -> Result<()> {
        let attempt = assignment.attempt;
        tracing::debug!(%attempt, "started");
        let outcome = tokio::select! {
            outcome = guarded(self.output(assignment)) => outcome,
            () = stop.cancelled() => Err(Error::cancelled("the attempt was stopped")),
        };
        if let Err(error) = &outcome
            && error.kind() != ErrorKind::Cancelled
        {
            tracing::warn!(%attempt, %error, "failed");
        }
        let finished =
            call(self.timeout, |c| self.client.finish(c, self.worker, attempt, outcome)).await;
        self.running.end(attempt);
        finished.map_err(|error| {
            error.context(format_args!("the coordinator did not hear how {attempt} ended"))
        })
    }

    async fn output(&self, assignment: Assignment) -> Result<TaskOutput> {
        let attempt = assignment.attempt;
        let deliver = |sequence, chunk| {
            call(self.timeout, move |context| {
                self.client.deliver(context, self.worker, attempt, sequence, chunk)
            })
        };
        self.tasks.run(assignment.work, deliver).await
    }
}
