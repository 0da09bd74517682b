//! A digest of rows, to see that variants answer the same.

use anyhow::Result;
use arrow::array::RecordBatch;
use datafusion::common::hash_utils::{RandomState, create_hashes};

/// The digest of rows in their order; how they are cut into batches does not matter.
pub(super) fn of(batches: &[RecordBatch]) -> Result<u64> {
    let next = |digest: u64, hash| digest.wrapping_mul(0x0000_0100_0000_01b3).wrapping_add(hash);
    Ok(hashes(batches)?.into_iter().fold(0, next))
}

/// The digest of rows in any order: what a join by a hash table gives has none.
pub(super) fn of_any_order(batches: &[RecordBatch]) -> Result<u64> {
    Ok(hashes(batches)?.into_iter().fold(0, u64::wrapping_add))
}

fn hashes(batches: &[RecordBatch]) -> Result<Vec<u64>> {
    let state = RandomState::with_seed(0);
    let mut all = Vec::new();
    for batch in batches {
        let mut hashes = vec![0; batch.num_rows()];
        create_hashes(batch.columns(), &state, &mut hashes)?;
        all.append(&mut hashes);
    }
    Ok(all)
}
