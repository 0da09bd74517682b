//! Reading a partition of an input: its slices one after the other, each as its format is read, the
//! columns of the table out of each.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions},
    datatypes::SchemaRef,
};
use datafusion::{
    error::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext, runtime_env::RuntimeEnvBuilder},
    physical_plan::{
        ExecutionPlan,
        metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet},
        stream::RecordBatchStreamAdapter,
    },
};
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use keyloom_common::{
    Error, Result,
    input::Layout,
    plan::{FileSlice, InputScanExec, ScanPartition, ScanTable},
    store::Snapshot,
};
use object_store::ObjectStore;

use super::{
    Inputs, hive, in_file, ipc, lance,
    parquet::{self, Opened},
    pinned::Pinned,
    stores::TaskStore,
    text::{csv, json},
};

/// How many slices are opened ahead, each to its first batch.
const SLICES_AHEAD: usize = 8;

type Batches = BoxStream<'static, Result<RecordBatch>>;

impl Inputs {
    /// The rows of a partition.
    ///
    /// # Errors
    /// If the object store cannot be opened; later errors come through the stream.
    pub(crate) fn scan(
        &self,
        node: &InputScanExec,
        partition: usize,
        context: &Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let partition_of_input = node.partitions()[partition].clone();
        let wanted = wanted(node, &partition_of_input);
        let batches = match &node.table().layout {
            Layout::Lance(snapshot) => {
                self.scan_lance(node, *snapshot, partition_of_input, wanted, context)
            }
            _ => self.scan_files(node, partition_of_input, wanted, context)?,
        };
        let baseline = BaselineMetrics::new(node.metrics_set(), partition);
        let counted = batches.inspect_ok(move |batch| baseline.record_output(batch.num_rows()));
        let batches = counted.map_err(DataFusionError::from);
        Ok(Box::pin(RecordBatchStreamAdapter::new(node.schema(), batches)))
    }

    /// The wanted rows of files, which are still the same when the last row has come.
    fn scan_files(
        &self,
        node: &InputScanExec,
        partition: ScanPartition,
        wanted: Range<usize>,
        context: &Arc<TaskContext>,
    ) -> Result<Batches> {
        let (table, ScanPartition { slices, rows }) = (node.table(), partition);
        let store = self.stores.get(&table.location)?;
        let pinned = Arc::new(Pinned::new(store, &table.location, &slices));
        // Rows are counted before a condition is asked: of several slices none may be passed over.
        let predicate = node.predicate().filter(|_| rows.is_none() || slices.len() == 1);
        let scan = Scan {
            parquet: parquet::Reader {
                store: Arc::clone(&pinned) as _,
                footers: self.footers(&table.location),
                table: Arc::clone(table),
                projection: node.projection().to_vec(),
                predicate: predicate.cloned(),
                context: self.parquet_context(context, Arc::clone(&pinned) as _)?,
            },
            store: Arc::clone(&pinned) as _,
            table: Arc::clone(table),
            columns: Columns::new(table, node.projection())?,
            batch_rows: context.session_config().batch_size(),
            metrics: node.metrics_set().clone(),
        };
        let batches = Arc::new(scan).read(slices, wanted);
        let verified = stream::once(async move { pinned.verify().await.map(|()| None) });
        let verified = verified.filter_map(|verified| async move { verified.transpose() });
        Ok(batches.chain(verified).boxed())
    }

    /// The wanted rows of a Lance dataset, whose partitions are fragments that follow each other.
    fn scan_lance(
        &self,
        node: &InputScanExec,
        snapshot: Snapshot,
        partition: ScanPartition,
        wanted: Range<usize>,
        context: &Arc<TaskContext>,
    ) -> Batches {
        let reader = lance::Reader {
            stores: Arc::clone(&self.lance),
            location: node.table().location.clone(),
            columns: node.projection().to_vec(),
            predicate: node.predicate().cloned(),
            batch_rows: context.session_config().batch_size(),
        };
        let rows = (wanted != (0..usize::MAX)).then_some(wanted);
        let opened = stream::iter(partition.slices).then(move |slice| {
            let opened = (rows.clone(), slice);
            let reader = reader.clone();
            async move {
                let (rows, slice) = opened;
                reader.open(snapshot, &slice, rows).await
            }
        });
        opened.try_flatten().boxed()
    }

