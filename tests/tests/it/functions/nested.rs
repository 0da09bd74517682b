//! Conditionals within each other, forty deep, or two dozen within functions. What is repeated with
//! each level would never end.

use anyhow::Result;

use super::undivided_shop;
use crate::harness::{TestSession, batch, ints, on_all_deployments, strings};

on_all_deployments! {
    coalesce_nests_in_every_argument,
    its_relatives_nest_in_every_argument,
    a_case_nests_in_every_part,
    functions_of_cases_nest_in_every_part,
    cases_nest_where_nulls_are_asked_for,
    the_values_of_nested_cases_have_a_type_in_common,
    functions_of_cases_are_as_lazy_as_cases,
    functions_of_cases_filter_group_and_sort,
    columns_of_nested_cases_are_named_as_they_are_written,
    conditionals_nest_over_as_many_columns,
    a_nested_argument_is_computed_where_it_is_needed,
    lookups_stand_within_nested_conditionals,
    nested_conditionals_ask_for_what_is_still_missing,
    nested_booleans_are_lazy,
    nested_cases_ask_for_rows_that_take_the_branch,
    functions_of_cases_ask_for_rows_that_take_the_branch,
    keys_nest_in_lookups,
    nested_conditionals_filter_group_and_sort,
}

const DEEP: usize = 40;

/// How deep, where each is within a function, too.
const DEEP_WITHIN: usize = 24;

/// What is written around something, so often.
fn nested(times: usize, innermost: &str, write: impl Fn(&str) -> String) -> String {
    (0..times).fold(innermost.to_owned(), |inner, _| write(&inner))
}

/// Checks what is nested deep, for the values 1, null and 3 of `v`, which is innermost.
async fn check(
    session: &TestSession,
    write: impl Fn(&str) -> String,
    expected: [&str; 3],
) -> Result<()> {
    let expr = nested(DEEP, "v", write);
    session.check(&format!("SELECT {expr} FROM numbers"), &expected).await
}

/// The same of what is within a function on each level.
async fn check_within(
    session: &TestSession,
    write: impl Fn(&str) -> String,
    expected: [&str; 3],
) -> Result<()> {
    let expr = nested_within(DEEP_WITHIN, "v", write);
    session.check(&format!("SELECT {expr} FROM numbers"), &expected).await
}

/// What is written around something and within a function, so often. The function changes none of
/// the values here.
fn nested_within(times: usize, innermost: &str, write: impl Fn(&str) -> String) -> String {
    nested(times, innermost, |inner| format!("nullif({}, 99)", write(inner)))
}

/// Checks the rows of the shop, and how many keys are asked of each store named.
async fn check_lookups(
    session: &TestSession,
    expr: &str,
    expected: [&str; 5],
    asked: &[(&str, u64)],
) -> Result<()> {
    let sql = format!("SELECT {expr} FROM t");
    session.check(&sql, &expected).await?;
    let stores = session.stores(&sql).await?;
    for (alias, keys) in asked {
        assert_eq!(stores.get(*alias).map_or(0, |counted| counted.keys), *keys, "{alias}: {sql}");
    }
    Ok(())
}

fn register_numbers(session: &TestSession) -> Result<()> {
    let values = ints([Some(1), None, Some(3)]);
    Ok(session.register_batches("numbers", &[batch([("v", values)])])?)
}

async fn coalesce_nests_in_every_argument(session: &TestSession) -> Result<()> {
    register_numbers(session)?;
    check(session, |inner| format!("coalesce({inner}, 7)"), ["1", "7", "3"]).await?;
    // The null is -1 on the first level, and one more on each of the others.
    let first = |inner: &str| format!("coalesce({inner} + 1, -1)");
    check(session, first, ["41", "38", "43"]).await?;
    let second = |inner: &str| format!("coalesce(nullif(v, 1), {inner} + 1, 7)");
    check(session, second, ["41", "46", "3"]).await?;
    let last = |inner: &str| format!("coalesce(nullif(v, 1), {inner} + 1)");
    check(session, last, ["41", "NULL", "3"]).await
}

