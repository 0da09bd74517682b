//! Statements in, and what they are written out as, without the quotes around names. No columns
//! are known but those of queries.

mod columns;

use datafusion::{prelude::SessionContext, sql::parser::Statement as Parsed};
use keyloom_common::ErrorKind;

use super::*;
use crate::session::{key::KeyReader, sql::parse};

fn written(sql: &str) -> Result<String> {
    written_among(&SessionContext::new(), sql)
}

/// What a statement is written out as that reads these tables.
fn written_among(tables: &SessionContext, sql: &str) -> Result<String> {
    let state = tables.state();
    let parsed = parse(&state, sql)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let known = runtime.block_on(Known::read(&state, KeyReader { folds: true }, &parsed))?;
    let Parsed::Statement(mut statement) = parsed else { return Ok(sql.to_owned()) };
    write_out(&mut statement, &known)?;
    Ok(statement.to_string().replace('"', ""))
}

fn check(sql: &str, expected: &str) {
    assert_eq!(written(sql).unwrap(), expected, "{sql}");
}

fn check_refused(sql: &str, words: &str) {
    let error = written(sql).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{sql}");
    assert!(error.message().contains(words), "{sql}: {error}");
}

#[test]
fn names_are_the_column_of_the_side_that_has_all_rows() {
    for sql in [
        "SELECT u.k, t.k FROM u FULL JOIN t USING(k)",
        "SELECT x FROM u JOIN t USING(k) JOIN v USING(k)",
        "SELECT k FROM u FULL JOIN t ON u.k = t.k",
        "SELECT k FROM (SELECT 1 AS k) LEFT JOIN t USING(k)",
        "SELECT s(x).k FROM u RIGHT JOIN t USING(k)",
        "SELECT 1 FROM u FULL JOIN t USING(k) WHERE x IN (SELECT k FROM v)",
    ] {
        check(sql, sql);
    }
    for join in ["JOIN", "INNER JOIN", "LEFT JOIN"] {
        check(
            &format!(
                "SELECT k FROM u {join} t USING (k) WHERE k NOT IN (SELECT 1) GROUP BY k HAVING k \
                 > 1 ORDER BY k"
            ),
            &format!(
                "SELECT u.k AS k FROM u {join} t USING(k) WHERE u.k NOT IN (SELECT 1) GROUP BY \
                 u.k HAVING u.k > 1 ORDER BY k"
            ),
        );
    }
    check(
        "SELECT x FROM u JOIN t USING (k) QUALIFY row_number() OVER (PARTITION BY k) = 1",
        "SELECT x FROM u JOIN t USING(k) QUALIFY row_number() OVER (PARTITION BY u.k) = 1",
    );
    check(
        "SELECT k, k + 1 AS n FROM u RIGHT JOIN t USING (k) WHERE K > 1",
        "SELECT t.k AS k, t.k + 1 AS n FROM u RIGHT JOIN t USING(k) WHERE t.k > 1",
    );
    check(
        "SELECT max(x) FROM u FULL JOIN t USING (k) GROUP BY k HAVING k > 1 ORDER BY k",
        "SELECT max(x) FROM u FULL JOIN t USING(k) GROUP BY coalesce(u.k, t.k) HAVING \
         coalesce(u.k, t.k) > 1 ORDER BY coalesce(u.k, t.k)",
    );
    check(
        "SELECT (k) FROM u FULL JOIN t USING (k)",
        "SELECT coalesce(u.k, t.k) AS k FROM u FULL JOIN t USING(k)",
    );
    // A column that is selected is what the order is by.
    check(
        "SELECT x AS k FROM u FULL JOIN t USING (k) ORDER BY k",
        "SELECT x AS k FROM u FULL JOIN t USING(k) ORDER BY k",
    );
}

