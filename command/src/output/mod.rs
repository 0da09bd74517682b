//! Rows in files and as lines, with columns that others can read.
//!
//! [`request`] is what users write; [`destination`] checks it and begins a [`file`]. [`types`] says
//! what each format makes of a column's type, [`columns`] carries it out, and [`lines`] are the
//! formats of text, which can be printed, too.

mod abandoned;
mod columns;
mod csv;
mod destination;
mod file;
mod json;
mod lines;
mod request;
mod types;

#[cfg(test)]
mod tests;

pub(crate) use columns::Columns;
pub(crate) use destination::Destination;
pub(crate) use file::OutputWriter;
pub(crate) use lines::Lines;
pub(crate) use request::OutputFile;
