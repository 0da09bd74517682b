//! A relay between workers and their coordinator, which counts what the coordinator sends.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Result;
use keyloom_common::rpc::parse_address;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    task::JoinSet,
};

/// Bytes that are passed on at once.
const BUFFER: usize = 64 << 10;

/// A relay. Its connections end when this is dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    address: String,
    sent: Arc<AtomicU64>,
    _serving: JoinSet<()>,
}

impl Relay {
    /// Listens for workers of a coordinator.
    pub(crate) async fn start(coordinator: &str) -> Result<Self> {
        let target = parse_address(coordinator)?.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("tcp://{}", listener.local_addr()?);
        let sent = Arc::new(AtomicU64::new(0));
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, target, Arc::clone(&sent)));
        Ok(Self { address, sent, _serving: serving })
    }

    /// Where workers find it.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// How many bytes the coordinator has sent to workers.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

async fn serve(listener: TcpListener, target: String, sent: Arc<AtomicU64>) {
    let mut connections = JoinSet::new();
    while let Ok((worker, _)) = listener.accept().await {
        connections.spawn(pass_on(worker, target.clone(), Arc::clone(&sent)));
    }
}

/// Passes on both ways until both ends have come, or either side broke.
async fn pass_on(mut worker: TcpStream, target: String, sent: Arc<AtomicU64>) -> io::Result<()> {
    let mut coordinator = TcpStream::connect(&target).await?;
    worker.set_nodelay(true)?;
    coordinator.set_nodelay(true)?;
    let (from_worker, to_worker) = worker.split();
    let (from_coordinator, to_coordinator) = coordinator.split();
    let uncounted = AtomicU64::new(0);
    let asked = pump(from_worker, to_coordinator, &uncounted);
    let answered = pump(from_coordinator, to_worker, &sent);
    tokio::try_join!(asked, answered).map(drop)
}

async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, passed: &AtomicU64) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        passed.fetch_add(count as u64, Ordering::Relaxed);
        to.write_all(&buffer[..count]).await?;
    }
}
