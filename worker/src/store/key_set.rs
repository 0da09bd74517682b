//! All keys that a job asks a store for, collected before it asks.

use std::fmt;

use arrow::array::ArrayRef;
use async_trait::async_trait;
use keyloom_common::{BlobId, Result};

/// A set of keys that is read if need be.
#[async_trait]
pub trait KeySet: fmt::Debug + Send + Sync {
    /// Tells it from others.
    fn name(&self) -> BlobId;

    /// The keys: distinct, without nulls, of the store's key type.
    ///
    /// # Errors
    /// As [`super::BlobSource`].
    async fn keys(&self) -> Result<ArrayRef>;
}
