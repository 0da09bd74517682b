//! Plans between processes: what is encoded comes back the same, and what is no plan is an error.

use std::{fs::File, path::Path, sync::Arc};

use arrow::{
    array::{ArrayRef, Int64Array, Int64Builder, ListBuilder, RecordBatch, StringArray},
    ipc::writer::FileWriter,
};
use datafusion::{
    execution::TaskContext,
    parquet::arrow::ArrowWriter,
    physical_plan::{ExecutionPlan, displayable},
    physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner},
    prelude::SessionContext,
};
use keyloom_client::{MemoryOptions, Session, load_kv};
use keyloom_common::{
    ErrorKind,
    lookup::KvLookupExec,
    plan::{FrameScanExec, decode_plan, encode_plan},
};

fn table() -> RecordBatch {
    let mut lists = ListBuilder::new(Int64Builder::new());
    for row in 0..4 {
        lists.append_value((0..row).map(Some));
    }
    let columns: [(&str, ArrayRef); 4] = [
        ("id", Arc::new(Int64Array::from(vec![1, 2, 3, 4]))),
        ("other", Arc::new(Int64Array::from(vec![Some(4), None, Some(2), Some(1)]))),
        ("kind", Arc::new(StringArray::from(vec!["user", "item", "user", "item"]))),
        ("ids", Arc::new(lists.finish())),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn store() -> RecordBatch {
    let columns: [(&str, ArrayRef); 3] = [
        ("key", Arc::new(Int64Array::from(vec![1, 2]))),
        ("name", Arc::new(StringArray::from(vec!["one", "two"]))),
        ("parent", Arc::new(Int64Array::from(vec![2, 1]))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// A session with a table `t` and the stores `items` (current) and `users`.
async fn session() -> Session {
    let session = Session::embedded().await.unwrap();
    session.register_batches("t", &[table()]).unwrap();
    for alias in ["items", "users"] {
        let store = load_kv(alias, MemoryOptions::batch(store(), "key")).unwrap();
        session.attach(store, alias).await.unwrap();
    }
    session.set_kv("items").unwrap();
    session
}

/// The physical plan of a statement, as it is before it is submitted.
async fn plan(session: &Session, sql: &str) -> Arc<dyn ExecutionPlan> {
    let (state, logical) = session.sql(sql).await.unwrap().into_parts();
    let logical = state.optimize(&logical).unwrap();
    DefaultPhysicalPlanner::default().create_physical_plan(&logical, &state).await.unwrap()
}

fn context() -> Arc<TaskContext> {
    SessionContext::new().task_ctx()
}

fn text(plan: &Arc<dyn ExecutionPlan>) -> String {
    displayable(plan.as_ref()).indent(true).to_string()
}

fn lookups(plan: &Arc<dyn ExecutionPlan>) -> Vec<String> {
    let own = plan.downcast_ref::<KvLookupExec>().map(|lookup| format!("{:?}", lookup.waves()));
    own.into_iter().chain(plan.children().into_iter().flat_map(lookups)).collect()
}

fn frames(plan: &Arc<dyn ExecutionPlan>) -> Vec<String> {
    let own = plan.downcast_ref::<FrameScanExec>().map(|frame| format!("{:?}", frame.partitions()));
    own.into_iter().chain(plan.children().into_iter().flat_map(frames)).collect()
}

/// What comes back is the same node for node, expression for expression, and type for type.
async fn check(session: &Session, sql: &str) {
    let plan = plan(session, sql).await;
    let bytes = encode_plan(&plan).unwrap();
    let back = decode_plan(&bytes, &context()).unwrap();
    assert_eq!(text(&back), text(&plan), "{sql}");
    assert_eq!(back.schema(), plan.schema(), "{sql}");
    assert_eq!(lookups(&back), lookups(&plan), "{sql}");
    assert_eq!(frames(&back), frames(&plan), "{sql}");
    assert_eq!(encode_plan(&back).unwrap(), bytes, "{sql}");
}

#[tokio::test]
async fn lookups_come_back_with_their_waves_guards_and_batch_sizes() {
    let session = session().await;
    for sql in [
        "SELECT *, kv_get(id) AS row FROM t",
        "SELECT kv_batch_get(ids, columns => ['name'], batch_size => 3, on_error => 'null') AS r FROM t",
        "SELECT kv_get(id, columns => ['parent', 'key'], on_error => 'null') AS r, kv_exists(id) AS e FROM t",
        "SELECT kv_get(kv_get(kv_get(id)['parent'], source => 'users')['parent'])['name'] AS r FROM t",
        "SELECT CASE WHEN kind = 'user' THEN kv_get(id, source => 'users') WHEN other IS NULL THEN \
         kv_get(id) END AS r FROM t",
        "SELECT coalesce(kv_get(id, on_error => 'null')['name'], kv_get(other, on_error => 'null')['name'], \
         kind) AS r FROM t",
        "SELECT id FROM t WHERE kv_exists(id) AND (other > 1 OR kv_exists(other, source => 'users'))",
    ] {
        check(&session, sql).await;
    }
}

#[tokio::test]
async fn frames_come_back_with_their_partitions_and_projection() {
    let session = session().await;
    for sql in ["SELECT * FROM t", "SELECT ids, id FROM t", "SELECT 1 FROM t"] {
        check(&session, sql).await;
    }
}

#[tokio::test]
async fn other_operators_come_back() {
    let session = session().await;
    for sql in [
        "SELECT kind, count(*) AS n, max(kv_get(id, on_error => 'null')['name']) AS m FROM t GROUP BY kind",
        "SELECT id FROM t ORDER BY kv_get(id, on_error => 'null')['name'] DESC NULLS LAST LIMIT 2",
        "SELECT a.id, kv_get(b.other) AS r FROM t AS a JOIN t AS b ON a.id = b.other",
        "SELECT id, unnest(kv_batch_get(ids, on_error => 'null')) AS r FROM t",
        "SELECT id FROM t UNION ALL SELECT other FROM t",
        "SELECT id, row_number() OVER (PARTITION BY kind ORDER BY id) AS n FROM t",
    ] {
        check(&session, sql).await;
    }
}

#[tokio::test]
async fn groups_by_keys_below_lookups_come_back() {
    let session = session().await;
    session.context().sql("SET keyloom.group_keys = 'always'").await.unwrap();
    let sql = "SELECT kv_get(id, on_error => 'null')['name'] AS name, count(other) AS n, avg(other) \
               AS mean FROM t GROUP BY 1";
    let planned = text(&plan(&session, sql).await);
    assert!(planned.contains("rows of "), "{planned}");
    check(&session, sql).await;
}

#[tokio::test]
async fn rows_are_counted_by_a_column_of_numbers_alone() {
    let session = session().await;
    let plan = plan(&session, "SELECT id, kind, kv_get(id) AS r FROM t").await;
    let lookup = plan.children()[0].downcast_ref::<KvLookupExec>().unwrap();
    let counted = |column| -> Arc<dyn ExecutionPlan> {
        Arc::new(lookup.clone().with_counted_by(Some(column)))
    };
    let back = |column| decode_plan(&encode_plan(&counted(column)).unwrap(), &context());
    let shown = text(&back(0).unwrap());
    assert_eq!(shown, text(&counted(0)));
    assert!(shown.starts_with("KvLookupExec: rows of id@0, wave 1: "), "{shown}");
    for column in [1, 99] {
        let error = back(column).unwrap_err().to_string();
        assert!(error.contains("counts the rows of a lookup by column"), "{error}");
    }
}

fn write_inputs(folder: &Path) {
    let batch = table().project(&[0, 1, 2]).unwrap();
    let create = |name: &str| File::create(folder.join(name)).unwrap();
    let mut parquet = ArrowWriter::try_new(create("items.parquet"), batch.schema(), None).unwrap();
    parquet.write(&batch).unwrap();
    parquet.close().unwrap();
    let mut ipc = FileWriter::try_new(create("items.arrow"), &batch.schema()).unwrap();
    ipc.write(&batch).unwrap();
    ipc.finish().unwrap();
    std::fs::write(folder.join("items.csv"), "id,other,kind\n1,4,user\n2,,item\n").unwrap();
    let lines = "{\"id\": 1, \"other\": 4, \"kind\": \"user\"}\n{\"id\": 2, \"kind\": \"item\"}\n";
    std::fs::write(folder.join("items.json"), lines).unwrap();
}

#[tokio::test]
async fn file_scans_come_back_with_their_slices() {
    let session = session().await;
    let folder = tempfile::tempdir().unwrap();
    write_inputs(folder.path());
    for ending in ["parquet", "arrow", "csv", "json"] {
        let path = folder.path().join(format!("items.{ending}"));
        session.register(ending, path.to_str().unwrap()).await.unwrap();
        check(&session, &format!("SELECT * FROM {ending}")).await;
        let sql = format!(
            "SELECT kind, kv_get(id, on_error => 'null')['name'] AS name FROM {ending} WHERE other > 1"
        );
        check(&session, &sql).await;
    }
}

#[tokio::test]
async fn a_node_that_cannot_travel_is_refused_by_name() {
    let plan = SessionContext::new()
        .sql("SELECT * FROM generate_series(1, 3)")
        .await
        .unwrap()
        .create_physical_plan()
        .await
        .unwrap();
    match encode_plan(&plan) {
        Ok(bytes) => assert_eq!(text(&decode_plan(&bytes, &context()).unwrap()), text(&plan)),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Invalid, "{error}"),
    }
}

#[tokio::test]
async fn a_series_of_which_no_column_is_wanted_comes_back_without_one() {
    let session = session().await;
    for series in [
        "generate_series(1, 3)",
        "range(0, 10, 3)",
        "generate_series(1, NULL)",
        "generate_series(TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-02', INTERVAL '1' HOUR)",
        "generate_series(DATE '2026-01-01', DATE '2026-01-31', INTERVAL '1' DAY)",
    ] {
        check(&session, &format!("SELECT count(*) FROM {series}")).await;
        check(&session, &format!("SELECT 1 AS one FROM {series}")).await;
    }
}

#[test]
fn bytes_that_are_no_plan_are_an_error() {
    for bytes in [&b"no plan at all"[..], &[0xff; 64], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]] {
        let error = decode_plan(bytes, &context()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal, "{bytes:?}: {error}");
    }
}

const EVERYTHING: &str = "SELECT kv_get(kv_get(id)['parent'], source => 'users', columns => ['name']) AS r, \
     CASE WHEN kind = 'user' THEN kv_batch_get(ids, batch_size => 3, on_error => 'null') END AS l \
     FROM t WHERE kv_exists(id) AND other > 1";

#[tokio::test]
async fn flipped_bytes_never_panic() {
    let session = session().await;
    let bytes = encode_plan(&plan(&session, EVERYTHING).await).unwrap();
    let context = context();
    for position in (0..bytes.len()).step_by(7) {
        let mut bad = bytes.to_vec();
        bad[position] ^= 0x55;
        // Any outcome but a panic: a flipped value may still be a plan.
        let _ = decode_plan(&bad, &context);
    }
}

#[tokio::test]
async fn a_plan_that_breaks_off_never_panics() {
    let session = session().await;
    let bytes = encode_plan(&plan(&session, EVERYTHING).await).unwrap();
    let context = context();
    for length in (1..bytes.len()).step_by(7) {
        let _ = decode_plan(&bytes[..length], &context);
    }
}
