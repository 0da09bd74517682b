//! The operator above a fragment that writes: it takes what tasks tell of their pieces, and has all
//! of them made visible at once. Its one row says what can be seen then.

use std::{fmt, sync::Arc};

use datafusion::{
    error::{DataFusionError, Result},
    execution::{SendableRecordBatchStream, TaskContext, memory_pool::MemoryConsumer},
    physical_expr::EquivalenceProperties,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
        PlanProperties, execution_plan::EmissionType, stream::RecordBatchStreamAdapter,
    },
};
use futures::{StreamExt, stream};
use keyloom_common::{
    Error,
    error::redact,
    output::{Committed, PreparedOutput, committed_schema},
};

use super::context::JobContext;

/// Commits what its input tells of.
#[derive(Debug)]
pub(super) struct CommitExec {
    input: Arc<dyn ExecutionPlan>,
    output: Arc<PreparedOutput>,
    properties: Arc<PlanProperties>,
}

impl CommitExec {
    /// Over pieces in the order of their rows, as one partition.
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, output: Arc<PreparedOutput>) -> Self {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(committed_schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            input.boundedness(),
        ));
        Self { input, output, properties }
    }
}

/// Writes and commits. What fails or is dropped on the way has removed what was written.
async fn commit(
    input: Arc<dyn ExecutionPlan>,
    output: &PreparedOutput,
    context: Arc<TaskContext>,
) -> keyloom_common::Result<Committed> {
    let job = JobContext::of(&context)?;
    let memory = MemoryConsumer::new("CommitExec").register(context.memory_pool());
    let mut writing = job.write(output, memory)?;
    {
        // Gone before what was written is removed: nobody writes any more then.
        let mut pieces = input.execute(0, context)?;
        while let Some(batch) = pieces.next().await {
            writing.add(batch.map_err(Error::from)?)?;
        }
    }
    // All tasks are done: what they missed is known.
    job.check_misses()?;
    writing.commit().await
}

impl DisplayAs for CommitExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommitExec: {}", redact(&self.output.spec.path))
    }
}

impl ExecutionPlan for CommitExec {
    fn name(&self) -> &'static str {
        "CommitExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
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

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (input, output) = (Arc::clone(&self.input), Arc::clone(&self.output));
        let committed = async move {
            let committed = commit(input, &output, context).await;
            let batch = committed.and_then(|done| done.batch(&redact(&output.spec.path)));
            batch.map_err(DataFusionError::from)
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream::once(committed))))
    }
}
