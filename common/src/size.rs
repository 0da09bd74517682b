//! How many bytes the values of arrays take: of a slice, those of its rows alone, however large the
//! buffers are that it shares with others.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, OffsetSizeTrait, RecordBatch},
    buffer::OffsetBuffer,
    datatypes::DataType,
};

/// Bytes of a view, and the longest values that stand in the view itself.
const VIEW_BYTES: usize = 16;
const LONGEST_INLINE: u32 = 12;

/// The bytes of the rows of a batch.
pub fn batch_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| array_bytes(column)).sum()
}

/// The bytes of the values of an array.
pub fn array_bytes(array: &dyn Array) -> usize {
    let nulls = array.nulls().map_or(0, |nulls| nulls.len().div_ceil(8));
    let values = match array.data_type() {
        DataType::Utf8View => views_bytes(array.as_string_view().views()),
        DataType::BinaryView => views_bytes(array.as_binary_view().views()),
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            elements_bytes(lists.offsets(), lists.values())
        }
        DataType::LargeList(_) => {
            let lists = array.as_list::<i64>();
            elements_bytes(lists.offsets(), lists.values())
        }
        DataType::Map(..) => {
            let maps = array.as_map();
            let entries: ArrayRef = Arc::new(maps.entries().clone());
            elements_bytes(maps.offsets(), &entries)
        }
        DataType::FixedSizeList(..) => array_bytes(array.as_fixed_size_list().values()),
        DataType::Struct(_) => {
            array.as_struct().columns().iter().map(|column| array_bytes(column)).sum()
        }
        _ => {
            let size = array.to_data().get_slice_memory_size();
            return size.unwrap_or_else(|_| array.get_array_memory_size());
        }
    };
    nulls + values
}

/// The bytes of views and of what they point to.
pub(crate) fn views_bytes(views: &[u128]) -> usize {
    // The length is in the first four bytes.
    let outside = |view: &u128| match *view as u32 {
        length if length > LONGEST_INLINE => length as usize,
        _ => 0,
    };
    views.len() * VIEW_BYTES + views.iter().map(outside).sum::<usize>()
}

/// The bytes of lists: a slice of them keeps the elements of all.
fn elements_bytes<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>, elements: &ArrayRef) -> usize {
    let (first, last) = (offsets[0].as_usize(), offsets[offsets.len() - 1].as_usize());
    size_of_val(offsets.as_ref()) + array_bytes(&elements.slice(first, last - first))
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{
            FixedSizeListArray, Int64Array, ListArray, MapBuilder, StringArray, StringBuilder,
            StringViewArray, StructArray,
        },
        datatypes::Int64Type,
    };

    use super::*;

    const ROWS: usize = 1024;

    fn arrays() -> Vec<(ArrayRef, usize)> {
        let long = "a text that does not stand in its view";
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..ROWS as i64));
        let pairs = || Some([Some(1), Some(2)]);
        let mut maps = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        for _ in 0..ROWS {
            maps.keys().append_value("k");
            maps.values().append_value("value");
            maps.append(true).expect("a value for each key");
        }
        let of_numbers = StructArray::try_from(vec![("n", Arc::clone(&numbers))]);
        vec![
            (Arc::clone(&numbers), 8),
            (Arc::new(StringArray::from(vec!["four"; ROWS])), 4 + 4),
            (Arc::new(StringViewArray::from(vec!["four"; ROWS])), 16),
            (Arc::new(StringViewArray::from(vec![long; ROWS])), 16 + long.len()),
            (Arc::new(of_numbers.expect("one column")), 8),
            (
                Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(
                    (0..ROWS).map(|_| pairs()),
                )),
                4 + 16,
            ),
            (
                Arc::new(FixedSizeListArray::from_iter_primitive::<Int64Type, _, _>(
                    (0..ROWS).map(|_| pairs()),
                    2,
                )),
                16,
            ),
            (Arc::new(maps.finish()), 4 + (4 + 1) + (4 + 5)),
        ]
    }

    #[test]
    fn the_bytes_of_rows_are_counted_whatever_they_are_cut_from() {
        for (array, row_bytes) in arrays() {
            for (start, length) in [(0, ROWS), (ROWS / 2, 100), (7, 1), (0, 0)] {
                let bytes = array_bytes(&array.slice(start, length));
                let expected = row_bytes * length;
                // One offset more than rows, and a bit for each row that may be null.
                let more = 3 * 8 + length.div_ceil(8) * 3;
                let of = array.data_type();
                assert!((expected..=expected + more).contains(&bytes), "{of} {length}: {bytes}");
            }
        }
    }
}
