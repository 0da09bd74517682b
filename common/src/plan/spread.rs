//! Many partitions as a few, which run at the same time.

use std::{fmt, sync::Arc};

use datafusion::{
    error::Result,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
        stream::RecordBatchStreamAdapter,
    },
};
use futures::{StreamExt, TryStreamExt, stream};

use super::leaf;

/// So many partitions, each of which is some of its input's, one after the other. Those that get
/// none are empty.
#[derive(Debug)]
pub struct SpreadExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl SpreadExec {
    /// The partitions of an input as so many, one at least.
    pub fn new(input: Arc<dyn ExecutionPlan>, partitions: usize) -> Self {
        let properties = leaf::properties(input.schema(), partitions.max(1));
        Self { input, properties }
    }

    pub(super) fn partitions(&self) -> usize {
        self.properties.output_partitioning().partition_count()
    }
}

impl DisplayAs for SpreadExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpreadExec: partitions={}", self.partitions())
    }
}

impl ExecutionPlan for SpreadExec {
    fn name(&self) -> &'static str {
        "SpreadExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(children.swap_remove(0), self.partitions())))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let all = self.input.output_partitioning().partition_count();
        let input = Arc::clone(&self.input);
        let rows = stream::iter((partition..all).step_by(self.partitions()))
            .map(move |partition| input.execute(partition, Arc::clone(&context)))
            .try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{ArrayRef, AsArray, Int64Array, RecordBatch},
        datatypes::Int64Type,
    };
    use datafusion::{
        datasource::memory::MemorySourceConfig, physical_plan::execute_stream_partitioned,
        prelude::SessionContext,
    };

    use super::*;

    #[tokio::test]
    async fn each_partition_is_read_once() {
        let batch = |id: i64| {
            let ids: ArrayRef = Arc::new(Int64Array::from(vec![id]));
            RecordBatch::try_from_iter([("id", ids)]).unwrap()
        };
        let partitions: Vec<_> = (0..5).map(|id| vec![batch(id)]).collect();
        let schema = batch(0).schema();
        let input: Arc<dyn ExecutionPlan> =
            MemorySourceConfig::try_new_exec(&partitions, schema, None).unwrap();
        for (count, expected) in
            [(1, vec![vec![0, 1, 2, 3, 4]]), (2, vec![vec![0, 2, 4], vec![1, 3]])]
        {
            let spread = Arc::new(SpreadExec::new(Arc::clone(&input), count));
            let streams = execute_stream_partitioned(spread, SessionContext::new().task_ctx());
            let mut read = Vec::new();
            for stream in streams.unwrap() {
                let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
                let ids = batches.iter().map(|b| b.column(0).as_primitive::<Int64Type>().value(0));
                read.push(ids.collect::<Vec<_>>());
            }
            assert_eq!(read, expected);
        }
        let spread = SpreadExec::new(input, 7);
        let last = spread.execute(6, SessionContext::new().task_ctx()).unwrap();
        assert!(last.try_collect::<Vec<_>>().await.unwrap().is_empty());
    }
}
