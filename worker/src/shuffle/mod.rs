//! Shuffles: plans that several workers run together, who send each other rows by their keys.
//!
//! datafusion-distributed makes stages of such a plan and moves the rows, over connections that are
//! let in as all others are: whoever speaks on one is a worker. The attempt of one task is all of a
//! shuffle. It is at one worker, which sends the stages out and hands in the rows; a worker that is
//! lost fails it, and another attempt is one of the workers that are there then. So what is known
//! of tasks holds here: one output counts, and what is not wanted any more is stopped.
//!
//! Connections are on threads of their own, on which nothing is computed: a worker that is busy
//! still tells its peers that it lives, and hears when they are gone.

mod compression;
mod counted;
mod crossing;
mod leaves;
mod listening;
mod memory;
mod on_compute;
mod parts;
mod peers;
mod places;
mod run;
mod serve;
mod sessions;
mod settings;
#[cfg(test)]
mod tests;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use datafusion::{
    execution::{TaskContext, runtime_env::RuntimeEnv},
    physical_plan::ExecutionPlan,
    prelude::SessionConfig,
};
use datafusion_distributed::Worker;
use keyloom_common::{
    Error, Result,
    background::Background,
    plan::Telling,
    rpc::{ConnectionCounts, Credentials, Gate, PortName, Reloads, ServerSecurity, parse_address},
};
use tokio::{
    net::{TcpListener, lookup_host},
    runtime::Handle,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::AbortOnDropHandle,
};

use crate::settings::{Memory, Settings};
pub use compression::ShuffleCompression;
pub(crate) use counted::Shuffled;
pub(crate) use crossing::Totals;
use peers::Peers;
use run::Means;
use serve::Port;
use sessions::Sessions;
pub use settings::ShuffleSettings;

/// What the threads of connections are called.
const THREADS: &str = "keyloom-shuffle";

/// A worker's part in shuffles: where others reach it, and how it reaches others.
#[derive(Debug)]
pub struct Shuffles {
    settings: ShuffleSettings,
    listener: Arc<TcpListener>,
    gate: Gate,
    /// Whether what lets others in, and is shown to them, is in files.
    has_files: bool,
    address: String,
    peers: Peers,
    /// Those of connections, to others and from them. Nothing that runs on them keeps them.
    threads: Background,
}

/// Other workers are served until this is dropped.
#[derive(Debug)]
pub(crate) struct Serving {
    _ended: DropGuard,
    _serving: AbortOnDropHandle<()>,
}

/// Gives a session what operators of Keyloom find in it, for batches of so many rows.
pub(crate) type Equip = Arc<dyn Fn(SessionConfig, u32) -> SessionConfig + Send + Sync>;

/// What a worker's part in shuffles is run with.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) equip: Equip,
    pub(crate) runtime: Arc<RuntimeEnv>,
    pub(crate) memory: Memory,
    /// Where functions are found.
    pub(crate) functions: Arc<TaskContext>,
    /// Of other workers' connections.
    pub(crate) counts: ConnectionCounts,
    /// Of rows that come from them.
    pub(crate) totals: Totals,
    /// How it is told what operators count.
    pub(crate) telling: Telling,
}

impl Shuffles {
    /// Listens for other workers, if the settings say where; else there are no shuffles.
    ///
    /// # Errors
    /// `invalid` if that is no address, if it can be reached from elsewhere and something is open
    /// there, if nobody could reach it at what others are told, or if a certificate or token is not
    /// where the settings say; `resource_exhausted` if there are no more threads to be had.
    pub async fn listen(
        settings: &Settings,
        credentials: Credentials,
    ) -> Result<Option<Arc<Self>>> {
        let Some(listen) = &settings.shuffle.listen else { return Ok(None) };
        let security = ServerSecurity::of_worker(&settings.security)?;
        let gate = Gate::open(PortName::Shuffle, &security, &settings.rpc)?;
        let cannot = |error: io::Error| {
            Error::invalid(format!("shuffle.listen takes HOST:PORT, not '{listen}': {error}"))
        };
        let addresses: Vec<_> = lookup_host(listen).await.map_err(cannot)?.collect();
        check_exposure(&addresses, &security, settings.shuffle.insecure_listen)?;
        let threads = Background::start(THREADS, settings.shuffle.connection_threads)?;
        // Those that it is bound on hear who comes.
        let bound = threads.handle().spawn(async move { TcpListener::bind(&*addresses).await });
        let bound = bound.await.unwrap_or_else(|error| Err(io::Error::from(error)));
        let listener = Arc::new(bound.map_err(|error| {
            Error::unavailable(format!("cannot listen on {listen} (shuffle.listen): {error}"))
        })?);
        let scheme = if security.has_tls() { "tls" } else { "tcp" };
        let address = match &settings.shuffle.advertise {
            Some(address) if address.contains("://") => address.clone(),
            Some(address) => format!("{scheme}://{address}"),
            None => format!("{scheme}://{}", listener.local_addr().map_err(cannot)?),
        };
        credentials.check_address(&address).map_err(|error| error.context("shuffle.advertise"))?;
        check_told(&address)?;
        if let Err(error) = gate.check_host(&address) {
            tracing::warn!(
                "shuffle.listen: other workers reach this one at {address}, and {error}: shuffles \
                 with it fail; certify it for that host, or name another in shuffle.advertise"
            );
        }
        let (rpc, settings) = (settings.rpc.clone(), settings.shuffle.clone());
        let peers = Peers::new(settings.clone(), rpc, credentials, threads.handle().clone());
        tracing::info!("shuffles with other workers at {address}");
        let has_files = security.has_tls() || security.has_tokens();
        Ok(Some(Arc::new(Self { settings, listener, gate, has_files, address, peers, threads })))
    }

