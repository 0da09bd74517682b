//! Record batches as a table: partitions that travel beside the plan, by content, or stay where
//! they are if the workers are in this process.

use std::{fmt, sync::Arc};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{Statistics, stats::Precision},
    datasource::TableType,
    error::Result,
    logical_expr::Expr,
    physical_plan::ExecutionPlan,
};
use keyloom_common::{
    BlobId, Error, ipc,
    plan::{FramePartition, FrameScanExec},
    rpc::Chunk,
    size::batch_bytes,
};

use crate::{link::Link, settings::Settings};

/// Rows that the client holds.
pub(super) struct FrameTable {
    schema: SchemaRef,
    partitions: Vec<FramePartition>,
    /// About how many bytes a row takes, if there is one.
    row_bytes: Option<u64>,
    link: Arc<Link>,
}

impl Drop for FrameTable {
    fn drop(&mut self) {
        self.link.contents.forget_unowned();
    }
}

impl FrameTable {
    /// Cuts batches into partitions and keeps their bytes while the table lives.
    pub(super) fn try_new(
        batches: &[RecordBatch],
        link: &Arc<Link>,
    ) -> keyloom_common::Result<Arc<Self>> {
        let first = batches.first().ok_or_else(|| {
            Error::invalid("an in-memory table needs at least one batch, which may be empty")
        })?;
        let schema = first.schema();
        if let Some(other) = batches.iter().find(|batch| batch.schema() != schema) {
            return Err(Error::invalid(format!(
                "the batches of an in-memory table differ in schema: {schema} and {}",
                other.schema()
            )));
        }
        let in_process = link.connection.local_workers().is_some();
        let groups = partitions(batches, &link.settings).into_iter();
        let groups = groups.map(|pieces| content(&schema, pieces, in_process));
        let groups = groups.collect::<keyloom_common::Result<Vec<_>>>()?;
        let partitions = groups.iter().map(|(partition, _)| *partition).collect();
        let row_bytes = row_bytes(batches);
        let table = Arc::new(Self { schema, partitions, row_bytes, link: Arc::clone(link) });
        for (partition, content) in groups {
            link.contents.keep(partition.blob, content, &table);
        }
        Ok(table)
    }
}

/// A partition and what it holds: bytes under their hash, or, for workers of this process, the
/// batches themselves.
fn content(
    schema: &SchemaRef,
    pieces: Vec<RecordBatch>,
    in_process: bool,
) -> keyloom_common::Result<(FramePartition, Chunk)> {
    let rows = pieces.iter().map(|piece| piece.num_rows() as u64).sum();
    if in_process {
        return Ok((FramePartition { blob: BlobId::unique(), rows }, pieces.into()));
    }
    let bytes = ipc::encode_all(schema, &pieces)?;
    Ok((FramePartition { blob: BlobId::of(&bytes), rows }, bytes.into()))
}

/// The most rows of a task. Of a large table, larger tasks cost less: of a store's map and of its
/// blocks they read what lies together. There are sixteen of them, so that many workers have some.
fn task_rows(rows: usize, settings: &Settings) -> usize {
    const LARGE_TASKS: usize = 16;
    // Of a smaller table, so many would hardly be larger than the usual ones.
    const LEAST_TIMES: usize = 4;
    let large = settings.large_task_rows;
    if rows < large.saturating_mul(LEAST_TIMES) {
        return settings.task_rows;
    }
    rows.div_ceil(LARGE_TASKS).min(large).max(settings.task_rows)
}

/// About how many bytes a row takes, if there is one.
fn row_bytes(batches: &[RecordBatch]) -> Option<u64> {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let bytes: usize = batches.iter().map(batch_bytes).sum();
    (rows > 0).then(|| bytes.div_ceil(rows) as u64)
}

/// The batches' rows in order, in groups of a bounded size; at least one group.
fn partitions(batches: &[RecordBatch], settings: &Settings) -> Vec<Vec<RecordBatch>> {
    let most_rows = task_rows(batches.iter().map(RecordBatch::num_rows).sum(), settings);
    let mut groups = vec![Vec::new()];
    let (mut rows, mut bytes) = (0, 0);
    for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
        let row_bytes = batch_bytes(batch).div_ceil(batch.num_rows()).max(1);
        let mut start = 0;
        while start < batch.num_rows() {
            let by_rows = most_rows.saturating_sub(rows);
            let by_bytes = settings.task_memory_bytes.saturating_sub(bytes) / row_bytes;
            let room = by_rows.min(by_bytes).max(usize::from(rows == 0));
            if room == 0 {
                groups.push(Vec::new());
                (rows, bytes) = (0, 0);
                continue;
            }
            let length = room.min(batch.num_rows() - start);
            if let Some(group) = groups.last_mut() {
                group.push(batch.slice(start, length));
            }
            start += length;
            rows += length;
            bytes += length * row_bytes;
        }
    }
    groups
}

#[async_trait]
impl TableProvider for FrameTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let scan = FrameScanExec::try_new(
            self.partitions.clone(),
            Arc::clone(&self.schema),
            projection.cloned(),
        )?;
        Ok(Arc::new(scan.with_row_bytes(self.row_bytes)))
    }

    fn statistics(&self) -> Option<Statistics> {
        let rows: u64 = self.partitions.iter().map(|partition| partition.rows).sum();
        let num_rows = Precision::Exact(usize::try_from(rows).ok()?);
        Some(Statistics { num_rows, ..Statistics::new_unknown(&self.schema) })
    }
}

impl fmt::Debug for FrameTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameTable")
            .field("partitions", &self.partitions.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_tables_have_larger_tasks() {
        let settings = Settings::default();
        let cases = [(0, 32_768), (524_287, 32_768), (524_288, 32_768), (1_600_000, 100_000)];
        for (rows, expected) in cases.into_iter().chain([(2_097_152, 131_072), (1 << 30, 131_072)])
        {
            assert_eq!(task_rows(rows, &settings), expected, "{rows}");
        }
        let small = Settings { large_task_rows: 5, task_rows: 3, ..settings };
        assert_eq!([19, 20, 80, 1000].map(|rows| task_rows(rows, &small)), [3, 3, 5, 5]);
        let usual_is_larger = Settings { task_rows: 10, ..small };
        assert_eq!(task_rows(1000, &usual_is_larger), 10);
    }
}
