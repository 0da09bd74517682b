//! Datasets that are made, replaced and extended.

use arrow::datatypes::{Field, Schema};

use super::*;

#[tokio::test]
async fn rows_of_all_tasks_stand_in_the_order_of_the_tasks_and_once() {
    let place = Place::new();
    let schema = items([]).schema();
    let mut job = place.job(lance(IfExists::Error), &schema).await;
    assert_eq!(job.output.version, None);
    job.write(vec![items(0..3), items(3..5)]).await.unwrap();
    job.write(vec![]).await.unwrap();
    job.write(vec![items(5..9)]).await.unwrap();
    let committed = job.commit().await.unwrap();
    assert_eq!((committed.rows, committed.files, committed.version), (9, 2, Some(1)));
    assert!(committed.bytes > 0);
    assert_eq!(place.rows().await, expected(0..9, "n"));
    assert_eq!(job.commit().await.unwrap(), committed);
    assert_eq!(place.open().await.version_id(), 1);
    // Whoever gives up after that takes nothing away.
    job.abort().await;
    assert_eq!(place.rows().await, expected(0..9, "n"));
}

#[tokio::test]
async fn no_rows_make_an_empty_dataset_and_add_no_version() {
    let place = Place::new();
    let schema = items([]).schema();
    let job = place.job(lance(IfExists::Error), &schema).await;
    let made = job.commit().await.unwrap();
    assert_eq!((made.rows, made.files, made.version), (0, 0, Some(1)));
    assert_eq!(place.rows().await, expected(0..0, "n"));
    let made_of = place.open().await;
    let names: Vec<_> = made_of.schema().fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["id", "name"]);
    let mut job = place.job(lance(IfExists::Append), &schema).await;
    job.write(vec![items([])]).await.unwrap();
    assert_eq!(job.commit().await.unwrap(), made);
    place.run(lance(IfExists::Append), items(0..2)).await.unwrap();
    let job = place.job(lance(IfExists::Overwrite), &schema).await;
    assert_eq!(job.commit().await.unwrap().version, Some(3));
    assert_eq!(place.rows().await, expected(0..0, "n"));
}

#[tokio::test]
async fn appends_at_the_same_time_are_both_there() {
    let place = Place::new();
    place.run(lance(IfExists::Append), items(0..2)).await.unwrap();
    let schema = items([]).schema();
    let mut one = place.job(lance(IfExists::Append), &schema).await;
    let mut other = place.job(lance(IfExists::Append), &schema).await;
    one.write(vec![items(2..4)]).await.unwrap();
    other.write(vec![items(4..6)]).await.unwrap();
    assert_eq!(one.commit().await.unwrap().version, Some(2));
    assert_eq!(other.commit().await.unwrap().version, Some(3));
    assert_eq!(place.rows().await, expected(0..6, "n"));
    assert_eq!(one.commit().await.unwrap().version, Some(2));
    assert_eq!(place.open().await.version_id(), 3);
}

#[tokio::test]
async fn a_job_that_two_workers_commit_at_the_same_time_is_there_once() {
    let place = Place::new();
    place.run(lance(IfExists::Error), items(0..2)).await.unwrap();
    let mut job = place.job(lance(IfExists::Append), &items([]).schema()).await;
    job.write(vec![items(2..4)]).await.unwrap();
    let target = place.outputs.target(&job.output.spec).await.unwrap();
    let looked_at = target.newest().await.unwrap().unwrap();
    // The other one is done before this one begins, and after it has looked.
    let committed = job.commit().await.unwrap();
    let builder = next_version::next_of(&target, &looked_at).await.unwrap();
    let operation = parts::operation(&job.pieces[0]).unwrap();
    let made = commit::make(&target, builder, commit::transaction(job.id, 1, operation)).await;
    assert!(matches!(made, Err(commit::NotMade::Late(_))), "{made:?}");
    assert_eq!(place.rows().await, expected(0..4, "n"));
    assert_eq!(job.commit().await.unwrap(), committed);
    assert_eq!(place.open().await.version_id(), 2);
}

