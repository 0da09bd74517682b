//! Where a worker listens for others, and that it is there for them while it computes.

use std::{sync::mpsc, time::Duration};

use datafusion_distributed::{ChannelResolver, GetWorkerInfoRequest};
use keyloom_common::{
    ErrorKind, metrics,
    rpc::{Limits, Stream, dial, handshake::Service},
};
use prometheus_client::registry::Registry;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::Builder,
    time::timeout,
};
use url::Url;

use super::*;

/// Nothing takes longer.
const BOUND: Duration = Duration::from_secs(60);

/// What whoever connects begins HTTP/2 with.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Kinds of its frames, and the flag of one that answers another.
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const ANSWER: u8 = 1;

/// What comes back when a peer lives.
const SIGN: &[u8; 8] = b"of life?";

fn settings(listen: &str) -> Settings {
    let listen = Some(listen.to_owned());
    let shuffle = ShuffleSettings { listen, ..ShuffleSettings::default() };
    Settings { shuffle, ..Settings::default() }
}

#[tokio::test]
async fn who_does_not_listen_does_not_shuffle() {
    let listens = Shuffles::listen(&Settings::default(), Credentials::default()).await;
    assert!(listens.unwrap().is_none());
    let listens = Shuffles::listen(&settings("127.0.0.1:0"), Credentials::default()).await;
    let address = listens.unwrap().unwrap().address().to_owned();
    assert!(address.starts_with("tcp://127.0.0.1:") && !address.ends_with(":0"), "{address}");
}

#[tokio::test]
async fn an_address_is_told_as_the_settings_say() {
    let mut settings = settings("127.0.0.1:0");
    settings.shuffle.advertise = Some("worker-1.internal:7801".to_owned());
    let listens = Shuffles::listen(&settings, Credentials::default()).await.unwrap();
    assert_eq!(listens.unwrap().address(), "tcp://worker-1.internal:7801");
}

#[tokio::test]
async fn an_address_at_which_everybody_reaches_itself_is_not_told() {
    let mut everywhere = settings("0.0.0.0:0");
    everywhere.shuffle.insecure_listen = true;
    let mut told = settings("127.0.0.1:0");
    told.shuffle.advertise = Some("[::]:7801".to_owned());
    for (settings, address) in [(everywhere, "tcp://0.0.0.0:"), (told, "tcp://[::]:7801,")] {
        let error = Shuffles::listen(&settings, Credentials::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let begins = format!("shuffle.listen: other workers would be told {address}");
        assert!(error.message().starts_with(&begins), "{error}");
        assert!(error.message().ends_with("in shuffle.advertise"), "{error}");
    }
}

#[tokio::test]
async fn what_is_open_to_other_machines_is_refused() {
    let open = settings("0.0.0.0:0");
    let error = Shuffles::listen(&open, Credentials::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().starts_with("shuffle.listen: 0.0.0.0:0 can be reached"), "{error}");
    let mut wanted = open;
    wanted.shuffle.insecure_listen = true;
    wanted.shuffle.advertise = Some("worker-1.internal:7801".to_owned());
    assert!(Shuffles::listen(&wanted, Credentials::default()).await.unwrap().is_some());
}

/// One thread of this name.
fn one_thread(name: &str) -> Background {
    Background::start(name, 1).unwrap()
}

/// Does this on the thread at hand.
fn here<T>(work: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { timeout(BOUND, work).await.unwrap() })
}

/// Has this thread do nothing but one step, which takes until what is returned is dropped.
fn keep_busy(thread: &Background) -> mpsc::Sender<()> {
    let (end, ends) = mpsc::channel::<()>();
    let (begin, begins) = mpsc::channel();
    thread.handle().spawn(async move {
        begin.send(()).unwrap();
        ends.recv().is_err()
    });
    begins.recv().unwrap();
    end
}

/// A frame that is of no request.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, 0, 0, 0, 0, 0][..], payload].concat()
}

/// Asks whoever is at the other end for a sign of life, and waits until it gives it.
async fn see_alive(stream: &mut Stream) {
    let asks = [frame(SETTINGS, &[]), frame(PING, SIGN)].concat();
    stream.write_all(&asks).await.unwrap();
    stream.flush().await.unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let [high, middle, low, kind, flags, ..] = head;
        let length = u32::from_be_bytes([0, high, middle, low]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.unwrap();
        if (kind, flags) == (PING, ANSWER) && payload == SIGN {
            return;
        }
    }
}

/// What a worker that has no tasks shuffles with.
fn part(registry: &mut Registry) -> Part {
    Part {
        equip: Arc::new(|config, _| config),
        runtime: Arc::default(),
        memory: Settings::default().fitted().memory(),
        functions: Arc::default(),
        counts: ConnectionCounts::register(registry, "peers"),
        totals: Totals::default(),
        telling: Telling { key_bytes: 0, ended: Arc::new(|_| ()) },
    }
}

#[test]
fn peers_are_let_in_and_answered_while_all_threads_compute() {
    let (compute, mut registry) = (one_thread("compute"), Registry::default());
    let credentials = Credentials::default();
    let settings = settings("127.0.0.1:0");
    let listens = compute.handle().block_on(Shuffles::listen(&settings, credentials.clone()));
    let shuffles = listens.unwrap().unwrap();
    let serving = {
        let _entered = compute.handle().enter();
        shuffles.serve(part(&mut registry))
    };
    let end = keep_busy(&compute);
    here(async {
        let (address, limits) = (shuffles.address(), Limits::default());
        let dialled = dial(address, Service::Shuffle, &limits, &credentials).await;
        let mut stream = dialled.unwrap();
        stream.write_all(PREFACE).await.unwrap();
        see_alive(&mut stream).await;
        let told = metrics::text(&registry);
        assert!(told.lines().any(|line| line == "peers 1"), "{told}");
        // It breaks when the worker's life ends.
        drop(serving);
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    });
    drop(end);
}

#[test]
fn peers_that_are_asked_hear_of_a_worker_while_all_its_threads_compute() {
    let (compute, connections) = (one_thread("compute"), one_thread("connections"));
    let (limits, threads) = (Limits::default(), connections.handle().clone());
    let (settings, credentials) = (ShuffleSettings::default(), Credentials::default());
    let peers = Peers::new(settings, limits.clone(), credentials, threads);
    here(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = Url::parse(&format!("tcp://{}", listener.local_addr().unwrap())).unwrap();
        let asking = compute.handle().spawn(async move {
            let mut peer = peers.get_worker_client_for_url(&url).await.unwrap();
            peer.get_worker_info(GetWorkerInfoRequest {}).await
        });
        let (stream, _) = listener.accept().await.unwrap();
        let end = keep_busy(&compute);
        let gate = Gate::open(PortName::Shuffle, &ServerSecurity::default(), &limits).unwrap();
        let mut admitted = gate.admit(stream, || Ok(())).await.unwrap();
        let mut preface = [0; PREFACE.len()];
        admitted.stream.read_exact(&mut preface).await.unwrap();
        assert_eq!(&preface, PREFACE);
        see_alive(&mut admitted.stream).await;
        drop(end);
        asking.abort();
    });
}
