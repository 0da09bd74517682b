//! TCP connections: address, socket options, handshake, framing.

use serde::{Serialize, de::DeserializeOwned};
use tokio::net::TcpStream;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::{Limits, bincode::Codec, handshake};
use crate::error::{Error, Result};

/// A framed TCP connection that carries a service.
pub type Transport<Item, SinkItem> =
    tarpc::serde_transport::Transport<TcpStream, Item, SinkItem, Codec<Item, SinkItem>>;

/// Reads `tcp://HOST:PORT`.
///
/// # Errors
/// `invalid`, showing the form.
pub fn parse_address(address: &str) -> Result<&str> {
    let host_port = address.strip_prefix("tcp://").filter(|rest| {
        rest.rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    });
    host_port.ok_or_else(|| {
        Error::invalid(format!("a cluster's address is tcp://HOST:PORT, not '{address}'"))
    })
}

/// Connects to a coordinator.
///
/// # Errors
/// `unavailable` if nobody answers there, `invalid` if the coordinator refuses this build.
pub async fn connect<Item, SinkItem>(
    address: &str,
    role: handshake::Role,
    limits: &Limits,
) -> Result<Transport<Item, SinkItem>>
where
    Item: DeserializeOwned,
    SinkItem: Serialize,
{
    let host_port = parse_address(address)?;
    let connecting = async {
        let mut stream = TcpStream::connect(host_port).await.map_err(|error| {
            Error::unavailable(format!("no coordinator answers at {address}: {error}"))
        })?;
        handshake::hello(&mut stream, role).await?;
        Ok::<_, Error>(stream)
    };
    let timeout = limits.handshake_timeout();
    let stream = tokio::time::timeout(timeout, connecting).await.map_err(|_| {
        Error::unavailable(format!("no coordinator answers at {address} within {timeout:?}"))
    })??;
    framed(stream, limits)
}

/// Puts frames on a connection whose handshake is done.
///
/// # Errors
/// `unavailable` if the socket is gone.
pub fn framed<Item, SinkItem>(
    stream: TcpStream,
    limits: &Limits,
) -> Result<Transport<Item, SinkItem>>
where
    Item: DeserializeOwned,
    SinkItem: Serialize,
{
    stream
        .set_nodelay(true)
        .map_err(|error| Error::unavailable(format!("the connection broke: {error}")))?;
    let mut codec = LengthDelimitedCodec::new();
    codec.set_max_frame_length(limits.max_frame_bytes);
    Ok(tarpc::serde_transport::new(Framed::new(stream, codec), Codec::default()))
}
