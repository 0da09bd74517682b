//! Reads a local file for Lance through the system's page cache: what is in memory at once, in the
//! task that asks, and the rest on threads that may wait for the disk.
//!
//! Lance's own reader hands every range to another thread. For a row that is in memory this costs
//! several times what copying it does.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt, sync::Arc};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use lance_encoding::EncodingsIo;

/// Ranges are read together if no more than a page of memory lies between them.
const MAX_GAP: u64 = 4096;

/// A local file whose contents never change.
#[derive(Debug)]
pub(super) struct LocalReader {
    pub(super) file: Arc<File>,
    /// The most threads that wait for the disk for one request.
    pub(super) in_flight: usize,
}

impl LocalReader {
    /// Opens a file: in the task that asks if all that leads to it is in memory, and otherwise on a
    /// thread that may wait for the disk.
    ///
    /// # Errors
    /// `IO` if there is no such file or it cannot be opened.
    pub(super) async fn open(path: String, in_flight: usize) -> lance::Result<Self> {
        let file = match open_cached(&path) {
            Some(file) => file,
            None => tokio::task::spawn_blocking(move || File::open(path)).await??,
        };
        Ok(Self { file: Arc::new(file), in_flight })
    }
}

/// Ranges that are read together.
struct Span {
    range: Range<u64>,
    bytes: Option<Bytes>,
}

impl EncodingsIo for LocalReader {
    /// Reading begins here and not when the future is polled, so that the disk sees all requests of
    /// a decoder at once.
    fn submit_request(
        &self,
        ranges: Vec<Range<u64>>,
        _priority: u64,
    ) -> BoxFuture<'static, lance::Result<Vec<Bytes>>> {
        let (mut spans, span_of) = merge(&ranges);
        for span in &mut spans {
            span.bytes = read_cached(&self.file, &span.range);
        }
        let absent: Vec<_> = (0..).zip(&spans).filter(|(_, span)| span.bytes.is_none()).collect();
        let a_thread = absent.len().div_ceil(self.in_flight.max(1)).max(1);
        let waiting = absent.chunks(a_thread).map(|part| {
            let part: Vec<_> = part.iter().map(|(at, span)| (*at, span.range.clone())).collect();
            let file = self.file.clone();
            tokio::task::spawn_blocking(move || read_waiting(&file, part))
        });
        let waiting: Vec<_> = waiting.collect();
        async move {
            for read in waiting {
                for (at, bytes) in read.await?? {
                    spans[at].bytes = Some(bytes);
                }
            }
            let slice = |(range, at): (&Range<u64>, &usize)| {
                let span = &spans[*at];
                let start = (range.start - span.range.start) as usize;
                let bytes = span.bytes.as_ref().map(|bytes| bytes.slice(start..start + len(range)));
                bytes.ok_or_else(|| lance::Error::internal("a range was not read"))
            };
            ranges.iter().zip(&span_of).map(slice).collect()
        }
        .boxed()
    }
}

fn len(range: &Range<u64>) -> usize {
    (range.end - range.start) as usize
}

/// The spans to read, and for each range its span.
fn merge(ranges: &[Range<u64>]) -> (Vec<Span>, Vec<usize>) {
    let mut spans: Vec<Span> = Vec::with_capacity(ranges.len());
    let mut span_of = Vec::with_capacity(ranges.len());
    for range in ranges {
        match spans.last_mut().map(|span| &mut span.range) {
            Some(span)
                if span.start <= range.start && range.start <= span.end.saturating_add(MAX_GAP) =>
            {
                span.end = span.end.max(range.end);
            }
            _ => spans.push(Span { range: range.clone(), bytes: None }),
        }
        span_of.push(spans.len() - 1);
    }
    (spans, span_of)
}

/// A file, if opening it waits for nothing.
#[cfg(target_os = "linux")]
fn open_cached(path: &str) -> Option<File> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};

    // Whatever else is wrong, opening it on a thread will say. What is no file may wait for another
    // process, also when it is read.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED);
    let file = File::from(file.ok()?);
    file.metadata().is_ok_and(|known| known.is_file()).then_some(file)
}

