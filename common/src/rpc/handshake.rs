//! The first exchange on a connection: who are you, and are you of my build?
//!
//! It is fixed JSON lines of a bounded size, not bincode, so that peers of any two builds can read
//! each other's refusal. A line that arrived damaged must not pass for a peer of another build,
//! which would be refused for good: so it has a checksum, too.
//!
//! ```text
//! connecting   build, protocol, service  ->
//!                                        <-  refused; or welcome; or, where a token is wanted,
//!                                            a nonce
//!              a nonce, and a proof      ->
//!                                        <-  refused; or welcome, and a proof
//! ```
//!
//! The first line of each side looks as it ever did: of it, peers of all builds read why they are
//! refused. Whoever connects proves that it has a token before the coordinator does, so that
//! nobody is given anything to guess tokens by who has shown nothing.

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::rustls::{self, AlertDescription};

use super::security::{Binding, Nonce, Proof, Role, Side, Token, Transcript, refused_certificate};
use crate::{
    BUILD,
    checksum::checksum,
    error::{Error, ErrorCode, ErrorKind, Result},
};

/// Raised whenever a message of a service changes.
pub const PROTOCOL: u32 = 12;

/// The longest line of a handshake, in bytes.
pub(super) const MAX_LINE: usize = 1024;

/// The most bytes of a reason that fit into one, whatever is in it.
const MAX_REASON: usize = 400;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// It carries `ClientApi`.
    Client,
    /// It carries `WorkerApi`.
    Worker,
    /// It carries the rows that workers shuffle among themselves, from one to another.
    Shuffle,
}

impl Service {
    /// Who listens for such connections.
    pub(super) fn listener(self) -> &'static str {
        match self {
            Self::Client | Self::Worker => "coordinator",
            Self::Shuffle => "worker",
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    keyloom: u32,
    build: String,
    /// Builds before there were roles of peers called it so.
    #[serde(rename = "role")]
    service: Service,
}

/// What is false or none is left out, as by builds that do not know it.
#[derive(Debug, Serialize, Deserialize)]
struct Welcome {
    build: String,
    refused: Option<String>,
    /// Whether the refusal is for want of room, and not for good.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    full: bool,
    /// Whether the refusal is for who the peer is, or did not show to be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    denied: bool,
    /// The accepting side's nonce: it wants a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    challenge: Option<String>,
    /// That the accepting side has the token, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proof: Option<String>,
}

impl Welcome {
    fn new() -> Self {
        let (build, refused) = (BUILD.to_owned(), None);
        Self { build, refused, full: false, denied: false, challenge: None, proof: None }
    }
}

/// What is said to a challenge.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    nonce: String,
    /// None if there is no token to be proved.
    proof: Option<String>,
}

/// The connecting side.
///
/// # Errors
/// `unavailable` if the other side is no Keyloom coordinator, `resource_exhausted` if it refused
/// for want of room, `permission_denied` if for who this side is or because one of both did not
/// prove to have the token, and `invalid` if for good.
pub(super) async fn hello<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    service: Service,
    token: Option<&Token>,
    binding: Binding,
) -> Result<()> {
    write_line(stream, &Hello { keyloom: PROTOCOL, build: BUILD.to_owned(), service }).await?;
    let Some(challenge) = read_welcome(stream).await?.challenge else {
        return match token {
            None => Ok(()),
            Some(_) => Err(Error::permission_denied(
                "a token is set, and the coordinator asks for none: it is not the one that the \
                 token is for, or its security.tokens are not set",
            )),
        };
    };
    let accepting = Nonce::from_hex(&challenge).ok_or_else(strange)?;
    let connecting = Nonce::draw()?;
    let transcript = Transcript { service, accepting, connecting, binding };
    let prove = |side| token.map(|token| token.prove(side, &transcript));
    let proof = prove(Side::Connecting).map(Proof::to_hex);
    write_line(stream, &Answer { nonce: connecting.to_hex(), proof }).await?;
    let shown = read_welcome(stream).await?.proof.as_deref().and_then(Proof::from_hex);
    match prove(Side::Accepting) {
        Some(expected) if shown == Some(expected) => Ok(()),
        _ => Err(Error::permission_denied(
            "the coordinator did not prove that it has the token: it is not the one that the token \
             is for",
        )),
    }
}

async fn read_welcome<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Welcome> {
    let welcome: Welcome = read_line(stream).await?;
    match welcome.refused.as_deref().map(printable) {
        None => Ok(welcome),
        Some(reason) if welcome.full => Err(Error::resource_exhausted(reason)),
        Some(reason) if welcome.denied => Err(Error::permission_denied(reason)),
        Some(reason) => Err(Error::invalid(reason)),
    }
}

