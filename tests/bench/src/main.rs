//! `keyloom-bench`: Keyloom measured against raw calls of the lance crate, in one run.
//!
//! [`run`] makes the data ([`data`]) and starts a process for each measurement ([`measure`]) of
//! each variant of each workload ([`workloads`]); [`report`] shows what came out. [`raw`] is what
//! Keyloom is compared with.

// The futures that open stores are nested deep.
#![recursion_limit = "256"]

mod cluster;
mod data;
mod hands;
mod keys;
mod measure;
mod peers;
mod process;
mod raw;
mod relay;
mod report;
mod results;
mod run;
mod s3;
mod storage;
mod workloads;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Measures Keyloom against raw calls of the lance crate.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: run::Settings,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes one measurement and prints it as a line of JSON.
    #[command(hide = true)]
    Measure(measure::Order),
}

#[tokio::main]
async fn main() -> Result<()> {
    let Arguments { command, settings } = Arguments::parse();
    match command {
        Some(Command::Measure(order)) => {
            println!("{}", serde_json::to_string(&order.carry_out().await?)?);
            Ok(())
        }
        None => run::run(settings).await,
    }
}