async fn its_relatives_nest_in_every_argument(session: &TestSession) -> Result<()> {
    register_numbers(session)?;
    for function in ["nvl", "ifnull"] {
        let first = |inner: &str| format!("{function}({inner} + 1, -1)");
        check(session, first, ["41", "38", "43"]).await?;
        let second = |inner: &str| format!("{function}(nullif(v, 1), {inner} + 1)");
        check(session, second, ["41", "NULL", "3"]).await?;
    }
    // The null is 5 on odd levels, and null on even ones.
    check(session, |inner| format!("nvl2({inner}, v, 5)"), ["1", "NULL", "3"]).await?;
    check(session, |inner| format!("nvl2(v, {inner} + 1, -1)"), ["41", "-1", "43"]).await?;
    check(session, |inner| format!("nvl2(v, -1, {inner} + 1)"), ["-1", "NULL", "-1"]).await?;
    check(session, |inner| format!("nullif({inner} + 1, 5)"), ["NULL", "NULL", "NULL"]).await?;
    check(session, |inner| format!("nullif({inner} + 1, 3 - v)"), ["NULL", "NULL", "43"]).await?;
    // Null on odd levels, and itself on even ones.
    check(session, |inner| format!("nullif(v, {inner})"), ["1", "NULL", "3"]).await
}

async fn a_case_nests_in_every_part(session: &TestSession) -> Result<()> {
    register_numbers(session)?;
    let when = |inner: &str| format!("CASE WHEN {inner} > 1 THEN 3 ELSE 0 END");
    check(session, when, ["0", "0", "3"]).await?;
    let then = |inner: &str| format!("CASE WHEN v > 1 THEN {inner} + 1 END");
    check(session, then, ["NULL", "NULL", "43"]).await?;
    let otherwise = |inner: &str| format!("CASE WHEN v > 1 THEN 0 ELSE {inner} + 1 END");
    check(session, otherwise, ["41", "NULL", "0"]).await?;
    let operand = |inner: &str| format!("CASE {inner} WHEN 1 THEN 2 WHEN 2 THEN 1 ELSE 9 END");
    check(session, operand, ["1", "9", "9"]).await?;
    let of_column = |inner: &str| format!("CASE v WHEN 3 THEN 0 ELSE {inner} END");
    check(session, of_column, ["1", "NULL", "0"]).await?;
    // With each level the other for numbers, and false for the null: an even number of levels.
    let boolean = |inner: &str| format!("CASE WHEN {inner} THEN false ELSE v IS NOT NULL END");
    let sql = format!("SELECT {} FROM numbers", nested(DEEP, "v = 1", boolean));
    session.check(&sql, &["true", "false", "false"]).await
}

async fn functions_of_cases_nest_in_every_part(session: &TestSession) -> Result<()> {
    register_numbers(session)?;
    let then = |inner: &str| format!("CASE WHEN v > 1 THEN {inner} + 1 ELSE v END");
    check_within(session, then, ["1", "NULL", "27"]).await?;
    let otherwise = |inner: &str| format!("CASE WHEN v > 1 THEN 0 ELSE {inner} + 1 END");
    check_within(session, otherwise, ["25", "NULL", "0"]).await?;
    let last = |inner: &str| {
        format!("CASE WHEN v = 1 THEN 7 WHEN v IS NULL THEN -1 WHEN v = 3 THEN {inner} END")
    };
    check_within(session, last, ["7", "-1", "3"]).await?;
    let operand = |inner: &str| format!("CASE {inner} WHEN 1 THEN 2 WHEN 2 THEN 1 ELSE 9 END");
    check_within(session, operand, ["1", "9", "9"]).await?;
    let remainder = |inner: &str| format!("CASE v % 2 WHEN 1 THEN {inner} + 1 ELSE 0 END");
    check_within(session, remainder, ["25", "0", "27"]).await?;
    // A statement that doubles with each level, and nothing more.
    let twice =
        |inner: &str| format!("CASE WHEN v > 1 THEN coalesce({inner}, 5) ELSE nvl(v, {inner}) END");
    let sql = format!("SELECT {} FROM numbers", nested_within(6, "v", twice));
    session.check(&sql, &["1", "NULL", "3"]).await
}

async fn cases_nest_where_nulls_are_asked_for(session: &TestSession) -> Result<()> {
    register_numbers(session)?;
    let compared = |inner: &str| format!("CASE WHEN {inner} > 1 THEN v ELSE 0 END");
    check_within(session, compared, ["0", "0", "3"]).await?;
    let is_null = |inner: &str| format!("CASE WHEN {inner} IS NULL THEN v + 1 ELSE 0 END");
    check(session, is_null, ["0", "NULL", "0"]).await?;
    let is_not_null = |inner: &str| format!("CASE WHEN {inner} + 1 IS NOT NULL THEN v END");
    check(session, is_not_null, ["1", "NULL", "3"]).await
}

