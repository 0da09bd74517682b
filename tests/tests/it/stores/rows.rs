//! Rows of Lance datasets: which a key finds, and that all of its columns are of that row.

use std::ops::Range;

use anyhow::Result;
use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{Int64Type, UInt64Type},
};
use keyloom_client::{ErrorKind, load_kv};
use lance::{
    Dataset,
    dataset::{
        WriteParams,
        optimize::{CompactionOptions, compact_files},
    },
};

use crate::harness::{
    TestSession, batch, ints, on_all_deployments_and_ways, strings, write_lance, write_lance_with,
};

on_all_deployments_and_ways! {
    stable_row_ids_outlive_compaction,
    null_keys_of_the_dataset_are_never_found,
    duplicate_keys_are_refused_when_looked_up,
    all_columns_of_a_row_are_of_one_row,
    columns_are_named_as_they_are_written,
    a_store_that_vanishes_fails_the_job_in_both_modes,
}

/// Ids of a range, each with a word.
fn words(ids: Range<i64>) -> RecordBatch {
    let words: Vec<_> = ids.clone().map(word).collect();
    batch([("id", ints(ids)), ("word", strings(words.iter().map(String::as_str)))])
}

fn word(id: i64) -> String {
    format!("word {id}")
}

async fn compact(dataset: &mut Dataset) -> Result<()> {
    compact_files(dataset, CompactionOptions::default(), None).await?;
    Ok(())
}

/// Rows 0 to 29 in three fragments, attached by id.
async fn attach_words(session: &TestSession) -> Result<Dataset> {
    let uri = session.path("words.lance");
    let dataset = write_lance(&uri, &[words(0..30)], 10).await?;
    assert_eq!(dataset.get_fragments().len(), 3);
    session.attach(load_kv("words", session.lance(&uri, "id").await?)?, "words").await?;
    Ok(dataset)
}

/// Lance's row ids of all live rows with their ids.
async fn row_ids(dataset: &Dataset) -> Result<Vec<(i64, u64)>> {
    let mut scan = dataset.scan();
    let rows = scan.project(&["id"])?.with_row_id().try_into_batch().await?;
    let ids = rows["id"].as_primitive::<Int64Type>().values().iter().copied();
    let row_ids = rows["_rowid"].as_primitive::<UInt64Type>().values().iter().copied();
    Ok(ids.zip(row_ids).collect())
}

async fn stable_row_ids_outlive_compaction(session: &TestSession) -> Result<()> {
    let uri = session.path("words.lance");
    let params =
        WriteParams { max_rows_per_file: 10, enable_stable_row_ids: true, ..Default::default() };
    let mut dataset = write_lance_with(&uri, &[words(0..30)], params).await?;
    let all = row_ids(&dataset).await?;
    session.attach(load_kv("words", session.lance(&uri, "_rowid").await?)?, "words").await?;
    let keys = all.iter().rev().map(|(_, row_id)| *row_id as i64);
    session.register_batches("t", &[batch([("k", ints(keys))])])?;
    let sql = "SELECT kv_get(k, source => 'words', on_error => 'null')['id'] FROM t";
    let all: Vec<_> = (0..30).rev().map(|id: i64| id.to_string()).collect();
    assert_eq!(session.rows(sql).await?, all);
    dataset.delete("id < 10 AND id <> 4").await?;
    compact(&mut dataset).await?;
    let left = (0..30).rev().map(|id: i64| match id {
        4 | 10.. => id.to_string(),
        _ => "NULL".to_owned(),
    });
    assert_eq!(session.rows(sql).await?, left.collect::<Vec<_>>());
    Ok(())
}

async fn null_keys_of_the_dataset_are_never_found(session: &TestSession) -> Result<()> {
    let rows = batch([("id", ints([Some(1), None, None, Some(2)])), ("n", ints(0..4))]);
    session.attach_lance("words", rows, "id").await?;
    session.register_batches("t", &[batch([("k", ints([None, Some(2), Some(0), Some(1)]))])])?;
    session
        .check(
            "SELECT kv_get(k, source => 'words', on_error => 'null')['n'] FROM t",
            &["NULL", "3", "NULL", "0"],
        )
        .await
}

