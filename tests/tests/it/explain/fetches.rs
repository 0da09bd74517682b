//! What is fetched: which calls are one column, which columns are one fetch, and in which lists.

use insta::assert_snapshot;

use super::plan;

#[tokio::test]
async fn the_calls_of_a_projection_become_one_lookup_below_it() {
    let plan =
        plan("SELECT id, kv_get(id) AS row, kv_exists(other, source => 'users') AS known FROM t")
            .await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[id@0 as id, __kv0@2 as row, __kv1@3 as known]
      KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = {key, name, parent, score}]; users@immutable by other@1 = key [__kv1 = exists]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id, other]
    ");
}

#[tokio::test]
async fn a_call_within_an_expression_is_pulled_out_of_it() {
    let plan = plan("SELECT upper(kv_get(id)['name']) || '!' AS shout FROM t").await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[upper(get_field(__kv0@1, name)) || ! as shout]
      KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = {name}]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id]
    ");
}

#[tokio::test]
async fn equal_calls_are_one_column() {
    let plan = plan("SELECT kv_get(id) AS one, kv_get(id) AS other FROM t").await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[__kv0@1 as one, __kv0@1 as other]
      KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = {key, name, parent, score}]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id]
    ");
}

#[tokio::test]
async fn a_call_that_nothing_reads_is_not_made() {
    let plan = plan("SELECT id FROM (SELECT id, kv_get(id) AS row FROM t)").await;
    assert_snapshot!(plan, @"
    CooperativeExec
      FrameScanExec: partitions=1, rows=3, columns=[id]
    ");
}

#[tokio::test]
async fn one_call_in_two_branches_is_one_column() {
    let plan = plan(
        "SELECT CASE WHEN kind = 'user' THEN kv_get(id)['name'] WHEN live THEN \
         kv_get(id)['name'] END AS name FROM t",
    )
    .await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[CASE WHEN kind@1 = user THEN get_field(__kv0@3, name) WHEN live@2 THEN get_field(__kv0@3, name) END as name]
      KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = {name} if kind@1 = user OR CASE WHEN kind@1 = user THEN false ELSE live@2 END]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id, kind, live]
    ");
}

#[tokio::test]
async fn calls_on_one_store_and_key_are_one_fetch() {
    let plan = plan(
        "SELECT kv_get(id, columns => ['name']) AS a, kv_get(id, columns => ['score', \
         'name'], on_error => 'null') AS b FROM t",
    )
    .await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[__kv0@1 as a, __kv1@2 as b]
      KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = {name}, __kv1 = {score, name} or null]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id]
    ");
}

#[tokio::test]
async fn kv_exists_beside_kv_get_is_the_same_fetch() {
    let plan = plan(
        "SELECT kv_exists(id) AS known, kv_get(id, columns => ['name'], on_error => 'null') \
         AS row FROM t",
    )
    .await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[__kv0@1 as known, __kv1@2 as row]
      KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = exists, __kv1 = {name} or null]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id]
    ");
}

#[tokio::test]
async fn calls_of_a_filter_and_of_a_projection_are_two_lookups() {
    let plan = plan("SELECT kv_get(id)['name'] AS name FROM t WHERE kv_exists(id)").await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[get_field(__kv1@1, name) as name]
      KvLookupExec: wave 1: items@immutable by id@0 = key [__kv1 = {name}]
        FilterExec: __kv0@1, projection=[id@0]
          KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = exists]
            CooperativeExec
              FrameScanExec: partitions=1, rows=3, columns=[id]
    ");
}

#[tokio::test]
async fn a_field_fetches_one_column() {
    let plan = plan("SELECT kv_get(id)['name'] AS name FROM t").await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[get_field(__kv0@1, name) as name]
      KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = {name}]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id]
    ");
}

#[tokio::test]
async fn a_field_of_a_subquery_s_column_fetches_one_column() {
    let plan = plan("SELECT s['name'] AS name FROM (SELECT kv_get(id) AS s FROM t)").await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[get_field(__kv0@1, name) as name]
      KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = {name}]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id]
    ");
}

#[tokio::test]
async fn a_null_test_between_does_not_widen_the_fetch() {
    let plan = plan(
        "SELECT s['name'] AS name FROM (SELECT kv_get(id, on_error => 'null') AS s FROM t) \
         WHERE s IS NOT NULL",
    )
    .await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[get_field(s@0, name) as name]
      FilterExec: s@0 IS NOT NULL
        ProjectionExec: expr=[__kv0@1 as s]
          KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = {name} or null]
            CooperativeExec
              FrameScanExec: partitions=1, rows=3, columns=[id]
    ");
}

#[tokio::test]
async fn a_column_read_whole_fetches_all() {
    let plan = plan("SELECT s['name'] AS name, s FROM (SELECT kv_get(id) AS s FROM t)").await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[get_field(__kv0@1, name) as name, __kv0@1 as s]
      KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = {key, name, parent, score}]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id]
    ");
}

#[tokio::test]
async fn fields_of_two_projections_are_joined() {
    let plan = plan(
        "SELECT s['score'] AS score, name FROM (SELECT s, s['name'] AS name FROM (SELECT \
         kv_get(id) AS s FROM t))",
    )
    .await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[get_field(__kv0@1, score) as score, get_field(__kv0@1, name) as name]
      KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = {name, score}]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id]
    ");
}

#[tokio::test]
async fn lists_of_keys_keep_their_batch_size() {
    let plan = plan(
        "SELECT kv_batch_get(ids, columns => ['name'], batch_size => 7, on_error => 'null') \
         AS rows FROM t",
    )
    .await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[__kv0@1 as rows]
      KvLookupExec: wave 1: items@immutable by ids@0 = key (batch_size 7) [__kv0 = {name} or null]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[ids]
    ");
}

#[tokio::test]
async fn the_smallest_batch_size_of_a_shared_fetch_holds() {
    let plan = plan(
        "SELECT kv_batch_get(ids, columns => ['name'], batch_size => 7) AS few, \
         kv_batch_get(ids, columns => ['score'], batch_size => 3) AS fewer FROM t",
    )
    .await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[__kv0@1 as few, __kv1@2 as fewer]
      KvLookupExec: wave 1: items@immutable by ids@0 = key (batch_size 3) [__kv0 = {name}, __kv1 = {score}]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[ids]
    ");
}

#[tokio::test]
async fn a_list_of_keys_has_the_default_batch_size() {
    let plan = plan("SELECT kv_batch_get(ids, columns => ['name']) AS rows FROM t").await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[__kv0@1 as rows]
      KvLookupExec: wave 1: items@immutable by ids@0 = key (batch_size 1000) [__kv0 = {name}]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[ids]
    ");
}
