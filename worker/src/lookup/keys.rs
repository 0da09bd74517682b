//! The keys of a batch, in the store's key type, each distinct one once.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, UInt32Array, new_empty_array},
    buffer::{BooleanBuffer, NullBuffer, OffsetBuffer},
    compute::{cast, concat, take},
    datatypes::{DataType, Field},
};
use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};
use keyloom_common::{Error, Result};

use super::convert::convert;
use crate::store::{Keys, key_nulls};

/// What a row's key is to the fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// It is null, or the row needs no answer: nothing is asked.
    Nothing,
    /// It is outside the range of the store's keys: missing, and nothing is asked.
    OutOfRange,
    /// It is this one of the distinct keys.
    Key(u32),
}

/// The keys of rows without lists: one a row, or the elements of lists.
#[derive(Debug)]
pub(super) struct FlatKeys {
    /// The keys, lists flattened.
    pub(super) elements: ArrayRef,
    /// How elements make rows, if the keys are lists.
    pub(super) lists: Option<Lists>,
}

/// The shape of lists whose elements were flattened.
#[derive(Clone, Debug)]
pub(super) struct Lists {
    pub(super) offsets: OffsetBuffer<i32>,
    pub(super) nulls: Option<NullBuffer>,
}

impl FlatKeys {
    /// Flattens lists of any layout; other arrays are taken as they are.
    pub(super) fn try_new(keys: &ArrayRef) -> Result<Self> {
        let element = match keys.data_type() {
            DataType::List(field)
            | DataType::LargeList(field)
            | DataType::FixedSizeList(field, _)
            | DataType::ListView(field)
            | DataType::LargeListView(field) => field.data_type().clone(),
            _ => return Ok(Self { elements: Arc::clone(keys), lists: None }),
        };
        let list_type = DataType::List(Arc::new(Field::new_list_field(element, true)));
        let lists = cast(keys, &list_type)?;
        let lists: &ListArray = lists.as_list();
        let first = lists.offsets().first().copied().unwrap_or(0);
        let last = lists.offsets().last().copied().unwrap_or(0);
        let elements = lists.values().slice(first as usize, (last - first) as usize);
        let offsets = lists.offsets().iter().map(|offset| offset - first).collect::<Vec<_>>();
        let offsets = OffsetBuffer::new(offsets.into());
        Ok(Self { elements, lists: Some(Lists { offsets, nulls: lists.nulls().cloned() }) })
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> usize {
        self.lists.as_ref().map_or(self.elements.len(), |lists| lists.offsets.len() - 1)
    }

    /// How many elements the first rows have, so many of them.
    pub(super) fn elements_of(&self, rows: usize) -> usize {
        let rows = rows.min(self.rows());
        self.lists.as_ref().map_or(rows, |lists| lists.offsets[rows] as usize)
    }

    /// The row of an element.
    pub(super) fn row_of(&self, element: usize) -> usize {
        let Some(lists) = &self.lists else { return element };
        lists.offsets.partition_point(|end| *end as usize <= element).saturating_sub(1)
    }

    /// A guard over rows as a guard over elements; elements of null lists need nothing.
    pub(super) fn by_element(&self, guard: Option<&BooleanArray>) -> Option<BooleanArray> {
        let Some(lists) = &self.lists else { return guard.cloned() };
        if guard.is_none() && lists.nulls.is_none() {
            return None;
        }
        let needed = lists.offsets.windows(2).enumerate().flat_map(|(row, bounds)| {
            let valid = lists.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
            let needed = valid && guard.is_none_or(|guard| guard.value(row));
            std::iter::repeat_n(needed, (bounds[1] - bounds[0]) as usize)
        });
        Some(needed.collect::<Vec<_>>().into())
    }
}

/// The distinct keys of some batches and which of them each element has.
#[derive(Debug)]
pub(crate) struct Distinct {
    /// The distinct keys, in the store's key type, in the order of their first appearance.
    pub(crate) keys: ArrayRef,
    /// One for each element, batch after batch.
    pub(super) slots: Vec<Slot>,
    /// How many elements have a key that is looked up.
    pub(super) asked: usize,
}

impl Distinct {
    /// Finds the distinct ones among the keys that are needed, batch by batch: the elements, and
    /// those of them that are needed (all, if `None`).
    pub(crate) fn try_new(
        batches: &[(&ArrayRef, Option<&BooleanArray>)],
        key_type: &DataType,
    ) -> Result<Self> {
        let typed = batches.iter().map(|(elements, _)| convert(elements, key_type));
        let typed = typed.collect::<Result<Vec<_>>>()?;
        let typed = match typed.as_slice() {
            [one] => one.clone(),
            [] => new_empty_array(key_type),
            all => concat(&all.iter().map(AsRef::as_ref).collect::<Vec<_>>())?,
        };
        let keys = Keys::try_new(&typed)?;
        let mut numbers = Numbers::new(&keys);
        let mut slots = Vec::with_capacity(keys.len());
        for (elements, needed) in batches {
            let start = slots.len();
            let asked = asked(elements, *needed);
            for index in 0..elements.len() {
                let slot = if asked.as_ref().is_some_and(|asked| !asked.value(index)) {
                    Slot::Nothing
                } else if keys.is_null(start + index) {
                    Slot::OutOfRange
                } else {
                    Slot::Key(numbers.of(start + index)?)
                };
                slots.push(slot);
            }
        }
        let asked = slots.iter().filter(|slot| **slot != Slot::Nothing).count();
        let firsts = UInt32Array::from(numbers.firsts);
        Ok(Self { keys: take(&typed, &firsts, None)?, slots, asked })
    }
}

/// The elements that are needed and not null; `None` if all are.
fn asked(elements: &ArrayRef, needed: Option<&BooleanArray>) -> Option<BooleanBuffer> {
    let nulls = key_nulls(elements).filter(|nulls| nulls.null_count() > 0);
    match (needed.map(BooleanArray::values), nulls) {
        (Some(needed), Some(nulls)) => Some(needed & nulls.inner()),
        (Some(needed), None) => Some(needed.clone()),
        (None, nulls) => nulls.map(NullBuffer::into_inner),
    }
}

/// Numbers keys in the order of their first appearance.
struct Numbers<'a> {
    keys: &'a Keys,
    known: Known,
    /// Where each of them appeared first.
    firsts: Vec<u32>,
}

