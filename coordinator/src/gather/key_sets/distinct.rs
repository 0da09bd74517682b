//! The distinct ones of keys that come in batches, in bounded memory.

use std::{mem, sync::Arc};

use arrow::{
    array::{RecordBatch, UInt32Array},
    compute::take_record_batch,
    datatypes::SchemaRef,
};
use datafusion::{
    execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation},
    logical_expr::EmitTo,
    physical_plan::aggregates::{
        group_values::{GroupValues, new_group_values},
        order::GroupOrdering,
    },
};
use keyloom_common::{Result, size::batch_bytes};

use super::no_set::NoSet;

/// The most bytes of strings that one array of keys holds.
const ARRAY_BYTES: u64 = i32::MAX as u64;

/// Rows that came so far, each once.
pub(super) struct Distinct {
    schema: SchemaRef,
    keys: Box<dyn GroupValues>,
    /// Which of them the rows of the last batch are.
    numbers: Vec<usize>,
    bytes: u64,
    most: u64,
    memory: MemoryReservation,
}

impl Distinct {
    /// None yet, and at most so many bytes of them. What finding them takes comes from the pool.
    pub(super) fn try_new(
        schema: SchemaRef,
        most: u64,
        pool: &Arc<dyn MemoryPool>,
    ) -> Result<Self> {
        let keys = new_group_values(Arc::clone(&schema), &GroupOrdering::None)?;
        let memory = MemoryConsumer::new("the set of a job's keys").register(pool);
        Ok(Self { schema, keys, numbers: Vec::new(), bytes: 0, most, memory })
    }

    /// Adds those of a batch.
    ///
    /// # Errors
    /// If they are too many then, or finding them takes more than the pool has.
    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<(), NoSet> {
        // All of them may be new.
        self.check(self.bytes.saturating_add(batch_bytes(batch) as u64), ARRAY_BYTES)?;
        let before = self.keys.len();
        self.keys.intern(batch.columns(), &mut self.numbers)?;
        self.bytes += batch_bytes(&take_record_batch(batch, &self.new_rows(before))?) as u64;
        let memory = self.memory.try_resize(self.keys.size());
        memory.map_err(|full| NoSet::NoRoom(full.into()))?;
        self.check(self.bytes, self.most)
    }

    /// All of them, in batches of so many rows.
    pub(super) fn finish(mut self, batch_rows: usize) -> Result<Vec<RecordBatch>> {
        if self.keys.is_empty() {
            return Ok(Vec::new());
        }
        let all = RecordBatch::try_new(self.schema, self.keys.emit(EmitTo::All)?)?;
        let starts = (0..all.num_rows()).step_by(batch_rows.max(1));
        let piece = |start| all.slice(start, batch_rows.min(all.num_rows() - start));
        Ok(starts.map(piece).collect())
    }

    /// For each key that the last batch brought, where it is there.
    fn new_rows(&self, before: usize) -> UInt32Array {
        let mut is_new = vec![true; self.keys.len() - before];
        let rows = self.numbers.iter().zip(0..).filter_map(|(number, row)| {
            let is_new = is_new.get_mut(number.checked_sub(before)?)?;
            mem::take(is_new).then_some(row)
        });
        UInt32Array::from_iter_values(rows)
    }

