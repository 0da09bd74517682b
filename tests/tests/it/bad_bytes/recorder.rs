//! What clients and workers say to a coordinator, recorded to be said again.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use keyloom_common::checksum::checksum;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

/// The bytes before a message: its length, that of its bodies, the checksum of both, and the
/// checksum of these three.
const HEAD_BYTES: usize = 16;

/// So many frames of the same lengths are kept of a connection, and so many of all.
const ALIKE: usize = 2;
const FRAMES: usize = 40;

/// A coordinator hangs up in this time at the latest, once it was told all.
const BOUND: Duration = Duration::from_secs(30);

/// Forwards connections. It ends, and all of them, when this is dropped.
#[derive(Debug)]
pub(super) struct Recorder {
    address: String,
    tape: Arc<Mutex<Tape>>,
    _serving: JoinSet<()>,
}

/// What was said, by connection.
type Tape = Vec<Vec<u8>>;

/// What was said on one connection.
#[derive(Clone, Debug)]
pub(super) struct Recording {
    hello: Vec<u8>,
    pub(super) frames: Vec<Frame>,
}

/// A message and its bodies.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) message: Vec<u8>,
    pub(super) bodies: Vec<u8>,
}

impl Recorder {
    /// Listens on a port of its own and forwards to `tcp://HOST:PORT`.
    pub(super) async fn start(target: &str) -> Result<Self> {
        let target = target.trim_start_matches("tcp://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("tcp://{}", listener.local_addr()?);
        let tape = Arc::<Mutex<Tape>>::default();
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, target, Arc::clone(&tape)));
        Ok(Self { address, tape, _serving: serving })
    }

    /// Where to connect instead of to the target.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// What was said so far.
    pub(super) fn recordings(&self) -> Vec<Recording> {
        lock(&self.tape).iter().filter_map(|said| Recording::parse(said)).collect()
    }
}

fn lock(tape: &Mutex<Tape>) -> MutexGuard<'_, Tape> {
    tape.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, target: String, tape: Arc<Mutex<Tape>>) {
    let mut connections = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        let number = lock(&tape).len();
        lock(&tape).push(Vec::new());
        let (target, tape) = (target.clone(), Arc::clone(&tape));
        connections.spawn(async move {
            // Either side may break off.
            let _ = forward(near, &target, &tape, number).await;
        });
    }
}

async fn forward(
    mut near: TcpStream,
    target: &str,
    tape: &Mutex<Tape>,
    number: usize,
) -> io::Result<()> {
    let mut far = TcpStream::connect(target).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (mut from_near, mut to_near) = near.split();
    let (mut from_far, mut to_far) = far.split();
    let there = async {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = from_near.read(&mut buffer).await?;
            if count == 0 {
                return to_far.shutdown().await;
            }
            lock(tape)[number].extend_from_slice(&buffer[..count]);
            to_far.write_all(&buffer[..count]).await?;
        }
    };
    let back = async {
        tokio::io::copy(&mut from_far, &mut to_near).await?;
        to_near.shutdown().await
    };
    tokio::try_join!(there, back).map(drop)
}

impl Recording {
    /// Takes apart what was said, down to the last frame that is whole. Of frames of the same
    /// lengths a few are kept: workers ask for orders again and again.
    fn parse(said: &[u8]) -> Option<Self> {
        let end = said.iter().position(|byte| *byte == b'\n')? + 1;
        let (hello, mut rest) = said.split_at(end);
        let (mut frames, mut alike) = (Vec::new(), HashMap::new());
        while let Some(frame) = Frame::parse(&mut rest) {
            let count = alike.entry((frame.message.len(), frame.bodies.len())).or_insert(0);
            *count += 1;
            if *count <= ALIKE && frames.len() < FRAMES {
                frames.push(frame);
            }
        }
        Some(Self { hello: hello.to_vec(), frames })
    }

    /// Whether bodies were sent beside messages.
    pub(super) fn has_bodies(&self) -> bool {
        self.frames.iter().any(|frame| !frame.bodies.is_empty())
    }

    /// Whether a worker said it.
    pub(super) fn is_of_worker(&self) -> bool {
        String::from_utf8_lossy(&self.hello).contains("\"worker\"")
    }

    /// Says it again, and waits until the coordinator has answered all, or hung up.
    pub(super) async fn replay(&self, address: &str) -> Result<()> {
        let mut stream = TcpStream::connect(address.trim_start_matches("tcp://")).await?;
        stream.write_all(&self.hello).await?;
        while stream.read_u8().await? != b'\n' {}
        let (mut answers, mut requests) = stream.split();
        let talk = async {
            for frame in &self.frames {
                requests.write_all(&frame.encode()).await?;
            }
            requests.shutdown().await
        };
        let mut heard = Vec::new();
        let listen = answers.read_to_end(&mut heard);
        // The coordinator may hang up in the midst.
        let both = timeout(BOUND, async { tokio::join!(talk, listen) }).await;
        both.map(drop).with_context(|| format!("the coordinator still listens after {BOUND:?}"))
    }
}

impl Frame {
    fn parse(rest: &mut &[u8]) -> Option<Self> {
        let number = |at: usize| -> Option<usize> {
            let bytes = rest.get(at..at + 4)?.try_into().ok()?;
            Some(u32::from_le_bytes(bytes) as usize)
        };
        let (of_message, of_bodies) = (number(0)?, number(4)?);
        let end = HEAD_BYTES + of_message + of_bodies;
        let (message, bodies) = rest.get(HEAD_BYTES..end)?.split_at(of_message);
        let frame = Self { message: message.to_vec(), bodies: bodies.to_vec() };
        *rest = &rest[end..];
        Some(frame)
    }

    /// The frame as it travels, with checksums that hold.
    fn encode(&self) -> Vec<u8> {
        let content = [&self.message[..], &self.bodies[..]].concat();
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
        let mut frame = [number(self.message.len()), number(self.bodies.len())].concat();
        frame.extend(checksum(&content).to_le_bytes());
        frame.extend(checksum(&frame).to_le_bytes());
        frame.extend(content);
        frame
    }
}
