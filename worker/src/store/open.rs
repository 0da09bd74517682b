//! Opens stores: the one place that knows which implementation a description asks for.
//!
//! What is opened ([`Handle`]) knows no alias, because one store may be attached under several.
//! Binding it to a [`ResolvedStore`] is cheap and gives the [`Store`] that tasks use.

use std::{fmt, sync::Arc};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use keyloom_common::{
    BlobId, Error, Result,
    ipc::decode_all,
    store::{KeyColumns, ResolvedStore, Snapshot, StoreDescription, StoreKind, StoreSpec},
};

use super::{
    ReadBudget, Store, StoreSettings,
    lance::{Caches, LanceEnv, LanceHandle, Sessions},
    memory::MemoryStore,
};

/// Where a worker gets the contents of memory stores.
#[async_trait]
pub trait BlobSource: fmt::Debug + Send + Sync {
    /// The bytes of that name.
    ///
    /// # Errors
    /// `unavailable` or `not_found` if nobody gives them.
    async fn blob(&self, id: BlobId) -> Result<Bytes>;

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
    /// The contents of memory stores.
    pub blobs: Arc<dyn BlobSource>,
}

/// A store that is open, under no alias yet.
#[derive(Clone, Debug)]
pub(crate) enum Handle {
    Lance(Arc<LanceHandle>),
    Memory(Arc<MemoryStore>),
}

impl StoreEnv {
    /// An environment with fresh caches of the sizes that the settings give.
    pub fn new(settings: StoreSettings, blobs: Arc<dyn BlobSource>) -> Self {
        let lance_sessions = Arc::new(Sessions::new(&settings));
        let lance_caches = Arc::new(Caches::new(&settings));
        let reads = Arc::new(ReadBudget::new(&settings));
        Self { settings, lance_sessions, lance_caches, reads, blobs }
    }

    /// Opens a store to learn its columns and its newest (or pinned) snapshot.
    ///
    /// # Errors
    /// `not_found` if the store, its version or its tag does not exist, `invalid` if it cannot be
    /// what the description says, `store` if it cannot be read, `timeout` if its storage does not
    /// answer. The message names the store.
    pub async fn describe(&self, spec: &StoreSpec) -> Result<StoreDescription> {
        let described = match &spec.kind {
            StoreKind::Lance(lance) => self.lance().describe(lance).await,
            StoreKind::Memory(memory) => self.describe_memory(memory.content).await,
        };
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
    ) -> Result<Handle> {
        let opened = self.open_unnamed(spec, snapshot).await;
        opened.map_err(|error| cannot_open(name, error))
    }

    /// As [`StoreEnv::open`]; the message does not name the store.
    pub(super) async fn open_unnamed(
        &self,
        spec: &StoreSpec,
        snapshot: Snapshot,
    ) -> Result<Handle> {
        match (&spec.kind, snapshot) {
            (StoreKind::Lance(lance), Snapshot::Version { number, manifest }) => {
                let opened = self.lance().open(lance, number, manifest).await;
                opened.map(|open| Handle::Lance(Arc::new(open)))
            }
            (StoreKind::Memory(memory), Snapshot::Immutable) => {
                self.open_memory(memory.content, &memory.key).await
            }
            (_, snapshot) => {
                Err(Error::internal(format!("such a store has no snapshot {snapshot}")))
            }
        }
    }

    fn lance(&self) -> LanceEnv<'_> {
        LanceEnv {
            settings: &self.settings,
            sessions: &self.lance_sessions,
            caches: &self.lance_caches,
            reads: &self.reads,
        }
    }

    async fn describe_memory(&self, content: BlobId) -> Result<StoreDescription> {
        let schema = MemoryStore::read_schema(self.blobs.blob(content).await?).await?;
        let snapshot = Snapshot::Immutable;
        Ok(StoreDescription { schema, snapshot, figures: None, primary_key: None })
    }

    async fn open_memory(&self, content: BlobId, key: &KeyColumns) -> Result<Handle> {
        let bytes = self.blobs.blob(content).await?;
        Ok(Handle::Memory(Arc::new(MemoryStore::open(content, bytes, key).await?)))
    }
}

impl Handle {
    /// Whether nobody uses the store.
    pub(super) fn is_idle(&self) -> bool {
        let handles = match self {
            Self::Lance(handle) => Arc::strong_count(handle),
            Self::Memory(memory) => Arc::strong_count(memory),
        };
        handles == 1
    }

    /// The store as a plan names it.
    ///
    /// # Errors
    /// `invalid` if the columns are not those that the plan was made for.
    pub(crate) fn bind(&self, store: &ResolvedStore) -> Result<Arc<dyn Store>> {
        match self {
            Self::Lance(handle) => Ok(Arc::new(handle.bind(store)?)),
            Self::Memory(memory) => Ok(memory.clone()),
        }
    }
}

pub(super) fn cannot_open(name: &str, error: Error) -> Error {
    error.context(format_args!("store '{name}' cannot be opened"))
}
