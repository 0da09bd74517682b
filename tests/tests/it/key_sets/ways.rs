//! Where keys are collected though nothing forces a scan, and where a scan goes without them; and
//! what EXPLAIN says of it.

use std::sync::Arc;

use anyhow::Result;
use keyloom_client::{
    EmbeddedSettings, ErrorKind, JoinPath, LanceOptions, OnDuplicateKey, Session, Settings, load_kv,
};
use lance::{
    Dataset,
    dataset::{WriteDestination, WriteParams, transaction::Operation},
};
use tempfile::TempDir;

use super::{
    FRAGMENT_ROWS, ROWS, STORED, TASKS, all_found, asked, check, collects, prepare, shown,
};
use crate::harness::{Cluster, batch, failure, ints, keys_scanned, write_lance, write_lance_with};

const SQL: &str = "SELECT kv_get(id, source => 'by_id', on_error => 'null')['n'] FROM t";

/// Settings of a session of two workers, by which `t` is twenty tasks.
fn settings() -> EmbeddedSettings {
    let session = Settings { task_rows: 3, ..Settings::default() };
    EmbeddedSettings { workers: Some(2), session, ..EmbeddedSettings::default() }
}

/// Where the store of a test is.
fn store_in(dir: &TempDir) -> String {
    dir.path().join("keys.lance").to_string_lossy().into_owned()
}

/// Registers `t` with its ids alone.
fn register_ids(session: &Session) -> Result<()> {
    Ok(session.register_batches("t", &[batch([("id", ints((0..ROWS).map(asked)))])])?)
}

/// What a store answers that has all ids of `t`, each as its number.
fn all_asked() -> Vec<String> {
    (0..ROWS).map(|row| shown(asked(row))).collect()
}

/// Checks that a session's jobs do without collected keys: each request reads all keys.
async fn check_without(session: &Session) -> Result<()> {
    let dir = tempfile::tempdir()?;
    prepare(session, &store_in(&dir)).await?;
    let job = check(session, SQL, &all_found()).await?;
    let requests = job.stores["by_id"].requests;
    assert!(requests >= u64::from(TASKS), "{requests} requests");
    assert_eq!(keys_scanned(&job, "by_id")?, STORED as u64 * requests);
    Ok(())
}

#[tokio::test]
async fn lookups_do_without_keys_that_are_more_than_may_be_collected() -> Result<()> {
    for most in [0, 1] {
        let mut settings = settings();
        settings.coordinator.max_key_set_bytes = most;
        check_without(&Session::embedded_with(settings).await?).await?;
    }
    let env = [("KEYLOOM_COORDINATOR_MAX_KEY_SET_BYTES", "1")];
    let cluster = Cluster::start_with(2, &env, &[]).await?;
    check_without(&Session::connect_with(&cluster.address, settings().session).await?).await
}

#[tokio::test]
async fn explain_shows_that_keys_are_scanned_and_how_many_were_read() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let session = Session::embedded_with(settings()).await?;
    prepare(&session, &store_in(&dir)).await?;
    let plan = session.explain(session.sql(SQL).await?, false).await?;
    assert!(plan.contains(" by id@0 via scan+"), "{plan}");
    assert!(plan.contains(&format!(" ({ROWS} keys of {STORED} rows, ")), "{plan}");
    assert!(plan.contains(", key path forced"), "{plan}");
    let plan = session.explain(session.sql(SQL).await?, true).await?;
    assert!(plan.contains(" by id@0 via scan+"), "{plan}");
    assert!(plan.contains("AggregateExec: mode=Partial, gby=[key@0 as key]"), "{plan}");
    assert_eq!(plan.matches(&format!("keys_scanned={STORED}")).count(), 1, "{plan}");
    Ok(())
}

/// No map of the keys is ever made, so that each job reads them.
#[tokio::test]
async fn keys_are_collected_where_a_map_would_be_too_large() -> Result<()> {
    const HELD: i64 = 1_000;
    let dir = tempfile::tempdir()?;
    let uri = store_in(&dir);
    let rows = batch([("id", ints(0..HELD)), ("n", ints(0..HELD))]);
    write_lance(&uri, &[rows], 25 * FRAGMENT_ROWS).await?;
    let mut settings = settings();
    settings.worker.store.max_key_map_bytes = 10_000;
    let session = Session::embedded_with(settings).await?;
    session.attach(load_kv("by_id", LanceOptions::new(uri.as_str()).key("id"))?, None).await?;
    register_ids(&session)?;
    let plan = session.explain(session.sql(SQL).await?, false).await?;
    assert!(plan.contains(" via scan+"), "{plan}");
    assert!(plan.contains(", key map of 12.7 KiB over 10000 B"), "{plan}");
    for _ in 0..5 {
        let job = check(&session, SQL, &all_asked()).await?;
        assert!(collects(&job), "{}", job.plan);
        assert_eq!(keys_scanned(&job, "by_id")?, HELD as u64);
    }
    Ok(())
}

/// Rows of a file, and how many fragments have that file: together just so many rows that a scan
/// for few keys is chosen.
const FILE_ROWS: i64 = 1 << 18;
const FRAGMENTS: usize = 64;

