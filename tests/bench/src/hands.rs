//! Workers by hand: they register and take orders as real ones do, say at once that a task is
//! through, and do nothing else.

use std::time::Duration;

use anyhow::{Result, anyhow};
use keyloom_common::{
    AttemptId, WorkerId,
    report::PlanMetrics,
    rpc::{
        self, Credentials, Limits, Order, TaskReport, WorkerApiClient, WorkerInfo,
        handshake::Service, in_time,
    },
};
use tokio::{task::JoinSet, time::interval};

/// How often each says that it lives.
const BEAT: Duration = Duration::from_secs(1);

/// No call takes longer.
const BOUND: Duration = Duration::from_secs(120);

/// Workers of this process. They go when this is dropped.
#[derive(Debug)]
pub(crate) struct Hands(JoinSet<Result<()>>);

impl Hands {
    /// Registers workers of so many slots with a coordinator.
    pub(crate) async fn register(address: &str, workers: usize, slots: u32) -> Result<Self> {
        let mut lives = JoinSet::new();
        for number in 0..workers {
            let hand = Hand::register(address, format!("by hand {number}"), slots).await?;
            lives.spawn(hand.live());
        }
        Ok(Self(lives))
    }

    /// Waits for one that fails, and says why: while the coordinator is well, none does.
    pub(crate) async fn failed(&mut self) -> anyhow::Error {
        match self.0.join_next().await {
            Some(Ok(Err(error))) => error,
            Some(Err(error)) => error.into(),
            Some(Ok(Ok(()))) | None => anyhow!("no worker by hand is left"),
        }
    }
}

/// One worker. Its heartbeats have a connection of their own, as those of real ones.
struct Hand {
    id: WorkerId,
    heart: WorkerApiClient,
    work: WorkerApiClient,
}

async fn dial(address: &str) -> Result<WorkerApiClient> {
    let (limits, credentials) = (Limits::default(), Credentials::default());
    let transport = rpc::connect(address, Service::Worker, &limits, &credentials).await?;
    Ok(WorkerApiClient::new(Default::default(), transport).spawn())
}

impl Hand {
    async fn register(address: &str, name: String, slots: u32) -> Result<Self> {
        let (heart, work) = (dial(address).await?, dial(address).await?);
        let info = WorkerInfo { id: WorkerId::new(), name, slots, shuffle: None };
        let id = info.id;
        in_time(BOUND, |context| heart.register(context, info)).await?;
        Ok(Self { id, heart, work })
    }

    async fn live(self) -> Result<()> {
        tokio::try_join!(self.beat(), self.obey()).map(drop)
    }

    /// Says that it lives. It has no attempt for long enough to name it.
    async fn beat(&self) -> Result<()> {
        let mut beats = interval(BEAT);
        loop {
            beats.tick().await;
            let beat = |context| self.heart.heartbeat(context, self.id, Vec::new(), Vec::new());
            in_time(BOUND, beat).await?;
        }
    }

    /// Asks for orders again and again, while ends of tasks are on their way.
    async fn obey(&self) -> Result<()> {
        let mut ends = JoinSet::new();
        loop {
            let orders = in_time(BOUND, |context| self.work.orders(context, self.id)).await?;
            for order in orders {
                let Order::Start(assignment) = order else { continue };
                ends.spawn(finish(self.work.clone(), self.id, assignment.attempt));
            }
            while let Some(ended) = ends.try_join_next() {
                ended??;
            }
        }
    }
}

/// Says that a task is through, and that it has no rows.
async fn finish(work: WorkerApiClient, worker: WorkerId, attempt: AttemptId) -> Result<()> {
    let (metrics, lookups) = (PlanMetrics::default(), Vec::new());
    let report = TaskReport::Rows { chunks: 0, rows: 0, metrics, lookups };
    Ok(in_time(BOUND, |context| work.finish(context, worker, attempt, Ok(report))).await?)
}
