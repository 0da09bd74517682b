//! What is written out where columns are known: `u` has `x`, `k` and `y`, `t` has `p`, `k` and `q`,
//! and `v` has `r` and `x`.

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, Schema},
};
use datafusion::prelude::SessionContext;

use super::written_among;

fn tables() -> SessionContext {
    let context = SessionContext::new();
    let tables: [(&str, &[&str]); 3] =
        [("u", &["x", "k", "y"]), ("t", &["p", "k", "q"]), ("v", &["r", "x"])];
    for (table, columns) in tables {
        let fields: Vec<_> =
            columns.iter().map(|column| Field::new(*column, DataType::Int64, true)).collect();
        let rows = RecordBatch::new_empty(Arc::new(Schema::new(fields)));
        context.register_batch(table, rows).unwrap();
    }
    context
}

fn check(sql: &str, expected: &str) {
    assert_eq!(written_among(&tables(), sql).unwrap(), expected, "{sql}");
}

#[test]
fn columns_are_left_out_of_the_tables_that_have_them() {
    check(
        "SELECT * EXCLUDE (x) FROM u JOIN t USING (k)",
        "SELECT u.* EXCLUDE (x), t.* EXCLUDE (k) FROM u JOIN t USING(k)",
    );
    check(
        "SELECT * EXCLUDE (x, K) FROM u FULL JOIN t USING (k) CROSS JOIN v",
        "SELECT u.* EXCLUDE (x, k), t.* EXCLUDE (k), v.* EXCLUDE (x) FROM u FULL JOIN t USING(k) \
         CROSS JOIN v",
    );
    // No table has it, or whether one has it is not known.
    for from in ["u JOIN t USING(k)", "u JOIN t USING(k) CROSS JOIN z"] {
        check(
            &format!("SELECT * EXCLUDE (w) FROM {from}"),
            &format!("SELECT * EXCLUDE (w) REPLACE (k AS k) FROM {from}"),
        );
    }
    check(
        "WITH d AS (SELECT r AS k, v.x FROM v) SELECT * EXCLUDE (x) FROM d JOIN t USING (k)",
        "WITH d AS (SELECT r AS k, v.x FROM v) SELECT d.* EXCLUDE (x), t.* EXCLUDE (k) FROM d JOIN \
         t USING(k)",
    );
    check(
        "SELECT * EXCLUDE (i) FROM v AS w (k, i) JOIN t USING (k)",
        "SELECT w.* EXCLUDE (i), t.* EXCLUDE (k) FROM v AS w (k, i) JOIN t USING(k)",
    );
    // Which table is meant by a name is not looked at.
    check(
        "SELECT * EXCLUDE (x) FROM u JOIN t USING (k) WHERE x IN (WITH u AS (SELECT 1) SELECT * \
         FROM u)",
        "SELECT * EXCLUDE (x) REPLACE (k AS k) FROM u JOIN t USING(k) WHERE x IN (WITH u AS \
         (SELECT 1) SELECT * FROM u)",
    );
}

#[test]
fn natural_joins_are_of_the_columns_that_both_sides_have() {
    check("SELECT * FROM u NATURAL JOIN t", "SELECT u.*, t.* EXCLUDE (k) FROM u JOIN t USING(k)");
    check(
        "SELECT k FROM u NATURAL FULL JOIN (SELECT k, x AS z FROM u) AS d",
        "SELECT coalesce(u.k, d.k) AS k FROM u FULL JOIN (SELECT k, x AS z FROM u) AS d USING(k)",
    );
    check(
        "SELECT * FROM u NATURAL JOIN t NATURAL LEFT JOIN v",
        "SELECT u.*, t.* EXCLUDE (k), v.* EXCLUDE (x) FROM u JOIN t USING(k) LEFT JOIN v USING(x)",
    );
    check(
        "SELECT * FROM t NATURAL JOIN v JOIN u USING (k)",
        "SELECT t.*, v.*, u.* EXCLUDE (k) FROM t JOIN v JOIN u USING(k)",
    );
    check("SELECT t.p FROM t NATURAL LEFT JOIN v", "SELECT t.p FROM t LEFT JOIN v ON true");
    let unknown = "SELECT * FROM u NATURAL JOIN z";
    check(unknown, unknown);
}

#[test]
fn names_in_queries_within_are_merged_columns_unless_these_have_such() {
    let from = "SELECT 1 FROM u FULL JOIN t USING(k) WHERE";
    check(
        &format!("{from} EXISTS (SELECT 1 FROM v WHERE r = k)"),
        &format!("{from} EXISTS (SELECT 1 FROM v WHERE r = coalesce(u.k, t.k))"),
    );
    check(
        &format!("{from} p IN (SELECT n FROM (SELECT 20 AS n) AS d WHERE n IN (SELECT k))"),
        &format!(
            "{from} p IN (SELECT n FROM (SELECT 20 AS n) AS d WHERE n IN (SELECT coalesce(u.k, \
             t.k)))"
        ),
    );
    for within in [
        "EXISTS (SELECT 1 FROM u WHERE x = k)",
        "EXISTS (SELECT 1 FROM z WHERE x = k)",
        "EXISTS (SELECT 1 FROM (SELECT 1 + 1) AS d WHERE k = 1)",
        "x IN (SELECT r AS k FROM v ORDER BY k LIMIT 1)",
        "EXISTS (SELECT 1 FROM v WHERE r IN (SELECT q FROM t WHERE k = r))",
    ] {
        let sql = format!("{from} {within}");
        check(&sql, &sql);
    }
}

#[test]
fn joins_of_many_tables_compare_the_column_of_the_one_that_has_it() {
    check(
        "SELECT x FROM t JOIN u ON t.k = u.k FULL JOIN v USING (x)",
        "SELECT coalesce(u.x, v.x) AS x FROM t JOIN u ON t.k = u.k FULL JOIN v USING(x)",
    );
}

#[test]
fn the_order_is_by_the_columns_of_stars() {
    check(
        "SELECT t.* FROM u FULL JOIN t USING (k) ORDER BY k",
        "SELECT t.* FROM u FULL JOIN t USING(k) ORDER BY k",
    );
    check(
        "SELECT DISTINCT u.* FROM u JOIN t USING (k) ORDER BY k",
        "SELECT DISTINCT u.* FROM u JOIN t USING(k) ORDER BY u.k",
    );
    check(
        "SELECT v.* FROM u FULL JOIN t USING (k) CROSS JOIN v ORDER BY k",
        "SELECT v.* FROM u FULL JOIN t USING(k) CROSS JOIN v ORDER BY coalesce(u.k, t.k)",
    );
}
