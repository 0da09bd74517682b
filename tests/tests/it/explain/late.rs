//! What is asked late, and only as much of it as is read.

use super::plan;

/// A call for all columns, and the same for one.
const WIDE: &str = "kv_get(id, on_error => 'null')";
const NARROW: &str = "kv_get(id, columns => ['score'], on_error => 'null')";

/// Checks that a statement with the call is planned as if it named the one column that it reads.
async fn check_narrow(statement: &str) {
    let wide = plan(&statement.replace("CALL", WIDE)).await;
    assert!(wide.contains("{score} or null"), "{statement}:\n{wide}");
    assert_eq!(wide, plan(&statement.replace("CALL", NARROW)).await, "{statement}");
}

#[tokio::test]
async fn fields_of_a_column_are_asked_for_alone_whatever_stands_between() {
    for statement in [
        "SELECT sum(p['score']) AS s FROM (SELECT CALL AS p FROM t)",
        "WITH x AS (SELECT kind, CALL AS p FROM t) \
         SELECT kind, max(p['score']) AS most, count(p) AS n FROM x GROUP BY kind",
        "SELECT DISTINCT p['score'] AS s FROM (SELECT CALL AS p FROM t) AS x",
        "SELECT p['score'] AS s FROM (SELECT other, CALL AS p FROM t) AS x ORDER BY other",
        "SELECT p['score'] AS s FROM (SELECT CALL AS p FROM t UNION ALL SELECT CALL AS p FROM t)",
        "SELECT x.p['score'] AS s FROM (SELECT id, CALL AS p FROM t) AS x \
         JOIN t AS y ON x.id = y.other",
        "SELECT x.p['score'] AS s FROM t AS y LEFT JOIN (SELECT id, CALL AS p FROM t) AS x \
         ON x.id = y.other",
        "SELECT p['score'] AS s, row_number() OVER (PARTITION BY kind ORDER BY p['score']) AS n \
         FROM (SELECT kind, CALL AS p FROM t) AS x",
        "SELECT p['score'] AS s FROM (SELECT CALL AS p FROM t) AS x \
         WHERE p IS NOT NULL AND p['score'] > 1",
        "SELECT p['score'] AS s FROM (SELECT CASE WHEN live THEN CALL END AS p FROM t) AS x",
        "SELECT (CASE WHEN live THEN CALL END)['score'] AS s FROM t",
    ] {
        check_narrow(statement).await;
    }
}

#[tokio::test]
async fn fields_of_conditionals_that_are_nested_deep_are_asked_for_alone() {
    let nested = |write: fn(&str, usize) -> String| {
        (0..6).fold("CALL".to_owned(), |inner, depth| write(&inner, depth))
    };
    let case = nested(|inner, depth| format!("CASE WHEN other > {depth} THEN {inner} END"));
    let choice = nested(|inner, depth| format!("coalesce({inner}, {})", key_after(depth)));
    for value in [case, choice] {
        let fields = format!("SELECT p['score'] AS s FROM (SELECT {value} AS p FROM t) AS x");
        let plan = plan(&fields.replace("CALL", WIDE)).await;
        assert!(plan.contains("{score} or null"), "{plan}");
        assert!(!plan.contains("name"), "{plan}");
    }
}

/// A call for all columns of another key.
fn key_after(depth: usize) -> String {
    WIDE.replace("id", &format!("other + {depth}"))
}

#[tokio::test]
async fn fields_of_unnested_answers_are_asked_for_alone() {
    let plan = plan(
        "SELECT v['score'] AS s FROM (SELECT unnest(kv_batch_get(ids, on_error => 'null')) AS v \
         FROM t)",
    )
    .await;
    assert!(plan.contains("{score} or null"), "{plan}");
}

#[tokio::test]
async fn inputs_of_a_union_that_differ_are_asked_for_all() {
    let plan = plan(
        "SELECT p['score'] AS s FROM (SELECT kv_get(id) AS p FROM t UNION ALL \
         SELECT first_value(kv_get(id)) AS p FROM t)",
    );
    let plan = plan.await;
    assert_eq!(plan.matches("{key, name, parent, score}").count(), 2, "{plan}");
}

/// Checks what is asked of the store for a statement, as a plan shows it.
async fn check_asked(statement: &str, asked: &str) {
    let plan = plan(statement).await;
    assert!(plan.contains(asked), "{statement}:\n{plan}");
}

