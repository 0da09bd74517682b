//! Frames cut by their answers.

use datafusion::{
    arrow::datatypes::{DataType, Field, Schema, SchemaRef},
    physical_plan::expressions::Column,
};
use keyloom_common::{
    BlobId,
    functions::OnError,
    lookup::{Answer, Call, Wave},
    plan::FramePartition,
    store::{
        Access, Figures, ForcedAccess, LanceSpec, OnDuplicateKey, ResolvedStore, Snapshot,
        StoreDescription, StoreKey, StoreKind, StoreSpec,
    },
};

use super::*;

const GRAIN: Grain = Grain { rows: 10, row_slices: 8, answer_bytes: 250, answer_slices: 5 };

fn keys() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]))
}

fn frame(rows: u64) -> Arc<dyn ExecutionPlan> {
    let partition = FramePartition { blob: BlobId::of(b"rows"), rows };
    Arc::new(FrameScanExec::try_new(vec![partition], keys(), None).unwrap())
}

/// A lookup that is expected to add so many bytes to each row.
fn lookup(input: Arc<dyn ExecutionPlan>, bytes: u64) -> Arc<dyn ExecutionPlan> {
    let kind = StoreKind::Lance(LanceSpec {
        uri: "/images.lance".to_owned(),
        key: Some(StoreKey::column("id")),
        pin: None,
        storage_profile: None,
        on_duplicate_key: OnDuplicateKey::default(),
        access: ForcedAccess::default(),
    });
    let figures = Figures { value_bytes: vec![bytes], ..Figures::default() };
    let description = StoreDescription {
        schema: keys(),
        snapshot: Snapshot::Immutable,
        figures: Some(figures),
        primary_key: None,
    };
    let spec = StoreSpec { name: "images".to_owned(), kind };
    let answer = Answer::Row { columns: vec![0], on_error: OnError::Null };
    let fetch = Fetch {
        store: ResolvedStore::try_new("images", spec, description).unwrap(),
        key: Arc::new(Column::new("id", 0)),
        calls: vec![Call { name: "image".to_owned(), answer, guard: None }],
        batch_size: None,
        access: Access::default(),
        reason: None,
    };
    Arc::new(KvLookupExec::try_new(input, vec![Wave { fetches: vec![fetch] }]).unwrap())
}

/// Where slices start, and how many rows they have.
fn cut(fragment: &Arc<dyn ExecutionPlan>) -> Vec<Option<(usize, Option<usize>)>> {
    let slices = slices(fragment, GRAIN).into_iter();
    slices.map(|slice| slice.rows.map(|rows| (rows.start, rows.length))).collect()
}

#[test]
fn a_slice_has_so_many_rows_as_their_answers_allow() {
    let cases = [
        (0, 10, vec![None]),
        (25, 10, vec![None]),
        (50, 10, vec![Some((0, Some(25))), Some((25, None))]),
        (51, 10, vec![Some((0, Some(17))), Some((17, Some(17))), Some((34, None))]),
        // More slices than rows there are not, nor more than the setting says.
        (2, 1000, vec![Some((0, Some(1))), Some((1, None))]),
        (6, u64::MAX, vec![Some((0, Some(2))), Some((2, Some(2))), Some((4, None))]),
    ];
    for (rows, bytes, expected) in cases {
        assert_eq!(cut(&lookup(frame(rows), bytes)), expected, "{rows} rows of {bytes} bytes");
    }
}

#[test]
fn limited_rows_are_not_cut_by_their_answers() {
    let limited: Arc<dyn ExecutionPlan> = Arc::new(LocalLimitExec::new(frame(50), 2));
    assert_eq!(cut(&lookup(limited, 10)), [None]);
}

#[test]
fn of_a_union_only_the_inputs_with_answers_are_cut() {
    let answered = lookup(lookup(frame(50), 5), 5);
    let plain = lookup(lookup(frame(50), 0), 0);
    let union = UnionExec::try_new(vec![answered, plain]).unwrap();
    assert_eq!(cut(&union), [Some((0, Some(25))), Some((25, None)), None]);
}
