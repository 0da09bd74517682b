//! What is done to batches whatever they were read from: rows are counted, large batches cut, small
//! ones put together.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::RecordBatch,
    compute::BatchCoalescer,
    datatypes::{DataType, SchemaRef},
};
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use keyloom_common::{Error, Result, size::batch_bytes};

/// The most bytes of batches that are put together.
const TOGETHER_BYTES: usize = 8 << 20;

pub(super) type Batches = BoxStream<'static, Result<RecordBatch>>;

/// A batch in batches of a bounded number of rows.
pub(super) fn cut(batch: RecordBatch, rows: usize) -> Vec<RecordBatch> {
    if batch.num_rows() <= rows {
        return vec![batch];
    }
    let starts = (0..batch.num_rows()).step_by(rows.max(1));
    starts.map(|start| batch.slice(start, rows.min(batch.num_rows() - start))).collect()
}

/// The same rows in batches of a bounded number of rows, small ones put together.
pub(super) fn put_together(batches: Batches, schema: &SchemaRef, rows: usize) -> Batches {
    if !schema.fields().iter().all(|field| goes_together(field.data_type())) {
        return batches;
    }
    let rows = rows.max(1);
    let coalescer = BatchCoalescer::new(Arc::clone(schema), rows);
    let coalescer = coalescer.with_biggest_coalesce_batch_size(Some(rows / 2));
    let together = Together { batches, coalescer, bytes: 0, large: None };
    stream::try_unfold(together, |mut together| async move {
        Ok(together.next().await?.map(|batch| (batch, together)))
    })
    .boxed()
}

struct Together {
    batches: Batches,
    coalescer: BatchCoalescer,
    /// The bytes of the rows that wait for others, or more.
    bytes: usize,
    /// A batch that nothing is put to, behind those rows.
    large: Option<RecordBatch>,
}

impl Together {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.coalescer.next_completed_batch() {
                return Ok(Some(batch));
            }
            if let Some(large) = self.large.take() {
                return Ok(Some(large));
            }
            match self.batches.try_next().await? {
                Some(batch) => self.push(batch)?,
                None if self.coalescer.is_empty() => return Ok(None),
                None => self.coalescer.finish_buffered_batch()?,
            }
        }
    }

    fn push(&mut self, batch: RecordBatch) -> Result<()> {
        let bytes = batch_bytes(&batch);
        if self.bytes + bytes > TOGETHER_BYTES {
            self.coalescer.finish_buffered_batch()?;
            self.bytes = 0;
        }
        if bytes > TOGETHER_BYTES {
            self.large = Some(batch);
            return Ok(());
        }
        self.coalescer.push_batch(batch)?;
        let waiting = if self.coalescer.has_completed_batch() { 0 } else { self.bytes };
        self.bytes = waiting + bytes;
        Ok(())
    }
}

/// Whether arrays of a type can be put together whatever is in them: dictionaries of many files may
/// have more values than one can hold.
fn goes_together(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => goes_together(field.data_type()),
        DataType::Struct(fields) => fields.iter().all(|field| goes_together(field.data_type())),
        DataType::Dictionary(..)
        | DataType::ListView(_)
        | DataType::LargeListView(_)
        | DataType::RunEndEncoded(..)
        | DataType::Union(..) => false,
        _ => true,
    }
}

/// The rows at some places of a stream.
pub(super) fn window(batches: Batches, wanted: Range<usize>) -> Batches {
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
        array::{ArrayRef, AsArray, DictionaryArray, Int64Array, RecordBatchOptions, StringArray},
        datatypes::{Int8Type, Int64Type, Schema},
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

    async fn together(batches: Vec<RecordBatch>, rows: usize) -> Vec<RecordBatch> {
        let schema = batches[0].schema();
        let batches = stream::iter(batches).map(Ok).boxed();
        put_together(batches, &schema, rows).try_collect().await.unwrap()
    }

    #[tokio::test]
    async fn small_batches_are_put_together() {
        let batch = |numbers: Range<i64>| {
            let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
            RecordBatch::try_from_iter([("n", numbers)]).unwrap()
        };
        let parts = [0..1, 1..3, 3..3, 3..5, 5..12, 12..13].map(batch).into();
        assert_eq!(
            together(parts, 4).await,
            [batch(0..4), batch(4..8), batch(8..12), batch(12..13)]
        );
        let options = RecordBatchOptions::new().with_row_count(Some(2));
        let none = Arc::new(Schema::empty());
        let bare = RecordBatch::try_new_with_options(none, Vec::new(), &options).unwrap();
        let rows = together(vec![bare; 3], 4).await;
        assert_eq!(rows.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [4, 2]);
    }

    #[tokio::test]
    async fn dictionaries_stay_apart() {
        let batch = |from: i64| {
            let words: Vec<_> = (from..from + 100).map(|number| number.to_string()).collect();
            let values: DictionaryArray<Int8Type> = words.iter().map(String::as_str).collect();
            let values: ArrayRef = Arc::new(values);
            RecordBatch::try_from_iter([("d", values)]).unwrap()
        };
        let parts = vec![batch(0), batch(100)];
        assert_eq!(together(parts.clone(), 400).await, parts);
    }

    #[tokio::test]
    async fn a_bounded_number_of_bytes_is_put_together() {
        let batch = |bytes: usize| {
            let text: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(bytes)]));
            RecordBatch::try_from_iter([("t", text)]).unwrap()
        };
        let (small, large) = (3 << 20, 9 << 20);
        let parts = [small, small, small, large, small, large].map(batch).into();
        let rows = together(parts, 100).await;
        let rows: Vec<_> = rows.iter().map(RecordBatch::num_rows).collect();
        assert_eq!(rows, [2, 1, 1, 1, 1]);
    }
}
