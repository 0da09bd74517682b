//! One fetch for one window: distinct keys to the store, in requests of a bounded size, and from
//! what it found the answers for each batch.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray};
use futures::{StreamExt, TryStreamExt, stream};
use keyloom_common::{
    Result,
    lookup::{Answer, Fetch},
};

use super::{
    LookupSettings,
    answer::AnswerBuilder,
    counters::Counters,
    keys::{Distinct, FlatKeys},
};
use crate::store::{Found, KeyRows, Request, Store};

/// The keys of a batch, and for each call the rows that need its answer (all, if `None`).
#[derive(Debug)]
pub(crate) struct Need {
    pub(crate) keys: ArrayRef,
    pub(crate) guards: Vec<Option<BooleanArray>>,
}

/// What a batch asks, by element.
#[derive(Debug)]
struct Ask {
    keys: FlatKeys,
    row_guards: Vec<Option<BooleanArray>>,
    guards: Vec<Option<BooleanArray>>,
    /// The elements that any call needs.
    needed: Option<BooleanArray>,
}

/// All that the answers for the batches of a window are made of.
#[derive(Debug)]
pub(crate) struct Fetched {
    asks: Vec<Ask>,
    distinct: Distinct,
    columns: Vec<usize>,
    found: Found,
    /// Where each key's rows are among those that were found, if it may have several.
    starts: Option<Vec<usize>>,
}

impl Ask {
    fn try_new(need: Need) -> Result<Self> {
        let keys = FlatKeys::try_new(&need.keys)?;
        let guards = need.guards.iter().map(|guard| keys.by_element(guard.as_ref()));
        let guards: Vec<_> = guards.collect();
        let needed = super::union(&guards)?;
        Ok(Self { keys, row_guards: need.guards, guards, needed })
    }
}

impl Fetched {
    /// Finds the rows of the keys of all batches.
    pub(crate) async fn try_new(
        fetch: &Fetch,
        store: &Arc<dyn Store>,
        counters: &Counters,
        needs: Vec<Need>,
        settings: &LookupSettings,
    ) -> Result<Self> {
        let asks = needs.into_iter().map(Ask::try_new).collect::<Result<Vec<_>>>()?;
        let keys = asks.iter().map(|ask| (&ask.keys.elements, ask.needed.as_ref()));
        let distinct = Distinct::try_new(&keys.collect::<Vec<_>>(), &fetch.store.key_type())?;
        counters.keys.add(distinct.asked);
        counters.distinct.add(distinct.keys.len());

        let columns = fetch.columns();
        let found = request_all(fetch, store, counters, &distinct.keys, &columns, settings).await?;
        let hits = found.held.iter().filter(|held| **held).count();
        counters.hits.add(hits);
        counters.misses.add(found.held.len() - hits);
        let starts = found.starts();
        Ok(Self { asks, distinct, columns, found, starts })
    }

    /// A column for each call, for one of the batches.
    pub(crate) fn answers(
        &self,
        fetch: &Fetch,
        batch: usize,
        settings: &LookupSettings,
    ) -> Result<Vec<ArrayRef>> {
        let before: usize = self.asks[..batch].iter().map(|ask| ask.keys.elements.len()).sum();
        let Ask { keys, row_guards, guards, .. } = &self.asks[batch];
        let builder = AnswerBuilder {
            fetch,
            keys,
            row_guards,
            guards,
            slots: &self.distinct.slots[before..before + keys.elements.len()],
            columns: &self.columns,
            found: &self.found,
            starts: self.starts.as_deref(),
            keys_named: settings.missing_keys_named,
        };
        builder.all()
    }
}

async fn request_all(
    fetch: &Fetch,
    store: &Arc<dyn Store>,
    counters: &Counters,
    keys: &ArrayRef,
    columns: &[usize],
    settings: &LookupSettings,
) -> Result<Found> {
    let rows = key_rows(fetch);
    let size = fetch.batch_size.map_or(keys.len().max(1), Into::into);
    let requests = (0..keys.len()).step_by(size).map(|start| {
        let keys = keys.slice(start, size.min(keys.len() - start));
        let request = Request { keys, columns: columns.to_vec(), access: fetch.access, rows };
        ask(store, counters, request)
    });
    let answers = stream::iter(requests).buffered(settings.requests_in_flight.max(1));
    Found::concat(answers.try_collect().await?, columns.len())
}

/// Which rows of a key the calls read that stands in several.
fn key_rows(fetch: &Fetch) -> KeyRows {
    let mut rows = KeyRows::Any;
    for call in &fetch.calls {
        match call.answer {
            Answer::All { .. } => return KeyRows::All,
            Answer::Row { .. } => rows = KeyRows::One,
            Answer::Exists => {}
        }
    }
    rows
}

async fn ask(store: &Arc<dyn Store>, counters: &Counters, request: Request) -> Result<Found> {
    counters.requests.add(1);
    let timer = counters.fetch_time.timer();
    let found = store.lookup(request).await?;
    timer.done();
    counters.count(&found.stats);
    Ok(found)
}
