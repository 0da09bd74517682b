//! Reading a partition of an input: its slices one after the other, each as its format is read, the
//! columns of the table out of each.

mod batches;
mod columns;
mod files;

use std::{ops::Range, sync::Arc, time::Instant};

use arrow::array::RecordBatch;
use datafusion::{
    error::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext, runtime_env::RuntimeEnvBuilder},
    physical_plan::{
        ExecutionPlan,
        metrics::{BaselineMetrics, MetricBuilder, Time},
        stream::RecordBatchStreamAdapter,
    },
};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use keyloom_common::{
    Error, Result,
    input::{Layout, Location},
    plan::{FileSlice, InputScanExec, ScanPartition},
    report::counter,
    store::Snapshot,
};
use object_store::ObjectStore;

use self::{
    batches::Batches,
    columns::Columns,
    files::{Files, Reader},
};
use super::{Inputs, lance, local_file, parquet, pinned::Pinned};
use crate::object_stores::{Asked, TaskStore};

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
        let time =
            MetricBuilder::new(node.metrics_set()).subset_time(counter::SCAN_TIME, partition);
        let counted =
            timed(batches, time).inspect_ok(move |batch| baseline.record_output(batch.num_rows()));
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
        let (table, slices) = (node.table(), &partition.slices);
        let store = self.stores.get(&table.location)?;
        let pinned = Pinned::new(store, &table.location, slices);
        let reader = match &table.layout {
            Layout::Lance(_) => return Err(Error::internal("a Lance dataset is no list of files")),
            Layout::Csv(options) => Reader::Csv(options.clone()),
            Layout::Json(layout) => Reader::Json(*layout),
            Layout::Arrow => Reader::Arrow,
            Layout::Parquet => {
                Reader::Parquet(Arc::new(self.parquet(node, &partition, &pinned, context)?))
            }
        };
        let files = Files {
            reader,
            pinned: pinned.clone(),
            table: Arc::clone(table),
            columns: Columns::new(table, node.projection())?,
            batch_rows: context.session_config().batch_size(),
            metrics: node.metrics_set().clone(),
        };
        let checked = self.check_slices(&table.location, &partition.slices)?;
        let batches = Arc::new(files).read(partition.slices, wanted);
        let opened = async move {
            checked.await?;
            Ok::<_, Error>(batches)
        };
        let batches = stream::once(opened).try_flatten();
        let verified = stream::once(async move { pinned.verify().await.map(|()| None) });
        let verified = verified.filter_map(|verified| async move { verified.transpose() });
        Ok(batches.chain(verified).boxed())
    }

    /// Whether the files of slices may be read: a plan may come from anybody, and what was listed
    /// may be a link by now.
    pub(super) fn check_slices(
        &self,
        location: &Location,
        slices: &[FileSlice],
    ) -> Result<impl Future<Output = Result<()>> + Send + use<>> {
        let mut files = Vec::new();
        for slice in slices {
            let shown = location.shown(&slice.path);
            if self.stores.check(location, &slice.path, &shown)? == Asked::File {
                files.push(local_file(&slice.path));
            }
        }
        let (access, patience) = (self.stores.access().clone(), self.stores.patience());
        Ok(async move {
            match files.is_empty() {
                true => Ok(()),
                false => access.check_files(files, patience).await,
            }
        })
    }

    fn parquet(
        &self,
        node: &InputScanExec,
        partition: &ScanPartition,
        pinned: &Pinned,
        context: &Arc<TaskContext>,
    ) -> Result<parquet::Reader> {
        // Rows are counted before a condition is asked: of several slices none may be passed over.
        let asked = partition.rows.is_none() || partition.slices.len() == 1;
        Ok(parquet::Reader {
            store: Arc::new(pinned.clone()),
            ends: Arc::clone(&self.ends),
            table: Arc::clone(node.table()),
            projection: node.projection().to_vec(),
            predicate: node.predicate().filter(|_| asked).cloned(),
            context: self.parquet_context(context, Arc::new(pinned.clone()))?,
        })
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

/// The same batches; how long each was waited for is added up.
fn timed(batches: Batches, time: Time) -> impl Stream<Item = Result<RecordBatch>> + Send {
    let timed = stream::unfold((batches, time), async |(mut batches, time)| {
        let asked = Instant::now();
        let batch = batches.next().await?;
        time.add_elapsed(asked);
        Some((batch, (batches, time)))
    });
    // It may be asked again after its end.
    timed.fuse()
}

/// The rows that are wanted of a partition: a limit counts from its first row.
fn wanted(node: &InputScanExec, partition: &ScanPartition) -> Range<usize> {
    let limit = node.limit().unwrap_or(usize::MAX);
    let Some(rows) = partition.rows else { return 0..limit };
    let end = rows.length.map_or(usize::MAX, |length| rows.start.saturating_add(length));
    rows.start.min(limit)..end.min(limit)
}
