//! A workload done by hand against the lance crate, with the least work for the same rows: what
//! Keyloom is measured against.
//!
//! All stores are opened; the wanted keys are hashed, and probed while the key columns are scanned
//! ([`locate`]); the values are read in the better of two ways ([`fetch`]); and the result is put
//! together in the order of the request table ([`gather`]), batch by batch as Keyloom returns it.

mod fetch;
mod gather;
mod locate;
mod wanted;

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    sync::Arc,
    time::Instant,
};

use anyhow::{Context, Result};
use arrow::{
    array::{ArrayRef, AsArray, RecordBatch},
    buffer::OffsetBuffer,
};
use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};
use lance::{Dataset, dataset::builder::DatasetBuilder};

pub(crate) use self::fetch::Strategy;
use self::{
    gather::{Piece, Source},
    locate::Located,
    wanted::Wanted,
};
use crate::{
    data::stores::KEY,
    storage::Storage,
    workloads::{Call, Function, Workload},
};

/// Rows that a scan decodes at a time, and batches that it reads ahead.
const BATCH_ROWS: u32 = 8192;
const READ_AHEAD: usize = 2;
/// The most rows of a batch of the result, as in Keyloom, and the fewest batches.
const RESULT_ROWS: usize = 8192;
const RESULT_BATCHES: usize = 16;

/// For each store how its values are read.
pub(crate) type Strategies = BTreeMap<String, Strategy>;

/// How long each part took, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Phases {
    /// Opening the datasets.
    pub(crate) open: f64,
    /// Hashing the wanted keys, scanning and probing.
    pub(crate) keys: f64,
    /// Reading values.
    pub(crate) fetch: f64,
    /// Putting the result together.
    pub(crate) gather: f64,
}

/// What is needed of a store for one key column, whatever the number of calls.
#[derive(Debug)]
struct Need {
    store: &'static str,
    key: &'static str,
    dataset: Arc<Dataset>,
    columns: Vec<String>,
}

/// Does the work.
pub(crate) async fn run(
    workload: &Workload,
    requests: &RecordBatch,
    storage: &Storage,
    strategies: &Strategies,
) -> Result<(Vec<RecordBatch>, Phases)> {
    let mut phases = Phases::default();
    let in_flight = storage.in_flight();

    let clock = Instant::now();
    let needs = open(workload, storage).await?;
    phases.open = clock.elapsed().as_secs_f64();

    let clock = Instant::now();
    let located = locate_all(&needs, requests, in_flight).await?;
    phases.keys = clock.elapsed().as_secs_f64();

    let clock = Instant::now();
    let fetches = needs.iter().zip(&located).map(async |(need, (_, located))| {
        let strategy = strategies.get(need.store).copied().unwrap_or(Strategy::Take);
        need.fetch(located, strategy, in_flight).await
    });
    let fetched = try_join_all(fetches).await?;
    phases.fetch = clock.elapsed().as_secs_f64();

    let clock = Instant::now();
    let sources = needs.into_iter().zip(located).zip(fetched);
    let sources = sources.map(|((need, (wanted, located)), fetched)| {
        let source = Source { wanted, places: located.places, fetched };
        (need, source)
    });
    let result = gather_all(workload, requests, sources.collect()).await?;
    phases.gather = clock.elapsed().as_secs_f64();
    Ok((result, phases))
}

/// Finds the better strategy for each store by trying both.
pub(crate) async fn choose(
    workload: &Workload,
    requests: &RecordBatch,
    storage: &Storage,
) -> Result<Strategies> {
    const TRIES: usize = 3;
    let in_flight = storage.in_flight();
    let needs = open(workload, storage).await?;
    let located = locate_all(&needs, requests, in_flight).await?;
    let mut strategies = Strategies::new();
    let fetched = needs.iter().zip(&located).filter(|(need, _)| !need.columns.is_empty());
    for (need, (_, located)) in fetched {
        let mut best = (f64::INFINITY, Strategy::Take);
        for strategy in [Strategy::Take, Strategy::Scan].repeat(TRIES) {
            let clock = Instant::now();
            need.fetch(located, strategy, in_flight).await?;
            let seconds = clock.elapsed().as_secs_f64();
            if seconds < best.0 {
                best = (seconds, strategy);
            }
        }
        strategies.insert(need.store.to_owned(), best.1);
    }
    Ok(strategies)
}

impl Need {
    async fn fetch(
        &self,
        located: &Located,
        strategy: Strategy,
        in_flight: usize,
    ) -> Result<Option<fetch::RowValues>> {
        if self.columns.is_empty() {
            return Ok(None);
        }
        let columns: Vec<_> = self.columns.iter().map(String::as_str).collect();
        fetch::fetch(&self.dataset, &columns, &located.rows, strategy, in_flight).await.map(Some)
    }
}

