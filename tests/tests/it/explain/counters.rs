//! What nodes have counted, in plans that have run.

use super::session;

#[tokio::test]
async fn what_the_branches_of_a_union_count_stands_at_their_own_nodes() {
    let session = session().await;
    let union = "SELECT kv_exists(id) AS known FROM t UNION ALL SELECT live FROM t WHERE other > 1";
    let plan = session.explain(session.sql(union).await.unwrap(), true).await.unwrap();
    let of = |node: &str| plan.lines().find(|line| line.contains(node)).unwrap_or_default();
    assert!(of("UnionExec").ends_with("metrics=[]"), "{plan}");
    assert!(of("KvLookupExec").contains("output_rows=3"), "{plan}");
    assert!(of("KvLookupExec").contains("items: {keys=3, "), "{plan}");
    assert!(of("FilterExec").contains("output_rows=2"), "{plan}");
    assert_eq!(plan.matches("items: {").count(), 1, "{plan}");
}