/// The accepting side, as it begins: returns what the connection is for. The peer then waits for
/// more.
///
/// # Errors
/// `invalid` if the peer is of another build; it has been told so.
pub async fn welcome<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<Service> {
    let hello: Hello = read_line(stream).await?;
    if hello.keyloom == PROTOCOL && hello.build == BUILD {
        return Ok(hello.service);
    }
    let reason = format!(
        "this {:?} is build {} (protocol {}), the coordinator is build {BUILD} (protocol \
         {PROTOCOL}); use one build on all machines",
        hello.service, hello.build, hello.keyloom
    );
    let error = Error::invalid(reason);
    refuse(stream, &error).await?;
    Err(error)
}

/// The accepting side, where it wants a token: returns whose token the peer has proved to have, and
/// what proves to the peer that this side has it, too.
///
/// # Errors
/// `permission_denied` if the peer has none of these; it has not been told yet.
pub(super) async fn challenge<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    service: Service,
    tokens: &[(Role, Token)],
    binding: Binding,
) -> Result<(Role, Proof)> {
    let accepting = Nonce::draw()?;
    let challenge = Some(accepting.to_hex());
    write_line(stream, &Welcome { challenge, ..Welcome::new() }).await?;
    let answer: Answer = read_line(stream).await?;
    let connecting = Nonce::from_hex(&answer.nonce).ok_or_else(strange)?;
    let Some(proof) = answer.proof else {
        return Err(Error::permission_denied(
            "the coordinator wants a token, and there is none: set security.token_file or \
             security.token",
        ));
    };
    let proof = Proof::from_hex(&proof).ok_or_else(strange)?;
    let transcript = Transcript { service, accepting, connecting, binding };
    let mut proved = None;
    // All are compared, so that the time says nothing.
    for (role, token) in tokens {
        if token.prove(Side::Connecting, &transcript) == proof {
            proved = Some((*role, token.prove(Side::Accepting, &transcript)));
        }
    }
    proved.ok_or_else(|| Error::permission_denied("the token is none of the coordinator's"))
}

/// The accepting side, where it takes the connection.
///
/// # Errors
/// `unavailable` if the peer cannot be told.
pub(super) async fn accept<S: AsyncWrite + Unpin>(
    stream: &mut S,
    proof: Option<Proof>,
) -> Result<()> {
    let proof = proof.map(Proof::to_hex);
    write_line(stream, &Welcome { proof, ..Welcome::new() }).await
}

/// The accepting side, where it does not: says why.
///
/// # Errors
/// `unavailable` if the peer cannot be told.
pub(super) async fn refuse<S: AsyncWrite + Unpin>(stream: &mut S, error: &Error) -> Result<()> {
    let reason = error.message();
    let refused = Some(reason[..reason.floor_char_boundary(MAX_REASON)].to_owned());
    let full = error.kind() == ErrorKind::ResourceExhausted;
    let denied = error.kind() == ErrorKind::PermissionDenied;
    write_line(stream, &Welcome { refused, full, denied, ..Welcome::new() }).await
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
            _ => return Err(strange()),
        }
    }
    let read: Summed<T> = serde_json::from_slice(&line).map_err(|_| strange())?;
    if read.sum.is_some_and(|expected| sum(&read.line) != Ok(expected)) {
        let damaged = Error::unavailable("the handshake arrived damaged");
        return Err(damaged.with_code(ErrorCode::HandshakeDamaged));
    }
    Ok(read.line)
}

/// What a peer says, as it may stand on a terminal: whoever listens at an address can say anything
/// before it has shown who it is, also what moves a terminal's cursor.
fn printable(said: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
            || matches!(c, '\u{2066}'..='\u{2069}')
    };
    said.chars().map(|c| if steers(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn strange() -> Error {
    Error::unavailable("the peer does not speak Keyloom's protocol")
}

fn broken(error: std::io::Error) -> Error {
    if let Some(said) = refused_certificate(&error) {
        return Error::permission_denied(match said {
            rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
                "the coordinator wants a certificate, and there is none: set security.cert_file \
                 and security.key_file"
                    .to_owned()
            }
            said => format!("the peer does not accept security.cert_file: {said}"),
        });
    }
    Error::unavailable(format!("the connection broke during the handshake: {error}"))
}

#[cfg(test)]
mod tests;
