//! From keys to the addresses of their rows, by whatever the store is keyed.
//!
//! Every address given here holds a live row of the snapshot. Whether it is the key's is settled
//! for exact keys; for hashed ones the fetched row must be compared ([`Located::verify`]).

use arrow::array::ArrayRef;
use keyloom_common::{
    Error, Result,
    store::{LanceKey, OnDuplicateKey},
};

use super::{
    LanceHandle, LanceStore, column,
    key_map::{Coder, Entry, KeyMap},
    layout::Layout,
    scan::{KeySource, read_key_map},
};
use crate::store::keys::Keys;

/// Where the rows of a request's keys are.
pub(super) struct Located<'a> {
    /// For each key the address of its row; none if the store does not hold the key.
    pub(super) addresses: Vec<Option<u64>>,
    /// The key column to fetch and compare, if the addresses are only likely.
    pub(super) verify: Option<&'a str>,
}

impl LanceStore {
    /// Finds the row of each key.
    ///
    /// # Errors
    /// `invalid` if a key stands in several rows and the store is to refuse that; `store` if the
    /// dataset cannot be read.
    pub(super) async fn locate(&self, keys: &Keys) -> Result<Located<'_>> {
        let settled = |addresses| Located { addresses, verify: None };
        match &self.handle.spec.key {
            LanceKey::Offset => {
                let layout = self.layout().await?;
                let row = |offset| layout.address_of_offset(offset);
                Ok(settled(keys.integers()?.map(|key| key.and_then(row)).collect()))
            }
            LanceKey::RowId if !self.handle.dataset.manifest.uses_stable_row_ids() => {
                let layout = self.layout().await?;
                let row = |address| layout.holds(address);
                Ok(settled(keys.integers()?.map(|key| key.filter(|id| row(*id))).collect()))
            }
            LanceKey::RowId => {
                let map = self.key_map(KeySource::StableRowId).await?;
                Ok(settled(self.choose_exact(keys, map)?))
            }
            LanceKey::Column(name) => {
                let map = self.key_map(KeySource::Column(name)).await?;
                if keys.is_exact() {
                    return Ok(settled(self.choose_exact(keys, map)?));
                }
                let addresses = self.choose_hashed(keys, map, name).await?;
                Ok(Located { addresses, verify: Some(name) })
            }
        }
    }

    async fn layout(&self) -> Result<&Layout> {
        let LanceHandle { dataset, settings, .. } = self.handle.as_ref();
        let load = || Layout::load(dataset, settings.take_chunks_in_flight);
        self.handle.layout.get_or_try_init(load).await.map_err(|error| self.cannot_read(error))
    }

    async fn key_map(&self, source: KeySource<'_>) -> Result<&KeyMap> {
        let LanceHandle { dataset, settings, .. } = self.handle.as_ref();
        let read = || read_key_map(dataset, source, Coder::default(), settings);
        self.handle.key_map.get_or_try_init(read).await.map_err(|error| self.cannot_read(error))
    }

    fn choose_exact(&self, keys: &Keys, map: &KeyMap) -> Result<Vec<Option<u64>>> {
        let rows = (0..keys.len()).map(|key| {
            self.choose(keys, key, map.candidates(keys, key).iter().map(|entry| entry.1))
        });
        rows.collect()
    }

    /// Compares the keys of all rows whose hash several share: only then is it known how many are
    /// the key's. A hash that stands in one row is left to be compared when that row is fetched.
    async fn choose_hashed(
        &self,
        keys: &Keys,
        map: &KeyMap,
        name: &str,
    ) -> Result<Vec<Option<u64>>> {
        let candidates: Vec<_> = (0..keys.len()).map(|key| map.candidates(keys, key)).collect();
        let several = candidates.iter().filter(|entries| entries.len() > 1).copied();
        let mut wanted: Vec<u64> = several.flatten().map(|entry| entry.1).collect();
        if wanted.is_empty() {
            return Ok(candidates.iter().map(|rows| rows.first().map(|entry| entry.1)).collect());
        }
        wanted.sort_unstable();
        wanted.dedup();
        let rows = self.fetch(&[name], &wanted).await?;
        let held: &ArrayRef = column(&rows, name)?;
        let held = Keys::try_new(held)?;
        let same = |key: usize, address: u64| {
            wanted.binary_search(&address).is_ok_and(|row| keys.equal(key, &held, row))
        };
        let chosen = candidates.iter().enumerate().map(|(key, entries): (_, &&[Entry])| {
            let rows = entries.iter().map(|entry| entry.1);
            match entries.len() {
                0 | 1 => Ok(entries.first().map(|entry| entry.1)),
                _ => self.choose(keys, key, rows.filter(|address| same(key, *address))),
            }
        });
        chosen.collect()
    }

    /// The row of a key among those that hold it, which come in storage order.
    fn choose(
        &self,
        keys: &Keys,
        key: usize,
        mut rows: impl Iterator<Item = u64>,
    ) -> Result<Option<u64>> {
        let first = rows.next();
        match self.handle.spec.on_duplicate_key {
            OnDuplicateKey::First => Ok(first),
            OnDuplicateKey::Last => Ok(rows.last().or(first)),
            OnDuplicateKey::Error if rows.next().is_none() => Ok(first),
            OnDuplicateKey::Error => Err(Error::invalid(format!(
                "key {} stands in several rows of KV store '{}'; set on_duplicate_key to 'first' \
                 or 'last'",
                keys.display(key),
                self.alias
            ))),
        }
    }
}
