//! Which keys are asked for where only some rows, fields or groups are wanted.

use anyhow::Result;
use keyloom_client::load_kv;

use super::{check, undivided_shop};
use crate::harness::{
    TestSession, batch, ints, on_all_deployments_and_ways, open_shop, write_lance,
};

on_all_deployments_and_ways! {
    the_first_rows_by_another_column_are_all_that_is_asked_for,
    the_first_rows_by_a_looked_up_column,
    conditions_that_do_not_read_an_answer_come_first,
    a_limit_above_unnested_structs_asks_for_its_rows,
    a_limit_above_unnested_lists_has_all_its_rows,
    outer_joins_with_stores_ask_for_the_first_rows_alone,
    a_limit_above_inner_joins_with_stores_asks_for_few_keys,
    the_first_rows_of_a_union_are_among_those_of_its_inputs,
    the_first_rows_of_an_outer_join_are_looked_up_alone,
    windows_of_which_few_rows_are_wanted_ask_for_those,
    what_decides_without_a_call_comes_first,
    groups_ask_once_each,
    aggregates_of_what_a_group_has_in_common_ask_once_a_group,
    fields_read_through_other_nodes,
    tests_for_null_ask_for_existence_and_still_raise,
}

/// Checks how many keys of each store a query asks for.
async fn check_keys(session: &TestSession, sql: &str, keys: u64) -> Result<()> {
    for store in ["lance", "memory"] {
        check_keys_of(session, store, sql, keys).await?;
    }
    Ok(())
}

async fn check_keys_of(session: &TestSession, store: &str, sql: &str, keys: u64) -> Result<()> {
    let sql = sql.replace("STORE", store);
    assert_eq!(session.counted(&sql, store).await?.keys, keys, "{sql}");
    Ok(())
}

async fn the_first_rows_by_another_column_are_all_that_is_asked_for(
    session: &TestSession,
) -> Result<()> {
    let session = undivided_shop(session).await?;
    // Row 2 would raise.
    for sql in [
        "SELECT n, kv_get(k, source => 'STORE')['name'] FROM t ORDER BY n DESC LIMIT 2",
        "SELECT n, p['name'] FROM (SELECT n, kv_get(k, source => 'STORE') AS p FROM t) AS x \
         ORDER BY x.n DESC LIMIT 2",
        "SELECT * FROM (SELECT n, kv_get(k, source => 'STORE')['name'] FROM t) \
         ORDER BY -n LIMIT 2",
    ] {
        check(&session, sql, &["5 | apple", "4 | banana"]).await?;
        check_keys(&session, sql, 2).await?;
    }
    let skipping = "SELECT kv_get(k, source => 'STORE')['name'] FROM t ORDER BY n DESC LIMIT 1 \
                    OFFSET 1";
    check(&session, skipping, &["banana"]).await
}

async fn the_first_rows_by_a_looked_up_column(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    let sql = "SELECT n, kv_get(k, source => 'STORE', on_error => 'null')['price'] AS price, \
               kv_get(k, source => 'STORE', on_error => 'null')['next'] FROM t \
               ORDER BY price DESC NULLS LAST, n LIMIT 2";
    check(&session, sql, &["4 | 20 | c", "1 | 10 | b"]).await?;
    // Four rows have a key, and two of them are wanted.
    check_keys(&session, sql, 4 + 2).await
}

async fn conditions_that_do_not_read_an_answer_come_first(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    // Row 2 would raise.
    let sql = "SELECT n, name FROM (SELECT n, kv_exists(k, source => 'backup') AS e, \
               kv_get(k, source => 'STORE')['name'] AS name FROM t) AS x WHERE NOT e";
    check(&session, sql, &["1 | apple", "4 | banana", "5 | apple"]).await?;
    check_keys(&session, sql, 3).await
}

async fn a_limit_above_unnested_structs_asks_for_its_rows(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    let sql = "SELECT n, unnest(kv_get(k, source => 'STORE', columns => ['name', 'price'])) \
               FROM t LIMIT 1";
    check(&session, sql, &["1 | apple | 10"]).await?;
    check_keys(&session, sql, 1).await
}

