//! The output of an attempt, in order, in memory as long as there is room and then in a file.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use keyloom_common::{
    Error, Result,
    ipc::{decode_all, encode_all},
    rpc::Chunk,
};
use tokio::sync::Notify;

/// How much all spools of a coordinator may take.
#[derive(Debug)]
pub(crate) struct SpoolRoom {
    memory: Gauge,
    disk: Gauge,
    changed: Notify,
}

#[derive(Debug)]
struct Gauge {
    used: AtomicU64,
    max: u64,
}

impl Gauge {
    fn take(&self, bytes: u64) -> bool {
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|&used| used <= self.max)
            })
            .is_ok()
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl SpoolRoom {
    pub(crate) fn new(memory_bytes: u64, disk_bytes: u64) -> Arc<Self> {
        let gauge = |max| Gauge { used: AtomicU64::new(0), max };
        let (memory, disk) = (gauge(memory_bytes), gauge(disk_bytes));
        Arc::new(Self { memory, disk, changed: Notify::new() })
    }

    /// Whether there is memory for so many bytes that are not due yet. Half of it is left to those
    /// that are. Waiting helps only while something is there to go.
    pub(crate) fn has_memory_ahead(&self, bytes: usize) -> bool {
        let used = self.memory.used.load(Ordering::Relaxed);
        used == 0 || used.saturating_add(bytes as u64) <= self.memory.max / 2
    }

    /// Told whenever memory was given back, or when those who wait should look again.
    pub(crate) fn changed(&self) -> &Notify {
        &self.changed
    }

    fn give_memory_back(&self, bytes: u64) {
        self.memory.give_back(bytes);
        self.changed.notify_waiters();
    }
}

/// The chunks of one attempt. Its room is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Spool {
    room: Arc<SpoolRoom>,
    chunks: Vec<Kept>,
    file: Option<File>,
    file_bytes: u64,
}

#[derive(Debug)]
enum Kept {
    /// Nothing once it was taken.
    Memory(Option<Chunk>),
    File {
        offset: u64,
        length: usize,
        /// Whether it was batches, and is a stream of its own.
        whole: bool,
    },
}

impl Spool {
    pub(crate) fn new(room: Arc<SpoolRoom>) -> Self {
        Self { room, chunks: Vec::new(), file: None, file_bytes: 0 }
    }

    /// How many chunks there are.
    pub(crate) fn len(&self) -> usize {
        self.chunks.len()
    }

    /// Appends a chunk. May write to a file.
    ///
    /// # Errors
    /// `resource_exhausted` if there is no room left in memory or on disk.
    pub(crate) fn push(&mut self, chunk: Chunk) -> Result<()> {
        if self.room.memory.take(chunk.size() as u64) {
            self.chunks.push(Kept::Memory(Some(chunk)));
            return Ok(());
        }
        let (chunk, whole) = encoded(chunk)?;
        let bytes = chunk.len() as u64;
        if !self.room.disk.take(bytes) {
            return Err(Error::resource_exhausted(format!(
                "results that wait for the client take more than gather_disk_bytes = {} bytes on \
                 the coordinator",
                self.room.disk.max
            )));
        }
        // Counted before it is written, so that a failed write gives its room back with the rest.
        let offset = self.file_bytes;
        self.file_bytes += bytes;
        self.append(offset, &chunk).map_err(|error| {
            Error::resource_exhausted(format!("a temporary file cannot be written: {error}"))
        })?;
        self.chunks.push(Kept::File { offset, length: chunk.len(), whole });
        Ok(())
    }

    fn append(&mut self, offset: u64, chunk: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile()?),
        };
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(chunk)
    }

    /// Takes out the next chunk, the first first. May read a file.
    ///
    /// # Errors
    /// `internal` if the file cannot be read back.
    pub(crate) fn take(&mut self, index: usize) -> Result<Option<Chunk>> {
        match self.chunks.get_mut(index) {
            None => Ok(None),
            Some(Kept::Memory(chunk)) => {
                let chunk = chunk.take();
                let chunk = chunk.ok_or_else(|| Error::internal("a chunk was taken twice"))?;
                self.room.give_memory_back(chunk.size() as u64);
                Ok(Some(chunk))
            }
            Some(&mut Kept::File { offset, length, whole }) => {
                let bytes = self.read(offset, length).map_err(|error| {
                    Error::internal(format!("a temporary file cannot be read back: {error}"))
                })?;
                Ok(Some(if whole { decode_all(bytes)?.1.into() } else { bytes.into() }))
            }
        }
    }

    fn read(&mut self, offset: u64, length: usize) -> io::Result<Bytes> {
        let file = self.file.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let mut bytes = vec![0; length];
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        let in_memory = self.chunks.iter().map(|chunk| match chunk {
            Kept::Memory(chunk) => chunk.as_ref().map_or(0, |chunk| chunk.size() as u64),
            Kept::File { .. } => 0,
        });
        self.room.give_memory_back(in_memory.sum());
        self.room.disk.give_back(self.file_bytes);
    }
}

/// A chunk as bytes, and whether they are a stream of its own.
fn encoded(chunk: Chunk) -> Result<(Bytes, bool)> {
    match chunk {
        Chunk::Stream(body) => Ok((body.0, false)),
        Chunk::Batches(batches) => match batches.first() {
            Some(first) => Ok((encode_all(&first.schema(), &batches)?, true)),
            None => Ok((Bytes::new(), false)),
        },
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use keyloom_common::ErrorKind;

    use super::*;

    #[test]
    fn chunks_beyond_memory_come_back_from_disk_in_order() {
        let room = SpoolRoom::new(10, 1000);
        let mut spool = Spool::new(Arc::clone(&room));
        let chunks: Vec<Chunk> = (0..10_u8).map(|i| Bytes::from(vec![i; 4]).into()).collect();
        for chunk in &chunks {
            spool.push(chunk.clone()).unwrap();
        }
        assert!(spool.file_bytes > 0);
        for (index, chunk) in chunks.iter().enumerate() {
            assert_eq!(spool.take(index).unwrap().as_ref(), Some(chunk));
        }
        assert_eq!(spool.take(10).unwrap(), None);
        drop(spool);
        assert_eq!(room.memory.used.load(Ordering::Relaxed), 0);
        assert_eq!(room.disk.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn batches_beyond_memory_come_back_as_they_were() {
        let numbers = |numbers: Vec<i64>| -> Chunk {
            let numbers = Arc::new(Int64Array::from(numbers)) as ArrayRef;
            vec![RecordBatch::try_from_iter([("n", numbers)]).unwrap()].into()
        };
        let chunks = [numbers(vec![1, 2]), numbers(vec![3]), numbers(vec![4, 5, 6])];
        let room = SpoolRoom::new(chunks[0].size() as u64, 10_000);
        let mut spool = Spool::new(Arc::clone(&room));
        for chunk in &chunks {
            spool.push(chunk.clone()).unwrap();
        }
        assert!(spool.file_bytes > 0);
        for (index, chunk) in chunks.iter().enumerate() {
            assert_eq!(spool.take(index).unwrap().as_ref(), Some(chunk));
        }
        drop(spool);
        assert_eq!(room.memory.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_full_disk_is_a_typed_error() {
        let mut spool = Spool::new(SpoolRoom::new(0, 5));
        let error = spool.push(Bytes::from_static(b"sixsix").into()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    }
}