#[test]
fn what_is_selected_is_the_order_unless_distinct_on_or_a_group_compares_it() {
    let from = "FROM u RIGHT JOIN t USING(k)";
    for (select, order) in [("SELECT", "k"), ("SELECT", "k + 1"), ("SELECT DISTINCT", "k")] {
        check(
            &format!("{select} k {from} ORDER BY {order}"),
            &format!("{select} t.k AS k {from} ORDER BY {order}"),
        );
    }
    check(
        &format!("SELECT DISTINCT ON (k) k, x {from} ORDER BY k, x"),
        &format!("SELECT DISTINCT ON (t.k) t.k AS k, x {from} ORDER BY t.k, x"),
    );
    check(
        &format!("SELECT DISTINCT ON (k) * {from} ORDER BY k"),
        &format!(
            "SELECT DISTINCT ON (t.k) u.* REPLACE (t.k AS k), t.* EXCLUDE (k) {from} ORDER BY t.k"
        ),
    );
    check(
        &format!("SELECT k {from} GROUP BY k ORDER BY max(k), k"),
        &format!("SELECT t.k AS k {from} GROUP BY t.k ORDER BY max(t.k), k"),
    );
    check(
        &format!("SELECT max(x) AS k {from} GROUP BY k ORDER BY k + 1"),
        &format!("SELECT max(x) AS k {from} GROUP BY t.k ORDER BY k + 1"),
    );
}

#[test]
fn stars_are_those_of_the_tables() {
    check(
        "SELECT * FROM u LEFT JOIN t USING (k)",
        "SELECT u.*, t.* EXCLUDE (k) FROM u LEFT JOIN t USING(k)",
    );
    check(
        "SELECT * FROM u RIGHT JOIN t AS v USING (k)",
        "SELECT u.* REPLACE (v.k AS k), v.* EXCLUDE (k) FROM u RIGHT JOIN t AS v USING(k)",
    );
    check(
        "SELECT *, 1 FROM 'u.csv' FULL JOIN t USING (k)",
        "SELECT u.csv.* REPLACE (coalesce(u.csv.k, t.k) AS k), t.* EXCLUDE (k), 1 FROM 'u.csv' \
         FULL JOIN t USING(k)",
    );
    check(
        "SELECT * EXCLUDE (x) FROM u LEFT JOIN t USING (k)",
        "SELECT * EXCLUDE (x) REPLACE (k AS k) FROM u LEFT JOIN t USING(k)",
    );
    check(
        "SELECT * EXCLUDE k FROM u FULL JOIN t USING (k)",
        "SELECT u.* EXCLUDE (k), t.* EXCLUDE (k) FROM u FULL JOIN t USING(k)",
    );
    check(
        "SELECT * REPLACE (k + 1 AS K) FROM u RIGHT JOIN t USING (k)",
        "SELECT u.* REPLACE (t.k + 1 AS k), t.* EXCLUDE (k) FROM u RIGHT JOIN t USING(k)",
    );
    check(
        "SELECT * REPLACE (x + k AS x) FROM u RIGHT JOIN t USING (k)",
        "SELECT u.* REPLACE (t.k AS k, x + t.k AS x), t.* EXCLUDE (k) REPLACE (x + t.k AS x) FROM \
         u RIGHT JOIN t USING(k)",
    );
    check(
        "SELECT * EXCLUDE (x) REPLACE (y + k AS y) FROM u RIGHT JOIN t USING (k)",
        "SELECT * EXCLUDE (x) REPLACE (y + t.k AS y, t.k AS k) FROM u RIGHT JOIN t USING(k)",
    );
    // Whether the third table has one of its own is not known.
    check(
        "SELECT * EXCLUDE (k) FROM u LEFT JOIN t USING (k) JOIN v ON v.x = u.x",
        "SELECT * EXCLUDE (k) REPLACE (k AS k) FROM u LEFT JOIN t USING(k) JOIN v ON v.x = u.x",
    );
    check(
        "SELECT * FROM a JOIN b USING (x) LEFT JOIN c USING (y)",
        "SELECT a.*, b.* EXCLUDE (x), c.* EXCLUDE (y) FROM a JOIN b USING(x) LEFT JOIN c USING(y)",
    );
    check("SELECT * FROM u JOIN t USING (k)", "SELECT u.*, t.* EXCLUDE (k) FROM u JOIN t USING(k)");
    check(
        "SELECT * FROM range(3) JOIN t USING (value)",
        "SELECT range().*, t.* EXCLUDE (value) FROM range(3) JOIN t USING(value)",
    );
    for alone in ["SELECT * FROM u JOIN t ON u.k = t.k", "SELECT * FROM u NATURAL JOIN t"] {
        check(alone, alone);
    }
}

