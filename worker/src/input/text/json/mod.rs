//! JSON: one object a line, or one array of objects, read by Arrow's JSON reader.

mod columns;
mod convert;
mod cut;
mod elements;
mod lines;
mod misfit;
mod nesting;
mod read;
mod rows;
mod shape;
#[cfg(test)]
mod tests;
mod visit;

pub(in crate::input) use columns::infer;
pub(in crate::input) use cut::pieces;
pub(in crate::input) use read::open;
