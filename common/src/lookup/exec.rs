//! The lookup node as an operator of DataFusion.

use std::{fmt, sync::Arc};

use arrow::datatypes::SchemaRef;
use datafusion::{
    error::Result,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::{EquivalenceProperties, PhysicalExpr, equivalence::ProjectionMapping},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
        execution_plan::CardinalityEffect,
        expressions::Column,
        metrics::{ExecutionPlanMetricsSet, MetricsSet},
    },
};

use super::Wave;
use crate::{misses::Tally, plan::fragment_runtime};

/// How many rows a partition reads before it may find that grouping them below a lookup makes too
/// few of them. It takes more than DataFusion usually looks at to see that keys come again: of
/// uniform ones among a million, most do not in the first hundred thousand rows.
const PROBED_ROWS: usize = 1_000_000;

/// Appends to each row what stores hold for its keys. Row order and count are the input's.
///
/// A row may stand for several, which were grouped by their keys below: then a column says how
/// many, and as many keys are counted as these rows ask for.
#[derive(Clone, Debug)]
pub struct KvLookupExec {
    input: Arc<dyn ExecutionPlan>,
    waves: Vec<Wave>,
    first_rows: Option<usize>,
    counted_by: Option<usize>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
    tally: Arc<Tally>,
}

impl KvLookupExec {
    /// A lookup over an input.
    ///
    /// # Errors
    /// If a key expression does not fit the columns before it.
    pub fn try_new(input: Arc<dyn ExecutionPlan>, waves: Vec<Wave>) -> Result<Self> {
        let mut schema = input.schema();
        for wave in &waves {
            schema = wave.extend_schema(&schema)?;
        }
        let properties = Arc::new(properties(&input, schema)?);
        let (metrics, tally) = (ExecutionPlanMetricsSet::new(), Arc::default());
        let (first_rows, counted_by) = (None, None);
        Ok(Self { input, waves, first_rows, counted_by, properties, metrics, tally })
    }

    /// The same lookup, which begins with so many rows, and as many as usual if none are given.
    #[must_use]
    pub fn with_first_rows(self, first_rows: Option<usize>) -> Self {
        Self { first_rows, ..self }
    }

    /// The same lookup of rows each of which stands for as many as a column of the input says (of
    /// 64-bit integers); each for one if none is given.
    #[must_use]
    pub fn with_counted_by(self, counted_by: Option<usize>) -> Self {
        Self { counted_by, ..self }
    }

    /// Where the rows come from.
    pub fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }

    /// The waves, in the order in which they run.
    pub fn waves(&self) -> &[Wave] {
        &self.waves
    }

    /// How many rows are likely to be all that is wanted, so that the first are looked up alone.
    pub fn first_rows(&self) -> Option<usize> {
        self.first_rows
    }

    /// The column of the input that says how many rows each row stands for, if they are not one.
    pub fn counted_by(&self) -> Option<usize> {
        self.counted_by
    }

    /// Where the runtime counts.
    pub fn metrics_set(&self) -> &ExecutionPlanMetricsSet {
        &self.metrics
    }

    /// Whether a call says how many of its keys may be missing: of all rows, which tasks tell.
    pub fn limits_misses(&self) -> bool {
        let fetches = self.waves.iter().flat_map(|wave| &wave.fetches);
        fetches.flat_map(|fetch| &fetch.calls).any(|call| call.answer.max_misses().is_some())
    }

    /// Where the runtime counts keys.
    pub fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }
}

/// Ordering, equivalences and partitioning are the input's, over a wider schema.
fn properties(input: &Arc<dyn ExecutionPlan>, schema: SchemaRef) -> Result<PlanProperties> {
    let before = input.schema();
    let columns = before.fields().iter().enumerate().map(|(index, field)| {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), index));
        (column, field.name().clone())
    });
    let mapping = ProjectionMapping::try_new(columns, &before)?;
    let equivalences: EquivalenceProperties =
        input.equivalence_properties().project(&mapping, Arc::clone(&schema));
    Ok(PlanProperties::new(
        equivalences,
        input.output_partitioning().clone(),
        input.pipeline_behavior(),
        input.boundedness(),
    ))
}

/// The same context for what groups rows by their keys.
fn probing_longer(context: &TaskContext) -> TaskContext {
    let mut config = context.session_config().clone();
    let execution = &mut config.options_mut().execution;
    execution.skip_partial_aggregation_probe_rows_threshold = PROBED_ROWS;
    TaskContext::new(
        context.task_id(),
        context.session_id(),
        config,
        context.scalar_functions().clone(),
        context.higher_order_functions().clone(),
        context.aggregate_functions().clone(),
        context.window_functions().clone(),
        context.runtime_env(),
    )
}

impl DisplayAs for KvLookupExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match format {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                f.write_str("KvLookupExec: ")?;
                if let Some(rows) = self.first_rows {
                    write!(f, "first {rows} rows, ")?;
                }
                if let Some(column) = self.counted_by {
                    let schema = self.input.schema();
                    let name =
                        schema.fields().get(column).map_or("?", |field| field.name().as_str());
                    write!(f, "rows of {name}@{column}, ")?;
                }
                let waves: Vec<_> = self
                    .waves
                    .iter()
                    .enumerate()
                    .map(|(index, wave)| format!("wave {}: {wave}", index + 1))
                    .collect();
                f.write_str(&waves.join(" | "))
            }
            DisplayFormatType::TreeRender => {
                self.waves.iter().try_for_each(|wave| writeln!(f, "{wave}"))
            }
        }
    }
}

impl ExecutionPlan for KvLookupExec {
    fn name(&self) -> &'static str {
        "KvLookupExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
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
        let input = children.swap_remove(0);
        // What is known of the rows follows from what is known of the input's.
        if Arc::ptr_eq(input.properties(), self.input.properties()) {
            let (metrics, tally) = (ExecutionPlanMetricsSet::new(), Arc::default());
            return Ok(Arc::new(Self { input, metrics, tally, ..Self::clone(&self) }));
        }
        let lookup = Self::try_new(input, self.waves.clone())?;
        let lookup = lookup.with_first_rows(self.first_rows).with_counted_by(self.counted_by);
        Ok(Arc::new(lookup))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let runtime = fragment_runtime(&context)?;
        let below = match self.counted_by {
            Some(_) => Arc::new(probing_longer(&context)),
            None => Arc::clone(&context),
        };
        let input = self.input.execute(partition, below)?;
        Ok(runtime.lookup(self, partition, input, &context)?)
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }
}
