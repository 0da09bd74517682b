//! The files of a dataset: what is read of them, and how.
//!
//! [`read`] takes what is [`direct`]ly readable from [`data_file`]s through the [`local_reader`],
//! once their [`local_end`] is known, all else as Lance does ([`blobs`] among it). A [`watch`] sees
//! to it that nothing waits for ever for the [`requests`] that are made of remote storage, by a
//! [`ledger`] of what these owe.

pub(super) mod blobs;
pub(super) mod data_file;
pub(super) mod direct;
mod ledger;
mod local_end;
mod local_reader;
pub(super) mod read;
pub(super) mod requests;
mod turns;
pub(super) mod watch;
