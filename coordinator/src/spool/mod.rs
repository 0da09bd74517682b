//! The output of an attempt, in order, in memory as long as there is room and then in files.

mod fuzzing;
mod spill;

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use keyloom_common::{
    Error, Result,
    ipc::{decode_all, encode_all},
    memory::{MemoryBudget, Reserved},
    rpc::Chunk,
};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};

use crate::metrics::Spills;
pub(crate) use fuzzing::damaged_segment;
use spill::{SpillFiles, Spilled};

/// How much all spools of a coordinator may take.
#[derive(Debug)]
pub(crate) struct SpoolRoom {
    memory: MemoryBudget,
    files: Arc<SpillFiles>,
    writers: Arc<Semaphore>,
    readers: Arc<Semaphore>,
    changed: Arc<Notify>,
}

/// How many chunks are written at once, and how many are read: a disk that is slow, or hangs, takes
/// no more threads than these.
const AT_ONCE: usize = 8;

async fn place(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit> {
    let place = Arc::clone(places).acquire_owned().await;
    place.map_err(|_| Error::internal("the files are closed"))
}

impl SpoolRoom {
    /// Room for so many bytes in memory, and for so many in files of a folder.
    #[cfg(test)]
    pub(crate) fn new(memory_bytes: u64, disk_bytes: u64, folder: PathBuf) -> Arc<Self> {
        let memory = MemoryBudget::new("gather_memory_bytes", memory_bytes);
        Self::within(memory, disk_bytes, folder)
    }

    /// Room in memory that others may take, too, and for so many bytes in files of a folder.
    pub(crate) fn within(memory: MemoryBudget, disk_bytes: u64, folder: PathBuf) -> Arc<Self> {
        let changed = Arc::<Notify>::default();
        let files = SpillFiles::new(folder, disk_bytes, Arc::clone(&changed));
        let [writers, readers] = [(); 2].map(|()| Arc::new(Semaphore::new(AT_ONCE)));
        Arc::new(Self { memory, files, writers, readers, changed })
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory.bytes()
    }

    pub(crate) fn memory(&self) -> &MemoryBudget {
        &self.memory
    }

    /// How many bytes are in files now.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.files.used()
    }

    /// What was written to files so far.
    pub(crate) fn spills(&self) -> &Spills {
        self.files.spills()
    }

    /// Whether there is memory for so many bytes that are not due yet. Half of it is left to those
    /// that are. Waiting helps only while something is there to go.
    pub(crate) fn has_memory_ahead(&self, bytes: usize) -> bool {
        let used = self.memory.used();
        used == 0 || used.saturating_add(bytes as u64) <= self.memory.bytes() / 2
    }

    /// Told whenever room was given back, or when those who wait should look again.
    pub(crate) fn changed(&self) -> &Notify {
        &self.changed
    }

    /// Writes a chunk to a file, or says by `None` that the files are full, of which an eighth is
    /// left to rows that are due.
    ///
    /// # Errors
    /// `resource_exhausted` if the disk is full or fails.
    pub(crate) async fn spill(&self, chunk: Chunk, early: bool) -> Result<Option<SpilledChunk>> {
        let files = Arc::clone(&self.files);
        let most = files.max_bytes() - if early { files.max_bytes() / 8 } else { 0 };
        let place = place(&self.writers).await?;
        let write = move || {
            // Until the disk has answered, also if nobody waits for that any more.
            let _place = place;
            let (bytes, whole) = encoded(chunk)?;
            let spilled = files.write(&bytes, most)?.map(Arc::new);
            Ok(spilled.map(|spilled| SpilledChunk { spilled, whole }))
        };
        spawn_blocking(write).await.map_err(Error::from_join)?
    }

    /// What is said when neither memory nor files have room.
    pub(crate) fn full(&self) -> Error {
        Error::resource_exhausted(format!(
            "results that wait for the client find no room on the coordinator: {} of the {} bytes \
             of {} are free, and gather_disk_bytes = {} bytes are taken",
            self.memory.free(),
            self.memory.bytes(),
            self.memory.name(),
            self.files.max_bytes()
        ))
    }

    /// Half of the memory is left to rows that are due.
    fn take_memory(&self, bytes: usize, early: bool) -> Option<Reserved> {
        if early && !self.has_memory_ahead(bytes) {
            return None;
        }
        self.memory.try_take(bytes as u64).ok()
    }
}

/// A chunk in a file.
#[derive(Debug)]
pub(crate) struct SpilledChunk {
    spilled: Arc<Spilled>,
    /// Whether it was batches, and is a stream of its own.
    whole: bool,
}

