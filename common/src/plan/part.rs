//! Parts of plans whose workers shuffle rows among themselves.
//!
//! What shuffles cuts a plan into stages and writes their nodes in protobuf as DataFusion does,
//! which knows neither Keyloom's conditionals nor its bounds. So all operators of a stage between
//! two boundaries are one node to it, [`PartExec`], which travels as plans of Keyloom do. Where
//! rows come into a part, an [`InletExec`] stands for what they come from while it travels.

use std::{
    fmt,
    sync::{Arc, Once},
};

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::{
    common::tree_node::TreeNode,
    error::{DataFusionError, Result},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
        metrics::MetricsSet, stream::RecordBatchStreamAdapter,
    },
};
use datafusion_proto::physical_plan::PhysicalExtensionCodec;
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use super::{
    Room, decode_plan, encode_plan, leaf,
    part_counts::{PartCounts, operators},
    shuffle_error::told,
};
use crate::{error::Error, ipc, output::WriteExec};

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

/// Refuses a part that writes: what is written is written by tasks, and told by them.
fn refuse_writes(bare: &Arc<dyn ExecutionPlan>) -> Result<()> {
    if bare.exists(|node| Ok(node.is::<WriteExec>()))? {
        return Err(Error::internal("bad part of a plan from a peer: it writes").into());
    }
    Ok(())
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

/// Stands for rows that come from elsewhere, while a part of a plan travels.
#[derive(Debug)]
pub struct InletExec {
    properties: Arc<PlanProperties>,
}

/// The leaf as the codec writes it.
#[derive(Serialize, Deserialize)]
pub(super) struct InletNode {
    #[serde(with = "ipc::schema_serde")]
    schema: SchemaRef,
    partitions: u32,
}

/// The most partitions of a node, in a plan from a peer.
const MAX_PARTITIONS: u64 = 1 << 16;

impl InletExec {
    fn new(schema: SchemaRef, partitions: usize) -> Self {
        Self { properties: leaf::properties(schema, partitions) }
    }

    pub(super) fn to_node(&self) -> InletNode {
        let partitions = self.properties.output_partitioning().partition_count();
        let partitions = u32::try_from(partitions).unwrap_or(u32::MAX);
        InletNode { schema: self.schema(), partitions }
    }

    pub(super) fn from_node(node: InletNode) -> Result<Self> {
        check_partitions(node.partitions)?;
        Ok(Self::new(node.schema, node.partitions as usize))
    }
}

/// Refuses a node with more partitions than any has.
pub(super) fn check_partitions(partitions: u32) -> crate::Result<()> {
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

/// How parts travel: as plans of Keyloom do, with all the checks of these.
#[derive(Clone, Debug)]
pub struct PartCodec {
    /// Where functions are found.
    functions: Arc<TaskContext>,
    telling: Option<Telling>,
}

impl PartCodec {
    /// One that finds functions there.
    pub fn new(functions: Arc<TaskContext>) -> Self {
        Self { functions, telling: None }
    }

    /// The same, whose parts tell what they have counted.
    #[must_use]
    pub fn telling(self, telling: Telling) -> Self {
        Self { telling: Some(telling), ..self }
    }
}

impl PhysicalExtensionCodec for PartCodec {
    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &TaskContext,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let decode = || {
            let (number, bytes) = bytes
                .split_first_chunk()
                .ok_or_else(|| Error::internal("bad part of a plan from a peer: no number"))?;
            let bare = decode_plan(bytes, &self.functions)?;
            refuse_writes(&bare)?;
            let part = PartExec::arrived(&bare, inputs)?;
            let (number, telling) = (u32::from_le_bytes(*number), self.telling.clone());
            Ok::<_, DataFusionError>(PartExec { number, telling, ..part })
        };
        Ok(Arc::new(decode().map_err(told)?))
    }

    fn try_encode(&self, plan: Arc<dyn ExecutionPlan>, bytes: &mut Vec<u8>) -> Result<()> {
        let Some(part) = plan.downcast_ref::<PartExec>() else {
            let name = plan.name();
            return Err(DataFusionError::NotImplemented(format!("{name} is no part of a plan")));
        };
        bytes.extend(part.number.to_le_bytes());
        bytes.extend(encode_plan(&part.bare()?)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use arrow::{
        array::{ArrayRef, Int64Array, RecordBatch},
        datatypes::{DataType, Field},
    };
    use datafusion::{
        physical_expr::{PhysicalExpr, expressions::Column},
        physical_plan::{
            coalesce_partitions::CoalescePartitionsExec, collect, displayable,
            limit::LocalLimitExec, projection::ProjectionExec, union::UnionExec,
        },
        prelude::{SessionConfig, SessionContext},
    };

    use super::*;
    use crate::{
        BlobId,
        output::{OutputKind, OutputSpec, PreparedOutput},
        plan::{FramePartition, FrameScanExec, of_shuffle},
    };

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]))
    }

    fn frame(name: &str) -> Arc<dyn ExecutionPlan> {
        let partition = FramePartition { blob: BlobId::of(name.as_bytes()), rows: 1 };
        Arc::new(FrameScanExec::try_new(vec![partition; 2], schema(), None).unwrap())
    }

    /// A union of a limit over the first input and a projection of the second.
    fn part() -> PartExec {
        let inputs = ["one", "other"].map(frame);
        let [one, other] = inputs.clone();
        let id: Arc<dyn PhysicalExpr> = Arc::new(Column::new("id", 0));
        let projected = ProjectionExec::try_new([(id, "id".to_owned())], other).unwrap();
        let limited: Arc<dyn ExecutionPlan> = Arc::new(LocalLimitExec::new(one, 3));
        let union = UnionExec::try_new(vec![limited, Arc::new(projected)]).unwrap();
        PartExec::new(union, inputs.to_vec())
    }

    fn text(plan: &Arc<dyn ExecutionPlan>) -> String {
        displayable(plan.as_ref()).indent(false).to_string()
    }

    #[test]
    fn a_part_that_writes_is_refused() {
        let spec = OutputSpec {
            path: "/out/".to_owned(),
            storage_profile: None,
            kind: OutputKind::Columns,
        };
        let output = PreparedOutput { spec, schema: schema(), version: None };
        let write = WriteExec::new(frame("one"), Arc::new(output));
        let (codec, mut bytes) = (codec(), Vec::new());
        codec.try_encode(Arc::new(PartExec::new(Arc::new(write), Vec::new())), &mut bytes).unwrap();
        let error = codec.try_decode(&bytes, &[], &TaskContext::default()).unwrap_err();
        assert!(error.to_string().contains("it writes"), "{error}");
    }

    fn codec() -> PartCodec {
        PartCodec::new(SessionContext::new().task_ctx())
    }

    #[test]
    fn a_part_arrives_as_it_left_over_other_inputs() {
        let (part, codec) = (part().numbered(7, Arc::new(|_, _| ())), codec());
        let expected = text(part.plan());
        let mut bytes = Vec::new();
        let inputs = part.inputs.clone();
        codec.try_encode(Arc::new(part), &mut bytes).unwrap();
        let context = TaskContext::default();
        let arrived = codec.try_decode(&bytes, &inputs, &context).unwrap();
        let arrived = arrived.downcast_ref::<PartExec>().unwrap();
        assert_eq!((arrived.number, text(arrived.plan())), (7, expected));
        let cut = codec.try_decode(&bytes[..3], &inputs, &context).unwrap_err();
        assert!(cut.to_string().contains("no number"), "{cut}");
        let too_few = codec.try_decode(&bytes, &inputs[1..], &context).unwrap_err();
        assert!(too_few.to_string().contains("other inputs"), "{too_few}");
    }

    #[test]
    fn new_children_stand_in_the_places_of_the_old_ones() {
        let part: Arc<dyn ExecutionPlan> = Arc::new(part());
        let merged = |input: &Arc<dyn ExecutionPlan>| {
            Arc::new(CoalescePartitionsExec::new(Arc::clone(input))) as Arc<dyn ExecutionPlan>
        };
        let children = part.children().into_iter().map(merged).collect();
        let part = part.with_new_children(children).unwrap();
        let plan = text(part.downcast_ref::<PartExec>().unwrap().plan());
        assert_eq!(plan.matches("CoalescePartitionsExec").count(), 2, "{plan}");
        assert_eq!(part.output_partitioning().partition_count(), 2);
    }

    #[test]
    fn a_part_that_arrived_tells_what_it_counted_and_is_heard_of_once() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&heard);
        let ended: Ended = Arc::new(move |operators| {
            hears.lock().unwrap().push(operators.len());
        });
        let codec = codec().telling(Telling { key_bytes: 0, ended });
        let part = part().numbered(3, Arc::new(|_, _| ()));
        assert!(part.metrics().is_none());
        let (mut bytes, inputs) = (Vec::new(), part.inputs.clone());
        codec.try_encode(Arc::new(part), &mut bytes).unwrap();
        let arrived = codec.try_decode(&bytes, &inputs, &TaskContext::default()).unwrap();
        for _ in 0..2 {
            let told = PartCounts::from_set(&arrived.metrics().unwrap()).unwrap();
            assert_eq!((told.part, told.nodes.len()), (3, 3));
        }
        assert_eq!(*heard.lock().unwrap(), [3]);
    }

    #[tokio::test]
    async fn a_part_gives_no_row_where_there_is_no_room() {
        let room = Arc::new(Room::default());
        let config = SessionConfig::new().with_extension(Arc::clone(&room));
        let context = SessionContext::new_with_config(config);
        let plan = context.sql("SELECT 1 AS id").await.unwrap();
        let plan = plan.create_physical_plan().await.unwrap();
        let part: Arc<dyn ExecutionPlan> = Arc::new(PartExec::new(plan, Vec::new()));
        assert_eq!(collect(Arc::clone(&part), context.task_ctx()).await.unwrap().len(), 1);
        let full = Error::resource_exhausted("only 3 bytes are free");
        room.give_up(full.clone());
        room.give_up(Error::internal("later"));
        let error = collect(part, context.task_ctx()).await.unwrap_err();
        assert_eq!(of_shuffle(error), full);
    }

    #[tokio::test]
    async fn a_part_gives_the_rows_of_its_operators() {
        let context = SessionContext::new();
        let ids = Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
        context.register_batch("t", RecordBatch::try_from_iter([("id", ids)]).unwrap()).unwrap();
        let plan = context.sql("SELECT id + 1 AS id FROM t").await.unwrap();
        let plan = plan.create_physical_plan().await.unwrap();
        let part: Arc<dyn ExecutionPlan> = Arc::new(PartExec::new(Arc::clone(&plan), Vec::new()));
        let expected = collect(plan, context.task_ctx()).await.unwrap();
        assert_eq!(collect(part, context.task_ctx()).await.unwrap(), expected);
    }
}
