//! Physical plans as text: what is looked up, for which rows, in which order, and how often.

mod access;

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, Int64Builder, ListBuilder, RecordBatch, StringArray,
};
use insta::assert_snapshot;
use keyloom_client::{ErrorKind, MemoryOptions, Session, load_kv};

fn table() -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let kinds: ArrayRef = Arc::new(StringArray::from(vec!["user", "item", "user"]));
    let mut lists = ListBuilder::new(Int64Builder::new());
    for list in [vec![1, 2], vec![], vec![3]] {
        lists.append_value(list.into_iter().map(Some));
    }
    let columns: [(&str, ArrayRef); 5] = [
        ("id", Arc::clone(&ids)),
        ("other", ids),
        ("kind", kinds),
        ("live", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
        ("ids", Arc::new(lists.finish())),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn items() -> RecordBatch {
    let columns: [(&str, ArrayRef); 4] = [
        ("key", Arc::new(Int64Array::from(vec![1, 2]))),
        ("name", Arc::new(StringArray::from(vec!["one", "two"]))),
        ("parent", Arc::new(Int64Array::from(vec![2, 1]))),
        ("score", Arc::new(Int64Array::from(vec![10, 20]))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// A session with a table `t` and the stores `items` (current), `users` and `spare`, which have
/// the same columns.
async fn session() -> Session {
    let session = Session::embedded().await.unwrap();
    session.register_batches("t", &[table()]).unwrap();
    for alias in ["items", "users", "spare"] {
        let store = load_kv(alias, MemoryOptions::batch(items(), "key")).unwrap();
        session.attach(store, alias).await.unwrap();
    }
    session.set_kv("items").unwrap();
    session
}

async fn plan(sql: &str) -> String {
    let session = session().await;
    let query = session.sql(sql).await.unwrap();
    session.explain(query, false).await.unwrap()
}

/// The kind and the message of what planning a statement says is wrong.
async fn refusal(sql: &str) -> (ErrorKind, String) {
    let session = session().await;
    let error = match session.sql(sql).await {
        Ok(query) => session.explain(query, false).await.unwrap_err(),
        Err(error) => error,
    };
    (error.kind(), error.message().to_owned())
}

#[tokio::test]
async fn the_calls_of_a_projection_become_one_lookup_below_it() {
    let plan =
        plan("SELECT id, kv_get(id) AS row, kv_exists(other, source => 'users') AS known FROM t")
            .await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[id@0 as id, __kv0@2 as row, __kv1@3 as known]
      KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = {key, name, parent, score}]; users@immutable by other@1 [__kv1 = exists]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id, other]
    ");
}

#[tokio::test]
async fn a_call_within_an_expression_is_pulled_out_of_it() {
    let plan = plan("SELECT upper(kv_get(id)['name']) || '!' AS shout FROM t").await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[upper(get_field(__kv0@1, name)) || ! as shout]
      KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = {name}]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id]
    ");
}

#[tokio::test]
async fn equal_calls_are_one_column() {
    let plan = plan("SELECT kv_get(id) AS one, kv_get(id) AS other FROM t").await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[__kv0@1 as one, __kv0@1 as other]
      KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = {key, name, parent, score}]
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
async fn lists_of_keys_keep_their_batch_size() {
    let plan = plan(
        "SELECT kv_batch_get(ids, columns => ['name'], batch_size => 7, on_error => 'null') \
         AS rows FROM t",
    )
    .await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[__kv0@1 as rows]
      KvLookupExec: wave 1: items@immutable by ids@0 (batch_size 7) [__kv0 = {name} or null]
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
      KvLookupExec: wave 1: items@immutable by ids@0 (batch_size 3) [__kv0 = {name}, __kv1 = {score}]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[ids]
    ");
}

#[tokio::test]
async fn a_list_of_keys_has_the_default_batch_size() {
    let plan = plan("SELECT kv_batch_get(ids, columns => ['name']) AS rows FROM t").await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[__kv0@1 as rows]
      KvLookupExec: wave 1: items@immutable by ids@0 (batch_size 1000) [__kv0 = {name}]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[ids]
    ");
}

#[tokio::test]
async fn plain_conditions_of_a_filter_are_decided_below_the_lookup() {
    let plan = plan("SELECT id FROM t WHERE kv_exists(id) AND other > 1 AND kind = 'user'").await;
    assert_snapshot!(plan, @"
    FilterExec: __kv0@3, projection=[id@0]
      KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = exists]
        FilterExec: other@1 > 1 AND kind@2 = user
          CooperativeExec
            FrameScanExec: partitions=1, rows=3, columns=[id, other, kind]
    ");
}

#[tokio::test]
async fn a_condition_beside_a_call_guards_it() {
    let plan = plan("SELECT id FROM t WHERE live OR kv_exists(id)").await;
    assert_snapshot!(plan, @"
    FilterExec: live@1 OR __kv0@2, projection=[id@0]
      KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = exists if CASE WHEN live@1 THEN false ELSE true END]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id, live]
    ");
}