#[tokio::test]
async fn what_is_only_tested_for_null_is_asked_for_existence() {
    check_asked(
        "SELECT kv_get(id, on_error => 'null') IS NOT NULL AS known FROM t",
        "[__kv0 = exists]",
    )
    .await;
    check_asked(
        "SELECT id FROM t WHERE kv_get(id, on_error => 'null') IS NULL",
        "[__kv0 = exists]",
    )
    .await;
    check_asked(
        "SELECT count(*) AS n FROM (SELECT kv_get(id, on_error => 'null') AS p FROM t) AS x \
         WHERE p IS NOT NULL",
        "[__kv0 = exists]",
    )
    .await;
}

#[tokio::test]
async fn what_raises_for_a_missing_key_is_asked_for_one_column() {
    check_asked("SELECT kv_get(id) IS NOT NULL AS known FROM t", "[__kv0 = {key}]").await;
}

#[tokio::test]
async fn what_is_tested_for_null_and_read_is_one_answer() {
    check_asked(
        "SELECT CASE WHEN kv_get(id, on_error => 'null') IS NOT NULL THEN kv_get(id, on_error => \
         'null')['name'] END AS name FROM t",
        "[__kv0 = {name} or null]",
    )
    .await;
    check_asked(
        "SELECT kv_get(id) IS NOT NULL AS known, kv_get(id) AS row FROM t",
        "[__kv0 = {key, name, parent, score}]",
    )
    .await;
}

/// Checks that these parts of a plan stand below each other.
async fn check_order(statement: &str, parts: &[&str]) {
    let plan = plan(statement).await;
    let mut rest = plan.as_str();
    for part in parts {
        let found = rest.split_once(part);
        assert!(found.is_some(), "{statement}: no {part} below the others:\n{plan}");
        rest = found.unwrap().1;
    }
    assert!(!rest.contains("KvLookupExec"), "{statement}:\n{plan}");
}

#[tokio::test]
async fn lookups_wait_for_the_first_rows_by_other_columns() {
    for statement in [
        "SELECT id, kv_get(id)['name'] AS name FROM t ORDER BY id DESC LIMIT 2",
        "SELECT kv_get(id)['name'] AS name FROM t ORDER BY other LIMIT 2 OFFSET 1",
        "SELECT p['name'] AS name FROM (SELECT other, kv_get(id) AS p FROM t) AS x \
         ORDER BY x.other LIMIT 2",
        "SELECT upper(name) AS name FROM (SELECT id, name FROM (SELECT id, kv_get(id)['name'] AS \
         name FROM t) AS x) AS y ORDER BY id + 1 LIMIT 2",
    ] {
        check_order(statement, &["KvLookupExec", "{name}", "SortExec: TopK"]).await;
    }
}

#[tokio::test]
async fn the_first_rows_by_a_looked_up_column_are_looked_up_again_for_the_others() {
    for statement in [
        "SELECT id, kv_get(id)['score'] AS score, kv_get(id)['name'] AS name FROM t \
         ORDER BY score LIMIT 2",
        "SELECT id, kv_get(id)['name'] AS name FROM t ORDER BY kv_get(id)['score'] LIMIT 2",
    ] {
        check_order(
            statement,
            &["KvLookupExec", "{name}", "SortExec: TopK", "KvLookupExec", "{score}"],
        )
        .await;
    }
    check_order(
        "SELECT id, p['name'] AS name, p['score'] AS score FROM (SELECT id, kv_get(id) AS p \
         FROM t) AS x ORDER BY p['score'] LIMIT 2",
        &["KvLookupExec", "{name, score}", "SortExec: TopK", "KvLookupExec", "{score}"],
    )
    .await;
    check_asked(
        "SELECT p['score'] AS score FROM (SELECT id, kv_get(id) AS p FROM t) AS x \
         ORDER BY p['score'] LIMIT 2",
        "[__kv0 = {score}]",
    )
    .await;
}

#[tokio::test]
async fn a_limit_above_a_condition_lets_lookups_begin_with_few_rows() {
    check_asked(
        "SELECT id FROM t WHERE kv_exists(id) LIMIT 2",
        "KvLookupExec: first 2 rows, wave 1: items",
    )
    .await;
    check_asked(
        "SELECT unnest(kv_batch_get(ids, on_error => 'null')) FROM t LIMIT 3 OFFSET 1",
        "KvLookupExec: first 4 rows, wave 1: items",
    )
    .await;
}

