//! Datasets that are removed and written anew in the same place, while sessions and workers live on
//! that knew the old ones. Versions count from 1 again.

use std::fs;

use anyhow::{Context, Result};
use arrow::array::RecordBatch;
use keyloom_client::{ErrorKind, LanceOptions, Session, Settings, load_kv};
use lance::{Dataset, dataset::WriteParams};

use super::{by, check_words, words};
use crate::harness::{
    Cluster, TestSession, batch, index, ints, on_all_deployments, on_all_deployments_and_ways,
    rows, show_rows, strings, write_lance_with,
};

on_all_deployments_and_ways! {
    new_rows_are_answered,
    new_rows_are_answered_by_stable_row_ids,
    new_rows_are_answered_by_an_index_beside_deletions,
    new_offsets_and_row_ids_are_answered,
}

on_all_deployments! {
    another_session_is_answered_by_workers_that_knew_the_old_dataset,
    a_pinned_version_is_that_of_the_new_dataset,
    a_tag_is_that_of_the_new_dataset,
    a_version_or_tag_that_is_gone_is_named,
    columns_that_fit_are_answered,
    columns_that_do_not_fit_are_named,
    a_removed_dataset_is_named,
    a_running_job_never_mixes,
}

const FRAGMENT_ROWS: usize = 30;

/// Keys that reach all workers.
const KEYS: std::ops::Range<i64> = -5..120;

fn params(enable_stable_row_ids: bool) -> WriteParams {
    let max_rows_per_file = FRAGMENT_ROWS;
    WriteParams { max_rows_per_file, enable_stable_row_ids, ..WriteParams::default() }
}

/// Removes what stands in a place, and writes a dataset there.
async fn rewrite(uri: &str, rows: RecordBatch, params: WriteParams) -> Result<Dataset> {
    if fs::exists(uri)? {
        fs::remove_dir_all(uri)?;
    }
    let dataset = write_lance_with(uri, &[rows], params).await?;
    assert_eq!(dataset.version_id(), 1);
    Ok(dataset)
}

/// Looks all keys up, of which the store has those below a number but without some.
async fn check_all(
    session: &TestSession,
    alias: &str,
    of: &str,
    until: i64,
    without: &[i64],
) -> Result<()> {
    let held = |id: &i64| (0..until).contains(id) && !without.contains(id);
    let word = |id| if held(&id) { format!("{of} {id}") } else { String::new() };
    let words: Vec<_> = KEYS.map(word).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    check_words(session, alias, KEYS, &words).await
}

/// Fewer rows, more rows, the same number of them.
const WRITINGS: [(&str, i64); 5] =
    [("first", 100), ("second", 40), ("third", 110), ("fourth", 110), ("fifth", 100)];

async fn new_rows_are_answered(session: &TestSession) -> Result<()> {
    check_rewritings(session, false).await
}

async fn new_rows_are_answered_by_stable_row_ids(session: &TestSession) -> Result<()> {
    check_rewritings(session, true).await
}

async fn check_rewritings(session: &TestSession, stable_row_ids: bool) -> Result<()> {
    let uri = session.path("words.lance");
    for (nth, (of, until)) in WRITINGS.into_iter().enumerate() {
        rewrite(&uri, words(0..until, of), params(stable_row_ids)).await?;
        // Gets the index that its ways need.
        let options = session.lance(&uri, "id").await?;
        if nth == 0 {
            session.attach(load_kv("words", options)?, None).await?;
        }
        check_all(session, "words", of, until, &[]).await?;
    }
    Ok(())
}

async fn new_rows_are_answered_by_an_index_beside_deletions(session: &TestSession) -> Result<()> {
    for stable_row_ids in [false, true] {
        let alias = if stable_row_ids { "stable" } else { "plain" };
        let uri = session.path(&format!("{alias}.lance"));
        for (nth, (of, until)) in WRITINGS.into_iter().enumerate() {
            let mut dataset = rewrite(&uri, words(0..until, of), params(stable_row_ids)).await?;
            index(&mut dataset, "id").await?;
            let gone = [until - 1, i64::try_from(nth)?];
            dataset.delete(&format!("id IN ({}, {})", gone[0], gone[1])).await?;
            assert_eq!(dataset.version_id(), 3);
            if nth == 0 {
                session.attach(load_kv(alias, session.lance(&uri, "id").await?)?, None).await?;
            }
            check_all(session, alias, of, until, &gone).await?;
            // So few keys that an index is searched for them, if nothing is forced.
            let few = [format!("{of} 20"), String::new()];
            check_words(session, alias, [20, gone[0]], &few.each_ref().map(String::as_str)).await?;
        }
    }
    Ok(())
}

