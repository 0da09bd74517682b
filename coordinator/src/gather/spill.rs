//! Files for chunks that memory has no room for: segments that all tasks share.
//!
//! A segment is written once from its start to its end and goes when the last of its chunks does. It
//! has no name in its folder, so nothing stays of it however the process ends. Reading and writing
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

/// A segment ends with the chunk that makes it larger than this, in bytes: so the open files of
/// 64 GiB are a few hundred, and few bytes wait for the rest of their segment.
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
}

#[derive(Debug)]
struct Segment {
    files: Arc<SpillFiles>,
    file: File,
    end: AtomicU64,
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
    /// Files in a folder, of so many bytes together at most. Who waits for room is told by `changed`.
    pub(super) fn new(folder: PathBuf, max_bytes: u64, changed: Arc<Notify>) -> Arc<Self> {
        let (used, current) = (AtomicU64::new(0), Mutex::default());
        Arc::new(Self { folder, max_bytes, used, current, changed })
    }

    pub(super) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Writes bytes, or says by `None` that there is no room for them now. Waits for the disk.
    ///
    /// # Errors
    /// `resource_exhausted`, naming the folder, if the disk is full or fails.
    pub(super) fn write(self: &Arc<Self>, bytes: &[u8]) -> Result<Option<Spilled>> {
        let length = bytes.len() as u64;
        let room = |used: u64| used.checked_add(length).filter(|used| *used <= self.max_bytes);
        if self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_err() {
            return Ok(None);
        }
        let placed = self.place(length).inspect_err(|_| self.give_back(length));
        let written = placed.and_then(|(segment, offset)| {
            segment.file.write_all_at(bytes, offset)?;
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
                let (files, end) = (Arc::clone(self), AtomicU64::new(0));
                Arc::new(Segment { files, file: tempfile::tempfile_in(&self.folder)?, end })
            }
        };
        let offset = segment.end.fetch_add(length, Ordering::Relaxed);
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
        self.files.give_back(self.end.load(Ordering::Relaxed));
    }
}

impl Spilled {
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
        let [one, two] = [b"one".as_slice(), b"two!"].map(|b| files.write(b).unwrap().unwrap());
        assert!(Arc::ptr_eq(&one.segment, &two.segment));
        assert!(files.write(b"xx").unwrap().is_none(), "there is room for one byte more");
        assert_eq!((one.read().unwrap(), two.read().unwrap()), ("one".into(), "two!".into()));
        drop(one);
        assert_eq!(files.used(), 7);
        drop(two);
        assert_eq!(files.used(), 0);
        assert_eq!(files.write(b"again").unwrap().unwrap().read().unwrap(), "again");
    }

    #[test]
    fn bytes_that_changed_on_the_disk_are_an_error() {
        let files = files(100);
        let spilled = files.write(b"sound").unwrap().unwrap();
        spilled.segment.file.write_all_at(b"S", 0).unwrap();
        let error = spilled.read().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store);
        assert!(error.message().contains("gives other bytes than were written"), "{error}");
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let folder = std::env::temp_dir().join("keyloom-no-such-folder");
        let files = SpillFiles::new(folder.clone(), 100, Arc::default());
        let error = files.write(b"rows").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
        assert!(error.message().contains(&folder.display().to_string()), "{error}");
        assert_eq!(files.used(), 0);
    }
}
