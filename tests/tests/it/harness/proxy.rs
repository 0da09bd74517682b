//! A TCP proxy between a coordinator and those who connect to it, for tests of a faulty network.
//!
//! Its faults come by count and when a test says so, never by chance.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

/// Where a line of a handshake loses its end, both sides wait for it: not for long with the settings
/// below.
pub(crate) const HANDSHAKE_MS: u64 = 1_000;

/// Settings of a coordinator whose peers may be cut off.
pub(crate) const IMPATIENT_COORDINATOR: [(&str, &str); 2] = [
    ("KEYLOOM_COORDINATOR_RPC__LONG_POLL_MS", "200"),
    ("KEYLOOM_COORDINATOR_RPC__HANDSHAKE_TIMEOUT_MS", "1000"),
];

/// The same of a worker.
pub(crate) const IMPATIENT_WORKER: [(&str, &str); 3] = [
    ("KEYLOOM_WORKER_RECONNECT_MS", "20"),
    ("KEYLOOM_WORKER_RECONNECT_MAX_MS", "100"),
    ("KEYLOOM_WORKER_RPC__HANDSHAKE_TIMEOUT_MS", "1000"),
];

/// Where bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// To the coordinator.
    ToServer,
    /// To the client or worker that connected.
    ToClient,
}

impl Direction {
    pub(crate) const BOTH: [Self; 2] = [Self::ToServer, Self::ToClient];
}

/// Forwards connections. It ends, and all of them, when this is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: String,
    line: Arc<Line>,
    _serving: JoinSet<()>,
}

/// What all connections share.
#[derive(Debug, Default)]
struct Line {
    mode: watch::Sender<Mode>,
    traffic: Mutex<Traffic>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mode {
    /// By direction.
    stalled: [bool; 2],
    /// Connections of before the last reset are not forwarded any more.
    resets: u64,
}

/// Bytes of all connections together, however they are spread over them.
#[derive(Debug, Default)]
struct Traffic {
    /// By direction.
    forwarded: [usize; 2],
    flip: Option<Flip>,
}

#[derive(Debug)]
struct Flip {
    direction: Direction,
    /// So many bytes of each connection do not count: those that it begins with.
    first: usize,
    /// After so many others that count.
    byte: usize,
    bit: usize,
}

impl Proxy {
    /// Listens on a port of its own and forwards to `tcp://HOST:PORT`.
    pub(crate) async fn start(target: &str) -> Result<Self> {
        let target = target.trim_start_matches("tcp://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("tcp://{}", listener.local_addr()?);
        let line = Arc::<Line>::default();
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, target, Arc::clone(&line)));
        Ok(Self { address, line, _serving: serving })
    }

    /// Where to connect instead of to the target.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// How many bytes were forwarded so far.
    pub(crate) fn bytes(&self, direction: Direction) -> usize {
        self.line.traffic().forwarded[direction as usize]
    }

    /// Flips a bit of the byte that is forwarded after so many others from now on. A flip that
    /// still waits for its byte is given up.
    pub(crate) fn flip(&self, direction: Direction, byte: usize, bit: usize) {
        self.flip_behind(0, direction, byte, bit);
    }

    /// The same, of the bytes that connections forward behind their first ones, which are so many.
    pub(crate) fn flip_behind(&self, first: usize, direction: Direction, byte: usize, bit: usize) {
        self.line.traffic().flip = Some(Flip { direction, first, byte, bit });
    }

    /// Whether a flip still waits for its byte.
    pub(crate) fn flip_waits(&self) -> bool {
        self.line.traffic().flip.is_some()
    }

    /// Forwards nothing any more, not even ends, while connections stay open and new ones are
    /// taken. What was being written may still arrive.
    pub(crate) fn stall(&self) {
        Direction::BOTH.into_iter().for_each(|direction| self.stall_one_way(direction));
    }

