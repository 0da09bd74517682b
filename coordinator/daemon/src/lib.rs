//! `keyloom-coordinator`: the coordinator as a process that listens on TCP; as a function, because
//! programs that hold all of Keyloom run it, too.

mod api;

use std::{ffi::OsString, net::SocketAddr};

use anyhow::{Context, Result, bail};
use clap::Parser;
use keyloom_common::rpc::{Gate, PortName, is_tls, parse_address};
use keyloom_coordinator::{Coordinator, Settings};
use keyloom_program::{
    config,
    daemon::{self, announce, exit_code, fail},
    flags::Flags,
    http::{Files, Port, Told},
    open_files,
    settings::Layers,
    signals::Signals,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

/// Plans and schedules Keyloom jobs for clients, on the workers that register with it.
///
/// The first line of stdout is the address, once it listens, and the second that of --http, if that
/// is given. Ctrl-C and SIGTERM stop it; SIGHUP has it read its certificates and tokens again.
#[derive(Debug, Parser)]
#[command(
    name = "keyloom-coordinator",
    version = keyloom_common::BUILD,
    after_help = "\
Environment:
  KEYLOOM_COORDINATOR_*  a setting; __ leads into a section, as in
                         KEYLOOM_COORDINATOR_SCHEDULER__NO_WORKER_TIMEOUT_MS=5000
                         or KEYLOOM_COORDINATOR_LISTEN=10.0.0.5:7700
  KEYLOOM_LOG            what is logged to stderr: info (default), debug, warn, keyloom_coordinator=debug, …
  KEYLOOM_LOG_FORMAT     text or json, as --log-format

Where other machines reach it, the settings say who may connect:
  [security]
  cert_file = \"coordinator.pem\"
  key_file = \"coordinator-key.pem\"
  ca_file = \"ca.pem\"
  # … or, in the place of ca_file: tokens = { client = \"FILE\", worker = \"FILE\" }

Examples:
  keyloom-coordinator
  keyloom-coordinator --listen 127.0.0.1:0 --config coordinator.toml
  keyloom-coordinator --config coordinator.toml config show"
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<config::Command>,
    /// Where to listen; port 0 is any that is free [default: listen in the settings, or
    /// 127.0.0.1:7700]
    #[arg(long, global = true, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// The address that it says it has, if workers and clients reach it by another [default: where
    /// it listens]
    #[arg(long, global = true, value_name = "tcp://HOST:PORT")]
    advertise: Option<String>,
    /// Listen on an address that other machines reach though the settings leave something open: at
    /// each start a warning says what
    #[arg(long, global = true)]
    insecure_listen: bool,
    #[command(flatten)]
    flags: Flags,
}

/// What is told over HTTP.
struct OfCoordinator {
    coordinator: Coordinator,
    http: Files,
}

impl Told for OfCoordinator {
    fn ready(&self) -> Result<(), String> {
        self.coordinator.ready()
    }

    async fn metrics(&self) -> String {
        self.coordinator.metrics(self.http.reloads()).await
    }
}

/// What each takes an open file of.
const CONNECTIONS: &str = "max_connections and 8 for each of security.max_handshakes";

impl Arguments {
    fn layers(&self) -> Result<Layers> {
        let layers = self.flags.layers::<Settings>("KEYLOOM_COORDINATOR_")?;
        let insecure = self.insecure_listen.then_some(true);
        Ok(layers
            .flag("--listen", "listen", self.listen.as_ref())
            .flag("--advertise", "advertise", self.advertise.as_ref())
            .flag("--insecure-listen", "insecure_listen", insecure))
    }

    /// The settings, and where they come from.
    fn settings(&self) -> Result<(Settings, Layers)> {
        let layers = self.layers()?;
        let settings = daemon::settings(&layers, Settings::validate)?;
        if let Some(address) = &settings.advertise {
            parse_address(address).context("advertise")?;
        }
        Ok((settings, layers))
    }
}

