//! Immutable bytes that clients hand in once and workers read: in-memory tables and stores.
//!
//! A blob that a job uses is held until the job ends, any other for a while after its last use, and
//! one that is not whole while its client is there. A client that finds one gone sends it again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use arrow::array::RecordBatch;
use bytes::{Bytes, BytesMut};
use keyloom_common::{
    BlobId, Error, ErrorKind, JobId, Result,
    rpc::{BlobPart, Chunk},
};

use crate::owner::{OwnedBy, Owner};

/// The blobs of a coordinator.
#[derive(Debug)]
pub(crate) struct Blobs {
    max_bytes: u64,
    ttl: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    whole: HashMap<BlobId, Blob>,
    partial: HashMap<BlobId, Partial>,
    bytes: u64,
}

#[derive(Debug)]
struct Blob {
    content: Content,
    jobs: Vec<JobId>,
    used: Instant,
}

#[derive(Debug)]
enum Content {
    Bytes(Bytes),
    /// Rows of the client's in this process, which are there for as long as it has them, or jobs do.
    Rows {
        rows: Weak<[RecordBatch]>,
        held: Option<Arc<[RecordBatch]>>,
    },
}

#[derive(Debug)]
struct Partial {
    bytes: BytesMut,
    total: u64,
    owner: OwnedBy,
    used: Instant,
}

/// The blobs that are held for a job, until this is dropped.
#[derive(Debug)]
pub(crate) struct HeldBlobs {
    blobs: Arc<Blobs>,
    job: JobId,
}

impl Drop for HeldBlobs {
    fn drop(&mut self) {
        self.blobs.release(self.job);
    }
}

impl Blobs {
    pub(crate) fn new(max_bytes: u64, ttl: Duration) -> Self {
        Self { max_bytes, ttl, state: Mutex::default() }
    }

    /// Whether the blob is held. If it is, it stays for a while.
    pub(crate) fn has(&self, id: BlobId) -> bool {
        let mut state = self.lock();
        let there = state.whole.get_mut(&id).filter(|blob| blob.content.is_there());
        there.map(|blob| blob.used = Instant::now()).is_some()
    }

    /// Takes the next part. A part that came before is ignored, so that sending twice is harmless.
    pub(crate) fn put_part(
        &self,
        owner: &Owner,
        id: BlobId,
        offset: u64,
        total: u64,
        part: Chunk,
    ) -> Result<()> {
        let part = match part {
            Chunk::Stream(part) => part.into_bytes(),
            // They come at once, and have no bytes whose hash could be their name.
            Chunk::Batches(rows) => {
                let rows = Content::Rows { rows: Arc::downgrade(&rows), held: None };
                return self.hold_content(id, rows, None);
            }
        };
        let mut state = self.lock();
        if state.whole.contains_key(&id) {
            return Ok(());
        }
        if offset == 0 && part.len() as u64 == total {
            drop(state);
            return self.insert(id, part, None);
        }
        self.reserve(&mut state, part.len() as u64)?;
        let partial = state.partial.entry(id).or_insert_with(|| Partial {
            bytes: BytesMut::new(),
            total,
            owner: owner.owned(),
            used: Instant::now(),
        });
        partial.owner = owner.owned();
        let have = partial.bytes.len() as u64;
        if partial.total != total || offset > have || offset + part.len() as u64 > total {
            return Err(Error::invalid(format!(
                "blob {id}: part at {offset} does not follow {have}"
            )));
        }
        if offset < have {
            return Ok(());
        }
        partial.bytes.extend_from_slice(&part);
        partial.used = Instant::now();
        state.bytes += part.len() as u64;
        if offset + (part.len() as u64) < total {
            return Ok(());
        }
        let Some(partial) = state.partial.remove(&id) else { return Ok(()) };
        state.bytes -= total;
        drop(state);
        self.insert(id, partial.bytes.freeze(), None)
    }

    /// Holds a blob that the coordinator made for a job.
    pub(crate) fn put_for_job(&self, job: JobId, bytes: Bytes) -> Result<BlobId> {
        let id = BlobId::of(&bytes);
        self.insert(id, bytes, Some(job))?;
        Ok(id)
    }

