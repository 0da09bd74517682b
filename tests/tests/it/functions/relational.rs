//! Calls in every clause of a query.

use anyhow::Result;
use datafusion::{
    functions::core::expr_fn::get_field,
    functions_aggregate::expr_fn::sum,
    logical_expr::JoinType,
    prelude::{col, lit},
};
use keyloom_client::{ErrorKind, OnError};

use super::{check, undivided_shop};
use crate::harness::{
    TestSession, batch, check_rows, on_all_deployments_and_ways, open_shop, strings,
};

on_all_deployments_and_ways! {
    in_where,
    in_order_by,
    in_group_by_and_aggregates,
    in_grouping_sets,
    in_having,
    in_windows,
    in_distinct,
    in_limit_and_offset,
    a_limit_asks_for_no_more_batches_than_it_needs,
    in_union_all,
    in_common_table_expressions_and_subqueries,
    above_and_below_joins_of_small_tables,
    offsets_count_in_the_order_of_columns_that_are_not_selected,
    windows_over_equal_columns,
    aggregates_of_aggregates,
    above_sorts_and_aggregates,
    the_dataframe_api,
    explain_is_a_query,
    statements_that_change_something_are_refused,
}

const NAME: &str = "kv_get(k, source => 'STORE', on_error => 'null')['name']";
const PRICE: &str = "kv_get(k, source => 'STORE', on_error => 'null')['price']";

fn sql(template: &str) -> String {
    template.replace("NAME", NAME).replace("PRICE", PRICE)
}

async fn in_where(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    check(session, &sql("SELECT n FROM t WHERE NAME = 'apple'"), &["1", "5"]).await?;
    check(session, &sql("SELECT n FROM t WHERE NAME IS NULL"), &["2", "3"]).await?;
    check(session, &sql("SELECT n, NAME FROM t WHERE PRICE > 15"), &["4 | banana"]).await?;
    check(
        session,
        "SELECT n FROM t WHERE NOT kv_exists(k, source => 'STORE') OR n = 1",
        &["1", "2"],
    )
    .await?;
    check(session, &sql("SELECT n FROM t WHERE NAME IN ('banana', 'cherry')"), &["4"]).await
}

async fn in_order_by(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    check(
        session,
        &sql("SELECT n FROM t ORDER BY PRICE DESC NULLS LAST, n DESC"),
        &["4", "5", "1", "3", "2"],
    )
    .await?;
    check(
        session,
        &sql("SELECT n, NAME AS name FROM t ORDER BY name NULLS FIRST, n LIMIT 3"),
        &["2 | NULL", "3 | NULL", "1 | apple"],
    )
    .await
}

async fn in_group_by_and_aggregates(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    check(
        session,
        &sql("SELECT NAME AS name, count(*), sum(n) FROM t GROUP BY NAME ORDER BY name"),
        &["apple | 2 | 6", "banana | 1 | 4", "NULL | 2 | 5"],
    )
    .await?;
    check(
        session,
        &sql("SELECT sum(PRICE), count(PRICE), min(NAME), avg(PRICE) FILTER (WHERE n > 1) FROM t"),
        &["40 | 3 | apple | 15.0"],
    )
    .await?;
    check(
        session,
        &sql("SELECT n % 2 AS odd, sum(PRICE) FROM t GROUP BY n % 2 ORDER BY odd"),
        &["0 | 20", "1 | 20"],
    )
    .await?;
    check(session, &sql("SELECT sum(PRICE) FROM t WHERE n > 9"), &["NULL"]).await
}

async fn in_grouping_sets(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    check(
        session,
        &sql("SELECT name, count(*) AS c FROM (SELECT NAME AS name FROM t) \
              GROUP BY ROLLUP (name) ORDER BY name, c"),
        &["apple | 2", "banana | 1", "NULL | 2", "NULL | 5"],
    )
    .await?;
    for key in [
        "kv_exists(k, source => 'memory')",
        "CASE WHEN kv_exists(k, source => 'memory') THEN n END",
        "coalesce(n > 1, kv_exists(k, source => 'memory'))",
    ] {
        session
            .check_failure(
                &format!("SELECT count(*) FROM t GROUP BY CUBE ({key})"),
                ErrorKind::Invalid,
                "a lookup cannot be made within ROLLUP, CUBE or GROUPING SETS; compute it as a \
                 column of a subquery first, and use that column",
            )
            .await?;
    }
    Ok(())
}

