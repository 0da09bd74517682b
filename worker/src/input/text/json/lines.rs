//! The lines of a range of a file: those that start within it, each to its end.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use keyloom_common::Result;
use object_store::{ObjectStore, path::Path};

use crate::input::text::{
    chunks::{self, Chunks},
    source,
};

/// Bytes that are first read behind a range to find the end of its last line.
const TAIL: u64 = 64 << 10;

/// Bytes that are read at least.
const LOOK: u64 = 64;

/// The text of the lines that start at or behind the start of a range and before its end.
pub(super) async fn read(
    store: Arc<dyn ObjectStore>,
    path: &Path,
    size: u64,
    bytes: Range<u64>,
) -> Result<Chunks> {
    let end = bytes.end.min(size);
    // A line starts here only if another ends just before.
    let from = bytes.start.saturating_sub(1);
    if bytes.start >= end {
        return Ok(stream::empty().boxed());
    }
    // What the file starts with is told by its first bytes, however short the range.
    let read = end.max(from + LOOK).min(size);
    let text = source::open(&*store, path, from..read).await?;
    let (path, skipping) = (path.clone(), bytes.start > 0);
    let lines = Lines {
        store,
        path,
        size,
        end,
        chunks: text.chunks,
        at: from + text.mark,
        skipping,
        tail: TAIL,
        done: false,
    };
    Ok(stream::try_unfold(lines, |mut lines| async move {
        Ok(lines.next().await?.map(|chunk| (chunk, lines)))
    })
    .boxed())
}

struct Lines {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
    /// Lines that start here or later are not wanted.
    end: u64,
    chunks: Chunks,
    /// Where the next chunk starts.
    at: u64,
    /// Whether the first line break is still to come; what stands before it is not wanted.
    skipping: bool,
    /// How much is read next behind the range.
    tail: u64,
    done: bool,
}

impl Lines {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        while !self.done {
            let Some(mut chunk) = self.chunk().await? else { break };
            let mut start = self.at;
            self.at += chunk.len() as u64;
            if self.skipping {
                let Some(line_break) = memchr::memchr(b'\n', &chunk) else {
                    self.done = self.at >= self.end;
                    continue;
                };
                let _before = chunk.split_to(line_break + 1);
                start += line_break as u64 + 1;
                self.skipping = false;
                if start >= self.end {
                    break;
                }
            }
            self.cut(&mut chunk, start);
            if !chunk.is_empty() {
                return Ok(Some(chunk));
            }
        }
        Ok(None)
    }

    /// The next chunk of the range, or of what follows it.
    async fn chunk(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(chunk) = self.chunks.try_next().await? {
                return Ok(Some(chunk));
            }
            if self.at >= self.size {
                return Ok(None);
            }
            let tail = self.at..self.size.min(self.at + self.tail);
            self.tail *= 4;
            self.chunks = chunks::read(&*self.store, &self.path, tail).await?;
        }
    }

    /// Ends a chunk where the last line ends that starts within the range.
    fn cut(&mut self, chunk: &mut Bytes, start: u64) {
        let last = self.end - 1;
        let Ok(from) = usize::try_from(last.saturating_sub(start)) else { return };
        let rest = chunk.get(from..).unwrap_or_default();
        if let Some(line_break) = memchr::memchr(b'\n', rest) {
            chunk.truncate(from + line_break + 1);
            self.done = true;
        }
    }
}
