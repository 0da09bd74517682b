//! A lookup in a branch that a row does not take is not made for that row. Every case runs under
//! `raise` with the missing key `x` in the untaken branch, and counts the keys that were asked.

use anyhow::Result;
use datafusion::prelude::{col, lit, when};
use keyloom_client::OnError;

use super::undivided_shop;
use crate::harness::{TestSession, batch, check_rows, ints, on_all_deployments, strings};

on_all_deployments! {
    case_asks_only_for_rows_that_take_the_branch,
    case_branches_ask_each_their_own_store,
    case_with_an_operand_is_lazy,
    case_conditions_stop_at_the_first_true_one,
    nested_cases_are_lazy,
    when_otherwise_is_lazy,
    coalesce_asks_the_fallback_for_what_is_missing,
    nullif_is_lazy,
    ifnull_and_nvl2_are_lazy,
    and_is_lazy,
    or_is_lazy,
    a_where_asks_only_for_rows_that_other_conditions_keep,
    a_condition_may_itself_be_a_lookup,
    the_key_of_an_untaken_branch_is_not_computed,
    one_call_in_two_branches_asks_for_the_rows_of_both,
    a_call_in_no_taken_branch_asks_nothing,
    a_lookup_within_an_untaken_lookup_is_not_made,
}

/// Checks the rows of a query, and how many keys it asks of each store named.
async fn check(
    session: &TestSession,
    sql: &str,
    expected: &[&str],
    asked: &[(&str, u64)],
) -> Result<()> {
    session.check(sql, expected).await?;
    let stores = session.stores(sql).await?;
    for (alias, keys) in asked {
        assert_eq!(stores.get(*alias).map_or(0, |counted| counted.keys), *keys, "{alias}: {sql}");
    }
    Ok(())
}

async fn case_asks_only_for_rows_that_take_the_branch(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    for store in ["lance", "memory"] {
        let sql = format!(
            "SELECT CASE WHEN n = 2 THEN 'skipped' ELSE kv_get(k, source => '{store}')['name'] \
             END FROM t"
        );
        let expected = ["apple", "skipped", "NULL", "banana", "apple"];
        check(&session, &sql, &expected, &[(store, 3)]).await?;
        let sql = format!(
            "SELECT CASE WHEN n IN (4, 5) THEN kv_get(k, source => '{store}')['name'] END FROM t"
        );
        check(&session, &sql, &["NULL", "NULL", "NULL", "banana", "apple"], &[(store, 2)]).await?;
    }
    Ok(())
}

async fn case_branches_ask_each_their_own_store(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    check(
        &session,
        "SELECT CASE WHEN k = 'x' THEN kv_get(k, source => 'backup') WHEN n = 4 THEN kv_get(k, \
         source => 'memory') ELSE kv_get(k, source => 'lance') END FROM t",
        &[
            "{id: a, name: apple, price: 10, next: b}",
            "{id: x, name: spare, price: 1, next: a}",
            "NULL",
            "{id: b, name: banana, price: 20, next: c}",
            "{id: a, name: apple, price: 10, next: b}",
        ],
        &[("backup", 1), ("memory", 1), ("lance", 2)],
    )
    .await
}

async fn case_with_an_operand_is_lazy(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    check(
        &session,
        "SELECT CASE n WHEN 1 THEN kv_get(k, source => 'memory')['name'] WHEN 2 THEN kv_get(k, \
         source => 'backup')['name'] ELSE 'other' END FROM t",
        &["apple", "spare", "other", "other", "other"],
        &[("memory", 1), ("backup", 1)],
    )
    .await
}

async fn case_conditions_stop_at_the_first_true_one(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    // The second condition would raise for `x`, but the first is true there.
    check(
        &session,
        "SELECT CASE WHEN n = 2 THEN 'first' WHEN kv_get(k, source => 'memory')['price'] > 15 \
         THEN 'dear' ELSE 'cheap' END FROM t",
        &["cheap", "first", "cheap", "dear", "cheap"],
        &[("memory", 3)],
    )
    .await
}

async fn nested_cases_are_lazy(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    check(
        &session,
        "SELECT CASE WHEN n > 3 THEN CASE WHEN n = 5 THEN kv_get(k, source => 'memory')['name'] \
         ELSE 'four' END ELSE 'low' END FROM t",
        &["low", "low", "low", "four", "apple"],
        &[("memory", 1)],
    )
    .await
}

async fn when_otherwise_is_lazy(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    let backup = session.kv_get("k").source("backup").columns(["name"]).build()?;
    let memory = session.kv_get("k").source("memory").columns(["name"]).build()?;
    let either = when(col("k").eq(lit("x")), backup).otherwise(memory)?;
    let query = session.table("t").await?.select(vec![either])?;
    let summary = session.submit(query.clone()).await?.finish().await?;
    assert_eq!((summary.stores["backup"].keys, summary.stores["memory"].keys), (1, 3));
    check_rows(
        query,
        &["{name: apple}", "{name: spare}", "NULL", "{name: banana}", "{name: apple}"],
    )
    .await
}

async fn coalesce_asks_the_fallback_for_what_is_missing(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    check(
        &session,
        "SELECT coalesce(kv_get(k, source => 'lance', on_error => 'null'), kv_get(k, source => \
         'backup'))['name'] FROM t",
        &["apple", "spare", "NULL", "banana", "apple"],
        &[("lance", 4), ("backup", 1)],
    )
    .await?;
    check(
        &session,
        "SELECT coalesce(kv_get(k, source => 'lance', on_error => 'null')['name'], kv_get(k, \
         source => 'memory', on_error => 'null')['name'], kv_get(k, source => 'backup')['name'], \
         'none') FROM t",
        &["apple", "spare", "none", "banana", "apple"],
        &[("lance", 4), ("memory", 1), ("backup", 1)],
    )
    .await
}

