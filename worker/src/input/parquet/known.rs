//! Readers of files whose ends are known: what these say comes with the files.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use datafusion::{
    datasource::{
        listing::PartitionedFile,
        physical_plan::parquet::{DefaultParquetFileReaderFactory, ParquetFileReaderFactory},
    },
    error::Result,
    parquet::{
        arrow::{arrow_reader::ArrowReaderOptions, async_reader::AsyncFileReader},
        errors::Result as ParquetResult,
        file::metadata::ParquetMetaData,
    },
    physical_plan::metrics::ExecutionPlanMetricsSet,
};
use futures::{FutureExt, future::BoxFuture};
use keyloom_common::Error;
use object_store::ObjectStore;

/// Makes readers of files that have a [`ParquetMetaData`] among their extensions.
#[derive(Debug)]
pub(super) struct KnownEnds(DefaultParquetFileReaderFactory);

impl KnownEnds {
    pub(super) fn of(store: &Arc<dyn ObjectStore>) -> Self {
        Self(DefaultParquetFileReaderFactory::new(Arc::clone(store)))
    }
}

impl ParquetFileReaderFactory for KnownEnds {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let end = file.extensions.get_arc::<ParquetMetaData>();
        let end = end.ok_or_else(|| Error::internal("a file is opened before its end is read"))?;
        let reader = self.0.create_reader(partition, file, size_hint, metrics)?;
        Ok(Box::new(Reader { reader, end }))
    }
}

struct Reader {
    reader: Box<dyn AsyncFileReader + Send>,
    end: Arc<ParquetMetaData>,
}

impl AsyncFileReader for Reader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        self.reader.get_bytes(range)
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        self.reader.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async { Ok(Arc::clone(&self.end)) }.boxed()
    }
}
