//! Keys that are missing where that gives null: how many there may be, which they are, and how they
//! are counted over all tasks.

use anyhow::{Context, Result};
use keyloom_client::{
    EmbeddedSettings, ErrorCode, ErrorKind, JobOptions, MaxMisses, Session,
    report::{JobSummary, StoreStats},
};

use crate::harness::{TestSession, batch, ints, on_all_deployments, open_shop, show_rows};

on_all_deployments! {
    as_many_misses_as_a_call_allows_are_null_and_more_fail_the_job,
    a_share_is_of_the_rows_that_ask_in_all_tasks,
    each_element_of_a_list_counts,
    a_limit_of_the_job_is_for_each_store,
    answers_that_nothing_is_missed_in_do_not_count,
    a_call_that_is_only_tested_for_null_counts,
    limits_that_make_no_sense_are_refused,
    rows_that_missed_their_keys_are_told_with_their_numbers,
    rows_and_distinct_keys_are_counted_over_all_tasks,
}

fn allow_none() -> JobOptions {
    JobOptions { max_misses: Some(MaxMisses::Count(0)), ..JobOptions::default() }
}

fn keep() -> JobOptions {
    JobOptions { keep_missed: true, ..JobOptions::default() }
}

async fn as_many_misses_as_a_call_allows_are_null_and_more_fail_the_job(
    session: &TestSession,
) -> Result<()> {
    open_shop(session).await?;
    let rows = ["apple", "NULL", "NULL", "banana", "apple"];
    for store in ["lance", "memory"] {
        let query =
            |most: &str| format!("SELECT kv_get(k, source => '{store}', {most})['name'] FROM t");
        for most in ["max_misses => 1", "max_misses => '1'", "on_error => 'null', max_misses => 7"]
        {
            session.check(&query(most), &rows).await?;
        }
        let error = session.failure(&query("max_misses => 0")).await?;
        let code = Some(ErrorCode::TooManyMisses);
        assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, code), "{error}");
        let start = format!("Too many keys not found in KV store '{store}', 1 of ");
        assert!(error.message().starts_with(&start), "{error}");
        assert!(error.message().ends_with(" rows, and max_misses is 0: x"), "{error}");
        let all = format!("SELECT kv_get_all(k, max_misses => 0, source => '{store}') FROM t");
        assert_eq!(session.failure(&all).await?.code(), code);
    }
    let builder = session.kv_get("k").source("lance").max_misses(MaxMisses::Count(0)).build()?;
    let query = session.table("t").await?.select(vec![builder])?;
    let error = crate::harness::failure(query).await?;
    assert_eq!(error.code(), Some(ErrorCode::TooManyMisses), "{error}");
    Ok(())
}

async fn a_share_is_of_the_rows_that_ask_in_all_tasks(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    // Four rows ask; the key of the fifth is null.
    let query = |most: &str| {
        format!("SELECT kv_get(k, ['name'], source => 'lance', max_misses => '{most}') FROM t")
    };
    let rows = ["{name: apple}", "NULL", "NULL", "{name: banana}", "{name: apple}"];
    session.check(&query("25%"), &rows).await?;
    let message =
        "Too many keys not found in KV store 'lance', 1 of 4 rows, and max_misses is 24.9999%: x";
    session.check_failure(&query("24.9999%"), ErrorKind::NotFound, message).await
}

async fn each_element_of_a_list_counts(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let query = |most: &str| {
        format!(
            "SELECT kv_batch_get(make_array(k, 'y', 'a'), ['name'], source => 'memory', max_misses \
             => '{most}') FROM t WHERE n = 2"
        )
    };
    session.check(&query("2"), &["[NULL, NULL, {name: apple}]"]).await?;
    let message =
        "Too many keys not found in KV store 'memory', 2 of 3 rows, and max_misses is 1: x, y";
    session.check_failure(&query("1"), ErrorKind::NotFound, message).await
}

