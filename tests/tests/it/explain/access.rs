//! The ways to the rows of Lance datasets: which is chosen, by which figures, and what is refused.

use std::{path::Path, sync::Arc};

use arrow::{
    array::{ArrayRef, FixedSizeListArray, Int64Array, RecordBatch},
    datatypes::Float32Type,
};
use insta::assert_snapshot;
use keyloom_client::{
    EmbeddedSettings, Error, ErrorKind, KeyPath, LanceOptions, RowPath, Session,
    datafusion::dataframe::DataFrameWriteOptions, load_kv,
};
use lance::{
    Dataset,
    dataset::{WriteMode, WriteParams},
};
use tempfile::TempDir;

use crate::harness::{index, write_lance_with};

/// Ids, vectors of four floats, scores: 8, 16 and 8 bytes.
fn vectors(rows: i64) -> RecordBatch {
    let vector = |id| Some((0..4).map(move |element| Some((id + element) as f32)));
    let vectors =
        FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>((0..rows).map(vector), 4);
    let numbers = || Arc::new(Int64Array::from_iter_values(0..rows)) as ArrayRef;
    let columns: [(&str, ArrayRef); 3] =
        [("id", numbers()), ("vector", Arc::new(vectors)), ("score", numbers())];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// A thousand vectors in four fragments.
async fn write(uri: &str, params: WriteParams) -> Dataset {
    let params = WriteParams { max_rows_per_file: 250, ..params };
    write_lance_with(uri, &[vectors(1000)], params).await.unwrap()
}

/// A session over datasets in a folder of its own.
struct Ways {
    session: Session,
    dir: TempDir,
}

impl Ways {
    async fn new() -> Self {
        Self::with(EmbeddedSettings::default()).await
    }

    async fn with(settings: EmbeddedSettings) -> Self {
        let settings = EmbeddedSettings { workers: Some(1), ..settings };
        let session = Session::embedded_with(settings).await.unwrap();
        Self { session, dir: tempfile::tempdir().unwrap() }
    }

    fn uri(&self, name: &str) -> String {
        self.dir.path().join(name).to_string_lossy().into_owned()
    }

    /// The vectors, keyed by id, as the current store `emb`.
    async fn with_vectors(self) -> Self {
        write(&self.uri("emb"), WriteParams::default()).await;
        self.attach(self.options("emb").key("id")).await.unwrap();
        self
    }

    /// The same with an index on the ids.
    async fn with_indexed_vectors(self) -> Self {
        index(&mut write(&self.uri("emb"), WriteParams::default()).await, "id").await.unwrap();
        self.attach(self.options("emb").key("id")).await.unwrap();
        self
    }

    fn options(&self, name: &str) -> LanceOptions {
        LanceOptions::new(self.uri(name))
    }

    /// Attaches, or attaches anew, the current store `emb`.
    async fn attach(&self, options: LanceOptions) -> Result<(), Error> {
        self.session.attach_or_replace(load_kv("own name", options)?, "emb").await?;
        self.session.set_kv("emb")
    }

    /// The plan of a query over a table `t` with so many keys `k`.
    async fn plan(&self, keys: i64, sql: &str) -> String {
        let table: ArrayRef = Arc::new(Int64Array::from_iter_values(0..keys));
        let table = RecordBatch::try_from_iter([("k", table)]).unwrap();
        self.session.context().deregister_table("t").unwrap();
        self.session.register_batches("t", &[table]).unwrap();
        self.session.explain(self.session.sql(sql).await.unwrap(), false).await.unwrap()
    }

    /// The way of the only fetch of a query, as its plan shows it.
    async fn way(&self, keys: i64, sql: &str) -> String {
        way(&self.plan(keys, sql).await)
    }
}

fn way(plan: &str) -> String {
    let (_, fetch) = plan.split_once(" via ").unwrap();
    fetch.split_once(" [__kv").unwrap().0.to_owned()
}

const ROW: &str = "SELECT kv_get(k) AS row FROM t";

#[tokio::test]
async fn few_keys_are_mapped_and_their_rows_taken() {
    let ways = Ways::new().await.with_vectors().await;
    assert_snapshot!(ways.plan(10, "SELECT kv_get(k, columns => ['vector']) AS row FROM t").await, @"
    ProjectionExec: expr=[__kv0@1 as row]
      KvLookupExec: wave 1: emb@v1 by k@0 = id via map+take (10 keys of 1000 rows, 16 B a row) [__kv0 = {vector}]
        CooperativeExec
          FrameScanExec: partitions=1, rows=10, columns=[k]
    ");
}

#[tokio::test]
async fn many_keys_scan_the_columns() {
    let ways = Ways::new().await.with_vectors().await;
    assert_snapshot!(ways.plan(20_000, ROW).await, @"
    ProjectionExec: expr=[__kv0@1 as row]
      KvLookupExec: wave 1: emb@v1 by k@0 = id via map+scan (20000 keys of 1000 rows, 32 B a row) [__kv0 = {id, vector, score}]
        CooperativeExec
          FrameScanExec: partitions=1, rows=20000, columns=[k]
    ");
}

#[tokio::test]
async fn columns_that_do_not_fit_are_scanned_where_reading_the_rest_again_pays() {
    let mut settings = EmbeddedSettings::default();
    settings.worker.store.column_cache_bytes = 8_000;
    let ways = Ways::with(settings).await.with_vectors().await;
    assert_snapshot!(ways.way(20_000, ROW).await, @"map+scan (20000 keys of 1000 rows, 32 B a row, columns of 31.2 KiB over 8000 B)");
    let small_requests = "SELECT kv_batch_get([k], batch_size => 10) AS rows FROM t";
    assert_snapshot!(ways.way(20_000, small_requests).await, @"map+take (20000 keys of 1000 rows, 32 B a row, columns of 31.2 KiB over 8000 B) (batch_size 10)");
    let what_fits = "SELECT kv_get(k, columns => ['id']) AS row FROM t";
    assert_snapshot!(ways.way(20_000, what_fits).await, @"map+scan (20000 keys of 1000 rows, 8 B a row)");
}

#[tokio::test]
async fn existence_reads_no_rows() {
    let ways = Ways::new().await.with_vectors().await;
    assert_snapshot!(ways.plan(20_000, "SELECT kv_exists(k) AS known FROM t").await, @"
    ProjectionExec: expr=[__kv0@1 as known]
      KvLookupExec: wave 1: emb@v1 by k@0 = id via map (20000 keys of 1000 rows) [__kv0 = exists]
        CooperativeExec
          FrameScanExec: partitions=1, rows=20000, columns=[k]
    ");
}

#[tokio::test]
async fn row_ids_and_offsets_lead_to_rows_directly() {
    let ways = Ways::new().await;
    write(&ways.uri("emb"), WriteParams::default()).await;
    for key in ["_rowid", "_offset"] {
        ways.attach(ways.options("emb").key(key)).await.unwrap();
        assert_eq!(ways.way(10, ROW).await, "direct+take (10 keys of 1000 rows, 32 B a row)");
    }
}

#[tokio::test]
async fn stable_row_ids_are_mapped() {
    let ways = Ways::new().await;
    let params = WriteParams { enable_stable_row_ids: true, ..WriteParams::default() };
    write(&ways.uri("emb"), params).await;
    ways.attach(ways.options("emb").key("_rowid").key_path(KeyPath::Map)).await.unwrap();
    assert_eq!(ways.way(10, ROW).await, "map+take (10 keys of 1000 rows, 32 B a row)");
}

#[tokio::test]
async fn a_key_map_that_is_too_large_gives_way_to_an_index_or_a_scan() {
    let mut settings = EmbeddedSettings::default();
    settings.worker.store.max_key_map_bytes = 10_000;
    let ways = Ways::with(settings.clone()).await.with_vectors().await;
    assert_snapshot!(ways.way(10, ROW).await, @"scan+take (10 keys of 1000 rows, 32 B a row, key map of 12.7 KiB over 10000 B)");
    let ways = Ways::with(settings).await.with_indexed_vectors().await;
    assert_snapshot!(ways.way(10, ROW).await, @"btree+take (10 keys of 1000 rows, 32 B a row, key map of 12.7 KiB over 10000 B)");
}

#[tokio::test]
async fn an_index_serves_few_keys_of_many_rows() {
    let ways = Ways::new().await;
    let uri = ways.uri("emb");
    let mut dataset =
        write_lance_with(&uri, &[vectors(100_000)], WriteParams::default()).await.unwrap();
    index(&mut dataset, "id").await.unwrap();
    ways.attach(ways.options("emb").key("id")).await.unwrap();
    assert_snapshot!(ways.way(1, ROW).await, @"btree+take (1 key of 100000 rows, 32 B a row)");
    assert_snapshot!(ways.way(2, ROW).await, @"map+take (2 keys of 100000 rows, 32 B a row)");
    // Half of the rows are not in the index.
    let append = WriteParams { mode: WriteMode::Append, ..WriteParams::default() };
    write_lance_with(&uri, &[vectors(100_000)], append).await.unwrap();
    ways.attach(ways.options("emb").key("id")).await.unwrap();
    assert_snapshot!(ways.way(1, ROW).await, @"map+take (1 key of 200000 rows, 32 B a row)");
}

#[tokio::test]
async fn forced_ways_are_taken() {
    let ways = Ways::new().await.with_indexed_vectors().await;
    let options = || ways.options("emb").key("id");
    for path in [KeyPath::Map, KeyPath::Scan, KeyPath::Btree] {
        ways.attach(options().key_path(path)).await.unwrap();
        let way = ways.way(10, ROW).await;
        let figures = "10 keys of 1000 rows, 32 B a row, key path forced";
        assert_eq!(way, format!("{path}+take ({figures})"));
    }
    for path in [RowPath::Take, RowPath::Scan] {
        ways.attach(options().row_path(path)).await.unwrap();
        for keys in [10, 20_000] {
            let way = ways.way(keys, ROW).await;
            let figures = format!("{keys} keys of 1000 rows, 32 B a row, row path forced");
            assert_eq!(way, format!("map+{path} ({figures})"));
        }
    }
}

#[tokio::test]
async fn ways_that_a_store_does_not_have_are_refused_when_it_is_attached() {
    let ways = Ways::new().await;
    write(&ways.uri("emb"), WriteParams::default()).await;
    let refusal = async |key: &str, path: KeyPath| {
        let options = ways.options("emb").key(key).key_path(path);
        let error = ways.attach(options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        error.message().to_owned()
    };
    assert_snapshot!(refusal("id", KeyPath::Btree).await, @"KV store 'emb': key_path is 'btree', but key column 'id' has no BTree index; create one, or choose auto, map or scan");
    assert_snapshot!(refusal("id", KeyPath::Direct).await, @"KV store 'emb': key_path is 'direct', but a column's values do not say where rows are; choose auto, map, scan or btree");
    assert_snapshot!(refusal("_rowid", KeyPath::Map).await, @"KV store 'emb': key_path is 'map', but _rowid says by itself where rows are; choose auto");
    assert_snapshot!(refusal("_offset", KeyPath::Scan).await, @"KV store 'emb': key_path is 'scan', but _offset says by itself where rows are; choose auto");
}

#[tokio::test]
async fn an_index_that_is_gone_when_the_job_starts_is_missed() {
    let ways = Ways::new().await.with_indexed_vectors().await;
    ways.attach(ways.options("emb").key("id").key_path(KeyPath::Btree)).await.unwrap();
    let sql = "SELECT kv_exists(1) AS known";
    let query = ways.session.sql(sql).await.unwrap();
    let overwrite = WriteParams { mode: WriteMode::Overwrite, ..WriteParams::default() };
    write(&ways.uri("emb"), overwrite).await;
    let error = Error::from(query.collect().await.unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_snapshot!(error.message(), @"KV store 'emb': key_path is 'btree', but key column 'id' has no BTree index; create one, or choose auto, map or scan");
}

#[tokio::test]
async fn the_expected_keys_are_those_that_reach_the_lookup() {
    let ways = Ways::new().await.with_vectors().await;
    let keys = async |sql: &str| ways.way(1000, sql).await;
    assert_snapshot!(keys("SELECT kv_get(k) AS row FROM t LIMIT 7").await, @"map+take (7 keys of 1000 rows, 32 B a row)");
    assert_snapshot!(keys("SELECT kv_get(k) AS row FROM t WHERE k % 2 = 0").await, @"map+scan (200 keys of 1000 rows, 32 B a row)");
    assert_snapshot!(keys("SELECT CASE WHEN k > 3 THEN kv_get(k) END AS row FROM t").await, @"map+scan (200 keys of 1000 rows, 32 B a row)");
    assert_snapshot!(keys("SELECT kv_get(max(k)) AS row FROM t").await, @"map+take (1 key of 1000 rows, 32 B a row)");
    assert_snapshot!(keys("SELECT kv_get(k) AS row FROM (SELECT k FROM t GROUP BY k)").await, @"map+take (1000 rows, 32 B a row)");
    assert_snapshot!(keys("SELECT kv_get(a.k) AS row FROM t AS a JOIN t AS b ON a.k = b.k").await, @"map+scan (1000 keys of 1000 rows, 32 B a row)");
    let union = "SELECT kv_get(k) AS row FROM (SELECT k FROM t UNION ALL SELECT k FROM t)";
    assert_snapshot!(keys(union).await, @"map+scan (2000 keys of 1000 rows, 32 B a row)");
}

#[tokio::test]
async fn parquet_files_say_how_many_keys_they_hold() {
    let ways = Ways::new().await.with_vectors().await;
    let path = ways.uri("keys.parquet");
    let keys = ways.session.from_batches(&[vectors(700)]).unwrap();
    keys.write_parquet(&path, DataFrameWriteOptions::new(), None).await.unwrap();
    assert!(Path::new(&path).exists());
    let query = ways.session.read(&path).await.unwrap();
    let query = query.select(vec![ways.session.kv_get("id").build().unwrap()]).unwrap();
    let plan = ways.session.explain(query, false).await.unwrap();
    assert_snapshot!(way(&plan), @"map+scan (700 keys of 1000 rows, 32 B a row)");
}
