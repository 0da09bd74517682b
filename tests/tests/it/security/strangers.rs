//! Connections that nobody knows: many of them, silent or talking nonsense. Jobs go on, and nothing
//! of them stays.

use std::{
    fs,
    io::{self, Read, Write},
    net::TcpStream,
    sync::mpsc,
    thread,
};

use anyhow::{Context, Result, bail};
use keyloom_common::{BUILD, rpc::handshake::PROTOCOL};
use tokio::task::spawn_blocking;

use super::{BOUND, check_job, check_rows, let_in, prepared};
use crate::harness::{Cluster, Daemon, Keys, eventually};

/// A stranger has so long.
const SHORT: (&str, &str) = ("KEYLOOM_COORDINATOR_RPC__HANDSHAKE_TIMEOUT_MS", "2000");

const IDLE: usize = 200;
const MALFORMED: usize = 250;
/// Of those, so many at once.
const AT_ONCE: usize = 50;

/// How many sockets a process has open.
fn sockets(daemon: &Daemon) -> Result<usize> {
    let mut sockets = 0;
    for entry in fs::read_dir(format!("/proc/{}/fd", daemon.pid()))? {
        // It may be closed already.
        let target = fs::read_link(entry?.path()).unwrap_or_default();
        sockets += usize::from(target.to_string_lossy().starts_with("socket:"));
    }
    Ok(sockets)
}

/// A connection over which nothing was said.
fn dial(address: &str) -> Result<TcpStream> {
    let host_port = address.rsplit("//").next().context("an address")?;
    let stream = TcpStream::connect(host_port)?;
    stream.set_read_timeout(Some(BOUND))?;
    Ok(stream)
}

/// Waits for a connection's end.
fn check_closed(mut stream: TcpStream) -> Result<()> {
    match stream.read_to_end(&mut Vec::new()) {
        Err(error) if error.kind() != io::ErrorKind::ConnectionReset => bail!("open: {error}"),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// What strangers say: the beginnings of all protocols there are, right lengths and wrong ones.
fn nonsense(number: usize) -> Vec<u8> {
    let hello = format!("{{\"keyloom\":{PROTOCOL},\"build\":\"{BUILD}\",\"role\":\"client\"");
    match number % 8 {
        0 => b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        1 => vec![0; 1 + number],
        2 => vec![0xff; 70_000],
        3 => hello.into_bytes(),
        4 => format!("{hello},\"token\":\"{}\"}}\n", "x".repeat(5_000)).into_bytes(),
        // A TLS record that says how long it is, and a part of it.
        5 => [&[0x16, 3, 1, 0x3f, 0xff][..], &[1; 1_000]].concat(),
        // A ClientHello of the right length that holds nothing.
        6 => [&[0x16, 3, 1, 0, 44, 1, 0, 0, 40, 3, 3][..], &[7; 38]].concat(),
        _ => b"{\"keyloom\":1}\n{}\n".to_vec(),
    }
}

/// Talks nonsense over many connections, some at once, until the coordinator hangs up on each.
fn talk_nonsense(address: &str) -> Result<()> {
    let (done, all) = mpsc::channel();
    for worker in 0..AT_ONCE {
        let (address, done) = (address.to_owned(), done.clone());
        thread::spawn(move || {
            let talk = || -> Result<()> {
                for number in (worker..MALFORMED).step_by(AT_ONCE) {
                    let mut stream = dial(&address)?;
                    // It may hang up while we still write.
                    let _ = stream.write_all(&nonsense(number));
                    check_closed(stream).with_context(|| format!("nonsense {number}"))?;
                }
                Ok(())
            };
            let _ = done.send(talk());
        });
    }
    drop(done);
    all.iter().collect()
}

async fn check_strangers(keys: &Keys) -> Result<()> {
    let cluster = Cluster::start_with_keys(1, keys, &[SHORT], &[]).await?;
    let session = prepared(&cluster, &keys.role("client")).await?;
    check_rows(&session).await?;
    // Those of a worker come and go, with what they do.
    let before = sockets(&cluster.coordinator)?;

    let idle = (0..IDLE).map(|_| dial(&cluster.address)).collect::<Result<Vec<_>>>()?;
    check_rows(&session).await?;
    let address = cluster.address.clone();
    let talking = spawn_blocking(move || talk_nonsense(&address));
    check_rows(&session).await?;
    talking.await??;
    spawn_blocking(|| idle.into_iter().try_for_each(check_closed)).await??;

    let open = async || sockets(&cluster.coordinator);
    eventually(open, |open| *open <= before).await?;
    check_rows(&session).await
}

#[tokio::test]
async fn strangers_at_a_port_with_tls_hold_nobody_up_and_leave_nothing_behind() -> Result<()> {
    check_strangers(&Keys::certificates()?).await
}

#[tokio::test]
async fn strangers_at_a_port_with_tokens_hold_nobody_up_and_leave_nothing_behind() -> Result<()> {
    check_strangers(&Keys::tokens()?).await
}

#[tokio::test]
async fn whoever_is_known_is_let_in_while_strangers_wait() -> Result<()> {
    let keys = Keys::both()?;
    let cluster = Cluster::start_with_keys(1, &keys, &[SHORT], &[]).await?;
    let _idle = (0..IDLE).map(|_| dial(&cluster.address)).collect::<Result<Vec<_>>>()?;
    let_in(&cluster, &keys.role("client")).await?;
    check_job(&cluster, &keys.role("client")).await
}
