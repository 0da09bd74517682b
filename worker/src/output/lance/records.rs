//! Records of the data files that tasks have written, beside the dataset: by them, whoever ends a
//! job finds those of attempts that lost and whose workers are gone, which nobody else knows.
//!
//! A record stays until its job ends. It names more than is to be deleted: whatever a version names,
//! or a piece that is committed, is kept.

use std::collections::HashSet;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use keyloom_common::{AttemptId, BlobId, JobId, Result, output::Piece};
use lance::Dataset;
use lance_object_store::{ObjectStoreExt, path::Path};

use super::{cleaner, parts, upsert};
use crate::store::lance::{Files, Target, from_lance};

/// How the names of records end.
const RECORD: &str = ".data";

/// How many records are read at once: there is one of each attempt.
const AT_ONCE: usize = 16;

/// How the names of data files end.
const DATA_FILE: &str = ".lance";

/// Where the record of an attempt is. Attempts that a coordinator does not know any more may have
/// had the same number.
pub(super) fn path(files: &Files, attempt: AttemptId) -> Path {
    let (AttemptId { task, number }, life) = (attempt, BlobId::unique());
    let name = format!("{}-{}-{number}-{life}{RECORD}", task.stage.index, task.index);
    upsert::staged(files, task.stage.job).join(name)
}

/// Leaves a record of these data files, in the place of the one before. What it would help to find
/// stays if it cannot be written.
pub(super) async fn put(files: &Files, path: &Path, names: &[String]) {
    let text = Bytes::from(names.join("\n"));
    if let Err(error) = files.store.inner.put(path, text.into()).await {
        tracing::warn!(record = %path, %error, "data files of a task are not recorded");
    }
}

/// The names of the data files of versions.
pub(super) fn names_of<'a>(versions: impl IntoIterator<Item = &'a Dataset>) -> HashSet<String> {
    let fragments = versions.into_iter().flat_map(|version| version.manifest.fragments.iter());
    fragments.flat_map(parts::names).map(str::to_owned).collect()
}

/// The names of the data files of pieces.
///
/// # Errors
/// `internal` if a piece is none.
pub(super) fn names_in(pieces: &[Piece]) -> Result<HashSet<String>> {
    let mut names = HashSet::new();
    for piece in pieces {
        let fragments = parts::fragments(parts::operation(piece)?)?;
        names.extend(fragments.iter().flat_map(parts::names).map(str::to_owned));
    }
    Ok(names)
}

/// Deletes what the records of a job that ends name, but for what is kept; and the records.
///
/// # Errors
/// `store` or `timeout` if the storage does not answer.
pub(super) async fn clear(target: &Target, job: JobId, kept: HashSet<String>) -> Result<()> {
    let files = target.files().await?;
    let mut lost = read(target, &files, job).await?;
    lost.retain(|name| !kept.contains(name));
    if !lost.is_empty() {
        let files = lost.len();
        tracing::info!(%job, files, "data files are deleted of which no accepted attempt tells");
    }
    cleaner::delete_data(&files, lost.into_iter().collect()).await;
    upsert::remove_staged(target, files, job).await
}

/// The data files that the records of a job name.
async fn read(target: &Target, files: &Files, job: JobId) -> Result<HashSet<String>> {
    let (files, folder) = (files.clone(), upsert::staged(files, job));
    let names = target.run("reading the records of data files of", async move {
        let listed = files.store.inner.list(Some(&folder)).try_collect::<Vec<_>>().await;
        let listed = listed.map_err(|error| from_lance(error.into()))?;
        let records = listed.into_iter().map(|found| found.location);
        let records = records.filter(|path| path.as_ref().ends_with(RECORD));
        let reads: Vec<_> = records.map(|path| read_one(&files, path)).collect();
        let reads = stream::iter(reads).buffer_unordered(AT_ONCE);
        reads.try_concat().await
    });
    Ok(names.await?.into_iter().collect())
}

/// The data files that a record names; none if it is gone.
async fn read_one(files: &Files, path: Path) -> Result<Vec<String>> {
    let text = async { files.store.inner.get(&path).await?.bytes().await };
    let text = match text.await {
        Ok(text) => text,
        Err(lance_object_store::Error::NotFound { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(from_lance(error.into())),
    };
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().filter(|name| is_data_file(name)).map(str::to_owned).collect())
}

/// Whether it is the name of a data file: whoever can write records could name what he likes.
fn is_data_file(name: &str) -> bool {
    let stem = name.strip_suffix(DATA_FILE).unwrap_or_default();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !stem.is_empty() && stem.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_data_files_are_taken_for_some() {
        for name in ["0101f3a.lance", "a-b_c.lance"] {
            assert!(is_data_file(name), "{name}");
        }
        for name in ["", ".lance", "..lance", "../x.lance", "a/b.lance", "a.lance/..", "x.txt"] {
            assert!(!is_data_file(name), "{name}");
        }
    }
}
