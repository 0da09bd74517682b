//! Inputs of a job: how a user names files, and what a worker learns by looking at them.

mod description;
mod format;
mod spec;

pub use description::{Fingerprint, InputAnswer, InputDescription, InputFile, Piece};
pub use format::{CsvOptions, Format, Layout, is_tab_separated};
pub use spec::{InputSpec, JsonLayout, Location};
