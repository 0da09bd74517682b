//! Lookups in conditions over joins: for which rows they are made, and which come back.

use anyhow::Result;
use arrow::array::BooleanArray;
use keyloom_client::ErrorKind;

use super::check;
use crate::harness::{
    TestSession, batch, column, ints, on_all_deployments_and_ways, open_shop, strings,
};

on_all_deployments_and_ways! {
    in_where_with_keys_from_both_sides,
    in_where_for_rows_of_the_join_alone,
    in_where_over_groups_for_groups_that_pass_the_rest,
    in_where_with_subqueries,
    in_conditions_of_inner_joins,
    in_conditions_of_outer_joins_that_read_one_side_each,
    in_other_conditions_of_outer_joins_they_are_refused,
    on_columns_of_a_subquery_and_the_query_around_they_are_refused,
}

/// The shop, and `u`: colours by number, of which some are good, and a key `c` that is missing.
async fn open(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let good = BooleanArray::from(vec![true, false, true]);
    let rows = batch([
        ("m", ints([1, 2, 4])),
        ("fruit", strings(["apple", "cherry", "banana"])),
        ("c", strings(["a", "missing", "b"])),
        ("good", column(good)),
    ]);
    Ok(session.register_batches("u", &[rows])?)
}

async fn in_where_with_keys_from_both_sides(session: &TestSession) -> Result<()> {
    open(session).await?;
    const KEY: &str = "CASE WHEN good THEN k END";
    for join in ["t JOIN u ON n = m", "t CROSS JOIN u", "t, u"] {
        let sql = format!(
            "SELECT n, m FROM {join} WHERE kv_exists({KEY}, source => 'STORE') AND n = m ORDER BY n"
        );
        check(session, &sql, &["1 | 1", "4 | 4"]).await?;
    }
    check(
        session,
        "SELECT n, m FROM t, u WHERE kv_get(coalesce(k, c), source => 'STORE', on_error => \
         'null')['name'] = fruit ORDER BY n, m",
        &["1 | 1", "3 | 1", "3 | 4", "4 | 4", "5 | 1"],
    )
    .await
}

async fn in_where_for_rows_of_the_join_alone(session: &TestSession) -> Result<()> {
    open(session).await?;
    // Missing are the key of row 2 of both tables, and `x` of `t`.
    for sql in [
        "SELECT n FROM t JOIN u ON t.k = u.c WHERE kv_get(u.c, source => 'STORE')['price'] > 3 \
         ORDER BY n",
        "SELECT n FROM t JOIN u ON t.k = u.c WHERE kv_get(t.k, source => 'STORE')['price'] > 3 \
         ORDER BY n",
        "SELECT n FROM t JOIN u ON t.k = u.c WHERE u.good AND kv_get(u.c, source => \
         'STORE')['price'] > 3 ORDER BY n",
    ] {
        check(session, sql, &["1", "4", "5"]).await?;
    }
    for sql in [
        "SELECT n FROM t JOIN u ON n = m WHERE u.good AND kv_get(t.k, source => \
         'STORE')['price'] > 3 ORDER BY n",
        "SELECT n FROM t, u WHERE kv_get(t.k, source => 'STORE')['price'] > 3 AND u.good AND \
         t.n = u.m ORDER BY n",
        "SELECT n FROM t LEFT JOIN u ON n = m WHERE u.good AND kv_get(u.c, source => \
         'STORE')['price'] > 3 ORDER BY n",
    ] {
        check(session, sql, &["1", "4"]).await?;
    }
    // A later condition is not asked where one before it has decided.
    check(
        session,
        "SELECT n FROM t JOIN u ON n = m WHERE kv_exists(u.c, source => 'STORE') AND \
         kv_get(t.k, source => 'STORE')['price'] > 3 ORDER BY n",
        &["1", "4"],
    )
    .await
}

async fn in_where_over_groups_for_groups_that_pass_the_rest(session: &TestSession) -> Result<()> {
    open(session).await?;
    check(
        session,
        "SELECT k, count(*) FROM t GROUP BY k HAVING count(*) > 1 AND kv_get(k, source => \
         'STORE')['price'] > 3",
        &["a | 2"],
    )
    .await?;
    check(
        session,
        "SELECT n FROM (SELECT n, k, count(*) OVER (PARTITION BY k) AS c FROM t) WHERE c > 1 AND \
         kv_get(k, source => 'STORE')['price'] > 3 ORDER BY n",
        &["1", "5"],
    )
    .await
}

