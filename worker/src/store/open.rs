//! Opens stores, each by its kind, with what the worker has for all of them.
//!
//! What is opened ([`Opened`]) knows no alias, because one store may be attached under several.
//! Binding it to a [`ResolvedStore`] is cheap and gives the [`Store`] that tasks use.

use std::sync::Arc;

use keyloom_common::{
    Error, Result,
    store::{ResolvedStore, Snapshot, StoreDescription, StoreSpec},
};

use super::{
    BlobSource, Store, StoreSettings, WorkerParts,
    bounded::{Opened, cache::Answers, slots::Places},
    kinds::{self, Kinds},
};
use crate::{access::Access, memory::Commons, settings::Settings};

/// What opening stores needs of its worker.
#[derive(Clone, Debug)]
pub struct StoreEnv {
    /// What the worker has for stores of every kind.
    pub(crate) parts: WorkerParts,
    /// The kinds, started with that.
    pub(super) kinds: Kinds,
    /// The answers that are kept of stores whose kind wants that.
    pub(super) answers: Arc<Answers>,
    /// How many requests may be in flight to the places that stores are at.
    pub(super) places: Arc<Places>,
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
        Self::limited(commons, settings, Access::default(), blobs)
    }

    /// The same for jobs that may not touch everything.
    pub(crate) fn limited(
        commons: &Commons,
        settings: StoreSettings,
        access: Access,
        blobs: Arc<dyn BlobSource>,
    ) -> Self {
        let answers = Arc::new(Answers::new(&settings, commons.budget()));
        let parts = WorkerParts::new(commons, settings, access, blobs);
        let kinds = Kinds::start(&parts);
        Self { parts, kinds, answers, places: Arc::default() }
    }

    /// Opens a store to learn its columns and its newest (or pinned) snapshot.
    ///
    /// # Errors
    /// `not_found` if the store, its version or its tag does not exist, `invalid` if it cannot be
    /// what the description says, `store` if it cannot be read, `timeout` if its storage does not
    /// answer. The message names the store.
    pub async fn describe(&self, spec: &StoreSpec) -> Result<StoreDescription> {
        let described = kinds::describe(self, spec).await;
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
        kinds::open(self, spec, snapshot).await
    }
}

pub(super) fn cannot_open(name: &str, error: Error) -> Error {
    error.context(format_args!("store '{name}' cannot be opened"))
}
