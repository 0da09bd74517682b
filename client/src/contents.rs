//! The contents of in-memory tables and stores, for as long as a table, a store or a plan needs
//! them.

use std::{
    any::Any,
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use keyloom_common::{BlobId, Error, Result, rpc::Chunk};

/// Contents by name. An entry goes when its owner does.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    entries: Mutex<HashMap<BlobId, Vec<Entry>>>,
}

#[derive(Debug)]
struct Entry {
    owner: Weak<dyn Any + Send + Sync>,
    content: Chunk,
    /// How many rows it holds, if somebody counted them.
    rows: Option<u64>,
}

impl Contents {
    /// Keeps contents while their owner lives.
    pub(crate) fn keep<T: Any + Send + Sync>(&self, id: BlobId, content: Chunk, owner: &Arc<T>) {
        let owner: Arc<dyn Any + Send + Sync> = Arc::clone(owner) as _;
        self.forget_unowned();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = Entry { owner: Arc::downgrade(&owner), content, rows: None };
        entries.entry(id).or_default().push(entry);
    }

    /// Forgets what nobody owns any more.
    pub(crate) fn forget_unowned(&self) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unowned = Vec::new();
        entries.retain(|_, entries| {
            unowned.extend(entries.extract_if(.., |entry| entry.owner.strong_count() == 0));
            !entries.is_empty()
        });
        drop(entries);
        // Not under the lock: whoever made it may have something to say to its end.
        drop(unowned);
    }

    /// How many rows contents have. To be counted, they are decoded once.
    pub(crate) fn rows(&self, id: BlobId) -> Result<u64> {
        let known = {
            let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            entries.get(&id).and_then(|entries| entries.iter().find_map(|entry| entry.rows))
        };
        if let Some(rows) = known {
            return Ok(rows);
        }
        let batches = self.get(id)?.decode_all()?;
        let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entries) = entries.get_mut(&id) {
            entries.iter_mut().for_each(|entry| entry.rows = Some(rows));
        }
        Ok(rows)
    }

    pub(crate) fn get(&self, id: BlobId) -> Result<Chunk> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(&id).and_then(|entries| entries.first());
        entry
            .map(|entry| entry.content.clone())
            .ok_or_else(|| Error::internal(format!("the contents {id} are gone")))
    }
}
