//! From keys to row addresses, in 16 bytes a row: pairs of a code and an address, sorted.
//!
//! The code of an integer is the integer; the code of anything else is a hash, so that rows found
//! by it are candidates until their keys were compared.

use arrow::array::ArrayRef;
use hashbrown::DefaultHashBuilder;
use keyloom_common::Result;

use crate::store::keys::Keys;

/// Bytes that a row takes in a map.
pub(super) const BYTES_A_ROW: u64 = size_of::<Entry>() as u64;

/// A code and an address. Sorting by both puts the rows of a key in storage order.
pub(super) type Entry = (u64, u64);

/// The live rows of a snapshot by their keys.
#[derive(Debug)]
pub(super) struct KeyMap {
    entries: Vec<Entry>,
    coder: Coder,
}

/// Turns keys into codes. The hashes of one map are of no use to another.
#[derive(Clone, Debug)]
pub(super) struct Coder {
    hasher: DefaultHashBuilder,
    /// Which bits of a hash count: all of them, except where a test wants keys to collide.
    mask: u64,
}

impl KeyMap {
    /// Sorts the entries.
    pub(super) fn new(mut entries: Vec<Entry>, coder: Coder) -> Self {
        entries.sort_unstable();
        Self { entries, coder }
    }

    /// The rows that may hold the key, in storage order. If the keys are exact, they do hold it.
    pub(super) fn candidates(&self, keys: &Keys, key: usize) -> &[Entry] {
        if keys.is_null(key) {
            return &[];
        }
        let code = self.coder.code(keys, key);
        let start = self.entries.partition_point(|entry| entry.0 < code);
        let rest = &self.entries[start..];
        // Almost every key stands in one row: look at its neighbour before searching for the end.
        let end = match rest.get(1) {
            Some(next) if next.0 == code => rest.partition_point(|entry| entry.0 == code),
            _ => usize::from(rest.first().is_some_and(|entry| entry.0 == code)),
        };
        &rest[..end]
    }
}

impl Coder {
    /// A coder whose hashes differ in these bits only.
    #[cfg(test)]
    pub(super) fn masked(mask: u64) -> Self {
        Self { mask, ..Self::default() }
    }

    /// Adds the rows of a scanned batch. Null keys match nothing, so they are left out.
    pub(super) fn encode(
        &self,
        keys: &ArrayRef,
        addresses: &[u64],
        into: &mut Vec<Entry>,
    ) -> Result<()> {
        let keys = Keys::try_new(keys)?;
        let valid = (0..keys.len()).filter(|key| !keys.is_null(*key));
        into.extend(valid.map(|key| (self.code(&keys, key), addresses[key])));
        Ok(())
    }

    fn code(&self, keys: &Keys, key: usize) -> u64 {
        let code = keys.code(key, &self.hasher);
        if keys.is_exact() { code } else { code & self.mask }
    }
}

impl Default for Coder {
    fn default() -> Self {
        Self { hasher: DefaultHashBuilder::default(), mask: u64::MAX }
    }
}
