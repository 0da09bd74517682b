use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::{
    physical_expr::{LexOrdering, PhysicalSortExpr, expressions::Column},
    physical_plan::{
        ExecutionPlanProperties, empty::EmptyExec, limit::LocalLimitExec, sorts::sort::SortExec,
        union::UnionExec,
    },
};

use super::*;
use crate::{
    BlobId, ErrorKind,
    input::{Layout, Location},
    plan::FileSlice,
};

fn schema(name: &str) -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new(name, DataType::Int64, true)]))
}

/// The part of a file that is this row group.
fn row_group(group: u64) -> FileSlice {
    FileSlice {
        path: "data/day=1/rows.parquet".to_owned(),
        size: 1 << 20,
        e_tag: Some("\"tag\"".to_owned()),
        modified_ns: 1_700_000_000_000_000_000,
        partition_values: vec![Some("1".to_owned())],
        bytes: group * 100..(group + 1) * 100,
        rows: Some(10),
        lines_before: 0,
    }
}

fn part(group: u64) -> ScanPartition {
    ScanPartition { slices: vec![row_group(group)], rows: None }
}

/// A scan of so many row groups, each a partition.
fn scan(groups: u64) -> Arc<dyn ExecutionPlan> {
    let table = ScanTable {
        layout: Layout::Parquet,
        location: Location { url: "file:///".to_owned(), profile: None },
        file_schema: schema("id"),
        partition_schema: schema("day"),
    };
    let partitions = (0..groups).map(part).collect();
    Arc::new(InputScanExec::try_new(Arc::new(table), vec![0, 1], None, partitions).unwrap())
}

fn frame(partitions: Vec<FramePartition>) -> Arc<dyn ExecutionPlan> {
    Arc::new(FrameScanExec::try_new(partitions, schema("id"), None).unwrap())
}

fn rows(rows: u64) -> FramePartition {
    FramePartition { blob: BlobId::of(&rows.to_le_bytes()), rows }
}

/// The first rows of each partition, as they are sorted.
fn first_rows(input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let by = PhysicalSortExpr::new_default(Arc::new(Column::new("id", 0)));
    let sort = SortExec::new(LexOrdering::new([by]).unwrap(), input);
    Arc::new(sort.with_preserve_partitioning(true).with_fetch(Some(3)))
}

/// What the leaf reads.
fn leaf(plan: &Arc<dyn ExecutionPlan>) -> Slice {
    match plan.children().as_slice() {
        [] => Slice::of(plan, 0, None).unwrap(),
        [input, ..] => leaf(input),
    }
}

#[test]
fn slices_come_back_as_they_left() {
    let range = RowRange { start: 5, length: Some(2) };
    let mut files = part(7);
    files.slices.push(FileSlice { e_tag: None, rows: None, ..row_group(8) });
    for slice in [
        Slice::Nothing,
        Slice::Frame(rows(3), None),
        Slice::Frame(rows(3), Some(RowRange { start: 0, length: None })),
        Slice::Frames(vec![rows(3), rows(4)]),
        Slice::Files(ScanPartition { rows: Some(range), ..files }),
    ] {
        assert_eq!(Slice::decode(&slice.encode().unwrap()), Ok(slice));
    }
}

#[test]
fn a_slice_is_as_small_as_what_it_names() {
    let bytes = |groups| Slice::of(&scan(groups), 0, None).unwrap().encode().unwrap().len();
    assert_eq!(bytes(1), bytes(10_000));
    assert!(bytes(1) < 100, "{}", bytes(1));
}

#[test]
fn bytes_that_are_no_slice_are_an_error() {
    let bytes = Slice::Files(part(1)).encode().unwrap();
    let fragment = without_input(&scan(1));
    for length in 0..bytes.len() {
        assert_eq!(Slice::decode(&bytes[..length]).unwrap_err().kind(), ErrorKind::Internal);
    }
    for (place, bit) in (0..bytes.len()).flat_map(|place| (0..8).map(move |bit| (place, bit))) {
        let mut damaged = bytes.to_vec();
        damaged[place] ^= 1 << bit;
        // It may still be a slice, and fit.
        let _ = Slice::decode(&damaged).and_then(|slice| with_slice(&fragment, slice));
    }
}