#[tokio::test]
async fn a_commit_is_found_behind_many_of_others() {
    let place = Place::new();
    place.run(lance(IfExists::Error), items(0..1)).await.unwrap();
    let mut job = place.job(lance(IfExists::Append), &items([]).schema()).await;
    job.write(vec![items(1..2)]).await.unwrap();
    let committed = job.commit().await.unwrap();
    assert_eq!(committed.version, Some(2));
    for id in 2..20 {
        place.run(lance(IfExists::Append), items(id..id + 1)).await.unwrap();
    }
    assert_eq!(job.commit().await.unwrap(), committed);
    let target = place.outputs.target(&job.output.spec).await.unwrap();
    let newest = target.newest().await.unwrap().unwrap();
    assert_eq!(newest.version_id(), 20);
    for (since, of) in [(1, Some(2)), (2, None), (20, None), (99, None)] {
        let found = commit::version_of(&target, &newest, since, job.id).await.unwrap();
        assert_eq!(found, of, "since {since}");
    }
    // Who makes a dataset makes its first version.
    assert_eq!(commit::version_of(&target, &newest, 0, job.id).await.unwrap(), None);
}

#[tokio::test]
async fn replacing_what_somebody_changed_meanwhile_is_refused() {
    let place = Place::new();
    place.run(lance(IfExists::Error), items(0..2)).await.unwrap();
    let mut job = place.job(lance(IfExists::Overwrite), &items([]).schema()).await;
    job.write(vec![named(0..4, "new")]).await.unwrap();
    place.run(lance(IfExists::Append), items(2..3)).await.unwrap();
    let refused = job.commit().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.message().contains("(version 1 then, 2 now)"), "{refused}");
    assert_eq!(place.rows().await, expected(0..3, "n"));
    let files = place.names("data").len();
    job.abort().await;
    assert_eq!(place.names("data").len(), files - 1);
    assert_eq!(place.rows().await, expected(0..3, "n"));
    place.run(lance(IfExists::Overwrite), named(0..4, "new")).await.unwrap();
    assert_eq!(place.rows().await, expected(0..4, "new"));
}

#[tokio::test]
async fn what_is_read_is_not_removed_though_nobody_knows_who_committed_it() {
    let place = Place::new();
    let mut job = place.job(lance(IfExists::Error), &items([]).schema()).await;
    job.write(vec![items(0..3)]).await.unwrap();
    job.commit().await.unwrap();
    // As if the version that tells had been cleaned up.
    job.id = JobId::new();
    job.abort().await;
    assert_eq!(place.rows().await, expected(0..3, "n"));
}

#[tokio::test]
async fn a_dataset_that_somebody_made_meanwhile_is_not_replaced() {
    let place = Place::new();
    let schema = items([]).schema();
    let mut slow = place.job(lance(IfExists::Overwrite), &schema).await;
    let mut late = place.job(lance(IfExists::Error), &schema).await;
    slow.write(vec![named(0..4, "slow")]).await.unwrap();
    place.run(lance(IfExists::Error), items(0..2)).await.unwrap();
    let words = "somebody else made a Lance dataset at";
    let refused = slow.commit().await.unwrap_err();
    assert!(refused.message().starts_with(words), "{refused}");
    let refused = late.write(vec![items(0..1)]).await.unwrap_err();
    assert!(refused.message().contains(words), "{refused}");
    slow.abort().await;
    assert_eq!(place.names("data").len(), 1);
    assert_eq!(place.rows().await, expected(0..2, "n"));
}

#[tokio::test]
async fn a_task_that_fails_or_is_dropped_leaves_no_files() {
    let place = Place::new();
    let schema = items([]).schema();
    let mut job = place.job(lance(IfExists::Error), &schema).await;
    let lost = Error::unavailable("a store is away");
    let input = || Arc::new(EmptyExec::new(items([]).schema()));
    let failing = vec![Ok(items(0..2)), Err(lost.clone().into())];
    let failed = job.write_over(input(), failing).await.unwrap_err();
    assert_eq!(failed, lost);
    let mut told = job.start(input(), vec![Ok(items(0..2))]).unwrap();
    told.try_next().await.unwrap().unwrap();
    assert_eq!(place.names("data").len(), 1);
    drop(told);
    place.outputs.cleaner.done().await;
    assert_eq!(place.names("data"), [""; 0]);
}

/// The data files of an attempt whose worker is killed, and its record.
async fn killed(job: &Job<'_>) {
    let input = Arc::new(EmptyExec::new(items([]).schema()));
    let mut told = job.start(input, vec![Ok(items(100..102))]).unwrap();
    told.try_next().await.unwrap().unwrap();
    std::mem::forget(told);
}

