//! Who commits to a folder that must be empty: of several jobs at the same moment one alone, whose
//! id stands in a file that one alone can make. Each looks for what is there behind that, and the
//! file goes with the end of the commit.

use bytes::Bytes;
use keyloom_common::{Error, JobId, Result};
use object_store::{Error as StoreError, ObjectStoreExt, PutMode, PutOptions, path::Path};

use super::{folder::Folder, staged::HIDDEN};
use crate::object_stores::from_store;

/// How often it is tried where others come and go.
const TRIES: u32 = 4;

/// The most of what stands in the file that is told.
const TOLD_CHARS: usize = 64;

/// The file's name, from the output's folder on.
pub(super) fn name() -> String {
    format!("{HIDDEN}/claim")
}

/// Makes the file, unless it is the job's already: another worker may have been asked before.
///
/// # Errors
/// `invalid`, naming the folder and the other job, if one commits there.
pub(super) async fn take(folder: &Folder, job: JobId) -> Result<()> {
    let path = folder.path(&name())?;
    for _ in 0..TRIES {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let text = Bytes::from(format!("{job}\n"));
        match folder.store().put_opts(&path, text.into(), options).await {
            Ok(_) => return Ok(()),
            // A store without conditions keeps nobody out.
            Err(StoreError::NotImplemented { .. } | StoreError::NotSupported { .. }) => {
                return Ok(());
            }
            Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {}
            Err(error) => return Err(from_store(error)),
        }
        match holder(folder, &path).await? {
            Some(holder) if holder == job.to_string() => return Ok(()),
            Some(holder) => return Err(taken(folder, &holder)),
            // What it has committed is found next.
            None => {}
        }
    }
    let folder = folder.given();
    Err(Error::unavailable(format!("other jobs commit to {folder} one after the other")))
}

/// Removes the file, if it is the job's.
///
/// # Errors
/// If it cannot be read or removed.
pub(super) async fn release(folder: &Folder, job: JobId) -> Result<()> {
    folder.check_files(&[name()]).await?;
    let path = folder.path(&name())?;
    if holder(folder, &path).await? != Some(job.to_string()) {
        return Ok(());
    }
    match folder.store().delete(&path).await {
        Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
        Err(error) => Err(from_store(error)),
    }
}

/// What stands in the file, if it is there.
async fn holder(folder: &Folder, path: &Path) -> Result<Option<String>> {
    let found = match folder.store().get(path).await {
        Ok(found) => found.bytes().await.map_err(from_store)?,
        Err(StoreError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(from_store(error)),
    };
    let text = String::from_utf8_lossy(&found);
    Ok(Some(text.trim().chars().take(TOLD_CHARS).collect()))
}

fn taken(folder: &Folder, holder: &str) -> Error {
    let (given, file) = (folder.given(), folder.shown(&name()));
    Error::invalid(format!(
        "job {holder} commits to {given} at this moment, and if_exists is error; choose append or \
         another path, or remove {file} if there is no such job any more"
    ))
}
