//! Running a lookup node: batches of rows in, the same rows with answers out, in order.
//!
//! Several windows of batches are under way at once, as far as there is memory for them, each in a
//! task of its own so that all cores work; they leave in the order in which they came. Within a
//! window the waves follow each other, and within a wave all stores are asked at once; then every
//! batch gets its answers in a task of its own.

mod answer;
mod convert;
pub(crate) mod counters;
mod direct;
pub(crate) mod fetch;
pub(crate) mod gather;
mod key_set;
pub(crate) mod keys;
mod memory;
mod misses;
mod settings;
mod windows;

use std::sync::Arc;

use arrow::{
    array::{Array, AsArray, BooleanArray, RecordBatch, RecordBatchOptions},
    compute::kernels::boolean::or_kleene,
    datatypes::SchemaRef,
};
use datafusion::{
    error::DataFusionError,
    execution::SendableRecordBatchStream,
    physical_expr::{PhysicalExpr, expressions::Column},
    physical_plan::{
        ExecutionPlan,
        metrics::{BaselineMetrics, Time},
        stream::RecordBatchStreamAdapter,
    },
};
use futures::{Stream, StreamExt, TryStreamExt, future::try_join_all, stream};
use keyloom_common::{
    Error, ErrorKind, Result,
    lookup::{Fetch, KvLookupExec, Wave},
    memory::MemoryBudget,
    misses::MissPolicy,
};
use tokio_util::task::AbortOnDropHandle;

use crate::store::{OpenStores, Store};
use counters::Counters;
use fetch::{Fetched, Need};
use memory::{Room, Rooms};
use misses::MissCounter;

pub use direct::Direct;
pub use settings::LookupSettings;
use windows::{Weight, Window, windows};

/// Starts a lookup over a stream of batches, whose windows take of this memory, and whose missing
/// keys are the job's to deal with.
pub(crate) fn run(
    node: &KvLookupExec,
    partition: usize,
    input: SendableRecordBatchStream,
    stores: Arc<OpenStores>,
    settings: &LookupSettings,
    memory: &MemoryBudget,
    misses: MissPolicy,
) -> SendableRecordBatchStream {
    let rows = BaselineMetrics::new(node.metrics_set(), partition);
    let compute = rows.elapsed_compute().clone();
    let schema = node.schema();
    let input_columns = input.schema().fields().len();
    let waves = prepare(node, partition, misses, settings);
    let (settings, tally) = (settings.clone(), Arc::clone(node.tally()));
    let first_rows = node.first_rows();
    let rooms = Rooms::new(memory.clone());
    let open = async move {
        let waves = open(waves, &stores).await?;
        let lookup = Arc::new(Lookup { input_columns, waves, settings, compute });
        let (weights, in_flight) = (lookup.weights(), lookup.settings.windows_in_flight.max(1));
        let windows =
            windows(input, weights, &lookup.settings, rooms, first_rows).map(move |window| {
                let lookup = Arc::clone(&lookup);
                async move {
                    let Window { batches, start, room } = window?;
                    let batches = spawned(async move { lookup.window(start, batches).await });
                    let batches = batches.await?;
                    Ok::<_, DataFusionError>(leaving(batches, room))
                }
            });
        Ok::<_, DataFusionError>(windows.buffered(in_flight).try_flatten())
    };
    let batches = stream::once(open).try_flatten().inspect_ok(move |batch| {
        rows.record_output(batch.num_rows());
        tally.passed(batch.num_rows());
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, batches))
}

/// The batches of a window, which has its room until the last of them was dealt with.
fn leaving(
    batches: Vec<RecordBatch>,
    room: Room,
) -> impl Stream<Item = datafusion::error::Result<RecordBatch>> {
    stream::unfold((batches.into_iter(), room), async |(mut batches, room)| {
        batches.next().map(|batch| (Ok(batch), (batches, room)))
    })
}

/// Runs a future in a task of its own, which ends with the caller.
async fn spawned<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> datafusion::error::Result<T> {
    match AbortOnDropHandle::new(tokio::spawn(work)).await {
        Ok(output) => Ok(output?),
        Err(error) => Err(Error::internal(format!("a lookup failed: {error}")).into()),
    }
}

/// Batches of a window that get their answers at the same time. They are all in memory anyway.
const BATCHES_AT_ONCE: usize = 8;

