//! Where lookups stand among filters, limits, sorts, groups and joins.

use insta::assert_snapshot;
use keyloom_client::ErrorKind;

use super::{plan, refusal};

#[tokio::test]
async fn plain_conditions_of_a_filter_are_decided_below_the_lookup() {
    let plan = plan("SELECT id FROM t WHERE kv_exists(id) AND other > 1 AND kind = 'user'").await;
    assert_snapshot!(plan, @"
    FilterExec: __kv0@3, projection=[id@0]
      KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = exists]
        FilterExec: other@1 > 1 AND kind@2 = user
          CooperativeExec
            FrameScanExec: partitions=1, rows=3, columns=[id, other, kind]
    ");
}

#[tokio::test]
async fn rows_beyond_a_limit_are_not_looked_up() {
    let plan = plan("SELECT kv_get(id) AS row FROM t LIMIT 2").await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[__kv0@1 as row]
      KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = {key, name, parent, score}]
        GlobalLimitExec: skip=0, fetch=2
          CooperativeExec
            FrameScanExec: partitions=1, rows=3, columns=[id]
    ");
}

#[tokio::test]
async fn a_lookup_over_a_sorted_subquery_stays_above_it() {
    let plan = plan(
        "SELECT kv_get(id)['name'] AS name FROM (SELECT id FROM t ORDER BY other DESC LIMIT \
         2)",
    )
    .await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[get_field(__kv0@2, name) as name]
      KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = {name}]
        SortExec: TopK(fetch=2), expr=[other@1 DESC], preserve_partitioning=[false]
          CooperativeExec
            FrameScanExec: partitions=1, rows=3, columns=[id, other]
    ");
}

#[tokio::test]
async fn a_lookup_over_groups_stays_above_them() {
    let plan = plan(
        "SELECT kind, kv_get(top)['name'] AS name FROM (SELECT kind, max(id) AS top FROM t \
         GROUP BY kind)",
    )
    .await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[kind@0 as kind, get_field(__kv0@2, name) as name]
      KvLookupExec: wave 1: items@immutable by max(t.id)@1 = key [__kv0 = {name}]
        AggregateExec: mode=Single, gby=[kind@1 as kind], aggr=[max(t.id)]
          CooperativeExec
            FrameScanExec: partitions=1, rows=3, columns=[id, kind]
    ");
}

#[tokio::test]
async fn order_by_a_lookup_sorts_a_column_of_it() {
    let plan = plan("SELECT id FROM t ORDER BY kv_get(id)['score'] DESC").await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[id@0 as id]
      SortExec: expr=[__lifted1@1 DESC], preserve_partitioning=[false]
        ProjectionExec: expr=[id@0 as id, get_field(__kv0@1, score) as __lifted1]
          KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = {score}]
            CooperativeExec
              FrameScanExec: partitions=1, rows=3, columns=[id]
    ");
}

#[tokio::test]
async fn group_by_a_lookup_groups_a_column_of_it() {
    let plan =
        plan("SELECT kv_get(id)['name'] AS name, count(*) AS n FROM t GROUP BY kv_get(id)['name']")
            .await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[kv_get(t.id, source => 'items')[name]@0 as name, count(Int64(1))@1 as n]
      AggregateExec: mode=Single, gby=[__lifted1@0 as kv_get(t.id, source => 'items')[name]], aggr=[count(Int64(1))]
        ProjectionExec: expr=[get_field(__kv0@1, name) as __lifted1]
          KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = {name}]
            CooperativeExec
              FrameScanExec: partitions=1, rows=3, columns=[id]
    ");
}

#[tokio::test]
async fn an_aggregate_of_a_lookup_reads_a_column_of_it() {
    let plan = plan(
        "SELECT kind, sum(kv_get(id, on_error => 'null')['score']) AS total FROM t GROUP BY \
         kind",
    )
    .await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[kind@0 as kind, sum(kv_get(t.id, source => 'items', on_error => 'null')[score])@1 as total]
      AggregateExec: mode=Single, gby=[kind@0 as kind], aggr=[sum(__lifted1) as sum(kv_get(t.id, source => 'items', on_error => 'null')[score])]
        ProjectionExec: expr=[kind@1 as kind, get_field(__kv0@2, score) as __lifted1]
          KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = {score} or null]
            CooperativeExec
              FrameScanExec: partitions=1, rows=3, columns=[id, kind]
    ");
}

#[tokio::test]
async fn a_lookup_over_a_join_is_made_for_the_rows_that_plain_conditions_leave() {
    let plan = plan(
        "SELECT a.id FROM t AS a JOIN t AS b ON a.id = b.other WHERE kv_exists(a.id) AND b.live",
    )
    .await;
    assert_snapshot!(plan, @"
    FilterExec: __lifted1@1, projection=[id@0]
      ProjectionExec: expr=[id@0 as id, __kv0@2 as __lifted1]
        KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = exists]
          HashJoinExec: mode=CollectLeft, join_type=Inner, on=[(other@0, id@0)], projection=[id@1, other@0]
            FilterExec: live@1, projection=[other@0]
              CooperativeExec
                FrameScanExec: partitions=1, rows=3, columns=[other, live]
            CooperativeExec
              FrameScanExec: partitions=1, rows=3, columns=[id]
    ");
}

#[tokio::test]
async fn a_condition_of_an_inner_join_without_others_is_a_key_of_its_side() {
    let plan = plan("SELECT a.id FROM t AS a JOIN t AS b ON kv_get(a.id)['parent'] = b.id").await;
    assert_snapshot!(plan, @"
    HashJoinExec: mode=CollectLeft, join_type=Inner, on=[(__lifted1@1, id@0)], projection=[id@0]
      ProjectionExec: expr=[id@0 as id, get_field(__kv0@1, parent) as __lifted1]
        KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = {parent}]
          CooperativeExec
            FrameScanExec: partitions=1, rows=3, columns=[id]
      CooperativeExec
        FrameScanExec: partitions=1, rows=3, columns=[id]
    ");
}

#[tokio::test]
async fn offsets_keep_the_sort_by_a_column_that_is_not_selected() {
    let plan = plan("SELECT max(id) FROM (SELECT id FROM t ORDER BY other DESC OFFSET 1)").await;
    assert_snapshot!(plan, @"
    AggregateExec: mode=Single, gby=[], aggr=[max(t.id)]
      GlobalLimitExec: skip=1, fetch=None
        ProjectionExec: expr=[id@0 as id]
          SortExec: expr=[other@1 DESC], preserve_partitioning=[false]
            CooperativeExec
              FrameScanExec: partitions=1, rows=3, columns=[id, other]
    ");
}

#[tokio::test]
async fn a_lookup_over_both_sides_of_an_outer_join_is_refused() {
    let (kind, message) = refusal(
        "SELECT a.id FROM t AS a LEFT JOIN t AS b ON a.id = b.id AND kv_exists(a.id + b.id)",
    )
    .await;
    assert_eq!(kind, ErrorKind::Invalid);
    assert_snapshot!(message, @"a lookup cannot be made within the condition of such a join; compute it as a column of a subquery first, and use that column");
}
