//! For which rows calls are made.

use insta::assert_snapshot;
use keyloom_client::ErrorKind;

use super::{plan, refusal};

#[tokio::test]
async fn a_condition_beside_a_call_guards_it() {
    let plan = plan("SELECT id FROM t WHERE live OR kv_exists(id)").await;
    assert_snapshot!(plan, @"
    FilterExec: live@1 OR __kv0@2, projection=[id@0]
      KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = exists if CASE WHEN live@1 THEN false ELSE true END]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id, live]
    ");
}

#[tokio::test]
async fn the_branches_of_a_case_are_guarded() {
    let plan = plan(
        "SELECT CASE WHEN kind = 'user' THEN kv_get(id, source => 'users') ELSE kv_get(id, \
         source => 'items') END AS row FROM t",
    )
    .await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[CASE WHEN kind@1 = user THEN __kv0@2 ELSE __kv1@3 END as row]
      KvLookupExec: wave 1: users@immutable by id@0 = key [__kv0 = {key, name, parent, score} if kind@1 = user]; items@immutable by id@0 = key [__kv1 = {key, name, parent, score} if CASE WHEN kind@1 = user THEN false ELSE true END]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id, kind]
    ");
}

#[tokio::test]
async fn later_branches_of_a_case_exclude_earlier_ones() {
    let plan = plan(
        "SELECT CASE WHEN id = 1 THEN kv_exists(other, source => 'users') WHEN id = 2 THEN \
         kv_exists(other, source => 'items') END AS known FROM t",
    )
    .await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[CASE WHEN id@0 = 1 THEN __kv0@2 WHEN id@0 = 2 THEN __kv1@3 END as known]
      KvLookupExec: wave 1: users@immutable by other@1 = key [__kv0 = exists if id@0 = 1]; items@immutable by other@1 = key [__kv1 = exists if CASE WHEN id@0 = 1 THEN false ELSE id@0 = 2 END]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id, other]
    ");
}

#[tokio::test]
async fn a_case_with_an_operand_is_guarded_by_it() {
    let plan = plan(
        "SELECT CASE kind WHEN 'user' THEN kv_get(id, source => 'users')['name'] WHEN 'item' \
         THEN kv_get(id, source => 'items')['name'] ELSE kind END AS name FROM t",
    )
    .await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[CASE kind@1 WHEN user THEN get_field(__kv0@2, name) WHEN item THEN get_field(__kv1@3, name) ELSE kind@1 END as name]
      KvLookupExec: wave 1: users@immutable by id@0 = key [__kv0 = {name} if CASE kind@1 WHEN user THEN true ELSE false END]; items@immutable by id@0 = key [__kv1 = {name} if CASE WHEN CASE kind@1 WHEN user THEN true ELSE false END THEN false ELSE CASE kind@1 WHEN item THEN true ELSE false END END]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id, kind]
    ");
}

#[tokio::test]
async fn guards_of_nested_cases_are_nested() {
    let plan = plan(
        "SELECT CASE WHEN live THEN CASE WHEN kind = 'user' THEN kv_get(id, source => \
         'users')['name'] ELSE 'none' END END AS name FROM t",
    )
    .await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[CASE WHEN live@2 THEN CASE WHEN kind@1 = user THEN get_field(__kv0@3, name) ELSE none END END as name]
      KvLookupExec: wave 1: users@immutable by id@0 = key [__kv0 = {name} if CASE WHEN live@2 IS DISTINCT FROM true THEN false ELSE kind@1 = user END]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id, kind, live]
    ");
}

#[tokio::test]
async fn a_value_tested_beside_a_condition_is_asked_once() {
    let plan = plan(
        "SELECT CASE WHEN live AND kv_get(id)['name'] IS NOT NULL THEN kv_get(id)['name'] ELSE \
         'none' END AS name FROM t",
    )
    .await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[CASE WHEN live@1 AND get_field(__kv0@2, name) IS NOT NULL THEN get_field(__kv0@2, name) ELSE none END as name]
      KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = {name} if CASE WHEN NOT live@1 THEN false ELSE true END]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id, live]
    ");
}