/// Writes ids that stand in each fragment.
async fn write_many(uri: &str) -> Result<()> {
    let rows = batch([("id", ints(0..FILE_ROWS)), ("n", ints(0..FILE_ROWS))]);
    let dataset = write_lance_with(uri, &[rows], WriteParams::default()).await?;
    assert_eq!(dataset.fragments().len(), 1);
    let fragment = dataset.fragments()[0].clone();
    let append = Operation::Append { fragments: vec![fragment; FRAGMENTS - 1] };
    let version = dataset.version_id();
    let dataset = WriteDestination::Dataset(Arc::new(dataset));
    let committed =
        Dataset::commit(dataset, append, Some(version), None, None, Arc::default(), false);
    assert_eq!(committed.await?.fragments().len(), FRAGMENTS);
    Ok(())
}

async fn open_many(session: Session, uri: &str) -> Result<Session> {
    let options = LanceOptions::new(uri).key("id").on_duplicate_key(OnDuplicateKey::First);
    session.attach(load_kv("by_id", options)?, None).await?;
    register_ids(&session)?;
    Ok(session)
}

#[tokio::test]
async fn keys_are_collected_where_a_store_is_much_larger_than_a_job() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let uri = store_in(&dir);
    write_many(&uri).await?;
    let session = open_many(Session::embedded_with(settings()).await?, &uri).await?;
    let rows = FILE_ROWS * FRAGMENTS as i64;
    let plan = session.explain(session.sql(SQL).await?, false).await?;
    assert!(plan.contains(&format!(" via scan+take ({ROWS} keys of {rows} rows, ")), "{plan}");
    assert!(plan.contains(", keys collected first"), "{plan}");
    let job = check(&session, SQL, &all_asked()).await?;
    assert!(collects(&job), "{}", job.plan);
    assert_eq!(keys_scanned(&job, "by_id")?, rows as u64);

    // Where a map would stay, one is made.
    let mut settings = settings();
    settings.worker.store.key_maps_dir = Some(dir.path().join("maps"));
    let session = open_many(Session::embedded_with(settings).await?, &uri).await?;
    let plan = session.explain(session.sql(SQL).await?, false).await?;
    assert!(plan.contains(&format!(" via map+take ({ROWS} keys of {rows} rows, ")), "{plan}");
    Ok(())
}

#[tokio::test]
async fn a_join_with_a_store_of_a_few_million_rows_makes_a_map_that_later_ones_find() -> Result<()>
{
    const ROWS_OF_STORE: i64 = 1 << 21;
    let mut settings = settings();
    settings.session.join_path = JoinPath::Lookup;
    let (dir, session) = (tempfile::tempdir()?, Session::embedded_with(settings).await?);
    let uri = store_in(&dir);
    let rows = batch([("id", ints(0..ROWS_OF_STORE)), ("n", ints(0..ROWS_OF_STORE))]);
    write_lance_with(&uri, &[rows], WriteParams::default()).await?;
    let session = open_many(session, &uri).await?;
    // Of other keys each time, as a job knows those of one before.
    for (job, scanned) in [(0, ROWS_OF_STORE), (1, 0)] {
        let sql = format!("SELECT s.n FROM t LEFT JOIN by_id s ON t.id + {job} = s.id");
        let expected: Vec<_> = (0..ROWS).map(|row| shown(asked(row).map(|id| id + job))).collect();
        let summary = check(&session, &sql, &expected).await?;
        assert!(!collects(&summary), "{job}: {}", summary.plan);
        assert_eq!(keys_scanned(&summary, "by_id")?, scanned as u64, "{job}");
    }
    Ok(())
}

/// Checks that EXPLAIN promises no keys where none are collected.
async fn check_promises_none(session: Session, uri: &str) -> Result<()> {
    let session = open_many(session, uri).await?;
    let plan = session.explain(session.sql(SQL).await?, false).await?;
    assert!(plan.contains(&format!(" via map+take ({ROWS} keys of ")), "{plan}");
    assert!(!plan.contains("keys collected first"), "{plan}");
    Ok(())
}

#[tokio::test]
async fn explain_promises_no_keys_where_the_coordinator_collects_none() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let uri = store_in(&dir);
    write_many(&uri).await?;
    let mut none = settings();
    none.coordinator.max_key_set_bytes = 0;
    check_promises_none(Session::embedded_with(none).await?, &uri).await?;
    let env = [("KEYLOOM_COORDINATOR_MAX_KEY_SET_BYTES", "0")];
    let cluster = Cluster::start_with(1, &env, &[]).await?;
    let session = Session::connect_with(&cluster.address, settings().session).await?;
    check_promises_none(session, &uri).await
}

/// A job of just so many tasks as it may have collects its keys with as many more.
#[tokio::test]
async fn tasks_that_collect_keys_take_nothing_of_what_a_job_may_have() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut just = settings();
    just.coordinator.max_tasks_per_job = TASKS;
    let session = Session::embedded_with(just).await?;
    prepare(&session, &store_in(&dir)).await?;
    let job = check(&session, SQL, &all_found()).await?;
    assert!(collects(&job), "{}", job.plan);
    assert_eq!(job.tasks, 2 * TASKS);

    let mut fewer = settings();
    fewer.coordinator.max_tasks_per_job = TASKS - 1;
    let (session, other) = (Session::embedded_with(fewer).await?, tempfile::tempdir()?);
    prepare(&session, &store_in(&other)).await?;
    let error = failure(session.sql(SQL).await?).await?;
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
    assert!(error.message().contains("more than max_tasks_per_job = 19 tasks"), "{error}");
    Ok(())
}