/// Opens the stores and collects what the calls want of them.
async fn open(workload: &Workload, storage: &Storage) -> Result<Vec<Need>> {
    let opening = workload.stores().into_iter().map(async |store| {
        let builder = DatasetBuilder::from_uri(storage.uri(store)?);
        let dataset = builder.with_storage_options(storage.options()).load().await?;
        anyhow::Ok((store, Arc::new(dataset)))
    });
    let datasets: HashMap<_, _> = try_join_all(opening).await?.into_iter().collect();
    let mut needs: Vec<Need> = Vec::new();
    for call in &workload.calls {
        let dataset = datasets.get(call.store).context("a store that was not opened")?;
        let index = needs.iter().position(|need| (need.store, need.key) == (call.store, call.key));
        let index = index.unwrap_or_else(|| {
            let (store, key, dataset) = (call.store, call.key, Arc::clone(dataset));
            needs.push(Need { store, key, dataset, columns: vec![] });
            needs.len() - 1
        });
        for column in columns(call, dataset) {
            if !needs[index].columns.contains(&column) {
                needs[index].columns.push(column);
            }
        }
    }
    Ok(needs)
}

/// The columns that a call answers.
fn columns(call: &Call, dataset: &Dataset) -> Vec<String> {
    if call.function == Function::Exists {
        return vec![];
    }
    if call.columns.is_empty() {
        return dataset.schema().fields.iter().map(|field| field.name.clone()).collect();
    }
    call.columns.iter().map(|column| (*column).to_owned()).collect()
}

/// Hashes each key column once, and finds the rows of all stores at the same time.
async fn locate_all(
    needs: &[Need],
    requests: &RecordBatch,
    in_flight: usize,
) -> Result<Vec<(Arc<Wanted>, Located)>> {
    let mut wanted: HashMap<&str, Arc<Wanted>> = HashMap::new();
    for need in needs {
        if !wanted.contains_key(need.key) {
            let (keys, _) = key_column(requests, need.key)?;
            wanted.insert(need.key, Arc::new(Wanted::new(&keys)?));
        }
    }
    let locating = needs.iter().map(async |need| {
        let wanted = &wanted[need.key];
        let located = locate::locate(&need.dataset, KEY, wanted, in_flight).await?;
        anyhow::Ok((Arc::clone(wanted), located))
    });
    try_join_all(locating).await
}

/// A key column without its lists, and where these end.
fn key_column(requests: &RecordBatch, name: &str) -> Result<(ArrayRef, Option<OffsetBuffer<i32>>)> {
    let column = requests.column_by_name(name).with_context(|| format!("no column '{name}'"))?;
    Ok(match column.as_list_opt::<i32>() {
        Some(lists) => (Arc::clone(lists.values()), Some(lists.offsets().clone())),
        None => (Arc::clone(column), None),
    })
}

/// Puts the result together, on all cores.
async fn gather_all(
    workload: &Workload,
    requests: &RecordBatch,
    sources: Vec<(Need, Source)>,
) -> Result<Vec<RecordBatch>> {
    let rows = requests.num_rows();
    let step = rows.div_ceil(RESULT_BATCHES).clamp(1, RESULT_ROWS);
    let shared = Arc::new((workload.clone(), requests.clone(), sources));
    let futures = (0..rows).step_by(step).map(|start| {
        let shared = Arc::clone(&shared);
        let rows = start..rows.min(start + step);
        async move {
            let (workload, requests, sources) = &*shared;
            gather_batch(workload, requests, sources, rows)
        }
    });
    let cores = std::thread::available_parallelism().map_or(1, Into::into);
    run_ordered(futures, 2 * cores).await
}

fn gather_batch(
    workload: &Workload,
    requests: &RecordBatch,
    sources: &[(Need, Source)],
    rows: Range<usize>,
) -> Result<RecordBatch> {
    let requested = requests.slice(rows.start, rows.len());
    let mut columns: Vec<(String, ArrayRef, bool)> = Vec::new();
    for (field, column) in requested.schema().fields().iter().zip(requested.columns()) {
        columns.push((field.name().clone(), Arc::clone(column), true));
    }
    for call in &workload.calls {
        let source =
            sources.iter().find(|(need, _)| (need.store, need.key) == (call.store, call.key));
        let (need, source) = source.context("a call that was not fetched")?;
        let (_, offsets) = key_column(requests, call.key)?;
        let piece = piece(offsets.as_ref(), rows.clone());
        let column = match call.function {
            Function::Exists => source.exists(&piece),
            Function::Get | Function::BatchGet => {
                let columns = columns_of(call, need);
                source.rows(&columns, &piece)?
            }
        };
        columns.push((call.name.to_owned(), column, true));
    }
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}

fn columns_of<'a>(call: &'a Call, need: &'a Need) -> Vec<&'a str> {
    if call.columns.is_empty() {
        need.columns.iter().map(String::as_str).collect()
    } else {
        call.columns.to_vec()
    }
}

/// The keys of some rows.
fn piece(offsets: Option<&OffsetBuffer<i32>>, rows: Range<usize>) -> Piece {
    let Some(offsets) = offsets else { return Piece { keys: rows, offsets: None } };
    let offsets = offsets.slice(rows.start, rows.len());
    let (start, end) = (offsets[0], offsets[rows.len()]);
    let lengths = offsets.lengths();
    Piece { keys: start as usize..end as usize, offsets: Some(OffsetBuffer::from_lengths(lengths)) }
}

/// Spawns futures, so many at once, and returns what they give in their order.
async fn run_ordered<T: Send + 'static>(
    futures: impl IntoIterator<Item: Future<Output = Result<T>> + Send + 'static>,
    in_flight: usize,
) -> Result<Vec<T>> {
    let running = futures.into_iter().map(async |future| tokio::spawn(future).await?);
    stream::iter(running).buffered(in_flight).try_collect().await
}