async fn new_offsets_and_row_ids_are_answered(session: &TestSession) -> Result<()> {
    let uri = session.path("words.lance");
    for (nth, (of, until)) in WRITINGS.into_iter().enumerate() {
        let mut dataset = rewrite(&uri, words(0..until, of), params(true)).await?;
        dataset.delete("id = 3").await?;
        if nth == 0 {
            for (alias, key) in [("by_offset", "_offset"), ("by_row_id", "_rowid")] {
                session.attach(load_kv(alias, session.lance(&uri, key).await?)?, None).await?;
            }
        }
        let last = format!("{of} {}", until - 1);
        let words = [last, format!("{of} 4"), format!("{of} 2")];
        let [last, four, two] = words.each_ref().map(String::as_str);
        let keys = [until - 2, 3, 2, until - 1];
        check_words(session, "by_offset", keys, &[last, four, two, ""]).await?;
        let keys = [until - 1, 3, 4, 2, until];
        check_words(session, "by_row_id", keys, &[last, "", four, two, ""]).await?;
    }
    Ok(())
}

async fn another_session_is_answered_by_workers_that_knew_the_old_dataset(
    session: &TestSession,
) -> Result<()> {
    let uri = session.path("words.lance");
    rewrite(&uri, words(0..100, "first"), params(false)).await?;
    session.attach(load_kv("words", by(&uri, "id"))?, None).await?;
    check_all(session, "words", "first", 100, &[]).await?;
    let texts = (0..50).map(|id| format!("second {id}")).collect::<Vec<_>>();
    let other = batch([
        ("id", ints(0..50)),
        ("length", ints((0..50).map(|id| id * 2))),
        ("word", strings(texts.iter().map(String::as_str))),
    ]);
    rewrite(&uri, other, params(false)).await?;
    let another = session.deployment().session().await?;
    another.attach(load_kv("words", by(&uri, "id"))?, None).await?;
    check_all(&another, "words", "second", 50, &[]).await?;
    let sql = "SELECT kv_get(49, source => 'words'), kv_exists(50, source => 'words')";
    another.check(sql, &["{id: 49, length: 98, word: second 49} | false"]).await?;
    check_all(session, "words", "second", 50, &[]).await
}

async fn a_pinned_version_is_that_of_the_new_dataset(session: &TestSession) -> Result<()> {
    let uri = session.path("words.lance");
    for (nth, (of, until)) in WRITINGS.into_iter().enumerate() {
        let mut dataset = rewrite(&uri, words(0..until, of), params(false)).await?;
        dataset.delete("id = 7").await?;
        if nth == 0 {
            session.attach(load_kv("one", by(&uri, "id").version(1))?, None).await?;
            session.attach(load_kv("two", by(&uri, "id").version(2))?, None).await?;
        }
        check_all(session, "one", of, until, &[]).await?;
        check_all(session, "two", of, until, &[7]).await?;
    }
    Ok(())
}

async fn a_tag_is_that_of_the_new_dataset(session: &TestSession) -> Result<()> {
    let uri = session.path("words.lance");
    for (nth, (of, until)) in WRITINGS.into_iter().enumerate() {
        let mut dataset = rewrite(&uri, words(0..until, of), params(false)).await?;
        dataset.tags().create("live", 1).await?;
        dataset.delete("id = 7").await?;
        if nth == 0 {
            session.attach(load_kv("words", by(&uri, "id").tag("live"))?, None).await?;
        }
        check_all(session, "words", of, until, &[]).await?;
    }
    Ok(())
}

async fn a_version_or_tag_that_is_gone_is_named(session: &TestSession) -> Result<()> {
    let uri = session.path("words.lance");
    let mut dataset = rewrite(&uri, words(0..10, "first"), params(false)).await?;
    dataset.delete("id = 7").await?;
    dataset.tags().create("live", 2).await?;
    session.attach(load_kv("two", by(&uri, "id").version(2))?, None).await?;
    session.attach(load_kv("own", by(&uri, "id").tag("live"))?, "live").await?;
    for alias in ["two", "live"] {
        check_words(session, alias, [7, 8], &["", "first 8"]).await?;
    }
    rewrite(&uri, words(0..10, "second"), params(false)).await?;
    let gone = format!("no version 2 of the Lance dataset at {uri}, whose newest is 1");
    let untagged = format!("no tag 'live' on the Lance dataset at {uri}");
    for (alias, why) in [("two", gone), ("live", untagged)] {
        let sql = format!("SELECT kv_get(8, source => '{alias}')");
        let message = format!("store '{alias}' cannot be opened: {why}");
        session.check_failure(&sql, ErrorKind::NotFound, &message).await?;
    }
    Ok(())
}

