//! Immutable bytes that clients hand in once and workers read: in-memory tables and stores.
//!
//! A blob that a job uses is held until the job ends, any other for a while after its last use, and
//! one that is not whole while its client is there. A client that finds one gone sends it again.
//!
//! A blob is known by a hash of its bytes, and held once, whoever sends it. But a client learns
//! nothing of what others hold: to it, what it has not sent itself is not there. Otherwise whoever
//! has come upon a hash, in a log or a plan, could ask whether somebody works with those bytes, or
//! have a job of its own read them.

mod content;
mod partial;
mod state;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use keyloom_common::{
    BlobId, Error, ErrorCode, JobId, Result,
    rpc::{BlobPart, Chunk, Identity},
};

use crate::{metrics::Share, owner::Owner};
use content::Content;
use partial::{Partial, does_not_follow};
use state::{Blob, State};

/// Whom content is put for.
#[derive(Clone, Copy, Debug)]
enum PutFor<'a> {
    Client(&'a Identity),
    /// The rows that a job sends its workers.
    Rows(JobId),
    /// What tells them what to run: it finds room beside full tables. `max_plan_bytes` bounds it.
    Plan(JobId),
}

impl PutFor<'_> {
    fn job(self) -> Option<JobId> {
        match self {
            Self::Client(_) => None,
            Self::Rows(job) | Self::Plan(job) => Some(job),
        }
    }
}

/// The blobs of a coordinator.
#[derive(Debug)]
pub(crate) struct Blobs {
    max_bytes: u64,
    ttl: Duration,
    state: Mutex<State>,
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

    /// What blobs take.
    pub(crate) fn share(&self) -> Share {
        Share { name: "blobs", used: self.lock().bytes, limit: self.max_bytes }
    }

    /// Whether the blob is held, for a client who has sent it. If it is, it stays for a while.
    pub(crate) fn has(&self, owner: &Owner, id: BlobId) -> bool {
        let mut state = self.lock();
        let there = state.whole.get_mut(&id).filter(|blob| blob.content.is_there());
        let there = there.filter(|blob| blob.is_known_to(owner));
        there.map(|blob| blob.used = Instant::now()).is_some()
    }