async fn the_values_of_nested_cases_have_a_type_in_common(session: &TestSession) -> Result<()> {
    register_numbers(session)?;
    let numbers = |inner: &str| format!("CASE WHEN v > 1 THEN {inner} ELSE 0.5 END");
    check_within(session, numbers, ["0.5", "0.5", "3.0"]).await?;
    let texts =
        |inner: &str| format!("upper(CASE WHEN v > 1 THEN {inner} WHEN v = 1 THEN 'one' END)");
    let sql = format!("SELECT {} FROM numbers", nested(DEEP_WITHIN, "'x'", texts));
    session.check(&sql, &["ONE", "NULL", "X"]).await?;
    let nothing = |inner: &str| format!("CASE WHEN v > 1 THEN NULL ELSE {inner} END");
    check(session, nothing, ["1", "NULL", "NULL"]).await?;
    let lists = |inner: &str| format!("CASE WHEN v > 1 THEN [true] ELSE {inner} END");
    for (expr, words) in [
        (nested(DEEP, "v > 2", lists), "to common types in CASE"),
        (lists(&nested(DEEP, "v", nothing)), "the values of a CASE have no type in common: "),
    ] {
        let error = session.failure(&format!("SELECT {expr} FROM numbers")).await?;
        assert!(error.message().contains(words), "{error}");
    }
    Ok(())
}

async fn functions_of_cases_are_as_lazy_as_cases(session: &TestSession) -> Result<()> {
    let columns = [("d", ints([0, 5])), ("v", ints([Some(1), None]))];
    session.register_batches("divisors", &[batch(columns)])?;
    let sql = |write: fn(&str) -> String| {
        format!("SELECT {} FROM divisors", nested_within(DEEP_WITHIN, "v", write))
    };
    // The first row's quotient fails.
    let taken = sql(|inner| format!("CASE WHEN d = 0 THEN {inner} + 1 ELSE 10 / d END"));
    session.check(&taken, &["25", "2"]).await?;
    let compared = sql(|inner| format!("CASE d % 5 WHEN 1 THEN 10 / d ELSE {inner} + 1 END"));
    session.check(&compared, &["25", "NULL"]).await?;
    let needed = sql(|inner| format!("CASE WHEN d > 0 THEN {inner} ELSE 10 / d END"));
    let error = session.failure(&needed).await?;
    assert!(error.message().contains("Divide by zero"), "{error}");
    Ok(())
}

async fn functions_of_cases_filter_group_and_sort(session: &TestSession) -> Result<()> {
    register_numbers(session)?;
    let of = |column: &str| {
        let write = |inner: &str| format!("CASE WHEN {column} > 1 THEN {inner} + 1 ELSE 0 END");
        nested_within(DEEP_WITHIN, column, write)
    };
    let expr = of("v");
    let queries: [(String, &[&str]); 5] = [
        (format!("SELECT v FROM numbers WHERE {expr} > 24"), &["3"]),
        (format!("SELECT v FROM numbers ORDER BY {expr} DESC, v"), &["3", "1", "NULL"]),
        (format!("SELECT sum({expr}) FROM numbers"), &["27"]),
        (
            format!("SELECT {expr} AS x, count(*) FROM numbers GROUP BY {expr} ORDER BY x"),
            &["0 | 2", "27 | 1"],
        ),
        (
            format!(
                "SELECT a.v FROM numbers AS a JOIN numbers AS b ON {} = b.v + 24 ORDER BY a.v",
                of("a.v")
            ),
            &["3"],
        ),
    ];
    for (sql, expected) in queries {
        session.check(&sql, expected).await?;
    }
    Ok(())
}

async fn columns_of_nested_cases_are_named_as_they_are_written(
    session: &TestSession,
) -> Result<()> {
    register_numbers(session)?;
    for times in [2, 12] {
        let write =
            |inner: &str| format!("CASE WHEN v > 1 THEN {inner} WHEN v = 0 THEN 4 ELSE 0 END");
        let query =
            session.sql(&format!("SELECT {} FROM numbers", nested(times, "v", write))).await?;
        let name = nested(times, "numbers.v", |inner| {
            format!(
                "CASE WHEN numbers.v > Int64(1) THEN {inner} WHEN numbers.v = Int64(0) THEN \
                 Int64(4) ELSE Int64(0) END"
            )
        });
        assert_eq!(query.schema().field(0).name(), &name);
        let rows = query.collect().await?;
        assert_eq!(rows[0].schema().field(0).name(), &name);
    }
    Ok(())
}

