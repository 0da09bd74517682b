//! Rows in files and as lines, with columns that others can read.
//!
//! [`request`] is what users write; [`destination`] checks it and begins a [`file`]. What formats
//! make of columns is the same for workers that write files; here it becomes failures with help.

mod abandoned;
mod destination;
mod file;
mod request;

#[cfg(test)]
mod tests;

pub(crate) use keyloom_common::formats::{Columns, Lines};

pub(crate) use destination::Destination;
pub(crate) use file::OutputWriter;
pub(crate) use request::OutputFile;
