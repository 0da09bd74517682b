//! Rows that replace others by their keys.

use keyloom_common::store::KeyColumns;

use super::*;

fn by(key: &str) -> OutputKind {
    OutputKind::Upsert { key: KeyColumns::one(key) }
}

async fn sorted(place: &Place) -> Vec<Row> {
    let mut rows = place.rows().await;
    rows.sort();
    rows
}

#[tokio::test]
async fn rows_with_keys_that_are_there_are_replaced_and_others_come_to_it() {
    let place = Place::new();
    place.run(lance(IfExists::Error), items(0..10)).await.unwrap();
    let mut job = place.job(by("id"), &items([]).schema()).await;
    job.write(vec![named(8..10, "new"), named(10..11, "new")]).await.unwrap();
    job.write(vec![named([3, 11], "new")]).await.unwrap();
    assert!(job.pieces.len() > 1);
    // Nobody sees them, Lance least of all.
    assert_eq!(place.rows().await, expected(0..10, "n"));
    // What others add meanwhile stays.
    place.run(lance(IfExists::Append), items(20..21)).await.unwrap();
    let committed = job.commit().await.unwrap();
    assert_eq!((committed.rows, committed.version), (5, Some(3)));
    let mut all = [expected(0..3, "n"), expected(3..4, "new"), expected(4..8, "n")].concat();
    all.extend([expected(8..12, "new"), expected(20..21, "n")].concat());
    assert_eq!(sorted(&place).await, all);
    assert_eq!(place.names(".keyloom"), [""; 0]);
    assert_eq!(job.commit().await.unwrap(), committed);
    assert_eq!(sorted(&place).await, all);
}

#[tokio::test]
async fn staged_rows_that_are_gone_are_missed() {
    let place = Place::new();
    place.run(lance(IfExists::Error), items(0..1)).await.unwrap();
    let mut job = place.job(by("id"), &items([]).schema()).await;
    job.write(vec![items(1..2)]).await.unwrap();
    job.write(vec![items(2..3)]).await.unwrap();
    let gone = async || place.outputs.gone(job.written()).await.unwrap();
    assert_eq!(gone().await, Vec::<usize>::new());
    let name = String::from_utf8(job.pieces[1].token.clone()).unwrap();
    fs::remove_file(place.dataset().join(".keyloom").join(job.id.to_string()).join(name)).unwrap();
    assert_eq!(gone().await, [1]);
}

#[tokio::test]
async fn keys_that_stand_twice_or_are_null_change_nothing() {
    let place = Place::new();
    place.run(lance(IfExists::Error), items(0..3)).await.unwrap();
    let mut job = place.job(by("id"), &items([]).schema()).await;
    job.write(vec![named(1..3, "new")]).await.unwrap();
    job.write(vec![named(2..5, "newer")]).await.unwrap();
    let refused = job.commit().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.message().starts_with("several rows have the key id = 2, "), "{refused}");
    assert_eq!(place.rows().await, expected(0..3, "n"));
    assert!(!place.names(".keyloom").is_empty());
    let leftovers = async |known: &[JobId]| {
        let known = known.iter().copied().collect();
        place.outputs.leftovers(&job.output.spec, &known).await.unwrap()
    };
    let left = leftovers(&[]).await;
    let folder = format!("{}/.keyloom/{}", place.uri(), job.id);
    assert!(left.len() == 1 && left[0].place == folder, "{left:?}");
    assert!(left[0].written_ms.is_some());
    assert_eq!(leftovers(&[job.id]).await, [], "it is known");
    job.abort().await;
    assert_eq!(leftovers(&[]).await, []);
    assert_eq!(place.names(".keyloom"), [""; 0]);

    let rows = RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(Int64Array::from(vec![Some(1), None])) as ArrayRef, true),
        ("name", Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef, true),
    ]);
    let refused = place.run(by("id"), rows.unwrap()).await.unwrap_err();
    assert!(refused.message().contains("key column 'id' is null in a row"), "{refused}");
    assert_eq!(place.rows().await, expected(0..3, "n"));
}

#[tokio::test]
async fn columns_that_rows_do_not_have_keep_their_values() {
    let place = Place::new();
    place.run(lance(IfExists::Error), items(0..2)).await.unwrap();
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let rows = RecordBatch::try_from_iter_with_nullable([("id", ids, true)]).unwrap();
    place.run(by("id"), rows).await.unwrap();
    let expected = [expected(0..2, "n"), vec![(2, None)]].concat();
    assert_eq!(sorted(&place).await, expected);
}

#[tokio::test]
async fn no_rows_add_no_version_and_too_many_are_refused() {
    let mut place = Place::new();
    place.run(lance(IfExists::Error), items(0..2)).await.unwrap();
    let committed = place.run(by("id"), items([])).await.unwrap();
    assert_eq!((committed.rows, committed.version), (0, Some(1)));
    place.outputs.bounds.all_bytes = 10;
    let refused = place.run(by("id"), items(0..2)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ResourceExhausted);
    assert!(refused.message().contains("output.upsert_bytes allow 10"), "{refused}");
}

#[tokio::test]
async fn rows_are_merged_in_the_worker_s_memory_or_not_yet_or_never() {
    let mut place = Place::new();
    place.run(lance(IfExists::Error), items(0..2)).await.unwrap();
    let mut job = place.job(by("id"), &items([]).schema()).await;
    job.write(vec![named(1..3, "new")]).await.unwrap();
    let (id, output, pieces) = (job.id, job.output, job.pieces);
    let bytes: u64 = pieces.iter().map(|piece| piece.bytes).sum();
    let written = || Written { job: id, output: output.clone(), pieces: pieces.clone() };
    place.outputs.commons = Commons::new(MemoryBudget::new("memory_bytes", bytes * 2 - 1));
    let never = place.outputs.commit(written()).await.unwrap_err();
    assert_eq!(never.kind(), ErrorKind::ResourceExhausted);
    assert!(never.message().contains("the worker's memory_bytes has"), "{never}");
    place.outputs.commons = Commons::new(MemoryBudget::new("memory_bytes", bytes * 2));
    let budget = place.outputs.commons.budget().clone();
    let others = budget.try_take(1).unwrap();
    let not_yet = place.outputs.commit(written()).await.unwrap_err();
    assert_eq!(not_yet.kind(), ErrorKind::Unavailable);
    assert_eq!(place.rows().await, expected(0..2, "n"));
    drop(others);
    assert_eq!(place.outputs.commit(written()).await.unwrap().rows, 2);
    let all = [expected(0..1, "n"), expected(1..3, "new")].concat();
    assert_eq!(sorted(&place).await, all);
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn a_key_or_a_column_that_is_not_there_is_refused() {
    let place = Place::new();
    let schema = items([]).schema();
    let refused = place.refusal(by("id"), &schema).await;
    assert!(refused.starts_with("no Lance dataset at "), "{refused}");
    place.run(lance(IfExists::Error), items(0..2)).await.unwrap();
    let refused = place.refusal(by("key"), &schema).await;
    let words = "key column 'key' not found among those of the rows, which are 'id', 'name'";
    assert_eq!(refused, words);
    let renamed = items([]).schema().as_ref().clone();
    let renamed = arrow::datatypes::Schema::new(vec![
        renamed.field(0).clone(),
        renamed.field(1).clone().with_name("title"),
    ]);
    let refused = place.refusal(by("id"), &Arc::new(renamed)).await;
    assert!(refused.ends_with("has no column 'title'; it has 'id', 'name'"), "{refused}");
}
