//! Bringing the rows of fragments into the part of a plan that the coordinator runs.
//!
//! [`cut()`] puts the operators in; [`RemoteExec`] is that of a fragment, and a
//! [`CommitExec`](commit::CommitExec) stands above one that writes; a
//! [`StageRun`](stage_run::StageRun) is one run of its tasks.

mod commit;
mod concat;
mod context;
mod cut;
mod done_by;
mod fuzzing;
mod give_way;
mod held;
mod kept;
mod key_sets;
mod look_again;
mod misses;
mod nodes;
mod numbered;
mod own;
mod progress;
mod properties;
mod remote;
mod stage_run;
mod stores;
mod times;
mod told;

pub(crate) use context::{JobContext, StageReport};
pub(crate) use cut::cut;
pub(crate) use done_by::DoneBy;
pub(crate) use fuzzing::count_report;
pub(crate) use look_again::look_again;
pub(crate) use remote::RemoteExec;
