//! What is held, and what goes first when room is needed.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use keyloom_common::{BlobId, JobId, rpc::Identity};

use super::{content::Content, partial::Partial};
use crate::owner::Owner;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) whole: HashMap<BlobId, Blob>,
    /// By who sends them, too: to complete another's first parts would be to have them.
    pub(super) partial: HashMap<(BlobId, Identity), Partial>,
    /// The jobs that hold blobs, or may. What another puts would never be released.
    pub(super) holders: HashMap<JobId, usize>,
    /// What all take, partial ones as much as they will when they are whole.
    pub(super) bytes: u64,
}

#[derive(Debug)]
pub(super) struct Blob {
    pub(super) content: Content,
    /// The clients who have sent it.
    pub(super) known_to: Vec<Identity>,
    pub(super) jobs: Vec<JobId>,
    pub(super) used: Instant,
}

impl State {
    /// Drops the blob that no job uses and that was not used for the longest time, if there is one.
    pub(super) fn forget_oldest(&mut self) -> bool {
        let unheld = self.whole.iter().filter(|(_, blob)| blob.jobs.is_empty());
        let oldest = unheld.filter(|(_, blob)| blob.content.bytes() > 0);
        let oldest = oldest.min_by_key(|(_, blob)| blob.used);
        let Some(blob) = oldest.map(|(id, _)| *id).and_then(|id| self.whole.remove(&id)) else {
            return false;
        };
        self.bytes -= blob.content.bytes();
        true
    }

    pub(super) fn expire(&mut self, ttl: Duration) {
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

    pub(super) fn forget_partial(&mut self, part_of: &(BlobId, Identity)) {
        if let Some(partial) = self.partial.remove(part_of) {
            self.bytes -= partial.total;
        }
    }
}

impl Blob {
    pub(super) fn is_known_to(&self, owner: &Owner) -> bool {
        owner.is_operator() || self.known_to.contains(owner.identity())
    }
}
