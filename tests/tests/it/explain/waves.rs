//! In which order stores are asked.

use insta::assert_snapshot;

use super::plan;

#[tokio::test]
async fn coalesce_asks_the_second_store_where_the_first_is_null() {
    let plan = plan(
        "SELECT coalesce(kv_get(id, on_error => 'null'), kv_get(id, source => 'spare', \
         on_error => 'null')) AS row FROM t",
    )
    .await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[CASE WHEN __kv0@1 IS NOT NULL THEN __kv0@1 ELSE __kv1@2 END as row]
      KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = {key, name, parent, score} or null] | wave 2: spare@immutable by id@0 = key [__kv1 = {key, name, parent, score} or null if CASE WHEN __kv0@1 IS NOT NULL THEN false ELSE true END]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id]
    ");
}

#[tokio::test]
async fn coalesce_asks_each_store_once_and_in_turn() {
    let plan = plan(
        "SELECT coalesce(kv_get(id, on_error => 'null')['name'], kv_get(other, on_error => \
         'null')['name'], kind) AS name FROM t",
    )
    .await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[CASE WHEN get_field(__kv0@3, name) IS NOT NULL THEN get_field(__kv0@3, name) WHEN get_field(__kv1@4, name) IS NOT NULL THEN get_field(__kv1@4, name) ELSE kind@2 END as name]
      KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = {name} or null] | wave 2: items@immutable by other@1 = key [__kv1 = {name} or null if CASE WHEN get_field(__kv0@3, name) IS NOT NULL THEN false ELSE true END]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id, other, kind]
    ");
}

#[tokio::test]
async fn a_key_from_another_lookup_makes_a_second_wave() {
    let plan =
        plan("SELECT kv_get(kv_get(id)['parent'], source => 'users')['name'] AS name FROM t").await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[get_field(__kv1@2, name) as name]
      KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = {parent}] | wave 2: users@immutable by get_field(__kv0@1, parent) = key [__kv1 = {name}]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id]
    ");
}

#[tokio::test]
async fn a_chain_of_keys_makes_a_wave_a_link() {
    let plan =
        plan("SELECT kv_get(kv_get(kv_get(id)['parent'])['parent'])['name'] AS name FROM t").await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[get_field(__kv2@3, name) as name]
      KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = {parent}] | wave 2: items@immutable by get_field(__kv0@1, parent) = key [__kv1 = {parent}] | wave 3: items@immutable by get_field(__kv1@2, parent) = key [__kv2 = {name}]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id]
    ");
}

#[tokio::test]
async fn a_guard_on_another_lookup_makes_a_second_wave() {
    let plan = plan(
        "SELECT CASE WHEN kv_exists(id, source => 'users') THEN kv_get(id)['name'] END AS \
         name FROM t",
    )
    .await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[CASE WHEN __kv0@1 THEN get_field(__kv1@2, name) END as name]
      KvLookupExec: wave 1: users@immutable by id@0 = key [__kv0 = exists] | wave 2: items@immutable by id@0 = key [__kv1 = {name} if __kv0@1]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id]
    ");
}

#[tokio::test]
async fn stores_that_do_not_depend_on_each_other_share_a_wave() {
    let plan = plan(
        "SELECT kv_get(id)['name'] AS a, kv_get(id, source => 'users')['name'] AS b, \
         kv_get(other, source => 'spare')['name'] AS c FROM t",
    )
    .await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[get_field(__kv0@2, name) as a, get_field(__kv1@3, name) as b, get_field(__kv2@4, name) as c]
      KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = {name}]; users@immutable by id@0 = key [__kv1 = {name}]; spare@immutable by other@1 = key [__kv2 = {name}]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id, other]
    ");
}
