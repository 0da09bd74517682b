//! Peers that find no place, and peers that hold room and do not use it: the first are told by the
//! setting's name, the second go.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use keyloom_client::{ErrorKind, Session};
use keyloom_common::{BUILD, checksum::checksum, rpc::handshake::PROTOCOL};
use tokio::time::timeout;

use super::{check_rest, connect, hello, start, start_worker};
use crate::harness::{Cluster, eventually};

/// Far more than anything takes that is not held up by others.
const BOUND: Duration = Duration::from_secs(45);

/// So few connections, and nobody makes room.
const FEW: [(&str, &str); 2] = [
    ("KEYLOOM_COORDINATOR_MAX_CONNECTIONS", "4"),
    ("KEYLOOM_COORDINATOR_IDLE_CONNECTION_MS", "600000"),
];

/// What is said where there is no place.
const FULL: &str = "max_connections = 4 connections to the coordinator are open and in use";

/// Takes all places.
async fn fill(cluster: &Cluster) -> Result<Vec<Session>> {
    let mut sessions = Vec::new();
    loop {
        match Session::connect(&cluster.address).await {
            Ok(session) => sessions.push(session),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
                assert_eq!(error.message(), FULL);
                return Ok(sessions);
            }
        }
    }
}

/// A connection over which nothing was said.
fn dial(cluster: &Cluster) -> Result<TcpStream> {
    let stream = TcpStream::connect(cluster.address.trim_start_matches("tcp://"))?;
    stream.set_read_timeout(Some(BOUND))?;
    Ok(stream)
}

#[tokio::test]
async fn whoever_finds_no_place_is_told_and_comes_back() -> Result<()> {
    let cluster = Cluster::start_with(0, &FEW, &[]).await?;
    let sessions = fill(&cluster).await?;
    assert!((1..=4).contains(&sessions.len()), "{} places", sessions.len());
    // To a worker it is not for good.
    let worker = start_worker(&cluster)?;
    eventually(async || Ok(worker.log()), |log| log.contains(FULL)).await?;
    drop(sessions);
    let connected = async || Ok(Session::connect(&cluster.address).await.ok());
    let session = eventually(connected, Option::is_some).await?.context("connected")?;
    let workers = async || Ok(session.workers().await?.len());
    eventually(workers, |workers| *workers == 1).await.map(drop)
}

#[tokio::test]
async fn peers_that_say_nothing_are_not_waited_for() -> Result<()> {
    const SILENT: usize = 64;
    let cluster = Cluster::start_with(0, &FEW, &[]).await?;
    let _sessions = fill(&cluster).await?;
    let silent = (0..SILENT).map(|_| dial(&cluster)).collect::<Result<Vec<_>>>()?;
    // While too many are being refused, others are hung up on.
    let refusal = async || Ok(Session::connect(&cluster.address).await.err());
    let is_told = |error: &Option<keyloom_client::Error>| {
        error.as_ref().is_some_and(|error| error.kind() == ErrorKind::ResourceExhausted)
    };
    eventually(refusal, is_told).await?;
    for mut stream in silent {
        match stream.read(&mut [0]) {
            Ok(0) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            other => bail!("it was not closed: {other:?}"),
        }
    }
    Ok(())
}

/// A connection that takes room for a frame, and then says no more.
fn announce_a_frame(cluster: &Cluster) -> Result<TcpStream> {
    const BODIES: u32 = 1 << 20;
    let mut stream = dial(cluster)?;
    stream.write_all(hello(BUILD, PROTOCOL, "client").as_bytes())?;
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer)?;
    assert!(answer.contains("\"refused\":null"), "{answer}");
    let mut head: Vec<u8> = [0, BODIES, 0].into_iter().flat_map(u32::to_le_bytes).collect();
    head.extend(checksum(&head).to_le_bytes());
    head.resize(head.len() + 1_000, 0);
    stream.write_all(&head)?;
    Ok(stream)
}

#[tokio::test]
async fn a_frame_that_does_not_come_makes_room_for_those_that_do() -> Result<()> {
    let env = [("KEYLOOM_COORDINATOR_RECEIVE_BYTES", "1048576")];
    let cluster = Cluster::start_with(1, &env, &[]).await?;
    let mut announced = announce_a_frame(&cluster)?;
    let rows = async {
        let session = connect(&cluster).await?;
        check_rest(start(&session).await?, Vec::new()).await
    };
    timeout(BOUND, rows).await.context("nothing else had room")??;
    let log = cluster.coordinator.log();
    assert!(log.contains("others waited for receive_bytes"), "{log}");
    match announced.read(&mut [0]) {
        Ok(0) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
        other => bail!("it was not closed: {other:?}"),
    }
}
