//! The one copy of a value: from the array that the store read it into, to the row that asked.

mod lists;
mod primitives;

use std::cell::OnceCell;

use arrow::{
    array::{Array, ArrayRef, UInt32Array, downcast_primitive, new_null_array},
    buffer::NullBuffer,
    compute::{interleave, take},
    datatypes::DataType,
};
use keyloom_common::Result;

use self::{lists::FixedLists, primitives::gather_primitives};
use crate::store::{Place, Values};

/// The places of values to copy, in the order of the rows that asked. Columns may share them.
#[derive(Debug)]
pub(crate) struct Picks {
    places: Vec<Place>,
    /// Whether some row gets null.
    has_none: bool,
    /// The places as Arrow wants them, with a null for the first piece if some row gets it.
    indices: OnceCell<Vec<(usize, usize)>>,
    /// The same of texts of one piece: its rows, or null.
    rows: OnceCell<UInt32Array>,
}

impl Picks {
    pub(crate) fn new(places: Vec<Place>) -> Self {
        let has_none = places.contains(&Place::NONE);
        Self { places, has_none, indices: OnceCell::new(), rows: OnceCell::new() }
    }

    fn indices(&self) -> &[(usize, usize)] {
        let first = usize::from(self.has_none);
        let index = |place: &Place| match place.get() {
            Some(place) => (first + place.piece as usize, place.row as usize),
            None => (0, 0),
        };
        self.indices.get_or_init(|| self.places.iter().map(index).collect())
    }

    fn rows(&self) -> &UInt32Array {
        let row = |place: &Place| place.get().map_or(0, |place| place.row);
        self.rows.get_or_init(|| {
            let rows: Vec<u32> = self.places.iter().map(row).collect();
            let valid = || self.places.iter().map(|place| *place != Place::NONE);
            let nulls = self.has_none.then(|| valid().collect::<NullBuffer>());
            UInt32Array::new(rows.into(), nulls)
        })
    }
}