#[tokio::test]
async fn calls_of_a_filter_and_of_a_projection_are_two_lookups() {
    let plan = plan("SELECT kv_get(id)['name'] AS name FROM t WHERE kv_exists(id)").await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[get_field(__kv1@1, name) as name]
      KvLookupExec: wave 1: items@immutable by id@0 [__kv1 = {name}]
        FilterExec: __kv0@1, projection=[id@0]
          KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = exists]
            CooperativeExec
              FrameScanExec: partitions=1, rows=3, columns=[id]
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
      KvLookupExec: wave 1: users@immutable by id@0 [__kv0 = {key, name, parent, score} if kind@1 = user]; items@immutable by id@0 [__kv1 = {key, name, parent, score} if CASE WHEN kind@1 = user THEN false ELSE true END]
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
      KvLookupExec: wave 1: users@immutable by other@1 [__kv0 = exists if id@0 = 1]; items@immutable by other@1 [__kv1 = exists if CASE WHEN id@0 = 1 THEN false ELSE id@0 = 2 END]
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
      KvLookupExec: wave 1: users@immutable by id@0 [__kv0 = {name} if CASE kind@1 WHEN user THEN true ELSE false END]; items@immutable by id@0 [__kv1 = {name} if CASE WHEN CASE kind@1 WHEN user THEN true ELSE false END THEN false ELSE CASE kind@1 WHEN item THEN true ELSE false END END]
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
      KvLookupExec: wave 1: users@immutable by id@0 [__kv0 = {name} if CASE WHEN live@2 IS DISTINCT FROM true THEN false ELSE kind@1 = user END]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id, kind, live]
    ");
}

#[tokio::test]
async fn coalesce_asks_the_second_store_where_the_first_is_null() {
    let plan = plan(
        "SELECT coalesce(kv_get(id, on_error => 'null'), kv_get(id, source => 'spare', \
         on_error => 'null')) AS row FROM t",
    )
    .await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[CASE WHEN __kv0@1 IS NOT NULL THEN __kv0@1 ELSE __kv1@2 END as row]
      KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = {key, name, parent, score} or null] | wave 2: spare@immutable by id@0 [__kv1 = {key, name, parent, score} or null if CASE WHEN __kv0@1 IS NOT NULL THEN false ELSE true END]
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
      KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = {name} or null] | wave 2: items@immutable by other@1 [__kv1 = {name} or null if CASE WHEN get_field(__kv0@3, name) IS NOT NULL THEN false ELSE true END]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id, other, kind]
    ");
}

#[tokio::test]
async fn coalesce_of_booleans_asks_in_turn() {
    let plan = plan("SELECT coalesce(live, kv_exists(id), false) AS known FROM t").await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[CASE WHEN live@1 IS NOT NULL THEN live@1 WHEN __kv0@2 IS NOT NULL THEN __kv0@2 ELSE false END as known]
      KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = exists if CASE WHEN live@1 IS NOT NULL THEN false ELSE true END]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id, live]
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
      KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = {name} if CASE WHEN NOT live@1 THEN false ELSE true END]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id, live]
    ");
}

#[tokio::test]
async fn and_guards_its_right_side() {
    let plan = plan("SELECT live AND kv_exists(id) AS a FROM t").await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[live@1 AND __kv0@2 as a]
      KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = exists if CASE WHEN NOT live@1 THEN false ELSE true END]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id, live]
    ");
}

#[tokio::test]
async fn or_guards_its_right_side() {
    let plan = plan("SELECT live OR kv_exists(id) AS o FROM t").await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[live@1 OR __kv0@2 as o]
      KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = exists if CASE WHEN live@1 THEN false ELSE true END]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id, live]
    ");
}