/// Runs a query with options. Its summary, and the rows that it missed.
async fn run(
    session: &Session,
    sql: &str,
    options: JobOptions,
) -> keyloom_client::Result<(JobSummary, Vec<String>)> {
    let mut job = session.submit_with(session.sql(sql).await?, options).await?;
    job.collect().await?;
    let missed = job.take_missed();
    let shown =
        show_rows(&missed).map_err(|error| keyloom_client::Error::internal(error.to_string()))?;
    Ok((job.summary().cloned().unwrap_or_default(), shown))
}

async fn a_limit_of_the_job_is_for_each_store(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let sql = "SELECT kv_get(k, source => 'lance', on_error => 'null'), kv_get(k, source => \
               'memory', on_error => 'null') FROM t";
    let most = |max| JobOptions { max_misses: Some(max), ..JobOptions::default() };
    run(session, sql, most(MaxMisses::Count(1))).await?;
    run(session, sql, most(MaxMisses::parse("25%")?)).await?;
    let error = run(session, sql, allow_none()).await.err().context("it is too many")?;
    assert_eq!(error.code(), Some(ErrorCode::TooManyMisses), "{error}");
    let error = run(session, sql, most(MaxMisses::parse("10%")?)).await.err();
    let message =
        "Too many keys not found in KV store 'lance', 1 of 4 rows, and max_misses is 10%: x";
    assert_eq!(error.context("it is too many")?.message(), message);
    // A row that is looked up again, among the few that are wanted, has missed its key once.
    let few = "SELECT n, kv_get(k, source => 'lance', on_error => 'null') AS p FROM t ORDER BY \
               p['price'] DESC LIMIT 3";
    run(session, few, most(MaxMisses::Count(1))).await?;
    // What a call itself allows is no more than what the job does.
    let sql = "SELECT kv_get(k, source => 'lance', max_misses => 7) FROM t";
    assert!(run(session, sql, allow_none()).await.is_err());
    Ok(())
}

async fn answers_that_nothing_is_missed_in_do_not_count(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    for sql in [
        "SELECT kv_exists(k, source => 'lance') FROM t",
        "SELECT CASE WHEN n <> 2 THEN kv_get(k, source => 'lance', on_error => 'null') END FROM t",
        "SELECT kv_exists(k, source => 'lance'), CASE WHEN n <> 2 THEN kv_get(k, source => \
         'lance', on_error => 'null') END FROM t",
        "SELECT CASE WHEN kv_exists(k, source => 'lance') THEN kv_get(k, source => 'lance', \
         on_error => 'null') END FROM t",
        "SELECT t.n, memory.name FROM t LEFT JOIN memory ON t.k = memory.id",
        "SELECT t.n, lance.name FROM t JOIN lance ON t.k = lance.id",
        "SELECT kv_get(k, source => 'lance', on_error => 'null')['name'] FROM t JOIN lance ON \
         t.k = lance.id",
        "SELECT kv_get(k, source => 'lance', max_misses => 0)['name'] FROM t WHERE k IN (SELECT id \
         FROM lance)",
        "SELECT n FROM t WHERE EXISTS (SELECT 1 FROM memory WHERE memory.id = t.k)",
    ] {
        let (summary, _) = run(session, sql, allow_none()).await.with_context(|| sql.to_owned())?;
        assert!(summary.stores.values().all(|stats| stats.missed_rows == 0), "{sql}");
    }
    Ok(())
}

async fn a_call_that_is_only_tested_for_null_counts(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    for test in ["IS NULL", "IS NOT NULL"] {
        let sql =
            format!("SELECT n FROM t WHERE kv_get(k, source => 'lance', max_misses => 0) {test}");
        let error = session.failure(&sql).await?;
        assert_eq!(error.code(), Some(ErrorCode::TooManyMisses), "{sql}: {error}");
    }
    Ok(())
}