async fn in_having(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    check(
        session,
        &sql("SELECT k FROM t GROUP BY k HAVING sum(PRICE) >= 20 ORDER BY k"),
        &["a", "b"],
    )
    .await?;
    // A call on what is grouped by, above the aggregate.
    check(session, &sql("SELECT k, count(*) FROM t GROUP BY k HAVING NAME = 'apple'"), &["a | 2"])
        .await
}

async fn in_windows(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    check(
        session,
        &sql("SELECT n, sum(PRICE) OVER (ORDER BY n) FROM t"),
        &["1 | 10", "2 | 10", "3 | 10", "4 | 30", "5 | 40"],
    )
    .await?;
    check(
        session,
        &sql("SELECT n, row_number() OVER (PARTITION BY NAME ORDER BY n) AS r FROM t ORDER BY n"),
        &["1 | 1", "2 | 1", "3 | 2", "4 | 1", "5 | 2"],
    )
    .await?;
    check(
        session,
        &sql("SELECT n, lag(NAME) OVER (ORDER BY n) FROM t"),
        &["1 | NULL", "2 | apple", "3 | NULL", "4 | NULL", "5 | banana"],
    )
    .await
}

async fn in_distinct(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    check(
        session,
        &sql("SELECT DISTINCT NAME AS name FROM t ORDER BY name"),
        &["apple", "banana", "NULL"],
    )
    .await?;
    check(session, &sql("SELECT count(DISTINCT NAME) FROM t"), &["2"]).await?;
    check(
        session,
        &sql("SELECT DISTINCT ON (name) n FROM (SELECT n, NAME AS name FROM t) \
              ORDER BY name, n DESC"),
        &["5", "4", "3"],
    )
    .await?;
    session
        .check_failure(
            "SELECT DISTINCT ON (kv_exists(k, source => 'memory')) n FROM t",
            ErrorKind::Invalid,
            "a lookup cannot be made within a distinct on; compute it as a column of a subquery \
             first, and use that column",
        )
        .await
}

async fn in_limit_and_offset(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    check(session, &sql("SELECT n, NAME FROM t LIMIT 2"), &["1 | apple", "2 | NULL"]).await?;
    check(session, &sql("SELECT n, NAME FROM t LIMIT 2 OFFSET 2"), &["3 | NULL", "4 | banana"])
        .await?;
    check(
        session,
        &sql("SELECT n, NAME FROM (SELECT * FROM t LIMIT 3 OFFSET 1) WHERE NAME IS NOT NULL"),
        &["4 | banana"],
    )
    .await?;
    check(session, &sql("SELECT n FROM t WHERE NAME = 'apple' LIMIT 1"), &["1"]).await?;
    check(session, &sql("SELECT NAME FROM t LIMIT 0"), &[]).await
}

async fn a_limit_asks_for_no_more_batches_than_it_needs(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    // Row 2 would raise.
    let query = "SELECT kv_get(k, source => 'memory')['name'] FROM (SELECT k FROM t LIMIT 1)";
    session.check(query, &["apple"]).await?;
    assert_eq!(session.counted(query, "memory").await?.keys, 1);
    Ok(())
}

async fn in_union_all(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    check(
        session,
        &sql("SELECT n, NAME FROM t WHERE n > 3 UNION ALL SELECT n + 10, upper(NAME) FROM t \
              WHERE n < 2 UNION ALL SELECT 0, 'none'"),
        &["4 | banana", "5 | apple", "11 | APPLE", "0 | none"],
    )
    .await?;
    check(
        session,
        &sql("SELECT NAME FROM (SELECT k FROM t WHERE n = 4 UNION ALL SELECT 'c')"),
        &["banana", "cherry"],
    )
    .await
}