#[tokio::test]
async fn nullif_guards_its_second_argument() {
    let plan = plan("SELECT nullif(kind, kv_get(id)['name']) AS other_kind FROM t").await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[nullif(kind@1, get_field(__kv0@2, name)) as other_kind]
      KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = {name} if kind@1 IS NOT NULL]
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
      KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = {key, name, parent, score} or null]; spare@immutable by id@0 [__kv1 = {key, name, parent, score} or null]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id]
    ");
}

#[tokio::test]
async fn a_key_from_another_lookup_makes_a_second_wave() {
    let plan =
        plan("SELECT kv_get(kv_get(id)['parent'], source => 'users')['name'] AS name FROM t").await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[get_field(__kv1@2, name) as name]
      KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = {parent}] | wave 2: users@immutable by get_field(__kv0@1, parent) [__kv1 = {name}]
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
      KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = {parent}] | wave 2: items@immutable by get_field(__kv0@1, parent) [__kv1 = {parent}] | wave 3: items@immutable by get_field(__kv1@2, parent) [__kv2 = {name}]
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
      KvLookupExec: wave 1: users@immutable by id@0 [__kv0 = exists] | wave 2: items@immutable by id@0 [__kv1 = {name} if __kv0@1]
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
      KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = {name}]; users@immutable by id@0 [__kv1 = {name}]; spare@immutable by other@1 [__kv2 = {name}]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id, other]
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
      KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = {name}, __kv1 = {score, name} or null]
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
      KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = exists, __kv1 = {name} or null]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id]
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
      KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = {name} or null, __kv1 = {score} if live@1]
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
      KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = {name}, __kv1 = {score} or null]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id, live]
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
      KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = {name} if kind@1 = user OR CASE WHEN kind@1 = user THEN false ELSE live@2 END]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id, kind, live]
    ");
}

#[tokio::test]
async fn a_field_fetches_one_column() {
    let plan = plan("SELECT kv_get(id)['name'] AS name FROM t").await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[get_field(__kv0@1, name) as name]
      KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = {name}]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id]
    ");
}

#[tokio::test]
async fn a_field_of_a_subquery_s_column_fetches_one_column() {
    let plan = plan("SELECT s['name'] AS name FROM (SELECT kv_get(id) AS s FROM t)").await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[get_field(__kv0@1, name) as name]
      KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = {name}]
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
          KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = {name} or null]
            CooperativeExec
              FrameScanExec: partitions=1, rows=3, columns=[id]
    ");
}

#[tokio::test]
async fn a_column_read_whole_fetches_all() {
    let plan = plan("SELECT s['name'] AS name, s FROM (SELECT kv_get(id) AS s FROM t)").await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[get_field(__kv0@1, name) as name, __kv0@1 as s]
      KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = {key, name, parent, score}]
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
      KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = {name, score}]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id]
    ");
}

#[tokio::test]
async fn rows_beyond_a_limit_are_not_looked_up() {
    let plan = plan("SELECT kv_get(id) AS row FROM t LIMIT 2").await;
    assert_snapshot!(plan, @"
    ProjectionExec: expr=[__kv0@1 as row]
      KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = {key, name, parent, score}]
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
      KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = {name}]
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
      KvLookupExec: wave 1: items@immutable by max(t.id)@1 [__kv0 = {name}]
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
          KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = {score}]
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
          KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = {name}]
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
          KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = {score} or null]
            CooperativeExec
              FrameScanExec: partitions=1, rows=3, columns=[id, kind]
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
      KvLookupExec: wave 1: items@immutable by id@0 [__kv0 = {name}]
        CooperativeExec
          FrameScanExec: partitions=1, rows=3, columns=[id, live]
    ");
}

#[tokio::test]
async fn a_lookup_in_a_join_condition_is_refused() {
    let (kind, message) =
        refusal("SELECT a.id FROM t AS a JOIN t AS b ON kv_get(a.id)['parent'] = b.id").await;
    assert_eq!(kind, ErrorKind::Invalid);
    assert_snapshot!(message, @"a lookup cannot be made within a join; compute it as a column of a subquery first, and use that column");
}

#[tokio::test]
async fn a_lookup_over_both_sides_of_a_join_is_refused() {
    let (kind, message) = refusal(
        "SELECT a.id FROM t AS a LEFT JOIN t AS b ON a.id = b.id AND kv_exists(a.id + b.id)",
    )
    .await;
    assert_eq!(kind, ErrorKind::Invalid);
    assert_snapshot!(message, @"a lookup cannot be made within a join; compute it as a column of a subquery first, and use that column");
}
