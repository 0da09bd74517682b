//! How Keyloom's three programs begin and end, the same for all: what they are told ([`settings`],
//! which [`config`] shows), what they tell ([`log`]), how they are asked to stop ([`signals`]), and
//! what both daemons do beside that ([`daemon`], [`flags`], [`http`], [`open_files`]).
//!
//! Whoever embeds Keyloom needs none of this.

pub mod config;
pub mod daemon;
pub mod flags;
pub mod http;
pub mod log;
pub mod open_files;
pub mod settings;
pub mod signals;
mod units;
