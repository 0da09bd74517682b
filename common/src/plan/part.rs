//! Parts of plans whose workers shuffle rows among themselves.
//!
//! What shuffles cuts a plan into stages and writes their nodes in protobuf as DataFusion does,
//! which knows neither Keyloom's conditionals nor its bounds. So all operators of a stage between
//! two boundaries are one node to it, [`PartExec`], which travels as plans of Keyloom do. Where
//! rows come into a part, an [`InletExec`] stands for what they come from while it travels.

mod codec;
mod inlet;

use std::{
    fmt,
    sync::{Arc, Once},
};

use arrow::datatypes::Schema;
use datafusion::{
    error::Result,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
        metrics::MetricsSet, stream::RecordBatchStreamAdapter,
    },
};
use futures::StreamExt;

use super::{
    Room,
    part_counts::{PartCounts, operators},
    shuffle_error::told,
};
use crate::error::Error;
pub use codec::PartCodec;
pub use inlet::InletExec;
pub(super) use inlet::{InletNode, check_partitions};

/// Operators as one node, whose children are what they read. Its errors are such as can be
/// [read again](super::of_shuffle) from their texts, and its only counter is what they all have
/// [counted](PartCounts). It gives no more rows where its session has no [`Room`] left for them.
pub struct PartExec {
    /// What it is known by to who cut the plan.
    number: u32,
    /// The operators, above the inputs.
    plan: Arc<dyn ExecutionPlan>,
    /// In the order in which they stand in the plan.
    inputs: Vec<Arc<dyn ExecutionPlan>>,
    begun: Option<Begun>,
    has_begun: Once,
    telling: Option<Telling>,
    has_told: Once,
}

/// Hears of a part, by its number, that begins to run in this process, and has its operators.
pub type Begun = Arc<dyn Fn(u32, Vec<Arc<dyn ExecutionPlan>>) + Send + Sync>;

/// Hears of the operators of a part whose task has ended in this process.
pub type Ended = Arc<dyn Fn(&[Arc<dyn ExecutionPlan>]) + Send + Sync>;

/// How a part that has come from elsewhere tells what it counted. It is asked for its counters once,
/// when its task has ended, whether all of its rows were wanted or not.
#[derive(Clone)]
pub struct Telling {
    /// In about so many bytes it tells which keys were asked for.
    pub key_bytes: u64,
    /// Hears of it in this process, too.
    pub ended: Ended,
}

impl fmt::Debug for Telling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telling").field("key_bytes", &self.key_bytes).finish_non_exhaustive()
    }
}

impl PartExec {
    /// A plan down to nodes that belong to others, which stand in it in this order.
    pub fn new(plan: Arc<dyn ExecutionPlan>, inputs: Vec<Arc<dyn ExecutionPlan>>) -> Self {
        Self {
            number: 0,
            plan,
            inputs,
            begun: None,
            has_begun: Once::new(),
            telling: None,
            has_told: Once::new(),
        }
    }

    /// The same part under a number; somebody hears when it begins to run here.
    #[must_use]
    pub fn numbered(&self, number: u32, begun: Begun) -> Self {
        Self { number, begun: Some(begun), ..self.with(&self.plan, self.inputs.clone()) }
    }

    /// The same part of others.
    fn with(&self, plan: &Arc<dyn ExecutionPlan>, inputs: Vec<Arc<dyn ExecutionPlan>>) -> Self {
        Self {
            number: self.number,
            plan: Arc::clone(plan),
            inputs,
            begun: self.begun.clone(),
            has_begun: Once::new(),
            telling: self.telling.clone(),
            has_told: Once::new(),
        }
    }

    /// The operators, above the inputs.
    pub fn plan(&self) -> &Arc<dyn ExecutionPlan> {
        &self.plan
    }

