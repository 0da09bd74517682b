//! What one client may have at once: no client takes the places of all.

use anyhow::{Context, Result};
use keyloom_client::{Error, ErrorKind, Job, Session};

use super::{QUERY, check_rows, prepared};
use crate::harness::{Cluster, Keys, eventually};

/// Hands a job in. That its rows are not read keeps it.
async fn submit(session: &Session) -> Result<Job, Error> {
    session.submit(session.sql(QUERY).await?).await
}

async fn check_refused(session: &Session) -> Result<()> {
    let error = submit(session).await.err().context("a job too many was accepted")?;
    let expected = "2 jobs of client 'alice' are under way or wait to be read, and \
                    max_jobs_per_client = 2 on the coordinator; read or cancel some, or raise it";
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
    assert!(error.message().contains(expected), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_client_that_has_all_its_jobs_is_refused_another_and_keeps_nobody_else_out() -> Result<()>
{
    let keys = Keys::certificates()?;
    keys.certify(["--client", "alice", "--client", "bob", "--operator", "olga"])?;
    let env = [("KEYLOOM_COORDINATOR_MAX_JOBS_PER_CLIENT", "2")];
    let cluster = Cluster::start_with_keys(1, &keys, &env, &[]).await?;
    let [alice, bob] = ["alice", "bob"].map(|name| keys.peer(&format!("client-{name}"), "client"));
    let session = prepared(&cluster, &alice).await?;
    let mut held = vec![submit(&session).await?, submit(&session).await?];
    check_refused(&session).await?;
    // Over another connection it is the same client.
    check_refused(&prepared(&cluster, &alice).await?).await?;
    check_rows(&prepared(&cluster, &bob).await?).await?;
    let operator = prepared(&cluster, &keys.peer("operator-olga", "operator")).await?;
    let mut of_operator = Vec::new();
    for _ in 0..3 {
        of_operator.push(submit(&operator).await?);
    }

    held.remove(0).collect().await?;
    // The coordinator hears a moment later that it was read.
    let next = eventually(async || Ok(submit(&session).await.ok()), Option::is_some).await?;
    held.extend(next);
    check_refused(&session).await
}
