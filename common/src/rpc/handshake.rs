//! The first exchange on a connection: who are you, and are you of my build?
//!
//! It is fixed JSON lines of a bounded size, not bincode, so that peers of any two builds can read
//! each other's refusal. A line that arrived damaged must not pass for a peer of another build,
//! which would be refused for good: so it has a checksum, too.

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{
    BUILD,
    checksum::checksum,
    error::{Error, ErrorCode, Result},
};

/// Raised whenever a message of a service changes.
pub const PROTOCOL: u32 = 7;

/// The longest line of a handshake, in bytes.
const MAX_LINE: usize = 1024;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It carries `ClientApi`.
    Client,
    /// It carries `WorkerApi`.
    Worker,
}

#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    keyloom: u32,
    build: String,
    role: Role,
}

#[derive(Debug, Serialize, Deserialize)]
struct Welcome {
    build: String,
    refused: Option<String>,
    /// Whether the refusal is for want of room, and not for good. It is left out where it is false,
    /// as by builds that do not know it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    full: bool,
}

/// The connecting side.
///
/// # Errors
/// `unavailable` if the other side is no Keyloom coordinator, `resource_exhausted` if it refused
/// for want of room, and `invalid` if for good.
pub async fn hello<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, role: Role) -> Result<()> {
    write_line(stream, &Hello { keyloom: PROTOCOL, build: BUILD.to_owned(), role }).await?;
    let welcome: Welcome = read_line(stream).await?;
    match welcome.refused {
        None => Ok(()),
        Some(reason) if welcome.full => Err(Error::resource_exhausted(reason)),
        Some(reason) => Err(Error::invalid(reason)),
    }
}

/// The accepting side: returns what the connection is for.
///
/// # Errors
/// `invalid` if the peer is of another build; it has been told so.
pub async fn welcome<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<Role> {
    let hello: Hello = read_line(stream).await?;
    let refused = (hello.keyloom != PROTOCOL || hello.build != BUILD).then(|| {
        format!(
            "this {:?} is build {} (protocol {}), the coordinator is build {BUILD} (protocol \
             {PROTOCOL}); use one build on all machines",
            hello.role, hello.build, hello.keyloom
        )
    });
    let build = BUILD.to_owned();
    write_line(stream, &Welcome { build, refused: refused.clone(), full: false }).await?;
    match refused {
        None => Ok(hello.role),
        Some(reason) => Err(Error::invalid(reason)),
    }
}

/// The accepting side, where it has no room for whoever connects: says why.
///
/// # Errors
/// `unavailable` if the peer cannot be told.
pub async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, reason: &str) -> Result<()> {
    // What is left unread when the connection closes would take the answer with it.
    let _: Hello = read_line(stream).await?;
    let (build, refused) = (BUILD.to_owned(), Some(reason.to_owned()));
    write_line(stream, &Welcome { build, refused, full: true }).await
}

/// A line, and its checksum. Peers of builds before there was one write none.
#[derive(Serialize, Deserialize)]
struct Summed<T> {
    #[serde(flatten)]
    line: T,
    sum: Option<u32>,
}

fn sum(line: &impl Serialize) -> Result<u32> {
    let bytes = serde_json::to_vec(line).map_err(|error| Error::internal(error.to_string()))?;
    Ok(checksum(&bytes))
}

async fn write_line<S: AsyncWrite + Unpin>(stream: &mut S, line: &impl Serialize) -> Result<()> {
    let line = Summed { sum: Some(sum(line)?), line };
    let mut bytes =
        serde_json::to_vec(&line).map_err(|error| Error::internal(error.to_string()))?;
    bytes.push(b'\n');
    stream.write_all(&bytes).await.map_err(broken)?;
    stream.flush().await.map_err(broken)
}

/// Reads byte by byte: what follows the line belongs to the service.
async fn read_line<S, T>(stream: &mut S) -> Result<T>
where
    S: AsyncRead + Unpin,
    T: Serialize + for<'de> Deserialize<'de>,
{
    let mut line = Vec::new();
    loop {
        match stream.read_u8().await.map_err(broken)? {
            b'\n' => break,
            byte if line.len() < MAX_LINE => line.push(byte),
            _ => return Err(Error::unavailable("the peer does not speak Keyloom's protocol")),
        }
    }
    let read: Summed<T> = serde_json::from_slice(&line)
        .map_err(|_| Error::unavailable("the peer does not speak Keyloom's protocol"))?;
    if read.sum.is_some_and(|expected| sum(&read.line) != Ok(expected)) {
        let damaged = Error::unavailable("the handshake arrived damaged");
        return Err(damaged.with_code(ErrorCode::HandshakeDamaged));
    }
    Ok(read.line)
}

fn broken(error: std::io::Error) -> Error {
    Error::unavailable(format!("the connection broke during the handshake: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[tokio::test]
    async fn a_peer_of_this_build_is_welcome() {
        let (mut a, mut b) = tokio::io::duplex(4096);
        let (hello, role) = tokio::join!(hello(&mut a, Role::Worker), welcome(&mut b));
        hello.unwrap();
        assert_eq!(role.unwrap(), Role::Worker);
    }

    #[tokio::test]
    async fn a_peer_of_another_build_is_refused_by_name() {
        let (mut a, mut b) = tokio::io::duplex(4096);
        let other = Hello { keyloom: PROTOCOL, build: "0.0.9".to_owned(), role: Role::Client };
        write_line(&mut a, &other).await.unwrap();
        let error = welcome(&mut b).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains("build 0.0.9"), "{error}");
        let answer: Welcome = read_line(&mut a).await.unwrap();
        assert_eq!(answer.refused.as_deref(), Some(error.message()));
    }

    #[tokio::test]
    async fn a_peer_without_a_place_is_refused_for_now() {
        let (mut a, mut b) = tokio::io::duplex(4096);
        let reason = "all places are taken";
        let (hello, told) = tokio::join!(hello(&mut a, Role::Client), refuse(&mut b, reason));
        told.unwrap();
        assert_eq!(hello.unwrap_err(), Error::resource_exhausted(reason));
    }

    /// Peers of builds before there was one compute their checksum without it.
    #[test]
    fn a_welcome_looks_as_ever() {
        let welcome = Welcome { build: "1".to_owned(), refused: None, full: false };
        assert_eq!(serde_json::to_string(&welcome).unwrap(), r#"{"build":"1","refused":null}"#);
    }

    #[tokio::test]
    async fn a_damaged_handshake_is_worth_another_try() {
        let (mut near, mut far) = tokio::io::duplex(4096);
        let sent = Hello { keyloom: PROTOCOL, build: BUILD.to_owned(), role: Role::Client };
        write_line(&mut near, &sent).await.unwrap();
        drop(near);
        let mut line = Vec::new();
        far.read_to_end(&mut line).await.unwrap();
        let at = line.windows(BUILD.len()).position(|part| part == BUILD.as_bytes()).unwrap();
        for bit in 0..8 {
            let mut damaged = line.clone();
            damaged[at + 2] ^= 1 << bit;
            let (mut a, mut b) = tokio::io::duplex(4096);
            a.write_all(&damaged).await.unwrap();
            drop(a);
            let error = welcome(&mut b).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            // Some of the others make no line that can be read.
            if bit == 0 {
                assert_eq!(error.code(), Some(ErrorCode::HandshakeDamaged));
            }
        }
    }

    #[tokio::test]
    async fn a_stranger_is_no_panic() {
        let (mut a, mut b) = tokio::io::duplex(4096);
        a.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert_eq!(welcome(&mut b).await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
}
