//! Workers by hand: they go at any point of their tasks, come too late, report what is not theirs,
//! or live and do nothing. No row changes by that, and no job waits for them without end.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result};
use keyloom_client::{ErrorKind, Job, Session};
use keyloom_common::{
    AttemptId, WorkerId,
    ipc::encode_all,
    report::{PlanMetrics, StoreProgress, TaskProgress},
    rpc::{
        self, Chunk, Credentials, Limits, Order, TaskReport, WorkerApiClient, WorkerInfo,
        handshake::Service, in_time,
    },
};
use tokio::time::{interval, timeout};

use super::{ROWS, SMALL_WINDOW, TASK_ROWS, settings, small_window, start_worker, whole};
use crate::harness::{Cluster, batch, eventually, ints};

const NAME: &str = "by hand";
const SLOTS: u32 = 2;

/// How often it says that it lives, if it does.
const BEAT: Duration = Duration::from_millis(50);

/// No job takes longer, and no call.
const BOUND: Duration = Duration::from_secs(30);

/// It registers, and then says what a test lets it say. Its connections end when it is dropped.
struct HandWorker {
    id: WorkerId,
    heart: WorkerApiClient,
    work: WorkerApiClient,
}

async fn dial(cluster: &Cluster) -> Result<WorkerApiClient> {
    let (limits, credentials) = (Limits::default(), Credentials::default());
    let transport = rpc::connect(&cluster.address, Service::Worker, &limits, &credentials).await?;
    Ok(WorkerApiClient::new(Default::default(), transport).spawn())
}

fn started(order: &Order) -> Option<AttemptId> {
    match order {
        Order::Start(assignment) => Some(assignment.attempt),
        Order::Stop(_) | Order::Leave => None,
    }
}

fn stopped(order: &Order) -> Option<AttemptId> {
    match order {
        Order::Start(_) | Order::Leave => None,
        Order::Stop(attempt) => Some(*attempt),
    }
}

impl HandWorker {
    async fn register(cluster: &Cluster) -> Result<Self> {
        let (heart, work) = (dial(cluster).await?, dial(cluster).await?);
        let info =
            WorkerInfo { id: WorkerId::new(), name: NAME.to_owned(), slots: SLOTS, shuffle: None };
        let id = info.id;
        in_time(BOUND, |context| heart.register(context, info)).await?;
        Ok(Self { id, heart, work })
    }

    /// Says that it lives, and what it has.
    async fn beat(&self, attempts: &[AttemptId]) -> Result<()> {
        self.beat_with(attempts, Vec::new()).await
    }

    /// The same, and how far it is.
    async fn beat_with(
        &self,
        attempts: &[AttemptId],
        progress: Vec<(AttemptId, TaskProgress)>,
    ) -> Result<()> {
        let attempts = attempts.to_vec();
        let beat = |context| self.heart.heartbeat(context, self.id, attempts, progress);
        Ok(in_time(BOUND, beat).await?)
    }

    async fn orders(&self) -> Result<Vec<Order>> {
        Ok(in_time(BOUND, |context| self.work.orders(context, self.id)).await?)
    }

    /// Takes orders until all its slots have something to do.
    async fn take_starts(&self) -> Result<Vec<AttemptId>> {
        let mut starts = Vec::new();
        let taking = async {
            while starts.len() < SLOTS as usize {
                starts.extend(self.orders().await?.iter().filter_map(started));
            }
            anyhow::Ok(())
        };
        timeout(BOUND, taking).await.with_context(|| format!("no orders within {BOUND:?}"))??;
        starts.sort();
        Ok(starts)
    }

    /// Hands in rows of a task that are not those it has.
    async fn deliver(&self, attempt: AttemptId) -> keyloom_common::Result<()> {
        let wrong = batch([("next", ints([-1_i64]))]);
        let chunk = Chunk::from(encode_all(&wrong.schema(), &[wrong])?);
        in_time(BOUND, |context| self.work.deliver(context, self.id, attempt, 0, chunk)).await
    }

    /// Says that it is through with a task.
    async fn finish(&self, attempt: AttemptId) -> keyloom_common::Result<()> {
        let (metrics, lookups) = (PlanMetrics::default(), Vec::new());
        let report = TaskReport::Rows { chunks: 1, rows: 1, metrics, lookups };
        in_time(BOUND, |context| self.work.finish(context, self.id, attempt, Ok(report))).await
    }

