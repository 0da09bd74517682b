//! By values: what rounding would find, or would lose.

use arrow::{
    array::{ArrayRef, RecordBatch, TimestampMicrosecondArray, TimestampMillisecondArray},
    util::pretty::pretty_format_batches,
};
use datafusion::{execution::SessionStateBuilder, optimizer::Analyzer, prelude::SessionContext};

use super::*;

/// Tables `fine` in microseconds and `coarse` in milliseconds, with one instant in common.
fn context() -> SessionContext {
    let mut rules = Analyzer::default().rules;
    rules.insert(0, Arc::new(KeepInstants));
    let state = SessionStateBuilder::new().with_default_features().with_analyzer_rules(rules);
    let context = SessionContext::new_with_state(state.build());
    let fine: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1000, 1001, 2001]));
    let coarse: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![1, 2]));
    for (name, column) in [("fine", fine), ("coarse", coarse)] {
        let batch = RecordBatch::try_from_iter([("t", column)]).unwrap();
        context.register_batch(name, batch).unwrap();
    }
    context
}

async fn count(query: &str) -> String {
    let sql = format!("SELECT CAST(count(*) AS VARCHAR) AS n FROM ({query}) AS x");
    let batches = context().sql(&sql).await.unwrap().collect().await.unwrap();
    let text = pretty_format_batches(&batches).unwrap().to_string();
    text.lines().nth(3).unwrap().replace(['|', ' '], "")
}

#[tokio::test]
async fn instants_of_different_units_are_equal_if_they_are_the_same() {
    for (query, expected) in [
        ("SELECT f.t FROM fine f JOIN coarse c ON f.t = c.t", "1"),
        ("SELECT t FROM coarse JOIN fine USING (t)", "1"),
        ("SELECT f.t FROM fine f, coarse c WHERE f.t > c.t", "3"),
        ("SELECT f.t FROM fine f, coarse c WHERE f.t BETWEEN c.t AND c.t", "1"),
        ("SELECT f.t FROM fine f, coarse c WHERE c.t NOT BETWEEN f.t AND f.t", "5"),
        ("SELECT t FROM fine WHERE t > (SELECT min(t) FROM coarse)", "2"),
        ("SELECT t FROM fine WHERE t = (SELECT max(t) FROM coarse)", "0"),
        ("SELECT t FROM fine WHERE t = ANY (SELECT t FROM coarse)", "1"),
        ("SELECT t FROM fine WHERE t > ALL (SELECT t FROM coarse)", "1"),
        ("SELECT t FROM fine WHERE t IN (SELECT t FROM coarse)", "1"),
        ("SELECT t FROM coarse WHERE t NOT IN (SELECT t FROM fine)", "1"),
        ("SELECT t FROM coarse c WHERE EXISTS (SELECT 1 FROM fine f WHERE f.t = c.t)", "1"),
        ("SELECT t FROM fine INTERSECT SELECT t FROM coarse", "1"),
        ("SELECT t FROM fine EXCEPT SELECT t FROM coarse", "2"),
        ("SELECT t FROM coarse UNION SELECT t FROM fine", "4"),
        ("SELECT DISTINCT t FROM (SELECT t FROM coarse UNION ALL SELECT t FROM fine)", "4"),
        ("SELECT t FROM coarse UNION SELECT t FROM fine UNION SELECT t FROM fine", "4"),
        ("SELECT t FROM coarse UNION SELECT t FROM fine UNION SELECT NULL AS t", "5"),
        ("SELECT t FROM coarse UNION BY NAME SELECT t FROM fine", "4"),
        ("SELECT t, 1 AS a FROM coarse UNION BY NAME SELECT 1 AS a, t FROM fine", "4"),
    ] {
        assert_eq!(count(query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn subqueries_know_what_a_union_made_of_the_columns_around_them() {
    for (condition, expected) in [
        ("EXISTS (SELECT 1 FROM fine f WHERE f.t = u.t)", "4"),
        ("EXISTS (SELECT 1 FROM coarse c WHERE c.t < u.t)", "3"),
        ("u.t >= (SELECT max(c.t) FROM coarse c WHERE c.t = u.t)", "3"),
        ("u.t IN (SELECT c.t FROM coarse c WHERE c.t >= u.t)", "3"),
    ] {
        let both = "(SELECT t FROM coarse UNION ALL SELECT t FROM fine)";
        let query = format!("SELECT u.t FROM {both} AS u WHERE {condition}");
        assert_eq!(count(&query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn values_that_stand_for_each_other_keep_the_finest_unit() {
    let both = "fine f, coarse c";
    for (value, expected) in [
        ("coalesce(c.t, f.t)", "0"),
        ("coalesce(CASE WHEN c.t IS NULL THEN c.t END, f.t)", "4"),
        ("CASE WHEN c.t IS NULL THEN c.t ELSE f.t END", "4"),
        ("greatest(c.t, f.t)", "3"),
        ("least(c.t, f.t)", "1"),
        ("nvl(nullif(c.t, c.t), f.t)", "4"),
    ] {
        // Two of the three are not whole milliseconds.
        let sql =
            format!("SELECT 1 FROM {both} WHERE {value} <> date_trunc('millisecond', {value})");
        assert_eq!(count(&sql).await, expected, "{value}");
    }
    for (condition, expected) in [
        ("f.t IN (c.t, c.t)", "1"),
        ("c.t NOT IN (f.t)", "5"),
        ("nullif(f.t, c.t) IS NULL", "1"),
        ("CASE f.t WHEN c.t THEN true ELSE false END", "1"),
        ("CASE WHEN true THEN f.t ELSE c.t END = c.t", "1"),
    ] {
        let sql = format!("SELECT 1 FROM {both} WHERE {condition}");
        assert_eq!(count(&sql).await, expected, "{condition}");
    }
    let union = "SELECT coalesce(c.t, f.t) AS t FROM fine f, coarse c UNION SELECT t FROM fine";
    assert_eq!(count(union).await, "4");
}
