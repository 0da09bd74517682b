//! CSV: values between delimiters, read by Arrow's CSV reader.

mod columns;
mod convert;
mod cut;
mod guess;
mod header;
mod misfit;
mod nulls;
mod read;
mod records;
#[cfg(test)]
mod tests;
mod unproven;

pub(in crate::input) use columns::infer;
pub(in crate::input) use cut::pieces;
pub(in crate::input) use read::open;
