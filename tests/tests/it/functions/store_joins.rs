//! Stores as tables: joins with them, scans of them, and conditions that name their keys.

use anyhow::Result;
use arrow::array::Int8Array;
use keyloom_client::{ErrorKind, JoinPath, Settings};

use super::check;
use crate::harness::{
    Deployment, TestSession, batch, column, ints, items, on_all_deployments_and_ways, open_shop,
    strings,
};

on_all_deployments_and_ways! {
    outer_joins_keep_rows_whose_key_is_missing_or_null,
    inner_joins_drop_them,
    either_side_of_a_join_may_be_the_store,
    further_conditions_decide_what_matches,
    existence_is_asked_by_subqueries,
    several_stores_are_joined,
    a_store_is_joined_through_another,
    calls_beside_joins_answer_as_they_would_by_themselves,
    calls_beside_joins_of_keys_with_several_rows_do_so_too,
    keys_of_several_columns_are_joined,
    conditions_name_keys,
    what_is_no_lookup_is_a_scan,
    a_scan_and_a_lookup_give_the_same_rows,
    keys_of_several_rows_give_all_of_them,
    all_rows_of_a_key_are_a_list,
}

async fn outer_joins_keep_rows_whose_key_is_missing_or_null(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let expected = ["1 | apple", "2 | NULL", "3 | NULL", "4 | banana", "5 | apple"];
    for sql in [
        "SELECT n, p.name FROM t LEFT JOIN STORE p ON t.k = p.id ORDER BY n",
        "SELECT n, name FROM t LEFT JOIN STORE ON k = id ORDER BY n",
        "SELECT n, p.name FROM STORE p RIGHT JOIN t ON t.k = p.id ORDER BY n",
        "SELECT n, name FROM (SELECT n, k AS id FROM t) q LEFT JOIN STORE USING (id) ORDER BY n",
        "SELECT n, p.title FROM t LEFT JOIN (SELECT id, name AS title FROM STORE) p ON k = p.id \
         ORDER BY n",
    ] {
        check(session, sql, &expected).await?;
    }
    check(
        session,
        "SELECT n FROM t LEFT JOIN STORE p ON t.k = p.id WHERE p.id IS NULL ORDER BY n",
        &["2", "3"],
    )
    .await?;
    check(
        session,
        "SELECT t.*, p.* FROM t LEFT JOIN STORE p ON t.k = p.id WHERE n < 3 ORDER BY n",
        &["1 | a | a | apple | 10 | b", "2 | x | NULL | NULL | NULL | NULL"],
    )
    .await
}

async fn inner_joins_drop_them(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    for sql in [
        "SELECT n, p.name FROM t JOIN STORE p ON t.k = p.id ORDER BY n",
        "SELECT n, p.name FROM t, STORE p WHERE p.id = t.k ORDER BY n",
        "SELECT n, name FROM (SELECT n, k AS id FROM t) q JOIN STORE USING (id) ORDER BY n",
    ] {
        check(session, sql, &["1 | apple", "4 | banana", "5 | apple"]).await?;
    }
    check(session, "SELECT n FROM t JOIN STORE ON k = id ORDER BY n", &["1", "4", "5"]).await?;
    check(session, "SELECT count(*) FROM t JOIN STORE ON k = id", &["3"]).await
}

async fn either_side_of_a_join_may_be_the_store(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    for sql in [
        "SELECT p.id, n FROM STORE p JOIN t ON p.id = t.k ORDER BY n",
        "SELECT p.id, n FROM t JOIN STORE p ON p.id = t.k ORDER BY n",
    ] {
        check(session, sql, &["a | 1", "b | 4", "a | 5"]).await?;
    }
    check(
        session,
        "SELECT p.id, q.id FROM STORE p LEFT JOIN STORE q ON p.next = q.id ORDER BY p.id",
        &["a | b", "b | c", "c | NULL"],
    )
    .await
}

