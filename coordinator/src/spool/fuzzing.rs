//! How what was spilled is read back, for fuzzers.

use std::{
    env,
    sync::{Arc, LazyLock},
};

use super::spill::SpillFiles;

/// The most bytes that wait at a time.
const MOST: u64 = 64 << 20;

static FILES: LazyLock<Arc<SpillFiles>> =
    LazyLock::new(|| SpillFiles::new(env::temp_dir(), MOST, Arc::default()));

/// Spills a chunk, changes a byte of it on the disk, and reads it back.
pub(crate) fn damaged_segment(chunk: &[u8], at: usize, byte: u8) {
    // Without a disk there is nothing to be damaged.
    let Ok(Some(spilled)) = FILES.write(chunk, MOST) else { return };
    let is_same = chunk.get(at).is_none_or(|before| *before == byte);
    if at < chunk.len() && spilled.damage(at, byte).is_err() {
        return;
    }
    match spilled.read() {
        Ok(read) => assert!(is_same && read == chunk, "a chunk came back as another"),
        Err(error) => assert!(!is_same, "a chunk did not come back: {error}"),
    }
}
