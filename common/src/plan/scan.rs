//! The leaf that reads files: plain data, to which a worker gives life.
//!
//! It carries all that reading takes and nothing that was learnt besides: no handles, no
//! statistics, no secrets. A partition is a list of slices of files, read one after the other.

mod partition;

use std::{fmt, sync::Arc};

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::{
    common::config::ConfigOptions,
    error::Result,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::{PhysicalExpr, conjunction_opt},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
        filter_pushdown::{
            ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation, PushedDown,
        },
        metrics::{ExecutionPlanMetricsSet, MetricsSet},
    },
};
use serde::{Deserialize, Serialize};

use super::{fragment_runtime, leaf};
use crate::{
    input::{FilesOfInput, Layout, Location},
    ipc,
    store::Pin,
};
pub use partition::{FileSlice, RowRange, ScanPartition};

/// What all slices of a scan share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanTable {
    /// How the files are read.
    pub layout: Layout,
    /// Where they are.
    pub location: Location,
    /// The columns of the files, as [`crate::input::InputDescription::file_schema`].
    #[serde(with = "ipc::schema_serde")]
    pub file_schema: SchemaRef,
    /// The columns that the names of folders give.
    #[serde(with = "ipc::schema_serde")]
    pub partition_schema: SchemaRef,
}

impl ScanTable {
    /// All columns: those of the files, then those of the folders.
    pub fn schema(&self) -> SchemaRef {
        let fields = self.file_schema.fields().iter().chain(self.partition_schema.fields());
        Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()))
    }
}

/// Reads files, partition by partition, in row order.
#[derive(Clone, Debug)]
pub struct InputScanExec {
    table: Arc<ScanTable>,
    /// The wanted columns of the table.
    projection: Vec<usize>,
    /// What is asked of rows above, over the table's columns: data that cannot hold such rows may
    /// be passed over. Rows for which it is false may come all the same.
    predicate: Option<Arc<dyn PhysicalExpr>>,
    /// The most rows that are wanted of a partition.
    limit: Option<usize>,
    partitions: Vec<ScanPartition>,
    /// Why it is made, for people; nothing else depends on it.
    note: Option<Arc<str>>,
    /// The version that was asked for; what was newest when it was planned, if absent. What reads it
    /// does not ask.
    pin: Option<Pin>,
    /// Of files, the input that somebody named: it may have others another time.
    asked: Option<FilesOfInput>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// The leaf as the codec writes it, without its predicate.
#[derive(Serialize, Deserialize)]
pub(super) struct ScanNode {
    table: Arc<ScanTable>,
    projection: Vec<usize>,
    limit: Option<usize>,
    partitions: Vec<ScanPartition>,
    note: Option<Arc<str>>,
    asked: Option<FilesOfInput>,
}

impl InputScanExec {
    /// A scan of some columns of files.
    ///
    /// # Errors
    /// If the projection names columns that the table does not have.
    pub fn try_new(
        table: Arc<ScanTable>,
        projection: Vec<usize>,
        limit: Option<usize>,
        partitions: Vec<ScanPartition>,
    ) -> Result<Self> {
        let schema = Arc::new(table.schema().project(&projection)?);
        let properties = leaf::properties(schema, partitions.len());
        let metrics = ExecutionPlanMetricsSet::new();
        Ok(Self {
            table,
            projection,
            predicate: None,
            limit,
            partitions,
            note: None,
            pin: None,
            asked: None,
            properties,
            metrics,
        })
    }

    /// The same scan, for which this version was asked; the newest, if absent.
    #[must_use]
    pub fn with_pin(self, pin: Option<Pin>) -> Self {
        Self { pin, ..self }
    }

    /// The same scan, of files of this input.
    #[must_use]
    pub fn with_asked(self, asked: Option<FilesOfInput>) -> Self {
        Self { asked, ..self }
    }

    /// The same scan, which says why it is made.
    #[must_use]
    pub fn with_note(self, note: Option<Arc<str>>) -> Self {
        Self { note, ..self }
    }

    /// The same scan, which may pass over what cannot hold rows for which this is true.
    #[must_use]
    pub fn with_predicate(mut self, predicate: Option<Arc<dyn PhysicalExpr>>) -> Self {
        self.predicate = predicate;
        self
    }