async fn conditionals_nest_over_as_many_columns(session: &TestSession) -> Result<()> {
    // Each row has one value, which is the number of its column, or none.
    let rows = [Some(0), Some(DEEP - 1), None, Some(20)];
    let names: Vec<_> = (0..DEEP).map(|column| format!("c{column}")).collect();
    let values =
        |column| ints(rows.map(|of_row| (of_row == Some(column)).then_some(column as i64)));
    let columns = names.iter().enumerate();
    let columns = columns.map(|(column, name)| (name.as_str(), values(column)));
    session.register_batches("wide", &[batch(columns)])?;

    let (first, others) = (&names[0], &names[1..]);
    let left =
        others.iter().fold(first.clone(), |inner, name| format!("coalesce({inner}, {name})"));
    let around = |write: fn(&str, &str) -> String| {
        names.iter().rev().fold("NULL".to_owned(), |inner, name| write(name, &inner))
    };
    let right = around(|name, inner| format!("coalesce({name}, {inner})"));
    let otherwise =
        around(|name, inner| format!("CASE WHEN {name} IS NOT NULL THEN {name} ELSE {inner} END"));
    let then =
        around(|name, inner| format!("CASE WHEN {name} IS NULL THEN {inner} ELSE {name} END"));
    for expr in [left, right, otherwise, then] {
        let sql = format!("SELECT {expr} FROM wide");
        session.check(&sql, &["0", "39", "NULL", "20"]).await?;
    }
    Ok(())
}

async fn a_nested_argument_is_computed_where_it_is_needed(session: &TestSession) -> Result<()> {
    let columns = [("d", ints([0, 5])), ("v", ints([Some(1), None]))];
    session.register_batches("divisors", &[batch(columns)])?;
    // The first row's quotient fails.
    let known = nested(DEEP, "v", |inner| format!("coalesce({inner} + 1, 10 / d)"));
    session.check(&format!("SELECT {known} FROM divisors"), &["41", "41"]).await?;
    let taken = |inner: &str| format!("CASE WHEN d = 0 THEN {inner} + 1 ELSE 10 / d END");
    let taken = nested(DEEP, "v", taken);
    session.check(&format!("SELECT {taken} FROM divisors"), &["41", "2"]).await?;
    let needed = nested(DEEP, "v", |inner| format!("coalesce(nullif({inner}, 1), 10 / d)"));
    let error = session.failure(&format!("SELECT {needed} FROM divisors")).await?;
    assert!(error.message().contains("Divide by zero"), "{error}");
    Ok(())
}

async fn lookups_stand_within_nested_conditionals(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    let price = "kv_get(k, source => 'memory', on_error => 'null')['price']";
    let expr = nested(DEEP, price, |inner| format!("coalesce({inner} + 1, -1)"));
    check_lookups(&session, &expr, ["50", "38", "38", "60", "50"], &[("memory", 4)]).await?;
    let expr = nested(DEEP, price, |inner| format!("nvl2({inner}, 7, n)"));
    check_lookups(&session, &expr, ["7", "7", "7", "7", "7"], &[("memory", 4)]).await
}

async fn nested_conditionals_ask_for_what_is_still_missing(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    let price = "kv_get(k, source => 'memory', on_error => 'null')['price']";
    // On each level, the row without a key is the only one that is still null after the first.
    let expr = nested(DEEP, price, |inner| {
        format!("coalesce({inner} + 1, kv_get(k, source => 'backup')['price'])")
    });
    let asked = [("memory", 4), ("backup", 1)];
    check_lookups(&session, &expr, ["50", "40", "NULL", "60", "50"], &asked).await
}

async fn nested_booleans_are_lazy(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    let exists = "nullif(kv_exists(k, source => 'memory'), false)";
    let asked = [("memory", 4), ("backup", 1)];
    for function in ["coalesce", "nvl"] {
        let expr = nested(DEEP, exists, |inner| {
            format!("{function}({inner}, kv_get(k, source => 'backup')['price'] > 1)")
        });
        let expected = ["true", "false", "NULL", "true", "true"];
        check_lookups(&session, &expr, expected, &asked).await?;
    }
    Ok(())
}