/// Runs a command line, the program's name first, and returns its exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments = Arguments::parse_from(arguments);
    let (format, read) = (arguments.flags.log_format(), || arguments.settings());
    let begun =
        daemon::begin("keyloom-coordinator", format, read, |settings: &Settings| &settings.log);
    let (_log, settings, layers) = match begun {
        Ok(begun) => begun,
        Err(code) => return code,
    };
    if let Some(command) = arguments.command {
        return daemon::show(&layers, &settings, command);
    }
    // Certificates and tokens that cannot be read are mistakes in the settings.
    if let Err(error) = Gate::open(PortName::Rpc, &settings.security, &settings.rpc) {
        return fail(2, &error.into());
    }
    keyloom_common::allocator::keep_freed_bytes(settings.keep_freed_bytes);
    // Those who have not shown yet who they are, and those who were refused a moment ago.
    let strangers = settings.security.max_handshakes.saturating_mul(2 * 4);
    let connections = settings.max_connections.saturating_add(strangers);
    if let Err(few) = open_files::raise(CONNECTIONS, connections, 1) {
        tracing::warn!("{few:#}");
    }
    let runtime = match daemon::runtime(None) {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, &error),
    };
    let code = runtime.block_on(async {
        match addresses(&settings).await {
            Ok(addresses) => match serve(&addresses, settings).await {
                Ok(()) => 0,
                Err(error) => fail(exit_code(&error), &error),
            },
            Err(error) => fail(2, &error),
        }
    });
    runtime.shutdown_background();
    code
}

/// Where to listen, if that is safe or accepted as unsafe.
async fn addresses(settings: &Settings) -> Result<Vec<SocketAddr>> {
    let listen = &settings.listen;
    let found = tokio::net::lookup_host(listen).await;
    let addresses: Vec<_> =
        found.with_context(|| format!("--listen takes HOST:PORT, not '{listen}'"))?.collect();
    let open = addresses.iter().find(|address| !address.ip().is_loopback());
    if let Some((open, exposure)) = open.zip(settings.security.exposure()) {
        let open = format!("{open} can be reached from other machines, and {exposure}");
        if !settings.insecure_listen {
            bail!(
                "{open}; listen on 127.0.0.1, set security.cert_file and security.key_file with \
                 security.ca_file or security.tokens, or add --insecure-listen on a network that \
                 you trust"
            );
        }
        tracing::warn!("--insecure-listen: {open}");
    }
    Ok(addresses)
}

async fn serve(addresses: &[SocketAddr], settings: Settings) -> Result<()> {
    let shutdown = CancellationToken::new();
    let mut signals = Signals::listen().context("no signals")?;
    let listen = &settings.listen;
    let listener = TcpListener::bind(addresses)
        .await
        .with_context(|| format!("cannot listen on {listen} (--listen, or listen in settings)"))?;
    let address = listener.local_addr().context("the listener has no address")?;
    let http = Port::open(&settings.http, Some(&settings.security), &settings.rpc).await?;
    let scheme = if settings.security.has_tls() { "tls" } else { "tcp" };
    let told = told(settings.advertise.as_deref(), scheme, address);
    let (jobs, insecure) = (settings.http_jobs.clone(), settings.insecure_listen);
    let coordinator = Coordinator::start(settings)?;
    let gate = coordinator.gate();
    let mut hangups = signal(SignalKind::hangup()).context("no signals")?;
    announce(&told);
    tracing::info!("listening at {told}");
    if told != format!("{scheme}://{address}") {
        tracing::info!("others are told that address; its own is {scheme}://{address}");
    }
    if is_tls(&told) != (scheme == "tls") {
        tracing::warn!(
            "advertise is {told}, and the coordinator speaks {scheme}: whoever dials that address \
             is understood only if something between them changes it"
        );
    }
    let pages = match jobs.enabled && http.is_some() {
        true => Some(api::pages(coordinator.local(), jobs, insecure)?),
        false => None,
    };
    let files = http.as_ref().map(Port::files).unwrap_or_default();
    let own = OfCoordinator { coordinator: coordinator.clone(), http: files.clone() };
    let _http = http.map(|http| http.serve_with(own, pages));
    let mut serving = std::pin::pin!(coordinator.serve(listener, shutdown.clone()));
    loop {
        tokio::select! {
            ended = &mut serving => return Ok(ended?),
            _ = signals.next() => {
                tracing::info!("stops, and jobs that are in its memory fail");
                shutdown.cancel();
            }
            Some(()) = hangups.recv() => {
                gate.reload();
                files.reload();
            }
        }
    }
}

/// The address by which others are to reach it: the advertised one, or where it listens.
fn told(advertise: Option<&str>, scheme: &str, listening: SocketAddr) -> String {
    match advertise {
        Some(address) if address.contains("://") => address.to_owned(),
        Some(address) => format!("{scheme}://{address}"),
        None => format!("{scheme}://{listening}"),
    }
}