    fn insert(&self, id: BlobId, bytes: Bytes, job: Option<JobId>) -> Result<()> {
        if job.is_none() && BlobId::of(&bytes) != id {
            return Err(Error::invalid(format!("blob {id}: the bytes have another hash")));
        }
        self.hold_content(id, Content::Bytes(bytes), job)
    }

    fn hold_content(&self, id: BlobId, content: Content, job: Option<JobId>) -> Result<()> {
        let mut state = self.lock();
        if !state.whole.contains_key(&id) {
            let bytes = content.bytes();
            self.reserve(&mut state, bytes)?;
            state.bytes += bytes;
            state.whole.insert(id, Blob { content, jobs: Vec::new(), used: Instant::now() });
        }
        if let Some(blob) = state.whole.get_mut(&id) {
            blob.jobs.extend(job);
        }
        Ok(())
    }

    /// Makes room, if need be by dropping blobs that no job uses, those first that were not used for
    /// the longest time.
    fn reserve(&self, state: &mut State, bytes: u64) -> Result<()> {
        if state.bytes + bytes > self.max_bytes {
            state.expire(self.ttl);
        }
        while state.bytes + bytes > self.max_bytes && state.forget_oldest() {}
        if state.bytes + bytes > self.max_bytes {
            return Err(Error::resource_exhausted(format!(
                "in-memory tables and stores take more than blob_bytes = {} bytes on the \
                 coordinator; raise it, or put the rows into files",
                self.max_bytes
            )));
        }
        Ok(())
    }

    /// Holds these blobs, and those that are put for it later, for a job.
    pub(crate) fn hold(
        self: &Arc<Self>,
        job: JobId,
        ids: impl IntoIterator<Item = BlobId>,
    ) -> Result<HeldBlobs> {
        let held = HeldBlobs { blobs: Arc::clone(self), job };
        let mut state = self.lock();
        for id in ids {
            let blob = state.whole.get_mut(&id).ok_or_else(|| gone(id))?;
            if !blob.content.hold() {
                return Err(gone(id));
            }
            blob.jobs.push(job);
        }
        drop(state);
        Ok(held)
    }

    /// Lets go of all that was held for a job.
    fn release(&self, job: JobId) {
        let mut state = self.lock();
        let mut rows = Vec::new();
        for blob in state.whole.values_mut().filter(|blob| blob.jobs.contains(&job)) {
            blob.jobs.retain(|holder| *holder != job);
            blob.used = Instant::now();
            if blob.jobs.is_empty() {
                rows.extend(blob.content.let_go());
            }
        }
        drop(state);
        // Not under the lock: whoever made the rows may have something to say to their end.
        drop(rows);
    }

    /// Forgets one that the coordinator made for a job, if nobody else holds it.
    pub(crate) fn forget(&self, job: JobId, id: BlobId) {
        let mut state = self.lock();
        let Some(blob) = state.whole.get_mut(&id) else { return };
        if let Some(index) = blob.jobs.iter().position(|holder| *holder == job) {
            blob.jobs.swap_remove(index);
        }
        if blob.jobs.is_empty()
            && let Some(blob) = state.whole.remove(&id)
        {
            state.bytes -= blob.content.bytes();
        }
    }

    /// The bytes from an offset on, at most so many.
    pub(crate) fn read(&self, id: BlobId, offset: u64, max: usize) -> Result<BlobPart> {
        let mut state = self.lock();
        let blob = state.whole.get_mut(&id).ok_or_else(|| gone(id))?;
        blob.used = Instant::now();
        let bytes = match &blob.content {
            Content::Bytes(bytes) => bytes,
            Content::Rows { rows, .. } => {
                let rows = rows.upgrade().ok_or_else(|| gone(id))?;
                return Ok(BlobPart { total: 0, part: Chunk::Batches(rows) });
            }
        };
        let total = bytes.len();
        let start = usize::try_from(offset).unwrap_or(total).min(total);
        let part = bytes.slice(start..total.min(start.saturating_add(max)));
        Ok(BlobPart { total: total as u64, part: part.into() })
    }

