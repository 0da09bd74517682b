//! A cluster elsewhere, by its address.

use async_trait::async_trait;
use keyloom_common::{
    Error, ErrorCode, Result,
    background::Background,
    rpc::{ClientApiClient, Credentials, Limits, connect, handshake::Service},
};

use crate::peer::{LocalWorkers, Peer};

/// A coordinator elsewhere. The connection has a thread of its own: it goes on, and says that its
/// jobs' client is there, whatever the caller's runtime does meanwhile.
#[derive(Debug)]
pub(crate) struct Cluster {
    address: String,
    limits: Limits,
    credentials: Credentials,
    background: Background,
}

impl Cluster {
    /// Connects to the cluster for the first time.
    pub(crate) async fn connect(
        address: &str,
        limits: Limits,
        credentials: Credentials,
    ) -> Result<(Self, ClientApiClient)> {
        let background = Background::start("keyloom-client", 1)?;
        let cluster = Self { address: address.to_owned(), limits, credentials, background };
        let client = match cluster.dial().await {
            // It came to nothing on the way.
            Err(error) if error.code() == Some(ErrorCode::HandshakeDamaged) => {
                tracing::warn!(%error, "connecting again");
                cluster.dial().await
            }
            dialled => dialled,
        }?;
        Ok((cluster, client))
    }
}

#[async_trait]
impl Peer for Cluster {
    async fn dial(&self) -> Result<ClientApiClient> {
        let (address, limits) = (self.address.clone(), self.limits.clone());
        let credentials = self.credentials.clone();
        let dialling = async move {
            let transport = connect(&address, Service::Client, &limits, &credentials).await?;
            Ok(ClientApiClient::new(tarpc::client::Config::default(), transport).spawn())
        };
        self.background.handle().spawn(dialling).await.map_err(Error::from_join)?
    }

    fn background(&self) -> &Background {
        &self.background
    }

    fn address(&self) -> Option<&str> {
        Some(&self.address)
    }

    fn workers(&self) -> Option<&dyn LocalWorkers> {
        None
    }
}
