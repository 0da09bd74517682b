//! Bounds of the lookup operator.

use serde::{Deserialize, Serialize};

use crate::store::MostRows;

/// The bytes that a row takes beside its values while it is looked up: where it is, and for which
/// key.
pub(super) const ROW_BYTES: u64 = 64;

/// Answers are there so often: as they were read, and in the rows that asked.
const TIMES: u64 = 2;

/// How much a lookup does at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LookupSettings {
    /// The most rows that are looked up together. Default 131072.
    pub window_rows: usize,
    /// About the most bytes of answers that are looked up together. Default 64 MiB.
    pub window_bytes: u64,
    /// The most memory for the windows of all tasks, in bytes, set apart of the worker's
    /// `memory_bytes` (a quarter of it at most). A window takes twice the bytes of its answers,
    /// which are there as they were read and in the rows that asked, and an eighth of this memory
    /// at most. Where it is full, a task looks up one window at a time, which is smaller then: so
    /// it may have a mebibyte, or the answers of one row, in any case. What tasks count of their
    /// keys is in it, too (`key_report_bytes`). The keys and the rows that ask are not, nor are
    /// direct lookups of an embedded session. Default 2 GiB.
    pub memory_bytes: u64,
    /// How many windows of a task are looked up at once. Default 2.
    pub windows_in_flight: usize,
    /// How many requests of one window to one store are under way at once, where `batch_size` makes
    /// several of them. Default 8.
    pub requests_in_flight: usize,
    /// The most rows of one key where all of a key's rows are asked for, by `kv_get_all` or a join;
    /// half of `memory_bytes` bounds them, too. More are an error: such a list is one value. There
    /// is no bound on the rows of several keys: a window that finds too many is looked up in
    /// parts.
    /// Default 4194304.
    pub key_rows: usize,
    /// The most rows of keys in lists that leave a lookup in one batch, unless one list has more:
    /// joins make a row of each. Default 65536.
    pub list_rows: usize,
    /// How many missing keys an error names. Default 5.
    pub missing_keys_named: usize,
    /// About the most bytes by which a task tells the keys that it asked for: hashes of distinct
    /// ones, half of it, by which they are counted over all tasks (exactly as long as they fit),
    /// and rows that missed theirs, if they are to be told one by one. The fetches of a task share
    /// it. While a task runs, its hashes take up to twice their room. At most half of
    /// `rpc.max_frame_bytes`. Default 4 MiB.
    pub key_report_bytes: u64,
    /// The most aliases of stores whose lookups metrics count apart, those that are asked first;
    /// of all others, and of aliases longer than 128 bytes, they are counted together, as of
    /// `other`. Default 64.
    pub counted_stores: usize,
}

impl Default for LookupSettings {
    fn default() -> Self {
        Self {
            window_rows: 131_072,
            window_bytes: 64 << 20,
            memory_bytes: 2 << 30,
            windows_in_flight: 2,
            requests_in_flight: 8,
            key_rows: 1 << 22,
            list_rows: 1 << 16,
            missing_keys_named: 5,
            key_report_bytes: 4 << 20,
            counted_stores: 64,
        }
    }
}

/// A key that stands in so few rows is answered however large these are, as one row is.
const FEW_ROWS: usize = 16;

impl LookupSettings {
    /// How many rows may be found together where all rows of a key are asked for, each with so many
    /// bytes of values.
    pub(crate) fn most_rows(&self, row_bytes: u64) -> MostRows {
        let row_bytes = row_bytes.saturating_add(ROW_BYTES);
        let rows = |bytes: u64| usize::try_from(bytes / row_bytes).unwrap_or(usize::MAX);
        // Lists count their rows in 31 bits.
        let most = self.key_rows.clamp(1, i32::MAX as usize - 1);
        let of_a_key = rows(self.memory_bytes / TIMES).clamp(FEW_ROWS.min(most), most);
        MostRows { at_once: rows(self.window_bytes).clamp(1, of_a_key), of_a_key }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_found_together_are_bounded_by_their_bytes() {
        let settings = LookupSettings {
            window_bytes: 1 << 20,
            memory_bytes: 8 << 20,
            key_rows: 10_000,
            ..LookupSettings::default()
        };
        let most = |row_bytes| {
            let MostRows { at_once, of_a_key } = settings.most_rows(row_bytes);
            (at_once, of_a_key)
        };
        assert_eq!(most(0), (10_000, 10_000));
        assert_eq!(most(1024 - 64), (1024, 4096));
        assert_eq!(most(64 << 20), (1, FEW_ROWS));
        assert_eq!(most(u64::MAX), (1, FEW_ROWS));
    }
}
