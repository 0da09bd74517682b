//! Columns of values in one piece each, as far as one array can hold them.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, OffsetSizeTrait},
    compute::concat,
    datatypes::DataType,
    error::ArrowError,
};
use keyloom_common::Result;

use crate::store::{Place, Values, lance::tasks};

/// Columns of values at so many rows in one piece each: a request takes all pieces of a column, of
/// however few rows it asks for the values. What one array cannot hold stays in pieces.
///
/// # Errors
/// If they cannot be put together for another reason.
pub(super) async fn in_one_piece(columns: Vec<Values>, rows: usize) -> Result<Vec<Values>> {
    let places: Arc<[Place]> = (0..rows as u32).map(|row| Place { piece: 0, row }).collect();
    let mut all = Vec::with_capacity(columns.len());
    for values in columns {
        let (parts, places) = (values.clone(), places.clone());
        let joined = tasks::run_blocking(move || whole(&parts, places)).await??;
        all.push(joined.unwrap_or(values));
    }
    Ok(all)
}

/// Values in one piece, where they have these places. None if they stand in another order, or are
/// too many.
fn whole(values: &Values, places: Arc<[Place]>) -> Result<Option<Values>> {
    let rows: usize = values.pieces.iter().map(|piece| piece.len()).sum();
    let order = |place: &Place| (place.piece, place.row);
    // As many different places as there are values, in their order, are just these.
    let is_in_order = values.places.is_sorted_by(|one, next| order(one) < order(next));
    let are_all = [rows, values.places.len()] == [places.len(); 2];
    if !is_in_order || !are_all || !offsets_reach(&values.pieces) {
        return Ok(None);
    }
    let pieces: Vec<&dyn Array> = values.pieces.iter().map(AsRef::as_ref).collect();
    match concat(&pieces) {
        Ok(piece) => Ok(Some(Values { pieces: vec![piece], places })),
        Err(ArrowError::OffsetOverflowError(_) | ArrowError::DictionaryKeyOverflowError) => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether offsets of 32 bits reach all that the pieces of a type hold. Where they do not, Arrow
/// panics over lists.
fn offsets_reach(pieces: &[ArrayRef]) -> bool {
    let Some(first) = pieces.first() else { return true };
    let reach = |length: &dyn Fn(&ArrayRef) -> usize| {
        pieces.iter().map(length).sum::<usize>() <= i32::MAX as usize
    };
    let within = |part: &dyn Fn(&ArrayRef) -> ArrayRef| {
        offsets_reach(&pieces.iter().map(part).collect::<Vec<_>>())
    };
    match first.data_type() {
        DataType::Utf8 => reach(&|piece| span(piece.as_string::<i32>().value_offsets()).1),
        DataType::Binary => reach(&|piece| span(piece.as_binary::<i32>().value_offsets()).1),
        DataType::List(_) => {
            reach(&|piece| span(piece.as_list::<i32>().value_offsets()).1)
                && within(&elements::<i32>)
        }
        DataType::LargeList(_) => within(&elements::<i64>),
        DataType::FixedSizeList(..) => {
            within(&|piece| Arc::clone(piece.as_fixed_size_list().values()))
        }
        DataType::Map(..) => {
            reach(&|piece| span(piece.as_map().value_offsets()).1)
                && within(&|piece| Arc::new(piece.as_map().entries().clone()))
        }
        DataType::Struct(fields) => {
            let column = |at| within(&|piece: &ArrayRef| Arc::clone(piece.as_struct().column(at)));
            (0..fields.len()).all(column)
        }
        _ => true,
    }
}

/// Where the first value starts, and the length of all.
fn span<O: OffsetSizeTrait>(offsets: &[O]) -> (usize, usize) {
    match offsets {
        [first, .., last] => (first.as_usize(), last.as_usize() - first.as_usize()),
        _ => (0, 0),
    }
}

/// The elements of lists.
fn elements<O: OffsetSizeTrait>(lists: &ArrayRef) -> ArrayRef {
    let lists = lists.as_list::<O>();
    let (start, length) = span(lists.value_offsets());
    lists.values().slice(start, length)
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{DictionaryArray, Int64Array, ListArray, NullArray, StringArray, StructArray},
        buffer::OffsetBuffer,
        datatypes::{Field, Int8Type},
    };
    use keyloom_common::ErrorKind;

    use super::*;

    fn place(piece: u32, row: u32) -> Place {
        Place { piece, row }
    }

    fn numbers(numbers: &[i64]) -> ArrayRef {
        Arc::new(Int64Array::from(numbers.to_vec()))
    }

    #[tokio::test]
    async fn values_in_order_become_one_piece_and_share_their_places() {
        let places: Arc<[Place]> = [place(0, 0), place(0, 1), place(2, 0)].into();
        let column = |first: i64| Values {
            pieces: vec![numbers(&[first, 2]), numbers(&[]), numbers(&[3])],
            places: places.clone(),
        };
        let all = in_one_piece(vec![column(1), column(7)], 3).await.unwrap();
        for (values, first) in all.iter().zip([1, 7]) {
            assert_eq!(values.pieces, [numbers(&[first, 2, 3])]);
            assert_eq!(*values.places, [place(0, 0), place(0, 1), place(0, 2)]);
        }
        assert!(Arc::ptr_eq(&all[0].places, &all[1].places));
    }

    /// The pieces of a column of two pieces of a value each, afterwards.
    async fn pieces(pieces: [ArrayRef; 2]) -> Result<Vec<ArrayRef>> {
        let values = Values { pieces: pieces.into(), places: [place(0, 0), place(1, 0)].into() };
        Ok(in_one_piece(vec![values], 2).await?.swap_remove(0).pieces)
    }

    #[tokio::test]
    async fn what_is_no_array_or_in_another_order_stays_in_pieces() {
        let held = vec![numbers(&[1, 2]), numbers(&[3])];
        // Values that nobody asks for, one twice, another order.
        let others = [
            vec![place(0, 0), place(1, 0)],
            vec![place(0, 0), place(0, 0), place(1, 0)],
            vec![place(0, 1), place(0, 0), place(1, 0)],
        ];
        for places in others {
            let places: Arc<[Place]> = places.into();
            let values = Values { pieces: held.clone(), places: places.clone() };
            let all = in_one_piece(vec![values], places.len()).await.unwrap();
            assert_eq!((&all[0].pieces, &all[0].places), (&held, &places));
        }

        // More different values than its keys can tell.
        let dictionary = |first: u32| -> ArrayRef {
            let texts: Vec<String> = (first..first + 100).map(|text| text.to_string()).collect();
            Arc::new(texts.iter().map(String::as_str).collect::<DictionaryArray<Int8Type>>())
        };
        let held = vec![dictionary(0), dictionary(100)];
        let places = (0..2).flat_map(|piece| (0..100).map(move |row| place(piece, row))).collect();
        let values = Values { pieces: held.clone(), places };
        assert_eq!(in_one_piece(vec![values], 200).await.unwrap()[0].pieces, held);
    }

    /// A list of so many nulls, which take no memory.
    fn list(nulls: i32) -> ArrayRef {
        let item = Arc::new(Field::new_list_field(DataType::Null, true));
        let (offsets, nulls) = (OffsetBuffer::from_lengths([nulls as usize]), nulls as usize);
        Arc::new(ListArray::new(item, offsets, Arc::new(NullArray::new(nulls)), None))
    }

    #[tokio::test]
    async fn lists_whose_elements_no_offset_reaches_stay_in_pieces() {
        for (nulls, expected) in [(1 << 10, 1), (1 << 30, 2)] {
            assert_eq!(pieces([list(nulls), list(nulls)]).await.unwrap().len(), expected);
            let held = |nulls| -> ArrayRef {
                Arc::new(StructArray::try_from(vec![("list", list(nulls))]).unwrap())
            };
            assert_eq!(pieces([held(nulls), held(nulls)]).await.unwrap().len(), expected);
        }
    }

    #[tokio::test]
    async fn what_goes_wrong_otherwise_is_an_error() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
        // Arrow refuses the one; over the other this panics.
        let mixed = pieces([numbers(&[1]), texts.clone()]).await.unwrap_err();
        assert_eq!(mixed.kind(), ErrorKind::Invalid);
        let panicked = pieces([texts, numbers(&[1])]).await.unwrap_err();
        assert_eq!(panicked.kind(), ErrorKind::Store);
        assert!(panicked.message().contains("panicked"), "{panicked}");
    }
}
