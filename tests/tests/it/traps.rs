//! What the first implementation of the guide never made work: one short test a trap.

use std::collections::HashMap;

use anyhow::{Context, Result};
use arrow::{
    array::{ListBuilder, StringBuilder},
    datatypes::{DataType, Field},
};
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use keyloom_client::{EmbeddedSettings, ErrorKind, LanceOptions, MemoryOptions, Session, load_kv};
use keyloom_common::plan::encode_plan;
use lance::dataset::{WriteMode, WriteParams};

use crate::harness::{
    Cluster, TestSession, batch, column, ints, items, on_all_deployments,
    on_all_deployments_and_ways, open_shop, rows, show_rows, strings, write_lance,
    write_lance_with,
};

on_all_deployments! {
    empty_input_has_typed_output,
    missing_columns_are_refused,
    memory_stores_reach_the_workers,
    uris_tell_no_credentials,
    detaching_leaves_nothing_behind,
    all_tasks_of_a_job_read_one_version,
}

on_all_deployments_and_ways! {
    lists_stay_lists,
    batch_size_bounds_requests,
    on_error_and_columns_go_together_so_that_the_fallback_fires,
    strings_are_keys_of_lance,
    row_ids_reach_all_fragments,
    null_keys_do_not_shift_rows,
    keys_may_hold_quotes,
}

async fn empty_input_has_typed_output(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    session.register_batches("empty", &[items().slice(0, 0)])?;
    let name = Field::new("name", DataType::Utf8, true);
    for store in ["lance", "memory"] {
        let sql = format!("SELECT kv_get(k, source => '{store}', columns => ['name']) FROM empty");
        let mut job = session.submit(session.sql(&sql).await?).await?;
        let expected = DataType::Struct(vec![name.clone()].into());
        assert_eq!(job.schema().field(0).data_type(), &expected);
        let batches = job.collect().await?;
        assert_eq!(show_rows(&batches)?, Vec::<String>::new());
        assert!(batches.iter().all(|batch| batch.column(0).data_type() == &expected));
    }
    Ok(())
}

async fn lists_stay_lists(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let mut lists = ListBuilder::new(StringBuilder::new());
    lists.append_value([Some("b"), None, Some("a")]);
    lists.append_null();
    lists.append_value([Some("x"), Some("b")]);
    lists.append_value([None::<&str>; 0]);
    session.register_batches("l", &[batch([("ks", column(lists.finish()))])])?;
    for store in ["lance", "memory"] {
        session
            .check(
                &format!(
                    "SELECT kv_batch_get(ks, source => '{store}', columns => ['name'], \
                     on_error => 'null') FROM l"
                ),
                &["[{name: banana}, NULL, {name: apple}]", "NULL", "[NULL, {name: banana}]", "[]"],
            )
            .await?;
    }
    Ok(())
}

async fn batch_size_bounds_requests(session: &TestSession) -> Result<()> {
    let session = session.undivided().await?;
    let rows = batch([("id", ints(0..20)), ("n", ints(20..40))]);
    session.attach_lance("lance", rows.clone(), "id").await?;
    session.attach_memory("memory", rows.clone(), "id").await?;
    session.register_batches("t", &[rows])?;
    for store in ["lance", "memory"] {
        for (size, requests) in [(1, 20), (6, 4), (20, 1), (1000, 1)] {
            let sql = format!(
                "SELECT kv_batch_get(id, source => '{store}', batch_size => {size}) FROM t"
            );
            let counted = session.counted(&sql, store).await?;
            assert_eq!((counted.hits, counted.requests), (20, requests), "{sql}");
        }
    }
    Ok(())
}

async fn on_error_and_columns_go_together_so_that_the_fallback_fires(
    session: &TestSession,
) -> Result<()> {
    open_shop(session).await?;
    for store in ["lance", "memory"] {
        session
            .check(
                &format!(
                    "SELECT CASE WHEN p IS NOT NULL THEN p ELSE s END FROM (SELECT kv_get(k, \
                     source => '{store}', columns => ['name', 'price'], on_error => 'null') AS p, \
                     kv_get(k, source => 'backup', columns => ['name', 'price'], \
                     on_error => 'null') AS s FROM t)"
                ),
                &[
                    "{name: apple, price: 10}",
                    "{name: spare, price: 1}",
                    "NULL",
                    "{name: banana, price: 20}",
                    "{name: apple, price: 10}",
                ],
            )
            .await?;
    }
    Ok(())
}

async fn strings_are_keys_of_lance(session: &TestSession) -> Result<()> {
    let rows = batch([("id", strings(["1", "01", "", "ü"])), ("n", ints(1..=4))]);
    session.attach_lance("lance", rows, "id").await?;
    session.register_batches("t", &[batch([("k", strings(["ü", "", "01", "1", "001", "U"]))])])?;
    session
        .check(
            "SELECT kv_get(k, source => 'lance', on_error => 'null')['n'] FROM t",
            &["4", "3", "2", "1", "NULL", "NULL"],
        )
        .await
}

