//! From the rows found to the columns that calls become: values realigned with the rows that asked.

use std::{ops::Range, rc::Rc, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, BooleanArray, BooleanBuilder, ListArray, StructArray},
    buffer::{NullBuffer, OffsetBuffer},
    datatypes::Field,
    util::display::array_value_to_string,
};
use keyloom_common::{
    Error, ErrorCode, Result,
    functions::OnError,
    lookup::{Answer, Call, Fetch},
    store::OnDuplicateKey,
};

use super::{
    gather::{Picks, gather},
    keys::{FlatKeys, Slot},
};
use crate::store::{Found, Place};

/// All that the answers of one fetch for one batch are made of.
#[derive(Debug)]
pub(super) struct AnswerBuilder<'a> {
    pub(super) fetch: &'a Fetch,
    pub(super) keys: &'a FlatKeys,
    /// For each call, the rows that need its answer.
    pub(super) row_guards: &'a [Option<BooleanArray>],
    /// The same, by element.
    pub(super) guards: &'a [Option<BooleanArray>],
    /// For each element, its key.
    pub(super) slots: &'a [Slot],
    /// Elements from here on get none: they ask again.
    pub(super) until: usize,
    /// The columns that were fetched.
    pub(super) columns: &'a [usize],
    /// What was found for each distinct key.
    pub(super) found: &'a Found,
    /// Where each key's rows start among those found, and where the last ones end, if keys may
    /// have several.
    pub(super) starts: Option<&'a [usize]>,
    pub(super) keys_named: usize,
}

/// What an element gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Nothing,
    Missing,
    /// The row of this distinct key.
    Found(u32),
}

