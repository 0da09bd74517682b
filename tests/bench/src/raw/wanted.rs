//! The keys that a request table asks for: each distinct key has a slot, found by hash.

use std::hash::BuildHasher;

use anyhow::{Result, bail};
use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array, StringArray},
    datatypes::{DataType, Int64Type},
};
use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};

/// Keys as the benchmark's stores have them.
#[derive(Debug)]
pub(super) enum Keys {
    Text(StringArray),
    Integer(Int64Array),
}

/// A column of wanted keys.
#[derive(Debug)]
pub(super) struct Wanted {
    keys: Keys,
    hasher: DefaultHashBuilder,
    table: HashTable<u32>,
    /// For each slot the first row that asks for its key.
    firsts: Vec<u32>,
    /// For each row its slot. No key is null.
    slots: Vec<u32>,
}

impl Wanted {
    pub(super) fn new(keys: &ArrayRef) -> Result<Self> {
        let keys = Keys::new(keys)?;
        let hasher = DefaultHashBuilder::default();
        let mut table = HashTable::with_capacity(keys.len());
        let mut firsts: Vec<u32> = Vec::with_capacity(keys.len());
        let mut slots = Vec::with_capacity(keys.len());
        for row in 0..keys.len() {
            let same = |slot: &u32| keys.same(firsts[*slot as usize] as usize, &keys, row);
            let rehash = |slot: &u32| keys.hash(firsts[*slot as usize] as usize, &hasher);
            let slot = match table.entry(keys.hash(row, &hasher), same, rehash) {
                Entry::Occupied(slot) => *slot.get(),
                Entry::Vacant(vacant) => {
                    let slot = u32::try_from(firsts.len())?;
                    vacant.insert(slot);
                    firsts.push(u32::try_from(row)?);
                    slot
                }
            };
            slots.push(slot);
        }
        Ok(Self { keys, hasher, table, firsts, slots })
    }

    /// For each row its slot.
    pub(super) fn slots(&self) -> &[u32] {
        &self.slots
    }

    /// How many distinct keys there are.
    pub(super) fn distinct(&self) -> usize {
        self.firsts.len()
    }

    /// The slot of a key of a store, if it is wanted.
    pub(super) fn slot(&self, held: &Keys, row: usize) -> Option<u32> {
        let same = |slot: &u32| {
            let first = self.firsts[*slot as usize] as usize;
            self.keys.same(first, held, row)
        };
        self.table.find(held.hash(row, &self.hasher), same).copied()
    }
}

impl Keys {
    pub(super) fn new(keys: &ArrayRef) -> Result<Self> {
        Ok(match keys.data_type() {
            DataType::Utf8 => Self::Text(keys.as_string().clone()),
            DataType::Int64 => Self::Integer(keys.as_primitive::<Int64Type>().clone()),
            other => bail!("no store of the benchmark has keys of type {other}"),
        })
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Text(keys) => keys.len(),
            Self::Integer(keys) => keys.len(),
        }
    }

    fn hash(&self, row: usize, hasher: &DefaultHashBuilder) -> u64 {
        match self {
            Self::Text(keys) => hasher.hash_one(keys.value(row)),
            Self::Integer(keys) => hasher.hash_one(keys.value(row)),
        }
    }

    fn same(&self, row: usize, other: &Self, other_row: usize) -> bool {
        match (self, other) {
            (Self::Text(mine), Self::Text(theirs)) => mine.value(row) == theirs.value(other_row),
            (Self::Integer(mine), Self::Integer(theirs)) => {
                mine.value(row) == theirs.value(other_row)
            }
            _ => false,
        }
    }
}