async fn further_conditions_decide_what_matches(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    check(
        session,
        "SELECT n, p.name FROM t LEFT JOIN STORE p ON t.k = p.id AND p.price > 10 ORDER BY n",
        &["1 | NULL", "2 | NULL", "3 | NULL", "4 | banana", "5 | NULL"],
    )
    .await?;
    check(
        session,
        "SELECT n, p.name FROM t LEFT JOIN STORE p ON t.k = p.id AND p.price > t.n * 9 ORDER BY n",
        &["1 | apple", "2 | NULL", "3 | NULL", "4 | NULL", "5 | NULL"],
    )
    .await?;
    check(
        session,
        "SELECT n FROM t JOIN STORE p ON t.k = p.id AND t.n > 1 WHERE p.name LIKE '%a%' ORDER BY n",
        &["4", "5"],
    )
    .await?;
    for join in
        ["LEFT JOIN STORE p ON t.k = p.id AND t.n > 1", "LEFT JOIN STORE p ON n > 1 AND k = id"]
    {
        let sql = format!("SELECT n, p.name FROM t {join} ORDER BY n");
        check(session, &sql, &["1 | NULL", "2 | NULL", "3 | NULL", "4 | banana", "5 | apple"])
            .await?;
    }
    // A row that is not found is not what a condition holds for, whatever it makes of nulls.
    check(
        session,
        "SELECT n FROM t JOIN STORE p ON t.k = p.id AND coalesce(p.price, 99) > 10 ORDER BY n",
        &["4"],
    )
    .await?;
    // Nor is it one of which a condition may fail.
    check(
        session,
        "SELECT n FROM t JOIN STORE p ON t.k = p.id AND 100 / coalesce(p.price, 0) > 5 ORDER BY n",
        &["1", "5"],
    )
    .await
}

async fn existence_is_asked_by_subqueries(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    for sql in [
        "SELECT n FROM t WHERE k IN (SELECT id FROM STORE) ORDER BY n",
        "SELECT n FROM t WHERE EXISTS (SELECT 1 FROM STORE p WHERE p.id = t.k) ORDER BY n",
        "SELECT n FROM t LEFT SEMI JOIN STORE p ON p.id = t.k ORDER BY n",
    ] {
        check(session, sql, &["1", "4", "5"]).await?;
    }
    for sql in [
        "SELECT n FROM t WHERE NOT EXISTS (SELECT 1 FROM STORE p WHERE p.id = t.k) ORDER BY n",
        "SELECT n FROM t LEFT ANTI JOIN STORE p ON p.id = t.k ORDER BY n",
    ] {
        check(session, sql, &["2", "3"]).await?;
    }
    check(
        session,
        "SELECT n FROM t WHERE NOT EXISTS (SELECT 1 FROM STORE p WHERE p.id = t.k AND p.price > \
         10) ORDER BY n",
        &["1", "2", "3", "5"],
    )
    .await?;
    check(
        session,
        "SELECT n FROM t WHERE n = 3 OR EXISTS (SELECT 1 FROM STORE p WHERE p.id = t.k) ORDER BY n",
        &["1", "3", "4", "5"],
    )
    .await
}

async fn several_stores_are_joined(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    check(
        session,
        "SELECT n, coalesce(p.name, b.name) FROM t LEFT JOIN STORE p ON t.k = p.id LEFT JOIN \
         backup b ON t.k = b.id ORDER BY n",
        &["1 | apple", "2 | spare", "3 | NULL", "4 | banana", "5 | apple"],
    )
    .await?;
    check(
        session,
        "SELECT n, p.name, kv_get(k, source => 'STORE', on_error => 'null')['price'] FROM t LEFT \
         JOIN STORE p ON t.k = p.id ORDER BY n",
        &[
            "1 | apple | 10",
            "2 | NULL | NULL",
            "3 | NULL | NULL",
            "4 | banana | 20",
            "5 | apple | 10",
        ],
    )
    .await
}

