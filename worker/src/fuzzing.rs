//! What this crate does with others' bytes, whatever these are: see [`keyloom_common::fuzzing`]. No
//! part of the API.

use std::{io, sync::Arc};

use keyloom_common::store::{Access, Figures, LanceFigures, LanceWay};

use crate::store::lance::keys;

/// Reads bytes as the file of a map of keys.
pub fn key_map(bytes: &[u8]) {
    // Without room for a file there is nothing to be read.
    let _ = keys::read_map(bytes);
}

/// The file of a map of the keys of so many rows, with gaps between them or without.
///
/// # Errors
/// If it cannot be written.
pub fn key_map_file(rows: u32, gaps: bool) -> io::Result<Vec<u8>> {
    keys::map_file(rows, gaps)
}

/// Reads bytes as what is known of a dataset, and as the way to its rows, which plans and answers
/// carry without a look inside.
pub fn figures(bytes: &[u8]) {
    let figures = Figures { own: bytes.to_vec(), ..Figures::default() };
    if let Ok(read) = LanceFigures::of(&figures) {
        let again = read.clone().described(figures.unique).and_then(|own| LanceFigures::of(&own));
        assert!(again.as_ref() == Ok(&read), "{read:?} became {again:?}");
    }
    let access = Access { way: Arc::from(bytes), ..Access::default() };
    if let Ok(way) = LanceWay::of(&access) {
        let again = LanceWay::of(&way.access(None, true));
        assert!(again == Ok(way), "{way:?} became {again:?}");
    }
}

/// Bytes as [`figures`] reads them.
///
/// # Errors
/// If they cannot be written.
pub fn figures_of(figures: LanceFigures) -> keyloom_common::Result<Vec<u8>> {
    figures.described(Default::default()).map(|figures| figures.own)
}