    fn check(&self, bytes: u64, most: u64) -> Result<(), NoSet> {
        if bytes <= most {
            return Ok(());
        }
        Err(NoSet::TooMany { keys: self.keys.len(), bytes: most, most: self.most })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::{
        array::{ArrayRef, Int64Array, StringArray, StringViewArray, StructArray},
        datatypes::{DataType, Field, Schema},
    };
    use datafusion::execution::memory_pool::{GreedyMemoryPool, UnboundedMemoryPool};

    const ENOUGH: u64 = 1 << 20;

    fn unbounded() -> Arc<dyn MemoryPool> {
        Arc::new(UnboundedMemoryPool::default())
    }

    fn schema(data_type: &DataType) -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("key", data_type.clone(), true)]))
    }

    fn batch(keys: &ArrayRef) -> RecordBatch {
        RecordBatch::try_new(schema(keys.data_type()), vec![Arc::clone(keys)]).unwrap()
    }

    /// The distinct ones of batches, in batches of two rows.
    fn distinct(
        batches: &[ArrayRef],
        most: u64,
        pool: &Arc<dyn MemoryPool>,
    ) -> Result<Vec<ArrayRef>, NoSet> {
        let mut distinct = Distinct::try_new(schema(batches[0].data_type()), most, pool)?;
        batches.iter().try_for_each(|keys| distinct.add(&batch(keys)))?;
        let batches = distinct.finish(2)?;
        Ok(batches.iter().map(|batch| Arc::clone(batch.column(0))).collect())
    }

    fn ints(keys: &[Option<i64>]) -> ArrayRef {
        Arc::new(Int64Array::from(keys.to_vec()))
    }

    fn numbers(range: std::ops::Range<i64>) -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(range))
    }

    #[test]
    fn each_key_is_there_once_in_batches_of_the_wanted_size() {
        let batches = [ints(&[Some(4), None, Some(4)]), ints(&[]), ints(&[None, Some(1), Some(4)])];
        let expected = [ints(&[Some(4), None]), ints(&[Some(1)])];
        assert_eq!(distinct(&batches, ENOUGH, &unbounded()).unwrap(), expected);
        assert_eq!(distinct(&[ints(&[])], ENOUGH, &unbounded()).unwrap(), [] as [ArrayRef; 0]);
    }

    #[test]
    fn texts_and_keys_of_several_parts_are_told_apart_by_value() {
        let texts = |texts: &[&str]| -> ArrayRef { Arc::new(StringArray::from(texts.to_vec())) };
        let batches = [texts(&["a", "b"]), texts(&["b", "a"]), texts(&["c"])];
        let expected = [texts(&["a", "b"]), texts(&["c"])];
        assert_eq!(distinct(&batches, ENOUGH, &unbounded()).unwrap(), expected);

        let views =
            |texts: &[&str]| -> ArrayRef { Arc::new(StringViewArray::from(texts.to_vec())) };
        let expected = distinct(&[views(&["a", "b", "a"])], ENOUGH, &unbounded()).unwrap();
        assert_eq!(expected, [views(&["a", "b"])]);

        let pairs = |shops: &[&str], articles: &[i64]| -> ArrayRef {
            let articles: ArrayRef = Arc::new(Int64Array::from(articles.to_vec()));
            Arc::new(
                StructArray::try_from(vec![("shop", texts(shops)), ("article", articles)]).unwrap(),
            )
        };
        let batches = [pairs(&["a", "a"], &[1, 2]), pairs(&["a", "b"], &[2, 1])];
        let expected = [pairs(&["a", "a"], &[1, 2]), pairs(&["b"], &[1])];
        assert_eq!(distinct(&batches, ENOUGH, &unbounded()).unwrap(), expected);
    }

    #[test]
    fn there_are_no_more_than_the_bound_allows_however_often_they_come() {
        let often = [numbers(0..100), numbers(0..100), numbers(50..100)];
        assert_eq!(distinct(&often, 1000, &unbounded()).unwrap().len(), 50);
        let many = [numbers(0..100), numbers(100..200)];
        let error = distinct(&many, 1000, &unbounded()).unwrap_err();
        assert_eq!(error, NoSet::TooMany { keys: 200, bytes: 1000, most: 1000 });
    }

    #[test]
    fn finding_them_takes_of_the_jobs_memory() {
        let small: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(64 << 10));
        let error = distinct(&[numbers(0..100_000)], ENOUGH, &small).unwrap_err();
        assert!(matches!(error, NoSet::NoRoom(_)), "{error}");
        assert_eq!(small.reserved(), 0);
    }
}
