//! Peers that talk nonsense, each in a way of its own: the coordinator hangs up, says why in its
//! log, and serves others. Lengths and checksums are as they travel, so that each is refused for
//! what is wrong with it.

use anyhow::{Context, Result};
use keyloom_common::{BUILD, checksum::checksum, rpc::handshake::PROTOCOL};

use super::{SMALL_WINDOW, check_rest, connect, hello, start, talk};
use crate::harness::{Cluster, eventually};

/// A frame that says that it has a message and bodies of so many bytes, whatever there are.
fn frame(of_message: u32, of_bodies: u32, content: &[u8]) -> Vec<u8> {
    let numbers = [of_message, of_bodies, checksum(content)];
    let mut frame: Vec<u8> = numbers.into_iter().flat_map(u32::to_le_bytes).collect();
    frame.extend(checksum(&frame).to_le_bytes());
    [&frame[..], content].concat()
}

/// The same behind a greeting of this build.
fn greeted(role: &str, frame: &[u8]) -> Vec<u8> {
    [hello(BUILD, PROTOCOL, role).as_bytes(), frame].concat()
}

/// What is said, and a part of the reason for which it is refused.
fn nonsense() -> Vec<(Vec<u8>, &'static str)> {
    const NO_KEYLOOM: &str = "the peer does not speak Keyloom's protocol";
    const DAMAGED: &str = "a frame arrived damaged: its checksum does not hold";
    const CUT_SHORT: &str = "unexpected end of file";
    const NO_MESSAGE: &str = "bad message from a peer";
    let mut other_content = frame(3, 0, b"one");
    other_content.truncate(16);
    other_content.extend(b"two");
    vec![
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), NO_KEYLOOM),
        (b"{\"keyloom\":1}\n".to_vec(), NO_KEYLOOM),
        (vec![0; 4096], NO_KEYLOOM),
        (vec![0xff; 100_000], NO_KEYLOOM),
        (Vec::new(), "the peer hung up before it said anything"),
        (greeted("client", &[0xff; 100_000]), DAMAGED),
        (greeted("client", &other_content), DAMAGED),
        (
            greeted("client", &frame(u32::MAX, u32::MAX, b"")),
            "a frame of 8589934590 bytes is larger than max_frame_bytes = 16777216",
        ),
        (
            greeted("worker", &frame(16 << 20, 1, b"")),
            "a frame of 16777217 bytes is larger than max_frame_bytes = 16777216",
        ),
        (greeted("worker", &frame(200, 0, b"three")), CUT_SHORT),
        (greeted("worker", &frame(0, 200, b"three")), CUT_SHORT),
        (greeted("client", &frame(9, 0, &[0xff; 9])), NO_MESSAGE),
        (greeted("worker", &frame(0, 9, &[0xff; 9])), NO_MESSAGE),
    ]
}

#[tokio::test]
async fn nonsense_is_refused_by_name_and_does_not_end_the_coordinator() -> Result<()> {
    let cluster = Cluster::start_with(1, &SMALL_WINDOW, &[]).await?;
    for (bytes, reason) in nonsense() {
        let before = cluster.coordinator.log().len();
        talk(&cluster, &bytes)?;
        let log = async || Ok(cluster.coordinator.log().get(before..).map(str::to_owned));
        let is_told = |log: &Option<String>| log.as_ref().is_some_and(|log| log.contains(reason));
        eventually(log, is_told).await.with_context(|| format!("'{reason}' is not said"))?;
    }
    let session = connect(&cluster).await?;
    check_rest(start(&session).await?, Vec::new()).await
}