    /// The same in one direction; the other one is as it was.
    pub(crate) fn stall_one_way(&self, direction: Direction) {
        self.line.mode.send_modify(|mode| mode.stalled[direction as usize] = true);
    }

    /// Goes on after a stall; nothing was lost.
    pub(crate) fn resume(&self) {
        self.line.mode.send_modify(|mode| mode.stalled = [false; 2]);
    }

    /// Resets all connections, on both sides, and drops what is on its way. New ones are taken.
    pub(crate) fn reset(&self) {
        self.line.mode.send_modify(|mode| mode.resets += 1);
    }
}

impl Line {
    fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a piece of a connection, behind so many bytes of it. One that was reset has none any more: a byte that was to be
    /// damaged since would go with it, and nobody would see it.
    fn pass(
        &self,
        direction: Direction,
        (passed, piece): (usize, &mut [u8]),
        resets: u64,
    ) -> io::Result<()> {
        let mut traffic = self.traffic();
        if self.mode.borrow().resets != resets {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        traffic.pass(direction, (passed, piece));
        Ok(())
    }

    /// Waits for the mode; it changes for as long as there are connections to wait.
    async fn wait_until(&self, wanted: impl Fn(&Mode) -> bool) {
        let mut mode = self.mode.subscribe();
        let _ = mode.wait_for(wanted).await;
    }
}

impl Traffic {
    /// Counts a piece of a connection, behind so many bytes of it, and damages it if the byte to be
    /// damaged is in it.
    fn pass(&mut self, direction: Direction, (passed, piece): (usize, &mut [u8])) {
        self.forwarded[direction as usize] += piece.len();
        let Some(flip) = self.flip.as_mut().filter(|flip| flip.direction == direction) else {
            return;
        };
        let first = flip.first.saturating_sub(passed).min(piece.len());
        let counted = &mut piece[first..];
        match counted.get_mut(flip.byte) {
            Some(byte) => {
                *byte ^= 1 << flip.bit;
                self.flip = None;
            }
            None => flip.byte -= counted.len(),
        }
    }
}

async fn serve(listener: TcpListener, target: String, line: Arc<Line>) {
    let mut connections = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        let resets = line.mode.borrow().resets;
        connections.spawn(connection(near, target.clone(), Arc::clone(&line), resets));
    }
}

async fn connection(mut near: TcpStream, target: String, line: Arc<Line>, resets: u64) {
    let Ok(mut far) = TcpStream::connect(&target).await else { return };
    tokio::select! {
        // First, so that nothing passes after a reset, though it could be read.
        biased;
        () = line.wait_until(|mode| mode.resets != resets) => {}
        _ = forward(&mut near, &mut far, &line, resets) => {
            if line.mode.borrow().resets == resets {
                return;
            }
        }
    }
    // They are dropped now, and this makes a reset of that.
    let _ = near.set_zero_linger();
    let _ = far.set_zero_linger();
}

/// Forwards both ways until both ends have come, or either side broke.
async fn forward(
    near: &mut TcpStream,
    far: &mut TcpStream,
    line: &Line,
    resets: u64,
) -> io::Result<()> {
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (near_read, near_write) = near.split();
    let (far_read, far_write) = far.split();
    let to_server = pump(near_read, far_write, Direction::ToServer, line, resets);
    let to_client = pump(far_read, near_write, Direction::ToClient, line, resets);
    tokio::try_join!(to_server, to_client).map(drop)
}

async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    direction: Direction,
    line: &Line,
    resets: u64,
) -> io::Result<()> {
    let (mut buffer, mut passed) = (vec![0; 64 << 10], 0);
    loop {
        let count = from.read(&mut buffer).await?;
        line.wait_until(|mode| !mode.stalled[direction as usize]).await;
        if count == 0 {
            return to.shutdown().await;
        }
        let piece = &mut buffer[..count];
        line.pass(direction, (passed, piece), resets)?;
        to.write_all(piece).await?;
        passed += count;
    }
}
