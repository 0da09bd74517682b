//! What jobs keep out of sight beside a dataset, whether or not anybody knows of them any more. Who
//! looks cannot tell: nothing in there is removed for being old.

use std::{cmp::max, collections::HashSet, future::ready};

use futures::{StreamExt, TryStreamExt};
use keyloom_common::{
    JobId, Result,
    output::{Leftover, MAX_LEFTOVERS},
};

use super::upsert::{STAGED, staged};
use crate::{
    output::MAX_LEFT_FILES,
    store::lance::{Target, from_lance},
};

/// The folders of jobs other than these, the first ones by their names.
///
/// # Errors
/// `store` or `timeout` if the storage does not answer.
pub(super) async fn look(target: &Target, known: &HashSet<JobId>) -> Result<Vec<Leftover>> {
    let (files, shown, known) = (target.files().await?, target.shown(), known.clone());
    let looked = target.run("looking for what jobs have left beside", async move {
        let hidden = files.folder.clone().join(STAGED);
        let listed = files.store.inner.list_with_delimiter(Some(&hidden)).await;
        let listed = listed.map_err(|error| from_lance(error.into()))?;
        let places = listed.common_prefixes.iter();
        let jobs = places.filter_map(|place| place.filename()?.parse::<JobId>().ok());
        // Those that are known are no leftovers, and take no place of one.
        let unknown = jobs.filter(|job| !known.contains(job));
        let jobs: Vec<_> = unknown.take(MAX_LEFTOVERS).collect();
        let mut found = Vec::new();
        for job in jobs {
            let listed = files.store.inner.list(Some(&staged(&files, job))).take(MAX_LEFT_FILES);
            let newest = listed.try_fold(None, |newest, file| {
                ready(Ok(max(newest, Some(file.last_modified.timestamp_millis()))))
            });
            let newest = newest.await.map_err(|error| from_lance(error.into()))?;
            let written_ms = newest.and_then(|ms| u64::try_from(ms).ok());
            let place = format!("{}/{STAGED}/{job}", shown.trim_end_matches('/'));
            found.push(Leftover { job, place, written_ms });
        }
        Ok(found)
    });
    looked.await
}
