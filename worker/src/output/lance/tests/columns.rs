//! Columns that are added in place.

use arrow::datatypes::Schema;
use keyloom_common::{
    input::{Layout, Location},
    plan::{FileSlice, InputScanExec, ScanPartition, ScanTable},
};
use lance::dataset::WriteParams;

use super::*;
use crate::store::lance::snapshot;

/// A dataset of four fragments of five rows, of which some are deleted.
async fn with_gaps(place: &Place) -> Dataset {
    let rows = items(0..20);
    let names = cast(rows.column(1), &DataType::Utf8).unwrap();
    let columns = [("id", Arc::clone(rows.column(0))), ("name", names)];
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    let reader = arrow::array::RecordBatchIterator::new([Ok(rows.clone())], rows.schema());
    let params = WriteParams { max_rows_per_file: 5, ..WriteParams::default() };
    let mut dataset = Dataset::write(reader, &place.uri(), Some(params)).await.unwrap();
    dataset.delete("id in (0, 7, 8, 14)").await.unwrap();
    place.open().await
}

/// What a task reads: some fragments of a dataset.
fn fragments(dataset: &Dataset, places: Range<u64>) -> Arc<dyn ExecutionPlan> {
    let table = ScanTable {
        layout: Layout::Lance(snapshot(dataset)),
        location: Location { url: dataset.uri().to_owned(), profile: None },
        file_schema: items([]).schema(),
        partition_schema: Arc::new(Schema::empty()),
    };
    let slice = FileSlice {
        path: dataset.uri().to_owned(),
        size: dataset.get_fragments().len() as u64,
        e_tag: None,
        modified_ns: 0,
        partition_values: Vec::new(),
        bytes: places,
        rows: None,
        lines_before: 0,
    };
    let partitions = vec![ScanPartition { slices: vec![slice], rows: None }];
    Arc::new(InputScanExec::try_new(Arc::new(table), vec![0], None, partitions).unwrap())
}

/// A column of titles for rows.
fn titles(ids: &[i64]) -> RecordBatch {
    let titles = ids.iter().map(|id| Some(format!("t{id}")));
    let titles: ArrayRef = Arc::new(StringViewArray::from_iter(titles));
    RecordBatch::try_from_iter_with_nullable([("title", titles, true)]).unwrap()
}

async fn read(place: &Place) -> Vec<(i64, Option<String>)> {
    let all = place.open().await.scan().try_into_batch().await.unwrap();
    let ids = all.column_by_name("id").unwrap().as_primitive::<Int64Type>().clone();
    let titles = texts(all.column_by_name("title").unwrap());
    ids.values().iter().copied().zip(titles).collect()
}

/// The rows that are there, in their order.
const IDS: [i64; 16] = [1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 15, 16, 17, 18, 19];

#[tokio::test]
async fn each_row_gets_its_value_whatever_is_deleted_before_it() {
    let place = Place::new();
    let dataset = with_gaps(&place).await;
    let mut job = place.job(OutputKind::Columns, &titles(&[]).schema()).await;
    // Batches end anywhere; the first three fragments are one task's.
    let batches = vec![Ok(titles(&IDS[..2])), Ok(titles(&[])), Ok(titles(&IDS[2..11]))];
    job.write_over(fragments(&dataset, 0..3), batches).await.unwrap();
    job.write_over(fragments(&dataset, 3..4), vec![Ok(titles(&IDS[11..]))]).await.unwrap();
    assert_eq!(job.pieces.len(), 4);
    let committed = job.commit().await.unwrap();
    assert_eq!((committed.rows, committed.files, committed.version), (16, 4, Some(3)));
    let expected: Vec<_> = IDS.iter().map(|id| (*id, Some(format!("t{id}")))).collect();
    assert_eq!(read(&place).await, expected);
    assert_eq!(job.commit().await.unwrap(), committed);
    assert_eq!(place.open().await.version_id(), 3);
    job.abort().await;
    assert_eq!(read(&place).await, expected);
}

#[tokio::test]
async fn too_few_and_too_many_rows_are_refused_and_leave_no_files() {
    let place = Place::new();
    let dataset = with_gaps(&place).await;
    let files = place.names("data").len();
    let mut job = place.job(OutputKind::Columns, &titles(&[]).schema()).await;
    for (ids, words) in [(&IDS[..5], "fewer rows"), (&IDS[..8], "more rows")] {
        let rows = vec![Ok(titles(ids))];
        let refused = job.write_over(fragments(&dataset, 0..2), rows).await.unwrap_err();
        assert!(refused.message().contains(words), "{refused}");
    }
    place.outputs.cleaner.done().await;
    assert_eq!(place.names("data").len(), files);
    assert!(job.pieces.is_empty());
}

#[tokio::test]
async fn rows_that_somebody_changed_meanwhile_get_no_columns() {
    let place = Place::new();
    let dataset = with_gaps(&place).await;
    let files = place.names("data").len();
    let mut job = place.job(OutputKind::Columns, &titles(&[]).schema()).await;
    job.write_over(fragments(&dataset, 0..4), vec![Ok(titles(&IDS))]).await.unwrap();
    place.run(lance(IfExists::Append), items(20..21)).await.unwrap();
    let refused = job.commit().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.message().contains("since version 2, whose rows"), "{refused}");
    assert_eq!(place.names("data").len(), files + 5);
    job.abort().await;
    assert_eq!(place.names("data").len(), files + 1);
    assert_eq!(place.rows().await.len(), 17);
}

#[tokio::test]
async fn fragments_that_no_task_had_and_names_that_are_taken_are_refused() {
    let place = Place::new();
    let dataset = with_gaps(&place).await;
    let refused = place.refusal(OutputKind::Columns, &items([]).schema()).await;
    assert!(refused.contains("has a column 'id' already"), "{refused}");
    let mut job = place.job(OutputKind::Columns, &titles(&[]).schema()).await;
    job.write_over(fragments(&dataset, 0..1), vec![Ok(titles(&IDS[..4]))]).await.unwrap();
    let refused = job.commit().await.unwrap_err();
    assert!(refused.message().contains("no task had the rows of fragment 1"), "{refused}");
}
