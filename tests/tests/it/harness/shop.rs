//! A small world for cases: the same products in a Lance and a memory store, and rows that name
//! them: found, missing, null, found again.

use anyhow::Result;
use arrow::array::RecordBatch;

use super::{TestSession, batch, ints, strings};

/// Products `a`, `b` and `c`; `c` has no price, and what follows it does not exist.
pub(crate) fn products() -> RecordBatch {
    batch([
        ("id", strings(["a", "b", "c"])),
        ("name", strings(["apple", "banana", "cherry"])),
        ("price", ints([Some(10), Some(20), None])),
        ("next", strings(["b", "c", "x"])),
    ])
}

/// Rows 1 to 5 with the keys `a`, `x` (which no store holds but `backup`), null, `b` and `a` again.
pub(crate) fn items() -> RecordBatch {
    let keys = [Some("a"), Some("x"), None, Some("b"), Some("a")];
    batch([("n", ints(1..=5)), ("k", strings(keys))])
}

/// The table `t` of [`items`], the stores `lance` and `memory` of [`products`], and the store
/// `backup` which holds `x` alone.
pub(crate) async fn open_shop(session: &TestSession) -> Result<()> {
    session.attach_lance("lance", products(), "id").await?;
    session.attach_memory("memory", products(), "id").await?;
    let spare = batch([
        ("id", strings(["x"])),
        ("name", strings(["spare"])),
        ("price", ints([1])),
        ("next", strings(["a"])),
    ]);
    session.attach_memory("backup", spare, "id").await?;
    Ok(session.register_batches("t", &[items()])?)
}
