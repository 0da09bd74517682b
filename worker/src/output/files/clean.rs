//! Removing what jobs keep out of sight: files that are staged, and uploads that nobody completes.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt, stream};
use keyloom_common::{Error, JobId, Result};
use object_store::{Error as StoreError, ObjectStoreExt, path::Path};
use tokio::fs;

use super::{
    folder::Folder,
    staged::{HIDDEN, RECORD, Record, Staged, Token, job_folder, made_mark},
};
use crate::{object_stores::from_store, output::OutputSettings};

/// Removes what a job that is committed has left; what cannot be removed is told of. The uploads
/// that were completed are no leftovers.
pub(super) async fn leftovers(
    folder: &Folder,
    job: JobId,
    completed: &HashSet<&str>,
    settings: &OutputSettings,
) {
    if let Err(error) = all(folder, job, completed, settings).await {
        let place = folder.shown(&job_folder(job));
        tracing::warn!(%job, %place, %error, "what a job kept out of sight cannot be removed");
    }
}

/// Removes all that a job has written, which is not committed, and the folder that it has made for
/// that.
///
/// # Errors
/// If it cannot be removed.
pub(super) async fn abort(
    folder: &Folder,
    job: JobId,
    files: &[Token],
    settings: &OutputSettings,
) -> Result<()> {
    let mut known = Vec::new();
    for token in files {
        if let Staged::Upload { id, .. } = &token.staged {
            known.push(Record { path: folder.path(&token.path)?.to_string(), id: id.clone() });
        }
    }
    let aborted: Vec<_> = known.iter().map(|record| end(folder, record)).collect();
    stream::iter(aborted)
        .buffer_unordered(settings.requests_in_flight.max(1))
        .for_each(|()| async {})
        .await;
    let made = folder.is_local() && is_there(folder, &made_mark(job)).await;
    all(folder, job, &HashSet::new(), settings).await?;
    if made {
        remove_empty(folder).await;
    }
    Ok(())
}

async fn is_there(folder: &Folder, path: &str) -> bool {
    fs::try_exists(folder.local(path)).await.unwrap_or(false)
}

/// Removes the folder of an output that a job has made, unless something is in there.
async fn remove_empty(folder: &Folder) {
    use std::io::ErrorKind::{DirectoryNotEmpty, NotFound};
    match fs::remove_dir(folder.local("")).await {
        Err(error) if !matches!(error.kind(), DirectoryNotEmpty | NotFound) => {
            let place = folder.given();
            tracing::warn!(place, %error, "the folder that a job made for its output stays, empty");
        }
        _ => {}
    }
}

async fn all(
    folder: &Folder,
    job: JobId,
    completed: &HashSet<&str>,
    settings: &OutputSettings,
) -> Result<()> {
    let place = job_folder(job);
    if folder.is_local() {
        folder.check_files(std::slice::from_ref(&place)).await?;
        let path = folder.local(&place);
        return match fs::remove_dir_all(&path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::store(format!("{} cannot be removed: {error}", path.display())))
            }
            _ => {
                // Other jobs may have something in there.
                drop(fs::remove_dir(folder.local(HIDDEN)).await);
                Ok(())
            }
        };
    }
    let listed = folder.store().list(Some(&folder.path(&place)?));
    let records: Vec<_> =
        listed.map_ok(|found| found.location).try_collect().await.map_err(from_store)?;
    let forgotten: Vec<_> =
        records.iter().map(|record| forget(folder, record, completed)).collect();
    let forgotten = stream::iter(forgotten).buffer_unordered(settings.requests_in_flight.max(1));
    forgotten.try_collect::<Vec<()>>().await.map(drop)
}

/// Ends the upload that a record tells of, unless it was completed, and removes the record.
async fn forget(folder: &Folder, place: &Path, completed: &HashSet<&str>) -> Result<()> {
    let found = match folder.store().get(place).await {
        Ok(found) => found.bytes().await.map_err(from_store)?,
        Err(StoreError::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(from_store(error)),
    };
    let record = serde_json::from_slice::<Record>(&found).ok();
    match record.filter(|_| place.as_ref().ends_with(RECORD)) {
        Some(record) if !completed.contains(record.id.as_str()) => {
            // Whoever can write records could name what is not this output's.
            let path = Path::parse(&record.path).ok();
            match path.is_some_and(|path| folder.below(&path).is_some()) {
                true => end(folder, &record).await,
                false => tracing::warn!(%place, "the record of an upload names another folder"),
            }
        }
        _ => {}
    }
    match folder.store().delete(place).await {
        Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
        Err(error) => Err(from_store(error)),
    }
}

/// Ends an upload, which may have ended before.
async fn end(folder: &Folder, record: &Record) {
    let (Ok(uploads), Ok(path)) = (folder.uploads(), Path::parse(&record.path)) else { return };
    match uploads.abort_multipart(&path, &record.id).await {
        Ok(()) | Err(StoreError::NotFound { .. }) => {}
        Err(error) => tracing::warn!(%path, %error, "an upload cannot be aborted, or is gone"),
    }
}