/// Other systems cannot tell whether opening would wait.
#[cfg(not(target_os = "linux"))]
fn open_cached(_path: &str) -> Option<File> {
    None
}

/// The bytes at a range if all of them are in memory.
#[cfg(target_os = "linux")]
fn read_cached(file: &File, range: &Range<u64>) -> Option<Bytes> {
    use rustix::io::{Errno, ReadWriteFlags, preadv2};

    let mut bytes = vec![0; len(range)];
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = &mut [io::IoSliceMut::new(&mut bytes[filled..])];
        match preadv2(file, rest, range.start + filled as u64, ReadWriteFlags::NOWAIT) {
            Err(Errno::INTR) => {}
            // Whatever else is wrong, the read that may wait will say.
            Err(_) | Ok(0) => return None,
            Ok(read) => filled += read,
        }
    }
    Some(bytes.into())
}

/// Other systems cannot tell whether a read would wait.
#[cfg(not(target_os = "linux"))]
fn read_cached(_file: &File, range: &Range<u64>) -> Option<Bytes> {
    range.is_empty().then(Bytes::new)
}

fn read_waiting(file: &File, ranges: Vec<(usize, Range<u64>)>) -> io::Result<Vec<(usize, Bytes)>> {
    let read = |(at, range): (usize, Range<u64>)| {
        let mut bytes = vec![0; len(&range)];
        file.read_exact_at(&mut bytes, range.start)?;
        Ok((at, bytes.into()))
    };
    ranges.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn contents(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|at| (at / 7 % 251) as u8).collect()
    }

    fn open(contents: &[u8]) -> LocalReader {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(contents).unwrap();
        LocalReader { file: file.into(), in_flight: 3 }
    }

    #[tokio::test]
    async fn each_range_gets_its_bytes() {
        let contents = contents(100_000);
        let ranges =
            vec![0..0, 0..10, 5..20, 4000..4100, 40_000..40_001, 90_000..100_000, 7..9, 500..500];
        let read = open(&contents).submit_request(ranges.clone(), 0).await.unwrap();
        let expected =
            ranges.iter().map(|range| &contents[range.start as usize..range.end as usize]);
        assert_eq!(read, expected.collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_waits_reads_the_same() {
        let contents = contents(10_000);
        let ranges = (0..).zip([3..4, 0..10_000, 9_999..10_000]).collect();
        let read = read_waiting(&open(&contents).file, ranges).unwrap();
        let lengths: Vec<_> = read.iter().map(|(at, bytes)| (*at, bytes.len())).collect();
        assert_eq!(lengths, [(0, 1), (1, 10_000), (2, 1)]);
        assert_eq!(read[1].1, contents);
    }

    #[tokio::test]
    async fn a_file_is_opened_whether_or_not_it_is_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, contents(100)).unwrap();
        let path = path.to_str().unwrap().to_owned();
        let waiting = LocalReader { file: File::open(&path).unwrap().into(), in_flight: 1 };
        for file in [LocalReader::open(path, 1).await.unwrap(), waiting] {
            let read = file.submit_request(std::iter::once(0..100).collect(), 0).await.unwrap();
            assert_eq!(read, [contents(100)]);
        }
    }

    #[tokio::test]
    async fn what_is_no_file_or_not_there_is_not_opened_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        assert!(open_cached(&path("")).is_none() && open_cached(&path("none")).is_none());
        let error = LocalReader::open(path("none"), 1).await.unwrap_err();
        assert!(error.to_string().contains("No such file"), "{error}");
    }

    #[tokio::test]
    async fn a_short_file_is_an_error() {
        let error = open(&contents(100)).submit_request(vec![0..10, 90..101], 0).await.unwrap_err();
        assert!(matches!(error, lance::Error::IO { .. }), "{error}");
    }

    #[test]
    fn ranges_apart_are_read_apart() {
        let (spans, span_of) = merge(&[0..10, 4000..4096, 9000..9001, 8000..8001]);
        let spans: Vec<_> = spans.into_iter().map(|span| span.range).collect();
        assert_eq!(spans, [0..4096, 9000..9001, 8000..8001]);
        assert_eq!(span_of, [0, 0, 1, 2]);
    }
}
