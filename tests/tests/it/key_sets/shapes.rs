//! Queries of many shapes: keys of untaken branches, unions, lookups of lookups, lists, keys that
//! change with every call, and limits.

use anyhow::{Context, Result};
use keyloom_client::load_kv;

use super::{
    ROWS, STORED, TASKS, all_found, asked, check, check_read_once, collects, found, held, next,
    prepare, scanned, shown,
};
use crate::harness::{TestSession, keys_scanned, on_all_deployments};

on_all_deployments! {
    keys_of_untaken_branches_are_not_collected,
    branches_of_a_union_read_the_keys_together,
    keys_of_a_lookup_of_a_lookup_are_found,
    keys_in_dictionaries_are_collected,
    keys_in_lists_are_not_collected,
    keys_that_change_with_every_call_are_not_collected,
    keys_that_change_with_every_reading_of_rows_are_found,
    limits_above_and_below_keep_their_rows,
}

const FOUND: &str = "kv_get(id, source => 'by_id', on_error => 'null')['n']";

async fn keys_of_untaken_branches_are_not_collected(session: &TestSession) -> Result<()> {
    prepare(session, &session.path("keys.lance")).await?;
    // Any other key would fail the job.
    let sql = "SELECT CASE WHEN id < 40 AND id % 10 <> 9 THEN kv_get(id, source => 'by_id')['n'] \
               END FROM t";
    let job = check(session, sql, &all_found()).await?;
    check_read_once(session, &job, "by_id", STORED)?;
    assert_eq!(job.stores["by_id"].misses, 0);

    // As would a division by zero, which the first row's key is.
    let sql = "SELECT CASE WHEN id <> 0 THEN kv_get(36 / id, source => 'by_id', on_error => \
               'null')['n'] END FROM plain";
    let answer = |id: i64| found((id != 0).then(|| 36 / id));
    let job = check(session, sql, &(0..ROWS).map(answer).collect::<Vec<_>>()).await?;
    check_read_once(session, &job, "by_id", STORED)?;

    // Two calls, each for some rows of its own.
    let sql = format!(
        "SELECT CASE WHEN id % 3 = 0 THEN {FOUND} END, CASE WHEN id % 3 = 1 THEN kv_exists(id, \
         source => 'by_id') END FROM plain"
    );
    let answer = |id: i64| match id % 3 {
        0 => format!("{} | NULL", found(Some(id))),
        1 => format!("NULL | {}", held(id)),
        _ => "NULL | NULL".to_owned(),
    };
    let job = check(session, &sql, &(0..ROWS).map(answer).collect::<Vec<_>>()).await?;
    check_read_once(session, &job, "by_id", STORED)?;
    assert_eq!(job.stores["by_id"].keys, 40);

    let sql = format!("SELECT CASE WHEN id < 0 THEN {FOUND} END FROM plain");
    let nothing: Vec<_> = (0..ROWS).map(|_| shown(None)).collect();
    check(session, &sql, &nothing).await.map(drop)
}

async fn branches_of_a_union_read_the_keys_together(session: &TestSession) -> Result<()> {
    prepare(session, &session.path("keys.lance")).await?;
    let first = format!("SELECT {FOUND} AS n FROM t");
    let sql = format!(
        "{first} UNION ALL SELECT kv_get(id - 5, source => 'by_id', on_error => 'null')['n'] AS n \
         FROM plain"
    );
    let second = (0..ROWS).map(|id| found(Some(id - 5)));
    let expected: Vec<_> = all_found().into_iter().chain(second).collect();
    let job = check(session, &sql, &expected).await?;
    check_read_once(session, &job, "by_id", STORED)?;

    let sql = format!(
        "{first} UNION ALL SELECT kv_get(text, source => 'by_text', on_error => 'null')['n'] AS n \
         FROM t"
    );
    let job = check(session, &sql, &[all_found(), all_found()].concat()).await?;
    for alias in ["by_id", "by_text"] {
        check_read_once(session, &job, alias, STORED)?;
    }
    Ok(())
}

async fn keys_of_a_lookup_of_a_lookup_are_found(session: &TestSession) -> Result<()> {
    let uri = session.path("keys.lance");
    prepare(session, &uri).await?;
    session.attach(load_kv("ends", scanned(&uri, "id"))?, None).await?;
    let numbers = || (0..ROWS).map(|row| asked(row).filter(|number| held(*number)));
    let sql = "SELECT kv_get(kv_get(id, source => 'by_id', on_error => 'null')['next'], source => \
               'ends', on_error => 'null')['n'] FROM t";
    let expected: Vec<_> = numbers().map(|number| found(number.map(next))).collect();
    let job = check(session, sql, &expected).await?;
    check_read_once(session, &job, "by_id", STORED)?;
    // The second is asked only what the first has, or it would fail.
    let sql = "SELECT CASE WHEN kv_exists(id, source => 'by_id') THEN kv_get(id, source => \
               'ends')['n'] END FROM t";
    let job = check(session, sql, &numbers().map(shown).collect::<Vec<_>>()).await?;
    check_read_once(session, &job, "by_id", STORED)
}

