//! What is counted of a task that writes.

use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder};
use keyloom_common::{output::Piece, report::counter};

/// The counters of a task.
#[derive(Debug)]
pub(super) struct Counters {
    rows: Count,
    bytes: Count,
    files: Count,
}

impl Counters {
    pub(super) fn new(metrics: &ExecutionPlanMetricsSet) -> Self {
        let count = |name: &'static str| MetricBuilder::new(metrics).counter(name, 0);
        Self {
            rows: count(counter::ROWS_WRITTEN),
            bytes: count(counter::BYTES_WRITTEN),
            files: count(counter::FILES_WRITTEN),
        }
    }

    /// Counts a piece that is written.
    pub(super) fn count(&self, piece: &Piece) {
        self.rows.add(piece.rows as usize);
        self.bytes.add(piece.bytes as usize);
        self.files.add(1);
    }
}
