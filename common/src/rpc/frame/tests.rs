//! Frames that come as they went, are damaged, too large, slow or wait for room.

use std::{future::poll_fn, pin::pin};

use tokio::{io::AsyncWriteExt, time::timeout};

use super::{pace::Pace, *};

fn written(outgoing: &mut Outgoing) -> Vec<u8> {
    outgoing.copy_to_bytes(outgoing.remaining()).to_vec()
}

async fn read(mut bytes: &[u8], max_bytes: usize) -> io::Result<Option<Frame>> {
    let mut incoming = Incoming::new(max_bytes, Duration::from_secs(60), None);
    poll_fn(|context| incoming.poll(&mut bytes, context)).await
}

#[tokio::test]
async fn frames_come_as_they_went_however_the_stream_cuts_them() {
    let large = Bytes::from(vec![7; 10_000]);
    let sent = [("", vec![]), ("two", vec![Bytes::new(), large.clone()]), ("three", vec![large])];
    let mut outgoing = Outgoing::default();
    for (message, bodies) in &sent {
        outgoing.push(message.as_bytes(), bodies.clone(), 20_000).unwrap();
    }
    let bytes = written(&mut outgoing);
    let (mut near, mut far) = tokio::io::duplex(13);
    let writing = async { near.write_all(&bytes).await.map(|()| drop(near)) };
    let reading = async {
        let mut incoming = Incoming::new(20_000, Duration::from_secs(60), None);
        let mut frames = Vec::new();
        let next = |context: &mut Context<'_>| incoming.poll(&mut far, context);
        let mut next = poll_fn(next);
        while let Some(frame) = (&mut next).await.unwrap() {
            frames.push(frame);
        }
        frames
    };
    let (wrote, frames) = tokio::join!(writing, reading);
    wrote.unwrap();
    let expected =
        sent.map(|(message, bodies)| (Bytes::from(message), Bytes::from(bodies.concat())));
    let frames: Vec<_> = frames.into_iter().map(|f| (f.message, f.bodies)).collect();
    assert_eq!(frames, expected);
}

#[tokio::test]
async fn a_frame_that_claims_too_much_is_refused_unread() {
    let mut claim = vec![0xff; SUMMED_HEAD_BYTES];
    claim.put_u32_le(checksum(&claim));
    let error = read(&claim, 1 << 20).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "a frame of 8589934590 bytes is larger than max_frame_bytes = 1048576"
    );
    let error = Outgoing::default().push(b"12345", vec![], 4).unwrap_err();
    assert_eq!(error.to_string(), "a frame of 5 bytes is larger than max_frame_bytes = 4");
}

#[tokio::test]
async fn a_stream_that_ends_within_a_frame_is_an_error() {
    let mut outgoing = Outgoing::default();
    outgoing.push(b"message", vec![Bytes::from_static(b"body")], 100).unwrap();
    let bytes = written(&mut outgoing);
    for end in 1..bytes.len() {
        let error = read(&bytes[..end], 100).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "after {end} bytes");
    }
    assert!(read(&[], 100).await.unwrap().is_none());
}

#[tokio::test]
async fn a_frame_with_any_bit_flipped_is_refused() {
    let mut outgoing = Outgoing::default();
    outgoing.push(b"message", vec![Bytes::from_static(b"body")], 100).unwrap();
    let sent = written(&mut outgoing);
    for bit in 0..sent.len() * 8 {
        let mut bytes = sent.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        // More follows, as on a connection: a wrong length must not be waited for.
        bytes.extend(&sent);
        let error = read(&bytes, 100).await.unwrap_err();
        assert!(error.to_string().contains("arrived damaged"), "bit {bit}: {error}");
    }
}

#[tokio::test]
async fn a_frame_that_does_not_end_is_an_error() {
    let mut outgoing = Outgoing::default();
    outgoing.push(b"message", vec![], 100).unwrap();
    let bytes = written(&mut outgoing);
    let (mut near, mut far) = tokio::io::duplex(100);
    let mut incoming = Incoming::new(100, Duration::from_millis(1), None);
    let mut next = poll_fn(|context| incoming.poll(&mut far, context));
    let idle = tokio::time::timeout(Duration::from_millis(10), &mut next).await;
    assert!(idle.is_err(), "between frames a connection may rest");
    near.write_all(&bytes[..bytes.len() - 1]).await.unwrap();
    assert_eq!(next.await.unwrap_err().to_string(), "a frame did not go on within 1ms");
}