/// Two rows of `b` in one fragment, one in another; two of `c` in two fragments.
fn doubles() -> RecordBatch {
    let ids = strings(["a", "b", "b", "c", "c", "b"]);
    batch([("id", ids), ("n", ints(0..6))])
}

async fn duplicate_keys_are_refused_when_looked_up(session: &TestSession) -> Result<()> {
    session.attach_lance("words", doubles(), "id").await?;
    session.register_batches("t", &[batch([("k", strings(["a", "c"]))])])?;
    // A key that stands in one row is no matter.
    session.check("SELECT kv_get(k, source => 'words')['n'] FROM t WHERE k = 'a'", &["0"]).await?;
    for mode in ["raise", "null"] {
        session
            .check_failure(
                &format!("SELECT kv_get(k, source => 'words', on_error => '{mode}') FROM t"),
                ErrorKind::Invalid,
                "key c stands in several rows of KV store 'words'; set on_duplicate_key to \
                 'first' or 'last'",
            )
            .await?;
    }
    Ok(())
}

async fn all_columns_of_a_row_are_of_one_row(session: &TestSession) -> Result<()> {
    const ROWS: i64 = 500;
    let ids = || (0..ROWS).map(|n| n * 7919 % ROWS);
    let rows = batch([
        ("double", ints(ids().map(|id| id * 2))),
        ("id", ints(ids())),
        ("square", ints(ids().map(|id| id * id))),
    ]);
    let uri = session.path("wide.lance");
    write_lance(&uri, &[rows], 37).await?;
    session.attach(load_kv("wide", session.lance(uri, "id").await?)?, "wide").await?;
    session.register_batches("t", &[batch([("k", ints((0..ROWS).map(|n| n * 31 % ROWS)))])])?;
    let expected = (0..ROWS).map(|n| n * 31 % ROWS);
    let expected =
        expected.map(|id| format!("{{square: {}, double: {}, id: {id}}}", id * id, id * 2));
    let sql = "SELECT kv_get(k, source => 'wide', columns => ['square', 'double', 'id']) FROM t";
    assert_eq!(session.rows(sql).await?, expected.collect::<Vec<_>>());
    Ok(())
}

async fn columns_are_named_as_they_are_written(session: &TestSession) -> Result<()> {
    let rows = batch([
        ("Id", ints([1])),
        ("two words", strings(["a"])),
        ("it's", strings(["b"])),
        ("id", strings(["c"])),
    ]);
    session.attach_lance("lance", rows.clone(), "Id").await?;
    session.attach_memory("memory", rows, "Id").await?;
    session.register_batches("t", &[batch([("k", ints([1]))])])?;
    for store in ["lance", "memory"] {
        session
            .check(
                &format!(
                    "SELECT v, v['two words'], v['it''s'], v['id'] FROM (SELECT kv_get(k, source \
                     => '{store}', columns => ['it''s', 'id', 'two words', 'Id']) AS v FROM t)"
                ),
                &["{it's: b, id: c, two words: a, Id: 1} | a | b | c"],
            )
            .await?;
    }
    Ok(())
}

async fn a_store_that_vanishes_fails_the_job_in_both_modes(session: &TestSession) -> Result<()> {
    let dataset = attach_words(session).await?;
    session.register_batches("t", &[batch([("k", ints([5]))])])?;
    let data = std::path::Path::new(&session.path("words.lance")).join("data");
    std::fs::remove_dir_all(data)?;
    drop(dataset);
    for mode in ["raise", "null"] {
        let sql = format!("SELECT kv_get(k, source => 'words', on_error => '{mode}') FROM t");
        let error = session.failure(&sql).await?;
        assert!(error.message().contains("KV store 'words' cannot be read"), "{error}");
    }
    Ok(())
}
