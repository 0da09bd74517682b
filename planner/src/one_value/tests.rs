//! By rows: what subqueries give, and which are refused.

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch},
    util::pretty::pretty_format_batches,
};
use datafusion::{
    datasource::MemTable,
    execution::SessionStateBuilder,
    optimizer::Analyzer,
    prelude::{SessionConfig, SessionContext},
};
use keyloom_common::{Error, ErrorKind};

use super::*;

/// Tables `m` of a column `k`, and `b` of `k` and `z` in two partitions, where 2 and 4 stand twice.
fn context() -> SessionContext {
    let mut config = SessionConfig::new().with_target_partitions(3);
    config.options_mut().optimizer.enable_physical_uncorrelated_scalar_subquery = false;
    let mut rules = Analyzer::default().rules;
    rules.insert(0, Arc::new(OneValue));
    let state = SessionStateBuilder::new().with_config(config).with_default_features();
    let context = SessionContext::new_with_state(state.with_analyzer_rules(rules).build());
    let one = of_b(&[1, 2], &[Some(10), Some(20)]);
    let other = of_b(&[3, 2, 4, 4], &[None, Some(21), Some(40), Some(41)]);
    let table = MemTable::try_new(one.schema(), vec![vec![one], vec![other]]).unwrap();
    context.register_table("b", Arc::new(table)).unwrap();
    let m = RecordBatch::try_from_iter([("k", keys(&[1, 2, 3]))]).unwrap();
    context.register_batch("m", m).unwrap();
    context
}

fn of_b(k: &[i64], z: &[Option<i64>]) -> RecordBatch {
    let values: ArrayRef = Arc::new(Int64Array::from(z.to_vec()));
    let columns = [("k", keys(k), false), ("z", values, true)];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn keys(keys: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(keys.to_vec()))
}

async fn rows(sql: &str) -> keyloom_common::Result<Vec<String>> {
    let batches = context().sql(sql).await?.collect().await?;
    let text = pretty_format_batches(&batches).unwrap().to_string();
    let rows = text.lines().filter(|line| line.starts_with('|')).skip(1);
    let values = |row: &str| {
        let values = row.trim_matches('|').split('|').map(str::trim);
        values.collect::<Vec<_>>().join(",")
    };
    Ok(rows.map(values).collect())
}

async fn check(sql: &str, expected: &[&str]) {
    assert_eq!(rows(sql).await.unwrap(), expected, "{sql}");
}

async fn check_refused(sql: &str, expected: &str) {
    let error = rows(sql).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{sql}: {error}");
    assert!(error.message().contains(expected), "{sql}: {error}");
}

#[tokio::test]
async fn a_subquery_gives_the_value_of_its_row_or_null() {
    check("SELECT (SELECT z FROM b WHERE k = 1) AS v", &["10"]).await;
    check("SELECT (SELECT z FROM b WHERE k = 3) AS v", &[""]).await;
    let of_each = |subquery: &str| format!("SELECT k, ({subquery}) AS v FROM m ORDER BY k");
    let all = of_each("SELECT z FROM b WHERE k = 1");
    check(&all, &["1,10", "2,10", "3,10"]).await;
    let none = of_each("SELECT k FROM b WHERE k = 9");
    check(&none, &["1,", "2,", "3,"]).await;
    check("SELECT k FROM m WHERE k < (SELECT k FROM b WHERE z = 21)", &["1"]).await;
    check("SELECT k FROM m WHERE k = (SELECT k FROM b WHERE z = 21)", &["2"]).await;
    check("SELECT (SELECT DISTINCT z / z FROM b WHERE z > 0) AS v", &["1"]).await;
}

#[tokio::test]
async fn what_finds_no_row_is_null_to_what_is_around_it_too() {
    check("SELECT coalesce((SELECT 5 WHERE false), 7) AS v", &["7"]).await;
    for none in
        ["5 FROM b HAVING count(*) > 9", "count(*) FROM b HAVING count(*) > 9", "k FROM b LIMIT 0"]
    {
        check(&format!("SELECT (SELECT {none}) IS NULL AS v"), &["true"]).await;
    }
    let or_seven =
        |subquery: &str| format!("SELECT k, coalesce(({subquery}), 7) AS v FROM m ORDER BY k");
    for subquery in [
        "SELECT count(*) FROM b WHERE b.k = m.k HAVING count(*) > 1",
        "SELECT 2 FROM b WHERE b.k = m.k HAVING count(*) > 1",
        "SELECT count(*) FROM b WHERE b.k = m.k AND z > 10 GROUP BY b.k",
        "SELECT k FROM b WHERE b.k = m.k AND z = 21",
    ] {
        check(&or_seven(subquery), &["1,7", "2,2", "3,7"]).await;
    }
    let sql = "SELECT k FROM m WHERE (SELECT count(*) FROM b WHERE b.k = m.k HAVING count(*) > 1) \
               IS NULL ORDER BY k";
    check(sql, &["1", "3"]).await;
    check(&or_seven("SELECT count(*) FROM b WHERE b.k = m.k AND z = 21"), &["1,0", "2,1", "3,0"])
        .await;
}

