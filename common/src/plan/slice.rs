//! The part of its input that one task of a fragment reads.
//!
//! A fragment travels once to each worker that runs tasks of it, and without its input: it is a
//! chain of operators above one leaf that reads nothing. Each task brings a slice of the input to
//! it. Slices come from peers, as plans do: one that does not fit its fragment is an error.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use datafusion::physical_plan::{ExecutionPlan, limit::GlobalLimitExec};
use serde::{Deserialize, Serialize};

use super::{
    FramePartition, FrameScanExec, InputScanExec, RowRange, ScanPartition, ScanTable, SpreadExec,
};
use crate::{
    error::{Error, Result},
    rpc::bincode,
};

/// What one task reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Slice {
    /// Nothing: the leaf makes its rows by itself.
    Nothing,
    /// A partition of a frame, or some of its rows.
    Frame(FramePartition, Option<RowRange>),
    /// Partitions of a frame, all rows of one after the other.
    Frames(Vec<FramePartition>),
    /// A partition of files. It names them with what they were known by.
    Files(ScanPartition),
}

impl Slice {
    /// A partition of a leaf, or some of its rows.
    ///
    /// # Errors
    /// `internal` if the leaf has no such partition.
    pub fn of(
        leaf: &Arc<dyn ExecutionPlan>,
        partition: usize,
        rows: Option<RowRange>,
    ) -> Result<Self> {
        let missing = || Error::internal(format!("{} has no partition {partition}", leaf.name()));
        if let Some(frame) = leaf.downcast_ref::<FrameScanExec>() {
            let partition = frame.partitions().get(partition).ok_or_else(missing)?;
            return Ok(Self::Frame(*partition, rows));
        }
        if let Some(scan) = leaf.downcast_ref::<InputScanExec>() {
            let partition = scan.partitions().get(partition).ok_or_else(missing)?;
            return Ok(Self::Files(partition.part(rows)));
        }
        Ok(Self::Nothing)
    }

    /// All rows of several partitions of a frame or of files, one after the other.
    ///
    /// # Errors
    /// `internal` if the leaf reads neither, has no such partitions, or reads only some rows of
    /// one.
    pub fn joined(leaf: &Arc<dyn ExecutionPlan>, partitions: Range<usize>) -> Result<Self> {
        let missing =
            || Error::internal(format!("{} has no partitions {partitions:?}", leaf.name()));
        if let Some(frame) = leaf.downcast_ref::<FrameScanExec>() {
            let joined = frame.partitions().get(partitions.clone());
            let joined = joined.filter(|joined| !joined.is_empty()).ok_or_else(missing)?;
            return Ok(Self::Frames(joined.to_vec()));
        }
        let scan = leaf.downcast_ref::<InputScanExec>();
        let joined = scan.and_then(|scan| scan.partitions().get(partitions.clone()));
        let joined = joined.filter(|joined| !joined.is_empty()).ok_or_else(missing)?;
        if joined.iter().any(|partition| partition.rows.is_some()) {
            return Err(Error::internal(format!(
                "{} reads some rows of partitions {partitions:?}, which are not read as one",
                leaf.name()
            )));
        }
        Ok(Self::Files(ScanPartition::joined(joined)))
    }

    /// The slice as bytes.
    ///
    /// # Errors
    /// `resource_exhausted` if it is too large.
    pub fn encode(&self) -> Result<Bytes> {
        Ok(bincode::encode(self)?.into())
    }

    /// A slice from bytes.
    ///
    /// # Errors
    /// `internal` if the bytes are no slice.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        bincode::decode(bytes)
    }
}

/// A leaf without what it reads, as fragments travel.
pub fn without_input(leaf: &Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    if let Some(frame) = leaf.downcast_ref::<FrameScanExec>() {
        return Arc::new(frame.with_partitions(vec![FramePartition::NONE]));
    }
    if let Some(scan) = leaf.downcast_ref::<InputScanExec>() {
        return Arc::new(scan.with_partitions(vec![ScanPartition::default()]));
    }
    Arc::clone(leaf)
}

/// A fragment over a slice of its input. It shares nothing with other tasks of the fragment that
/// changes while it runs: neither counters nor what a sort has seen.
///
/// # Errors
/// `internal` if the slice does not fit the fragment.
pub fn with_slice(
    fragment: &Arc<dyn ExecutionPlan>,
    slice: Slice,
) -> Result<Arc<dyn ExecutionPlan>> {
    match fragment.children().as_slice() {
        [] => leaf_with(fragment, slice),
        [input] => {
            let input = with_slice(input, slice)?;
            Ok(Arc::clone(fragment).with_new_children(vec![input])?.reset_state()?)
        }
        _ => Err(misfit("its fragment has several inputs")),
    }
}

fn leaf_with(leaf: &Arc<dyn ExecutionPlan>, slice: Slice) -> Result<Arc<dyn ExecutionPlan>> {
    let frame = leaf.downcast_ref::<FrameScanExec>();
    let scan = leaf.downcast_ref::<InputScanExec>();
    match (slice, frame, scan) {
        (Slice::Nothing, None, None) => Ok(Arc::clone(leaf)),
        (Slice::Frame(partition, rows), Some(frame), None) => {
            let frame: Arc<dyn ExecutionPlan> = Arc::new(frame.with_partitions(vec![partition]));
            Ok(match rows {
                Some(rows) => Arc::new(GlobalLimitExec::new(frame, rows.start, rows.length)),
                None => frame,
            })
        }
        (Slice::Frames(partitions), Some(_), None) if partitions.is_empty() => {
            Err(misfit("it has no partitions"))
        }
        (Slice::Frames(partitions), Some(frame), None) => {
            let frames = Arc::new(frame.with_partitions(partitions));
            Ok(Arc::new(SpreadExec::new(frames, 1)))
        }
        (Slice::Files(partition), None, Some(scan)) => {
            check(&partition, scan.table())?;
            Ok(Arc::new(scan.with_partitions(vec![partition])))
        }
        _ => Err(misfit(&format!("it is not of what {} reads", leaf.name()))),
    }
}

/// Refuses parts of files that are none, or of which folders tell other columns than the table's.
fn check(partition: &ScanPartition, table: &ScanTable) -> Result<()> {
    for slice in &partition.slices {
        if slice.bytes.start > slice.bytes.end {
            return Err(misfit("a part of a file ends before it starts"));
        }
        if slice.partition_values.len() != table.partition_schema.fields().len() {
            return Err(misfit("a file has other folders than its table"));
        }
    }
    Ok(())
}

fn misfit(what: &str) -> Error {
    Error::internal(format!("bad slice from a peer: {what}"))
}

#[cfg(test)]
mod tests;
