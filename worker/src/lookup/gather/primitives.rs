//! Numbers, times and the like.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray},
    buffer::NullBuffer,
    datatypes::DataType,
};

use super::Picks;
use crate::store::Place;

/// Copies the values at these places. Arrow would want the places in a form twice as large.
pub(super) fn gather_primitives<T: ArrowPrimitiveType>(
    pieces: &[ArrayRef],
    picks: &Picks,
    data_type: &DataType,
) -> ArrayRef {
    let pieces: Vec<&PrimitiveArray<T>> = pieces.iter().map(|piece| piece.as_primitive()).collect();
    let slices: Vec<&[T::Native]> = pieces.iter().map(|piece| piece.values().as_ref()).collect();
    let values: Vec<T::Native> = if picks.has_none {
        let value = |place: &Place| {
            place.get().map(|place| slices[place.piece as usize][place.row as usize])
        };
        picks.places.iter().map(|place| value(place).unwrap_or_default()).collect()
    } else {
        let places = picks.places.iter();
        places.map(|place| slices[place.piece as usize][place.row as usize]).collect()
    };
    let array = PrimitiveArray::<T>::new(values.into(), nulls(&pieces, picks));
    Arc::new(array.with_data_type(data_type.clone()))
}

fn nulls<T: ArrowPrimitiveType>(
    pieces: &[&PrimitiveArray<T>],
    picks: &Picks,
) -> Option<NullBuffer> {
    if !picks.has_none && pieces.iter().all(|piece| piece.null_count() == 0) {
        return None;
    }
    let valid = picks.places.iter().map(|place| {
        place.get().is_some_and(|place| pieces[place.piece as usize].is_valid(place.row as usize))
    });
    Some(valid.collect())
}
