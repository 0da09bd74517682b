//! Keys that a job collects before its lookups, so that each worker reads the keys of a store once
//! for all of its tasks, and not once for each.

mod joins;
mod shapes;
mod ways;

use anyhow::{Context, Result};
use arrow::array::{ArrayRef, BinaryArray, RecordBatch, StringArray};
use keyloom_client::{
    ErrorKind, KeyNames, KeyPath, LanceOptions, OnDuplicateKey, RowPath, Session, load_kv,
    report::JobSummary,
};
use lance::Dataset;

use crate::harness::{
    Deployment, TestSession, batch, column, ints, keys_scanned, on_all_deployments, run,
    write_lance,
};

on_all_deployments! {
    keys_of_all_kinds_are_read_once_a_worker,
    duplicates_are_answered_by_policy,
}

/// Rows of the store. One in ten has no key.
const STORED: i64 = 40;
const FRAGMENT_ROWS: usize = 10;

/// Rows of the tables, three a task.
const ROWS: i64 = 60;
const TASKS: u32 = 20;

/// Whether the store has the keys of a number.
fn held(number: i64) -> bool {
    (0..STORED).contains(&number) && number % 10 != 9
}

/// The number whose keys a row of `t` has, if these are not null. Some come again, the store lacks
/// some.
fn asked(row: i64) -> Option<i64> {
    (row % 8 != 5).then_some(row * 7 % 50)
}

/// What is found of a number, as rows show it.
fn found(number: Option<i64>) -> String {
    shown(number.filter(|number| held(*number)))
}

fn shown(number: Option<i64>) -> String {
    number.map_or_else(|| "NULL".to_owned(), |number| number.to_string())
}

/// What is found of the numbers of `t`.
fn all_found() -> Vec<String> {
    (0..ROWS).map(|row| found(asked(row))).collect()
}

fn texts(numbers: &[Option<i64>], text: impl Fn(i64) -> String) -> ArrayRef {
    column(numbers.iter().map(|number| number.map(&text)).collect::<StringArray>())
}

/// Keys of all kinds by numbers: some of one column, and one of two.
fn keys(numbers: &[Option<i64>]) -> Vec<(&'static str, ArrayRef)> {
    let bytes = numbers.iter().map(|number| number.map(i64::to_be_bytes));
    vec![
        ("id", ints(numbers.iter().copied())),
        ("text", texts(numbers, |number| format!("key {number}"))),
        ("bytes", column(bytes.collect::<BinaryArray>())),
        ("shop", texts(numbers, |number| format!("shop {}", number % 3))),
        // Never null: a key is, if one of its columns is.
        ("article", ints(numbers.iter().map(|number| number.unwrap_or(0) / 3))),
    ]
}

/// The rows of the store: keys, the number that they are of, and another one.
fn stored() -> RecordBatch {
    let numbers: Vec<_> = (0..STORED).map(|number| held(number).then_some(number)).collect();
    let mut columns = keys(&numbers);
    columns.push(("n", ints(0..STORED)));
    columns.push(("next", ints((0..STORED).map(next))));
    batch(columns)
}

/// Where a number leads to.
fn next(number: i64) -> i64 {
    number * 3 % 45
}

/// Options of a store whose keys are scanned.
fn scanned(uri: &str, key: impl Into<KeyNames>) -> LanceOptions {
    LanceOptions::new(uri).key(key).key_path(KeyPath::Scan)
}

/// Stores by each kind of key, and how a row of `t` asks them.
fn kinds() -> [(&'static str, &'static str, KeyNames); 4] {
    [
        ("by_id", "id", KeyNames::from("id")),
        ("by_text", "text", KeyNames::from("text")),
        ("by_bytes", "bytes", KeyNames::from("bytes")),
        ("by_pair", "struct(shop, article)", KeyNames::from(["shop", "article"])),
    ]
}

/// Attaches a store for each kind of key, and registers the tables `t`, which has keys of all
/// kinds, and `plain`, which has the ids from 0.
async fn prepare(session: &Session, uri: &str) -> Result<()> {
    write_lance(uri, &[stored()], FRAGMENT_ROWS).await?;
    for (alias, _, key) in kinds() {
        session.attach(load_kv(alias, scanned(uri, key))?, None).await?;
    }
    let numbers: Vec<_> = (0..ROWS).map(asked).collect();
    session.register_batches("t", &[batch(keys(&numbers))])?;
    session.register_batches("plain", &[batch([("id", ints(0..ROWS))])])?;
    Ok(())
}

