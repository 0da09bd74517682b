//! `keyloom-worker`: a worker as a process that serves a coordinator; as a function, because
//! programs that hold all of Keyloom run it, too.

// As the worker's own futures, which are deeply nested types.
#![recursion_limit = "256"]

use std::{ffi::OsString, num::NonZeroUsize, sync::Arc, thread::available_parallelism};

use anyhow::{Context, Result, anyhow};
use clap::Parser;
use keyloom_common::{
    allocator::keep_freed_bytes,
    rpc::{Credentials, PeerSecurity, PortName, parse_address},
};
use keyloom_program::{
    config,
    daemon::{self, exit_code, fail},
    flags::Flags,
    http::{Files, Port, Told},
    open_files,
    settings::Layers,
    signals::Signals,
};
use keyloom_worker::{
    Agent, Dial, Settings, Shuffles, TasksShared,
    agent::{CoordinatorBlobs, TcpDial},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Runs the tasks of a Keyloom coordinator: reads inputs, opens stores, looks keys up.
///
/// It connects to the coordinator, waits for one that is not there, and connects again when it is
/// lost. Ctrl-C and SIGTERM let running tasks end; a second one ends the worker at once. SIGHUP
/// has it read the certificates and tokens of its own ports again, of HTTP and of shuffles; those
/// that it shows to others are looked at before each connection.
#[derive(Debug, Parser)]
#[command(
    name = "keyloom-worker",
    version = keyloom_common::BUILD,
    after_help = "\
Environment:
  KEYLOOM_WORKER_*    a setting; __ leads into a section, as in
                      KEYLOOM_WORKER_STORE__TAKE_CHUNK_ROWS=4096
  KEYLOOM_LOG         what is logged to stderr: info (default), debug, warn, keyloom_worker=debug, …
  KEYLOOM_LOG_FORMAT  text or json, as --log-format

Stores name their storage options by a profile, which stands in the settings:
  [store.storage_profiles.minio]
  aws_endpoint = \"http://127.0.0.1:9000\"
  aws_access_key_id = \"…\"

Where the coordinator asks who one is, the settings answer:
  [security]
  ca_file = \"ca.pem\"
  cert_file = \"worker.pem\"
  key_file = \"worker-key.pem\"
  # … or, in the place of a certificate: token_file = \"FILE\"

Examples:
  keyloom-worker --coordinator tcp://127.0.0.1:7700
  keyloom-worker --coordinator tcp://10.0.0.5:7700 --slots 8 --config worker.toml
  keyloom-worker --config worker.toml config show"
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<config::Command>,
    /// The coordinator's address, tls:// where it has a certificate [default: coordinator in the
    /// settings]
    #[arg(long, global = true, value_name = "tcp://HOST:PORT")]
    coordinator: Option<String>,
    /// How many tasks it runs at once, and threads that compute [default: the number of cores]
    #[arg(
        long,
        global = true,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    slots: Option<u32>,
    /// Its name for people [default: host:process]
    #[arg(long, global = true, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    flags: Flags,
}

impl Arguments {
    fn layers(&self) -> Result<Layers> {
        let layers = self.flags.layers::<Settings>("KEYLOOM_WORKER_")?;
        Ok(layers
            .flag("--coordinator", "coordinator", self.coordinator.as_ref())
            .flag("--slots", "slots", self.slots)
            .flag("--name", "name", self.name.as_ref()))
    }

    /// The settings, and where they come from.
    fn settings(&self) -> Result<(Settings, Layers)> {
        let layers = self.layers()?;
        let settings = daemon::settings(&layers, Settings::validate)?;
        if let Some(address) = &settings.coordinator {
            parse_address(address).context("coordinator")?;
        }
        Ok((settings, layers))
    }
}

/// What is told over HTTP.
struct OfWorker {
    tasks: TasksShared,
    shuffles: Option<Arc<Shuffles>>,
    http: Files,
    /// What it shows its coordinator.
    credentials: Credentials,
}

impl Told for OfWorker {
    fn ready(&self) -> Result<(), String> {
        self.tasks.ready()
    }

    async fn metrics(&self) -> String {
        let shuffles =
            self.shuffles.as_ref().map(|shuffles| (PortName::Shuffle, shuffles.reloads()));
        let own =
            [(PortName::Rpc, self.credentials.reloads()), (PortName::Http, self.http.reloads())];
        self.tasks.metrics(own.into_iter().chain(shuffles))
    }
}