async fn in_common_table_expressions_and_subqueries(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    check(
        session,
        &sql(
            "WITH e AS (SELECT n, kv_get(k, source => 'STORE', on_error => 'null') AS v FROM t), \
              f AS (SELECT n, v['name'] AS name FROM e WHERE v IS NOT NULL) \
              SELECT name, max(n) FROM f GROUP BY name ORDER BY name",
        ),
        &["apple | 5", "banana | 4"],
    )
    .await?;
    check(
        session,
        &sql("SELECT n FROM t WHERE n IN (SELECT n FROM t WHERE NAME = 'apple') ORDER BY n"),
        &["1", "5"],
    )
    .await?;
    check(
        session,
        &sql("SELECT n FROM t WHERE n = (SELECT max(n) FROM t WHERE NAME = 'apple')"),
        &["5"],
    )
    .await?;
    check(
        session,
        &sql("SELECT n, NAME FROM t AS o WHERE EXISTS (SELECT 1 FROM t AS i WHERE i.n = o.n + 3 \
              AND kv_exists(i.k, source => 'STORE')) ORDER BY n"),
        &["1 | apple", "2 | NULL"],
    )
    .await
}

async fn above_and_below_joins_of_small_tables(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let colours =
        batch([("fruit", strings(["apple", "cherry"])), ("colour", strings(["red", "black"]))]);
    session.register_batches("colours", &[colours])?;
    check(
        session,
        &sql("SELECT t.n, colour, NAME FROM t JOIN colours ON t.n = length(colour) ORDER BY t.n"),
        &["3 | red | NULL", "5 | black | apple"],
    )
    .await?;
    check(
        session,
        &sql("SELECT n, colour FROM (SELECT n, NAME AS name FROM t) LEFT JOIN colours ON name = \
              fruit ORDER BY n"),
        &["1 | red", "2 | NULL", "3 | NULL", "4 | NULL", "5 | red"],
    )
    .await?;
    check(
        session,
        &sql("SELECT count(*) FROM (SELECT NAME AS x FROM t) CROSS JOIN colours"),
        &["10"],
    )
    .await
}

async fn offsets_count_in_the_order_of_columns_that_are_not_selected(
    session: &TestSession,
) -> Result<()> {
    open_shop(session).await?;
    for key in [PRICE, "CASE n WHEN 4 THEN 20 WHEN 1 THEN 10 WHEN 5 THEN 10 END"] {
        let order = format!("ORDER BY {key} DESC NULLS LAST, n");
        check(
            session,
            &format!("SELECT min(n), max(n) FROM (SELECT n FROM t {order} OFFSET 3)"),
            &["2 | 3"],
        )
        .await?;
        check(
            session,
            &format!("SELECT min(n), max(n) FROM (SELECT n FROM t {order} LIMIT 2 OFFSET 1)"),
            &["1 | 5"],
        )
        .await?;
    }
    Ok(())
}

async fn windows_over_equal_columns(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let rows = ["1 | apple", "2 | NULL", "3 | NULL", "4 | NULL", "5 | NULL"];
    for (value, partition) in [
        (NAME, NAME),
        (NAME, "kv_get(k, source => 'STORE', columns => 'name', on_error => 'null')['name']"),
    ] {
        let lead = format!("lead({value}) OVER (PARTITION BY {partition} ORDER BY n)");
        check(session, &format!("SELECT n, {lead} FROM t ORDER BY n"), &rows).await?;
    }
    session
        .check(
            "SELECT n, lead(x) OVER (PARTITION BY y ORDER BY n) FROM (SELECT n, n % 2 AS x, n % 2 \
             AS y FROM t) ORDER BY n",
            &["1 | 1", "2 | 0", "3 | 1", "4 | NULL", "5 | NULL"],
        )
        .await?;
    session
        .check(
            "SELECT n, lead(n) OVER (PARTITION BY k ORDER BY n) FROM t WHERE k = 'a'",
            &["1 | 5", "5 | NULL"],
        )
        .await?;
    // A key that is computed from a column of one value.
    session
        .check(
            "SELECT n, lead(n) OVER (PARTITION BY CASE WHEN n > 3 THEN k ELSE 'x' END ORDER BY n) \
             FROM t, (SELECT 1) WHERE k = 'a' ORDER BY n",
            &["1 | NULL", "5 | NULL"],
        )
        .await
}

