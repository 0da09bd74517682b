//! The one transaction of a job: it is made once, however often it is asked for.
//!
//! A transaction bears its job's id. Before it is made it is looked for among those since the
//! version that the job was planned with, and again if it is not known what became of it.

use std::{collections::HashMap, sync::Arc};

use keyloom_common::{
    Error, JobId, Result,
    output::{Committed, Piece},
};
use lance::{
    Dataset,
    dataset::{
        CommitBuilder,
        transaction::{Operation, Transaction, TransactionBuilder},
    },
};

use crate::store::lance::{Target, from_lance, is_absent};

/// So many versions are looked at by their numbers; of more, it is listed which are there.
const FEW: u64 = 16;

/// The property of a transaction that holds the id of the job which made it.
pub(super) const JOB_PROPERTY: &str = "keyloom_job";

/// What became of a transaction that is not known to be made.
#[derive(Debug)]
pub(super) enum NotMade {
    /// Others were faster, which may be no matter.
    Late(Error),
    /// What others have made does not go with it.
    Conflict(Error),
    /// Something else. It may be made all the same.
    Failed(Error),
}

/// The version that a job has made since another one; none if it has made none, as far as the
/// versions are still there.
///
/// # Errors
/// `store` if they cannot be read.
pub(super) async fn version_of(
    target: &Target,
    newest: &Arc<Dataset>,
    since: u64,
    job: JobId,
) -> Result<Option<u64>> {
    let (dataset, job) = (Arc::clone(newest), job.to_string());
    target
        .run("reading the versions of", async move {
            for version in versions(&dataset, since).await? {
                match Box::pin(dataset.read_transaction_by_version(version)).await {
                    Ok(Some(transaction)) if is_of(&transaction, &job) => {
                        return Ok(Some(version));
                    }
                    Ok(_) => {}
                    Err(error) if is_absent(&error) => {}
                    Err(error) => return Err(from_lance(error)),
                }
            }
            Ok(None)
        })
        .await
}

/// The versions that a job may have made which was planned with one, the newest first. What makes
/// a dataset makes its first version, so of one that somebody else made, no other is looked at.
async fn versions(dataset: &Dataset, since: u64) -> Result<Vec<u64>> {
    let newest = dataset.version_id();
    let last = if since == 0 { newest.min(1) } else { newest };
    let after = since.saturating_add(1)..=last;
    if last.saturating_sub(since) <= FEW {
        return Ok(after.rev().collect());
    }
    // Others may have removed most of them, and each would be asked for.
    let known = Box::pin(dataset.version_refs()).await.map_err(from_lance)?;
    let known = known.into_iter().rev().map(|known| known.version);
    Ok(known.filter(|version| after.contains(version)).collect())
}

fn is_of(transaction: &Transaction, job: &str) -> bool {
    let properties = transaction.transaction_properties.as_ref();
    properties.and_then(|all| all.get(JOB_PROPERTY)).is_some_and(|known| known == job)
}

/// A transaction of a job.
pub(super) fn transaction(job: JobId, read_version: u64, operation: Operation) -> Transaction {
    let properties = HashMap::from([(JOB_PROPERTY.to_owned(), job.to_string())]);
    TransactionBuilder::new(read_version, operation)
        .transaction_properties(Some(Arc::new(properties)))
        .build()
}

/// Makes a transaction of a dataset, and gives its version.
pub(super) async fn make(
    target: &Target,
    builder: CommitBuilder<'static>,
    transaction: Transaction,
) -> Result<u64, NotMade> {
    let builder = builder.with_skip_auto_cleanup(true);
    let made = target
        .run("committing to", async move { outcome(Box::pin(builder.execute(transaction)).await) });
    told(made.await)
}

/// Makes a transaction of a dataset that is not there yet, and gives its version.
pub(super) async fn make_new(target: &Target, transaction: Transaction) -> Result<u64, NotMade> {
    let (uri, params) = (target.uri().to_owned(), target.params().clone());
    let session = Arc::clone(target.session());
    let made = target.run("committing to", async move {
        // Without retries, Lance puts nothing in the place of what somebody made meanwhile.
        let builder = CommitBuilder::new(uri.as_str())
            .with_store_params(params)
            .with_session(session)
            .with_max_retries(0)
            .with_skip_auto_cleanup(true);
        outcome(Box::pin(builder.execute(transaction)).await)
    });
    told(made.await)
}

/// A version, or why others have made it impossible, or what went wrong.
type Outcome = Result<Result<u64, NotMade>>;

fn outcome(made: lance::Result<Dataset>) -> Outcome {
    match made {
        Ok(dataset) => Ok(Ok(dataset.version_id())),
        Err(error @ lance::Error::CommitConflict { .. }) => {
            Ok(Err(NotMade::Late(from_lance(error))))
        }
        Err(error) if is_conflict(&error) => Ok(Err(NotMade::Conflict(from_lance(error)))),
        Err(error) => Err(from_lance(error)),
    }
}

fn told(outcome: Outcome) -> Result<u64, NotMade> {
    outcome.unwrap_or_else(|error| Err(NotMade::Failed(error)))
}

/// The version of a job's transaction that may have been made all the same, or why there is none.
///
/// # Errors
/// `invalid` after a conflict, in these words and Lance's; else what went wrong.
pub(super) async fn made_or(
    target: &Target,
    not_made: NotMade,
    since: u64,
    job: JobId,
    conflict: impl FnOnce(&Error) -> Error,
) -> Result<u64> {
    if let Some(newest) = target.newest().await?
        && let Some(version) = version_of(target, &newest, since, job).await?
    {
        return Ok(version);
    }
    Err(match not_made {
        NotMade::Late(error) | NotMade::Conflict(error) => conflict(&error),
        NotMade::Failed(error) => error,
    })
}

fn is_conflict(error: &lance::Error) -> bool {
    use lance::Error as Lance;
    matches!(
        error,
        Lance::RetryableCommitConflict { .. }
            | Lance::IncompatibleTransaction { .. }
            | Lance::DatasetAlreadyExists { .. }
    )
}

/// What is said of a dataset that was there.
pub(super) fn removed(target: &Target) -> Error {
    Error::not_found(format!(
        "the Lance dataset at {} was removed since the job was planned",
        target.shown()
    ))
}

/// What a job has written, once it can be seen.
pub(super) fn committed(pieces: &[Piece], files: u64, version: u64) -> Committed {
    Committed {
        rows: pieces.iter().map(|piece| piece.rows).sum(),
        bytes: pieces.iter().map(|piece| piece.bytes).sum(),
        files,
        version: Some(version),
    }
}
