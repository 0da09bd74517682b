//! The node that writes as an operator of DataFusion.

use std::{fmt, sync::Arc};

use datafusion::{
    error::Result,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::EquivalenceProperties,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
        PlanProperties,
        execution_plan::EmissionType,
        metrics::{ExecutionPlanMetricsSet, MetricsSet},
    },
};

use super::{PreparedOutput, piece_schema};
use crate::plan::fragment_runtime;

/// Writes its input's rows where nobody sees them yet, and tells of the pieces (see
/// [`Piece`](super::Piece)), each partition in the order of its rows.
#[derive(Clone, Debug)]
pub struct WriteExec {
    input: Arc<dyn ExecutionPlan>,
    output: Arc<PreparedOutput>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl WriteExec {
    /// Writes an input's rows.
    pub fn new(input: Arc<dyn ExecutionPlan>, output: Arc<PreparedOutput>) -> Self {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(piece_schema()),
            // Pieces have none of the columns by which rows may be shared among partitions.
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            EmissionType::Final,
            input.boundedness(),
        ));
        Self { input, output, properties, metrics: ExecutionPlanMetricsSet::new() }
    }

    /// Where the rows come from.
    pub fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }

    /// Where they go.
    pub fn output(&self) -> &Arc<PreparedOutput> {
        &self.output
    }

    /// Where the runtime counts.
    pub fn metrics_set(&self) -> &ExecutionPlanMetricsSet {
        &self.metrics
    }
}

impl DisplayAs for WriteExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WriteExec: {}", self.output.spec)
    }
}

impl ExecutionPlan for WriteExec {
    fn name(&self) -> &'static str {
        "WriteExec"
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
        Ok(Arc::new(Self::new(children.swap_remove(0), Arc::clone(&self.output))))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let runtime = fragment_runtime(&context)?;
        let input = self.input.execute(partition, Arc::clone(&context))?;
        Ok(runtime.write(self, input)?)
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
