//! Running a lookup node: batches of rows in, the same rows with answers out, in order.
//!
//! Several batches are under way at once, each in a task of its own so that all cores work; they
//! leave in the order in which they came. Within a batch the waves follow each other, and within a
//! wave all stores are asked at once.

mod answer;
mod counters;
mod fetch;
mod keys;
mod settings;

use std::sync::Arc;

use arrow::{
    array::{Array, AsArray, BooleanArray, RecordBatch, RecordBatchOptions},
    compute::kernels::boolean::or_kleene,
    datatypes::SchemaRef,
};
use datafusion::{
    error::DataFusionError,
    execution::SendableRecordBatchStream,
    physical_expr::PhysicalExpr,
    physical_plan::{ExecutionPlan, metrics::BaselineMetrics, stream::RecordBatchStreamAdapter},
};
use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};
use keyloom_common::{
    Error, Result,
    lookup::{Fetch, KvLookupExec, Wave},
};
use tokio_util::task::AbortOnDropHandle;

use crate::store::{OpenStores, Store};
use counters::Counters;
use fetch::{Need, fetch};

pub use settings::LookupSettings;

/// Starts a lookup over a stream of batches.
pub(crate) fn run(
    node: &KvLookupExec,
    partition: usize,
    input: SendableRecordBatchStream,
    stores: Arc<OpenStores>,
    settings: &LookupSettings,
) -> SendableRecordBatchStream {
    let rows = BaselineMetrics::new(node.metrics_set(), partition);
    let in_flight = settings.batches_in_flight.max(1);
    let schema = node.schema();
    let (waves, settings) = (prepare(node, partition), settings.clone());
    let open = async move {
        let lookup = Arc::new(Lookup { waves: open(waves, &stores).await?, settings });
        let batches = input.map(move |batch| {
            let lookup = Arc::clone(&lookup);
            async move {
                let batch = batch?;
                let run = tokio::spawn(async move { lookup.batch(batch).await });
                match AbortOnDropHandle::new(run).await {
                    Ok(batch) => Ok(batch?),
                    Err(error) => Err(Error::internal(format!("a lookup failed: {error}")).into()),
                }
            }
        });
        Ok::<_, DataFusionError>(batches.buffered(in_flight))
    };
    let batches = stream::once(open).try_flatten().inspect_ok(move |batch| {
        rows.record_output(batch.num_rows());
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, batches))
}

/// A lookup whose stores are open.
#[derive(Debug)]
struct Lookup {
    waves: Vec<OpenWave>,
    settings: LookupSettings,
}

#[derive(Debug)]
struct OpenWave {
    /// The schema after this wave.
    schema: SchemaRef,
    fetches: Vec<OpenFetch>,
}

/// A fetch, its store's handle, and where it counts.
#[derive(Debug)]
struct OpenFetch {
    fetch: Fetch,
    store: Arc<dyn Store>,
    counters: Counters,
}

/// What a wave becomes once its stores are open.
type Prepared = (SchemaRef, Vec<(Fetch, Counters)>);

fn prepare(node: &KvLookupExec, partition: usize) -> Vec<Prepared> {
    let schema = node.schema();
    let mut width = node.input().schema().fields().len();
    let wave = |wave: &Wave| {
        width += wave.fetches.iter().map(|fetch| fetch.calls.len()).sum::<usize>();
        let fields = schema.fields().iter().take(width).cloned().collect::<Vec<_>>();
        let schema = arrow::datatypes::Schema::new_with_metadata(fields, schema.metadata().clone());
        let fetches = wave.fetches.iter().map(|fetch| {
            let counters = Counters::new(node.metrics_set(), &fetch.store.alias, partition);
            (fetch.clone(), counters)
        });
        (Arc::new(schema), fetches.collect())
    };
    node.waves().iter().map(wave).collect()
}

async fn open(waves: Vec<Prepared>, stores: &OpenStores) -> Result<Vec<OpenWave>> {
    let wave = async |(schema, fetches): Prepared| {
        let fetches = fetches.into_iter().map(async |(fetch, counters)| {
            let store = stores.get(&fetch.store).await?;
            Ok::<_, Error>(OpenFetch { fetch, store, counters })
        });
        Ok(OpenWave { schema, fetches: try_join_all(fetches).await? })
    };
    try_join_all(waves.into_iter().map(wave)).await
}

impl Lookup {
    async fn batch(&self, mut batch: RecordBatch) -> Result<RecordBatch> {
        for wave in &self.waves {
            let needs = wave.fetches.iter().map(|open| need(&open.fetch, &batch));
            let needs = needs.collect::<Result<Vec<_>>>()?;
            let fetches = wave.fetches.iter().zip(needs).map(|(open, need)| {
                fetch(&open.fetch, &open.store, &open.counters, need, &self.settings)
            });
            let answers = try_join_all(fetches).await?;
            let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let mut columns = batch.columns().to_vec();
            columns.extend(answers.into_iter().flatten());
            batch = RecordBatch::try_new_with_options(Arc::clone(&wave.schema), columns, &rows)?;
        }
        Ok(batch)
    }
}

/// The keys of a fetch and the rows that need each of its answers.
fn need(fetch: &Fetch, batch: &RecordBatch) -> Result<Need> {
    let guards = fetch
        .calls
        .iter()
        .map(|call| call.guard.as_ref().map(|guard| rows_where(guard, batch)).transpose())
        .collect::<Result<Vec<_>>>()?;
    let key = match union(&guards)? {
        None => fetch.key.evaluate(batch)?,
        // Computed for no other row: there it might fail, or be what nobody asked for.
        Some(rows) => fetch.key.evaluate_selection(batch, &rows)?,
    };
    Ok(Need { keys: key.into_array(batch.num_rows())?, guards })
}

/// The rows where a guard is true.
fn rows_where(guard: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<BooleanArray> {
    let rows = guard.evaluate(batch)?.into_array(batch.num_rows())?;
    let rows = rows.as_boolean();
    Ok(match rows.nulls() {
        None => rows.clone(),
        Some(nulls) => BooleanArray::new(rows.values() & nulls.inner(), None),
    })
}

/// The rows that any call needs; `None` if one of them needs all.
fn union(guards: &[Option<BooleanArray>]) -> Result<Option<BooleanArray>> {
    let mut union: Option<BooleanArray> = None;
    for guard in guards {
        let Some(guard) = guard else { return Ok(None) };
        union = Some(match union {
            None => guard.clone(),
            Some(rows) => or_kleene(&rows, guard)?,
        });
    }
    Ok(union)
}
