//! Rows that are grouped by what they look up, which are grouped by their keys first: the same
//! answers and the same counts as of rows that are looked up one by one.

use anyhow::{Context, Result};
use keyloom_client::{
    ErrorKind, GroupKeys, JobOptions, JoinPath, MaxMisses, report::StoreStats, with_group_keys,
    with_join_path,
};

use crate::harness::{
    TestSession, batch, failure, ints, on_all_deployments, rows, show_rows, strings,
};

on_all_deployments! {
    groups_by_keys_first_give_the_same_groups_and_counts,
    what_cannot_be_grouped_by_keys_first_is_as_usual,
    misses_are_limited_and_kept_by_rows,
}

const ROWS: i64 = 200;

/// Keys of 30, of which every tenth row has none.
fn key(row: i64) -> Option<i64> {
    (row % 10 != 4).then_some(row * 7 % 30)
}

async fn prepare(session: &TestSession) -> Result<()> {
    let kinds = ["a", "b", "c"];
    let part = |rows: std::ops::Range<i64>| {
        batch([
            ("k", ints(rows.clone().map(key))),
            ("kind", strings(rows.clone().map(|row| kinds[(row % 3) as usize]))),
            ("v", ints(rows.map(|row| (row % 6 != 0).then_some(row - 90)))),
        ])
    };
    session.register_batches("t", &[part(0..90), part(90..ROWS)])?;
    // Keys from 24 on are missing, and four have each name.
    let names: Vec<_> = (0..24).map(|id| format!("name {}", id / 4)).collect();
    let names = strings(names.iter().map(String::as_str));
    let store = batch([("id", ints(0..24)), ("name", names), ("next", ints((0..24_i64).rev()))]);
    session.attach_memory("s", store, "id").await?;
    Ok(session.set_kv(Some("s"))?)
}

/// What is told of keys, whatever is looked up together.
fn counts(stats: &StoreStats) -> [u64; 4] {
    [stats.keys, stats.job_keys, stats.missed_rows, stats.missed_keys]
}

/// The rows of a statement and what was counted of its keys.
async fn run(session: &TestSession, sql: &str, keys: GroupKeys) -> Result<(Vec<String>, [u64; 4])> {
    let query = with_group_keys(session.sql(sql).await?, keys);
    let mut job = session.submit(query).await?;
    let rows = show_rows(&job.collect().await?)?;
    let summary = job.summary().context("the job is done")?;
    Ok((rows, counts(&summary.stores["s"])))
}

async fn is_grouped(session: &TestSession, sql: &str) -> Result<bool> {
    let query = with_group_keys(session.sql(sql).await?, GroupKeys::Always);
    Ok(session.explain(query, false).await?.contains(": rows of "))
}

async fn check(session: &TestSession, sql: &str, expected_grouped: bool) -> Result<()> {
    let expected = run(session, sql, GroupKeys::Never).await?;
    assert!(expected.0.len() > 1, "{sql}: {expected:?}");
    assert_eq!(run(session, sql, GroupKeys::Always).await?, expected, "{sql}");
    assert_eq!(is_grouped(session, sql).await?, expected_grouped, "{sql}");
    Ok(())
}

