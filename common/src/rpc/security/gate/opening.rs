//! What a peer opens with, all of which is awaited before it gets a turn: a handshake that has
//! begun and does not go on would hold the turn of one that does.
//!
//! It is looked at and stays to be read, so that it costs no memory but the system's.

use std::{io, net, os::fd::AsFd};

use tokio::{io::Interest, net::TcpStream};

use super::loaded::{LINE, TLS_HANDSHAKE, broken};
use crate::{
    error::{Error, Result},
    rpc::handshake::MAX_LINE,
};

/// The most bytes that are awaited.
const MAX_AWAITED: usize = 4096;

/// The bytes before what a record of TLS holds, of which the last two are its length.
const RECORD_HEAD: usize = 5;

/// Waits until a peer has said all of what it opens with, and returns its first byte.
///
/// # Errors
/// `unavailable` if it hangs up before it says anything.
pub(super) async fn opening(stream: &TcpStream, has_tls: bool) -> Result<u8> {
    let looked = loop {
        let ready = match stream.ready(Interest::READABLE).await {
            Ok(ready) => ready,
            Err(error) => break Err(error),
        };
        let looking = || look(stream, ready.is_read_closed(), has_tls);
        match stream.try_io(Interest::READABLE, looking) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            looked => break looked,
        }
    };
    match looked {
        Ok(Some(first)) => Ok(first),
        Ok(None) => Err(Error::unavailable("the peer hung up before it said anything")),
        Err(error) => Err(broken(&error)),
    }
}

/// The first byte, if all has come that will, and none if the peer has hung up.
///
/// # Errors
/// `WouldBlock` if more is to come: what has come already says nothing new before that.
fn look(stream: &TcpStream, has_ended: bool, has_tls: bool) -> io::Result<Option<u8>> {
    // The standard library's stream looks without waiting; it is another handle for a moment.
    let stream = net::TcpStream::from(stream.as_fd().try_clone_to_owned()?);
    let mut bytes = [0; MAX_AWAITED];
    let come = stream.peek(&mut bytes)?;
    let bytes = &bytes[..come];
    let is_all = bytes.is_empty() || has_ended || is_whole(bytes, has_tls);
    if is_all { Ok(bytes.first().copied()) } else { Err(io::ErrorKind::WouldBlock.into()) }
}

/// Whether these bytes are a whole line or a whole record of TLS, or more than is awaited, or what
/// is refused by its first byte.
fn is_whole(bytes: &[u8], has_tls: bool) -> bool {
    match (bytes, has_tls) {
        ([TLS_HANDSHAKE, _, _, high, low, ..], true) => {
            let length = RECORD_HEAD + usize::from(u16::from_be_bytes([*high, *low]));
            bytes.len() >= length.min(MAX_AWAITED)
        }
        ([TLS_HANDSHAKE, ..], _) => !has_tls,
        ([LINE, ..], _) | (_, false) => bytes.len() > MAX_LINE || bytes.contains(&b'\n'),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{io::AsyncWriteExt, net::TcpListener, time::timeout};

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        near.set_nodelay(true).unwrap();
        (near, listener.accept().await.unwrap().0)
    }

    /// How long something is watched that is not to happen.
    const A_WHILE: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn it_is_awaited_however_the_network_cuts_it_and_stays_to_be_read() {
        let line = &b"{\"keyloom\":1}\n"[..];
        let record = &[&[TLS_HANDSHAKE, 3, 1, 1, 0][..], &[7; 256]].concat();
        for (said, has_tls) in [(line, false), (line, true), (&record[..], true)] {
            let (mut near, far) = pair().await;
            let last = said.len() - 1;
            for (from, to) in [(0, 1), (1, 4), (4, last)] {
                near.write_all(&said[from..to]).await.unwrap();
                assert!(timeout(A_WHILE, opening(&far, has_tls)).await.is_err(), "{to} bytes");
            }
            let (wrote, first) =
                tokio::join!(near.write_all(&said[last..]), opening(&far, has_tls));
            wrote.unwrap();
            assert_eq!(first, Ok(said[0]));
            let mut bytes = vec![0; said.len() + 1];
            assert_eq!(far.peek(&mut bytes).await.unwrap(), said.len());
        }
    }

    #[tokio::test]
    async fn nothing_more_is_awaited_of_who_has_said_its_last() {
        for (said, expected) in
            [(&b"{"[..], Some(b'{')), (&b"\x16\x03"[..], Some(0x16)), (&b""[..], None)]
        {
            let (mut near, far) = pair().await;
            near.write_all(said).await.unwrap();
            near.shutdown().await.unwrap();
            let first = timeout(Duration::from_secs(60), opening(&far, true)).await.unwrap();
            assert_eq!(first.ok(), expected);
        }
    }

    #[test]
    fn what_is_too_long_or_wrong_from_its_first_byte_is_not_awaited() {
        let long = [b'{'; MAX_LINE + 1];
        assert!(is_whole(&long, false) && is_whole(&long, true));
        assert!(!is_whole(&long[1..], false) && !is_whole(&long[1..], true));
        assert!(!is_whole(b"GET", false) && is_whole(b"GET", true));
        assert!(!is_whole(&[TLS_HANDSHAKE], true) && is_whole(&[TLS_HANDSHAKE], false));
        let mut record = [0xff; MAX_AWAITED];
        record[0] = TLS_HANDSHAKE;
        assert!(!is_whole(&record[..MAX_AWAITED - 1], true));
        assert!(is_whole(&record, true));
    }
}
