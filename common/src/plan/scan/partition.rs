//! What a partition of a scan is: slices of files, and which of their rows.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A part of a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileSlice {
    /// The file's path within the object store.
    pub path: String,
    /// The file's size in bytes, when the job was submitted.
    pub size: u64,
    /// What its object store knew this content by.
    pub e_tag: Option<String>,
    /// When it had last changed, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// The text of each partition column; none for null.
    pub partition_values: Vec<Option<String>>,
    /// Which bytes; for Parquet, the row groups that start within them.
    pub bytes: Range<u64>,
    /// How many rows they hold, if that is known.
    pub rows: Option<u64>,
    /// For CSV, how many lines stand before them.
    pub lines_before: u64,
}

impl FileSlice {
    /// Whether it is the whole file.
    pub fn is_whole(&self) -> bool {
        self.bytes.start == 0 && self.bytes.end >= self.size
    }

    /// Whether another is the next part of the same file.
    fn is_before(&self, other: &Self) -> bool {
        let Self { path, size, e_tag, modified_ns, partition_values, bytes, .. } = self;
        bytes.end == other.bytes.start
            && (path, size, e_tag, modified_ns, partition_values)
                == (
                    &other.path,
                    &other.size,
                    &other.e_tag,
                    &other.modified_ns,
                    &other.partition_values,
                )
    }
}

/// Rows of a partition, by their places from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RowRange {
    /// The first.
    pub start: usize,
    /// How many; to the end, if there is no bound.
    pub length: Option<usize>,
}

impl RowRange {
    /// These of those rows: they count from the first of those.
    pub(in crate::plan) fn within(self, rows: Self) -> Self {
        let left = rows.length.map(|length| length.saturating_sub(self.start));
        let length = match (left, self.length) {
            (Some(left), Some(length)) => Some(left.min(length)),
            (left, length) => left.or(length),
        };
        Self { start: rows.start.saturating_add(self.start), length }
    }
}

/// One partition of a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ScanPartition {
    /// What is read, one after the other.
    pub slices: Vec<FileSlice>,
    /// The rows that are wanted of it; all if absent.
    pub rows: Option<RowRange>,
}

impl ScanPartition {
    /// How many rows it has, if all of its slices say how many they hold.
    pub fn known_rows(&self) -> Option<u64> {
        let held: u64 = self.slices.iter().map(|slice| slice.rows).sum::<Option<u64>>()?;
        let Some(RowRange { start, length }) = self.rows else { return Some(held) };
        let left = held.saturating_sub(start as u64);
        Some(length.map_or(left, |length| left.min(length as u64)))
    }

    /// Some of its rows, which count from its first one.
    pub(in crate::plan) fn part(&self, rows: Option<RowRange>) -> Self {
        let rows = match (self.rows, rows) {
            (Some(own), Some(rows)) => Some(rows.within(own)),
            (own, rows) => own.or(rows),
        };
        Self { slices: self.slices.clone(), rows }
    }

    /// All rows of several partitions, one after the other, whichever are wanted of each. Parts of
    /// a file that follow each other become one.
    pub fn joined(partitions: &[Self]) -> Self {
        let mut slices: Vec<FileSlice> = Vec::new();
        for slice in partitions.iter().flat_map(|partition| &partition.slices) {
            match slices.last_mut() {
                Some(last) if last.is_before(slice) => {
                    last.bytes.end = slice.bytes.end;
                    last.rows = last.rows.zip(slice.rows).map(|(before, more)| before + more);
                }
                _ => slices.push(slice.clone()),
            }
        }
        Self { slices, rows: None }
    }
}
