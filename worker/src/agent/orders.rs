//! One life of a worker: orders in, attempts run, outputs handed in.

use std::{
    convert::Infallible,
    future::pending,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use keyloom_common::{
    AttemptId, Error, ErrorKind, Result, WorkerId,
    rpc::{
        Assignment, Order, TaskReport, WorkerApiClient, WorkerInfo, connection_failed, guarded,
        in_time,
    },
};
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, field::Empty};

use super::{
    Agent, CoordinatorBlobs, Past,
    heartbeat::{self, Heartbeat},
    running::Running,
};
use crate::{metrics, task::Tasks};

/// A life that was shorter is another failure: a worker whose lives break right after they began
/// does not register again and again.
const STEADY_LIFE: Duration = Duration::from_secs(5);

/// How long the coordinator may take to hear that the worker goes, however short the bound for its
/// tasks is: a worker that goes untold counts as lost.
const TOLD_WITHIN: Duration = Duration::from_secs(2);

/// Registers and works until the life ends: well, if that is because of `shutdown`, or because the
/// coordinator has told it to go.
///
/// # Errors
/// If the coordinator cannot be reached (any more).
pub(super) async fn live(
    agent: &Agent,
    info: WorkerInfo,
    shutdown: &CancellationToken,
    past: &mut Past,
) -> Result<()> {
    let (worker, running) = (info.id, Running::default());
    let blobs = CoordinatorBlobs::new(Arc::clone(&agent.dial), agent.settings.rpc.clone());
    let tasks = Tasks::new(agent.tasks.clone(), Arc::new(blobs), agent.dial.in_process())
        .with_shuffles(agent.shuffles.clone());
    let connecting = async {
        let client = agent.dial.dial().await?;
        let dial = Arc::clone(&agent.dial);
        let has = (running.clone(), tasks.underway().clone());
        let heartbeat = heartbeat::start(dial, info, has, &agent.settings).await?;
        Ok::<_, Error>((client, heartbeat))
    };
    let (client, heartbeat) = tokio::select! {
        connected = connecting => connected?,
        // It runs nothing yet: whoever it registers with loses nothing.
        () = shutdown.cancelled() => return Ok(()),
    };
    tracing::info!(%worker, slots = agent.slots, "registered");
    past.registered = true;
    let registered = Instant::now();
    let _registered = agent.tasks.meter().register();
    let _serving = agent.shuffles.as_ref().map(|shuffles| shuffles.serve(tasks.part()));
    let (attempts, leave) = (JoinSet::new(), CancellationToken::new());
    let life = Life { worker, agent, client, tasks, attempts, running, leave };
    let ended = life.run(&heartbeat, shutdown).await;
    if registered.elapsed() >= STEADY_LIFE {
        past.failures = 0;
    }
    ended
}

struct Life<'a> {
    worker: WorkerId,
    agent: &'a Agent,
    client: WorkerApiClient,
    tasks: Tasks,
    /// Aborted when the life ends.
    attempts: JoinSet<Result<()>>,
    running: Running,
    /// Cancelled when the coordinator says that the worker is to go.
    leave: CancellationToken,
}

impl Life<'_> {
    /// Works until the life ends, or until the worker is told to stop and has drained.
    async fn run(mut self, heartbeat: &Heartbeat, shutdown: &CancellationToken) -> Result<()> {
        let (bound, worker) = (self.agent.settings.drain_timeout(), self.worker);
        let (meter, leave) = (self.tasks.meter().clone(), self.leave.clone());
        let mut work = pin!(self.work());
        let lost = || Error::unavailable("the coordinator is gone");
        let removed = || Error::unavailable("the worker is not registered (any more)");
        tokio::select! {
            ended = &mut work => return ended.and(Err(removed())),
            () = heartbeat.lost.cancelled() => return Err(lost()),
            () = shutdown.cancelled() => {}
            () = leave.cancelled() => tracing::info!(%worker, "told to go by the coordinator"),
        }
        let _draining = meter.drain();
        tokio::select! {
            ended = drain(heartbeat, worker, bound, work) => ended,
            () = heartbeat.lost.cancelled() => Err(lost()),
        }
    }

    /// Obeys orders until the coordinator says that the worker is not registered (any more).
    async fn work(&mut self) -> Result<()> {
        let timeout = self.agent.settings.rpc.call_timeout();
        loop {
            let client = self.client.clone();
            let worker = self.worker;
            let mut orders = pin!(in_time(timeout, |context| client.orders(context, worker)));
            let orders = loop {
                tokio::select! {
                    orders = &mut orders => break orders,
                    Some(ended) = self.attempts.join_next() => {
                        ended.map_err(Error::from_join)??;
                    }
                }
            };
            match orders {
                Ok(orders) => orders.into_iter().for_each(|order| self.obey(order)),
                Err(error) if is_not_registered(&error) => return Ok(()),
                Err(error) => return Err(error),
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
                let span = span(self.worker, &assignment);
                self.attempts.spawn(attempt.run(*assignment, stop).instrument(span));
            }
            Order::Stop(attempt) => self.running.stop(attempt),
            Order::Leave => self.leave.cancel(),
        }
    }
}

