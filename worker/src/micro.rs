//! Internals for the micro-benchmarks in `tests/bench/benches`, which could not reach them
//! otherwise. No part of the API.

use std::{fmt, sync::Arc};

use arrow::{array::ArrayRef, datatypes::DataType};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use keyloom_common::{Result, lookup::Fetch};

use crate::{
    lookup::{
        LookupSettings,
        counters::Counters,
        fetch::{Fetched, Need},
        gather,
        keys::Distinct,
    },
    store::{Place, Store, Values, lance::keys::code_index::CodeIndex},
};

/// How many distinct keys there are.
///
/// # Errors
/// If the keys are not of a type that keys can have.
pub fn count_distinct(keys: &ArrayRef, key_type: &DataType) -> Result<usize> {
    Ok(Distinct::try_new(&[(keys, None)], key_type)?.keys.len())
}

/// The values at these places, in this order.
///
/// # Errors
/// If the values are not of this type.
pub fn gather(values: &Values, places: &[Place], data_type: &DataType) -> Result<ArrayRef> {
    gather::gather(values, &gather::Picks::new(places.to_vec()), data_type)
}

/// Codes of keys, indexed by their positions.
#[derive(Debug)]
pub struct Index(CodeIndex);

impl Index {
    /// Indexes codes, which must be well spread.
    pub fn new(codes: &[u64]) -> Self {
        Self(CodeIndex::new(codes, None))
    }

    /// How many positions have one of these codes.
    pub fn count(&self, codes: &[u64]) -> usize {
        codes.iter().map(|code| self.0.find(*code).count()).sum()
    }

    /// How many pairs of positions have equal codes.
    pub fn count_matches(&self, other: &Self) -> usize {
        let mut pairs = 0;
        self.0.for_each_match(&other.0, |_, _| pairs += 1);
        pairs
    }
}

/// A batch whose keys were found in a store.
pub struct Window {
    fetched: Fetched,
    rows: usize,
    settings: LookupSettings,
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window").finish_non_exhaustive()
    }
}

impl Window {
    /// Asks a store for the keys of a batch, each distinct one once.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn try_new(fetch: &Fetch, store: &Arc<dyn Store>, keys: ArrayRef) -> Result<Self> {
        let settings = LookupSettings::default();
        let counters = Counters::new(&ExecutionPlanMetricsSet::new(), &fetch.store.alias, 0);
        let rows = keys.len();
        let need = Need { keys, guards: vec![None; fetch.calls.len()], counts: None };
        let needs = vec![need];
        let fetched = Fetched::try_new(fetch, store, &counters, needs, 0, &settings).await?;
        Ok(Self { fetched, rows, settings })
    }

    /// What was found, realigned with the rows of the batch: a column for each call.
    ///
    /// # Errors
    /// `not_found` if a key is missing that must not be.
    pub fn answers(&self, fetch: &Fetch) -> Result<Vec<ArrayRef>> {
        self.fetched.answers_to(fetch, 0, self.rows, &self.settings)
    }
}