async fn nested_cases_ask_for_rows_that_take_the_branch(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    let price = "kv_get(k, source => 'memory')['price']";
    let expr = nested(DEEP, price, |inner| format!("CASE WHEN n > 3 THEN {inner} ELSE n END"));
    check_lookups(&session, &expr, ["1", "2", "3", "20", "10"], &[("memory", 2)]).await?;
    let expr = nested(DEEP, "n", |inner| format!("CASE WHEN n = 1 THEN {price} ELSE {inner} END"));
    check_lookups(&session, &expr, ["10", "2", "3", "4", "5"], &[("memory", 1)]).await?;
    let price = "kv_get(k, source => 'memory', on_error => 'null')['price']";
    let when = |inner: &str| format!("CASE WHEN {inner} > 15 THEN 20 ELSE 10 END");
    let expr = nested(DEEP, price, when);
    check_lookups(&session, &expr, ["10", "10", "10", "20", "10"], &[("memory", 4)]).await
}

async fn functions_of_cases_ask_for_rows_that_take_the_branch(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    let price = "kv_get(k, source => 'memory')['price']";
    let then = |inner: &str| format!("CASE WHEN n > 3 THEN {inner} ELSE n END");
    let expr = nested_within(DEEP_WITHIN, price, then);
    check_lookups(&session, &expr, ["1", "2", "3", "20", "10"], &[("memory", 2)]).await?;
    let otherwise = |inner: &str| format!("CASE WHEN n = 1 THEN {price} ELSE {inner} END");
    let expr = nested_within(DEEP_WITHIN, "n", otherwise);
    check_lookups(&session, &expr, ["10", "2", "3", "4", "5"], &[("memory", 1)]).await?;
    let remainder = |inner: &str| format!("CASE n % 4 WHEN 0 THEN {inner} ELSE n END");
    let expr = nested_within(DEEP_WITHIN, price, remainder);
    check_lookups(&session, &expr, ["1", "2", "3", "20", "5"], &[("memory", 1)]).await?;
    let price = "kv_get(k, source => 'memory', on_error => 'null')['price']";
    let when = |inner: &str| format!("CASE WHEN {inner} > 15 THEN 20 ELSE 10 END");
    let expr = nested_within(DEEP_WITHIN, price, when);
    check_lookups(&session, &expr, ["10", "10", "10", "20", "10"], &[("memory", 4)]).await
}

async fn keys_nest_in_lookups(session: &TestSession) -> Result<()> {
    let session = undivided_shop(session).await?;
    let ring = batch([("id", strings(["a", "b", "c"])), ("next", strings(["b", "c", "a"]))]);
    session.attach_memory("ring", ring, "id").await?;
    // Two steps beyond six rounds; without a key, and after a missing one, it begins with `a`.
    let expr = nested(20, "k", |inner| {
        format!("kv_get(coalesce({inner}, 'a'), source => 'ring', on_error => 'null')['next']")
    });
    check_lookups(&session, &expr, ["c", "b", "c", "a", "c"], &[]).await
}

async fn nested_conditionals_filter_group_and_sort(session: &TestSession) -> Result<()> {
    register_numbers(session)?;
    let of =
        |innermost: &str| nested(DEEP, innermost, |inner| format!("coalesce({inner} + 1, -1)"));
    let expr = of("v");
    let queries: [(String, &[&str]); 5] = [
        (format!("SELECT v FROM numbers WHERE {expr} > 40"), &["1", "3"]),
        (format!("SELECT v FROM numbers ORDER BY {expr} DESC"), &["3", "1", "NULL"]),
        (format!("SELECT sum({expr}) FROM numbers"), &["122"]),
        (
            format!("SELECT {expr} AS x, count(*) FROM numbers GROUP BY {expr} ORDER BY x"),
            &["38 | 1", "41 | 1", "43 | 1"],
        ),
        (
            format!(
                "SELECT a.v FROM numbers AS a JOIN numbers AS b ON {} = b.v + 40 ORDER BY a.v",
                of("a.v")
            ),
            &["1", "3"],
        ),
    ];
    for (sql, expected) in queries {
        session.check(&sql, expected).await?;
    }
    Ok(())
}
