//! Rows that cross from one worker to another, counted where they arrive, for the stage that sent
//! them. What the tasks of one worker hand each other crosses nothing, and is not counted.
//!
//! What arrives at a task of a peer is a counter of the node that reads it, and is told with those
//! of parts when the task has ended.

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use datafusion::{
    error::Result,
    execution::TaskContext,
    physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet},
};
use datafusion_distributed::{
    ChannelResolver, CoordinatorToWorkerMsg, ExecuteTaskRequest, GetWorkerInfoRequest,
    GetWorkerInfoResponse, WorkerChannel, WorkerToCoordinatorMsg,
};
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use http::HeaderMap;
use keyloom_common::size::batch_bytes;
use prometheus_client::metrics::counter::Counter;
use url::Url;

use super::peers::Peers;

/// The names of the counters, and of the label that has the number of the stage.
const ROWS: &str = "keyloom_rows_arrived";
const BYTES: &str = "keyloom_bytes_arrived";
const STAGE: &str = "keyloom_stage";

/// The rows of one stage, as they come.
pub(super) type Rows = BoxStream<'static, Result<RecordBatch>>;

/// What has arrived, of some rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Arrived {
    pub(super) rows: u64,
    /// Of their values, in memory.
    pub(super) bytes: u64,
}

/// What has arrived at this worker, of all shuffles.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) rows: Counter,
    pub(crate) bytes: Counter,
}

/// The way to peers, on which it is counted what arrives.
#[derive(Clone, Debug)]
pub(super) struct Crossing {
    pub(super) peers: Peers,
    pub(super) totals: Totals,
}

/// The way to one of them.
struct Crossed {
    channel: Box<dyn WorkerChannel>,
    totals: Totals,
}

impl Arrived {
    /// All of a batch.
    fn of(batch: &RecordBatch) -> Self {
        Self { rows: batch.num_rows() as u64, bytes: batch_bytes(batch) as u64 }
    }

    /// Adds what arrived elsewhere. Peers tell it, and may say anything.
    pub(super) fn add(&mut self, other: Self) {
        self.rows = self.rows.saturating_add(other.rows);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

impl Totals {
    fn add(&self, arrived: Arrived) {
        self.rows.inc_by(arrived.rows);
        self.bytes.inc_by(arrived.bytes);
    }
}

/// The same rows, each batch of which is told.
pub(super) fn heard(
    rows: Vec<Rows>,
    hears: impl Fn(Arrived) + Clone + Send + Sync + 'static,
) -> Vec<Rows> {
    let heard = |rows: Rows| {
        let hears = hears.clone();
        rows.inspect_ok(move |batch| hears(Arrived::of(batch))).boxed()
    };
    rows.into_iter().map(heard).collect()
}

/// The counters of a node for what arrives there of a stage: of rows, and of bytes.
fn counters(metrics: &ExecutionPlanMetricsSet, stage: usize) -> (Count, Count) {
    let counter = |name: &'static str| {
        let counter = MetricBuilder::new(metrics).with_new_label(STAGE, stage.to_string());
        counter.global_counter(name)
    };
    (counter(ROWS), counter(BYTES))
}

/// What a node has told that arrived there, by the number of the stage that sent it.
pub(super) fn told(set: &MetricsSet) -> impl Iterator<Item = (usize, Arrived)> + '_ {
    set.iter().filter_map(|counter| {
        let value = counter.value();
        let counted = || value.as_usize() as u64;
        let arrived = match value.name() {
            ROWS => Arrived { rows: counted(), bytes: 0 },
            BYTES => Arrived { rows: 0, bytes: counted() },
            _ => return None,
        };
        let stage = counter.labels().iter().find(|label| label.name() == STAGE)?;
        Some((stage.value().parse().ok()?, arrived))
    })
}

#[async_trait]
impl ChannelResolver for Crossing {
    async fn get_worker_client_for_url(&self, url: &Url) -> Result<Box<dyn WorkerChannel>> {
        let channel = self.peers.get_worker_client_for_url(url).await?;
        Ok(Box::new(Crossed { channel, totals: self.totals.clone() }))
    }
}

#[async_trait]
impl WorkerChannel for Crossed {
    async fn coordinator_channel(
        &mut self,
        headers: HeaderMap,
        orders: BoxStream<'static, CoordinatorToWorkerMsg>,
    ) -> Result<BoxStream<'static, Result<WorkerToCoordinatorMsg>>> {
        self.channel.coordinator_channel(headers, orders).await
    }

    async fn execute_task(
        &mut self,
        headers: HeaderMap,
        request: ExecuteTaskRequest,
        metrics: ExecutionPlanMetricsSet,
        context: &Arc<TaskContext>,
    ) -> Result<Vec<Rows>> {
        let (rows, bytes) = counters(&metrics, request.task_key.stage_id);
        let totals = self.totals.clone();
        let arriving = self.channel.execute_task(headers, request, metrics, context).await?;
        Ok(heard(arriving, move |arrived| {
            rows.add(usize::try_from(arrived.rows).unwrap_or(usize::MAX));
            bytes.add(usize::try_from(arrived.bytes).unwrap_or(usize::MAX));
            totals.add(arrived);
        }))
    }

    async fn get_worker_info(
        &mut self,
        request: GetWorkerInfoRequest,
    ) -> Result<GetWorkerInfoResponse> {
        self.channel.get_worker_info(request).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use arrow::array::{ArrayRef, Int64Array};
    use futures::stream;

    use super::*;

    #[tokio::test]
    async fn each_batch_is_told_as_it_comes() {
        let batch = |ids: Vec<i64>| {
            let ids: ArrayRef = Arc::new(Int64Array::from(ids));
            RecordBatch::try_from_iter([("id", ids)]).unwrap()
        };
        let rows = [vec![batch(vec![1, 2]), batch(vec![3])], vec![batch(Vec::new())], Vec::new()];
        let rows = rows.map(|batches| stream::iter(batches.into_iter().map(Ok)).boxed());
        let all = Arc::new(Mutex::new(Arrived::default()));
        let hears = Arc::clone(&all);
        let heard = heard(Vec::from(rows), move |arrived| hears.lock().unwrap().add(arrived));
        assert_eq!(*all.lock().unwrap(), Arrived::default());
        let mut came = 0;
        for rows in heard {
            came += rows.try_fold(0, async |n, batch| Ok(n + batch.num_rows())).await.unwrap();
        }
        assert_eq!((came, *all.lock().unwrap()), (3, Arrived { rows: 3, bytes: 24 }));
    }

    #[test]
    fn a_node_tells_what_arrived_of_which_stage() {
        let metrics = ExecutionPlanMetricsSet::new();
        for (stage, rows) in [(1, 5), (2, 7), (1, 6)] {
            let (counted, bytes) = counters(&metrics, stage);
            counted.add(rows);
            bytes.add(rows * 8);
        }
        MetricBuilder::new(&metrics).global_counter(ROWS).add(9);
        MetricBuilder::new(&metrics).with_new_label(STAGE, "1").global_counter("others").add(9);
        MetricBuilder::new(&metrics).with_new_label(STAGE, "none").global_counter(ROWS).add(9);
        let mut stages = [Arrived::default(); 3];
        for (stage, arrived) in told(&metrics.clone_inner()) {
            stages[stage].add(arrived);
        }
        let expected = [(0, 0), (11, 88), (7, 56)].map(|(rows, bytes)| Arrived { rows, bytes });
        assert_eq!(stages, expected);
    }
}
