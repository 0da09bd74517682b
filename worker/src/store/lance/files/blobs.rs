//! Blobs whose bytes may lie apart from the rows: beside the data file, or somewhere else.
//!
//! A row holds a description of such a blob, which only Lance can follow. Descriptions also say how
//! large blobs are, so that none has to be read to learn that.

use std::{collections::HashMap, ops::Range, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array, new_null_array},
    compute::{concat_batches, take},
    datatypes::{DataType, UInt8Type, UInt64Type},
};
use datafusion::{execution::TaskContext, physical_plan::ExecutionPlan};
use futures::{StreamExt, TryStreamExt};
use keyloom_common::Result;
use lance::{
    Dataset,
    dataset::{
        fragment::{FileFragment, FragReadConfig},
        scanner::RowAddrTreeMap,
    },
    datatypes::{BlobHandling, BlobKind, Field, Schema},
    io::exec::filtered_read::{FilteredReadExec, FilteredReadOptions, FilteredReadPlan},
};
use lance_file::version::ConcreteFileVersion;

use super::read::{check, given};
use crate::store::{
    lance::{
        column::{Column, projection},
        error::from_lance,
        handle::LanceHandle,
    },
    value_bytes,
};

/// The most descriptions that tell how large the blobs of a part of a fragment are.
const SAMPLE: u32 = 16;

/// The most parts of a fragment whose blobs may be of different sizes.
const PARTS: u32 = 4;

/// About how large the values of a column with blobs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store::lance) struct BlobSizes {
    /// Bytes of a value.
    pub(in crate::store::lance) value: u64,
    /// Those of them that are in the data file.
    pub(in crate::store::lance) in_file: u64,
}

impl LanceHandle {
    /// The values of a column with blobs at some live rows of a fragment, sorted and distinct.
    pub(super) async fn take_blobs(
        &self,
        column: &Column,
        fragment: u32,
        rows: &[u32],
    ) -> Result<ArrayRef> {
        let first = u64::from(fragment) << 32;
        let addresses = rows.iter().map(|row| first | u64::from(*row));
        let wanted = self.dataset.empty_projection().union_schema(&projection([column]));
        let wanted = wanted.with_blob_handling(BlobHandling::AllBinary).with_row_addr();
        let of_fragment = vec![self.fragment(fragment)?.metadata().clone()];
        let options = FilteredReadOptions::new(wanted).with_fragments(Arc::new(of_fragment));
        let plan = FilteredReadPlan {
            rows: addresses.clone().collect::<RowAddrTreeMap>(),
            filters: HashMap::new(),
            scan_range_after_filter: None,
        };
        let read = FilteredReadExec::try_new(self.dataset.clone(), options, None);
        let read = read.map_err(from_lance)?.with_plan(plan).await.map_err(from_lance)?;
        let batches = read.execute(0, Arc::new(TaskContext::default()));
        let failed = |error| from_lance(lance::Error::from(error));
        let batches: Vec<RecordBatch> =
            batches.map_err(failed)?.try_collect().await.map_err(failed)?;
        let batch = concat_batches(&read.schema(), &batches)?;
        check(&batch, addresses)?;
        Ok(given(&batch, column.name())?.clone())
    }

    /// The values of consecutive rows of a fragment. Of deleted ones they are null: what they
    /// described may be gone.
    pub(super) async fn read_blob_range(
        &self,
        column: &Column,
        fragment: u32,
        rows: Range<u32>,
    ) -> Result<ArrayRef> {
        let layout = self.layout().await?;
        let is_live =
            |row: &u32| layout.row_at(u64::from(fragment) << 32 | u64::from(*row)).is_some();
        let live: Vec<u32> = rows.clone().filter(is_live).collect();
        if live.is_empty() {
            return Ok(new_null_array(column.answered().data_type(), rows.len()));
        }
        let values = self.take_blobs(column, fragment, &live).await?;
        if live.len() == rows.len() {
            return Ok(values);
        }
        let place = |row| live.binary_search(&row).ok().map(|at| at as u32);
        let places: UInt32Array = rows.map(place).collect();
        Ok(take(&values, &places, None)?)
    }
}

/// Whether the field or one within is a blob that Lance describes. In files of the first version
/// blobs are as any other bytes.
pub(in crate::store::lance) fn has_described(dataset: &Dataset, field: &Field) -> bool {
    let version = dataset.manifest.data_storage_format.lance_file_format();
    version != ConcreteFileVersion::V1 && has_blob(field)
}

fn has_blob(field: &Field) -> bool {
    field.is_blob() || field.children.iter().any(has_blob)
}

/// Whether the field or one within is a list of blobs that are kept as they were before version
/// 2.2: Lance writes them without their lists.
pub(in crate::store::lance) fn has_lost_lists(dataset: &Dataset, field: &Field) -> bool {
    fn lost(field: &Field, within_list: bool) -> bool {
        let data_type = field.data_type();
        let is_list = data_type.is_list() || matches!(data_type, DataType::Map(_, _));
        let within_list = within_list || is_list;
        (within_list && field.is_blob() && !field.is_blob_v2())
            || field.children.iter().any(|child| lost(child, within_list))
    }
    has_described(dataset, field) && lost(field, false)
}

/// Whether the field or one within is a blob whose bytes may lie apart.
pub(in crate::store::lance) fn has_bytes_apart(field: &Field) -> bool {
    field.is_blob_v2() || field.children.iter().any(has_bytes_apart)
}