/// Three columns, of which the second and the third may be others.
fn with_columns(of: &str, second: &str, third: &str) -> RecordBatch {
    let words: Vec<_> = (0..10).map(|id| format!("{of} {id}")).collect();
    batch([
        ("id", ints(0..10)),
        (second, strings(words.iter().map(String::as_str))),
        (third, ints((0..10).map(|id| id * id))),
    ])
}

async fn columns_that_fit_are_answered(session: &TestSession) -> Result<()> {
    let uri = session.path("words.lance");
    rewrite(&uri, with_columns("first", "word", "square"), params(false)).await?;
    session.attach(load_kv("words", by(&uri, "id"))?, None).await?;
    let all = "SELECT kv_get(3, source => 'words')";
    let word = "SELECT kv_get(3, source => 'words')['word']";
    let square = "SELECT kv_get(3, source => 'words', columns => ['square'])";
    let exists = "SELECT kv_exists(3, source => 'words'), kv_exists(30, source => 'words')";
    session.check(all, &["{id: 3, word: first 3, square: 9}"]).await?;
    // In another order.
    let rows = with_columns("second", "word", "square").project(&[2, 1, 0])?;
    rewrite(&uri, rows, params(false)).await?;
    session.check(all, &["{id: 3, word: second 3, square: 9}"]).await?;
    // Without one that is not asked for, and with another one.
    rewrite(&uri, with_columns("third", "word", "cube"), params(false)).await?;
    session.check(word, &["third 3"]).await?;
    session.check(exists, &["true | false"]).await?;
    rewrite(&uri, with_columns("fourth", "text", "square"), params(false)).await?;
    session.check(square, &["{square: 9}"]).await?;
    session.check(exists, &["true | false"]).await
}

async fn columns_that_do_not_fit_are_named(session: &TestSession) -> Result<()> {
    let uri = session.path("words.lance");
    rewrite(&uri, with_columns("first", "word", "square"), params(false)).await?;
    session.attach(load_kv("words", by(&uri, "id"))?, None).await?;
    let all = "SELECT kv_get(3, source => 'words')";
    session.check(all, &["{id: 3, word: first 3, square: 9}"]).await?;
    let word = "SELECT kv_get(3, source => 'words')['word']";
    let exists = "SELECT kv_exists(3, source => 'words')";
    let renamed = with_columns("second", "text", "square");
    let other_type = with_columns("third", "square", "word");
    let more = {
        let mut columns = with_columns("fourth", "word", "square").columns().to_vec();
        let names = ["id", "word", "square", "cube"];
        columns.push(ints((0..10).map(|id| id * id * id)));
        batch(names.into_iter().zip(columns))
    };
    let other_key = batch([("key", ints(0..10))]);
    let cases = [
        (renamed.clone(), word, "'word' is gone"),
        (renamed, all, "'word' is gone, 'text' is new"),
        (other_type, word, "'word' was Utf8 and is Int64"),
        (more, all, "'cube' is new"),
        (other_key, exists, "'id' is gone"),
    ];
    for (rows, sql, changes) in cases {
        rewrite(&uri, rows, params(false)).await?;
        let message = format!(
            "KV store 'words': its columns have changed since it was attached ({changes}); attach \
             it again"
        );
        session.check_failure(sql, ErrorKind::Invalid, &message).await?;
    }
    session.attach_or_replace(load_kv("words", by(&uri, "key"))?, None).await?;
    session.check(all, &["{key: 3}"]).await
}

async fn a_removed_dataset_is_named(session: &TestSession) -> Result<()> {
    let uri = session.path("words.lance");
    rewrite(&uri, words(0..10, "first"), params(false)).await?;
    let pinned = LanceOptions { version: Some(1), ..by(&uri, "id") };
    session.attach(load_kv("newest", by(&uri, "id"))?, None).await?;
    session.attach(load_kv("pinned", pinned)?, None).await?;
    for alias in ["newest", "pinned"] {
        check_words(session, alias, [8], &["first 8"]).await?;
    }
    fs::remove_dir_all(&uri)?;
    for alias in ["newest", "pinned"] {
        for call in ["kv_get", "kv_exists"] {
            let sql = format!("SELECT {call}(8, source => '{alias}', on_error => 'null')");
            let message = format!("store '{alias}' cannot be opened: no Lance dataset at {uri}");
            session.check_failure(&sql, ErrorKind::NotFound, &message).await?;
        }
    }
    rewrite(&uri, words(0..10, "second"), params(false)).await?;
    for alias in ["newest", "pinned"] {
        check_words(session, alias, [8], &["second 8"]).await?;
    }
    Ok(())
}