    /// Where other workers reach it.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Whether the certificates and tokens of its port are in files, which may change.
    pub fn has_files(&self) -> bool {
        self.has_files
    }

    /// Reads these files again, whether they have changed or not. Where they are not what they
    /// should be, what was read before stays, and a warning says so.
    pub fn reload(&self) {
        self.gate.reload();
    }

    /// How often they were read again.
    pub fn reloads(&self) -> Reloads {
        self.gate.reloads()
    }

    /// Serves other workers. What they ask for is computed on the tokio runtime that this must be
    /// called within.
    pub(crate) fn serve(&self, part: Part) -> Serving {
        let (runtime, counts) = (Arc::clone(&part.runtime), part.counts.clone());
        let worker = Worker::from_session_builder(Sessions::new(part, self.peers.clone()))
            .with_runtime_env(runtime)
            .with_version(keyloom_common::BUILD);
        let (listener, gate) = (Arc::clone(&self.listener), self.gate.clone());
        let (settings, compute) = (self.settings.clone(), Handle::current());
        let ended = CancellationToken::new();
        let until = ended.clone();
        let serving = self.threads.handle().spawn(async move {
            let (gate, settings, compute) = (&gate, &settings, &compute);
            let port = Port { listener: &listener, gate, settings, compute };
            port.serve(worker, counts, until).await;
        });
        Serving { _ended: ended.drop_guard(), _serving: AbortOnDropHandle::new(serving) }
    }

    /// The rows of a plan, run by the workers at these addresses together.
    ///
    /// # Errors
    /// If that cannot begin. Later errors come through the stream.
    pub(crate) async fn run(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        addresses: &[String],
        part: Part,
        batch_rows: u32,
    ) -> Result<Shuffled> {
        let means = Means { settings: &self.settings, peers: &self.peers, part, batch_rows };
        run::together(plan, addresses, means).await
    }
}

/// The rows of a plan that this worker runs alone.
///
/// # Errors
/// If that cannot begin. Later errors come through the stream.
pub(crate) fn run_alone(
    plan: &Arc<dyn ExecutionPlan>,
    settings: &ShuffleSettings,
    telling: Telling,
    context: &Arc<TaskContext>,
) -> Result<Shuffled> {
    run::alone(plan, settings.silence(), telling, context)
}

/// Refuses to listen where other machines reach it while something is open, unless that is wanted.
fn check_exposure(
    addresses: &[SocketAddr],
    security: &ServerSecurity,
    is_wanted: bool,
) -> Result<()> {
    let open = addresses.iter().find(|address| !address.ip().is_loopback());
    let Some((open, exposure)) = open.zip(security.exposure()) else { return Ok(()) };
    let open = format!("{open} can be reached from other machines, and {exposure}");
    if !is_wanted {
        return Err(Error::invalid(format!(
            "shuffle.listen: {open}; listen on 127.0.0.1, set security.ca_file, \
             security.cert_file and security.key_file, or set shuffle.insecure_listen on a network \
             that you trust"
        )));
    }
    tracing::warn!("shuffle.insecure_listen: {open}");
    Ok(())
}

/// Refuses `0.0.0.0` and `[::]` as what others are told: each of them would reach itself there, so
/// that whoever leads a shuffle would do the work of all, and nobody would be told.
fn check_told(address: &str) -> Result<()> {
    let host = parse_address(address)?.rsplit_once(':').map_or("", |(host, _)| host);
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()) {
        return Err(Error::invalid(format!(
            "shuffle.listen: other workers would be told {address}, at which each of them reaches \
             itself; name this machine, as HOST:PORT, in shuffle.advertise"
        )));
    }
    Ok(())
}
