//! Answers that are kept, so that the next request for the same keys need not be made.
//!
//! Only rows are kept, by the open store (which is at one snapshot), what its key is, the key and
//! the columns: keys that a store does not hold are without number, and would push out those that
//! it holds. Plans may name other keys of one open store, and list its columns otherwise.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arrow::{
    array::{Array, ArrayRef, BooleanArray, UInt32Array},
    compute::{concat, filter, take},
    datatypes::{DataType, Fields, SchemaRef},
    row::{RowConverter, SortField},
};
use async_trait::async_trait;
use keyloom_common::{
    Error, Result,
    ipc::{compact_array, has_dictionaries},
    memory::MemoryBudget,
    store::{Access, ResolvedStore, StoreKey},
};

use super::rewrapped;
use crate::{
    memory::Keeper,
    store::{
        Found, KeyRows, KeySet, Place, ReadStats, Request, Store, StoreSettings, Values,
        kept::{Kept, KeptCache},
        requested_schema,
    },
};

/// What a row takes beside its values and its key.
const ROW_BYTES: u64 = 128;

/// About what a row takes in all, which says how many there are to be expected.
const USUAL_ROW_BYTES: u64 = 1 << 10;

/// The answers that a worker keeps, of all stores together.
#[derive(Debug)]
pub(in crate::store) struct Answers {
    rows: KeptCache<Name, Row>,
    /// How many stores there were that have some.
    stores: AtomicU64,
}

/// Where the answers of one open store are kept.
#[derive(Clone, Debug)]
pub(super) struct StoreAnswers {
    answers: Arc<Answers>,
    store: u64,
}

/// A store, as a plan names it, whose answers are kept.
#[derive(Clone, Debug)]
pub(super) struct Cached {
    store: Arc<dyn Store>,
    kept: StoreAnswers,
    key: StoreKey,
    schema: SchemaRef,
}

/// What a row is known by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Name {
    question: Arc<Question>,
    /// The key, as bytes that no other key of its type has.
    key: Arc<[u8]>,
}

/// What is asked of a key.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Question {
    store: u64,
    /// What it is compared with.
    key: StoreKey,
    key_type: DataType,
    /// What is wanted of its row. Their places in the store tell nothing: plans list columns
    /// otherwise.
    columns: Fields,
}

/// For each column an array of one value.
type Row = Vec<ArrayRef>;

/// The row of a key, if that is kept.
type Known = Option<Arc<Kept<Row>>>;

impl Answers {
    pub(in crate::store) fn new(settings: &StoreSettings, memory: &MemoryBudget) -> Self {
        let rows = KeptCache::new(settings.answer_cache_bytes, USUAL_ROW_BYTES, memory);
        Self { rows, stores: AtomicU64::new(0) }
    }

    /// The bytes that they take.
    pub(in crate::store) fn bytes(&self) -> u64 {
        self.rows.bytes()
    }

    /// A place for the answers of one more store.
    pub(super) fn of_store(self: &Arc<Self>) -> StoreAnswers {
        let store = self.stores.fetch_add(1, Ordering::Relaxed);
        StoreAnswers { answers: Arc::clone(self), store }
    }
}

