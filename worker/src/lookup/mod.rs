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
mod pieces;
mod settings;
mod windows;

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arrow::{
    array::{Array, AsArray, BooleanArray, RecordBatch, RecordBatchOptions},
    compute::kernels::boolean::or_kleene,
    datatypes::{Int64Type, SchemaRef},
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
    lookup::{Answer, Fetch, KvLookupExec, Wave},
    memory::MemoryBudget,
    misses::MissPolicy,
};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::store::{OpenStores, Store};
use counters::Counters;
use fetch::{Fetched, Need, asks_for_all};
use memory::{Room, Rooms};
use misses::MissCounter;
use pieces::{cut_behind, pieces};

pub use direct::Direct;
pub use settings::LookupSettings;
use settings::ROW_BYTES;
use windows::{Weight, Window, windows};

/// Starts a lookup over a stream of batches, whose windows and counts take of this memory, and
/// whose missing keys are the job's to deal with.
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
    let waves = prepare(node, partition, misses, settings, memory);
    let (settings, tally) = (settings.clone(), Arc::clone(node.tally()));
    let (first_rows, counted_by) = (node.first_rows(), node.counted_by());
    let rooms = Rooms::new(memory.clone());
    let open = async move {
        let waves = open(waves, &stores).await?;
        let lookup = Lookup { input_columns, counted_by, waves, settings, compute };
        let lookup = Arc::new(lookup);
        let (weights, in_flight) = (lookup.weights(), lookup.settings.windows_in_flight.max(1));
        let windows =
            windows(input, weights, &lookup.settings, rooms, first_rows).map(move |window| {
                let lookup = Arc::clone(&lookup);
                async move {
                    let Window { batches, start, room } = window?;
                    let (ready, told) = (VecDeque::new(), Vec::new());
                    let leaving = Leaving { lookup, start, ready, rest: batches, told, room };
                    Ok::<_, DataFusionError>(leaving.begin().await?.batches())
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
struct Leaving {
    lookup: Arc<Lookup>,
    /// Which row of the task's the first one is that waits.
    start: u64,
    ready: VecDeque<RecordBatch>,
    /// Those that wait, as they came in: answers of those before them take all the room.
    rest: Vec<RecordBatch>,
    /// For each wave up to which row of the task's its misses are counted: what waits may have gone
    /// through the first ones before.
    told: Vec<u64>,
    room: Room,
}

impl Leaving {
    /// Looks up what waits, or as much of it as there is room for.
    async fn begin(mut self) -> datafusion::error::Result<Self> {
        let (lookup, batches) = (Arc::clone(&self.lookup), std::mem::take(&mut self.rest));
        let (start, rows) = (self.start, count(&batches));
        let told = std::mem::take(&mut self.told);
        let looked = spawned(async move { lookup.window(start, batches, told).await }).await?;
        if looked.bytes > self.room.answers() {
            self.room.hold(looked.bytes);
        }
        let start = start + rows - count(&looked.rest);
        let Looked { batches, rest, told, .. } = looked;
        Ok(Self { start, ready: batches.into(), rest, told, ..self })
    }

    fn batches(self) -> impl Stream<Item = datafusion::error::Result<RecordBatch>> {
        stream::try_unfold(self, async |mut leaving| {
            loop {
                if let Some(batch) = leaving.ready.pop_front() {
                    return Ok::<_, DataFusionError>(Some((batch, leaving)));
                }
                if leaving.rest.is_empty() {
                    return Ok(None);
                }
                leaving = leaving.begin().await?;
            }
        })
    }
}

/// How many rows batches have.
fn count(batches: &[RecordBatch]) -> u64 {
    batches.iter().map(|batch| batch.num_rows() as u64).sum()
}

/// What was looked up of a window.
struct Looked {
    /// The rows with their answers.
    batches: Vec<RecordBatch>,
    /// The rows behind them, as they came in, if keys have too many rows for all of them.
    rest: Vec<RecordBatch>,
    /// For each wave up to which row of the task's its misses are counted.
    told: Vec<u64>,
    /// About how many bytes of answers there are, where keys may have several rows; else 0.
    bytes: u64,
}

/// Runs a future in a task of its own, which ends with the caller.
async fn spawned<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> datafusion::error::Result<T> {
    match AbortOnDropHandle::new(tokio::spawn(work.in_current_span())).await {
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
    /// The column of the input that says how many rows each row stands for, if they are not one.
    counted_by: Option<usize>,
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
    /// About how many bytes the values of a row take.
    row_bytes: u64,
    /// About how many rows a key has.
    key_rows: Arc<AtomicU64>,
}

/// What a wave becomes once its stores are open.
type Prepared = (SchemaRef, Vec<(Fetch, Counters)>);

fn prepare(
    node: &KvLookupExec,
    partition: usize,
    policy: MissPolicy,
    settings: &LookupSettings,
    memory: &MemoryBudget,
) -> Vec<Prepared> {
    let schema = node.schema();
    let mut width = node.input().schema().fields().len();
    let wave = |wave: &Wave| {
        width += wave.fetches.iter().map(|fetch| fetch.calls.len()).sum::<usize>();
        let fields = schema.fields().iter().take(width).cloned().collect::<Vec<_>>();
        let schema = arrow::datatypes::Schema::new_with_metadata(fields, schema.metadata().clone());
        let fetches = wave.fetches.iter().map(|fetch| {
            let counters = Counters::new(node.metrics_set(), &fetch.store.alias, partition);
            let misses = MissCounter::begin(node, fetch, policy, settings, memory);
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
            let key_rows = Arc::new(AtomicU64::new(1));
            Ok::<_, Error>(OpenFetch { fetch, store, counters, row_bytes, key_rows })
        });
        Ok(OpenWave { schema, fetches: try_join_all(fetches).await? })
    };
    try_join_all(waves.into_iter().map(wave)).await
}

impl Lookup {
    /// Batches with their answers, of which the first row is this one of the task's. For each wave,
    /// the misses of the rows before this one are counted.
    async fn window(
        self: &Arc<Self>,
        start: u64,
        mut batches: Vec<RecordBatch>,
        mut told: Vec<u64>,
    ) -> Result<Looked> {
        let (mut rest, mut bytes) = (Vec::new(), 0);
        told.resize(self.waves.len(), 0);
        for (index, (wave, until)) in self.waves.iter().zip(&mut told).enumerate() {
            let told_until = *until;
            let fetches = wave.fetches.iter().map(async |open| {
                let needs = batches.iter().map(|batch| self.need(&open.fetch, batch));
                let needs = needs.collect::<Result<Vec<_>>>()?;
                let OpenFetch { fetch, store, counters, row_bytes, .. } = open;
                let settings = &self.settings;
                let fetched = Fetched::try_new(fetch, store, counters, needs, *row_bytes, settings);
                Ok::<_, Error>(fetched.await?.starting_at(start, told_until))
            });
            let fetched = Arc::new(try_join_all(fetches).await?);
            bytes = u64::saturating_add(bytes, wave.learn_from(&fetched));
            let complete = fetched.iter().filter_map(Fetched::complete_rows).min();
            // Rows of the last batch that are not complete leave when they have answers.
            let mut whole = None;
            if let Some(rows) = complete {
                let (mut behind, of_last) = cut_behind(&mut batches, rows, self.input_columns)?;
                behind.append(&mut rest);
                (rest, whole) = (behind, of_last);
            }
            let last = batches.len().saturating_sub(1);
            let extended = batches.into_iter().enumerate().map(|(number, batch)| {
                let (lookup, fetched) = (Arc::clone(self), Arc::clone(&fetched));
                let rows = whole.filter(|_| number == last).unwrap_or(usize::MAX);
                spawned(async move { lookup.extend(index, &fetched, number, rows, batch) })
            });
            batches = stream::iter(extended).buffered(BATCHES_AT_ONCE).try_collect().await?;
            if let (Some(rows), Some(last)) = (whole, batches.last_mut()) {
                *last = last.slice(0, rows);
            }
            *until = told_until.max(start + count(&batches));
        }
        let lists = self.lists();
        if !lists.is_empty() {
            let most = self.settings.list_rows.max(1);
            batches = batches.iter().flat_map(|batch| pieces(batch, &lists, most)).collect();
        }
        Ok(Looked { batches, rest, told, bytes })
    }

    /// What a batch asks of a fetch.
    fn need(&self, fetch: &Fetch, batch: &RecordBatch) -> Result<Need> {
        let counts = self.counted_by.map(|column| counts(batch, column)).transpose()?;
        Ok(Need { counts, ..need(fetch, batch)? })
    }

    /// The columns that hold lists of all rows of keys.
    fn lists(&self) -> Vec<usize> {
        let fetches = self.waves.iter().flat_map(|wave| &wave.fetches);
        let calls = fetches.flat_map(|open| &open.fetch.calls).enumerate();
        let lists = calls.filter(|(_, call)| matches!(call.answer, Answer::All { .. }));
        lists.map(|(place, _)| self.input_columns + place).collect()
    }

    /// A batch of a window with the answers of a wave, of which only the first rows count.
    fn extend(
        &self,
        wave: usize,
        fetched: &[Fetched],
        number: usize,
        rows: usize,
        batch: RecordBatch,
    ) -> Result<RecordBatch> {
        let _timer = self.compute.timer();
        let wave = &self.waves[wave];
        let mut columns = batch.columns().to_vec();
        for (open, fetched) in wave.fetches.iter().zip(fetched) {
            columns.extend(fetched.answers_to(&open.fetch, number, rows, &self.settings)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&wave.schema), columns, &options)?)
    }

    /// What the answers of each fetch weigh.
    fn weights(&self) -> Vec<Weight> {
        let fetches = self.waves.iter().flat_map(|wave| &wave.fetches);
        let weight = |open: &OpenFetch| {
            let keys = open.fetch.key.downcast_ref::<Column>().map(Column::index);
            let keys = keys.filter(|column| *column < self.input_columns);
            let beside = if asks_for_all(&open.fetch) { ROW_BYTES } else { 0 };
            let bytes = open.row_bytes.saturating_add(beside);
            Weight { keys, bytes, rows: Arc::clone(&open.key_rows) }
        };
        fetches.map(weight).collect()
    }
}

impl OpenWave {
    /// Learns how many rows keys have, by what was found of some. About how many bytes these rows
    /// take, where keys may have several.
    fn learn_from(&self, fetched: &[Fetched]) -> u64 {
        let several = self.fetches.iter().zip(fetched);
        let several = several.filter(|(open, _)| asks_for_all(&open.fetch));
        let bytes = several.map(|(open, fetched)| {
            let (rows, of_a_key) = fetched.rows();
            open.key_rows.store(of_a_key, Ordering::Relaxed);
            rows.saturating_mul(open.row_bytes)
        });
        bytes.fold(0, u64::saturating_add)
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
    Ok(Need { keys: key.into_array(batch.num_rows())?, guards, counts: None })
}

/// How many rows each row of a batch stands for, as a column of it says.
fn counts(batch: &RecordBatch, column: usize) -> Result<Vec<u64>> {
    let counts = batch.columns().get(column);
    let counts = counts.and_then(|counts| counts.as_primitive_opt::<Int64Type>());
    let counts = counts.ok_or_else(|| Error::internal("rows are counted by no column"))?;
    Ok(counts.values().iter().map(|rows| u64::try_from(*rows).unwrap_or(0)).collect())
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