#[tokio::test]
async fn limits_pass_what_is_unnested_of_structs_but_not_of_lists() {
    check_order(
        "SELECT unnest(kv_get(id)) FROM t LIMIT 2",
        &["UnnestExec", "KvLookupExec", "LimitExec"],
    )
    .await;
    check_order(
        "SELECT unnest(kv_batch_get(ids, on_error => 'null')) FROM t LIMIT 2",
        &["LimitExec", "UnnestExec", "KvLookupExec"],
    )
    .await;
}

#[tokio::test]
async fn groups_by_a_key_are_looked_up_once_each() {
    for statement in [
        "SELECT other, kv_get(other)['name'] AS name, count(*) AS n FROM t \
         GROUP BY other, kv_get(other)['name']",
        "SELECT DISTINCT other, kv_get(other)['name'] AS name FROM t",
        "SELECT other, p['name'] AS name, max(id) AS most FROM (SELECT id, other, kv_get(other) \
         AS p FROM t) AS x GROUP BY other, p['name']",
    ] {
        check_order(statement, &["KvLookupExec", "{name}", "AggregateExec"]).await;
    }
}

#[tokio::test]
async fn the_first_rows_of_what_keeps_rows_are_looked_up_after_them() {
    check_order(
        "SELECT id, kv_get(id)['name'] AS name FROM t UNION ALL \
         SELECT other, kv_get(other)['name'] FROM t ORDER BY id LIMIT 2",
        &["KvLookupExec", "SortExec: TopK", "KvLookupExec", "SortExec: TopK"],
    )
    .await;
    check_order(
        "SELECT x.id, name FROM (SELECT id, kv_get(id)['name'] AS name FROM t) AS x \
         LEFT JOIN t AS y ON x.id = y.other ORDER BY x.id LIMIT 2",
        &["KvLookupExec", "SortExec: TopK"],
    )
    .await;
}

#[tokio::test]
async fn limits_pass_unions_and_outer_joins() {
    check_order(
        "SELECT id, kv_get(id)['name'] AS name FROM t UNION ALL \
         SELECT other, kv_get(other)['name'] FROM t LIMIT 2",
        &["KvLookupExec", "LimitExec", "KvLookupExec", "LimitExec"],
    )
    .await;
    check_order(
        "SELECT x.id, name FROM (SELECT id, kv_get(id)['name'] AS name FROM t) AS x \
         LEFT JOIN t AS y ON x.id = y.other LIMIT 2",
        &["KvLookupExec", "LimitExec"],
    )
    .await;
}

#[tokio::test]
async fn lookups_wait_for_conditions_on_groups() {
    check_order(
        "SELECT kind, kv_get(max(id))['name'] AS name FROM t GROUP BY kind HAVING count(*) > 1",
        &["KvLookupExec", "{name}", "FilterExec", "AggregateExec"],
    )
    .await;
}

#[tokio::test]
async fn lookups_wait_for_windows_of_which_few_rows_are_wanted() {
    let windows = "SELECT id, name, row_number() OVER (PARTITION BY kind ORDER BY id) AS r FROM \
                   (SELECT id, kind, kv_get(id)['name'] AS name FROM t) AS x";
    check_order(
        &format!("SELECT id, name FROM ({windows}) AS y WHERE r = 1"),
        &["KvLookupExec", "{name}", "FilterExec", "WindowAggExec"],
    )
    .await;
    for end in ["LIMIT 2", "ORDER BY id DESC LIMIT 2"] {
        let statement = format!("SELECT id, name, r FROM ({windows}) AS y {end}");
        check_order(&statement, &["KvLookupExec", "{name}", "WindowAggExec"]).await;
    }
}

#[tokio::test]
async fn lookups_stay_below_windows_of_which_all_rows_are_wanted_or_that_read_them() {
    check_order(
        "SELECT id, name, row_number() OVER (ORDER BY id) AS r FROM \
         (SELECT id, kv_get(id)['name'] AS name FROM t) AS x",
        &["WindowAggExec", "KvLookupExec", "{name}"],
    )
    .await;
    check_order(
        "SELECT id, max(name) OVER (PARTITION BY kind) AS m FROM \
         (SELECT id, kind, kv_get(id)['name'] AS name FROM t) AS x LIMIT 2",
        &["WindowAggExec", "KvLookupExec", "{name}"],
    )
    .await;
}

