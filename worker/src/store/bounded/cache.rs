//! Answers that are kept, so that the next request for the same keys need not be made.
//!
//! Only rows are kept, by the open store (which is at one snapshot), the key and the columns: keys
//! that a store does not hold are without number, and would push out those that it holds.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arrow::{
    array::{Array, ArrayRef, BooleanArray, UInt32Array},
    compute::{filter, take},
    row::{RowConverter, SortField},
};
use async_trait::async_trait;
use keyloom_common::{Error, Result, memory::MemoryBudget};

use crate::{
    memory::Keeper,
    store::{
        Found, Place, Request, Store, StoreSettings, Values,
        kept::{Kept, KeptCache},
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
pub(super) struct Shelf {
    answers: Arc<Answers>,
    store: u64,
}

/// A store whose answers are kept.
#[derive(Debug)]
pub(super) struct Cached {
    pub(super) store: Arc<dyn Store>,
    pub(super) shelf: Shelf,
}

/// What a row is known by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Name {
    store: u64,
    columns: Arc<[usize]>,
    /// The key, as bytes that no other key of its type has.
    key: Arc<[u8]>,
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

    /// A place for the answers of one more store.
    pub(super) fn shelf(self: &Arc<Self>) -> Shelf {
        let store = self.stores.fetch_add(1, Ordering::Relaxed);
        Shelf { answers: Arc::clone(self), store }
    }
}

impl Keeper for Answers {
    fn let_go(&self, bytes: u64) {
        self.rows.let_go(bytes);
    }
}

#[async_trait]
impl Store for Cached {
    async fn lookup(&self, request: Request) -> Result<Found> {
        let names = self.shelf.names(&request)?;
        let kept = names.iter().map(|name| self.shelf.answers.rows.get(name));
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
        self.shelf.keep(new, &found)?;
        joined(&known, found)
    }

    async fn row_bytes(&self, columns: &[usize]) -> Result<u64> {
        self.store.row_bytes(columns).await
    }
}

impl Shelf {
    fn names(&self, request: &Request) -> Result<Vec<Name>> {
        let columns: Arc<[usize]> = request.columns.as_slice().into();
        let converter = RowConverter::new(vec![SortField::new(request.keys.data_type().clone())])?;
        let keys = converter.convert_columns(std::slice::from_ref(&request.keys))?;
        let name = |key: arrow::row::Row<'_>| Name {
            store: self.store,
            columns: Arc::clone(&columns),
            key: Arc::from(AsRef::<[u8]>::as_ref(&key)),
        };
        Ok(keys.iter().map(name).collect())
    }

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

/// The value of a key that is held.
fn value(values: &Values, key: usize) -> Result<ArrayRef> {
    let place = values.places.get(key).and_then(|place| place.get());
    let piece = place.and_then(|place| values.pieces.get(place.piece as usize));
    let (Some(place), Some(piece)) = (place, piece) else {
        return Err(Error::internal("a store answered no value for a key that it holds"));
    };
    Ok(take(piece, &UInt32Array::from(vec![place.row]), None)?)
}

/// The answer for all keys: of those whose row is not known, in their order, this.
fn joined(known: &[Known], found: Found) -> Result<Found> {
    if known.iter().all(Option::is_none) {
        return Ok(found);
    }
    let Found { held, columns, fetched } = found;
    let mut held = held.into_iter();
    let all_held = known.iter().map(|row| row.is_some() || held.next().unwrap_or(false));
    let all_held = all_held.collect();
    let columns = columns.into_iter().enumerate();
    let columns = columns.map(|(column, values)| with_known(known, column, values));
    Ok(Found { held: all_held, columns: columns.collect::<Result<_>>()?, fetched })
}

/// The values of one column, behind those that were found.
fn with_known(known: &[Known], column: usize, values: Values) -> Result<Values> {
    let Values { mut pieces, places } = values;
    let mut found = places.iter().copied();
    let mut all = Vec::with_capacity(known.len());
    for row in known {
        let Some(row) = row else {
            all.push(found.next().unwrap_or(Place::NONE));
            continue;
        };
        let piece = u32::try_from(pieces.len())
            .map_err(|_| Error::resource_exhausted("too many pieces of values"))?;
        pieces.push(Arc::clone(&row[column]));
        all.push(Place { piece, row: 0 });
    }
    Ok(Values { pieces, places: all.into() })
}