async fn row_ids_reach_all_fragments(session: &TestSession) -> Result<()> {
    let uri = session.path("words.lance");
    let words = batch([("word", strings(["zero", "one", "two", "three", "four"]))]);
    let dataset = write_lance(&uri, &[words], 2).await?;
    assert_eq!(dataset.get_fragments().len(), 3);
    session.attach(load_kv("words", session.lance(&uri, "_rowid").await?)?, None::<&str>).await?;
    // A row id is the fragment in the upper half and the row in the lower.
    let ids = [2_i64 << 32, 1 << 32, 0, (1 << 32) + 1, 1, 2, (2 << 32) + 1, 3 << 32];
    session.register_batches("t", &[batch([("id", ints(ids))])])?;
    session
        .check(
            "SELECT kv_get(id, source => 'words', on_error => 'null')['word'], \
             kv_exists(id, source => 'words') FROM t",
            &[
                "four | true",
                "two | true",
                "zero | true",
                "three | true",
                "one | true",
                "NULL | false",
                "NULL | false",
                "NULL | false",
            ],
        )
        .await
}

async fn null_keys_do_not_shift_rows(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let keys = [None, Some("b"), None, None, Some("a"), Some("c"), None];
    session.register_batches("n", &[batch([("n", ints(1..=7)), ("k", strings(keys))])])?;
    for store in ["lance", "memory"] {
        for mode in ["raise", "null"] {
            let sql = format!(
                "SELECT n, kv_get(k, source => '{store}', columns => ['id'], \
                 on_error => '{mode}') FROM n"
            );
            session
                .check(
                    &sql,
                    &[
                        "1 | NULL",
                        "2 | {id: b}",
                        "3 | NULL",
                        "4 | NULL",
                        "5 | {id: a}",
                        "6 | {id: c}",
                        "7 | NULL",
                    ],
                )
                .await?;
        }
    }
    Ok(())
}

async fn missing_columns_are_refused(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    for store in ["lance", "memory"] {
        let message = format!(
            "column 'colour' not found in KV store '{store}'; it has 'id', 'name', 'price', 'next'"
        );
        let sql = format!(
            "SELECT kv_get(k, source => '{store}', columns => ['name', 'colour'], \
             on_error => 'null') FROM t"
        );
        session.check_refusal(&sql, ErrorKind::Invalid, &message).await?;
    }
    Ok(())
}

async fn keys_may_hold_quotes(session: &TestSession) -> Result<()> {
    let keys = ["it's", "\"", "' OR '1' = '1", "''", "\\'", "a\nb", "%", "x'; --"];
    let store = batch([("id", strings(keys)), ("n", ints(0..8))]);
    session.attach_lance("lance", store.clone(), "id").await?;
    session.attach_memory("memory", store, "id").await?;
    let asked = ["'", "x'; --", "%", "a\nb", "\\'", "''", "' OR '1' = '1", "\"", "it's", "its"];
    session.register_batches("t", &[batch([("k", strings(asked))])])?;
    for store in ["lance", "memory"] {
        session
            .check(
                &format!("SELECT kv_get(k, source => '{store}', on_error => 'null')['n'] FROM t"),
                &["NULL", "7", "6", "5", "4", "3", "2", "1", "0", "NULL"],
            )
            .await?;
        session.check(&format!("SELECT kv_get('it''s', source => '{store}')['n']"), &["0"]).await?;
    }
    Ok(())
}

async fn memory_stores_reach_the_workers(session: &TestSession) -> Result<()> {
    let store = load_kv("features", MemoryOptions::pairs([("a", 1_i64), ("b", 2)]))?;
    session.attach(store, None::<&str>).await?;
    let keys = (0..30).map(|row| if row % 2 == 0 { "a" } else { "b" });
    session.register_batches("t", &[batch([("k", strings(keys))])])?;
    let sql = "SELECT kv_get(k, source => 'features')['value'] FROM t";
    session.check(sql, &["1", "2"].repeat(15)).await?;
    let summary = session.summary(sql).await?;
    assert_eq!((summary.rows, summary.tasks), (30, 10));
    assert_eq!(summary.stores["features"].keys, 30);
    Ok(())
}

/// What a query sends to the coordinator, and how it is shown.
async fn sent(session: &Session, sql: &str) -> Result<String> {
    let query = session.sql(sql).await?;
    let shown = session.explain(query.clone(), false).await?;
    let (state, logical) = query.into_parts();
    let logical = state.optimize(&logical)?;
    let plan = DefaultPhysicalPlanner::default().create_physical_plan(&logical, &state).await?;
    Ok(format!("{shown}{}", String::from_utf8_lossy(&encode_plan(&plan)?)))
}

const SECRET: &str = "hunter22";