async fn aggregates_of_aggregates(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    for (limit, expected) in [(0, ["0 | 0 | NULL"]), (9, ["5 | 5 | 5"])] {
        session
            .check(
                &format!(
                    "SELECT min(c), min(c) FILTER (WHERE c < 9), min(c) FILTER (WHERE c > 0) FROM \
                     (SELECT count(*) AS c FROM (SELECT * FROM t LIMIT {limit}))"
                ),
                &expected,
            )
            .await?;
    }
    session
        .check(
            "SELECT min(c) FILTER (WHERE c < 9) FROM (SELECT count(*) AS c FROM (SELECT * FROM t \
             LIMIT 0))",
            &["0"],
        )
        .await
}

async fn above_sorts_and_aggregates(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    check(
        session,
        &sql("SELECT n, NAME FROM (SELECT * FROM t ORDER BY n DESC LIMIT 3)"),
        &["5 | apple", "4 | banana", "3 | NULL"],
    )
    .await?;
    check(
        session,
        &sql("SELECT c, NAME FROM (SELECT k, count(*) AS c FROM t GROUP BY k) ORDER BY c DESC, \
              NAME NULLS LAST LIMIT 2"),
        &["2 | apple", "1 | banana"],
    )
    .await?;
    check(
        session,
        &sql("SELECT sum(c) FROM (SELECT PRICE AS c FROM (SELECT DISTINCT k FROM t))"),
        &["30"],
    )
    .await
}

async fn the_dataframe_api(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    for store in ["lance", "memory"] {
        let product = session.kv_get("k").source(store).on_error(OnError::Null).build()?;
        let t = session.table("t").await?.with_column("product", product)?;
        let name = get_field(col("product"), "name");
        let price = get_field(col("product"), "price");
        check_rows(
            t.clone()
                .filter(col("product").is_not_null())?
                .with_column("name", name.clone())?
                .select_columns(&["n", "name"])?
                .sort(vec![col("n").sort(false, false)])?
                .limit(1, Some(1))?,
            &["4 | banana"],
        )
        .await?;
        check_rows(
            t.clone()
                .aggregate(vec![name.alias("name")], vec![sum(price)])?
                .sort(vec![col("name").sort(true, false)])?,
            &["apple | 20", "banana | 20", "NULL | NULL"],
        )
        .await?;
        let colours = batch([("fruit", strings(["apple"])), ("colour", strings(["red"]))]);
        let named = t.select(vec![
            col("n"),
            get_field(col("product"), "name").alias("name"),
            lit(1).alias("one"),
        ])?;
        let colours = session.from_batches(&[colours])?;
        let joined = named.join(colours, JoinType::Inner, &["name"], &["fruit"], None)?;
        let joined = joined.sort(vec![col("n").sort(true, false)])?;
        check_rows(joined.select_columns(&["n", "colour"])?, &["1 | red", "5 | red"]).await?;
    }
    Ok(())
}

async fn explain_is_a_query(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let explain = async |statement: &str| {
        let query = format!("{statement} SELECT kv_exists(k, source => 'memory') FROM t");
        anyhow::Ok(session.rows(&query).await?.join("\n"))
    };
    assert!(explain("EXPLAIN").await?.contains("KvLookupExec"));
    let analyzed = explain("EXPLAIN ANALYZE").await?;
    assert!(analyzed.contains("memory: {keys=4, "), "{analyzed}");
    Ok(())
}

async fn statements_that_change_something_are_refused(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    for statement in [
        "DROP TABLE t",
        "CREATE TABLE u AS SELECT kv_get(k, source => 'memory') FROM t",
        "DELETE FROM t",
    ] {
        session
            .check_refusal(
                statement,
                ErrorKind::Invalid,
                "only SELECT, INSERT INTO a store, COPY to a folder and EXPLAIN are understood; \
                 inputs are registered and other outputs written outside SQL",
            )
            .await?;
    }
    for (statement, message) in [
        (
            "INSERT INTO t SELECT * FROM t",
            "INSERT INTO puts rows into attached Lance stores, and 't' is a table",
        ),
        (
            "INSERT INTO memory SELECT * FROM memory",
            "KV store 'memory' is a memory store; rows are put into Lance stores alone",
        ),
        (
            "COPY t TO 't.parquet'",
            "COPY writes a folder, 't.parquet/', or a Lance dataset; one file, 't.parquet', is \
             written outside SQL",
        ),
    ] {
        session.check_refusal(statement, ErrorKind::Invalid, message).await?;
    }
    session.check("SELECT count(*) FROM t", &["5"]).await
}
