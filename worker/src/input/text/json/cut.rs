//! Where a JSON file may be cut: anywhere, if its rows are lines.

use futures::TryStreamExt;
use keyloom_common::{Result, input::Piece};
use object_store::{ObjectMeta, ObjectStore};
use serde::de::IgnoredAny;

use super::{nesting::is_space, rows::RowReader};
use crate::input::text::source;

/// Files whose first line is longer than this are not cut.
const LONGEST: usize = 16 << 20;

/// The pieces of a file, of so many bytes each. An array, objects that span lines and compressed
/// text are one piece.
///
/// # Errors
/// If the file cannot be read.
pub(in crate::input) async fn pieces(
    store: &dyn ObjectStore,
    file: &ObjectMeta,
    piece_bytes: u64,
) -> Result<Vec<Piece>> {
    let piece = |start| Piece { start, rows: None, lines_before: 0 };
    if file.size == 0 {
        return Ok(Vec::new());
    }
    if file.size <= piece_bytes || !has_rows_as_lines(store, file).await? {
        return Ok(vec![piece(0)]);
    }
    let step = usize::try_from(piece_bytes.max(1)).unwrap_or(usize::MAX);
    Ok((0..file.size).step_by(step).map(piece).collect())
}

/// Whether the first row is an object that ends in the line in which it starts.
async fn has_rows_as_lines(store: &dyn ObjectStore, file: &ObjectMeta) -> Result<bool> {
    let mut text = source::open(store, &file.location, 0..file.size).await?;
    if text.compressed {
        return Ok(false);
    }
    let mut line = Vec::new();
    while let Some(chunk) = text.chunks.try_next().await? {
        let chunk = match line.is_empty() {
            true => chunk.slice(chunk.iter().take_while(|byte| is_space(**byte)).count()..),
            false => chunk,
        };
        let end = memchr::memchr(b'\n', &chunk);
        line.extend_from_slice(&chunk[..end.unwrap_or(chunk.len())]);
        if line.len() > LONGEST {
            return Ok(false);
        }
        if end.is_some() || line.first().is_some_and(|byte| *byte != b'{') {
            break;
        }
    }
    let mut rows = RowReader::new(0);
    let (used, done) = rows.read(&line);
    let is_object = done && serde_json::from_slice::<IgnoredAny>(rows.row()).is_ok();
    Ok(line.first() == Some(&b'{') && is_object && line[used..].iter().all(|b| is_space(*b)))
}