async fn a_store_is_joined_through_another(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    check(
        session,
        "SELECT n, p.name, q.name FROM t JOIN STORE p ON t.k = p.id JOIN STORE q ON p.next = q.id \
         ORDER BY n",
        &["1 | apple | banana", "4 | banana | cherry", "5 | apple | banana"],
    )
    .await?;
    check(
        session,
        "SELECT n, p.name, b.name FROM t LEFT JOIN STORE p ON t.k = p.id LEFT JOIN backup b ON \
         coalesce(p.id, 'x') = b.id ORDER BY n",
        &[
            "1 | apple | NULL",
            "2 | NULL | spare",
            "3 | NULL | spare",
            "4 | banana | NULL",
            "5 | apple | NULL",
        ],
    )
    .await
}

async fn calls_beside_joins_answer_as_they_would_by_themselves(
    session: &TestSession,
) -> Result<()> {
    open_shop(session).await?;
    // `x` is missing, but no row that is left asks for it.
    for sql in [
        "SELECT n, kv_get(k, source => 'STORE')['price'] FROM t JOIN STORE p ON t.k = p.id ORDER \
         BY n",
        "SELECT n, kv_get(k, source => 'STORE')['price'] FROM t WHERE k IN (SELECT id FROM STORE) \
         ORDER BY n",
        "SELECT n, kv_get(x.k, source => 'STORE')['price'] FROM (SELECT t.* FROM t JOIN STORE p \
         ON t.k = p.id) AS x ORDER BY n",
        "SELECT n, v FROM (SELECT n, k, kv_get(k, source => 'STORE', on_error => \
         'null')['price'] AS v FROM t) AS x JOIN STORE p ON x.k = p.id ORDER BY n",
        "SELECT n, p.price FROM t JOIN STORE p ON t.k = p.id WHERE kv_exists(k, source => \
         'STORE') ORDER BY n",
        "SELECT n, p.price FROM t JOIN STORE p ON t.k = p.id JOIN STORE q ON t.k = q.id ORDER BY n",
    ] {
        check(session, sql, &["1 | 10", "4 | 20", "5 | 10"]).await?;
    }
    check(
        session,
        "SELECT n, p.next FROM t JOIN STORE p ON t.k = p.id WHERE kv_get(k, source => \
         'STORE')['price'] > 10 ORDER BY n",
        &["4 | c"],
    )
    .await?;
    check(
        session,
        "SELECT n, kv_get(k, source => 'STORE')['name'] FROM t JOIN STORE p ON t.k = p.id AND \
         p.price < n * 3 ORDER BY n",
        &["5 | apple"],
    )
    .await?;
    check(
        session,
        "SELECT n, kv_exists(k, source => 'STORE') FROM t LEFT ANTI JOIN STORE p ON p.id = t.k \
         ORDER BY n",
        &["2 | false", "3 | NULL"],
    )
    .await?;
    check(
        session,
        "SELECT kv_get(k, source => 'STORE')['price'] AS cost, count(*) FROM t JOIN STORE p ON \
         t.k = p.id GROUP BY cost ORDER BY cost",
        &["10 | 2", "20 | 1"],
    )
    .await?;
    for store in ["lance", "memory"] {
        session
            .check_failure(
                &format!(
                    "SELECT n, kv_get(k, source => '{store}')['price'] FROM t LEFT ANTI JOIN \
                     {store} p ON p.id = t.k"
                ),
                ErrorKind::NotFound,
                &format!("Key not found in KV store '{store}': x"),
            )
            .await?;
    }
    Ok(())
}

async fn calls_beside_joins_of_keys_with_several_rows_do_so_too(
    session: &TestSession,
) -> Result<()> {
    open_twice(session).await?;
    session
        .check(
            "SELECT n, v, kv_exists(k, source => 'lance') FROM t JOIN lance ON k = id ORDER BY n, \
             v",
            &["1 | 1 | true", "1 | 3 | true", "4 | 2 | true", "5 | 1 | true", "5 | 3 | true"],
        )
        .await?;
    session
        .check(
            "SELECT n, v, kv_get_all(k, source => 'lance', columns => ['v']) FROM t JOIN lance ON \
             k = id AND v > 1 ORDER BY n, v",
            &["1 | 3 | [{v: 1}, {v: 3}]", "4 | 2 | [{v: 2}]", "5 | 3 | [{v: 1}, {v: 3}]"],
        )
        .await?;
    // Of `a`, no row is left that would ask which of its two is meant.
    session
        .check(
            "SELECT n, kv_get(k, source => 'lance')['v'] FROM t JOIN lance ON k = id AND v = 2",
            &["4 | 2"],
        )
        .await?;
    let failure = session
        .failure("SELECT n, kv_get(k, source => 'lance')['v'] FROM t JOIN lance ON k = id")
        .await?;
    let expected = "key a stands in several rows of KV store 'lance'";
    assert!(failure.message().contains(expected), "{failure}");
    Ok(())
}

