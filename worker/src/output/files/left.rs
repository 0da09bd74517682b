//! What jobs keep out of sight in a folder, whether or not anybody knows of them any more. Who
//! looks cannot tell: nothing in there is removed for being old.

use std::{cmp::max, collections::HashSet, future::ready};

use futures::{StreamExt, TryStreamExt};
use keyloom_common::{
    JobId, Result,
    output::{Leftover, MAX_LEFTOVERS},
};

use super::{
    folder::Folder,
    staged::{HIDDEN, job_folder},
};
use crate::{object_stores::from_store, output::MAX_LEFT_FILES};

/// The folders of jobs other than these, the first ones by their names.
///
/// # Errors
/// If they cannot be listed.
pub(super) async fn look(folder: &Folder, known: &HashSet<JobId>) -> Result<Vec<Leftover>> {
    let hidden = folder.path(HIDDEN)?;
    let listed = folder.store().list_with_delimiter(Some(&hidden)).await.map_err(from_store)?;
    let places = listed.common_prefixes.iter();
    let jobs = places.filter_map(|place| place.filename()?.parse::<JobId>().ok());
    // Those that are known are no leftovers, and take no place of one.
    let unknown = jobs.filter(|job| !known.contains(job));
    let jobs: Vec<_> = unknown.take(MAX_LEFTOVERS).collect();
    let mut found = Vec::new();
    for job in jobs {
        let place = job_folder(job);
        let files = folder.store().list(Some(&folder.path(&place)?)).take(MAX_LEFT_FILES);
        let newest = files.try_fold(None, |newest, file| {
            ready(Ok(max(newest, Some(file.last_modified.timestamp_millis()))))
        });
        let written_ms = newest.await.map_err(from_store)?.and_then(|ms| u64::try_from(ms).ok());
        found.push(Leftover { job, place: folder.shown(&place), written_ms });
    }
    Ok(found)
}