async fn a_running_job_never_mixes(session: &TestSession) -> Result<()> {
    const ROWS: i64 = 900;
    let uri = session.path("words.lance");
    rewrite(&uri, words(0..120, "first"), params(false)).await?;
    session.attach(load_kv("words", by(&uri, "id"))?, None).await?;
    session.register_batches("t", &[batch([("k", ints((0..ROWS).map(|n| n * 7 % 120)))])])?;
    let query = session.sql("SELECT kv_get(k, source => 'words')['word'] FROM t").await?;
    let mut job = session.submit(query.clone()).await?;
    let first = job.next_batch().await?.context("the first rows")?;
    rewrite(&uri, words(0..120, "second"), params(false)).await?;
    let answers = |of: &str| (0..ROWS).map(|n| format!("{of} {}", n * 7 % 120)).collect::<Vec<_>>();
    // Files that are open outlive their removal; a worker that opens them now says that it cannot.
    match job.collect().await {
        Ok(rest) => assert_eq!(show_rows(&[vec![first], rest].concat())?, answers("first")),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
            let message = error.message();
            assert!(message.contains("'words'") && message.contains(&uri), "{message}");
            assert!(message.ends_with("; run the job again"), "{message}");
        }
    }
    assert_eq!(rows(query).await?, answers("second"));
    Ok(())
}

/// One worker knew the old dataset, the other has started since.
#[tokio::test]
async fn a_restarted_worker_answers_as_the_others_do() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let uri = dir.path().join("words.lance").to_string_lossy().into_owned();
    let mut cluster = Cluster::start(2).await?;
    let settings = Settings { task_rows: 3, ..Settings::default() };
    let session = Session::connect_with(&cluster.address, settings).await?;
    session.register_batches("t", &[batch([("k", ints(0..100))])])?;
    for of in ["first", "second", "third"] {
        rewrite(&uri, words(0..100, of), params(false)).await?;
        if of == "first" {
            session.attach(load_kv("words", by(&uri, "id"))?, None).await?;
        }
        let query = session.sql("SELECT kv_get(k, source => 'words')['word'] FROM t").await?;
        let expected: Vec<_> = (0..100).map(|id| format!("{of} {id}")).collect();
        assert_eq!(rows(query).await?, expected);
        cluster.restart_a_worker().await?;
    }
    Ok(())
}

/// The worker that planned the job ends in its midst, and the one that takes its place finds
/// another dataset, or none.
#[tokio::test]
async fn a_job_whose_snapshot_is_gone_says_so() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let uri = dir.path().join("words.lance").to_string_lossy().into_owned();
    let few_ahead = [("KEYLOOM_COORDINATOR_SCHEDULER__MAX_TASKS_AHEAD", "12")];
    let mut cluster = Cluster::start_with(1, &few_ahead, &[]).await?;
    let settings = Settings { task_rows: 3, ..Settings::default() };
    let session = Session::connect_with(&cluster.address, settings).await?;
    session.register_batches("t", &[batch([("k", ints((0..900).map(|n| n % 100)))])])?;
    let anew = format!(
        "the Lance dataset at {uri} was written anew since the job was planned, and its version 1 \
         is another one now"
    );
    let removed = format!("version 1 is gone since the job was planned: no Lance dataset at {uri}");
    for (writes, why) in [(true, anew), (false, removed)] {
        rewrite(&uri, words(0..100, "first"), params(false)).await?;
        session.attach_or_replace(load_kv("words", by(&uri, "id"))?, None).await?;
        let query = session.sql("SELECT kv_get(k, source => 'words')['word'] FROM t").await?;
        let mut job = session.submit(query).await?;
        job.next_batch().await?.context("the first rows")?;
        fs::remove_dir_all(&uri)?;
        if writes {
            rewrite(&uri, words(0..100, "second"), params(false)).await?;
        }
        cluster.restart_a_worker().await?;
        let error = job.collect().await.err().context("it did not fail")?;
        let message = format!("store 'words' cannot be opened: {why}; run the job again");
        assert_eq!((error.kind(), error.message()), (ErrorKind::NotFound, &*message));
    }
    Ok(())
}
