//! What happened to jobs, as another program is told it, and after a restart.

use anyhow::Result;
use keyloom_client::report::{JobState, LogKind};

use super::{Kept, check_rows, cluster, connect, detached, submit};
use crate::harness::eventually;

#[tokio::test]
async fn what_happened_to_a_job_is_told_to_others_and_after_a_restart() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let kept = Kept::start(folder.path(), &[])?;
    let workers = kept.workers(1, &[]).await?;
    let id = submit(&connect(&kept.address).await?, detached()).await?;
    let job = connect(&kept.address).await?.attach_job(id).await?;
    // Who has taken all rows knows that the end is kept.
    check_rows(job.results().await?).await?;
    let log = job.logs().await?;
    let kinds: Vec<_> = log.lines.iter().map(|line| line.kind).collect();
    let expected = [
        LogKind::Submitted,
        LogKind::Started,
        LogKind::StageBegun,
        LogKind::StageDone,
        LogKind::Done,
    ];
    assert_eq!((log.job, log.state, kinds.as_slice()), (id, JobState::Done, &expected[..]));
    assert!(log.lines[3].text.ends_with(" tasks, 2,000 rows"), "{log:?}");
    assert_eq!(log.lines[4].text, "2,000 rows");
    drop(workers);

    let kept = kept.restart(folder.path(), &[])?;
    let job = connect(&kept.address).await?.attach_job(id).await?;
    assert_eq!(job.logs().await?, log);
    Ok(())
}

#[tokio::test]
async fn a_job_that_waits_for_workers_says_so_and_who_has_cancelled_it() -> Result<()> {
    let cluster = cluster(0).await?;
    let session = connect(&cluster.address).await?;
    let job = session.attach_job(submit(&session, detached()).await?).await?;
    let alone = async || {
        let lines = job.logs().await?.lines;
        Ok(lines.iter().any(|line| line.kind == LogKind::NoWorker))
    };
    eventually(alone, |alone| *alone).await?;
    job.cancel().await?;
    let log = job.logs().await?;
    assert_eq!(log.state, JobState::Cancelled);
    let last = log.lines.last().map(|line| (line.kind, line.text.starts_with("by ")));
    assert_eq!(last, Some((LogKind::Cancelled, true)));
    Ok(())
}
