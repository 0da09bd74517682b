//! Rows as formats of files hold them, with columns that others can read.
//!
//! [`types`] says what each format makes of a column's type, [`Columns`] carries it out, and
//! [`Lines`] are the formats of text. Files are the same whoever writes them.

mod columns;
mod csv;
mod json;
mod lines;
mod refused;
pub mod types;

use arrow::datatypes::DataType;

pub use columns::Columns;
pub use lines::Lines;
pub use refused::Refused;

/// What a column's type becomes, looked at without what is in it, or why it is refused.
pub type Rule = fn(column: &str, data_type: &DataType) -> Result<DataType, Refused>;