#[test]
fn further_joins_compare_the_column_of_both_sides() {
    check(
        "SELECT k FROM a FULL JOIN b USING (k) LEFT JOIN c USING (k)",
        "SELECT coalesce(a.k, b.k) AS k FROM a FULL JOIN b USING(k) LEFT JOIN c ON coalesce(a.k, \
         b.k) = c.k",
    );
    check(
        "SELECT * FROM a LEFT JOIN b USING (k) LEFT JOIN c USING (k)",
        "SELECT a.*, b.* EXCLUDE (k), c.* EXCLUDE (k) FROM a LEFT JOIN b USING(k) LEFT JOIN c \
         USING(k)",
    );
    check(
        "SELECT *, k FROM a JOIN b USING (k) JOIN c USING (k) JOIN d USING (k)",
        "SELECT a.*, b.* EXCLUDE (k), c.* EXCLUDE (k), d.* EXCLUDE (k), a.k AS k FROM a JOIN b \
         USING(k) JOIN c USING(k) JOIN d ON a.k = d.k",
    );
    check(
        "SELECT * FROM a JOIN (b JOIN c USING (k)) USING (k)",
        "SELECT a.*, b.* EXCLUDE (k), c.* EXCLUDE (k) FROM a JOIN (b JOIN c USING(k)) USING(k)",
    );
    check(
        "SELECT c.y FROM a RIGHT JOIN b USING (k) JOIN c ON c.y = k",
        "SELECT c.y FROM a RIGHT JOIN b USING(k) JOIN c ON c.y = b.k",
    );
    check(
        "SELECT k FROM a JOIN (b RIGHT JOIN c USING (k)) USING (k)",
        "SELECT a.k AS k FROM a JOIN (b RIGHT JOIN c USING(k)) ON a.k = c.k",
    );
}

#[test]
fn what_cannot_be_written_out_is_refused() {
    for (sql, words) in [
        ("SELECT * FROM a NATURAL LEFT JOIN b", "NATURAL"),
        ("SELECT k FROM a NATURAL FULL JOIN b", "NATURAL RIGHT or FULL"),
        ("SELECT a.k FROM a NATURAL RIGHT JOIN b JOIN c USING (k)", "NATURAL RIGHT or FULL"),
        ("SELECT a.k FROM a NATURAL FULL JOIN b NATURAL JOIN c", "NATURAL RIGHT or FULL"),
        ("SELECT a.k FROM c JOIN (a NATURAL RIGHT JOIN b) USING (k)", "NATURAL RIGHT or FULL"),
        (
            "SELECT a.k FROM a LEFT JOIN b USING (k) NATURAL RIGHT JOIN c JOIN d USING (k)",
            "NATURAL RIGHT or FULL",
        ),
        ("SELECT a.k FROM a JOIN b ON a.x = b.x FULL JOIN c USING (k)", "one of several tables"),
        ("SELECT a.* FROM a FULL JOIN b USING (k) ORDER BY k", "a.k"),
        ("SELECT k FROM a RIGHT JOIN b USING (k), c RIGHT JOIN d USING (k)", "a.k"),
        ("SELECT k FROM a JOIN b USING (k), c JOIN d USING (k)", "a.k"),
        ("SELECT * FROM a |> FULL JOIN b USING (k)", "|>"),
        ("SELECT * FROM (SELECT 1 AS k) FULL JOIN b USING (k)", "needs a name"),
        ("SELECT a.k FROM a LEFT JOIN (SELECT 1 AS k) USING (k)", "needs a name"),
        ("SELECT * FROM (SELECT 1 AS k) JOIN b USING (k)", "needs a name"),
        ("SELECT * FROM a JOIN b USING (k), UNNEST([1])", "needs a name"),
    ] {
        check_refused(sql, words);
    }
    for sql in ["SELECT a.k FROM a NATURAL FULL JOIN b", "SELECT k FROM a NATURAL LEFT JOIN b"] {
        check(sql, sql);
    }
}
