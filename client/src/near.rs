//! A coordinator of this process that somebody else has started: sessions on it are as those on a
//! cluster elsewhere, but for an address.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use keyloom_common::{Result, background::Background, rpc::ClientApiClient};

use crate::{
    connection::Connection,
    peer::{LocalWorkers, Peer},
    session::Session,
    settings::Settings,
};

/// Opens a connection to a coordinator of this process.
type Dial = Box<dyn Fn() -> ClientApiClient + Send + Sync>;

/// A coordinator of this process.
struct Near {
    dial: Dial,
    background: Arc<Background>,
}

impl fmt::Debug for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Near").field("background", &self.background).finish_non_exhaustive()
    }
}

#[async_trait]
impl Peer for Near {
    async fn dial(&self) -> Result<ClientApiClient> {
        Ok((self.dial)())
    }

    fn background(&self) -> &Background {
        &self.background
    }

    fn address(&self) -> Option<&str> {
        None
    }

    /// Its workers are elsewhere.
    fn workers(&self) -> Option<&dyn LocalWorkers> {
        None
    }
}

impl Session {
    /// A session on a coordinator of this process, to which `dial` opens connections: for programs
    /// that are a coordinator and plan for others. What outlives its caller runs in the background,
    /// which sessions may share.
    ///
    /// # Errors
    /// `invalid` if settings are wrong.
    pub fn near(
        dial: impl Fn() -> ClientApiClient + Send + Sync + 'static,
        background: Arc<Background>,
        settings: Settings,
    ) -> Result<Self> {
        settings.validate()?;
        let client = dial();
        let near = Near { dial: Box::new(dial), background };
        Ok(Self::new(Connection::new(near, client, settings.rpc.clone()), settings))
    }
}
