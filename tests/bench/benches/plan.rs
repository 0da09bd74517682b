//! Plans with lookups, to bytes and back.

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

fn main() -> Result<()> {
    let plan = Runtime::new()?.block_on(plan())?;
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
    group.finish();
    criterion.final_summary();
    Ok(())
}

/// The plan of the query as a client submits it.
async fn plan() -> Result<Arc<dyn ExecutionPlan>> {
    let session = Session::embedded().await?;
    session.register_batches("requests", &[requests()?])?;
    for alias in ["users", "products", "behavior"] {
        session.attach(load_kv(alias, MemoryOptions::batch(store()?, "key"))?, alias).await?;
    }
    let (state, logical) = session.sql(QUERY).await?.into_parts();
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
