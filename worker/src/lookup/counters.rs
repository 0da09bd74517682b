//! What a lookup counts for each store.

use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder, Time};
use keyloom_common::report::counter;

/// The counters of one fetch. Fetches of the same store are added up when they are reported.
#[derive(Clone, Debug)]
pub(super) struct Counters {
    pub(super) keys: Count,
    pub(super) distinct: Count,
    pub(super) hits: Count,
    pub(super) misses: Count,
    pub(super) requests: Count,
    pub(super) rows_fetched: Count,
    pub(super) bytes_fetched: Count,
    pub(super) fetch_time: Time,
}

impl Counters {
    pub(super) fn new(metrics: &ExecutionPlanMetricsSet, alias: &str, partition: usize) -> Self {
        let build =
            || MetricBuilder::new(metrics).with_new_label(counter::STORE_LABEL, alias.to_owned());
        let count = |name: &'static str| build().counter(name, partition);
        Self {
            keys: count(counter::KEYS),
            distinct: count(counter::DISTINCT),
            hits: count(counter::HITS),
            misses: count(counter::MISSES),
            requests: count(counter::REQUESTS),
            rows_fetched: count(counter::ROWS_FETCHED),
            bytes_fetched: count(counter::BYTES_FETCHED),
            fetch_time: build().subset_time(counter::FETCH_TIME, partition),
        }
    }
}
