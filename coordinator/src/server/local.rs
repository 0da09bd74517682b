//! Connections within the process: the same services, over channels. Whoever is in the process may
//! do everything, or connects for somebody who has shown who it is.

use std::sync::Arc;

use futures::StreamExt;
use keyloom_common::rpc::{
    ClientApi, ClientApiClient, Identity, WorkerApi, WorkerApiClient, guarded,
};
use tarpc::{
    client,
    server::{BaseChannel, Channel},
    transport::channel,
};

use tokio::runtime::Handle;

use super::{Shared, client::ClientConnection, worker::WorkerConnection};
use crate::owner::Owner;

/// Connects to a coordinator in this process.
#[derive(Clone, Debug)]
pub struct Local {
    shared: Arc<Shared>,
    /// Where connections are served, whoever opens them.
    runtime: Handle,
}

impl Local {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, runtime: Handle::current() }
    }

    /// A client's connection.
    pub fn client(&self) -> ClientApiClient {
        self.connect(Owner::default(), true)
    }

    /// A connection for a client that has shown elsewhere who it is: it may do what that one may,
    /// and takes rows as if it were elsewhere.
    pub fn client_as(&self, identity: Identity) -> ClientApiClient {
        self.connect(Owner::of(identity), false)
    }

    fn connect(&self, owner: Owner, in_process: bool) -> ClientApiClient {
        let _entered = self.runtime.enter();
        let (near, far) = channel::bounded(self.shared.settings.rpc.requests_in_flight);
        let shared = Arc::clone(&self.shared);
        let connection = ClientConnection { shared, owner, in_process };
        let requests = BaseChannel::with_defaults(far).execute(connection.serve());
        self.runtime.spawn(requests.for_each_concurrent(None, |request| request));
        ClientApiClient::new(client::Config::default(), near).spawn()
    }

    /// One of a worker's connections.
    pub fn worker(&self) -> WorkerApiClient {
        let (near, far) = channel::bounded(self.shared.settings.rpc.requests_in_flight);
        let connection =
            WorkerConnection::new(Arc::clone(&self.shared), usize::MAX, Identity::anybody());
        let requests = BaseChannel::with_defaults(far).execute(connection.clone().serve());
        self.runtime.spawn(async move {
            let requests = requests.for_each_concurrent(None, |request| request);
            let served = guarded(async {
                requests.await;
                Ok(())
            });
            if let Err(error) = served.await {
                tracing::error!(%error, "a worker's connection broke");
            }
            connection.ended();
        });
        WorkerApiClient::new(client::Config::default(), near).spawn()
    }
}
