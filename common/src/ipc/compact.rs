//! Rows as they are written or kept: of string and binary views, no more bytes than the rows have.
//!
//! Arrow writes all buffers that views point into, and slices of an array share those of all of it.
//! So do rows of dictionaries the values of all.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, FixedSizeListArray,
        GenericByteViewArray, GenericListArray, MapArray, OffsetSizeTrait, PrimitiveArray,
        RecordBatch, StructArray, downcast_dictionary_array,
    },
    buffer::OffsetBuffer,
    compute::filter,
    datatypes::{
        ArrowDictionaryKeyType, ArrowNativeType, ByteViewType, DataType, FieldRef, Fields,
    },
    error::ArrowError,
};

use crate::size::views_bytes;

/// How many times the bytes of their values buffers may hold.
const SPARSE: usize = 2;

/// What is to be as small as its rows.
#[derive(Clone, Copy)]
enum What {
    /// Streams say a dictionary once, whichever of its values a batch has.
    Views,
    ViewsAndDictionaries,
}

/// The same rows, whose views point into buffers of their own where those they share are much
/// larger.
pub(super) fn compact(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let fields = batch.schema_ref().fields();
    if !fields.iter().any(|field| What::Views.is_in(field.data_type())) {
        return Ok(batch.clone());
    }
    let columns = batch.columns().iter().map(|column| What::Views.compact(column));
    RecordBatch::try_new(batch.schema(), columns.collect::<Result<_, _>>()?)
}

/// The same values, whose views point into buffers of their own where those they share are much
/// larger.
///
/// # Errors
/// Arrow's, if the array is damaged.
pub fn compact_views(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    What::Views.compact(array)
}

/// The same values for somebody who keeps them: neither their views nor their dictionaries hold
/// much that is of others.
///
/// # Errors
/// Arrow's, if the array is damaged.
pub fn compact_array(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    What::ViewsAndDictionaries.compact(array)
}

/// Whether values of a type are, or hold, values of dictionaries.
pub fn has_dictionaries(data_type: &DataType) -> bool {
    has(data_type, |data_type| matches!(data_type, DataType::Dictionary(..)))
}

/// Whether a type, or one within it, is such a type.
fn has(data_type: &DataType, is: fn(&DataType) -> bool) -> bool {
    is(data_type)
        || match data_type {
            DataType::Dictionary(_, values) => has(values, is),
            DataType::List(field)
            | DataType::LargeList(field)
            | DataType::FixedSizeList(field, _)
            | DataType::Map(field, _) => has(field.data_type(), is),
            DataType::Struct(fields) => fields.iter().any(|field| has(field.data_type(), is)),
            _ => false,
        }
}

impl What {
    fn is_in(self, data_type: &DataType) -> bool {
        let is_view =
            |data_type: &DataType| matches!(data_type, DataType::Utf8View | DataType::BinaryView);
        match self {
            Self::Views => has(data_type, is_view),
            Self::ViewsAndDictionaries => has(data_type, is_view) || has_dictionaries(data_type),
        }
    }

    fn compact(self, array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        if !self.is_in(array.data_type()) {
            return Ok(Arc::clone(array));
        }
        Ok(match array.data_type() {
            DataType::Utf8View => of_their_own(array, array.as_string_view()),
            DataType::BinaryView => of_their_own(array, array.as_binary_view()),
            DataType::Struct(fields) => Arc::new(self.compact_struct(fields, array.as_struct())?),
            DataType::List(field) => self.compact_list(field, array.as_list::<i32>())?,
            DataType::LargeList(field) => self.compact_list(field, array.as_list::<i64>())?,
            DataType::FixedSizeList(field, size) => {
                let lists = array.as_fixed_size_list();
                let values = self.compact(lists.values())?;
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
                let entries = self.compact_struct(entries.fields(), &entries)?;
                let nulls = maps.nulls().cloned();
                Arc::new(MapArray::try_new(Arc::clone(field), offsets, entries, nulls, *sorted)?)
            }
            DataType::Dictionary(..) if matches!(self, Self::ViewsAndDictionaries) => {
                let words: &dyn Array = array.as_ref();
                downcast_dictionary_array!(
                    words => self.compact_dictionary(words)?,
                    _ => Arc::clone(array),
                )
            }
            _ => Arc::clone(array),
        })
    }