/// The numbers of the keys that appeared.
enum Known {
    /// By the keys themselves.
    Near(Near),
    /// Numbers and codes.
    Table { hasher: DefaultHashBuilder, table: HashTable<(u32, u64)> },
}

/// Integers near each other: there are no more from the least to the greatest than there are rows.
struct Near {
    least: u64,
    /// For each integer from the least on its number; [`Self::NONE`] until it appears.
    numbers: Vec<u32>,
}

impl Near {
    const NONE: u32 = u32::MAX;

    /// Room for all keys, if they are such.
    fn of(keys: &Keys) -> Option<Self> {
        if !keys.is_exact() {
            return None;
        }
        let signed = keys.integers().ok()?.flatten().map(|key| key as i64);
        let ends = (i64::MAX, i64::MIN);
        let (least, greatest) = signed.fold(ends, |(l, g), key| (l.min(key), g.max(key)));
        let span = (least <= greatest).then(|| greatest.wrapping_sub(least) as u64)?;
        let span = usize::try_from(span).ok().filter(|span| *span < keys.len())?;
        Some(Self { least: least as u64, numbers: vec![Self::NONE; span + 1] })
    }
}

impl<'a> Numbers<'a> {
    fn new(keys: &'a Keys) -> Self {
        let known = Near::of(keys).map_or_else(
            // If all are distinct, it grows twice; if few are, it stays small enough for fast
            // memory.
            || Known::Table {
                hasher: DefaultHashBuilder::default(),
                table: HashTable::with_capacity(keys.len() / 4),
            },
            Known::Near,
        );
        Self { keys, known, firsts: Vec::new() }
    }

    /// The number of a key that is not null.
    fn of(&mut self, index: usize) -> Result<u32> {
        let Self { keys, known, firsts } = self;
        let (hasher, table) = match known {
            Known::Near(Near { least, numbers }) => {
                let key = keys.integer(index);
                let number = &mut numbers[key.wrapping_sub(*least) as usize];
                if *number == Near::NONE {
                    *number = next(firsts, index)?;
                }
                return Ok(*number);
            }
            Known::Table { hasher, table } => (hasher, table),
        };
        let exact = keys.is_exact();
        let code = keys.code(index, hasher);
        let hash = |code: u64| if exact { mix(code) } else { code };
        let same = |&(number, other): &(u32, u64)| {
            other == code && (exact || keys.equal(firsts[number as usize] as usize, keys, index))
        };
        match table.entry(hash(code), same, |&(_, code)| hash(code)) {
            Entry::Occupied(known) => Ok(known.get().0),
            Entry::Vacant(place) => {
                let number = next(firsts, index)?;
                place.insert((number, code));
                Ok(number)
            }
        }
    }
}

/// The number of a key that appears here first.
fn next(firsts: &mut Vec<u32>, index: usize) -> Result<u32> {
    let count = |count| {
        u32::try_from(count).map_err(|_| Error::resource_exhausted("too many keys at once"))
    };
    let number = count(firsts.len())?;
    firsts.push(count(index)?);
    Ok(number)
}

/// Spreads integers, which are often consecutive, over the hash table.
fn mix(code: u64) -> u64 {
    let mixed = code.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ (mixed >> 32)
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    /// The distinct ones among keys, and what each row asks for.
    fn distinct(keys: Vec<Option<i64>>) -> (ArrayRef, Vec<Slot>) {
        let keys: ArrayRef = Arc::new(Int64Array::from(keys));
        let distinct = Distinct::try_new(&[(&keys, None)], &DataType::Int64).unwrap();
        (distinct.keys, distinct.slots)
    }

    #[test]
    fn integers_near_each_other_are_numbered_as_those_that_are_not() {
        let shapes = [
            (i64::MIN, 1),
            (-2, 1),
            (-2, 1 << 40),
            (i64::MAX - 3, 1),
            (i64::MIN, (1 << 62) + ((1 << 62) - 1) / 3),
        ];
        for (least, step) in shapes {
            let rows = [Some(3_i64), None, Some(0), Some(3), Some(1), Some(0)];
            let key = |place: i64| least.wrapping_add(place.wrapping_mul(step));
            let (keys, slots) = distinct(rows.iter().map(|place| place.map(key)).collect());
            let expected: ArrayRef = Arc::new(Int64Array::from(vec![key(3), key(0), key(1)]));
            assert_eq!(&keys, &expected, "from {least} by {step}");
            let expected = [Some(0), None, Some(1), Some(0), Some(2), Some(1)];
            let expected = expected.map(|number| number.map_or(Slot::Nothing, Slot::Key));
            assert_eq!(slots, expected, "from {least} by {step}");
        }
        assert_eq!(distinct(vec![None, None]).0.len(), 0);
        assert!(distinct(Vec::new()).1.is_empty());
    }
}
