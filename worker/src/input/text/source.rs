//! The text of a file: decompressed, and without a byte order mark.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream};
use keyloom_common::{Error, Result};
use object_store::{ObjectStore, path::Path};

use super::{
    chunks::{self, Chunks},
    compression::Compression,
};

const MARK: &[u8] = b"\xef\xbb\xbf";

/// Files that are no text, by their first bytes.
const REFUSED: [(&[u8], &str); 6] = [
    (b"PK\x03\x04", "a zip archive: unpack it, or compress the file with gzip, zstd, bzip2 or xz"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\xff\xfe", "UTF-16 text: convert it to UTF-8"),
    (b"\xfe\xff", "UTF-16 text: convert it to UTF-8"),
    (b"PAR1", "a Parquet file, not text"),
    (b"ARROW1", "an Arrow file, not text"),
];

/// The text of a file, or of a range of it.
pub(super) struct Text {
    /// What is left to read of it.
    pub(super) chunks: Chunks,
    /// Whether the file is compressed; it is one piece, then.
    pub(super) compressed: bool,
    /// How many bytes of the file stand before its text.
    pub(super) mark: u64,
}

/// Opens a range of a file. One that does not start at 0 is taken to be plain text.
///
/// # Errors
/// If the file cannot be read, or is no text.
pub(super) async fn open(store: &dyn ObjectStore, path: &Path, range: Range<u64>) -> Result<Text> {
    let starts_within = range.start > 0;
    let chunks = chunks::read(store, path, range).await?;
    if starts_within {
        return Ok(Text { chunks, compressed: false, mark: 0 });
    }
    let (start, rest) = look(chunks).await?;
    let compression = Compression::of(&start);
    let (start, rest) = match compression {
        Some(compression) => look(compression.decode(prepend(start, rest), path)).await?,
        None => (start, rest),
    };
    refuse(&start, path)?;
    let mark = if start.starts_with(MARK) { MARK.len() } else { 0 };
    let chunks = prepend(start.slice(mark..), rest);
    Ok(Text { chunks, compressed: compression.is_some(), mark: mark as u64 })
}

/// The first bytes: as many as it takes to tell what they are, if there are so many.
async fn look(mut chunks: Chunks) -> Result<(Bytes, Chunks)> {
    let mut start = Bytes::new();
    while start.len() < Compression::LOOK {
        let Some(chunk) = chunks.try_next().await? else { break };
        start = match start.is_empty() {
            true => chunk,
            false => {
                let mut both = BytesMut::from(start.as_ref());
                both.extend_from_slice(&chunk);
                both.freeze()
            }
        };
    }
    Ok((start, chunks))
}

fn prepend(start: Bytes, rest: Chunks) -> Chunks {
    stream::iter((!start.is_empty()).then_some(Ok(start))).chain(rest).boxed()
}

fn refuse(start: &[u8], path: &Path) -> Result<()> {
    let known = REFUSED.iter().find(|(bytes, _)| start.starts_with(bytes)).map(|(_, what)| *what);
    let what = match (known, start) {
        (Some(what), _) => what,
        // ASCII in UTF-16 without a mark: every other byte is 0.
        (None, [0, 1..=u8::MAX, ..] | [1..=u8::MAX, 0, ..]) => {
            "UTF-16 text or no text at all: convert it to UTF-8"
        }
        _ => return Ok(()),
    };
    Err(Error::invalid(format!("file '{path}' is {what}")))
}