async fn a_limit_above_unnested_lists_has_all_its_rows(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    // The lists of rows 1 and 5 are empty.
    check(
        session,
        "SELECT n, v['name'] FROM (SELECT n, unnest(kv_batch_get(array_remove([k], 'a'), source \
         => 'STORE', on_error => 'null')) AS v FROM t WHERE n <> 3) LIMIT 2",
        &["2 | NULL", "4 | banana"],
    )
    .await
}

async fn outer_joins_with_stores_ask_for_the_first_rows_alone(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    let left = "SELECT n, p.name FROM t LEFT JOIN STORE p ON k = p.id ORDER BY n DESC LIMIT 2";
    check(&session, left, &["5 | apple", "4 | banana"]).await?;
    check_keys(&session, left, 2).await?;
    let right = "SELECT p.name, n FROM STORE p RIGHT JOIN t ON p.id = k ORDER BY n DESC LIMIT 1 \
                 OFFSET 1";
    check(&session, right, &["banana | 4"]).await?;
    // Where a key may stand in several rows, it is not known before which of them are left out.
    check_keys_of(&session, "lance", right, 2).await?;
    check_keys_of(&session, "memory", right, 1).await?;
    let first = "SELECT n, p.name FROM t LEFT JOIN STORE p ON k = p.id LIMIT 1";
    check(&session, first, &["1 | apple"]).await?;
    check_keys(&session, first, 1).await
}

async fn a_limit_above_inner_joins_with_stores_asks_for_few_keys(
    session: &TestSession,
) -> Result<()> {
    let session = session.undivided().await?;
    // So many rows to those of the store that all of them are joined with a scan. Every fourth
    // finds one, and the keys of the others are distinct.
    let found = |n: i64| n % 4 == 0;
    let rows = batch([
        ("n", ints(0..40_000_i64)),
        ("k", ints((0..40_000_i64).map(|n| if found(n) { n / 4 % 1000 } else { -n }))),
    ]);
    session.register_batches("many", &[rows])?;
    let held = batch([("id", ints(0..1000_i64)), ("size", ints((0..1000_i64).map(|id| id * 10)))]);
    let uri = session.path("few.lance");
    write_lance(&uri, &[held], 1000).await?;
    session.attach(load_kv("few", session.lance(uri, "id").await?)?, "few").await?;
    let join = "many JOIN few ON k = id";
    let counting = format!("SELECT count(*) FROM {join}");
    session.check(&counting, &["10000"]).await?;
    assert_eq!(session.counted(&counting, "few").await?.keys, 0);
    let first = ["0 | 0", "4 | 10", "8 | 20"];
    let union = format!("(SELECT n, size FROM {join} UNION ALL SELECT n, size FROM {join})");
    for (sql, expected) in [
        (format!("SELECT n, size FROM {join} LIMIT 3"), &first[..]),
        (format!("SELECT n, size FROM {join} WHERE size + n > 40 LIMIT 1 OFFSET 1"), &["16 | 40"]),
        (format!("SELECT n, size FROM {union} LIMIT 3"), &first[..]),
    ] {
        session.check(&sql, expected).await?;
        let keys = session.counted(&sql, "few").await?.keys;
        assert!((1..15_000).contains(&keys), "{keys} keys: {sql}");
    }
    Ok(())
}

async fn the_first_rows_of_a_union_are_among_those_of_its_inputs(
    session: &TestSession,
) -> Result<()> {
    let session = undivided_shop(session).await?;
    let call = "kv_get(k, source => 'STORE', on_error => 'null')['name'] AS name";
    let sql = format!(
        "SELECT n, {call} FROM t UNION ALL SELECT n + 10 AS n, {call} FROM t ORDER BY n DESC LIMIT 2"
    );
    check(&session, &sql, &["15 | apple", "14 | banana"]).await?;
    // Two rows of each.
    check_keys(&session, &sql, 2 + 2).await
}

