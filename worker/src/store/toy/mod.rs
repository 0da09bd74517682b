//! A kind of store to test with, which only its folder and its line in [`super::kinds`] know: the
//! rows of an Arrow IPC file where the worker finds it, a few keys at a time and, if it is told so,
//! with faults. What its key is, it learns when it is bound: by then the call has said so, if
//! nobody else has.

use std::{any::Any, future::pending, num::NonZeroUsize, sync::Arc};

use arrow::{array::RecordBatch, compute::concat_batches, datatypes::FieldRef};
use async_trait::async_trait;
use bytes::Bytes;
use keyloom_common::{
    BlobId, Error, Result,
    ipc::decode_all,
    memory::Reserved,
    size::batch_bytes,
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
use crate::memory::{Commons, resize};

/// Files.
#[derive(Debug)]
pub(super) struct ToyFactory;

#[derive(Debug)]
struct Toy {
    rows: RecordBatch,
    says: Says,
    room: Reserved,
    commons: Commons,
}

/// The rows by the key of a plan.
#[derive(Debug)]
struct Keyed {
    rows: MemoryStore,
    /// It stays open while somebody asks it.
    _toy: Arc<Toy>,
}

/// What the options say.
#[derive(Clone, Copy, Debug)]
struct Says {
    keys_at_once: NonZeroUsize,
    /// Of so many requests one fails.
    fails_every: Option<NonZeroUsize>,
    keeps_answers: bool,
    /// What never ends.
    never: Option<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Describe,
    Open,
}

#[async_trait]
impl StoreFactory for ToyFactory {
    fn kind(&self) -> &'static str {
        "toy"
    }

    fn options(&self) -> &'static [&'static str] {
        &["fails_every", "keeps_answers", "keys_at_once", "never"]
    }

    async fn describe(&self, _: &StoreEnv, spec: &StoreKind) -> Result<StoreDescription> {
        let toy = of(spec)?;
        Says::of(toy)?.reach(Step::Describe).await;
        if let Some(key @ (StoreKey::RowId | StoreKey::Offset)) = &toy.key {
            return Err(no_column(key));
        }
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
        let says = Says::of(toy)?;
        says.reach(Step::Open).await;
        let bytes = read(toy)?;
        if snapshot(&bytes) != planned {
            return Err(Error::not_found(format!("{} has changed", toy.place)));
        }
        let (schema, batches) = decode_all(bytes)?;
        let rows = concat_batches(&schema, &batches)?;
        let (commons, room) = (env.commons.clone(), env.commons.reserve());
        resize(&room, batch_bytes(&rows) as u64);
        Ok(Arc::new(Toy { rows, says, room, commons }))
    }
}

impl OpenStore for Toy {
    fn bind(self: Arc<Self>, store: &ResolvedStore) -> Result<Arc<dyn Store>> {
        let StoreKey::Columns(key) = store.key() else { return Err(no_column(store.key())) };
        let place = |field: &FieldRef| {
            let here = self.rows.schema_ref().fields().find(field.name());
            let here = here.filter(|(_, here)| here.data_type() == field.data_type());
            here.map(|(place, _)| place).ok_or_else(|| {
                Error::invalid("it has other columns than when the query was planned")
            })
        };
        let columns = store.schema().fields().iter().map(place).collect::<Result<Vec<_>>>()?;
        let rows = self.rows.project(&columns)?;
        // There are few, or this would be no place to index them.
        let rows = MemoryStore::try_new(rows, key, self.commons.reserve())?;
        let every = self.says.fails_every;
        let keyed = Arc::new(Keyed { rows, _toy: self });
        Ok(Arc::new(Faulty::new(keyed, Faults { every, ..Faults::default() })))
    }

    fn capabilities(&self) -> Capabilities {
        let Says { keys_at_once, keeps_answers, .. } = self.says;
        Capabilities { max_keys: Some(keys_at_once), keeps_answers, ..Capabilities::default() }
    }

    fn content_bytes(&self) -> u64 {
        self.room.bytes()
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

#[async_trait]
impl Store for Keyed {
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
            never: toy.options.get("never").map(|step| Step::parse(step)).transpose()?,
        })
    }

    /// Comes to a step, and never any further if it is the one that never ends.
    async fn reach(&self, step: Step) {
        if self.never == Some(step) {
            pending().await
        }
    }
}

impl Step {
    fn parse(word: &str) -> Result<Self> {
        match word {
            "describe" => Ok(Self::Describe),
            "open" => Ok(Self::Open),
            other => Err(Error::invalid(format!("never is describe or open, not '{other}'"))),
        }
    }
}

fn no_column(key: &StoreKey) -> Error {
    Error::invalid(format!("a toy store is keyed by columns, not by {key}"))
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