    /// What it hands in of these is refused; that it is through with them is heard, and no more.
    async fn check_refused(&self, attempts: &[AttemptId]) -> Result<()> {
        for attempt in attempts {
            let taken = self.deliver(*attempt).await;
            let error = taken.err().with_context(|| format!("rows of {attempt} were taken"))?;
            assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
            self.finish(*attempt).await?;
        }
        Ok(())
    }

    /// Lives, and asks for no orders. Ends when nobody hears that any more.
    async fn idle(&self) -> Result<()> {
        let mut beats = interval(BEAT);
        loop {
            beats.tick().await;
            self.beat(&[]).await?;
        }
    }

    /// Lives, and has what it was told to start when it is told, but not any more after that. Ends
    /// when nobody hears that any more.
    async fn forget(&self) -> Result<()> {
        loop {
            // It waits a while for these.
            let orders = self.orders().await?;
            let starts: Vec<_> = orders.iter().filter_map(started).collect();
            self.beat(&starts).await?;
        }
    }
}

/// Submits a job of so many rows. Its session is to be kept until its end.
async fn submit(cluster: &Cluster, rows: i64) -> Result<(Session, Job)> {
    let session = Session::connect_with(&cluster.address, settings()).await?;
    session.register_batches("t", &[batch([("id", ints(0..rows))])])?;
    let job = session.submit(session.sql("SELECT id + 1 AS next FROM t").await?).await?;
    Ok((session, job))
}

async fn check(mut job: Job, rows: i64) -> Result<()> {
    let batches = timeout(BOUND, job.collect()).await;
    let batches = batches.with_context(|| format!("no end within {BOUND:?}"))??;
    assert_eq!(whole(&batches)?.column(0), &ints(1..=rows));
    let tasks = job.summary().context("no summary")?.tasks;
    assert_eq!(i64::from(tasks), rows / TASK_ROWS as i64);
    Ok(())
}

/// Those of a job of which a worker by hand holds up some tasks.
const FEW_ROWS: i64 = 20 * TASK_ROWS as i64;

#[tokio::test]
async fn answers_that_come_after_the_lease_or_of_others_attempts_are_refused() -> Result<()> {
    let env = small_window(&[("KEYLOOM_COORDINATOR_SCHEDULER__HEARTBEAT_TIMEOUT_MS", "2000")]);
    let cluster = Cluster::start_with(0, &env, &[]).await?;
    let late = HandWorker::register(&cluster).await?;
    let (_session, job) = submit(&cluster, ROWS).await?;
    let first = late.take_starts().await?;
    // It is silent until it is lost.
    cluster.wait_for_workers(0).await?;
    late.check_refused(&first).await?;

    let next = HandWorker::register(&cluster).await?;
    let second = next.take_starts().await?;
    let again = first.iter().map(|first| AttemptId { number: first.number + 1, ..*first });
    assert_eq!(second, again.collect::<Vec<_>>());
    late.check_refused(&first).await?;
    late.check_refused(&second).await?;
    // Whose attempts they are, he may hand in rows; they go with him.
    next.deliver(second[0]).await?;
    drop(next);

    let _worker = start_worker(&cluster)?;
    check(job, ROWS).await?;
    late.check_refused(&[first, second].concat()).await
}

/// How far a worker is when it goes.
#[derive(Clone, Copy, Debug)]
enum Point {
    /// It has tasks, but did not hear of them.
    Launched,
    /// It has heard of them.
    Told,
    /// It has said that it has them.
    Running,
    /// It has handed in some rows.
    Delivering,
}

const POINTS: [Point; 4] = [Point::Launched, Point::Told, Point::Running, Point::Delivering];