/// A lookup whose stores are open.
#[derive(Debug)]
struct Lookup {
    input_columns: usize,
    waves: Vec<OpenWave>,
    settings: LookupSettings,
    /// The time that making answers takes, beside fetching what they are made of.
    compute: Time,
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
    /// About how many bytes a key's answers take.
    row_bytes: u64,
}

/// What a wave becomes once its stores are open.
type Prepared = (SchemaRef, Vec<(Fetch, Counters)>);

fn prepare(
    node: &KvLookupExec,
    partition: usize,
    policy: MissPolicy,
    settings: &LookupSettings,
) -> Vec<Prepared> {
    let schema = node.schema();
    let mut width = node.input().schema().fields().len();
    let wave = |wave: &Wave| {
        width += wave.fetches.iter().map(|fetch| fetch.calls.len()).sum::<usize>();
        let fields = schema.fields().iter().take(width).cloned().collect::<Vec<_>>();
        let schema = arrow::datatypes::Schema::new_with_metadata(fields, schema.metadata().clone());
        let fetches = wave.fetches.iter().map(|fetch| {
            let counters = Counters::new(node.metrics_set(), &fetch.store.alias, partition);
            let misses = MissCounter::begin(node, fetch, policy, settings);
            (fetch.clone(), counters.with_misses(misses))
        });
        (Arc::new(schema), fetches.collect())
    };
    node.waves().iter().map(wave).collect()
}

async fn open(waves: Vec<Prepared>, stores: &OpenStores) -> Result<Vec<OpenWave>> {
    let wave = async |(schema, fetches): Prepared| {
        let fetches = fetches.into_iter().map(async |(fetch, counters)| {
            let store = stores.get(&fetch.store).await?;
            let store = key_set::knowing(store, &fetch, &counters, stores).await?;
            // If the store cannot be read, its lookups will say so; a silent one is not waited for
            // twice.
            let row_bytes = match store.row_bytes(&fetch.columns()).await {
                Err(error) if error.kind() == ErrorKind::Timeout => return Err(error),
                known => known.unwrap_or(0),
            };
            Ok::<_, Error>(OpenFetch { fetch, store, counters, row_bytes })
        });
        Ok(OpenWave { schema, fetches: try_join_all(fetches).await? })
    };
    try_join_all(waves.into_iter().map(wave)).await
}

impl Lookup {
    /// Batches with their answers, of which the first row is this one of the task's.
    async fn window(
        self: &Arc<Self>,
        start: u64,
        mut batches: Vec<RecordBatch>,
    ) -> Result<Vec<RecordBatch>> {
        for (index, wave) in self.waves.iter().enumerate() {
            let fetches = wave.fetches.iter().map(async |open| {
                let needs = batches.iter().map(|batch| need(&open.fetch, batch));
                let needs = needs.collect::<Result<Vec<_>>>()?;
                let OpenFetch { fetch, store, counters, .. } = open;
                let fetched = Fetched::try_new(fetch, store, counters, needs, &self.settings);
                Ok::<_, Error>(fetched.await?.starting_at(start))
            });
            let fetched = Arc::new(try_join_all(fetches).await?);
            let extended = batches.into_iter().enumerate().map(|(number, batch)| {
                let (lookup, fetched) = (Arc::clone(self), Arc::clone(&fetched));
                spawned(async move { lookup.extend(index, &fetched, number, batch) })
            });
            batches = stream::iter(extended).buffered(BATCHES_AT_ONCE).try_collect().await?;
        }
        Ok(batches)
    }

    /// A batch of a window with the answers of a wave.
    fn extend(
        &self,
        wave: usize,
        fetched: &[Fetched],
        number: usize,
        batch: RecordBatch,
    ) -> Result<RecordBatch> {
        let _timer = self.compute.timer();
        let wave = &self.waves[wave];
        let mut columns = batch.columns().to_vec();
        for (open, fetched) in wave.fetches.iter().zip(fetched) {
            columns.extend(fetched.answers(&open.fetch, number, &self.settings)?);
        }
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&wave.schema), columns, &rows)?)
    }

    /// What the answers of each fetch weigh.
    fn weights(&self) -> Vec<Weight> {
        let fetches = self.waves.iter().flat_map(|wave| &wave.fetches);
        let weight = |open: &OpenFetch| {
            let keys = open.fetch.key.downcast_ref::<Column>().map(Column::index);
            let keys = keys.filter(|column| *column < self.input_columns);
            Weight { keys, bytes: open.row_bytes }
        };
        fetches.map(weight).collect()
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
