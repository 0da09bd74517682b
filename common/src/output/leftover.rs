//! What jobs that nobody ends any more have left where an output is to go.

use serde::{Deserialize, Serialize};

use super::PreparedOutput;
use crate::{
    JobId,
    error::redact,
    report::words::{moment, plural},
};

/// An output that a worker has looked at, and what else it found there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputInspection {
    /// The output.
    pub prepared: PreparedOutput,
    /// What jobs keep out of sight in its place that the coordinator does not know.
    pub leftovers: Leftovers,
}

/// The most leftovers that are looked at in one place.
pub const MAX_LEFTOVERS: usize = 16;

/// What jobs keep out of sight in one place, as far as it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Leftovers {
    /// What was found, of which there are [`MAX_LEFTOVERS`] at most.
    Found(Vec<Leftover>),
    /// The storage did not tell within so many milliseconds.
    NotInTime(u64),
}

impl Leftovers {
    /// Forgets those for which this does not hold.
    pub fn retain(&mut self, keep: impl FnMut(&Leftover) -> bool) {
        if let Self::Found(found) = self {
            found.retain(keep);
        }
    }

    /// What is said where an output is to go, by its path, if there is anything to say.
    pub fn warning(&self, output: &str) -> Option<String> {
        match self {
            Self::Found(found) => Leftover::warning(found),
            Self::NotInTime(ms) => Some(format!(
                "what earlier jobs may have left at {} could not be looked at within \
                 output.leftovers_timeout_ms = {ms} of the worker; the job goes on",
                redact(output)
            )),
        }
    }
}

/// What one job keeps out of sight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftover {
    /// The job.
    pub job: JobId,
    /// The folder, as users name it.
    pub place: String,
    /// When something in there was written last, in milliseconds since 1970, by the storage's
    /// clock; absent where there is nothing.
    pub written_ms: Option<u64>,
}

impl Leftover {
    /// What is said of those of jobs that a coordinator does not know, or of which it could not
    /// remove them when they ended; nothing of none.
    fn warning(leftovers: &[Self]) -> Option<String> {
        let (first, others) = leftovers.split_first()?;
        let Self { job, place, written_ms } = first;
        let written = match written_ms {
            Some(ms) => format!("written to last at {}", moment(*ms)),
            None => "empty".to_owned(),
        };
        let others = match others.len() {
            0 => String::new(),
            count => format!(" (and so with {} beside it)", plural(count as u64, "other")),
        };
        Some(format!(
            "{place}, {written}, was left by job {job}, which this coordinator does not know or \
             has ended; it takes room until it is removed: remove it once nothing runs that could \
             be that job{others}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_with_its_job_its_age_and_what_to_do() {
        let left = |job: u128, written_ms| {
            let place = format!("/out/.keyloom/{job}");
            Leftover { job: JobId::from_u128(job), place, written_ms }
        };
        assert_eq!(Leftover::warning(&[]), None);
        let (one, two) = (left(1, Some(0)), left(2, None));
        let said = Leftover::warning(std::slice::from_ref(&one)).unwrap();
        let job = JobId::from_u128(1);
        let start = format!(
            "/out/.keyloom/1, written to last at 1970-01-01T00:00:00.000Z, was left by job {job}, \
             which this coordinator does not know or has ended; "
        );
        assert!(said.starts_with(&start), "{said}");
        assert!(said.ends_with("remove it once nothing runs that could be that job"), "{said}");
        let said = Leftover::warning(&[two, one]).unwrap();
        assert!(said.starts_with("/out/.keyloom/2, empty, was left by job "), "{said}");
        assert!(said.ends_with(" (and so with 1 other beside it)"), "{said}");
    }

    #[test]
    fn what_could_not_be_looked_at_in_time_is_told_by_the_setting_and_without_secrets() {
        let mut late = Leftovers::NotInTime(10_000);
        late.retain(|_| false);
        let said = late.warning("s3://user:hunter2@bucket/out/").unwrap();
        assert!(said.contains("output.leftovers_timeout_ms = 10000 of the worker"), "{said}");
        assert!(said.contains("bucket/out/") && !said.contains("hunter2"), "{said}");
        let (place, written_ms) = ("/out/.keyloom/1".to_owned(), None);
        let mut found =
            Leftovers::Found(vec![Leftover { job: JobId::from_u128(1), place, written_ms }]);
        assert!(found.warning("/out/").is_some_and(|said| said.starts_with("/out/.keyloom/1, ")));
        found.retain(|left| left.job != JobId::from_u128(1));
        assert_eq!(found.warning("/out/"), None);
    }
}
