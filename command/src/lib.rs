//! `keyloom`: Keyloom's command line, as a function: programs that hold all of Keyloom run it, too.
//!
//! In reading order: [`cli`] is what users type; [`job_file`] and [`sql`] turn it into a
//! [`request`], which a [`catalog`] completes and [`params`] fill; [`open`] makes the session that
//! the request needs; [`run`] runs its statement, where [`incremental`] tells what is new, with
//! [`drive`] taking the rows and [`sink`] giving them to the user, in files ([`output`]) or printed,
//! [`misses`] telling those that missed their keys, and a [`report`] at the end, also in a
//! [`summary_file`]. [`submit`] hands a job in, and [`jobs`] look after it. [`explain`],
//! [`describe`], [`stores`], [`workers`], [`top`] and [`config`] answer questions; [`shell`] runs
//! one statement after the other. [`certs`] makes certificates.

mod catalog;
mod certs;
mod cli;
mod columns;
mod config;
mod describe;
mod drive;
mod error;
mod explain;
mod incremental;
mod job_file;
mod jobs;
mod misses;
mod open;
mod output;
mod pace;
mod params;
mod progress;
mod report;
mod request;
mod run;
mod shell;
mod sink;
mod sql;
mod store_flag;
mod stores;
mod submit;
mod summary_file;
mod table;
mod text;
mod top;
mod watch;
mod workers;

use std::{ffi::OsString, pin::pin, time::Duration};

use clap::Parser;
use keyloom_program::{
    log,
    signals::{Ending, Signals},
};

pub use catalog::{Named, read_catalog};
use cli::{Cli, Command, Once};
use error::Failure;
use watch::Watch;

/// How long a command may take to end after it was interrupted.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is logged unless `KEYLOOM_LOG` says otherwise: what goes wrong with a job is told once, at
/// its end.
const LOG: &str = "error";

/// Runs a command line, the program's name first, and returns its exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let cli = Cli::parse_from(arguments);
    let logging = log::start("keyloom", LOG, cli.log_format);
    let logging = logging.map_err(|error| Failure::mistake(format!("{error:#}")));
    let ended = logging.and_then(|_log| {
        let runtime = tokio::runtime::Runtime::new()
            .map_err(|error| Failure::failed(format!("no threads: {error}")))?;
        let ended = runtime.block_on(until_interrupted(cli.command, cli.quiet));
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(()) => 0,
        Err(failure) => failure.tell(),
    }
}

/// Runs a command. A first signal lets it clean up, a second one ends it; a shell goes on after the
/// first, without the statement that ran.
async fn until_interrupted(command: Command, quiet: bool) -> Result<(), Failure> {
    let mut signals =
        Signals::listen().map_err(|error| Failure::failed(format!("no signals: {error}")))?;
    let command = match command {
        Command::Shell(arguments) => return shell::start(arguments, quiet, &mut signals).await,
        Command::Once(command) => command,
    };
    let watch = Watch::start(quiet);
    match interruptible(execute(command, &watch), &watch, &mut signals).await {
        (ended, None) => ended,
        (ended, Some(ending)) => ended.map_err(|failure| failure.ended_by(ending)),
    }
}

/// Does something until it is done, or until it has cleaned up after a signal, for a bounded time:
/// how it ended, and the signal; of two, the one that ends more than what is done.
async fn interruptible(
    work: impl Future<Output = Result<(), Failure>>,
    watch: &Watch,
    signals: &mut Signals,
) -> (Result<(), Failure>, Option<Ending>) {
    let mut running = pin!(work);
    let ending = tokio::select! {
        ended = &mut running => return (ended, None),
        ending = signals.next() => ending,
    };
    watch.interrupt();
    tokio::select! {
        ended = &mut running => (ended, Some(ending)),
        second = signals.next() => {
            let is_last = second == Ending::Terminated;
            (Err(Failure::interrupted()), Some(if is_last { second } else { ending }))
        }
        () = tokio::time::sleep(PATIENCE) => (Err(Failure::interrupted()), Some(ending)),
    }
}

async fn execute(command: Once, watch: &Watch) -> Result<(), Failure> {
    match command {
        Once::Run(arguments) => run::job_file(arguments, watch).await,
        Once::Sql(arguments) => sql::statement(arguments, watch).await,
        Once::Explain(arguments) => explain::job_file(arguments, watch).await,
        Once::Describe(arguments) => describe::describe(arguments, watch).await,
        Once::Stores(command) => stores::run(command, watch).await,
        Once::Submit(arguments) => submit::job_file(arguments, watch).await,
        Once::Jobs(command) => jobs::run(command, watch).await,
        Once::Workers(arguments) => workers::run(arguments, watch).await,
        Once::Top(arguments) => top::show(arguments, watch).await,
        Once::Config(command) => config::run(command, watch),
        Once::Certs(command) => certs::run(&command),
    }
}
