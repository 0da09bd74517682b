//! A digest of rows in their order, to see that variants answer the same.

use anyhow::Result;
use arrow::array::RecordBatch;
use datafusion::common::hash_utils::{RandomState, create_hashes};

/// The digest; how the rows are cut into batches does not matter.
pub(super) fn of(batches: &[RecordBatch]) -> Result<u64> {
    let state = RandomState::with_seed(0);
    let mut digest: u64 = 0;
    for batch in batches {
        let mut hashes = vec![0; batch.num_rows()];
        create_hashes(batch.columns(), &state, &mut hashes)?;
        for hash in hashes {
            digest = digest.wrapping_mul(0x0000_0100_0000_01b3).wrapping_add(hash);
        }
    }
    Ok(digest)
}