async fn the_first_rows_of_an_outer_join_are_looked_up_alone(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    // Row 2 would raise.
    let sql = "SELECT x.n, name, y.n FROM (SELECT n, kv_get(k, source => 'STORE')['name'] AS name \
               FROM t) AS x LEFT JOIN t AS y ON y.n = x.n + 1 ORDER BY x.n DESC LIMIT 2";
    check(&session, sql, &["5 | apple | NULL", "4 | banana | 5"]).await?;
    check_keys(&session, sql, 2).await
}

async fn windows_of_which_few_rows_are_wanted_ask_for_those(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    // Row 2 would raise.
    let windows = "(SELECT n, name, row_number() OVER (ORDER BY n DESC) AS r FROM (SELECT n, \
                   kv_get(k, source => 'STORE')['name'] AS name FROM t) AS x) AS y";
    for end in ["WHERE r <= 2 ORDER BY r", "ORDER BY r LIMIT 2"] {
        let sql = format!("SELECT n, name, r FROM {windows} {end}");
        check(&session, &sql, &["5 | apple | 1", "4 | banana | 2"]).await?;
        check_keys(&session, &sql, 2).await?;
    }
    Ok(())
}

async fn what_decides_without_a_call_comes_first(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    // Row 2 would raise.
    for (condition, expected, keys) in [
        ("kv_exists(k, source => 'STORE') OR n > 1", &["1", "2", "3", "4", "5"][..], 1),
        ("kv_get(k, source => 'STORE')['price'] = 20 OR n = 2", &["2", "4"], 3),
        ("kv_get(k, source => 'STORE')['price'] = 10 AND n > 3 OR n = 2", &["2", "5"], 2),
        ("NOT (kv_get(k, source => 'STORE')['price'] = 10 AND n <> 2)", &["2", "4"], 3),
    ] {
        let sql = format!("SELECT n FROM t WHERE {condition}");
        check(&session, &sql, expected).await?;
        check_keys(&session, &sql, keys).await?;
    }
    Ok(())
}

async fn aggregates_of_what_a_group_has_in_common_ask_once_a_group(
    session: &TestSession,
) -> Result<()> {
    let session = undivided_shop(session).await?;
    let call = "kv_get(k, source => 'STORE', on_error => 'null')";
    for (sql, expected, keys) in [
        (
            "SELECT k, max(CALL['price']), count(*) FROM t GROUP BY k ORDER BY k",
            ["a | 10 | 2", "b | 20 | 1", "x | NULL | 1", "NULL | NULL | 1"],
            3,
        ),
        (
            "SELECT k, first_value(p['name']), sum(n) FROM (SELECT n, k, CALL AS p FROM t) AS x \
             GROUP BY k ORDER BY k",
            ["a | apple | 6", "b | banana | 4", "x | NULL | 2", "NULL | NULL | 3"],
            3,
        ),
        (
            "SELECT k, count(DISTINCT CALL['price']), count(*) FROM t GROUP BY k ORDER BY k",
            ["a | 1 | 2", "b | 1 | 1", "x | 0 | 1", "NULL | 0 | 1"],
            3,
        ),
        (
            "SELECT k, count(DISTINCT CALL), count(DISTINCT n) FROM t GROUP BY k ORDER BY k",
            ["a | 1 | 2", "b | 1 | 1", "x | 0 | 1", "NULL | 0 | 1"],
            3,
        ),
        (
            "SELECT k, sum(CALL['price']), count(*) FROM t GROUP BY k ORDER BY k",
            ["a | 20 | 2", "b | 20 | 1", "x | NULL | 1", "NULL | NULL | 1"],
            4,
        ),
    ] {
        let sql = sql.replace("CALL", call);
        check(&session, &sql, &expected).await?;
        check_keys(&session, &sql, keys).await?;
    }
    let computed = "SELECT lower(k) AS l, max(kv_get(lower(k), source => 'STORE', on_error => \
                    'null')['name']), count(*) FROM t GROUP BY lower(k) ORDER BY l";
    let groups = ["a | apple | 2", "b | banana | 1", "x | NULL | 1", "NULL | NULL | 1"];
    check(&session, computed, &groups).await?;
    check_keys(&session, computed, 3).await?;
    let steps = format!(
        "SELECT name, sum(c) FROM (SELECT k, {call}['name'] AS name, count(*) AS c FROM t GROUP BY \
         k) AS g GROUP BY name ORDER BY name"
    );
    check(&session, &steps, &["apple | 2", "banana | 1", "NULL | 2"]).await?;
    check_keys(&session, &steps, 3).await
}

