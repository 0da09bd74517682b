//! A blob whose parts come one by one, until it is whole.

use std::time::Instant;

use bytes::Bytes;
use keyloom_common::{BlobId, Error, ErrorCode, Result};

use crate::owner::{OwnedBy, Owner};

#[derive(Debug)]
pub(super) struct Partial {
    parts: Parts,
    pub(super) total: u64,
    pub(super) owner: OwnedBy,
    pub(super) used: Instant,
}

#[derive(Debug)]
enum Parts {
    /// With room for all.
    Some(Vec<u8>),
    /// All are there, and their hash is computed. Whoever sends the last again does so, too.
    All(Bytes),
}

impl Partial {
    /// Takes room for all at once: to grow is to copy, and takes twice as much meanwhile. Memory is
    /// only taken by what is written.
    pub(super) fn new(owner: &Owner, total: u64) -> Result<Self> {
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
    pub(super) fn add(&mut self, id: BlobId, offset: u64, part: &[u8]) -> Result<Option<Bytes>> {
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
    pub(super) fn is(&self, bytes: &Bytes) -> bool {
        matches!(&self.parts, Parts::All(all) if all.as_ptr() == bytes.as_ptr())
    }
}

/// What is answered to a part whose predecessors are not there (any more): begun again, it works.
pub(super) fn does_not_follow(id: BlobId, offset: u64, have: u64) -> Error {
    Error::unavailable(format!(
        "blob {id}: part at {offset} does not follow {have}; send it again from its start"
    ))
    .with_code(ErrorCode::BlobPartGone)
}