/// The sizes of values by some descriptions from each part of a fragment with so many rows. Parts
/// are told by their ends.
///
/// # Errors
/// `store` if they cannot be read.
pub(in crate::store::lance) async fn sizes(
    fragment: &FileFragment,
    field: &Field,
    rows: u32,
) -> Result<Vec<(u32, BlobSizes)>> {
    let described = described(field);
    let schema = Schema { fields: vec![described.clone()], metadata: HashMap::new() };
    let config = FragReadConfig::default().with_ignore_deletions(true);
    let reader = fragment.open(&schema, config).await.map_err(from_lance)?;
    let parts = (rows / SAMPLE).clamp(1, PARTS);
    let end = |part: u32| (u64::from(rows) * u64::from(part) / u64::from(parts)) as u32;
    let mut sizes: Vec<(u32, BlobSizes)> = Vec::new();
    for part in 0..parts {
        let (start, end) = (end(part), end(part + 1));
        let wanted = start..end.min(start + SAMPLE);
        let read = async {
            let batches = reader.take_range(wanted, SAMPLE).await.map_err(from_lance)?;
            let batches: Vec<RecordBatch> =
                batches.buffered(1).try_collect().await.map_err(from_lance)?;
            BlobSizes::of(&batches, &described)
        };
        match (read.await, sizes.last()) {
            (Ok(of_part), _) => sizes.push((end, of_part)),
            // Of blobs within lists, Lance cannot read all parts by themselves.
            (Err(_), Some(&(_, before))) => sizes.push((end, before)),
            (Err(error), None) => return Err(error),
        }
    }
    Ok(sizes)
}

/// The field with descriptions in the place of blobs.
fn described(field: &Field) -> Field {
    let mut described = field.clone();
    if field.is_blob() {
        described.unloaded_mut();
    } else {
        described.children = field.children.iter().map(self::described).collect();
    }
    described
}

/// The bytes of all blobs described, and those of them that are in the data file.
fn payload(described: &Field, values: &ArrayRef) -> (u64, u64) {
    let both = |(all, within): (u64, u64), (more, more_within): (u64, u64)| {
        (all.saturating_add(more), within.saturating_add(more_within))
    };
    let of_child = |values: &ArrayRef| {
        described.children.first().map_or((0, 0), |child| payload(child, values))
    };
    match values.data_type() {
        DataType::Struct(_) if described.is_blob() => described_bytes(values),
        DataType::Struct(_) => {
            let children = described.children.iter().zip(values.as_struct().columns());
            children.map(|(child, values)| payload(child, values)).fold((0, 0), both)
        }
        DataType::List(_) => of_child(values.as_list::<i32>().values()),
        DataType::LargeList(_) => of_child(values.as_list::<i64>().values()),
        _ => (0, 0),
    }
}

fn described_bytes(descriptions: &ArrayRef) -> (u64, u64) {
    let descriptions = descriptions.as_struct();
    let sizes = descriptions.column_by_name("size");
    let Some(sizes) = sizes.and_then(|sizes| sizes.as_primitive_opt::<UInt64Type>()) else {
        return (0, 0);
    };
    let kinds = descriptions.column_by_name("kind");
    let kinds = kinds.and_then(|kinds| kinds.as_primitive_opt::<UInt8Type>());
    let (mut all, mut within) = (0_u64, 0_u64);
    for row in (0..descriptions.len()).filter(|row| descriptions.is_valid(*row)) {
        // What is null of a description counts nothing.
        let size = if sizes.is_valid(row) { sizes.value(row) } else { 0 };
        let inline = kinds.is_none_or(|kinds| kinds.value(row) == BlobKind::Inline as u8);
        all = all.saturating_add(size);
        within = within.saturating_add(if inline { size } else { 0 });
    }
    (all, within)
}

impl BlobSizes {
    /// Where descriptions cannot be read: what is marked as a blob is seldom small.
    pub(in crate::store::lance) const UNKNOWN: Self = Self { value: 64 * 1024, in_file: 64 * 1024 };

    fn of(batches: &[RecordBatch], described: &Field) -> Result<Self> {
        let (mut value, mut in_file) = (0, 0);
        for batch in batches {
            let descriptions = given(batch, &described.name)?;
            // What stands beside the blobs counts, too, and a description for the end of its blob.
            let beside = value_bytes(descriptions);
            let (all, within) = payload(described, descriptions);
            value += all.saturating_add(beside);
            in_file += within.saturating_add(beside);
        }
        let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>().max(1);
        Ok(Self { value: value.div_ceil(rows).max(1), in_file: in_file / rows })
    }

    /// Of all rows, by those of parts that are told by their ends.
    pub(in crate::store::lance) fn mean(parts: &[(u32, Self)]) -> Option<Self> {
        let (mut start, mut value, mut in_file) = (0, 0_u64, 0_u64);
        for (end, sizes) in parts {
            let rows = u64::from(end - start);
            value = value.saturating_add(sizes.value.saturating_mul(rows));
            in_file = in_file.saturating_add(sizes.in_file.saturating_mul(rows));
            start = *end;
        }
        let rows = u64::from(start);
        (rows > 0).then(|| Self { value: value.div_ceil(rows), in_file: in_file / rows })
    }
}