/// Runs a query, compares its rows, and tells what it did.
async fn check(session: &Session, sql: &str, expected: &[String]) -> Result<JobSummary> {
    let (rows, job) = run(session, sql).await.with_context(|| sql.to_owned())?;
    assert_eq!(rows, expected, "{sql}");
    Ok(job)
}

/// Whether a job's plan collects keys.
fn collects(job: &JobSummary) -> bool {
    job.plan.contains("mode=Partial, gby=[key@0 as key]")
}

/// Checks that a job collected its keys, and that no worker read more keys of a store than these.
fn check_read_once(session: &TestSession, job: &JobSummary, alias: &str, keys: i64) -> Result<()> {
    assert!(collects(job), "{}", job.plan);
    // Those of this process share what they read.
    let workers = match session.deployment() {
        Deployment::Embedded => 1,
        Deployment::Workers(_) => u64::from(job.workers),
    };
    let (keys, scanned) = (keys as u64, keys_scanned(job, alias)?);
    let bounds = keys..=keys * workers;
    assert!(bounds.contains(&scanned), "{scanned} keys of {alias}: {}", job.plan);
    Ok(())
}

async fn keys_of_all_kinds_are_read_once_a_worker(session: &TestSession) -> Result<()> {
    let uri = session.path("keys.lance");
    prepare(session, &uri).await?;
    let answer = |row| match asked(row) {
        None => "NULL | NULL".to_owned(),
        number => format!("{} | {}", found(number), number.is_some_and(held)),
    };
    let expected: Vec<_> = (0..ROWS).map(answer).collect();
    for row_path in [RowPath::Take, RowPath::Scan] {
        for (alias, key, names) in kinds() {
            let options = scanned(&uri, names).row_path(row_path);
            session.attach_or_replace(load_kv(alias, options)?, None).await?;
            let sql = format!(
                "SELECT kv_get({key}, source => '{alias}', on_error => 'null')['n'], \
                 kv_exists({key}, source => '{alias}') FROM t"
            );
            let job = check(session, &sql, &expected).await?;
            assert!(job.tasks > TASKS, "{} tasks", job.tasks);
            check_read_once(session, &job, alias, STORED)?;
        }
    }
    Ok(())
}

async fn duplicates_are_answered_by_policy(session: &TestSession) -> Result<()> {
    const TWICE: i64 = 7;
    const HELD: i64 = 30;
    let uri = session.path("twice.lance");
    // The last row has the key of the eighth, which is in another fragment.
    let rows = batch([("id", ints((0..HELD).chain([TWICE]))), ("n", ints(0..=HELD))]);
    write_lance(&uri, &[rows], FRAGMENT_ROWS).await?;
    let ids = || (0..ROWS).map(|row| row * 7 % 40);
    session.register_batches("t", &[batch([("id", ints(ids()))])])?;
    for (alias, policy) in [
        ("first", OnDuplicateKey::First),
        ("last", OnDuplicateKey::Last),
        ("error", OnDuplicateKey::Error),
    ] {
        let options = scanned(&uri, "id").on_duplicate_key(policy);
        session.attach(load_kv(alias, options)?, None).await?;
    }
    let sql = |alias: &str, rows: &str| {
        format!("SELECT kv_get(id, source => '{alias}', on_error => 'null')['n'] FROM t{rows}")
    };
    // Where the key that stands in two rows is found with this number, or is not asked for.
    let expected = |twice: Option<i64>| {
        let numbers = ids().filter_map(move |id| match id {
            TWICE => twice.map(Some),
            _ => Some((id < HELD).then_some(id)),
        });
        numbers.map(shown).collect::<Vec<_>>()
    };
    for (alias, rows, twice) in
        [("first", "", Some(TWICE)), ("last", "", Some(HELD)), ("error", " WHERE id <> 7", None)]
    {
        let job = check(session, &sql(alias, rows), &expected(twice)).await?;
        check_read_once(session, &job, alias, HELD + 1)?;
    }
    let message = "key 7 stands in several rows of KV store 'error'; set on_duplicate_key to \
                   'first' or 'last'";
    session.check_failure(&sql("error", ""), ErrorKind::Invalid, message).await?;
    // Without the first of the two rows, all agree.
    Dataset::open(&uri).await?.delete("n = 7").await?;
    for alias in ["first", "last", "error"] {
        let job = check(session, &sql(alias, ""), &expected(Some(HELD))).await?;
        check_read_once(session, &job, alias, HELD + 1)?;
    }
    Ok(())
}
