//! The first row of a file, which names its columns.

use std::collections::HashSet;

use bytes::Bytes;
use futures::TryStreamExt;
use keyloom_common::{Error, Result};
use object_store::{ObjectStore, path::Path};

use super::records::RecordReader;
use crate::input::text::{chunks::Chunks, error::at_line, source};

/// Bytes that are read to find the header of a file of which another part is wanted.
const LOOK: u64 = 64 << 10;

/// The names of a file's columns, and what follows them.
pub(super) struct Header {
    pub(super) names: Vec<String>,
    /// What was read behind it.
    pub(super) rest: Bytes,
    /// How many lines end before the rest.
    pub(super) lines: u64,
    /// Whether the text ended with it, without a line break.
    unended: bool,
}

/// Takes the header from the start of a file's text; none if there is no row at all.
pub(super) async fn take(
    chunks: &mut Chunks,
    records: &mut RecordReader,
    path: &Path,
) -> Result<Option<Header>> {
    records.restart(0);
    loop {
        let chunk = chunks.try_next().await?;
        let unended = chunk.is_none();
        let mut rest = chunk.unwrap_or_default();
        if rest.is_empty() && !unended {
            continue;
        }
        let (used, done) = records.read(&rest);
        if done {
            let _header = rest.split_to(used);
            let names = names(records, path)?;
            return Ok(Some(Header { names, rest, lines: records.lines(), unended }));
        }
        if unended {
            return Ok(None);
        }
    }
}

/// The names of a file's columns, by a look at its start.
pub(super) async fn look(
    store: &dyn ObjectStore,
    path: &Path,
    size: u64,
    records: &mut RecordReader,
) -> Result<Option<Vec<String>>> {
    let mut length = LOOK;
    loop {
        let whole = length >= size;
        let mut text = source::open(store, path, 0..length.min(size)).await?;
        match take(&mut text.chunks, records, path).await? {
            Some(header) if whole || !header.unended => return Ok(Some(header.names)),
            None if whole => return Ok(None),
            _ => length *= 4,
        }
    }
}

/// The names that a record holds.
pub(super) fn names(records: &RecordReader, path: &Path) -> Result<Vec<String>> {
    let mut seen = HashSet::new();
    let mut names = Vec::new();
    for value in records.values() {
        let name = str::from_utf8(value).map_err(|_| not_utf8(path, records.line()))?;
        if !seen.insert(name) {
            return Err(at_line(
                path,
                records.line(),
                format!("the column '{name}' stands twice: names must be distinct"),
            ));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

fn not_utf8(path: &Path, line: u64) -> Error {
    at_line(path, line, "the names of columns are not UTF-8")
}