async fn groups_by_keys_first_give_the_same_groups_and_counts(session: &TestSession) -> Result<()> {
    prepare(session).await?;
    for sql in [
        "SELECT kv_get(k, on_error => 'null')['name'] AS name, count(*) AS n, count(v) AS m, \
         sum(v) AS s, min(v) AS a, max(v) AS z, avg(v) AS mean FROM t GROUP BY 1 ORDER BY name",
        "SELECT DISTINCT kv_get(k, on_error => 'null')['name'] AS name FROM t ORDER BY name",
        "SELECT kind, kv_get(k, on_error => 'null')['name'] AS name, sum(v + 1) AS s FROM t \
         GROUP BY 1, 2 ORDER BY kind, name",
        // One lookup needs the other's answer.
        "SELECT kv_get(kv_get(k, on_error => 'null')['next'])['name'] AS name, count(*) AS n FROM \
         t GROUP BY 1 ORDER BY name",
        // Some rows are dropped, and some need no lookup.
        "SELECT p['name'] AS name, count(*) AS n, sum(v) AS s FROM (SELECT v, kv_get(k, on_error \
         => 'null') AS p FROM t) AS x WHERE p['next'] > 5 GROUP BY 1 ORDER BY name",
        "SELECT CASE WHEN kind = 'b' THEN kv_get(k, on_error => 'null')['name'] ELSE kind END AS \
         x, count(*) AS n FROM t GROUP BY 1 ORDER BY x",
        "SELECT kv_exists(k) AS e, count(*) AS n FROM t GROUP BY 1 ORDER BY e",
    ] {
        check(session, sql, true).await?;
    }
    let joined = "SELECT s.name, count(*) AS n, sum(v) AS total FROM t LEFT JOIN s ON t.k = s.id \
                  GROUP BY 1 ORDER BY name";
    for path in [JoinPath::Lookup, JoinPath::Auto] {
        let of = async |keys| {
            let query = with_join_path(session.sql(joined).await?, path);
            rows(with_group_keys(query, keys)).await
        };
        assert_eq!(of(GroupKeys::Always).await?, of(GroupKeys::Never).await?, "{path}");
    }
    Ok(())
}

async fn what_cannot_be_grouped_by_keys_first_is_as_usual(session: &TestSession) -> Result<()> {
    prepare(session).await?;
    let name = "kv_get(k, on_error => 'null')['name'] AS name";
    for aggregate in [
        "sum(v) FILTER (WHERE v > 3)",
        "max(kv_get(k, on_error => 'null')['next'])",
        "median(v)",
        "stddev(v)",
    ] {
        let sql = format!("SELECT {name}, {aggregate} AS a FROM t GROUP BY 1 ORDER BY name");
        check(session, &sql, false).await?;
    }
    let lists = "SELECT kv_batch_get(make_array(k, 3), on_error => 'null') AS p, count(*) AS n \
                 FROM t GROUP BY 1";
    let (mut rows, counts) = run(session, lists, GroupKeys::Always).await?;
    let mut expected = run(session, lists, GroupKeys::Never).await?;
    rows.sort();
    expected.0.sort();
    assert_eq!((rows, counts), expected);
    Ok(())
}

async fn misses_are_limited_and_kept_by_rows(session: &TestSession) -> Result<()> {
    prepare(session).await?;
    let missed = (0..ROWS).filter_map(key).filter(|key| *key >= 24).count() as u64;
    let grouped = "SELECT kv_get(k, max_misses => LIMITED)['name'] AS name, count(*) AS n FROM t \
                   GROUP BY 1 ORDER BY name";
    let of = |most: u64| grouped.replace("LIMITED", &most.to_string());
    check(session, &of(missed), true).await?;
    let query = session.sql(&of(missed - 1)).await?;
    let error = failure(with_group_keys(query, GroupKeys::Always)).await?;
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let free = grouped.replace("max_misses => LIMITED", "on_error => 'null'");
    let query = async || {
        let query = session.sql(&free).await?;
        anyhow::Ok(with_group_keys(query, GroupKeys::Always))
    };
    for (most, fails) in [(missed, false), (missed - 1, true)] {
        let max_misses = Some(MaxMisses::Count(most));
        let options = JobOptions { max_misses, ..JobOptions::default() };
        let ended = session.submit_with(query().await?, options).await?.collect().await;
        assert_eq!(ended.is_err(), fails, "{most} of {missed}");
    }
    let options = JobOptions { keep_missed: true, ..JobOptions::default() };
    let mut job = session.submit_with(query().await?, options).await?;
    job.collect().await?;
    let kept: usize = job.take_missed().iter().map(|rows| rows.num_rows()).sum();
    assert_eq!(kept as u64, missed);
    // A key that must be there fails the job as ever.
    let raising = free.replace("on_error => 'null'", "on_error => 'raise'");
    let query = session.sql(&raising).await?;
    let error = failure(with_group_keys(query, GroupKeys::Always)).await?;
    assert!(error.message().starts_with("Key not found in KV store 's'"), "{error}");
    Ok(())
}