async fn keys_of_several_columns_are_joined(session: &TestSession) -> Result<()> {
    let stock = batch([
        ("stock", ints([11, 12, 21])),
        ("article", column(Int8Array::from(vec![1, 2, 1]))),
        ("shop", strings(["a", "a", "b"])),
    ]);
    session.attach_lance("lance", stock.clone(), ["shop", "article"]).await?;
    session.attach_memory("memory", stock, ["shop", "article"]).await?;
    let asked = batch([
        ("n", ints([1, 2, 3, 4, 5])),
        ("s", strings([Some("b"), Some("a"), Some("c"), None, Some("a")])),
        // One is no value of the store's column.
        ("a", ints([1, 2, 1, 1, 300])),
    ]);
    session.register_batches("t", &[asked])?;
    check(
        session,
        "SELECT n, stock FROM t LEFT JOIN STORE ON s = shop AND a = article ORDER BY n",
        &["1 | 21", "2 | 12", "3 | NULL", "4 | NULL", "5 | NULL"],
    )
    .await?;
    check(
        session,
        "SELECT n, stock FROM t JOIN STORE ON a = article AND s = shop AND stock > n * 10 ORDER BY \
         n",
        &["1 | 21"],
    )
    .await?;
    // Not on all of the key.
    check(
        session,
        "SELECT n, stock FROM t JOIN STORE ON s = shop WHERE n < 3 ORDER BY n, stock",
        &["1 | 21", "2 | 11", "2 | 12"],
    )
    .await?;
    check(session, "SELECT stock FROM STORE WHERE shop = 'a' AND article = 2", &["12"]).await
}

async fn conditions_name_keys(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let cases: [(&str, &[&str]); 8] = [
        ("id = 'b'", &["b | banana"]),
        ("'b' = id", &["b | banana"]),
        ("id = 'zz'", &[]),
        ("id IN ('c', 'a', 'zz')", &["a | apple", "c | cherry"]),
        ("id IN ('c', 'a', 'zz', 'y', NULL, 'a')", &["a | apple", "c | cherry"]),
        ("(id = 'a' OR id = 'b') AND price > 10", &["b | banana"]),
        ("id IN ('a', 'b') AND id <> 'a'", &["b | banana"]),
        ("id = 'a' OR price > 10", &["a | apple", "b | banana"]),
    ];
    for (condition, expected) in cases {
        let sql = format!("SELECT id, name FROM STORE WHERE {condition} ORDER BY id");
        check(session, &sql, expected).await?;
    }
    check(session, "SELECT count(*) FROM STORE WHERE id IN ('a', 'b', 'x', 'y')", &["2"]).await
}

async fn what_is_no_lookup_is_a_scan(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    check(session, "SELECT count(*), sum(price) FROM STORE", &["3 | 30"]).await?;
    check(
        session,
        "SELECT * FROM STORE WHERE price IS NOT NULL ORDER BY id DESC",
        &["b | banana | 20 | c", "a | apple | 10 | b"],
    )
    .await?;
    check(
        session,
        "SELECT n, p.id FROM t FULL JOIN STORE p ON t.k = p.id ORDER BY n, p.id",
        &["1 | a", "2 | NULL", "3 | NULL", "4 | b", "5 | a", "NULL | c"],
    )
    .await?;
    check(
        session,
        "SELECT n, p.id FROM t RIGHT JOIN STORE p ON t.k = p.id ORDER BY n, p.id",
        &["1 | a", "4 | b", "5 | a", "NULL | c"],
    )
    .await?;
    check(
        session,
        "SELECT n, p.id FROM t JOIN STORE p ON t.k = p.next ORDER BY n",
        &["2 | c", "4 | a"],
    )
    .await
}

