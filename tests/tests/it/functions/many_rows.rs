//! Keys with very many rows: joins find them in parts, within the memory that there is.

use anyhow::Result;
use keyloom_client::{EmbeddedSettings, ErrorKind, JoinPath, with_join_path};

use crate::harness::{TestSession, batch, ints, run};

/// How many rows the store has, and of how many keys.
const ROWS: i64 = 7_000;
const KEYS: i64 = 7;

const JOINED: &str =
    "SELECT count(*), count(v), count(DISTINCT v), sum(v) FROM t LEFT JOIN lance ON k = id";

fn settings() -> EmbeddedSettings {
    let mut settings = EmbeddedSettings { workers: Some(2), ..EmbeddedSettings::default() };
    settings.worker.lookup.window_bytes = 24 << 10;
    settings.worker.lookup.list_rows = 350;
    settings
}

async fn session(settings: EmbeddedSettings) -> Result<TestSession> {
    let session = TestSession::embedded(settings).await?;
    let store = batch([("id", ints((0..ROWS).map(|row| row % KEYS))), ("v", ints(0..ROWS))]);
    session.attach_lance("lance", store, "id").await?;
    session.register_batches("t", &[batch([("k", ints([3, 9, 0, 3, 6]))])])?;
    Ok(session)
}

#[tokio::test]
async fn keys_of_very_many_rows_are_looked_up_in_parts() -> Result<()> {
    let session = session(settings()).await?;
    let of = |key: i64| (0..ROWS).filter(move |row| row % KEYS == key);
    let all: Vec<i64> = of(3).chain(of(0)).chain(of(3)).chain(of(6)).collect();
    let distinct = of(3).count() + of(0).count() + of(6).count();
    let (found, sum) = (all.len(), all.iter().sum::<i64>());
    let expected = format!("{} | {found} | {distinct} | {sum}", found + 1);
    session.check(JOINED, &[expected.as_str()]).await?;
    // And by the other way.
    let scanned = with_join_path(session.sql(JOINED).await?, JoinPath::Scan);
    let plan = session.explain(scanned, false).await?;
    assert!(plan.contains("(joined by scan: join_path = scan)"), "{plan}");
    let plan = session.explain(session.sql(JOINED).await?, false).await?;
    assert!(plan.contains("(joined by lookup: "), "{plan}");
    let list = "SELECT array_length(kv_get_all(k, source => 'lance', on_error => 'null')) FROM t \
                WHERE k = 0";
    session.check(list, &["1000"]).await
}

#[tokio::test]
async fn a_key_of_more_rows_than_allowed_is_an_error() -> Result<()> {
    let mut settings = settings();
    settings.worker.lookup.key_rows = 100;
    let session = session(settings).await?;
    let failure = session.failure(JOINED).await?;
    assert_eq!(failure.kind(), ErrorKind::ResourceExhausted, "{failure}");
    let expected = "stands in more than 100 rows of KV store 'lance'";
    assert!(failure.message().contains(expected), "{failure}");
    Ok(())
}

#[tokio::test]
async fn what_rows_miss_that_are_looked_up_in_parts_counts_once() -> Result<()> {
    let session = session(settings()).await?;
    let held = batch([("id", ints(0..7)), ("of", ints(0..7))]);
    session.attach_memory("few", held, "id").await?;
    // Keys of so many rows that each part of the task ends at one of them: what is behind it goes
    // through the first lookup again.
    session.register_batches("parts", &[batch([("k", ints([1, 90, 2, 91, 3, 92, 4, 93]))])])?;
    let sql = "SELECT array_length(kv_get_all(kv_get(k, source => 'few', on_error => \
               'null')['of'], source => 'lance', on_error => 'null')) FROM parts";
    let (rows, job) = run(&session, sql).await?;
    assert_eq!(rows, ["1000", "NULL"].repeat(4));
    let (few, lance) = (job.stores["few"], job.stores["lance"]);
    assert_eq!((few.missed_rows, few.missed_keys), (4, 4));
    assert_eq!((lance.missed_rows, lance.job_keys), (0, 4));
    Ok(())
}

#[tokio::test]
async fn rows_of_a_key_that_many_ask_for_are_given_in_parts() -> Result<()> {
    const ASKING: i64 = 60;
    let session = session(settings()).await?;
    session.register_batches("u", &[batch([("k", ints((0..ASKING).map(|n| n % 2 * 3)))])])?;
    let of = |key: i64| (0..ROWS).filter(move |row| row % KEYS == key);
    let both: Vec<i64> = of(0).chain(of(3)).collect();
    let times = ASKING / 2;
    let (rows, sum) = (both.len() as i64 * times, both.iter().sum::<i64>() * times);
    let sql = "SELECT count(*), sum(v) FROM u JOIN lance ON k = id";
    session.check(sql, &[format!("{rows} | {sum}").as_str()]).await
}