    /// Drops what nobody holds and nobody used for a while.
    pub(crate) fn expire(&self) {
        self.lock().expire(self.ttl);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Drops the blob that no job uses and that was not used for the longest time, if there is one.
    fn forget_oldest(&mut self) -> bool {
        let unheld = self.whole.iter().filter(|(_, blob)| blob.jobs.is_empty());
        let oldest = unheld.filter(|(_, blob)| blob.content.bytes() > 0);
        let oldest = oldest.min_by_key(|(_, blob)| blob.used);
        let Some(blob) = oldest.map(|(id, _)| *id).and_then(|id| self.whole.remove(&id)) else {
            return false;
        };
        self.bytes -= blob.content.bytes();
        true
    }

    fn expire(&mut self, ttl: Duration) {
        let bytes = &mut self.bytes;
        self.whole.retain(|_, blob| {
            let keep = !blob.jobs.is_empty() || blob.used.elapsed() < ttl;
            *bytes -= if keep { 0 } else { blob.content.bytes() };
            keep
        });
        self.partial.retain(|_, partial| {
            let keep = partial.used.elapsed() < ttl && partial.owner.is_here();
            *bytes -= if keep { 0 } else { partial.bytes.len() as u64 };
            keep
        });
    }
}

impl Content {
    /// The bytes that it takes of the coordinator's. Rows of this process are their client's.
    fn bytes(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Rows { .. } => 0,
        }
    }

    fn is_there(&self) -> bool {
        match self {
            Self::Bytes(_) => true,
            Self::Rows { rows, .. } => rows.strong_count() > 0,
        }
    }

    /// Keeps it for a job, and says whether it is there.
    fn hold(&mut self) -> bool {
        match self {
            Self::Bytes(_) => true,
            Self::Rows { rows, held } => {
                *held = rows.upgrade();
                held.is_some()
            }
        }
    }

    /// What was kept for jobs.
    fn let_go(&mut self) -> Option<Arc<[RecordBatch]>> {
        match self {
            Self::Bytes(_) => None,
            Self::Rows { held, .. } => held.take(),
        }
    }
}

const GONE: &str = "is not held by the coordinator (any more)";

fn gone(id: BlobId) -> Error {
    Error::not_found(format!("blob {id} {GONE}; submit again"))
}

