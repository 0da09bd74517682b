//! Every row of the tables of functions: what they answer, refuse, and do not ask.

use anyhow::Result;

use crate::harness::{TestSession, batch, ints, on_all_deployments, strings};

on_all_deployments!(found);

async fn found(session: &TestSession) -> Result<()> {
    let rows = || batch([("id", strings(["a", "b"])), ("n", ints([1, 2]))]);
    session.attach_memory("m", rows(), "id").await?;
    session.attach_lance("l", rows(), "id").await?;
    session.register_batches(
        "t",
        &[batch([("k", strings([Some("b"), None, Some("a"), Some("b")]))])],
    )?;
    session
        .check(
            "SELECT kv_get(k, source => 'm'), kv_get(k, source => 'l')['n'] FROM t",
            &["{id: b, n: 2} | 2", "NULL | NULL", "{id: a, n: 1} | 1", "{id: b, n: 2} | 2"],
        )
        .await
}
