//! Text as rows: CSV and JSON, from any object store, compressed or not.
//!
//! For each format there are three questions: [`csv::infer`] and [`json::infer`] learn columns and
//! their types from the text; `pieces` says where a file may be cut; `open` reads the rows of a
//! slice. Arrow's readers decode; what stands here gives them the right bytes, takes care that no
//! value is changed without a word, and says where the text is wrong.

mod chunks;
mod compression;
pub(in crate::input) mod csv;
mod error;
pub(in crate::input) mod json;
mod source;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
