//! One fetch for one batch: distinct keys to the store, in requests of a bounded size.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray};
use futures::{StreamExt, TryStreamExt, stream};
use keyloom_common::{
    Result,
    lookup::{Answer, Fetch},
};

use super::{
    LookupSettings,
    answer::{Answers, Location},
    counters::Counters,
    keys::{Distinct, Rows},
};
use crate::store::{Found, Request, Store};

/// The keys of a batch, and for each call the rows that need its answer (all, if `None`).
#[derive(Debug)]
pub(super) struct Need {
    pub(super) keys: ArrayRef,
    pub(super) guards: Vec<Option<BooleanArray>>,
}

/// Fetches the rows of the keys and returns a column for each call.
pub(super) async fn fetch(
    fetch: &Fetch,
    store: &Arc<dyn Store>,
    counters: &Counters,
    need: Need,
    settings: &LookupSettings,
) -> Result<Vec<ArrayRef>> {
    let rows = Rows::try_new(&need.keys)?;
    let guards: Vec<_> = need.guards.iter().map(|guard| rows.by_element(guard.as_ref())).collect();
    let needed = super::union(&guards)?;
    let distinct = Distinct::try_new(&rows.elements, needed.as_ref(), fetch.store.key_type())?;
    counters.keys.add(distinct.asked);
    counters.distinct.add(distinct.keys.len());

    let columns = wanted_columns(fetch);
    let found = request_all(fetch, store, counters, &distinct.keys, &columns, settings).await?;
    let locations = locations(&found);
    let hits = locations.iter().flatten().count();
    counters.hits.add(hits);
    counters.misses.add(locations.len() - hits);

    let answers = Answers {
        fetch,
        rows: &rows,
        row_guards: &need.guards,
        guards: &guards,
        slots: &distinct.slots,
        locations: &locations,
        columns: &columns,
        found: &found,
        keys_named: settings.missing_keys_named,
    };
    answers.all()
}

/// The columns that any call wants, each once.
fn wanted_columns(fetch: &Fetch) -> Vec<usize> {
    let mut wanted = Vec::new();
    for call in &fetch.calls {
        if let Answer::Row { columns, .. } = &call.answer {
            for column in columns {
                if !wanted.contains(column) {
                    wanted.push(*column);
                }
            }
        }
    }
    wanted
}

async fn request_all(
    fetch: &Fetch,
    store: &Arc<dyn Store>,
    counters: &Counters,
    keys: &ArrayRef,
    columns: &[usize],
    settings: &LookupSettings,
) -> Result<Vec<Found>> {
    let size = fetch.batch_size.map_or(keys.len().max(1), Into::into);
    let requests = (0..keys.len()).step_by(size).map(|start| {
        let keys = keys.slice(start, size.min(keys.len() - start));
        request(store, counters, Request { keys, columns: columns.to_vec() })
    });
    stream::iter(requests).buffered(settings.requests_in_flight.max(1)).try_collect().await
}

async fn request(store: &Arc<dyn Store>, counters: &Counters, request: Request) -> Result<Found> {
    counters.requests.add(1);
    let timer = counters.fetch_time.timer();
    let found = store.lookup(request).await?;
    timer.done();
    counters.rows_fetched.add(found.fetched.rows as usize);
    counters.bytes_fetched.add(found.fetched.bytes as usize);
    Ok(found)
}

/// Where each distinct key's row is, if the store holds it.
fn locations(found: &[Found]) -> Vec<Option<Location>> {
    let of_request = |(request, found): (usize, &Found)| {
        let positions = found.positions.iter();
        positions.map(move |row| row.map(|row| Location { request, row })).collect::<Vec<_>>()
    };
    found.iter().enumerate().flat_map(of_request).collect()
}
