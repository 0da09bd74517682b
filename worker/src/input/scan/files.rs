//! Reading the slices of files of a partition, one after the other, each as its format is read.

use std::{ops::Range, sync::Arc};

use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use futures::{StreamExt, TryStreamExt, stream};
use keyloom_common::{
    Error, ErrorKind, Result,
    input::{CsvOptions, JsonLayout},
    plan::{FileSlice, ScanTable},
};
use object_store::path::Path;

use super::{
    batches::{Batches, cut, put_together, window},
    columns::Columns,
};
use crate::input::{
    hive, in_file, ipc,
    parquet::{self, Opened},
    pinned::Pinned,
    text::{csv, json},
};

/// How many slices, or parts of several, are opened ahead, each to its first batch.
const AHEAD: usize = 8;

/// What reads the files.
pub(super) enum Reader {
    Parquet(Arc<parquet::Reader>),
    Csv(CsvOptions),
    Json(JsonLayout),
    Arrow,
}

/// One partition that is being read.
pub(super) struct Files {
    pub(super) reader: Reader,
    pub(super) pinned: Pinned,
    pub(super) table: Arc<ScanTable>,
    pub(super) columns: Columns,
    pub(super) batch_rows: usize,
    pub(super) metrics: ExecutionPlanMetricsSet,
}

impl Files {
    /// The wanted rows of all slices.
    pub(super) fn read(self: Arc<Self>, slices: Vec<FileSlice>, wanted: Range<usize>) -> Batches {
        match <[_; 1]>::try_from(slices) {
            Ok([only]) => self.read_one(only, wanted),
            Err(slices) => self.read_many(slices, wanted),
        }
    }

    fn read_one(self: Arc<Self>, slice: FileSlice, wanted: Range<usize>) -> Batches {
        let rows = (wanted != (0..usize::MAX)).then(|| wanted.clone());
        let opened = stream::once(async move {
            match &self.reader {
                Reader::Parquet(reader) => self.open_parquet(reader, &slice, rows).await,
                _ => Ok((Arc::clone(&self).open_rows(slice).await?, false)),
            }
        });
        let batches = opened.map_ok(move |(batches, selected)| match selected {
            true => batches,
            false => window(batches, wanted.clone()),
        });
        batches.try_flatten().boxed()
    }

    fn read_many(self: Arc<Self>, slices: Vec<FileSlice>, wanted: Range<usize>) -> Batches {
        let (schema, rows) = (Arc::clone(&self.columns.wanted), self.batch_rows);
        let parts = stream::iter(self.parts(slices));
        let opened = parts.map(move |part| Arc::clone(&self).open(part));
        let batches = opened.buffered(AHEAD).try_flatten().boxed();
        put_together(window(batches, wanted), &schema, rows)
    }

    /// The slices that are opened together: of Parquet, those whose files are read in one go.
    fn parts(&self, slices: Vec<FileSlice>) -> Vec<Vec<FileSlice>> {
        let group = |slice: &FileSlice| match self.reader {
            Reader::Parquet(_) => self.pinned.group(&Path::parse(&slice.path).ok()?),
            _ => None,
        };
        let together = |one: &_, other: &_| group(one).is_some_and(|g| Some(g) == group(other));
        slices.chunk_by(together).map(<[_]>::to_vec).collect()
    }

    /// Opens slices and reads their first batch.
    async fn open(self: Arc<Self>, part: Vec<FileSlice>) -> Result<Batches> {
        let mut batches = match (&self.reader, part.as_slice()) {
            (Reader::Parquet(reader), [only]) => self.open_parquet(reader, only, None).await?.0,
            (Reader::Parquet(reader), _) => {
                Arc::clone(&self).open_together(Arc::clone(reader), part).await?
            }
            _ => {
                let files = Arc::clone(&self);
                let opened =
                    stream::iter(part).then(move |only| Arc::clone(&files).open_rows(only));
                opened.try_flatten().boxed()
            }
        };
        let first = batches.next().await;
        Ok(stream::iter(first).chain(batches).boxed())
    }

