//! Rows, in whatever pieces they come.

use arrow::array::{Array, RecordBatch};
use bytes::Bytes;

use crate::{
    error::Result,
    ipc::{Decoder, decode_all, decode_schema, encode_all},
};

/// Reads bytes as a stream of rows: as a whole, and in pieces of as many bytes as the first one
/// says.
pub fn stream(bytes: &[u8]) {
    let Some((&length, bytes)) = bytes.split_first() else { return };
    let whole = Bytes::copy_from_slice(bytes);
    let _ = decode_schema(whole.clone());
    let in_pieces = in_pieces(bytes, usize::from(length).max(1));
    let Ok((schema, batches)) = decode_all(whole) else { return };
    assert!(in_pieces.as_ref() == Ok(&batches), "pieces hold other rows than the whole");
    for column in batches.iter().flat_map(RecordBatch::columns) {
        // Looks at every value.
        let _ = column.to_data().validate_full();
    }
    let Ok(written) = encode_all(&schema, &batches) else { return };
    let again = decode_all(written);
    assert!(again.is_ok(), "rows cannot be read as they were written: {again:?}");
    let Ok((same_schema, again)) = again else { return };
    assert!(schema == same_schema, "{schema:?} became {same_schema:?}");
    let rows = |batches: &[RecordBatch]| batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    assert!(rows(&again) == rows(&batches), "other numbers of rows");
    // Very many rows without values are written in parts.
    assert!(again.len() != batches.len() || again == batches, "{batches:?} became {again:?}");
}

fn in_pieces(bytes: &[u8], length: usize) -> Result<Vec<RecordBatch>> {
    let mut decoder = Decoder::new();
    let mut batches = Vec::new();
    for piece in bytes.chunks(length) {
        batches.extend(decoder.push(Bytes::copy_from_slice(piece))?);
    }
    Ok(batches)
}