    /// The context in which DataFusion's source finds the store.
    fn parquet_context(
        &self,
        context: &Arc<TaskContext>,
        store: Arc<dyn ObjectStore>,
    ) -> Result<Arc<TaskContext>> {
        let runtime = RuntimeEnvBuilder::from_runtime_env(&self.runtime)
            .with_object_store_registry(Arc::new(TaskStore::new(store)))
            .build_arc()?;
        let mut config = context.session_config().clone();
        // A partition would read the files of others.
        config.options_mut().execution.enable_file_stream_work_stealing = false;
        Ok(Arc::new(TaskContext::default().with_session_config(config).with_runtime(runtime)))
    }
}

/// The rows that are wanted of a partition: a limit counts from its first row.
fn wanted(node: &InputScanExec, partition: &ScanPartition) -> Range<usize> {
    let limit = node.limit().unwrap_or(usize::MAX);
    let Some(rows) = partition.rows else { return 0..limit };
    let end = rows.length.map_or(usize::MAX, |length| rows.start.saturating_add(length));
    rows.start.min(limit)..end.min(limit)
}

/// Which columns are read from files, which are told by folders, and in which order they are wanted.
#[derive(Debug)]
struct Columns {
    wanted: SchemaRef,
    /// The wanted columns of the files, as indices into the files' columns.
    of_files: Vec<usize>,
    /// The wanted columns of the files.
    file_schema: SchemaRef,
    /// For each wanted column, where it comes from.
    sources: Vec<Source>,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    /// This column of those that are read from files.
    File(usize),
    /// This column of those that folders tell.
    Folder(usize),
}

impl Columns {
    fn new(table: &ScanTable, projection: &[usize]) -> Result<Self> {
        let files = table.file_schema.fields().len();
        let mut of_files = Vec::new();
        let sources = projection.iter().map(|&column| {
            if column >= files {
                return Source::Folder(column - files);
            }
            of_files.push(column);
            Source::File(of_files.len() - 1)
        });
        let sources = sources.collect();
        Ok(Self {
            wanted: Arc::new(table.schema().project(projection)?),
            file_schema: Arc::new(table.file_schema.project(&of_files)?),
            of_files,
            sources,
        })
    }

    /// The wanted columns of rows of a file.
    fn complete(&self, rows: &RecordBatch, told: &[ArrayRef]) -> Result<RecordBatch> {
        let column = |source: &Source| match *source {
            Source::File(column) => Arc::clone(rows.column(column)),
            Source::Folder(column) => told[column].slice(0, rows.num_rows()),
        };
        let columns = self.sources.iter().map(column).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.wanted), columns, &options)?)
    }
}

/// One partition that is being read.
struct Scan {
    parquet: parquet::Reader,
    store: Arc<dyn ObjectStore>,
    table: Arc<ScanTable>,
    columns: Columns,
    batch_rows: usize,
    metrics: ExecutionPlanMetricsSet,
}

impl Scan {
    /// The wanted rows of all slices.
    fn read(self: Arc<Self>, slices: Vec<FileSlice>, wanted: Range<usize>) -> Batches {
        if let ([only], Layout::Parquet) = (slices.as_slice(), &self.table.layout) {
            let only = only.clone();
            let rows = (wanted != (0..usize::MAX)).then(|| wanted.clone());
            let opened = async move { self.open_parquet(only, rows).await };
            let batches = stream::once(opened).map_ok(move |(batches, selected)| match selected {
                true => batches,
                false => window(batches, wanted.clone()),
            });
            return batches.try_flatten().boxed();
        }
        let ahead = if slices.len() > 1 { SLICES_AHEAD } else { 1 };
        let opened = stream::iter(slices).map(move |slice| {
            let scan = Arc::clone(&self);
            async move { scan.open(slice).await }
        });
        window(opened.buffered(ahead).try_flatten().boxed(), wanted)
    }

    /// Opens a slice and reads its first batch.
    async fn open(self: Arc<Self>, slice: FileSlice) -> Result<Batches> {
        if self.table.layout == Layout::Parquet {
            let (mut batches, _) = self.open_parquet(slice, None).await?;
            let first = batches.next().await;
            return Ok(stream::iter(first).chain(batches).boxed());
        }
        let (location, path) = (self.table.location.clone(), slice.path.clone());
        let told = hive::arrays(&self.table.partition_schema, &slice, self.batch_rows)?;
        let opened =
            self.open_rows(slice).await.map_err(|error| in_file(error, &location, &path))?;
        let batch_rows = self.batch_rows;
        let pieces = opened.map_ok(move |batch| stream::iter(cut(batch, batch_rows)).map(Ok));
        let scan = Arc::clone(&self);
        let mut batches = pieces.try_flatten().map(move |rows| {
            let complete = rows.and_then(|rows| scan.columns.complete(&rows, &told));
            complete.map_err(|error| in_file(error, &location, &path))
        });
        let first = batches.next().await;
        Ok(stream::iter(first).chain(batches).boxed())
    }

