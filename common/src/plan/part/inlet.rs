//! What stands for the rows that come into a part, while it travels.

use std::{fmt, sync::Arc};

use arrow::datatypes::SchemaRef;
use datafusion::{
    error::Result,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties},
};
use serde::{Deserialize, Serialize};

use crate::{error::Error, ipc, plan::leaf};

/// Stands for rows that come from elsewhere, while a part of a plan travels.
#[derive(Debug)]
pub struct InletExec {
    properties: Arc<PlanProperties>,
}

/// The leaf as the codec writes it.
#[derive(Serialize, Deserialize)]
pub(in crate::plan) struct InletNode {
    #[serde(with = "ipc::schema_serde")]
    schema: SchemaRef,
    partitions: u32,
}

/// The most partitions of a node, in a plan from a peer.
const MAX_PARTITIONS: u64 = 1 << 16;

impl InletExec {
    pub(super) fn new(schema: SchemaRef, partitions: usize) -> Self {
        Self { properties: leaf::properties(schema, partitions) }
    }

    pub(in crate::plan) fn to_node(&self) -> InletNode {
        let partitions = self.properties.output_partitioning().partition_count();
        let partitions = u32::try_from(partitions).unwrap_or(u32::MAX);
        InletNode { schema: self.schema(), partitions }
    }

    pub(in crate::plan) fn from_node(node: InletNode) -> Result<Self> {
        check_partitions(node.partitions)?;
        Ok(Self::new(node.schema, node.partitions as usize))
    }
}

/// Refuses a node with more partitions than any has.
pub(in crate::plan) fn check_partitions(partitions: u32) -> crate::Result<()> {
    if (1..=MAX_PARTITIONS).contains(&u64::from(partitions)) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "a plan from a peer has {partitions} partitions somewhere, and not 1 to {MAX_PARTITIONS}"
    )))
}

impl DisplayAs for InletExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InletExec")
    }
}

impl ExecutionPlan for InletExec {
    fn name(&self) -> &'static str {
        "InletExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        Err(Error::internal("a part of a plan was executed without its input").into())
    }
}