async fn nullif_is_lazy(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    check(
        &session,
        "SELECT nullif(CASE WHEN n > 3 THEN 'apple' END, kv_get(k, source => 'memory')['name']) \
         FROM t",
        &["NULL", "NULL", "NULL", "apple", "NULL"],
        &[("memory", 2)],
    )
    .await
}

async fn ifnull_and_nvl2_are_lazy(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    for function in ["ifnull", "nvl"] {
        check(
            &session,
            &format!(
                "SELECT {function}(kv_get(k, source => 'lance', on_error => 'null')['name'], \
                 kv_get(k, source => 'backup')['name']) FROM t"
            ),
            &["apple", "spare", "NULL", "banana", "apple"],
            &[("lance", 4), ("backup", 1)],
        )
        .await?;
    }
    check(
        &session,
        "SELECT nvl2(nullif(k, 'x'), kv_get(k, source => 'memory')['name'], kv_get(k, source => \
         'backup')['name']) FROM t",
        &["apple", "spare", "NULL", "banana", "apple"],
        &[("memory", 3), ("backup", 1)],
    )
    .await
}

async fn and_is_lazy(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    check(
        &session,
        "SELECT n <> 2 AND kv_get(k, source => 'memory')['price'] > 15 FROM t",
        &["false", "false", "NULL", "true", "false"],
        &[("memory", 3)],
    )
    .await?;
    // An unknown left side does not settle the answer: the right side is needed.
    check(
        &session,
        "SELECT (CASE WHEN n < 4 THEN false END) AND kv_get(k, source => 'memory')['price'] > 15 \
         FROM t",
        &["false", "false", "false", "NULL", "false"],
        &[("memory", 2)],
    )
    .await
}

async fn or_is_lazy(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    check(
        &session,
        "SELECT n = 2 OR kv_get(k, source => 'memory')['price'] > 15 FROM t",
        &["false", "true", "NULL", "true", "false"],
        &[("memory", 3)],
    )
    .await
}

async fn a_where_asks_only_for_rows_that_other_conditions_keep(
    session: &TestSession,
) -> Result<()> {
    let session = undivided_shop(session).await?;
    for condition in [
        "n <> 2 AND kv_get(k, source => 'memory')['price'] < 15",
        "kv_get(k, source => 'memory')['price'] < 15 AND n <> 2",
    ] {
        let sql = format!("SELECT n FROM t WHERE {condition}");
        check(&session, &sql, &["1", "5"], &[("memory", 3)]).await?;
    }
    Ok(())
}

async fn a_condition_may_itself_be_a_lookup(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    check(
        &session,
        "SELECT CASE WHEN kv_exists(k, source => 'lance') THEN kv_get(k, source => 'memory')\
         ['name'] WHEN kv_exists(k, source => 'backup') THEN kv_get(k, source => 'backup')['name'] \
         ELSE 'absent' END FROM t",
        &["apple", "spare", "absent", "banana", "apple"],
        &[("lance", 4), ("memory", 3)],
    )
    .await?;
    // The same store and key as the condition's.
    check(
        &session,
        "SELECT CASE WHEN kv_exists(k, source => 'lance') THEN kv_get(k, source => 'lance')\
         ['name'] ELSE 'absent' END FROM t",
        &["apple", "absent", "absent", "banana", "apple"],
        &[],
    )
    .await
}

async fn the_key_of_an_untaken_branch_is_not_computed(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    // The cast of `x` fails, where it is made.
    session.register_batches("texts", &[batch([("s", strings(["1", "x", "3"]))])])?;
    let numbers = batch([("id", ints([1, 3])), ("word", strings(["one", "three"]))]);
    session.attach_memory("numbers", numbers, "id").await?;
    check(
        &session,
        "SELECT CASE WHEN s <> 'x' THEN kv_get(CAST(s AS BIGINT), source => 'numbers')['word'] \
         ELSE 'no number' END FROM texts",
        &["one", "no number", "three"],
        &[("numbers", 2)],
    )
    .await
}

async fn one_call_in_two_branches_asks_for_the_rows_of_both(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    check(
        &session,
        "SELECT CASE WHEN n = 1 THEN kv_get(k, source => 'memory')['name'] WHEN n = 2 THEN 'two' \
         WHEN n = 4 THEN upper(kv_get(k, source => 'memory')['name']) ELSE 'other' END FROM t",
        &["apple", "two", "other", "BANANA", "other"],
        &[("memory", 2)],
    )
    .await
}

async fn a_call_in_no_taken_branch_asks_nothing(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    let sql = "SELECT CASE WHEN n > 9 THEN kv_get(k, source => 'memory')['name'] ELSE 'low' END \
               FROM t";
    check(&session, sql, &["low"; 5], &[("memory", 0)]).await?;
    let counted = session.counted(sql, "memory").await?;
    assert_eq!((counted.distinct, counted.requests), (0, 0));
    Ok(())
}

async fn a_lookup_within_an_untaken_lookup_is_not_made(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    let inner = session.kv_get("k").source("memory").columns(["next"]).build()?;
    let next = datafusion::functions::core::expr_fn::get_field(inner, "next");
    let outer = session.kv_get(next).source("lance").columns(["name"]);
    let outer = outer.on_error(OnError::Raise).build()?;
    let query = when(col("n").gt(lit(3)), outer).end()?;
    let query = session.table("t").await?.select(vec![query])?;
    let summary = session.submit(query.clone()).await?.finish().await?;
    assert_eq!((summary.stores["memory"].keys, summary.stores["lance"].keys), (2, 2));
    check_rows(query, &["NULL", "NULL", "NULL", "{name: cherry}", "{name: banana}"]).await
}
