//! Names of jobs, stages, tasks, attempts, workers and blobs, as they appear on the wire and in
//! logs.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::Error;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(Uuid);

        impl $name {
            /// A fresh, random id.
            #[expect(clippy::new_without_default, reason = "a default id would not be random in name")]
            pub fn new() -> Self {
                Self(Uuid::new_v4())
            }

            /// The id with the given bits.
            pub const fn from_u128(bits: u128) -> Self {
                Self(Uuid::from_u128(bits))
            }

            /// Its bits as bytes, the highest first.
            pub const fn to_bytes(self) -> [u8; 16] {
                *self.0.as_bytes()
            }

            /// The id of such bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl FromStr for $name {
            type Err = Error;

            /// Reads it as it is shown.
            fn from_str(text: &str) -> Result<Self, Error> {
                Uuid::try_parse(text).map(Self).map_err(|_| {
                    Error::invalid(format!(
                        concat!(
                            "{:?} is no id of a ",
                            $what,
                            ": that is a UUID, like 0e6f6e2c-3c1b-4a57-9a55-5d0f3f0c8f11"
                        ),
                        text
                    ))
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

uuid_id! {
    /// One submitted query. The client draws it, so that submitting twice runs once.
    JobId, "job"
}

uuid_id! {
    /// One life of a worker: a worker that restarts, or registers again, draws a new one.
    WorkerId, "worker"
}

/// A set of tasks that run the same fragment over slices of one input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StageId {
    /// The job it belongs to.
    pub job: JobId,
    /// Its number within the job.
    pub index: u32,
}

/// One slice of a stage. Output order is the order of `index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    /// The stage it belongs to.
    pub stage: StageId,
    /// Its place in the stage's output.
    pub index: u32,
}

/// One try at a task. Output of an attempt that is not the current one is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    /// The task it tries.
    pub task: TaskId,
    /// Its number, from 0.
    pub number: u32,
}

impl fmt::Display for StageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.job, self.index)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.stage, self.index)
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.task, self.number)
    }
}

/// The name of immutable bytes: their BLAKE3 hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlobId([u8; 32]);

impl BlobId {
    /// Names no bytes.
    pub const NONE: Self = Self([0; 32]);

    /// The name of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// A fresh name, for what is not bytes.
    pub fn unique() -> Self {
        Self::of(Uuid::new_v4().as_bytes())
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_shown_and_others_are_named() {
        let id = JobId::new();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(JobId::from_bytes(id.to_bytes()), id);
        let error = "newest".parse::<JobId>().unwrap_err();
        let expected = "\"newest\" is no id of a job: that is a UUID, like \
                        0e6f6e2c-3c1b-4a57-9a55-5d0f3f0c8f11";
        assert_eq!(error.message(), expected);
        assert!("".parse::<WorkerId>().unwrap_err().message().contains("of a worker"));
    }
}
