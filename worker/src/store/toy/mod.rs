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
    store::{ManifestId, ResolvedStore, Snapshot, StoreDescription, StoreKey, StoreSpec},
};
use serde::{Deserialize, Deserializer, de::Error as _};

use super::{
    Found, Request, Store, WorkerParts,
    bounded::faults::{Faults, Faulty},
    factory::{Capabilities, KindOnWorker, OpenStore, StoreFactory},
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
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Says {
    /// Of so many requests one fails.
    #[serde(default)]
    fails_every: Option<NonZeroUsize>,
    /// Whether it is there.
    #[serde(default, deserialize_with = "is_there")]
    keeps_answers: bool,
    #[serde(default = "one", deserialize_with = "at_least_one")]
    keys_at_once: NonZeroUsize,
    /// What never ends.
    never: Option<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Step {
    Describe,
    Open,
}

/// The kind on a worker.
#[derive(Debug)]
struct ToyKind {
    commons: Commons,
}

impl StoreFactory for ToyFactory {
    fn kind(&self) -> &'static str {
        "toy"
    }

    fn start(&self, worker: &WorkerParts) -> Box<dyn KindOnWorker> {
        Box::new(ToyKind { commons: worker.commons.clone() })
    }
}

#[async_trait]
impl KindOnWorker for ToyKind {
    async fn describe(&self, spec: &StoreSpec) -> Result<StoreDescription> {
        let says: Says = self.own_options(spec)?;
        says.reach(Step::Describe).await;
        if let Some(key @ (StoreKey::RowId | StoreKey::Offset)) = &spec.key {
            return Err(no_column(key));
        }
        if spec.pin.is_some() {
            return Err(Error::invalid("a toy store has no versions"));
        }
        let bytes = read(&spec.place)?;
        let snapshot = snapshot(&bytes);
        let schema = MemoryStore::read_schema(bytes).await?;
        let (figures, primary_key, repeats_keys) = (None, None, false);
        Ok(StoreDescription { schema, snapshot, figures, primary_key, repeats_keys })
    }

    async fn open(&self, spec: &StoreSpec, planned: Snapshot) -> Result<Arc<dyn OpenStore>> {
        let says: Says = self.own_options(spec)?;
        says.reach(Step::Open).await;
        let bytes = read(&spec.place)?;
        if snapshot(&bytes) != planned {
            return Err(Error::not_found(format!("{} has changed", spec.place)));
        }
        let (schema, batches) = decode_all(bytes)?;
        let rows = concat_batches(&schema, &batches)?;
        let (commons, room) = (self.commons.clone(), self.commons.reserve());
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

impl Says {
    /// Comes to a step, and never any further if it is the one that never ends.
    async fn reach(&self, step: Step) {
        if self.never == Some(step) {
            pending().await
        }
    }
}

fn no_column(key: &StoreKey) -> Error {
    Error::invalid(format!("a toy store is keyed by columns, not by {key}"))
}

fn one() -> NonZeroUsize {
    NonZeroUsize::MIN
}

fn at_least_one<'de, D: Deserializer<'de>>(number: D) -> Result<NonZeroUsize, D::Error> {
    let number = usize::deserialize(number)?;
    let none = || format!("keys_at_once is a number of at least 1, not '{number}'");
    NonZeroUsize::new(number).ok_or_else(|| D::Error::custom(none()))
}

fn is_there<'de, D: Deserializer<'de>>(text: D) -> Result<bool, D::Error> {
    String::deserialize(text).map(|_| true)
}

fn read(place: &str) -> Result<Bytes> {
    let read = std::fs::read(place);
    read.map(Bytes::from).map_err(|error| Error::not_found(format!("{place}: {error}")))
}

fn snapshot(bytes: &Bytes) -> Snapshot {
    let name = BlobId::of(bytes).to_string();
    Snapshot::Version { number: 1, manifest: ManifestId::of(0, Some(&name)) }
}