    /// The rows of a slice that is no Parquet.
    async fn open_rows(self: Arc<Self>, slice: FileSlice) -> Result<Batches> {
        let (location, path) = (self.table.location.clone(), slice.path.clone());
        let told = hive::scalars(&self.table.partition_schema, &slice)?;
        let opened = self.open_format(slice).await;
        let opened = opened.map_err(|error| in_file(error, &location, &path))?;
        let batch_rows = self.batch_rows;
        let pieces = opened.map_ok(move |batch| stream::iter(cut(batch, batch_rows)).map(Ok));
        let batches = pieces.try_flatten().map(move |rows| {
            let complete = rows.and_then(|rows| self.columns.complete(&rows, &told));
            complete.map_err(|error| in_file(error, &location, &path))
        });
        Ok(batches.boxed())
    }

    /// The rows of a slice, in the wanted columns of the files.
    async fn open_format(&self, slice: FileSlice) -> Result<Batches> {
        let store = Arc::new(self.pinned.clone());
        let (table, wanted) = (Arc::clone(&self.table.file_schema), &self.columns.file_schema);
        let (columns, rows) = (self.columns.of_files.clone(), self.batch_rows);
        match &self.reader {
            Reader::Csv(options) => {
                csv::open(store, slice, options.clone(), table, columns, rows).await
            }
            Reader::Json(layout) => json::open(store, slice, *layout, table, columns, rows).await,
            Reader::Arrow => ipc::open(store, slice, table, Arc::clone(wanted)).await,
            Reader::Parquet(_) => Err(Error::internal("Parquet is read in another way")),
        }
    }

    /// The rows of a slice of a Parquet file, and whether they are just those that were selected.
    async fn open_parquet(
        &self,
        reader: &parquet::Reader,
        slice: &FileSlice,
        rows: Option<Range<usize>>,
    ) -> Result<(Batches, bool)> {
        let (location, path) = (self.table.location.clone(), slice.path.clone());
        let opened = reader.open(slice, rows).await;
        let opened = opened.map_err(|error| in_file(error, &location, &path))?;
        let selected = opened.selected;
        let batches = self.counted(opened);
        Ok((batches.map_err(move |error| in_file(error, &location, &path)).boxed(), selected))
    }

    /// The rows of Parquet files that are opened as one.
    async fn open_together(
        self: Arc<Self>,
        reader: Arc<parquet::Reader>,
        slices: Vec<FileSlice>,
    ) -> Result<Batches> {
        let looks = slices.iter().map(|slice| async {
            let looked = reader.look(slice).await;
            let looked = looked.map(|looked| looked.file);
            looked.map_err(|error| in_file(error, &self.table.location, &slice.path))
        });
        let looks = stream::iter(looks.collect::<Vec<_>>());
        let files = looks.buffered(AHEAD).try_collect().await?;
        let batches = self.counted(reader.open_all(files)?);
        let blamed = batches.or_else(move |error| {
            let (files, reader) = (Arc::clone(&self), Arc::clone(&reader));
            let slices = slices.clone();
            async move { Err(files.blame(&reader, &slices, error).await) }
        });
        Ok(blamed.boxed())
    }

    /// The error of slices that were opened as one, with the file that is at fault: the first that
    /// cannot be read by itself.
    async fn blame(&self, reader: &parquet::Reader, slices: &[FileSlice], error: Error) -> Error {
        let of_a_file = matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Store);
        for slice in slices.iter().filter(|_| of_a_file) {
            let read = match reader.open(slice, None).await {
                Ok(opened) => opened.batches.try_for_each(|_| async { Ok(()) }).await,
                Err(error) => Err(error),
            };
            if let Err(error) = read {
                return in_file(error, &self.table.location, &slice.path);
            }
        }
        let shown = |slice: Option<&FileSlice>| {
            slice.map(|slice| self.table.location.shown(&slice.path)).unwrap_or_default()
        };
        let (first, last) = (shown(slices.first()), shown(slices.last()));
        error.context(format!("input files {first} to {last}"))
    }

    /// The rows; at their end, what was counted on the way is counted here.
    fn counted(&self, opened: Opened) -> Batches {
        let (plan, metrics) = (Arc::clone(opened.plan()), self.metrics.clone());
        let counted = stream::once(async move {
            count(&metrics, &Opened::metrics(&plan));
            None
        });
        opened.batches.chain(counted.filter_map(|nothing| async move { nothing })).boxed()
    }
}

/// Counts what the source of some slices counted, but for what the scan counts itself.
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
    let counted = counted.aggregate_by_name();
    for metric in counted.iter().filter(|metric| !OWN.contains(&metric.value().name())) {
        metrics.register(Arc::clone(metric));
    }
}