#[tokio::test]
async fn a_subquery_that_finds_several_rows_is_refused() {
    for sql in [
        "SELECT k, (SELECT z FROM b WHERE k > 1) AS v FROM m",
        "SELECT k FROM m WHERE k = (SELECT k FROM b WHERE z > 20)",
        "SELECT (SELECT DISTINCT k FROM b)",
        "SELECT (SELECT sum(z) FROM b GROUP BY k)",
        "SELECT (SELECT z FROM b LIMIT 2)",
        "SELECT (SELECT 1 UNION ALL SELECT 2)",
        "SELECT (SELECT * FROM (VALUES (1), (2)) AS t)",
        "SELECT (SELECT max(k) FROM m WHERE k < (SELECT z FROM b))",
    ] {
        check_refused(sql, "found several rows, and has to give one value").await;
    }
    check_refused("SELECT (SELECT z + 1 AS next FROM b)", "the subquery of 'next' found").await;
}

#[tokio::test]
async fn the_columns_of_a_query_keep_their_names() {
    for (sql, expected) in [
        ("SELECT (SELECT z FROM b WHERE k = 1) FROM m", "z"),
        ("SELECT (SELECT z FROM b WHERE b.k = m.k) FROM m", "z"),
        ("SELECT (SELECT z FROM b WHERE k = 1) + 1 AS more FROM m", "more"),
    ] {
        let query = context().sql(sql).await.unwrap();
        let before = query.schema().field(0).name().clone();
        let after = query.into_optimized_plan().unwrap().schema().field(0).name().clone();
        assert_eq!([before.as_str(), after.as_str()], [expected; 2], "{sql}");
    }
}

#[tokio::test]
async fn what_finds_one_row_is_left_as_it_is() {
    for subquery in [
        "SELECT max(z) FROM b",
        "SELECT max(z) + 1 AS more FROM b HAVING max(z) > 1",
        "SELECT z FROM b ORDER BY z LIMIT 1",
        "SELECT z FROM b LIMIT 0",
        "SELECT 7",
        "SELECT * FROM (VALUES (7)) AS t",
        "SELECT count(*) FROM b",
        "SELECT DISTINCT n + 1 FROM (SELECT count(*) AS n FROM b) AS t ORDER BY 1",
        "SELECT count(*) FROM b WHERE b.k = m.k",
        "SELECT DISTINCT s FROM (SELECT sum(z) AS s FROM b) AS t WHERE s > 0",
        "SELECT max(z) FROM b WHERE b.k = m.k",
        "SELECT max(z) FROM b WHERE b.k = m.k GROUP BY b.k",
    ] {
        let sql = format!("SELECT k, ({subquery}) AS v FROM m");
        let plan = context().sql(&sql).await.unwrap().into_unoptimized_plan();
        let checked = OneValue.analyze(plan.clone(), &ConfigOptions::new()).unwrap();
        assert_eq!(checked, plan, "{sql}");
    }
}

#[tokio::test]
async fn what_is_checked_is_not_checked_again() {
    for sql in [
        "SELECT k, (SELECT z FROM b WHERE b.k = m.k) AS v FROM m",
        "SELECT k, (SELECT z FROM b WHERE k > 1) AS v FROM m",
        "SELECT k, (SELECT k FROM b LIMIT 1) AS v FROM m",
        "SELECT k, (SELECT count(*) FROM b WHERE b.k = m.k HAVING count(*) > 1) AS v FROM m",
    ] {
        let plan = context().sql(sql).await.unwrap().into_unoptimized_plan();
        let once = OneValue.analyze(plan.clone(), &ConfigOptions::new()).unwrap();
        assert_ne!(once, plan, "{sql}");
        let twice = OneValue.analyze(once.clone(), &ConfigOptions::new()).unwrap();
        assert_eq!(twice, once, "{sql}");
    }
}

#[tokio::test]
async fn a_subquery_of_each_row_gives_its_own_value() {
    let sql = "SELECT k, (SELECT z FROM b WHERE b.k = m.k) AS v FROM m WHERE k <> 2 ORDER BY k";
    check(sql, &["1,10", "3,"]).await;
    let sql = "SELECT k, (SELECT z AS k FROM b WHERE b.k = m.k) AS v FROM m WHERE k = 1";
    check(sql, &["1,10"]).await;
    let sql = "SELECT k, (SELECT DISTINCT z % 1 FROM b WHERE m.k = b.k) AS v FROM m ORDER BY k";
    check(sql, &["1,0", "2,0", "3,"]).await;
    let sql = "SELECT k FROM m WHERE (SELECT z FROM b WHERE b.k = m.k) = 10 AND k <> 2";
    check(sql, &["1"]).await;
    let lazy = "CASE WHEN k <> 2 THEN (SELECT z FROM b WHERE b.k = m.k) END";
    check(&format!("SELECT k, {lazy} AS v FROM m ORDER BY k"), &["1,10", "2,", "3,"]).await;
}

#[tokio::test]
async fn several_rows_for_one_row_are_refused() {
    for sql in [
        "SELECT k, (SELECT z FROM b WHERE b.k = m.k) AS v FROM m",
        "SELECT k FROM m WHERE (SELECT z FROM b WHERE b.k = m.k) = 10",
        "SELECT k FROM m WHERE 1 < (SELECT z FROM b WHERE b.k = m.k AND z > 11)",
    ] {
        check_refused(sql, "the subquery of 'z' found several rows for one row around it").await;
    }
}

/// Their groups are not those of one row.
#[tokio::test]
async fn subqueries_of_each_row_by_other_conditions_are_left_to_datafusion() {
    for condition in ["b.k > m.k", "b.k = m.k OR z = 1", "CAST(b.k / 2 AS INT) = m.k"] {
        let sql = format!("SELECT k, (SELECT z FROM b WHERE {condition}) AS v FROM m");
        let error: Error = rows(&sql).await.unwrap_err();
        assert!(error.message().contains("must be aggregated"), "{sql}: {error}");
    }
}