    /// The operators, with inlets in the places of their inputs.
    fn bare(&self) -> Result<Arc<dyn ExecutionPlan>> {
        let inlets = self.inputs.iter().map(|input| {
            let partitions = input.output_partitioning().partition_count();
            Arc::new(InletExec::new(input.schema(), partitions)) as Arc<dyn ExecutionPlan>
        });
        self.over(inlets.collect())
    }

    /// The operators over other inputs.
    fn over(&self, inputs: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let mut places = self.inputs.iter().zip(inputs).peekable();
        let mut is_next = |node: &Arc<dyn ExecutionPlan>| {
            let next = places.next_if(|(input, _)| Arc::ptr_eq(input, node));
            next.map(|(_, new)| new)
        };
        let plan = replace(&self.plan, &mut is_next)?;
        if places.next().is_some() {
            return Err(Error::internal("a part of a plan does not hold its inputs").into());
        }
        Ok(plan)
    }

    /// Operators that travelled, over their inputs.
    fn arrived(bare: &Arc<dyn ExecutionPlan>, inputs: &[Arc<dyn ExecutionPlan>]) -> Result<Self> {
        let (mut given, mut misfits) = (inputs.iter(), 0);
        let mut of_inlet = |node: &Arc<dyn ExecutionPlan>| {
            let inlet = node.downcast_ref::<InletExec>()?;
            let input = given.next().filter(|input| are_alike(&input.schema(), &inlet.schema()));
            misfits += usize::from(input.is_none());
            input.cloned()
        };
        let plan = replace(bare, &mut of_inlet)?;
        if misfits > 0 || given.next().is_some() {
            return Err(Error::internal("bad part of a plan from a peer: other inputs").into());
        }
        Ok(Self::new(plan, inputs.to_vec()))
    }
}

/// Whether rows of one have the columns of the other.
fn are_alike(one: &Schema, other: &Schema) -> bool {
    let types = |schema: &Schema| -> Vec<_> {
        schema.fields().iter().map(|field| field.data_type().clone()).collect()
    };
    types(one) == types(other)
}

/// What stands in the place of a node, if that is another.
type Other<'a> = dyn FnMut(&Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> + 'a;

/// A plan with others in the places of some nodes, looked for from the root on, left before right.
/// Below these it is not looked at.
fn replace(plan: &Arc<dyn ExecutionPlan>, other: &mut Other<'_>) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(other) = other(plan) {
        return Ok(other);
    }
    let children = plan.children();
    if children.is_empty() {
        return Ok(Arc::clone(plan));
    }
    let children =
        children.into_iter().map(|child| replace(child, other)).collect::<Result<_>>()?;
    Arc::clone(plan).with_new_children(children)
}

impl fmt::Debug for PartExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, plan, inputs, .. } = self;
        let mut part = f.debug_struct("PartExec");
        part.field("number", number).field("plan", plan).field("inputs", inputs);
        part.finish_non_exhaustive()
    }
}

impl DisplayAs for PartExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PartExec: ")?;
        self.plan.fmt_as(format, f)
    }
}

impl ExecutionPlan for PartExec {
    fn name(&self) -> &'static str {
        "PartExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.plan.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inputs.iter().collect()
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = self.over(children.clone())?;
        Ok(Arc::new(self.with(&plan, children)))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        if let Some(begun) = &self.begun {
            let begin = || begun(self.number, operators(&self.plan, &self.inputs));
            self.has_begun.call_once(begin);
        }
        let room = context.session_config().get_extension::<Room>();
        let batches = self.plan.execute(partition, context).map_err(told)?;
        let full = move || room.as_ref().and_then(|room| room.check().err());
        let batches = batches.map(move |batch| match full() {
            Some(full) => Err(told(full)),
            None => batch.map_err(told),
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        let operators = operators(&self.plan, &self.inputs);
        let Telling { key_bytes, ended } = self.telling.as_ref()?;
        self.has_told.call_once(|| ended(&operators));
        Some(PartCounts::of(self.number, &operators, *key_bytes).to_set())
    }
}

#[cfg(test)]
mod tests;
