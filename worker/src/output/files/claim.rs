//! Who commits to a folder that must be empty: of several jobs at the same moment one alone, whose
//! id stands in a file that one alone can make. Each looks for what is there behind that, and the
//! file goes with the end of the commit.
//!
//! The file is nobody else's to take, however old it is: who made it may have stood still between
//! its look and its manifest, and no storage makes the manifest only if another file is what it
//! was. So it says since when it is there, for the person who removes it.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use keyloom_common::{Error, JobId, Result, report::words};
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
        let text = Bytes::from(format!("{job}\n{}\n", words::moment(now_ms())));
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
            Some(holder) if holder.is(job) => return Ok(()),
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
    if !holder(folder, &path).await?.is_some_and(|holder| holder.is(job)) {
        return Ok(());
    }
    match folder.store().delete(&path).await {
        Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
        Err(error) => Err(from_store(error)),
    }
}

/// What stands in the file.
#[derive(Debug, PartialEq, Eq)]
struct Holder {
    job: String,
    /// When it made the file, by its worker's clock.
    since: Option<String>,
}

impl Holder {
    /// Whoever wrote it, it is told with so many characters at most.
    fn read(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let mut lines =
            text.lines().map(|line| line.trim().chars().take(TOLD_CHARS).collect::<String>());
        let job = lines.next().unwrap_or_default();
        Self { job, since: lines.next().filter(|since| !since.is_empty()) }
    }

    fn is(&self, job: JobId) -> bool {
        self.job == job.to_string()
    }
}

/// What stands in the file, if it is there.
async fn holder(folder: &Folder, path: &Path) -> Result<Option<Holder>> {
    match folder.store().get(path).await {
        Ok(found) => Ok(Some(Holder::read(&found.bytes().await.map_err(from_store)?))),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(from_store(error)),
    }
}

fn taken(folder: &Folder, Holder { job, since }: &Holder) -> Error {
    let (given, file) = (folder.given(), folder.shown(&name()));
    let since = since.as_ref().map(|since| format!(" (it began at {since})")).unwrap_or_default();
    Error::invalid(format!(
        "job {job} commits to {given} at this moment, and if_exists is error; choose append or \
         another path, or remove {file} if there is no such job any more{since}"
    ))
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_a_folder_and_since_when_is_read_from_whatever_stands_in_the_file() {
        let job = JobId::from_u128(7);
        let holder = |job: &str, since: Option<&str>| Holder {
            job: job.to_owned(),
            since: since.map(str::to_owned),
        };
        let written = format!("{job}\n2026-01-01T00:00:00.123Z\n");
        let read = Holder::read(written.as_bytes());
        assert_eq!(read, holder(&job.to_string(), Some("2026-01-01T00:00:00.123Z")));
        assert!(read.is(job) && !read.is(JobId::from_u128(8)));
        let long = "x".repeat(1_000);
        for (text, expected) in [
            (format!("{job}\n"), holder(&job.to_string(), None)),
            (String::new(), holder("", None)),
            (format!("{long}\n{long}"), holder(&long[..TOLD_CHARS], Some(&long[..TOLD_CHARS]))),
        ] {
            assert_eq!(Holder::read(text.as_bytes()), expected);
        }
    }
}
