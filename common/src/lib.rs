//! What both sides of a Keyloom cluster must agree on: names, errors, store descriptions, the
//! functions, the lookup node of a plan and its codec, Arrow IPC, and the RPC services.
//!
//! This crate opens no store and runs no server. It depends on neither the coordinator nor the
//! worker, and not on Lance. What is a [`secret`] nobody is shown.
//!
//! In reading order: [`id`] and [`error`] name things; [`store`] and [`input`] describe what is
//! looked up and read, and [`described`] how users write that; [`functions`] are what users write;
//! [`lookup`] is what they become in a plan, and [`misses`] what is known of keys that are missing;
//! [`output`] is where workers write rows, and [`formats`] what files make of them; [`plan`]
//! carries plans between processes; [`ipc`] carries rows; [`rpc`] carries everything.
//! [`allocator`] is what both daemons say to theirs, and [`background`] the runtimes that they keep
//! apart; [`stack`] is the room that deep plans need, [`memory`] is what a process may take,
//! [`spill_folder`] is where rows go that memory has no room for, [`checksum`] is what tells
//! damaged bytes, [`metrics`] is what those of both sides have in common, and [`http`] the settings
//! of the port that tells them; [`bounds`] is how settings are checked, [`units`] how sizes and
//! times are written, [`log`] how logs are, and [`trace`] is what makes one trace of what several
//! processes do for a job.

pub mod allocator;
pub mod background;
pub mod bounds;
pub mod checksum;
pub mod described;
pub mod error;
pub mod formats;
pub mod functions;
#[doc(hidden)]
pub mod fuzzing;
pub mod group_keys;
pub mod http;
pub mod id;
pub mod input;
pub mod ipc;
pub mod log;
pub mod lookup;
pub mod memory;
pub mod metrics;
pub mod misses;
pub mod output;
pub mod plan;
pub mod report;
pub mod rpc;
pub mod secret;
pub mod shuffle;
pub mod size;
pub mod spill_folder;
pub mod stack;
pub mod store;
pub mod trace;
pub mod units;

pub use error::{Error, ErrorCode, ErrorKind, Result};
pub use id::{AttemptId, BlobId, JobId, StageId, TaskId, WorkerId};
pub use secret::Secret;

/// The build that a peer must have, too: the version, and a hash of what defines what travels
/// between processes. Programs, and packages for Python, of the same sources have the same.
pub const BUILD: &str = concat!(env!("CARGO_PKG_VERSION"), "+", env!("KEYLOOM_SOURCES"));
