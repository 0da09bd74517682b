//! A request table of many columns in many small row groups.

use std::{fs::File, io::BufWriter, ops::Range, path::Path, sync::Arc};

use anyhow::Result;
use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use datafusion::parquet::{
    arrow::ArrowWriter,
    file::properties::{EnabledStatistics, WriterProperties},
};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::{Scale, keys::KeyKind, stores::KEY};

/// Row groups at scale 1.
pub(crate) const GROUPS: u64 = 10_000;
/// Rows of a row group.
pub(crate) const GROUP_ROWS: u64 = 10;
/// Columns beside the key.
const COLUMNS: usize = 499;
/// Rows at scale 1 of the store whose keys are drawn.
const KEYS: u64 = 1_000_000;

/// Writes the table in about so many files, or as many as there are row groups.
pub(super) fn write(folder: &Path, files: u64, scale: Scale, seed: u64) -> Result<()> {
    let (groups, keys) = (scale.rows(GROUPS), scale.rows(KEYS));
    let of_a_file = groups.div_ceil(files);
    let schema = schema();
    let mut random = SmallRng::seed_from_u64(seed);
    for file in 0..groups.div_ceil(of_a_file) {
        let path = folder.join(format!("{file:05}.parquet"));
        let groups = file * of_a_file..groups.min((file + 1) * of_a_file);
        write_file(&path, &schema, groups, || random.random_range(0..keys))?;
    }
    Ok(())
}

fn schema() -> SchemaRef {
    let numbers = (0..COLUMNS).map(|column| format!("c{column:03}"));
    let numbers = numbers.map(|name| Field::new(name, DataType::Int64, true));
    let fields = std::iter::once(Field::new(KEY, DataType::Utf8, true)).chain(numbers);
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Like what most writers make: row groups have statistics, pages have no index.
fn write_file(
    path: &Path,
    schema: &SchemaRef,
    groups: Range<u64>,
    mut key: impl FnMut() -> u64,
) -> Result<()> {
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .build();
    let file = BufWriter::new(File::create(path)?);
    let mut writer = ArrowWriter::try_new(file, Arc::clone(schema), Some(properties))?;
    for group in groups {
        let keys: Vec<_> = (0..GROUP_ROWS).map(|_| key()).collect();
        let rows = group * GROUP_ROWS..(group + 1) * GROUP_ROWS;
        let numbers = Int64Array::from_iter_values(rows.map(u64::cast_signed));
        let mut columns = vec![KeyKind::Text.array(keys.into_iter())];
        columns.resize(1 + COLUMNS, Arc::new(numbers) as ArrayRef);
        writer.write(&RecordBatch::try_new(Arc::clone(schema), columns)?)?;
        writer.flush()?;
    }
    writer.close()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow::compute::concat_batches;
    use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    /// The rows of some files, and how many row groups these have.
    fn read(folder: &Path) -> Result<(RecordBatch, usize)> {
        let entries = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
        let mut paths = entries.collect::<Result<Vec<_>>>()?;
        paths.sort();
        let (mut batches, mut groups) = (Vec::new(), 0);
        for path in paths {
            let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
            groups += reader.metadata().num_row_groups();
            batches.extend(reader.build()?.collect::<Result<Vec<_>, _>>()?);
        }
        Ok((concat_batches(&batches[0].schema(), &batches)?, groups))
    }

    #[test]
    fn the_rows_are_the_same_in_any_number_of_files() -> Result<()> {
        let written = |files: u64| -> Result<_> {
            let folder = tempfile::tempdir()?;
            write(folder.path(), files, Scale(0.0005), 1)?;
            read(folder.path())
        };
        let (one, groups) = written(1)?;
        assert_eq!((one.num_rows(), one.num_columns(), groups), (50, 500, 5));
        assert_eq!(written(2)?, (one.clone(), 5));
        assert_eq!(written(100)?, (one, 5));
        Ok(())
    }
}