async fn keys_in_dictionaries_are_collected(session: &TestSession) -> Result<()> {
    prepare(session, &session.path("keys.lance")).await?;
    let dictionary = |key: &str| format!("arrow_cast({key}, 'Dictionary(Int8, Utf8)')");
    let pair = format!("named_struct('shop', {}, 'article', article)", dictionary("shop"));
    for (alias, key) in [("by_text", dictionary("text")), ("by_pair", pair)] {
        let sql =
            format!("SELECT kv_get({key}, source => '{alias}', on_error => 'null')['n'] FROM t");
        let job = check(session, &sql, &all_found()).await?;
        check_read_once(session, &job, alias, STORED)?;
    }
    Ok(())
}

async fn keys_in_lists_are_not_collected(session: &TestSession) -> Result<()> {
    prepare(session, &session.path("keys.lance")).await?;
    let sql = "SELECT kv_batch_get([id, id + 1], source => 'by_id', columns => ['n'], on_error => \
               'null') FROM plain";
    let row = |id: i64| if held(id) { format!("{{n: {id}}}") } else { "NULL".to_owned() };
    let expected: Vec<_> = (0..ROWS).map(|id| format!("[{}, {}]", row(id), row(id + 1))).collect();
    let job = check(session, sql, &expected).await?;
    assert!(!collects(&job), "{}", job.plan);
    Ok(())
}

async fn keys_that_change_with_every_call_are_not_collected(session: &TestSession) -> Result<()> {
    prepare(session, &session.path("keys.lance")).await?;
    let sql = "SELECT kv_get(CASE WHEN random() < 2 THEN id END, source => 'by_id', on_error => \
               'null')['n'] FROM t";
    let job = check(session, sql, &all_found()).await?;
    assert!(!collects(&job), "{}", job.plan);
    // So each task reads all keys.
    let requests = job.stores["by_id"].requests;
    assert!(requests >= u64::from(TASKS), "{requests} requests");
    assert_eq!(keys_scanned(&job, "by_id")?, STORED as u64 * requests);
    Ok(())
}

/// The rows below the lookup are others each time that they are read, so that whatever would be
/// collected is not what is asked.
async fn keys_that_change_with_every_reading_of_rows_are_found(
    session: &TestSession,
) -> Result<()> {
    prepare(session, &session.path("keys.lance")).await?;
    let sql = "SELECT k, kv_get(k, source => 'by_id', on_error => 'null')['n'] FROM (SELECT \
               CAST(random() * 50 AS BIGINT) AS k FROM plain)";
    let rows = session.rows(sql).await?;
    assert_eq!(rows.len(), ROWS as usize);
    for row in rows {
        let (key, number) = row.split_once(" | ").context("two columns")?;
        assert_eq!(number, found(Some(key.parse()?)), "{row}");
    }
    Ok(())
}

async fn limits_above_and_below_keep_their_rows(session: &TestSession) -> Result<()> {
    prepare(session, &session.path("keys.lance")).await?;
    let all = all_found();
    let known: Vec<_> = (0..ROWS).filter_map(asked).filter(|number| held(*number)).collect();
    let known: Vec<_> = known.into_iter().map(|number| shown(Some(number))).collect();
    let last: Vec<_> = (ROWS - 30..ROWS).rev().map(|id| found(Some(id))).collect();
    let cases = [
        (format!("SELECT {FOUND} FROM (SELECT id FROM t LIMIT 10)"), &all[..10]),
        (format!("SELECT {FOUND} FROM (SELECT id FROM t LIMIT 10 OFFSET 7)"), &all[7..17]),
        (format!("SELECT {FOUND} FROM t LIMIT 10"), &all[..10]),
        (format!("SELECT {FOUND} FROM t LIMIT 10 OFFSET 7"), &all[7..17]),
        (format!("SELECT {FOUND} FROM t LIMIT 0"), &all[..0]),
        (
            format!("SELECT n FROM (SELECT {FOUND} AS n FROM t) WHERE n >= 0 LIMIT 5 OFFSET 2"),
            &known[2..7],
        ),
        (
            format!("SELECT {FOUND} FROM (SELECT id FROM plain ORDER BY id DESC LIMIT 30)"),
            &last[..],
        ),
    ];
    for (sql, expected) in cases {
        check(session, &sql, expected).await?;
    }
    Ok(())
}
