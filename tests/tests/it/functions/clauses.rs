//! Clauses that DataFusion parses and does not read are refused by name; the others stay.

use anyhow::Result;
use keyloom_client::ErrorKind;

use crate::harness::{TestSession, on_all_deployments, open_shop};

on_all_deployments! {
    clauses_that_would_be_ignored_are_refused,
    clauses_of_calls_that_would_be_ignored_are_refused,
    clauses_that_change_no_row_are_allowed,
}

async fn clauses_that_would_be_ignored_are_refused(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let cases = [
        ("SELECT n FROM t TABLESAMPLE (1 PERCENT)", "TABLESAMPLE"),
        ("SELECT n FROM (SELECT n FROM t) TABLESAMPLE (1)", "TABLESAMPLE"),
        ("SELECT n FROM t WHERE n IN (SELECT n FROM t TABLESAMPLE (1))", "TABLESAMPLE"),
        ("EXPLAIN SELECT n FROM t TABLESAMPLE (1)", "TABLESAMPLE"),
        ("SELECT n FROM t FOR UPDATE", "FOR UPDATE"),
        ("SELECT n FROM t FOR SHARE OF t NOWAIT", "FOR SHARE"),
        ("SELECT n FROM t FOR JSON AUTO", "FOR JSON AUTO"),
        ("SELECT n FROM t SETTINGS max_threads = 1", "SETTINGS"),
        ("SELECT n FROM t FORMAT JSON", "FORMAT"),
        ("SELECT n INTO u FROM t", "INTO"),
        ("SELECT n INTO u FROM t UNION ALL SELECT 1", "INTO"),
        ("SELECT n FROM t PREWHERE n = 1", "PREWHERE"),
        ("SELECT n FROM t START WITH n = 1 CONNECT BY PRIOR n = n", "CONNECT BY"),
        ("SELECT n FROM t DISTRIBUTE BY n", "DISTRIBUTE BY"),
        ("FROM t", "FROM without SELECT"),
        ("SELECT k, sum(n) FROM t GROUP BY k WITH ROLLUP", "WITH ROLLUP after GROUP BY"),
        ("SELECT k, sum(n) FROM t GROUP BY ALL WITH TOTALS", "WITH TOTALS after GROUP BY"),
        ("SELECT n FROM t WITH (NOLOCK)", "WITH (…) after a table"),
        ("SELECT n FROM t WITH ORDINALITY", "WITH ORDINALITY"),
        ("SELECT n FROM t PARTITION (p0)", "PARTITION (…)"),
        ("SELECT x FROM t AS u(x INT, y TEXT)", "the type of a column in an alias"),
        (
            "SELECT n FROM t, LATERAL generate_series(start => 1, stop => 2) AS g",
            "a named argument of a table function",
        ),
        ("SELECT t.n FROM t GLOBAL JOIN t AS u ON t.n = u.n", "GLOBAL JOIN"),
        (
            "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) \
             SELECT n FROM r",
            "WITH RECURSIVE",
        ),
        ("SELECT n FROM t EXCEPT ALL SELECT 1", "EXCEPT ALL"),
        ("SELECT n FROM t UNION ALL (SELECT 1 INTERSECT ALL SELECT 1)", "INTERSECT ALL"),
        (
            "(SELECT DISTINCT ON (k) k, n FROM t ORDER BY k, n DESC) ORDER BY k, n",
            "ORDER BY behind a whole DISTINCT ON",
        ),
        (
            "SELECT DISTINCT ON (k) k, n FROM t ORDER BY k, n DESC |> ORDER BY k, n",
            "ORDER BY behind a whole DISTINCT ON",
        ),
        ("SELECT * ILIKE 'n%' FROM t", "ILIKE after *"),
        ("SELECT n FROM t WHERE k SIMILAR TO 'a%'", "SIMILAR TO"),
        ("SELECT VARCHAR(2) 'abc'", "the length of VARCHAR(2)"),
        ("SELECT CAST(k AS VARCHAR(1)) FROM t", "the length of VARCHAR(1)"),
        ("SELECT k::CHAR(1) FROM t", "the length of CHAR(1)"),
        ("SELECT CAST(n AS FLOAT(53)) FROM t", "the precision of FLOAT(53)"),
        (
            "SELECT sum(n) OVER (w ROWS 1 PRECEDING) FROM t WINDOW w AS (ORDER BY n)",
            "the window w within another window",
        ),
        (
            "SELECT n FROM t WINDOW w AS (PARTITION BY k) ORDER BY sum(n) OVER w",
            "OVER w in ORDER BY",
        ),
        (
            "SELECT n FROM t WINDOW w AS (PARTITION BY k) QUALIFY sum(n) OVER w > 1",
            "OVER w in QUALIFY",
        ),
    ];
    check_refusals(session, cases.map(|(sql, clause)| (sql.to_owned(), clause))).await
}

