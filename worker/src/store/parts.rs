//! What a worker has for stores, whatever their kind.

use std::{fmt, sync::Arc};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use keyloom_common::{
    BlobId, Error, Result,
    ipc::decode_all,
    memory::{Full, Reserved},
};

use super::{Patience, ReadBudget, StoreSettings};
use crate::{
    access::Access,
    memory::{Commons, resize},
};

/// Where a worker gets the contents of memory stores.
#[async_trait]
pub trait BlobSource: fmt::Debug + Send + Sync {
    /// The bytes of that name.
    ///
    /// # Errors
    /// `unavailable` or `not_found` if nobody gives them.
    async fn blob(&self, id: BlobId) -> Result<Bytes>;

    /// The same, if there is room for so many bytes. That is asked each time that reading begins,
    /// before most of them are there if their source can tell.
    ///
    /// # Errors
    /// As [`Self::blob`], and why there is no room.
    async fn blob_within(
        &self,
        id: BlobId,
        room: &(dyn Fn(u64) -> Result<()> + Send + Sync),
    ) -> Result<Bytes> {
        let bytes = self.blob(id).await?;
        room(bytes.len() as u64)?;
        Ok(bytes)
    }

    /// The rows that a blob is, which need not be bytes within a process.
    ///
    /// # Errors
    /// As [`Self::blob`]; `internal` if it is no rows.
    async fn rows(&self, id: BlobId) -> Result<Vec<RecordBatch>> {
        Ok(decode_all(self.blob(id).await?)?.1)
    }
}

/// What kinds of stores are started with. All of them share it.
#[derive(Clone, Debug)]
pub(crate) struct WorkerParts {
    /// The bounds, and the storage profiles.
    pub(crate) settings: StoreSettings,
    /// What jobs may touch.
    pub(crate) access: Access,
    /// What all reads of stores may bring at once.
    pub(crate) reads: Arc<ReadBudget>,
    /// What contents of stores take of, and what is kept.
    pub(crate) commons: Commons,
    /// The contents that travel with sessions.
    pub(crate) blobs: Arc<dyn BlobSource>,
}

impl WorkerParts {
    pub(super) fn new(
        commons: &Commons,
        settings: StoreSettings,
        access: Access,
        blobs: Arc<dyn BlobSource>,
    ) -> Self {
        let reads = Arc::new(ReadBudget::new(&settings));
        Self { settings, access, reads, commons: commons.clone(), blobs }
    }

    /// How long is waited for stores, and how often they are asked again.
    pub(super) fn patience(&self) -> Patience {
        Patience::of(&self.settings)
    }

    /// The content of a store, with room to open it in.
    pub(super) async fn content(&self, id: BlobId) -> Result<(Bytes, Reserved)> {
        let taken = self.commons.reserve();
        let room = |bytes: u64| {
            resize(&taken, 0);
            self.commons.grow(&taken, bytes).map_err(|full| self.no_room(bytes, &full))
        };
        let bytes = self.blobs.blob_within(id, &room).await?;
        Ok((bytes, taken))
    }

    /// Where only others are in the way, it is worth another try.
    fn no_room(&self, bytes: u64, full: &Full) -> Error {
        let text = format!("its {bytes} bytes are needed, and {full} on the worker");
        if bytes <= self.commons.budget().bytes() {
            Error::unavailable(text)
        } else {
            Error::resource_exhausted(text)
        }
    }
}
