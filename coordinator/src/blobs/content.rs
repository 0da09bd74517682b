//! What a blob is: bytes, or rows of the client's in this process.

use std::sync::{Arc, Weak};

use arrow::array::RecordBatch;
use bytes::Bytes;

#[derive(Debug)]
pub(super) enum Content {
    Bytes(Bytes),
    /// Rows of the client's in this process, which are there for as long as it has them, or jobs
    /// do.
    Rows {
        rows: Weak<[RecordBatch]>,
        held: Option<Arc<[RecordBatch]>>,
    },
}

impl Content {
    /// The bytes that it takes of the coordinator's. Rows of this process are their client's.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Rows { .. } => 0,
        }
    }

    pub(super) fn is_there(&self) -> bool {
        match self {
            Self::Bytes(_) => true,
            Self::Rows { rows, .. } => rows.strong_count() > 0,
        }
    }

    /// Keeps it for a job, and says whether it is there.
    pub(super) fn hold(&mut self) -> bool {
        match self {
            Self::Bytes(_) => true,
            Self::Rows { rows, held } => {
                *held = rows.upgrade();
                held.is_some()
            }
        }
    }

    /// What was kept for jobs.
    pub(super) fn let_go(&mut self) -> Option<Arc<[RecordBatch]>> {
        match self {
            Self::Bytes(_) => None,
            Self::Rows { held, .. } => held.take(),
        }
    }
}