async fn a_scan_and_a_lookup_give_the_same_rows(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let settings = Settings { join_path: JoinPath::Scan, ..Settings::default() };
    let scanning = Deployment::Embedded.session_with(settings).await?;
    open_shop(&scanning).await?;
    for sql in [
        "SELECT t.*, p.* FROM t LEFT JOIN lance p ON t.k = p.id ORDER BY n",
        "SELECT t.*, p.* FROM t JOIN lance p ON t.k = p.id AND p.price > n ORDER BY n",
        "SELECT n FROM t WHERE k IN (SELECT id FROM lance) ORDER BY n",
    ] {
        let (looked_up, scanned) = (plan(session, sql).await?, plan(&scanning, sql).await?);
        assert!(looked_up.contains("KvLookupExec") && !looked_up.contains("Join"), "{looked_up}");
        assert!(scanned.contains("HashJoinExec") && !scanned.contains("KvLookup"), "{scanned}");
        assert_eq!(session.rows(sql).await?, scanning.rows(sql).await?, "{sql}");
    }
    Ok(())
}

/// The table `t`, and the store `lance` in which `a` stands twice.
async fn open_twice(session: &TestSession) -> Result<()> {
    let rows = batch([("id", strings(["a", "b", "a"])), ("v", ints([1, 2, 3]))]);
    session.attach_lance("lance", rows, "id").await?;
    Ok(session.register_batches("t", &[items()])?)
}

async fn keys_of_several_rows_give_all_of_them(session: &TestSession) -> Result<()> {
    open_twice(session).await?;
    session
        .check(
            "SELECT n, v FROM t LEFT JOIN lance ON k = id ORDER BY n, v",
            &["1 | 1", "1 | 3", "2 | NULL", "3 | NULL", "4 | 2", "5 | 1", "5 | 3"],
        )
        .await?;
    session
        .check("SELECT n, v FROM t JOIN lance ON k = id AND v > n ORDER BY n, v", &["1 | 3"])
        .await?;
    session
        .check(
            "SELECT n, v FROM t LEFT JOIN lance ON k = id AND v > 1 ORDER BY n, v",
            &["1 | 3", "2 | NULL", "3 | NULL", "4 | 2", "5 | 3"],
        )
        .await?;
    session.check("SELECT count(*) FROM t JOIN lance ON k = id", &["5"]).await?;
    session
        .check("SELECT n FROM t WHERE k IN (SELECT id FROM lance) ORDER BY n", &["1", "4", "5"])
        .await?;
    session.check("SELECT v FROM lance WHERE id = 'a' ORDER BY v", &["1", "3"]).await?;
    session.check("SELECT v FROM lance WHERE id IN ('b', 'a') ORDER BY v", &["1", "2", "3"]).await
}

async fn all_rows_of_a_key_are_a_list(session: &TestSession) -> Result<()> {
    open_twice(session).await?;
    session
        .check(
            "SELECT n, kv_get_all(k, source => 'lance', columns => ['v'], on_error => 'null') FROM \
             t ORDER BY n",
            &[
                "1 | [{v: 1}, {v: 3}]",
                "2 | NULL",
                "3 | NULL",
                "4 | [{v: 2}]",
                "5 | [{v: 1}, {v: 3}]",
            ],
        )
        .await?;
    session
        .check_failure(
            "SELECT kv_get_all(k, source => 'lance') FROM t",
            ErrorKind::NotFound,
            "Key not found in KV store 'lance': x",
        )
        .await?;
    // One fetch answers both, and each as it would by itself.
    let failure = session
        .failure(
            "SELECT kv_get_all(k, source => 'lance', on_error => 'null'), kv_get(k, source => \
             'lance', on_error => 'null') FROM t",
        )
        .await?;
    let expected = "key a stands in several rows of KV store 'lance'";
    assert!(failure.message().contains(expected), "{failure}");
    Ok(())
}

async fn plan(session: &TestSession, sql: &str) -> Result<String> {
    Ok(session.explain(session.sql(sql).await?, false).await?)
}

