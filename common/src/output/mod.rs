//! Outputs that workers write: where the rows of a job go, the node of a plan that stands for
//! writing them, and what becomes known on the way.
//!
//! A client says what it wants ([`OutputSpec`]), and a worker looks whether it can be had
//! ([`PreparedOutput`]), and what others have left there ([`Leftovers`]). Tasks write pieces that
//! nobody sees ([`WriteExec`], whose rows tell of them), one attempt of each task is accepted, and
//! one commit by a worker makes all pieces visible ([`Committed`]), or they are removed. The
//! coordinator knows pieces by their sizes alone.

mod committed;
mod exec;
mod leftover;
mod piece;
mod place;
mod prepared;
mod spec;

pub use committed::{Committed, committed_schema};
pub use exec::WriteExec;
pub use leftover::{Leftover, Leftovers, MAX_LEFTOVERS, OutputInspection};
pub use piece::{Piece, piece_schema};
pub use place::Place;
pub use prepared::PreparedOutput;
pub use spec::{Compression, FileFormat, FilesOutput, IfExists, OutputKind, OutputSpec};
