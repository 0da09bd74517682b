//! What this crate does with others' bytes, whatever these are: see [`keyloom_common::fuzzing`]. No
//! part of the API.

use keyloom_common::fuzzing;

use crate::{gather, spool};

/// Reads bytes as the report of a task, and counts it.
pub fn report(bytes: &[u8]) {
    if let Some(report) = fuzzing::report(bytes) {
        gather::count_report(&report);
    }
}

/// Writes bytes to a file of rows that wait, damages one of them there, and reads them back: the
/// first two bytes say which one, little endian, and the third what it becomes.
pub fn segment(bytes: &[u8]) {
    let Some((&[low, high, byte], chunk)) = bytes.split_first_chunk() else { return };
    spool::damaged_segment(chunk, u16::from_le_bytes([low, high]).into(), byte);
}