impl HandWorker {
    async fn reach(&self, point: Point, session: &Session) -> Result<()> {
        let running = async || {
            let workers = session.workers().await?;
            Ok(workers.iter().map(|worker| worker.running).sum::<u32>())
        };
        eventually(running, |running| *running == SLOTS).await?;
        if matches!(point, Point::Launched) {
            return Ok(());
        }
        let starts = self.take_starts().await?;
        if matches!(point, Point::Running | Point::Delivering) {
            self.beat(&starts).await?;
        }
        if matches!(point, Point::Delivering) {
            self.deliver(starts[0]).await?;
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_worker_that_goes_at_any_point_of_its_tasks_changes_no_row() -> Result<()> {
    const LOST: &str = "name=by hand reason=\"its connection closed\"";
    let cluster = Cluster::start_with(0, &SMALL_WINDOW, &[]).await?;
    for (lost, point) in (1..).zip(POINTS) {
        let gone = HandWorker::register(&cluster).await?;
        let (session, job) = submit(&cluster, ROWS).await?;
        gone.reach(point, &session).await.with_context(|| format!("{point:?}"))?;
        drop(gone);
        let worker = start_worker(&cluster)?;
        check(job, ROWS).await.with_context(|| format!("{point:?}"))?;
        let log = cluster.coordinator.log();
        assert_eq!(log.matches(LOST).count(), lost, "{point:?}: {log}");
        drop(worker);
        cluster.wait_for_workers(0).await?;
    }
    Ok(())
}

/// A worker by hand beside a real one, which has to do all tasks.
async fn start_beside_another(
    env: &[(&'static str, &'static str)],
) -> Result<(Cluster, HandWorker)> {
    let cluster = Cluster::start_with(1, &small_window(env), &[]).await?;
    let worker = HandWorker::register(&cluster).await?;
    cluster.wait_for_workers(2).await?;
    Ok((cluster, worker))
}

#[tokio::test]
async fn tasks_that_a_living_worker_does_not_begin_run_elsewhere() -> Result<()> {
    let env = [("KEYLOOM_COORDINATOR_SCHEDULER__ORDER_TIMEOUT_MS", "500")];
    let (cluster, worker) = start_beside_another(&env).await?;
    let (_session, job) = submit(&cluster, FEW_ROWS).await?;
    tokio::select! {
        checked = check(job, FEW_ROWS) => checked?,
        ended = worker.idle() => return ended,
    }
    // All that it was told to start, it was told to stop.
    let orders = worker.orders().await?;
    let starts: BTreeSet<_> = orders.iter().filter_map(started).collect();
    assert!(starts.len() >= SLOTS as usize, "{starts:?}");
    assert_eq!(orders.iter().filter_map(stopped).collect::<BTreeSet<_>>(), starts);
    Ok(())
}

#[tokio::test]
async fn tasks_that_a_living_worker_does_not_have_any_more_run_elsewhere() -> Result<()> {
    let env = [("KEYLOOM_COORDINATOR_SCHEDULER__ATTEMPT_TIMEOUT_MS", "500")];
    let (cluster, worker) = start_beside_another(&env).await?;
    let (_session, job) = submit(&cluster, FEW_ROWS).await?;
    tokio::select! {
        checked = check(job, FEW_ROWS) => checked,
        ended = worker.forget() => ended,
    }
}

/// How many tasks of a job are done, the rows that it tells of, and the keys asked of a store.
async fn told(session: &Session, job: &Job) -> Result<(u32, u64, u64)> {
    let info = session.job(job.id()).await?;
    let keys = info.progress.stores.get("products").map_or(0, |store| store.keys);
    Ok((info.status.tasks_done, info.progress.rows(), keys))
}

#[tokio::test]
async fn rows_of_tasks_that_run_are_told_and_those_of_a_worker_that_goes_are_taken_back()
-> Result<()> {
    let cluster = Cluster::start_with(0, &SMALL_WINDOW, &[]).await?;
    let gone = HandWorker::register(&cluster).await?;
    let all_rows = i64::from(SLOTS) * TASK_ROWS as i64;
    let (session, job) = submit(&cluster, all_rows).await?;
    let tasks = gone.take_starts().await?;
    assert_eq!(told(&session, &job).await?, (0, 0, 0));
    let progress = |rows| {
        let store = StoreProgress { keys: 2 * rows, hits: rows, misses: 0 };
        let stores = [("products".to_owned(), store)].into();
        TaskProgress { rows, bytes: 0, thousandths: 0, stores }
    };
    for (one, other) in [(10, 20), (30, 20)] {
        let each = tasks.iter().copied().zip([one, other].map(progress));
        gone.beat_with(&tasks, each.collect()).await?;
        let rows = one + other;
        assert_eq!(told(&session, &job).await?, (0, rows, 2 * rows));
    }
    drop(gone);
    eventually(async || told(&session, &job).await, |told| *told == (0, 0, 0)).await?;
    let _worker = start_worker(&cluster)?;
    check(job, all_rows).await
}
