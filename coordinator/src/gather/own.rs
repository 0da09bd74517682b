//! Rows in memory of their own, for operators that keep them.
//!
//! DataFusion's operators count of each batch all the memory that it holds on to: slices of one
//! table count as the whole table each, and rows of one chunk as the chunk. A join of a table that
//! has plenty of room would be refused.

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    compute::concat,
};
use datafusion::common::utils::memory::get_record_batch_memory_size;
use keyloom_common::{Result, ipc::compact_views, size::batch_bytes};

/// How many times the bytes of its rows a batch may hold.
const SHARED: usize = 2;

/// The same rows, copied where they hold much memory that is of others.
///
/// # Errors
/// Arrow's, if the rows are damaged.
pub(super) fn own(batch: RecordBatch) -> Result<RecordBatch> {
    if get_record_batch_memory_size(&batch) <= SHARED * batch_bytes(&batch) {
        return Ok(batch);
    }
    let columns = batch.columns().iter().map(|column| {
        let column = compact_views(column)?;
        // One array alone is not copied. A dictionary's values stay: it is the same in both.
        concat(&[&column, &column.slice(0, 0)])
    });
    let columns = columns.collect::<std::result::Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(batch.schema(), columns, &options)?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, AsArray, DictionaryArray, Int64Array, ListArray, StringArray, StringViewArray,
    };
    use arrow::datatypes::{Int32Type, Int64Type};

    use super::*;

    const ROWS: i64 = 10_000;

    fn table() -> RecordBatch {
        let texts = || (0..ROWS).map(|row| format!("a text that is not short: {row}"));
        let lists = (0..ROWS).map(|row| (row % 3 > 0).then(|| vec![Some(row), None]));
        let words: Vec<_> = texts().collect();
        let words: DictionaryArray<Int32Type> =
            words.iter().map(|word| Some(word.as_str())).collect();
        let columns: [(&str, ArrayRef); 5] = [
            ("id", Arc::new(Int64Array::from_iter_values(0..ROWS))),
            ("text", Arc::new(StringArray::from_iter_values(texts()))),
            ("view", Arc::new(StringViewArray::from_iter_values(texts()))),
            ("list", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists))),
            ("word", Arc::new(words)),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))
            .unwrap()
    }

    #[test]
    fn slices_hold_their_own_rows_alone() {
        let table = table();
        for (start, rows) in [(0, 100), (4_321, 1), (9_000, 1_000)] {
            let slice = table.slice(start, rows);
            let owned = own(slice.clone()).unwrap();
            assert_eq!(owned, slice);
            let words = |batch: &RecordBatch| batch.column(4).as_any_dictionary().values().len();
            assert_eq!(words(&owned), words(&slice), "the dictionary is the same");
            let (owned, slice) =
                (owned.project(&[0, 1, 2, 3]).unwrap(), slice.project(&[0, 1, 2, 3]).unwrap());
            let (held, before) =
                (get_record_batch_memory_size(&owned), get_record_batch_memory_size(&slice));
            assert!(held * 5 < before, "{rows} rows from {start}: {held} of {before} bytes");
        }
    }

    #[test]
    fn rows_that_hold_no_others_are_not_copied() {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..ROWS));
        let batch = RecordBatch::try_from_iter([("id", ids)]).unwrap();
        let owned = own(batch.clone()).unwrap();
        let at = |batch: &RecordBatch| batch.column(0).to_data().buffers()[0].as_ptr();
        assert_eq!(at(&owned), at(&batch));
    }

    #[test]
    fn rows_without_columns_stay() {
        let none = table().project(&[]).unwrap().slice(3, 7);
        assert_eq!(own(none.clone()).unwrap(), none);
    }
}