async fn uris_tell_no_credentials(session: &TestSession) -> Result<()> {
    for scheme in ["nosuch", "file"] {
        let path = session.path("missing.lance");
        let uri = format!("{scheme}://user:{SECRET}@localhost{path}?token={SECRET}");
        let attached = match load_kv("rows", LanceOptions::new(&uri)) {
            Ok(store) => session.attach(store, None::<&str>).await,
            Err(error) => Err(error),
        };
        let error = attached.err().context("there is no such dataset")?;
        let told = format!("{error} {error:?}");
        assert!(told.contains(&format!("{scheme}://localhost{path}")), "{told}");
        assert!(!told.contains(SECRET) && !told.contains("user:"), "{told}");
    }
    Ok(())
}

/// A session on `session` whose workers know the profile `prod`, over a dataset at `uri`.
async fn check_profile(session: &Session, dir: &std::path::Path) -> Result<()> {
    let uri = dir.join("rows.lance").to_string_lossy().into_owned();
    write_lance(&uri, &[batch([("k", strings(["a"])), ("v", ints([1]))])], 10).await?;
    let options = |uri: &str| LanceOptions::new(uri).key("k").storage_options("prod");
    session.attach(load_kv("rows", options(&uri))?, None::<&str>).await?;
    let sql = "SELECT kv_get('a', source => 'rows')['v']";
    assert_eq!(rows(session.sql(sql).await?).await?, ["1"]);
    let sent = sent(session, sql).await?;
    assert!(sent.contains("prod") && !sent.contains(SECRET), "{sent}");

    let missing = load_kv("gone", options(&format!("{uri}/{SECRET}")))?;
    let error = session.attach(missing, None::<&str>).await.err().context("nothing is there")?;
    let message = format!("store 'gone' cannot be opened: no Lance dataset at {uri}/***");
    assert_eq!((error.kind(), error.message()), (ErrorKind::NotFound, message.as_str()));
    let unknown = load_kv("gone", LanceOptions::new(&uri).storage_options("dev"))?;
    let error = session.attach(unknown, None::<&str>).await.err().context("no such profile")?;
    let message =
        "store 'gone' cannot be opened: storage profile 'dev' not found; the worker has 'prod'";
    assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, message));
    Ok(())
}

#[tokio::test]
async fn profiles_stay_on_embedded_workers() -> Result<()> {
    let mut settings = EmbeddedSettings::default();
    let secret = HashMap::from([("secret_access_key".to_owned(), SECRET.to_owned())]);
    settings.worker.store.storage_profiles.insert("prod".to_owned(), secret.into());
    let dir = tempfile::tempdir()?;
    check_profile(&Session::embedded_with(settings).await?, dir.path()).await
}

#[tokio::test]
async fn profiles_stay_on_worker_processes() -> Result<()> {
    let variable = "KEYLOOM_WORKER_STORE__STORAGE_PROFILES__PROD__SECRET_ACCESS_KEY";
    let cluster = Cluster::start_with(2, &[], &[(variable, SECRET)]).await?;
    let dir = tempfile::tempdir()?;
    check_profile(&Session::connect(&cluster.address).await?, dir.path()).await?;
    let daemons = cluster.workers.iter().chain([&cluster.coordinator]);
    for log in daemons.map(|daemon| daemon.log()) {
        assert!(!log.contains(SECRET), "{log}");
    }
    Ok(())
}

async fn detaching_leaves_nothing_behind(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    session.set_kv("lance")?;
    session.detach_kv("lance")?;
    assert_eq!((session.has_kv("lance"), session.current_kv()), (false, None));
    assert_eq!(session.list_kv(), ["backup", "memory"]);
    session
        .check_refusal(
            "SELECT kv_get(k) FROM t",
            ErrorKind::NotFound,
            "No KV store is currently attached to the session",
        )
        .await?;
    session
        .check_refusal(
            "SELECT kv_get(k, source => 'lance') FROM t",
            ErrorKind::NotFound,
            "KV store 'lance' not found in session (attached: 'backup', 'memory')",
        )
        .await
}

async fn all_tasks_of_a_job_read_one_version(session: &TestSession) -> Result<()> {
    const ROWS: i64 = 60;
    let uri = session.path("versions.lance");
    let version = |n: i64| batch([("id", ints(0..ROWS)), ("version", ints([n; ROWS as usize]))]);
    let overwrite = || WriteParams { mode: WriteMode::Overwrite, ..WriteParams::default() };
    write_lance(&uri, &[version(1)], 7).await?;
    session.attach(load_kv("rows", LanceOptions::new(&uri).key("id"))?, None::<&str>).await?;
    session.register_batches("t", &[batch([("id", ints(0..ROWS))])])?;
    let query = session.sql("SELECT kv_get(id, source => 'rows')['version'] FROM t").await?;
    for newest in 2..5 {
        let mut job = session.submit(query.clone()).await?;
        write_lance_with(&uri, &[version(newest)], overwrite()).await?;
        let seen = show_rows(&job.collect().await?)?;
        assert_eq!(seen, vec![(newest - 1).to_string(); ROWS as usize]);
        assert_eq!(job.summary().context("the job is done")?.tasks, 20);
    }
    Ok(())
}