#[test]
fn a_fragment_reads_its_slice_and_no_more() {
    let fragment = first_rows(without_input(&scan(1000)));
    assert_eq!(leaf(&fragment), Slice::Files(ScanPartition::default()));
    for group in [0, 999] {
        let slice = Slice::of(&scan(1000), group as usize, None).unwrap();
        assert_eq!(slice, Slice::Files(part(group)));
        let plan = with_slice(&fragment, slice.clone()).unwrap();
        assert_eq!(plan.output_partitioning().partition_count(), 1);
        assert_eq!(leaf(&plan), slice);
    }
    let frame = without_input(&frame(vec![rows(1), rows(2)]));
    let plan = with_slice(&frame, Slice::Frame(rows(2), None)).unwrap();
    assert_eq!(leaf(&plan), Slice::Frame(rows(2), None));
    let range = RowRange { start: 1, length: Some(1) };
    let plan = with_slice(&frame, Slice::Frame(rows(2), Some(range))).unwrap();
    let limit = plan.downcast_ref::<GlobalLimitExec>().unwrap();
    assert_eq!((limit.skip(), limit.fetch()), (1, Some(1)));
    let empty: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(schema("id")));
    let plan = with_slice(&first_rows(without_input(&empty)), Slice::Nothing).unwrap();
    assert_eq!(leaf(&plan), Slice::Nothing);
}

/// What one task's sort has seen must hide no rows of another's.
#[test]
fn tasks_of_a_fragment_share_nothing_that_changes() {
    let fragment = first_rows(without_input(&scan(2)));
    let filter = |plan: &Arc<dyn ExecutionPlan>| {
        plan.downcast_ref::<SortExec>().unwrap().dynamic_filter_expr().unwrap()
    };
    let [one, other] =
        [0, 1].map(|group| with_slice(&fragment, Slice::Files(part(group))).unwrap());
    assert!(!Arc::ptr_eq(&filter(&one), &filter(&other)));
    assert!(!Arc::ptr_eq(&filter(&one), &filter(&fragment)));
    // What is known of their rows is the same one.
    assert!(Arc::ptr_eq(one.properties(), other.properties()));
}

#[test]
fn slices_that_do_not_fit_are_refused() {
    let files = || Slice::Files(part(0));
    let refused = |fragment: &Arc<dyn ExecutionPlan>, slice: Slice, message: &str| {
        let error = with_slice(fragment, slice).unwrap_err();
        let message = format!("bad slice from a peer: {message}");
        assert_eq!((error.kind(), error.message()), (ErrorKind::Internal, message.as_str()));
    };
    let limited = |input| Arc::new(LocalLimitExec::new(input, 1)) as Arc<dyn ExecutionPlan>;
    let frame = limited(frame(vec![rows(1)]));
    refused(&frame, files(), "it is not of what FrameScanExec reads");
    refused(&frame, Slice::Nothing, "it is not of what FrameScanExec reads");
    refused(&frame, Slice::Frames(Vec::new()), "it has no partitions");
    let scan = limited(scan(1));
    for slice in [Slice::Frame(rows(1), None), Slice::Frames(vec![rows(1)])] {
        refused(&scan, slice, "it is not of what InputScanExec reads");
    }
    let empty: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(schema("id")));
    refused(&empty, files(), "it is not of what EmptyExec reads");
    let union = UnionExec::try_new(vec![Arc::clone(&frame), frame]).unwrap();
    refused(&union, Slice::Frame(rows(1), None), "its fragment has several inputs");

    let part = |change: fn(&mut FileSlice)| {
        let mut slice = row_group(0);
        change(&mut slice);
        Slice::Files(ScanPartition { slices: vec![row_group(1), slice], rows: None })
    };
    let backwards = part(|slice| (slice.bytes.start, slice.bytes.end) = (2, 1));
    refused(&scan, backwards, "a part of a file ends before it starts");
    let others = part(|slice| slice.partition_values.clear());
    refused(&scan, others, "a file has other folders than its table");
}

