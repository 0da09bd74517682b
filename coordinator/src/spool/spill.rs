//! Files for chunks that memory has no room for: segments that all tasks share.
//!
//! A segment is written once from its start to its end. The room of a chunk returns with the chunk,
//! where the file system can do that, else with the last one of its segment. A segment has no name
//! in its folder, so nothing stays of it however the process ends. Reading and writing
//! wait for a disk, and hold no lock meanwhile. What is read back has its checksum or is an error.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use keyloom_common::{Error, Result, checksum::checksum};
use tokio::sync::Notify;

use crate::metrics::Spills;

/// A segment ends with the chunk that makes it larger than this, in bytes: so few files are open
/// for much that waits. One stays open for as long as any of its chunks waits.
const SEGMENT_BYTES: u64 = 256 << 20;

/// The files of a coordinator.
#[derive(Debug)]
pub(super) struct SpillFiles {
    folder: PathBuf,
    max_bytes: u64,
    used: AtomicU64,
    /// The segment that is being written, while any of its chunks is left.
    current: Mutex<Weak<Segment>>,
    changed: Arc<Notify>,
    spills: Spills,
}

#[derive(Debug)]
struct Segment {
    files: Arc<SpillFiles>,
    file: File,
    end: AtomicU64,
    /// The bytes whose room was not given back.
    held: AtomicU64,
}

/// A chunk in a file.
#[derive(Debug)]
pub(super) struct Spilled {
    segment: Arc<Segment>,
    offset: u64,
    length: usize,
    sum: u32,
}

impl SpillFiles {
    /// Files in a folder, of so many bytes together at most. Who waits for room is told by
    /// `changed`.
    pub(super) fn new(folder: PathBuf, max_bytes: u64, changed: Arc<Notify>) -> Arc<Self> {
        let (used, current) = (AtomicU64::new(0), Mutex::default());
        Arc::new(Self { folder, max_bytes, used, current, changed, spills: Spills::default() })
    }

    pub(super) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// What was written so far.
    pub(super) fn spills(&self) -> &Spills {
        &self.spills
    }

    /// How many bytes are there now.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Writes bytes, or says by `None` that there would be more than so many. Waits for the disk.
    ///
    /// # Errors
    /// `resource_exhausted`, naming the folder, if the disk is full or fails.
    pub(super) fn write(self: &Arc<Self>, bytes: &[u8], most: u64) -> Result<Option<Spilled>> {
        let length = bytes.len() as u64;
        let room = |used: u64| used.checked_add(length).filter(|used| *used <= most);
        if self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_err() {
            return Ok(None);
        }
        let placed = self.place(length).inspect_err(|_| self.give_back(length));
        let written = placed.and_then(|(segment, offset)| {
            segment.file.write_all_at(bytes, offset)?;
            self.spills.bytes.inc_by(length);
            self.spills.chunks.inc();
            Ok(Spilled { segment, offset, length: bytes.len(), sum: checksum(bytes) })
        });
        written.map(Some).map_err(|error| {
            let folder = self.folder.display();
            Error::resource_exhausted(format!(
                "results that wait for the client cannot be written to {folder}: {error}; \
                 setting spill_folder names another folder"
            ))
        })
    }

    /// A place of so many bytes, which are the segment's from now on.
    fn place(self: &Arc<Self>, length: u64) -> io::Result<(Arc<Segment>, u64)> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let segment = match current.upgrade() {
            Some(segment) => segment,
            None => {
                let (files, file) = (Arc::clone(self), tempfile::tempfile_in(&self.folder)?);
                let [end, held] = [(); 2].map(|()| AtomicU64::new(0));
                Arc::new(Segment { files, file, end, held })
            }
        };
        let offset = segment.end.fetch_add(length, Ordering::Relaxed);
        segment.held.fetch_add(length, Ordering::Relaxed);
        let has_room = offset + length < SEGMENT_BYTES;
        *current = if has_room { Arc::downgrade(&segment) } else { Weak::new() };
        Ok((segment, offset))
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.changed.notify_waiters();
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.files.give_back(self.held.load(Ordering::Relaxed));
    }
}

