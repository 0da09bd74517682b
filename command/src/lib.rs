//! `keyloom`: Keyloom's command line, as a function: programs that hold all of Keyloom run it, too.
//!
//! In reading order: [`cli`] is what users type; [`job_file`] and [`sql`] turn it into a
//! [`request`]; [`open`] makes the session that the request needs; [`run`] runs its statement, with
//! [`drive`] taking the rows and [`sink`] giving them to the user, in files ([`output`]) or
//! printed, [`misses`] telling those that missed their keys, and a [`report`] at the end.
//! [`explain`], [`describe`] and [`workers`] answer questions.

mod cli;
mod describe;
mod drive;
mod error;
mod explain;
mod job_file;
mod misses;
mod open;
mod output;
mod progress;
mod report;
mod request;
mod run;
mod sink;
mod sql;
mod store_flag;
mod table;
mod text;
mod watch;
mod workers;

use std::{ffi::OsString, pin::pin, time::Duration};

use clap::Parser;
use keyloom_program::{log, signals::Signals};

use cli::{Cli, Command};
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
    let logging = log::start(LOG).map_err(|error| Failure::mistake(format!("{error:#}")));
    let ended = logging.and_then(|()| {
        let runtime = tokio::runtime::Runtime::new()
            .map_err(|error| Failure::failed(format!("no threads: {error}")))?;
        let ended = runtime.block_on(until_interrupted(cli.command));
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(()) => 0,
        Err(failure) => failure.tell(),
    }
}

/// Runs a command. A first signal lets it clean up, a second one ends it.
async fn until_interrupted(command: Command) -> Result<(), Failure> {
    let mut signals =
        Signals::listen().map_err(|error| Failure::failed(format!("no signals: {error}")))?;
    let watch = Watch::start();
    let mut running = pin!(execute(command, &watch));
    let ending = tokio::select! {
        ended = &mut running => return ended,
        ending = signals.next() => ending,
    };
    watch.interrupt();
    let ended = tokio::select! {
        ended = &mut running => ended,
        _ = signals.next() => Err(Failure::interrupted()),
        () = tokio::time::sleep(PATIENCE) => Err(Failure::interrupted()),
    };
    ended.map_err(|failure| failure.ended_by(ending))
}

async fn execute(command: Command, watch: &Watch) -> Result<(), Failure> {
    match command {
        Command::Run(arguments) => run::job_file(arguments, watch).await,
        Command::Sql(arguments) => sql::statement(arguments, watch).await,
        Command::Explain(arguments) => explain::job_file(arguments, watch).await,
        Command::Describe(arguments) => describe::describe(arguments, watch).await,
        Command::Workers(arguments) => workers::list(arguments, watch).await,
    }
}
