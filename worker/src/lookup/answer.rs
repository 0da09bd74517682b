//! From the rows found to the columns that calls become: values realigned with the rows that asked.

use std::{rc::Rc, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, BooleanArray, BooleanBuilder, ListArray, StructArray},
    buffer::NullBuffer,
    datatypes::Field,
    util::display::array_value_to_string,
};
use keyloom_common::{
    Error, ErrorCode, Result,
    functions::OnError,
    lookup::{Answer, Call, Fetch},
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
    /// The columns that were fetched.
    pub(super) columns: &'a [usize],
    /// What was found for each distinct key.
    pub(super) found: &'a Found,
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
                self.structs(columns, &outcomes)?
            }
        };
        self.lists(elements, self.row_guards[index].as_ref())
    }

    fn outcomes(&self, guard: Option<&BooleanArray>) -> Vec<Outcome> {
        let outcome = |(element, slot): (usize, &Slot)| {
            if guard.is_some_and(|guard| !guard.value(element)) {
                return Outcome::Nothing;
            }
            match slot {
                Slot::Nothing => Outcome::Nothing,
                Slot::OutOfRange => Outcome::Missing,
                Slot::Key(key) if self.found.held[*key as usize] => Outcome::Found(*key),
                Slot::Key(_) => Outcome::Missing,
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

    /// Structs of the found rows' values; null structs for what was not found.
    fn structs(&self, columns: &[usize], outcomes: &[Outcome]) -> Result<ArrayRef> {
        let fields = keyloom_common::functions::row_fields(&self.fetch.store, columns);
        let valid = outcomes.iter().map(|outcome| matches!(outcome, Outcome::Found(_)));
        let nulls: NullBuffer = valid.collect();
        let mut known: Vec<(&Arc<[Place]>, Rc<Picks>)> = Vec::new();
        let values = columns
            .iter()
            .map(|column| {
                let fetched = self.columns.iter().position(|fetched| fetched == column);
                let fetched = fetched.ok_or_else(|| Error::internal("a column was not fetched"))?;
                let values = &self.found.columns[fetched];
                let same = known.iter().find(|(places, _)| Arc::ptr_eq(places, &values.places));
                let picks = same.map(|(_, picks)| picks.clone()).unwrap_or_else(|| {
                    let picks = Rc::new(picks(&values.places, outcomes));
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

/// Where each element's value is, of the places of the distinct keys.
fn picks(places: &[Place], outcomes: &[Outcome]) -> Picks {
    let place = |outcome: &Outcome| match outcome {
        Outcome::Found(key) => places[*key as usize],
        Outcome::Nothing | Outcome::Missing => Place::NONE,
    };
    Picks::new(outcomes.iter().map(place).collect())
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