    /// Refuses what the client has not sent, as what is not there.
    ///
    /// # Errors
    /// `not_found`, known by its code.
    pub(crate) fn check(&self, owner: &Owner, id: BlobId) -> Result<()> {
        if self.has(owner, id) { Ok(()) } else { Err(gone(id)) }
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
                let put_for = PutFor::Client(owner.identity());
                return self.hold_content(&mut self.lock(), id, rows, put_for);
            }
        };
        let end = offset.checked_add(part.len() as u64).filter(|end| *end <= total);
        let end = end.ok_or_else(|| {
            let length = part.len();
            Error::invalid(format!(
                "blob {id}: part at {offset} of {length} bytes goes beyond its {total}"
            ))
        })?;
        if offset == 0 && end == total {
            return self.insert(owner, id, part);
        }
        match self.add_part(owner, id, offset, total, &part)? {
            Some(bytes) => self.insert(owner, id, bytes),
            None => Ok(()),
        }
    }

    /// Adds a part, and answers all bytes if they are there now.
    fn add_part(
        &self,
        owner: &Owner,
        id: BlobId,
        offset: u64,
        total: u64,
        part: &[u8],
    ) -> Result<Option<Bytes>> {
        let mut state = self.lock();
        if state.whole.get(&id).is_some_and(|blob| blob.is_known_to(owner)) {
            return Ok(None);
        }
        let part_of = (id, owner.identity().clone());
        if offset == 0 && !state.partial.contains_key(&part_of) {
            self.reserve(&mut state, total)?;
            state.partial.insert(part_of.clone(), Partial::new(owner, total)?);
            state.bytes += total;
        }
        // Another connection of the client's may have sent it too, whose part of it went with it.
        let partial =
            state.partial.get_mut(&part_of).ok_or_else(|| does_not_follow(id, offset, 0))?;
        if partial.total != total {
            return Err(Error::invalid(format!(
                "blob {id}: it has {} bytes, and not {total}",
                partial.total
            )));
        }
        partial.owner = owner.owned();
        partial.used = Instant::now();
        partial.add(id, offset, part)
    }

    /// Holds rows that the coordinator made for a job.
    ///
    /// # Errors
    /// `cancelled` if the job has ended: nobody would release them. `resource_exhausted` if there
    /// is no room.
    pub(crate) fn put_rows(&self, job: JobId, bytes: Bytes) -> Result<BlobId> {
        self.put(PutFor::Rows(job), bytes)
    }

    /// Holds what workers run of a job.
    ///
    /// # Errors
    /// `cancelled` if the job has ended: nobody would release it.
    pub(crate) fn put_plan(&self, job: JobId, bytes: Bytes) -> Result<BlobId> {
        self.put(PutFor::Plan(job), bytes)
    }

    fn put(&self, put_for: PutFor<'_>, bytes: Bytes) -> Result<BlobId> {
        let id = BlobId::of(&bytes);
        self.hold_content(&mut self.lock(), id, Content::Bytes(bytes), put_for)?;
        Ok(id)
    }

    /// Takes the whole of a blob, in the place of its parts.
    fn insert(&self, owner: &Owner, id: BlobId, bytes: Bytes) -> Result<()> {
        // Not under the lock: it takes its time.
        let right = BlobId::of(&bytes) == id;
        let part_of = (id, owner.identity().clone());
        let mut state = self.lock();
        if right {
            state.forget_partial(&part_of);
            let put_for = PutFor::Client(owner.identity());
            return self.hold_content(&mut state, id, Content::Bytes(bytes), put_for);
        }
        // It may have been begun again meanwhile.
        if state.partial.get(&part_of).is_some_and(|partial| partial.is(&bytes)) {
            state.forget_partial(&part_of);
        }
        Err(Error::invalid(format!("blob {id}: the bytes have another hash")))
    }

    fn hold_content(
        &self,
        state: &mut State,
        id: BlobId,
        content: Content,
        put_for: PutFor<'_>,
    ) -> Result<()> {
        let job = put_for.job();
        if job.is_some_and(|job| !state.holders.contains_key(&job)) {
            return Err(Error::cancelled("the job was stopped"));
        }
        if !state.whole.contains_key(&id) {
            let bytes = content.bytes();
            let room = self.reserve(state, bytes);
            if !matches!(put_for, PutFor::Plan(_)) {
                room?;
            }
            state.bytes += bytes;
            let (known_to, jobs, used) = (Vec::new(), Vec::new(), Instant::now());
            state.whole.insert(id, Blob { content, known_to, jobs, used });
        }
        if let Some(blob) = state.whole.get_mut(&id) {
            blob.jobs.extend(job);
            if let PutFor::Client(client) = put_for
                && !blob.known_to.contains(client)
            {
                blob.known_to.push(client.clone());
            }
        }
        Ok(())
    }

    /// Makes room, if need be by dropping blobs that no job uses, those first that were not used
    /// for the longest time.
    fn reserve(&self, state: &mut State, bytes: u64) -> Result<()> {
        // Not for what has no room at all, whatever others lose.
        let room = self.max_bytes.checked_sub(bytes);
        let is_full = |state: &State| room.is_none_or(|room| state.bytes > room);
        if is_full(state) {
            state.expire(self.ttl);
        }
        while room.is_some() && is_full(state) && state.forget_oldest() {}
        if is_full(state) {
            return Err(Error::resource_exhausted(format!(
                "in-memory tables and stores take more than blob_bytes = {} bytes on the \
                 coordinator; raise it, or put the rows into files",
                self.max_bytes
            )));
        }
        Ok(())
    }

    /// Holds these blobs, and those that are put for it later, for a job of a client's.
    pub(crate) fn hold(
        self: &Arc<Self>,
        job: JobId,
        owner: &Owner,
        ids: impl IntoIterator<Item = BlobId>,
    ) -> Result<HeldBlobs> {
        let held = HeldBlobs { blobs: Arc::clone(self), job };
        let mut state = self.lock();
        *state.holders.entry(job).or_default() += 1;
        for id in ids {
            let blob = state.whole.get_mut(&id).filter(|blob| blob.is_known_to(owner));
            let blob = blob.ok_or_else(|| gone(id))?;
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
        // The same job may have been handed in again, before all of the first one was gone.
        if let Some(holds) = state.holders.get_mut(&job) {
            *holds -= 1;
            if *holds > 0 {
                return;
            }
        }
        state.holders.remove(&job);
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

fn gone(id: BlobId) -> Error {
    let message = format!("blob {id} is not held by the coordinator (any more); submit again");
    Error::not_found(message).with_code(ErrorCode::BlobGone)
}

#[cfg(test)]
mod tests;
