use datafusion::{
    arrow::{
        array::{AsArray, RecordBatch},
        datatypes::Int64Type,
    },
    execution::SessionStateBuilder,
    prelude::SessionContext,
};

use super::*;

const ROWS: &str = "(VALUES (1, 1), (1, 2), (1, 3), (2, 4), (2, 5)) AS t(k, j)";

async fn batches(sql: &str) -> Vec<RecordBatch> {
    let state =
        SessionStateBuilder::new().with_default_features().with_optimizer_rules(logical_rules());
    let context = SessionContext::new_with_state(state.build());
    context.sql(sql).await.unwrap().collect().await.unwrap()
}

async fn count(sql: &str) -> usize {
    batches(sql).await.iter().map(RecordBatch::num_rows).sum()
}

/// The values of the last column.
async fn last(sql: &str) -> Vec<i64> {
    let values = batches(sql).await.into_iter().flat_map(|batch| {
        batch.column(batch.num_columns() - 1).as_primitive::<Int64Type>().values().to_vec()
    });
    values.collect()
}

#[tokio::test]
async fn no_rows_are_of_no_group() {
    let none = "FROM (VALUES (1), (2)) AS t(k) WHERE k > 2";
    for group in ["1", "1, 1 + 1", "1, k", "1, k, k + 1"] {
        let sql = format!("SELECT 'all', count(*) {none} GROUP BY {group}");
        assert_eq!(count(&sql).await, 0, "{sql}");
    }
    assert_eq!(count(&format!("SELECT count(*) {none}")).await, 1);
}

#[tokio::test]
async fn rows_are_of_the_groups_that_they_were_of() {
    for (group, groups) in [("1", 1), ("1, 1 + 1", 1), ("1, k", 2), ("1, k, k + 1", 2)] {
        let sql =
            format!("SELECT 'all', count(*) FROM (VALUES (1), (2), (2)) AS t(k) GROUP BY {group}");
        assert_eq!(count(&sql).await, groups, "{sql}");
    }
}

#[tokio::test]
async fn rows_are_sorted_by_what_stands_behind_computed_columns() {
    for sql in [
        format!("SELECT k, k + 1 AS b, j FROM {ROWS} GROUP BY k, j ORDER BY k, b, j DESC"),
        format!("SELECT k, sum(j) * 0 AS b, j FROM {ROWS} GROUP BY k, j ORDER BY k, b, j DESC"),
    ] {
        assert_eq!(last(&sql).await, [3, 2, 1, 5, 4], "{sql}");
    }
}

#[tokio::test]
async fn distinct_rows_beside_computed_columns_come_once() {
    let groups = format!("SELECT j % 2 AS b, k, j FROM {ROWS} GROUP BY k, j");
    let sql = format!("SELECT DISTINCT b, k FROM ({groups}) AS q ORDER BY k, b");
    assert_eq!(last(&sql).await, [1, 1, 2, 2]);
}

#[tokio::test]
async fn groups_are_by_what_stands_behind_computed_columns() {
    let rows = format!("SELECT k, k + 1 AS b, j FROM {ROWS} GROUP BY k, j");
    let sql = format!("SELECT k, b, count(*) FROM ({rows}) AS q GROUP BY k, b, j");
    assert_eq!(last(&sql).await, [1; 5]);
}

#[tokio::test]
async fn groups_of_joined_rows_are_by_columns_of_both_sides() {
    let groups = format!("SELECT k, max(j) AS most FROM {ROWS} GROUP BY k");
    let rows = format!("SELECT q.k, j FROM ({groups}) AS q JOIN {ROWS} ON q.k = t.k");
    let rows = format!("SELECT k, j, count(*) FROM ({rows}) AS r GROUP BY k, j");
    let sql = format!("SELECT k, count(*) FROM ({rows}) AS s GROUP BY k, j");
    assert_eq!(last(&sql).await, [1; 5]);
}