/// Runs a command line, the program's name first, and returns its exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments = Arguments::parse_from(arguments);
    let (format, read) = (arguments.flags.log_format(), || arguments.settings());
    let begun = daemon::begin("keyloom-worker", format, read, |settings: &Settings| &settings.log);
    let (_log, settings, layers) = match begun {
        Ok(begun) => begun,
        Err(code) => return code,
    };
    if let Some(command) = arguments.command {
        return daemon::show(&layers, &settings, command);
    }
    let Some(address) = settings.coordinator.clone() else {
        return fail(2, &no_coordinator());
    };
    let credentials = match credentials(&settings, &address) {
        Ok(credentials) => credentials,
        Err(error) => return fail(2, &error),
    };
    if settings.security != PeerSecurity::default() && settings.access.allows_any_file() {
        tracing::warn!(
            "jobs may read every file that this worker can, but for those that its own settings \
             name: access.roots is not set"
        );
    }
    keep_freed_bytes(settings.keep_freed_bytes);
    // So many files are kept open, and as many readers of fragments.
    let readers = settings.store.max_open_readers;
    if let Err(few) = open_files::raise("store.max_open_readers", readers, 2) {
        tracing::warn!("{few:#}");
    }
    let slots = settings.slots.unwrap_or_else(cores);
    // A slot is a thread of computing: workers on one machine share its cores by their slots.
    let runtime = match daemon::runtime(Some(slots as usize)) {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, &error),
    };
    // A disk that does not answer keeps no worker from its start.
    let doubted = settings.clone();
    runtime.spawn_blocking(move || {
        for doubt in doubted.doubts() {
            tracing::warn!("{doubt}");
        }
    });
    let code = match runtime.block_on(work(address, slots, settings, credentials)) {
        Ok(()) => 0,
        Err(error) => fail(exit_code(&error), &error),
    };
    runtime.shutdown_background();
    code
}

/// What it shows to the coordinator at an address.
fn credentials(settings: &Settings, address: &str) -> Result<Credentials> {
    let credentials = settings.security.load()?;
    credentials.check_address(address).context("coordinator")?;
    Ok(credentials)
}

fn no_coordinator() -> anyhow::Error {
    anyhow!(
        "no coordinator is named: --coordinator tcp://HOST:PORT, or coordinator in the settings, \
         says whom to work for"
    )
}

async fn work(
    address: String,
    slots: u32,
    settings: Settings,
    credentials: Credentials,
) -> Result<()> {
    let shutdown = CancellationToken::new();
    let limits = settings.rpc.clone();
    let shuffles = Shuffles::listen(&settings, credentials.clone()).await?;
    let shown = credentials.clone();
    let dial: Arc<dyn Dial> = Arc::new(TcpDial { address, limits: limits.clone(), credentials });
    let blobs = CoordinatorBlobs::new(Arc::clone(&dial), limits);
    let tasks = TasksShared::new(settings.clone(), Arc::new(blobs))?;
    // Also while it drains, and until the last task has ended.
    let http = Port::open(&settings.http, None, &settings.rpc).await?;
    let files = http.as_ref().map(Port::files).unwrap_or_default();
    let told = OfWorker {
        tasks: tasks.clone(),
        shuffles: shuffles.clone(),
        http: files.clone(),
        credentials: shown,
    };
    let _http = http.map(|http| http.serve(told));
    let name = settings.name.clone().unwrap_or_else(default_name);
    let agent = Agent { name, slots, settings, dial, tasks, shuffles: shuffles.clone() };
    let mut signals = Signals::listen().context("no signals")?;
    let mut hangups = signal(SignalKind::hangup()).context("no signals")?;
    let mut running = std::pin::pin!(agent.run(shutdown.clone()));
    loop {
        tokio::select! {
            ended = &mut running => return Ok(ended?),
            _ = signals.next() => {}
            // It has the coordinator read its files, and must not end a worker with its tasks.
            Some(()) = hangups.recv() => {
                read_again(&files, shuffles.as_deref());
                continue;
            }
        }
        if shutdown.is_cancelled() {
            return Err(anyhow!("stopped while tasks were running"));
        }
        tracing::info!("running tasks may end; a second signal stops at once");
        shutdown.cancel();
    }
}

/// Reads what is read again when somebody asks for it: the files of the HTTP port, and what it
/// shows other workers that shuffle with it, and asks of them.
fn read_again(http: &Files, shuffles: Option<&Shuffles>) {
    let shuffles = shuffles.filter(|shuffles| shuffles.has_files());
    if http.is_empty() && shuffles.is_none() {
        tracing::info!(
            "nothing to read again: certificates and tokens are looked at before each connection, \
             and settings when the worker starts"
        );
        return;
    }
    if !http.is_empty() {
        tracing::info!("reads the certificate and the tokens of its HTTP port again");
        http.reload();
    }
    if let Some(shuffles) = shuffles {
        tracing::info!("reads the certificate and the tokens of its port for shuffles again");
        shuffles.reload();
    }
}

fn cores() -> u32 {
    available_parallelism().map_or(1, |cores| u32::try_from(NonZeroUsize::get(cores)).unwrap_or(1))
}

fn default_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|host| host.trim().to_owned())
        .or_else(|_| std::env::var("HOSTNAME"));
    format!("{}:{}", host.unwrap_or_else(|_| "localhost".to_owned()), std::process::id())
}
