//! A kind of store to test with, which only its folder and its line in [`super::kinds`] know: the rows
//! of an Arrow IPC file where the worker finds it, a few keys at a time and, if it is told so, with
//! faults.

use std::{any::Any, num::NonZeroUsize, sync::Arc};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use keyloom_common::{
    BlobId, Error, Result,
    store::{
        ManifestId, OtherSpec, ResolvedStore, Snapshot, StoreDescription, StoreKey, StoreKind,
    },
};

use super::{
    Found, Request, Store, StoreEnv,
    bounded::faults::{Faults, Faulty},
    factory::{Capabilities, OpenStore, StoreFactory, no_such},
    memory::MemoryStore,
};

/// Files.
#[derive(Debug)]
pub(super) struct ToyFactory;

#[derive(Debug)]
struct Toy {
    schema: SchemaRef,
    rows: MemoryStore,
    says: Says,
}

/// What the options say.
#[derive(Clone, Copy, Debug)]
struct Says {
    keys_at_once: NonZeroUsize,
    /// Of so many requests one fails.
    fails_every: Option<NonZeroUsize>,
    keeps_answers: bool,
}

#[async_trait]
impl StoreFactory for ToyFactory {
    fn kind(&self) -> &'static str {
        "toy"
    }

    fn options(&self) -> &'static [&'static str] {
        &["fails_every", "keeps_answers", "keys_at_once"]
    }

    async fn describe(&self, _: &StoreEnv, spec: &StoreKind) -> Result<StoreDescription> {
        let toy = of(spec)?;
        Says::of(toy)?;
        let bytes = read(toy)?;
        let snapshot = snapshot(&bytes);
        let schema = MemoryStore::read_schema(bytes).await?;
        Ok(StoreDescription { schema, snapshot, figures: None, primary_key: None })
    }

    async fn open(
        &self,
        env: &StoreEnv,
        spec: &StoreKind,
        planned: Snapshot,
    ) -> Result<Arc<dyn OpenStore>> {
        let toy = of(spec)?;
        let bytes = read(toy)?;
        if snapshot(&bytes) != planned {
            return Err(Error::not_found(format!("{} has changed", toy.place)));
        }
        let Some(StoreKey::Columns(key)) = &toy.key else {
            return Err(Error::invalid("a toy store needs key"));
        };
        let schema = MemoryStore::read_schema(bytes.clone()).await?;
        let room = env.commons.reserve();
        let rows = MemoryStore::open(BlobId::of(&bytes), bytes, key, room).await?;
        Ok(Arc::new(Toy { schema, rows, says: Says::of(toy)? }))
    }
}

impl OpenStore for Toy {
    fn bind(self: Arc<Self>, store: &ResolvedStore) -> Result<Arc<dyn Store>> {
        if self.schema.fields() != store.schema().fields() {
            return Err(Error::invalid("it has other columns than when the query was planned"));
        }
        let every = self.says.fails_every;
        Ok(Arc::new(Faulty::new(self, Faults { every, ..Faults::default() })))
    }

    fn capabilities(&self) -> Capabilities {
        let Says { keys_at_once, keeps_answers, .. } = self.says;
        Capabilities { max_keys: Some(keys_at_once), keeps_answers, ..Capabilities::default() }
    }

    fn content_bytes(&self) -> u64 {
        self.rows.bytes()
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

#[async_trait]
impl Store for Toy {
    async fn lookup(&self, request: Request) -> Result<Found> {
        self.rows.lookup(request).await
    }

    async fn row_bytes(&self, columns: &[usize]) -> Result<u64> {
        self.rows.row_bytes(columns).await
    }
}

fn of(spec: &StoreKind) -> Result<&OtherSpec> {
    match spec {
        StoreKind::Other(toy) => Ok(toy),
        other => Err(no_such(other, None)),
    }
}

impl Says {
    fn of(toy: &OtherSpec) -> Result<Self> {
        Ok(Self {
            keys_at_once: number(toy, "keys_at_once")?.unwrap_or(NonZeroUsize::MIN),
            fails_every: number(toy, "fails_every")?,
            keeps_answers: toy.options.contains_key("keeps_answers"),
        })
    }
}

fn number(toy: &OtherSpec, name: &str) -> Result<Option<NonZeroUsize>> {
    let number = toy.options.get(name).map(|text| {
        let not = |_| Error::invalid(format!("{name} is a number of at least 1, not '{text}'"));
        text.parse::<NonZeroUsize>().map_err(not)
    });
    number.transpose()
}

fn read(toy: &OtherSpec) -> Result<Bytes> {
    let read = std::fs::read(&toy.place);
    read.map(Bytes::from).map_err(|error| Error::not_found(format!("{}: {error}", toy.place)))
}

fn snapshot(bytes: &Bytes) -> Snapshot {
    let name = BlobId::of(bytes).to_string();
    Snapshot::Version { number: 1, manifest: ManifestId::of(0, Some(&name)) }
}
