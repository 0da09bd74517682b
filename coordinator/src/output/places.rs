//! Where the jobs of this coordinator write, each from when it is let in until nothing more comes
//! of it. A job that is to find or to leave nothing else in a place is refused while another writes
//! there: it would run all of its tasks, and be refused when it commits, or remove what the other
//! has written.
//!
//! What others than this coordinator's jobs do there is looked at when an output is committed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use keyloom_common::{
    Error, ErrorCode, JobId, Result,
    error::redact,
    output::{IfExists, OutputKind, OutputSpec, Place},
};
use tokio_util::sync::CancellationToken;

use super::{OutputProgress, OutputState, place_of};

/// All places that are written to.
#[derive(Debug, Default)]
pub(crate) struct Places(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    next: u64,
    /// In the order in which their jobs were let in.
    places: BTreeMap<u64, Use>,
}

/// What a job does in a place.
#[derive(Debug)]
struct Use {
    job: JobId,
    place: Place,
    /// Cancelled when the job is to end.
    stop: CancellationToken,
    progress: Arc<OutputProgress>,
}

impl Use {
    /// Whether something may still be seen of it: a job that is to end does not begin to commit.
    fn is_in_the_way(&self) -> bool {
        !self.stop.is_cancelled() || self.progress.state() == OutputState::Committing
    }
}

/// A place that a job writes to, until this is dropped.
#[derive(Debug)]
pub(crate) struct HeldPlace {
    places: Arc<Places>,
    key: u64,
}

impl Places {
    /// Lets a job write to the place of its output, which is to end when this is cancelled.
    ///
    /// # Errors
    /// `invalid`, naming the place and the other job, if the job must be alone there and is not; or
    /// that the output has no place.
    pub(crate) fn enter(
        self: &Arc<Self>,
        job: JobId,
        output: &OutputSpec,
        stop: &CancellationToken,
        progress: &Arc<OutputProgress>,
    ) -> Result<HeldPlace> {
        let place = place_of(output)?;
        let mut held = self.lock();
        if let Some(if_exists) = alone(&output.kind) {
            let is_other = |used: &&Use| used.job != job && used.place == place;
            let mut others = held.places.values().filter(is_other);
            if let Some(other) = others.find(|used| used.is_in_the_way()) {
                return Err(taken(output, other.job, if_exists));
            }
        }
        let key = held.next;
        held.next += 1;
        let (stop, progress) = (stop.clone(), Arc::clone(progress));
        held.places.insert(key, Use { job, place, stop, progress });
        Ok(HeldPlace { places: Arc::clone(self), key })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // No change leaves it half-done, so a poisoned lock guards sound contents.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HeldPlace {
    fn drop(&mut self) {
        self.places.lock().places.remove(&self.key);
    }
}

/// Why a job must be alone in its place, if it must: others may add rows and columns side by side.
fn alone(kind: &OutputKind) -> Option<IfExists> {
    let if_exists = match kind {
        OutputKind::Files(files) => files.if_exists,
        OutputKind::Lance { if_exists, .. } => *if_exists,
        OutputKind::Upsert { .. } | OutputKind::Columns => return None,
    };
    match if_exists {
        IfExists::Error | IfExists::Overwrite => Some(if_exists),
        IfExists::Append => None,
    }
}

fn taken(output: &OutputSpec, other: JobId, if_exists: IfExists) -> Error {
    let (path, if_exists) = (redact(&output.path), if_exists.name());
    Error::invalid(format!(
        "job {other} writes to {path}, and if_exists is {if_exists}; wait until it has ended, or \
         choose append or another path"
    ))
    .with_code(ErrorCode::PlaceTaken)
}

#[cfg(test)]
mod tests {
    use keyloom_common::store::KeyColumns;

    use super::*;

    fn lance(if_exists: IfExists) -> OutputKind {
        OutputKind::Lance { if_exists, target_file_bytes: 1 }
    }

    /// A job that is not to end: what it holds, if it is let in.
    fn enter(places: &Arc<Places>, job: u128, path: &str, kind: OutputKind) -> Result<HeldPlace> {
        let output = OutputSpec { path: path.to_owned(), storage_profile: None, kind };
        let stop = CancellationToken::new();
        places.enter(JobId::from_u128(job), &output, &stop, &Arc::default())
    }

    #[test]
    fn who_must_be_alone_is_refused_while_another_writes_there_by_its_id() {
        let places = Arc::new(Places::default());
        let first = enter(&places, 1, "s3://shop/a/", lance(IfExists::Append)).unwrap();
        let second = enter(&places, 2, "s3a://shop/a", lance(IfExists::Append)).unwrap();
        for if_exists in [IfExists::Error, IfExists::Overwrite] {
            let refused = enter(&places, 3, "s3://shop/a", lance(if_exists)).unwrap_err();
            let expected = format!(
                "job {} writes to s3://shop/a, and if_exists is {}; wait until it has ended, or \
                 choose append or another path",
                JobId::from_u128(1),
                if_exists.name()
            );
            assert_eq!(refused, Error::invalid(expected));
            assert_eq!(refused.code(), Some(ErrorCode::PlaceTaken));
            assert!(enter(&places, 3, "s3://shop/b", lance(if_exists)).is_ok());
        }
        drop(first);
        let refused = enter(&places, 3, "s3://shop/a", lance(IfExists::Error)).unwrap_err();
        assert!(refused.message().contains(&JobId::from_u128(2).to_string()), "{refused}");
        drop(second);
        let alone = enter(&places, 3, "s3://shop/a", lance(IfExists::Error)).unwrap();
        let key = KeyColumns::one("id");
        for kind in [lance(IfExists::Append), OutputKind::Columns, OutputKind::Upsert { key }] {
            assert!(enter(&places, 4, "s3://shop/a", kind).is_ok());
        }
        // It is resumed before its last run has let go.
        let again = enter(&places, 3, "s3://shop/a", lance(IfExists::Error)).unwrap();
        drop(alone);
        assert!(enter(&places, 4, "s3://shop/a", lance(IfExists::Error)).is_err());
        drop(again);
        assert!(enter(&places, 4, "s3://shop/a", lance(IfExists::Error)).is_ok());
    }

    #[test]
    fn a_job_that_is_to_end_is_in_nobody_s_way_unless_it_commits() {
        let places = Arc::new(Places::default());
        let (stop, progress) = (CancellationToken::new(), Arc::new(OutputProgress::default()));
        let path = "/out".to_owned();
        let output = OutputSpec { path, storage_profile: None, kind: lance(IfExists::Error) };
        let _held = places.enter(JobId::from_u128(1), &output, &stop, &progress).unwrap();
        let is_free = || enter(&places, 2, "/out/", lance(IfExists::Error)).is_ok();
        assert!(!is_free());
        stop.cancel();
        for (state, expected) in [
            (OutputState::None, true),
            (OutputState::Writing, true),
            (OutputState::Committing, false),
        ] {
            progress.set(state.clone());
            assert_eq!(is_free(), expected, "{state:?}");
        }
    }
}