/// Of an attempt: whatever is done for it is told under its names, and is part of what its job
/// is to whoever takes traces.
fn span(worker: WorkerId, assignment: &Assignment) -> Span {
    let task = assignment.attempt.task;
    let span = tracing::error_span!(
        parent: None,
        "attempt",
        job = %task.stage.job,
        %task,
        attempt = %assignment.attempt,
        %worker,
        otel.kind = "consumer",
        otel.status_code = Empty
    );
    if let Some(job) = assignment.trace {
        job.adopt(&span);
    }
    span
}

/// Whether that is what a coordinator answers who is asked for orders.
fn is_not_registered(error: &Error) -> bool {
    error.kind() == ErrorKind::Unavailable && !connection_failed(error)
}

/// Asks for no new tasks and works on, within a bound, until the coordinator has removed the
/// worker, which it does when the last attempt has ended. Starts that are on their way begin: the
/// coordinator waits for them.
///
/// # Errors
/// If the coordinator does not answer (any more).
async fn drain(
    heartbeat: &Heartbeat,
    worker: WorkerId,
    bound: Duration,
    work: impl Future<Output = Result<()>>,
) -> Result<()> {
    heartbeat.drain.cancel();
    match timeout(bound, work).await {
        Ok(ended) => ended?,
        Err(_) => tracing::warn!(%worker, "tasks still ran after {bound:?} and were stopped"),
    }
    let told = timeout(TOLD_WITHIN, heartbeat.drained.cancelled()).await;
    told.map_err(|_| Error::timeout("the coordinator did not hear that the worker goes"))
}

/// What one attempt needs.
struct Attempt {
    worker: WorkerId,
    running: Running,
    client: WorkerApiClient,
    tasks: Tasks,
    timeout: Duration,
}

impl Attempt {
    /// Runs it and says how it ended.
    ///
    /// # Errors
    /// If the coordinator did not hear that: the connection is broken, and with it this life.
    async fn run(self, assignment: Assignment, stop: CancellationToken) -> Result<()> {
        let attempt = assignment.attempt;
        tracing::debug!(%attempt, "started");
        let mut counted = self.tasks.meter().begin(&assignment.work);
        let computed = CancellationToken::new();
        let outcome = tokio::select! {
            outcome = guarded(self.execute(assignment, &computed)) => outcome,
            () = stop.cancelled() => Err(Error::cancelled("the attempt was stopped")),
            never = self.give_slot_back(attempt, &computed, &mut counted) => match never {},
        };
        if let Err(error) = &outcome
            && error.kind() != ErrorKind::Cancelled
        {
            Span::current().record("otel.status_code", "error");
            tracing::warn!(%attempt, %error, "failed");
        }
        counted.end(&outcome);
        let finished = self.report(attempt, outcome).await;
        self.running.end(attempt);
        finished.map_err(|error| {
            error.context(format_args!("the coordinator did not hear how {attempt} ended"))
        })
    }

    /// Says how it ended. A report that is too large for a message is the attempt's failure, and
    /// not the connection's.
    async fn report(&self, attempt: AttemptId, outcome: Result<TaskReport>) -> Result<()> {
        let succeeded = outcome.is_ok();
        match self.finish(attempt, outcome).await {
            Err(error) if succeeded && error.kind() == ErrorKind::ResourceExhausted => {
                tracing::warn!(%attempt, %error, "its report cannot be handed in");
                self.finish(attempt, Err(error)).await
            }
            finished => finished,
        }
    }

    async fn finish(&self, attempt: AttemptId, outcome: Result<TaskReport>) -> Result<()> {
        in_time(self.timeout, |context| self.client.finish(context, self.worker, attempt, outcome))
            .await
    }

    /// Gives its slot back once it has computed all. Where that is not heard, it has it until its
    /// end.
    async fn give_slot_back(
        &self,
        attempt: AttemptId,
        computed: &CancellationToken,
        counted: &mut metrics::Attempt,
    ) -> Infallible {
        computed.cancelled().await;
        counted.give_slot_back();
        let telling = |context| self.client.computed(context, self.worker, attempt);
        if let Err(error) = in_time(self.timeout, telling).await {
            tracing::debug!(%attempt, %error, "the coordinator did not hear that its slot is free");
        }
        pending().await
    }

    async fn execute(
        &self,
        assignment: Assignment,
        computed: &CancellationToken,
    ) -> Result<TaskReport> {
        let attempt = assignment.attempt;
        let deliver = |sequence, chunk| {
            in_time(self.timeout, move |context| {
                self.client.deliver(context, self.worker, attempt, sequence, chunk)
            })
        };
        self.tasks.run(attempt, assignment.work, computed, deliver).await
    }
}

#[cfg(test)]
mod tests;
