//! The leaf that reads an in-memory frame: rows that the client holds, shipped beside the plan.

use std::{fmt, sync::Arc};

use arrow::datatypes::SchemaRef;
use datafusion::{
    error::{DataFusionError, Result},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
        stream::RecordBatchStreamAdapter,
    },
};
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use super::{fragment_runtime, leaf};
use crate::{BlobId, ipc};

/// One partition of a frame: rows that the coordinator holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FramePartition {
    /// The rows.
    pub blob: BlobId,
    /// How many rows it holds.
    pub rows: u64,
}

impl FramePartition {
    /// Stands for rows that are not known yet.
    pub const NONE: Self = Self { blob: BlobId::NONE, rows: 0 };
}

/// Reads a frame, partition by partition, in row order.
#[derive(Clone, Debug)]
pub struct FrameScanExec {
    partitions: Vec<FramePartition>,
    /// The wanted columns of the frame; all if absent.
    projection: Option<Vec<usize>>,
    frame_schema: SchemaRef,
    /// Why it is made, for people; nothing else depends on it.
    note: Option<Arc<str>>,
    /// About how many bytes a row of the frame takes, if somebody knows.
    row_bytes: Option<u64>,
    properties: Arc<PlanProperties>,
}

/// The leaf as the codec writes it.
#[derive(Serialize, Deserialize)]
pub(super) struct FrameNode {
    partitions: Vec<FramePartition>,
    projection: Option<Vec<usize>>,
    #[serde(with = "ipc::schema_serde")]
    schema: SchemaRef,
    note: Option<Arc<str>>,
    row_bytes: Option<u64>,
}

impl FrameScanExec {
    /// A scan of some columns of a frame.
    ///
    /// # Errors
    /// If the projection names columns that the frame does not have.
    pub fn try_new(
        partitions: Vec<FramePartition>,
        frame_schema: SchemaRef,
        projection: Option<Vec<usize>>,
    ) -> Result<Self> {
        let schema = match &projection {
            Some(columns) => Arc::new(frame_schema.project(columns)?),
            None => Arc::clone(&frame_schema),
        };
        let properties = leaf::properties(schema, partitions.len());
        let (note, row_bytes) = (None, None);
        Ok(Self { partitions, projection, frame_schema, note, row_bytes, properties })
    }

    /// The same scan, which says why it is made.
    #[must_use]
    pub fn with_note(self, note: Option<Arc<str>>) -> Self {
        Self { note, ..self }
    }

    /// The same scan of a frame whose rows take about so many bytes each, with all their columns.
    #[must_use]
    pub fn with_row_bytes(self, row_bytes: Option<u64>) -> Self {
        Self { row_bytes, ..self }
    }

    /// About how many bytes a row of the frame takes, if somebody knows.
    pub fn row_bytes(&self) -> Option<u64> {
        self.row_bytes
    }

    /// The partitions, in row order.
    pub fn partitions(&self) -> &[FramePartition] {
        &self.partitions
    }

    /// The same scan of other partitions.
    #[must_use]
    pub fn with_partitions(&self, partitions: Vec<FramePartition>) -> Self {
        Self {
            properties: leaf::of_partitions(&self.properties, partitions.len()),
            partitions,
            projection: self.projection.clone(),
            frame_schema: Arc::clone(&self.frame_schema),
            note: self.note.clone(),
            row_bytes: self.row_bytes,
        }
    }

    /// The same scan of some of its columns.
    ///
    /// # Errors
    /// If it does not have them.
    pub fn with_columns(&self, columns: &[usize]) -> Result<Self> {
        let schema = self.schema().project(columns)?;
        let of_frame = |column: &usize| match &self.projection {
            Some(projection) => projection[*column],
            None => *column,
        };
        let properties = leaf::properties(Arc::new(schema), self.partitions.len());
        let projection = Some(columns.iter().map(of_frame).collect());
        Ok(Self { projection, properties, ..self.clone() })
    }

    pub(super) fn to_node(&self) -> FrameNode {
        FrameNode {
            partitions: self.partitions.clone(),
            projection: self.projection.clone(),
            schema: Arc::clone(&self.frame_schema),
            note: self.note.clone(),
            row_bytes: self.row_bytes,
        }
    }

    pub(super) fn from_node(node: FrameNode) -> Result<Self> {
        let scan = Self::try_new(node.partitions, node.schema, node.projection)?;
        Ok(scan.with_note(node.note).with_row_bytes(node.row_bytes))
    }
}

impl DisplayAs for FrameScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: u64 = self.partitions.iter().map(|partition| partition.rows).sum();
        let names: Vec<_> =
            self.schema().fields().iter().map(|field| field.name().clone()).collect();
        write!(
            f,
            "FrameScanExec: partitions={}, rows={rows}, columns=[{}]",
            self.partitions.len(),
            names.join(", ")
        )?;
        match &self.note {
            Some(note) => write!(f, " (joined by scan: {note})"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for FrameScanExec {
    fn name(&self) -> &'static str {
        "FrameScanExec"
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

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let runtime = fragment_runtime(&context)?;
        let blob = self.partitions[partition].blob;
        let projection = self.projection.clone();
        let batch_rows = context.session_config().batch_size();
        let batches = async move {
            let batches = runtime.rows(blob).await?;
            let batches = batches.into_iter().flat_map(move |batch| {
                let starts = (0..batch.num_rows()).step_by(batch_rows);
                starts
                    .map(|start| batch.slice(start, batch_rows.min(batch.num_rows() - start)))
                    .collect::<Vec<_>>()
            });
            Ok::<_, DataFusionError>(stream::iter(batches).map(move |batch| match &projection {
                Some(columns) => Ok(batch.project(columns)?),
                None => Ok(batch),
            }))
        };
        let batches = stream::once(batches).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}
