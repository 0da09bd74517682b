//! The whole system, tested from outside: the same cases embedded, on one worker process and on
//! three.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod harness;

mod access;
mod cluster_catalog;
mod direct;
mod functions;
mod guide;
mod http_api;
mod inputs;
mod jobs;
mod jobs_api;
mod key_sets;
mod outputs;
mod session;
mod settings;
mod shuffles;
mod slt;
mod stores;
mod tpch;
mod traps;

mod bad_bytes;
mod builds;
mod codec;
mod command;
mod config;
mod deploy;
mod explain;
mod faults;
mod layering;
mod logs;
mod metrics;
mod promises;
mod property;
mod readme;
mod reuse;
mod runtimes;
mod security;
mod supply_chain;