async fn limits_that_make_no_sense_are_refused(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let check = async |call: &str, message: &str| {
        let sql = format!("SELECT {call} FROM t");
        session.check_refusal(&sql, ErrorKind::Invalid, message).await
    };
    let choices = "max_misses is a number of rows, as 10, or a share of them from '0%' to '100%' \
                   with 4 decimals at most, not";
    for most in ["-1", "0.5"] {
        let call = format!("kv_get(k, source => 'lance', max_misses => {most})");
        check(&call, &format!("{choices} '{most}'")).await?;
    }
    check("kv_get(k, source => 'lance', max_misses => '101%')", &format!("{choices} '101%'"))
        .await?;
    let both = "on_error => 'raise' fails for any missing key, and max_misses allows some; leave \
                out one of them";
    check("kv_get(k, source => 'lance', on_error => 'raise', max_misses => 1)", both).await?;
    let exists = "kv_exists has no argument 'max_misses'; it takes row_ids, on_error, source";
    check("kv_exists(k, source => 'lance', max_misses => 1)", exists).await?;
    let built = session.kv_exists("k").source("lance").max_misses(MaxMisses::Count(1)).build();
    let message = "kv_exists takes no max_misses: that a key is missing is its answer";
    assert_eq!(built.unwrap_err().message(), message);
    let detached = JobOptions { detached: true, ..keep() };
    let error = run(session, "SELECT n FROM t", detached).await.err().context("nobody is told")?;
    assert!(error.message().starts_with("keep_missed has the rows"), "{error}");
    Ok(())
}

async fn rows_that_missed_their_keys_are_told_with_their_numbers(
    session: &TestSession,
) -> Result<()> {
    open_shop(session).await?;
    let numbers = batch([("id", ints((0..10_i64).map(|id| (id != 5).then_some(id))))]);
    session.register_batches("numbers", &[numbers])?;
    let held = batch([("id", ints([0, 1, 2, 4])), ("name", ints([10, 11, 12, 14]))]);
    session.attach_lance("few", held, "id").await?;
    let check = async |sql: &str, expected: &[&str]| -> Result<()> {
        let (summary, missed) = run(session, sql, keep()).await?;
        assert_eq!(missed, expected, "{sql}");
        assert_eq!(summary.missed_left_out, 0, "{sql}");
        Ok(())
    };
    let all = ["few | 3 | 3", "few | 6 | 6", "few | 7 | 7", "few | 8 | 8", "few | 9 | 9"];
    let null = "on_error => 'null'";
    check(&format!("SELECT kv_get(id, source => 'few', {null}) FROM numbers"), &all).await?;
    // Rows that are filtered before they are looked up have no numbers.
    let filtered = format!("SELECT kv_get(id, source => 'few', {null}) FROM numbers WHERE id > 6");
    check(&filtered, &["few | 7 | NULL", "few | 8 | NULL", "few | 9 | NULL"]).await?;
    let union = format!(
        "SELECT kv_get(id, source => 'few', {null}) FROM numbers WHERE id = 3 UNION ALL SELECT \
         kv_get(n, source => 'few', {null}) FROM t"
    );
    check(&union, &["few | 3 | NULL", "few | 3 | NULL", "few | 5 | NULL"]).await?;
    let lists = "SELECT kv_batch_get(make_array(k, 'y'), source => 'memory', on_error => 'null') \
                 FROM t";
    let y = |row: usize| format!("memory | y | {row}");
    let expected = [y(0), "memory | x | 1".to_owned(), y(1), y(2), y(3), y(4)];
    check(lists, &expected.each_ref().map(String::as_str)).await?;
    check("SELECT kv_exists(id, source => 'few') FROM numbers", &[]).await?;
    let (_, missed) = run(session, &union, JobOptions::default()).await?;
    assert_eq!(missed, [""; 0], "nobody asked for them");
    Ok(())
}