/// Whether a job was refused because a blob that it reads was dropped after it had been sent.
pub fn blob_is_gone(error: &Error) -> bool {
    error.kind() == ErrorKind::NotFound && error.message().contains(GONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs(max: u64) -> Arc<Blobs> {
        Arc::new(Blobs::new(max, Duration::ZERO))
    }

    #[test]
    fn parts_make_a_whole_and_repeats_are_harmless() {
        let blobs = blobs(1000);
        let bytes = Bytes::from_static(b"hello world");
        let id = BlobId::of(&bytes);
        blobs.put_part(&Owner::default(), id, 0, 11, bytes.slice(..5).into()).unwrap();
        blobs.put_part(&Owner::default(), id, 0, 11, bytes.slice(..5).into()).unwrap();
        assert!(!blobs.has(id));
        blobs.put_part(&Owner::default(), id, 5, 11, bytes.slice(5..).into()).unwrap();
        assert!(blobs.has(id));
        assert_eq!(blobs.read(id, 6, 100).unwrap().part, Chunk::from(Bytes::from_static(b"world")));
        assert_eq!(blobs.read(id, 0, 5).unwrap().part, Chunk::from(Bytes::from_static(b"hello")));
    }

    #[test]
    fn bytes_of_another_hash_are_refused() {
        let id = BlobId::of(b"one");
        let error = blobs(10)
            .put_part(&Owner::default(), id, 0, 3, Bytes::from_static(b"two").into())
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }

    #[test]
    fn what_no_job_uses_makes_room_before_its_time() {
        let blobs = Arc::new(Blobs::new(10, Duration::from_secs(600)));
        let [a, b, c] = [b"aaaaa", b"bbbbb", b"ccccc"].map(|bytes| Bytes::from_static(bytes));
        let [id_a, id_b, id_c] = [&a, &b, &c].map(|bytes| BlobId::of(bytes));
        blobs.put_part(&Owner::default(), id_a, 0, 5, a.into()).unwrap();
        blobs.put_part(&Owner::default(), id_b, 0, 5, b.into()).unwrap();
        assert!(blobs.has(id_a));
        blobs.put_part(&Owner::default(), id_c, 0, 5, c.into()).unwrap();
        assert!(blobs.has(id_a) && !blobs.has(id_b) && blobs.has(id_c));
    }

    #[test]
    fn rows_of_this_process_are_there_while_their_client_or_a_job_has_them() {
        let blobs = Arc::new(Blobs::new(0, Duration::from_secs(600)));
        let (id, jobs) = (BlobId::unique(), [JobId::from_u128(1), JobId::from_u128(2)]);
        let rows: Chunk = Vec::<RecordBatch>::new().into();
        blobs.put_part(&Owner::default(), id, 0, 0, rows.clone()).unwrap();
        let [one, two] = jobs.map(|job| blobs.hold(job, [id]).unwrap());
        drop(rows);
        drop(one);
        assert!(blobs.has(id) && blobs.read(id, 0, 1).is_ok());
        drop(two);
        assert!(!blobs.has(id));
        assert!(blob_is_gone(&blobs.hold(jobs[0], [id]).unwrap_err()));
    }

    #[test]
    fn held_blobs_stay_and_others_make_room() {
        let blobs = blobs(10);
        let job = JobId::from_u128(1);
        let (a, b, c) = (Bytes::from_static(b"aaaaa"), Bytes::from_static(b"bbbbb"), b"ccccc");
        let (id_a, id_b, id_c) = (BlobId::of(&a), BlobId::of(&b), BlobId::of(c));
        blobs.put_part(&Owner::default(), id_a, 0, 5, a.into()).unwrap();
        blobs.put_part(&Owner::default(), id_b, 0, 5, b.into()).unwrap();
        let a = blobs.hold(job, [id_a]).unwrap();
        blobs.put_part(&Owner::default(), id_c, 0, 5, Bytes::from_static(c).into()).unwrap();
        assert!(blobs.has(id_a) && !blobs.has(id_b) && blobs.has(id_c));
        let c = blobs.hold(job, [id_c]).unwrap();
        let full = blobs
            .put_part(&Owner::default(), id_b, 0, 5, Bytes::from_static(b"bbbbb").into())
            .unwrap_err();
        assert_eq!(full.kind(), ErrorKind::ResourceExhausted);
        drop((a, c));
        blobs.put_part(&Owner::default(), id_b, 0, 5, Bytes::from_static(b"bbbbb").into()).unwrap();
    }

    #[test]
    fn a_part_of_a_blob_goes_with_its_client() {
        let blobs = Arc::new(Blobs::new(10, Duration::from_secs(600)));
        let (owner, id) = (Owner::default(), BlobId::of(b"hello world"));
        blobs.put_part(&owner, id, 0, 11, Bytes::from_static(b"hello").into()).unwrap();
        blobs.expire();
        assert_eq!(blobs.lock().bytes, 5);
        drop(owner);
        blobs.expire();
        assert_eq!(blobs.lock().bytes, 0);
    }

    #[test]
    fn a_job_that_finds_a_blob_gone_holds_none() {
        let blobs = blobs(10);
        let (there, gone) = (Bytes::from_static(b"there"), BlobId::of(b"gone"));
        let id = BlobId::of(&there);
        blobs.put_part(&Owner::default(), id, 0, 5, there.into()).unwrap();
        assert!(blob_is_gone(&blobs.hold(JobId::from_u128(1), [id, gone]).unwrap_err()));
        assert!(blobs.lock().whole[&id].jobs.is_empty());
    }
}