/// Statements and the clause that each is refused for.
async fn check_refusals(
    session: &TestSession,
    cases: impl IntoIterator<Item = (String, &str)>,
) -> Result<()> {
    let mut wrong = Vec::new();
    for (sql, clause) in cases {
        let refused = format!("{clause} is not understood in a query; ");
        match session.failure(&sql).await {
            Ok(error) if error.message().starts_with(&refused) => {
                assert_eq!(error.kind(), ErrorKind::Invalid, "{sql}");
            }
            other => wrong.push((sql, other)),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

async fn clauses_of_calls_that_would_be_ignored_are_refused(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let cases = [
        ("upper(k) FILTER (WHERE n > 1)", "FILTER of upper"),
        ("UPPER(DISTINCT k)", "DISTINCT of upper"),
        ("abs(n) OVER (ORDER BY n)", "OVER of abs"),
        ("concat(k, k ORDER BY n)", "ORDER BY within the arguments of concat"),
        ("upper(k) WITHIN GROUP (ORDER BY n)", "WITHIN GROUP of upper"),
        ("coalesce(k, 'x') IGNORE NULLS", "IGNORE NULLS of coalesce"),
        ("kv_exists(k, source => 'memory') OVER ()", "OVER of kv_exists"),
        ("kv_get(k, source => 'memory') FILTER (WHERE n = 1)", "FILTER of kv_get"),
        ("row_number() FILTER (WHERE n > 1) OVER (ORDER BY n)", "FILTER of row_number"),
        ("lead(DISTINCT n) OVER (ORDER BY n)", "DISTINCT of lead"),
        ("rank() IGNORE NULLS OVER (ORDER BY n)", "IGNORE NULLS with OVER of rank"),
        ("last_value(n) IGNORE NULLS OVER (ORDER BY n)", "IGNORE NULLS with OVER of last_value"),
        ("count(*) FILTER (WHERE n > 1) OVER ()", "FILTER with OVER of count"),
    ];
    let in_select = |(call, clause)| (format!("SELECT {call} FROM t"), clause);
    check_refusals(session, cases.map(in_select)).await
}

async fn clauses_that_change_no_row_are_allowed(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let five = ["5"];
    for sql in [
        "SELECT count(*) FILTER (WHERE n > 0) FROM t",
        "SELECT count(ALL n) FROM t",
        "SELECT /*+ BROADCAST(t) */ count(*) FROM t",
        "SELECT first_value(n) RESPECT NULLS OVER (ORDER BY n DESC) FROM t LIMIT 1",
        "SELECT count(*) FROM (SELECT n FROM t EXCEPT SELECT 9)",
        "SELECT last_value(n ORDER BY n) FROM t",
        "SELECT max(CAST(n AS INT(11))) FROM t",
        "FROM t SELECT count(*)",
        "SELECT sum(1) OVER w FROM t WINDOW w AS (ORDER BY n DESC) ORDER BY n LIMIT 1",
    ] {
        session.check(sql, &five).await?;
    }
    let each = ["1", "2", "3", "4", "5"];
    session.check("SELECT lag(n, 1, 0) RESPECT NULLS OVER (ORDER BY n) + 1 FROM t", &each).await
}
