//! From values to the result: columns in the order of the request table, copied once.

use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, FixedSizeListArray, Float32Array, ListArray,
        RecordBatch, StructArray, new_null_array,
    },
    buffer::{BooleanBuffer, NullBuffer, OffsetBuffer, ScalarBuffer},
    compute::interleave,
    datatypes::{DataType, Field, Fields, Float32Type},
};

use super::{fetch::RowValues, locate::ABSENT, wanted::Wanted};

/// Rows of a store as the rows of a request table ask for them.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) wanted: Arc<Wanted>,
    /// For each slot its place in `fetched`, or [`ABSENT`].
    pub(super) places: Vec<u32>,
    /// `None` if only existence was asked.
    pub(super) fetched: Option<RowValues>,
}

/// Which rows a piece of the result asks for.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// Rows of the flattened key column.
    pub(super) keys: std::ops::Range<usize>,
    /// Where the lists of keys end, counted from the start of the piece, if keys come in lists.
    pub(super) offsets: Option<OffsetBuffer<i32>>,
}

impl Source {
    fn places(&self, piece: &Piece) -> impl ExactSizeIterator<Item = u32> {
        let slots = &self.wanted.slots()[piece.keys.clone()];
        slots.iter().map(|slot| self.places[*slot as usize])
    }

    /// Whether the store holds each key.
    pub(super) fn exists(&self, piece: &Piece) -> ArrayRef {
        let held = BooleanBuffer::from_iter(self.places(piece).map(|place| place != ABSENT));
        Arc::new(BooleanArray::new(held, None))
    }

    /// The columns of each key's row as a struct, null if the store does not hold it.
    pub(super) fn rows(&self, columns: &[&str], piece: &Piece) -> Result<ArrayRef> {
        let fetched = self.fetched.as_ref().context("values that were not fetched")?;
        // One more array, of one null, stands behind the batches.
        let nothing = (fetched.batches.len(), 0);
        let indices = self.places(piece).map(|place| match place {
            ABSENT => nothing,
            place => {
                let (batch, row) = fetched.places[place as usize];
                (batch as usize, row as usize)
            }
        });
        let indices: Vec<_> = indices.collect();
        let mut fields = Vec::with_capacity(columns.len());
        let mut arrays = Vec::with_capacity(columns.len());
        for column in columns {
            let array = gather(&fetched.batches, column, &indices)?;
            fields.push(Field::new(*column, array.data_type().clone(), true));
            arrays.push(array);
        }
        let held = BooleanBuffer::from_iter(indices.iter().map(|index| *index != nothing));
        let nulls = Some(NullBuffer::new(held)).filter(|nulls| nulls.null_count() > 0);
        let rows = StructArray::try_new(Fields::from(fields), arrays, nulls)?;
        let Some(offsets) = &piece.offsets else { return Ok(Arc::new(rows)) };
        let field = Arc::new(Field::new("item", rows.data_type().clone(), true));
        Ok(Arc::new(ListArray::try_new(field, offsets.clone(), Arc::new(rows), None)?))
    }
}

fn gather(batches: &[RecordBatch], column: &str, indices: &[(usize, usize)]) -> Result<ArrayRef> {
    let columns = batches.iter().map(|batch| batch.column_by_name(column));
    let columns: Vec<&ArrayRef> =
        columns.collect::<Option<_>>().context("a column that was not fetched")?;
    let Some(first) = columns.first() else {
        anyhow::bail!("no row was found");
    };
    if let Some(vectors) = vectors(&columns) {
        return gather_vectors(&vectors, indices);
    }
    let null = new_null_array(first.data_type(), 1);
    let arrays: Vec<&dyn Array> =
        columns.into_iter().chain([&null]).map(|array| array.as_ref()).collect();
    Ok(interleave(&arrays, indices)?)
}

/// The columns as vectors of floats, if that is what all of them are and none is null.
fn vectors<'a>(columns: &[&'a ArrayRef]) -> Option<Vec<&'a FixedSizeListArray>> {
    let vectors = columns.iter().map(|column| {
        let vectors = column.as_fixed_size_list_opt()?;
        let whole = vectors.null_count() == 0 && vectors.values().null_count() == 0;
        (whole && *vectors.values().data_type() == DataType::Float32).then_some(vectors)
    });
    vectors.collect()
}

/// What `interleave` does, which for vectors goes value by value.
fn gather_vectors(vectors: &[&FixedSizeListArray], indices: &[(usize, usize)]) -> Result<ArrayRef> {
    let width = vectors[0].value_length();
    let size = usize::try_from(width)?;
    let values: Vec<&[f32]> = vectors
        .iter()
        .map(|vectors| vectors.values().as_primitive::<Float32Type>().values().as_ref())
        .collect();
    let mut gathered = Vec::with_capacity(indices.len() * size);
    for (batch, row) in indices {
        match values.get(*batch) {
            Some(values) => gathered.extend_from_slice(&values[row * size..(row + 1) * size]),
            None => gathered.resize(gathered.len() + size, 0.0),
        }
    }
    let held = BooleanBuffer::from_iter(indices.iter().map(|(batch, _)| *batch < values.len()));
    let nulls = Some(NullBuffer::new(held)).filter(|nulls| nulls.null_count() > 0);
    let DataType::FixedSizeList(element, _) = vectors[0].data_type() else {
        anyhow::bail!("vectors that are none");
    };
    let gathered = Arc::new(Float32Array::new(ScalarBuffer::from(gathered), None));
    Ok(Arc::new(FixedSizeListArray::try_new(Arc::clone(element), width, gathered, nulls)?))
}
