//! Taking connections: a coordinator that listens on TCP, or stands in the process that uses it.

mod client;
mod connections;
mod deadline;
mod local;
mod scrape;
mod tcp;
mod worker;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use keyloom_common::{
    Result,
    report::WorkerStatus,
    rpc::{Gate, PortName, ReceiveRoom, Reloads},
    spill_folder::SpillFolder,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    blobs::Blobs,
    catalog::Catalog,
    dispatch::{Dispatcher, Patience},
    history::History,
    jobs::{Jobs, Operators},
    settings::Settings,
    spool::SpoolRoom,
    supervise::supervised,
};

pub use local::Local;

/// A coordinator. Dropping the last handle stops it.
#[derive(Clone, Debug)]
pub struct Coordinator {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: Arc<Settings>,
    catalog: Arc<Catalog>,
    dispatcher: Dispatcher,
    blobs: Arc<Blobs>,
    jobs: Arc<Jobs>,
    /// The way in for connections from elsewhere.
    gate: Gate,
    /// For what connections receive.
    room: ReceiveRoom,
    /// Cancelled if a part broke that nothing goes on without.
    broken: CancellationToken,
    /// Whether connections are accepted.
    accepts: AtomicBool,
    _janitor: AbortOnDropHandle<()>,
    /// Resumes the jobs that go on by themselves.
    _going_on: AbortOnDropHandle<()>,
    _spill: Option<SpillFolder>,
}

impl Coordinator {
    /// Starts a coordinator without connections. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// `invalid` if temporary files cannot be written where the settings say, a certificate or a
    /// token is not where they say, or `state_folder` is in use or damaged.
    pub fn start(settings: Settings) -> Result<Self> {
        let gate = Gate::open(PortName::Rpc, &settings.security, &settings.rpc)?;
        let catalog = Arc::new(Catalog::open(&settings.catalog)?);
        let spill = SpillFolder::create_if_possible(settings.spill_folder.as_deref())?;
        let memory = settings.memory();
        let operators = Operators::within(&memory, spill.as_ref())?;
        let settings = Arc::new(settings);
        let history = History::open(&settings)?;
        let folder =
            spill.as_ref().map_or_else(std::env::temp_dir, |spill| spill.path().to_owned());
        let room = SpoolRoom::within(memory.gathered, settings.gather_disk_bytes, folder);
        let scheduler = settings.scheduler.clone();
        // Attempts that wait must leave room for the other requests of their connection.
        let attempts = settings.rpc.requests_in_flight / 2;
        let patience = Patience { time: settings.gather_wait(), attempts };
        let receiving = ReceiveRoom::new(settings.receive_bytes());
        let broken = CancellationToken::new();
        let dispatcher = Dispatcher::start(scheduler, room, patience, &broken);
        let blobs = Arc::new(Blobs::new(settings.blob_bytes, settings.blob_ttl()));
        let (own, held) = (Arc::clone(&settings), Arc::clone(&blobs));
        let jobs = Jobs::new(dispatcher.clone(), held, own, operators);
        let jobs = jobs.with_catalog(Arc::clone(&catalog)).with_history(history);
        let jobs = Arc::new(jobs);
        let janitor = janitor(Arc::clone(&jobs), Arc::clone(&blobs), &settings);
        let janitor = tokio::spawn(supervised("the janitor", broken.clone(), janitor));
        let going_on = tokio::spawn(Arc::clone(&jobs).go_on());
        let shared = Shared {
            settings,
            catalog,
            dispatcher,
            blobs,
            jobs,
            gate,
            room: receiving,
            broken,
            accepts: AtomicBool::new(false),
            _janitor: AbortOnDropHandle::new(janitor),
            _going_on: AbortOnDropHandle::new(going_on),
            _spill: spill,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Serves TCP connections until the token is cancelled.
    ///
    /// # Errors
    /// If the listener fails for good, or a part broke that nothing goes on without.
    pub async fn serve(
        &self,
        listener: tokio::net::TcpListener,
        shutdown: CancellationToken,
    ) -> Result<()> {
        self.shared.accepts.store(true, Ordering::Relaxed);
        let served = tcp::serve(Arc::clone(&self.shared), listener, shutdown).await;
        self.shared.accepts.store(false, Ordering::Relaxed);
        served
    }

    /// Whether it takes connections and works.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn ready(&self) -> std::result::Result<(), String> {
        if self.shared.broken.is_cancelled() {
            return Err("the coordinator broke; the log says where".to_owned());
        }
        self.shared.jobs.can_remember()?;
        match self.shared.accepts.load(Ordering::Relaxed) {
            true => Ok(()),
            false => Err("the coordinator does not accept connections (any more)".to_owned()),
        }
    }

    /// What it has counted and what is the case now, in the format of OpenMetrics; with how often
    /// the files of its HTTP port were read again.
    pub async fn metrics(&self, http: Reloads) -> String {
        scrape::scrape(&self.shared, http).await
    }

    /// The way in for connections from elsewhere: of every port that belongs to this coordinator.
    pub fn gate(&self) -> Gate {
        self.shared.gate.clone()
    }

    /// Connects within the process.
    pub fn local(&self) -> Local {
        Local::new(Arc::clone(&self.shared))
    }

    /// The workers that are registered.
    pub async fn workers(&self) -> Vec<WorkerStatus> {
        self.shared.dispatcher.workers().await
    }
}

/// Ends what nobody asks for any more.
fn janitor(
    jobs: Arc<Jobs>,
    blobs: Arc<Blobs>,
    settings: &Settings,
) -> impl Future<Output = ()> + Send + use<> {
    let period = settings.client_gone().min(settings.client_timeout()) / 4;
    async move {
        let mut interval = tokio::time::interval(period.max(Duration::from_millis(10)));
        loop {
            interval.tick().await;
            jobs.expire();
            blobs.expire();
        }
    }
}