/// The chunks of one attempt. Its room is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Spool {
    room: Arc<SpoolRoom>,
    chunks: Vec<Kept>,
}

#[derive(Debug)]
enum Kept {
    Memory(Chunk, Reserved),
    File(SpilledChunk),
    Taken,
}

impl Spool {
    pub(crate) fn new(room: Arc<SpoolRoom>) -> Self {
        Self { room, chunks: Vec::new() }
    }

    /// How many chunks there are.
    pub(crate) fn len(&self) -> usize {
        self.chunks.len()
    }

    /// About how many bytes they have.
    pub(crate) fn bytes(&self) -> u64 {
        let bytes = |kept: &Kept| match kept {
            Kept::Memory(chunk, _) => chunk.size() as u64,
            Kept::File(SpilledChunk { spilled, .. }) => spilled.bytes(),
            Kept::Taken => 0,
        };
        self.chunks.iter().map(bytes).sum()
    }

    /// Appends a chunk, if there is memory for it. It may come early, before its rows are due.
    pub(crate) fn push(&mut self, chunk: &Chunk, early: bool) -> bool {
        let Some(memory) = self.room.take_memory(chunk.size(), early) else { return false };
        self.chunks.push(Kept::Memory(chunk.clone().received(), memory));
        true
    }

    /// Appends a chunk that is in a file.
    pub(crate) fn push_spilled(&mut self, chunk: SpilledChunk) {
        self.chunks.push(Kept::File(chunk));
    }

    /// Takes out a chunk. May read a file.
    ///
    /// # Errors
    /// `store` if a file cannot be read back.
    pub(crate) async fn take(&mut self, index: usize) -> Result<Option<Chunk>> {
        let Some(kept) = self.chunks.get_mut(index) else { return Ok(None) };
        match std::mem::replace(kept, Kept::Taken) {
            Kept::Memory(chunk, memory) => {
                drop(memory);
                self.room.changed.notify_waiters();
                Ok(Some(chunk))
            }
            Kept::File(SpilledChunk { spilled, whole }) => {
                let place = place(&self.room.readers).await?;
                let read = move || {
                    let _place = place;
                    decoded(spilled.read()?, whole)
                };
                spawn_blocking(read).await.map_err(Error::from_join)?.map(Some)
            }
            Kept::Taken => Err(Error::internal("a chunk was taken twice")),
        }
    }

    /// A chunk as bytes, and whether they are a stream of its own, which [`Self::restore`] takes.
    /// It stays. May read a file.
    ///
    /// # Errors
    /// `store` if a file cannot be read back.
    pub(crate) async fn peek(&mut self, index: usize) -> Result<(Bytes, bool)> {
        let (spilled, whole) = match self.chunks.get(index) {
            Some(Kept::Memory(chunk, _)) => return encoded(chunk.clone()),
            Some(Kept::File(SpilledChunk { spilled, whole })) => (Arc::clone(spilled), *whole),
            Some(Kept::Taken) | None => return Err(Error::internal("a chunk is not there")),
        };
        let place = place(&self.room.readers).await?;
        let read = move || {
            let _place = place;
            Ok((spilled.read()?, whole))
        };
        spawn_blocking(read).await.map_err(Error::from_join)?
    }