impl AnswerBuilder<'_> {
    /// A column for each call.
    pub(super) fn all(&self) -> Result<Vec<ArrayRef>> {
        let calls = self.fetch.calls.iter().enumerate();
        calls.map(|(index, call)| self.answer(index, call)).collect()
    }

    fn answer(&self, index: usize, call: &Call) -> Result<ArrayRef> {
        let outcomes = self.outcomes(self.guards[index].as_ref());
        let elements = match &call.answer {
            Answer::Exists => exists(&outcomes),
            Answer::Row { columns, on_error } => {
                if *on_error == OnError::Raise {
                    self.refuse_missing(&outcomes)?;
                }
                self.structs(columns, &self.rows(&outcomes)?)?
            }
            Answer::All { columns, on_error } => {
                if *on_error == OnError::Raise {
                    self.refuse_missing(&outcomes)?;
                }
                self.lists_of_rows(columns, &outcomes)?
            }
        };
        self.lists(elements, self.row_guards[index].as_ref())
    }

    fn outcomes(&self, guard: Option<&BooleanArray>) -> Vec<Outcome> {
        let outcome = |(element, slot): (usize, &Slot)| {
            if element >= self.until || guard.is_some_and(|guard| !guard.value(element)) {
                return Outcome::Nothing;
            }
            match slot {
                Slot::Nothing => Outcome::Nothing,
                Slot::OutOfRange => Outcome::Missing,
                Slot::Key(key) => match self.found.held.get(*key as usize) {
                    Some(true) => Outcome::Found(*key),
                    Some(false) => Outcome::Missing,
                    // It is asked for again, with the rows from here on.
                    None => Outcome::Nothing,
                },
            }
        };
        self.slots.iter().enumerate().map(outcome).collect()
    }

    /// Names the keys that were not found, in the order of their rows.
    fn refuse_missing(&self, outcomes: &[Outcome]) -> Result<()> {
        let missing = outcomes.iter().enumerate().filter(|(_, o)| **o == Outcome::Missing);
        let mut names: Vec<String> = Vec::new();
        let mut rows = 0;
        for (element, _) in missing {
            rows += 1;
            if names.len() <= self.keys_named {
                let name = array_value_to_string(&self.keys.elements, element)?;
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        let alias = &self.fetch.store.alias;
        let message = match names.as_slice() {
            [] => return Ok(()),
            [only] if rows == 1 => format!("Key not found in KV store '{alias}': {only}"),
            _ => {
                let more = if names.len() > self.keys_named { ", …" } else { "" };
                names.truncate(self.keys_named);
                format!(
                    "Key not found in KV store '{alias}': {}{more} ({rows} missing in one batch)",
                    names.join(", ")
                )
            }
        };
        Err(Error::not_found(message).with_code(ErrorCode::KeyMissing))
    }

    /// The places of a key's rows.
    fn places(&self, key: u32) -> Range<usize> {
        let key = key as usize;
        self.starts.map_or(key..key + 1, |starts| starts[key]..starts[key + 1])
    }

    /// For each element the place of its row: of several, that which the store's policy goes by.
    ///
    /// # Errors
    /// `invalid` if a key stands in several rows and the store is to refuse that.
    fn rows(&self, outcomes: &[Outcome]) -> Result<Vec<Option<usize>>> {
        let policy = self.fetch.store.spec.on_duplicate_key()?;
        let row = |(element, outcome): (usize, &Outcome)| -> Result<Option<usize>> {
            let Outcome::Found(key) = outcome else { return Ok(None) };
            let places = self.places(*key);
            match policy {
                OnDuplicateKey::Error if places.len() > 1 => Err(self.stands_twice(element)?),
                OnDuplicateKey::Error | OnDuplicateKey::First => Ok(Some(places.start)),
                OnDuplicateKey::Last => Ok(places.end.checked_sub(1)),
            }
        };
        outcomes.iter().enumerate().map(row).collect()
    }

    fn stands_twice(&self, element: usize) -> Result<Error> {
        let key = array_value_to_string(&self.keys.elements, element)?;
        Ok(Error::invalid(format!(
            "key {key} stands in several rows of KV store '{}'; set on_duplicate_key to 'first' or \
             'last'",
            self.fetch.store.alias
        )))
    }

    /// For each element the list of its rows; null for what was not found.
    fn lists_of_rows(&self, columns: &[usize], outcomes: &[Outcome]) -> Result<ArrayRef> {
        let (mut rows, mut ends) = (Vec::with_capacity(outcomes.len()), vec![0_i32]);
        for outcome in outcomes {
            if let Outcome::Found(key) = outcome {
                rows.extend(self.places(*key).map(Some));
            }
            let too_many = |_| Error::resource_exhausted("keys have too many rows for one batch");
            ends.push(i32::try_from(rows.len()).map_err(too_many)?);
        }
        let structs = self.structs(columns, &rows)?;
        let valid = outcomes.iter().map(|outcome| matches!(outcome, Outcome::Found(_)));
        let field = Arc::new(Field::new_list_field(structs.data_type().clone(), true));
        let (offsets, nulls) = (OffsetBuffer::new(ends.into()), valid.collect::<NullBuffer>());
        Ok(Arc::new(ListArray::try_new(field, offsets, structs, Some(nulls))?))
    }

    /// Structs of the values of rows; null structs where there is none.
    fn structs(&self, columns: &[usize], rows: &[Option<usize>]) -> Result<ArrayRef> {
        let fields = keyloom_common::functions::row_fields(&self.fetch.store, columns);
        let nulls: NullBuffer = rows.iter().map(Option::is_some).collect();
        let mut known: Vec<(&Arc<[Place]>, Rc<Picks>)> = Vec::new();
        let values = columns
            .iter()
            .map(|column| {
                let fetched = self.columns.iter().position(|fetched| fetched == column);
                let fetched = fetched.ok_or_else(|| Error::internal("a column was not fetched"))?;
                let values = &self.found.columns[fetched];
                let same = known.iter().find(|(places, _)| Arc::ptr_eq(places, &values.places));
                let picks = same.map(|(_, picks)| picks.clone()).unwrap_or_else(|| {
                    let picks = Rc::new(picks(&values.places, rows));
                    known.push((&values.places, picks.clone()));
                    picks
                });
                gather(values, &picks, self.fetch.store.schema().field(*column).data_type())
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(StructArray::try_new(fields, values, Some(nulls))?))
    }

    /// Elements as the lists that the keys came in.
    fn lists(&self, elements: ArrayRef, guard: Option<&BooleanArray>) -> Result<ArrayRef> {
        let Some(lists) = &self.keys.lists else { return Ok(elements) };
        let field = Arc::new(Field::new_list_field(elements.data_type().clone(), true));
        let needed = guard.map(|guard| NullBuffer::new(guard.values().clone()));
        let nulls = NullBuffer::union(lists.nulls.as_ref(), needed.as_ref());
        Ok(Arc::new(ListArray::try_new(field, lists.offsets.clone(), elements, nulls)?))
    }
}

/// Where the values of rows are.
fn picks(places: &[Place], rows: &[Option<usize>]) -> Picks {
    let place = |row: &Option<usize>| row.map_or(Place::NONE, |row| places[row]);
    Picks::new(rows.iter().map(place).collect())
}

fn exists(outcomes: &[Outcome]) -> ArrayRef {
    let mut builder = BooleanBuilder::with_capacity(outcomes.len());
    for outcome in outcomes {
        builder.append_option(match outcome {
            Outcome::Nothing => None,
            Outcome::Missing => Some(false),
            Outcome::Found(_) => Some(true),
        });
    }
    Arc::new(builder.finish())
}
