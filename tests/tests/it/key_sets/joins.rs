//! Joins with stores whose keys are collected: they have the rows that scans of these stores have,
//! of keys in several rows, too.

use anyhow::{Context, Result};
use arrow::array::RecordBatch;
use keyloom_client::{JoinPath, Session, load_kv, report::JobSummary, with_join_path};
use lance::Dataset;

use super::{
    FRAGMENT_ROWS, ROWS, STORED, asked, check_read_once, collects, held, keys, kinds, scanned,
    shown,
};
use crate::harness::{TestSession, batch, ints, on_all_deployments, show_rows, write_lance};

on_all_deployments! {
    joins_of_collected_keys_have_all_their_rows,
    keys_in_very_many_rows_have_them_all,
    rows_that_a_later_version_lacks_are_joined_no_more,
}

/// Numbers that stand in further rows: one in three together, and one in two.
const SEVERAL: [i64; 3] = [7, 7, 12];

/// A number that stands in so many rows that these are looked for again.
const MANY: [i64; 20] = [11; 20];

/// The numbers of a store's rows: those that all stores here have, and others.
fn numbers(others: &[i64]) -> Vec<Option<i64>> {
    let first = (0..STORED).map(|number| held(number).then_some(number));
    first.chain(others.iter().copied().map(Some)).collect()
}

fn stored(numbers: &[Option<i64>]) -> RecordBatch {
    let mut columns = keys(numbers);
    columns.push(("n", ints(0..numbers.len() as i64)));
    batch(columns)
}

/// Writes a dataset of these numbers, attaches a store of it for each kind of key, and registers
/// the table `t`, whose later tasks ask for keys that earlier ones ask for.
async fn prepare(session: &Session, uri: &str, numbers: &[Option<i64>]) -> Result<()> {
    write_lance(uri, &[stored(numbers)], FRAGMENT_ROWS).await?;
    for (alias, _, key) in kinds() {
        session.attach(load_kv(alias, scanned(uri, key))?, None).await?;
    }
    let asked: Vec<_> = (0..ROWS).map(asked).collect();
    Ok(session.register_batches("t", &[batch(keys(&asked))])?)
}

/// On what a row of `t` and one of a store `s` match.
fn condition(alias: &str) -> String {
    let columns: &[&str] = match alias {
        "by_id" => &["id"],
        "by_text" => &["text"],
        "by_bytes" => &["bytes"],
        _ => &["shop", "article"],
    };
    let equal = columns.iter().map(|column| format!("t.{column} = s.{column}"));
    equal.collect::<Vec<_>>().join(" AND ")
}

/// Ids of `t` and the rows of a store that has these numbers, by where each row stands, as joins
/// give them: the unmatched ones, too, if it is an outer one.
fn joined(numbers: &[Option<i64>], is_outer: bool) -> Vec<String> {
    let mut rows = Vec::new();
    for id in (0..ROWS).map(asked) {
        let before = rows.len();
        let matches = (0..).zip(numbers).filter(|(_, number)| id.is_some() && **number == id);
        rows.extend(matches.map(|(row, _)| (id, Some(row))));
        if is_outer && rows.len() == before {
            rows.push((id, None));
        }
    }
    rows.sort_by_key(|(id, row): &(Option<i64>, Option<i64>)| (id.is_none(), *id, *row));
    rows.into_iter().map(|(id, row)| format!("{} | {}", shown(id), shown(row))).collect()
}

/// Ids of `t` that such a store has, or lacks.
fn existing(numbers: &[Option<i64>], exists: bool) -> Vec<String> {
    let is_held = |id: &Option<i64>| id.is_some() && numbers.contains(id);
    let mut ids: Vec<_> = (0..ROWS).map(asked).filter(|id| is_held(id) == exists).collect();
    ids.sort_by_key(|id| (id.is_none(), *id));
    ids.into_iter().map(shown).collect()
}

/// Runs a statement, whose joins go this way, and compares its rows.
async fn check(
    session: &Session,
    (sql, path): (&str, JoinPath),
    expected: &[String],
) -> Result<JobSummary> {
    let query = with_join_path(session.sql(sql).await?, path);
    let mut job = session.submit(query).await.with_context(|| sql.to_owned())?;
    let rows = job.collect().await.with_context(|| sql.to_owned())?;
    assert_eq!(show_rows(&rows)?, expected, "{path}: {sql}");
    job.summary().cloned().context("the job is done")
}

/// Checks statements of all kinds with a store, by lookups of collected keys and by scans. What
/// the former did.
async fn check_all(
    session: &Session,
    alias: &str,
    numbers: &[Option<i64>],
) -> Result<Vec<JobSummary>> {
    let on = condition(alias);
    let mut jobs = Vec::new();
    for (sql, expected) in [
        (
            format!("SELECT t.id, s.n FROM t JOIN {alias} s ON {on} ORDER BY 1, 2"),
            joined(numbers, false),
        ),
        (
            format!("SELECT t.id, s.n FROM t LEFT JOIN {alias} s ON {on} ORDER BY 1, 2"),
            joined(numbers, true),
        ),
        (
            format!(
                "SELECT id FROM t WHERE EXISTS (SELECT 1 FROM {alias} s WHERE {on}) ORDER BY 1"
            ),
            existing(numbers, true),
        ),
        (
            format!(
                "SELECT id FROM t WHERE NOT EXISTS (SELECT 1 FROM {alias} s WHERE {on}) ORDER BY 1"
            ),
            existing(numbers, false),
        ),
    ] {
        let job = check(session, (sql.as_str(), JoinPath::Lookup), &expected).await?;
        assert!(collects(&job), "{}", job.plan);
        jobs.push(job);
        let job = check(session, (sql.as_str(), JoinPath::Scan), &expected).await?;
        assert!(!collects(&job), "{}", job.plan);
    }
    Ok(jobs)
}

async fn joins_of_collected_keys_have_all_their_rows(session: &TestSession) -> Result<()> {
    let numbers = numbers(&SEVERAL);
    prepare(session, &session.path("several.lance"), &numbers).await?;
    for (alias, ..) in kinds() {
        for job in check_all(session, alias, &numbers).await? {
            check_read_once(session, &job, alias, numbers.len() as i64)?;
        }
    }
    Ok(())
}

async fn keys_in_very_many_rows_have_them_all(session: &TestSession) -> Result<()> {
    let numbers = numbers(&[SEVERAL.as_slice(), &MANY].concat());
    prepare(session, &session.path("many.lance"), &numbers).await?;
    for (alias, ..) in kinds() {
        check_all(session, alias, &numbers).await?;
    }
    Ok(())
}

async fn rows_that_a_later_version_lacks_are_joined_no_more(session: &TestSession) -> Result<()> {
    let uri = session.path("later.lance");
    let mut numbers = numbers(&SEVERAL);
    prepare(session, &uri, &numbers).await?;
    check_all(session, "by_id", &numbers).await?;
    // The first of three rows of one key, and the only one of another.
    Dataset::open(&uri).await?.delete("n = 7 OR n = 14").await?;
    numbers[7] = None;
    numbers[14] = None;
    for (alias, ..) in kinds() {
        check_all(session, alias, &numbers).await?;
    }
    Ok(())
}