    /// Appends a chunk that was kept as bytes, in memory or in a file. It may not be due yet, and
    /// leaves to those that are what is left to them, as long as it can.
    ///
    /// # Errors
    /// `resource_exhausted` if there is no room, `internal` if the bytes are no rows.
    pub(crate) async fn restore(&mut self, bytes: Bytes, whole: bool) -> Result<()> {
        let chunk = decoded(bytes, whole)?;
        if self.push(&chunk, true) {
            return Ok(());
        }
        if let Some(spilled) = self.room.spill(chunk.clone(), true).await? {
            self.push_spilled(spilled);
            return Ok(());
        }
        match self.push(&chunk, false) {
            true => Ok(()),
            false => Err(self.room.full()),
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.chunks.clear();
        self.room.changed.notify_waiters();
    }
}

/// A chunk from bytes, which may be a stream of its own.
///
/// # Errors
/// `internal` if they are none.
pub(crate) fn decoded(bytes: Bytes, whole: bool) -> Result<Chunk> {
    Ok(if whole { decode_all(bytes)?.1.into() } else { bytes.into() })
}

/// A chunk as bytes, and whether they are a stream of its own.
fn encoded(chunk: Chunk) -> Result<(Bytes, bool)> {
    match chunk {
        Chunk::Stream(body) => Ok((body.into_bytes(), false)),
        Chunk::Batches(batches) => match batches.first() {
            Some(first) => Ok((encode_all(&first.schema(), &batches)?, true)),
            None => Ok((Bytes::new(), false)),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::env::temp_dir;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};

    use super::*;

    async fn push(spool: &mut Spool, chunk: &Chunk) {
        if !spool.push(chunk, false) {
            let spilled = spool.room.spill(chunk.clone(), false).await.unwrap().unwrap();
            spool.push_spilled(spilled);
        }
    }

    /// Chunks that do not all fit into memory come back as they were, and their room is given back.
    async fn check(memory: u64, chunks: &[Chunk]) {
        let room = SpoolRoom::new(memory, 10_000, temp_dir());
        let mut spool = Spool::new(Arc::clone(&room));
        for chunk in chunks {
            push(&mut spool, chunk).await;
        }
        assert!(room.files.used() > 0 && room.memory.used() > 0);
        assert!(spool.bytes() > room.files.used());
        for (index, chunk) in chunks.iter().enumerate() {
            assert_eq!(spool.take(index).await.unwrap().as_ref(), Some(chunk));
        }
        assert_eq!(spool.take(chunks.len()).await.unwrap(), None);
        drop(spool);
        assert_eq!((room.files.used(), room.memory.used()), (0, 0));
    }

    #[tokio::test]
    async fn chunks_beyond_memory_come_back_from_disk_in_order() {
        let chunks: Vec<Chunk> = (0..10_u8).map(|i| Bytes::from(vec![i; 4]).into()).collect();
        check(10, &chunks).await;
    }

    #[tokio::test]
    async fn what_is_looked_at_stays_and_is_restored_elsewhere() {
        let numbers = Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef;
        let batches = vec![RecordBatch::try_from_iter([("n", numbers)]).unwrap()];
        let chunks: [Chunk; 2] = [Bytes::from_static(b"piece").into(), batches.into()];
        for memory in [0, 10_000] {
            let room = SpoolRoom::new(memory, 10_000, temp_dir());
            let [mut spool, mut other] = [(); 2].map(|()| Spool::new(Arc::clone(&room)));
            for (index, chunk) in chunks.iter().enumerate() {
                push(&mut spool, chunk).await;
                let (bytes, whole) = spool.peek(index).await.unwrap();
                other.restore(bytes, whole).await.unwrap();
                for spool in [&mut spool, &mut other] {
                    assert_eq!(spool.take(index).await.unwrap().as_ref(), Some(chunk));
                }
            }
        }
    }

    #[tokio::test]
    async fn batches_beyond_memory_come_back_as_they_were() {
        let numbers = |numbers: Vec<i64>| -> Chunk {
            let numbers = Arc::new(Int64Array::from(numbers)) as ArrayRef;
            vec![RecordBatch::try_from_iter([("n", numbers)]).unwrap()].into()
        };
        let chunks = [numbers(vec![1, 2]), numbers(vec![3]), numbers(vec![4, 5, 6])];
        check(chunks[0].size() as u64, &chunks).await;
    }

    #[tokio::test]
    async fn what_others_take_of_the_memory_is_none_for_rows() {
        let all = MemoryBudget::new("memory_bytes", 20);
        let room = SpoolRoom::within(all.part("gather_memory_bytes", 15), 1000, temp_dir());
        let ten: Chunk = Bytes::from_static(b"ten bytes.").into();
        let mut spool = Spool::new(room);
        let others = all.try_take(11).unwrap();
        assert!(!spool.push(&ten, false));
        drop(others);
        assert!(spool.push(&ten, false));
        assert_eq!(all.used(), 10);
        drop(spool);
        assert_eq!(all.used(), 0);
    }

    #[tokio::test]
    async fn full_files_are_no_error_yet() {
        let room = SpoolRoom::new(0, 5, temp_dir());
        let six = || Bytes::from_static(b"sixsix").into();
        assert!(room.spill(six(), false).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn early_rows_leave_room_to_those_that_are_due() {
        let room = SpoolRoom::new(20, 16, temp_dir());
        let ten: Chunk = Bytes::from_static(b"ten bytes.").into();
        let mut spool = Spool::new(Arc::clone(&room));
        assert!(spool.push(&ten, true) && !spool.push(&ten, true) && spool.push(&ten, false));
        let fifteen = || Bytes::from_static(b"fifteen bytes..").into();
        assert!(room.spill(fifteen(), true).await.unwrap().is_none());
        assert!(room.spill(fifteen(), false).await.unwrap().is_some());
    }
}