async fn groups_ask_once_each(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    let sql = "SELECT k, kv_get(k, source => 'STORE', on_error => 'null')['name'] AS name, \
               count(*) FROM t GROUP BY k, name ORDER BY k";
    let groups = ["a | apple | 2", "b | banana | 1", "x | NULL | 1", "NULL | NULL | 1"];
    check(&session, sql, &groups).await?;
    check_keys(&session, sql, 3).await?;
    let distinct = "SELECT DISTINCT k, kv_get(k, source => 'STORE', on_error => 'null')['name'] \
                    FROM t ORDER BY k";
    check(&session, distinct, &["a | apple", "b | banana", "x | NULL", "NULL | NULL"]).await?;
    check_keys(&session, distinct, 3).await
}

async fn fields_read_through_other_nodes(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let rows = "(SELECT n, kv_get(k, source => 'STORE', on_error => 'null') AS p FROM t)";
    for (sql, expected) in [
        ("SELECT sum(p['price']), count(p), count(*) FROM ROWS", &["40 | 3 | 5"][..]),
        (
            "SELECT p['name'], max(n) FROM ROWS WHERE p IS NOT NULL GROUP BY p['name'] ORDER BY 1",
            &["apple | 5", "banana | 4"],
        ),
        (
            "SELECT n, p['name'] FROM (SELECT * FROM ROWS WHERE n < 3 UNION ALL \
             SELECT n + 10, p FROM ROWS WHERE n > 4)",
            &["1 | apple", "2 | NULL", "15 | apple"],
        ),
        (
            "SELECT x.n, x.p['price'], y.p['name'] FROM ROWS AS x LEFT JOIN ROWS AS y \
             ON y.n = x.p['price'] / 5 WHERE x.n <> 3 ORDER BY x.n",
            &["1 | 10 | NULL", "2 | NULL | NULL", "4 | 20 | banana", "5 | 10 | NULL"],
        ),
        (
            "SELECT n, (CASE WHEN n > 2 THEN p ELSE kv_get('c', source => 'STORE') END)['name'] \
             FROM ROWS",
            &["1 | cherry", "2 | cherry", "3 | NULL", "4 | banana", "5 | apple"],
        ),
    ] {
        check(session, &sql.replace("ROWS", rows), expected).await?;
    }
    Ok(())
}

async fn tests_for_null_ask_for_existence_and_still_raise(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let answers = ["true", "false", "false", "true", "true"];
    let call = "kv_get(k, source => 'STORE', on_error => 'null')";
    check(session, &format!("SELECT {call} IS NOT NULL FROM t"), &answers).await?;
    let tested = format!("SELECT p IS NOT NULL FROM (SELECT {call} AS p FROM t)");
    check(session, &tested, &answers).await?;
    check(session, &format!("SELECT n FROM t WHERE {call} IS NULL"), &["2", "3"]).await?;
    let raising = "kv_get(k, source => 'memory')";
    let some = format!("SELECT n FROM t WHERE n <> 2 AND {raising} IS NULL");
    session.check(&some, &["3"]).await?;
    for sql in [
        format!("SELECT n FROM t WHERE {raising} IS NULL"),
        format!("SELECT count(p) FROM (SELECT {raising} AS p FROM t)"),
    ] {
        let error = session.failure(&sql).await?;
        assert_eq!(error.message(), "Key not found in KV store 'memory': x", "{sql}");
    }
    Ok(())
}