/// The stats of a query for a store.
async fn counted(session: &Session, sql: &str, alias: &str) -> Result<StoreStats> {
    let (summary, _) = run(session, sql, JobOptions::default()).await?;
    Ok(*summary.stores.get(alias).context("the store was asked")?)
}

/// A table of a thousand rows whose keys repeat after 70, of which the store `few` holds 50.
async fn open_few(session: &Session) -> Result<()> {
    let numbers = batch([("id", ints((0..1000_i64).map(|n| n % 70)))]);
    session.register_batches("numbers", &[numbers])?;
    let held = batch([("id", ints(0..50)), ("name", ints(100..150))]);
    let store = keyloom_client::MemoryOptions::batch(held, "id");
    Ok(session.attach(keyloom_client::load_kv("few", store)?, "few").await?)
}

async fn rows_and_distinct_keys_are_counted_over_all_tasks(session: &TestSession) -> Result<()> {
    open_few(session).await?;
    let missed = (0..1000).filter(|n| n % 70 >= 50).count() as u64;
    let one = "SELECT kv_get(id, source => 'few', on_error => 'null') FROM numbers";
    // A row whose calls share a fetch misses its key once.
    let two = "SELECT kv_get(id, ['name'], source => 'few', on_error => 'null'), kv_get(id, \
               ['id'], source => 'few', on_error => 'null'), kv_exists(id, source => 'few') FROM \
               numbers";
    for sql in [one, two] {
        let stats = counted(session, sql, "few").await?;
        assert_eq!((stats.keys, stats.job_keys), (1000, 70), "{sql}");
        assert_eq!((stats.missed_rows, stats.missed_keys), (missed, 20), "{sql}");
        assert!(!stats.is_about, "{sql}");
    }
    Ok(())
}

#[tokio::test]
async fn distinct_keys_beyond_the_bound_are_about_so_many() -> Result<()> {
    let mut settings = EmbeddedSettings { workers: Some(1), ..EmbeddedSettings::default() };
    settings.coordinator.distinct_key_bytes = 8 * 64;
    let session = Session::embedded_with(settings).await?;
    open_few(&session).await?;
    let sql = "SELECT kv_get(id + 100, source => 'few', on_error => 'null') FROM numbers";
    let stats = counted(&session, sql, "few").await?;
    assert!(stats.is_about && (40..=120).contains(&stats.job_keys), "{stats:?}");
    assert_eq!(stats.missed_rows, 1000, "rows are counted exactly");
    Ok(())
}

#[tokio::test]
async fn a_limit_of_the_session_holds_for_its_jobs() -> Result<()> {
    let mut settings = EmbeddedSettings { workers: Some(1), ..EmbeddedSettings::default() };
    settings.session.max_misses = Some(MaxMisses::parse("1%")?);
    let session = Session::embedded_with(settings).await?;
    open_few(&session).await?;
    let query = |below: i64| {
        let sql = format!(
            "SELECT kv_get(id, source => 'few', on_error => 'null') FROM numbers WHERE id < {below}"
        );
        let session = session.clone();
        async move { session.sql(&sql).await }
    };
    crate::harness::rows(query(50).await?).await?;
    let error = crate::harness::failure(query(60).await?).await?;
    assert_eq!(error.code(), Some(ErrorCode::TooManyMisses), "{error}");
    Ok(())
}

#[tokio::test]
async fn rows_beyond_the_bound_are_counted() -> Result<()> {
    let mut settings = EmbeddedSettings { workers: Some(1), ..EmbeddedSettings::default() };
    settings.coordinator.missed_row_bytes = 1000;
    let session = Session::embedded_with(settings).await?;
    open_few(&session).await?;
    let sql = "SELECT kv_get(id + 100, source => 'few', on_error => 'null') FROM numbers";
    let (summary, missed) = run(&session, sql, keep()).await?;
    assert!((1..50).contains(&missed.len()), "{missed:?}");
    assert_eq!(summary.missed_left_out + missed.len() as u64, 1000);
    Ok(())
}
