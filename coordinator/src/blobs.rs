//! Immutable bytes that clients hand in once and workers read: in-memory tables and stores.
//!
//! A blob that a job uses is held until the job ends, any other for a while after its last use, and
//! one that is not whole while its client is there. A client that finds one gone sends it again.
//!
//! A blob is known by a hash of its bytes, and held once, whoever sends it. But a client learns
//! nothing of what others hold: to it, what it has not sent itself is not there. Otherwise whoever
//! has come upon a hash, in a log or a plan, could ask whether somebody works with those bytes, or
//! have a job of its own read them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use arrow::array::RecordBatch;
use bytes::Bytes;
use keyloom_common::{
    BlobId, Error, ErrorCode, JobId, Result,
    rpc::{BlobPart, Chunk, Identity},
};

use crate::{
    metrics::Share,
    owner::{OwnedBy, Owner},
};

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

#[derive(Debug, Default)]
struct State {
    whole: HashMap<BlobId, Blob>,
    /// By who sends them, too: to complete another's first parts would be to have them.
    partial: HashMap<(BlobId, Identity), Partial>,
    /// The jobs that hold blobs, or may. What another puts would never be released.
    holders: HashMap<JobId, usize>,
    /// What all take, partial ones as much as they will when they are whole.
    bytes: u64,
}

#[derive(Debug)]
struct Blob {
    content: Content,
    /// The clients who have sent it.
    known_to: Vec<Identity>,
    jobs: Vec<JobId>,
    used: Instant,
}

#[derive(Debug)]
enum Content {
    Bytes(Bytes),
    /// Rows of the client's in this process, which are there for as long as it has them, or jobs
    /// do.
    Rows {
        rows: Weak<[RecordBatch]>,
        held: Option<Arc<[RecordBatch]>>,
    },
}

#[derive(Debug)]
struct Partial {
    parts: Parts,
    total: u64,
    owner: OwnedBy,
    used: Instant,
}

#[derive(Debug)]
enum Parts {
    /// With room for all.
    Some(Vec<u8>),
    /// All are there, and their hash is computed. Whoever sends the last again does so, too.
    All(Bytes),
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
            *bytes -= if keep { 0 } else { partial.total };
            keep
        });
    }

    fn forget_partial(&mut self, part_of: &(BlobId, Identity)) {
        if let Some(partial) = self.partial.remove(part_of) {
            self.bytes -= partial.total;
        }
    }
}

impl Partial {
    /// Takes room for all at once: to grow is to copy, and takes twice as much meanwhile. Memory is
    /// only taken by what is written.
    fn new(owner: &Owner, total: u64) -> Result<Self> {
        let mut bytes = Vec::new();
        let room = usize::try_from(total).ok().filter(|total| {
            // What cannot be had must not end the process.
            bytes.try_reserve_exact(*total).is_ok()
        });
        if room.is_none() {
            return Err(Error::resource_exhausted(format!(
                "the coordinator has no memory for a blob of {total} bytes; put the rows into files"
            )));
        }
        let (parts, owner) = (Parts::Some(bytes), owner.owned());
        Ok(Self { parts, total, owner, used: Instant::now() })
    }

    /// Adds what is new of a part, and answers all bytes if that was the last one.
    fn add(&mut self, id: BlobId, offset: u64, part: &[u8]) -> Result<Option<Bytes>> {
        let end = offset + part.len() as u64;
        let bytes = match &mut self.parts {
            Parts::Some(bytes) => bytes,
            Parts::All(bytes) => return Ok((end == self.total).then(|| bytes.clone())),
        };
        let have = bytes.len() as u64;
        let known = have.checked_sub(offset).ok_or_else(|| does_not_follow(id, offset, have))?;
        let known = usize::try_from(known).unwrap_or(usize::MAX);
        bytes.extend_from_slice(part.get(known..).unwrap_or_default());
        if (bytes.len() as u64) < self.total {
            return Ok(None);
        }
        let all = Bytes::from(std::mem::take(bytes));
        self.parts = Parts::All(all.clone());
        Ok(Some(all))
    }

    /// Whether these are its bytes.
    fn is(&self, bytes: &Bytes) -> bool {
        matches!(&self.parts, Parts::All(all) if all.as_ptr() == bytes.as_ptr())
    }
}

impl Blob {
    fn is_known_to(&self, owner: &Owner) -> bool {
        owner.is_operator() || self.known_to.contains(owner.identity())
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

fn gone(id: BlobId) -> Error {
    let message = format!("blob {id} is not held by the coordinator (any more); submit again");
    Error::not_found(message).with_code(ErrorCode::BlobGone)
}

/// What is answered to a part whose predecessors are not there (any more): begun again, it works.
fn does_not_follow(id: BlobId, offset: u64, have: u64) -> Error {
    Error::unavailable(format!(
        "blob {id}: part at {offset} does not follow {have}; send it again from its start"
    ))
    .with_code(ErrorCode::BlobPartGone)
}

#[cfg(test)]
mod tests;