#[tokio::test]
async fn and_guards_its_right_side() {
    let plan = plan("SELECT live AND kv_exists(id) AS a FROM t").await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[live@1 AND __kv0@2 as a]
      KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = exists if CASE WHEN NOT live@1 THEN false ELSE true END]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id, live]
    ");
}

#[tokio::test]
async fn or_guards_its_right_side() {
    let plan = plan("SELECT live OR kv_exists(id) AS o FROM t").await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[live@1 OR __kv0@2 as o]
      KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = exists if CASE WHEN live@1 THEN false ELSE true END]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id, live]
    ");
}

#[tokio::test]
async fn nullif_guards_its_second_argument() {
    let plan = plan("SELECT nullif(kind, kv_get(id)['name']) AS other_kind FROM t").await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[nullif(kind@1, get_field(__kv0@2, name)) as other_kind]
      KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = {name} if kind@1 IS NOT NULL]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id, kind]
    ");
}

#[tokio::test]
async fn the_guide_s_fallback_is_a_plain_case() {
    let plan = plan(
        "SELECT CASE WHEN primary_data IS NOT NULL THEN primary_data ELSE secondary_data END \
         AS final_data FROM (SELECT kv_get(id, on_error => 'null') AS primary_data, \
         kv_get(id, source => 'spare', on_error => 'null') AS secondary_data FROM t)",
    )
    .await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[CASE WHEN __kv0@1 IS NOT NULL THEN __kv0@1 ELSE __kv1@2 END as final_data]
      KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = {key, name, parent, score} or null]; spare@immutable by id@0 = key [__kv1 = {key, name, parent, score} or null]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id]
    ");
}

#[tokio::test]
async fn coalesce_of_booleans_asks_in_turn() {
    let plan = plan("SELECT coalesce(live, kv_exists(id), false) AS known FROM t").await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[CASE WHEN live@1 IS NOT NULL THEN live@1 WHEN __kv0@2 IS NOT NULL THEN __kv0@2 ELSE false END as known]
      KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = exists if CASE WHEN live@1 IS NOT NULL THEN false ELSE true END]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id, live]
    ");
}

#[tokio::test]
async fn a_raising_call_is_not_widened_to_rows_that_do_not_need_it() {
    let plan = plan(
        "SELECT kv_get(id, columns => ['name'], on_error => 'null') AS a, CASE WHEN live THEN \
         kv_get(id, columns => ['score']) END AS b FROM t",
    )
    .await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[__kv0@2 as a, CASE WHEN live@1 THEN __kv1@3 END as b]
      KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = {name} or null, __kv1 = {score} if live@1]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id, live]
    ");
}

#[tokio::test]
async fn a_guarded_call_joins_the_fetch_of_an_unguarded_one() {
    let plan = plan(
        "SELECT kv_get(id, columns => ['name']) AS a, CASE WHEN live THEN kv_get(id, columns \
         => ['score'], on_error => 'null') END AS b FROM t",
    )
    .await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[__kv0@2 as a, CASE WHEN live@1 THEN __kv1@3 END as b]
      KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = {name}, __kv1 = {score} or null]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id, live]
    ");
}

#[tokio::test]
async fn a_volatile_guard_is_refused() {
    let (kind, message) =
        refusal("SELECT CASE WHEN random() < 0.5 THEN kv_get(id)['name'] END AS name FROM t").await;
    assert_eq!(kind, ErrorKind::Invalid);
    assert_snapshot!(message, @"whether kv_get is called depends on random(), which changes with every call; compute it in a subquery first");
}

#[tokio::test]
async fn a_volatile_value_beside_a_lookup_is_allowed() {
    let sql = "SELECT random() < 2 AND live AS a, kv_get(id)['name'] AS name FROM t";
    assert_snapshot!(plan(sql).await, @"
    ProjectionExec: expr=[random() < 2 AND live@1 as a, get_field(__kv0@2, name) as name]
      KvLookupExec: wave 1: items@immutable by id@0 = key [__kv0 = {name}]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id, live]
    ");
}