    /// The same scan of other partitions.
    #[must_use]
    pub fn with_partitions(&self, partitions: Vec<ScanPartition>) -> Self {
        Self {
            table: Arc::clone(&self.table),
            projection: self.projection.clone(),
            predicate: self.predicate.clone(),
            limit: self.limit,
            properties: leaf::of_partitions(&self.properties, partitions.len()),
            partitions,
            note: self.note.clone(),
            pin: self.pin.clone(),
            asked: self.asked.clone(),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    /// The same scan of some of its columns, which asks nothing of the rows.
    ///
    /// # Errors
    /// If it does not have them.
    pub fn with_columns(&self, columns: &[usize]) -> Result<Self> {
        let schema = self.schema().project(columns)?;
        let projection = columns.iter().map(|column| self.projection[*column]).collect();
        let properties = leaf::properties(Arc::new(schema), self.partitions.len());
        let metrics = ExecutionPlanMetricsSet::new();
        Ok(Self { projection, predicate: None, properties, metrics, ..self.clone() })
    }

    /// What all slices share.
    pub fn table(&self) -> &Arc<ScanTable> {
        &self.table
    }

    /// The wanted columns of the table, in their order.
    pub fn projection(&self) -> &[usize] {
        &self.projection
    }

    /// What is asked of rows above, over the projected columns.
    pub fn predicate(&self) -> Option<&Arc<dyn PhysicalExpr>> {
        self.predicate.as_ref()
    }

    /// The version that was asked for, as somebody named it; none for the newest.
    pub fn pin(&self) -> Option<&Pin> {
        self.pin.as_ref()
    }

    /// Of files, the input that somebody named.
    pub fn asked(&self) -> Option<&FilesOfInput> {
        self.asked.as_ref()
    }

    /// The most rows that are wanted of a partition.
    pub fn limit(&self) -> Option<usize> {
        self.limit
    }

    /// The partitions, in row order.
    pub fn partitions(&self) -> &[ScanPartition] {
        &self.partitions
    }

    /// Where the runtime counts.
    pub fn metrics_set(&self) -> &ExecutionPlanMetricsSet {
        &self.metrics
    }

    pub(super) fn to_node(&self) -> ScanNode {
        ScanNode {
            table: Arc::clone(&self.table),
            projection: self.projection.clone(),
            limit: self.limit,
            partitions: self.partitions.clone(),
            note: self.note.clone(),
            asked: self.asked.clone(),
        }
    }

    pub(super) fn from_node(node: ScanNode) -> Result<Self> {
        let scan = Self::try_new(node.table, node.projection, node.limit, node.partitions)?;
        Ok(scan.with_note(node.note).with_asked(node.asked))
    }
}

impl DisplayAs for InputScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut files: Vec<_> =
            self.partitions.iter().flat_map(|p| &p.slices).map(|slice| &slice.path).collect();
        files.dedup();
        let schema = self.schema();
        let columns: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        write!(
            f,
            "InputScanExec: format={}, files={}, partitions={}, columns=[{}]",
            self.table.layout.format().name(),
            files.len(),
            self.partitions.len(),
            columns.join(", ")
        )?;
        if let Some(predicate) = &self.predicate {
            write!(f, ", predicate={predicate}")?;
        }
        if let Some(limit) = self.limit {
            write!(f, ", limit={limit}")?;
        }
        match &self.note {
            Some(note) => write!(f, " (joined by scan: {note})"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for InputScanExec {
    fn name(&self) -> &'static str {
        "InputScanExec"
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
        Ok(fragment_runtime(&context)?.scan(self, partition, &context)?)
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        Some(Arc::new(Self { limit, ..self.clone() }))
    }

    fn fetch(&self) -> Option<usize> {
        self.limit
    }

    /// Filters stay where they are: a scan passes over what it can, and gives the rest as it is.
    fn handle_child_pushdown_result(
        &self,
        phase: FilterPushdownPhase,
        child: ChildPushdownResult,
        _config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        let filters: Vec<_> = child.parent_filters.into_iter().map(|f| f.filter).collect();
        let answers = vec![PushedDown::No; filters.len()];
        let propagation = FilterPushdownPropagation::with_parent_pushdown_result(answers);
        if phase != FilterPushdownPhase::Pre || filters.is_empty() {
            return Ok(propagation);
        }
        let all = self.predicate.iter().cloned().chain(filters);
        let scan = self.clone().with_predicate(conjunction_opt(all));
        Ok(propagation.with_updated_node(Arc::new(scan)))
    }
}
