//! Why there is no set of a job's keys: lookups can do without one, but not without their rows.

use std::fmt;

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use keyloom_common::{Error, ErrorKind, JobId, Result};

/// Why a set is not there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoSet {
    /// There are more keys than may be collected.
    TooMany { keys: usize, bytes: u64, most: u64 },
    /// The coordinator has no memory for them now.
    NoRoom(Error),
    /// The rows that hold them cannot be read, be it for want of a worker's memory.
    Failed(Error),
}

impl NoSet {
    /// Of what is asked of the coordinator's own memory.
    pub(super) fn of_room(error: Error) -> Self {
        match error.kind() {
            ErrorKind::ResourceExhausted => Self::NoRoom(error),
            _ => Self::Failed(error),
        }
    }

    /// Says why the job goes on without the set.
    ///
    /// # Errors
    /// If it does not: its rows cannot be read.
    pub(super) fn go_on(self, job: JobId) -> Result<()> {
        match self {
            Self::TooMany { .. } => {
                tracing::info!(%job, reason = %self, "too many keys: not collected");
            }
            Self::NoRoom(_) => {
                tracing::warn!(%job, reason = %self, "no room for the job's keys: not collected");
            }
            Self::Failed(error) => return Err(error),
        }
        Ok(())
    }
}

impl fmt::Display for NoSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany { keys, bytes, most } => write!(
                f,
                "{keys} keys and more take over {bytes} bytes; max_key_set_bytes allows {most}"
            ),
            Self::NoRoom(error) | Self::Failed(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl From<Error> for NoSet {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<DataFusionError> for NoSet {
    fn from(error: DataFusionError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<ArrowError> for NoSet {
    fn from(error: ArrowError) -> Self {
        Self::Failed(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_goes_on_without_a_set_but_not_without_its_rows() {
        let (job, full) = (JobId::new(), Error::resource_exhausted("no memory"));
        let too_many = NoSet::TooMany { keys: 200, bytes: 1000, most: 1000 };
        let text = "200 keys and more take over 1000 bytes; max_key_set_bytes allows 1000";
        assert_eq!(too_many.to_string(), text);
        assert_eq!(too_many.go_on(job), Ok(()));
        assert_eq!(NoSet::of_room(full.clone()).go_on(job), Ok(()));
        let ended = Error::cancelled("the job has ended");
        assert_eq!(NoSet::of_room(ended.clone()).go_on(job), Err(ended));
        // As a worker's.
        let through = DataFusionError::from(full.clone());
        assert_eq!(NoSet::from(through).go_on(job), Err(full));
    }
}