async fn in_where_with_subqueries(session: &TestSession) -> Result<()> {
    open(session).await?;
    check(
        session,
        "SELECT n FROM t WHERE n <> 2 AND kv_get(k, source => 'STORE')['name'] IN (SELECT fruit \
         FROM u) ORDER BY n",
        &["1", "4", "5"],
    )
    .await?;
    check(
        session,
        "SELECT n FROM t WHERE n <> 2 AND kv_get(k, source => 'STORE')['price'] > (SELECT min(m) \
         FROM u) ORDER BY n",
        &["1", "4", "5"],
    )
    .await?;
    check(
        session,
        "SELECT n FROM t JOIN u ON n = m WHERE good AND kv_get(k, source => 'STORE')['name'] NOT \
         IN (SELECT fruit FROM u WHERE m = 1) ORDER BY n",
        &["4"],
    )
    .await?;
    check(
        session,
        "SELECT n FROM t WHERE EXISTS (SELECT 1 FROM u JOIN t AS o ON o.n = u.m WHERE o.n = t.n AND \
         u.good AND kv_get(u.c, source => 'STORE')['price'] > 15)",
        &["4"],
    )
    .await
}

async fn in_conditions_of_inner_joins(session: &TestSession) -> Result<()> {
    open(session).await?;
    const NAME: &str = "kv_get(k, source => 'STORE', on_error => 'null')['name']";
    let rows = ["1 | 1", "4 | 4", "5 | 1"];
    for on in [
        format!("{NAME} = fruit"),
        format!("fruit = {NAME} AND kv_get(c, source => 'STORE')['price'] > 3"),
        format!("k = c AND {NAME} = kv_get(c, source => 'STORE')['name']"),
    ] {
        let sql = format!("SELECT n, m FROM t JOIN u ON {on} ORDER BY n, m");
        check(session, &sql, &rows).await?;
    }
    // The key is of both sides.
    check(
        session,
        "SELECT n, m FROM t JOIN u ON kv_exists(CASE WHEN n = m THEN k END, source => 'STORE') \
         ORDER BY n",
        &["1 | 1", "4 | 4"],
    )
    .await?;
    // Row 2 is missing, and no row of the join but for this condition.
    check(
        session,
        "SELECT n FROM t JOIN u ON n = m AND good AND kv_get(k, source => 'STORE')['price'] > 3 \
         ORDER BY n",
        &["1", "4"],
    )
    .await
}

async fn in_conditions_of_outer_joins_that_read_one_side_each(session: &TestSession) -> Result<()> {
    open(session).await?;
    check(
        session,
        "SELECT n, m FROM t LEFT JOIN u ON kv_get(k, source => 'STORE', on_error => \
         'null')['name'] = fruit ORDER BY n, m",
        &["1 | 1", "2 | NULL", "3 | NULL", "4 | 4", "5 | 1"],
    )
    .await?;
    check(
        session,
        "SELECT n, m FROM t FULL JOIN u ON kv_get(k, source => 'STORE', on_error => \
         'null')['price'] = kv_get(c, source => 'STORE', on_error => 'null')['price'] \
         ORDER BY n NULLS LAST, m",
        &["1 | 1", "2 | NULL", "3 | NULL", "4 | 4", "5 | 1", "NULL | 2"],
    )
    .await
}

async fn in_other_conditions_of_outer_joins_they_are_refused(session: &TestSession) -> Result<()> {
    open(session).await?;
    for on in [
        "n = m AND kv_exists(k, source => 'memory')",
        "kv_exists(coalesce(k, c), source => 'memory')",
        "kv_exists(k, source => 'memory') AND kv_exists(c, source => 'memory')",
    ] {
        session
            .check_failure(
                &format!("SELECT n FROM t LEFT JOIN u ON {on}"),
                ErrorKind::Invalid,
                "a lookup cannot be made within the condition of such a join; compute it as a \
                 column of a subquery first, and use that column",
            )
            .await?;
    }
    Ok(())
}

async fn on_columns_of_a_subquery_and_the_query_around_they_are_refused(
    session: &TestSession,
) -> Result<()> {
    open(session).await?;
    session
        .check_failure(
            "SELECT n FROM t WHERE EXISTS (SELECT 1 FROM u WHERE m = n AND \
             kv_exists(coalesce(t.k, u.c), source => 'memory'))",
            ErrorKind::Invalid,
            "a lookup stands where none can be made; compute it as a column of a subquery first, \
             and use that column",
        )
        .await
}
