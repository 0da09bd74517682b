//! A request table in several Parquet files of several row groups, once or many times over.

use std::{
    fs::{self, File},
    io::BufWriter,
    path::Path,
};

use anyhow::Result;
use arrow::array::RecordBatch;
use datafusion::parquet::{arrow::ArrowWriter, file::properties::WriterProperties};

/// In how many files the rows are.
const FILES: usize = 10;
/// The most rows of a row group.
const GROUP_ROWS: usize = 100_000;

/// Writes the rows, in the order of the files' names.
pub(super) fn write(folder: &Path, batch: &RecordBatch) -> Result<()> {
    let rows = batch.num_rows();
    let of_a_file = rows.div_ceil(FILES).max(1);
    for (file, start) in (0..rows).step_by(of_a_file).enumerate() {
        let properties =
            WriterProperties::builder().set_max_row_group_row_count(Some(GROUP_ROWS)).build();
        let path = folder.join(format!("{file:02}.parquet"));
        let target = BufWriter::new(File::create(path)?);
        let mut writer = ArrowWriter::try_new(target, batch.schema(), Some(properties))?;
        writer.write(&batch.slice(start, of_a_file.min(rows - start)))?;
        writer.close()?;
    }
    Ok(())
}

/// Gives each file of a folder so many names in another: the rows take their room once.
pub(super) fn link(from: &Path, to: &Path, times: u64) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        for time in 0..times {
            let name = format!("{time:03}-{}", entry.file_name().to_string_lossy());
            fs::hard_link(entry.path(), to.join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};
    use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    /// How many rows each file of a folder has, in the order of their names.
    fn rows(folder: &Path) -> Result<Vec<i64>> {
        let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
        let mut paths = entries.collect::<Result<Vec<_>>>()?;
        paths.sort();
        let rows = paths.into_iter().map(|path| {
            let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
            Ok(reader.metadata().file_metadata().num_rows())
        });
        rows.collect()
    }

    #[test]
    fn all_rows_are_written_and_linked_as_often_as_wanted() -> Result<()> {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..95));
        let batch = RecordBatch::try_from_iter([("n", numbers)])?;
        let (once, thrice) = (tempfile::tempdir()?, tempfile::tempdir()?);
        write(once.path(), &batch)?;
        assert_eq!(rows(once.path())?, [10, 10, 10, 10, 10, 10, 10, 10, 10, 5]);
        link(once.path(), thrice.path(), 3)?;
        let linked = rows(thrice.path())?;
        assert_eq!((linked.len(), linked.iter().sum::<i64>()), (30, 3 * 95));
        Ok(())
    }
}
