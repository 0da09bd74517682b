//! Opens stores, each by the factory of its kind, with what the worker has for all of them.
//!
//! What is opened ([`Opened`]) knows no alias, because one store may be attached under several.
//! Binding it to a [`ResolvedStore`] is cheap and gives the [`Store`] that tasks use.

use std::{fmt, sync::Arc};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use keyloom_common::{
    BlobId, Error, Result,
    ipc::decode_all,
    memory::{Full, Reserved},
    store::{ResolvedStore, Snapshot, StoreDescription, StoreSpec},
};

use super::{
    Patience, ReadBudget, Store, StoreSettings,
    bounded::{Opened, cache::Answers, slots::Places},
    kinds,
    lance::{Caches, LanceEnv, Sessions},
};
use crate::{
    memory::{Commons, resize},
    settings::Settings,
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

/// What opening stores needs of its worker.
#[derive(Clone, Debug)]
pub struct StoreEnv {
    /// The bounds, and the storage profiles.
    pub settings: StoreSettings,
    /// Lance's caches, shared by all datasets.
    lance_sessions: Arc<Sessions>,
    /// What was read of datasets and may be of use again.
    pub(crate) lance_caches: Arc<Caches>,
    /// What all reads of datasets may bring at once.
    pub(crate) reads: Arc<ReadBudget>,
    /// The answers that are kept of stores whose kind wants that.
    pub(super) answers: Arc<Answers>,
    /// How many requests may be in flight to the places that stores are at.
    pub(super) places: Arc<Places>,
    /// What contents of memory stores take of, and what is kept.
    pub(crate) commons: Commons,
    /// The contents of memory stores.
    pub blobs: Arc<dyn BlobSource>,
}

impl StoreEnv {
    /// An environment with fresh caches of the sizes that the settings give, in a worker's usual
    /// memory.
    pub fn new(settings: StoreSettings, blobs: Arc<dyn BlobSource>) -> Self {
        let worker = Settings { store: settings, ..Settings::default() };
        Self::within(&worker.memory().commons, worker.store, blobs)
    }

    /// The same in this memory.
    pub(crate) fn within(
        commons: &Commons,
        settings: StoreSettings,
        blobs: Arc<dyn BlobSource>,
    ) -> Self {
        let lance_sessions = Arc::new(Sessions::new(&settings));
        let lance_caches = Arc::new(Caches::new(&settings, commons.budget()));
        let reads = Arc::new(ReadBudget::new(&settings));
        let answers = Arc::new(Answers::new(&settings, commons.budget()));
        let (places, commons) = (Arc::default(), commons.clone());
        Self { settings, lance_sessions, lance_caches, reads, answers, places, commons, blobs }
    }

    /// How long is waited for stores, and how often they are asked again.
    pub(super) fn patience(&self) -> Patience {
        Patience::of(&self.settings)
    }

    /// Opens a store to learn its columns and its newest (or pinned) snapshot.
    ///
    /// # Errors
    /// `not_found` if the store, its version or its tag does not exist, `invalid` if it cannot be
    /// what the description says, `store` if it cannot be read, `timeout` if its storage does not
    /// answer. The message names the store.
    pub async fn describe(&self, spec: &StoreSpec) -> Result<StoreDescription> {
        let described = kinds::describe(self, &spec.kind).await;
        described.map_err(|error| cannot_open(&spec.name, error))
    }

    /// Opens a store at exactly the snapshot that the plan names.
    ///
    /// # Errors
    /// As [`StoreEnv::describe`], and `not_found` if the snapshot is gone; the message names the
    /// alias.
    pub async fn open(&self, store: &ResolvedStore) -> Result<Arc<dyn Store>> {
        let (spec, snapshot) = (&store.spec, store.description.snapshot);
        self.open_handle(&store.alias, spec, snapshot).await?.bind(store)
    }

    /// As [`StoreEnv::open`]; the message names the store as it is named here.
    pub(crate) async fn open_handle(
        &self,
        name: &str,
        spec: &StoreSpec,
        snapshot: Snapshot,
    ) -> Result<Opened> {
        let opened = self.open_unnamed(spec, snapshot).await;
        opened.map_err(|error| cannot_open(name, error))
    }

    /// As [`StoreEnv::open`]; the message does not name the store.
    pub(super) async fn open_unnamed(
        &self,
        spec: &StoreSpec,
        snapshot: Snapshot,
    ) -> Result<Opened> {
        kinds::open(self, &spec.kind, snapshot).await
    }

    pub(super) fn lance(&self) -> LanceEnv<'_> {
        LanceEnv {
            settings: &self.settings,
            sessions: &self.lance_sessions,
            caches: &self.lance_caches,
            reads: &self.reads,
        }
    }

    /// The content of a memory store, with room to open it in.
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

pub(super) fn cannot_open(name: &str, error: Error) -> Error {
    error.context(format_args!("store '{name}' cannot be opened"))
}