impl Keeper for Answers {
    fn let_go(&self, bytes: u64) {
        self.rows.let_go(bytes);
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Store for Cached {
    async fn lookup(&self, request: Request) -> Result<Found> {
        // What is kept of a key is one row.
        if matches!(request.rows, KeyRows::All(_)) {
            return self.store.lookup(request).await;
        }
        let names = self.names(&request)?;
        let kept = names.iter().map(|name| self.kept.answers.rows.peek(name));
        let known: Vec<Known> = kept.collect();
        let columns = request.columns.len();
        if !known.is_empty() && known.iter().all(Option::is_some) {
            let columns = vec![Values::none(0); columns];
            return joined(&known, Found { columns, ..Found::default() });
        }
        let keys = unknown(&request.keys, &known)?;
        let (asked, new) = (keys.len(), names.into_iter().zip(&known));
        let new: Vec<_> = new.filter(|(_, row)| row.is_none()).map(|(name, _)| name).collect();
        let found = self.store.lookup(Request { keys, ..request }).await?;
        found.check(columns)?;
        if found.held.len() != asked {
            let answered = found.held.len();
            return Err(Error::internal(format!("a store answered {answered} of {asked} keys")));
        }
        self.kept.keep(new, &found)?;
        joined(&known, found)
    }

    async fn row_bytes(&self, columns: &[usize]) -> Result<u64> {
        self.store.row_bytes(columns).await
    }

    async fn knowing(
        &self,
        keys: &dyn KeySet,
        columns: &[usize],
        access: Access,
    ) -> Result<Option<(Arc<dyn Store>, ReadStats)>> {
        let known = self.store.knowing(keys, columns, access).await?;
        Ok(rewrapped(known, |store| Self { store, ..self.clone() }))
    }
}

impl Cached {
    pub(super) fn new(store: Arc<dyn Store>, kept: StoreAnswers, planned: &ResolvedStore) -> Self {
        let (key, schema) = (planned.key().clone(), Arc::clone(planned.schema()));
        Self { store, kept, key, schema }
    }

    fn names(&self, request: &Request) -> Result<Vec<Name>> {
        let key_type = request.keys.data_type();
        let question = Arc::new(Question {
            store: self.kept.store,
            key: self.key.clone(),
            key_type: key_type.clone(),
            columns: requested_schema(&self.schema, &request.columns)?.fields().clone(),
        });
        let converter = RowConverter::new(vec![SortField::new(key_type.clone())])?;
        let keys = converter.convert_columns(std::slice::from_ref(&request.keys))?;
        let name = |key: arrow::row::Row<'_>| Name {
            question: Arc::clone(&question),
            key: Arc::from(AsRef::<[u8]>::as_ref(&key)),
        };
        Ok(keys.iter().map(name).collect())
    }
}

impl StoreAnswers {
    /// Keeps copies of the rows that were found, so that they hold nothing else in memory.
    fn keep(&self, names: Vec<Name>, found: &Found) -> Result<()> {
        for (key, (name, held)) in names.into_iter().zip(&found.held).enumerate() {
            if !held {
                continue;
            }
            let row = found.columns.iter().map(|values| value(values, key));
            let row = row.collect::<Result<Row>>()?;
            let values: usize = row.iter().map(|value| value.get_array_memory_size()).sum();
            let bytes = (values + name.key.len()) as u64 + ROW_BYTES;
            self.answers.rows.put(name, row, bytes);
        }
        Ok(())
    }
}

/// The keys whose rows are not known.
fn unknown(keys: &ArrayRef, known: &[Known]) -> Result<ArrayRef> {
    if known.iter().all(Option::is_none) {
        return Ok(Arc::clone(keys));
    }
    let wanted: Vec<bool> = known.iter().map(Option::is_none).collect();
    Ok(filter(keys, &BooleanArray::from(wanted))?)
}

/// The value of a key that is held, without what it shares with others.
fn value(values: &Values, key: usize) -> Result<ArrayRef> {
    let place = values.places.get(key).and_then(|place| place.get());
    let piece = place.and_then(|place| values.pieces.get(place.piece as usize));
    let (Some(place), Some(piece)) = (place, piece) else {
        return Err(Error::internal("a store answered no value for a key that it holds"));
    };
    Ok(compact_array(&take(piece, &UInt32Array::from(vec![place.row]), None)?)?)
}

/// The answer for all keys: of those whose row is not known, in their order, this.
fn joined(known: &[Known], found: Found) -> Result<Found> {
    if known.iter().all(Option::is_none) {
        return Ok(found);
    }
    let Found { held, columns, mut stats, .. } = found;
    stats.answer_hits += known.iter().flatten().count() as u64;
    let mut held = held.into_iter();
    let all_held = known.iter().map(|row| row.is_some() || held.next().unwrap_or(false));
    let all_held = all_held.collect();
    let columns = columns.into_iter().enumerate();
    let columns = columns.map(|(column, values)| with_known(known, column, values));
    let columns = columns.collect::<Result<_>>()?;
    Ok(Found { held: all_held, columns, stats, ..Found::default() })
}

/// The values of one column, behind those that were found.
fn with_known(known: &[Known], column: usize, values: Values) -> Result<Values> {
    let Values { mut pieces, places } = values;
    let kept: Vec<&ArrayRef> = known.iter().flatten().map(|row| &row[column]).collect();
    let first = u32::try_from(pieces.len()).ok();
    let too_many = || Error::resource_exhausted("too many pieces of values");
    // Dictionaries of many rows may have no room in one. They stay apart.
    let apart = kept.iter().any(|value| has_dictionaries(value.data_type()));
    let place = |nth: usize| {
        let (first, nth) = (first?, u32::try_from(nth).ok()?);
        let at = |piece: u32, row| Place { piece, row };
        if apart { Some(at(first.checked_add(nth)?, 0)) } else { Some(at(first, nth)) }
    };
    let (mut found, mut hits) = (places.iter().copied(), 0..kept.len());
    let all = known.iter().map(|row| match row {
        None => Ok(found.next().unwrap_or(Place::NONE)),
        Some(_) => hits.next().and_then(place).ok_or_else(too_many),
    });
    let all: Arc<[Place]> = all.collect::<Result<_>>()?;
    if apart {
        pieces.extend(kept.into_iter().cloned());
    } else {
        let kept: Vec<&dyn Array> = kept.into_iter().map(AsRef::as_ref).collect();
        pieces.push(concat(&kept)?);
    }
    Ok(Values { pieces, places: all })
}
