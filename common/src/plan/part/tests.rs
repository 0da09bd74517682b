//! Parts that travel, tell what they counted, and give the rows of their operators.

use std::sync::Mutex;

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch},
    datatypes::{DataType, Field, SchemaRef},
};
use datafusion::{
    physical_expr::{PhysicalExpr, expressions::Column},
    physical_plan::{
        coalesce_partitions::CoalescePartitionsExec, collect, displayable, limit::LocalLimitExec,
        projection::ProjectionExec, union::UnionExec,
    },
    prelude::{SessionConfig, SessionContext},
};
use datafusion_proto::physical_plan::PhysicalExtensionCodec;

use super::*;
use crate::{
    BlobId,
    output::{OutputKind, OutputSpec, PreparedOutput, WriteExec},
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
    let spec =
        OutputSpec { path: "/out/".to_owned(), storage_profile: None, kind: OutputKind::Columns };
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
