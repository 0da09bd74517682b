//! The end of a local file, as Lance reads it: where the columns stand.
//!
//! Lance would open the file once more, and hand each read to another thread.

use std::{future::ready, ops::Range, sync::Arc};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use lance::Dataset;
use lance_core::deepsize::{Context, DeepSizeOf};
use lance_encoding::EncodingsIo;
use lance_file::reader::{CachedFileMetadata, FileReader};
use lance_io::{
    scheduler::{ScanScheduler, SchedulerConfig},
    traits::Reader,
};
use lance_object_store::{Error, Result, path::Path};

use super::local_reader::LocalReader;

/// What is read first of the end of a file. It is the whole end of most files of few columns.
const END_BYTES: usize = 4096;

/// A file for Lance's scheduler of reads.
#[derive(Debug)]
struct LocalFile {
    reader: Arc<LocalReader>,
    path: Path,
}

/// What stands at the end of a data file that is open.
///
/// # Errors
/// Those of the file, and `InvalidInput` if it is none of Lance's.
pub(super) async fn read(
    dataset: &Dataset,
    reader: Arc<LocalReader>,
    path: Path,
) -> lance::Result<CachedFileMetadata> {
    let store = dataset.object_store(None).await?;
    // What is in memory is read by the task that asks, and no other is started for it.
    let config = SchedulerConfig::max_bandwidth(&store).with_lite_scheduler();
    let file = ScanScheduler::new(store, config).open_reader(Arc::new(LocalFile { reader, path }));
    FileReader::read_all_metadata(&file).await
}

impl Reader for LocalFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn block_size(&self) -> usize {
        END_BYTES
    }

    fn io_parallelism(&self) -> usize {
        self.reader.in_flight
    }

    fn size(&self) -> BoxFuture<'_, Result<usize>> {
        let known = self.reader.file.metadata().map(|known| known.len() as usize);
        ready(known.map_err(|error| unreadable(error.into()))).boxed()
    }

    fn get_range(&self, range: Range<usize>) -> BoxFuture<'static, Result<Bytes>> {
        let range = range.start as u64..range.end as u64;
        let read = self.reader.submit_request(vec![range], 0);
        async move {
            let bytes = read.await.map_err(unreadable)?.pop();
            bytes.ok_or_else(|| unreadable(lance::Error::internal("a range was not read")))
        }
        .boxed()
    }

    fn get_all(&self) -> BoxFuture<'_, Result<Bytes>> {
        async move {
            let size = self.size().await?;
            self.get_range(0..size).await
        }
        .boxed()
    }
}

impl DeepSizeOf for LocalFile {
    /// It is kept nowhere.
    fn deep_size_of_children(&self, _context: &mut Context) -> usize {
        0
    }
}

fn unreadable(error: lance::Error) -> Error {
    Error::Generic { store: "local", source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array};
    use lance::dataset::WriteParams;
    use lance_io::local::to_local_path;

    use super::*;
    use crate::store::{
        contract::fixture::{batch, write_lance},
        lance::files::data_file::read_metadata,
    };

    #[tokio::test]
    async fn ends_of_any_length_are_read_as_by_lance_itself() {
        for (columns, is_long) in [(1, false), (200, true)] {
            let dir = tempfile::tempdir().unwrap();
            let uri = dir.path().join("rows.lance").to_string_lossy().into_owned();
            let names: Vec<String> = (0..columns).map(|at| format!("column_{at}")).collect();
            let values: ArrayRef = Arc::new(Int64Array::from_iter_values(0..3));
            let rows = names.iter().map(|name| (name.as_str(), values.clone())).collect();
            let dataset = write_lance(&uri, batch(rows), WriteParams::default()).await;
            let file = &dataset.manifest.fragments[0].files[0];
            let path = dataset.data_dir().join(file.path.as_str());
            let reader = LocalReader::open(to_local_path(&path), 1).await.unwrap();
            let end = read(&dataset, Arc::new(reader), path).await.unwrap();
            assert_eq!(end.num_footer_bytes > END_BYTES as u64, is_long, "{columns} columns");
            let expected = read_metadata(&dataset, file).await.unwrap();
            assert_eq!(end.column_metadatas, expected.column_metadatas);
            assert_eq!((end.num_rows, end.version), (3, expected.version));
        }
    }
}
