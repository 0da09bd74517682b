//! Hearing what peers tell of the tasks that they ran for a shuffle, and counting the rows that
//! they send to the worker that leads it.
//!
//! A peer tells it when a shuffle ends, whether all of its tasks were wanted or not, and the last
//! row comes after all have: nothing is waited for that might never come.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use datafusion::{
    error::Result, execution::TaskContext, physical_plan::metrics::ExecutionPlanMetricsSet,
};
use datafusion_distributed::{
    ChannelResolver, CoordinatorToWorkerMsg, ExecuteTaskRequest, GetWorkerInfoRequest,
    GetWorkerInfoResponse, TaskMetrics, WorkerChannel, WorkerToCoordinatorMsg,
};
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use http::HeaderMap;
use url::Url;

use super::{
    counted::Counted,
    crossing::{Crossing, Rows, heard},
};

/// The way to peers, on which it is heard what they counted. It is found in the session, and keeps
/// nothing of whoever counts: that has operators, which may have the session.
pub(super) struct Listening {
    pub(super) crossing: Crossing,
    pub(super) counted: Weak<Counted>,
}

/// The way to one of them.
struct Heard {
    channel: Box<dyn WorkerChannel>,
    counted: Weak<Counted>,
}

#[async_trait]
impl ChannelResolver for Listening {
    async fn get_worker_client_for_url(&self, url: &Url) -> Result<Box<dyn WorkerChannel>> {
        let channel = self.crossing.get_worker_client_for_url(url).await?;
        Ok(Box::new(Heard { channel, counted: Weak::clone(&self.counted) }))
    }
}

#[async_trait]
impl WorkerChannel for Heard {
    async fn coordinator_channel(
        &mut self,
        headers: HeaderMap,
        orders: BoxStream<'static, CoordinatorToWorkerMsg>,
    ) -> Result<BoxStream<'static, Result<WorkerToCoordinatorMsg>>> {
        let answers = self.channel.coordinator_channel(headers, orders).await?;
        let counted = Weak::clone(&self.counted);
        let heard = answers.map_ok(move |answer| match answer {
            WorkerToCoordinatorMsg::TaskMetrics(told) => {
                let TaskMetrics { pre_order_plan_metrics, task_metrics } = told;
                if let Some(counted) = counted.upgrade() {
                    counted.add(&pre_order_plan_metrics);
                }
                // Nobody else needs it, and it may be large.
                let pre_order_plan_metrics = Vec::new();
                WorkerToCoordinatorMsg::TaskMetrics(TaskMetrics {
                    pre_order_plan_metrics,
                    task_metrics,
                })
            }
            other => other,
        });
        Ok(heard.boxed())
    }

    async fn execute_task(
        &mut self,
        headers: HeaderMap,
        request: ExecuteTaskRequest,
        metrics: ExecutionPlanMetricsSet,
        context: &Arc<TaskContext>,
    ) -> Result<Vec<Rows>> {
        let (stage, counted) = (request.task_key.stage_id, Weak::clone(&self.counted));
        let arriving = self.channel.execute_task(headers, request, metrics, context).await?;
        // Who reads here is told of by nobody.
        Ok(heard(arriving, move |arrived| {
            if let Some(counted) = counted.upgrade() {
                counted.arrived(stage, arrived);
            }
        }))
    }

    async fn get_worker_info(
        &mut self,
        request: GetWorkerInfoRequest,
    ) -> Result<GetWorkerInfoResponse> {
        self.channel.get_worker_info(request).await
    }
}