const BODY: usize = 10_000;

/// A frame with a body that takes all of the room.
fn frame() -> (ReceiveRoom, Vec<u8>) {
    let mut outgoing = Outgoing::default();
    outgoing.push(b"message", vec![Bytes::from(vec![7; BODY])], 2 * BODY).unwrap();
    (ReceiveRoom::new(BODY as u64), written(&mut outgoing))
}

fn incoming(room: &ReceiveRoom, pace: Pace) -> Incoming {
    let incoming = Incoming::new(2 * BODY, Duration::from_secs(60), Some(room));
    Incoming { pacing: Pacing::new(pace), ..incoming }
}

async fn next(incoming: &mut Incoming, mut stream: impl AsyncRead + Unpin) -> io::Result<usize> {
    let frame = poll_fn(|context| incoming.poll(&mut stream, context)).await?;
    Ok(frame.unwrap().bodies.len())
}

/// How long something is watched that is not to happen.
const A_WHILE: Duration = Duration::from_millis(20);

#[tokio::test]
async fn a_slow_frame_makes_room_for_others_that_wait() {
    let pace = Pace { tick: Duration::from_millis(1), grace: 3, bytes: BODY };
    let (room, bytes) = frame();
    let (mut near, mut far) = tokio::io::duplex(2 * BODY);
    let mut slow = incoming(&room, pace);
    near.write_all(&bytes[..BODY / 2]).await.unwrap();
    let alone = timeout(A_WHILE, next(&mut slow, &mut far)).await;
    assert!(alone.is_err(), "nobody waits for its room");

    let mut other = incoming(&room, pace);
    let mut waiting = pin!(next(&mut other, &bytes[..]));
    let error = tokio::select! {
        late = next(&mut slow, &mut far) => late.unwrap_err(),
        frame = &mut waiting => panic!("there was room for another frame: {frame:?}"),
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(error.to_string().contains("others waited for receive_bytes"), "{error}");
    drop(slow);
    assert_eq!(waiting.await.unwrap(), BODY);
}

#[tokio::test]
async fn a_frame_that_keeps_pace_comes_whole_whoever_waits() {
    // For half of a frame, that is a minute.
    let pace = Pace { tick: Duration::from_millis(12), grace: 0, bytes: 1 };
    let (room, bytes) = frame();
    let (mut near, mut far) = tokio::io::duplex(2 * BODY);
    let (first, last) = bytes.split_at(BODY / 2);
    let (mut one, mut other) = (incoming(&room, pace), incoming(&room, pace));
    near.write_all(first).await.unwrap();
    assert!(timeout(A_WHILE, next(&mut one, &mut far)).await.is_err());
    let mut waiting = pin!(next(&mut other, &bytes[..]));
    let both = futures::future::join(&mut waiting, next(&mut one, &mut far));
    assert!(timeout(A_WHILE, both).await.is_err());
    near.write_all(last).await.unwrap();
    assert_eq!(next(&mut one, &mut far).await.unwrap(), BODY);
    assert_eq!(waiting.await.unwrap(), BODY);
}

#[tokio::test]
async fn large_messages_wait_for_room_and_small_ones_do_not() {
    let room = ReceiveRoom::new(BODY as u64);
    let message = |length: usize| {
        let mut outgoing = Outgoing::default();
        outgoing.push(&vec![7; length], vec![], length).unwrap();
        written(&mut outgoing)
    };
    let read = async |bytes: Vec<u8>| {
        let limit = Duration::from_secs(60);
        let mut incoming = Incoming::new(bytes.len(), limit, Some(&room));
        let mut stream = &bytes[..];
        poll_fn(|context| incoming.poll(&mut stream, context)).await.unwrap().unwrap()
    };
    let large = read(message(SMALL_MESSAGE + 1)).await;
    assert_eq!(read(message(SMALL_MESSAGE)).await.message.len(), SMALL_MESSAGE);
    let mut waiting = pin!(read(message(SMALL_MESSAGE + 1)));
    assert!(timeout(A_WHILE, &mut waiting).await.is_err());
    drop(large);
    assert_eq!(waiting.await.message.len(), SMALL_MESSAGE + 1);
}