#[tokio::test]
async fn aggregates_of_what_a_group_has_in_common_are_looked_up_once_a_group() {
    for statement in [
        "SELECT other, max(kv_get(other)['name']) AS name, count(*) AS n FROM t GROUP BY other",
        "SELECT other, first_value(p['name']) AS name, sum(id) AS n FROM (SELECT id, other, \
         kv_get(other) AS p FROM t) AS x GROUP BY other",
        "SELECT other, count(DISTINCT kv_get(other)['name']) AS names, count(*) AS n FROM t \
         GROUP BY other",
        "SELECT other, count(DISTINCT kv_get(other)['name']) AS names FROM t GROUP BY other",
    ] {
        check_order(statement, &["KvLookupExec", "{name}", "AggregateExec"]).await;
    }
}

#[tokio::test]
async fn keys_that_are_computed_as_groups_are_looked_up_once_a_group() {
    for statement in [
        "SELECT id % 2 AS odd, max(kv_get(id % 2)['name']) AS name, count(*) AS n FROM t \
         GROUP BY id % 2",
        "SELECT odd, kv_get(odd + 1)['name'] AS name, count(DISTINCT id) AS n, count(*) AS m FROM \
         (SELECT id, id % 2 AS odd FROM t) AS x GROUP BY odd, kv_get(odd + 1)['name']",
    ] {
        check_order(statement, &["KvLookupExec", "{name}", "AggregateExec"]).await;
    }
    // Two rows of a group may ask for two keys.
    check_order(
        "SELECT id % 2 AS odd, max(kv_get(id)['name']) AS name FROM t GROUP BY id % 2",
        &["AggregateExec", "KvLookupExec", "{name}"],
    )
    .await;
}

#[tokio::test]
async fn aggregates_that_depend_on_the_number_of_rows_are_of_all_rows() {
    for aggregate in ["sum(kv_get(other)['score'])", "count(kv_get(other)['score'])"] {
        let statement = format!("SELECT other, {aggregate} AS a FROM t GROUP BY other");
        check_order(&statement, &["AggregateExec", "KvLookupExec", "{score}"]).await;
    }
    // One fetch asks for all rows anyway.
    check_order(
        "SELECT other, sum(kv_get(other)['score']) AS a, max(kv_get(other)['name']) AS b FROM t \
         GROUP BY other",
        &["AggregateExec", "KvLookupExec"],
    )
    .await;
}

#[tokio::test]
async fn groups_in_two_steps_are_looked_up_between_them() {
    check_order(
        "SELECT name, sum(n) AS n FROM (SELECT other, kv_get(other)['name'] AS name, count(*) AS \
         n FROM t GROUP BY other) AS g GROUP BY name",
        &["AggregateExec", "KvLookupExec", "{name}", "AggregateExec"],
    )
    .await;
}

#[tokio::test]
async fn groups_by_what_is_looked_up_alone_are_looked_up_below() {
    check_order(
        "SELECT kind, kv_get(other)['name'] AS name, count(*) AS n FROM t \
         GROUP BY kind, kv_get(other)['name']",
        &["AggregateExec", "KvLookupExec", "{name}"],
    )
    .await;
}

#[tokio::test]
async fn lookups_wait_for_conditions_that_do_not_read_them() {
    check_order(
        "SELECT q['name'] AS name FROM (SELECT kv_get(id) AS p, kv_get(other, source => 'users') \
         AS q FROM t) AS x WHERE p['score'] > 1",
        &["KvLookupExec", "users@immutable", "FilterExec", "KvLookupExec", "items@immutable"],
    )
    .await;
}

#[tokio::test]
async fn what_is_asked_for_the_key_of_a_condition_is_the_same_fetch() {
    check_order(
        "SELECT name FROM (SELECT kv_get(id)['score'] AS score, kv_get(id)['name'] AS name \
         FROM t) AS x WHERE score > 1",
        &["FilterExec", "KvLookupExec", "{score}", "{name}"],
    )
    .await;
}
