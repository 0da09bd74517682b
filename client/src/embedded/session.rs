//! Sessions that are their own cluster.

use keyloom_common::Result;

use super::{Embedded, EmbeddedSettings};
use crate::{connection::Connection, session::Session};

impl Session {
    /// A session that is its own cluster, with a worker a core.
    ///
    /// # Errors
    /// If threads cannot be started.
    pub async fn embedded() -> Result<Self> {
        Self::embedded_with(EmbeddedSettings::default()).await
    }

    /// A session that is its own cluster.
    ///
    /// # Errors
    /// `invalid` if settings are wrong; otherwise if threads cannot be started.
    #[expect(clippy::unused_async, reason = "so that both kinds of sessions are made alike")]
    pub async fn embedded_with(settings: EmbeddedSettings) -> Result<Self> {
        settings.validate()?;
        settings.check_ports()?;
        let session = settings.session.clone();
        let embedded = Embedded::start(settings)?;
        let client = embedded.client();
        Ok(Self::new(Connection::new(embedded, client, session.rpc.clone()), session))
    }
}