/// Copies the values at these places, in this order; nulls where there is none.
pub(crate) fn gather(values: &Values, picks: &Picks, data_type: &DataType) -> Result<ArrayRef> {
    if values.pieces.is_empty() {
        return Ok(new_null_array(data_type, picks.places.len()));
    }
    macro_rules! primitives {
        ($primitive:ty) => {
            return Ok(gather_primitives::<$primitive>(&values.pieces, picks, data_type))
        };
    }
    downcast_primitive! {
        data_type => (primitives),
        DataType::FixedSizeList(item, size) => {
            if let Some(lists) = FixedLists::of(&values.pieces, item, *size) {
                return lists.gather(&picks.places);
            }
        }
        // Of one piece there is no need to say which, nor for one of nulls.
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => {
            if let [piece] = values.pieces.as_slice() {
                return Ok(take(piece, picks.rows(), None)?);
            }
        }
        _ => {}
    }
    // Arrow looks at every row's validity if a piece has nulls, so there is one only if need be.
    let null = picks.has_none.then(|| new_null_array(data_type, 1));
    let pieces: Vec<&dyn Array> = null.iter().chain(&values.pieces).map(AsRef::as_ref).collect();
    Ok(interleave(&pieces, picks.indices())?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{
            AsArray, FixedSizeListArray, Float32Array, Int64Array, StringArray,
            TimestampSecondArray,
        },
        datatypes::{Field, Float32Type},
    };

    use super::*;

    fn place(piece: u32, row: u32) -> Place {
        Place { piece, row }
    }

    #[test]
    fn lists_of_one_size_keep_their_values_and_nulls() {
        let lists = |lists: Vec<Option<Vec<Option<f32>>>>| -> ArrayRef {
            Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(lists, 2))
        };
        let list = |first: f32| Some(vec![Some(first), Some(first + 0.5)]);
        let first = lists(vec![list(0.0), list(1.0), None]);
        let second = lists(vec![list(9.0), list(2.0), list(3.0)]).slice(1, 2);
        let values = Values { pieces: vec![first.clone(), second], places: [].into() };
        let places = [place(1, 1), place(0, 0), Place::NONE, place(0, 2), place(1, 0), place(1, 1)];
        let gathered = gather(&values, &Picks::new(places.into()), first.data_type()).unwrap();
        let expected = lists(vec![list(3.0), list(0.0), None, None, list(2.0), list(3.0)]);
        assert_eq!(&gathered, &expected);
    }

    #[test]
    fn lists_with_null_values_keep_them() {
        let item = Arc::new(Field::new_list_field(DataType::Float32, true));
        let values: ArrayRef = Arc::new(Float32Array::from(vec![Some(1.0), None]));
        let lists: ArrayRef = Arc::new(FixedSizeListArray::new(item, 1, values, None));
        let values = Values { pieces: vec![lists.clone()], places: [].into() };
        let picks = Picks::new(vec![place(0, 1), place(0, 0)]);
        let gathered = gather(&values, &picks, lists.data_type()).unwrap();
        let gathered = gathered.as_fixed_size_list();
        assert_eq!(gathered.null_count(), 0);
        assert_eq!(gathered.values().as_ref(), &Float32Array::from(vec![None, Some(1.0)]));
    }

    #[test]
    fn strings_come_from_several_pieces() {
        let piece = |words: &[&str]| Arc::new(StringArray::from(words.to_vec())) as ArrayRef;
        let values = Values { pieces: vec![piece(&["a"]), piece(&["b", "c"])], places: [].into() };
        let gathered = |places: &[Place]| {
            gather(&values, &Picks::new(places.to_vec()), &DataType::Utf8).unwrap()
        };
        let some = gathered(&[place(1, 1), Place::NONE, place(0, 0)]);
        assert_eq!(some.as_ref(), &StringArray::from(vec![Some("c"), None, Some("a")]));
        let all = gathered(&[place(1, 0), place(1, 0), place(0, 0)]);
        assert_eq!(all.as_ref(), &StringArray::from(vec!["b", "b", "a"]));
    }

    #[test]
    fn strings_of_one_piece_are_the_same() {
        let piece = StringArray::from(vec![Some("x"), Some("a"), None, Some("long")]).slice(1, 3);
        let values = Values { pieces: vec![Arc::new(piece)], places: [].into() };
        let gathered = |places: &[Place]| {
            gather(&values, &Picks::new(places.to_vec()), &DataType::Utf8).unwrap()
        };
        let some = gathered(&[place(0, 2), Place::NONE, place(0, 1), place(0, 0), place(0, 2)]);
        let expected = vec![Some("long"), None, None, Some("a"), Some("long")];
        assert_eq!(some.as_ref(), &StringArray::from(expected));
        let all = gathered(&[place(0, 2), place(0, 0)]);
        assert_eq!(all.as_ref(), &StringArray::from(vec!["long", "a"]));
        assert_eq!(gathered(&[]).len(), 0);
        assert_eq!(gathered(&[Place::NONE]).null_count(), 1);
    }

    #[test]
    fn numbers_keep_their_type_and_nulls() {
        let piece = |numbers: Vec<Option<i64>>| Arc::new(Int64Array::from(numbers)) as ArrayRef;
        let pieces = vec![piece(vec![Some(1), Some(2)]), piece(vec![Some(3), None]).slice(0, 2)];
        let values = Values { pieces, places: [].into() };
        let gathered = |values: &Values, places: &[Place], data_type: &DataType| {
            gather(values, &Picks::new(places.to_vec()), data_type).unwrap()
        };
        let places = [place(1, 1), place(0, 1), Place::NONE, place(1, 0), place(0, 1)];
        let expected = Int64Array::from(vec![None, Some(2), None, Some(3), Some(2)]);
        assert_eq!(gathered(&values, &places, &DataType::Int64).as_ref(), &expected);
        let some = gathered(&values, &[place(1, 0), place(0, 0)], &DataType::Int64);
        assert_eq!(some.as_ref(), &Int64Array::from(vec![3, 1]));
        let whole = Values { pieces: values.pieces[..1].to_vec(), places: [].into() };
        let some = gathered(&whole, &[place(0, 1), place(0, 1)], &DataType::Int64);
        assert_eq!((some.as_ref(), some.nulls()), (&Int64Array::from(vec![2, 2]) as _, None));

        let times: ArrayRef = Arc::new(TimestampSecondArray::from(vec![7]).with_timezone("+02:00"));
        let data_type = times.data_type().clone();
        let values = Values { pieces: vec![times.clone()], places: [].into() };
        assert_eq!(&gathered(&values, &[place(0, 0)], &data_type), &times);
    }
}
