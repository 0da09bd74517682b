//! Whom a session talks to, as its connection sees it: a cluster elsewhere, or one within the
//! process, whose workers can be asked without a job.

use std::{fmt::Debug, sync::Arc};

use arrow::array::ArrayRef;
use async_trait::async_trait;
use keyloom_common::{
    Result, background::Background, lookup::Fetch, rpc::ClientApiClient, store::ResolvedStore,
};

/// A coordinator, near or far.
#[async_trait]
pub(crate) trait Peer: Debug + Send + Sync {
    /// Opens a connection.
    ///
    /// # Errors
    /// If nobody answers there, or not to this build.
    async fn dial(&self) -> Result<ClientApiClient>;

    /// Where what outlives its caller runs.
    fn background(&self) -> &Background;

    /// Its address, if it is elsewhere.
    fn address(&self) -> Option<&str>;

    /// Its workers, if they are in this process.
    fn workers(&self) -> Option<&dyn LocalWorkers>;
}

/// The workers of this process, which share their open stores.
#[async_trait]
pub(crate) trait LocalWorkers: Debug + Send + Sync {
    /// Opens a store for lookups without a job.
    ///
    /// # Errors
    /// If it cannot be opened.
    async fn open(&self, store: &Arc<ResolvedStore>) -> Result<Box<dyn LocalStore>>;
}

/// A store that is open in this process.
#[async_trait]
pub(crate) trait LocalStore: Debug + Send + Sync {
    /// The answers of the one call of a fetch, in the order of the keys.
    ///
    /// # Errors
    /// As a job that looks them up.
    async fn answers(&self, fetch: Arc<Fetch>, keys: &ArrayRef) -> Result<ArrayRef>;
}