    /// The rows of a slice, in the wanted columns of the files.
    async fn open_rows(&self, slice: FileSlice) -> Result<Batches> {
        let store = Arc::clone(&self.store);
        let (table, wanted) = (&self.table.file_schema, &self.columns.file_schema);
        let (columns, rows) = (self.columns.of_files.clone(), self.batch_rows);
        match &self.table.layout {
            Layout::Csv(options) => {
                csv::open(store, slice, options.clone(), Arc::clone(table), columns, rows).await
            }
            Layout::Json(layout) => {
                json::open(store, slice, *layout, Arc::clone(table), columns, rows).await
            }
            Layout::Arrow => ipc::open(store, slice, Arc::clone(table), Arc::clone(wanted)).await,
            Layout::Parquet | Layout::Lance(_) => {
                Err(Error::internal("this format is read in another way"))
            }
        }
    }

    async fn open_parquet(
        self: &Arc<Self>,
        slice: FileSlice,
        rows: Option<Range<usize>>,
    ) -> Result<(Batches, bool)> {
        let opened = self.parquet.open(&slice, rows).await;
        let opened = opened.map_err(|error| in_file(error, &self.table.location, &slice.path))?;
        let (plan, selected) = (Arc::clone(opened.plan()), opened.selected);
        let (location, path) = (self.table.location.clone(), slice.path);
        let batches = opened.batches.map_err(move |error| in_file(error, &location, &path));
        let metrics = self.metrics.clone();
        let counted = stream::once(async move {
            count(&metrics, &Opened::metrics(&plan));
            None
        });
        let batches = batches.chain(counted.filter_map(|nothing| async move { nothing }));
        Ok((batches.boxed(), selected))
    }
}

/// Counts what the source of a slice counted, but for what the scan counts itself.
fn count(metrics: &ExecutionPlanMetricsSet, counted: &MetricsSet) {
    const OWN: [&str; 7] = [
        "output_rows",
        "output_bytes",
        "output_batches",
        "elapsed_compute",
        "start_timestamp",
        "end_timestamp",
        "spill_count",
    ];
    for metric in counted.iter().filter(|metric| !OWN.contains(&metric.value().name())) {
        metrics.register(Arc::clone(metric));
    }
}

/// A batch in batches of a bounded number of rows.
fn cut(batch: RecordBatch, rows: usize) -> Vec<RecordBatch> {
    if batch.num_rows() <= rows {
        return vec![batch];
    }
    let starts = (0..batch.num_rows()).step_by(rows.max(1));
    starts.map(|start| batch.slice(start, rows.min(batch.num_rows() - start))).collect()
}

/// The rows at some places of a stream.
fn window(batches: Batches, wanted: Range<usize>) -> Batches {
    if wanted == (0..usize::MAX) {
        return batches;
    }
    let state = (batches, wanted.start, wanted.end.saturating_sub(wanted.start));
    let windowed = stream::try_unfold(state, |(mut batches, mut skip, mut left)| async move {
        while left > 0 {
            let Some(batch) = batches.try_next().await? else { break };
            let skipped = skip.min(batch.num_rows());
            let length = left.min(batch.num_rows() - skipped);
            skip -= skipped;
            left -= length;
            if length > 0 {
                return Ok(Some((batch.slice(skipped, length), (batches, skip, left))));
            }
        }
        Ok::<_, Error>(None)
    });
    windowed.boxed()
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{AsArray, Int64Array},
        datatypes::Int64Type,
    };

    use super::*;

    #[tokio::test]
    async fn a_window_counts_rows_over_batches() {
        let batch = |numbers: Range<i64>| {
            let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
            RecordBatch::try_from_iter([("n", numbers)]).unwrap()
        };
        let cases =
            [(0..usize::MAX, 0..10), (0..4, 0..4), (3..8, 3..8), (4..4, 4..4), (9..20, 9..10)];
        for (wanted, expected) in cases {
            let batches = [0..4, 4..4, 4..6, 6..10].map(|numbers| Ok(batch(numbers)));
            let rows = window(stream::iter(batches).boxed(), wanted.clone());
            let rows: Vec<_> = rows.try_collect().await.unwrap();
            let numbers = rows
                .iter()
                .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec());
            assert_eq!(numbers.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{wanted:?}");
        }
    }

    #[test]
    fn large_batches_are_cut() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let rows: Vec<_> = cut(batch, 4).iter().map(RecordBatch::num_rows).collect();
        assert_eq!(rows, [4, 4, 2]);
    }
}
