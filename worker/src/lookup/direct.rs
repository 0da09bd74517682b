//! Lookups without a plan: keys in, answers out, in order, by the operator's own means.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef},
    compute::concat,
};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::{StreamExt, TryStreamExt, stream};
use keyloom_common::{Error, Result, lookup::Fetch};

use super::{
    LookupSettings,
    counters::Counters,
    fetch::{Fetched, Need, asks_for_all},
    keys::FlatKeys,
    spawned,
};
use crate::store::Store;

/// The least keys that are worth a task of their own.
const TASK_KEYS: usize = 4096;

/// A store of this process that answers without a plan. It stays open for as long as this lives.
#[derive(Clone, Debug)]
pub struct Direct {
    store: Arc<dyn Store>,
    settings: LookupSettings,
}

impl Direct {
    pub(crate) fn new(store: Arc<dyn Store>, settings: LookupSettings) -> Self {
        Self { store, settings }
    }

    /// The answers of the one call of a fetch, in the order of the keys. The fetch's own key
    /// expression is not looked at.
    ///
    /// # Errors
    /// As a plan that looks them up.
    pub async fn answers(&self, fetch: Arc<Fetch>, keys: &ArrayRef) -> Result<ArrayRef> {
        let elements = FlatKeys::try_new(keys)?.elements.len();
        if elements <= TASK_KEYS {
            return self.part(&fetch, Arc::clone(keys)).await;
        }
        let at_once = self.rows_at_once(&fetch, keys.len(), elements).await;
        let parts = (0..keys.len()).step_by(at_once).map(|start| {
            let keys = keys.slice(start, at_once.min(keys.len() - start));
            let (direct, fetch) = (self.clone(), Arc::clone(&fetch));
            spawned(async move { direct.part(&fetch, keys).await })
        });
        let parts = stream::iter(parts).buffered(self.settings.windows_in_flight.max(1));
        let parts: Vec<ArrayRef> = parts.try_collect().await?;
        Ok(concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<_>>())?)
    }

    /// How many rows are looked up together, of rows that hold so many keys in all.
    async fn rows_at_once(&self, fetch: &Fetch, rows: usize, keys: usize) -> usize {
        // If the store cannot be read, the lookup will say so.
        let bytes = self.store.row_bytes(&fetch.columns()).await.unwrap_or(0).max(1);
        let by_bytes = usize::try_from(self.settings.window_bytes / bytes).unwrap_or(usize::MAX);
        let fair = keys.div_ceil(self.settings.windows_in_flight.max(1)).max(TASK_KEYS);
        let keys_at_once = fair.min(by_bytes).min(self.settings.window_rows);
        (keys_at_once / keys.div_ceil(rows)).max(1)
    }

    async fn part(&self, fetch: &Fetch, mut keys: ArrayRef) -> Result<ArrayRef> {
        let mut parts = Vec::new();
        loop {
            let (answers, rest) = self.first(fetch, keys).await?;
            let Some(rest) = rest else {
                if parts.is_empty() {
                    return Ok(answers);
                }
                parts.push(answers);
                return Ok(concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<_>>())?);
            };
            parts.push(answers);
            keys = rest;
        }
    }

    /// The answers of the first keys, and the keys behind them, if they have too many rows for one
    /// fetch.
    async fn first(&self, fetch: &Fetch, keys: ArrayRef) -> Result<(ArrayRef, Option<ArrayRef>)> {
        let counters = Counters::new(&ExecutionPlanMetricsSet::new(), &fetch.store.alias, 0);
        let guards = vec![None; fetch.calls.len()];
        let needs = vec![Need { keys: Arc::clone(&keys), guards, counts: None }];
        let row_bytes = match asks_for_all(fetch) {
            true => self.store.row_bytes(&fetch.columns()).await?,
            // Rows are bounded by keys.
            false => 0,
        };
        let (store, settings) = (&self.store, &self.settings);
        let fetched = Fetched::try_new(fetch, store, &counters, needs, row_bytes, settings).await?;
        let rows = fetched.complete_rows().unwrap_or(usize::MAX);
        let answers = fetched.answers_to(fetch, 0, rows, settings)?.pop();
        let answers = answers.ok_or_else(|| Error::internal("a lookup without a call"))?;
        Ok(match fetched.complete_rows() {
            None => (answers, None),
            Some(rows) => (answers.slice(0, rows), Some(keys.slice(rows, keys.len() - rows))),
        })
    }
}
