//! Lists of one size of plain values, such as embeddings.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayData, ArrayRef, AsArray, FixedSizeListArray, make_array},
    buffer::{Buffer, MutableBuffer, NullBuffer},
    datatypes::FieldRef,
};
use keyloom_common::Result;

use crate::store::Place;

/// Lists of one size of plain values, such as embeddings: each is one run of bytes. Arrow would
/// copy them through a general path that is several times slower.
pub(super) struct FixedLists<'a> {
    item: &'a FieldRef,
    size: i32,
    /// The bytes of a list.
    width: usize,
    /// For each piece its bytes, and which of its lists are null.
    pieces: Vec<(Buffer, Option<&'a NullBuffer>)>,
}

impl<'a> FixedLists<'a> {
    /// The pieces, if all their values are plain and none is null.
    pub(super) fn of(pieces: &'a [ArrayRef], item: &'a FieldRef, size: i32) -> Option<Self> {
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

    pub(super) fn gather(&self, places: &[Place]) -> Result<ArrayRef> {
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