#[test]
fn some_rows_of_a_partition_are_cut_within_them() {
    let range = |start, length| RowRange { start, length };
    let own = range(2, Some(6));
    let partition = ScanPartition { rows: Some(own), ..part(0) };
    assert_eq!(partition.known_rows(), Some(6));
    let all = scan(1);
    let all = all.downcast_ref::<InputScanExec>().unwrap();
    let scan: Arc<dyn ExecutionPlan> = Arc::new(all.with_partitions(vec![partition.clone()]));
    let slice = |rows| match Slice::of(&scan, 0, rows).unwrap() {
        Slice::Files(ScanPartition { slices, rows }) if slices == partition.slices => rows,
        other => panic!("{other:?}"),
    };
    assert_eq!(slice(None), Some(own));
    assert_eq!(slice(Some(range(0, Some(3)))), Some(range(2, Some(3))));
    assert_eq!(slice(Some(range(3, None))), Some(range(5, Some(3))));
    assert_eq!(slice(Some(range(3, Some(9)))), Some(range(5, Some(3))));
    assert_eq!(range(1, Some(4)).within(range(2, None)), range(3, Some(4)));
    let open = ScanPartition { rows: Some(range(4, None)), ..part(0) };
    assert_eq!(open.known_rows(), Some(6));
}

#[test]
fn a_partition_that_a_leaf_does_not_have_is_an_error() {
    for leaf in [scan(2), frame(vec![rows(1), rows(2)])] {
        assert!(Slice::of(&leaf, 1, None).is_ok());
        let error = Slice::of(&leaf, 2, None).unwrap_err();
        assert_eq!(error.message(), format!("{} has no partition 2", leaf.name()));
    }
}

#[test]
fn partitions_that_follow_each_other_are_read_as_one() {
    let Slice::Files(joined) = Slice::joined(&scan(5), 1..4).unwrap() else {
        panic!("files are no frame");
    };
    assert_eq!((joined.slices.len(), joined.known_rows()), (1, Some(30)));
    assert_eq!(joined.slices[0].bytes, 100..400);
    let other = FileSlice { path: "data/day=2/rows.parquet".to_owned(), ..row_group(1) };
    let apart = ScanPartition { slices: vec![other, row_group(3)], rows: None };
    let joined = ScanPartition::joined(&[part(0), apart, part(4)]);
    let bytes: Vec<_> = joined.slices.iter().map(|slice| slice.bytes.clone()).collect();
    assert_eq!(bytes, [0..100, 100..200, 300..500]);
    let frame = frame(vec![rows(1), rows(2), rows(3)]);
    let joined = Slice::joined(&frame, 1..3).unwrap();
    assert_eq!(joined, Slice::Frames(vec![rows(2), rows(3)]));
    let task = with_slice(&without_input(&frame), joined).unwrap();
    assert_eq!(task.output_partitioning().partition_count(), 1);
    let reads = task.children()[0].downcast_ref::<FrameScanExec>().unwrap();
    assert_eq!(reads.partitions(), [rows(2), rows(3)]);
    let empty: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(schema("id")));
    let wrong = [(scan(2), 1..3), (scan(2), 1..1), (frame, 2..4), (empty, 0..1)];
    for (leaf, partitions) in wrong {
        let error = Slice::joined(&leaf, partitions.clone()).unwrap_err();
        let message = format!("{} has no partitions {partitions:?}", leaf.name());
        assert_eq!(error.message(), message);
    }
}

#[test]
fn partitions_of_which_some_rows_are_read_are_not_read_as_one() {
    let whole = scan(3);
    let whole = whole.downcast_ref::<InputScanExec>().unwrap();
    let rows = Some(RowRange { start: 2, length: Some(3) });
    let partitions = vec![part(0), ScanPartition { rows, ..part(1) }, part(2)];
    let leaf: Arc<dyn ExecutionPlan> = Arc::new(whole.with_partitions(partitions));
    let error = Slice::joined(&leaf, 0..2).unwrap_err();
    assert!(error.message().contains("reads some rows of partitions 0..2"), "{error}");
    assert!(Slice::joined(&leaf, 2..3).is_ok());
}
