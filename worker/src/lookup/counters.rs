//! What a lookup counts for each store.

use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder, Time};
use keyloom_common::report::counter;

use super::misses::MissCounter;
use crate::store::ReadStats;

/// The counters of one fetch. Fetches of the same store are added up when they are reported.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    pub(super) keys: Count,
    pub(super) distinct: Count,
    pub(super) hits: Count,
    pub(super) misses: Count,
    pub(super) requests: Count,
    rows_taken: Count,
    rows_scanned: Count,
    bytes_fetched: Count,
    keys_scanned: Count,
    keys_verified: Count,
    blocks: Count,
    block_hits: Count,
    requests_made: Count,
    retries: Count,
    answer_hits: Count,
    pub(super) fetch_time: Time,
    /// Where misses are counted, if somebody is told.
    pub(super) told: Option<MissCounter>,
}

impl Counters {
    pub(crate) fn new(metrics: &ExecutionPlanMetricsSet, alias: &str, partition: usize) -> Self {
        let build =
            || MetricBuilder::new(metrics).with_new_label(counter::STORE_LABEL, alias.to_owned());
        let count = |name: &'static str| build().counter(name, partition);
        Self {
            keys: count(counter::KEYS),
            distinct: count(counter::DISTINCT),
            hits: count(counter::HITS),
            misses: count(counter::MISSES),
            requests: count(counter::REQUESTS),
            rows_taken: count(counter::ROWS_TAKEN),
            rows_scanned: count(counter::ROWS_SCANNED),
            bytes_fetched: count(counter::BYTES_FETCHED),
            keys_scanned: count(counter::KEYS_SCANNED),
            keys_verified: count(counter::KEYS_VERIFIED),
            blocks: count(counter::BLOCKS),
            block_hits: count(counter::BLOCK_HITS),
            requests_made: count(counter::REQUESTS_MADE),
            retries: count(counter::RETRIES),
            answer_hits: count(counter::ANSWER_HITS),
            fetch_time: build().subset_time(counter::FETCH_TIME, partition),
            told: None,
        }
    }

    /// The same, which count misses, too.
    pub(super) fn with_misses(self, misses: MissCounter) -> Self {
        Self { told: Some(misses), ..self }
    }

    /// Counts what a request read.
    pub(super) fn count(&self, stats: &ReadStats) {
        self.rows_taken.add(stats.rows_taken as usize);
        self.rows_scanned.add(stats.rows_scanned as usize);
        self.bytes_fetched.add(stats.bytes as usize);
        self.keys_scanned.add(stats.keys_scanned as usize);
        self.keys_verified.add(stats.keys_verified as usize);
        self.blocks.add(stats.blocks as usize);
        self.block_hits.add(stats.block_hits as usize);
        self.requests_made.add(stats.requests_made as usize);
        self.retries.add(stats.retries as usize);
        self.answer_hits.add(stats.answer_hits as usize);
    }
}