#[tokio::test]
async fn files_of_an_attempt_whose_worker_was_killed_are_deleted_with_the_commit() {
    let place = Place::new();
    place.run(lance(IfExists::Error), items(0..2)).await.unwrap();
    let schema = items([]).schema();
    let mut job = place.job(lance(IfExists::Append), &schema).await;
    let other = place.job(lance(IfExists::Append), &schema).await;
    killed(&job).await;
    job.write(vec![items(2..4)]).await.unwrap();
    // That of a job that goes on is none of its business.
    killed(&other).await;
    assert_eq!(place.names("data").len(), 4);
    let committed = job.commit().await.unwrap();
    assert_eq!(place.names("data").len(), 3);
    assert_eq!(place.names(".keyloom"), [other.id.to_string()]);
    assert_eq!(job.commit().await.unwrap(), committed);
    other.abort().await;
    assert_eq!((place.names("data").len(), place.names(".keyloom")), (2, Vec::new()));
    assert_eq!(place.rows().await, expected(0..4, "n"));
}

#[tokio::test]
async fn what_an_earlier_commit_made_visible_is_no_leftover() {
    let place = Place::new();
    let mut job = place.job(lance(IfExists::Error), &items([]).schema()).await;
    job.write(vec![items(0..2)]).await.unwrap();
    let record = place.dataset().join(".keyloom").join(job.id.to_string());
    let name = place.names(&format!(".keyloom/{}", job.id)).remove(0);
    let text = fs::read(record.join(&name)).unwrap();
    job.commit().await.unwrap();
    // The first answer was lost, and the task was done again: its record is there still.
    job.pieces.clear();
    fs::create_dir_all(&record).unwrap();
    fs::write(record.join(&name), text).unwrap();
    job.commit().await.unwrap();
    assert_eq!(place.rows().await, expected(0..2, "n"));
    assert_eq!(place.names(".keyloom"), [""; 0]);
}

#[tokio::test]
async fn pieces_whose_files_are_gone_or_shorter_are_missed() {
    let place = Place::new();
    let mut job = place.job(lance(IfExists::Error), &items([]).schema()).await;
    let mut names = Vec::new();
    for task in 0..3 {
        job.write(vec![items(task..task + 1)]).await.unwrap();
        let mut new = place.names("data");
        new.retain(|name| !names.contains(name));
        names.extend(new);
    }
    let gone = async || place.outputs.gone(job.written()).await.unwrap();
    assert_eq!(gone().await, Vec::<usize>::new());
    let path = |task: usize| place.dataset().join("data").join(&names[task]);
    fs::remove_file(path(0)).unwrap();
    fs::write(path(2), "short").unwrap();
    assert_eq!(gone().await, [0, 2]);
}

#[tokio::test]
async fn rows_that_do_not_fit_are_refused_with_the_column() {
    let place = Place::new();
    let field = |name: &str, data_type: DataType| Field::new(name, data_type, true);
    let schema = |fields: Vec<Field>| Arc::new(Schema::new(fields));
    let id = || Field::new("id", DataType::Int64, false);
    let stored = schema(vec![id(), field("name", DataType::Utf8)]);
    let job = place.job(lance(IfExists::Error), &stored).await;
    job.commit().await.unwrap();
    let refused = place.refusal(lance(IfExists::Error), &stored).await;
    assert!(refused.starts_with("there is a Lance dataset at "), "{refused}");
    let append = async |fields: Vec<Field>, words: &str| {
        let refused = place.refusal(lance(IfExists::Append), &schema(fields)).await;
        assert!(refused.contains(words), "{refused}");
    };
    append(vec![id()], "the rows have no column 'name', which the Lance dataset at ").await;
    let numbers = vec![id(), field("name", DataType::Int32)];
    append(numbers, "column 'name' of the rows has type Int32, and that of ").await;
    let more = vec![id(), field("name", DataType::Utf8), field("more", DataType::Utf8)];
    append(more, "has no column 'more'; it has 'id', 'name'").await;
    // What may be null is written as long as nothing is.
    let rows = RecordBatch::try_from_iter_with_nullable([
        ("name", Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef, true),
        ("id", Arc::new(Int64Array::from(vec![Some(7), None])) as ArrayRef, true),
    ])
    .unwrap();
    let refused = place.run(lance(IfExists::Append), rows.clone()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.message().contains("column 'id' of the Lance dataset"), "{refused}");
    place.run(lance(IfExists::Append), rows.slice(0, 1)).await.unwrap();
    assert_eq!(place.rows().await, [(7, Some("a".to_owned()))]);
}

#[tokio::test]
async fn a_folder_of_something_else_is_not_written_to() {
    let place = Place::new();
    fs::create_dir(place.dataset()).unwrap();
    fs::write(place.dataset().join("notes.txt"), "mine").unwrap();
    let refused = place.refusal(lance(IfExists::Overwrite), &items([]).schema()).await;
    assert!(refused.contains("is no Lance dataset; choose another place"), "{refused}");
}
