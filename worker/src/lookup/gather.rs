//! The one copy of a value: from the array that the store read it into, to the row that asked.

use std::{cell::OnceCell, sync::Arc};

use arrow::{
    array::{Array, ArrayData, ArrayRef, AsArray, FixedSizeListArray, make_array, new_null_array},
    buffer::{Buffer, MutableBuffer, NullBuffer},
    compute::interleave,
    datatypes::{DataType, FieldRef},
};
use keyloom_common::Result;

use crate::store::{Place, Values};

/// The places of values to copy, in the order of the rows that asked. Columns may share them.
#[derive(Debug)]
pub(crate) struct Picks {
    places: Vec<Place>,
    /// Whether some row gets null.
    has_none: bool,
    /// The places as Arrow wants them, with a null for the first piece if some row gets it.
    indices: OnceCell<Vec<(usize, usize)>>,
}

impl Picks {
    pub(crate) fn new(places: Vec<Place>) -> Self {
        let has_none = places.contains(&Place::NONE);
        Self { places, has_none, indices: OnceCell::new() }
    }

    fn indices(&self) -> &[(usize, usize)] {
        let first = usize::from(self.has_none);
        let index = |place: &Place| match place.get() {
            Some(place) => (first + place.piece as usize, place.row as usize),
            None => (0, 0),
        };
        self.indices.get_or_init(|| self.places.iter().map(index).collect())
    }
}

/// Copies the values at these places, in this order; nulls where there is none.
pub(crate) fn gather(values: &Values, picks: &Picks, data_type: &DataType) -> Result<ArrayRef> {
    if values.pieces.is_empty() {
        return Ok(new_null_array(data_type, picks.places.len()));
    }
    if let DataType::FixedSizeList(item, size) = data_type
        && let Some(lists) = FixedLists::of(&values.pieces, item, *size)
    {
        return lists.gather(&picks.places);
    }
    // Arrow looks at every row's validity if a piece has nulls, so there is one only if need be.
    let null = picks.has_none.then(|| new_null_array(data_type, 1));
    let pieces: Vec<&dyn Array> = null.iter().chain(&values.pieces).map(AsRef::as_ref).collect();
    Ok(interleave(&pieces, picks.indices())?)
}

/// Lists of one size of plain values, such as embeddings: each is one run of bytes. Arrow would
/// copy them through a general path that is several times slower.
struct FixedLists<'a> {
    item: &'a FieldRef,
    size: i32,
    /// The bytes of a list.
    width: usize,
    /// For each piece its bytes, and which of its lists are null.
    pieces: Vec<(Buffer, Option<&'a NullBuffer>)>,
}

impl<'a> FixedLists<'a> {
    /// The pieces, if all their values are plain and none is null.
    fn of(pieces: &'a [ArrayRef], item: &'a FieldRef, size: i32) -> Option<Self> {
        let width = item.data_type().primitive_width()? * usize::try_from(size).ok()?;
        let bytes = |piece: &'a ArrayRef| {
            let lists = piece.as_fixed_size_list_opt()?;
            let plain = lists.values().null_count() == 0 && lists.value_type() == *item.data_type();
            if !plain {
                return None;
            }
            Some((value_bytes(lists, width)?, lists.nulls()))
        };
        let pieces = pieces.iter().map(bytes).collect::<Option<_>>()?;
        Some(Self { item, size, width, pieces })
    }

    fn gather(&self, places: &[Place]) -> Result<ArrayRef> {
        let mut bytes = MutableBuffer::with_capacity(places.len() * self.width);
        let mut valid = Vec::with_capacity(places.len());
        for place in places {
            let list = place.get().and_then(|place| self.list(place));
            valid.push(list.is_some());
            match list {
                Some(list) => bytes.extend_from_slice(list),
                None => bytes.extend_zeros(self.width),
            }
        }
        let values = ArrayData::builder(self.item.data_type().clone())
            .len(places.len() * self.size as usize)
            .add_buffer(bytes.into())
            .build()?;
        let nulls = NullBuffer::from(valid);
        let nulls = (nulls.null_count() > 0).then_some(nulls);
        let values = make_array(values);
        Ok(Arc::new(FixedSizeListArray::try_new(self.item.clone(), self.size, values, nulls)?))
    }

    /// The bytes of a list that is not null.
    fn list(&self, place: Place) -> Option<&[u8]> {
        let (bytes, nulls) = &self.pieces[place.piece as usize];
        let row = place.row as usize;
        let valid = nulls.is_none_or(|nulls| nulls.is_valid(row));
        valid.then(|| &bytes[row * self.width..(row + 1) * self.width])
    }
}

/// The bytes of the values of all lists.
fn value_bytes(lists: &FixedSizeListArray, width: usize) -> Option<Buffer> {
    let values = lists.values().to_data();
    let item = values.data_type().primitive_width()?;
    Some(values.buffers().first()?.slice_with_length(values.offset() * item, lists.len() * width))
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{Float32Array, StringArray},
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
}
