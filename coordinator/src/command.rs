//! `keyloom-coordinator`: the coordinator as a process that listens on TCP; as a function, because programs
//! that hold all of Keyloom run it, too.

use std::{
    ffi::OsString,
    io::{IsTerminal, Write, stderr, stdout},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::{Coordinator, Settings};
use anyhow::{Context, Result, bail};
use clap::Parser;
use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use keyloom_common::stack::{BLOCKING_THREADS, STACK_BYTES};
use tokio::{
    net::TcpListener,
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// What is logged unless `KEYLOOM_LOG` says otherwise.
const LOG: &str = "info,lance=warn,datafusion=warn,tarpc=warn";

/// Plans and schedules Keyloom jobs for clients, on the workers that register with it.
///
/// The first line of stdout is the address, once it listens. Ctrl-C and SIGTERM stop it.
#[derive(Debug, Parser)]
#[command(
    version = keyloom_common::BUILD,
    after_help = "\
Environment:
  KEYLOOM_COORDINATOR_*  a setting; __ leads into a section, as in
                         KEYLOOM_COORDINATOR_SCHEDULER__NO_WORKER_TIMEOUT_MS=5000
  KEYLOOM_LOG            what is logged to stderr: info (default), debug, warn, keyloom_coordinator=debug, …

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
}

/// Runs a command line, the program's name first, and returns its exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments = Arguments::parse_from(arguments);
    let prepared = log().and_then(|()| settings(arguments.config.as_deref()));
    let settings = match prepared {
        Ok(settings) => settings,
        Err(error) => return fail(2, &error),
    };
    keyloom_common::allocator::keep_freed_bytes(settings.keep_freed_bytes);
    let mut runtime = Builder::new_multi_thread();
    // Plans may be deep.
    let runtime = runtime.enable_all().thread_stack_size(STACK_BYTES);
    let runtime = runtime.max_blocking_threads(BLOCKING_THREADS).build();
    let runtime = match runtime.context("no threads") {
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

fn fail(code: u8, error: &anyhow::Error) -> u8 {
    // Without a stderr there is nobody to tell.
    let _ = writeln!(stderr(), "error: {error:#}");
    code
}

fn log() -> Result<()> {
    let filter = match std::env::var("KEYLOOM_LOG") {
        Ok(filter) => EnvFilter::try_new(&filter).with_context(|| format!("KEYLOOM_LOG={filter}")),
        Err(_) => EnvFilter::try_new(LOG).context("the log filter"),
    }?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    log.with_ansi(stderr().is_terminal()).init();
    Ok(())
}

/// Defaults, then the file, then the environment.
fn settings(config: Option<&Path>) -> Result<Settings> {
    let mut figment = Figment::from(Serialized::defaults(Settings::default()));
    if let Some(path) = config {
        // A missing file would pass for an empty one.
        std::fs::metadata(path).with_context(|| format!("--config {}", path.display()))?;
        figment = figment.merge(Toml::file_exact(path));
    }
    let figment = figment.merge(Env::prefixed("KEYLOOM_COORDINATOR_").split("__"));
    let settings: Settings = figment.extract().context("settings")?;
    settings.validate()?;
    Ok(settings)
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
    let mut terminate = signal(SignalKind::terminate()).context("no signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("no signals")?;
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
            _ = terminate.recv() => shutdown.cancel(),
            _ = interrupt.recv() => shutdown.cancel(),
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