impl Drop for Spilled {
    fn drop(&mut self) {
        let Self { segment, offset, length, .. } = self;
        // The last chunk goes with the whole file.
        if Arc::strong_count(segment) > 1 && punch(&segment.file, *offset, *length as u64) {
            segment.held.fetch_sub(*length as u64, Ordering::Relaxed);
            segment.files.give_back(*length as u64);
        }
    }
}

/// Gives the room of a part of a file back to the disk, if the file system can.
#[cfg(target_os = "linux")]
fn punch(file: &File, offset: u64, length: u64) -> bool {
    use rustix::fs::{FallocateFlags, fallocate};
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(file, flags, offset, length).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn punch(_: &File, _: u64, _: u64) -> bool {
    false
}

impl Spilled {
    /// How many bytes there are.
    pub(super) fn bytes(&self) -> u64 {
        self.length as u64
    }

    /// Reads it back. Waits for the disk.
    ///
    /// # Errors
    /// `store` if the disk fails or gives other bytes than were written.
    pub(super) fn read(&self) -> Result<Bytes> {
        let mut bytes = vec![0; self.length];
        let read = self.segment.file.read_exact_at(&mut bytes, self.offset);
        let folder = self.segment.files.folder.display();
        read.map_err(|error| {
            Error::store(format!("a temporary file in {folder} cannot be read back: {error}"))
        })?;
        if checksum(&bytes) != self.sum {
            return Err(Error::store(format!(
                "a temporary file in {folder} gives other bytes than were written; the disk or the \
                 memory is damaged"
            )));
        }
        Ok(bytes.into())
    }

    /// Changes a byte of it as a bad disk would, for tests and fuzzers.
    pub(super) fn damage(&self, at: usize, byte: u8) -> io::Result<()> {
        self.segment.file.write_all_at(&[byte], self.offset + at as u64)
    }
}

#[cfg(test)]
mod tests {
    use keyloom_common::ErrorKind;

    use super::*;

    fn files(max_bytes: u64) -> Arc<SpillFiles> {
        SpillFiles::new(std::env::temp_dir(), max_bytes, Arc::default())
    }

    #[test]
    fn chunks_share_a_segment_that_goes_with_the_last_of_them() {
        let files = files(8);
        let [one, two] = [b"one".as_slice(), b"two!"].map(|b| files.write(b, 8).unwrap().unwrap());
        assert!(Arc::ptr_eq(&one.segment, &two.segment));
        assert!(files.write(b"xx", 8).unwrap().is_none(), "there is room for one byte more");
        assert_eq!((one.read().unwrap(), two.read().unwrap()), ("one".into(), "two!".into()));
        drop(one);
        // Where the file system cannot give back a part, it returns with the whole.
        assert!(files.used() == 4 || files.used() == 7, "{}", files.used());
        assert_eq!(two.read().unwrap(), "two!");
        drop(two);
        assert_eq!(files.used(), 0);
        assert_eq!(files.write(b"again", 8).unwrap().unwrap().read().unwrap(), "again");
    }

    #[test]
    fn bytes_that_changed_on_the_disk_are_an_error() {
        let files = files(100);
        let spilled = files.write(b"sound", 100).unwrap().unwrap();
        spilled.damage(0, b'S').unwrap();
        let error = spilled.read().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store);
        assert!(error.message().contains("gives other bytes than were written"), "{error}");
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let folder = std::env::temp_dir().join("keyloom-no-such-folder");
        let files = SpillFiles::new(folder.clone(), 100, Arc::default());
        let error = files.write(b"rows", 100).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
        assert!(error.message().contains(&folder.display().to_string()), "{error}");
        assert_eq!(files.used(), 0);
    }
}
