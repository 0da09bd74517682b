//! Rows as they are written: of string and binary views, no more bytes than the rows have.
//!
//! Arrow writes all buffers that views point into, and slices of an array share those of all of it.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, FixedSizeListArray, GenericByteViewArray, GenericListArray,
        MapArray, OffsetSizeTrait, RecordBatch, StructArray,
    },
    buffer::OffsetBuffer,
    datatypes::{ByteViewType, DataType, FieldRef, Fields},
    error::ArrowError,
};

use crate::size::views_bytes;

/// How many times the bytes of their values buffers may hold.
const SPARSE: usize = 2;

/// The same rows, whose views point into buffers of their own where those they share are much larger.
pub(super) fn compact(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let fields = batch.schema_ref().fields();
    if !fields.iter().any(|field| has_views(field.data_type())) {
        return Ok(batch.clone());
    }
    let columns = batch.columns().iter().map(compact_array).collect::<Result<_, _>>()?;
    RecordBatch::try_new(batch.schema(), columns)
}

fn has_views(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8View | DataType::BinaryView => true,
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => has_views(field.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_views(field.data_type())),
        _ => false,
    }
}

fn compact_array(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if !has_views(array.data_type()) {
        return Ok(Arc::clone(array));
    }
    Ok(match array.data_type() {
        DataType::Utf8View => compact_views(array, array.as_string_view()),
        DataType::BinaryView => compact_views(array, array.as_binary_view()),
        DataType::Struct(fields) => Arc::new(compact_struct(fields, array.as_struct())?),
        DataType::List(field) => compact_list(field, array.as_list::<i32>())?,
        DataType::LargeList(field) => compact_list(field, array.as_list::<i64>())?,
        DataType::FixedSizeList(field, size) => {
            let lists = array.as_fixed_size_list();
            let values = compact_array(lists.values())?;
            let nulls = lists.nulls().cloned();
            let lists = FixedSizeListArray::try_new_with_length(
                Arc::clone(field),
                *size,
                values,
                nulls,
                lists.len(),
            )?;
            Arc::new(lists)
        }
        DataType::Map(field, sorted) => {
            let maps = array.as_map();
            let (offsets, first, length) = rebased(maps.offsets());
            let entries = maps.entries().slice(first, length);
            let entries = compact_struct(entries.fields(), &entries)?;
            let nulls = maps.nulls().cloned();
            Arc::new(MapArray::try_new(Arc::clone(field), offsets, entries, nulls, *sorted)?)
        }
        _ => Arc::clone(array),
    })
}

fn compact_views<T: ByteViewType>(array: &ArrayRef, views: &GenericByteViewArray<T>) -> ArrayRef {
    let held: usize = views.data_buffers().iter().map(|buffer| buffer.len()).sum();
    match held > SPARSE * views_bytes(views.views()) {
        true => Arc::new(views.gc()),
        false => Arc::clone(array),
    }
}

fn compact_struct(fields: &Fields, array: &StructArray) -> Result<StructArray, ArrowError> {
    let columns = array.columns().iter().map(compact_array).collect::<Result<_, _>>()?;
    StructArray::try_new_with_length(fields.clone(), columns, array.nulls().cloned(), array.len())
}

/// Lists with the elements of their own alone.
fn compact_list<O: OffsetSizeTrait>(
    field: &FieldRef,
    lists: &GenericListArray<O>,
) -> Result<ArrayRef, ArrowError> {
    let (offsets, first, length) = rebased(lists.offsets());
    let values = compact_array(&lists.values().slice(first, length))?;
    let nulls = lists.nulls().cloned();
    Ok(Arc::new(GenericListArray::try_new(Arc::clone(field), offsets, values, nulls)?))
}

/// Offsets that begin at 0, with the first element of the old ones and the number of them.
fn rebased<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>) -> (OffsetBuffer<O>, usize, usize) {
    let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
    let rebased = offsets.iter().map(|offset| *offset - first).collect();
    (OffsetBuffer::new(rebased), first.as_usize(), (last - first).as_usize())
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use arrow::{
        array::{
            BinaryViewArray, FixedSizeListBuilder, ListBuilder, MapBuilder, StringViewArray,
            StringViewBuilder,
        },
        datatypes::{Field, Schema},
    };

    use super::*;
    use crate::ipc::{decode_all, encode_all};

    const ROWS: usize = 1000;

    fn text(row: usize) -> String {
        format!("a text that does not stand in its view: {row}")
    }

    /// A column of each type that holds views.
    fn columns() -> Vec<ArrayRef> {
        let texts: Vec<_> = (0..ROWS).map(text).collect();
        let words: ArrayRef = Arc::new(StringViewArray::from_iter_values(&texts));
        let bytes: ArrayRef = Arc::new(BinaryViewArray::from_iter_values(&texts));
        let mut lists = ListBuilder::new(StringViewBuilder::new());
        let mut pairs = FixedSizeListBuilder::new(StringViewBuilder::new(), 2);
        let mut maps = MapBuilder::new(None, StringViewBuilder::new(), StringViewBuilder::new());
        for (row, text) in texts.iter().enumerate() {
            for _ in 0..row % 3 {
                lists.values().append_value(text);
            }
            lists.append(row % 5 > 0);
            pairs.values().append_value(text);
            pairs.values().append_null();
            pairs.append(row % 5 > 0);
            maps.keys().append_value(text);
            maps.values().append_value(text);
            maps.append(row % 5 > 0).expect("a value for each key");
        }
        let field = Arc::new(Field::new("w", DataType::Utf8View, true));
        let structs = StructArray::from(vec![(field, Arc::clone(&words))]);
        let nested: [ArrayRef; 4] = [
            Arc::new(lists.finish()),
            Arc::new(pairs.finish()),
            Arc::new(maps.finish()),
            Arc::new(structs),
        ];
        [words, bytes].into_iter().chain(nested).collect()
    }

    #[test]
    fn slices_are_written_with_the_bytes_of_their_rows() {
        for column in columns() {
            let field = Field::new("c", column.data_type().clone(), true);
            let schema = Arc::new(Schema::new(vec![field]));
            let batch =
                RecordBatch::try_new(Arc::clone(&schema), vec![column]).expect("one column");
            let whole = encode_all(&schema, from_ref(&batch)).expect("an encoding");
            let slices: Vec<_> = (0..10).map(|slice| batch.slice(slice * 100, 100)).collect();
            let parts = encode_all(&schema, &slices).expect("an encoding");
            let of = schema.field(0).data_type();
            assert!(parts.len() < whole.len() * 2, "{of}: {} of {}", parts.len(), whole.len());
            let (_, decoded) = decode_all(parts).expect("what was encoded");
            assert_eq!(decoded, slices, "{of}");
        }
    }
}