#[tokio::test]
async fn joins_ask_for_the_columns_that_are_used_at_once() -> Result<()> {
    let session = Deployment::Embedded.session().await?;
    open_shop(&session).await?;
    let two = plan(
        &session,
        "SELECT n, p.name, b.price FROM t LEFT JOIN memory p ON k = p.id LEFT JOIN backup b ON k \
         = b.id",
    )
    .await?;
    assert_eq!(two.matches("KvLookupExec").count(), 1, "{two}");
    for part in ["memory@immutable", "backup@immutable", "= {name} or null", "= {price} or null"] {
        assert!(two.contains(part), "{part}: {two}");
    }
    assert!(!two.contains("wave 2"), "{two}");
    let through = plan(
        &session,
        "SELECT n, q.name FROM t LEFT JOIN memory p ON k = p.id LEFT JOIN lance q ON p.next = q.id",
    )
    .await?;
    assert_eq!(through.matches("KvLookupExec").count(), 1, "{through}");
    assert!(through.contains("{next} or null") && through.contains("wave 2"), "{through}");
    let beside = plan(
        &session,
        "SELECT n, p.name, kv_get(k, source => 'lance', on_error => 'null')['price'] AS price FROM \
         t LEFT JOIN lance p ON t.k = p.id",
    )
    .await?;
    assert_eq!(beside.matches("KvLookupExec").count(), 1, "{beside}");
    assert_eq!(beside.matches(" by k@1 = id").count(), 1, "{beside}");
    let exists = plan(&session, "SELECT n FROM t WHERE k IN (SELECT id FROM memory)").await?;
    assert!(exists.contains("= exists"), "{exists}");
    Ok(())
}

#[tokio::test]
async fn joins_and_the_calls_above_and_below_them_are_one_fetch() -> Result<()> {
    let session = Deployment::Embedded.session().await?;
    open_shop(&session).await?;
    for sql in [
        "SELECT n, kv_get(k, source => 'STORE')['price'] AS v FROM t JOIN STORE p ON t.k = p.id",
        "SELECT n, p.name, kv_get(k, source => 'STORE')['price'] + 1 AS price FROM t JOIN STORE p \
         ON t.k = p.id",
        "SELECT n, p.name FROM t JOIN STORE p ON t.k = p.id WHERE kv_get(k, source => \
         'STORE')['price'] > 10",
        "SELECT n, kv_get(k, source => 'STORE')['price'] AS price FROM t WHERE k IN (SELECT id \
         FROM STORE)",
        "SELECT n, kv_exists(k, source => 'STORE') AS known FROM t WHERE NOT EXISTS (SELECT 1 \
         FROM STORE p WHERE p.id = t.k)",
        "SELECT n, v FROM (SELECT n, k, kv_get(k, source => 'STORE', on_error => \
         'null')['price'] AS v FROM t) AS x JOIN STORE p ON x.k = p.id",
        "SELECT n, p.name, q.price FROM t JOIN STORE p ON t.k = p.id JOIN STORE q ON t.k = q.id",
        "SELECT sum(kv_get(k, source => 'STORE')['price']) AS s FROM t JOIN STORE p ON t.k = p.id",
    ] {
        for store in ["lance", "memory"] {
            let shown = plan(&session, &sql.replace("STORE", store)).await?;
            assert_eq!(shown.matches("KvLookupExec").count(), 1, "{sql}: {shown}");
            assert_eq!(shown.matches(" = id").count(), 1, "{sql}: {shown}");
        }
    }
    // Asked for the rows that are left alone.
    for sql in [
        "SELECT n, kv_get(k, source => 'memory')['price'] AS price FROM t JOIN memory p ON t.k = \
         p.id ORDER BY n LIMIT 2",
        "SELECT n, kv_get(k, source => 'backup', on_error => 'null')['price'] AS price FROM t JOIN \
         memory p ON t.k = p.id",
    ] {
        let shown = plan(&session, sql).await?;
        assert_eq!(shown.matches("KvLookupExec").count(), 2, "{sql}: {shown}");
    }
    Ok(())
}
