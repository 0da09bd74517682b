//! The way to other workers: connections that are authenticated as all are, kept for later. They
//! have threads of their own, which answer while those that compute are busy.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use datafusion::error::DataFusionError;
use datafusion_distributed::{
    ChannelResolver, WorkerChannel,
    grpc::{BoxCloneSyncChannel, create_worker_client},
};
use http::Uri;
use hyper_util::rt::TokioIo;
use keyloom_common::rpc::{Credentials, Limits, dial, handshake::Service};
use tokio::runtime::Handle;
use tonic::transport::Endpoint;
use tower::service_fn;
use url::Url;

use super::ShuffleSettings;

/// What stands in requests for the name of whoever is asked; it is not looked up.
const SOMEBODY: &str = "http://worker.keyloom.invalid";

/// The most bytes of headers, of which one may be an error.
pub(super) const MAX_HEADER_BYTES: u32 = 64 << 10;

/// The most peers whose connections are kept: workers come and go, each with an address of its own.
const MAX_KEPT: usize = 1024;

/// Connections to other workers. Clones share them.
#[derive(Clone)]
pub(super) struct Peers(Arc<Inner>);

struct Inner {
    settings: ShuffleSettings,
    limits: Limits,
    credentials: Credentials,
    /// Where connections are.
    threads: Handle,
    channels: Mutex<HashMap<Url, BoxCloneSyncChannel>>,
}

impl Peers {
    /// Connections that are on these threads.
    pub(super) fn new(
        settings: ShuffleSettings,
        limits: Limits,
        credentials: Credentials,
        threads: Handle,
    ) -> Self {
        let channels = Mutex::default();
        Self(Arc::new(Inner { settings, limits, credentials, threads, channels }))
    }

    /// The connection to a worker, which is opened when something is asked over it, and again when
    /// it has broken.
    fn channel(&self, url: &Url) -> BoxCloneSyncChannel {
        let mut channels = self.0.lock();
        if let Some(channel) = channels.get(url) {
            return channel.clone();
        }
        if channels.len() >= MAX_KEPT {
            // Those that are in use stay open for as long as they are.
            channels.clear();
        }
        let channel = self.0.open(url);
        channels.insert(url.clone(), channel.clone());
        channel
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, HashMap<Url, BoxCloneSyncChannel>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, url: &Url) -> BoxCloneSyncChannel {
        let (limits, credentials) = (self.limits.clone(), self.credentials.clone());
        let address = url.as_str().to_owned();
        let connect = service_fn(move |_: Uri| {
            let (address, limits) = (address.clone(), limits.clone());
            let credentials = credentials.clone();
            async move {
                let dialled = dial(&address, Service::Shuffle, &limits, &credentials).await;
                // Who asked hears of it without the reason.
                let dialled = dialled.inspect_err(|error| {
                    tracing::warn!(peer = %address, %error, "no connection for a shuffle");
                });
                dialled.map(TokioIo::new)
            }
        });
        let endpoint = Endpoint::from_static(SOMEBODY)
            .http2_max_header_list_size(MAX_HEADER_BYTES)
            .connect_timeout(self.limits.handshake_timeout())
            .http2_keep_alive_interval(self.settings.keepalive())
            .keep_alive_timeout(self.settings.keepalive_timeout());
        // The task that this begins opens the connection, and each begins others where it runs.
        let _entered = self.threads.enter();
        BoxCloneSyncChannel::new(endpoint.connect_with_connector_lazy(connect))
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("kept", &self.0.lock().len()).finish_non_exhaustive()
    }
}

#[async_trait]
impl ChannelResolver for Peers {
    async fn get_worker_client_for_url(
        &self,
        url: &Url,
    ) -> Result<Box<dyn WorkerChannel>, DataFusionError> {
        Ok(create_worker_client(self.channel(url)))
    }
}