    fn compact_struct(
        self,
        fields: &Fields,
        array: &StructArray,
    ) -> Result<StructArray, ArrowError> {
        let columns = array.columns().iter().map(|column| self.compact(column));
        let (columns, nulls) = (columns.collect::<Result<_, _>>()?, array.nulls().cloned());
        StructArray::try_new_with_length(fields.clone(), columns, nulls, array.len())
    }

    /// Lists with the elements of their own alone.
    fn compact_list<O: OffsetSizeTrait>(
        self,
        field: &FieldRef,
        lists: &GenericListArray<O>,
    ) -> Result<ArrayRef, ArrowError> {
        let (offsets, first, length) = rebased(lists.offsets());
        let values = self.compact(&lists.values().slice(first, length))?;
        let nulls = lists.nulls().cloned();
        Ok(Arc::new(GenericListArray::try_new(Arc::clone(field), offsets, values, nulls)?))
    }

    /// A dictionary with the values that are used alone.
    fn compact_dictionary<K: ArrowDictionaryKeyType>(
        self,
        array: &DictionaryArray<K>,
    ) -> Result<ArrayRef, ArrowError> {
        let used = array.occupancy();
        let mut places = vec![K::Native::usize_as(0); used.len()];
        for (place, value) in used.set_indices().enumerate() {
            places[value] = K::Native::usize_as(place);
        }
        // Where a key is null, it may be any number.
        let place = |key: K::Native| places.get(key.as_usize()).copied();
        let keys: PrimitiveArray<K> = array.keys().unary(|key| place(key).unwrap_or_default());
        let values = filter(array.values(), &BooleanArray::new(used, None))?;
        Ok(Arc::new(DictionaryArray::<K>::try_new(keys, self.compact(&values)?)?))
    }
}

fn of_their_own<T: ByteViewType>(array: &ArrayRef, views: &GenericByteViewArray<T>) -> ArrayRef {
    let held: usize = views.data_buffers().iter().map(|buffer| buffer.len()).sum();
    match held > SPARSE * views_bytes(views.views()) {
        true => Arc::new(views.gc()),
        false => Arc::clone(array),
    }
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
            BinaryViewArray, DictionaryArray, FixedSizeListBuilder, ListBuilder, MapBuilder,
            StringViewArray, StringViewBuilder, UInt32Array,
        },
        compute::take,
        datatypes::{Field, Int16Type, Schema},
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

    #[test]
    fn a_row_that_is_kept_holds_nothing_of_the_others() {
        let texts: Vec<_> = (0..ROWS).map(text).collect();
        let words = texts.iter().map(|text| (text.len() % 7 > 0).then_some(text.as_str()));
        let words: ArrayRef = Arc::new(words.collect::<DictionaryArray<Int16Type>>());
        let field = Arc::new(Field::new("w", words.data_type().clone(), true));
        let structs: ArrayRef = Arc::new(StructArray::from(vec![(field, Arc::clone(&words))]));
        for column in columns().into_iter().chain([words, structs]) {
            let of = column.data_type().clone();
            for row in [0, 8, 500, ROWS - 1] {
                let row = UInt32Array::from(vec![row as u32]);
                let taken = take(&column, &row, None).expect("a row");
                let kept = compact_array(&taken).expect("a sound array");
                assert_eq!(&kept, &taken, "{of}");
                let (held, all) = (kept.get_array_memory_size(), column.get_array_memory_size());
                assert!(held * 10 < all, "{of}: {held} of {all} bytes");
            }
        }
    }
}
