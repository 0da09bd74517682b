//! Plans with lookups: made of statements, and to bytes and back.

use std::{hint::black_box, sync::Arc};

use anyhow::Result;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use criterion::Criterion;
use datafusion::{
    physical_plan::ExecutionPlan,
    physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner},
    prelude::SessionContext,
};
use keyloom_client::{MemoryOptions, Session, load_kv};
use keyloom_common::plan::{decode_plan, encode_plan};
use tokio::runtime::Runtime;

/// Three stores, seven lookups, one of them with a key that another answers.
const QUERY: &str = "
    SELECT id, other,
           kv_get(id, source => 'users', columns => ['name']) AS user,
           kv_get(id, source => 'users', columns => ['parent'], on_error => 'null') AS profile,
           kv_exists(id, source => 'users') AS known,
           CASE WHEN other > 10 THEN kv_get(other, source => 'products') END AS product,
           kv_exists(other, source => 'products') AS available,
           kv_get(kv_get(id, source => 'behavior')['parent'], source => 'products')['name'] AS last
    FROM requests
    WHERE other IS NOT NULL";

/// Stores, and lookups in them.
const STORES: usize = 20;
const LOOKUPS: usize = 50;

fn main() -> Result<()> {
    let runtime = Runtime::new()?;
    let session = runtime.block_on(open(["users", "products", "behavior"]))?;
    let plan = runtime.block_on(planned(&session, QUERY))?;
    let bytes = encode_plan(&plan)?;
    let context = SessionContext::new().task_ctx();
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("plan");
    group.bench_function("encode", |bencher| {
        bencher.iter(|| encode_plan(black_box(&plan)).expect("a plan that can travel"));
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| decode_plan(black_box(&bytes), &context).expect("a plan of this build"));
    });
    group.bench_function("few", |bencher| {
        bencher.iter(|| runtime.block_on(planned(&session, black_box(QUERY))).expect("a plan"));
    });
    let session = runtime.block_on(open((0..STORES).map(|store| format!("s{store}"))))?;
    let many = many_lookups();
    group.bench_function("many", |bencher| {
        bencher.iter(|| runtime.block_on(planned(&session, black_box(&many))).expect("a plan"));
    });
    group.finish();
    criterion.final_summary();
    Ok(())
}

/// A statement with all the lookups in a subquery, of whose rows the first few are wanted.
fn many_lookups() -> String {
    let column = |number: usize| {
        let call = |function: &str, key: &str| {
            format!("{function}({key}, source => 's{}', on_error => 'null')", number % STORES)
        };
        match number % 5 {
            0 => format!("{}['name'] AS c{number}", call("kv_get", "id")),
            1 => format!("coalesce({}['name'], 'none') AS c{number}", call("kv_get", "other")),
            2 => format!(
                "CASE WHEN other > {number} THEN {}['parent'] END AS c{number}",
                call("kv_get", "other")
            ),
            3 => format!("{} IS NOT NULL AS c{number}", call("kv_get", "id")),
            _ => format!("{} AS c{number}", call("kv_exists", "id")),
        }
    };
    let columns: Vec<_> = (0..LOOKUPS).map(column).collect();
    format!(
        "SELECT * FROM (SELECT id, {} FROM requests WHERE other IS NOT NULL) AS x \
         ORDER BY id DESC LIMIT 10",
        columns.join(", ")
    )
}

/// A session with the requests and these stores.
async fn open(stores: impl IntoIterator<Item: Into<String>>) -> Result<Session> {
    let session = Session::embedded().await?;
    session.register_batches("requests", &[requests()?])?;
    for alias in stores {
        let alias: String = alias.into();
        let store = load_kv(&alias, MemoryOptions::batch(store()?, "key"))?;
        session.attach(store, alias.as_str()).await?;
    }
    Ok(session)
}

/// The plan of a statement as a client submits it.
async fn planned(session: &Session, statement: &str) -> Result<Arc<dyn ExecutionPlan>> {
    let (state, logical) = session.sql(statement).await?.into_parts();
    let logical = state.optimize(&logical)?;
    Ok(DefaultPhysicalPlanner::default().create_physical_plan(&logical, &state).await?)
}

fn requests() -> Result<RecordBatch> {
    let columns: [(&str, ArrayRef); 2] = [
        ("id", Arc::new(Int64Array::from(vec![1, 2, 3]))),
        ("other", Arc::new(Int64Array::from(vec![Some(2), None, Some(1)]))),
    ];
    Ok(RecordBatch::try_from_iter(columns)?)
}

fn store() -> Result<RecordBatch> {
    let columns: [(&str, ArrayRef); 3] = [
        ("key", Arc::new(Int64Array::from(vec![1, 2]))),
        ("name", Arc::new(StringArray::from(vec!["one", "two"]))),
        ("parent", Arc::new(Int64Array::from(vec![2, 1]))),
    ];
    Ok(RecordBatch::try_from_iter(columns)?)
}
