//! `keyloom-coordinator`: the coordinator as a process that listens on TCP; as a function, because
//! programs that hold all of Keyloom run it, too.

use std::{
    ffi::OsString,
    io::{Write, stdout},
    net::SocketAddr,
    path::PathBuf,
};

use anyhow::{Context, Result, bail};
use clap::Parser;
use keyloom_common::log::LogFormat;
use keyloom_coordinator::{Coordinator, Settings};
use keyloom_program::{
    daemon::{self, fail},
    log, open_files,
    signals::Signals,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Plans and schedules Keyloom jobs for clients, on the workers that register with it.
///
/// The first line of stdout is the address, once it listens. Ctrl-C and SIGTERM stop it.
#[derive(Debug, Parser)]
#[command(
    name = "keyloom-coordinator",
    version = keyloom_common::BUILD,
    after_help = "\
Environment:
  KEYLOOM_COORDINATOR_*  a setting; __ leads into a section, as in
                         KEYLOOM_COORDINATOR_SCHEDULER__NO_WORKER_TIMEOUT_MS=5000
  KEYLOOM_LOG            what is logged to stderr: info (default), debug, warn, keyloom_coordinator=debug, …
  KEYLOOM_LOG_FORMAT     text or json, as --log-format

Examples:
  keyloom-coordinator
  keyloom-coordinator --listen 127.0.0.1:0 --config coordinator.toml"
)]
struct Arguments {
    /// Where to listen; port 0 is any that is free
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7700")]
    listen: String,
    /// Settings as TOML; the environment goes before them
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listen on an address that other machines reach. There is neither TLS nor authentication yet:
    /// who can connect can run jobs and read what workers can read
    #[arg(long)]
    insecure_listen: bool,
    /// How the log is written: text or json [default: log.format of the settings, which is text]
    #[arg(
        long,
        env = "KEYLOOM_LOG_FORMAT",
        hide_env = true,
        value_name = "FORMAT",
        value_parser = LogFormat::parse
    )]
    log_format: Option<LogFormat>,
}

/// Runs a command line, the program's name first, and returns its exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments = Arguments::parse_from(arguments);
    let log = log::start("keyloom-coordinator", daemon::LOG, arguments.log_format);
    let prepared = log.and_then(|log| {
        let config = arguments.config.as_deref();
        let settings = daemon::settings(config, "KEYLOOM_COORDINATOR_", Settings::validate)?;
        log.settle(&settings.log);
        Ok((log, settings))
    });
    let (_log, settings) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return fail(2, &error),
    };
    keyloom_common::allocator::keep_freed_bytes(settings.keep_freed_bytes);
    if let Err(few) = open_files::raise("max_connections", settings.max_connections, 1) {
        tracing::warn!("{few:#}");
    }
    let runtime = match daemon::runtime(None) {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, &error),
    };
    let code = runtime.block_on(async {
        match addresses(&arguments).await {
            Ok(addresses) => match serve(&addresses, settings).await {
                Ok(()) => 0,
                Err(error) => fail(1, &error),
            },
            Err(error) => fail(2, &error),
        }
    });
    runtime.shutdown_background();
    code
}

/// Where to listen, if that is safe or accepted as unsafe.
async fn addresses(arguments: &Arguments) -> Result<Vec<SocketAddr>> {
    let listen = &arguments.listen;
    let found = tokio::net::lookup_host(listen).await;
    let addresses: Vec<_> =
        found.with_context(|| format!("--listen takes HOST:PORT, not '{listen}'"))?.collect();
    let open = addresses.iter().find(|address| !address.ip().is_loopback());
    if let Some(open) = open.filter(|_| !arguments.insecure_listen) {
        bail!(
            "{open} can be reached from other machines, and there is neither TLS nor \
             authentication yet: who can connect can run jobs and read what workers can read; \
             listen on 127.0.0.1, or add --insecure-listen on a network that you trust"
        );
    }
    Ok(addresses)
}

async fn serve(addresses: &[SocketAddr], settings: Settings) -> Result<()> {
    let shutdown = CancellationToken::new();
    let mut signals = Signals::listen().context("no signals")?;
    let listener = TcpListener::bind(addresses)
        .await
        .with_context(|| format!("cannot listen on {addresses:?}"))?;
    let address = listener.local_addr().context("the listener has no address")?;
    let coordinator = Coordinator::start(settings)?;
    announce(address);
    let mut serving = std::pin::pin!(coordinator.serve(listener, shutdown.clone()));
    loop {
        tokio::select! {
            ended = &mut serving => return Ok(ended?),
            _ = signals.next() => shutdown.cancel(),
        }
    }
}

/// Scripts wait for this line.
fn announce(address: SocketAddr) {
    let mut stdout = stdout().lock();
    if writeln!(stdout, "tcp://{address}").and_then(|()| stdout.flush()).is_err() {
        tracing::warn!("nobody reads stdout");
    }
    tracing::info!("listening at tcp://{address}");
}
