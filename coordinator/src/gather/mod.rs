//! Bringing the rows of fragments into the part of a plan that the coordinator runs.
//!
//! [`RemoteExec`] is the operator; a [`StageRun`](stage_run::StageRun) is one run of its fragment's
//! tasks; a [`Spool`] holds a task's output until it is wanted, in memory or on disk.

mod concat;
mod context;
mod give_way;
mod held;
mod properties;
mod remote;
mod spill;
mod spool;
mod stage_run;

pub(crate) use concat::ConcatExec;
pub(crate) use context::{JobContext, StageReport};
pub(crate) use remote::{Output, RemoteExec, Source};
pub(crate) use spool::{SpilledChunk, Spool, SpoolRoom};
pub(crate) use stage_run::Piece;
