//! Whether what tasks have staged is there as they told of it.
//!
//! A file is looked at itself. Of an upload nobody can ask an object store which parts it has, so
//! its record stands for it: it is written when the upload begins, and whoever ends the upload
//! removes it.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt, future::ready, stream};
use keyloom_common::{JobId, Result, output::Piece};
use tokio::fs;

use super::{
    folder::Folder,
    staged::{Staged, Token, job_folder},
};
use crate::object_stores::from_store;

/// How many files are looked at at once.
const AT_ONCE: usize = 16;

/// The places of those among a job's files that are not there any more as they were written.
///
/// # Errors
/// If the storage does not say.
pub(super) async fn gone(
    folder: &Folder,
    job: JobId,
    files: &[(Token, Piece)],
) -> Result<Vec<usize>> {
    let uploads = files.iter().any(|(token, _)| matches!(token.staged, Staged::Upload { .. }));
    let records = if uploads { records(folder, job).await? } else { HashSet::new() };
    let looks: Vec<_> = files.iter().map(|file| is_there(folder, &records, file)).collect();
    // In their order.
    let found: Vec<bool> = stream::iter(looks).buffered(AT_ONCE).collect().await;
    let places = found.into_iter().enumerate();
    Ok(places.filter(|(_, is_there)| !is_there).map(|(place, _)| place).collect())
}

async fn is_there(
    folder: &Folder,
    records: &HashSet<String>,
    (token, piece): &(Token, Piece),
) -> bool {
    match &token.staged {
        Staged::File(file) => size(folder, file).await == Some(piece.bytes),
        Staged::Upload { record, .. } => records.contains(record),
    }
}

/// The records of a job's uploads, from the output's folder on.
async fn records(folder: &Folder, job: JobId) -> Result<HashSet<String>> {
    let listed = folder.store().list(Some(&folder.path(&job_folder(job))?));
    let names = listed.try_filter_map(|found| {
        let name = folder.below(&found.location).map(str::to_owned);
        ready(Ok(name))
    });
    names.try_collect().await.map_err(from_store)
}

/// The size of a file of this machine, if it is there.
pub(super) async fn size(folder: &Folder, path: &str) -> Option<u64> {
    let found = fs::symlink_metadata(folder.local(path)).await.ok()?;
    found.is_file().then_some(found.len())
}
